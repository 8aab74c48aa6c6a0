//! A PostgreSQL server as an operator has it: over TCP, with passwords, started and stopped by
//! whoever looks after it.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rustix::process::Signal;

use crate::peers::{Process, free_port};

const SUPERUSER: &str = "postgres";
const PASSWORD: &str = "superuser0password";

/// The server and its files, which end with the value.
pub(crate) struct Server {
    folder: PathBuf,
    port: u16,
    process: Option<Process>,
}

impl Server {
    pub(crate) fn start(name: &str) -> Self {
        let name = format!("maskline-e2e-{}-server-{name}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).expect("a writable folder for temporary files");
        // It runs as another user, who makes files in here.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).expect("our folder");
        let password = folder.join("password");
        write_password(&password);
        let mut server = Self { folder, port: free_port("127.0.0.1"), process: None };
        let mut initdb = server.program("initdb");
        initdb.args(["-U", SUPERUSER, "-A", "scram-sha-256", "-E", "UTF8", "--no-instructions"]);
        initdb.arg("--locale=C.UTF-8").arg("--pwfile").arg(&password);
        let made = initdb.output().expect("setpriv; `scripts/test` installs util-linux");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        server.run();
        server
    }

    /// One of PostgreSQL's own programs on our files.
    fn program(&self, name: &str) -> Command {
        let mut command = as_postgres();
        command.arg(programs().join(name)).arg("-D").arg(self.folder.join("data"));
        command
    }

    /// Starts it, again after a [`Self::stop`], and waits until it answers.
    pub(crate) fn run(&mut self) {
        let mut postgres = self.program("postgres");
        postgres.args(["-p", &self.port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        postgres.args(["-c", "fsync=off", "-c"]);
        postgres.arg(format!("unix_socket_directories={}", self.folder.display()));
        let mut process = Process::start(postgres, self.folder.join("log"));
        process.await_answer("PostgreSQL", || self.psql("select 1").status.success().then_some(()));
        self.process = Some(process);
    }

    /// Ends all sessions and the server, and waits until it is gone.
    pub(crate) fn stop(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.signal(Signal::INT);
        process.wait();
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Carries out what an administrator types; what the server answers.
    pub(crate) fn ask(&self, text: &str) -> String {
        let output = self.psql(text);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}: {errors}");
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    }

    fn psql(&self, text: &str) -> Output {
        let mut psql = Command::new("psql");
        psql.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", SUPERUSER]);
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-f", "-", "postgres"]);
        psql.env("PGPASSWORD", PASSWORD);
        psql.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = psql.spawn().expect("psql; `scripts/test` installs postgresql");
        // Where there is no server it does not read.
        let _ = process.stdin.take().expect("a pipe").write_all(text.as_bytes());
        process.wait_with_output().expect("its end")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.process.is_some() {
            self.stop();
        }
        // The folder is temporary in any case.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Carries out what is appended: never as root, which PostgreSQL's programs refuse.
fn as_postgres() -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "INT"]);
    if rustix::process::geteuid().is_root() {
        command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups"]);
    }
    command.arg("--").current_dir("/");
    command
}

/// Writes it where nobody reads it but whom the server runs as.
fn write_password(file: &Path) {
    let mut shell = as_postgres();
    shell.args(["sh", "-c", "umask 077 && cat >\"$1\"", "sh"]).arg(file).stdin(Stdio::piped());
    let mut process = shell.spawn().expect("setpriv; `scripts/test` installs util-linux");
    let mut input = process.stdin.take().expect("a pipe");
    input.write_all(PASSWORD.as_bytes()).expect("it reads");
    drop(input);
    assert!(process.wait().expect("its end").success(), "the password cannot be written");
    let mode = fs::metadata(file).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

/// Where the newest PostgreSQL of this machine has its programs.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").expect("postgresql is installed");
    let version = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let paths = versions.filter_map(|entry| Some(entry.ok()?.path()));
    let newest = paths.max_by_key(|path| version(path)).expect("a version");
    newest.join("bin")
}
