//! The clock of the media threads: the one place under `media` where time is read or waited for.

use std::time::{Duration, Instant};

use crate::rtp::time::Moment;

/// Counts from the start of the plane.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    started: Instant,
}

impl Clock {
    /// Starts at zero. One clock serves all threads.
    #[expect(clippy::disallowed_methods, reason = "the media plane's own clock starts here")]
    pub(super) fn start() -> Self {
        Self { started: Instant::now() }
    }

    /// Read once a round.
    #[expect(clippy::disallowed_methods, reason = "the media plane's own clock is read here")]
    pub(super) fn now(self) -> Moment {
        let since = Instant::now().saturating_duration_since(self.started);
        Moment::from_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }
}

/// Lets packets gather, see [`super::pace`].
#[expect(clippy::disallowed_methods, reason = "the pause is the point: it is no synchronisation")]
pub(super) fn pause(pause: Duration) {
    std::thread::sleep(pause);
}
