//! The phone itself: datagrams in and out, calls found by their `Call-ID`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use rand_chacha::ChaCha20Rng;

use super::call::{self, Call};
use super::line::{Line, PhoneConfig};
use super::log::{Kind, Log, Way};
use super::record::CallRecord;
use super::script::{Script, Step};
use crate::domain::now::Now;
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::transaction::{Event, Output, ServerId};

/// What a phone is told. `Debug` never shows what a datagram says.
pub enum PhoneInput {
    /// One UDP datagram.
    Datagram {
        /// From whom.
        from: SocketAddr,
        /// On which of the phone's own addresses.
        to: SocketAddr,
        /// What.
        bytes: Bytes,
    },
    /// The time of [`Phone::poll_timeout`] has come.
    Timeout,
}

/// What a phone wants done. `Debug` never shows what a datagram says.
pub enum PhoneOutput {
    /// Send one datagram.
    Transmit {
        /// From which of the phone's own addresses.
        from: SocketAddr,
        /// To whom.
        to: SocketAddr,
        /// What.
        bytes: Bytes,
    },
}

impl fmt::Debug for PhoneInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Datagram { from, bytes, .. } => {
                write!(f, "Datagram({from}, {} bytes)", bytes.len())
            }
            Self::Timeout => f.write_str("Timeout"),
        }
    }
}

impl fmt::Debug for PhoneOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Transmit { to, bytes, .. } = self;
        write!(f, "Transmit({to}, {} bytes)", bytes.len())
    }
}

/// A phone that follows scripts. After every input, drain [`Self::poll_output`], then sleep until
/// [`Self::poll_timeout`].
pub struct Phone {
    line: Line,
    calls: Vec<Call>,
    by_call_id: BTreeMap<Box<[u8]>, usize>,
    /// Scripts for the next incoming calls; after them the usual one.
    next_scripts: VecDeque<Script>,
    alarms: BTreeSet<(Instant, usize)>,
    alarm_of: Vec<Option<Instant>>,
}

/// The most scripts that wait for an incoming call.
const NEXT_SCRIPTS_MAX: usize = 10_000;

impl Phone {
    /// A phone at rest.
    #[must_use]
    pub fn new(config: PhoneConfig, rng: ChaCha20Rng) -> Self {
        Self {
            line: Line::new(config, rng),
            calls: Vec::new(),
            by_call_id: BTreeMap::new(),
            next_scripts: VecDeque::new(),
            alarms: BTreeSet::new(),
            alarm_of: Vec::new(),
        }
    }

    /// Calls a number and then follows the script. The call's index, or `None` when the phone has
    /// had all the calls it can have.
    pub fn dial(&mut self, now: Now, number: &str, script: Script) -> Option<usize> {
        let slot = self.calls.len();
        if slot >= self.line.config.calls_max {
            return None;
        }
        let call = call::dial(now, &mut self.line, slot, number, script)?;
        self.add(call);
        self.with_call(now, slot, Call::go_on);
        self.after_input(now);
        Some(slot)
    }

    /// What to do with all calls that come in from now on.
    pub fn answer_with(&mut self, script: Script) {
        self.line.config.answering = script;
    }

    /// What to do with the next call that has no script yet.
    pub fn answer_next_with(&mut self, script: Script) {
        if self.next_scripts.len() < NEXT_SCRIPTS_MAX {
            self.next_scripts.push_back(script);
        }
    }

    /// The payload types that it understands from now on, best first, as in SDP.
    pub fn use_formats(&mut self, formats: &str) {
        self.line.config.formats = formats.into();
    }

    /// Takes one input.
    pub fn handle_input(&mut self, now: Now, input: PhoneInput) {
        match input {
            PhoneInput::Datagram { from, to, bytes } => self.handle_datagram(now, from, to, bytes),
            PhoneInput::Timeout => self.handle_timeout(now),
        }
        self.after_input(now);
    }

    /// What is to be sent; `None` until the next input.
    pub fn poll_output(&mut self) -> Option<PhoneOutput> {
        self.line.outputs.pop_front()
    }

    /// When [`PhoneInput::Timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let call = self.alarms.first().map(|(at, _)| *at);
        [call, self.line.transactions.poll_timeout()].into_iter().flatten().min()
    }

    /// All calls so far.
    pub fn calls(&self) -> impl Iterator<Item = &CallRecord> {
        self.calls.iter().map(|call| &call.record)
    }

    /// One call, by the index that [`Self::dial`] gave.
    #[must_use]
    pub fn call(&self, index: usize) -> Option<&CallRecord> {
        self.calls.get(index).map(|call| &call.record)
    }

    /// Everything received, and all signalling sent.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.line.log
    }

    fn add(&mut self, call: Call) {
        self.by_call_id.insert(call.record.sip_call_id.as_bytes().into(), self.calls.len());
        self.calls.push(call);
        self.alarm_of.push(None);
    }

    /// Lets a call do something, and sees when it wants to be woken next.
    fn with_call(&mut self, now: Now, index: usize, act: impl FnOnce(&mut Call, Now, &mut Line)) {
        let Some(call) = self.calls.get_mut(index) else { return };
        if call.has_vanished() {
            return;
        }
        act(call, now, &mut self.line);
        let next = call.poll_timeout();
        if let Some(alarm) = self.alarm_of.get_mut(index).filter(|alarm| **alarm != next) {
            if let Some(before) = alarm.take() {
                self.alarms.remove(&(before, index));
            }
            if let Some(next) = next {
                self.alarms.insert((next, index));
            }
            *alarm = next;
        }
    }

    fn handle_timeout(&mut self, now: Now) {
        self.line.transactions.handle_timeout(now.monotonic);
        while let Some(index) =
            self.alarms.first().filter(|(at, _)| *at <= now.monotonic).map(|(_, index)| *index)
        {
            self.with_call(now, index, Call::handle_timeout);
        }
    }

    /// Transactions have news after any input.
    fn after_input(&mut self, now: Now) {
        for news in self.line.drain(now) {
            if let Output::ClientFailed { client, owner, .. } = news {
                let index = usize::try_from(owner.0).unwrap_or(usize::MAX);
                self.with_call(now, index, |call, _, _| call.handle_failure(client));
            }
        }
    }

    fn handle_datagram(&mut self, now: Now, from: SocketAddr, to: SocketAddr, bytes: Bytes) {
        let kind = match to {
            to if to == self.line.config.sip => Kind::Sip,
            to if to.port().is_multiple_of(2) => Kind::Rtp,
            _ => Kind::Rtcp,
        };
        self.line.note(now, Way::In, kind, from, &bytes);
        match kind {
            Kind::Sip => {
                if let Ok(message) = Message::parse(bytes) {
                    self.handle_message(now, from, message);
                }
            }
            Kind::Rtp => {
                let port = to.port().saturating_sub(self.line.config.media.port());
                let index = usize::from(port / 2);
                self.with_call(now, index, |call, _, _| call.handle_media(from));
            }
            Kind::Rtcp => {}
        }
    }

    /// A phone without battery hears nothing, not even repeats.
    fn is_for_the_vanished(&self, message: &Message) -> bool {
        let index = self.by_call_id.get(message.call_id());
        index.and_then(|index| self.calls.get(*index)).is_some_and(Call::has_vanished)
    }

    fn handle_message(&mut self, now: Now, from: SocketAddr, message: Message) {
        if self.is_for_the_vanished(&message) {
            return;
        }
        let found = self.line.transactions.find(&message);
        match self.line.transactions.receive(now.monotonic, &message, found, from) {
            Event::Request { server } => self.handle_request(now, server, message, from),
            Event::Merged { server } => {
                self.line.respond(now, server, (&message, from), 482, None, None);
            }
            Event::Cancel { server, invite } => {
                let status = if invite.is_some() { 200 } else { 481 };
                self.line.respond(now, server, (&message, from), status, None, None);
                if let Some(index) = self.index_of(&message) {
                    self.with_call(now, index, Call::handle_cancel);
                }
            }
            Event::Ack => {
                if let Some(index) = self.index_of(&message) {
                    self.with_call(now, index, |c, now, line| c.handle_ack(now, line, &message));
                }
            }
            Event::Response { client, owner, .. } => {
                let index = usize::try_from(owner.0).unwrap_or(usize::MAX);
                self.with_call(now, index, |call, now, line| {
                    call.handle_response(now, line, client, &message);
                });
            }
            Event::Stray => self.handle_stray(now, &message),
            Event::Absorbed | Event::Full => {}
        }
    }

    fn index_of(&self, message: &Message) -> Option<usize> {
        self.by_call_id.get(message.call_id()).copied()
    }

    /// A 200 that comes again long after the call began is confirmed again.
    fn handle_stray(&mut self, now: Now, message: &Message) {
        let is_answer = message.method() == Method::Invite
            && message.status().is_some_and(|status| (200..300).contains(&status));
        if let Some(index) = self.index_of(message).filter(|_| is_answer) {
            self.with_call(now, index, |call, now, line| call.handle_answer(now, line, message));
        }
    }

    fn handle_request(&mut self, now: Now, server: ServerId, request: Message, from: SocketAddr) {
        let in_dialog = request.to().tag.is_some();
        let index = self.index_of(&request);
        match (request.method(), index) {
            (Method::Invite, None) if !in_dialog => {
                self.handle_invite(now, server, request, from);
            }
            (Method::Invite | Method::Bye, Some(index)) if in_dialog => {
                self.with_call(now, index, |call, now, line| {
                    call.handle_request(now, line, server, (&request, from));
                });
            }
            (Method::Options, _) => {
                self.line.respond(now, server, (&request, from), 200, None, None);
            }
            (_, _) => {
                let tag = self.line.new_tag();
                let status = if in_dialog { 481 } else { 405 };
                self.line.respond(now, server, (&request, from), status, Some(&tag), None);
            }
        }
    }

    fn handle_invite(&mut self, now: Now, server: ServerId, invite: Message, from: SocketAddr) {
        let slot = self.calls.len();
        let script =
            self.next_scripts.pop_front().unwrap_or_else(|| self.line.config.answering.clone());
        if slot >= self.line.config.calls_max {
            let tag = self.line.new_tag();
            self.line.respond(now, server, (&invite, from), 486, Some(&tag), None);
            return;
        }
        if script.peek() != Some(Step::Vanish) {
            self.line.respond(now, server, (&invite, from), 100, None, None);
        }
        self.add(call::receive(&self.line, slot, server, invite, from, script));
        self.with_call(now, slot, Call::go_on);
    }
}
