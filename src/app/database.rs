//! Opens the database of the settings: a server of the operator's, or the embedded one.

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::SystemTime;

use super::{RootKeyFile, StartError, open_root_key};
use crate::config::{Config, Secret};
use crate::relay::now::now;
use crate::store::database::{CONNECTIONS_MIN, ConnectOptions, RoleLogin};
use crate::store::embedded::{Cluster, Durability, EmbeddedConfig, EmbeddedError};
use crate::store::trunk::TrunkSide;
use crate::store::{Database, DatabaseConfig, Store};
use crate::vault::{KeyStore, Vault};

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
    let pools = Database::connect(wanted, keys, now().wall).await?;
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
            let pools = Database::connect(wanted, &keys, now().wall).await?;
            OpenDatabase { pools, cluster: None }
        }
        opened => opened?,
    };
    Ok((Store::new(database.pools.app.clone(), vault), database))
}

fn parse(key: &'static str, url: Option<&Secret>) -> Result<ConnectOptions, StartError> {
    // The parser's own words may quote the password.
    let wrong = StartError::DatabaseUrl { key };
    let url = url.ok_or(StartError::DatabaseUrl { key })?;
    ConnectOptions::from_str(url.expose()).map_err(|_| wrong)
}

/// What `maskline doctor` sees of the database.
#[derive(Clone, Debug)]
pub struct DatabaseSeen {
    /// The server's version.
    pub version: String,
    /// The server's clock.
    pub database_now: SystemTime,
    /// Our clock, in the middle of asking.
    pub our_now: SystemTime,
    /// Trunks of tenants.
    pub insurer_trunks: usize,
    /// Trunks of carriers.
    pub carrier_trunks: usize,
}

/// Opens the database, beside a running service if there is one, looks, and closes it again.
///
/// # Errors
/// [`StartError`] names what is in the way.
pub async fn look_at_database(config: &Config) -> Result<DatabaseSeen, StartError> {
    let (_, database) = open_store(config).await?;
    let before = now();
    let facts = database.pools.relay.server_facts().await;
    let took = now().monotonic.saturating_duration_since(before.monotonic);
    let trunks = database.pools.relay.load_trunks().await;
    database.close().await;
    let (facts, trunks) = (facts?, trunks?);
    let carriers = trunks.iter().filter(|trunk| trunk.side == TrunkSide::Carrier).count();
    Ok(DatabaseSeen {
        version: facts.version,
        database_now: facts.now,
        our_now: before.wall + took / 2,
        insurer_trunks: trunks.len() - carriers,
        carrier_trunks: carriers,
    })
}
