//! Why the embedded PostgreSQL cannot run, each with the way out.

use std::io;
use std::path::{Path, PathBuf};

use crate::store::StoreError;
use crate::store::server::MAJOR_MIN;

/// Why there is no embedded cluster. Shown to the person who starts the program.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// The programs are not on this machine.
    #[error(
        "PostgreSQL is not installed: install the package `postgresql` (Debian: apt-get install \
         postgresql), or set database.url to a server of your own"
    )]
    Missing,
    /// The programs are of a version that we do not know how to use.
    #[error(
        "PostgreSQL {found} is too old, maskline needs {MAJOR_MIN} or later: install a later one, \
         or set database.url to a server of your own"
    )]
    TooOld {
        /// The major version that was found.
        found: u32,
    },
    /// `database.bin_dir` is wrong.
    #[error("{} does not hold initdb and postgres; see database.bin_dir", .0.display())]
    BinDirWrong(PathBuf),
    /// `setpriv` is not on this machine.
    #[error("setpriv is not installed: install the package `util-linux`")]
    SetprivMissing,
    /// PostgreSQL refuses to run as root, and there is nobody else.
    #[error("there is neither an account `postgres` nor `nobody` to run PostgreSQL as")]
    AccountMissing,
    /// The account cannot get to the folder.
    #[error(
        "the account {account} cannot enter {}: choose another database.data_dir, or open the \
         folder with chmod o+x", path.display()
    )]
    Unreachable {
        /// Where it is stopped.
        path: PathBuf,
        /// Who.
        account: String,
    },
    /// Another process has the lock.
    #[error("another maskline runs on {} already; stop it, or set database.data_dir", .0.display())]
    InUse(PathBuf),
    /// The server of a killed process is still going down.
    #[error("the former server on {} (process {pid}) does not stop", folder.display())]
    FormerServer {
        /// The cluster's folder.
        folder: PathBuf,
        /// The server's process.
        pid: i32,
    },
    /// The cluster was made by another major version.
    #[error(
        "{} was made by PostgreSQL {made_by}, but this is PostgreSQL {installed}: install \
         postgresql-{made_by}, or carry the data over with pg_dump and a new folder, or with \
         pg_upgrade", folder.display()
    )]
    OtherVersion {
        /// The cluster's folder.
        folder: PathBuf,
        /// The version in `PG_VERSION`.
        made_by: u32,
        /// The version of the programs that were found.
        installed: u32,
    },
    /// The folder holds something else.
    #[error("{} holds files that are no cluster of maskline", .0.display())]
    NotACluster(PathBuf),
    /// A Unix socket's path is short.
    #[error("{} is too long for a socket; choose a shorter database.data_dir", .0.display())]
    PathTooLong(PathBuf),
    /// A PostgreSQL program failed.
    #[error("{program} failed: {output}")]
    Failed {
        /// Which.
        program: &'static str,
        /// Its last words.
        output: String,
    },
    /// It runs, but does not get ready.
    #[error("PostgreSQL is not ready after {0} s; see postgres.log in the data folder")]
    NotReady(u64),
    /// The thread that watches the server is gone.
    #[error("the thread of the embedded PostgreSQL has died")]
    ThreadDied,
    /// The system refused.
    #[error("cannot use {what}: {kind}")]
    Io {
        /// A path, or what was asked for.
        what: String,
        /// What the system said.
        kind: io::ErrorKind,
    },
    /// The server runs, but does not answer as it should.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl EmbeddedError {
    pub(super) fn io(what: &str, error: &io::Error) -> Self {
        Self::Io { what: what.to_owned(), kind: error.kind() }
    }

    pub(super) fn at(path: &Path) -> impl Fn(io::Error) -> Self + '_ {
        move |error| Self::io(&path.display().to_string(), &error)
    }
}
