//! What the brains of one relay ask others to keep back, taken together: to its peers the relay is
//! one server with one control (RFC 7339), however many brains serve its address.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Brains of one relay: their numbers are bytes.
const SHARDS_MAX: usize = 1 << u8::BITS;
/// Bits of a share, below the time up to which it holds.
const LOSS_BITS: u32 = 8;

/// The share that each brain asks others to keep back. Clones are one and the same.
#[derive(Clone, Debug)]
pub struct JointAsk(Arc<[AtomicU64]>);

impl Default for JointAsk {
    fn default() -> Self {
        Self((0..SHARDS_MAX).map(|_| AtomicU64::new(0)).collect())
    }
}

impl PartialEq for JointAsk {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for JointAsk {}

impl JointAsk {
    /// Says what one brain asks, for so long, and what is to be asked in the name of all: the most
    /// that any of them asks now. A brain that has nothing to do says nothing, so that what it has
    /// asked before ends by itself.
    pub(super) fn renew(&self, shard: u8, loss: u8, now_ms: u64, holds_ms: u64) -> u8 {
        let until = (now_ms + holds_ms) << LOSS_BITS;
        if let Some(own) = self.0.get(usize::from(shard)) {
            own.store(until | u64::from(loss), Ordering::Relaxed);
        }
        let asked = self.0.iter().map(|asked| asked.load(Ordering::Relaxed));
        let holding = asked.filter(|asked| asked >> LOSS_BITS > now_ms);
        holding.map(|asked| asked as u8).max().unwrap_or(loss)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_that_any_brain_asks_is_asked_by_all_while_it_holds() {
        let all = JointAsk::default();
        assert_eq!(all.renew(0, 60, 1_000, 400), 60);
        assert_eq!(all.clone().renew(255, 0, 1_200, 400), 60);
        assert_eq!(all.renew(255, 0, 1_400, 400), 0, "the first has said nothing since");
        assert_eq!(all.renew(1, 30, 1_500, 400), 30);
        assert_eq!(all.renew(1, 0, 1_600, 400), 0, "and takes it back");
        assert_eq!(JointAsk::default().renew(0, 0, 1_600, 400), 0);
    }
}
