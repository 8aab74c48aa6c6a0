//! Time of the media plane: microseconds since its start, handed in and never read here.

use std::ops::Add;
use std::time::Duration;

/// A point in time.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Moment(u64);

impl Moment {
    /// So many microseconds after the start.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the start.
    #[must_use]
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// How long after `earlier`; zero when it is not after it.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// On the RTP clock of all our codecs, 8000 Hz, cut to the width of a timestamp.
    #[must_use]
    pub const fn rtp_units(self) -> u32 {
        (self.0 / MICROS_PER_RTP_UNIT as u64) as u32
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, step: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(step.as_micros()).unwrap_or(u64::MAX)))
    }
}

/// Microseconds of one unit of the 8000 Hz clock.
pub const MICROS_PER_RTP_UNIT: u32 = 125;
