//! Requests of ours.

use std::fmt;

use bytes::{Bytes, BytesMut};

use super::super::ids::Branch;
use super::super::method::Method;
use super::{begin, put_decimal, put_end, put_header, put_value, take};

/// The lines a request begins with.
pub struct RequestHead<'a> {
    /// What is asked.
    pub method: Method,
    /// Request-URI.
    pub uri: &'a [u8],
    /// Transport, host and port that answers come to, as in Via: `UDP 192.0.2.1:5060`.
    pub sent_by: &'a str,
    /// Names the transaction.
    pub branch: Branch,
    /// Hops left.
    pub max_forwards: u8,
    /// Route values, in order.
    pub routes: &'a [Box<[u8]>],
    /// From with our tag.
    pub from: &'a [u8],
    /// To, with a tag inside a dialog.
    pub to: &'a [u8],
    /// Call-ID.
    pub call_id: &'a [u8],
    /// The number for CSeq.
    pub cseq: u32,
}

/// An encoded request and what a transaction must know of it. `Debug` shows no text.
#[derive(Clone)]
pub struct Request {
    /// What is asked.
    pub method: Method,
    /// Names the transaction.
    pub branch: Branch,
    /// As sent.
    pub bytes: Bytes,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Request({:?}, {} bytes)", self.method, self.bytes.len())
    }
}

/// Writes one request. Made by [`RequestWriter::start`], ended by [`RequestWriter::finish`] or
/// [`RequestWriter::body`].
pub struct RequestWriter<'o> {
    out: &'o mut BytesMut,
    method: Method,
    branch: Branch,
}

impl<'o> RequestWriter<'o> {
    /// Writes the request line and the headers of `head`. Our Via always asks for `rport`.
    pub fn start(out: &'o mut BytesMut, head: &RequestHead<'_>) -> Self {
        begin(out);
        out.extend_from_slice(head.method.name().as_bytes());
        out.extend_from_slice(b" ");
        put_value(out, head.uri);
        out.extend_from_slice(b" SIP/2.0\r\nVia: SIP/2.0/");
        out.extend_from_slice(head.sent_by.as_bytes());
        out.extend_from_slice(b";branch=");
        out.extend_from_slice(head.branch.as_bytes());
        out.extend_from_slice(b";rport\r\nMax-Forwards: ");
        put_decimal(out, u64::from(head.max_forwards));
        for route in head.routes {
            out.extend_from_slice(b"\r\nRoute: ");
            put_value(out, route);
        }
        out.extend_from_slice(b"\r\nFrom: ");
        put_value(out, head.from);
        out.extend_from_slice(b"\r\nTo: ");
        put_value(out, head.to);
        out.extend_from_slice(b"\r\nCall-ID: ");
        put_value(out, head.call_id);
        out.extend_from_slice(b"\r\nCSeq: ");
        put_decimal(out, u64::from(head.cseq));
        out.extend_from_slice(b" ");
        out.extend_from_slice(head.method.name().as_bytes());
        out.extend_from_slice(b"\r\n");
        Self { out, method: head.method, branch: head.branch }
    }

    /// Adds a header line. A line end in `value` becomes a space.
    #[must_use]
    pub fn header(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        put_header(self.out, name, value.as_ref());
        self
    }

    /// Adds whole header lines of a request that was written before.
    #[must_use]
    pub fn lines(self, lines: &[u8]) -> Self {
        self.out.extend_from_slice(lines);
        self
    }

    /// Ends the message with a body.
    #[must_use]
    pub fn body(self, content_type: &str, body: &[u8]) -> Request {
        put_end(self.out, Some(content_type), body);
        self.request()
    }

    /// Ends the message without a body.
    #[must_use]
    pub fn finish(self) -> Request {
        put_end(self.out, None, b"");
        self.request()
    }

    fn request(self) -> Request {
        Request { method: self.method, branch: self.branch, bytes: take(self.out) }
    }
}
