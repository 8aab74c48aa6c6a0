//! Where agents are registered (RFC 3261 §10.3). Nobody calls a softphone, so what counts of a
//! registration is the connection that it came by, and that the same agent ends it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::hosts::{Hosts, REMEMBERED, addresses_of};
use super::io::Peer;
use crate::domain::id::AgentId;
use crate::sip::transport::Transport;
use crate::sip::uri::{Scheme, Uri};

/// Places that one agent may be registered from at one time; the one that ends first gives way.
const CONTACTS_MAX: usize = 5;
/// Agents that may be registered at one time.
const AGENTS_MAX: usize = 100_000;

/// The connection that a softphone speaks by.
pub(super) type Flow = (Transport, SocketAddr);

/// Places left by phones that are remembered. With more, the calls of those that left first are
/// spoken to where they were; their session timers end them.
const LEFT_MAX: usize = 4_096;

pub(super) const fn flow_of(peer: &Peer) -> Flow {
    (peer.transport, peer.address)
}

/// All registrations, by agent and by connection.
#[derive(Debug, Default)]
pub(super) struct Contacts {
    by_agent: BTreeMap<AgentId, Vec<Contact>>,
    by_flow: BTreeMap<Flow, Users>,
    /// Connections that registered phones have left or lost.
    left: BTreeMap<(Flow, AgentId), Left>,
    /// How many were ever left: tells which of them was first.
    left_ever: u64,
    hosts: Hosts,
}

/// Which phone it was that is no longer at a place. `Debug` shows no text of a message.
struct Left {
    nth: u64,
    call_id: Box<[u8]>,
    uri: Box<[u8]>,
}

impl std::fmt::Debug for Left {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Left({})", self.nth)
    }
}

/// Who has registered by one connection.
#[derive(Debug, Default)]
struct Users {
    agents: Vec<AgentId>,
    /// A wrong password of somebody else came by it too.
    is_doubtful: bool,
}

/// One place of an agent. `Debug` shows no text of a message.
pub(super) struct Contact {
    flow: Flow,
    pub(super) until: Instant,
    call_id: Box<[u8]>,
    cseq: u32,
    /// What stood between the angle brackets.
    pub(super) uri: Box<[u8]>,
}

impl std::fmt::Debug for Contact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Contact({:?}, {:?})", self.flow, self.until)
    }
}

/// A request to be registered, or to be no more.
#[derive(Clone, Copy)]
pub(super) struct Registering<'a> {
    pub(super) agent: AgentId,
    pub(super) flow: Flow,
    pub(super) call_id: &'a [u8],
    pub(super) cseq: u32,
}

/// What a REGISTER asks for.
#[derive(Clone, Copy)]
pub(super) enum Wanted<'a> {
    /// That the agent is registered nowhere.
    EndAll,
    /// To be no longer known by one Contact.
    End(&'a [u8]),
    /// To be known by one for so long.
    For(&'a [u8], Duration),
}

impl Contacts {
    /// Whether an agent may speak by this connection.
    pub(super) fn is_registered(&self, now: Instant, agent: AgentId, flow: Flow) -> bool {
        let is_it = |it: &Contact| it.flow == flow && it.until > now;
        self.by_agent.get(&agent).is_some_and(|list| list.iter().any(is_it))
    }

    /// Whether an agent is registered from this host, or was of late.
    pub(super) fn is_known_at(&self, now: Instant, agent: AgentId, (_, address): Flow) -> bool {
        self.hosts.has(now, agent, address.ip())
    }

    /// Whether another agent is registered from this host, by a connection that may be trusted.
    pub(super) fn has_others(
        &self,
        now: Instant,
        agent: Option<AgentId>,
        (_, address): Flow,
    ) -> bool {
        let (first, last) = addresses_of(address.ip()).into_inner();
        let ports = SocketAddr::new(first, 0)..=SocketAddr::new(last, u16::MAX);
        let is_other = |(flow, users): (&Flow, &Users)| {
            let mut others = users.agents.iter().filter(|it| Some(**it) != agent);
            !users.is_doubtful && others.any(|it| self.is_registered(now, *it, *flow))
        };
        Transport::ALL.into_iter().any(|transport| {
            let flows = (transport, *ports.start())..=(transport, *ports.end());
            self.by_flow.range(flows).any(is_other)
        })
    }

    /// Whether a connection is that of somebody who has registered, and has done nothing but what
    /// such people do.
    pub(super) fn is_trusted(&self, now: Instant, flow: Flow) -> bool {
        let Some(users) = self.by_flow.get(&flow).filter(|users| !users.is_doubtful) else {
            return false;
        };
        users.agents.iter().any(|agent| self.is_registered(now, *agent, flow))
    }

    /// A wrong password came by a connection, of this agent or of nobody.
    pub(super) fn note_guess(&mut self, flow: Flow, agent: Option<AgentId>) {
        if let Some(users) = self.by_flow.get_mut(&flow) {
            users.is_doubtful |= agent.is_none_or(|agent| !users.agents.contains(&agent));
        }
    }

    /// Nothing more comes by a connection: whoever has registered there has to do so again.
    pub(super) fn close(&mut self, flow: Flow) {
        for agent in self.by_flow.remove(&flow).unwrap_or_default().agents {
            let Some(list) = self.by_agent.get_mut(&agent) else { continue };
            let gone: Vec<_> = list.extract_if(.., |it| it.flow == flow).collect();
            if list.is_empty() {
                self.by_agent.remove(&agent);
            }
            gone.into_iter().for_each(|it| self.leave(agent, it));
        }
    }

    /// Remembers which phone was at a place.
    fn leave(&mut self, agent: AgentId, contact: Contact) {
        let Contact { flow, call_id, uri, .. } = contact;
        self.left_ever += 1;
        self.left.insert((flow, agent), Left { nth: self.left_ever, call_id, uri });
        if self.left.len() > LEFT_MAX {
            let first = self.left.iter().min_by_key(|(_, left)| left.nth).map(|(key, _)| *key);
            first.map(|key| self.left.remove(&key));
        }
    }

    /// Where the phone of an agent is now that was at this place and is not any more.
    pub(super) fn successor(&self, now: Instant, agent: AgentId, flow: Flow) -> Option<Flow> {
        let left = self.left.get(&(flow, agent))?;
        let is_it = |it: &&Contact| *it.call_id == *left.call_id || is_same_uri(&it.uri, &left.uri);
        self.of(now, agent).filter(is_it).max_by_key(|it| it.until).map(|it| it.flow)
    }

    /// Where an agent is registered.
    pub(super) fn of(&self, now: Instant, agent: AgentId) -> impl Iterator<Item = &Contact> {
        let list = self.by_agent.get(&agent).map(Vec::as_slice).unwrap_or_default();
        list.iter().filter(move |it| it.until > now)
    }

    /// Takes, refreshes or ends registrations, all that one request asks for or nothing. An error
    /// is the status to answer with.
    pub(super) fn register(
        &mut self,
        now: Instant,
        by: Registering<'_>,
        wanted: &[Wanted<'_>],
    ) -> Result<(), u16> {
        self.drop_where(by.agent, |it| it.until <= now);
        let list = self.by_agent.get(&by.agent).map(Vec::as_slice).unwrap_or_default();
        // An old request that comes late changes nothing; another Call-ID has its own numbers.
        let is_late = |it: &&Contact| *it.call_id == *by.call_id && it.cseq >= by.cseq;
        if wanted.iter().any(|it| list.iter().filter(is_late).any(it.means(list, by))) {
            return Err(500);
        }
        self.make_room(now, by.agent)?;
        for wanted in wanted {
            let list = self.by_agent.get(&by.agent).map(Vec::as_slice).unwrap_or_default();
            let moved = self.drop_where(by.agent, wanted.means(list, by));
            if matches!(wanted, Wanted::For(..)) {
                let moved = moved.into_iter().filter(|it| it.flow != by.flow);
                moved.for_each(|it| self.leave(by.agent, it));
            }
        }
        for wanted in wanted {
            if let Wanted::For(uri, time) = *wanted {
                self.insert(by, uri, now + time);
                self.hosts.note(now, by.agent, by.flow.1.ip(), now + time + REMEMBERED);
            }
        }
        Ok(())
    }

    fn make_room(&mut self, now: Instant, agent: AgentId) -> Result<(), u16> {
        if self.by_agent.len() < AGENTS_MAX || self.by_agent.contains_key(&agent) {
            return Ok(());
        }
        let is_over = |(_, list): &(&AgentId, &Vec<Contact>)| list.iter().all(|it| it.until <= now);
        let over: Vec<_> = self.by_agent.iter().filter(is_over).map(|(agent, _)| *agent).collect();
        for agent in over {
            self.drop_where(agent, |_| true);
        }
        if self.by_agent.len() < AGENTS_MAX { Ok(()) } else { Err(503) }
    }

    fn insert(&mut self, by: Registering<'_>, uri: &[u8], until: Instant) {
        // A second Contact of one request is another name of the same connection.
        self.drop_where(by.agent, |it| it.flow == by.flow);
        let list = self.by_agent.entry(by.agent).or_default();
        let first = list.iter().min_by_key(|it| it.until).map(|it| it.flow);
        if let Some(first) = first.filter(|_| list.len() >= CONTACTS_MAX) {
            self.drop_where(by.agent, |it| it.flow == first);
        }
        self.left.remove(&(by.flow, by.agent));
        let (call_id, uri) = (by.call_id.into(), uri.into());
        let contact = Contact { flow: by.flow, until, call_id, cseq: by.cseq, uri };
        self.by_agent.entry(by.agent).or_default().push(contact);
        self.by_flow.entry(by.flow).or_default().agents.push(by.agent);
    }

    /// Forgets some of the places of an agent, and returns them. It has one at most for each
    /// connection.
    fn drop_where(&mut self, agent: AgentId, is_meant: impl Fn(&Contact) -> bool) -> Vec<Contact> {
        let Some(list) = self.by_agent.get_mut(&agent) else { return Vec::new() };
        let dropped: Vec<_> = list.extract_if(.., |it| is_meant(it)).collect();
        for contact in &dropped {
            if let Some(users) = self.by_flow.get_mut(&contact.flow) {
                users.agents.retain(|it| *it != agent);
                if users.agents.is_empty() && !users.is_doubtful {
                    self.by_flow.remove(&contact.flow);
                }
            }
        }
        if list.is_empty() {
            self.by_agent.remove(&agent);
        }
        dropped
    }
}

impl<'a> Wanted<'a> {
    /// Which of the places that are known this ends or replaces.
    fn means(self, list: &[Contact], by: Registering<'a>) -> impl Fn(&Contact) -> bool + use<'a> {
        let named = match self {
            Self::End(uri) => list.iter().filter_map(|it| it.nearness(uri, by)).max(),
            Self::EndAll | Self::For(..) => None,
        };
        move |it| match self {
            Self::EndAll => true,
            Self::End(uri) => named.is_some() && it.nearness(uri, by) == named,
            // The same phone by another connection, or another Contact of the same connection.
            Self::For(uri, _) => {
                it.flow == by.flow || (is_same_uri(&it.uri, uri) && *it.call_id == *by.call_id)
            }
        }
    }
}

/// How surely a place is that of a Contact which a phone takes back: by its name alone, since it
/// came by the same connection, or as the same registration.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Nearness {
    Name,
    Connection,
    Registration,
}

impl Contact {
    /// `None` for a place with another Contact: what a phone says of an old one does not concern
    /// the new one, though both came by one connection.
    fn nearness(&self, uri: &[u8], by: Registering<'_>) -> Option<Nearness> {
        is_same_uri(&self.uri, uri).then(|| match () {
            () if *self.call_id == *by.call_id => Nearness::Registration,
            () if self.flow == by.flow => Nearness::Connection,
            () => Nearness::Name,
        })
    }
}

/// Whether two URIs name the same place (RFC 3261 §19.1.4), in what tells phones apart.
fn is_same_uri(a: &[u8], b: &[u8]) -> bool {
    if a == b {
        return true;
    }
    let (Ok(a), Ok(b)) = (Uri::parse(a), Uri::parse(b)) else { return false };
    let transport = |uri: &Uri<'_>| uri.param("transport").map(str::to_ascii_lowercase);
    a.scheme != Scheme::Other
        && (a.scheme, a.user, a.port) == (b.scheme, b.user, b.port)
        && a.host.eq_ignore_ascii_case(b.host)
        && transport(&a) == transport(&b)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGENT: AgentId = AgentId::from_u128(1);
    const HOUR: Duration = Duration::from_secs(3_600);

    fn now() -> Instant {
        crate::call::tests::harness::epoch().monotonic
    }

    fn flow(port: u16) -> Flow {
        (Transport::Tls, SocketAddr::from(([192, 0, 2, 1], port)))
    }

    fn by(agent: AgentId, port: u16, call_id: &str, cseq: u32) -> Registering<'_> {
        Registering { agent, flow: flow(port), call_id: call_id.as_bytes(), cseq }
    }

    #[test]
    fn a_connection_that_is_closed_leaves_nothing_behind() {
        let (mut contacts, now) = (Contacts::default(), now());
        let other = AgentId::from_u128(2);
        for agent in [AGENT, other] {
            contacts.register(now, by(agent, 1, "a", 1), &[Wanted::For(b"u", HOUR)]).expect("room");
        }
        contacts.register(now, by(AGENT, 2, "b", 1), &[Wanted::For(b"v", HOUR)]).expect("room");
        contacts.close(flow(1));
        assert!(!contacts.is_trusted(now, flow(1)) && contacts.is_trusted(now, flow(2)));
        contacts.close(flow(2));
        assert!(contacts.by_agent.is_empty() && contacts.by_flow.is_empty());
    }

    #[test]
    fn of_the_places_that_were_left_the_latest_are_remembered() {
        let mut contacts = Contacts::default();
        let now = crate::call::tests::harness::epoch().monotonic;
        let many = LEFT_MAX as u16 + 10;
        // The first ones have the highest addresses.
        for port in (1..=many).rev() {
            let wanted = [Wanted::For(b"u", HOUR)];
            contacts
                .register(now, by(AGENT, port, "a", u32::from(many - port)), &wanted)
                .expect("room");
            contacts.close(flow(port));
            assert!(contacts.left.len() <= LEFT_MAX);
        }
        let next = by(AGENT, 60_000, "a", u32::from(many));
        contacts.register(now, next, &[Wanted::For(b"u", HOUR)]).expect("room");
        assert_eq!(contacts.successor(now, AGENT, flow(1)), Some(flow(60_000)));
        assert_eq!(contacts.successor(now, AGENT, flow(many)), None, "it was the first to go");
        assert_eq!(contacts.successor(now + HOUR, AGENT, flow(1)), None, "it has expired");
        let other = AgentId::from_u128(2);
        assert_eq!(contacts.successor(now, other, flow(1)), None, "another agent was not there");
    }

    #[test]
    fn both_tables_stay_the_same_size_whatever_is_registered() {
        let (mut contacts, now) = (Contacts::default(), now());
        for n in 0..1_000_u16 {
            let time = HOUR + Duration::from_secs(n.into());
            let wanted = match n % 7 {
                0 => Wanted::End(b"u"),
                1 => Wanted::EndAll,
                _ => Wanted::For(b"u", time),
            };
            contacts.register(now, by(AGENT, n, "a", n.into()), &[wanted]).expect("room");
            let listed = contacts.of(now, AGENT).count();
            assert!(listed <= CONTACTS_MAX);
            assert_eq!(contacts.by_flow.len(), listed);
        }
    }

    #[test]
    fn a_refresh_by_another_connection_moves_the_registration_of_the_same_phone() {
        let (mut contacts, now) = (Contacts::default(), now());
        contacts.register(now, by(AGENT, 1, "a", 1), &[Wanted::For(b"u", HOUR)]).expect("room");
        contacts.register(now, by(AGENT, 2, "a", 2), &[Wanted::For(b"u", HOUR)]).expect("room");
        assert!(!contacts.is_registered(now, AGENT, flow(1)));
        assert!(contacts.is_registered(now, AGENT, flow(2)));
        contacts.register(now, by(AGENT, 3, "b", 1), &[Wanted::For(b"u", HOUR)]).expect("room");
        assert!(contacts.is_registered(now, AGENT, flow(2)), "another phone is another one");
    }

    /// RFC 3261 §10.3.
    #[test]
    fn an_old_contact_that_a_phone_takes_back_leaves_its_new_one() {
        let (mut contacts, now) = (Contacts::default(), now());
        contacts.register(now, by(AGENT, 1, "a", 1), &[Wanted::For(b"u", HOUR)]).expect("room");
        contacts.register(now, by(AGENT, 2, "a", 2), &[Wanted::For(b"v", HOUR)]).expect("room");
        contacts.register(now, by(AGENT, 2, "a", 3), &[Wanted::End(b"u")]).expect("room");
        assert!(!contacts.is_registered(now, AGENT, flow(1)));
        assert!(contacts.is_registered(now, AGENT, flow(2)));
        // Nor one that nobody knows any more.
        contacts.register(now, by(AGENT, 2, "a", 4), &[Wanted::End(b"u")]).expect("room");
        assert!(contacts.is_registered(now, AGENT, flow(2)));
        contacts.register(now, by(AGENT, 2, "a", 5), &[Wanted::End(b"v")]).expect("room");
        assert!(!contacts.is_registered(now, AGENT, flow(2)));
    }

    /// Phones behind different routers, or one that has come back, may have the same Contact.
    #[test]
    fn of_places_with_the_same_contact_the_one_of_the_same_registration_is_ended() {
        let two = || {
            let (mut contacts, now) = (Contacts::default(), now());
            for (port, call_id) in [(1, "a"), (2, "b")] {
                let by = by(AGENT, port, call_id, 1);
                contacts.register(now, by, &[Wanted::For(b"u", HOUR)]).expect("room");
            }
            (contacts, now)
        };
        for (port, call_id, left) in [
            (2, "a", [false, true]), // The old one, by the new connection.
            (2, "b", [true, false]),
            (2, "c", [true, false]), // A restarted phone.
            (3, "c", [false, false]),
        ] {
            let (mut contacts, now) = two();
            let by = by(AGENT, port, call_id, 2);
            contacts.register(now, by, &[Wanted::End(b"u")]).expect("room");
            let there = [1, 2].map(|port| contacts.is_registered(now, AGENT, flow(port)));
            assert_eq!(there, left, "{port} {call_id}");
        }
    }

    /// RFC 3261 §19.1.4.
    #[test]
    fn a_contact_is_the_same_however_its_host_is_spelled() {
        let same = |a: &str, b: &str| is_same_uri(a.as_bytes(), b.as_bytes());
        assert!(same("sip:a@Phone.example:5061;ob", "SIP:a@phone.EXAMPLE:5061"));
        assert!(same("odd", "odd") && !same("odd", "Odd") && !same("im:a@h", "im:b@h"));
        for other in ["sip:a@h", "sip:b@h:5061", "sips:a@h:5061", "sip:a@h:5061;transport=tcp"] {
            assert!(!same("sip:a@h:5061", other), "{other}");
        }
    }

    #[test]
    fn whoever_guesses_elses_passwords_by_its_connection_is_trusted_no_more() {
        let (mut contacts, now) = (Contacts::default(), now());
        contacts.register(now, by(AGENT, 1, "a", 1), &[Wanted::For(b"u", HOUR)]).expect("room");
        contacts.note_guess(flow(1), Some(AGENT));
        assert!(contacts.is_trusted(now, flow(1)), "its own password");
        contacts.note_guess(flow(1), None);
        assert!(!contacts.is_trusted(now, flow(1)));
        contacts.register(now, by(AGENT, 1, "a", 2), &[Wanted::For(b"u", HOUR)]).expect("room");
        assert!(!contacts.is_trusted(now, flow(1)), "until the connection is closed");
    }
}
