//! Leg B's INVITE, built from nothing. A header, a number or an address that is not written here
//! does not reach the callee; and this is the only place where a real number is dialled.

use super::egress::{self, BINDING, MIN_SE, SDP, SESSION_EXPIRES};
use super::names::{hop_of, put_authority};
use super::wires::Wires;
use crate::domain::id::BindingId;
use crate::domain::number::{Reveal, VirtualNumber};
use crate::domain::route::{Callee, TrunkTarget};
use crate::sip::dialog::Opening;
use crate::sip::ids::{SipCallId, Tag};
use crate::sip::method::Method;
use crate::sip::timers::MAX_FORWARDS;
use crate::sip::write::{Request, RequestHead, RequestWriter};

/// The facts that the INVITE is made of.
pub(super) struct Facts<'a> {
    /// Who is called.
    pub(super) callee: &'a Callee,
    /// Over which trunk.
    pub(super) target: &'a TrunkTarget,
    /// The only caller number that is ever shown.
    pub(super) virtual_number: &'a VirtualNumber,
    /// For the desk's screen; a carrier never learns it.
    pub(super) binding: BindingId,
    /// Our tag.
    pub(super) tag: &'a Tag,
    /// What the caller's INVITE allowed, so that a loop over other relays ends.
    pub(super) max_forwards: Option<u8>,
    /// Our own description.
    pub(super) sdp: &'a str,
    /// The session timer that the trunk demands at least.
    pub(super) session_min_s: Option<u32>,
}

/// Writes the INVITE, and says what must be kept of it to read its answers. `None` when that is too
/// long to be kept.
pub(super) fn write(wires: &mut Wires, facts: &Facts<'_>) -> Option<(Request, Opening)> {
    let format = wires.accounts.identity(facts.target.trunk).format_out;
    // "<sip:user@host>", which is To, and without the brackets the Request-URI.
    let mut to = Vec::with_capacity(ADDRESS_BYTES_USUAL);
    to.extend_from_slice(b"<sip:");
    match facts.callee {
        Callee::Subscriber(number) => {
            format.write_real(
                number.reveal(Reveal::DialCarrier),
                &wires.config.country_code,
                &mut to,
            );
        }
        Callee::Desk(user) => escape_user(user, &mut to),
    }
    to.push(b'@');
    put_authority(facts.target, &mut to);
    let hop = hop_of(facts.target);
    to.extend_from_slice(hop.transport.uri_parameter().as_bytes());
    to.push(b'>');
    let uri = to.get(1..to.len() - 1)?;
    let branch = wires.new_branch();
    let call_id = SipCallId::new(wires.shard, &mut wires.rng);
    let credentials = wires.credentials(facts.target.trunk, Method::Invite, uri);
    let own = wires.names.of(hop);
    let (host, tag) = (own.host.as_bytes(), facts.tag.as_bytes());
    let mut from = Vec::with_capacity(ADDRESS_BYTES_USUAL);
    from.extend_from_slice(b"<sip:");
    format.write_virtual(facts.virtual_number, &wires.config.country_code, &mut from);
    for part in [b"@", host, b">;tag=", tag] {
        from.extend_from_slice(part);
    }
    let opening = Opening::new(&call_id, &from, facts.tag, FIRST_CSEQ).ok()?;
    let head = RequestHead {
        method: Method::Invite,
        uri,
        sent_by: wires.names.via_of(hop),
        branch,
        max_forwards: hops_left(facts.max_forwards),
        routes: &[],
        from: &from,
        to: &to,
        call_id: call_id.as_bytes(),
        cseq: FIRST_CSEQ,
    };
    let mut request = egress::stating(RequestWriter::start(&mut wires.out, &head), own);
    request = match facts.session_min_s {
        None => request.header(SESSION_EXPIRES, wires.session_expires.as_bytes()),
        Some(least) => {
            request.header(SESSION_EXPIRES, least.to_string()).header(MIN_SE, least.to_string())
        }
    };
    for (name, value) in credentials {
        request = request.header(name.name(), value);
    }
    if matches!(facts.callee, Callee::Desk(_)) {
        request = request.header(BINDING, facts.binding.to_string());
    }
    Some((request.body(SDP, facts.sdp.as_bytes()), opening))
}

const ADDRESS_BYTES_USUAL: usize = 64;
/// The number of the INVITE; requests inside its dialogs have higher ones.
pub(super) const FIRST_CSEQ: u32 = 1;

/// One hop less than the caller allowed, and never more than our own default.
fn hops_left(callers: Option<u8>) -> u8 {
    callers.map_or(MAX_FORWARDS, |hops| hops.saturating_sub(1).min(MAX_FORWARDS))
}

/// A user part may hold little unescaped; what a tenant has configured never becomes syntax.
pub(super) fn escape_user(user: &str, uri: &mut Vec<u8>) {
    for byte in user.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()+".contains(&byte) {
            uri.push(byte);
        } else {
            uri.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hops_grow_fewer_and_never_wrap() {
        assert_eq!(
            [None, Some(255), Some(70), Some(1), Some(0)].map(hops_left),
            [70, 70, 69, 0, 0]
        );
    }

    #[test]
    fn a_desk_user_never_becomes_syntax() {
        let mut uri = Vec::new();
        escape_user("desk 1>@evil;x", &mut uri);
        assert_eq!(uri, b"desk%201%3E%40evil%3Bx");
    }
}
