//! The timer table of RFC 3261 §17, with RFC 6026.

use std::time::Duration;

/// Estimate of a round trip; the first wait before a repeat.
pub const T1: Duration = Duration::from_millis(500);
/// Longest wait between repeats of anything but an INVITE request.
pub const T2: Duration = Duration::from_secs(4);
/// Longest time a message stays in the network.
pub const T4: Duration = Duration::from_secs(5);
/// Timers B, F, H, J, L and M: after it nobody waits any more.
pub const GIVE_UP: Duration = Duration::from_secs(32);
/// Timer D: how long a refused INVITE client answers repeats of the refusal.
pub const TIMER_D: Duration = Duration::from_secs(32);
/// An INVITE that has no answer after this gets its 100 (§17.2.1); one that is answered sooner
/// needs none, as its sender asks again after [`T1`] only.
pub const TRYING_WITHIN: Duration = Duration::from_millis(200);
/// Max-Forwards of what we send.
pub const MAX_FORWARDS: u8 = 70;
