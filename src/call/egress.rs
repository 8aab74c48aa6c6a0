//! What may leave: the names of all headers that we ever write. None of them is copied from the
//! other leg, and a test holds every message against these lists.

use bytes::Bytes;

use super::names::Own;
use super::wires::Wires;
use crate::domain::cause::Cause;
use crate::sip::ids::Tag;
use crate::sip::message::Message;
use crate::sip::reason::Reason;
use crate::sip::session_timer::{self, MIN_SE_S, Refresher, Terms};
use crate::sip::transport::Hop;
use crate::sip::write::{RequestWriter, ResponseWriter};

/// The most names either list may have.
pub const NAMES_MAX: usize = 24;

/// Headers of our requests.
pub const REQUEST_NAMES: &[&str] = &[
    "Via",
    "Max-Forwards",
    "Route",
    "From",
    "To",
    "Call-ID",
    "CSeq",
    CONTACT,
    ALLOW,
    REASON,
    BINDING,
    SUPPORTED,
    RACK,
    SESSION_EXPIRES,
    MIN_SE,
    "Authorization",
    "Proxy-Authorization",
    "Expires",
    "Content-Type",
    "Content-Length",
];

/// Headers of our responses. Via, From, To, Call-ID, CSeq and Record-Route are the requester's own.
pub const RESPONSE_NAMES: &[&str] = &[
    "Via",
    "Record-Route",
    "From",
    "To",
    "Call-ID",
    "CSeq",
    CONTACT,
    ALLOW,
    ACCEPT,
    "Unsupported",
    "Retry-After",
    WWW_AUTHENTICATE,
    REASON,
    "Accept-Encoding",
    RECV_INFO,
    SUPPORTED,
    REQUIRE,
    RSEQ,
    SESSION_EXPIRES,
    MIN_SE,
    "Content-Type",
    "Content-Length",
];

pub(super) const CONTACT: &str = "Contact";
pub(super) const ALLOW: &str = "Allow";
pub(super) const ACCEPT: &str = "Accept";
pub(super) const WWW_AUTHENTICATE: &str = "WWW-Authenticate";
pub(super) const REASON: &str = "Reason";
pub(super) const SUPPORTED: &str = "Supported";
pub(super) const REQUIRE: &str = "Require";
pub(super) const RSEQ: &str = "RSeq";
pub(super) const RACK: &str = "RAck";
pub(super) const SESSION_EXPIRES: &str = "Session-Expires";
pub(super) const MIN_SE: &str = "Min-SE";
/// The INFO packages that we know: none.
pub(super) const RECV_INFO: &str = "Recv-Info";
/// An opaque reference to the binding, so that the desk's screen can show the policy.
pub(super) const BINDING: &str = "X-Maskline-Binding";

/// The methods that really work.
pub(super) const ALLOWED_METHODS: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, INFO, PRACK";
/// The extensions that really work.
pub(super) const EXTENSIONS: &str = "100rel, timer";
/// The body of an offer or an answer.
pub(super) const SDP: &str = "application/sdp";
/// All bodies that are read; those of keys in INFO only.
pub(super) const BODIES: &str = "application/sdp, application/dtmf-relay, application/dtmf";

/// Why a call was refused or given up (RFC 3326): our own codes, never a text.
pub(super) const fn reason(cause: Cause) -> Reason {
    Reason { sip_status: cause.sip_status(), q850: cause.q850() }
}

/// Why an answered call ends.
pub(super) fn end_reason(cause: Cause) -> String {
    format!("Q.850;cause={}", cause.q850())
}

/// What each request of ours states that begins or changes a session: where we are reached, and
/// what we can do.
pub(super) fn stating<'o>(request: RequestWriter<'o>, own: &Own) -> RequestWriter<'o> {
    request
        .header(CONTACT, own.contact.as_bytes())
        .header(ALLOW, ALLOWED_METHODS)
        .header(SUPPORTED, EXTENSIONS)
}

/// What a 2xx says of the session timer. A peer that has to refresh must know that it has to.
pub(super) fn session(writer: ResponseWriter<'_>, terms: Option<Terms>) -> ResponseWriter<'_> {
    let Some(terms) = terms else { return writer };
    let writer = writer.header(SESSION_EXPIRES, terms.value());
    match terms.refresher {
        Refresher::Uac => writer.header(REQUIRE, session_timer::OPTION),
        Refresher::Uas => writer,
    }
}

/// A response of nothing but a status, and what that status demands beside it.
pub(super) fn plain(
    wires: &mut Wires,
    request: &Message,
    from: Hop,
    status: u16,
    tag: &Tag,
) -> Bytes {
    let source = wires.source(from);
    let response = ResponseWriter::start(&mut wires.out, request, source, status, Some(tag));
    match status {
        405 | 501 => response.header(ALLOW, ALLOWED_METHODS).finish(),
        422 => response.header(MIN_SE, MIN_SE_S.to_string()).finish(),
        415 => response.header(ACCEPT, SDP).finish(),
        503 => response.header("Retry-After", wires.retry_after.as_bytes()).finish(),
        _ => response.finish(),
    }
}
