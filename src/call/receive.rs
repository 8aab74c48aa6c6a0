//! What a peer sends: who may say what, to which call it belongs, and the answers that need no
//! call.

use bytes::Bytes;

use super::core::CallCore;
use super::coupling::Event as CallEvent;
use super::egress::{self, ACCEPT, ALLOW, ALLOWED_METHODS, BODIES, EXTENSIONS, SDP, SUPPORTED};
use super::errands::Errands;
use super::io::{NO_TRUNK, Output, Peer, PeerRole, SecurityEvent};
use super::place::{Part, Place};
use super::stateless::is_ack_of_stateless;
use crate::domain::cause::Cause;
use crate::domain::now::Now;
use crate::sip::header::HeaderId;
use crate::sip::ids::Tag;
use crate::sip::malformed::Malformed;
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::screen::{Capabilities, Refusal};
use crate::sip::transaction::{ClientId, Event, Found, Owner, ServerId};
use crate::sip::write::ResponseWriter;
use crate::sip::{reason, reliable, session_timer};

/// What we can do, for the checks that every request has to pass.
pub(super) const CAPABILITIES: Capabilities = Capabilities {
    allow: &[
        Method::Invite,
        Method::Ack,
        Method::Cancel,
        Method::Bye,
        Method::Options,
        Method::Update,
        Method::Info,
        Method::Prack,
    ],
    supported: &[reliable::OPTION, session_timer::OPTION],
    accept: &[SDP],
};

/// A well-formed message, and what it belongs to: looked up once for all who ask.
pub(super) struct Heard<'m> {
    pub(super) message: &'m Message,
    /// Call and leg, by its tag of ours.
    pub(super) place: Option<Place>,
    /// Its transaction.
    pub(super) found: Found,
}

impl CallCore {
    pub(super) fn on_datagram(&mut self, now: Now, peer: &Peer, bytes: Bytes) {
        if bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
            self.wires.counters.keepalives += 1;
            return;
        }
        if is_ack_of_stateless(&bytes, |tag| self.wires.places.contains_key(tag)) {
            self.wires.counters.stray_acks += 1;
            return;
        }
        let message = match Message::parse(bytes) {
            Ok(message) => message,
            Err(malformed) => return self.on_malformed(now, peer, &malformed),
        };
        if self.is_silent_to(now, peer, &message) {
            return;
        }
        let found = self.wires.transactions.find(&message);
        let heard = Heard { message: &message, place: self.find_place(&message), found };
        if self.is_foreign(now, peer, &heard) {
            return self.refuse_foreign(now, peer, &message);
        }
        if !self.lets_in(now, peer, &heard) {
            return;
        }
        let event = self.wires.transactions.receive(now.monotonic, &message, found, peer.hop());
        self.on_event(now, peer, &heard, event);
    }

    pub(super) fn on_malformed(&mut self, now: Now, peer: &Peer, malformed: &Malformed) {
        if !self.answers_odd(now, peer) {
            return;
        }
        let tag = self.wires.loose_tag();
        match malformed.answer(peer.hop(), &tag, &mut self.wires.out) {
            Some((to, answer)) => {
                self.wires.counters.malformed_answered += 1;
                self.wires.transmit(to, answer);
            }
            None => self.wires.counters.unreadable += 1,
        }
    }

    fn on_event(&mut self, now: Now, peer: &Peer, heard: &Heard<'_>, event: Event) {
        let Heard { message, place, .. } = *heard;
        match event {
            Event::Request { server } => self.on_request(now, peer, server, heard),
            Event::Merged { server } => {
                self.wires.counters.merged_requests += 1;
                self.answer(now, peer, server, message, 482);
            }
            Event::Cancel { server, invite } => {
                self.on_cancel(now, peer, server, invite, message);
            }
            Event::Ack => self.on_ack(now, peer, place, message),
            Event::Response { client, owner, to } => {
                self.hear_plea(now, peer, to, message);
                if let Some(number) = Errands::number_of(owner) {
                    return self.on_errand_response(now, number, client, message);
                }
                if !self.on_challenge(now, client, owner, message) {
                    self.on_response(now, client, owner, message);
                }
            }
            Event::Stray => self.on_stray(place, message),
            Event::Absorbed => {}
            Event::Full => {
                self.wires.counters.refused_overload += 1;
                self.answer_stateless(peer, message, 503);
            }
        }
    }

    /// The call and leg whose tag of ours a message carries: in To of a request, in From of a
    /// response.
    pub(super) fn find_place(&self, message: &Message) -> Option<Place> {
        let ours = if message.is_request() { message.to() } else { message.from() };
        self.wires.places.get(&Tag::parse(ours.tag?)?).copied()
    }

    /// S18: what belongs to a dialog of ours and does not come from the trunk of that dialog; and
    /// what answers a request of ours and does not come from where that one went, whatever tags it
    /// has.
    fn is_foreign(&self, now: Now, peer: &Peer, heard: &Heard<'_>) -> bool {
        let is_not_of = |place| self.comes_from(now, place, peer) == Some(false);
        if heard.place.is_some_and(is_not_of) {
            return true;
        }
        let asked = self.wires.transactions.asked(heard.found);
        let Some((owner, asked)) = asked else { return false };
        if Errands::number_of(owner).is_some() {
            let is_trunk = asked.owner == peer.trunk.as_u128();
            return !is_trunk || asked.address.ip() != peer.address.ip();
        }
        is_not_of(Place::of_owner(owner))
    }

    /// As if there were no such dialog; nobody learns from the answer that there is one.
    fn refuse_foreign(&mut self, now: Now, peer: &Peer, message: &Message) {
        self.note_foreign(peer);
        if !self.answers_odd(now, peer) {
            return;
        }
        self.answer_stateless(peer, message, 481);
    }

    /// An insider who reads what others send, or a phone that was lost and is back elsewhere.
    fn note_foreign(&mut self, peer: &Peer) {
        self.wires.counters.foreign_sources += 1;
        let trunk = Some(peer.trunk).filter(|trunk| *trunk != NO_TRUNK);
        let event = SecurityEvent::ForeignDialog { source: peer.address.ip(), trunk };
        self.wires.outputs.push_back(Output::Security(event));
    }

    /// Answers a request by its transaction.
    pub(super) fn answer(
        &mut self,
        now: Now,
        peer: &Peer,
        server: ServerId,
        message: &Message,
        status: u16,
    ) {
        let tag = self.wires.loose_tag();
        let answer = egress::plain(&mut self.wires, message, peer.hop(), status, &tag);
        self.wires.transactions.respond(now.monotonic, server, status, answer);
    }

    fn on_request(&mut self, now: Now, peer: &Peer, server: ServerId, heard: &Heard<'_>) {
        let message = heard.message;
        if message.to().tag.is_some() {
            return self.on_dialog_request(now, peer, server, heard);
        }
        if needs_dialog(message.method()) {
            self.wires.counters.unknown_dialogs += 1;
            return self.answer(now, peer, server, message, 481);
        }
        if peer.role == PeerRole::Softphone {
            return self.on_softphone(now, peer, server, message);
        }
        self.on_new_request(now, peer, server, message);
    }

    /// A request outside of any dialog, of a peer that may be served.
    pub(super) fn on_new_request(
        &mut self,
        now: Now,
        peer: &Peer,
        server: ServerId,
        message: &Message,
    ) {
        let replaces =
            message.method() == Method::Invite && message.header(HeaderId::Replaces).is_some();
        if message.method() == Method::Refer || replaces {
            self.wires.counters.unsupported_requests += 1;
            self.answer(now, peer, server, message, 403);
            return self.record_if_attempt(now, peer, message, 403);
        }
        if let Err(refusal) = CAPABILITIES.screen(message) {
            self.refuse(now, peer, server, message, &refusal);
            return self.record_if_attempt(now, peer, message, refusal.status);
        }
        match message.method() {
            Method::Invite => self.on_attempt(now, peer, server, message),
            Method::Options => self.on_options(now, peer, server, message),
            Method::Ack
            | Method::Bye
            | Method::Cancel
            | Method::Register
            | Method::Prack
            | Method::Update
            | Method::Info
            | Method::Refer
            | Method::Subscribe
            | Method::Notify
            | Method::Publish
            | Method::Message
            | Method::Other => self.answer(now, peer, server, message, 405),
        }
    }

    /// An INVITE outside of any dialog is an attempt, however it is refused: it has its record. (A
    /// copy of one over another path is not: the first one has the record.)
    fn record_if_attempt(&mut self, now: Now, peer: &Peer, message: &Message, status: u16) {
        if message.method() == Method::Invite {
            self.record_refusal(now, peer, status, Cause::from_our_status(status));
        }
    }

    pub(super) fn refuse(
        &mut self,
        now: Now,
        peer: &Peer,
        server: ServerId,
        message: &Message,
        refusal: &Refusal,
    ) {
        self.wires.counters.unsupported_requests += 1;
        let tag = self.wires.loose_tag();
        let source = self.wires.source(peer.hop());
        let answer = refusal.write(&mut self.wires.out, message, source, &tag);
        self.wires.transactions.respond(now.monotonic, server, refusal.status, answer);
    }

    fn on_options(&mut self, now: Now, peer: &Peer, server: ServerId, message: &Message) {
        if self.is_draining {
            return self.answer(now, peer, server, message, 503);
        }
        self.tell_abilities(now, peer, server, message);
    }

    pub(super) fn tell_abilities(
        &mut self,
        now: Now,
        peer: &Peer,
        server: ServerId,
        message: &Message,
    ) {
        let tag = self.wires.loose_tag();
        let answer = self.write_abilities(peer, message, &tag);
        self.wires.transactions.respond(now.monotonic, server, 200, answer);
    }

    /// The answer to an OPTIONS.
    pub(super) fn write_abilities(&mut self, peer: &Peer, message: &Message, tag: &Tag) -> Bytes {
        let source = self.wires.source(peer.hop());
        ResponseWriter::start(&mut self.wires.out, message, source, 200, Some(tag))
            .header(ALLOW, ALLOWED_METHODS)
            .header(ACCEPT, BODIES)
            .header(SUPPORTED, EXTENSIONS)
            .finish()
    }

    fn on_cancel(
        &mut self,
        now: Now,
        peer: &Peer,
        server: ServerId,
        invite: Option<(ServerId, Owner)>,
        message: &Message,
    ) {
        let Some((invite, owner)) = invite else {
            self.wires.counters.unknown_dialogs += 1;
            return self.answer(now, peer, server, message, 481);
        };
        let q850 = reason::find_q850(message);
        let asks_from_here = self.asks_from(peer, invite);
        if asks_from_here == Some(true) {
            self.cancel_asking(now, invite);
            return self.answer(now, peer, server, message, 200);
        }
        let place @ Place { serial, part } = Place::of_owner(owner);
        let is_callers = asks_from_here.or_else(|| self.comes_from(now, place, peer));
        if is_callers == Some(false) {
            self.note_foreign(peer);
            return self.answer(now, peer, server, message, 481);
        }
        let call = self.calls.get(serial);
        // §9.2: the tag of this 200 is that of the answers to the INVITE.
        let tag = call.map(|call| *call.leg_a.tag()).unwrap_or_else(|| self.wires.loose_tag());
        let answer = egress::plain(&mut self.wires, message, peer.hop(), 200, &tag);
        self.wires.transactions.respond(now.monotonic, server, 200, answer);
        self.with_call(now, serial, |call, wires| {
            if !call.on_cancel_offer(wires, now, invite) && part == Part::Caller {
                call.hear_reason(q850);
                call.happen(wires, now, CallEvent::CallerCancelled);
            }
        });
    }

    fn on_ack(&mut self, now: Now, peer: &Peer, place: Option<Place>, message: &Message) {
        let found = place.is_some_and(|place| {
            self.with_call(now, place.serial, |call, wires| {
                call.on_ack(wires, now, place.part, peer, message);
            })
        });
        self.wires.counters.stray_acks += u64::from(!found);
    }

    fn on_response(&mut self, now: Now, client: ClientId, owner: Owner, message: &Message) {
        let Place { serial, part } = Place::of_owner(owner);
        let status = message.status().unwrap_or_default();
        let is_final = status >= 200;
        if is_final {
            self.wires.accounts.done(client);
        }
        let is_invite = message.method() == Method::Invite;
        self.with_call(now, serial, |call, wires| match part {
            Part::Callee(_) if is_invite && call.is_opened_by(part, message.cseq()) => {
                call.on_invite_response(wires, now, part, message);
            }
            Part::Caller | Part::Callee(_) if is_invite => {
                call.on_reinvite_response(wires, now, part, client, message);
            }
            _ if is_final && call.on_update_response(wires, now, part, client, message) => {}
            _ if is_final && call.on_watch_response(wires, now, part, client, status) => {}
            Part::Caller if is_final => call.leg_a.on_bye_done(client),
            Part::Callee(_) if is_final => {
                if let Some(branch) = call.branch_mut(part) {
                    branch.on_bye_done(client);
                }
            }
            Part::Caller | Part::Callee(_) => {}
        });
    }

    /// A 2xx whose transaction is gone is ACKed by its dialog once more; all else is noise.
    fn on_stray(&mut self, place: Option<Place>, message: &Message) {
        let is_2xx = matches!(message.status(), Some(200..=299));
        let place = place.filter(|_| is_2xx);
        let is_acked = place.is_some_and(|Place { serial, part }| {
            let branch = self.calls.get_mut(serial).and_then(|call| call.branch_mut(part));
            branch.is_some_and(|branch| branch.ack_again(&mut self.wires, message))
        });
        self.wires.counters.stray_responses += u64::from(!is_acked);
    }
}

/// Methods that mean nothing outside of a dialog, whether or not we do them inside of one.
const fn needs_dialog(method: Method) -> bool {
    matches!(method, Method::Bye | Method::Info | Method::Update | Method::Prack)
}
