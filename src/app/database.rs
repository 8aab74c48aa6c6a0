//! Opens the database of the settings: a server of the operator's, or the embedded one.

use std::path::PathBuf;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::SystemTime;

use super::{RootKeyFile, StartError, open_root_key};
use crate::config::{Config, Secret};
use crate::relay::now::now;
use crate::store::database::{CONNECTIONS_MIN, ConnectOptions, RoleLogin};
use crate::store::embedded::{Cluster, ClusterSeen, Durability, EmbeddedConfig, EmbeddedError};
use crate::store::error::Login;
use crate::store::root_key::Belonging;
use crate::store::server::{ServerFacts, TrunkCounts, count_trunks, look};
use crate::store::{Database, DatabaseConfig, Store, StoreError};
use crate::vault::{DatabaseRole, KeyStore, Vault};

/// A database at hand, and the server behind it when that is ours.
#[derive(Debug)]
pub struct OpenDatabase {
    /// Connections of the two roles.
    pub pools: Database,
    cluster: Option<Cluster>,
}

impl OpenDatabase {
    /// Closes the connections, and stops the server when it is ours.
    pub async fn close(self) {
        self.pools.close().await;
        if let Some(cluster) = self.cluster {
            cluster.stop().await;
        }
    }
}

/// Starts the embedded server if there is no URL, migrates, and opens both pools.
///
/// # Errors
/// [`StartError`] names what is in the way.
pub async fn open_database(
    config: &Config,
    keys: &Arc<dyn KeyStore>,
) -> Result<OpenDatabase, StartError> {
    let settings = &config.database;
    let connections_max = settings.connections_max;
    let (owner, login, cluster) = match &settings.url {
        Some(url) => {
            let login = match (&settings.app_url, &settings.relay_url) {
                (None, None) => RoleLogin::Derived,
                (app, relay) => RoleLogin::Given {
                    app: Box::new(parse("database.app_url", app.as_ref())?),
                    relay: Box::new(parse("database.relay_url", relay.as_ref())?),
                },
            };
            (parse("database.url", Some(url))?, login, None)
        }
        None => {
            let folder = settings.data_dir.clone().unwrap_or_else(Cluster::default_folder);
            let bin_dir = settings.bin_dir.clone();
            let durability = Durability::Full;
            let embedded = EmbeddedConfig { folder, bin_dir, connections_max, durability };
            let cluster = Cluster::start(embedded).await?;
            (cluster.owner(), RoleLogin::Trusted, Some(cluster))
        }
    };
    let wanted = DatabaseConfig { owner, login, connections_max };
    let connected = Database::connect(wanted, keys, now().wall).await;
    let pools = connected.map_err(|error| name_place(config, error))?;
    Ok(OpenDatabase { pools, cluster })
}

/// Opens the store for a command: beside a running service, or as the only process.
///
/// # Errors
/// [`StartError`] names what is in the way.
pub async fn open_store(config: &Config) -> Result<(Store, OpenDatabase), StartError> {
    let keys = open_root_key(config, RootKeyFile::MustExist)?;
    let vault = Arc::new(Vault::new(Arc::clone(&keys))?);
    let database = match open_database(config, &keys).await {
        Err(StartError::Embedded(EmbeddedError::InUse(folder))) => {
            let owner = Cluster::owner_beside(&folder);
            let connections_max = CONNECTIONS_MIN;
            let wanted = DatabaseConfig { owner, login: RoleLogin::Trusted, connections_max };
            let connected = Database::connect(wanted, &keys, now().wall).await;
            let pools = connected.map_err(|error| name_place(config, error))?;
            OpenDatabase { pools, cluster: None }
        }
        opened => opened?,
    };
    Ok((Store::new(database.pools.app.clone(), vault), database))
}

/// Who cannot connect is told which of the settings says where to.
fn name_place(config: &Config, error: StoreError) -> StartError {
    let StoreError::NotConnected { login, place, error } = error else {
        return StartError::Store(error);
    };
    let settings = &config.database;
    let key = match login {
        _ if settings.url.is_none() => "database.data_dir",
        Login::Role(DatabaseRole::App) if settings.app_url.is_some() => "database.app_url",
        Login::Role(DatabaseRole::Relay) if settings.relay_url.is_some() => "database.relay_url",
        Login::Owner | Login::Role(_) => "database.url",
    };
    StartError::Database { key, place, error }
}

fn parse(key: &'static str, url: Option<&Secret>) -> Result<ConnectOptions, StartError> {
    // The parser's own words may quote the password.
    let wrong = StartError::DatabaseUrl { key };
    let url = url.ok_or(StartError::DatabaseUrl { key })?;
    ConnectOptions::from_str(url.expose()).map_err(|_| wrong)
}

/// What `maskline doctor` sees of the database.
#[derive(Debug)]
pub enum DatabaseSeen {
    /// It answers.
    Answers {
        /// What it says of itself.
        facts: ServerFacts,
        /// Our clock, in the middle of asking.
        our_now: SystemTime,
        /// What the relay would see; absent as long as the schema or the root key is not ours.
        trunks: Option<Result<TrunkCounts, StartError>>,
    },
    /// The embedded one has been made and does not run.
    Stopped {
        /// Where.
        folder: PathBuf,
        /// Of which major version.
        major: u32,
    },
    /// There is none yet; the first start makes one.
    NotYet {
        /// Where.
        folder: PathBuf,
        /// Of which major version.
        major: u32,
    },
}

/// Looks at the database, beside a running service if there is one. Nothing is started, made,
/// migrated or set.
///
/// # Errors
/// [`StartError`] names what is in the way.
pub async fn look_at_database(config: &Config) -> Result<DatabaseSeen, StartError> {
    let settings = &config.database;
    if let Some(url) = &settings.url {
        let owner = parse("database.url", Some(url))?;
        return look_at_server(config, owner, || relay_login(config)).await;
    }
    let folder = settings.data_dir.clone().unwrap_or_else(Cluster::default_folder);
    let major = match Cluster::look(&folder, settings.bin_dir.as_deref())? {
        ClusterSeen::NotYet { major } => return Ok(DatabaseSeen::NotYet { folder, major }),
        ClusterSeen::There { major } => major,
    };
    let owner = Cluster::owner_beside(&folder);
    let relay = owner.clone().username(DatabaseRole::Relay.name());
    match look_at_server(config, owner, || Ok(relay)).await {
        Err(StartError::Database { error, .. }) if error.is_unavailable() => {
            Ok(DatabaseSeen::Stopped { folder, major })
        }
        seen => seen,
    }
}

async fn look_at_server(
    config: &Config,
    owner: ConnectOptions,
    relay: impl FnOnce() -> Result<ConnectOptions, StartError>,
) -> Result<DatabaseSeen, StartError> {
    let before = now();
    // That there is no root key is told elsewhere.
    let keys = open_root_key(config, RootKeyFile::MustExist).ok();
    let facts = look(owner, keys.as_deref()).await.map_err(|error| name_place(config, error))?;
    let took = now().monotonic.saturating_duration_since(before.monotonic);
    let is_ours = facts.applied.pending.is_empty()
        && !facts.applied.is_later
        && facts.root_key != Belonging::Foreign;
    let trunks = if is_ours {
        Some(match relay() {
            Ok(relay) => count_trunks(relay).await.map_err(|error| name_place(config, error)),
            Err(error) => Err(error),
        })
    } else {
        None
    };
    Ok(DatabaseSeen::Answers { facts, our_now: before.wall + took / 2, trunks })
}

/// How the relay's role logs in to a server of the operator's. Its password is set by a start and
/// by nothing else.
fn relay_login(config: &Config) -> Result<ConnectOptions, StartError> {
    if let Some(url) = &config.database.relay_url {
        return parse("database.relay_url", Some(url));
    }
    let keys = open_root_key(config, RootKeyFile::MustExist)?;
    let role = DatabaseRole::Relay;
    let owner = parse("database.url", config.database.url.as_ref())?;
    Ok(owner.username(role.name()).password(&role.password(keys.as_ref())?))
}
