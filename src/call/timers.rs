//! The timers of all calls of a core: one ordered table, at most one timer of a kind per call.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::place::Serial;

/// What a timer of a call is for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Timer {
    /// The route is late.
    Route,
    /// The ports are late.
    MediaOpen,
    /// The trunk says nothing.
    Failover,
    /// The callee does not answer.
    Ring,
    /// Our 2xx has to be sent to the caller again.
    Answer,
    /// The call has lasted as long as it may.
    Duration,
    /// The last report of the media plane is late.
    MediaClose,
    /// No phone of a fork can answer any more.
    Forks,
}

impl Timer {
    /// The smallest kind, where the timers of a call begin.
    const FIRST: Self = Self::Route;
}

/// Due times, soonest first.
#[derive(Debug, Default)]
pub(super) struct Timers {
    queue: BTreeSet<(Instant, Serial, Timer)>,
    due: BTreeMap<(Serial, Timer), Instant>,
}

impl Timers {
    /// Sets a timer, instead of the one of that kind that was set before.
    pub(super) fn arm(&mut self, call: Serial, timer: Timer, at: Instant) {
        self.disarm(call, timer);
        self.queue.insert((at, call, timer));
        self.due.insert((call, timer), at);
    }

    /// Forgets a timer; nothing happens when it is not set.
    pub(super) fn disarm(&mut self, call: Serial, timer: Timer) {
        if let Some(at) = self.due.remove(&(call, timer)) {
            self.queue.remove(&(at, call, timer));
        }
    }

    /// Forgets all timers of a call.
    pub(super) fn disarm_all(&mut self, call: Serial) {
        let first = (call, Timer::FIRST);
        let after = (Serial(call.0.saturating_add(1)), Timer::FIRST);
        while let Some((&(call, timer), _)) = self.due.range(first..after).next() {
            self.disarm(call, timer);
        }
    }

    /// Takes one timer whose time has come.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<(Serial, Timer)> {
        let (at, call, timer) = *self.queue.first()?;
        if at > now {
            return None;
        }
        self.disarm(call, timer);
        Some((call, timer))
    }

    /// When the next timer is due.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.queue.first().map(|(at, _, _)| *at)
    }

    /// How many are set.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::tests::harness::epoch;
    use std::time::Duration;

    #[test]
    fn timers_come_in_the_order_of_their_times() {
        let t0 = epoch().monotonic;
        let [first, second] = [1, 2].map(Serial);
        let mut timers = Timers::default();
        timers.arm(first, Timer::Ring, t0 + Duration::from_secs(2));
        timers.arm(second, Timer::Route, t0 + Duration::from_secs(1));
        assert_eq!(timers.pop_due(t0), None);
        let late = t0 + Duration::from_secs(9);
        assert_eq!(timers.pop_due(late), Some((second, Timer::Route)));
        assert_eq!(timers.pop_due(late), Some((first, Timer::Ring)));
        assert_eq!((timers.pop_due(late), timers.len()), (None, 0));
    }

    #[test]
    fn a_timer_set_again_comes_once_and_a_forgotten_one_never() {
        let t0 = epoch().monotonic;
        let call = Serial(1);
        let mut timers = Timers::default();
        timers.arm(call, Timer::Answer, t0);
        timers.arm(call, Timer::Answer, t0 + Duration::from_secs(1));
        assert_eq!(timers.next_at(), Some(t0 + Duration::from_secs(1)));
        timers.disarm(call, Timer::Answer);
        assert_eq!((timers.next_at(), timers.len()), (None, 0));
    }
}
