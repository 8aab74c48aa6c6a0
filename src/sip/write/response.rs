//! Answers to requests.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};

use super::super::header::HeaderId;
use super::super::ids::Tag;
use super::super::message::Message;
use super::reply::{ReplyHead, ToTag};
use super::{put_end, put_header, take};

/// Writes one response. Made by [`ResponseWriter::start`], ended by [`ResponseWriter::finish`] or
/// [`ResponseWriter::body`].
pub struct ResponseWriter<'o> {
    out: &'o mut BytesMut,
}

impl<'o> ResponseWriter<'o> {
    /// Writes the status line and what an answer repeats of `request`, which came from `source`.
    /// `to_tag` is added unless To has a tag; only a 100 does without.
    pub fn start(
        out: &'o mut BytesMut,
        request: &Message,
        source: SocketAddr,
        status: u16,
        to_tag: Option<&Tag>,
    ) -> Self {
        let to = request.to();
        let head = ReplyHead {
            status,
            via: request.top_via(),
            more_vias: request.headers(HeaderId::Via).skip(1),
            from: request.from().raw,
            to: to.raw,
            to_tag: match to_tag {
                Some(tag) if to.tag.is_none() => ToTag::Add(tag),
                Some(_) | None => ToTag::Keep,
            },
            call_id: request.call_id(),
            cseq: request.cseq_value(),
        };
        head.write(out, source);
        Self { out }
    }

    /// Repeats the Record-Route lines of the request, as a dialog-opening answer must.
    #[must_use]
    pub fn record_routes(self, request: &Message) -> Self {
        for value in request.headers(HeaderId::RecordRoute) {
            put_header(self.out, HeaderId::RecordRoute.name(), value);
        }
        self
    }

    /// Adds a header line. A line end in `value` becomes a space.
    #[must_use]
    pub fn header(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        put_header(self.out, name, value.as_ref());
        self
    }

    /// Ends the message with a body.
    #[must_use]
    pub fn body(self, content_type: &str, body: &[u8]) -> Bytes {
        put_end(self.out, Some(content_type), body);
        take(self.out)
    }

    /// Ends the message without a body.
    #[must_use]
    pub fn finish(self) -> Bytes {
        put_end(self.out, None, b"");
        take(self.out)
    }
}
