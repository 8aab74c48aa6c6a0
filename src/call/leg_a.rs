//! Leg A: our side of the caller's dialog. It answers the INVITE once, repeats a 2xx until the ACK
//! comes, and ends as its state demands.

use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::contacts::{Flow, flow_of};
use super::egress::{
    self, ALLOW, ALLOWED_METHODS, CONTACT, EXTENSIONS, REASON, REQUIRE, RSEQ, SDP, SUPPORTED,
};
use super::io::{Peer, PeerRole};
use super::place::{Part, Place, Serial};
use super::timers::Timer;
use super::wires::{GIVE_UP, Wires};
use crate::domain::cause::Cause;
use crate::sip::dialog::Dialog;
use crate::sip::header::HeaderId;
use crate::sip::ids::Tag;
use crate::sip::message::Message;
use crate::sip::reliable::{self, Confirmed, Due, RAck, Reliable, lists_option};
use crate::sip::session_timer::Terms;
use crate::sip::timers::{T1, T2};
use crate::sip::transaction::{ClientId, ServerId};
use crate::sip::transport::Hop;
use crate::sip::write::{Answers, ResponseWriter};

/// Our side of the caller's dialog.
#[derive(Debug)]
pub(super) struct LegA {
    serial: Serial,
    peer: Peer,
    /// Where our requests go: the peer's host, at the port its answers come to. Of an agent, the
    /// connection that it has spoken by last.
    to: Hop,
    tag: Tag,
    dialog: Dialog,
    state: State,
}

#[derive(Debug)]
enum State {
    /// No final response yet. What it repeats of the INVITE is dropped with it.
    Invited(Invited),
    /// Our 2xx was sent and not confirmed.
    Answered(Box<Answered>),
    /// Confirmed.
    Talking,
    /// Our BYE is on its way.
    Ending(ClientId),
    /// Nothing is left to do.
    Over,
}

#[derive(Debug)]
struct Invited {
    server: ServerId,
    answers: Answers,
    /// Only for a caller that demands it: others are told what they may miss in the usual way.
    reliable: Option<Box<Reliable>>,
    told: Told,
}

/// What the caller knows of its attempt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Told {
    Nothing,
    /// 100, which no proxy counts.
    Trying,
    /// Another provisional status.
    Progress(u16),
}

/// A 2xx is repeated by us, not by its transaction (RFC 3261 §13.3.1.4). `Debug` does not show it.
struct Answered {
    server: ServerId,
    response: Bytes,
    repeat_at: Instant,
    interval: Duration,
    give_up_at: Instant,
    /// The call is over already; BYE has to wait for the ACK (§15).
    ended: Option<Cause>,
    /// What was told before may be confirmed still.
    reliable: Option<Box<Reliable>>,
}

impl fmt::Debug for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.response.len();
        write!(f, "Answered({:?}, {bytes} bytes, ended: {:?})", self.server, self.ended)
    }
}

/// What became of our 2xx when its timer came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum AnswerTimer {
    /// It was sent again, or nothing waits any more.
    GoesOn,
    /// The caller never confirmed it, and does not know yet that the call ends.
    CallerVanished,
    /// The caller never confirmed that it rings, which it has to.
    NeverConfirmed,
}

impl LegA {
    /// A leg whose INVITE has no answer but 100 yet.
    pub(super) fn new(
        serial: Serial,
        peer: Peer,
        tag: Tag,
        dialog: Dialog,
        server: ServerId,
        invite: &Message,
        wires: &mut Wires,
    ) -> Self {
        let to = invite.reply_hop(peer.hop());
        let source = wires.source(peer.hop());
        let answers = Answers::new(&mut wires.out, invite, source, &tag);
        let demands = lists_option(invite, HeaderId::Require, reliable::OPTION);
        let reliable = demands.then(Box::default);
        let state = State::Invited(Invited { server, answers, reliable, told: Told::Nothing });
        Self { serial, peer, to, tag, dialog, state }
    }

    /// Where the caller's messages come from, and ours go to.
    pub(super) const fn peer(&self) -> &Peer {
        &self.peer
    }

    /// A request of the caller, heard within the dialog. An agent may go on by another connection
    /// than the one it has called by: what we say goes where it is now. A trunk stays where it is.
    /// True when it has moved.
    pub(super) fn follow(&mut self, peer: &Peer, request: &Message) -> bool {
        let is_agent = matches!(self.peer.role, PeerRole::Agent { .. });
        let moves = is_agent && flow_of(&self.peer) != flow_of(peer);
        if moves {
            self.peer = Peer { role: self.peer.role, ..*peer };
            self.to = request.reply_hop(peer.hop());
        }
        moves
    }

    /// The agent's connection was lost, and it has registered by another one.
    pub(super) const fn move_to(&mut self, (transport, address): Flow) {
        self.peer = Peer { transport, address, ..self.peer };
        self.to = self.peer.hop();
    }

    /// The INVITE that is not answered for good yet, and where its answers go.
    pub(super) fn answering(&self) -> Option<(ServerId, Hop)> {
        match &self.state {
            State::Invited(invited) => Some((invited.server, self.to)),
            State::Answered(answered) => Some((answered.server, self.to)),
            State::Talking | State::Ending(_) | State::Over => None,
        }
    }

    /// Our tag.
    pub(super) const fn tag(&self) -> &Tag {
        &self.tag
    }

    /// The caller's dialog.
    pub(super) const fn dialog_mut(&mut self) -> &mut Dialog {
        &mut self.dialog
    }

    /// Nothing is left to do.
    pub(super) const fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    const fn place(&self) -> Place {
        Place { serial: self.serial, part: Part::Caller }
    }

    /// Tells the caller that its INVITE has arrived, when nothing better has come in time; and once
    /// a minute that the attempt goes on, so that no proxy gives it up (RFC 3261 §13.3.1.1).
    pub(super) fn keep_waiting(&mut self, wires: &mut Wires, now: Instant) {
        let State::Invited(invited) = &mut self.state else { return };
        wires.timers.arm(now, self.serial, Timer::Trying, now + TELL_EVERY);
        match (invited.told, &invited.reliable) {
            (Told::Nothing, _) => {
                invited.told = Told::Trying;
                let response = invited.answers.start(&mut wires.out, 100, wires.control).finish();
                wires.transactions.respond(now, invited.server, 100, response);
            }
            (Told::Trying, None) => self.progress(wires, now, 183, (None, false)),
            (Told::Progress(_), None) => wires.transactions.repeat(now, invited.server),
            // Its PRACK would have to answer an offer that nobody has thought of yet.
            (Told::Trying, Some(_)) => {}
            (Told::Progress(status), Some(reliable)) => {
                // One that is not confirmed yet is repeated as it is.
                if reliable.due_at().is_none() {
                    self.progress(wires, now, status, (None, false));
                }
            }
        }
    }

    /// Whether the caller demands that it confirms what it is told.
    pub(super) const fn rings_reliably(&self) -> bool {
        matches!(&self.state, State::Invited(Invited { reliable: Some(_), .. }))
    }

    /// Tells the caller that it rings. Only a reliable response can carry an offer.
    pub(super) fn ring(&mut self, wires: &mut Wires, now: Instant, offer: Option<&str>) {
        let offer = offer.filter(|_| self.rings_reliably());
        self.progress(wires, now, 180, (offer, offer.is_some()));
    }

    /// Lets the caller hear something before any final status: our answer to its offer.
    pub(super) fn tell_early(
        &mut self,
        wires: &mut Wires,
        now: Instant,
        status: u16,
        answer: &str,
    ) {
        self.progress(wires, now, status, (Some(answer), false));
    }

    fn progress(
        &mut self,
        wires: &mut Wires,
        now: Instant,
        status: u16,
        (body, is_offer): (Option<&str>, bool),
    ) {
        let State::Invited(invited) = &mut self.state else { return };
        wires.timers.arm(now, self.serial, Timer::Trying, now + TELL_EVERY);
        invited.told = Told::Progress(status);
        let rseq = invited.reliable.as_mut().map(|it| it.next_rseq(|| wires.random_u64()));
        let mut writer = open(wires, self.to, invited, status);
        if let Some(rseq) = rseq {
            writer = writer
                .header(REQUIRE, reliable::OPTION)
                .header(RSEQ, rseq.to_string())
                .header(ALLOW, ALLOWED_METHODS);
        }
        let response = match body {
            Some(text) => writer.body(SDP, text.as_bytes()),
            None => writer.finish(),
        };
        wires.transactions.respond(now, invited.server, status, response.clone());
        if let Some(reliable) = &mut invited.reliable {
            reliable.sent(now, status, response, is_offer);
            wires.timers.arm(now, self.serial, Timer::Answer, now + T1);
        }
    }

    /// The caller confirms that it rings. `None` when nothing waits for that.
    pub(super) fn confirm_ringing(&mut self, wires: &mut Wires, rack: RAck) -> Option<Confirmed> {
        let invite_cseq = self.dialog.invite_cseq();
        match &mut self.state {
            State::Invited(invited) => {
                let confirmed = invited.reliable.as_mut()?.confirm(rack, invite_cseq)?;
                wires.timers.disarm(self.serial, Timer::Answer);
                Some(confirmed)
            }
            State::Answered(answered) => answered.reliable.as_mut()?.confirm(rack, invite_cseq),
            State::Talking | State::Ending(_) | State::Over => None,
        }
    }

    /// Tells the caller that the callee has answered.
    /// With nothing in `sdp` all was said before.
    pub(super) fn answer(
        &mut self,
        wires: &mut Wires,
        now: Instant,
        sdp: &str,
        terms: Option<Terms>,
    ) {
        let State::Invited(invited) = &mut self.state else { return };
        forget_waiting(wires, self.serial);
        let reliable = invited.reliable.take();
        let writer = open(wires, self.to, invited, 200)
            .header(ALLOW, ALLOWED_METHODS)
            .header(SUPPORTED, EXTENSIONS);
        let writer = egress::session(writer, terms);
        let response = match sdp {
            "" => writer.finish(),
            text => writer.body(SDP, text.as_bytes()),
        };
        let server = invited.server;
        wires.transactions.respond(now, server, 200, response.clone());
        wires.timers.arm(now, self.serial, Timer::Answer, now + T1);
        self.state = State::Answered(Box::new(Answered {
            server,
            response,
            repeat_at: now + T1,
            interval: T1,
            give_up_at: now + GIVE_UP,
            ended: None,
            reliable,
        }));
    }

    /// Tells the caller that it will not be.
    pub(super) fn refuse(&mut self, wires: &mut Wires, now: Instant, cause: Cause) {
        let State::Invited(invited) = &self.state else { return };
        forget_waiting(wires, self.serial);
        wires.timers.disarm(self.serial, Timer::Answer);
        let status = cause.sip_status();
        let mut response = invited
            .answers
            .start(&mut wires.out, status, wires.control)
            .header(REASON, egress::reason(cause).value());
        if status == 503 {
            response = response.header("Retry-After", wires.retry_after.as_bytes());
        }
        let response = response.finish();
        wires.transactions.respond(now, invited.server, status, response);
        self.state = State::Over;
    }

    /// Ends an answered leg: BYE, now or after the ACK.
    pub(super) fn end(&mut self, wires: &mut Wires, now: Instant, cause: Cause) {
        match &mut self.state {
            State::Answered(answered) => answered.ended = Some(cause),
            State::Talking => self.bye(wires, now, cause),
            State::Invited(_) | State::Ending(_) | State::Over => {}
        }
    }

    fn bye(&mut self, wires: &mut Wires, now: Instant, cause: Cause) {
        let (place, to) = (self.place(), self.to);
        self.state = match wires.bye(now, &mut self.dialog, to, cause, place) {
            Some(client) => State::Ending(client),
            None => State::Over,
        };
    }

    /// An ACK inside the dialog. True when the call has just become a confirmed one.
    pub(super) fn on_ack(
        &mut self,
        wires: &mut Wires,
        now: Instant,
        peer: &Peer,
        ack: &Message,
    ) -> bool {
        let State::Answered(answered) = &self.state else { return false };
        if ack.cseq() != self.dialog.invite_cseq() {
            return false;
        }
        let ended = answered.ended;
        self.follow(peer, ack);
        self.confirm(wires);
        if let Some(cause) = ended {
            self.bye(wires, now, cause);
        }
        ended.is_none()
    }

    /// The dialog while it is answered, and where our requests go.
    pub(super) const fn line(&mut self) -> Option<(&mut Dialog, Hop)> {
        match self.state {
            State::Answered(_) | State::Talking => Some((&mut self.dialog, self.to)),
            State::Invited(_) | State::Ending(_) | State::Over => None,
        }
    }

    /// The dialog of a response to a request of ours.
    pub(super) fn answered_line(&mut self, response: &Message) -> Option<(&mut Dialog, Hop)> {
        self.dialog.matches_response(response).then_some((&mut self.dialog, self.to))
    }

    /// The caller has confirmed our 2xx.
    pub(super) const fn is_confirmed(&self) -> bool {
        matches!(self.state, State::Talking)
    }

    fn confirm(&mut self, wires: &mut Wires) {
        wires.timers.disarm(self.serial, Timer::Answer);
        self.state = State::Talking;
    }

    /// The caller ends its dialog. BYE before ACK is legal.
    pub(super) fn on_bye(&mut self, wires: &mut Wires) {
        match self.state {
            State::Answered(_) | State::Talking | State::Ending(_) => {
                wires.timers.disarm(self.serial, Timer::Answer);
                self.state = State::Over;
            }
            // In the early dialog the INVITE is still to be answered: 487 follows.
            State::Invited(_) | State::Over => {}
        }
    }

    /// A request was sent again by another transaction.
    pub(super) fn replace_client(&mut self, old: ClientId, new: ClientId) {
        if matches!(self.state, State::Ending(bye) if bye == old) {
            self.state = State::Ending(new);
        }
    }

    /// The answer to our BYE, or none in time.
    pub(super) fn on_bye_done(&mut self, client: ClientId) {
        if matches!(self.state, State::Ending(bye) if bye == client) {
            self.state = State::Over;
        }
    }

    /// The time has come to repeat our 2xx, or to give it up.
    pub(super) fn on_answer_timer(&mut self, wires: &mut Wires, now: Instant) -> AnswerTimer {
        if let State::Invited(invited) = &mut self.state {
            return invited.ring_again(wires, now, self.serial);
        }
        let State::Answered(answered) = &mut self.state else { return AnswerTimer::GoesOn };
        if answered.give_up_at <= now {
            let ended = answered.ended;
            self.confirm(wires);
            let Some(cause) = ended else { return AnswerTimer::CallerVanished };
            self.bye(wires, now, cause);
            return AnswerTimer::GoesOn;
        }
        wires.transactions.respond(now, answered.server, 200, answered.response.clone());
        answered.interval = (answered.interval * 2).min(T2);
        answered.repeat_at = now + answered.interval;
        let next = answered.repeat_at.min(answered.give_up_at);
        wires.timers.arm(now, self.serial, Timer::Answer, next);
        AnswerTimer::GoesOn
    }
}

impl Invited {
    /// The time has come to repeat what was told reliably, or to give up.
    fn ring_again(&mut self, wires: &mut Wires, now: Instant, serial: Serial) -> AnswerTimer {
        let Some(reliable) = &mut self.reliable else { return AnswerTimer::GoesOn };
        match reliable.handle_timeout(now) {
            Due::GiveUp => return AnswerTimer::NeverConfirmed,
            Due::Repeat(status, response) => {
                wires.transactions.respond(now, self.server, status, response);
            }
            Due::Nothing => {}
        }
        if let Some(due) = reliable.due_at() {
            wires.timers.arm(now, serial, Timer::Answer, due);
        }
        AnswerTimer::GoesOn
    }
}

/// Nobody has to be told any more that the attempt goes on.
fn forget_waiting(wires: &mut Wires, serial: Serial) {
    for timer in [Timer::Trying, Timer::Expires] {
        wires.timers.disarm(serial, timer);
    }
}

/// How often the caller is told again what it knows.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Begins a response that makes or keeps a dialog.
fn open<'o>(wires: &'o mut Wires, to: Hop, invited: &Invited, status: u16) -> ResponseWriter<'o> {
    let contact = wires.names.of(to).contact.as_bytes();
    invited.answers.open(&mut wires.out, status, wires.control).header(CONTACT, contact)
}
