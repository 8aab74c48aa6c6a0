//! The outside world of these tests, from Debian packages: sipp as PBX and carrier, baresip as
//! phones. Each process belongs to one value and ends with it.

use std::fs::{self, File};
use std::io::Read as _;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use maskline::cli::demo::leak::{Canary, Hit};

use crate::sound;

/// The insurer's PBX, the carrier, and somebody in no trunk.
pub(crate) const INSURER: &str = "127.0.0.2";
pub(crate) const CARRIER: &str = "127.0.0.3";
pub(crate) const STRANGER: &str = "127.0.0.4";

/// baresip sends media from an unbound socket: on loopback that is this address, so it is also the
/// one to advertise. The relay would drop media from any other.
pub(crate) const MEDIA: &str = "127.0.0.1";

/// No wait in these tests is longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Of the output of a process that did not do what was waited for.
const SHOWN_LINES: usize = 60;

/// Looks again until `found` gives something.
#[expect(clippy::disallowed_methods, reason = "other processes are waited for by the real clock")]
pub(crate) fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = found() {
            return value;
        }
        assert!(begun.elapsed() < PATIENCE, "waited too long for {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// Below the ports that the system gives to sockets that ask for none, so that nobody takes one
/// between this look and its use.
const PORTS: std::ops::Range<u16> = 30_000..32_700;

/// A port of `address` that nobody uses now, nor the one above it, over UDP or TCP: a softphone
/// binds both. Each is given once.
pub(crate) fn free_port(address: &str) -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let pairs = u32::from(PORTS.end - PORTS.start) / 2;
    let is_free = |port: &u16| {
        (*port..port + 2).all(|port| {
            UdpSocket::bind((address, port)).is_ok() && TcpListener::bind((address, port)).is_ok()
        })
    };
    let next = || {
        let pair = std::process::id().wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) % pairs;
        PORTS.start + 2 * u16::try_from(pair).expect("fewer pairs than ports")
    };
    std::iter::repeat_with(next).take(100).find(is_free).expect("a free port")
}

/// A process that ends with its value; its output goes to a file.
pub(crate) struct Process {
    child: Child,
    pub(crate) output: PathBuf,
    name: String,
}

impl Process {
    pub(crate) fn start(mut command: Command, output: PathBuf) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        File::create(&output).expect("a writable folder");
        // A test may write there too.
        let file = File::options().append(true).open(&output).expect("just made");
        let errors = file.try_clone().expect("a second handle");
        command.stdin(Stdio::null()).stdout(file).stderr(errors);
        let child = command.spawn().unwrap_or_else(|error| {
            panic!("{name}: {error}; `scripts/test` installs sip-tester and baresip-core")
        });
        Self { child, output, name }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn text(&self) -> String {
        let mut bytes = Vec::new();
        File::open(&self.output).expect("its output").read_to_end(&mut bytes).expect("readable");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until the process says `words`.
    pub(crate) fn await_words(&mut self, words: &str) {
        let output = self.output.clone();
        let said = || fs::read(&output).map(|text| String::from_utf8_lossy(&text).contains(words));
        self.await_answer(&format!("`{words}`"), || said().expect("its output").then_some(()));
    }

    /// Waits until the process gives `answer`. When it ends before, or never does, the end of what
    /// it said is shown.
    #[expect(
        clippy::disallowed_methods,
        reason = "other processes are waited for by the real clock"
    )]
    pub(crate) fn await_answer<T>(&mut self, what: &str, answer: impl Fn() -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(answer) = answer() {
                return answer;
            }
            let ended = self.child.try_wait().expect("a child");
            if ended.is_some() || begun.elapsed() >= PATIENCE {
                let text = self.text();
                let lines: Vec<_> = text.lines().rev().take(SHOWN_LINES).collect();
                let last: Vec<_> = lines.into_iter().rev().collect();
                panic!("no {what} from {} ({ended:?}):\n{}", self.name, last.join("\n"));
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }

    /// Waits until it ends by itself.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let name = self.name.clone();
        until(&format!("the end of {name}"), || self.child.try_wait().expect("a child"))
    }

    /// Waits for a good end.
    pub(crate) fn succeeds(&mut self) {
        let status = self.wait();
        assert!(status.success(), "{} ended with {status}:\n{}", self.name, self.text());
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        // It may have ended by itself.
        let _ = rustix::process::kill_process(pid.expect("a process id"), signal);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// One run of a sipp scenario.
pub(crate) struct Sipp {
    pub(crate) process: Process,
    /// All messages sent and received.
    pub(crate) messages: PathBuf,
}

/// What sipp does.
pub(crate) struct Scenario<'a> {
    /// A file of `tests/e2e/sipp`.
    pub(crate) file: &'a str,
    /// What stands for `STATUS` in it.
    pub(crate) status: &'a str,
    /// Where it runs.
    pub(crate) local: SocketAddr,
    /// Whom it calls; nobody when it waits.
    pub(crate) remote: Option<SocketAddr>,
    /// Who calls whom: the fields of the scenario.
    pub(crate) fields: &'a str,
    pub(crate) calls: u32,
    pub(crate) calls_per_second: u32,
}

impl Sipp {
    pub(crate) fn start(folder: &Path, scenario: &Scenario<'_>) -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/sipp");
        let text = fs::read_to_string(here.join(scenario.file)).expect("a scenario");
        let name = format!("{}-{}", scenario.file.trim_end_matches(".xml"), scenario.local.port());
        let [file, fields, messages, output] =
            ["xml", "csv", "messages", "out"].map(|end| folder.join(format!("{name}.{end}")));
        fs::write(&file, text.replace("STATUS", scenario.status)).expect("a writable folder");
        fs::write(&fields, format!("SEQUENTIAL\n{}\n", scenario.fields)).expect("writable");
        let mut command = Command::new("sipp");
        if let Some(remote) = scenario.remote {
            command.arg(remote.to_string());
        }
        let ip = scenario.local.ip().to_string();
        command.args(["-i", &ip, "-mi", &ip, "-p", &scenario.local.port().to_string()]);
        command.arg("-sf").arg(&file);
        if !scenario.fields.is_empty() {
            command.arg("-inf").arg(&fields);
        }
        command.args(["-m", &scenario.calls.to_string()]);
        command.args(["-r", &scenario.calls_per_second.to_string(), "-nostdin", "-trace_msg"]);
        command.arg("-message_file").arg(&messages).args(["-timeout", "50s", "-timeout_error"]);
        let this = Self { process: Process::start(command, output), messages };
        if scenario.remote.is_none() {
            // It waits for calls once its port is taken.
            until("sipp's port", || UdpSocket::bind(scenario.local).err().map(|_| ()));
        }
        this
    }

    /// Where a number stands in what it sent, received and said.
    pub(crate) fn search(&self, number: &Canary) -> Vec<Hit> {
        search_files(number, &[&self.messages, &self.process.output])
    }

    /// Waits until all its calls went as the scenario says.
    pub(crate) fn succeeds(&mut self) {
        self.process.succeeds();
    }
}

/// A baresip softphone with a tone instead of a microphone and a file instead of a loudspeaker.
pub(crate) struct Softphone {
    pub(crate) process: Process,
    folder: PathBuf,
}

impl Softphone {
    /// Starts one that answers every call, or that dials `to` at once and hangs up after some
    /// seconds.
    pub(crate) fn start(
        folder: &Path,
        user: &str,
        ip: IpAddr,
        port: u16,
        hz: u32,
        to: Option<&str>,
    ) -> Self {
        Self::start_for(folder, user, (ip, port), hz, to.map(|to| (to, 6)))
    }

    /// The same for so many seconds.
    pub(crate) fn start_for(
        folder: &Path,
        user: &str,
        (ip, port): (IpAddr, u16),
        hz: u32,
        to: Option<(&str, u32)>,
    ) -> Self {
        let account =
            format!("<sip:{user}@{ip}:{port}>;regint=0;answermode=auto;audio_codecs=PCMA\n");
        let folder = folder.join(format!("phone-{port}"));
        let config = format!("sip_listen {ip}:{port}\n");
        let dial = to.map(|(to, seconds)| (format!("/dial {to}"), seconds.to_string()));
        let arguments = dial.as_ref().map(|(dial, seconds)| ["-e", dial, "-t", seconds]);
        let arguments = arguments.as_ref().map_or(&[][..], |arguments| arguments);
        Self::launch(folder, hz, &config, &account, arguments)
    }

    /// Starts one on loopback, with these settings beside the usual ones.
    pub(crate) fn launch(
        folder: PathBuf,
        hz: u32,
        more: &str,
        account: &str,
        arguments: &[&str],
    ) -> Self {
        let more = format!("net_interface {MEDIA}\n{more}");
        Self::launch_anywhere(folder, hz, &more, account, arguments)
    }

    /// Starts one that takes the address of this machine that it likes best.
    pub(crate) fn launch_anywhere(
        folder: PathBuf,
        hz: u32,
        more: &str,
        account: &str,
        arguments: &[&str],
    ) -> Self {
        fs::create_dir_all(&folder).expect("a writable folder");
        let tone = folder.join("tone.wav");
        sound::write_tone(&tone, hz, 30);
        let config = format!(
            "module_path {}\nmodule g711.so\nmodule aufile.so\nmodule sndfile.so\n\
             module_app account.so\nmodule_app menu.so\n\
             audio_source aufile,{}\nsnd_path {}\n{more}",
            module_folder(),
            tone.display(),
            folder.display()
        );
        fs::write(folder.join("config"), config).expect("a writable folder");
        fs::write(folder.join("contacts"), "").expect("a writable folder");
        fs::write(folder.join("accounts"), account).expect("a writable folder");
        let mut command = Command::new("baresip");
        command.arg("-s").arg("-f").arg(&folder).args(arguments);
        let mut process = Process::start(command, folder.join("out"));
        process.await_words("baresip is ready");
        Self { process, folder }
    }

    /// Where a number stands in its trace, or in a file that it made of the call.
    pub(crate) fn search(&self, number: &Canary) -> Vec<Hit> {
        let entries = fs::read_dir(&self.folder).expect("its folder");
        let files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
        let ours = ["config", "contacts", "accounts", "tone.wav"];
        let theirs = |file: &&PathBuf| !ours.iter().any(|name| file.ends_with(name));
        search_files(number, &files.iter().filter(theirs).collect::<Vec<_>>())
    }

    /// What it heard.
    pub(crate) fn heard(&self) -> Vec<i16> {
        self.heard_so_far().expect("a recording of the call")
    }

    /// What it has heard, once it hears something.
    pub(crate) fn heard_so_far(&self) -> Option<Vec<i16>> {
        self.file().map(|path| sound::read_samples(&path))
    }

    /// Where it keeps that.
    pub(crate) fn file(&self) -> Option<PathBuf> {
        fs::read_dir(&self.folder).expect("its folder").find_map(|entry| {
            let path = entry.expect("an entry").path();
            path.to_string_lossy().ends_with("-dec.wav").then_some(path)
        })
    }
}

fn search_files(number: &Canary, files: &[&PathBuf]) -> Vec<Hit> {
    let in_file = |file: &&PathBuf| {
        let bytes = fs::read(file).expect("a readable file");
        number.search(&file.display().to_string(), &bytes)
    };
    files.iter().flat_map(in_file).collect()
}

/// Debian puts the modules into a folder of the architecture on some releases.
pub(crate) fn module_folder() -> String {
    let found = fs::read_dir("/usr/lib").expect("/usr/lib").find_map(|entry| {
        let path = entry.expect("an entry").path().join("baresip/modules");
        path.is_dir().then(|| path.display().to_string())
    });
    let plain = "/usr/lib/baresip/modules";
    if Path::new(plain).is_dir() { plain.to_owned() } else { found.unwrap_or_default() }
}
