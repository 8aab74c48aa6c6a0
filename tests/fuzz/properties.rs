//! One property for each reader of outside bytes: it never panics, keeps its limits, and what we
//! write of what we read reads back the same. `fuzz/` includes this file.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use bytes::Bytes;
use maskline::sdp;
use maskline::sip::Fault;
use maskline::sip::address::Address;
use maskline::sip::digest::{self, Account, Algorithm, Challenge, Credentials, Guard, Secret};
use maskline::sip::framer::{Frame, Framer};
use maskline::sip::header::HeaderId;
use maskline::sip::key_press::{DTMF, DTMF_RELAY, KeyPress};
use maskline::sip::limits::{BODY_MAX, HEADER_LINE_MAX, HEADERS_MAX, MESSAGE_MAX, VIAS_MAX};
use maskline::sip::message::Message;
use maskline::sip::transaction::Transactions;
use maskline::sip::uri::{Scheme, Uri};
use maskline::sip::via::Via;
use maskline::sip::write::{ResponseWriter, new_buffer};

use crate::walk::{SOURCE, tag, walk};

/// What must hold for any bytes; it panics when it does not.
pub(crate) type Property = fn(&[u8]);

/// All of them by name.
pub(crate) const PROPERTIES: [(&str, Property); 8] = [
    ("message", message),
    ("stream", stream),
    ("uri", uri),
    ("name_addr", name_addr),
    ("via", via),
    ("sdp", session),
    ("digest", authentication),
    ("dtmf", key_press),
];

#[expect(clippy::disallowed_methods, reason = "an `Instant` can only be had from the clock")]
fn message(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    let mut table = Transactions::with_max(10);
    walk(bytes.clone(), std::time::Instant::now(), &mut table, &mut new_buffer());
    let Ok(message) = Message::parse(bytes) else { return };
    assert!(message.bytes().len() <= MESSAGE_MAX && message.body().len() <= BODY_MAX);
    assert!(message.all_headers().count() <= HEADERS_MAX);
    assert!(message.values(HeaderId::Via).count() <= VIAS_MAX);
    for (_, name, value) in message.all_headers() {
        assert!(name.len() + value.len() < HEADER_LINE_MAX);
    }
    if !message.is_request() {
        return;
    }
    let out = &mut new_buffer();
    let answer = ResponseWriter::start(out, &message, SOURCE, 200, Some(&tag())).finish();
    match Message::parse(answer) {
        Ok(answer) => {
            assert_eq!(answer.status(), Some(200));
            assert_eq!(answer.from().raw, message.from().raw);
            assert_eq!(answer.to().uri, message.to().uri);
            assert_eq!(answer.to().display, message.to().display);
            assert_eq!(answer.call_id(), message.call_id());
            assert_eq!((answer.cseq(), answer.method()), (message.cseq(), message.method()));
        }
        // A value just inside its limit leaves it by the tag that we must add.
        Err(malformed) => {
            assert!(matches!(malformed.fault(), Fault::HeaderLine | Fault::TooLong));
        }
    }
}

/// A frame as it can be compared.
#[derive(Debug, Eq, PartialEq)]
enum Seen {
    Message(Bytes),
    Keepalive,
    Broken(Fault),
}

/// The first four bytes say where the stream is cut.
fn stream(bytes: &[u8]) {
    let Some((cuts, bytes)) = bytes.split_first_chunk::<4>() else { return };
    let whole = frames(std::iter::once(bytes));
    let mut rest = bytes;
    let mut pieces = vec![];
    for cut in cuts.iter().cycle() {
        let (piece, more) = rest.split_at(rest.len().min(usize::from(*cut) + 1));
        pieces.push(piece);
        rest = more;
        if rest.is_empty() {
            break;
        }
    }
    assert_eq!(frames(pieces.into_iter()), whole, "cut by {cuts:?}");
    let broken = whole.iter().position(|frame| matches!(frame, Seen::Broken(_)));
    assert!(broken.is_none_or(|at| at + 1 == whole.len()), "something follows a broken message");
    for frame in whole {
        if let Seen::Message(bytes) = frame {
            assert!(bytes.len() <= MESSAGE_MAX);
        }
    }
}

fn frames<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Seen> {
    let (mut framer, mut seen) = (Framer::new(), vec![]);
    for piece in pieces {
        framer.push(piece);
        while let Some(frame) = framer.next_frame() {
            seen.push(match frame {
                Frame::Message(bytes) => Seen::Message(bytes),
                Frame::Keepalive => Seen::Keepalive,
                Frame::Broken(malformed) => Seen::Broken(malformed.fault()),
            });
        }
    }
    seen
}

fn uri(bytes: &[u8]) {
    let Ok(uri) = Uri::parse(bytes) else { return };
    let _number = uri.number();
    let scheme = match uri.scheme {
        Scheme::Sip => "sip",
        Scheme::Sips => "sips",
        Scheme::Tel => "tel",
        Scheme::Other => return,
    };
    let user = uri.user.unwrap_or_default();
    let at = if uri.user.is_some() && uri.scheme != Scheme::Tel { "@" } else { "" };
    let mut text = format!("{scheme}:{user}{at}{}", uri.host);
    text.extend(uri.port.map(|port| format!(":{port}")));
    for (sign, part) in [(';', uri.params), ('?', uri.headers)] {
        if !part.is_empty() {
            text.push(sign);
            text.push_str(part);
        }
    }
    // What we write has no password: it was left out on purpose.
    let again = Uri::parse(text.as_bytes()).expect("a URI put together from its parts");
    assert!(again == uri, "{text}");
}

fn name_addr(bytes: &[u8]) {
    let Ok(address) = Address::parse(bytes) else { return };
    let _uri = address.parse_uri();
    let again = Address::parse(address.raw).expect("what was read");
    assert!(again == address);
    let text = [address.display, b" <", address.uri, b">", address.params].concat();
    let again = Address::parse(&text).expect("an address put together from its parts");
    assert_eq!(
        (again.display, again.uri, again.params, again.tag),
        (address.display, address.uri, address.params, address.tag)
    );
    assert_eq!(address.param("tag"), address.tag);
}

fn via(bytes: &[u8]) {
    let Ok(via) = Via::parse(bytes) else { return };
    assert_eq!(via.reply_hop(SOURCE.into()).address.ip(), SOURCE.ip());
    let again = Via::parse(via.raw).expect("what was read");
    assert_eq!((again.raw, again.more), (via.raw, None));
    assert_eq!(
        (again.transport, again.host, again.port, again.branch, again.received, again.rport),
        (via.transport, via.host, via.port, via.branch, via.received, via.rport)
    );
}

fn session(bytes: &[u8]) {
    let Ok(offer) = sdp::parse(bytes) else { return };
    assert!(bytes.len() <= sdp::SDP_BYTES_MAX);
    let rtp = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 5), 20_000));
    let local = sdp::Local::new(rtp, 7);
    let ours = sdp::parse(sdp::offer(&local, offer.codecs()).as_bytes());
    if offer.codecs().has_audio() {
        let ours = ours.expect("our own offer");
        assert_eq!((ours.rtp, ours.codecs()), (rtp, offer.codecs()));
        let answer = sdp::answer(&local, &offer, offer.codecs());
        let answer = sdp::parse(answer.as_bytes()).expect("our own answer");
        assert_eq!((answer.rtp, answer.codecs()), (rtp, offer.codecs()));
    }
}

fn authentication(value: &[u8]) {
    let account = Account { user: "8001".into(), password: "word".into() };
    if let Ok(challenge) = Challenge::parse(value) {
        let answer = digest::answer(&account, &challenge, b"INVITE", b"sip:a@b", 1, 2);
        match Credentials::parse(&answer) {
            Ok(ours) => {
                assert_eq!((ours.user, ours.uri()), (&b"8001"[..], &b"sip:a@b"[..]));
                assert_eq!(ours.algorithm, challenge.algorithm());
            }
            // We read no answers of RFC 2069.
            Err(_) => assert!(!format!("{challenge:?}").ends_with("Auth)"), "{challenge:?}"),
        }
    }
    let _strongest = digest::strongest(std::iter::once(value), Algorithm::Md5);
    if let Ok(credentials) = Credentials::parse(value) {
        let secret = Secret::of(credentials.user, credentials.realm, b"word");
        let mut guard = Guard::new([7; 32]);
        let judged = guard.judge(1, b"192.0.2.1", &secret, b"INVITE", &credentials);
        assert!(judged != digest::Judgement::Passed, "nobody knows a nonce of ours");
        assert!(guard.is_empty());
    }
}

/// The body of an INFO, as each of its two types.
fn key_press(body: &[u8]) {
    for kind in [DTMF_RELAY, DTMF] {
        let Ok(key) = KeyPress::parse(kind.as_bytes(), body) else { continue };
        assert!("0123456789*#ABCD".contains(key.sign()));
        let text = key.write();
        let duration = text.split("Duration=").nth(1).map(str::trim).map(str::parse::<u16>);
        assert!(matches!(duration, Some(Ok(40..=6_000))), "no telephone holds a key so long");
        // Nothing passes but a key and its time, whatever else was said.
        assert_eq!(text.lines().count(), 2);
        assert_eq!(KeyPress::parse(DTMF_RELAY.as_bytes(), text.as_bytes()), Ok(key));
    }
}
