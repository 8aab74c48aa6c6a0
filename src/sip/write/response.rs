//! Answers to requests.

use std::fmt;
use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::super::header::HeaderId;
use super::super::ids::Tag;
use super::super::message::Message;
use super::super::overload::Control;
use super::reply::{ReplyHead, Source, ToTag, put_status_line};
use super::{begin, put_end, put_header, take};

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
        source: impl Into<Source>,
        status: u16,
        to_tag: Option<&Tag>,
    ) -> Self {
        head_of(request, status, to_tag).write(out, source.into());
        Self { out }
    }

    /// Repeats the Record-Route lines of the request, as a dialog-opening answer must.
    #[must_use]
    pub fn record_routes(self, request: &Message) -> Self {
        put_record_routes(self.out, request);
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

/// What all answers to one request repeat of it, written once: the request itself need not be kept
/// until it is answered. `Debug` shows no text.
pub struct Answers {
    /// Via, From, To, Call-ID and CSeq, then Record-Route.
    lines: Box<[u8]>,
    /// Where a control of ours stands in Via; empty where nobody asks for one.
    control: Range<usize>,
    /// Where our To tag stands, with its `;tag=`.
    tag: Range<usize>,
    record_routes_at: usize,
}

impl Answers {
    /// Reads what will be repeated of `request`, which came from `source`.
    pub fn new(
        out: &mut BytesMut,
        request: &Message,
        source: impl Into<Source>,
        to_tag: &Tag,
    ) -> Self {
        begin(out);
        let [control, tag] = head_of(request, 0, Some(to_tag)).repeat(out, source.into());
        let record_routes_at = out.len();
        put_record_routes(out, request);
        Self { lines: out.as_ref().into(), control, tag, record_routes_at }
    }

    /// Begins an answer that opens no dialog, with what is asked now of who wants to know. Only a
    /// 100 does without our tag.
    pub fn start<'o>(
        &self,
        out: &'o mut BytesMut,
        status: u16,
        control: Control,
    ) -> ResponseWriter<'o> {
        let tag = if status == 100 { self.tag.clone() } else { self.tag.end..self.tag.end };
        self.put_via(out, status, control);
        for part in [self.control.end..tag.start, tag.end..self.record_routes_at] {
            out.extend_from_slice(self.lines.get(part).unwrap_or_default());
        }
        ResponseWriter { out }
    }

    /// Begins an answer that opens a dialog: it repeats the Record-Route lines too.
    pub fn open<'o>(
        &self,
        out: &'o mut BytesMut,
        status: u16,
        control: Control,
    ) -> ResponseWriter<'o> {
        self.put_via(out, status, control);
        out.extend_from_slice(self.lines.get(self.control.end..).unwrap_or_default());
        ResponseWriter { out }
    }

    /// Up to where a control stands, with the one of now.
    fn put_via(&self, out: &mut BytesMut, status: u16, control: Control) {
        begin(out);
        put_status_line(out, status);
        out.extend_from_slice(self.lines.get(..self.control.start).unwrap_or_default());
        if !self.control.is_empty() {
            control.put(out);
        }
    }
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Answers({} bytes)", self.lines.len())
    }
}

fn head_of<'a>(
    request: &'a Message,
    status: u16,
    to_tag: Option<&'a Tag>,
) -> ReplyHead<'a, impl Iterator<Item = &'a [u8]>> {
    let to = request.to();
    ReplyHead {
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
    }
}

fn put_record_routes(out: &mut BytesMut, request: &Message) {
    for value in request.headers(HeaderId::RecordRoute) {
        put_header(out, HeaderId::RecordRoute.name(), value);
    }
}
