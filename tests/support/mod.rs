//! Real PostgreSQL for tests: one throw-away cluster for each test binary, one database for each
//! test, and the program's own roles, so that row-level security is always in force.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use maskline::store::database::RoleLogin;
use maskline::store::embedded::{Cluster, Durability, EmbeddedConfig};
use maskline::store::{Database, DatabaseConfig, Store};
use maskline::vault::{KeyStore, RootKey, Vault};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection};

const TEMPLATE: &str = "maskline_template";
const CONNECTIONS_MAX: u32 = 20;
/// Folders of test binaries are this and their process.
const PREFIX: &str = "maskline-test-";

/// A moment that every test starts from: 2025-06-15 04:00 UTC, noon in Shanghai.
pub(crate) fn noon() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_749_960_000)
}

/// A database of one test.
pub(crate) struct TestDatabase {
    pub(crate) database: Database,
    pub(crate) store: Store,
    pub(crate) vault: Arc<Vault>,
    name: String,
}

impl TestDatabase {
    /// A connection that no row-level security binds: to lay things out and to look behind.
    pub(crate) async fn superuser(&self) -> PgConnection {
        let options = cluster().superuser().database(&self.name);
        options.connect().await.expect("the superuser connects")
    }

    /// A connection as one of the program's own roles.
    pub(crate) async fn connect_as(&self, role: &str) -> PgConnection {
        let options = cluster().superuser().database(&self.name).username(role);
        options.connect().await.expect("the role connects")
    }

    /// How the owner of the tables connects.
    pub(crate) fn owner(&self) -> PgConnectOptions {
        cluster().owner().database(&self.name)
    }
}

/// A fresh, migrated database.
pub(crate) async fn database() -> TestDatabase {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let mut superuser = cluster().superuser().connect().await.expect("the superuser connects");
    let sql = format!("create database {name} template {TEMPLATE} owner maskline_owner");
    sqlx::query(AssertSqlSafe(sql)).execute(&mut superuser).await.expect("a new database");
    superuser.close().await.expect("closed");

    let keys = keys();
    let database = connect(&name, &keys).await;
    let vault = Arc::new(Vault::new(keys).expect("a vault"));
    let store = Store::new(database.app.clone(), Arc::clone(&vault));
    TestDatabase { database, store, vault, name }
}

async fn connect(name: &str, keys: &Arc<dyn KeyStore>) -> Database {
    let owner = cluster().owner().database(name);
    let login = RoleLogin::Trusted;
    let config = DatabaseConfig { owner, login, connections_max: CONNECTIONS_MAX };
    Database::connect(config, keys, noon()).await.expect("migrated and connected")
}

/// The root key file of all databases of this test binary: they are copies of one template. It is
/// there as soon as the cluster is.
pub(crate) fn root_key() -> PathBuf {
    folder().join("root.key")
}

/// What is under that root key.
pub(crate) fn keys() -> Arc<dyn KeyStore> {
    Arc::new(RootKey::load(&root_key()).expect("the root key"))
}

/// The cluster of this test binary. It goes down when the binary ends; the next run removes what it
/// left behind.
pub(crate) fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    static TEMPLATE_MADE: OnceLock<()> = OnceLock::new();
    let cluster = CLUSTER.get_or_init(|| block_on_apart(start));
    // The template is made with the cluster's help, so it has a lock of its own.
    if std::thread::current().name() != Some(APART) {
        TEMPLATE_MADE.get_or_init(|| block_on_apart(make_template));
    }
    cluster
}

const APART: &str = "cluster-set-up";

/// Tests have runtimes of their own; what they share is set up outside of all of them.
fn block_on_apart<T: Send, F: Future<Output = T>>(work: fn() -> F) -> T {
    let run = move || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().build().expect("a runtime");
        runtime.block_on(work())
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name(APART.to_owned());
        thread.spawn_scoped(scope, run).expect("a thread").join().expect("no panic")
    })
}

async fn start() -> Cluster {
    let config = EmbeddedConfig {
        folder: folder(),
        bin_dir: None,
        connections_max: 300,
        durability: Durability::ThrowAway,
    };
    let cluster = Cluster::start(config).await.expect("PostgreSQL starts");
    let mut superuser = cluster.superuser().connect().await.expect("the superuser connects");
    let sql = format!("create database {TEMPLATE} owner maskline_owner");
    sqlx::query(AssertSqlSafe(sql)).execute(&mut superuser).await.expect("a template");
    superuser.close().await.expect("closed");
    RootKey::create(&root_key()).expect("a root key");
    cluster
}

async fn make_template() {
    connect(TEMPLATE, &keys()).await.close().await;
}

/// One for each process, at the same place for as long as it runs.
fn folder() -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(make_room).clone()
}

/// Finds a place; what processes that are gone have left there is removed.
fn make_room() -> PathBuf {
    let temporary = spacious();
    for entry in std::fs::read_dir(&temporary).expect("the temporary folder").flatten() {
        let name = entry.file_name();
        let Some(process) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else {
            continue;
        };
        if !PathBuf::from(format!("/proc/{process}")).exists() {
            // Another test binary may be removing it at this moment.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    temporary.join(format!("{PREFIX}{}", std::process::id()))
}

/// Memory if there is plenty: a cluster is thousands of files, and some disks remove them slowly.
fn spacious() -> PathBuf {
    const BYTES_MIN: u64 = 4 << 30;
    let memory = PathBuf::from("/dev/shm");
    let free = rustix::fs::statvfs(&memory).map_or(0, |fs| fs.f_bavail.saturating_mul(fs.f_frsize));
    if free >= BYTES_MIN { memory } else { std::env::temp_dir() }
}
