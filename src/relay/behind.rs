//! How long datagrams wait, of all sockets of a shard together: one that is empty says nothing of
//! another one that is not.

use std::time::Duration;

/// The sockets of one shard; each has a queue of its own.
#[derive(Debug)]
pub(crate) struct Behind {
    /// How long the last datagram of a round had waited that did not empty the queue.
    delays: Vec<Option<Duration>>,
}

impl Behind {
    /// So many sockets whose queues are empty.
    pub(crate) fn new(sockets: usize) -> Self {
        Self { delays: vec![None; sockets] }
    }

    /// Whether datagrams are left in any queue.
    pub(crate) fn is_any(&self) -> bool {
        self.delays.iter().any(Option::is_some)
    }

    /// A round has not emptied a queue. How long the last datagram of the slowest one waited.
    pub(crate) fn fell(&mut self, socket: usize, delay: Duration) -> Duration {
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

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn an_empty_queue_of_one_family_does_not_hide_a_long_one_of_the_other() {
        let mut behind = Behind::new(2);
        assert_eq!(behind.caught_up(1), None);
        assert_eq!(behind.fell(0, 30 * MS), 30 * MS);
        assert_eq!(behind.caught_up(1), None, "it was empty before");
        assert_eq!(behind.fell(1, 2 * MS), 30 * MS);
        assert_eq!(behind.caught_up(1), Some(30 * MS));
        assert!(behind.is_any());
        assert_eq!(behind.caught_up(0), Some(Duration::ZERO));
        assert!(!behind.is_any());
    }
}
