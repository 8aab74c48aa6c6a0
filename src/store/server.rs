//! What a database says of itself, for `maskline doctor`: looking changes nothing, and the server
//! is told so.

use std::time::SystemTime;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use super::convert::from_sql;
use super::database::{ConnectOptions, open_pool};
use super::migrate::{Applied, look_at_migrations};
use super::notice::Node;
use super::root_key::{Belonging, look_at_root_key};
use super::trunk::{TrunkFault, TrunkSide};
use super::{RelayPool, StoreError};
use crate::domain::id::TrunkId;
use crate::vault::{DatabaseRole, KeyStore};

/// A database as it introduces itself to its owner.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerFacts {
    /// Such as `15.13`.
    pub version: String,
    /// What its clock shows.
    pub now: SystemTime,
    /// How far the schema is.
    pub applied: Applied,
    /// Whose what is sealed in it is.
    pub root_key: Belonging,
}

/// The trunks that take part.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TrunkCounts {
    /// Trunks of tenants.
    pub insurers: usize,
    /// Trunks of carriers.
    pub carriers: usize,
    /// Those among them with which something is wrong.
    pub faults: Vec<(TrunkId, TrunkFault)>,
}

/// Asks a database about itself, as its owner, and with a root key whether it belongs to that.
///
/// # Errors
/// [`StoreError::Unavailable`] when it does not answer.
pub async fn look(
    owner: ConnectOptions,
    keys: Option<&dyn KeyStore>,
) -> Result<ServerFacts, StoreError> {
    let mut owner = read_only(owner).disable_statement_logging().connect().await?;
    let (version, now): (String, jiff_sqlx::Timestamp) =
        sqlx::query_as("select current_setting('server_version'), clock_timestamp()")
            .fetch_one(&mut owner)
            .await?;
    let applied = look_at_migrations(&mut owner).await?;
    let root_key = match keys {
        Some(keys) => look_at_root_key(&mut owner, keys).await?,
        None => Belonging::Unknown,
    };
    // Whether or not it can say goodbye, it has answered.
    let _ = owner.close().await;
    Ok(ServerFacts { version, now: from_sql(now), applied, root_key })
}

/// Logs in as the relay does, and counts its trunks.
///
/// # Errors
/// [`StoreError`] when the role cannot log in, or may do too much.
pub async fn count_trunks(relay: ConnectOptions) -> Result<TrunkCounts, StoreError> {
    let pool = open_pool(read_only(relay), 1, DatabaseRole::Relay).await?;
    let relay = RelayPool(pool, Node::new(), None);
    let trunks = relay.load_trunks().await;
    relay.0.close().await;
    let trunks = trunks?;
    let carriers = trunks.iter().filter(|trunk| trunk.side == TrunkSide::Carrier).count();
    let faults = trunks.iter().filter_map(|trunk| Some((trunk.id, trunk.fault()?))).collect();
    Ok(TrunkCounts { insurers: trunks.len() - carriers, carriers, faults })
}

fn read_only(options: PgConnectOptions) -> PgConnectOptions {
    options.options([("default_transaction_read_only", "on")])
}
