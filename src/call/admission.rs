//! Admission: what is shed before a transaction exists. A flood then costs a scan and one short
//! answer each, and calls in progress never notice it: nothing here touches what is in a dialog.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::attempt::read_stated;
use super::config::CallConfig;
use super::contacts::flow_of;
use super::core::CallCore;
use super::door::{Whose, user_of};
use super::hosts::block_of;
use super::inside::REQUESTS_MAX;
use super::io::{NO_TRUNK, Output, Peer, PeerRole, SecurityEvent};
use super::overload::Overload;
use super::receive::Heard;
use super::sides::side_of;
use super::silence::{Guess, WRONG_ANSWER};
use crate::domain::now::Now;
use crate::domain::purpose::Purpose;
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::overload::Control;

/// Sources that are counted at one time; with more, the counts of the present second start anew.
const SOURCES_MAX: usize = 4_096;
/// Answers to one source in one second for what should not have been sent at all: malformed
/// messages, and messages about calls of others. Silence for the rest.
const ODD_ANSWERS_MAX: u32 = 200;
/// What is counted about load and about sources.
#[derive(Debug, Default)]
pub(super) struct Admission {
    overload: Overload,
    sources: BTreeMap<IpAddr, Source>,
}

/// What one source has done in one second of the clock.
#[derive(Debug, Default)]
struct Source {
    second: u64,
    attempts: u32,
    odd: u32,
}

impl Admission {
    fn source(&mut self, now: Now, source: IpAddr) -> &mut Source {
        let source = block_of(source);
        if self.sources.len() >= SOURCES_MAX && !self.sources.contains_key(&source) {
            self.sources.clear();
        }
        let second = now.unix_ms() / 1_000;
        let entry = self.sources.entry(source).or_default();
        if entry.second != second {
            *entry = Source { second, ..Source::default() };
        }
        entry
    }

    /// Counts an attempt; false when the source has had its share of this second.
    fn may_attempt(&mut self, now: Now, source: IpAddr, cps_max: Option<u32>) -> bool {
        let Some(cps_max) = cps_max else { return true };
        let entry = self.source(now, source);
        entry.attempts = entry.attempts.saturating_add(1);
        entry.attempts <= cps_max
    }

    /// Counts an answer to what should not have been sent; false when silence is better.
    fn may_answer_odd(&mut self, now: Now, source: IpAddr) -> bool {
        let entry = self.source(now, source);
        entry.odd = entry.odd.saturating_add(1);
        entry.odd <= ODD_ANSWERS_MAX
    }
}

/// Why an attempt is shed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Shed {
    Draining,
    Overload,
    Recorder,
    TrunkLimit,
    SourceLimit,
}

impl CallCore {
    /// How long the last datagram had waited in the queue of the socket, as far as the shell knows;
    /// zero when the queue is empty.
    pub fn note_queue_delay(&mut self, now: Now, delay: Duration) {
        self.admission.overload.note(now.monotonic, delay, self.wires.config.queue_delay_max);
    }

    /// What answers say now of how much less we want.
    pub(super) fn renew_control(&mut self, now: Now) {
        let CallConfig { joint_ask, shard, .. } = &self.wires.config;
        self.wires.control = self.admission.overload.control(now, joint_ask, *shard);
    }

    /// Counts what a softphone's address was refused. Trunks are known by their addresses, and the
    /// source of a datagram can be forged: nobody shall be able to have a trunk silenced. Nor does
    /// a phone that has registered: many ask for things that are not served, and go on asking.
    pub(super) fn note_reject(&mut self, now: Now, peer: &Peer) {
        let (source, at) = (peer.address.ip(), now.monotonic);
        if peer.role == PeerRole::Softphone
            && !self.registrar.contacts.is_trusted(at, flow_of(peer))
            && self.silence.reject(at, source, 1)
        {
            self.tell_silenced(source);
        }
    }

    /// Counts a wrong password.
    pub(super) fn note_guess(&mut self, now: Now, peer: &Peer, whose: Option<Whose<'_>>) {
        if peer.role != PeerRole::Softphone {
            return;
        }
        let (source, at, flow) = (peer.address.ip(), now.monotonic, flow_of(peer));
        let agent = whose.and_then(|whose| whose.agent);
        let contacts = &mut self.registrar.contacts;
        contacts.note_guess(flow, agent);
        let Some(Whose { user, .. }) = whose else {
            if self.silence.reject(at, source, WRONG_ANSWER) {
                self.tell_silenced(source);
            }
            return;
        };
        let is_among_others = contacts.has_others(at, agent, flow);
        let guess = Guess { user, is_known: agent.is_some(), is_among_others };
        let begins = self.silence.reject_guess(at, source, guess);
        if let (true, Some(agent)) = (begins.doubt, agent) {
            let event = SecurityEvent::LoginGuessed { agent, source };
            self.wires.outputs.push_back(Output::Security(event));
        }
        if begins.silence {
            self.tell_silenced(source);
        }
    }

    fn tell_silenced(&mut self, source: IpAddr) {
        let event = SecurityEvent::Silenced { source };
        self.wires.outputs.push_back(Output::Security(event));
    }

    /// Whether a user is answered nothing where it is, but by a connection that it has registered
    /// by: it is believed to be a phone with an old password.
    pub(super) fn is_silent_to_user(&mut self, now: Now, peer: &Peer, message: &Message) -> bool {
        let user = user_of(message).and_then(|user| std::str::from_utf8(user).ok());
        let (at, source) = (now.monotonic, peer.address.ip());
        let is_silent = user.is_some_and(|user| self.silence.is_user_silent(at, source, user))
            && !self.registrar.contacts.is_trusted(at, flow_of(peer));
        self.wires.counters.silenced += u64::from(is_silent);
        is_silent
    }

    /// Whether a peer is answered nothing. Who has registered is: the scanner may be another one
    /// behind the same address.
    fn is_silenced(&self, now: Now, peer: &Peer) -> bool {
        let at = now.monotonic;
        peer.role == PeerRole::Softphone
            && self.silence.is_silent(at, peer.address.ip())
            && !self.registrar.contacts.is_trusted(at, flow_of(peer))
    }

    /// Whether a message meets silence: its source is a scanner. What is in a call is served.
    pub(super) fn is_silent_to(&mut self, now: Now, peer: &Peer, message: &Message) -> bool {
        let is_silent = self.is_silenced(now, peer) && self.find_place(message).is_none();
        self.wires.counters.silenced += u64::from(is_silent);
        is_silent
    }

    /// Whether there is an answer to what should not have been sent.
    pub(super) fn answers_odd(&mut self, now: Now, peer: &Peer) -> bool {
        self.note_reject(now, peer);
        let may_answer = self.admission.may_answer_odd(now, peer.address.ip());
        let answers = may_answer && !self.is_silenced(now, peer);
        self.wires.counters.silenced += u64::from(!answers);
        answers
    }

    /// Whether a request may have a transaction. If not, it has been answered as far as it should
    /// be. A repeat of one that was taken is let in.
    pub(super) fn lets_in(&mut self, now: Now, peer: &Peer, heard: &Heard<'_>) -> bool {
        let message = heard.message;
        if !message.is_request() {
            return true;
        }
        if message.to().tag.is_some() {
            return self.is_in_dialog(now, peer, heard);
        }
        if message.method() != Method::Invite {
            return self.is_proved(now, peer, heard);
        }
        if let Some(why) = self.find_shed(peer, message) {
            return self.shed(peer, heard, why);
        }
        if !self.is_proved(now, peer, heard) {
            return false;
        }
        // Only now: whoever forges the address of a trunk shall not use up what it may do.
        match self.find_limit(now, peer, heard) {
            Some(why) => self.shed(peer, heard, why),
            None => true,
        }
    }

    /// Whether a request is in a dialog of ours. One that says so and is not gets its 481 once,
    /// whoever has sent it. (An ACK finds its own way.)
    fn is_in_dialog(&mut self, now: Now, peer: &Peer, heard: &Heard<'_>) -> bool {
        let Heard { message, place, found } = *heard;
        if message.method() == Method::Ack {
            return true;
        }
        let Some(place) = place else {
            if !found.is_repeat() {
                self.wires.counters.unknown_dialogs += 1;
                self.answer_stateless(peer, message, 481);
            }
            return found.is_repeat();
        };
        // A BYE is never too much, and a repeat was counted when it came first.
        if message.method() == Method::Bye || found.is_repeat() {
            return true;
        }
        let call = self.calls.get_mut(place.serial);
        let side = side_of(place.part).index();
        let is_taken = call.is_none_or(|call| call.requests[side].takes(now, REQUESTS_MAX));
        if !is_taken {
            self.wires.counters.floods_inside += 1;
            self.answer_stateless(peer, message, 500);
        }
        is_taken
    }

    /// Refuses an attempt, unless it is a repeat of one that was taken.
    fn shed(&mut self, peer: &Peer, heard: &Heard<'_>, why: Shed) -> bool {
        if heard.found.is_repeat() {
            return true;
        }
        self.count_shed(peer, heard.message, why);
        self.answer_stateless(peer, heard.message, 503);
        false
    }

    fn count_shed(&mut self, peer: &Peer, message: &Message, why: Shed) {
        if why == Shed::Overload {
            self.note_attempt(peer, message);
        }
        let counters = &mut self.wires.counters;
        *match why {
            Shed::Draining => &mut counters.refused_draining,
            Shed::Overload => &mut counters.refused_overload,
            Shed::Recorder => &mut counters.refused_recorder,
            Shed::TrunkLimit => &mut counters.trunks_full,
            Shed::SourceLimit => &mut counters.refused_source,
        } += 1;
    }

    /// Calls about accidents go before all others, where the trunk is believed.
    fn is_emergency(&self, peer: &Peer, message: &Message) -> bool {
        self.wires.accounts.identity(peer.trunk).trusted
            && read_stated(message).purpose == Purpose::AccidentEmergency
    }

    fn find_shed(&self, peer: &Peer, message: &Message) -> Option<Shed> {
        let config = &self.wires.config;
        if self.is_draining {
            return Some(Shed::Draining);
        }
        let is_full =
            self.live >= config.calls_max || self.pending_routes >= config.pending_routes_max;
        let is_late = self.admission.overload.is_refusing() && !self.is_emergency(peer, message);
        if is_full || is_late {
            return Some(Shed::Overload);
        }
        (self.credits == 0).then_some(Shed::Recorder)
    }

    fn find_limit(&mut self, now: Now, peer: &Peer, heard: &Heard<'_>) -> Option<Shed> {
        // Whoever sends ten times its limit must not cost ten times the records.
        let terms = self.wires.accounts.terms(peer.trunk);
        if terms.is_some_and(|terms| terms.is_full(now.unix_ms())) {
            return Some(Shed::TrunkLimit);
        }
        // A softphone's is counted when it has proved whose it is; a repeat is counted already.
        if peer.role == PeerRole::Softphone || heard.found.is_repeat() {
            return None;
        }
        let cps_max = self.wires.config.source_cps_max;
        if !self.admission.may_attempt(now, peer.address.ip(), cps_max) {
            return Some(Shed::SourceLimit);
        }
        self.exceeds_overload_limit(now, peer, heard.message).then_some(Shed::Overload)
    }

    /// Whether an attempt is one more than can be served. If not, it counts.
    fn exceeds_overload_limit(&mut self, now: Now, peer: &Peer, message: &Message) -> bool {
        let is_emergency = self.is_emergency(peer, message);
        let is_let_in = self.admission.overload.lets_in(now.monotonic, is_emergency);
        if is_let_in {
            self.note_attempt(peer, message);
        }
        !is_let_in
    }

    /// One that counts for what trunks are asked to keep back. Nobody else is asked.
    fn note_attempt(&mut self, peer: &Peer, message: &Message) {
        let heeds = peer.trunk != NO_TRUNK && Control::is_wanted(&message.top_via());
        self.admission.overload.came(heeds);
    }

    /// Whether a softphone that has proved whose it is may make one more call: in this second, and
    /// in view of what has come while its login was looked up.
    pub(super) fn softphone_may_attempt(
        &mut self,
        now: Now,
        peer: &Peer,
        message: &Message,
    ) -> bool {
        let cps_max = self.wires.config.softphone_cps_max;
        let may = self.admission.may_attempt(now, peer.address.ip(), cps_max);
        let limit = (!may).then_some(Shed::SourceLimit);
        let why = self
            .find_shed(peer, message)
            .or(limit)
            .or_else(|| self.exceeds_overload_limit(now, peer, message).then_some(Shed::Overload));
        why.into_iter().for_each(|why| self.count_shed(peer, message, why));
        why.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_host_is_one_source_whichever_of_its_addresses_it_uses() {
        let mut admission = Admission::default();
        let now = crate::call::tests::harness::epoch();
        let mut may = |text: &str| admission.may_attempt(now, text.parse().expect(text), Some(2));
        assert!(may("2001:db8::1") && may("2001:db8::ffff:1") && !may("2001:db8::2"));
        assert!(may("2001:db8:0:1::1"), "another network");
        assert!(may("::ffff:192.0.2.1") && may("192.0.2.1") && !may("::ffff:192.0.2.1"));
        assert!(may("192.0.2.2"));
    }

    #[test]
    fn the_table_of_sources_is_bounded() {
        let mut admission = Admission::default();
        let now = crate::call::tests::harness::epoch();
        for n in 0..3 * SOURCES_MAX as u32 {
            assert!(admission.may_answer_odd(now, IpAddr::V4(n.into())));
            assert!(admission.sources.len() <= SOURCES_MAX);
        }
    }
}
