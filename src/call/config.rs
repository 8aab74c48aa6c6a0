//! What the brain needs to know before the first call: our address, the limits and the timers.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::joint_ask::JointAsk;
use crate::domain::purpose::Purpose;
use crate::domain::recording::Retention;
use crate::domain::ring::RingTone;
use crate::domain::whisper::{OnSilence, WhisperPolicy};
use crate::prompt::{ClipHashes, ClipTimes, Insurers};
use crate::sip::digest::Algorithm;
use crate::sip::transport::Transport;

/// The settings of one [`super::core::CallCore`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CallConfig {
    /// The address written into Via and Contact: where trunks reach this shard by UDP.
    pub advertise: SocketAddr,
    /// The same for streams and for the other address family, as far as they are listened on.
    pub more_addresses: Vec<(Transport, SocketAddr)>,
    /// What legs of the other family are told of media, where its sockets are of both.
    pub media_other: Option<IpAddr>,
    /// Written into our branches, tags and Call-IDs, so that replies find their shard.
    pub shard: u8,
    /// The calling code of the country whose national numbers are read without `+`.
    pub country_code: Box<str>,
    /// Calls at one time; more are refused with 503 before a transaction exists.
    pub calls_max: usize,
    /// Datagrams that wait longer than this, and not only in a burst, mean overload.
    pub queue_delay_max: Duration,
    /// New calls in one second from one source address; no limit when absent.
    pub source_cps_max: Option<u32>,
    /// The same for an address of softphones, all of which are at one shard.
    pub softphone_cps_max: Option<u32>,
    /// Attempts waiting for their route at one time.
    pub pending_routes_max: usize,
    /// How many attempts may be taken before the recorder gives credit back.
    pub recorder_credits: u32,
    /// A route that comes later refuses the attempt.
    pub route_deadline: Duration,
    /// Ports that come later refuse the attempt.
    pub media_deadline: Duration,
    /// Silence of a trunk after which the next one is tried.
    pub failover_timeout: Duration,
    /// How often each target of a trunk is asked whether it is there; zero for never.
    pub probe_interval: Duration,
    /// The algorithms that softphones are asked to answer with; some know MD5 alone, and nothing at
    /// all where others are offered beside it.
    pub softphone_digest: RangeInclusive<Algorithm>,
    /// How long the callee rings.
    pub ring_timeout: Duration,
    /// The longest answered duration where the route sets none.
    pub duration_max: Duration,
    /// What `Retry-After` says in a 503.
    pub retry_after: Duration,
    /// The session timer that we ask for, in seconds.
    pub session_expires_s: u32,
    /// Callers hear why they are refused.
    pub announce_refusals: bool,
    /// Where the ring tone comes from that the callers of subscribers hear.
    pub ring: RingTone,
    /// Who is put on hold hears a tone of ours, and nothing of what the other side sends.
    pub hold_tone: bool,
    /// What a subscriber hears before a call is bridged.
    pub whisper: WhisperConfig,
    /// What a subscriber who calls can do by keys.
    pub menu: MenuConfig,
    /// Which tenants have recorded their names.
    pub insurers: Arc<Insurers>,
    /// How that sounds which is said, for the record.
    pub clip_hashes: Arc<ClipHashes>,
    /// How long it takes to say it, for the case that nobody tells of its end.
    pub clip_times: Arc<ClipTimes>,
    /// What is recorded.
    pub recording: RecordingRules,
    /// In calls for these purposes the insurer gets what the subscriber types.
    pub keys_to_insurer: Vec<Purpose>,
    /// What others are asked to keep back in an overload of this brain or another one.
    pub joint_ask: JointAsk,
}

/// Which calls are recorded. All of them are said to be, and none without that.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RecordingRules {
    /// Those for these purposes.
    pub purposes: Vec<Purpose>,
    /// Those of them that end where they cannot be recorded.
    pub required: Vec<Purpose>,
    /// How long the recordings are kept.
    pub retention: Retention,
}

/// How subscribers are told who calls.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WhisperConfig {
    /// For which calls, and what they need.
    pub policy: WhisperPolicy,
    /// How long a key is waited for, each time.
    pub timeout: Duration,
    /// What silence means where a yes is needed.
    pub on_silence: OnSilence,
    /// The subscriber hears a code by which the call can be told from a false one later.
    pub speaks_code: bool,
}

/// The menu of a subscriber who calls X and presses a star or reaches nobody.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MenuConfig {
    /// There is one.
    pub is_enabled: bool,
    /// How long a key is waited for, each time.
    pub timeout: Duration,
}

impl Default for MenuConfig {
    fn default() -> Self {
        Self { is_enabled: false, timeout: Duration::from_secs(8) }
    }
}

impl Default for WhisperConfig {
    fn default() -> Self {
        Self {
            policy: WhisperPolicy::default(),
            timeout: Duration::from_secs(6),
            on_silence: OnSilence::default(),
            speaks_code: false,
        }
    }
}

impl CallConfig {
    /// The defaults of `config/maskline.toml`, for the one address that a relay must be told.
    #[must_use]
    pub fn new(advertise: SocketAddr) -> Self {
        Self {
            advertise,
            more_addresses: Vec::new(),
            media_other: None,
            shard: 0,
            country_code: "86".into(),
            calls_max: 20_000,
            queue_delay_max: Duration::from_millis(10),
            source_cps_max: None,
            softphone_cps_max: None,
            pending_routes_max: 5_000,
            recorder_credits: 10_000,
            route_deadline: Duration::from_secs(2),
            media_deadline: Duration::from_secs(2),
            failover_timeout: Duration::from_secs(2),
            probe_interval: Duration::ZERO,
            softphone_digest: Algorithm::Md5..=Algorithm::Sha512T256,
            ring_timeout: Duration::from_secs(60),
            duration_max: Duration::from_secs(3 * 3_600),
            retry_after: Duration::from_secs(5),
            session_expires_s: 1_800,
            announce_refusals: true,
            ring: RingTone::default(),
            hold_tone: true,
            whisper: WhisperConfig::default(),
            menu: MenuConfig::default(),
            insurers: Arc::default(),
            clip_hashes: Arc::default(),
            clip_times: Arc::default(),
            recording: RecordingRules {
                purposes: Vec::new(),
                required: Vec::new(),
                retention: Retention::FiveYears,
            },
            keys_to_insurer: Vec::new(),
            joint_ask: JointAsk::default(),
        }
    }
}
