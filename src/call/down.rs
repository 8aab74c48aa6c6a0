//! Which targets of a trunk are down: out after three failures in a row, of questions whether they
//! are there and of calls alike.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use super::branch::Meaning;
use super::call::Call;
use super::failover::Attempted;
use super::io::{Output, TrunkStatus};
use super::place::Part;
use super::wires::Wires;
use crate::domain::cause::Cause;
use crate::domain::id::TrunkId;
use crate::domain::now::Now;
use crate::domain::route::TrunkTarget;

/// Failures in a row that take a target out.
const FAILURES_MAX: u8 = 3;
/// How long it stays out where nobody asks whether it is back. Then a call may try it.
const OUT_FOR_MS: u64 = 30_000;
/// No target beyond these is ever down.
const TARGETS_MAX: usize = u32::BITS as usize;

/// Which targets of a trunk are down, by their positions, in all shards.
#[derive(Debug, Default)]
pub struct TargetsDown {
    bits: AtomicU32,
    each: [Failures; TARGETS_MAX],
}

/// The failures of one target since it was last heard.
#[derive(Debug, Default)]
struct Failures {
    count: AtomicU8,
    /// When the last one was; what fails at one moment has failed for one reason.
    last_ms: AtomicU64,
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
    pub(super) fn fail(&self, index: usize, now_ms: u64) -> bool {
        let Some(failures) = self.each.get(index) else { return false };
        if failures.last_ms.swap(now_ms, Ordering::Relaxed) == now_ms {
            return false;
        }
        let more = |count: u8| Some(count.saturating_add(1));
        let before = failures.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        let is_enough = before.unwrap_or_else(|count| count) >= FAILURES_MAX - 1;
        is_enough && self.bits.fetch_or(bit(index), Ordering::Relaxed) & bit(index) == 0
    }

    /// The target is there.
    pub(super) fn heard(&self, index: usize) {
        let failures = self.each.get(index).filter(|it| it.count.load(Ordering::Relaxed) > 0);
        failures.into_iter().for_each(|it| it.count.store(0, Ordering::Relaxed));
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
            let out_for = now_ms.abs_diff(failures.last_ms.load(Ordering::Relaxed));
            if self.has(index) && out_for >= OUT_FOR_MS {
                failures.count.store(FAILURES_MAX - 1, Ordering::Relaxed);
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
            failures.count.store(old.count.load(Ordering::Relaxed), Ordering::Relaxed);
            failures.last_ms.store(old.last_ms.load(Ordering::Relaxed), Ordering::Relaxed);
            if self.has(before) {
                new.bits.fetch_or(bit(index), Ordering::Relaxed);
            }
        }
        new
    }
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

    fn note_failure(&mut self, now: Now, target: &TrunkTarget) {
        let Some(terms) = self.accounts.terms(target.trunk) else { return };
        let index = terms.targets.iter().position(|it| it.item == *target);
        if index.is_some_and(|index| terms.down.fail(index, now.unix_ms())) {
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
            ) => wires.note_failure(now, branch.target()),
            Meaning::Answered | Meaning::Ringing | Meaning::Failed(Attempted::Status(_)) => {
                wires.note_heard(branch.target());
            }
            Meaning::Nothing | Meaning::Progress | Meaning::Failed(Attempted::Full) => {}
        }
    }

    /// Nobody wants an answer of the target that was asked last: for some causes, since nothing has
    /// come from there for as long as that is waited for.
    pub(super) fn drop_target(&mut self, wires: &mut Wires, now: Now, cause: Cause) {
        let Some(branch) = self.branches.last_mut() else { return };
        if cause == Cause::TrunkFailed && branch.is_awaited() {
            wires.note_failure(now, branch.target());
        }
        branch.drop_it(wires, now.monotonic, cause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_failures_in_a_row_take_a_target_out_and_what_fails_at_once_is_one() {
        let down = TargetsDown::default();
        assert!((0..10).all(|_| !down.fail(1, 1_000)), "of one moment");
        assert!(!down.fail(1, 1_001));
        down.heard(1);
        assert!(!down.fail(1, 1_002) && !down.fail(1, 1_003));
        assert!(down.fail(1, 1_004) && !down.fail(1, 1_005), "said once");
        assert_eq!((down.bits(), down.has(1), down.has(0)), (2, true, false));
        assert!((0..10).all(|at| !down.fail(TARGETS_MAX, at)), "no bit is left for it");
        assert_eq!(down.moved(&[None, None, Some(1)]).bits(), 4);
    }

    #[test]
    fn whom_nobody_asks_may_be_tried_after_a_while_and_fails_but_once() {
        let down = TargetsDown::default();
        (1..=3).for_each(|at| _ = down.fail(0, at));
        assert!(!down.try_again(OUT_FOR_MS + 2) && down.has(0));
        assert!(down.try_again(OUT_FOR_MS + 3) && !down.has(0));
        assert!(down.fail(0, OUT_FOR_MS + 4));
        assert!(down.try_again(0), "the clock was set back");
    }
}
