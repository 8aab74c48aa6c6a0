//! Asks one target of a trunk by OPTIONS whether it is there. Failures count beside those of calls;
//! two good answers that are far enough apart bring it back.

use std::time::{Duration, Instant};

use super::down::{FailureOf, TargetsDown};
use super::errands::{Asking, Way};
use super::io::TrunkStatus;
use super::names::{hop_of, uri_of};
use crate::domain::route::TrunkTarget;
use crate::sip::ids::SipCallId;
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::transaction::ClientId;

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
    /// The first good answer since it went out. Whether it is out, its trunk knows.
    good_since: Option<Instant>,
    due_at: Instant,
}

impl Probe {
    /// One whose first question is due after a share of the time between two.
    pub(super) fn new(target: TrunkTarget, index: u8, every: Duration, due_at: Instant) -> Self {
        Self { target, index, every, waiting: None, good_since: None, due_at }
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
        self.good_since = None;
        let down = &way.wires.accounts.terms(self.target.trunk)?.down;
        let is_out = down.fail(usize::from(self.index), FailureOf::Probe, way.now.unix_ms());
        is_out.then(|| self.status(down))
    }

    fn succeed(&mut self, way: &Way<'_>) -> Option<TrunkStatus> {
        let (index, at) = (usize::from(self.index), way.now.monotonic);
        let down = &way.wires.accounts.terms(self.target.trunk)?.down;
        down.heard(index);
        if !down.has(index) {
            return None;
        }
        if at < *self.good_since.get_or_insert(at) + GOOD_FOR {
            return None;
        }
        self.good_since = None;
        down.bring_back(index);
        Some(self.status(down))
    }

    fn status(&self, down: &TargetsDown) -> TrunkStatus {
        TrunkStatus::Targets { trunk: self.target.trunk, down: down.bits() }
    }
}
