//! What a call's media answers to a packet, a command or the time.

use std::net::SocketAddr;
use std::ops::Range;

use crate::rtp::header::Foreign;
use crate::rtp::key::Key;
use crate::rtp::plane::{Report, SessionId, Side};
use crate::rtp::sound::Sound;

/// Where a packet has to go, and which part of the buffer it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Forward {
    /// The other side's RTP address; it is sent from our RTP socket of that side.
    pub to: SocketAddr,
    /// The bytes to send.
    pub bytes: Range<usize>,
}

/// Something to be played.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Play {
    /// What the brain calls it.
    pub play: u32,
    /// What is played.
    pub sound: Sound,
    /// A key of the listener ends it.
    pub until_key: bool,
}

/// What the brain shall hear of a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum News {
    /// A sound has ended.
    PlayDone {
        /// Who heard it.
        side: Side,
        /// Which one.
        play: u32,
        /// All of it was sent.
        was_sent: bool,
    },
    /// The peer of a side that may learn was found.
    Latched {
        /// Whose peer.
        side: Side,
    },
    /// One side is not heard while the other is, and nothing explains it.
    OneWay {
        /// Who is not heard.
        side: Side,
    },
    /// A key was pressed.
    Key {
        /// Who pressed it.
        side: Side,
        /// Which one.
        key: Key,
    },
}

impl News {
    /// The same as a message.
    #[must_use]
    pub const fn report(self, session: SessionId) -> Report {
        match self {
            Self::PlayDone { side, play, was_sent } => {
                Report::PlayDone { session, side, play, was_sent }
            }
            Self::Latched { side } => Report::Latched { session, side },
            Self::OneWay { side } => Report::OneWay { session, side },
            Self::Key { side, key } => Report::Key { session, side, key },
        }
    }
}

/// Why a packet went nowhere.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Dropped {
    /// It is not from the address that the side advertised.
    Stranger,
    /// Not RTP or RTCP, or its lengths lie.
    Malformed,
    /// STUN: we never agree to ICE.
    Stun,
    /// DTLS: we never agree to it.
    Dtls,
    /// A payload type that was not agreed.
    UnknownPayload,
    /// The sides are not joined.
    NotBridged,
    /// The other side does not listen now.
    Held,
    /// Something is played to the other side.
    Playing,
    /// Its number is far from the others, or it is older than what was sent in between.
    OutOfOrder,
    /// A telephone event that is not for the other side.
    Key,
    /// A telephone event of a press that is one too many in its second.
    TooManyKeys,
    /// The leg is encrypted, and its peer cannot be proved to have sent this now: another key, a
    /// packet in clear, or one that has come before.
    Unproved,
}

impl Dropped {
    /// All reasons.
    pub const ALL: [Self; 12] = [
        Self::Stranger,
        Self::Malformed,
        Self::Stun,
        Self::Dtls,
        Self::UnknownPayload,
        Self::NotBridged,
        Self::Held,
        Self::Playing,
        Self::OutOfOrder,
        Self::Key,
        Self::TooManyKeys,
        Self::Unproved,
    ];

    /// What a packet is that could not be read.
    #[cold]
    pub(in crate::rtp) fn unreadable(packet: &[u8]) -> Self {
        match Foreign::of(packet) {
            Some(Foreign::Stun) => Self::Stun,
            Some(Foreign::Dtls) => Self::Dtls,
            None => Self::Malformed,
        }
    }

    /// The label in metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Stranger => "stranger",
            Self::Malformed => "malformed",
            Self::Stun => "stun",
            Self::Dtls => "dtls",
            Self::UnknownPayload => "unknown_payload",
            Self::NotBridged => "not_bridged",
            Self::Held => "held",
            Self::Playing => "playing",
            Self::OutOfOrder => "out_of_order",
            Self::Key => "key",
            Self::TooManyKeys => "too_many_keys",
            Self::Unproved => "unproved",
        }
    }

    /// The position in [`Self::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// What is due at a timeout.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Due {
    /// Send our reports to both sides: [`super::Session::write_report`].
    pub reports: bool,
    /// Both sides have been silent for too long. Told again after the same time.
    pub silent: bool,
}
