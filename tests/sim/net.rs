//! The network between the phones and the relay: delay, loss, repeats and reordering, all from the
//! seed; and losses told by name, for stories.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;

use crate::chance::Chance;

/// How good a network is, one way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quality {
    /// The shortest way.
    pub(crate) delay_min: Duration,
    /// The longest way of a datagram that is not held up.
    pub(crate) delay_max: Duration,
    /// Of a thousand datagrams, so many never arrive.
    pub(crate) lost_permille: u32,
    /// So many arrive twice.
    pub(crate) repeated_permille: u32,
    /// So many are held up by up to [`HELD_UP_MAX`], so that later ones overtake them.
    pub(crate) held_up_permille: u32,
}

/// How long a datagram may be held up beyond the usual delay.
pub(crate) const HELD_UP_MAX: Duration = Duration::from_millis(200);

impl Quality {
    /// A wire: 5 ms, nothing lost.
    pub(crate) const GOOD: Self = Self {
        delay_min: Duration::from_millis(5),
        delay_max: Duration::from_millis(5),
        lost_permille: 0,
        repeated_permille: 0,
        held_up_permille: 0,
    };
}

/// A loss or a delay told by name: the story decides, not the seed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mishap {
    /// Only datagrams that leave here.
    pub(crate) from: IpAddr,
    /// Only datagrams that begin with these bytes.
    pub(crate) begins: &'static str,
    /// How many of them are still to come.
    pub(crate) times: u32,
    /// Held up by this long, or lost when absent.
    pub(crate) held_up: Option<Duration>,
}

/// What has been said more than once.
#[derive(Default)]
pub(crate) struct Repeats {
    first: BTreeMap<(SocketAddr, Bytes), Instant>,
    /// The longest time after which something was said again.
    pub(crate) longest: Duration,
}

impl Repeats {
    pub(crate) fn note(&mut self, now: Instant, to: SocketAddr, bytes: &Bytes) {
        let first = *self.first.entry((to, bytes.clone())).or_insert(now);
        self.longest = self.longest.max(now - first);
    }
}

/// Carries datagrams.
pub(crate) struct Net {
    rng: ChaCha8Rng,
    quality: Quality,
    mishaps: Vec<Mishap>,
    loses_by_name: bool,
    /// Hosts whose cable is pulled.
    dark: Vec<IpAddr>,
}

impl Net {
    pub(crate) fn new(rng: ChaCha8Rng) -> Self {
        Self {
            rng,
            quality: Quality::GOOD,
            mishaps: Vec::new(),
            loses_by_name: false,
            dark: Vec::new(),
        }
    }

    pub(crate) fn set_quality(&mut self, quality: Quality) {
        self.quality = quality;
    }

    pub(crate) fn plan(&mut self, mishap: Mishap) {
        self.loses_by_name |= mishap.held_up.is_none();
        self.mishaps.push(mishap);
    }

    /// Pulls a cable: nothing reaches this host or leaves it.
    pub(crate) fn darken(&mut self, host: IpAddr) {
        self.dark.push(host);
    }

    /// Nothing was, is or will be lost.
    pub(crate) fn is_reliable(&self) -> bool {
        self.quality.lost_permille == 0 && !self.loses_by_name && self.dark.is_empty()
    }

    /// After how long this datagram arrives: never, once or twice.
    pub(crate) fn carry(&mut self, from: IpAddr, to: IpAddr, bytes: &[u8]) -> Vec<Duration> {
        if self.dark.contains(&from) || self.dark.contains(&to) {
            return Vec::new();
        }
        let usual = self.rng.between(self.quality.delay_min, self.quality.delay_max);
        if let Some(mishap) = self.mishaps.iter_mut().find(|mishap| {
            mishap.times > 0 && mishap.from == from && bytes.starts_with(mishap.begins.as_bytes())
        }) {
            mishap.times -= 1;
            return mishap.held_up.map(|extra| usual + extra).into_iter().collect();
        }
        if self.rng.permille(self.quality.lost_permille) {
            return Vec::new();
        }
        let mut delays = vec![usual + self.hold_up()];
        if self.rng.permille(self.quality.repeated_permille) {
            delays.push(usual + self.hold_up());
        }
        delays
    }

    fn hold_up(&mut self) -> Duration {
        if self.rng.permille(self.quality.held_up_permille) {
            self.rng.between(Duration::ZERO, HELD_UP_MAX)
        } else {
            Duration::ZERO
        }
    }
}
