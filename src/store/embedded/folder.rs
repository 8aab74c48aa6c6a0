//! The folder of an embedded cluster: a lock, the data, the socket and the server's log.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FlockOperation;

use super::account::{self, Account};
use super::binaries::Binaries;
use super::server::{Wait, wait_for_exit};
use super::{DATA_FOLDER, Durability, EmbeddedError, SOCKET_FOLDER};

/// How long the server of a killed process may take to go down.
const FORMER_SERVER_TIME_MAX: Duration = Duration::from_secs(20);
/// `sun_path` has 108 bytes, and the server adds `/.s.PGSQL.5432.lock`.
const SOCKET_FOLDER_CHARS_MAX: usize = 85;

/// The folder, locked for this process.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    socket: PathBuf,
    // Unlocked when dropped, and by the system after a kill.
    _lock: Lock,
}

impl Folder {
    /// Makes the folder if needed and locks it.
    pub(super) fn open(path: &Path, account: Option<&Account>) -> Result<Self, EmbeddedError> {
        let at = EmbeddedError::at(path);
        let path = std::path::absolute(path).map_err(&at)?;
        DirBuilder::new().recursive(true).mode(0o755).create(&path).map_err(&at)?;
        let socket = path.join(SOCKET_FOLDER);
        if socket.as_os_str().len() > SOCKET_FOLDER_CHARS_MAX {
            return Err(EmbeddedError::PathTooLong(socket));
        }
        if let Some(account) = account {
            account.check_reaches(&socket)?;
        }
        let lock = lock(&path)?;
        make_private(&socket, account)?;
        Ok(Self { path, socket, _lock: lock })
    }

    pub(super) fn data(&self) -> PathBuf {
        self.path.join(DATA_FOLDER)
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    pub(super) fn log(&self) -> PathBuf {
        self.path.join("postgres.log")
    }

    /// The major version that made the cluster; absent when there is none yet.
    pub(super) fn major_version(&self) -> Result<Option<u32>, EmbeddedError> {
        major_version(&self.data())
    }

    /// The first line of `postmaster.pid`, and what the server says about itself in the eighth.
    pub(super) fn server_status(&self) -> Option<(i32, String)> {
        let text = std::fs::read_to_string(self.data().join("postmaster.pid")).ok()?;
        let mut lines = text.lines();
        let pid = lines.next()?.trim().parse().ok()?;
        Some((pid, lines.nth(6).unwrap_or_default().trim().to_owned()))
    }

    /// After a kill of our predecessor its server goes down by itself: that takes a moment.
    pub(super) fn wait_for_former_server(&self) -> Result<(), EmbeddedError> {
        let Some((pid, _)) = self.server_status() else { return Ok(()) };
        // The process number may belong to somebody else by now; a server works in its data.
        let works_in = std::fs::read_link(format!("/proc/{pid}/cwd")).ok();
        if works_in != self.data().canonicalize().ok() {
            return Ok(());
        }
        let Some(process) = rustix::process::Pid::from_raw(pid) else { return Ok(()) };
        match wait_for_exit(process, FORMER_SERVER_TIME_MAX) {
            Wait::Exited => Ok(()),
            Wait::StillThere => Err(EmbeddedError::FormerServer { folder: self.path.clone(), pid }),
        }
    }

    /// Makes the cluster beside its final place, so that a half-made one is never taken for whole.
    pub(super) fn init(
        &self,
        binaries: &Binaries,
        account: Option<&Account>,
        durability: Durability,
    ) -> Result<(), EmbeddedError> {
        let fresh = self.path.join("data.new");
        match std::fs::remove_dir_all(&fresh) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(EmbeddedError::at(&fresh)(error));
            }
            Ok(()) | Err(_) => {}
        }
        make_private(&fresh, account)?;
        let mut command = account::command(&binaries.initdb, account);
        command.arg("-D").arg(&fresh).args(["-A", "trust", "-U", "postgres", "-E", "UTF8"]);
        command.args(["--locale=C.UTF-8", "--no-instructions"]);
        if durability == Durability::ThrowAway {
            command.arg("--no-sync");
        }
        let output = command.output().map_err(|e| account::spawn_error(&e))?;
        if !output.status.success() {
            let output = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(EmbeddedError::Failed { program: "initdb", output });
        }
        std::fs::rename(&fresh, self.data()).map_err(EmbeddedError::at(&fresh))?;
        File::open(&self.path)
            .and_then(|folder| folder.sync_all())
            .map_err(EmbeddedError::at(&self.path))
    }
}

/// The major version that made the data; absent when there are none yet.
pub(super) fn major_version(data: &Path) -> Result<Option<u32>, EmbeddedError> {
    let text = match std::fs::read_to_string(data.join("PG_VERSION")) {
        Ok(text) => text,
        Err(_) if !data.exists() => return Ok(None),
        // Only the account of the server may look into it.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            return Err(EmbeddedError::at(data)(error));
        }
        Err(_) => return Err(EmbeddedError::NotACluster(data.to_owned())),
    };
    let version = text.trim().parse().ok();
    version.map(Some).ok_or_else(|| EmbeddedError::NotACluster(data.to_owned()))
}

/// A locked file. Closing it would not do: a process that another thread is just starting has a
/// copy of the descriptor until its own program runs, and the lock lives as long as any copy.
#[derive(Debug)]
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // A lock that cannot be given back is given back by closing.
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

fn lock(folder: &Path) -> Result<Lock, EmbeddedError> {
    let path = folder.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(EmbeddedError::at(&path))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Lock(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(EmbeddedError::InUse(folder.to_owned())),
        Err(error) => Err(EmbeddedError::at(&path)(error.into())),
    }
}

/// A folder that only the server's account may enter: with trust authentication this is the door.
fn make_private(path: &Path, account: Option<&Account>) -> Result<(), EmbeddedError> {
    let at = EmbeddedError::at(path);
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
            std::fs::set_permissions(path, private).map_err(&at)?;
        }
        Err(error) => return Err(at(error)),
    }
    if let Some(account) = account {
        chown(path, Some(account.uid), Some(account.gid)).map_err(&at)?;
    }
    Ok(())
}
