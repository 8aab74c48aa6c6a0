//! Offers of ours within an answered call: one side is told what the other side wants, and what it
//! makes of that goes back to whoever waits.

use std::time::Instant;

use super::call::Call;
use super::coupling::Event;
use super::egress::{self, SDP};
use super::failover::Attempted;
use super::offer::{Asker, Change, OFFER_WAIT, TELLS_MAX, glare_wait};
use super::place::Part;
use super::renegotiate::{say, vanished};
use super::sides::side_of;
use super::timers::Timer;
use super::wires::Wires;
use crate::domain::cause::Cause;
use crate::domain::now::Now;
use crate::rtp::plane::Side;
use crate::sdp::{InvalidSdp, Session, Wish};
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::transaction::ClientId;

/// Statuses that mean: the same offer may be taken later.
const ASK_AGAIN: [u16; 3] = [491, 500, 503];

impl Call {
    /// Tells a side what the other one wants, if it was told otherwise.
    pub(super) fn bring_in_line(&mut self, wires: &mut Wires, at: Instant, to: Side) {
        self.bring_in_line_after(wires, at, to, 0);
    }

    /// The same after so many offers of which each has led to the next one: two sides that never
    /// agree are left as they are in the end.
    fn bring_in_line_after(&mut self, wires: &mut Wires, at: Instant, to: Side, tries: u8) {
        let is_confirmed = self.is_confirmed(to);
        let Some(talk) = &mut self.talk else { return };
        let may_tell = talk.change.is_none() && !talk.is_apart && tries < TELLS_MAX;
        let Some(told) = talk.wish_to_tell(to).filter(|_| may_tell) else { return };
        if !is_confirmed || talk.unconfirmed[to.index()].is_some() {
            // An INVITE must not overtake the ACK of the one before it (RFC 5407 §3.1.5).
            talk.unsettled = Some((to, tries));
            return;
        }
        self.tell(wires, at, Change { tries, ..Change::new(to, told) });
    }

    /// Brings both sides in line, one after the other, where that had to wait until nothing was
    /// open any more.
    pub(super) fn settle(&mut self, wires: &mut Wires, at: Instant) {
        let Some(talk) = &mut self.talk else { return };
        if talk.is_apart || talk.is_busy() {
            return;
        }
        let Some((first, tries)) = talk.unsettled.take() else { return };
        self.bring_both_in_line(wires, at, first, tries);
    }

    /// The other side has its turn now where there is nothing to tell the first one, and else when
    /// that has answered.
    fn bring_both_in_line(&mut self, wires: &mut Wires, at: Instant, first: Side, tries: u8) {
        self.bring_in_line_after(wires, at, first, tries);
        self.bring_in_line_after(wires, at, first.other(), tries);
    }

    /// A side makes an offer while we wait to make ours again: ours comes after that.
    pub(super) fn put_off(&mut self, wires: &mut Wires) {
        let Some(talk) = &mut self.talk else { return };
        if let Some(change) = talk.change.take_if(|change| change.client.is_none()) {
            talk.unsettled = Some((change.to, change.tries));
            wires.timers.disarm(self.serial, Timer::Offer);
        }
    }

    /// Sends the offer of a change. Without room for one more transaction, whoever waits is told to
    /// come back, and we come back ourselves where nobody waits.
    pub(super) fn tell(&mut self, wires: &mut Wires, at: Instant, mut change: Change) {
        let Some(talk) = &mut self.talk else { return };
        let text = talk.offer(change.to, change.told);
        change.client = self.reinvite(wires, at, change.to, &text);
        change.tries += 1;
        if change.client.is_none() {
            return match &change.asker {
                Some((asker, _)) => say(wires, at, asker, 500),
                None => self.ask_again_later(wires, at, change.to, change.tries),
            };
        }
        wires.timers.arm(at, self.serial, Timer::Offer, at + OFFER_WAIT);
        if let Some(talk) = &mut self.talk {
            talk.change = Some(Box::new(change));
        }
    }

    fn reinvite(
        &mut self,
        wires: &mut Wires,
        at: Instant,
        to: Side,
        text: &str,
    ) -> Option<ClientId> {
        let place = self.place_of(to);
        let asked = self.session_asked(wires, to);
        let branch = wires.new_branch();
        let (dialog, hop) = self.line(to)?;
        let own = wires.names.of(hop);
        let request =
            dialog.request(&mut wires.out, Method::Invite, wires.names.via_of(hop), branch);
        let mut request = egress::stating(request, own);
        if let Some(asked) = asked {
            request = asked.write(request);
        }
        let request = request.body(SDP, text.as_bytes());
        wires.transactions.request(at, request, hop, place.to_owner()).ok()
    }

    /// The wait of who has made an offer is over, or that before we ask again.
    pub(super) fn on_offer_timer(&mut self, wires: &mut Wires, now: Now) {
        let Some(talk) = &mut self.talk else { return };
        if talk.change.as_ref().is_some_and(|change| change.client.is_none()) {
            let Some(change) = talk.change.take() else { return };
            self.bring_both_in_line(wires, now.monotonic, change.to, change.tries);
            return self.settle(wires, now.monotonic);
        }
        self.withdraw(wires, now.monotonic, 488);
    }

    /// A response to a re-INVITE of ours.
    pub(super) fn on_reinvite_response(
        &mut self,
        wires: &mut Wires,
        now: Now,
        part: Part,
        client: ClientId,
        response: &Message,
    ) {
        let status = response.status().unwrap_or_default();
        if status < 200 {
            return;
        }
        if status < 300 {
            self.confirm_reinvite(wires, part, client, response);
            self.refreshed(wires, now.monotonic, side_of(part), response);
        }
        let Some(change) = self.take_change(wires, client) else { return };
        self.conclude(wires, now, change, response);
        self.settle(wires, now.monotonic);
    }

    /// What follows from the final response to an offer of ours.
    fn conclude(&mut self, wires: &mut Wires, now: Now, mut change: Change, response: &Message) {
        let status = response.status().unwrap_or_default();
        let may_be_told_again = change.may_be_told_again();
        if status == 422 && self.raise_interval(change.to, response) && may_be_told_again {
            // RFC 4028 §7.4: the same once more, for a longer session.
            return self.tell(wires, now.monotonic, change);
        }
        match (status, change.asker.take()) {
            (408 | 481, asker) => {
                if let Some((asker, _)) = asker {
                    say(wires, now.monotonic, &asker, 488);
                }
                self.happen(wires, now, vanished(change.to));
            }
            (200..300, Some((asker, offer))) => {
                let (side, told) = (change.to, change.told);
                self.on_far_answer(wires, now, (side, told), asker, offer, response);
            }
            (200..300, None) => {
                self.on_answer_for_nobody(wires, now, &change, response);
            }
            (_, Some((asker, offer))) => {
                let side = change.to.other();
                self.on_far_refusal(wires, now.monotonic, (side, status), asker, offer);
            }
            (_, None) if change.is_withdrawn => {}
            (_, None) => {
                if status == 491 {
                    self.refresh_after_glare(wires, now.monotonic, change.to);
                }
                if ASK_AGAIN.contains(&status) && may_be_told_again {
                    self.ask_again_later(wires, now.monotonic, change.to, change.tries);
                } else {
                    let other = change.to.other();
                    self.bring_in_line_after(wires, now.monotonic, other, change.tries);
                }
            }
        }
    }

    fn take_change(&mut self, wires: &mut Wires, client: ClientId) -> Option<Change> {
        let talk = self.talk.as_mut()?;
        let change = talk.change.take_if(|change| change.client == Some(client))?;
        wires.timers.disarm(self.serial, Timer::Offer);
        Some(*change)
    }

    fn confirm_reinvite(
        &mut self,
        wires: &mut Wires,
        part: Part,
        client: ClientId,
        response: &Message,
    ) {
        let branch = wires.new_branch();
        let Some((dialog, hop)) = self.answered_line(part, response) else { return };
        let sent_by = wires.names.via_of(hop);
        let ack = dialog.ack_number(&mut wires.out, response.cseq(), sent_by, branch);
        let ack = ack.lines(wires.transactions.credentials(client)).finish();
        dialog.refresh_target(response);
        wires.transmit(hop, ack.bytes);
    }

    /// The far side has taken the offer of a side.
    fn on_far_answer(
        &mut self,
        wires: &mut Wires,
        now: Now,
        (to, told): (Side, Wish),
        asker: Asker,
        offer: Session,
        response: &Message,
    ) {
        let body = response.body();
        let outcome = self.change_media(wires, |talk| {
            talk.far_side_answers(to, told, body, &offer)?;
            Ok::<_, InvalidSdp>(talk.answer(to.other(), offer))
        });
        if let Some(Ok(text)) = outcome {
            let part = self.part_of(to.other());
            return self.agree(wires, now.monotonic, part, asker, Some(text));
        }
        say(wires, now.monotonic, &asker, 488);
        self.talked_in_vain(wires, now.monotonic, to, told);
    }

    /// The far side has taken an offer that is withdrawn, or one that only brings it in line.
    fn on_answer_for_nobody(
        &mut self,
        wires: &mut Wires,
        now: Now,
        change: &Change,
        response: &Message,
    ) {
        let Change { to, told, tries, .. } = *change;
        if change.is_withdrawn {
            return self.talked_in_vain(wires, now.monotonic, to, told);
        }
        let outcome = self.change_media(wires, |talk| talk.side_answers(to, told, response.body()));
        match outcome {
            Some(Ok(())) => self.bring_in_line_after(wires, now.monotonic, to.other(), tries),
            None => {}
            Some(Err(_)) => self.happen(wires, now, Event::Stopped(Cause::MediaUnacceptable)),
        }
    }

    /// A side has taken an offer that does not hold: it is told what does.
    fn talked_in_vain(&mut self, wires: &mut Wires, at: Instant, to: Side, told: Wish) {
        if let Some(talk) = &mut self.talk {
            talk.was_told(to, told);
        }
        self.bring_in_line(wires, at, to);
    }

    /// The far side refuses. Who has asked keeps the session, or gets what the session allows where
    /// nothing depends on the far side.
    fn on_far_refusal(
        &mut self,
        wires: &mut Wires,
        at: Instant,
        (side, status): (Side, u16),
        asker: Asker,
        offer: Session,
    ) {
        let needed = self.talk.as_ref().is_none_or(|talk| talk.needs_far_side(side, &offer));
        match status {
            491 => say(wires, at, &asker, 491),
            _ if needed => say(wires, at, &asker, 488),
            _ => self.take_offer(wires, at, side, asker, offer),
        }
    }

    /// A re-INVITE of ours got no answer at all. False when it is another request.
    pub(super) fn on_reinvite_failure(
        &mut self,
        wires: &mut Wires,
        now: Now,
        client: ClientId,
        how: Attempted,
    ) -> bool {
        let Some(change) = self.take_change(wires, client) else { return false };
        match (how, &change.asker) {
            // RFC 3261 §12.2.1.2: whoever is silent for so long is gone.
            (Attempted::Silent, asker) => {
                if let Some((asker, _)) = asker {
                    say(wires, now.monotonic, asker, 488);
                }
                self.happen(wires, now, vanished(change.to));
            }
            (Attempted::Unreachable | Attempted::Full | Attempted::Status(_), Some((asker, _))) => {
                say(wires, now.monotonic, asker, 488);
                self.settle(wires, now.monotonic);
            }
            (Attempted::Unreachable | Attempted::Full | Attempted::Status(_), None) => {
                self.ask_again_later(wires, now.monotonic, change.to, change.tries);
                self.settle(wires, now.monotonic);
            }
        }
        true
    }

    /// Not too often, and only while there is something to tell.
    fn ask_again_later(&mut self, wires: &mut Wires, at: Instant, to: Side, tries: u8) {
        if tries >= TELLS_MAX {
            return;
        }
        // The caller's Call-ID is the caller's, the callee's is ours.
        let wait = glare_wait(wires, to == Side::B);
        let Some(talk) = &mut self.talk else { return };
        let Some(told) = talk.wish_to_tell(to) else { return };
        let again = Change { tries, ..Change::new(to, told) };
        talk.change = Some(Box::new(again));
        wires.timers.arm(at, self.serial, Timer::Offer, at + wait);
    }
}
