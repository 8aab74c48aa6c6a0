//! Our own session descriptions, written from our own facts: address, a random session id, codecs
//! of the allow-list.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use super::codec::{Codec, CodecSet, Payloads};
use super::session::{Direction, OtherLine, Session};

/// Our side of one leg.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Local {
    /// Our RTP address on this leg, as to be advertised; RTCP is the next port.
    pub rtp: SocketAddr,
    /// Random per leg and call. Only its lower 63 bits are written: some peers read a signed
    /// number.
    pub session_id: u64,
    /// Counts up with each change of our description on this leg.
    pub version: u64,
    /// What we are ready to do on this leg: the direction of the other side's SDP, since we stand
    /// in for it.
    pub direction: Direction,
    /// The packet length we ask for, in milliseconds.
    pub ptime_ms: u8,
}

impl Local {
    /// The first description of a leg: both ways, 20 ms.
    #[must_use]
    pub const fn new(rtp: SocketAddr, session_id: u64) -> Self {
        Self { rtp, session_id, version: 1, direction: Direction::SendRecv, ptime_ms: 20 }
    }
}

/// All of a description that may change from one to the next. `Debug` shows no text of the peer.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Said {
    pub(super) payloads: Payloads,
    pub(super) direction: Direction,
    pub(super) ptime_ms: u8,
    pub(super) audio_at: usize,
    /// The other media lines of the peer's offer.
    pub(super) refused: Box<[OtherLine]>,
}

impl Said {
    /// What answers `offer`.
    pub(super) fn to_answer(offer: &Session, codecs: CodecSet, direction: Direction) -> Self {
        Self {
            payloads: offer.payloads.only(codecs),
            direction: offer.direction.reversed().and(direction),
            ptime_ms: 0,
            audio_at: offer.audio_at,
            refused: offer.others.as_slice().into(),
        }
    }
}

/// An offer of `codecs` in our own numbering and order.
#[must_use]
pub fn offer(local: &Local, codecs: CodecSet) -> String {
    let payloads = Payloads::ours().only(codecs);
    describe(local, &Said { payloads, direction: local.direction, ..Said::default() })
}

/// An answer to `offer` that takes `codecs` of it in its numbering, and refuses its other media
/// lines, each at its place (RFC 3264 §6).
#[must_use]
pub fn answer(local: &Local, offer: &Session, codecs: CodecSet) -> String {
    describe(local, &Said::to_answer(offer, codecs, local.direction))
}

/// Writes a description: `said` on the lines of `local`.
pub(super) fn describe(local: &Local, said: &Said) -> String {
    let mut body = head(local);
    let (before, after) = said.refused.split_at(said.audio_at.min(said.refused.len()));
    for other in before {
        put(&mut body, format_args!("m={} 0 {} {}", other.kind, other.protocol, other.format));
    }
    audio(&mut body, local, &said.payloads, said.direction);
    for other in after {
        put(&mut body, format_args!("m={} 0 {} {}", other.kind, other.protocol, other.format));
    }
    body
}

fn head(local: &Local) -> String {
    let mut body = String::with_capacity(BODY_BYTES_USUAL);
    let family = family(local.rtp.ip());
    let address = local.rtp.ip();
    let id = local.session_id & SESSION_ID_MASK;
    put(&mut body, format_args!("v=0"));
    put(&mut body, format_args!("o=- {id} {} IN {family} {address}", local.version));
    put(&mut body, format_args!("s=-"));
    put(&mut body, format_args!("c=IN {family} {address}"));
    put(&mut body, format_args!("t=0 0"));
    body
}

fn audio(body: &mut String, local: &Local, payloads: &Payloads, direction: Direction) {
    let numbered = || Codec::ALL.into_iter().filter_map(|codec| Some((codec, payloads.of(codec)?)));
    let mut formats = String::with_capacity(16);
    for (_, payload_type) in numbered() {
        formats.push(' ');
        formats.push_str(&payload_type.to_string());
    }
    put(body, format_args!("m=audio {} RTP/AVP{formats}", local.rtp.port()));
    for (codec, payload_type) in numbered() {
        put(body, format_args!("a=rtpmap:{payload_type} {}", codec.rtpmap()));
        if codec == Codec::TelephoneEvent {
            put(body, format_args!("a=fmtp:{payload_type} 0-15"));
        }
    }
    put(body, format_args!("a=ptime:{}", local.ptime_ms));
    put(body, format_args!("a={}", direction.label()));
}

fn put(body: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = write!(body, "{line}\r\n");
}

const fn family(address: IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => "IP4",
        IpAddr::V6(_) => "IP6",
    }
}

const BODY_BYTES_USUAL: usize = 384;
const SESSION_ID_MASK: u64 = (1 << 63) - 1;
