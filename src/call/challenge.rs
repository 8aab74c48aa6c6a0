//! Challenges of trunks to requests of ours: the request is sent again with the trunk's account,
//! and later ones carry an answer to the same nonce as long as the trunk takes it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::call::Call;
use super::core::CallCore;
use super::coupling::Event;
use super::place::{Part, Place};
use super::trunks::{Login, TrunkBook, TrunkTerms};
use super::wires::Wires;
use crate::domain::id::TrunkId;
use crate::domain::now::Now;
use crate::domain::trunk_media::TrunkMedia;
use crate::domain::trust::TrunkIdentity;
use crate::sip::digest::{self, Account, Algorithm, Challenge};
use crate::sip::header::HeaderId;
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::transaction::{ClientId, Owner};
use crate::sip::write;

/// How often a request is sent again for each of those that may challenge it; more than once only
/// since its nonce had become old.
const RETRIES_MAX: u8 = 2;

/// Who challenges, each in a header of its own. Both may challenge one request (RFC 3261 §22.3).
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Asker {
    Server,
    Proxy,
}

impl Asker {
    const ALL: [Self; 2] = [Self::Server, Self::Proxy];

    const fn of_status(status: u16) -> Option<Self> {
        match status {
            401 => Some(Self::Server),
            407 => Some(Self::Proxy),
            _ => None,
        }
    }

    const fn asks_in(self) -> HeaderId {
        match self {
            Self::Server => HeaderId::WwwAuthenticate,
            Self::Proxy => HeaderId::ProxyAuthenticate,
        }
    }

    const fn answered_in(self) -> HeaderId {
        match self {
            Self::Server => HeaderId::Authorization,
            Self::Proxy => HeaderId::ProxyAuthorization,
        }
    }
}

/// How often a request was sent again for each asker.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tries([u8; Asker::ALL.len()]);

/// Header lines of a request, such as credentials.
pub(super) type Lines = Vec<(HeaderId, Vec<u8>)>;

/// The accounts at trunks, and what they have asked for last.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    book: Arc<TrunkBook>,
    /// One for each asker of each trunk that has ever asked.
    known: BTreeMap<(TrunkId, Asker), Known>,
    /// Requests that were sent again, and how often. Forgotten with their final responses.
    retried: BTreeMap<ClientId, Tries>,
}

/// A challenge, and how often its nonce was used.
#[derive(Debug)]
struct Known {
    challenge: Challenge,
    count: u32,
}

impl Accounts {
    /// The user that we have registered as at this trunk.
    pub(super) fn registered_as(&self, trunk: TrunkId) -> Option<&str> {
        let terms = self.book.get(trunk).filter(|terms| terms.registers.is_some())?;
        terms.account.as_ref().map(|(account, _)| &*account.user)
    }

    /// What is known of all trunks.
    pub(super) fn book(&self) -> Arc<TrunkBook> {
        Arc::clone(&self.book)
    }

    /// Another book; what the trunks have asked for stays.
    pub(super) fn replace(&mut self, book: Arc<TrunkBook>) {
        self.known.retain(|(trunk, _), _| book.get(*trunk).is_some_and(|it| it.account.is_some()));
        self.book = book;
    }

    /// What is known of a trunk.
    pub(super) fn terms(&self, trunk: TrunkId) -> Option<&TrunkTerms> {
        self.book.get(trunk)
    }

    /// How far a trunk is believed.
    pub(super) fn identity(&self, trunk: TrunkId) -> TrunkIdentity {
        self.terms(trunk).map(|terms| terms.identity).unwrap_or_default()
    }

    /// How the media of a trunk behaves.
    pub(super) fn media(&self, trunk: TrunkId) -> TrunkMedia {
        self.terms(trunk).map(|terms| terms.media.clone()).unwrap_or_default()
    }

    /// What a trunk must prove.
    pub(super) fn login(&self, trunk: TrunkId) -> Option<&Login> {
        self.terms(trunk)?.login.as_ref()
    }

    /// A request has got its final response, or never will: how often it had been sent again.
    fn forget(&mut self, client: ClientId) -> Tries {
        self.retried.remove(&client).unwrap_or_default()
    }

    /// Nobody waits for a challenge any more.
    pub(super) fn done(&mut self, client: ClientId) {
        if !self.retried.is_empty() {
            self.forget(client);
        }
    }

    /// Learns a challenge that is worth an answer, and counts it.
    pub(super) fn learn(
        &mut self,
        trunk: TrunkId,
        least: Algorithm,
        response: &Message,
        tries: &mut Tries,
    ) -> Option<()> {
        let asker = Asker::of_status(response.status()?)?;
        let challenge = digest::strongest(response.headers(asker.asks_in()), least)?;
        let tried = &mut tries.0[asker as usize];
        // The same question again means that our answer was wrong.
        if *tried >= RETRIES_MAX || (*tried > 0 && !challenge.stale) {
            return None;
        }
        *tried += 1;
        self.known.insert((trunk, asker), Known { challenge, count: 0 });
        Some(())
    }

    /// What answers all that the trunk has asked for last; nothing if it never has.
    pub(super) fn answers(
        &mut self,
        trunk: TrunkId,
        account: &Account,
        method: Method,
        uri: &[u8],
        mut chance: impl FnMut() -> u64,
    ) -> Lines {
        let mut answers = Vec::new();
        for asker in Asker::ALL {
            let Some(known) = self.known.get_mut(&(trunk, asker)) else { continue };
            let Some(count) = known.count.checked_add(1) else { continue };
            known.count = count;
            let (challenge, method) = (&known.challenge, method.name().as_bytes());
            let value = digest::answer(account, challenge, method, uri, count, chance());
            answers.push((asker.answered_in(), value));
        }
        answers
    }
}

impl Wires {
    /// The credentials of a new request to a trunk, if it has asked for some before.
    pub(super) fn credentials(&mut self, trunk: TrunkId, method: Method, uri: &[u8]) -> Lines {
        let book = self.accounts.book();
        let account = book.get(trunk).and_then(|terms| terms.account.as_ref());
        let Some((account, _)) = account else { return Vec::new() };
        let rng = &mut self.rng;
        self.accounts.answers(trunk, account, method, uri, || rand_core::Rng::next_u64(rng))
    }
}

impl CallCore {
    /// Answers a challenge. True when the request is on its way again: nobody has to know.
    pub(super) fn on_challenge(
        &mut self,
        now: Now,
        client: ClientId,
        owner: Owner,
        response: &Message,
    ) -> bool {
        let Some(request) = self.wires.transactions.take_challenged() else { return false };
        let mut tries = self.wires.accounts.forget(client);
        let place = Place::of_owner(owner);
        if response.status() == Some(422) {
            return self.on_too_short(now, place, client, (&request, response), tries);
        }
        let Some(call) = self.calls.get_mut(place.serial) else { return false };
        let Some(trunk) = call.trunk_of(place.part) else { return false };
        let accounts = &mut self.wires.accounts;
        let account = accounts.terms(trunk).and_then(|terms| terms.account.as_ref());
        let least = account.map(|(_, least)| *least);
        if least.and_then(|it| accounts.learn(trunk, it, response, &mut tries)).is_none() {
            self.wires.counters.challenges_unanswered += 1;
            return false;
        }
        let Ok(request) = Message::parse(request) else { return false };
        let again = Again { place, client, request: &request, response };
        let sent = call.send_again(&mut self.wires, now.monotonic, &again, Vec::new());
        let Some(next) = sent else { return false };
        self.wires.counters.challenges_answered += 1;
        self.wires.accounts.retried.insert(next, tries);
        self.asked_again(now, place, next);
        true
    }

    /// A trunk refuses our INVITE since its session timer is too short: it is asked once more, as
    /// the same call (RFC 4028 §7.3). True when it was.
    fn on_too_short(
        &mut self,
        now: Now,
        place: Place,
        client: ClientId,
        (request, response): (&Bytes, &Message),
        tries: Tries,
    ) -> bool {
        let Some(call) = self.calls.get_mut(place.serial) else { return false };
        if !call.branch_mut(place.part).is_some_and(|branch| branch.is_invite(client)) {
            return false;
        }
        let Some(least) = call.take_longer(&self.wires, response) else { return false };
        let Ok(request) = Message::parse(request.clone()) else { return false };
        let least = least.to_string().into_bytes();
        let lines = vec![(HeaderId::SessionExpires, least.clone()), (HeaderId::MinSe, least)];
        let again = Again { place, client, request: &request, response };
        let sent = call.send_again(&mut self.wires, now.monotonic, &again, lines);
        let Some(next) = sent else { return false };
        self.wires.accounts.retried.insert(next, tries);
        self.asked_again(now, place, next);
        true
    }

    /// A trunk that is asked once more for the callee has to say something in time once more.
    fn asked_again(&mut self, now: Now, Place { serial, part }: Place, client: ClientId) {
        self.with_call(now, serial, |call, wires| {
            if call.branch_mut(part).is_some_and(|branch| branch.is_invite(client)) {
                call.happen(wires, now, Event::AskedAgain);
            }
        });
    }
}

/// A request that was refused and may be sent again.
struct Again<'a> {
    place: Place,
    client: ClientId,
    request: &'a Message,
    response: &'a Message,
}

impl Call {
    /// Whether this is the number of the INVITE of a branch, and not of a later one.
    pub(super) fn is_opened_by(&mut self, part: Part, cseq: u32) -> bool {
        self.branch_mut(part).is_some_and(|branch| branch.is_opened_by(cseq))
    }

    /// The trunk that a part is at.
    fn trunk_of(&self, part: Part) -> Option<TrunkId> {
        match part {
            Part::Caller => Some(self.leg_a.peer().trunk),
            Part::Callee(position) => {
                Some(self.branches.get(usize::from(position))?.target().trunk)
            }
        }
    }

    /// Sends a request once more, with credentials and these lines, in the place of the refused
    /// one and as the same call. Nothing is sent that would say nothing new.
    fn send_again(
        &mut self,
        wires: &mut Wires,
        at: Instant,
        again: &Again<'_>,
        mut lines: Lines,
    ) -> Option<ClientId> {
        let Again { place, client, request, response } = *again;
        let part = place.part;
        let first = self.branch_mut(part).filter(|branch| branch.is_invite(client));
        let (cseq, hop) = match first {
            Some(branch) => (branch.next_cseq()?, branch.hop()),
            None => {
                let (dialog, hop) = self.answered_line(part, response)?;
                (dialog.next_cseq(), hop)
            }
        };
        let trunk = self.trunk_of(part)?;
        lines.extend(wires.credentials(trunk, request.method(), request.request_uri_text()));
        if lines.is_empty() {
            return None;
        }
        let branch = wires.new_branch();
        let request = write::again(&mut wires.out, request, branch, cseq, &lines);
        let next = wires.transactions.request(at, request, hop, place.to_owner()).ok()?;
        match part {
            Part::Caller => self.leg_a.replace_client(client, next),
            Part::Callee(_) => self.branch_mut(part)?.replace_client(client, next),
        }
        self.replace_update(part, client, next);
        self.replace_question(part, client, next);
        if let Some(change) = self.talk.as_mut().and_then(|talk| talk.change.as_mut())
            && change.client == Some(client)
        {
            change.client = Some(next);
        }
        Some(next)
    }
}
