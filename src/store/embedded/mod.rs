//! The machine's own PostgreSQL in a private folder on a private socket, for a start without any
//! database of one's own. It lives and dies with this process.

mod account;
mod binaries;
mod error;
mod folder;
mod server;

use std::path::{Path, PathBuf};
use std::thread::{Builder, JoinHandle};

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use tokio::sync::oneshot;

pub use error::EmbeddedError;

use super::StoreError;
use account::Account;
use binaries::Binaries;
use folder::Folder;
use server::Server;

/// The database inside the cluster.
const DATABASE: &str = "maskline";
/// Owns the tables; not a superuser, so that the embedded database behaves like any other.
const OWNER: &str = "maskline_owner";
/// The cluster's first role.
const SUPERUSER: &str = "postgres";
/// Inside the cluster's folder.
const DATA_FOLDER: &str = "data";
/// Inside the cluster's folder.
const SOCKET_FOLDER: &str = "socket";

/// How much a crash of the machine may cost.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Durability {
    /// Nothing that was committed: the only choice for a service.
    Full,
    /// Everything: for throw-away clusters of tests.
    ThrowAway,
}

/// Where the embedded cluster is and how it runs.
#[derive(Clone, Debug)]
pub struct EmbeddedConfig {
    /// Everything of the cluster is in here.
    pub folder: PathBuf,
    /// Where `initdb` and `postgres` are; searched for when absent.
    pub bin_dir: Option<PathBuf>,
    /// The server takes so many connections of each of the two pools, and a few more.
    pub connections_max: u32,
    /// What a crash may cost.
    pub durability: Durability,
}

/// A cluster as it lies on its folder.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClusterSeen {
    /// A start would make one.
    NotYet {
        /// Of this major version.
        major: u32,
    },
    /// It has been made; whether it runs is another question.
    There {
        /// By this major version.
        major: u32,
    },
}

/// A running cluster. It stops, in the background, when this is dropped; [`Cluster::stop`] waits.
#[derive(Debug)]
pub struct Cluster {
    socket: PathBuf,
    // Closing this end tells the thread to stop the server.
    stop: std::io::PipeWriter,
    ended: oneshot::Receiver<()>,
    thread: JoinHandle<()>,
}

impl Cluster {
    /// Starts the cluster, after making it if there is none yet.
    ///
    /// # Errors
    /// [`EmbeddedError`] says what to do: what to install, what holds the folder, which versions
    /// do not fit.
    pub async fn start(config: EmbeddedConfig) -> Result<Self, EmbeddedError> {
        let (stopped, stop) = std::io::pipe().map_err(|e| EmbeddedError::io("a pipe", &e))?;
        let (ready_tx, ready) = oneshot::channel();
        let (ended_tx, ended) = oneshot::channel();
        // The server gets a signal when the thread that spawned it ends: this one ends last.
        let thread = Builder::new()
            .name("postgres".to_owned())
            .spawn(move || {
                match launch(&config) {
                    Ok((server, folder)) => {
                        let socket = folder.socket().to_owned();
                        // Nobody waits any more: the pipe is closed too, and the server stops.
                        let _ = ready_tx.send(Ok(socket));
                        server.run_until_closed(&stopped);
                        // The lock is held until the server is gone.
                        drop(folder);
                    }
                    Err(error) => {
                        let _ = ready_tx.send(Err(error));
                    }
                }
                let _ = ended_tx.send(());
            })
            .map_err(|e| EmbeddedError::io("a thread", &e))?;
        let socket = ready.await.map_err(|_| EmbeddedError::ThreadDied)??;
        let cluster = Self { socket, stop, ended, thread };
        cluster.create_database().await?;
        Ok(cluster)
    }

    /// The folder used when none is configured.
    #[must_use]
    pub fn default_folder() -> PathBuf {
        if rustix::process::geteuid().is_root() {
            return PathBuf::from("/var/lib/maskline/pg");
        }
        let variable = |name| std::env::var_os(name).map(PathBuf::from);
        let state = variable("XDG_STATE_HOME").filter(|path| path.is_absolute());
        let home = || variable("HOME").unwrap_or_default().join(".local/state");
        state.unwrap_or_else(home).join("maskline/pg")
    }

    /// How the owner of the tables connects; the two roles of the program connect the same way.
    #[must_use]
    pub fn owner(&self) -> PgConnectOptions {
        self.options(OWNER).database(DATABASE)
    }

    /// How the owner connects to the cluster that another process runs on this folder.
    #[must_use]
    pub fn owner_beside(folder: &Path) -> PgConnectOptions {
        options(&folder.join(SOCKET_FOLDER), OWNER).database(DATABASE)
    }

    /// What there is on a folder. Nothing is made, locked or started.
    ///
    /// # Errors
    /// [`EmbeddedError`] as [`Self::start`] would say it: what to install, which versions do not
    /// fit.
    pub fn look(folder: &Path, bin_dir: Option<&Path>) -> Result<ClusterSeen, EmbeddedError> {
        let made_by = folder::major_version(&folder.join(DATA_FOLDER))?;
        let installed = Binaries::find(bin_dir, made_by)?.major;
        match made_by {
            Some(made_by) if made_by != installed => {
                let folder = folder.to_owned();
                Err(EmbeddedError::OtherVersion { folder, made_by, installed })
            }
            Some(major) => Ok(ClusterSeen::There { major }),
            None => Ok(ClusterSeen::NotYet { major: installed }),
        }
    }

    /// How the superuser connects: for tests and tools, never for the service.
    #[must_use]
    pub fn superuser(&self) -> PgConnectOptions {
        self.options(SUPERUSER).database("postgres")
    }

    /// The private directory of the socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Stops the server and waits until it is gone. Close the pools first: it ends their sessions.
    pub async fn stop(self) {
        drop(self.stop);
        // An error says that the thread has ended already.
        let _ = self.ended.await;
        // It has nothing left to do but return.
        let _ = self.thread.join();
    }

    fn options(&self, role: &str) -> PgConnectOptions {
        options(&self.socket, role)
    }

    async fn create_database(&self) -> Result<(), EmbeddedError> {
        let options = self.superuser().disable_statement_logging();
        let mut connection = options.connect().await.map_err(StoreError::from)?;
        create_missing(&mut connection).await.map_err(StoreError::from)?;
        // Whether or not it can say goodbye, the work is done.
        let _ = connection.close().await;
        Ok(())
    }
}

fn options(socket: &Path, role: &str) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass().socket(socket).username(role)
}

fn launch(config: &EmbeddedConfig) -> Result<(Server, Folder), EmbeddedError> {
    let account = Account::choose()?;
    let folder = Folder::open(&config.folder, account.as_ref())?;
    let made_by = folder.major_version()?;
    let binaries = Binaries::find(config.bin_dir.as_deref(), made_by)?;
    folder.wait_for_former_server()?;
    if made_by.is_none() {
        folder.init(&binaries, account.as_ref(), config.durability)?;
    }
    let server = Server::start(config, &folder, &binaries, account.as_ref())?;
    Ok((server, folder))
}

async fn create_missing(superuser: &mut PgConnection) -> Result<(), sqlx::Error> {
    let exists = async |query: &'static str, name: &str, connection: &mut PgConnection| {
        sqlx::query_scalar::<_, bool>(query).bind(name).fetch_one(connection).await
    };
    let role = "select exists (select from pg_roles where rolname = $1)";
    if !exists(role, OWNER, superuser).await? {
        sqlx::query("create role maskline_owner login createrole").execute(&mut *superuser).await?;
    }
    let database = "select exists (select from pg_database where datname = $1)";
    if !exists(database, DATABASE, superuser).await? {
        sqlx::query("create database maskline owner maskline_owner").execute(superuser).await?;
    }
    Ok(())
}
