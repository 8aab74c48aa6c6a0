//! Asks one target of a trunk by OPTIONS whether it is there: out after three failures, back after
//! two good answers that are far enough apart.

use std::time::{Duration, Instant};

use super::errands::{Asking, Way};
use super::io::TrunkStatus;
use super::names::{hop_of, uri_of};
use crate::domain::route::TrunkTarget;
use crate::sip::ids::SipCallId;
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::transaction::ClientId;

/// Failures in a row that take a target out.
const FAILURES_MAX: u8 = 3;
/// How long at least the good answers that bring it back have to span.
const GOOD_FOR: Duration = Duration::from_secs(30);
/// An answer that comes later is none.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);

/// The questions to one target.
#[derive(Debug)]
pub(super) struct Probe {
    target: TrunkTarget,
    index: u8,
    every: Duration,
    waiting: Option<ClientId>,
    failures: u8,
    /// The first good answer since it went out. Whether it is out, its trunk knows.
    good_since: Option<Instant>,
    due_at: Instant,
}

impl Probe {
    /// One whose first question is due after a share of the time between two.
    pub(super) fn new(target: TrunkTarget, index: u8, every: Duration, due_at: Instant) -> Self {
        Self { target, index, every, waiting: None, failures: 0, good_since: None, due_at }
    }

    /// Asks the same target as another one, and as often.
    pub(super) fn is_of(&self, other: &Self) -> bool {
        (&self.target, self.every) == (&other.target, other.every)
    }

    /// The target has another position among those of its trunk.
    pub(super) const fn move_to(&mut self, new: &Self) {
        self.index = new.index;
    }

    #[expect(clippy::unnecessary_wraps, reason = "as all errands have it")]
    pub(super) const fn due_at(&self) -> Option<Instant> {
        Some(self.due_at)
    }

    /// The time has come to ask, or an answer is late.
    pub(super) fn on_timer(&mut self, way: &mut Way<'_>) -> Option<TrunkStatus> {
        let at = way.now.monotonic;
        if self.waiting.take().is_some() {
            self.due_at = at + self.every.saturating_sub(ANSWER_WITHIN);
            return self.fail(way);
        }
        self.due_at = at + ANSWER_WITHIN;
        self.waiting = self.ask(way);
        None
    }

    fn ask(&self, way: &mut Way<'_>) -> Option<ClientId> {
        let wires = &mut *way.wires;
        let tag = wires.loose_tag();
        let call_id = SipCallId::new(wires.shard, &mut wires.rng);
        let uri = uri_of(&self.target);
        let from = format!("sip:{}", wires.names.of(hop_of(&self.target)).host);
        let asking = Asking {
            method: Method::Options,
            target: &self.target,
            uri: &uri,
            from: &from,
            to: &uri,
            tag,
            call_id,
            cseq: 1,
        };
        way.ask(&asking, &[])
    }

    pub(super) fn on_response(
        &mut self,
        way: &mut Way<'_>,
        client: ClientId,
        response: &Message,
    ) -> Option<TrunkStatus> {
        let status = response.status().filter(|status| *status >= 200)?;
        self.waiting.take_if(|waiting| *waiting == client)?;
        self.due_at = way.now.monotonic + self.every;
        // Whatever else it says, somebody is there.
        if matches!(status, 408 | 503) { self.fail(way) } else { self.succeed(way) }
    }

    pub(super) fn on_failure(
        &mut self,
        way: &mut Way<'_>,
        client: ClientId,
    ) -> Option<TrunkStatus> {
        self.waiting.take_if(|waiting| *waiting == client)?;
        self.due_at = way.now.monotonic + self.every;
        self.fail(way)
    }

    fn fail(&mut self, way: &Way<'_>) -> Option<TrunkStatus> {
        self.failures = self.failures.saturating_add(1);
        self.good_since = None;
        let is_enough = self.failures >= FAILURES_MAX && !self.is_down(way)?;
        if is_enough { self.tell(way, true) } else { None }
    }

    fn succeed(&mut self, way: &Way<'_>) -> Option<TrunkStatus> {
        self.failures = 0;
        if !self.is_down(way)? {
            return None;
        }
        let at = way.now.monotonic;
        let is_good = at >= *self.good_since.get_or_insert(at) + GOOD_FOR;
        if is_good { self.tell(way, false) } else { None }
    }

    fn is_down(&self, way: &Way<'_>) -> Option<bool> {
        let terms = way.wires.accounts.terms(self.target.trunk)?;
        Some(terms.down.has(usize::from(self.index)))
    }

    fn tell(&mut self, way: &Way<'_>, is_down: bool) -> Option<TrunkStatus> {
        self.good_since = None;
        let trunk = self.target.trunk;
        let down = &way.wires.accounts.terms(trunk)?.down;
        down.set(usize::from(self.index), is_down);
        Some(TrunkStatus::Targets { trunk, down: down.bits() })
    }
}
