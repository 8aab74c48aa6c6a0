//! A timer wheel: any number of timers, each set, moved, cancelled and fired at a constant cost.

use std::time::{Duration, Instant};

/// One timer for each token. Timers fire in the order of their milliseconds, and in the order in
/// which they were set within one.
pub struct Wheel {
    /// The moment of tick 0.
    epoch: Option<Instant>,
    /// No timer lies before this tick.
    cursor: u64,
    /// For each slot its first node plus one, or 0: fresh zeroed memory costs nothing until used.
    heads: Vec<u32>,
    /// One bit for each slot that is in use, and one for each word of those.
    words: Vec<u64>,
    summary: [u64; SLOTS / 64 / 64],
    nodes: Vec<Node>,
    armed: usize,
}

#[derive(Clone, Copy)]
struct Node {
    previous: u32,
    next: u32,
    tick: u64,
    slot: Option<u16>,
}

/// One slot a tick, which is a millisecond. Later timers wait in the last slot and are set again.
const SLOTS: usize = 1 << 16;

impl Default for Wheel {
    fn default() -> Self {
        Self::new()
    }
}

impl Wheel {
    /// An empty wheel.
    #[must_use]
    pub fn new() -> Self {
        Self {
            epoch: None,
            cursor: 0,
            heads: vec![0; SLOTS],
            words: vec![0; SLOTS / 64],
            summary: [0; SLOTS / 64 / 64],
            nodes: Vec::new(),
            armed: 0,
        }
    }

    /// One that is not moved to grow before it has so many timers.
    #[must_use]
    pub fn with_room(timers: usize) -> Self {
        Self { nodes: Vec::with_capacity(timers), ..Self::new() }
    }

    /// Sets or moves the timer of `token`. Tokens are indexes: keep them dense.
    pub fn set(&mut self, now: Instant, token: u32, deadline: Instant) {
        let epoch = *self.epoch.get_or_insert(now);
        let tick = ticks_up(deadline.saturating_duration_since(epoch)).max(self.cursor);
        let index = token as usize;
        if self.nodes.get(index).is_some_and(|node| node.slot.is_some() && node.tick == tick) {
            return;
        }
        self.cancel(token);
        if self.nodes.len() <= index {
            let unused = Node { previous: 0, next: 0, tick: 0, slot: None };
            self.nodes.resize(index + 1, unused);
        }
        self.nodes[index].tick = tick;
        self.link(token);
    }

    /// Takes the timer of `token` away; nothing happens without one.
    pub fn cancel(&mut self, token: u32) {
        let Some(node) = self.nodes.get_mut(token as usize) else { return };
        let Some(slot) = node.slot.take() else { return };
        let Node { previous, next, .. } = *node;
        self.armed -= 1;
        if next == token {
            self.heads[usize::from(slot)] = 0;
            self.mark_empty(slot);
            return;
        }
        self.nodes[previous as usize].next = next;
        self.nodes[next as usize].previous = previous;
        let head = &mut self.heads[usize::from(slot)];
        if *head == token + 1 {
            *head = next + 1;
        }
    }

    /// Takes the next timer that is due at `now`.
    pub fn pop(&mut self, now: Instant) -> Option<u32> {
        let today = ticks_down(now.saturating_duration_since(self.epoch?));
        while let Some((slot, tick)) = self.first_slot()
            && tick <= today
        {
            let token = self.heads[usize::from(slot)].checked_sub(1)?;
            self.cursor = tick;
            let due = self.nodes[token as usize].tick;
            self.cancel(token);
            if due <= tick {
                return Some(token);
            }
            self.link(token);
        }
        self.cursor = self.cursor.max(today);
        None
    }

    /// When to call [`Self::pop`] next. It may be earlier than a timer more than a minute away.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let (_, tick) = self.first_slot()?;
        self.epoch?.checked_add(Duration::from_millis(tick))
    }

    /// How many timers are set.
    #[must_use]
    pub fn len(&self) -> usize {
        self.armed
    }

    /// Whether no timer is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.armed == 0
    }

    /// Appends a node to the slot of its tick, or to the last slot of this turn.
    fn link(&mut self, token: u32) {
        let horizon = self.cursor + SLOTS as u64 - 1;
        let tick = self.nodes[token as usize].tick.clamp(self.cursor, horizon);
        let slot = (tick % SLOTS as u64) as u16;
        self.armed += 1;
        let (previous, next) = match self.heads[usize::from(slot)].checked_sub(1) {
            None => {
                self.heads[usize::from(slot)] = token + 1;
                self.mark_used(slot);
                (token, token)
            }
            Some(head) => (self.nodes[head as usize].previous, head),
        };
        let node = &mut self.nodes[token as usize];
        (node.previous, node.next, node.slot) = (previous, next, Some(slot));
        self.nodes[previous as usize].next = token;
        self.nodes[next as usize].previous = token;
    }

    fn mark_used(&mut self, slot: u16) {
        let word = usize::from(slot) / 64;
        self.words[word] |= 1 << (slot % 64);
        self.summary[word / 64] |= 1 << (word % 64);
    }

    fn mark_empty(&mut self, slot: u16) {
        let word = usize::from(slot) / 64;
        self.words[word] &= !(1 << (slot % 64));
        if self.words[word] == 0 {
            self.summary[word / 64] &= !(1 << (word % 64));
        }
    }

    /// The first slot in use from the cursor on, round the wheel, and its tick.
    fn first_slot(&self) -> Option<(u16, u64)> {
        let from = (self.cursor % SLOTS as u64) as usize;
        let slot = self.used_from(from).or_else(|| self.used_from(0))?;
        let ahead = (slot + SLOTS - from) % SLOTS;
        Some((slot as u16, self.cursor + ahead as u64))
    }

    fn used_from(&self, from: usize) -> Option<usize> {
        let word = from / 64;
        let here = self.words[word] & (u64::MAX << (from % 64));
        if here != 0 {
            return Some(word * 64 + here.trailing_zeros() as usize);
        }
        let next = word + 1;
        let words = (next / 64..self.summary.len()).find_map(|at| {
            let mask = if at == next / 64 { u64::MAX << (next % 64) } else { u64::MAX };
            let used = self.summary[at] & mask;
            (used != 0).then(|| at * 64 + used.trailing_zeros() as usize)
        })?;
        Some(words * 64 + self.words[words].trailing_zeros() as usize)
    }
}

fn ticks_down(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX / 2)
}

fn ticks_up(span: Duration) -> u64 {
    ticks_down(span) + u64::from(!span.subsec_nanos().is_multiple_of(1_000_000))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand_chacha::ChaCha8Rng;
    use rand_core::{Rng, SeedableRng};

    use super::super::tests::epoch;
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn timers_fire_in_order_and_only_when_due() {
        let t0 = epoch();
        let mut wheel = Wheel::new();
        for (token, at) in [(0, 500), (1, 40), (2, 500), (3, 32_000), (4, 40)] {
            wheel.set(t0, token, t0 + ms(at));
        }
        wheel.cancel(4);
        wheel.set(t0, 1, t0 + ms(600));
        assert_eq!(wheel.next_deadline(), Some(t0 + ms(500)));
        assert_eq!(wheel.pop(t0 + ms(499)), None);
        assert_eq!(wheel.pop(t0 + ms(700)), Some(0));
        assert_eq!(wheel.pop(t0 + ms(700)), Some(2));
        assert_eq!(wheel.pop(t0 + ms(700)), Some(1));
        assert_eq!(wheel.pop(t0 + ms(700)), None);
        assert_eq!(wheel.next_deadline(), Some(t0 + ms(32_000)));
        assert_eq!(wheel.pop(t0 + ms(99_000)), Some(3));
        assert!(wheel.is_empty() && wheel.next_deadline().is_none());
    }

    #[test]
    fn a_timer_hours_away_fires_at_its_time() {
        let t0 = epoch();
        let mut wheel = Wheel::new();
        let deadline = t0 + ms(3 * 3_600_000 + 7);
        wheel.set(t0, 9, deadline);
        let mut now = t0;
        let fired_at = loop {
            now = wheel.next_deadline().expect("the timer is still set").max(now);
            match wheel.pop(now) {
                Some(token) => break (token, now),
                None => assert!(now < deadline),
            }
        };
        assert_eq!(fired_at, (9, deadline));
    }

    #[test]
    fn a_wheel_that_has_turned_for_months_still_fires() {
        let t0 = epoch();
        let mut wheel = Wheel::new();
        wheel.set(t0, 0, t0 + ms(5));
        let months = t0 + Duration::from_secs(100 * 24 * 3_600);
        assert_eq!(wheel.pop(months), Some(0));
        assert_eq!(wheel.pop(months), None);
        wheel.set(months, 1, months + ms(500));
        assert_eq!(wheel.next_deadline(), Some(months + ms(500)));
        assert_eq!(wheel.pop(months + ms(500)), Some(1));
    }

    #[test]
    fn the_wheel_agrees_with_a_sorted_map() {
        let t0 = epoch();
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut wheel = Wheel::new();
        let mut model = BTreeMap::new();
        let mut now_ms = 0;
        for _ in 0..20_000 {
            let token = rng.next_u32() % 64;
            match rng.next_u32() % 4 {
                0 | 1 => {
                    let at = now_ms + u64::from(rng.next_u32() % 200_000);
                    wheel.set(t0 + ms(now_ms), token, t0 + ms(at));
                    model.insert(token, at);
                }
                2 => {
                    wheel.cancel(token);
                    model.remove(&token);
                }
                _ => {
                    now_ms += u64::from(rng.next_u32() % 5_000);
                    let mut fired = Vec::new();
                    while let Some(token) = wheel.pop(t0 + ms(now_ms)) {
                        fired.push((model.remove(&token).expect("set in the model"), token));
                    }
                    assert!(fired.is_sorted_by_key(|(at, _)| *at));
                    assert!(model.values().all(|at| *at > now_ms));
                }
            }
            assert_eq!(wheel.len(), model.len());
        }
    }
}
