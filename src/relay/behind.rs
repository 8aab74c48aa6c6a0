//! How long datagrams wait, of all sockets of a shard together: one that is empty says nothing of
//! another one that is not.

use std::time::{Duration, Instant};

/// The sockets of one shard; each has a queue of its own.
#[derive(Debug)]
pub(crate) struct Behind {
    /// How long the last datagram of a round had waited that did not empty the queue.
    delays: Vec<Option<Duration>>,
    /// Until when the shard rested last of its own will.
    rested_until: Instant,
}

impl Behind {
    /// So many sockets whose queues are empty.
    pub(crate) fn new(sockets: usize, at: Instant) -> Self {
        Self { delays: vec![None; sockets], rested_until: at }
    }

    /// A turn has emptied all queues, and the next one begins no sooner than then. What comes
    /// before that does not wait for want of speed; what waits longer does, be it that the system
    /// wakes us late or holds us up where we wait for datagrams.
    pub(crate) const fn rests_until(&mut self, at: Instant) {
        self.rested_until = at;
    }

    /// Whether datagrams are left in any queue.
    pub(crate) fn is_any(&self) -> bool {
        self.delays.iter().any(Option::is_some)
    }

    /// A round has not emptied a queue. How long the last datagram of the slowest one waited, our
    /// rest before it left out.
    pub(crate) fn fell(&mut self, at: Instant, socket: usize, delay: Duration) -> Duration {
        let delay = delay.min(at.saturating_duration_since(self.rested_until));
        if let Some(own) = self.delays.get_mut(socket) {
            *own = Some(delay);
        }
        self.longest().unwrap_or(delay)
    }

    /// A queue is empty. How long datagrams wait now, if that is something new.
    pub(crate) fn caught_up(&mut self, socket: usize) -> Option<Duration> {
        self.delays.get_mut(socket)?.take()?;
        Some(self.longest().unwrap_or_default())
    }

    fn longest(&self) -> Option<Duration> {
        self.delays.iter().flatten().max().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::now::now;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn an_empty_queue_of_one_family_does_not_hide_a_long_one_of_the_other() {
        let now = now().monotonic;
        let later = now + 100 * MS;
        let mut behind = Behind::new(2, now);
        assert_eq!(behind.caught_up(1), None);
        assert_eq!(behind.fell(later, 0, 30 * MS), 30 * MS);
        assert_eq!(behind.caught_up(1), None, "it was empty before");
        assert_eq!(behind.fell(later, 1, 2 * MS), 30 * MS);
        assert_eq!(behind.caught_up(1), Some(30 * MS));
        assert!(behind.is_any());
        assert_eq!(behind.caught_up(0), Some(Duration::ZERO));
        assert!(!behind.is_any());
    }

    #[test]
    fn a_datagram_that_came_while_the_shard_rested_has_not_waited_for_it() {
        let start = now().monotonic;
        let mut behind = Behind::new(1, start);
        behind.rests_until(start + 10 * MS);
        assert_eq!(behind.fell(start + 12 * MS, 0, 9 * MS), 2 * MS);
        assert_eq!(behind.fell(start + 15 * MS, 0, 4 * MS), 4 * MS, "there was no rest before");
        assert_eq!(behind.caught_up(0), Some(Duration::ZERO));
        behind.rests_until(start + 20 * MS);
        assert_eq!(behind.fell(start + 21 * MS, 0, 9 * MS), MS);
    }

    #[test]
    fn whoever_is_held_up_after_its_rest_has_kept_all_waiting() {
        let start = now().monotonic;
        let mut behind = Behind::new(1, start);
        // It meant to rest for 2 ms, and came back after 200.
        behind.rests_until(start + 2 * MS);
        assert_eq!(behind.fell(start + 202 * MS, 0, 202 * MS), 200 * MS);
        assert_eq!(behind.fell(start + 204 * MS, 0, 190 * MS), 190 * MS, "and works it off");
    }
}
