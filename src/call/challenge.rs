//! Challenges of trunks to requests of ours: the request is sent again with the trunk's account,
//! and later ones carry an answer to the same nonce as long as the trunk takes it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::call::Call;
use super::core::CallCore;
use super::place::{Part, Place};
use super::trunks::{Login, TrunkBook, TrunkTerms};
use super::wires::Wires;
use crate::domain::id::TrunkId;
use crate::domain::now::Now;
use crate::domain::trust::TrunkIdentity;
use crate::sip::digest::{self, Account, Algorithm, Challenge};
use crate::sip::header::HeaderId;
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::transaction::{ClientId, Owner};
use crate::sip::write::again;

/// How often a request is sent again; more than once only since its nonce had become old.
const RETRIES_MAX: u8 = 2;

/// The accounts at trunks, and what they have asked for last.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    book: Arc<TrunkBook>,
    /// One for each trunk that has ever asked.
    known: BTreeMap<TrunkId, Known>,
    /// Requests that were sent again, and how often. Forgotten with their final responses.
    retried: BTreeMap<ClientId, u8>,
}

/// A challenge, and how often its nonce was used.
#[derive(Debug)]
struct Known {
    challenge: Challenge,
    answer_in: HeaderId,
    count: u32,
}

impl Accounts {
    /// What is known of all trunks.
    pub(super) fn book(&self) -> Arc<TrunkBook> {
        Arc::clone(&self.book)
    }

    /// Another book; what the trunks have asked for stays.
    pub(super) fn replace(&mut self, book: Arc<TrunkBook>) {
        self.known.retain(|trunk, _| book.get(*trunk).is_some_and(|it| it.account.is_some()));
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

    /// What a trunk must prove.
    pub(super) fn login(&self, trunk: TrunkId) -> Option<&Login> {
        self.terms(trunk)?.login.as_ref()
    }

    /// A request has got its final response, or never will: how often it had been sent again.
    fn forget(&mut self, client: ClientId) -> u8 {
        self.retried.remove(&client).unwrap_or(0)
    }

    /// Nobody waits for a challenge any more.
    pub(super) fn done(&mut self, client: ClientId) {
        if !self.retried.is_empty() {
            self.forget(client);
        }
    }

    /// Learns a challenge that is worth an answer, `tries` times after the first one.
    pub(super) fn learn(
        &mut self,
        trunk: TrunkId,
        least: Algorithm,
        response: &Message,
        tries: u8,
    ) -> Option<()> {
        let (asked_in, answer_in) = match response.status()? {
            401 => (HeaderId::WwwAuthenticate, HeaderId::Authorization),
            407 => (HeaderId::ProxyAuthenticate, HeaderId::ProxyAuthorization),
            _ => return None,
        };
        let challenge = digest::strongest(response.headers(asked_in), least)?;
        // The same question again means that our answer was wrong.
        if tries >= RETRIES_MAX || (tries > 0 && !challenge.stale) {
            return None;
        }
        self.known.insert(trunk, Known { challenge, answer_in, count: 0 });
        Some(())
    }

    /// The header that answers what the trunk has asked for last; `None` if it never has.
    pub(super) fn answer(
        &mut self,
        trunk: TrunkId,
        account: &Account,
        method: Method,
        uri: &[u8],
        chance: impl FnOnce() -> u64,
    ) -> Option<(HeaderId, Vec<u8>)> {
        let known = self.known.get_mut(&trunk)?;
        known.count = known.count.checked_add(1)?;
        let (challenge, method) = (&known.challenge, method.name().as_bytes());
        let value = digest::answer(account, challenge, method, uri, known.count, chance());
        Some((known.answer_in, value))
    }
}

impl Wires {
    /// The credentials of a new request to a trunk, if it has asked for some before.
    pub(super) fn credentials(
        &mut self,
        trunk: TrunkId,
        method: Method,
        uri: &[u8],
    ) -> Option<(HeaderId, Vec<u8>)> {
        let book = self.accounts.book();
        let (account, _) = book.get(trunk)?.account.as_ref()?;
        let rng = &mut self.rng;
        self.accounts.answer(trunk, account, method, uri, || rand_core::Rng::next_u64(rng))
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
        let tries = self.wires.accounts.forget(client);
        let Place { serial, part } = Place::of_owner(owner);
        let Some(call) = self.calls.get_mut(serial) else { return false };
        let Some(trunk) = call.trunk_of(part) else { return false };
        let accounts = &mut self.wires.accounts;
        let account = accounts.terms(trunk).and_then(|terms| terms.account.as_ref());
        let least = account.map(|(_, least)| *least);
        if least.and_then(|least| accounts.learn(trunk, least, response, tries)).is_none() {
            self.wires.counters.challenges_unanswered += 1;
            return false;
        }
        let Ok(request) = Message::parse(request) else { return false };
        let place = Place { serial, part };
        let wires = &mut self.wires;
        let sent = call.send_again(wires, now.monotonic, place, client, &request, response);
        let Some(next) = sent else { return false };
        self.wires.counters.challenges_answered += 1;
        self.wires.accounts.retried.insert(next, tries + 1);
        true
    }
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

    /// Sends a request once more, with credentials, in the place of the challenged one.
    fn send_again(
        &mut self,
        wires: &mut Wires,
        at: Instant,
        place: Place,
        client: ClientId,
        request: &Message,
        response: &Message,
    ) -> Option<ClientId> {
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
        let (name, value) =
            wires.credentials(trunk, request.method(), request.request_uri_text())?;
        let branch = wires.new_branch();
        let request = again(&mut wires.out, request, branch, cseq, (name, &value));
        let next = wires.transactions.request(at, request, hop, place.to_owner()).ok()?;
        match part {
            Part::Caller => self.leg_a.replace_client(client, next),
            Part::Callee(_) => self.branch_mut(part)?.replace_client(client, next),
        }
        self.replace_update(part, client, next);
        if let Some(change) = self.talk.as_mut().and_then(|talk| talk.change.as_mut())
            && change.client == Some(client)
        {
            change.client = Some(next);
        }
        Some(next)
    }
}
