//! Chance from the seed: one generator per part of the world, so that a change of one part does not
//! shift the dice of all others.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// A generator for one part of the world of one seed.
pub(crate) fn dice(seed: u64, part: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ part)
}

/// The few draws that the simulation needs.
pub(crate) trait Chance: Rng {
    /// Below `bound`; 0 when the bound is 0.
    fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next_u64() % bound }
    }

    /// True so many times in a thousand. It draws even when the answer is certain, so that the
    /// later draws do not depend on it.
    fn permille(&mut self, times: u32) -> bool {
        self.below(1_000) < u64::from(times)
    }

    /// A duration from `least` to `most`.
    fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let span = most.saturating_sub(least).as_micros();
        least + Duration::from_micros(self.below(u64::try_from(span).unwrap_or(0) + 1))
    }

    /// One of these.
    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        let index = self.below(choices.len() as u64);
        choices[usize::try_from(index).expect("an index into a slice")]
    }
}

impl<R: Rng> Chance for R {}
