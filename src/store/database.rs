//! Connections: the owner's once for migrations, then two pools of roles that own nothing.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, PgPool};

/// How to reach a server; parses a `postgres://` URL.
pub use sqlx::postgres::PgConnectOptions as ConnectOptions;

use super::error::{Login, StoreError};
use super::migrate;
use super::notice::Node;
use super::root_key;
use super::server::check_version;
use crate::vault::{CallCodeHasher, DatabaseRole, KeyStore};

/// How long a caller waits for a free connection.
pub const ACQUIRE_TIME_MAX: Duration = Duration::from_secs(3);
/// The fewest connections a pool may have.
pub const CONNECTIONS_MIN: u32 = 2;

/// The API's connections: role `maskline_app`, one tenant at a time.
#[derive(Clone)]
pub struct AppPool(pub(super) PgPool, pub(super) Node);

/// The relay's connections: role `maskline_relay`, for routes and records. Whoever only looks has
/// no key for the codes of calls.
#[derive(Clone)]
pub struct RelayPool(pub(super) PgPool, pub(super) Node, pub(super) Option<CallCodeHasher>);

/// How the two roles log in.
#[derive(Clone)]
pub enum RoleLogin {
    /// The server trusts the private socket: the embedded cluster.
    Trusted,
    /// With passwords that the owner sets at every start, derived from the root key.
    Derived,
    /// With the given URLs; the owner does not touch the roles.
    Given {
        /// The API's.
        app: Box<PgConnectOptions>,
        /// The relay's.
        relay: Box<PgConnectOptions>,
    },
}

/// Where the database is and how big the pools are.
#[derive(Clone)]
pub struct DatabaseConfig {
    /// The owner of the tables; used for migrations only.
    pub owner: PgConnectOptions,
    /// How the program's own roles log in.
    pub login: RoleLogin,
    /// Connections of each of the two pools.
    pub connections_max: u32,
}

/// The two pools of the running program.
#[derive(Clone, Debug)]
pub struct Database {
    /// For the API and the jobs.
    pub app: AppPool,
    /// For the relay.
    pub relay: RelayPool,
}

impl Database {
    /// Migrates as the owner, then logs in as the two roles and makes sure that they are as weak as
    /// they should be.
    ///
    /// # Errors
    /// [`StoreError`]: unreachable, not our database, one of another root key, or a role with too
    /// many rights.
    pub async fn connect(
        config: DatabaseConfig,
        keys: &Arc<dyn KeyStore>,
        now: SystemTime,
    ) -> Result<Self, StoreError> {
        let mut owner = connect_owner(config.owner.clone()).await?;
        check_version(&mut owner).await?;
        // A database that belongs to others is left as it is, its schema and its logins too.
        root_key::refuse_foreign(&mut owner, keys.as_ref()).await?;
        migrate::migrate(&mut owner).await?;
        root_key::claim(&mut owner, keys.as_ref(), now).await?;
        migrate::create_partitions(&mut owner, now).await?;
        let (app, relay) = match config.login {
            RoleLogin::Given { app, relay } => (*app, *relay),
            RoleLogin::Trusted => (
                config.owner.clone().username(DatabaseRole::App.name()),
                config.owner.username(DatabaseRole::Relay.name()),
            ),
            RoleLogin::Derived => {
                let mut login = async |role: DatabaseRole| {
                    migrate::set_role_password(&mut owner, role, keys.as_ref()).await?;
                    let password = role.password(keys.as_ref())?;
                    let options = config.owner.clone().username(role.name()).password(&password);
                    Ok::<_, StoreError>(options)
                };
                (login(DatabaseRole::App).await?, login(DatabaseRole::Relay).await?)
            }
        };
        // The owner has done its part whether or not it can say goodbye.
        let _ = owner.close().await;
        let app = open_pool(app, config.connections_max, DatabaseRole::App).await?;
        let relay = open_pool(relay, config.connections_max, DatabaseRole::Relay).await?;
        let node = Node::new();
        let codes = Some(CallCodeHasher::new(keys.as_ref())?);
        Ok(Self { app: AppPool(app, node.clone()), relay: RelayPool(relay, node, codes) })
    }

    /// Closes both pools, after the running statements.
    pub async fn close(&self) {
        self.app.0.close().await;
        self.relay.0.close().await;
    }
}

impl AppPool {
    /// Connections that exist, and those of them that are idle; for metrics.
    #[must_use]
    pub fn counts(&self) -> (u32, usize) {
        (self.0.size(), self.0.num_idle())
    }
}

impl RelayPool {
    /// Connections that exist, and those of them that are idle; for metrics.
    #[must_use]
    pub fn counts(&self) -> (u32, usize) {
        (self.0.size(), self.0.num_idle())
    }
}

/// Statements are not logged: their timing is a metric, and a log is the last place for a
/// parameter.
fn quiet(options: PgConnectOptions) -> PgConnectOptions {
    options.application_name("maskline").disable_statement_logging()
}

/// The owner's connection.
pub(super) async fn connect_owner(options: PgConnectOptions) -> Result<PgConnection, StoreError> {
    let place = place(&options);
    let connected = quiet(options).connect().await;
    connected.map_err(|error| not_connected(Login::Owner, place, error))
}

/// Where the server is; nothing else of a URL is fit to be shown.
fn place(options: &PgConnectOptions) -> String {
    match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    }
}

fn not_connected(login: Login, place: String, error: sqlx::Error) -> StoreError {
    StoreError::NotConnected { login, place, error: Box::new(error.into()) }
}

pub(super) async fn open_pool(
    options: PgConnectOptions,
    connections_max: u32,
    role: DatabaseRole,
) -> Result<PgPool, StoreError> {
    let place = place(&options);
    let pool = PgPoolOptions::new()
        .max_connections(connections_max.max(CONNECTIONS_MIN))
        .min_connections(1)
        .acquire_timeout(ACQUIRE_TIME_MAX)
        .connect_with(quiet(options))
        .await
        .map_err(|error| not_connected(Login::Role(role), place, error))?;
    check_role(&pool, role).await?;
    Ok(pool)
}

/// A superuser, an owner or a role that may bypass row-level security would see every tenant's
/// rows.
async fn check_role(pool: &PgPool, role: DatabaseRole) -> Result<(), StoreError> {
    let (superuser, bypasses, owns, memberships): (bool, bool, bool, bool) = sqlx::query_as(
        "select r.rolsuper, r.rolbypassrls,
                exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace
                        where n.nspname = 'public' and pg_has_role(r.oid, c.relowner, 'member')),
                r.rolcreaterole
         from pg_roles r where r.rolname = current_user",
    )
    .fetch_one(pool)
    .await?;
    let excess = [
        (superuser, "is a superuser"),
        (bypasses, "may bypass row-level security"),
        (owns, "owns tables or is a member of their owner"),
        (memberships, "may create roles"),
    ];
    match excess.into_iter().find(|(found, _)| *found) {
        Some((_, excess)) => Err(StoreError::RoleTooStrong { role: role.name(), excess }),
        None => Ok(()),
    }
}

impl fmt::Debug for AppPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AppPool")
    }
}

impl fmt::Debug for RelayPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RelayPool")
    }
}

/// Without the URL: it may hold a password.
impl fmt::Debug for DatabaseConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseConfig(connections_max: {})", self.connections_max)
    }
}
