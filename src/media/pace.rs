//! When a busy thread pauses. Above some rate it is cheaper to let packets gather for a moment and
//! take them in one round; below it, a pause would only delay them.

use std::time::Duration;

use crate::rtp::time::Moment;

/// Packets a second above which a thread pauses.
const RATE_MIN: u64 = 50_000;
/// The pause after a round.
const PAUSE: Duration = Duration::from_micros(250);
/// How long the rate is measured before it counts.
const WINDOW: Duration = Duration::from_millis(100);
/// A round that brought this many has gathered enough.
const ROUND_FULL: u64 = 256;

/// Measures the rate of one thread.
#[derive(Debug, Default)]
pub(super) struct Pace {
    window_began: Moment,
    packets: u64,
    is_busy: bool,
}

impl Pace {
    /// How long to pause after a round of so many packets.
    pub(super) fn after_round(&mut self, now: Moment, packets: u64) -> Option<Duration> {
        self.packets += packets;
        let lasted = now.since(self.window_began);
        if lasted >= WINDOW {
            let micros = u64::try_from(lasted.as_micros()).unwrap_or(u64::MAX);
            self.is_busy = self.packets.saturating_mul(1_000_000) / micros >= RATE_MIN;
            self.window_began = now;
            self.packets = 0;
        }
        (self.is_busy && packets < ROUND_FULL).then_some(PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rounds of one millisecond; whether the last one is followed by a pause.
    fn pauses(pace: &mut Pace, from_ms: u64, rounds: u64, packets: u64) -> bool {
        let round = |ms| pace.after_round(Moment::from_micros(ms * 1000), packets).is_some();
        (from_ms..from_ms + rounds).map(round).last().expect("rounds")
    }

    #[test]
    fn a_thread_pauses_only_while_it_is_busy() {
        let mut pace = Pace::default();
        assert!(!pauses(&mut pace, 1, 300, 49));
        assert!(pauses(&mut pace, 301, 300, 51));
        assert!(!pauses(&mut pace, 601, 300, 49));
    }

    #[test]
    fn a_full_round_needs_no_pause() {
        let mut pace = Pace::default();
        assert!(!pauses(&mut pace, 1, 300, 400));
    }

    #[test]
    fn a_burst_after_idling_is_not_delayed() {
        let mut pace = Pace::default();
        assert!(!pauses(&mut pace, 1, 10, 51));
    }
}
