//! Our own session descriptions, written from our own facts: address, a random session id, codecs
//! of the allow-list.

use std::net::{IpAddr, SocketAddr};

use super::codec::{Codec, CodecSet, Payloads};
use super::crypto::Crypto;
use super::session::{Direction, OtherLine, Profile, Session};

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

/// All of a description that may change from one to the next. `Debug` shows no text of the peer,
/// and no key.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Said {
    pub(super) payloads: Payloads,
    pub(super) direction: Direction,
    pub(super) ptime_ms: u8,
    pub(super) profile: Profile,
    /// Our keys: several to choose from in an offer, the one that was chosen in an answer.
    pub(super) crypto: Vec<Crypto>,
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
            profile: offer.profile,
            crypto: Vec::new(),
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
    let mut body = Vec::with_capacity(BODY_BYTES_USUAL);
    head(&mut body, local);
    let (before, after) = said.refused.split_at(said.audio_at.min(said.refused.len()));
    for other in before {
        refuse(&mut body, other);
    }
    audio(&mut body, local, said);
    for other in after {
        refuse(&mut body, other);
    }
    String::from_utf8(body).expect("only text is written into it")
}

fn put(body: &mut Vec<u8>, text: &str) {
    body.extend_from_slice(text.as_bytes());
}

fn head(body: &mut Vec<u8>, local: &Local) {
    put(body, "v=0\r\no=- ");
    put_decimal(body, local.session_id & SESSION_ID_MASK);
    put(body, " ");
    put_decimal(body, local.version);
    let start = body.len();
    put(body, family(local.rtp.ip()));
    put_address(body, local.rtp.ip());
    let end = body.len();
    put(body, "\r\ns=-\r\nc=IN");
    body.extend_from_within(start + " IN".len()..end);
    put(body, "\r\nt=0 0\r\n");
}

fn refuse(body: &mut Vec<u8>, other: &OtherLine) {
    for text in ["m=", &*other.kind, " 0 ", &*other.protocol, " ", &*other.format, "\r\n"] {
        put(body, text);
    }
}

fn audio(body: &mut Vec<u8>, local: &Local, said: &Said) {
    let Said { payloads, direction, profile, crypto, .. } = said;
    let numbered = || Codec::ALL.into_iter().filter_map(|codec| Some((codec, payloads.of(codec)?)));
    put(body, "m=audio ");
    put_decimal(body, u64::from(local.rtp.port()));
    put(body, " ");
    put(body, profile.name());
    for (_, payload_type) in numbered() {
        put(body, " ");
        put_decimal(body, u64::from(payload_type));
    }
    for (codec, payload_type) in numbered() {
        put(body, "\r\na=rtpmap:");
        put_decimal(body, u64::from(payload_type));
        put(body, " ");
        put(body, codec.rtpmap());
        if codec == Codec::TelephoneEvent {
            put(body, "\r\na=fmtp:");
            put_decimal(body, u64::from(payload_type));
            put(body, " 0-15");
        }
    }
    for line in crypto {
        line.write(body);
    }
    put(body, "\r\na=ptime:");
    put_decimal(body, u64::from(local.ptime_ms));
    put(body, "\r\na=");
    put(body, direction.label());
    put(body, "\r\n");
}

/// A number without the machinery of `format!`: this is written for every call.
pub(super) fn put_decimal(body: &mut Vec<u8>, number: u64) {
    put(body, itoa::Buffer::new().format(number));
}

/// A space and the address.
fn put_address(body: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            for (place, octet) in address.octets().into_iter().enumerate() {
                body.push(if place == 0 { b' ' } else { b'.' });
                put_decimal(body, u64::from(octet));
            }
        }
        IpAddr::V6(address) => put(body, &format!(" {address}")),
    }
}

const fn family(address: IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => " IN IP4",
        IpAddr::V6(_) => " IN IP6",
    }
}

const BODY_BYTES_USUAL: usize = 384;
const SESSION_ID_MASK: u64 = (1 << 63) - 1;
