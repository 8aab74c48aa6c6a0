//! Transactions that have nothing to do any more but to catch repeats, and then go. They all wait
//! equally long, so they stand in a queue: no timer has to be moved among others.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::slot::SlotId;
use super::table::SLOTS_MAX;
use crate::sip::timers::{GIVE_UP, T4};

/// Nobody waits for the end of these, so many of them end together.
const TOGETHER_WITHIN: Duration = Duration::from_millis(50);
/// A slot may stand in a queue twice: a state that is left early leaves its place behind.
const WAITING_MAX: usize = 2 * SLOTS_MAX;

/// One queue for each span.
pub(super) struct Linger {
    queues: [VecDeque<(Instant, SlotId)>; SPANS.len()],
}

const SPANS: [Duration; 2] = [GIVE_UP, T4];

impl Linger {
    /// With room for so many slots, so that a queue is not moved when it grows.
    pub(super) fn with_room(slots: usize) -> Self {
        Self { queues: SPANS.map(|_| VecDeque::with_capacity(slots)) }
    }

    /// Lets a slot wait until `end`. False when that is no usual span: it needs a timer then.
    pub(super) fn add(&mut self, now: Instant, id: SlotId, end: Instant) -> bool {
        let Some(at) = SPANS.iter().position(|span| now + *span == end) else { return false };
        let Some(queue) = self.queues.get_mut(at).filter(|it| it.len() < WAITING_MAX) else {
            return false;
        };
        queue.push_back((end, id));
        true
    }

    /// Takes the next one whose end has come; it may have gone or changed in the meantime.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(Instant, SlotId)> {
        self.queues.iter_mut().find_map(|queue| {
            queue.front().filter(|(end, _)| *end <= now)?;
            queue.pop_front()
        })
    }

    /// When to call [`Self::pop`] next.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let ends = self.queues.iter().filter_map(|queue| Some(queue.front()?.0));
        ends.min().map(|end| end + TOGETHER_WITHIN)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queues.iter().all(VecDeque::is_empty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::tests::epoch;

    #[test]
    fn those_that_wait_equally_long_go_in_order_and_many_with_one_wake() {
        let t0 = epoch();
        let mut linger = Linger::with_room(2);
        let [first, second] = [0, 1].map(|index| SlotId { index, serial: 7 });
        let soon = t0 + Duration::from_millis(40);
        assert!(linger.add(t0, first, t0 + T4) && linger.add(soon, second, soon + T4));
        assert!(!linger.add(t0, first, t0 + Duration::from_millis(500)), "that needs a timer");
        let wake = linger.next_deadline().expect("two wait");
        assert_eq!(linger.pop(t0), None);
        assert_eq!(linger.pop(wake), Some((t0 + T4, first)));
        assert_eq!(linger.pop(wake), Some((soon + T4, second)));
        assert!(linger.pop(wake).is_none() && linger.is_empty());
    }
}
