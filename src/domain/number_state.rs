//! The states of a virtual number, from free to free again after a long rest.

use std::time::{Duration, SystemTime};

/// A released number rests at least this long before anybody else may get it.
pub const COOLING_MIN: Duration = Duration::from_secs(90 * DAY_S);
/// An attempt on a resting number shows that somebody still dials it: it rests so much longer.
pub const QUIET_TIME: Duration = Duration::from_secs(60 * DAY_S);
/// A number does not return to the same tenant within this time.
pub const SAME_TENANT_TIME: Duration = Duration::from_secs(365 * DAY_S);
/// Calls that are up at the release are over by then: the longest duration of a call.
pub const DRAINING_TIME: Duration = Duration::from_secs(DAY_S);

const DAY_S: u64 = 24 * 60 * 60;

/// What a virtual number is doing, with the facts of that state.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NumberState {
    /// Free to be bound.
    Available,
    /// Tied to a binding.
    Bound,
    /// Released while calls were up.
    Draining {
        /// The end of the rest that follows.
        cooling_until: SystemTime,
    },
    /// Resting; calls to it connect nobody.
    Cooling {
        /// When it may be free again, unless somebody dials it.
        cooling_until: SystemTime,
    },
    /// Kept back by the operator.
    Reserved,
    /// The carrier reports a fault.
    Sick,
    /// Given back to the carrier.
    Retired,
}

/// A state without its facts, for filters and counts.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum NumberStateKind {
    /// [`NumberState::Available`]
    Available,
    /// [`NumberState::Bound`]
    Bound,
    /// [`NumberState::Draining`]
    Draining,
    /// [`NumberState::Cooling`]
    Cooling,
    /// [`NumberState::Reserved`]
    Reserved,
    /// [`NumberState::Sick`]
    Sick,
    /// [`NumberState::Retired`]
    Retired,
}

impl NumberStateKind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Available,
        Self::Bound,
        Self::Draining,
        Self::Cooling,
        Self::Reserved,
        Self::Sick,
        Self::Retired,
    ];

    /// The stable word in the store, events and the API.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Bound => "bound",
            Self::Draining => "draining",
            Self::Cooling => "cooling",
            Self::Reserved => "reserved",
            Self::Sick => "sick",
            Self::Retired => "retired",
        }
    }

    /// Reads a label back, as stored.
    #[must_use]
    pub fn find_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.label() == label)
    }
}

impl NumberState {
    /// The state without its facts.
    #[must_use]
    pub const fn kind(&self) -> NumberStateKind {
        match self {
            Self::Available => NumberStateKind::Available,
            Self::Bound => NumberStateKind::Bound,
            Self::Draining { .. } => NumberStateKind::Draining,
            Self::Cooling { .. } => NumberStateKind::Cooling,
            Self::Reserved => NumberStateKind::Reserved,
            Self::Sick => NumberStateKind::Sick,
            Self::Retired => NumberStateKind::Retired,
        }
    }
}

/// What the operator may order about a number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NumberOrder {
    /// Keep a free number back.
    Reserve,
    /// Take it out: the carrier reports a fault. A binding stays.
    MarkSick,
    /// End a reserve or a fault: back to what it was, bound and resting numbers too.
    Restore,
    /// Give it back to the carrier, for good. Not while it is bound.
    Retire,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_is_read_back() {
        for kind in NumberStateKind::ALL {
            assert_eq!(NumberStateKind::find_label(kind.label()), Some(kind));
        }
        assert_eq!(NumberStateKind::find_label("free"), None);
    }
}
