//! Where a message belongs: the call, and the part of it, that made a tag or a transaction.

use hashbrown::HashMap;

use crate::sip::ids::Tag;
use crate::sip::transaction::Owner;

/// A call as this core counts them: its place in the table of calls, and how many came before it.
/// Not used again before 2^32 further calls, so a late message finds nothing.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Serial {
    pub(super) index: u32,
    pub(super) count: u32,
}

impl Serial {
    /// No call comes before this one in the order of calls.
    pub(super) const FIRST: Self = Self { index: 0, count: 0 };
    /// None comes behind this one.
    pub(super) const LAST: Self = Self { index: u32::MAX, count: u32::MAX };
}

/// The most calls that a table may hold, the lingering ones among them.
pub(super) const CALLS_HELD_MAX: usize = 1 << INDEX_BITS;

/// The part of a call that a tag or a transaction belongs to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Part {
    /// The leg of the caller.
    Caller,
    /// The leg of the callee: the trunk of this position.
    Callee(u8),
}

/// A call and a part of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Place {
    pub(super) serial: Serial,
    pub(super) part: Part,
}

const INDEX_BITS: u32 = 24;
const INDEX_MASK: u64 = (1 << INDEX_BITS) - 1;
const PART_BITS: u32 = 8;
const PART_MASK: u64 = (1 << PART_BITS) - 1;

impl Place {
    /// As a transaction remembers it.
    pub(super) const fn to_owner(self) -> Owner {
        let part = match self.part {
            Part::Caller => 0,
            Part::Callee(position) => position as u64 + 1,
        };
        let Serial { index, count } = self.serial;
        Owner(((count as u64) << INDEX_BITS | index as u64) << PART_BITS | part)
    }

    /// What a transaction has remembered.
    pub(super) fn of_owner(owner: Owner) -> Self {
        let part = match u8::try_from(owner.0 & PART_MASK).unwrap_or(0).checked_sub(1) {
            None => Part::Caller,
            Some(position) => Part::Callee(position),
        };
        let call = owner.0 >> PART_BITS;
        let index = u32::try_from(call & INDEX_MASK).unwrap_or(u32::MAX);
        let count = u32::try_from(call >> INDEX_BITS).unwrap_or(u32::MAX);
        Self { serial: Serial { index, count }, part }
    }
}

/// Our tags, by which everything inside a dialog finds its call.
pub(super) type Places = HashMap<Tag, Place>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_survives_the_memory_of_a_transaction() {
        for part in [Part::Caller, Part::Callee(0), Part::Callee(TARGETS_TEST_MAX)] {
            let serial = Serial { index: (1 << INDEX_BITS) - 1, count: u32::MAX };
            let place = Place { serial, part };
            assert_eq!(Place::of_owner(place.to_owner()), place);
        }
    }

    const TARGETS_TEST_MAX: u8 = 254;
}
