//! Requests of a peer inside a dialog.

use super::call::Call;
use super::core::CallCore;
use super::coupling::Event as CallEvent;
use super::egress::RECV_INFO;
use super::io::Peer;
use super::offer::Asker;
use super::place::{Part, Place};
use super::receive::CAPABILITIES;
use super::receive::Heard;
use super::sides::side_of;
use super::wires::Wires;
use crate::domain::cdr::Direction;
use crate::domain::now::Now;
use crate::rtp::plane::Side;
use crate::sip::dialog::Order;
use crate::sip::header::HeaderId;
use crate::sip::key_press::{DTMF, DTMF_RELAY, KeyPress};
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::reason;
use crate::sip::screen::Capabilities;
use crate::sip::transaction::ServerId;
use crate::sip::write::ResponseWriter;

/// An INFO has bodies of its own.
const INFO_CAPABILITIES: Capabilities =
    Capabilities { accept: &[DTMF_RELAY, DTMF], ..CAPABILITIES };

/// New requests of both peers inside one call, in a second, that get a transaction: keys that are
/// typed and all renegotiations fit. Each takes room for 32 s, which one call shall not fill.
pub(super) const REQUESTS_MAX: u16 = 100;
/// Keys of both sides in a second that are heard when they come in requests: nobody types faster.
/// Each becomes a request to the other side, where it is passed on.
const KEYS_MAX: u16 = 20;

/// How much of something has come inside a call of late.
#[derive(Debug, Default)]
pub(super) struct Rate {
    /// Of the wall clock.
    second: u64,
    count: u16,
}

impl Rate {
    /// Whether one more is taken, of so many in a second; if so, it counts.
    pub(super) fn takes(&mut self, now: Now, max: u16) -> bool {
        let second = now.unix_ms() / 1_000;
        if self.second != second {
            *self = Self { second, count: 0 };
        }
        let takes = self.count < max;
        self.count += u16::from(takes);
        takes
    }
}

impl CallCore {
    /// A request inside a dialog, or inside none that we know.
    pub(super) fn on_dialog_request(
        &mut self,
        now: Now,
        peer: &Peer,
        server: ServerId,
        heard: &Heard<'_>,
    ) {
        let Heard { message, place, .. } = *heard;
        let dialog = place
            .and_then(|place| self.calls.get_mut(place.serial)?.dialog_of(place.part, message));
        let (Some(place), Some(dialog)) = (place, dialog) else {
            self.wires.counters.unknown_dialogs += 1;
            return self.answer(now, peer, server, message, 481);
        };
        if dialog.receive(message) == Order::Old {
            return self.answer(now, peer, server, message, 500);
        }
        self.follow(place, peer, message);
        let method = message.method();
        // Nobody takes over a call through us, and no call is sent elsewhere.
        let takes_over = method == Method::Invite && message.header(HeaderId::Replaces).is_some();
        if method == Method::Refer || takes_over {
            self.wires.counters.unsupported_requests += 1;
            return self.answer(now, peer, server, message, 403);
        }
        // A BYE ends the dialog whatever else it asks for.
        let is_served = method != Method::Bye && CAPABILITIES.allow.contains(&method);
        let able = if method == Method::Info { INFO_CAPABILITIES } else { CAPABILITIES };
        if is_served && let Err(refusal) = able.screen(message) {
            return self.refuse(now, peer, server, message, &refusal);
        }
        match method {
            Method::Bye => {
                self.answer(now, peer, server, message, 200);
                self.on_bye(now, place, message);
            }
            // A call goes on while draining.
            Method::Options => self.tell_abilities(now, peer, server, message),
            Method::Invite | Method::Update => {
                let (source, request) = (peer.hop(), message.clone());
                let asker = Asker { server, source, request };
                self.with_call(now, place.serial, |call, wires| {
                    call.on_offer(wires, now, place, asker);
                });
            }
            Method::Info => self.on_info(now, peer, server, place, message),
            Method::Prack => {
                let (source, request) = (peer.hop(), message.clone());
                let asker = Asker { server, source, request };
                self.with_call(now, place.serial, |call, wires| {
                    call.on_prack(wires, now, place.part, asker);
                });
            }
            Method::Other => self.answer(now, peer, server, message, 501),
            Method::Ack
            | Method::Cancel
            | Method::Register
            | Method::Refer
            | Method::Subscribe
            | Method::Notify
            | Method::Publish
            | Method::Message => self.answer(now, peer, server, message, 405),
        }
    }

    fn on_bye(&mut self, now: Now, place: Place, message: &Message) {
        let q850 = reason::find_q850(message);
        self.with_call(now, place.serial, |call, wires| match place.part {
            Part::Caller => {
                call.leg_a.on_bye(wires);
                call.hear_reason(q850);
                call.happen(wires, now, CallEvent::CallerHungUp);
            }
            Part::Callee(_) => {
                let ends_call =
                    call.branch_mut(place.part).is_some_and(|branch| branch.on_bye(message));
                if ends_call {
                    call.hear_reason(q850);
                    if call.leaves_announcement(wires, now) {
                        return;
                    }
                    call.happen(wires, now, CallEvent::CalleeHungUp);
                }
            }
        });
    }

    /// RFC 6086: a key of the phone is taken, and bridged where policy allows. Packages are not
    /// served.
    fn on_info(
        &mut self,
        now: Now,
        peer: &Peer,
        server: ServerId,
        place: Place,
        message: &Message,
    ) {
        if message.header_named("Info-Package").is_some() {
            let tag = self.wires.loose_tag();
            let source = self.wires.source(peer.hop());
            let out = &mut self.wires.out;
            let answer = ResponseWriter::start(out, message, source, 469, Some(&tag))
                .header(RECV_INFO, "nil")
                .finish();
            return self.wires.transactions.respond(now.monotonic, server, 469, answer);
        }
        let body = message.body();
        let kind = message.content_type().unwrap_or_default();
        // One without a body only shows that the peer is there.
        let key = (!body.is_empty()).then(|| KeyPress::parse(kind, body));
        let is_broken = matches!(key, Some(Err(_)));
        self.answer(now, peer, server, message, if is_broken { 400 } else { 200 });
        if let Some(Ok(key)) = key {
            self.with_call(now, place.serial, |call, wires| {
                call.pass_key_on(wires, now, place.part, message, key);
            });
        }
    }
}

impl Call {
    /// The Q.850 cause with which a peer ends the call goes to the record.
    pub(super) fn hear_reason(&mut self, q850: Option<u8>) {
        if let (Some(record), Some(q850)) = (&mut self.record, q850) {
            record.heard_reason(q850);
        }
    }

    /// What the insurer types reaches the subscriber, in our own words. What the subscriber types
    /// stays here: that is nobody's business unless the purpose of the call says so.
    fn pass_key_on(
        &mut self,
        wires: &mut Wires,
        now: Now,
        part: Part,
        request: &Message,
        key: KeyPress,
    ) {
        let side = self.talking_side(part, request);
        if side.is_none() && part != Part::Caller {
            return;
        }
        // Each side has its own: an agent who types without end must not keep the subscriber's no.
        if !self.keys[side_of(part).index()].takes(now, KEYS_MAX) {
            wires.counters.keys_dropped += 1;
            return;
        }
        if part == Part::Caller && self.menu_takes_key(wires, now, key.sign()) {
            return;
        }
        let Some(side) = side else { return };
        if self.takes_key(wires, now, side, key.sign()) {
            return;
        }
        self.tell_key(wires, now, side, key);
    }

    /// The insurer calls.
    pub(super) fn is_to_subscriber(&self) -> bool {
        self.insurer_side() == Some(Side::A)
    }

    /// Where the insurer is.
    pub(super) fn insurer_side(&self) -> Option<Side> {
        self.record.as_ref().map(|record| match record.known().direction {
            Direction::ToSubscriber => Side::A,
            Direction::FromSubscriber => Side::B,
        })
    }
}
