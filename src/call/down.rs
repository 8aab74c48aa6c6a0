//! Which targets of a trunk are down: out after three failures in a row, of questions whether they
//! are there and of calls alike. Those of one subscriber are one failure: a phone that cannot be
//! reached, however often it is called, takes no carrier from everybody else.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::branch::Meaning;
use super::call::Call;
use super::failover::Attempted;
use super::io::{Output, TrunkStatus};
use super::place::Part;
use super::wires::Wires;
use crate::domain::cause::Cause;
use crate::domain::id::{SubscriberId, TrunkId};
use crate::domain::now::Now;
use crate::domain::route::TrunkTarget;

/// Failures in a row that take a target out.
const FAILURES_MAX: usize = 3;
/// How long a call that has failed counts. Who is asked is asked again, and that does not age.
const CALL_COUNTS_MS: u64 = 60_000;
/// How long it stays out where nobody asks whether it is back. Then a call may try it.
const OUT_FOR_MS: u64 = 30_000;
/// No target beyond these is ever down.
const TARGETS_MAX: usize = u32::BITS as usize;

/// Which targets of a trunk are down, by their positions, in all shards.
#[derive(Debug, Default)]
pub struct TargetsDown {
    bits: AtomicU32,
    each: [Mutex<Failures>; TARGETS_MAX],
}

/// The failures of one target since it was last heard.
#[derive(Clone, Debug, Default)]
struct Failures {
    /// Oldest first, and no more than count.
    all: Vec<Failure>,
    /// When the last one was; what fails at one moment has failed for one reason.
    last_ms: u64,
}

#[derive(Clone, Debug)]
struct Failure {
    of: FailureOf,
    at_ms: u64,
}

/// What has not been answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum FailureOf {
    /// A question whether the target is there.
    Probe,
    /// A call to this subscriber, or from there to a desk.
    Call(SubscriberId),
}

impl Failures {
    /// One more. True when these are enough to take the target out.
    fn add(&mut self, of: FailureOf, now_ms: u64) -> bool {
        if std::mem::replace(&mut self.last_ms, now_ms) == now_ms {
            return false;
        }
        let is_same = |old: FailureOf| old == of && of != FailureOf::Probe;
        self.all.retain(|it| it.counts(now_ms) && !is_same(it.of));
        if self.all.len() == FAILURES_MAX {
            self.all.remove(0);
        }
        self.all.push(Failure { of, at_ms: now_ms });
        self.all.len() == FAILURES_MAX
    }

    /// All but one of those that would take the target out, as if they were of now.
    fn all_but_one(&mut self, now_ms: u64) {
        if self.all.len() == FAILURES_MAX {
            self.all.remove(0);
        }
        self.all.iter_mut().for_each(|it| it.at_ms = now_ms);
    }
}

impl Failure {
    const fn counts(&self, now_ms: u64) -> bool {
        matches!(self.of, FailureOf::Probe) || now_ms.abs_diff(self.at_ms) <= CALL_COUNTS_MS
    }
}

impl TargetsDown {
    /// Whether the target of this position is down.
    #[must_use]
    pub fn has(&self, index: usize) -> bool {
        self.bits() & bit(index) != 0
    }

    /// Bits of the targets that are down.
    #[must_use]
    pub fn bits(&self) -> u32 {
        self.bits.load(Ordering::Relaxed)
    }

    /// The target has failed. True when that takes it out.
    pub(super) fn fail(&self, index: usize, of: FailureOf, now_ms: u64) -> bool {
        let Some(failures) = self.each.get(index) else { return false };
        let is_enough = lock(failures).add(of, now_ms);
        is_enough && self.bits.fetch_or(bit(index), Ordering::Relaxed) & bit(index) == 0
    }

    /// The target is there.
    pub(super) fn heard(&self, index: usize) {
        self.each.get(index).into_iter().for_each(|failures| lock(failures).all.clear());
    }

    /// The target has been heard for long enough.
    pub(super) fn bring_back(&self, index: usize) {
        self.bits.fetch_and(!bit(index), Ordering::Relaxed);
    }

    /// Lets calls try again what nobody asks: the next failure takes it out once more. True when
    /// there is such a target.
    fn try_again(&self, now_ms: u64) -> bool {
        let mut is_any = false;
        for (index, failures) in self.each.iter().enumerate() {
            if !self.has(index) {
                continue;
            }
            let mut failures = lock(failures);
            if now_ms.abs_diff(failures.last_ms) >= OUT_FOR_MS {
                failures.all_but_one(now_ms);
                self.bring_back(index);
                is_any = true;
            }
        }
        is_any
    }

    /// What is known of targets that were at these positions before.
    pub(super) fn moved(&self, before: &[Option<usize>]) -> Self {
        let new = Self::default();
        for (index, (before, failures)) in before.iter().zip(&new.each).enumerate() {
            let Some(before) = *before else { continue };
            let Some(old) = self.each.get(before) else { continue };
            lock(failures).clone_from(&lock(old));
            if self.has(before) {
                new.bits.fetch_or(bit(index), Ordering::Relaxed);
            }
        }
        new
    }
}

fn lock(failures: &Mutex<Failures>) -> MutexGuard<'_, Failures> {
    failures.lock().unwrap_or_else(PoisonError::into_inner)
}

const fn bit(index: usize) -> u32 {
    if index < TARGETS_MAX { 1 << index } else { 0 }
}

impl Wires {
    /// Lets calls try what is down where no questions bring it back.
    pub(super) fn try_again_what_is_down(&mut self, now: Now, targets: &[TrunkTarget]) {
        if !self.config.probe_interval.is_zero() {
            return;
        }
        for TrunkTarget { trunk, .. } in targets {
            let Some(terms) = self.accounts.terms(*trunk) else { continue };
            if terms.down.bits() != 0 && terms.down.try_again(now.unix_ms()) {
                self.tell_down(*trunk);
            }
        }
    }

    fn note_failure(&mut self, now: Now, target: &TrunkTarget, of: FailureOf) {
        let Some(terms) = self.accounts.terms(target.trunk) else { return };
        let index = terms.targets.iter().position(|it| it.item == *target);
        if index.is_some_and(|index| terms.down.fail(index, of, now.unix_ms())) {
            self.tell_down(target.trunk);
        }
    }

    fn note_heard(&self, target: &TrunkTarget) {
        let Some(terms) = self.accounts.terms(target.trunk) else { return };
        let index = terms.targets.iter().position(|it| it.item == *target);
        index.into_iter().for_each(|index| terms.down.heard(index));
    }

    fn tell_down(&mut self, trunk: TrunkId) {
        let Some(terms) = self.accounts.terms(trunk) else { return };
        let status = TrunkStatus::Targets { trunk, down: terms.down.bits() };
        self.outputs.push_back(Output::TrunkStatus(status));
    }
}

impl Call {
    /// What the answer to the INVITE of a branch, or its failure, says of the target.
    pub(super) fn judge_target(&self, wires: &mut Wires, now: Now, part: Part, meaning: &Meaning) {
        let Some(branch) = self.branches.iter().find(|branch| branch.part() == part) else {
            return;
        };
        match meaning {
            Meaning::Failed(
                Attempted::Silent | Attempted::Unreachable | Attempted::Status(503),
            ) => {
                if let Some(subscriber) = self.subscriber() {
                    wires.note_failure(now, branch.target(), FailureOf::Call(subscriber));
                }
            }
            Meaning::Answered | Meaning::Ringing | Meaning::Failed(Attempted::Status(_)) => {
                wires.note_heard(branch.target());
            }
            Meaning::Nothing | Meaning::Progress | Meaning::Failed(Attempted::Full) => {}
        }
    }

    /// Nobody wants an answer of the target that was asked last: for some causes, since nothing has
    /// come from there for as long as that is waited for.
    pub(super) fn drop_target(&mut self, wires: &mut Wires, now: Now, cause: Cause) {
        let Some(branch) = self.branches.last() else { return };
        if let Some(subscriber) = self.subscriber()
            && cause == Cause::TrunkFailed
            && branch.is_awaited()
        {
            wires.note_failure(now, branch.target(), FailureOf::Call(subscriber));
        }
        let branch = self.branches.last_mut();
        branch.into_iter().for_each(|branch| branch.drop_it(wires, now.monotonic, cause));
    }

    fn subscriber(&self) -> Option<SubscriberId> {
        self.record()?.known().subscriber
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A call of this subscriber fails at this moment.
    fn fail(down: &TargetsDown, index: usize, subscriber: u128, now_ms: u64) -> bool {
        down.fail(index, FailureOf::Call(SubscriberId::from_u128(subscriber)), now_ms)
    }

    #[test]
    fn three_failures_in_a_row_take_a_target_out_and_what_fails_at_once_is_one() {
        let down = TargetsDown::default();
        assert!((0..10).all(|subscriber| !fail(&down, 1, subscriber, 1_000)), "of one moment");
        assert!(!fail(&down, 1, 11, 1_001));
        down.heard(1);
        assert!(!fail(&down, 1, 12, 1_002) && !fail(&down, 1, 13, 1_003));
        assert!(fail(&down, 1, 14, 1_004) && !fail(&down, 1, 15, 1_005), "said once");
        assert_eq!((down.bits(), down.has(1), down.has(0)), (2, true, false));
        assert!((0..10).all(|at| !fail(&down, TARGETS_MAX, 0, at)), "no bit is left for it");
        assert_eq!(down.moved(&[None, None, Some(1)]).bits(), 4);
    }

    #[test]
    fn calls_of_one_subscriber_are_one_failure_however_many_there_are() {
        let down = TargetsDown::default();
        assert!((1..100).all(|at| !fail(&down, 0, 1, at)));
        assert!((100..200).all(|at| !fail(&down, 0, 2 - u128::from(at % 2), at)), "two of them");
        let moved = down.moved(&[Some(0)]);
        assert!(!fail(&moved, 0, 1, 200), "it is known by the next book, too");
        assert!(fail(&moved, 0, 3, 201));
    }

    #[test]
    fn a_call_that_failed_long_ago_counts_no_more_and_a_probe_does() {
        let down = TargetsDown::default();
        let late = CALL_COUNTS_MS + 2;
        assert!(!fail(&down, 0, 1, 1) && !fail(&down, 0, 2, 1_000) && !fail(&down, 0, 3, late));
        assert!(fail(&down, 0, 4, late + 1));
        let probe = |at| down.fail(1, FailureOf::Probe, at);
        assert!(!probe(1) && !probe(late) && probe(2 * late));
    }

    #[test]
    fn whom_nobody_asks_may_be_tried_after_a_while_and_fails_but_once() {
        let down = TargetsDown::default();
        (1..=3).for_each(|at| _ = fail(&down, 0, at.into(), at));
        assert!(!down.try_again(OUT_FOR_MS + 2) && down.has(0));
        let much_later = 2 * CALL_COUNTS_MS;
        assert!(down.try_again(much_later) && !down.has(0));
        assert!(!fail(&down, 0, 3, much_later + 1), "it has counted");
        assert!(fail(&down, 0, 4, much_later + 2));
        assert!(down.try_again(0), "the clock was set back");
    }
}
