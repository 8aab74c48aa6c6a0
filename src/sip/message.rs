//! A received message: the shared bytes and an index of where things are.

use std::fmt;

use bytes::Bytes;

use super::address::Address;
use super::header::HeaderId;
use super::lex::{self, CommaList, InvalidValue};
use super::malformed::Malformed;
use super::method::Method;
use super::parse::{Scanned, StartLine, scan};
use super::transport::Hop;
use super::uri::Uri;
use super::via::Via;

/// A well-formed request or response. Cheap to clone; `Debug` never shows its text.
#[derive(Clone)]
pub struct Message {
    bytes: Bytes,
    scanned: Scanned,
}

impl Message {
    /// Reads one datagram.
    ///
    /// # Errors
    /// [`Malformed`], which says why and can write the answer.
    pub fn parse(bytes: Bytes) -> Result<Self, Malformed> {
        match scan(&bytes) {
            Ok(scanned) => Ok(Self { bytes, scanned }),
            Err(fault) => Err(Malformed::new(bytes, fault)),
        }
    }

    /// The bytes as received.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Whether this is a request.
    #[must_use]
    pub fn is_request(&self) -> bool {
        self.status().is_none()
    }

    /// The method of a request; of a response, the method in CSeq.
    #[must_use]
    pub fn method(&self) -> Method {
        self.scanned.cseq_method
    }

    /// The method as text, for a [`Method::Other`] too. Empty for a response.
    #[must_use]
    pub fn method_name(&self) -> &[u8] {
        match self.scanned.start {
            StartLine::Request { name, .. } => name.of(&self.bytes),
            StartLine::Response { .. } => b"",
        }
    }

    /// The status code of a response.
    #[must_use]
    #[inline]
    pub fn status(&self) -> Option<u16> {
        match self.scanned.start {
            StartLine::Request { .. } => None,
            StartLine::Response { status } => Some(status),
        }
    }

    /// The Request-URI as text. Empty for a response.
    #[must_use]
    pub fn request_uri_text(&self) -> &[u8] {
        match self.scanned.start {
            StartLine::Request { uri, .. } => uri.of(&self.bytes),
            StartLine::Response { .. } => b"",
        }
    }

    /// The Request-URI.
    ///
    /// # Errors
    /// [`InvalidValue`] for a response; that of a request was checked by [`Message::parse`].
    pub fn request_uri(&self) -> Result<Uri<'_>, InvalidValue> {
        Uri::parse(self.request_uri_text())
    }

    /// The Via on top.
    #[must_use]
    #[inline]
    pub fn top_via(&self) -> Via<'_> {
        self.scanned.via.of(&self.bytes)
    }

    /// Where an answer to this request goes, when it came from `source`.
    #[must_use]
    pub fn reply_hop(&self, source: impl Into<Hop>) -> Hop {
        self.top_via().reply_hop(source.into())
    }

    /// From.
    #[must_use]
    #[inline]
    pub fn from(&self) -> Address<'_> {
        self.scanned.from.of(&self.bytes)
    }

    /// To.
    #[must_use]
    #[inline]
    pub fn to(&self) -> Address<'_> {
        self.scanned.to.of(&self.bytes)
    }

    /// Call-ID.
    #[must_use]
    #[inline]
    pub fn call_id(&self) -> &[u8] {
        self.scanned.call_id.of(&self.bytes)
    }

    /// The number in CSeq.
    #[must_use]
    pub fn cseq(&self) -> u32 {
        self.scanned.cseq
    }

    /// CSeq as written.
    #[must_use]
    pub fn cseq_value(&self) -> &[u8] {
        self.scanned.cseq_value.of(&self.bytes)
    }

    /// Max-Forwards, when present.
    #[must_use]
    pub fn max_forwards(&self) -> Option<u8> {
        self.scanned.max_forwards
    }

    /// Expires in seconds, when present.
    #[must_use]
    pub fn expires(&self) -> Option<u32> {
        self.scanned.expires
    }

    /// The first Contact.
    ///
    /// # Errors
    /// [`InvalidValue`] when it does not follow its grammar, `*` among it.
    pub fn contact(&self) -> Result<Option<Address<'_>>, InvalidValue> {
        let line = self.scanned.contact.map(|line| line.of(&self.bytes));
        line.and_then(|line| CommaList::new(line).next()).map(Address::parse).transpose()
    }

    /// The body; empty without one.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        self.scanned.body.of(&self.bytes)
    }

    /// The body, sharing the bytes of the message.
    #[must_use]
    pub fn body_bytes(&self) -> Bytes {
        self.bytes.slice_ref(self.body())
    }

    /// Content-Type without its parameters.
    #[must_use]
    pub fn content_type(&self) -> Option<&[u8]> {
        let value = self.scanned.content_type?.of(&self.bytes);
        let end = lex::find(b';', value).unwrap_or(value.len());
        value.get(..end).map(lex::trim)
    }

    /// The first line of a header, without white space at its ends.
    #[must_use]
    pub fn header(&self, id: HeaderId) -> Option<&[u8]> {
        self.headers(id).next()
    }

    /// All lines of a header, in order.
    pub fn headers(&self, id: HeaderId) -> impl Iterator<Item = &[u8]> {
        self.scanned.present.values(&self.bytes, id)
    }

    /// All values of a list header (Route, Contact, Require..), split at commas, in order.
    pub fn values(&self, id: HeaderId) -> impl Iterator<Item = &[u8]> {
        self.headers(id).flat_map(CommaList::new)
    }

    /// The first line of a header of any name.
    #[must_use]
    pub fn header_named(&self, name: &str) -> Option<&[u8]> {
        let id = HeaderId::from_name(name.as_bytes());
        if id != HeaderId::Other {
            return self.header(id);
        }
        let is_named = |found: HeaderId, text: &[u8]| {
            found == id && text.eq_ignore_ascii_case(name.as_bytes())
        };
        self.all_headers().find(|(id, text, _)| is_named(*id, text)).map(|(.., value)| value)
    }

    /// Names and values of all header lines, in order.
    pub fn all_headers(&self) -> impl Iterator<Item = (HeaderId, &[u8], &[u8])> {
        self.scanned.present.all(&self.bytes)
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status() {
            Some(status) => write!(f, "Message({status} to {:?})", self.method()),
            None => write!(f, "Message({:?})", self.method()),
        }
    }
}
