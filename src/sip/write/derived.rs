//! Requests that follow from an INVITE of ours: the ACK to a refusal, and CANCEL.

use bytes::{Bytes, BytesMut};

use super::super::header::HeaderId;
use super::super::message::Message;
use super::super::method::Method;
use super::super::reason::Reason;
use super::super::timers::MAX_FORWARDS;
use super::{begin, put_decimal, put_end, put_header, put_value, take};

/// The ACK to a non-2xx final `response` (RFC 3261 §17.1.1.3): Request-URI, top Via, Route, From,
/// Call-ID and CSeq number of the INVITE; To of the response.
pub fn ack_of(out: &mut BytesMut, invite: &Message, response: &Message) -> Bytes {
    derive(out, Method::Ack, invite, response.to().raw, None)
}

/// The CANCEL of `invite` (§9.1): its Request-URI, top Via, Route, From, To, Call-ID and the number
/// in its CSeq; and why.
pub fn cancel_of(out: &mut BytesMut, invite: &Message, why: Option<Reason>) -> Bytes {
    derive(out, Method::Cancel, invite, invite.to().raw, why)
}

/// The header lines with credentials of a `request` that was written here.
pub fn credentials_of(request: &[u8]) -> Box<[u8]> {
    let lines = request.split_inclusive(|byte| *byte == b'\n').take_while(|line| *line != b"\r\n");
    let is_wanted = |line: &&[u8]| {
        let mut names = [HeaderId::Authorization, HeaderId::ProxyAuthorization].into_iter();
        names.any(|id| {
            let rest = line.strip_prefix(id.name().as_bytes());
            rest.is_some_and(|rest| rest.starts_with(b":"))
        })
    };
    lines.filter(is_wanted).collect::<Vec<_>>().concat().into()
}

fn derive(
    out: &mut BytesMut,
    method: Method,
    invite: &Message,
    to: &[u8],
    why: Option<Reason>,
) -> Bytes {
    begin(out);
    out.extend_from_slice(method.name().as_bytes());
    out.extend_from_slice(b" ");
    put_value(out, invite.request_uri_text());
    out.extend_from_slice(b" SIP/2.0\r\n");
    put_header(out, "Via", invite.top_via().raw);
    out.extend_from_slice(b"Max-Forwards: ");
    put_decimal(out, u64::from(MAX_FORWARDS));
    out.extend_from_slice(b"\r\n");
    for route in invite.headers(HeaderId::Route) {
        put_header(out, "Route", route);
    }
    put_header(out, "From", invite.from().raw);
    put_header(out, "To", to);
    put_header(out, "Call-ID", invite.call_id());
    out.extend_from_slice(b"CSeq: ");
    put_decimal(out, u64::from(invite.cseq()));
    out.extend_from_slice(b" ");
    out.extend_from_slice(method.name().as_bytes());
    out.extend_from_slice(b"\r\n");
    if let Some(why) = why {
        put_header(out, HeaderId::Reason.name(), why.value().as_bytes());
    }
    put_end(out, None, b"");
    take(out)
}
