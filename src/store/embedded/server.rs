//! The server process: started, watched and stopped by one thread.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use super::account::{self, Account};
use super::binaries::Binaries;
use super::folder::Folder;
use super::{Durability, EmbeddedConfig, EmbeddedError};

/// Recovery after a crash is included.
const READY_TIME_MAX: Duration = Duration::from_secs(120);
/// How often `postmaster.pid` is read while the server starts.
const READY_PERIOD: Duration = Duration::from_millis(10);
/// A fast shutdown writes one checkpoint.
const STOP_TIME_MAX: Duration = Duration::from_secs(60);
/// Lines of the server's log that an error shows.
const LOG_LINES_MAX: usize = 5;
/// Connections beside those of the two pools: migrations, tools.
const CONNECTIONS_SPARE: u32 = 10;

/// A running server.
pub(super) struct Server {
    child: Child,
    pid: Pid,
}

/// Whether a process has ended in time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Wait {
    Exited,
    StillThere,
}

impl Server {
    /// Returns when it takes connections.
    pub(super) fn start(
        config: &EmbeddedConfig,
        folder: &Folder,
        binaries: &Binaries,
        account: Option<&Account>,
    ) -> Result<Self, EmbeddedError> {
        if let Some(made_by) = folder.major_version()?.filter(|major| *major != binaries.major) {
            let (folder, installed) = (config.folder.clone(), binaries.major);
            return Err(EmbeddedError::OtherVersion { folder, made_by, installed });
        }
        let path = folder.log();
        let log = File::create(&path).map_err(EmbeddedError::at(&path))?;
        let errors = log.try_clone().map_err(EmbeddedError::at(&path))?;
        let child = command(config, folder, binaries, account)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .map_err(|e| account::spawn_error(&e))?;
        let pid = Pid::from_child(&child);
        let mut server = Self { child, pid };
        match server.wait_until_ready(folder) {
            Ok(()) => Ok(server),
            Err(error) => {
                server.stop();
                Err(error)
            }
        }
    }

    fn wait_until_ready(&mut self, folder: &Folder) -> Result<(), EmbeddedError> {
        let rounds = READY_TIME_MAX.as_millis() / READY_PERIOD.as_millis();
        for _ in 0..rounds {
            if wait_for_exit(self.pid, READY_PERIOD) == Wait::Exited {
                let output = last_lines(folder);
                return Err(EmbeddedError::Failed { program: "postgres", output });
            }
            let status = folder.server_status();
            let own = status.filter(|(pid, _)| *pid == self.pid.as_raw_pid());
            if own.is_some_and(|(_, state)| state == "ready") {
                return Ok(());
            }
        }
        Err(EmbeddedError::NotReady(READY_TIME_MAX.as_secs()))
    }

    /// Waits until the other end of the pipe is closed, or the server dies, and leaves nothing
    /// behind.
    pub(super) fn run_until_closed(mut self, stopped: &impl AsFd) {
        if let Ok(process) = pidfd_open(self.pid, PidfdFlags::empty()) {
            let mut events = [
                PollFd::new(stopped, PollFlags::IN),
                PollFd::from_borrowed_fd(process.as_fd(), PollFlags::IN),
            ];
            while poll(&mut events, None) == Err(rustix::io::Errno::INTR) {}
            let [_, died] = &events;
            if !died.revents().is_empty() {
                tracing::error!("The embedded PostgreSQL has stopped by itself");
            }
        }
        self.stop();
    }

    /// Fast shutdown: sessions end, a checkpoint is written. A server that hangs is told to quit
    /// at once, and recovers at its next start.
    fn stop(&mut self) {
        for signal in [Signal::INT, Signal::QUIT] {
            // It may be gone already.
            let _ = kill_process(self.pid, signal);
            if wait_for_exit(self.pid, STOP_TIME_MAX) == Wait::Exited {
                break;
            }
        }
        let _ = self.child.wait();
    }
}

/// Waits on the process itself, so that nothing has to be guessed or slept through.
pub(super) fn wait_for_exit(pid: Pid, time: Duration) -> Wait {
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { return Wait::Exited };
    let mut events = [PollFd::new(&process, PollFlags::IN)];
    let timeout = Timespec::try_from(time).ok();
    match poll(&mut events, timeout.as_ref()) {
        Ok(0) | Err(_) => Wait::StillThere,
        Ok(_) => Wait::Exited,
    }
}

fn command(
    config: &EmbeddedConfig,
    folder: &Folder,
    binaries: &Binaries,
    account: Option<&Account>,
) -> Command {
    let mut command = account::command(&binaries.postgres, account);
    let connections = config.connections_max.saturating_mul(2).saturating_add(CONNECTIONS_SPARE);
    command.arg("-D").arg(folder.data());
    let mut set = |setting: String| {
        command.arg("-c").arg(setting);
    };
    set("listen_addresses=".to_owned());
    set(format!("unix_socket_directories={}", folder.socket().display()));
    set("unix_socket_permissions=0700".to_owned());
    set(format!("max_connections={connections}"));
    set("timezone=UTC".to_owned());
    set("jit=off".to_owned());
    // Parameters are sealed or harmless; still, a log is the last place for them.
    set("log_parameter_max_length=0".to_owned());
    set("log_parameter_max_length_on_error=0".to_owned());
    match config.durability {
        Durability::Full => {}
        Durability::ThrowAway => {
            for setting in ["fsync=off", "synchronous_commit=off", "full_page_writes=off"] {
                set(setting.to_owned());
            }
        }
    }
    // Ctrl-C at the terminal reaches us first, and we stop the server last.
    command.process_group(0);
    command
}

fn last_lines(folder: &Folder) -> String {
    let log = std::fs::read(folder.log()).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let lines: Vec<&str> = log.lines().collect();
    let start = lines.len().saturating_sub(LOG_LINES_MAX);
    lines.get(start..).unwrap_or_default().join("; ")
}
