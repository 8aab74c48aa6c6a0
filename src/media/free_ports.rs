//! How many port pairs are free, as each media thread last saw it; for readiness.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::rtp::ports::Ports;
use crate::rtp::time::Moment;

/// Port pairs of the whole plane.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct FreePorts {
    /// Those that a new call can take.
    pub free: usize,
    /// All of the range.
    pub all: usize,
}

/// What one thread has seen. Only that thread writes.
#[derive(Debug)]
pub(super) struct PortsSeen {
    all: usize,
    quarantine: Duration,
    free: AtomicUsize,
    resting: AtomicUsize,
    at_micros: AtomicU64,
}

impl PortsSeen {
    pub(super) fn new(ports: &Ports, quarantine: Duration) -> Arc<Self> {
        Arc::new(Self {
            all: ports.free(),
            quarantine,
            free: AtomicUsize::new(ports.free()),
            resting: AtomicUsize::new(0),
            at_micros: AtomicU64::new(0),
        })
    }

    pub(super) fn write(&self, now: Moment, ports: &Ports) {
        self.free.store(ports.free(), Ordering::Relaxed);
        self.resting.store(ports.resting(), Ordering::Relaxed);
        self.at_micros.store(now.micros(), Ordering::Relaxed);
    }

    /// A thread that has nothing to do does not look at its ports: what rested when it last looked
    /// has rested long enough after one quarantine.
    pub(super) fn read(&self, now: Moment) -> FreePorts {
        let seen_at = Moment::from_micros(self.at_micros.load(Ordering::Relaxed));
        let rested = now.since(seen_at) >= self.quarantine;
        let resting = if rested { self.resting.load(Ordering::Relaxed) } else { 0 };
        FreePorts { free: self.free.load(Ordering::Relaxed) + resting, all: self.all }
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_core::SeedableRng as _;

    use super::*;

    #[test]
    fn ports_in_quarantine_count_again_when_it_is_over_though_nobody_looks() {
        let second = |s: u64| Moment::from_micros(s * 1_000_000);
        let quarantine = Duration::from_secs(60);
        let mut ports = Ports::new(&(20_000..=20_007), quarantine, 0, 1);
        let seen = PortsSeen::new(&ports, quarantine);
        assert_eq!(seen.read(second(0)), FreePorts { free: 4, all: 4 });
        let port = ports.take(second(1), &mut ChaCha8Rng::seed_from_u64(1)).expect("a port");
        ports.release(second(2), port);
        seen.write(second(2), &ports);
        assert_eq!(seen.read(second(61)), FreePorts { free: 3, all: 4 });
        assert_eq!(seen.read(second(62)), FreePorts { free: 4, all: 4 });
    }
}
