//! Our registration at a carrier that wants one: refreshed in time, answered with our account when
//! it is challenged, tried again ever slower when it fails, and taken back when nobody wants it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::b_invite::escape_user;
use super::challenge::{Lines, Tries};
use super::egress::CONTACT;
use super::errands::{Asking, Way};
use super::io::TrunkStatus;
use super::names::{authority, hop_of, uri_of};
use super::trunks::TrunkTerms;
use super::wires::Wires;
use crate::domain::id::TrunkId;
use crate::domain::route::TrunkTarget;
use crate::sip::address::Address;
use crate::sip::digest::{Account, Algorithm};
use crate::sip::header::HeaderId;
use crate::sip::ids::{SipCallId, Tag};
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::transaction::ClientId;
use crate::sip::transport::{Hop, Transport};
use crate::sip::uri::Uri;
use crate::sip::write::again;

/// The first wait after a failure; each later one is twice as long, up to the maximum.
const BACKOFF: Duration = Duration::from_secs(30);
const BACKOFF_MAX: Duration = Duration::from_secs(30 * 60);
/// The longest registration that a carrier may demand with a 423.
const EXPIRES_MAX_S: u64 = 86_400;
/// However long a carrier that refuses us wants to be left alone, it is asked again after this.
const LEFT_ALONE_MAX: Duration = Duration::from_secs(3_600);
/// A registration is never refreshed more often than this, however short the carrier grants it.
const REFRESH_MIN: Duration = Duration::from_secs(15);

/// One registration. `Debug` does not show as whom.
pub(super) struct Registration {
    trunk: TrunkId,
    account: Option<(Account, Algorithm)>,
    targets: Vec<TrunkTarget>,
    /// The position of the target that is asked: the next one after each failure.
    position: usize,
    /// What we ask for, and what the carrier has made of that.
    asked_s: u64,
    expires_s: u64,
    /// The carrier has demanded more since it last knew us.
    was_raised: bool,
    /// What all its requests share, and the number of the last one.
    dialog: Option<(SipCallId, Tag)>,
    cseq: u32,
    /// The request that has no final response yet, and where it went.
    waiting: Option<(ClientId, Hop)>,
    tries: Tries,
    failures: u32,
    /// The last failure was the carrier's own word: it may lock out who insists.
    is_refused: bool,
    /// A target that wants to be left alone, and until when (RFC 3261 §20.33).
    left_alone: Option<(SocketAddr, Instant)>,
    /// Until when the carrier knows us.
    registered_until: Option<Instant>,
    due_at: Option<Instant>,
    goal: Goal,
}

/// What a registration is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Goal {
    /// The carrier should know us.
    Known,
    /// It should not any more, but a request is still on its way.
    Leaving,
    /// It was asked to forget us, or never knew us.
    Left,
}

impl std::fmt::Debug for Registration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let is_registered = self.registered_until.is_some();
        write!(f, "Registration({}, {:?}, registered: {is_registered})", self.trunk, self.goal)
    }
}

impl Registration {
    /// One that begins now.
    pub(super) fn new(trunk: TrunkId, terms: &TrunkTerms, expires: Duration, now: Instant) -> Self {
        Self {
            trunk,
            account: terms.account.clone(),
            targets: terms.targets.iter().map(|it| it.item.clone()).collect(),
            position: 0,
            asked_s: expires.as_secs(),
            expires_s: expires.as_secs(),
            was_raised: false,
            dialog: None,
            cseq: 0,
            waiting: None,
            tries: Tries::default(),
            failures: 0,
            is_refused: false,
            left_alone: None,
            registered_until: None,
            due_at: Some(now),
            goal: Goal::Known,
        }
    }

    pub(super) const fn due_at(&self) -> Option<Instant> {
        self.due_at
    }

    /// Nothing more comes of it.
    pub(super) fn is_over(&self) -> bool {
        self.goal == Goal::Left && self.waiting.is_none()
    }

    fn user(&self) -> &str {
        self.account.as_ref().map_or("", |(account, _)| &account.user)
    }

    /// Makes the carrier know the same user as another one.
    pub(super) fn is_of(&self, other: &Self) -> bool {
        self.user() == other.user()
    }

    /// The settings were read again. What is as before goes on as before: a carrier that has
    /// refused us would lock us out if each reading began anew.
    pub(super) fn follow(&mut self, new: &Self, now: Instant) {
        let current = self.target().cloned();
        self.targets.clone_from(&new.targets);
        let found = self.targets.iter().position(|target| Some(target) == current.as_ref());
        self.position = found.unwrap_or(0);
        let has_moved = found.is_none() && !self.targets.is_empty() && !self.is_refused;
        // A password that was wrong may be right now.
        let is_other = self.account != new.account || self.asked_s != new.asked_s;
        if is_other {
            self.account.clone_from(&new.account);
            (self.asked_s, self.expires_s) = (new.asked_s, new.expires_s);
            (self.failures, self.is_refused, self.was_raised) = (0, false, false);
        }
        if is_other || has_moved {
            self.due_at = Some(now);
        }
    }

    /// The carrier should not know us any more (RFC 3261 §10.2.2).
    pub(super) fn leave(&mut self, way: &mut Way<'_>) -> Option<TrunkStatus> {
        self.due_at = None;
        self.goal = Goal::Leaving;
        if self.waiting.is_some() { None } else { self.take_back(way) }
    }

    /// What the request that was on its way has made known is taken back.
    fn take_back(&mut self, way: &mut Way<'_>) -> Option<TrunkStatus> {
        self.goal = Goal::Left;
        self.tries = Tries::default();
        if self.registered_until.is_some() && self.register(way, 0).is_some() {
            return None;
        }
        self.forget()
    }

    /// Nobody waits for a carrier that does not answer, or does not agree: it forgets in time.
    fn forget(&mut self) -> Option<TrunkStatus> {
        self.goal = Goal::Left;
        self.registered_until.take()?;
        self.status()
    }

    fn status(&self) -> Option<TrunkStatus> {
        let is_registered = self.registered_until.is_some();
        Some(TrunkStatus::Registered { trunk: self.trunk, is_registered })
    }

    /// The time has come to register, to refresh, or to try again.
    pub(super) fn on_timer(&mut self, way: &mut Way<'_>) -> Option<TrunkStatus> {
        self.due_at = None;
        let at = way.now.monotonic;
        let was_registered = self.registered_until.take_if(|until| *until <= at).is_some();
        self.tries = Tries::default();
        if self.waiting.is_none() && self.register(way, self.expires_s).is_none() {
            self.try_later(way);
        }
        if was_registered { self.status() } else { None }
    }

    fn target(&self) -> Option<&TrunkTarget> {
        self.targets.get(self.position % self.targets.len().max(1))
    }

    fn register(&mut self, way: &mut Way<'_>, expires_s: u64) -> Option<()> {
        let target = self.target()?.clone();
        let (hop, uri) = (hop_of(&target), uri_of(&target));
        let wires = &mut *way.wires;
        let (call_id, tag) = match self.dialog {
            Some(known) => known,
            None => (SipCallId::new(wires.shard, &mut wires.rng), wires.loose_tag()),
        };
        self.dialog = Some((call_id, tag));
        self.cseq = self.cseq.checked_add(1)?;
        let credentials = self.credentials(wires, uri.as_bytes());
        let contact = format!("<{}>", contact_uri(self.user(), wires, hop));
        let expires = expires_s.to_string();
        let mut headers = vec![(CONTACT, contact.as_bytes()), ("Expires", expires.as_bytes())];
        headers.extend(credentials.iter().map(|(name, value)| (name.name(), &**value)));
        let whom = format!("sip:{}@{}", escaped(self.user()), authority(&target));
        let asking = Asking {
            method: Method::Register,
            target: &target,
            uri: &uri,
            from: &whom,
            to: &whom,
            tag,
            call_id,
            cseq: self.cseq,
        };
        self.waiting = Some((way.ask(&asking, &headers)?, hop));
        Some(())
    }

    /// By our own account: the trunk may have another one by now, or none.
    fn credentials(&self, wires: &mut Wires, uri: &[u8]) -> Lines {
        let Some((account, _)) = &self.account else { return Vec::new() };
        let rng = &mut wires.rng;
        let chance = || rand_core::Rng::next_u64(rng);
        wires.accounts.answers(self.trunk, account, Method::Register, uri, chance)
    }

    pub(super) fn on_response(
        &mut self,
        way: &mut Way<'_>,
        client: ClientId,
        response: &Message,
    ) -> Option<TrunkStatus> {
        let status = response.status().unwrap_or_default();
        if status < 200 {
            return None;
        }
        let (_, hop) = self.waiting.take_if(|(waiting, _)| *waiting == client)?;
        match (self.goal, status) {
            (Goal::Leaving, 200..=299) => {
                self.registered_until = Some(way.now.monotonic);
                self.take_back(way)
            }
            (Goal::Leaving, _) => self.take_back(way),
            (_, 401 | 407) if self.answer(way, hop, response).is_some() => None,
            (Goal::Left, _) => self.forget(),
            (Goal::Known, 200..=299) => self.on_granted(way, hop, response),
            (Goal::Known, 423) => self.on_too_brief(way, response),
            (Goal::Known, _) => {
                self.is_refused = true;
                self.leave_alone(way.now.monotonic, response);
                self.on_refused(way)
            }
        }
    }

    pub(super) fn on_failure(
        &mut self,
        way: &mut Way<'_>,
        client: ClientId,
    ) -> Option<TrunkStatus> {
        self.waiting.take_if(|(waiting, _)| *waiting == client)?;
        if self.goal != Goal::Known {
            return self.forget();
        }
        self.is_refused = false;
        self.on_refused(way)
    }

    fn answer(&mut self, way: &mut Way<'_>, hop: Hop, response: &Message) -> Option<()> {
        let request = Message::parse(way.wires.transactions.take_challenged()?).ok()?;
        let wires = &mut *way.wires;
        let (_, least) = self.account.as_ref()?;
        wires.accounts.learn(self.trunk, *least, response, &mut self.tries)?;
        let credentials = self.credentials(wires, request.request_uri_text());
        self.cseq = self.cseq.checked_add(1)?;
        let branch = wires.new_branch();
        let request = again(&mut wires.out, &request, branch, self.cseq, &credentials);
        let sent = wires.transactions.request(way.now.monotonic, request, hop, way.owner);
        self.waiting = Some((sent.ok()?, hop));
        Some(())
    }

    fn on_granted(
        &mut self,
        way: &mut Way<'_>,
        hop: Hop,
        response: &Message,
    ) -> Option<TrunkStatus> {
        let own = contact_uri(self.user(), way.wires, hop);
        let granted = granted_s(response, &own, hop.transport).unwrap_or(self.expires_s);
        if granted == 0 {
            self.is_refused = true;
            return self.on_refused(way);
        }
        let granted = Duration::from_secs(granted);
        let at = way.now.monotonic;
        (self.failures, self.is_refused, self.was_raised) = (0, false, false);
        let was_registered = self.registered_until.replace(at + granted).is_some();
        // Early enough for a second try before the carrier forgets us.
        self.due_at = Some(at + (granted * 3 / 4).max(REFRESH_MIN));
        if was_registered { None } else { self.status() }
    }

    /// RFC 3261 §10.3: the carrier wants longer registrations. It gets one at once; if that is too
    /// brief as well, a longer one later.
    fn on_too_brief(&mut self, way: &mut Way<'_>, response: &Message) -> Option<TrunkStatus> {
        let least = response.header(HeaderId::MinExpires).and_then(number);
        let least = least.filter(|least| (self.expires_s + 1..=EXPIRES_MAX_S).contains(least));
        self.expires_s = least.unwrap_or(self.expires_s);
        if least.is_none() || self.was_raised {
            self.is_refused = true;
            return self.on_refused(way);
        }
        self.was_raised = true;
        self.due_at = Some(way.now.monotonic);
        None
    }

    /// Somebody may have more to do than it can, and says for how long.
    fn leave_alone(&mut self, at: Instant, response: &Message) {
        let digits = |text: &[u8]| text.iter().take_while(|it| it.is_ascii_digit()).count();
        let asked = response.header(HeaderId::RetryAfter);
        let asked = asked.and_then(|text| number(text.get(..digits(text))?));
        let (Some(asked), Some(target)) = (asked, self.target()) else { return };
        let wait = Duration::from_secs(asked).min(LEFT_ALONE_MAX);
        self.left_alone = Some((target.address, at + wait));
    }

    fn on_refused(&mut self, way: &mut Way<'_>) -> Option<TrunkStatus> {
        way.wires.counters.registrations_failed += 1;
        self.try_later(way);
        let at = way.now.monotonic;
        let is_over = self.registered_until.take_if(|until| *until <= at).is_some();
        if is_over || self.failures == 1 { self.status() } else { None }
    }

    /// Half the wait is by chance, so that many relays do not come back at once (RFC 5626 §4.5).
    fn try_later(&mut self, way: &mut Way<'_>) {
        let doubled = BACKOFF.saturating_mul(1 << self.failures.min(10));
        self.failures = self.failures.saturating_add(1);
        self.position = self.position.wrapping_add(1) % self.targets.len().max(1);
        let longest = doubled.min(BACKOFF_MAX);
        let share = u32::try_from(way.wires.random_u64() % 1_000).unwrap_or(0);
        let due_at = way.now.monotonic + longest / 2 + longest / 2 * share / 1_000;
        // Another target of the carrier may have time.
        let next = self.target().map(|target| target.address);
        let left_alone = self.left_alone.filter(|(target, _)| Some(*target) == next);
        self.due_at = Some(left_alone.map_or(due_at, |(_, until)| due_at.max(until)));
    }
}

/// Where the carrier reaches us as this user.
fn contact_uri(user: &str, wires: &Wires, hop: Hop) -> String {
    let user = escaped(user);
    format!("sip:{user}@{}{}", wires.names.of(hop).host, hop.transport.uri_parameter())
}

/// A user name as it may stand in a URI: it may hold an `@` (RFC 3261 §25.1).
fn escaped(user: &str) -> String {
    let mut escaped = Vec::with_capacity(user.len());
    escape_user(user, &mut escaped);
    String::from_utf8_lossy(&escaped).into_owned()
}

/// For how long the carrier knows us: the `expires` of our own Contact among all that it has for
/// the account (RFC 3261 §10.2.4), else Expires. A single Contact is ours even if the carrier has
/// written it anew; among several of others the soonest end is certain to be no later than ours.
fn granted_s(response: &Message, own: &str, by: Transport) -> Option<u64> {
    let own = Uri::parse(own.as_bytes()).ok()?;
    let mut soonest = None;
    for value in response.values(HeaderId::Contact) {
        let Ok(address) = Address::parse(value) else { continue };
        let expires = address.param("expires").and_then(number);
        if address.parse_uri().is_ok_and(|uri| is_same_place(&uri, &own, by)) {
            soonest = expires;
            break;
        }
        soonest = soonest.into_iter().chain(expires).min();
    }
    soonest.or_else(|| response.expires().map(u64::from)).map(|it| it.min(EXPIRES_MAX_S))
}

/// Parameters do not count: we have one Contact at a trunk, and carriers drop what they do not use.
fn is_same_place(a: &Uri<'_>, b: &Uri<'_>, by: Transport) -> bool {
    let port = |uri: &Uri<'_>| uri.port.unwrap_or(by.default_port());
    a.user == b.user && a.host.eq_ignore_ascii_case(b.host) && port(a) == port(b)
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}
