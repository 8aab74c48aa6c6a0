//! The scanner: one pass over a datagram finds every header, checks the hard limits before it
//! takes memory, and validates what routing needs. It copies no value.

use super::address::Address;
use super::header::HeaderId;
use super::index::{AddressSpans, Present, Span, ViaSpans};
use super::lex;
use super::limits::{
    BODY_MAX, CSEQ_MAX, EXPIRES_MAX, HEADER_LINE_MAX, HEADERS_MAX, MAX_FORWARDS_MAX, MESSAGE_MAX,
    VIAS_MAX,
};
use super::method::Method;
use super::uri::{Parts, Scheme};
use super::via::Via;

/// Why a message was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// Nothing but line ends: a keepalive, answered by silence.
    Empty,
    /// Longer than [`MESSAGE_MAX`].
    TooLong,
    /// The start line is no SIP start line.
    StartLine,
    /// The Request-URI is not well formed.
    RequestUri,
    /// Another version than SIP/2.0.
    Version,
    /// A line without a colon, without its CRLF, or longer than [`HEADER_LINE_MAX`].
    HeaderLine,
    /// A header name that is not a token.
    HeaderName,
    /// More than [`HEADERS_MAX`].
    TooManyHeaders,
    /// More than [`VIAS_MAX`].
    TooManyVias,
    /// A header that must be there is not.
    Missing(HeaderId),
    /// A header that may be there once is there again.
    Repeated(HeaderId),
    /// A header does not follow its grammar or leaves its range.
    Invalid(HeaderId),
    /// CSeq names another method than the start line.
    MethodMismatch,
    /// Content-Length is larger than what came.
    BodyMissing,
    /// The body is longer than [`BODY_MAX`].
    BodyTooLong,
}

impl Fault {
    /// The status of the answer, where one can be given.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::TooLong => 513,
            Self::Version => 505,
            Self::BodyTooLong => 413,
            Self::Empty
            | Self::StartLine
            | Self::RequestUri
            | Self::HeaderLine
            | Self::HeaderName
            | Self::TooManyHeaders
            | Self::TooManyVias
            | Self::Missing(_)
            | Self::Repeated(_)
            | Self::Invalid(_)
            | Self::MethodMismatch
            | Self::BodyMissing => 400,
        }
    }
}

#[derive(Clone, Copy)]
pub(crate) enum StartLine {
    Request { method: Method, name: Span, uri: Span },
    Response { status: u16 },
}

/// Everything one pass found.
#[derive(Clone)]
pub(crate) struct Scanned {
    pub(crate) start: StartLine,
    pub(crate) present: Present,
    pub(crate) contact: Option<Span>,
    pub(crate) content_type: Option<Span>,
    pub(crate) via: ViaSpans,
    pub(crate) from: AddressSpans,
    pub(crate) to: AddressSpans,
    pub(crate) call_id: Span,
    pub(crate) cseq: u32,
    pub(crate) cseq_method: Method,
    pub(crate) cseq_value: Span,
    pub(crate) max_forwards: Option<u8>,
    pub(crate) expires: Option<u32>,
    pub(crate) body: Span,
}

/// Scans one datagram.
pub(crate) fn scan(text: &[u8]) -> Result<Scanned, Fault> {
    if text.len() > MESSAGE_MAX {
        return Err(Fault::TooLong);
    }
    let mut lines = Lines::new(text);
    let start = start_line(text, lines.start_line()?)?;
    let mut single = Singles::default();
    single.present.starts_at(lines.at());
    let (mut headers, mut vias) = (0, 0);
    while let Some(line) = lines.next_header()? {
        if headers == HEADERS_MAX {
            return Err(Fault::TooManyHeaders);
        }
        headers += 1;
        let (id, _, value) = split_header(line)?;
        if id == HeaderId::Via {
            vias += lex::CommaList::new(value).count();
            if vias > VIAS_MAX {
                return Err(Fault::TooManyVias);
            }
        }
        single.note(id, Span::within(text, value))?;
    }
    finish(text, lines.at(), start, &single)
}

/// Headers that may be there once; what the typed core is read from.
#[derive(Default)]
struct Singles {
    present: Present,
    contact: Option<Span>,
    via: Option<Span>,
    from: Option<Span>,
    to: Option<Span>,
    call_id: Option<Span>,
    cseq: Option<Span>,
    max_forwards: Option<Span>,
    content_length: Option<Span>,
    content_type: Option<Span>,
    expires: Option<Span>,
}

impl Singles {
    fn note(&mut self, id: HeaderId, value: Span) -> Result<(), Fault> {
        self.present.note(id);
        #[expect(clippy::wildcard_enum_match_arm, reason = "headers that may be repeated")]
        let slot = match id {
            HeaderId::Via => {
                self.via.get_or_insert(value);
                return Ok(());
            }
            HeaderId::Contact => {
                self.contact.get_or_insert(value);
                return Ok(());
            }
            HeaderId::From => &mut self.from,
            HeaderId::To => &mut self.to,
            HeaderId::CallId => &mut self.call_id,
            HeaderId::CSeq => &mut self.cseq,
            HeaderId::MaxForwards => &mut self.max_forwards,
            HeaderId::ContentLength => &mut self.content_length,
            HeaderId::ContentType => &mut self.content_type,
            HeaderId::Expires => &mut self.expires,
            _ => return Ok(()),
        };
        match slot.replace(value) {
            None => Ok(()),
            Some(_) => Err(Fault::Repeated(id)),
        }
    }
}

fn finish(
    text: &[u8],
    body_start: usize,
    start: StartLine,
    single: &Singles,
) -> Result<Scanned, Fault> {
    let need = |slot: Option<Span>, id| match slot {
        Some(span) => Ok(span.of(text)),
        None => Err(Fault::Missing(id)),
    };
    let via = need(single.via, HeaderId::Via)?;
    let via = Via::parse(via).map_err(|_| Fault::Invalid(HeaderId::Via))?;
    let from = need(single.from, HeaderId::From)?;
    let from = Address::parse(from).map_err(|_| Fault::Invalid(HeaderId::From))?;
    let to = need(single.to, HeaderId::To)?;
    let to = Address::parse(to).map_err(|_| Fault::Invalid(HeaderId::To))?;
    let call_id = need(single.call_id, HeaderId::CallId)?;
    if !is_call_id(call_id) {
        return Err(Fault::Invalid(HeaderId::CallId));
    }
    let cseq_value = need(single.cseq, HeaderId::CSeq)?;
    let (cseq, method_name) = cseq_of(cseq_value).ok_or(Fault::Invalid(HeaderId::CSeq))?;
    let cseq_method = Method::from_token(method_name);
    if let StartLine::Request { method, name, .. } = start
        && (method != cseq_method || method == Method::Other && name.of(text) != method_name)
    {
        return Err(Fault::MethodMismatch);
    }
    let max_forwards = ranged(text, single.max_forwards, HeaderId::MaxForwards, MAX_FORWARDS_MAX)?;
    let expires = ranged(text, single.expires, HeaderId::Expires, EXPIRES_MAX)?;
    Ok(Scanned {
        start,
        present: single.present,
        contact: single.contact,
        content_type: single.content_type,
        via: ViaSpans::new(text, &via),
        from: AddressSpans::new(text, &from),
        to: AddressSpans::new(text, &to),
        call_id: Span::within(text, call_id),
        cseq,
        cseq_method,
        cseq_value: Span::within(text, cseq_value),
        max_forwards: max_forwards.and_then(|value| u8::try_from(value).ok()),
        expires: expires.and_then(|value| u32::try_from(value).ok()),
        body: body(text, body_start, single.content_length)?,
    })
}

fn body(text: &[u8], start: usize, content_length: Option<Span>) -> Result<Span, Fault> {
    let available = text.len().saturating_sub(start);
    let length = match content_length {
        None => available,
        Some(span) => lex::decimal(span.of(text), u64::from(u32::MAX))
            .and_then(|length| usize::try_from(length).ok())
            .ok_or(Fault::Invalid(HeaderId::ContentLength))?,
    };
    if length > available {
        return Err(Fault::BodyMissing);
    }
    if length > BODY_MAX {
        return Err(Fault::BodyTooLong);
    }
    Ok(Span::new(start, start + length))
}

fn ranged(text: &[u8], slot: Option<Span>, id: HeaderId, max: u64) -> Result<Option<u64>, Fault> {
    slot.map(|span| lex::decimal(span.of(text), max).ok_or(Fault::Invalid(id))).transpose()
}

/// One word without white space and controls; stricter reading would refuse real equipment.
fn is_call_id(value: &[u8]) -> bool {
    !value.is_empty() && lex::VISIBLE.has_all(value)
}

fn cseq_of(value: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, rest) = lex::split_digits(value);
    let number = lex::decimal(digits, CSEQ_MAX)?;
    let mut cursor = lex::Cursor::new(rest);
    let gap = cursor.rest().len();
    cursor.skip_lws();
    let separated = cursor.rest().len() < gap;
    let method = cursor.token().ok()?;
    (separated && cursor.is_empty()).then_some((u32::try_from(number).ok()?, method))
}

fn start_line(text: &[u8], line: &[u8]) -> Result<StartLine, Fault> {
    if line.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"SIP/")) {
        return status_line(line);
    }
    let method_end = lex::find(b' ', line).ok_or(Fault::StartLine)?;
    let uri_end = memchr::memrchr(b' ', line).ok_or(Fault::StartLine)?;
    let name = line.get(..method_end).ok_or(Fault::StartLine)?;
    let uri = line.get(method_end + 1..uri_end).ok_or(Fault::StartLine)?;
    let version = line.get(uri_end + 1..).ok_or(Fault::StartLine)?;
    if name.is_empty() || !lex::TOKEN.has_all(name) {
        return Err(Fault::StartLine);
    }
    check_version(version)?;
    check_request_uri(uri)?;
    let (name, uri) = (Span::within(text, name), Span::within(text, uri));
    Ok(StartLine::Request { method: Method::from_token(name.of(text)), name, uri })
}

fn check_version(version: &[u8]) -> Result<(), Fault> {
    if version.eq_ignore_ascii_case(b"SIP/2.0") {
        return Ok(());
    }
    let numbers = version.get(4..).filter(|_| version.len() < 32).unwrap_or_default();
    let is_sip = version.get(..4).is_some_and(|name| name.eq_ignore_ascii_case(b"SIP/"));
    let mut parts = numbers.split(|byte| *byte == b'.');
    let is_number = |part: Option<&[u8]>| {
        part.is_some_and(|part| !part.is_empty() && part.iter().all(u8::is_ascii_digit))
    };
    if is_sip && is_number(parts.next()) && is_number(parts.next()) && parts.next().is_none() {
        Err(Fault::Version)
    } else {
        Err(Fault::StartLine)
    }
}

/// Well formed, and without a `?`: headers in a Request-URI are never obeyed (RFC 3261 §19.1.1).
fn check_request_uri(text: &[u8]) -> Result<(), Fault> {
    let uri = Parts::parse(text).map_err(|_| Fault::RequestUri)?;
    match uri.scheme {
        Scheme::Sip | Scheme::Sips if !uri.headers.is_empty() => Err(Fault::RequestUri),
        Scheme::Sip | Scheme::Sips | Scheme::Tel | Scheme::Other => Ok(()),
    }
}

fn status_line(line: &[u8]) -> Result<StartLine, Fault> {
    let rest = line.get(4..).and_then(|rest| rest.strip_prefix(b"2.0 ")).ok_or(Fault::Version)?;
    let digits = rest.get(..3).ok_or(Fault::StartLine)?;
    let status = lex::decimal(digits, 699).filter(|status| *status >= 100);
    let status = status.and_then(|status| u16::try_from(status).ok()).ok_or(Fault::StartLine)?;
    match rest.get(3) {
        None | Some(b' ') => Ok(StartLine::Response { status }),
        Some(_) => Err(Fault::StartLine),
    }
}

/// Splits a line into known name, name and trimmed value.
#[inline]
pub(crate) fn split_header(line: &[u8]) -> Result<(HeaderId, &[u8], &[u8]), Fault> {
    if let Some((id, name, value)) = split_usual(line) {
        let value = value.strip_prefix(b" ").unwrap_or(value);
        return Ok((id, name, lex::trim(value)));
    }
    let colon = lex::find(b':', line).ok_or(Fault::HeaderLine)?;
    let (name, value) = line.split_at_checked(colon).ok_or(Fault::HeaderLine)?;
    let mut name = name;
    while let [rest @ .., b' ' | b'\t'] = name {
        name = rest;
    }
    let id = HeaderId::from_name(name);
    // Known names are tokens. An unknown one with a control character or a space is a trick.
    if id == HeaderId::Other && (name.is_empty() || !lex::TOKEN.has_all(name)) {
        return Err(Fault::HeaderName);
    }
    Ok((id, name, lex::trim(value.get(1..).ok_or(Fault::HeaderLine)?)))
}

/// The same for the names that most lines have, as nearly all write them: before any search.
#[inline]
fn split_usual(line: &[u8]) -> Option<(HeaderId, &[u8], &[u8])> {
    let begins = |id: HeaderId| {
        let (name, rest) = line.split_at_checked(id.name().len())?;
        let value = rest.strip_prefix(b":").filter(|_| name == id.name().as_bytes())?;
        Some((id, name, value))
    };
    match line.first()? {
        b'V' => begins(HeaderId::Via),
        b'F' => begins(HeaderId::From),
        b'T' => begins(HeaderId::To),
        b'M' => begins(HeaderId::MaxForwards),
        b'A' => begins(HeaderId::Allow),
        b'S' => begins(HeaderId::Supported),
        b'U' => begins(HeaderId::UserAgent),
        b'C' => begins(HeaderId::CSeq)
            .or_else(|| begins(HeaderId::CallId))
            .or_else(|| begins(HeaderId::Contact))
            .or_else(|| begins(HeaderId::ContentLength))
            .or_else(|| begins(HeaderId::ContentType)),
        _ => None,
    }
}

/// Walks over the lines of the head.
pub(crate) struct Lines<'a> {
    text: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Lines<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self { text, rest: text }
    }

    /// The lines from an offset on.
    pub(crate) fn starting_at(text: &'a [u8], at: usize) -> Self {
        Self { text, rest: text.get(at..).unwrap_or_default() }
    }

    /// Where what was not read yet begins.
    fn at(&self) -> usize {
        self.text.len() - self.rest.len()
    }

    /// The start line; empty lines before it are skipped (RFC 3261 §7.5).
    pub(crate) fn start_line(&mut self) -> Result<&'a [u8], Fault> {
        while let [b'\r', b'\n', rest @ ..] = self.rest {
            self.rest = rest;
        }
        if self.rest.is_empty() { Err(Fault::Empty) } else { self.line() }
    }

    /// The next header line with its folds; `None` at the empty line that ends the head.
    // By itself a compiler leaves it a call, which costs the scanner a fifth of each line.
    #[inline(always)]
    pub(crate) fn next_header(&mut self) -> Result<Option<&'a [u8]>, Fault> {
        let start = self.rest;
        let mut line = self.line()?;
        if line.is_empty() {
            return Ok(None);
        }
        if let [b' ' | b'\t', ..] = self.rest {
            line = self.folded(start)?;
        }
        if line.len() > HEADER_LINE_MAX {
            // On its LF, from where `skip_line` goes on: what follows may still be read.
            self.rest = start.get(line.len() + 1..).unwrap_or_default();
            return Err(Fault::HeaderLine);
        }
        Ok(Some(line))
    }

    /// The line that begins at `start`, with the folds that come next.
    #[cold]
    fn folded(&mut self, start: &'a [u8]) -> Result<&'a [u8], Fault> {
        let mut len = 0;
        while let [b' ' | b'\t', ..] = self.rest {
            len = start.len() - self.rest.len() + self.line()?.len();
        }
        start.get(..len).ok_or(Fault::HeaderLine)
    }

    /// Goes on behind the next LF; `false` at the end. For salvage only.
    pub(crate) fn skip_line(&mut self) -> bool {
        let rest = memchr::memchr(b'\n', self.rest).and_then(|len| self.rest.get(len + 1..));
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Moves behind the next CRLF and gives what stands before it. A CR or LF alone is a fault:
    /// peers that read it as a line end would see other headers than we do.
    #[inline(always)]
    fn line(&mut self) -> Result<&'a [u8], Fault> {
        let [b'\r', b'\n', rest @ ..] = lex::from_line_end(self.rest).unwrap_or_default() else {
            return Err(Fault::HeaderLine);
        };
        let line = self.rest.get(..self.rest.len() - rest.len() - 2);
        self.rest = rest;
        line.ok_or(Fault::HeaderLine)
    }
}
