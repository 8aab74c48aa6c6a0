//! When datagrams come fast, several are taken at one waking instead of one each, as network cards
//! do with interrupts: what a message costs is mostly waking up and finding the caches cold. A
//! quiet shard answers at once.

use std::time::{Duration, Instant};

/// How long datagrams are counted before the shard is called busy or quiet.
const WINDOW: Duration = Duration::from_millis(100);
/// Busy from this many datagrams in a window on: 2,500 a second, about 350 two-leg calls.
const BUSY_FROM: usize = 250;

/// Counts what arrives and says how long to let more gather.
#[derive(Debug)]
pub(crate) struct Pace {
    /// A busy shard begins its turns at most this often: a message waits half of it on average.
    /// Peers repeat theirs after 500 ms (RFC 3261 T1), so nobody notices a few.
    turn: Duration,
    window_at: Instant,
    arrived: usize,
    busy: bool,
}

impl Pace {
    /// A quiet shard.
    pub(crate) const fn new(turn: Duration, at: Instant) -> Self {
        Self { turn, window_at: at, arrived: 0, busy: false }
    }

    /// A datagram was taken.
    pub(crate) const fn arrived(&mut self) {
        self.arrived = self.arrived.saturating_add(1);
    }

    /// How long to sleep after a turn: zero when quiet, or when the turn took its whole share.
    pub(crate) fn rest(&mut self, begun: Instant, at: Instant) -> Duration {
        let lasted = at.saturating_duration_since(self.window_at);
        if lasted >= WINDOW {
            self.busy = lasted < 2 * WINDOW && self.arrived >= BUSY_FROM;
            self.arrived = 0;
            self.window_at = at;
        }
        if self.busy { (begun + self.turn).saturating_duration_since(at) } else { Duration::ZERO }
    }
}

/// Nothing that arrives may end it: that is what it is for.
#[expect(clippy::disallowed_methods, reason = "datagrams gather for a time, not for an event")]
pub(crate) fn sleep(time: Duration) {
    if !time.is_zero() {
        std::thread::sleep(time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::now::now;

    const MS: Duration = Duration::from_millis(1);
    const TURN: Duration = Duration::from_millis(2);

    /// So many datagrams in each of so many turns, one a millisecond; the last rest, and when.
    fn after(pace: &mut Pace, mut at: Instant, turns: u32, each: u32) -> (Duration, Instant) {
        let mut rest = Duration::ZERO;
        for _ in 0..turns {
            at += MS;
            (0..each).for_each(|_| pace.arrived());
            rest = pace.rest(at, at);
        }
        (rest, at)
    }

    #[test]
    fn a_quiet_shard_never_lets_a_message_wait() {
        let start = now().monotonic;
        let (rest, _) = after(&mut Pace::new(TURN, start), start, 1_000, 2);
        assert_eq!(rest, Duration::ZERO);
    }

    #[test]
    fn a_busy_shard_begins_a_turn_every_two_milliseconds() {
        let start = now().monotonic;
        let mut pace = Pace::new(TURN, start);
        let (rest, at) = after(&mut pace, start, 150, 3);
        assert_eq!(rest, TURN);
        assert_eq!(pace.rest(at, at + MS), MS);
    }

    #[test]
    fn without_a_turn_nothing_ever_waits() {
        let start = now().monotonic;
        let (rest, _) = after(&mut Pace::new(Duration::ZERO, start), start, 1_000, 3);
        assert_eq!(rest, Duration::ZERO);
    }

    #[test]
    fn a_turn_that_took_its_share_is_followed_by_the_next_at_once() {
        let start = now().monotonic;
        let mut pace = Pace::new(TURN, start);
        let (_, at) = after(&mut pace, start, 150, 3);
        assert_eq!(pace.rest(at, at + TURN), Duration::ZERO);
        assert_eq!(pace.rest(at, at + 5 * TURN), Duration::ZERO);
    }

    #[test]
    fn the_first_message_after_a_lull_does_not_wait() {
        let start = now().monotonic;
        let mut pace = Pace::new(TURN, start);
        let (_, at) = after(&mut pace, start, 199, 3);
        pace.arrived();
        let later = at + Duration::from_secs(5);
        assert_eq!(pace.rest(later, later), Duration::ZERO);
    }
}
