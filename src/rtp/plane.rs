//! The messages between the brain and the media plane: commands down, reports up. Plain values, so
//! that the plane can live in a process of its own.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use zeroize::Zeroize as _;

use super::key::Key;
use super::sound::Sound;
use super::srtp::LegKeys;

/// A call as the media plane knows it: an opaque number chosen by the brain, never reused while the
/// call lives.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct SessionId(pub u128);

/// One of the two sides of a call, by who dialled.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub enum Side {
    /// The caller.
    A,
    /// The callee.
    B,
}

impl Side {
    /// The far side.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// 0 for A, 1 for B.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::A => 0,
            Self::B => 1,
        }
    }
}

/// Where one side says it receives media, from its SDP, and how it numbers the payloads.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct RemoteMedia {
    /// RTP, both the only accepted source and the destination.
    pub rtp: SocketAddr,
    /// RTCP: the next port unless `a=rtcp` says otherwise (RFC 3605).
    pub rtcp: SocketAddr,
    /// Payload types it understands: the numbers of its own SDP. Packets to it carry these.
    pub payloads_to: PayloadMap,
    /// Payload types it was told to use: the numbers of our SDP to it. Packets from it carry these;
    /// they differ from `payloads_to` only when it answered our offer with numbers of its own.
    pub payloads_from: PayloadMap,
    /// The side receives media: false on `sendonly` and `inactive`.
    pub receives: bool,
    /// The side sends media: false on `recvonly` and `inactive`. Its silence means nothing then.
    pub sends: bool,
    /// Its peer may be behind a NAT: the address must be the advertised one, but the port may turn
    /// out to be another. Only where the trunk says so.
    pub learning: bool,
}

impl RemoteMedia {
    /// The same of a peer that may be behind a NAT, or may not.
    #[must_use]
    pub const fn learning(self, learning: bool) -> Self {
        Self { learning, ..self }
    }
}

/// What happens to the keys typed by one side.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct KeyMode {
    /// The brain hears of each.
    pub report: bool,
    /// They pass to the other side.
    pub pass: bool,
    /// Their tones are looked for in the sound, too.
    pub inband: bool,
}

impl KeyMode {
    /// How a side's keys are treated until the brain says otherwise: nobody is told of them, and
    /// only those of the caller reach the other side.
    #[must_use]
    pub const fn at_open(side: Side) -> Self {
        let pass = match side {
            Side::A => true,
            Side::B => false,
        };
        Self { report: false, pass, inband: false }
    }
}

/// The most payload types one side may have.
pub const PAYLOADS_MAX: usize = 8;
/// Where telephone events stand in the call's codec list. Their timestamps stand still, so jitter
/// leaves them out.
pub const EVENT_POSITION: usize = 3;

/// Payload types of one side, by position in the call's codec list; `None` where the codec was not
/// agreed. Position [`EVENT_POSITION`] is that of telephone events.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct PayloadMap(pub [Option<u8>; PAYLOADS_MAX]);

/// The key of a recording. `Debug` shows nothing of it.
#[derive(Clone, Eq, PartialEq, Serialize, Deserialize)]
pub struct TapeKey {
    /// With which its frames are sealed.
    pub key: Box<[u8]>,
    /// The same, wrapped: it lies in the file.
    pub wrapped: Box<[u8]>,
}

impl Drop for TapeKey {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl fmt::Debug for TapeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TapeKey(***)")
    }
}

/// A recording that is to be made. What the numbers mean is not known here.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct RecordAs {
    /// Its name.
    pub recording: u128,
    /// Whose key it gets.
    pub tenant: u128,
    /// What is recorded.
    pub call: u128,
    /// When it begins, in Unix milliseconds.
    pub started_ms: u64,
    /// How long it is kept.
    pub retention: u8,
    /// With what it is written.
    pub key: TapeKey,
}

/// Orders to the media plane. Each names its call; orders for an unknown call are ignored and
/// counted.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// Open two port pairs. Answered by [`Report::Opened`] or [`Report::Failed`].
    Open {
        /// The call.
        session: SessionId,
    },
    /// The SDP of one side is known, or has changed.
    Update {
        /// The call.
        session: SessionId,
        /// Whose SDP.
        side: Side,
        /// What it says.
        remote: RemoteMedia,
        /// With what its packets and ours to it are encrypted; in clear without.
        keys: Option<Box<LegKeys>>,
    },
    /// Let media flow between the sides.
    Bridge {
        /// The call.
        session: SessionId,
    },
    /// Part the sides again. What is played to them goes on.
    Hold {
        /// The call.
        session: SessionId,
    },
    /// Play something to the peer of one side, in the place of what is being played to it. Needs
    /// no more than the SDP of that side. What the other side sends in the meantime goes nowhere.
    /// Answered by [`Report::PlayDone`] when it ends by itself or by a key.
    Play {
        /// The call.
        session: SessionId,
        /// Who hears it.
        side: Side,
        /// Chosen by the brain, to be told apart from what was played before.
        play: u32,
        /// What is played.
        sound: Sound,
        /// Any key typed by that side ends it.
        until_key: bool,
    },
    /// Stop what is played to one side. Not answered.
    Stop {
        /// The call.
        session: SessionId,
        /// Who hears it.
        side: Side,
    },
    /// What happens to the keys typed by one side from now on.
    Keys {
        /// The call.
        session: SessionId,
        /// Who types them.
        side: Side,
        /// What happens to them.
        mode: KeyMode,
    },
    /// Keep what passes between the sides from now on, until [`Command::Close`]. Prompts and keys
    /// are not kept. Answered by [`Report::Recording`].
    Record {
        /// The call.
        session: SessionId,
        /// As what.
        recording: Box<RecordAs>,
    },
    /// Close the ports and put them in quarantine. Answered by [`Report::Closed`].
    Close {
        /// The call.
        session: SessionId,
    },
}

impl Command {
    /// The call it names.
    #[must_use]
    pub const fn session(&self) -> SessionId {
        match self {
            Self::Open { session }
            | Self::Update { session, .. }
            | Self::Bridge { session }
            | Self::Hold { session }
            | Self::Play { session, .. }
            | Self::Stop { session, .. }
            | Self::Keys { session, .. }
            | Self::Record { session, .. }
            | Self::Close { session } => *session,
        }
    }
}

/// What the media plane tells the brain.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum Report {
    /// Both sides have ports; RTCP is the next odd port.
    Opened {
        /// The call.
        session: SessionId,
        /// Our RTP address towards A and towards B, as to be advertised.
        local: [SocketAddr; 2],
    },
    /// No ports could be opened.
    Failed {
        /// The call.
        session: SessionId,
    },
    /// Both sides have sent nothing for the configured time. Repeated each time that span passes
    /// again, so a brain that has lost track of a call can answer with [`Command::Close`].
    Silent {
        /// The call.
        session: SessionId,
    },
    /// Something that was played has ended by itself or by a key. Not told when it was stopped, or
    /// when something else took its place.
    PlayDone {
        /// The call.
        session: SessionId,
        /// Who heard it.
        side: Side,
        /// What it was, in the brain's words.
        play: u32,
        /// All of it was sent: false when there was nothing to send or no codec to say it in, and
        /// when the side did not listen for a part of it.
        was_sent: bool,
    },
    /// A key was pressed, and the brain has asked for the keys of this side. Once a press.
    Key {
        /// The call.
        session: SessionId,
        /// Who pressed it.
        side: Side,
        /// Which one.
        key: Key,
    },
    /// The peer of a side that may learn was found, at the port it announced or at another.
    Latched {
        /// The call.
        session: SessionId,
        /// Whose peer.
        side: Side,
    },
    /// The sides are joined and one of them is not heard, though nothing explains its silence.
    /// Told once for each time it falls silent.
    OneWay {
        /// The call.
        session: SessionId,
        /// Who is not heard.
        side: Side,
    },
    /// The media plane has ended while the session was open, and knows nothing of it any more.
    Lost {
        /// The call.
        session: SessionId,
    },
    /// A recording was asked for. Told again when one that has begun breaks off.
    Recording {
        /// The call.
        session: SessionId,
        /// Its file is being written; otherwise nothing is kept from now on, since there is no room
        /// or nothing to keep it.
        begun: bool,
    },
    /// The ports are closed.
    Closed {
        /// The call.
        session: SessionId,
        /// What each side's peer sent.
        counts: [SideCounts; 2],
    },
}

impl Report {
    /// The call it names.
    #[must_use]
    pub const fn session(&self) -> SessionId {
        match self {
            Self::Opened { session, .. }
            | Self::Failed { session }
            | Self::Silent { session }
            | Self::PlayDone { session, .. }
            | Self::Key { session, .. }
            | Self::Latched { session, .. }
            | Self::OneWay { session, .. }
            | Self::Lost { session }
            | Self::Recording { session, .. }
            | Self::Closed { session, .. } => *session,
        }
    }
}

/// What arrived from one side's peer.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct SideCounts {
    /// Packets relayed.
    pub packets: u64,
    /// Packets lost before us, RFC 3550 §A.3.
    pub lost: u64,
    /// Malformed packets and packets of strangers.
    pub dropped: u64,
    /// Interarrival jitter in microseconds, RFC 3550 §A.8.
    pub jitter_us: u32,
    /// To the peer and back, as its last RTCP told; zero when it has told nothing.
    pub round_trip_us: u32,
    /// How it sounded when it reached us: the mean opinion score of the E-model in hundredths, from
    /// 100 to 441; zero when nothing was heard.
    pub mos_centi: u16,
}

impl SideCounts {
    /// Of a side that was never heard.
    pub const NOTHING: Self =
        Self { packets: 0, lost: 0, dropped: 0, jitter_us: 0, round_trip_us: 0, mos_centi: 0 };
}

/// Where the media plane's sockets are bound and what is written into SDP.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PlaneAddress {
    /// The local address of the sockets.
    pub bind: IpAddr,
    /// The address that peers are told.
    pub advertise: IpAddr,
}
