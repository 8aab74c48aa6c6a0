//! Why the two readers may disagree. What none of these sentences covers fails the test.

use maskline::sip::Fault;
use maskline::sip::header::HeaderId;
use maskline::sip::message::Message;
use maskline::sip::method::Method;
use maskline::sip::uri::Scheme;

/// We refuse what they read: each is a rule that RFC 3261 has, or a limit, and they have not.
pub(crate) fn refused(fault: Fault) -> &'static str {
    match fault {
        Fault::Empty => "refused by us: nothing but line ends",
        Fault::TooLong => "refused by us: longer than a message may be",
        Fault::StartLine => "refused by us: a start line with more or other than its three words",
        Fault::RequestUri => "refused by us: a Request-URI outside its grammar",
        Fault::Version => "refused by us: another version",
        Fault::HeaderLine => "refused by us: a CR or LF alone, no colon, or too long a line",
        Fault::HeaderName => "refused by us: a header name that is no token",
        Fault::TooManyHeaders => "refused by us: too many headers",
        Fault::TooManyVias => "refused by us: too many Via values",
        Fault::Missing(_) => "refused by us: a mandatory header is missing",
        Fault::Repeated(_) => "refused by us: a header that may be there once is there twice",
        Fault::Invalid(_) => "refused by us: a header outside its grammar; they read it on demand",
        Fault::MethodMismatch => "refused by us: CSeq names another method",
        Fault::BodyMissing => "refused by us: Content-Length is larger than the datagram",
        Fault::BodyTooLong => "refused by us: too long a body",
    }
}

/// They refuse what we read.
pub(crate) fn accepted(message: &Message, bytes: &[u8]) -> Option<&'static str> {
    let uri = message.request_uri().ok();
    let user = uri.and_then(|uri| uri.user).unwrap_or_default();
    let start = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if bytes.starts_with(b"\r\n") {
        Some("refused by them: line ends before the start line (RFC 3261 §7.5 ignores them)")
    } else if !start.is_ascii() {
        Some("refused by them: a reason phrase that is not UTF-8")
    } else if message.method() == Method::Other {
        Some("refused by them: a method that they do not know")
    } else if !start.windows(7).any(|words| words == b"SIP/2.0") {
        Some("refused by them: `sip/2.0`, though RFC 3261 §7.1 reads it in any case")
    } else if user.contains([';', '?', ':', '/']) {
        Some("refused by them: a user part with signs that RFC 3261 §25.1 allows there")
    } else if uri.is_some_and(|uri| matches!(uri.scheme, Scheme::Tel | Scheme::Other)) {
        Some("refused by them: a scheme that they do not know; we answer 416 or read the number")
    } else {
        None
    }
}

/// Both read it, and these parts differ.
pub(crate) fn differs(message: &Message, bytes: &[u8], parts: &[&str]) -> Option<&'static str> {
    let head = bytes.get(..bytes.len() - message.body().len()).unwrap_or(bytes);
    let only = |allowed: &[&str]| parts.iter().all(|part| allowed.contains(part));
    if std::str::from_utf8(head).is_err() {
        return Some(
            "different: they stop at the first header that is not UTF-8, we keep its bytes",
        );
    }
    if only(&["body"]) && message.header(HeaderId::ContentLength).is_none() {
        return Some("different: without Content-Length a datagram's rest is the body (§18.3)");
    }
    None
}
