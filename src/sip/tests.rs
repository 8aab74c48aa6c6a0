//! Helpers of the tests in this module.

use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

use super::ids::{Branch, Shard, SipCallId, Tag};
use super::malformed::Malformed;
use super::message::Message;
use super::write::new_buffer;

/// Where the time of a test begins.
#[expect(clippy::disallowed_methods, reason = "the one place where a test reads the clock")]
pub(crate) fn epoch() -> Instant {
    Instant::now()
}

/// The peer of a test: its address, and the port it sends from.
pub(crate) fn peer() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 5070))
}

/// Reads a message of a test.
pub(crate) fn parse(text: impl AsRef<[u8]>) -> Result<Message, Malformed> {
    Message::parse(Bytes::copy_from_slice(text.as_ref()))
}

/// A well-formed message of a test.
pub(crate) fn message(text: impl AsRef<[u8]>) -> Message {
    parse(text).expect("a valid message of this test")
}

/// A tag of ours.
pub(crate) fn tag(seed: u64) -> Tag {
    Tag::new(shard(), &mut ChaCha8Rng::seed_from_u64(seed))
}

/// A branch of ours.
pub(crate) fn branch(seed: u64) -> Branch {
    Branch::new(shard(), &mut ChaCha8Rng::seed_from_u64(seed))
}

/// A Call-ID of ours.
pub(crate) fn call_id(seed: u64) -> SipCallId {
    SipCallId::new(shard(), &mut ChaCha8Rng::seed_from_u64(seed))
}

fn shard() -> Shard {
    Shard::new(5).expect("below the maximum")
}

/// The text of the answer that a malformed request gets. `None` is silence.
pub(crate) fn refusal_of(text: impl AsRef<[u8]>) -> Option<String> {
    let malformed = parse(text).expect_err("a broken message of this test");
    let (_, bytes) = malformed.answer(peer(), &tag(1), &mut new_buffer())?;
    Some(String::from_utf8(bytes.to_vec()).expect("what we repeat here is text"))
}

/// The status of the answer that a malformed request gets.
pub(crate) fn refused(text: impl AsRef<[u8]>) -> Option<u16> {
    refusal_of(text)?.split(' ').nth(1)?.parse().ok()
}

/// An INVITE of a peer, with `more` header lines (each with its CRLF) and `body`.
pub(crate) fn invite_with(more: &str, body: &str) -> String {
    request_with("INVITE", more, body)
}

/// A request of a peer outside a dialog.
pub(crate) fn request_with(method: &str, more: &str, body: &str) -> String {
    format!(
        "{method} sip:+8613800000001@relay.example;user=phone SIP/2.0\r\n\
         Via: SIP/2.0/UDP pbx.example:5066;branch=z9hG4bKabc;rport\r\n\
         Max-Forwards: 70\r\n\
         From: \"Agent 7\" <sip:7@pbx.example>;tag=a7\r\n\
         To: <sip:+8613800000001@relay.example;user=phone>\r\n\
         Call-ID: c1@pbx.example\r\n\
         CSeq: 10 {method}\r\n\
         Contact: <sip:7@192.0.2.1:5070>\r\n\
         {more}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}
