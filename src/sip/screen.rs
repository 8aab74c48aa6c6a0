//! The checks that every request must pass before anybody looks at what it means, and the answers
//! to those that do not: RFC 3261 §8.2.

use std::fmt;

use bytes::{Bytes, BytesMut};

use super::header::HeaderId;
use super::ids::Tag;
use super::limits::MAX_FORWARDS_MAX;
use super::message::Message;
use super::method::Method;
use super::uri::{Parts, Scheme};
use super::write::{ResponseWriter, Source};

/// What this element can do, as it says in its answers.
#[derive(Clone, Copy, Debug)]
pub struct Capabilities {
    /// The methods that really work.
    pub allow: &'static [Method],
    /// The option tags of extensions that really work.
    pub supported: &'static [&'static str],
    /// The body types that are understood.
    pub accept: &'static [&'static str],
}

/// An answer to a request that goes no further. `Debug` shows no text of the request.
#[derive(Clone, Eq, PartialEq)]
pub struct Refusal {
    /// The status code.
    pub status: u16,
    /// What the status needs said with it.
    pub header: Option<(HeaderId, String)>,
}

impl Refusal {
    fn bare(status: u16) -> Self {
        Self { status, header: None }
    }

    fn with(status: u16, header: HeaderId, value: String) -> Self {
        Self { status, header: Some((header, value)) }
    }

    /// Writes the answer to `request`, which came from `source`.
    #[must_use]
    pub fn write(
        &self,
        out: &mut BytesMut,
        request: &Message,
        source: impl Into<Source>,
        to_tag: &Tag,
    ) -> Bytes {
        let writer = ResponseWriter::start(out, request, source, self.status, Some(to_tag));
        match &self.header {
            Some((id, value)) => writer.header(id.name(), value).finish(),
            None => writer.finish(),
        }
    }
}

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Refusal({}, {:?})", self.status, self.header.as_ref().map(|(id, _)| id))
    }
}

impl Capabilities {
    /// The value of Allow.
    #[must_use]
    pub fn allow_value(&self) -> String {
        let names: Vec<_> = self.allow.iter().map(|method| method.name()).collect();
        names.join(", ")
    }

    /// Checks a request; an ACK is never answered and always passes.
    ///
    /// # Errors
    /// [`Refusal`], the first of: 501, 405, 416, 483, 420, 481, 415, 406, 400.
    pub fn screen(&self, request: &Message) -> Result<(), Refusal> {
        let method = request.method();
        if method == Method::Ack || method == Method::Cancel {
            return Ok(());
        }
        self.check_method(method)?;
        let scheme = request.request_uri().map(|uri| uri.scheme);
        match scheme.map_err(|_| Refusal::bare(400))? {
            Scheme::Sip | Scheme::Sips | Scheme::Tel => {}
            Scheme::Other => return Err(Refusal::bare(416)),
        }
        if request.max_forwards() == Some(0) {
            return Err(Refusal::bare(483));
        }
        self.check_require(request)?;
        if needs_dialog(method) && request.to().tag.is_none() {
            return Err(Refusal::bare(481));
        }
        self.check_body(request)?;
        if method == Method::Invite {
            self.check_accept(request)?;
            check_contact(request)?;
        }
        Ok(())
    }

    fn check_method(&self, method: Method) -> Result<(), Refusal> {
        if method == Method::Other {
            return Err(Refusal::bare(501));
        }
        if self.allow.contains(&method) {
            return Ok(());
        }
        Err(Refusal::with(405, HeaderId::Allow, self.allow_value()))
    }

    fn check_require(&self, request: &Message) -> Result<(), Refusal> {
        let is_unknown = |tag: &&[u8]| {
            !self.supported.iter().any(|known| tag.eq_ignore_ascii_case(known.as_bytes()))
        };
        let wanted =
            request.values(HeaderId::Require).chain(request.values(HeaderId::ProxyRequire));
        let unknown: Vec<_> = wanted
            .filter(|tag| !tag.is_empty())
            .filter(is_unknown)
            .map(String::from_utf8_lossy)
            .collect();
        if unknown.is_empty() {
            return Ok(());
        }
        Err(Refusal::with(420, HeaderId::Unsupported, unknown.join(", ")))
    }

    fn check_body(&self, request: &Message) -> Result<(), Refusal> {
        if request.body().is_empty() || !uses_body(request.method()) || is_optional(request) {
            return Ok(());
        }
        let coded = |value: &[u8]| !value.is_empty() && !value.eq_ignore_ascii_case(b"identity");
        if request.header(HeaderId::ContentEncoding).is_some_and(coded) {
            return Err(Refusal::with(415, HeaderId::AcceptEncoding, "identity".to_owned()));
        }
        let kind = request.content_type().unwrap_or_default();
        if self.accept.iter().any(|known| kind.eq_ignore_ascii_case(known.as_bytes())) {
            return Ok(());
        }
        Err(Refusal::with(415, HeaderId::Accept, self.accept.join(", ")))
    }

    /// Whether the caller understands what we would answer with (RFC 4475 §3.3.15).
    fn check_accept(&self, request: &Message) -> Result<(), Refusal> {
        let understands = |value: &[u8]| {
            let kind = value.split(|byte| *byte == b';').next().map(super::lex::trim);
            kind.is_some_and(|kind| {
                kind == b"*/*"
                    || kind.eq_ignore_ascii_case(b"application/*")
                    || self.accept.iter().any(|known| kind.eq_ignore_ascii_case(known.as_bytes()))
            })
        };
        let mut accepted = request.values(HeaderId::Accept).peekable();
        if accepted.peek().is_none() || accepted.any(understands) {
            return Ok(());
        }
        Err(Refusal::bare(406))
    }
}

/// A dialog cannot be opened without a Contact that can be called. A request without one is let
/// through outside a dialog: old clients of RFC 2543 leave it out.
fn check_contact(request: &Message) -> Result<(), Refusal> {
    match request.contact() {
        Ok(None) => Ok(()),
        Ok(Some(contact)) if Parts::parse(contact.uri).is_ok() => Ok(()),
        Ok(Some(_)) | Err(_) => Err(Refusal::bare(400)),
    }
}

fn needs_dialog(method: Method) -> bool {
    match method {
        Method::Bye | Method::Info | Method::Update | Method::Prack => true,
        Method::Invite
        | Method::Ack
        | Method::Cancel
        | Method::Options
        | Method::Register
        | Method::Refer
        | Method::Subscribe
        | Method::Notify
        | Method::Publish
        | Method::Message
        | Method::Other => false,
    }
}

/// Whether the body matters to what we do. A BYE must end its call whatever it carries.
fn uses_body(method: Method) -> bool {
    match method {
        Method::Invite | Method::Update | Method::Prack | Method::Info => true,
        Method::Bye
        | Method::Ack
        | Method::Cancel
        | Method::Options
        | Method::Register
        | Method::Refer
        | Method::Subscribe
        | Method::Notify
        | Method::Publish
        | Method::Message
        | Method::Other => false,
    }
}

/// `Content-Disposition: ..;handling=optional`: a body that is not understood is passed over.
fn is_optional(request: &Message) -> bool {
    let Some(value) = request.header(HeaderId::ContentDisposition) else { return false };
    value.split(|byte| *byte == b';').skip(1).any(|param| {
        let mut parts = param.splitn(2, |byte| *byte == b'=').map(super::lex::trim);
        let is_handling = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(b"handling"));
        is_handling && parts.next().is_some_and(|value| value.eq_ignore_ascii_case(b"optional"))
    })
}

/// Max-Forwards for a request we send because of `request`: one less, and never more than ours.
#[must_use]
pub fn next_max_forwards(request: &Message) -> u8 {
    let usual = super::timers::MAX_FORWARDS;
    let received = request.max_forwards().unwrap_or(usual);
    debug_assert!(u64::from(received) <= MAX_FORWARDS_MAX);
    received.saturating_sub(1).min(usual)
}
