//! The call detail record: one per attempt, refused ones too. It never holds a real number.

use std::time::{Duration, SystemTime};

use super::cap::CapReached;
use super::cause::Cause;
use super::id::{AgentId, BindingId, CallId, IntentId, SubscriberId, TenantId, TrunkId};
use super::mark::Mark;
use super::menu::CallCode;
use super::number::VirtualNumber;
use super::purpose::Purpose;
use super::whisper::WhisperResult;

/// Which way an attempt goes.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Direction {
    /// An agent calls the subscriber.
    ToSubscriber,
    /// The subscriber (or a stranger) calls X.
    FromSubscriber,
}

impl Direction {
    /// The stable word in the store, events and the API.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::ToSubscriber => "to_subscriber",
            Self::FromSubscriber => "from_subscriber",
        }
    }

    /// Reads a label back, as stored.
    #[must_use]
    pub fn find_label(label: &str) -> Option<Self> {
        [Self::ToSubscriber, Self::FromSubscriber].into_iter().find(|way| way.label() == label)
    }
}

/// Who ended a call.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum EndedBy {
    /// The party that dialled.
    Caller,
    /// The party that was dialled.
    Callee,
    /// The relay itself: a rule, a timer, a fault, an operator.
    Relay,
}

impl EndedBy {
    /// The stable word in the store, events and the API.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Callee => "callee",
            Self::Relay => "relay",
        }
    }

    /// Reads a label back, as stored.
    #[must_use]
    pub fn find_label(label: &str) -> Option<Self> {
        [Self::Caller, Self::Callee, Self::Relay].into_iter().find(|party| party.label() == label)
    }
}

/// What the media plane counted and noticed on one side of a call.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct MediaCounts {
    /// Packets received from this side's peer and relayed.
    pub packets: u64,
    /// Packets lost on the way in, by RFC 3550 §A.3.
    pub lost: u64,
    /// Packets dropped: malformed, or from an address that is not the advertised one.
    pub dropped: u64,
    /// Interarrival jitter in microseconds, RFC 3550 §A.8.
    pub jitter_us: u32,
    /// To the peer and back in microseconds, as its last RTCP told; zero when it has told nothing.
    pub round_trip_us: u32,
    /// How it sounded when it reached us: the mean opinion score of the E-model in hundredths, from
    /// 100 to 441; zero when nothing was heard.
    pub mos_centi: u16,
    /// For some seconds this side was not heard while the other one was.
    pub one_way: bool,
    /// Its address was learnt from its packets.
    pub latched: bool,
}

/// What the subscriber was told before the bridge, and what came of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Whispered {
    /// What came of it.
    pub result: WhisperResult,
    /// What was said: the names of the clips in their order, without the digits of numbers.
    pub prompt: Box<str>,
    /// A SHA-256 of how that sounded, without those digits; absent in records of earlier programs.
    pub prompt_hash: Option<[u8; 32]>,
    /// When it had been heard to its end, or was interrupted by a key.
    pub heard_at: Option<SystemTime>,
    /// The code of the call, when one was spoken. It is written where the relay alone can see it,
    /// and never read back.
    pub code: Option<CallCode>,
}

/// One attempt, from INVITE to the end of both legs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Cdr {
    /// The attempt.
    pub call: CallId,
    /// Whose it is; absent when the number belongs to nobody.
    pub tenant: Option<TenantId>,
    /// The binding, when one was found.
    pub binding: Option<BindingId>,
    /// The subscriber, when a binding was found.
    pub subscriber: Option<SubscriberId>,
    /// The agent, when one was recognised.
    pub agent: Option<AgentId>,
    /// The number that was dialled, when it is one of ours: anything else may be somebody's own.
    pub virtual_number: Option<VirtualNumber>,
    /// Which way.
    pub direction: Direction,
    /// What it was for; absent where nobody could name it.
    pub purpose: Option<Purpose>,
    /// The intent that was named with it.
    pub intent: Option<IntentId>,
    /// What the trunk of leg A says of it beside that, each at most once; nothing of a trunk that
    /// is not trusted.
    pub marks: Vec<Mark>,
    /// The trunk of leg A.
    pub trunk_a: TrunkId,
    /// The trunk of leg B, when it was tried.
    pub trunk_b: Option<TrunkId>,
    /// When the INVITE arrived.
    pub started_at: SystemTime,
    /// When the callee first rang.
    pub ringing_at: Option<SystemTime>,
    /// When the callee answered: from then on its carrier counts.
    pub callee_answered_at: Option<SystemTime>,
    /// When the caller was answered and the sides were bridged.
    pub answered_at: Option<SystemTime>,
    /// When the last leg ended.
    pub ended_at: SystemTime,
    /// Bridged time by the monotonic clock; zero when never bridged.
    pub duration: Duration,
    /// INVITE in to the callee's INVITE out, by the monotonic clock; absent when the callee was not
    /// called.
    pub setup: Option<Duration>,
    /// Why it was refused or ended.
    pub cause: Cause,
    /// Every reason the gate found, in order; empty when allowed.
    pub reasons: Vec<Cause>,
    /// Who ended it.
    pub ended_by: EndedBy,
    /// The final SIP status sent to the caller, 200 when answered.
    pub sip_status: u16,
    /// ITU-T Q.850 cause value.
    pub q850: u8,
    /// Counted towards the caller and the callee; absent when no media was opened.
    pub media: Option<[MediaCounts; 2]>,
    /// Caps against fraud that it was the first to meet in their period: somebody is told of them
    /// with the record. Never read back.
    pub caps_reached: Vec<CapReached>,
    /// Absent where the callee was told nothing.
    pub whisper: Option<Box<Whispered>>,
}
