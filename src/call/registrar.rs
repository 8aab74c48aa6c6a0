//! The softphones of agents: who registers with its login may call from where it has registered,
//! and from nowhere else. Nobody calls a softphone, so nothing is ever sent to a Contact.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::contacts::{Contacts, Flow, Registering, Wanted, flow_of};
use super::core::CallCore;
use super::door::{Shown, Whose};
use super::egress::CONTACT;
use super::io::{LoginAnswer, Output, Peer, PeerRole};
use super::trunks::Login;
use crate::domain::cause::Cause;
use crate::domain::id::{AgentId, TenantId};
use crate::domain::now::Now;
use crate::sip::address::Address;
use crate::sip::header::HeaderId;
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::screen::Capabilities;
use crate::sip::transaction::ServerId;
use crate::sip::write::ResponseWriter;

/// Lookups of logins that may be under way, in all and for one source; what is beyond that is
/// answered 503.
const LOOKUPS_MAX: usize = 1_024;
const SOURCE_LOOKUPS_MAX: usize = 64;
/// The longest registration.
const EXPIRES_MAX: Duration = Duration::from_secs(3_600);
/// The longest Contact and Call-ID that are kept.
const TEXT_BYTES_MAX: usize = 512;
/// Contacts of one request; a phone has one, and perhaps an old one that it takes back.
const CONTACTS_READ_MAX: usize = 5;

/// Who is registered, and whose login is being looked up.
#[derive(Debug, Default)]
pub(super) struct Registrar {
    pub(super) contacts: Contacts,
    /// Requests that wait for a lookup.
    asking: BTreeMap<u64, Asking>,
    /// Lookups that were begun and have not ended, with the sources that wait for them. A request
    /// may be gone before its lookup is.
    lookups: BTreeMap<u64, IpAddr>,
    last: u64,
}

/// A request whose user name is being looked up.
#[derive(Debug)]
struct Asking {
    peer: Peer,
    server: ServerId,
    message: Message,
}

impl Registrar {
    /// A number for the lookup that a request has to wait for. `None` when there are too many, in
    /// all or for one source.
    fn begin(&mut self, peer: &Peer, server: ServerId, message: &Message) -> Option<u64> {
        let source = peer.address.ip();
        let of_source = self.lookups.values().filter(|it| **it == source).count();
        if self.lookups.len() >= LOOKUPS_MAX || of_source >= SOURCE_LOOKUPS_MAX {
            return None;
        }
        self.last = self.last.wrapping_add(1);
        self.lookups.insert(self.last, source);
        let asking = Asking { peer: *peer, server, message: message.clone() };
        self.asking.insert(self.last, asking);
        Some(self.last)
    }

    /// Takes what waits for a lookup and came by this connection.
    fn take_asking(&mut self, flow: Flow) -> Vec<Asking> {
        let is_there = |_: &u64, it: &mut Asking| flow_of(&it.peer) == flow;
        self.asking.extract_if(.., is_there).map(|(_, asking)| asking).collect()
    }

    fn looked_up(&mut self, request: u64) {
        self.lookups.remove(&request);
    }
}

/// What a REGISTER must be like. What it may ask for beyond that is what any request may.
const REGISTRATIONS: Capabilities =
    Capabilities { allow: &[Method::Register], ..super::receive::CAPABILITIES };

/// What a REGISTER asks for (RFC 3261 §10.3); an error is the status to answer with.
fn read_wanted(message: &Message) -> Result<Vec<Wanted<'_>>, u16> {
    if message.call_id().len() > TEXT_BYTES_MAX {
        return Err(400);
    }
    let values: Vec<_> = message.values(HeaderId::Contact).take(CONTACTS_READ_MAX + 1).collect();
    match *values.as_slice() {
        // All at once, and nothing else.
        [b"*"] if message.expires() == Some(0) => Ok(vec![Wanted::EndAll]),
        _ if values.contains(&b"*".as_slice()) => Err(400),
        _ if values.len() > CONTACTS_READ_MAX => Err(400),
        _ => values.iter().map(|value| read_contact(value, message.expires())).collect(),
    }
}

fn read_contact(value: &[u8], expires: Option<u32>) -> Result<Wanted<'_>, u16> {
    let address = Address::parse(value).map_err(|_| 400_u16)?;
    let own = address.param("expires").and_then(|text| std::str::from_utf8(text).ok());
    let own = own.and_then(|text| text.parse::<u64>().ok());
    let seconds = own.or_else(|| expires.map(u64::from));
    let time = seconds.map_or(EXPIRES_MAX, Duration::from_secs).min(EXPIRES_MAX);
    let uri = address.uri;
    match uri.len() {
        0 | TEXT_BYTES_MAX.. => Err(400),
        _ if time.is_zero() => Ok(Wanted::End(uri)),
        _ => Ok(Wanted::For(uri, time)),
    }
}

impl CallCore {
    /// A connection is no more: nobody is registered by it, nor will be.
    pub(super) fn on_connection_lost(&mut self, now: Now, flow: Flow) {
        self.registrar.contacts.close(flow);
        for Asking { peer, server, message } in self.registrar.take_asking(flow) {
            self.answer(now, &peer, server, &message, 503);
        }
    }

    /// A request of a softphone that begins something.
    pub(super) fn on_softphone(
        &mut self,
        now: Now,
        peer: &Peer,
        server: ServerId,
        message: &Message,
    ) {
        if !matches!(message.method(), Method::Register | Method::Invite) {
            self.note_reject(now, peer);
            return self.answer(now, peer, server, message, 405);
        }
        if message.method() == Method::Register
            && let Err(refusal) = REGISTRATIONS.screen(message)
        {
            self.note_reject(now, peer);
            return self.refuse(now, peer, server, message, &refusal);
        }
        // It is there: without one, it would not have got so far.
        let user = super::door::user_of(message).and_then(|user| std::str::from_utf8(user).ok());
        let Some(user) = user else {
            return self.ask_softphone(now, peer, server, message, false);
        };
        let Some(request) = self.registrar.begin(peer, server, message) else {
            self.wires.counters.refused_overload += 1;
            return self.answer(now, peer, server, message, 503);
        };
        self.wires.outputs.push_back(Output::FindLogin { request, user: user.into() });
    }

    /// The login of a softphone's user name has been looked up.
    pub(super) fn on_login(&mut self, now: Now, request: u64, answer: LoginAnswer) {
        self.registrar.looked_up(request);
        let Some(Asking { peer, server, message }) = self.registrar.asking.remove(&request) else {
            self.wires.counters.late_answers += 1;
            return;
        };
        let user = super::door::user_of(&message).unwrap_or_default();
        let user: Box<str> = String::from_utf8_lossy(user).into();
        let (tenant, agent, secret) = match answer {
            LoginAnswer::Found { tenant, agent, secret } => (tenant, agent, secret),
            LoginAnswer::Unknown => {
                self.note_failure(now, &peer, Some(Whose { user: &user, agent: None }));
                return self.ask_softphone(now, &peer, server, &message, false);
            }
            LoginAnswer::Failed => return self.answer(now, &peer, server, &message, 503),
        };
        let whose = Whose { user: &user, agent: Some(agent) };
        if self.is_guessed_elsewhere(now, &peer, agent, &user) {
            // It may well be the agent: nothing is written down that has its address banned.
            self.wires.counters.logins_failed += 1;
            self.note_guess(now, &peer, Some(whose));
            return self.ask_softphone(now, &peer, server, &message, false);
        }
        let least = *self.wires.config.softphone_digest.start();
        let login = Login { user: user.clone(), secret, least };
        match self.look(now, &peer, &message, &login) {
            Shown::Right => {
                let known = (tenant, agent, &*login.user);
                self.on_known_softphone(now, &peer, server, &message, known);
            }
            Shown::Nothing { is_stale } => {
                self.ask_softphone(now, &peer, server, &message, is_stale);
            }
            Shown::Wrong => {
                self.note_failure(now, &peer, Some(whose));
                self.ask_softphone(now, &peer, server, &message, false);
            }
        }
    }

    /// Somebody tries to find the password of a login, and this comes from where its agent has not
    /// been. To whoever guesses it looks like any other wrong answer.
    fn is_guessed_elsewhere(&self, now: Now, peer: &Peer, agent: AgentId, user: &str) -> bool {
        self.silence.is_guessed(now.monotonic, user)
            && !self.registrar.contacts.is_known_at(now.monotonic, agent, flow_of(peer))
    }

    fn ask_softphone(
        &mut self,
        now: Now,
        peer: &Peer,
        server: ServerId,
        message: &Message,
        is_stale: bool,
    ) {
        self.wires.counters.unproved += u64::from(message.method() == Method::Invite);
        let offered = self.wires.config.softphone_digest.clone();
        self.challenge(now, peer, server, message, &offered, is_stale);
    }

    fn on_known_softphone(
        &mut self,
        now: Now,
        peer: &Peer,
        server: ServerId,
        message: &Message,
        (tenant, agent, user): (TenantId, AgentId, &str),
    ) {
        self.silence.forgive(peer.address.ip(), user);
        self.wires.outputs.push_back(Output::Proved { softphone: peer.hop() });
        if message.method() == Method::Register {
            return self.on_register(now, peer, server, message, (agent, user));
        }
        if !self.softphone_may_attempt(now, peer, message) {
            return self.answer(now, peer, server, message, 503);
        }
        let is_here = self.registrar.contacts.is_registered(now.monotonic, agent, flow_of(peer));
        let peer = Peer { role: PeerRole::Agent { tenant, agent }, ..*peer };
        if !is_here {
            self.answer(now, &peer, server, message, 403);
            return self.record_refusal(now, &peer, 403, Cause::AgentUnknown);
        }
        self.on_new_request(now, &peer, server, message);
    }

    fn on_register(
        &mut self,
        now: Now,
        peer: &Peer,
        server: ServerId,
        message: &Message,
        (agent, user): (AgentId, &str),
    ) {
        // Nobody registers for another one.
        let is_own = message.to().parse_uri().is_ok_and(|uri| uri.user == Some(user));
        if !is_own {
            return self.answer(now, peer, server, message, 403);
        }
        let by = Registering {
            agent,
            flow: flow_of(peer),
            call_id: message.call_id(),
            cseq: message.cseq(),
        };
        let (at, contacts) = (now.monotonic, &mut self.registrar.contacts);
        let wanted = read_wanted(message);
        if let Err(status) = wanted.and_then(|wanted| contacts.register(at, by, &wanted)) {
            return self.answer(now, peer, server, message, status);
        }
        let (tag, source) = (self.wires.loose_tag(), self.wires.source(peer.hop()));
        let out = &mut self.wires.out;
        let mut answer = ResponseWriter::start(out, message, source, 200, Some(&tag));
        for contact in self.registrar.contacts.of(at, agent) {
            // Never more than is left.
            let left = contact.until.saturating_duration_since(at).as_secs();
            let expires = format!(">;expires={left}");
            answer = answer.header(CONTACT, [b"<", &*contact.uri, expires.as_bytes()].concat());
        }
        let answer = answer.finish();
        self.wires.transactions.respond(at, server, 200, answer);
    }

    /// Whether an INVITE whose login is being looked up came by the connection of this peer;
    /// `None` when it is another INVITE.
    pub(super) fn asks_from(&self, peer: &Peer, invite: ServerId) -> Option<bool> {
        let found = self.registrar.asking.values().find(|it| it.server == invite);
        found.map(|it| flow_of(&it.peer) == flow_of(peer))
    }

    /// An INVITE whose login is being looked up is cancelled.
    pub(super) fn cancel_asking(&mut self, now: Now, invite: ServerId) {
        let found = self.registrar.asking.iter().find(|(_, it)| it.server == invite);
        let Some(request) = found.map(|(request, _)| *request) else { return };
        if let Some(Asking { peer, server, message }) = self.registrar.asking.remove(&request) {
            self.answer(now, &peer, server, &message, 487);
        }
    }
}
