//! What an outside observer knows about every attempt: built from the bytes on the wires, the
//! records and the orders, never from the inside of the brain.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Instant;

use maskline::call::io::{CallStatus, LiveCall};
use maskline::domain::cause::Cause;
use maskline::domain::cdr::Cdr;
use maskline::domain::id::{AgentId, BindingId, CallId};
use maskline::domain::now::Now;
use maskline::rtp::plane::{Command, Report, SessionId, Side};

use crate::cast::Who;
use crate::coverage::Edge;
use crate::model::Facts;
use crate::whispers;
use crate::wire;

/// One attempt, from the first INVITE that reached the relay.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) dialler: Who,
    pub(crate) number: String,
    pub(crate) arrived: Now,
    pub(crate) call: Option<CallId>,
    pub(crate) binding: Option<BindingId>,
    /// When the brain was told of that binding, and so decided.
    pub(crate) routed: Option<Now>,
    /// Whose phones got an INVITE for it, and when.
    pub(crate) invited: Vec<(Now, Who)>,
    /// The `Call-ID`s of its callee's side.
    pub(crate) callee_ids: BTreeSet<String>,
    /// What its callee has pressed, as events.
    pub(crate) keys: Vec<u8>,
    /// What was played to its callee has been played to its end.
    pub(crate) was_told: bool,
    pub(crate) statuses: Vec<CallStatus>,
    pub(crate) cdrs: Vec<Cdr>,
    /// When and what the caller was told finally, as it left the relay.
    pub(crate) final_status: Option<(Instant, u16)>,
}

/// The media of one call as ordered.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) call: Option<CallId>,
    pub(crate) local: Option<[SocketAddr; 2]>,
    pub(crate) remote: [Option<SocketAddr>; 2],
    pub(crate) bridged: bool,
    pub(crate) closing: bool,
    /// Something is being played to this side, or was.
    pub(crate) plays: [Option<bool>; 2],
}

impl Session {
    /// Whether the relay itself may send to this address: what it plays, and reports about that.
    pub(crate) fn hears_us(&self, to: SocketAddr, is_rtp: bool) -> bool {
        let sides = self.remote.iter().zip(self.plays);
        let mut of_peer = sides.filter(|(remote, _)| **remote == Some(to));
        of_peer.any(|(_, plays)| if is_rtp { plays == Some(true) } else { plays.is_some() })
    }
}

/// A binding that may no longer be used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EndedBinding {
    pub(crate) acknowledged: Instant,
    pub(crate) drops_calls: bool,
}

/// All that was observed.
#[derive(Default)]
pub(crate) struct Witness {
    /// By the caller's `Call-ID`.
    pub(crate) attempts: BTreeMap<String, Attempt>,
    pub(crate) by_call: BTreeMap<CallId, String>,
    pub(crate) sessions: BTreeMap<SessionId, Session>,
    /// By branch: the INVITEs that left.
    asked: BTreeMap<String, Asked>,
    pub(crate) ended_bindings: BTreeMap<BindingId, EndedBinding>,
    /// What was true since when.
    pub(crate) history: Vec<(Now, Facts)>,
    /// The stream names that phones have chosen: none of them may reach the other side.
    pub(crate) streams_of_phones: BTreeSet<[u8; 4]>,
    pub(crate) causes: BTreeSet<Cause>,
    pub(crate) edges: BTreeSet<Edge>,
}

/// [`CallStatus`] with an order, for sets.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum CallStage {
    Calling,
    Ringing,
    Answered,
    Ended,
}

impl From<CallStatus> for CallStage {
    fn from(status: CallStatus) -> Self {
        match status {
            CallStatus::Calling => Self::Calling,
            CallStatus::Ringing => Self::Ringing,
            CallStatus::Answered => Self::Answered,
            CallStatus::Ended => Self::Ended,
        }
    }
}

/// A new INVITE that left the relay.
pub(crate) struct Invited {
    pub(crate) call: CallId,
    pub(crate) dialler: Who,
    pub(crate) number: String,
    pub(crate) caller_shown: String,
    pub(crate) user: String,
    pub(crate) branch: String,
}

/// What is known of one INVITE of the relay.
#[derive(Debug, Default)]
struct Asked {
    call: Option<CallId>,
    /// The relay has seen it ring.
    rang: bool,
    /// The relay has given it up, or has seen its end.
    over: bool,
}

impl Witness {
    /// A datagram from `from` reaches the relay. True when it begins an attempt.
    pub(crate) fn relay_receives(&mut self, now: Now, from: Who, bytes: &[u8]) -> bool {
        if bytes.starts_with(b"SIP/2.0 ") && wire::header(bytes, "CSeq").ends_with("INVITE") {
            self.note_response(bytes);
        }
        self.note_key_in_info(bytes);
        if !bytes.starts_with(b"INVITE ") || wire::tag(bytes, "To").is_some() {
            return false;
        }
        let key = wire::header(bytes, "Call-ID").to_owned();
        if self.attempts.contains_key(&key) {
            return false;
        }
        let attempt = Attempt {
            dialler: from,
            number: wire::request_user(bytes).to_owned(),
            arrived: now,
            call: None,
            binding: None,
            routed: None,
            invited: Vec::new(),
            callee_ids: BTreeSet::new(),
            keys: Vec::new(),
            was_told: false,
            statuses: Vec::new(),
            cdrs: Vec::new(),
            final_status: None,
        };
        self.attempts.insert(key, attempt);
        true
    }

    /// The brain names the call that this datagram began. A refusal without a trace may have gone
    /// before: then this is a repeat of the INVITE that found room.
    pub(crate) fn name_call(&mut self, now: Now, call: CallId, sip_call_id: &str) {
        if self.by_call.contains_key(&call) {
            return;
        }
        if let Some(attempt) = self.attempts.get_mut(sip_call_id) {
            attempt.call = Some(call);
            attempt.arrived = now;
            attempt.final_status = None;
            self.by_call.insert(call, sip_call_id.to_owned());
        }
    }

    pub(crate) fn attempt_mut(&mut self, call: CallId) -> Option<&mut Attempt> {
        self.attempts.get_mut(self.by_call.get(&call)?)
    }

    pub(crate) fn attempt(&self, call: CallId) -> Option<&Attempt> {
        self.attempts.get(self.by_call.get(&call)?)
    }

    /// A datagram leaves the relay for `to`. Tells of a new INVITE, which names its call by the
    /// media port in its offer; `Err` when no open port belongs to it.
    pub(crate) fn relay_sends(
        &mut self,
        now: Now,
        to: Who,
        bytes: &[u8],
    ) -> Result<Option<Invited>, &'static str> {
        if bytes.starts_with(b"SIP/2.0 ") {
            self.note_final_status(now, bytes);
            return Ok(None);
        }
        let branch = wire::branch(bytes).to_owned();
        if bytes.starts_with(b"CANCEL ") {
            self.asked.entry(branch.clone()).or_default().over = true;
        }
        if !bytes.starts_with(b"INVITE ")
            || wire::tag(bytes, "To").is_some()
            || self.asked.contains_key(&branch)
        {
            return Ok(None);
        }
        let port = wire::audio_port(bytes).ok_or("an INVITE without an offer")?;
        let open = self.sessions.values().find(|session| {
            !session.closing && session.local.is_some_and(|[_, b]| b.port() == port)
        });
        let call = open.and_then(|session| session.call).ok_or("an offer of a port not open")?;
        let asked = Asked { call: Some(call), ..Asked::default() };
        self.asked.insert(branch.clone(), asked);
        let attempt = self.attempt_mut(call).ok_or("an INVITE for no attempt")?;
        attempt.invited.push((now, to));
        attempt.callee_ids.insert(wire::header(bytes, "Call-ID").to_owned());
        Ok(Some(Invited {
            call,
            dialler: attempt.dialler,
            number: attempt.number.clone(),
            caller_shown: wire::from_user(bytes).to_owned(),
            user: wire::request_user(bytes).to_owned(),
            branch,
        }))
    }

    /// Another phone rings for this call than that of the INVITE with this branch.
    pub(crate) fn rings_elsewhere(&self, call: CallId, branch: &str) -> bool {
        self.asked.iter().any(|(key, asked)| {
            key != branch && asked.call == Some(call) && asked.rang && !asked.over
        })
    }

    fn note_response(&mut self, bytes: &[u8]) {
        let status = wire::status(bytes).unwrap_or(0);
        if let Some(asked) = self.asked.get_mut(wire::branch(bytes)) {
            asked.rang |= (101..200).contains(&status);
            asked.over |= status >= 300;
        }
    }

    fn note_final_status(&mut self, now: Now, bytes: &[u8]) {
        let status = wire::status(bytes).unwrap_or(0);
        if status < 200 || !wire::header(bytes, "CSeq").ends_with("INVITE") {
            return;
        }
        if let Some(attempt) = self.attempts.get_mut(wire::header(bytes, "Call-ID")) {
            attempt.final_status.get_or_insert((now.monotonic, status));
        }
    }

    pub(crate) fn orders_media(&mut self, command: &Command, call: Option<CallId>) {
        match *command {
            Command::Open { session } => {
                let opened = Session {
                    call,
                    local: None,
                    remote: [None; 2],
                    bridged: false,
                    closing: false,
                    plays: [None; 2],
                };
                self.sessions.insert(session, opened);
            }
            Command::Update { session, side, remote, .. } => {
                if let Some(session) = self.sessions.get_mut(&session) {
                    session.remote[side.index()] = Some(remote.rtp);
                }
            }
            Command::Bridge { session } => {
                if let Some(session) = self.sessions.get_mut(&session) {
                    session.bridged = true;
                }
            }
            Command::Record { .. } => {}
            Command::Hold { session } => {
                if let Some(session) = self.sessions.get_mut(&session) {
                    session.bridged = false;
                }
            }
            Command::Play { session, side, .. } => {
                if let Some(session) = self.sessions.get_mut(&session) {
                    session.plays[side.index()] = Some(true);
                }
            }
            Command::Stop { session, side } => {
                if let Some(session) = self.sessions.get_mut(&session) {
                    session.plays[side.index()] = Some(false);
                }
            }
            Command::Keys { .. } => {}
            Command::Close { session } => {
                if let Some(session) = self.sessions.get_mut(&session) {
                    session.closing = true;
                }
            }
        }
    }

    /// The latest call that this person dialled and that has no record yet.
    pub(crate) fn live_call_of(&self, who: Who) -> Option<CallId> {
        let live = |a: &&Attempt| a.dialler == who && a.cdrs.is_empty() && a.call.is_some();
        self.attempts.values().filter(live).max_by_key(|a| a.arrived.monotonic)?.call
    }

    pub(crate) fn media_reports(&mut self, report: &Report) {
        if let Report::Opened { session, local } = *report
            && let Some(session) = self.sessions.get_mut(&session)
        {
            session.local = Some(local);
        }
        if let Report::PlayDone { session, side, was_sent, .. } = *report
            && let Some(session) = self.sessions.get_mut(&session)
        {
            session.plays[side.index()] = Some(false);
            let call = session.call;
            if let Some(attempt) = call.and_then(|call| self.attempt_mut(call)) {
                attempt.was_told |= side == Side::B && was_sent;
            }
        }
    }

    /// The agent whose call through a binding was the last that rang at the subscriber.
    pub(crate) fn last_agent(&self, binding: BindingId) -> Option<AgentId> {
        let cdrs = self.attempts.values().flat_map(|attempt| &attempt.cdrs);
        let rang = cdrs.filter(|cdr| cdr.binding == Some(binding) && cdr.ringing_at.is_some());
        let calls = rang.filter_map(|cdr| Some((cdr.ended_at, cdr.agent?)));
        calls.max_by_key(|(ended_at, _)| *ended_at).map(|(_, agent)| agent)
    }

    /// Somebody presses a key in a packet for this port of ours.
    pub(crate) fn note_key_in_packet(&mut self, to: SocketAddr, bytes: &[u8]) {
        let Some(key) = whispers::key_in_packet(bytes) else { return };
        let open = self.sessions.values().find(|session| {
            !session.closing && session.local.is_some_and(|[_, b]| b.port() == to.port())
        });
        let call = open.and_then(|session| session.call);
        if let Some(attempt) = call.and_then(|call| self.attempt_mut(call)) {
            attempt.keys.push(key);
        }
    }

    fn note_key_in_info(&mut self, bytes: &[u8]) {
        let Some(key) = whispers::key_in_info(bytes) else { return };
        let call_id = wire::header(bytes, "Call-ID");
        let mut attempts = self.attempts.values_mut();
        if let Some(attempt) = attempts.find(|attempt| attempt.callee_ids.contains(call_id)) {
            attempt.keys.push(key);
        }
    }

    /// The call with this media session.
    pub(crate) fn call_of(&self, session: SessionId) -> Option<CallId> {
        self.sessions.get(&session)?.call
    }

    pub(crate) fn status_changes(&mut self, live: &LiveCall) {
        let Some(attempt) = self.attempt_mut(live.call) else { return };
        let before = attempt.statuses.last().copied();
        attempt.statuses.push(live.status);
        self.edges.insert((before.map(CallStage::from), live.status.into()));
    }

    pub(crate) fn record(&mut self, cdr: &Cdr) -> bool {
        self.causes.insert(cdr.cause);
        let Some(attempt) = self.attempt_mut(cdr.call) else { return false };
        attempt.cdrs.push(cdr.clone());
        true
    }

    /// The facts in force at some time between `since` and now.
    pub(crate) fn facts_since(&self, since: Instant) -> impl Iterator<Item = &(Now, Facts)> {
        let older = self.history.iter().rposition(|(at, _)| at.monotonic <= since).unwrap_or(0);
        self.history.iter().skip(older)
    }
}
