//! The recorder as the brain sees it: takes records, writes them down a while later, gives credit
//! back.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;

use crate::chance::Chance;

pub(crate) struct Recorder {
    rng: ChaCha8Rng,
    waiting: u32,
    /// Nothing is written down for now.
    pub(crate) stalled: bool,
}

/// A commit takes from 1 to 30 ms.
const COMMIT: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(30));

impl Recorder {
    pub(crate) fn new(rng: ChaCha8Rng) -> Self {
        Self { rng, waiting: 0, stalled: false }
    }

    /// Takes one record; tells when it will be durable.
    pub(crate) fn push(&mut self) -> Duration {
        self.waiting += 1;
        self.rng.between(COMMIT.0, COMMIT.1)
    }

    /// A commit ends. `None` while the disk is stuck: ask again later.
    pub(crate) fn committed(&mut self) -> Option<u32> {
        if self.stalled {
            return None;
        }
        self.waiting -= 1;
        Some(1)
    }

    pub(crate) fn waiting(&self) -> u32 {
        self.waiting
    }
}
