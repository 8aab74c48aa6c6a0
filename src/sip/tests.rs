//! Helpers of the tests in this module.

use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;

use super::message::Message;

/// Where the time of a test begins.
#[expect(clippy::disallowed_methods, reason = "the one place where a test reads the clock")]
pub(crate) fn epoch() -> Instant {
    Instant::now()
}

/// The peer of a test.
pub(crate) fn peer() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 5070))
}

/// A well-formed message of a test.
pub(crate) fn message(text: &str) -> Message {
    Message::parse(Bytes::copy_from_slice(text.as_bytes())).expect("a valid message of this test")
}
