//! RTP ports: random even ones of a range, and back into quarantine after use, so that a new call
//! never hears the peer of an old one.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::time::Duration;

use rand_core::Rng;

use super::time::Moment;

/// A pool of port pairs. Each pair is named by its even port, the one of RTP.
#[derive(Debug)]
pub struct Ports {
    free: Vec<u16>,
    /// In order of release.
    resting: VecDeque<(Moment, u16)>,
    quarantine: Duration,
}

impl Ports {
    /// Every `parts`-th pair of the range, beginning with the `part`-th: each thread has its own.
    #[must_use]
    pub fn new(
        range: &RangeInclusive<u16>,
        quarantine: Duration,
        part: usize,
        parts: usize,
    ) -> Self {
        let first = u32::from(*range.start()).next_multiple_of(2);
        let pairs = (first..u32::from(*range.end())).step_by(2);
        let free: Vec<u16> = pairs
            .skip(part)
            .step_by(parts.max(1))
            .filter_map(|port| u16::try_from(port).ok())
            .filter(|port| *port != 0)
            .collect();
        let resting = VecDeque::with_capacity(free.len());
        Self { free, resting, quarantine }
    }

    /// Takes a random pair that has rested long enough.
    pub fn take(&mut self, now: Moment, rng: &mut impl Rng) -> Option<u16> {
        self.settle(now);
        if self.free.is_empty() {
            return None;
        }
        let at = (u64::from(rng.next_u32()) * self.free.len() as u64) >> 32;
        Some(self.free.swap_remove(at as usize))
    }

    /// Frees the pairs that have rested long enough, so that the counts are those of now.
    pub fn settle(&mut self, now: Moment) {
        while let Some((since, port)) = self.resting.front().copied() {
            if now.since(since) < self.quarantine {
                break;
            }
            self.resting.pop_front();
            self.free.push(port);
        }
    }

    /// Puts a pair into quarantine: its call is over, or somebody else holds it.
    pub fn release(&mut self, now: Moment, port: u16) {
        self.resting.push_back((now, port));
    }

    /// Pairs that can be taken, as of the last call of [`Self::settle`].
    #[must_use]
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// Pairs in quarantine, as of the last call of [`Self::settle`].
    #[must_use]
    pub fn resting(&self) -> usize {
        self.resting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand_chacha::ChaCha8Rng;
    use rand_core::SeedableRng;
    use std::collections::BTreeSet;

    const QUARANTINE: Duration = Duration::from_secs(60);

    fn rng(seed: u64) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(seed)
    }

    fn seconds(s: u64) -> Moment {
        Moment::from_micros(s * 1_000_000)
    }

    #[test]
    fn only_whole_pairs_inside_the_range_are_taken() {
        let mut ports = Ports::new(&(20_001..=20_006), QUARANTINE, 0, 1);
        let mut taken = BTreeSet::new();
        while let Some(port) = ports.take(seconds(0), &mut rng(1)) {
            taken.insert(port);
        }
        assert_eq!(taken, BTreeSet::from([20_002, 20_004]));
    }

    #[test]
    fn the_whole_range_up_to_its_end_can_be_used() {
        let ports = Ports::new(&(65_532..=65_535), QUARANTINE, 0, 1);
        assert_eq!(ports.free(), 2);
    }

    #[test]
    fn threads_share_no_pair() {
        let range = 20_000..=20_099;
        let all: usize = (0..3).map(|part| Ports::new(&range, QUARANTINE, part, 3).free()).sum();
        let pairs: BTreeSet<u16> =
            (0..3).flat_map(|part| Ports::new(&range, QUARANTINE, part, 3).free).collect();
        assert_eq!((all, pairs.len()), (50, 50));
    }

    #[test]
    fn a_used_port_rests_for_the_whole_quarantine() {
        let mut ports = Ports::new(&(20_000..=20_001), QUARANTINE, 0, 1);
        let port = ports.take(seconds(0), &mut rng(1)).expect("the only one");
        ports.release(seconds(10), port);
        assert_eq!(ports.take(seconds(69), &mut rng(1)), None);
        assert_eq!(ports.take(seconds(70), &mut rng(1)), Some(port));
    }

    #[test]
    fn the_order_of_ports_depends_on_chance() {
        let order = |seed| {
            let (mut ports, mut rng) =
                (Ports::new(&(20_000..=29_999), QUARANTINE, 0, 1), rng(seed));
            [0; 8].map(|_| ports.take(seconds(0), &mut rng))
        };
        assert_ne!(order(1), order(2));
        assert_eq!(order(1), order(1));
    }

    /// S17.
    #[test]
    fn a_hundred_thousand_ports_are_spread_over_the_range_and_none_tells_the_next() {
        const COUNT: u32 = 100_000;
        let (mut ports, mut rng) = (Ports::new(&(20_000..=20_199), Duration::ZERO, 0, 1), rng(5));
        let mut taken = vec![0_u32; 100];
        let mut steps = vec![0_u32; 100];
        let mut before = 0;
        for at in 0..COUNT {
            let port = ports.take(seconds(at.into()), &mut rng).expect("one is free");
            ports.release(seconds(at.into()), port);
            let place = usize::from(port - 20_000) / 2;
            taken[place] += 1;
            steps[(100 + place - before) % 100] += 1;
            before = place;
        }
        // A thousand each; six deviations are 190.
        assert!(taken.iter().chain(&steps).all(|count| (810..1_190).contains(count)), "{steps:?}");
    }

    proptest! {
        #[test]
        fn no_port_is_ever_taken_twice_within_the_quarantine(
            steps in proptest::collection::vec((any::<bool>(), 0_u64..20), 1..200),
        ) {
            let mut ports = Ports::new(&(20_000..=20_019), QUARANTINE, 0, 1);
            let (mut rng, mut now) = (rng(3), 0);
            let mut held = Vec::new();
            let mut released: Vec<(u64, u16)> = Vec::new();
            for (take, wait) in steps {
                now += wait;
                if take {
                    if let Some(port) = ports.take(seconds(now), &mut rng) {
                        prop_assert!(!held.contains(&port));
                        let too_early = |(at, old): &(u64, u16)| *old == port && now - at < 60;
                        prop_assert!(!released.iter().any(too_early));
                        held.push(port);
                    }
                } else if let Some(port) = held.pop() {
                    ports.release(seconds(now), port);
                    released.push((now, port));
                }
            }
            prop_assert_eq!(ports.free() + ports.resting() + held.len(), 10);
        }
    }
}
