//! The composition root: settings, keys, database, media plane, shards, listeners, jobs, and their
//! end in the opposite order.

mod addresses;
mod database;
mod https;
mod listen;
mod media;
mod recording;
mod signalling;
mod stop;
mod trunk_faults;
mod webhooks;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use database::{DatabaseSeen, OpenDatabase, look_at_database, open_database, open_store};
pub use media::{MediaService, start_media};

use crate::api::{self, Api};
use crate::config::Config;
use crate::jobs;
use crate::media::ServerError;
use crate::media::sounds::InvalidSounds;
use crate::relay::handle::Handle;
use crate::relay::now::now;
use crate::store::embedded::EmbeddedError;
use crate::store::{Store, StoreError};
use crate::telemetry::{self, TelemetryError};
use crate::vault::{KeyStore, RootKey, RootKeyError, Vault, VaultError};
use https::Https;
use signalling::Signalling;

/// What to do about the root key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RootKeyFile {
    /// A service: without the file of the settings nothing starts.
    MustExist,
    /// A throw-away service: a key that is never written down.
    Ephemeral,
}

/// Why the service does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The root key.
    #[error("the root key (keys.root_file) cannot be used: {0}")]
    RootKey(#[from] RootKeyError),
    /// Cryptography.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The embedded PostgreSQL.
    #[error(transparent)]
    Embedded(#[from] EmbeddedError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The database does not let us in.
    #[error("{key} ({place}): {error}")]
    Database {
        /// The key that says where it is.
        key: &'static str,
        /// Where that is.
        place: String,
        /// Why not.
        error: Box<StoreError>,
    },
    /// A URL of the settings.
    #[error("{key} is no PostgreSQL URL")]
    DatabaseUrl {
        /// Which key.
        key: &'static str,
    },
    /// An address of the settings.
    #[error("{key}: cannot listen on {address}: {error}")]
    Listen {
        /// Which key.
        key: &'static str,
        /// Which address.
        address: SocketAddr,
        /// Why.
        error: std::io::Error,
    },
    /// The certificate of SIP over TLS.
    #[error("TLS cannot be served (sip.tls_certificate, sip.tls_key, sip.tls_ca): {0}")]
    Tls(String),
    /// The certificate of the API.
    #[error("HTTPS cannot be served (api.tls_certificate, api.tls_key, api.tls_client_ca): {0}")]
    Https(String),
    /// The folder of sounds.
    #[error(transparent)]
    Sounds(#[from] InvalidSounds),
    /// The socket of the media plane.
    #[error(transparent)]
    MediaSocket(#[from] ServerError),
    /// `maskline media` without a socket.
    #[error(
        "media.socket names no socket: without one, `maskline serve` has the media plane itself"
    )]
    NoMediaSocket,
    /// Threads, descriptors, randomness.
    #[error("cannot start {what}: {error}")]
    System {
        /// What was to be started.
        what: &'static str,
        /// Why not.
        error: std::io::Error,
    },
    /// Metrics.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
}

/// A service at work.
#[derive(Debug)]
pub struct Running {
    /// Where SIP is served by UDP.
    pub sip: SocketAddr,
    /// Where SIP is served by UDP of the other address family.
    pub sip_more: Vec<SocketAddr>,
    /// Where SIP is served over streams, in the order of the settings.
    pub sip_streams: Vec<SocketAddr>,
    /// Where the API is served.
    pub api: SocketAddr,
    /// Where health and metrics are served.
    pub admin: SocketAddr,
    /// The relay, for whoever lives in the same process.
    pub relay: Handle,
    /// The store, for whoever lives in the same process.
    pub store: Store,
    signalling: Signalling,
    database: OpenDatabase,
    /// Everything that ends when it is told to, the API among it.
    tasks: TaskTracker,
    stop: CancellationToken,
    /// The admin listener is there to the end.
    watchers: JoinHandle<()>,
}

/// Starts the whole service. Port 0 in the settings means any free port; [`Running`] names it.
///
/// # Errors
/// [`StartError`] names what is in the way.
pub async fn start(config: Config, root_key: RootKeyFile) -> Result<Running, StartError> {
    let metrics = telemetry::metrics_page()?;
    // What is easily wrong comes first, before anything has to be undone.
    let keys = open_root_key(&config, root_key)?;
    let https = Https::open(&config.api).map_err(|error| StartError::Https(error.to_string()))?;
    let admin_listener = listen::bind("admin.listen", config.admin.listen).await?;
    let api_listener = listen::bind("api.listen", config.api.listen).await?;
    let sip = signalling::bind(&config)?;
    let vault = Arc::new(Vault::new(Arc::clone(&keys))?);
    let database = open_database(&config, &keys).await?;
    let pools = &database.pools;
    let store = Store::new(pools.app.clone(), Arc::clone(&vault));
    let relay = Handle::new();
    let system = |error| StartError::System { what: "the recorder", error };
    let (recorder, taped) = recording::start(&config).map_err(system)?.unzip();
    let signalling =
        Signalling::start(sip, &config, &relay, &pools.relay, &vault, recorder).await?;

    let (tasks, stop, stop_admin) =
        (TaskTracker::new(), CancellationToken::new(), CancellationToken::new());
    jobs::start(&tasks, &stop, &store, &pools.relay, &relay, config.bindings.expiry_notice);
    let bound = store.clone();
    jobs::bind_imports(&tasks, &stop, &store, move |tenant, import| {
        let store = bound.clone();
        async move { api::import_bind::bind_next(&store, now().wall, tenant, import).await }
    });
    let dispatcher = webhooks::dispatcher(&config, &pools.relay, &vault)?;
    jobs::deliver(&tasks, &stop, &pools.relay, dispatcher);
    if let Some(folder) = &config.recording.folder {
        let shelf = jobs::Shelf::new(&pools.relay, &vault, folder);
        jobs::keep_recordings(&tasks, &stop, &shelf, taped);
    }
    let watch = signalling.watch(&relay, store.clone(), pools.clone(), metrics.clone());
    tasks.spawn(stop.clone().run_until_cancelled_owned(watch));
    let (api, admin) = (api_listener.address, admin_listener.address);
    let api_state =
        Api::new(store.clone(), relay.clone(), Arc::new(now)).with_reach(webhooks::reach(&config));
    let rates = [config.api.key_rps_max, config.api.tenant_rps_max];
    let [key, tenant] = rates.map(|rate| u32::try_from(rate).unwrap_or(u32::MAX));
    let api_state = api_state.with_rates(api::rate::Rates { key, tenant });
    // Streams have no end of their own: the service would wait for them.
    let api_state = api_state.with_stop(stop.clone());
    let router = api::router(match &config.recording.folder {
        Some(folder) => api_state.with_recordings(folder.clone()),
        None => api_state,
    });
    tasks.spawn(api_listener.serve_maybe_tls(https, router, stop.clone()));
    tasks.close();
    let pages = admin_pages(&config, &relay, metrics);
    let watchers = tokio::spawn(admin_listener.serve(pages, stop_admin));
    Ok(Running {
        sip: signalling.address,
        sip_more: signalling.more.clone(),
        sip_streams: signalling.streams.iter().map(|(_, address)| *address).collect(),
        api,
        admin,
        relay,
        store,
        signalling,
        database,
        tasks,
        stop,
        watchers,
    })
}

impl Running {
    /// Reads the certificates again; those that cannot be used change nothing.
    pub fn reload_certificates(&self) {
        self.signalling.reload_certificates();
    }
}

/// Health, readiness, metrics, version, and the settings in force without their secrets.
fn admin_pages(config: &Config, relay: &Handle, metrics: PrometheusHandle) -> Router {
    let settings: Arc<str> = config.dump().into();
    let metrics = Arc::new(move || metrics.render());
    api::admin::router(api::admin::Admin { relay: relay.clone(), metrics })
        .route("/debug/config", get(async move || settings.to_string()))
}

/// Keeps the memory of this process, numbers and keys among it, from debuggers and core dumps.
pub fn hide_memory() {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "The memory of this process may be dumped: {error}");
    }
}

fn open_root_key(config: &Config, root_key: RootKeyFile) -> Result<Arc<dyn KeyStore>, StartError> {
    let file = &config.keys.root_file;
    let key = match root_key {
        RootKeyFile::MustExist => RootKey::load(file)?,
        RootKeyFile::Ephemeral => RootKey::ephemeral()?,
    };
    Ok(Arc::new(key))
}
