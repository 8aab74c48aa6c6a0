//! The softphones of agents: who registers with its login may call from where it has registered,
//! and from nowhere else. Nobody calls a softphone, so nothing is ever sent to a Contact.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::core::CallCore;
use super::door::Shown;
use super::egress::CONTACT;
use super::io::{LoginAnswer, Output, Peer, PeerRole};
use super::trunks::Login;
use crate::domain::id::{AgentId, TenantId};
use crate::domain::now::Now;
use crate::sip::address::Address;
use crate::sip::header::HeaderId;
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::transaction::ServerId;
use crate::sip::transport::Transport;
use crate::sip::write::ResponseWriter;

/// Places that one agent may be registered from at one time; the one that ends first gives way.
const CONTACTS_MAX: usize = 5;
/// Agents that may be registered at one time.
const AGENTS_MAX: usize = 100_000;
/// Requests that may wait for their login to be looked up.
const ASKING_MAX: usize = 1_024;
/// The longest registration.
const EXPIRES_MAX: Duration = Duration::from_secs(3_600);
/// The longest user name that is looked up, and the longest Contact that is repeated.
const USER_BYTES_MAX: usize = 64;
const CONTACT_BYTES_MAX: usize = 512;

/// Who is registered, and whose login is being looked up.
#[derive(Debug, Default)]
pub(super) struct Registrar {
    contacts: BTreeMap<AgentId, Vec<Contact>>,
    asking: BTreeMap<u64, Asking>,
    last: u64,
}

/// Where an agent has registered from.
#[derive(Debug)]
struct Contact {
    source: (Transport, std::net::SocketAddr),
    until: Instant,
    cseq: u32,
}

/// A request whose user name is being looked up.
#[derive(Debug)]
struct Asking {
    peer: Peer,
    server: ServerId,
    message: Message,
}

const fn source_of(peer: &Peer) -> (Transport, std::net::SocketAddr) {
    (peer.transport, peer.address)
}

impl Registrar {
    fn is_registered(&self, now: Instant, agent: AgentId, peer: &Peer) -> bool {
        let is_it = |it: &Contact| it.source == source_of(peer) && it.until > now;
        self.contacts.get(&agent).is_some_and(|list| list.iter().any(is_it))
    }

    /// Takes, refreshes or ends a registration. An error is the status to answer with.
    fn register(
        &mut self,
        now: Instant,
        agent: AgentId,
        peer: &Peer,
        cseq: u32,
        wanted: Wanted,
    ) -> Result<(), u16> {
        if self.contacts.len() >= AGENTS_MAX && !self.contacts.contains_key(&agent) {
            self.contacts.retain(|_, list| list.iter().any(|it| it.until > now));
            if self.contacts.len() >= AGENTS_MAX {
                return Err(503);
            }
        }
        let list = self.contacts.entry(agent).or_default();
        list.retain(|it| it.until > now);
        let known = list.iter_mut().find(|it| it.source == source_of(peer));
        let outcome = match (wanted, known) {
            (Wanted::Nothing, _) => Ok(()),
            // RFC 3261 §10.3: an old request that comes late changes nothing.
            (_, Some(contact)) if contact.cseq > cseq => Err(500),
            (Wanted::End, _) => {
                list.retain(|it| it.source != source_of(peer));
                Ok(())
            }
            (Wanted::For(time), Some(contact)) => {
                (contact.until, contact.cseq) = (now + time, cseq);
                Ok(())
            }
            (Wanted::For(time), None) => {
                if list.len() >= CONTACTS_MAX {
                    list.sort_by_key(|it| it.until);
                    list.remove(0);
                }
                list.push(Contact { source: source_of(peer), until: now + time, cseq });
                Ok(())
            }
        };
        if list.is_empty() {
            self.contacts.remove(&agent);
        }
        outcome
    }
}

/// What a REGISTER asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Wanted {
    /// To be told what there is.
    Nothing,
    /// To be forgotten.
    End,
    /// To be known for so long.
    For(Duration),
}

/// What a REGISTER asks for, and its Contact as it came.
fn read_wanted(message: &Message) -> (Wanted, Option<&[u8]>) {
    let Some(value) = message.values(HeaderId::Contact).next() else {
        return (Wanted::Nothing, None);
    };
    if value == b"*" {
        return (Wanted::End, None);
    }
    let address = Address::parse(value).ok();
    let own = address.as_ref().and_then(|address| address.param("expires"));
    let own = own.and_then(|text| std::str::from_utf8(text).ok()?.parse::<u64>().ok());
    let seconds = own.or_else(|| message.expires().map(u64::from));
    let time = seconds.map_or(EXPIRES_MAX, Duration::from_secs).min(EXPIRES_MAX);
    let uri = address.map(|address| address.uri).filter(|uri| uri.len() <= CONTACT_BYTES_MAX);
    if time.is_zero() { (Wanted::End, None) } else { (Wanted::For(time), uri) }
}

impl CallCore {
    /// A request of a softphone that begins something.
    pub(super) fn on_softphone(
        &mut self,
        now: Now,
        peer: &Peer,
        server: ServerId,
        message: &Message,
    ) {
        if !matches!(message.method(), Method::Register | Method::Invite) {
            self.note_reject(now, peer, 1);
            return self.answer(now, peer, server, message, 405);
        }
        let user = super::door::user_of(message).and_then(|user| std::str::from_utf8(user).ok());
        let Some(user) = user.filter(|user| user.len() <= USER_BYTES_MAX) else {
            return self.ask_softphone(now, peer, server, message, false);
        };
        let registrar = &mut self.registrar;
        if registrar.asking.len() >= ASKING_MAX {
            return self.answer(now, peer, server, message, 503);
        }
        registrar.last = registrar.last.wrapping_add(1);
        let asking = Asking { peer: *peer, server, message: message.clone() };
        registrar.asking.insert(registrar.last, asking);
        let find = Output::FindLogin { request: registrar.last, user: user.into() };
        self.wires.outputs.push_back(find);
    }

    /// The login of a softphone's user name has been looked up.
    pub(super) fn on_login(&mut self, now: Now, request: u64, answer: LoginAnswer) {
        let Some(Asking { peer, server, message }) = self.registrar.asking.remove(&request) else {
            self.wires.counters.late_answers += 1;
            return;
        };
        let (tenant, agent, secret) = match answer {
            LoginAnswer::Found { tenant, agent, secret } => (tenant, agent, secret),
            LoginAnswer::Unknown => {
                self.note_failure(now, &peer);
                return self.ask_softphone(now, &peer, server, &message, false);
            }
            LoginAnswer::Failed => return self.answer(now, &peer, server, &message, 503),
        };
        let user = super::door::user_of(&message).unwrap_or_default();
        let user = String::from_utf8_lossy(user).into();
        let least = *self.wires.config.softphone_digest.start();
        let login = Login { user, secret, least };
        match self.look(now, &peer, &message, &login) {
            Shown::Right => {
                let known = (tenant, agent, &*login.user);
                self.on_known_softphone(now, &peer, server, &message, known);
            }
            Shown::Nothing { is_stale } => {
                self.ask_softphone(now, &peer, server, &message, is_stale);
            }
            Shown::Wrong => {
                self.note_failure(now, &peer);
                self.ask_softphone(now, &peer, server, &message, false);
            }
        }
    }

    fn ask_softphone(
        &mut self,
        now: Now,
        peer: &Peer,
        server: ServerId,
        message: &Message,
        is_stale: bool,
    ) {
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
        self.admission.forgive(peer.address.ip());
        self.wires.outputs.push_back(Output::Proved { softphone: peer.hop() });
        if message.method() == Method::Register {
            return self.on_register(now, peer, server, message, (agent, user));
        }
        if !self.registrar.is_registered(now.monotonic, agent, peer) {
            return self.answer(now, peer, server, message, 403);
        }
        let peer = Peer { role: PeerRole::Agent { tenant, agent }, ..*peer };
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
        let (wanted, contact) = read_wanted(message);
        let at = now.monotonic;
        if let Err(status) = self.registrar.register(at, agent, peer, message.cseq(), wanted) {
            return self.answer(now, peer, server, message, status);
        }
        let (tag, source) = (self.wires.loose_tag(), peer.address);
        let out = &mut self.wires.out;
        let mut answer = ResponseWriter::start(out, message, source, 200, Some(&tag));
        if let (Wanted::For(time), Some(contact)) = (wanted, contact) {
            let expires = format!(">;expires={}", time.as_secs());
            answer = answer.header(CONTACT, [b"<", contact, expires.as_bytes()].concat());
        }
        let answer = answer.finish();
        self.wires.transactions.respond(at, server, 200, answer);
    }

    /// A CANCEL of an INVITE whose login is being looked up: true when that was one.
    pub(super) fn on_cancel_asking(&mut self, now: Now, invite: ServerId) -> bool {
        let found = self.registrar.asking.iter().find(|(_, it)| it.server == invite);
        let Some(request) = found.map(|(request, _)| *request) else { return false };
        if let Some(Asking { peer, server, message }) = self.registrar.asking.remove(&request) {
            self.answer(now, &peer, server, &message, 487);
        }
        true
    }
}
