//! Which transaction a request belongs to: RFC 3261 §17.2.3.

use crate::sip::message::Message;
use crate::sip::method::Method;

const MAGIC_COOKIE: &[u8] = b"z9hG4bK";

/// Writes the key of a request into `key`. An ACK and a CANCEL can be looked up by the key of the
/// INVITE they mean: `method_name` says whose key is wanted.
pub(super) fn write_server_key(key: &mut Vec<u8>, request: &Message, method_name: &[u8]) {
    let via = request.top_via();
    key.clear();
    match via.branch.filter(|branch| is_unique(branch)) {
        Some(branch) => {
            key.push(b'b');
            push(key, branch);
            key.extend(via.host.iter().map(u8::to_ascii_lowercase));
            key.extend_from_slice(&via.port.unwrap_or_default().to_be_bytes());
        }
        // RFC 2543, or only the cookie: everything that stays the same between a request, its
        // repeats and its ACK, so that no two calls collide.
        None => {
            key.push(b'v');
            push(key, via.raw);
            push(key, request.call_id());
            push(key, request.from().tag.unwrap_or_default());
            key.extend_from_slice(&request.cseq().to_be_bytes());
        }
    }
    key.push(0);
    key.extend_from_slice(method_name);
}

/// What stays the same when one request arrives by two paths (§8.2.2.2).
pub(super) fn write_merge_key(key: &mut Vec<u8>, request: &Message) {
    key.clear();
    push(key, request.call_id());
    push(key, request.from().tag.unwrap_or_default());
    key.extend_from_slice(&request.cseq().to_be_bytes());
    key.extend_from_slice(request.method_name());
}

/// The method whose transaction a request is matched with.
pub(super) fn matched_method_name(request: &Message) -> &[u8] {
    match request.method() {
        Method::Ack => Method::Invite.name().as_bytes(),
        Method::Invite
        | Method::Bye
        | Method::Cancel
        | Method::Options
        | Method::Register
        | Method::Prack
        | Method::Update
        | Method::Info
        | Method::Refer
        | Method::Subscribe
        | Method::Notify
        | Method::Publish
        | Method::Message
        | Method::Other => request.method_name(),
    }
}

/// The cookie promises uniqueness, but only with something behind it.
fn is_unique(branch: &[u8]) -> bool {
    let Some((cookie, rest)) = branch.split_at_checked(MAGIC_COOKIE.len()) else { return false };
    cookie.eq_ignore_ascii_case(MAGIC_COOKIE) && !rest.is_empty()
}

/// Appends a part whose end cannot be mistaken: no value of these holds a NUL or a line end.
fn push(key: &mut Vec<u8>, part: &[u8]) {
    key.extend_from_slice(part);
    key.push(0);
}
