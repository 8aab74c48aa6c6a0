//! The calls of a core, each at a place of its own. Finding one costs the same however many others
//! linger, and they are always walked in the same order.

use slab::Slab;

use super::call::Call;
use super::place::{CALLS_HELD_MAX, Serial};

/// Room for so many calls stays when the last one has gone.
pub(super) const KEPT: usize = 1_024;

/// Where calls lie. Bounded by the calls and transactions that the core admits.
#[derive(Debug, Default)]
pub(super) struct Calls {
    slots: Slab<Box<Call>>,
    count: u32,
}

impl Calls {
    /// What the next call is known by; `None` when there is no room for one.
    pub(super) fn next_serial(&self) -> Option<Serial> {
        let index = u32::try_from(self.slots.vacant_key()).ok()?;
        let has_room = self.slots.len() < CALLS_HELD_MAX;
        has_room.then_some(Serial { index, count: self.count.wrapping_add(1).max(1) })
    }

    /// Takes a call that was made with [`Self::next_serial`].
    pub(super) fn insert(&mut self, call: Call) {
        debug_assert_eq!(Some(call.serial), self.next_serial());
        self.count = call.serial.count;
        self.slots.insert(Box::new(call));
    }

    pub(super) fn get(&self, serial: Serial) -> Option<&Call> {
        let call = self.slots.get(serial.index as usize)?;
        (call.serial == serial).then_some(call)
    }

    pub(super) fn get_mut(&mut self, serial: Serial) -> Option<&mut Call> {
        let call = self.slots.get_mut(serial.index as usize)?;
        (call.serial == serial).then_some(call)
    }

    pub(super) fn remove(&mut self, serial: Serial) {
        if self.get(serial).is_some() {
            self.slots.remove(serial.index as usize);
        }
        if self.slots.is_empty() && self.slots.capacity() > KEPT {
            self.slots = Slab::new();
        }
    }

    /// By their places, which is no order of time.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Call> {
        self.slots.iter().map(|(_, call)| &**call)
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }
}
