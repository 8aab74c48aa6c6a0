//! L4: the control API. One file per noun beside what all of them share: problems, authentication,
//! the table of roles, extractors, paging, repeated requests.

pub mod admin;
pub mod agents;
pub mod answer;
pub mod api_keys;
pub mod auth;
pub mod binding_batch;
pub mod binding_body;
pub mod binding_change;
pub mod bindings;
pub mod bootstrap;
pub mod calls;
mod downloads;
pub mod error;
pub mod etag;
pub mod events;
pub mod extract;
pub mod field_error;
mod forms;
pub mod free_text;
pub mod idempotency;
pub mod import_bind;
mod import_columns;
pub mod import_file;
pub mod imports;
pub mod intents;
mod key_way;
pub mod layers;
mod links;
pub mod live_calls;
mod number_format;
pub mod numbers;
pub mod openapi;
pub mod paging;
pub mod peer;
pub mod pools;
pub mod rate;
pub mod recordings;
pub mod request_id;
pub mod roles;
pub mod secrets;
mod signature;
pub mod sip_access;
mod srtp_mode;
mod store_error;
pub mod subscribers;
pub mod tenants;
pub mod test_clock;
pub mod trunks;
pub mod turns;
pub mod values;
pub mod webhooks;

use std::fmt;
use std::hash::Hash;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;

use crate::domain::id::ApiKeyId;
use crate::domain::now::Now;
use crate::domain::webhook::Reach;
use crate::relay::handle::Handle;
use crate::store::Store;
use crate::store::api_key::ApiKey;
use auth::KeyCache;
use downloads::Downloads;
use rate::{Rate, Rates};
use secrets::RequestHasher;
use turns::Turns;

/// Where the API reads the clocks: `relay::now`, or a test's own.
pub type Clock = Arc<dyn Fn() -> Now + Send + Sync>;

/// What every handler may use.
#[derive(Clone)]
pub struct Api(Arc<Shared>);

struct Shared {
    store: Store,
    relay: Handle,
    clock: Clock,
    request_hasher: RequestHasher,
    keys: KeyCache<[u8; secrets::HASH_BYTES]>,
    signers: KeyCache<ApiKeyId>,
    used_nonces: moka::sync::Cache<(ApiKeyId, [u8; 16]), ()>,
    recordings: Option<PathBuf>,
    downloads: Arc<Downloads>,
    rate: Rate,
    batches: Arc<Semaphore>,
    turns: Arc<Turns>,
    imports: Arc<Semaphore>,
    reach: Reach,
    heartbeat: Duration,
    stop: CancellationToken,
}

impl Api {
    /// An API on this store, giving orders to this relay.
    #[must_use]
    pub fn new(store: Store, relay: Handle, clock: Clock) -> Self {
        let request_hasher = RequestHasher::new(store.vault());
        let rate = Rate::new(Rates::default(), &clock);
        Self(Arc::new(Shared {
            store,
            relay,
            clock,
            request_hasher,
            keys: key_cache(),
            signers: key_cache(),
            used_nonces: moka::sync::Cache::builder()
                .max_capacity(auth::NONCES_MAX)
                .time_to_live(signature::NONCE_TIME)
                .build(),
            recordings: None,
            downloads: Arc::default(),
            rate,
            batches: Arc::new(Semaphore::new(binding_batch::BATCHES_MAX)),
            turns: Arc::default(),
            imports: Arc::new(Semaphore::new(imports::IMPORTS_READ_MAX)),
            reach: Reach::default(),
            heartbeat: live_calls::HEARTBEAT,
            stop: CancellationToken::new(),
        }))
    }

    /// The same, with recordings in this folder. To be called before it is shared.
    #[must_use]
    pub fn with_recordings(mut self, folder: PathBuf) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.0) {
            shared.recordings = Some(folder);
        }
        self
    }

    /// The same, with so many requests of a key and a tenant. To be called before it is shared.
    #[must_use]
    pub fn with_rates(mut self, rates: Rates) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.0) {
            shared.rate = Rate::new(rates, &shared.clock);
        }
        self
    }

    /// The same, with webhooks that reach so far. To be called before it is shared.
    #[must_use]
    pub fn with_reach(mut self, reach: Reach) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.0) {
            shared.reach = reach;
        }
        self
    }

    /// The same, with streams that are silent so long at the most. To be called before it is
    /// shared.
    #[must_use]
    pub fn with_heartbeat(mut self, heartbeat: Duration) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.0) {
            shared.heartbeat = heartbeat;
        }
        self
    }

    /// The same, with streams that end when this is cancelled. To be called before it is shared.
    #[must_use]
    pub fn with_stop(mut self, stop: CancellationToken) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.0) {
            shared.stop = stop;
        }
        self
    }

    fn heartbeat(&self) -> Duration {
        self.0.heartbeat
    }

    fn stop(&self) -> &CancellationToken {
        &self.0.stop
    }

    /// How far deliveries reach.
    fn reach(&self) -> Reach {
        self.0.reach
    }

    fn rate(&self) -> &Rate {
        &self.0.rate
    }

    fn recordings(&self) -> Option<&Path> {
        self.0.recordings.as_deref()
    }

    fn downloads(&self) -> &Arc<Downloads> {
        &self.0.downloads
    }

    fn turns(&self) -> &Arc<Turns> {
        &self.0.turns
    }

    fn batches(&self) -> &Arc<Semaphore> {
        &self.0.batches
    }

    fn imports(&self) -> &Arc<Semaphore> {
        &self.0.imports
    }

    fn store(&self) -> &Store {
        &self.0.store
    }

    fn relay(&self) -> &Handle {
        &self.0.relay
    }

    fn now(&self) -> Now {
        (self.0.clock)()
    }

    fn random_bits(&self) -> u128 {
        secrets::random_bits()
    }

    fn request_hasher(&self) -> &RequestHasher {
        &self.0.request_hasher
    }

    fn key_cache(&self) -> &KeyCache<[u8; secrets::HASH_BYTES]> {
        &self.0.keys
    }

    fn signer_cache(&self) -> &KeyCache<ApiKeyId> {
        &self.0.signers
    }

    fn used_nonces(&self) -> &moka::sync::Cache<(ApiKeyId, [u8; 16]), ()> {
        &self.0.used_nonces
    }

    /// How keys must be used has changed: this process looks at all of them again.
    fn forget_keys(&self) {
        self.0.keys.invalidate_all();
        self.0.signers.invalidate_all();
    }

    /// A key is over: this process does not take it any more.
    fn forget_key(&self, key: &ApiKey) {
        if let Ok(hash) = key.secret_hash.as_slice().try_into() {
            let hash: [u8; secrets::HASH_BYTES] = hash;
            self.0.keys.invalidate(&hash);
        }
        self.0.signers.invalidate(&key.id);
    }
}

fn key_cache<T: Hash + Eq + Send + Sync + 'static>() -> KeyCache<T> {
    moka::sync::Cache::builder()
        .max_capacity(auth::KEY_CACHE_MAX)
        .time_to_live(auth::KEY_CACHE_TIME)
        .build()
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Api")
    }
}

/// The whole API: operations under `/v1`, `/openapi.json`, `/docs`.
pub fn router(api: Api) -> Router {
    let (operations, document) = openapi::operations();
    let operations = operations
        .route_layer(from_fn_with_state(api.clone(), idempotency::once))
        .route_layer(from_fn_with_state(api.clone(), turns::wait))
        .route_layer(from_fn_with_state(api.clone(), auth::admit));
    operations
        .merge(openapi::pages(document))
        .fallback(layers::not_found)
        .method_not_allowed_fallback(layers::method_not_allowed)
        .layer(CatchPanicLayer::custom(layers::panicked))
        .layer(from_fn(layers::limit_time))
        // These have a time of their own: a long recording takes longer to check.
        .merge(downloads::routes())
        .layer(from_fn_with_state(api.clone(), layers::observe))
        .with_state(api)
}
