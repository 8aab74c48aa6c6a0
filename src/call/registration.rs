//! Our registration at a carrier that wants one: refreshed in time, answered with our account when
//! it is challenged, and tried again ever slower when it fails.

use std::time::{Duration, Instant};

use super::egress::CONTACT;
use super::errands::Way;
use super::io::TrunkStatus;
use super::names::hop_of;
use super::trunks::TrunkTerms;
use crate::domain::id::TrunkId;
use crate::domain::route::TrunkTarget;
use crate::sip::address::Address;
use crate::sip::header::HeaderId;
use crate::sip::ids::{SipCallId, Tag};
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::timers::MAX_FORWARDS;
use crate::sip::transaction::ClientId;
use crate::sip::write::{RequestHead, RequestWriter, again};

/// The first wait after a failure; each later one is twice as long, up to the maximum.
const BACKOFF: Duration = Duration::from_secs(30);
const BACKOFF_MAX: Duration = Duration::from_secs(30 * 60);
/// The longest registration that a carrier may demand with a 423.
const EXPIRES_MAX_S: u64 = 86_400;
/// A registration is never refreshed more often than this, however short the carrier grants it.
const REFRESH_MIN: Duration = Duration::from_secs(15);
/// How often one registration is challenged before it counts as failed.
const CHALLENGES_MAX: u8 = 2;

/// One registration. `Debug` does not show as whom.
pub(super) struct Registration {
    trunk: TrunkId,
    user: Box<str>,
    targets: Vec<TrunkTarget>,
    expires_s: u64,
    /// What all its requests share, and the number of the last one.
    dialog: Option<(SipCallId, Tag)>,
    cseq: u32,
    waiting: Option<ClientId>,
    challenged: u8,
    failures: u32,
    /// Until when the carrier knows us.
    registered_until: Option<Instant>,
    due_at: Option<Instant>,
}

impl std::fmt::Debug for Registration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let is_registered = self.registered_until.is_some();
        write!(f, "Registration({}, registered: {is_registered})", self.trunk)
    }
}

impl Registration {
    /// One that begins now.
    pub(super) fn new(trunk: TrunkId, terms: &TrunkTerms, expires: Duration, now: Instant) -> Self {
        let user = terms.account.as_ref().map(|(account, _)| account.user.clone());
        Self {
            trunk,
            user: user.unwrap_or_default(),
            targets: terms.targets.iter().map(|it| it.item).collect(),
            expires_s: expires.as_secs(),
            dialog: None,
            cseq: 0,
            waiting: None,
            challenged: 0,
            failures: 0,
            registered_until: None,
            due_at: Some(now),
        }
    }

    pub(super) const fn due_at(&self) -> Option<Instant> {
        self.due_at
    }

    /// The trunk has changed: registers anew if that concerns us.
    pub(super) fn follow(&mut self, new: Self) {
        let is_same =
            self.user == new.user && self.targets == new.targets && self.expires_s >= new.expires_s;
        // A password that was wrong may be right now.
        if !is_same || self.registered_until.is_none() {
            let dialog = self.dialog.take();
            *self = Self { dialog, cseq: self.cseq, ..new };
        }
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
        self.challenged = 0;
        if self.waiting.is_none() && self.register(way).is_none() {
            self.try_later(way);
        }
        if was_registered { self.status() } else { None }
    }

    fn target(&self) -> Option<&TrunkTarget> {
        let position = self.failures as usize % self.targets.len().max(1);
        self.targets.get(position)
    }

    fn register(&mut self, way: &mut Way<'_>) -> Option<()> {
        let hop = hop_of(self.target()?);
        let wires = &mut *way.wires;
        let (call_id, tag) = match self.dialog {
            Some(known) => known,
            None => (SipCallId::new(wires.shard, &mut wires.rng), wires.loose_tag()),
        };
        self.dialog = Some((call_id, tag));
        self.cseq = self.cseq.checked_add(1)?;
        let parameter = hop.transport.uri_parameter();
        let uri = format!("sip:{}{parameter}", hop.address);
        let to = format!("<sip:{}@{}>", self.user, hop.address);
        let from = format!("{to};tag={tag}", tag = tag.as_str());
        let credentials = wires.credentials(self.trunk, Method::Register, uri.as_bytes());
        let branch = wires.new_branch();
        let own = wires.names.of(hop);
        let contact = format!("<sip:{}@{}{parameter}>", self.user, own.host);
        let head = RequestHead {
            method: Method::Register,
            uri: uri.as_bytes(),
            sent_by: &own.sent_by,
            branch,
            max_forwards: MAX_FORWARDS,
            routes: &[],
            from: from.as_bytes(),
            to: to.as_bytes(),
            call_id: call_id.as_bytes(),
            cseq: self.cseq,
        };
        let mut request = RequestWriter::start(&mut wires.out, &head)
            .header(CONTACT, contact)
            .header("Expires", self.expires_s.to_string());
        if let Some((name, value)) = credentials {
            request = request.header(name.name(), value);
        }
        let request = request.finish();
        let sent = wires.transactions.request(way.now.monotonic, request, hop, way.owner);
        self.waiting = Some(sent.ok()?);
        Some(())
    }

    pub(super) fn on_response(
        &mut self,
        way: &mut Way<'_>,
        client: ClientId,
        response: &Message,
    ) -> Option<TrunkStatus> {
        let status = response.status().unwrap_or_default();
        if self.waiting != Some(client) || status < 200 {
            return None;
        }
        self.waiting = None;
        match status {
            200..=299 => self.on_granted(way, response),
            401 | 407 if self.answer(way, response).is_some() => None,
            423 => self.on_too_brief(way, response),
            _ => self.on_refused(way),
        }
    }

    pub(super) fn on_failure(
        &mut self,
        way: &mut Way<'_>,
        client: ClientId,
    ) -> Option<TrunkStatus> {
        self.waiting.take_if(|waiting| *waiting == client)?;
        self.on_refused(way)
    }

    fn answer(&mut self, way: &mut Way<'_>, response: &Message) -> Option<()> {
        let request = Message::parse(way.wires.transactions.take_challenged()?).ok()?;
        let hop = hop_of(self.target()?);
        let wires = &mut *way.wires;
        if self.challenged >= CHALLENGES_MAX {
            return None;
        }
        wires.accounts.learn(self.trunk, response, self.challenged)?;
        self.challenged += 1;
        let uri = request.request_uri_text();
        let (name, value) = wires.credentials(self.trunk, Method::Register, uri)?;
        self.cseq = self.cseq.checked_add(1)?;
        let branch = wires.new_branch();
        let request = again(&mut wires.out, &request, branch, self.cseq, (name, &value));
        let sent = wires.transactions.request(way.now.monotonic, request, hop, way.owner);
        self.waiting = Some(sent.ok()?);
        Some(())
    }

    fn on_granted(&mut self, way: &Way<'_>, response: &Message) -> Option<TrunkStatus> {
        let granted = Duration::from_secs(granted_s(response).unwrap_or(self.expires_s));
        let at = way.now.monotonic;
        self.failures = 0;
        let was_registered = self.registered_until.replace(at + granted).is_some();
        // Early enough for a second try before the carrier forgets us.
        self.due_at = Some(at + (granted * 3 / 4).max(REFRESH_MIN));
        if was_registered { None } else { self.status() }
    }

    /// RFC 3261 §10.3: the carrier wants longer registrations.
    fn on_too_brief(&mut self, way: &mut Way<'_>, response: &Message) -> Option<TrunkStatus> {
        let least = response.header(HeaderId::MinExpires).and_then(number);
        match least.filter(|least| (self.expires_s + 1..=EXPIRES_MAX_S).contains(least)) {
            Some(least) => {
                self.expires_s = least;
                self.due_at = Some(way.now.monotonic);
                None
            }
            None => self.on_refused(way),
        }
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
        let longest = doubled.min(BACKOFF_MAX);
        let share = u32::try_from(way.wires.random_u64() % 1_000).unwrap_or(0);
        let wait = longest / 2 + longest / 2 * share / 1_000;
        self.due_at = Some(way.now.monotonic + wait);
    }
}

/// For how long the carrier knows us: the `expires` of our Contact, else Expires.
fn granted_s(response: &Message) -> Option<u64> {
    let contact = response.values(HeaderId::Contact).find_map(|value| {
        let address = Address::parse(value).ok()?;
        number(address.param("expires")?)
    });
    contact.or_else(|| response.expires().map(u64::from)).map(|it| it.min(EXPIRES_MAX_S))
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}
