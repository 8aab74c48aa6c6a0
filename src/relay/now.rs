//! The only place where signalling reads the clocks.

use std::time::{Instant, SystemTime};

use crate::domain::now::Now;

/// The moment of this call, by both clocks.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is relay::now, where everybody else gets it")]
pub fn now() -> Now {
    Now { monotonic: Instant::now(), wall: SystemTime::now() }
}
