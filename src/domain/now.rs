//! The moment an input arrives: handed in by the shell, never read here.

use std::time::{Duration, Instant, SystemTime};

/// Monotonic time for durations and timers, wall time for calendars and records.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Now {
    /// Never goes back; timers and durations use it.
    pub monotonic: Instant,
    /// What a clock on the wall shows; may be stepped.
    pub wall: SystemTime,
}

impl Now {
    /// Milliseconds since 1970-01-01 UTC; 0 for a wall clock before that.
    #[must_use]
    pub fn unix_ms(&self) -> u64 {
        unix_ms(self.wall)
    }
}

/// Milliseconds since 1970-01-01 UTC; 0 for a time before that.
#[must_use]
pub fn unix_ms(wall: SystemTime) -> u64 {
    let since = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl std::ops::Add<Duration> for Now {
    type Output = Self;

    /// Both clocks move together.
    fn add(self, step: Duration) -> Self {
        Self { monotonic: self.monotonic + step, wall: self.wall + step }
    }
}
