//! One INVITE of ours to one trunk, and all dialogs that its answers make: forked early ones, the
//! one that talks, and those that answered too late and are ended again.

use std::fmt;
use std::time::Instant;

use bytes::Bytes;

use super::b_invite::FIRST_CSEQ;
use super::egress;
use super::failover::Attempted;
use super::io::Peer;
use super::names::hop_of;
use super::place::{Part, Place};
use super::reliably::Heard;
use super::wires::{GIVE_UP, Wires};
use crate::domain::cause::Cause;
use crate::domain::route::TrunkTarget;
use crate::sip::dialog::{Dialog, Opening};
use crate::sip::ids::Tag;
use crate::sip::message::Message;
use crate::sip::reliable;
use crate::sip::transaction::ClientId;
use crate::sip::transport::Hop;

/// The most dialogs of one INVITE that are held at one time. Phones beyond them may ring unheard,
/// but one that answers is always confirmed, and ended where it is not wanted.
const DIALOGS_MAX: usize = 8;

/// What an answer counts as that cannot be understood.
const UNUSABLE: u16 = 500;

/// One INVITE of ours and what it made.
#[derive(Debug)]
pub(super) struct Branch {
    pub(super) place: Place,
    pub(super) target: TrunkTarget,
    tag: Tag,
    /// The number of its INVITE; requests inside its dialogs have higher ones.
    pub(super) cseq: u32,
    invite: Option<Box<Invite>>,
    /// Why nobody wants its answer any more.
    dropped: Option<Cause>,
    pub(super) held: Vec<Held>,
}

/// Kept until no phone can answer any more. The INVITE itself is not in here: only its transaction
/// holds it, to repeat it and to make the CANCEL or the ACK of it, and lets go of it with the final
/// response. After that the callee's number is in three places, each for at most 64*T1: in the ACK
/// to a refusal (repeated for each repeat of the refusal), in the ACK to a 2xx, and in To of a
/// dialog that is still to be ended.
#[derive(Debug)]
struct Invite {
    client: ClientId,
    opening: Opening,
    state: InviteState,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum InviteState {
    /// No final response yet.
    Pending,
    /// At least one 2xx; other forks may follow until its transaction is gone.
    Answered {
        /// Until then.
        until: Instant,
    },
}

/// One dialog of the callee's side. `Debug` does not show its ACK.
pub(super) struct Held {
    pub(super) dialog: Dialog,
    state: HeldState,
    /// Reliable provisional responses.
    pub(super) heard: Option<Box<Heard>>,
    /// Sent again for each repeated 2xx.
    ack: Option<Bytes>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum HeldState {
    Early,
    Talking,
    Ending(Option<ClientId>),
    Over,
}

impl Held {
    /// Has been answered and is not over: somebody has to end it.
    const fn is_answered(&self) -> bool {
        matches!(self.state, HeldState::Talking | HeldState::Ending(_))
    }

    /// Who has to leave first when another phone answers. One that only rings is found anew should
    /// it answer; the BYE of one that is being ended goes on by itself; who talks stays.
    const fn order_of_leaving(&self) -> Option<u8> {
        match self.state {
            HeldState::Early => Some(0),
            HeldState::Over => Some(1),
            HeldState::Ending(_) => Some(2),
            HeldState::Talking => None,
        }
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let acked = if self.ack.is_some() { ", acked" } else { "" };
        write!(f, "Held({:?}, {:?}{acked})", self.dialog, self.state)
    }
}

/// What a response means for the call.
#[derive(Debug)]
pub(super) enum Meaning {
    /// Nothing: repeated, late, or about a call attempt that was given up.
    Nothing,
    /// The trunk lives.
    Progress,
    /// A phone rings.
    Ringing,
    /// The callee has answered; the body of this message is its SDP.
    Answered,
    /// The trunk refused or failed.
    Failed(Attempted),
}

impl Branch {
    /// An INVITE that was just handed to its transaction.
    pub(super) fn new(
        place: Place,
        target: TrunkTarget,
        tag: Tag,
        client: ClientId,
        opening: Opening,
    ) -> Self {
        let invite = Invite { client, opening, state: InviteState::Pending };
        Self {
            place,
            target,
            tag,
            cseq: FIRST_CSEQ,
            invite: Some(Box::new(invite)),
            dropped: None,
            held: Vec::new(),
        }
    }

    /// Over which trunk.
    pub(super) const fn target(&self) -> &TrunkTarget {
        &self.target
    }

    /// Where our requests go.
    pub(super) const fn hop(&self) -> Hop {
        hop_of(&self.target)
    }

    /// Whether this is the number of its INVITE, and not of a later one inside a dialog.
    pub(super) const fn is_opened_by(&self, cseq: u32) -> bool {
        self.cseq == cseq
    }

    /// The number for its INVITE when that is sent again; `None` when nobody wants an answer.
    pub(super) fn next_cseq(&mut self) -> Option<u32> {
        let invite = self.invite.as_mut().filter(|_| self.dropped.is_none())?;
        self.cseq += 1;
        invite.opening.renumber(self.cseq);
        Some(self.cseq)
    }

    /// A request was sent again by another transaction.
    pub(super) fn replace_client(&mut self, old: ClientId, new: ClientId) {
        if let Some(invite) = self.invite.as_mut().filter(|invite| invite.client == old) {
            invite.client = new;
        }
        for held in &mut self.held {
            if held.state == HeldState::Ending(Some(old)) {
                held.state = HeldState::Ending(Some(new));
            }
        }
    }

    /// Whether a message comes from where this INVITE was sent.
    pub(super) fn is_from(&self, peer: &Peer) -> bool {
        peer.trunk == self.target.trunk && peer.address.ip() == self.target.address.ip()
    }

    /// Which part of the call it is.
    pub(super) const fn part(&self) -> Part {
        self.place.part
    }

    /// The dialog that talks, and where our requests go.
    pub(super) fn line(&mut self) -> Option<(&mut Dialog, Hop)> {
        let talking = self.held.iter_mut().find(|held| held.state == HeldState::Talking)?;
        Some((&mut talking.dialog, hop_of(&self.target)))
    }

    /// The dialog of a response to a request of ours.
    pub(super) fn answered_line(&mut self, response: &Message) -> Option<(&mut Dialog, Hop)> {
        let position = self.find_response(response)?;
        Some((&mut self.held.get_mut(position)?.dialog, hop_of(&self.target)))
    }

    /// Our tag.
    pub(super) const fn tag(&self) -> &Tag {
        &self.tag
    }

    /// No phone can answer any more, and every dialog has ended.
    pub(super) fn is_over(&self) -> bool {
        self.invite.is_none() && !self.held.iter().any(Held::is_answered)
    }

    /// How many dialogs there are.
    #[cfg(test)]
    pub(super) fn dialogs(&self) -> usize {
        self.held.iter().filter(|held| held.state != HeldState::Over).count()
    }

    /// A response to the INVITE, the first time or again.
    pub(super) fn on_response(
        &mut self,
        wires: &mut Wires,
        now: Instant,
        response: &Message,
    ) -> Meaning {
        match response.status().unwrap_or_default() {
            100 => self.if_wanted(Meaning::Progress),
            101..=199 => self.on_early(wires, now, response),
            200..=299 => self.on_2xx(wires, now, response),
            status => {
                self.invite = None;
                self.held.clear();
                self.if_wanted(Meaning::Failed(Attempted::Status(status)))
            }
        }
    }

    fn if_wanted(&self, meaning: Meaning) -> Meaning {
        if self.dropped.is_none() { meaning } else { Meaning::Nothing }
    }

    fn on_early(&mut self, wires: &mut Wires, now: Instant, response: &Message) -> Meaning {
        let Some(invite) = &self.invite else { return Meaning::Nothing };
        if invite.state != InviteState::Pending {
            return Meaning::Nothing;
        }
        if self.find_response(response).is_none()
            && self.held.len() < DIALOGS_MAX
            && let Ok(dialog) = invite.opening.answered_by(response)
        {
            self.add(dialog, HeldState::Early);
        }
        if let Some(rseq) = reliable::find_rseq(response)
            && !self.confirm_early(wires, now, response, rseq)
        {
            return Meaning::Nothing;
        }
        self.if_wanted(Meaning::Ringing)
    }

    /// The first 2xx that is wanted talks. Every other is ACKed and ended (RFC 3261 §13.2.2.4).
    fn on_2xx(&mut self, wires: &mut Wires, now: Instant, response: &Message) -> Meaning {
        let position = match self.find_response(response) {
            Some(position) => position,
            None => match self.hold(response) {
                Some(position) => position,
                None => return self.on_unusable_2xx(wires, now, response),
            },
        };
        let is_first = self.held.iter().all(|held| held.ack.is_none());
        let Some(held) = self.held.get_mut(position) else { return Meaning::Nothing };
        if let Some(ack) = &held.ack {
            wires.transmit(hop_of(&self.target), ack.clone());
            return Meaning::Nothing;
        }
        if held.is_answered() {
            return Meaning::Nothing;
        }
        // A 2xx without a Contact leaves the target of the early dialog: it can still be ended.
        let _ = held.dialog.confirm(Some(response));
        let has_hung_up = held.state == HeldState::Over;
        if !has_hung_up {
            held.state = HeldState::Talking;
        }
        self.confirm_at(wires, now, position);
        if has_hung_up {
            return Meaning::Nothing;
        }
        if is_first && self.dropped.is_none() {
            // Other early dialogs are over; a fork that answers all the same is found anew.
            self.held.retain(|held| held.state != HeldState::Early);
            return Meaning::Answered;
        }
        let cause = self.dropped.unwrap_or(Cause::CallerCancelled);
        self.end_at(wires, now, position, cause);
        Meaning::Nothing
    }

    /// A repeated 2xx that came past its transaction. True when it was of a dialog we had ACKed.
    pub(super) fn ack_again(&self, wires: &mut Wires, response: &Message) -> bool {
        let held = self.find_response(response).and_then(|at| self.held.get(at));
        let Some(ack) = held.and_then(|held| held.ack.clone()) else { return false };
        wires.transmit(hop_of(&self.target), ack);
        true
    }

    /// Most branches have one dialog, and stay for a while after its end: there is no room ahead.
    fn add(&mut self, dialog: Dialog, state: HeldState) {
        self.held.reserve_exact(1);
        self.held.push(Held { dialog, state, heard: None, ack: None });
    }

    fn hold(&mut self, response: &Message) -> Option<usize> {
        let dialog = self.invite.as_ref()?.opening.answered_by(response).ok()?;
        self.make_room();
        self.add(dialog, HeldState::Early);
        Some(self.held.len() - 1)
    }

    /// For one more dialog that is answered.
    fn make_room(&mut self) {
        if self.held.len() < DIALOGS_MAX {
            return;
        }
        let held = self.held.iter().enumerate();
        let leaving = held.filter_map(|(at, held)| Some((held.order_of_leaving()?, at))).min();
        if let Some((_, oldest)) = leaving {
            self.held.remove(oldest);
        }
    }

    /// The first 2xx of a dialog: ACKs it, and expects other forks for as long as they may answer.
    fn confirm_at(&mut self, wires: &mut Wires, now: Instant, position: usize) {
        let Some(held) = self.held.get_mut(position) else { return };
        let invite = self.invite.as_ref().map(|invite| invite.client);
        let ack = wires.ack(&held.dialog, hop_of(&self.target), invite);
        wires.transmit(hop_of(&self.target), ack.clone());
        held.ack = Some(ack);
        if let Some(invite) = &mut self.invite
            && invite.state == InviteState::Pending
        {
            invite.state = InviteState::Answered { until: now + GIVE_UP };
        }
    }

    /// A 2xx that opens no dialog to talk in. With a tag it is ACKed and ended, so that nobody
    /// holds a dead receiver. Without one there is no way to do that.
    fn on_unusable_2xx(&mut self, wires: &mut Wires, now: Instant, response: &Message) -> Meaning {
        let Some(invite) = &self.invite else { return Meaning::Nothing };
        let is_first = invite.state == InviteState::Pending;
        let Ok(dialog) = invite.opening.answered_unusably_by(response) else {
            let failed = Attempted::Status(UNUSABLE);
            return if is_first { self.on_failure(failed) } else { Meaning::Nothing };
        };
        self.make_room();
        let position = self.held.len();
        self.add(dialog, HeldState::Talking);
        self.confirm_at(wires, now, position);
        self.end_at(wires, now, position, self.dropped.unwrap_or(Cause::TrunkFailed));
        if !is_first || self.dropped.is_some() {
            return Meaning::Nothing;
        }
        // Nobody wants what another fork may still answer.
        self.dropped = Some(Cause::TrunkFailed);
        Meaning::Failed(Attempted::Status(UNUSABLE))
    }

    fn find_response(&self, response: &Message) -> Option<usize> {
        self.held.iter().position(|held| held.dialog.matches_response(response))
    }

    fn find_request(&self, request: &Message) -> Option<usize> {
        self.held.iter().position(|held| held.dialog.matches_request(request))
    }

    /// The transaction of the INVITE gave up.
    pub(super) fn on_failure(&mut self, how: Attempted) -> Meaning {
        self.invite = None;
        self.held.clear();
        self.if_wanted(Meaning::Failed(how))
    }

    /// Whether nobody has given a final response, and one is wanted.
    pub(super) fn is_awaited(&self) -> bool {
        let invite = self.invite.as_deref().filter(|_| self.dropped.is_none());
        invite.is_some_and(|invite| invite.state == InviteState::Pending)
    }

    /// Nobody wants an answer any more: CANCEL, held back until a 1xx; BYE where it is answered.
    pub(super) fn drop_it(&mut self, wires: &mut Wires, now: Instant, cause: Cause) {
        self.dropped.get_or_insert(cause);
        if let Some(invite) = &self.invite
            && invite.state == InviteState::Pending
        {
            wires.transactions.cancel_for(now, invite.client, Some(egress::reason(cause)));
        }
        self.end(wires, now, cause);
    }

    /// Ends the dialog that talks.
    pub(super) fn end(&mut self, wires: &mut Wires, now: Instant, cause: Cause) {
        let is_talking = |held: &Held| held.state == HeldState::Talking;
        if let Some(position) = self.held.iter().position(is_talking) {
            self.end_at(wires, now, position, cause);
        }
    }

    fn end_at(&mut self, wires: &mut Wires, now: Instant, position: usize, cause: Cause) {
        let Some(held) = self.held.get_mut(position) else { return };
        let to = hop_of(&self.target);
        let client = wires.bye(now, &mut held.dialog, to, cause, self.place);
        held.state = match client {
            Some(_) => HeldState::Ending(client),
            None => HeldState::Over,
        };
    }

    /// Whether a request is in a dialog that we have ended.
    pub(super) fn is_ending(&self, request: &Message) -> bool {
        let held = self.find_request(request).and_then(|at| self.held.get(at));
        held.is_some_and(|held| matches!(held.state, HeldState::Ending(_)))
    }

    /// The early dialog that a request is in, unless nobody wants its answer any more.
    pub(super) fn ringing_mut(&mut self, request: &Message) -> Option<&mut Held> {
        let position = self.find_request(request).filter(|_| self.dropped.is_none())?;
        self.held.get_mut(position).filter(|held| held.state == HeldState::Early)
    }

    /// The living dialog that a request is in, for its CSeq.
    pub(super) fn dialog_of(&mut self, request: &Message) -> Option<&mut Dialog> {
        let is_it = |held: &&mut Held| {
            held.state != HeldState::Over && held.dialog.matches_request(request)
        };
        self.held.iter_mut().find(is_it).map(|held| &mut held.dialog)
    }

    /// The callee ends a dialog: true when the call ends with it. In an early dialog the BYE has
    /// overtaken its 2xx, which is still to be ACKed.
    pub(super) fn on_bye(&mut self, request: &Message) -> bool {
        let Some(held) = self.find_request(request).and_then(|at| self.held.get_mut(at)) else {
            return false;
        };
        let was = std::mem::replace(&mut held.state, HeldState::Over);
        match was {
            HeldState::Talking => true,
            HeldState::Early => self.dropped.is_none(),
            HeldState::Ending(_) | HeldState::Over => false,
        }
    }

    /// The answer to a BYE of ours, or none in time.
    pub(super) fn on_bye_done(&mut self, client: ClientId) {
        for held in &mut self.held {
            if held.state == HeldState::Ending(Some(client)) {
                held.state = HeldState::Over;
            }
        }
    }

    /// This client transaction is that of the INVITE.
    pub(super) fn is_invite(&self, client: ClientId) -> bool {
        self.invite.as_ref().is_some_and(|invite| invite.client == client)
    }

    /// Until when other forks may answer; `None` while none has, and when all are forgotten.
    pub(super) fn forks_until(&self) -> Option<Instant> {
        match self.invite.as_ref()?.state {
            InviteState::Pending => None,
            InviteState::Answered { until } => Some(until),
        }
    }

    /// Drops what was kept for forks, once no phone can answer any more.
    pub(super) fn forget_forks(&mut self, now: Instant) {
        if self.forks_until().is_none_or(|until| until > now) {
            return;
        }
        self.invite = None;
        self.held.retain(Held::is_answered);
        self.held.shrink_to_fit();
        for held in &mut self.held {
            held.ack = None;
            held.heard = None;
        }
    }
}
