//! The settings of the process: one TOML file, overridden by `MASKLINE__SECTION__KEY`. Everything
//! that is wrong is reported at once, with the file and the key.

mod check;
mod key;
mod load;
mod setting;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::domain::network::Transport;
use crate::domain::purpose::Purpose;
use crate::domain::recording::Retention;
use crate::domain::ring::RingTone;
use crate::domain::whisper::{OnSilence, WhisperPolicy};
pub use load::{ENVIRONMENT_PREFIX, Invalid, Problem};

/// All settings. [`Config::default`] is what `config/maskline.toml` says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// Where the store is.
    pub database: Database,
    /// Where the root key is.
    pub keys: Keys,
    /// The control API.
    pub api: Api,
    /// The listener for health, readiness and metrics.
    pub admin: Admin,
    /// Signalling.
    pub sip: Sip,
    /// The media plane.
    pub media: Media,
    /// What subscribers are told before a call is connected.
    pub whisper: Whisper,
    /// What subscribers who call can do by keys.
    pub menu: Menu,
    /// Caps against fraud.
    pub caps: Caps,
    /// What becomes of bindings by themselves.
    pub bindings: Bindings,
    /// The writer of CDRs.
    pub recorder: Recorder,
    /// What is kept of calls.
    pub recording: Recording,
    /// What the keys of a subscriber do after the bridge.
    pub dtmf: Dtmf,
    /// Where events are sent.
    pub webhooks: Webhooks,
    /// Log lines.
    pub log: Log,
    /// How long a graceful stop waits for calls to end by themselves.
    pub drain_timeout: Duration,
}

/// `[database]`
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Database {
    /// The owner's URL; absent means that we start the system's own PostgreSQL.
    pub url: Option<Secret>,
    /// The API's own URL; derived from `url` and the root key when absent.
    pub app_url: Option<Secret>,
    /// The relay's own URL; derived from `url` and the root key when absent.
    pub relay_url: Option<Secret>,
    /// Where the embedded PostgreSQL keeps its files; a usual place when absent.
    pub data_dir: Option<PathBuf>,
    /// Where `initdb` and `postgres` are; searched for when absent.
    pub bin_dir: Option<PathBuf>,
    /// Connections of each pool.
    pub connections_max: u32,
}

/// `[keys]`
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Keys {
    /// The file of the root key, mode 0400.
    pub root_file: PathBuf,
}

/// `[api]`
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Api {
    /// Where HTTP is served.
    pub listen: SocketAddr,
    /// PEM: our certificate and those between it and its root; HTTPS is served with it.
    pub tls_certificate: Option<PathBuf>,
    /// PEM: its private key.
    pub tls_key: Option<PathBuf>,
    /// PEM: what certificates of clients must chain to; none is asked for without it.
    pub tls_client_ca: Option<PathBuf>,
    /// Clients without a certificate are not served at all.
    pub tls_client_required: bool,
    /// The requests of one key in a second; 0: no limit.
    pub key_rps_max: usize,
    /// The requests of all keys of one tenant in a second; 0: no limit.
    pub tenant_rps_max: usize,
}

impl Api {
    const fn at(listen: SocketAddr) -> Self {
        Self {
            listen,
            tls_certificate: None,
            tls_key: None,
            tls_client_ca: None,
            tls_client_required: false,
            key_rps_max: 500,
            tenant_rps_max: 2_000,
        }
    }
}

/// `[admin]`
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Admin {
    /// Where health and metrics are served.
    pub listen: SocketAddr,
}

/// An address that peers are told; port 0, as a bare IP address has it, is the port in use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Advertised(pub SocketAddr);

/// One address that SIP is served on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Listener {
    /// How messages come.
    pub transport: Transport,
    /// Where.
    pub address: SocketAddr,
}

/// All addresses that SIP is served on, at least one of them UDP.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listeners(pub Vec<Listener>);

impl Listeners {
    /// One UDP address.
    #[must_use]
    pub fn udp(address: SocketAddr) -> Self {
        Self(vec![Listener { transport: Transport::Udp, address }])
    }

    /// The addresses of one transport.
    pub fn of(&self, transport: Transport) -> impl Iterator<Item = SocketAddr> {
        self.0.iter().filter(move |it| it.transport == transport).map(|it| it.address)
    }
}

/// The most threads that signal.
pub const SHARDS_MAX: usize = 64;

/// Where agents' softphones may register and call from.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Softphones {
    /// Nowhere: only trunks are heard.
    #[default]
    Off,
    /// The TLS listeners.
    Tls,
    /// The TLS and the TCP listeners.
    Streams,
}

/// What softphones are asked to answer challenges with.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum SoftphoneDigest {
    /// Whichever they like best.
    #[default]
    All,
    /// SHA-256 or better.
    Sha256,
    /// MD5 alone: some phones give up where anything else is offered beside it.
    Md5,
}

/// `[sip]`
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sip {
    /// The addresses that trunks send to.
    pub listen: Listeners,
    /// The address written into Via and Contact; this machine's main address when absent.
    pub advertise: Option<Advertised>,
    /// PEM: the certificate that TLS peers are shown.
    pub tls_certificate: Option<PathBuf>,
    /// PEM: its private key.
    pub tls_key: Option<PathBuf>,
    /// PEM: what the certificates of trunks without their own roots must chain to.
    pub tls_ca: Option<PathBuf>,
    /// Where agents' softphones may register and call from.
    pub softphones: Softphones,
    /// What they are asked to answer challenges with.
    pub softphone_digest: SoftphoneDigest,
    /// The calling code of the country whose national numbers carriers write without `+`.
    pub country_code: String,
    /// How long a callee rings.
    pub ring_timeout: Duration,
    /// A route that comes later refuses the attempt.
    pub route_deadline: Duration,
    /// The longest answered duration.
    pub duration_max: Duration,
    /// The session timer that we ask for: a side that is not refreshed in time is gone.
    pub session_expires: Duration,
    /// Silence of a trunk after which the next one is tried.
    pub failover_timeout: Duration,
    /// How often each target of a trunk is asked whether it is there; zero for never.
    pub probe_interval: Duration,
    /// How long a busy shard lets datagrams gather before it takes them; zero for never.
    pub gather: Duration,
    /// Calls at one time.
    pub calls_max: usize,
    /// New calls are refused while all datagrams wait longer than this.
    pub queue_delay_max: Duration,
    /// New calls in one second from one address; 0 for no limit beside that of its trunk.
    pub source_cps_max: usize,
    /// Threads that signal, each with its own calls; 0 means one for each processor.
    pub shards: usize,
}

/// `[media]`
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Media {
    /// The local address of the RTP sockets.
    pub bind: IpAddr,
    /// The address written into SDP; the SIP address when absent.
    pub advertise: Option<IpAddr>,
    /// The same for legs of the other family; the SIP address of that one when absent.
    pub advertise_other: Option<IpAddr>,
    /// The range of RTP and RTCP ports.
    pub ports: PortRange,
    /// How long a used port stays silent.
    pub port_quarantine: Duration,
    /// Silence of both sides after which a call ends.
    pub silence_timeout: Duration,
    /// Threads that forward packets; 0 means one for each processor.
    pub threads: usize,
    /// The folder of sounds that are played in the place of ours; absent means ours alone.
    pub prompts: Option<PathBuf>,
    /// Callers hear why they are refused before they get the final status.
    pub announce_refusals: bool,
    /// Where the ring tone comes from that agents hear.
    pub ring: RingTone,
    /// Who is put on hold hears a tone of ours.
    pub hold_tone: bool,
    /// The socket of `maskline media`; absent means that this process has the media plane itself.
    pub socket: Option<PathBuf>,
    /// Where `maskline media` serves health and metrics.
    pub admin: Option<SocketAddr>,
}

/// `[whisper]`
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Whisper {
    /// Which calls are announced, and which need a yes.
    pub mode: WhisperPolicy,
    /// How long a key is waited for, each of two times.
    pub timeout: Duration,
    /// What silence means where a yes is needed.
    pub on_timeout: OnSilence,
    /// A code is said with it, by which the call can be told from a false one later.
    pub code: bool,
}

/// `[menu]`
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Menu {
    /// There is one.
    pub enabled: bool,
    /// How long a key is waited for, each time.
    pub timeout: Duration,
}

/// Caps against fraud.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Caps {
    /// Calls at one time.
    pub calls_max: PerSubject,
    /// Calls that begin in one minute of the clock.
    pub calls_per_minute_max: PerSubject,
    /// Begun minutes of talk in one day of the clock, UTC.
    pub minutes_per_day_max: PerSubject,
}

/// A limit for each kind of subject, in the order of `CapSubject::COUNTED`; none where absent.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PerSubject(pub [Option<u32>; 4]);

/// `[bindings]`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Bindings {
    /// How long before its end a tenant hears of a binding; zero for never.
    pub expiry_notice: Duration,
}

impl Default for Bindings {
    fn default() -> Self {
        Self { expiry_notice: Duration::from_secs(7 * 24 * 3_600) }
    }
}

/// `[recorder]`
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Recorder {
    /// CDRs that may wait for the store; beyond it new attempts are refused.
    pub queue_max: usize,
}

/// `[recording]`
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Recording {
    /// The folder of recordings; absent means that nothing is recorded.
    pub folder: Option<PathBuf>,
    /// Calls for these purposes are recorded.
    pub purposes: Purposes,
    /// Those of them that end where they cannot be recorded.
    pub required: Purposes,
    /// How long recordings are kept.
    pub retention: Retention,
}

impl Default for Recording {
    fn default() -> Self {
        let (purposes, required) = (Purposes::default(), Purposes::default());
        Self { folder: None, purposes, required, retention: Retention::FiveYears }
    }
}

/// `[dtmf]`
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Dtmf {
    /// In calls for these purposes the insurer gets what the subscriber types.
    pub to_insurer: Purposes,
}

/// `[webhooks]`
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Webhooks {
    /// Receivers without TLS.
    pub allow_http: bool,
    /// Receivers in networks that are not open to everybody.
    pub allow_private: bool,
}

/// Some of the closed list of purposes.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Purposes(pub Vec<Purpose>);

/// `[log]`
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Log {
    /// Which lines are written.
    pub filter: String,
    /// How they look.
    pub format: LogFormat,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Pretty,
}

/// A range of UDP ports, both ends included.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PortRange {
    /// The lowest, even.
    pub first: u16,
    /// The highest, odd.
    pub last: u16,
}

impl PortRange {
    /// The port is one of ours.
    #[must_use]
    pub const fn contains(&self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

/// A value that holds a password. Its `Debug` shows nothing.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself; never to be logged.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

impl Default for Config {
    fn default() -> Self {
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Self {
            database: Database {
                url: None,
                app_url: None,
                relay_url: None,
                data_dir: None,
                bin_dir: None,
                connections_max: 16,
            },
            keys: Keys { root_file: PathBuf::from("/etc/maskline/root.key") },
            api: Api::at(SocketAddr::new(loopback, 8080)),
            admin: Admin { listen: SocketAddr::new(loopback, 9090) },
            sip: Sip {
                listen: Listeners::udp(SocketAddr::new(any, 5060)),
                advertise: None,
                tls_certificate: None,
                tls_key: None,
                tls_ca: None,
                softphones: Softphones::Off,
                softphone_digest: SoftphoneDigest::All,
                country_code: "86".to_owned(),
                ring_timeout: Duration::from_secs(60),
                route_deadline: Duration::from_secs(2),
                duration_max: Duration::from_secs(3 * 3_600),
                session_expires: Duration::from_secs(1_800),
                failover_timeout: Duration::from_secs(2),
                probe_interval: Duration::from_secs(30),
                gather: Duration::from_millis(15),
                calls_max: 20_000,
                queue_delay_max: Duration::from_millis(10),
                source_cps_max: 0,
                shards: 0,
            },
            media: Media {
                bind: any,
                advertise: None,
                advertise_other: None,
                ports: PortRange { first: 20_000, last: 29_999 },
                port_quarantine: Duration::from_secs(60),
                silence_timeout: Duration::from_secs(30),
                threads: 0,
                prompts: None,
                announce_refusals: true,
                ring: RingTone::default(),
                hold_tone: true,
                socket: None,
                admin: None,
            },
            whisper: Whisper {
                mode: WhisperPolicy::default(),
                timeout: Duration::from_secs(6),
                on_timeout: OnSilence::default(),
                code: false,
            },
            menu: Menu { enabled: false, timeout: Duration::from_secs(8) },
            caps: Caps::default(),
            bindings: Bindings::default(),
            recorder: Recorder { queue_max: 10_000 },
            recording: Recording::default(),
            dtmf: Dtmf::default(),
            webhooks: Webhooks::default(),
            log: Log { filter: "info".to_owned(), format: LogFormat::Json },
            drain_timeout: Duration::from_secs(300),
        }
    }
}

impl Config {
    /// Reads the file, if one is named, then the environment of the process, and checks the whole.
    ///
    /// # Errors
    /// [`Invalid`] lists every problem.
    pub fn load(file: Option<&std::path::Path>) -> Result<Self, Invalid> {
        load::load(file, std::env::vars_os())
    }

    /// The whole configuration as TOML, with one line of explanation for each key and no secrets.
    #[must_use]
    pub fn dump(&self) -> String {
        key::dump(self)
    }
}
