//! Writes messages into one buffer and hands out copies of their exact length.
//!
//! The buffer is a scratch of the caller: what a writer left unfinished is dropped by the next.

mod again;
mod derived;
pub(crate) mod reply;
mod request;
mod response;

use std::net::{IpAddr, SocketAddr};

use bytes::{Bytes, BytesMut};

pub use again::again;
pub use derived::{ack_of, cancel_of, credentials_of};
pub use reply::Source;
pub use request::{Request, RequestHead, RequestWriter};
pub use response::{Answers, ResponseWriter};

/// What a message of ours usually fits in.
const MESSAGE_USUAL: usize = 2048;

/// A buffer for writers.
#[must_use]
pub fn new_buffer() -> BytesMut {
    BytesMut::with_capacity(MESSAGE_USUAL)
}

fn begin(out: &mut BytesMut) {
    out.clear();
}

/// What was written. A piece of the buffer itself would keep all of it for as long as a transaction
/// lingers, and the buffer would always be new, cold memory.
pub(crate) fn take(out: &mut BytesMut) -> Bytes {
    Bytes::copy_from_slice(out)
}

/// Writes a value on one line: whatever would start another line becomes a space.
fn put_value(out: &mut BytesMut, value: &[u8]) {
    if !super::lex::has_line_end(value) {
        return out.extend_from_slice(value);
    }
    out.extend(value.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }));
}

/// Writes a line; `name` is one of ours.
fn put_header(out: &mut BytesMut, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    put_value(out, value);
    out.extend_from_slice(b"\r\n");
}

pub(super) fn put_decimal(out: &mut BytesMut, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// An IP address as `Display` writes it, without its machinery, piece by piece.
fn put_ip(ip: IpAddr, mut put: impl FnMut(&[u8])) {
    match ip {
        IpAddr::V4(ip) => {
            for (at, octet) in ip.octets().into_iter().enumerate() {
                if at > 0 {
                    put(b".");
                }
                put(itoa::Buffer::new().format(octet).as_bytes());
            }
        }
        IpAddr::V6(ip) => put(ip.to_string().as_bytes()),
    }
}

/// Writes an address as `Display` does, without its machinery.
pub fn put_socket_address(out: &mut Vec<u8>, address: SocketAddr) {
    match address {
        SocketAddr::V4(_) => {
            put_ip(address.ip(), |text| out.extend_from_slice(text));
            out.push(b':');
            out.extend_from_slice(itoa::Buffer::new().format(address.port()).as_bytes());
        }
        SocketAddr::V6(_) => out.extend_from_slice(address.to_string().as_bytes()),
    }
}

fn put_end(out: &mut BytesMut, content_type: Option<&str>, body: &[u8]) {
    if let Some(content_type) = content_type {
        put_header(out, "Content-Type", content_type.as_bytes());
    }
    out.extend_from_slice(b"Content-Length: ");
    put_decimal(out, body.len() as u64);
    out.extend_from_slice(b"\r\n\r\n");
    out.extend_from_slice(body);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_full() {
        let mut out = new_buffer();
        for number in [0, 9, 10, 65_535, u64::MAX] {
            out.clear();
            put_decimal(&mut out, number);
            assert_eq!(out, number.to_string().as_bytes());
        }
    }

    #[test]
    fn a_value_never_starts_another_line() {
        let mut out = new_buffer();
        put_header(&mut out, "Subject", b"a\r\nRoute: <sip:evil>\nx");
        assert_eq!(out, &b"Subject: a  Route: <sip:evil> x\r\n"[..]);
    }
}
