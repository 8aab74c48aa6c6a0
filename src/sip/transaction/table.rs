//! Where transactions lie: one slab, an index for each way to look one up, one timer each. Adding,
//! finding, moving the timer and removing cost the same however many others there are.

use std::collections::BTreeSet;
use std::hash::BuildHasher;
use std::net::SocketAddr;
use std::time::Instant;

use hashbrown::{DefaultHashBuilder, HashTable};
use slab::Slab;

use super::layer::TRANSACTIONS_MAX;
use super::linger::Linger;
use super::slot::{Key, Listed, Slot, SlotId};
use crate::sip::ids::Branch;
use crate::sip::method::Method;
use crate::sip::transport::{Hop, Transport};
use crate::sip::wheel::Wheel;

/// Most slots of a table.
pub(super) const SLOTS_MAX: usize = TRANSACTIONS_MAX;

/// Room for so many slots stays when the last one has gone.
const KEPT: usize = 1_024;

/// The table of one shard.
pub(super) struct Table {
    slots: Slab<Slot>,
    slots_max: usize,
    /// Makes the id of each new slot unlike that of the slot before it at the same place.
    next_serial: u32,
    /// Never iterated, so the order of hashing is not seen outside.
    by_key: HashTable<u32>,
    by_merge: HashTable<u32>,
    hasher: DefaultHashBuilder,
    unanswered: BTreeSet<((Transport, SocketAddr), u32)>,
    wheel: Wheel,
    linger: Linger,
    /// The last place that was in use since room was given back.
    used_max: usize,
}

impl Table {
    /// With room for so many: memory that is not touched costs nothing, and a table that grows
    /// would be moved while all messages wait.
    pub(super) fn with_room(slots_max: usize) -> Self {
        Self {
            slots: Slab::with_capacity(slots_max),
            slots_max,
            next_serial: 0,
            by_key: HashTable::with_capacity(slots_max),
            by_merge: HashTable::with_capacity(slots_max),
            hasher: DefaultHashBuilder::default(),
            unanswered: BTreeSet::new(),
            wheel: Wheel::with_room(slots_max),
            linger: Linger::with_room(slots_max),
            used_max: 0,
        }
    }

    pub(super) fn insert(&mut self, slot: Slot) -> SlotId {
        self.next_serial = self.next_serial.wrapping_add(1);
        let (hash, merge) = (slot.hash, slot.merge);
        let serial = self.next_serial;
        let index = self.slots.insert(Slot { serial, ..slot }) as u32;
        let slots = &self.slots;
        self.by_key.insert_unique(hash, index, |at| hash_at(slots, *at));
        if let Some(merge) = merge {
            self.by_merge.insert_unique(merge, index, |at| merge_at(slots, *at));
        }
        SlotId { index, serial }
    }

    /// Call after every step of a machine: moves its timer, or removes it when it has ended.
    pub(super) fn settle(&mut self, now: Instant, id: SlotId) {
        let found = self.slots.get_mut(id.index as usize);
        let Some(slot) = found.filter(|slot| slot.serial == id.serial) else { return };
        let place = (slot.peer.place(), id.index);
        let listed = slot.listed;
        let wanted = if slot.machine.is_unanswered() { Listed::Unanswered } else { Listed::No };
        slot.listed = wanted;
        let (ended, deadline) = (slot.machine.is_terminated(), slot.machine.deadline());
        match (listed, wanted) {
            (Listed::No, Listed::Unanswered) => _ = self.unanswered.insert(place),
            (Listed::Unanswered, Listed::No) => _ = self.unanswered.remove(&place),
            (Listed::No, Listed::No) | (Listed::Unanswered, Listed::Unanswered) => {}
        }
        match deadline {
            _ if ended => self.remove(id),
            Some(_) if slot.lingers_until == deadline => {}
            Some(deadline) => {
                let lingers = self.linger.add(now, id, deadline);
                slot.lingers_until = lingers.then_some(deadline);
                if lingers {
                    self.wheel.cancel(id.index);
                } else {
                    self.wheel.set(now, id.index, deadline);
                }
            }
            None => {
                slot.lingers_until = None;
                self.wheel.cancel(id.index);
            }
        }
    }

    pub(super) fn pop_due(&mut self, now: Instant) -> Option<SlotId> {
        while let Some((end, id)) = self.linger.pop(now) {
            if self.slot_mut(id).is_some_and(|slot| slot.lingers_until == Some(end)) {
                return Some(id);
            }
        }
        let index = self.wheel.pop(now)?;
        let slot = self.slots.get(index as usize)?;
        Some(SlotId { index, serial: slot.serial })
    }

    pub(super) fn slot(&self, id: SlotId) -> Option<&Slot> {
        self.slots.get(id.index as usize).filter(|slot| slot.serial == id.serial)
    }

    pub(super) fn slot_mut(&mut self, id: SlotId) -> Option<&mut Slot> {
        self.slots.get_mut(id.index as usize).filter(|slot| slot.serial == id.serial)
    }

    pub(super) fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    pub(super) fn client_hash(&self, branch: Branch, method: Method) -> u64 {
        self.hasher.hash_one((branch, method))
    }

    pub(super) fn find_server(&self, hash: u64, key: &[u8]) -> Option<SlotId> {
        self.find(hash, |found| matches!(found, Key::Server(found) if **found == *key))
    }

    pub(super) fn find_client(&self, branch: Branch, method: Method) -> Option<SlotId> {
        let key = Key::Client(branch, method);
        self.find(self.client_hash(branch, method), |found| *found == key)
    }

    fn find(&self, hash: u64, is_meant: impl Fn(&Key) -> bool) -> Option<SlotId> {
        let slot_at = |at: &u32| self.slots.get(*at as usize);
        let is_meant =
            |at: &u32| slot_at(at).is_some_and(|slot| slot.hash == hash && is_meant(&slot.key));
        let index = *self.by_key.find(hash, is_meant)?;
        Some(SlotId { index, serial: slot_at(&index)?.serial })
    }

    /// Whether a request with this merge key is still being worked on.
    pub(super) fn find_ongoing(&self, merge: u64) -> bool {
        let is_ongoing = |at: &u32| {
            let slot = self.slots.get(*at as usize);
            slot.is_some_and(|slot| slot.merge == Some(merge) && slot.machine.is_ongoing())
        };
        self.by_merge.find(merge, is_ongoing).is_some()
    }

    /// Our requests to `peer` that have not been answered at all. A connection that is lost says
    /// nothing of what goes to somebody else at the same address.
    pub(super) fn unanswered_at(&self, peer: Hop) -> Vec<SlotId> {
        let place = peer.place();
        let places = self.unanswered.range((place, 0)..=(place, u32::MAX));
        let id_at = |index: u32| {
            let slot = self.slots.get(index as usize)?;
            let is_meant = peer.owner == 0 || slot.peer.owner == peer.owner;
            is_meant.then_some(SlotId { index, serial: slot.serial })
        };
        places.filter_map(|(_, index)| id_at(*index)).collect()
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.wheel.next_deadline().into_iter().chain(self.linger.next_deadline()).min()
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is no slot, no timer and no index entry.
    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
            && self.wheel.is_empty()
            && self.linger.is_empty()
            && self.by_key.is_empty()
            && self.by_merge.is_empty()
            && self.unanswered.is_empty()
    }

    fn remove(&mut self, id: SlotId) {
        self.wheel.cancel(id.index);
        let Some(slot) = self.slots.try_remove(id.index as usize) else { return };
        if let Ok(entry) = self.by_key.find_entry(slot.hash, |at| *at == id.index) {
            entry.remove();
        }
        if let Some(merge) = slot.merge
            && let Ok(entry) = self.by_merge.find_entry(merge, |at| *at == id.index)
        {
            entry.remove();
        }
        if slot.listed == Listed::Unanswered {
            self.unanswered.remove(&(slot.peer.place(), id.index));
        }
        self.used_max = self.used_max.max(id.index as usize);
        if self.slots.is_empty() && self.used_max > KEPT {
            self.give_room_back();
        }
    }

    /// Lets go of what a busier hour took. Timers of nobody keep their place and cost nothing.
    fn give_room_back(&mut self) {
        self.slots = Slab::with_capacity(self.slots_max);
        self.by_key = HashTable::with_capacity(self.slots_max);
        self.by_merge = HashTable::with_capacity(self.slots_max);
        self.linger = Linger::with_room(self.slots_max);
        self.used_max = 0;
    }
}

fn hash_at(slots: &Slab<Slot>, at: u32) -> u64 {
    slots.get(at as usize).map_or(0, |slot| slot.hash)
}

fn merge_at(slots: &Slab<Slot>, at: u32) -> u64 {
    slots.get(at as usize).and_then(|slot| slot.merge).unwrap_or_default()
}
