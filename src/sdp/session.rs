//! The facts that a peer's session description holds for us, and nothing else of it.

use std::fmt;
use std::net::SocketAddr;

use super::codec::{CodecSet, Payloads};
use super::crypto::Crypto;

/// What one side's SDP says about its audio.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Session {
    /// Where it receives RTP, and the only place it sends from. The address is unspecified on an
    /// old-style hold (`c=0.0.0.0`, RFC 3264 §8.4).
    pub rtp: SocketAddr,
    /// Where it receives RTCP: the next port, unless `a=rtcp` says otherwise (RFC 3605).
    pub rtcp: SocketAddr,
    /// Its payload types of the codecs we know.
    pub payloads: Payloads,
    /// Seen from its side; `c=0.0.0.0` counts as not receiving.
    pub direction: Direction,
    /// The packet length it asks for, in milliseconds, when it is a usual one.
    pub ptime_ms: Option<u8>,
    /// How its audio line names the kind of its packets.
    pub(super) profile: Profile,
    /// What its packets are encrypted with, if they are.
    pub(super) crypto: Option<Crypto>,
    /// The position of its audio line among its media lines.
    pub(super) audio_at: usize,
    /// Its other media lines in order, which our answer has to refuse one by one.
    pub(super) others: Vec<OtherLine>,
}

impl Session {
    /// The codecs it can do and we know.
    #[must_use]
    pub fn codecs(&self) -> CodecSet {
        self.payloads.codecs()
    }

    /// The same, as if it could do no more than `codecs`.
    ///
    /// # Errors
    /// [`InvalidSdp::NoCodec`] when no audio is left of it.
    pub fn only(mut self, codecs: CodecSet) -> Result<Self, InvalidSdp> {
        self.payloads = self.payloads.only(codecs);
        if self.codecs().has_audio() { Ok(self) } else { Err(InvalidSdp::NoCodec) }
    }

    /// What its packets are encrypted with, if they are.
    #[must_use]
    pub const fn crypto(&self) -> Option<&Crypto> {
        self.crypto.as_ref()
    }
}

/// What an audio line says of its packets. An answer repeats the word of its offer.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Profile {
    /// RFC 3551.
    #[default]
    Avp,
    /// With feedback by RTCP, RFC 4585; a peer lives without it.
    Avpf,
    /// RFC 3711.
    Savp,
    /// RFC 5124.
    Savpf,
}

impl Profile {
    const ALL: [Self; 4] = [Self::Avp, Self::Avpf, Self::Savp, Self::Savpf];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Avp => "RTP/AVP",
            Self::Avpf => "RTP/AVPF",
            Self::Savp => "RTP/SAVP",
            Self::Savpf => "RTP/SAVPF",
        }
    }

    pub(super) fn of_name(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.name().as_bytes() == name)
    }

    /// There is no such packet in clear.
    pub(super) const fn is_encrypted(self) -> bool {
        matches!(self, Self::Savp | Self::Savpf)
    }
}

/// A media line we do not take part in. It is only ever written back to the side it came from.
/// `Debug` shows no text.
#[derive(Clone, Eq, PartialEq)]
pub(super) struct OtherLine {
    /// `video`, `image`, a second `audio`.
    pub(super) kind: Box<str>,
    /// `RTP/SAVP`, `udptl`.
    pub(super) protocol: Box<str>,
    /// The first format.
    pub(super) format: Box<str>,
}

impl fmt::Debug for OtherLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OtherLine")
    }
}

/// Which way media flows, seen from the side that wrote the SDP.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Direction {
    /// Both ways.
    #[default]
    SendRecv,
    /// It sends and does not listen: the other side is on hold.
    SendOnly,
    /// It listens only.
    RecvOnly,
    /// Neither.
    Inactive,
}

impl Direction {
    /// The side sends.
    #[must_use]
    pub const fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// The side listens.
    #[must_use]
    pub const fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// The same flow, seen from the other side.
    #[must_use]
    pub const fn reversed(self) -> Self {
        match self {
            Self::SendRecv => Self::SendRecv,
            Self::SendOnly => Self::RecvOnly,
            Self::RecvOnly => Self::SendOnly,
            Self::Inactive => Self::Inactive,
        }
    }

    /// What both allow, seen from the same side.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        match (self.sends() && other.sends(), self.receives() && other.receives()) {
            (true, true) => Self::SendRecv,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (false, false) => Self::Inactive,
        }
    }

    /// The attribute's name.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    pub(super) fn of_attribute(name: &[u8]) -> Option<Self> {
        match name {
            b"sendrecv" => Some(Self::SendRecv),
            b"sendonly" => Some(Self::SendOnly),
            b"recvonly" => Some(Self::RecvOnly),
            b"inactive" => Some(Self::Inactive),
            _ => None,
        }
    }
}

/// Why a session description is of no use. It holds no text of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidSdp {
    /// A limit is exceeded: bytes, lines, media lines or formats.
    #[error("the session description is too large")]
    TooLarge,
    /// Not a session description. An offer like this is answered with 400.
    #[error("the session description is malformed")]
    Malformed,
    /// No RTP audio at a unicast address, or none that is encrypted as this leg has to be or may
    /// be, or none where the media of this leg has to be. An offer like this is answered with 488.
    #[error("the session description has no audio we can relay")]
    NoAudio,
    /// Audio, but no codec we know (or both sides know). An offer like this is answered with 488.
    #[error("the session description has no codec in common")]
    NoCodec,
}

/// The codecs of a call, which are what flows: those both sides can do, or both laws of G.711 where
/// each side speaks another one. Of these we answer the offerer what it has offered.
pub fn agree(offer: &Session, answer: &Session) -> Result<CodecSet, InvalidSdp> {
    offer.codecs().flowing_to(answer.codecs()).ok_or(InvalidSdp::NoCodec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_wishes_limit_the_flow() {
        assert_eq!(Direction::SendRecv.and(Direction::SendOnly), Direction::SendOnly);
        assert_eq!(Direction::RecvOnly.and(Direction::SendOnly), Direction::Inactive);
        assert_eq!(Direction::SendOnly.reversed(), Direction::RecvOnly);
    }
}
