//! The brain of one shard: every input goes in here, every output comes out of here.

use std::collections::VecDeque;
use std::time::Instant;

use rand_chacha::ChaCha20Rng;

use super::config::CallConfig;
use super::counters::{Counters, Occupancy};
use super::io::{Input, Output};
use crate::domain::now::Now;

/// Couples the legs of all calls of one shard. After every [`Self::handle_input`], drain [`Self::poll_output`], then
/// sleep until [`Self::poll_timeout`].
#[derive(Debug)]
pub struct CallCore {
    config: CallConfig,
    rng: ChaCha20Rng,
    counters: Counters,
    outputs: VecDeque<Output>,
}

impl CallCore {
    /// An idle brain. `rng` is the only source of chance: the same seed and inputs give the same outputs.
    #[must_use]
    pub fn new(config: CallConfig, rng: ChaCha20Rng) -> Self {
        Self { config, rng, counters: Counters::default(), outputs: VecDeque::new() }
    }

    /// Takes one input. Never fails: what a peer sends is at worst a counter, a 4xx or silence.
    pub fn handle_input(&mut self, now: Now, input: Input) {
        let _ = (now, input, &self.config, &mut self.rng);
    }

    /// What the shell has to do next; `None` until the next input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Input::Timeout`] is due; `None` while nothing waits.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// What has been counted so far.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// How much state is held.
    #[must_use]
    pub fn occupancy(&self) -> Occupancy {
        Occupancy::default()
    }
}
