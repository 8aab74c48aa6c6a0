//! Where the parts of a message are: offsets into its bytes, and no copy of any of them.

use super::address::Address;
use super::header::HeaderId;
use super::limits::HEADERS_MAX;
use super::parse::{Lines, split_header};
use super::via::Via;

/// A part of the message, as offsets.
#[derive(Clone, Copy, Default)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// Both ends lie in a message of at most `MESSAGE_MAX` bytes, which fits.
    pub(super) fn new(start: usize, end: usize) -> Self {
        Self { start: start as u32, end: end as u32 }
    }

    /// Where `part` lies in `text`; it must be a sub-slice.
    pub(super) fn within(text: &[u8], part: &[u8]) -> Self {
        let start = (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
        Self::new(start, start + part.len())
    }

    #[inline]
    pub(crate) fn of(self, text: &[u8]) -> &[u8] {
        text.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

/// A set of header names.
#[derive(Clone, Copy, Default)]
struct HeaderSet(u64);

const _: () = assert!((HeaderId::Other as u32) < u64::BITS, "one bit for each header name");

impl HeaderSet {
    fn contains(self, id: HeaderId) -> bool {
        self.0 >> (id as u32) & 1 != 0
    }

    fn insert(&mut self, id: HeaderId) {
        self.0 |= 1 << (id as u32);
    }
}

/// Which headers there are. No index of the lines is kept: most of them are never asked for, and
/// whoever asks for one of the others reads the head again.
#[derive(Clone, Copy, Default)]
pub(crate) struct Present {
    once: HeaderSet,
    repeatedly: HeaderSet,
    /// Where the line behind the start line begins.
    head: u32,
}

impl Present {
    /// The headers begin at this offset.
    pub(super) fn starts_at(&mut self, at: usize) {
        self.head = at as u32;
    }

    pub(super) fn note(&mut self, id: HeaderId) {
        if self.once.contains(id) {
            self.repeatedly.insert(id);
        }
        self.once.insert(id);
    }

    /// The values of a header, in order.
    pub(crate) fn values(self, text: &[u8], id: HeaderId) -> impl Iterator<Item = &[u8]> {
        let most = match (self.once.contains(id), self.repeatedly.contains(id)) {
            (false, _) => 0,
            (true, false) => 1,
            (true, true) => HEADERS_MAX,
        };
        self.all(text).filter(move |(found, ..)| *found == id).map(|(.., value)| value).take(most)
    }

    /// Names and values of all lines, in order. They were read once without a fault.
    pub(crate) fn all(self, text: &[u8]) -> impl Iterator<Item = (HeaderId, &[u8], &[u8])> {
        let mut lines = Lines::starting_at(text, self.head as usize);
        std::iter::from_fn(move || split_header(lines.next_header().ok()??).ok())
    }
}

#[derive(Clone, Copy)]
pub(crate) struct ViaSpans {
    raw: Span,
    transport: Span,
    host: Span,
    port: Option<u16>,
    branch: Option<Span>,
    received: Option<Span>,
    rport: Option<Span>,
    oc: Option<Span>,
    more: Option<Span>,
}

impl ViaSpans {
    pub(super) fn new(text: &[u8], via: &Via<'_>) -> Self {
        let span = |part| Span::within(text, part);
        Self {
            raw: span(via.raw),
            transport: span(via.transport),
            host: span(via.host),
            port: via.port,
            branch: via.branch.map(span),
            received: via.received.map(span),
            rport: via.rport.map(span),
            oc: via.oc.map(span),
            more: via.more.map(span),
        }
    }

    #[inline]
    pub(crate) fn of<'a>(&self, text: &'a [u8]) -> Via<'a> {
        let part = |span: Span| span.of(text);
        Via {
            raw: part(self.raw),
            transport: part(self.transport),
            host: part(self.host),
            port: self.port,
            branch: self.branch.map(part),
            received: self.received.map(part),
            rport: self.rport.map(part),
            oc: self.oc.map(part),
            more: self.more.map(part),
        }
    }
}

#[derive(Clone, Copy)]
pub(crate) struct AddressSpans {
    raw: Span,
    display: Span,
    uri: Span,
    params: Span,
    tag: Option<Span>,
}

impl AddressSpans {
    pub(super) fn new(text: &[u8], address: &Address<'_>) -> Self {
        let span = |part| Span::within(text, part);
        Self {
            raw: span(address.raw),
            display: if address.display.is_empty() {
                Span::default()
            } else {
                span(address.display)
            },
            uri: span(address.uri),
            params: if address.params.is_empty() { Span::default() } else { span(address.params) },
            tag: address.tag.map(span),
        }
    }

    #[inline]
    pub(crate) fn of<'a>(&self, text: &'a [u8]) -> Address<'a> {
        let part = |span: Span| span.of(text);
        Address {
            raw: part(self.raw),
            display: part(self.display),
            uri: part(self.uri),
            params: part(self.params),
            tag: self.tag.map(part),
        }
    }
}
