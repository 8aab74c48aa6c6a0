//! What a database says of itself, for `maskline doctor`: looking changes nothing, and the server
//! is told so.

use std::time::SystemTime;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};

use super::convert::from_sql;
use super::database::{ConnectOptions, connect_owner, open_pool};
use super::migrate::{Applied, look_at_migrations};
use super::notice::Node;
use super::root_key::{Belonging, look_at_root_key};
use super::trunk::{TrunkFault, TrunkSide};
use super::{RelayPool, StoreError};
use crate::domain::id::TrunkId;
use crate::vault::{DatabaseRole, KeyStore};

/// The oldest major version of PostgreSQL that our SQL runs on.
pub const MAJOR_MIN: u32 = 15;

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
    let mut owner = connect_owner(read_only(owner)).await?;
    check_version(&mut owner).await?;
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

/// Refuses a server that would fail later, in the middle of a migration.
///
/// # Errors
/// [`StoreError::ServerTooOld`], or the database is away.
pub(super) async fn check_version(owner: &mut PgConnection) -> Result<(), StoreError> {
    let version: i32 = sqlx::query_scalar("select current_setting('server_version_num')::integer")
        .fetch_one(owner)
        .await?;
    recent(version.unsigned_abs())
}

/// Judges such as `150013`, which is 15.13.
fn recent(version: u32) -> Result<(), StoreError> {
    let found = version / 10_000;
    if found < MAJOR_MIN { Err(StoreError::ServerTooOld { found }) } else { Ok(()) }
}

fn read_only(options: PgConnectOptions) -> PgConnectOptions {
    options.options([("default_transaction_read_only", "on")])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_before_15_is_refused_by_its_number() {
        for version in [150_000, 150_013, 180_001] {
            assert!(recent(version).is_ok(), "{version}");
        }
        for (version, found) in [(140_018, 14), (90_624, 9)] {
            let told = recent(version).expect_err("too old").to_string();
            assert_eq!(told, format!("PostgreSQL {found} is too old: maskline needs 15 or later"));
        }
    }
}
