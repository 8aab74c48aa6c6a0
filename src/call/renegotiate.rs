//! Offers within an answered call, from either side: what concerns the far side is passed on by an
//! INVITE of ours, and answered when the far side has answered. A refusal changes nothing.

use std::time::Instant;

use super::call::Call;
use super::coupling::{Event, Stage};
use super::egress::{self, ALLOW, ALLOWED_METHODS, CONTACT, MIN_SE, SDP};
use super::io::Peer;
use super::offer::{Asker, Change, Unconfirmed};
use super::place::{Part, Place};
use super::sides::side_of;
use super::timers::Timer;
use super::wires::Wires;
use crate::domain::cause::Cause;
use crate::domain::now::Now;
use crate::rtp::plane::Side;
use crate::sdp::{InvalidSdp, Session};
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::session_timer::{Decision, MIN_SE_S};
use crate::sip::transaction::ServerId;
use crate::sip::write::ResponseWriter;

impl Call {
    /// A re-INVITE or an UPDATE of a peer.
    pub(super) fn on_offer(&mut self, wires: &mut Wires, now: Now, place: Place, asker: Asker) {
        let at = now.monotonic;
        if self.has_ended(place.part, &asker.request) {
            return say(wires, at, &asker, 481);
        }
        if wires.decide_session(&asker.request) == Decision::TooSmall {
            return say(wires, at, &asker, 422);
        }
        let has_body = !asker.request.body().is_empty();
        if asker.request.method() == Method::Update && !has_body {
            return self.agree(wires, at, place.part, asker, None);
        }
        if place.part == Part::Caller && has_body && self.takes_early_offers() {
            return self.answer_early_offer(wires, at, &asker);
        }
        if has_body && self.takes_offers_of_callee(place.part, &asker.request) {
            return self.answer_callee_early(wires, at, place.part, asker);
        }
        let Some(side) = self.talking_side(place.part, &asker.request) else {
            let status = self.early_status(place.part, &asker.request);
            return say(wires, at, &asker, status);
        };
        if let Some(status) = self.busy_status(side, has_body) {
            return say(wires, at, &asker, status);
        }
        self.put_off(wires);
        if has_body {
            self.read_and_consider(wires, at, side, asker);
        } else {
            self.offer_in_answer(wires, at, side, asker);
        }
        self.settle(wires, at);
    }

    fn read_and_consider(&mut self, wires: &mut Wires, at: Instant, side: Side, asker: Asker) {
        let Some(talk) = &self.talk else { return say(wires, at, &asker, 481) };
        match talk.read_offer(side, asker.request.body()) {
            Ok(offer) => self.consider(wires, at, side, asker, offer),
            Err(InvalidSdp::TooLarge | InvalidSdp::Malformed) => say(wires, at, &asker, 400),
            Err(InvalidSdp::NoAudio | InvalidSdp::NoCodec) => say(wires, at, &asker, 488),
        }
    }

    /// Our BYE may still be on its way to who sends a request, but for us its dialog is over
    /// (RFC 3261 §15.1.1).
    fn has_ended(&mut self, part: Part, request: &Message) -> bool {
        let is_over = matches!(self.stage(), Stage::Over);
        is_over || self.branch_mut(part).is_some_and(|branch| branch.is_ending(request))
    }

    /// How an offer is refused that comes before the call is answered (RFC 3311 §5.2).
    fn early_status(&mut self, part: Part, request: &Message) -> u16 {
        match (self.stage(), part) {
            // Ours waits for their answer, or theirs for ours.
            (_, Part::Caller) if self.waits_for_early_answer() => 491,
            (_, Part::Caller) => 500,
            // No offer waits, but the caller cannot be asked about another one yet.
            (_, Part::Callee(_)) if self.has_answered_early(part, request) => 504,
            (_, Part::Callee(_)) => 491,
        }
    }

    /// How an offer is refused that comes while another one is open: RFC 3261 §14.2, RFC 3311 §5.2.
    /// One that is open with the other side is no reason while the sides are apart, unless this one
    /// would be another of ours. An offer that waits to be made again is not open.
    fn busy_status(&self, side: Side, has_body: bool) -> Option<u16> {
        let talk = self.talk.as_ref()?;
        let is_own = |change: &Change| change.asker.is_some() && change.to != side;
        let open = talk.change.as_deref().filter(|change| change.client.is_some());
        match (open, talk.offered) {
            (Some(change), _) if is_own(change) => Some(500),
            (Some(_), _) => Some(491),
            (None, Some(offered)) if talk.is_apart && has_body && offered != side => None,
            (None, offered) => offered.map(|_| 491),
        }
    }

    /// Takes an offer, at once or after the far side has been asked about it.
    fn consider(
        &mut self,
        wires: &mut Wires,
        at: Instant,
        side: Side,
        asker: Asker,
        offer: Session,
    ) {
        let Some(talk) = &self.talk else { return };
        // While they are apart, the far side is told of it when it is there.
        if talk.is_apart || !talk.concerns_far_side(side, &offer) {
            return self.take_offer(wires, at, side, asker, offer);
        }
        let to = side.other();
        // An INVITE must not overtake the ACK of the one before it (RFC 5407 §3.1.5).
        if talk.unconfirmed[to.index()].is_some() || !self.is_confirmed(to) {
            return say(wires, at, &asker, 491);
        }
        if asker.is_invite() {
            say(wires, at, &asker, 100);
        }
        wires.transactions.set_owner(asker.server, self.place_of(side).to_owner());
        let told = talk.wish_of_offer(to, &offer);
        let asker = Some((asker, offer));
        self.tell(wires, at, Change { asker, ..Change::new(to, told) });
    }

    /// Takes an offer that the far side need not know of, or has just agreed to.
    pub(super) fn take_offer(
        &mut self,
        wires: &mut Wires,
        at: Instant,
        side: Side,
        asker: Asker,
        offer: Session,
    ) {
        let part = self.part_of(side);
        let outcome = self.change_media(wires, |talk| {
            if talk.is_apart {
                talk.answer_apart(side, offer)
            } else {
                Ok(talk.answer(side, offer))
            }
        });
        match outcome.transpose() {
            Ok(text) => self.agree(wires, at, part, asker, text),
            Err(_) => say(wires, at, &asker, 488),
        }
    }

    /// An INVITE without an offer gets ours in its 200.
    fn offer_in_answer(&mut self, wires: &mut Wires, at: Instant, side: Side, asker: Asker) {
        let part = self.part_of(side);
        let Some(talk) = &mut self.talk else { return };
        let text = talk.offer_in_answer(side);
        self.agree(wires, at, part, asker, Some(text));
    }

    /// Answers with 200, and moves the peer's target.
    pub(super) fn agree(
        &mut self,
        wires: &mut Wires,
        at: Instant,
        part: Part,
        asker: Asker,
        text: Option<String>,
    ) {
        if let Some(dialog) = self.dialog_of(part, &asker.request) {
            dialog.refresh_target(&asker.request);
        }
        let terms = self.on_refresh(wires, at, part, &asker);
        let source = wires.source(asker.source);
        let writer = ResponseWriter::start(&mut wires.out, &asker.request, source, 200, None)
            .header(CONTACT, wires.names.of(asker.source).contact.as_bytes())
            .header(ALLOW, ALLOWED_METHODS);
        let writer = egress::session(writer, terms);
        let response = match &text {
            Some(text) => writer.body(SDP, text.as_bytes()),
            None => writer.finish(),
        };
        wires.transactions.respond(at, asker.server, 200, response.clone());
        if !asker.is_invite() {
            return;
        }
        let cseq = asker.request.cseq();
        let unconfirmed = Unconfirmed::new(at, asker.server, cseq, response);
        if let Some(talk) = &mut self.talk {
            talk.unconfirmed[side_of(part).index()] = Some(Box::new(unconfirmed));
        }
        self.arm_confirm(wires, at);
    }

    fn arm_confirm(&self, wires: &mut Wires, at: Instant) {
        let Some(talk) = &self.talk else { return };
        let due = talk.unconfirmed.iter().flatten().map(|it| it.due_at()).min();
        match due {
            Some(due) => wires.timers.arm(at, self.serial, Timer::Confirm, due),
            None => wires.timers.disarm(self.serial, Timer::Confirm),
        }
    }

    /// The time has come to repeat a 2xx.
    pub(super) fn on_confirm_timer(&mut self, wires: &mut Wires, now: Now) {
        let Some(talk) = &mut self.talk else { return };
        for side in [Side::A, Side::B] {
            let Some(unconfirmed) = &mut talk.unconfirmed[side.index()] else { continue };
            if !unconfirmed.repeat(wires, now.monotonic) {
                return self.happen(wires, now, vanished(side));
            }
        }
        self.arm_confirm(wires, now.monotonic);
    }

    /// An ACK within the call. It may carry the answer to an offer of ours.
    pub(super) fn on_ack(
        &mut self,
        wires: &mut Wires,
        now: Now,
        part: Part,
        peer: &Peer,
        ack: &Message,
    ) {
        if self.dialog_of(part, ack).is_none() {
            wires.counters.stray_acks += 1;
            return;
        }
        let side = side_of(part);
        let talk = self.talk.as_mut();
        let waiting = talk.and_then(|talk| {
            talk.unconfirmed[side.index()].take_if(|waiting| waiting.cseq == ack.cseq())
        });
        let is_confirmed = match waiting {
            Some(_) => {
                self.arm_confirm(wires, now.monotonic);
                true
            }
            None => side == Side::A && self.leg_a.on_ack(wires, now.monotonic, peer, ack),
        };
        if is_confirmed {
            self.on_late_answer(wires, now, side, ack.body());
            self.settle(wires, now.monotonic);
        }
    }

    /// The ACK of a side that was offered something in a 2xx.
    fn on_late_answer(&mut self, wires: &mut Wires, now: Now, side: Side, body: &[u8]) {
        let Some(talk) = &mut self.talk else { return };
        if talk.offered != Some(side) {
            return;
        }
        talk.offered = None;
        let told = talk.wish_told(side);
        let outcome = self.change_media(wires, |talk| talk.side_answers(side, told, body));
        match outcome {
            Some(Ok(())) => self.bring_in_line(wires, now.monotonic, side.other()),
            Some(Err(_)) | None => {
                self.happen(wires, now, Event::Stopped(Cause::MediaUnacceptable));
            }
        }
    }

    /// A CANCEL of a re-INVITE. False when it means another INVITE.
    pub(super) fn on_cancel_offer(
        &mut self,
        wires: &mut Wires,
        now: Now,
        server: ServerId,
    ) -> bool {
        let change = self.talk.as_ref().and_then(|talk| talk.change.as_ref());
        let asker = change.and_then(|change| change.asker.as_ref());
        let is_meant = asker.is_some_and(|(asker, _)| asker.server == server);
        if is_meant {
            self.withdraw(wires, now.monotonic, 487);
        }
        is_meant
    }

    /// Nobody stands behind the offer any more: whoever waits is refused, and the far side is told
    /// so if it takes it all the same.
    pub(super) fn withdraw(&mut self, wires: &mut Wires, at: Instant, status: u16) {
        wires.timers.disarm(self.serial, Timer::Offer);
        let change = self.talk.as_mut().and_then(|talk| talk.change.as_mut());
        let Some(change) = change else { return };
        if let Some((asker, _)) = change.asker.take() {
            say(wires, at, &asker, status);
        }
        change.is_withdrawn = true;
        if let Some(client) = change.client {
            wires.transactions.cancel(at, client);
        }
    }

    /// The call is over: nobody waits any more.
    pub(super) fn end_talk(&mut self, wires: &mut Wires, at: Instant) {
        let Some(talk) = self.talk.take() else { return };
        wires.timers.disarm(self.serial, Timer::Offer);
        wires.timers.disarm(self.serial, Timer::Confirm);
        wires.timers.disarm(self.serial, Timer::Refresh);
        wires.timers.disarm(self.serial, Timer::Speech);
        let Some(change) = talk.change else { return };
        if let Some(client) = change.client {
            // A peer that has said 100 may never say more.
            wires.transactions.cancel(at, client);
        }
        if let Some((asker, _)) = change.asker {
            say(wires, at, &asker, if asker.is_invite() { 487 } else { 481 });
        }
    }
}

/// A side that does not know the call any more, or does not answer, ends it.
pub(super) const fn vanished(side: Side) -> Event {
    match side {
        Side::A => Event::CallerVanished,
        Side::B => Event::Stopped(Cause::CalleeHangup),
    }
}

/// Answers an offer with nothing but a status, and what that status demands beside it.
pub(super) fn say(wires: &mut Wires, at: Instant, asker: &Asker, status: u16) {
    let retry_after = (status == 500).then(|| wires.random_u64() % (RETRY_AFTER_MAX_S + 1));
    let Asker { server, source, request } = asker;
    let source = wires.source(*source);
    let writer = ResponseWriter::start(&mut wires.out, request, source, status, None);
    let response = match (retry_after, status) {
        (Some(seconds), _) => writer.header("Retry-After", seconds.to_string()).finish(),
        (None, 422) => writer.header(MIN_SE, MIN_SE_S.to_string()).finish(),
        (None, _) => writer.finish(),
    };
    wires.transactions.respond(at, *server, status, response);
}

/// RFC 3261 §14.2: 0 to 10 seconds, by chance.
const RETRY_AFTER_MAX_S: u64 = 10;
