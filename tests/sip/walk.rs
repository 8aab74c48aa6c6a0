//! Does with a message everything that the layers above may do with one.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use maskline::sip::Fault;
use maskline::sip::address::Address;
use maskline::sip::dialog::{Dialog, State};
use maskline::sip::header::HeaderId;
use maskline::sip::ids::{Branch, Shard, Tag};
use maskline::sip::limits::HEADER_LINE_MAX;
use maskline::sip::message::Message;
use maskline::sip::method::Method;
use maskline::sip::screen::{Capabilities, next_max_forwards};
use maskline::sip::transaction::{Event, Transactions};
use maskline::sip::write::{ResponseWriter, ack_of, cancel_of};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

/// Where test messages come from.
pub(crate) const SOURCE: SocketAddr =
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 77), 5062));

/// What the relay can do.
pub(crate) const CAPABILITIES: Capabilities = Capabilities {
    allow: &[Method::Invite, Method::Ack, Method::Bye, Method::Cancel, Method::Options],
    supported: &[],
    accept: &["application/sdp"],
};

/// A tag of ours.
pub(crate) fn tag() -> Tag {
    Tag::new(shard(), &mut ChaCha8Rng::seed_from_u64(1))
}

fn shard() -> Shard {
    Shard::new(0).expect("below the maximum")
}

/// Reads one datagram in every way there is. What we write because of it must read back.
pub(crate) fn walk(bytes: Bytes, now: Instant, table: &mut Transactions, out: &mut BytesMut) {
    let message = match Message::parse(bytes) {
        Ok(message) => message,
        Err(malformed) => {
            if let Some((to, answer)) = malformed.answer(SOURCE, &tag(), out) {
                assert_eq!(to.address.ip(), SOURCE.ip());
                assert_only_repeats(&answer);
            }
            return;
        }
    };
    read_everything(&message);
    if !message.is_request() {
        let found = table.find(&message);
        table.receive(now, &message, found, SOURCE);
        return;
    }
    assert_eq!(message.reply_hop(SOURCE).address.ip(), SOURCE.ip());
    let answer = ResponseWriter::start(out, &message, SOURCE, 200, Some(&tag()));
    assert_readable(answer.record_routes(&message).header("Contact", "<sip:a@b>").finish());
    if let Err(refusal) = CAPABILITIES.screen(&message) {
        assert_readable(refusal.write(out, &message, SOURCE, &tag()));
    }
    if let Ok(mut dialog) = Dialog::from_invite(&message, &tag(), State::Confirmed) {
        let branch = Branch::new(shard(), &mut ChaCha8Rng::seed_from_u64(2));
        dialog.receive(&message);
        assert_readable(dialog.request(out, Method::Bye, "UDP 192.0.2.9", branch).finish().bytes);
        assert_readable(dialog.ack(out, "UDP 192.0.2.9", branch).finish().bytes);
    }
    assert_readable(cancel_of(out, &message, None));
    assert_readable(ack_of(out, &message, &message));
    let found = table.find(&message);
    if let Event::Request { server } = table.receive(now, &message, found, SOURCE) {
        let answer = ResponseWriter::start(out, &message, SOURCE, 404, Some(&tag())).finish();
        table.respond(now, server, 404, answer);
    }
    while table.poll_output().is_some() {}
}

fn assert_readable(bytes: Bytes) {
    if let Err(malformed) = Message::parse(bytes.clone()) {
        // A value just inside its limit leaves it by the tag that we must add.
        let too_long = matches!(malformed.fault(), Fault::HeaderLine | Fault::TooLong);
        if too_long && bytes.len() > HEADER_LINE_MAX {
            return;
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        panic!("we wrote what we cannot read: {malformed:?}\n{text}");
    }
}

/// The answer to a broken message may repeat broken values, but nothing of them may become a line
/// of its own.
pub(crate) fn assert_only_repeats(answer: &[u8]) {
    let text = String::from_utf8_lossy(answer);
    let head = text.split("\r\n\r\n").next().expect("a head");
    assert!(text.ends_with("\r\nContent-Length: 0\r\n\r\n") && text.len() == head.len() + 4);
    for line in head.split("\r\n").skip(1).filter(|line| !line.starts_with([' ', '\t'])) {
        let name = line.split(':').next().expect("a name");
        let known = ["Via", "From", "To", "Call-ID", "CSeq", "Content-Length"].contains(&name);
        assert!(known && !line.contains(['\r', '\n']), "{line:?}");
    }
}

fn read_everything(message: &Message) {
    let _uri = message.request_uri().map(|uri| uri.number().map(|number| number.len()));
    for address in [message.from(), message.to()] {
        let _uri = address.parse_uri().map(|uri| uri.param("user").is_some());
        let _param = address.param("tag");
    }
    let _contact = message.contact().map(|contact| contact.map(|contact| contact.parse_uri()));
    for (id, name, value) in message.all_headers() {
        assert!(!name.is_empty() && name.len() + value.len() <= message.bytes().len());
        if id != HeaderId::Other {
            assert!(message.header(id).is_some());
        }
        for value in message.values(id).take(100) {
            let _address = Address::parse(value).map(|address| address.parse_uri());
        }
    }
    let _rest = (message.content_type(), message.expires(), message.max_forwards());
    assert!(message.body().len() <= message.body_bytes().len());
    if message.is_request() {
        assert!(next_max_forwards(message) <= 70);
    }
    assert!(format!("{message:?}").len() < 100);
}
