//! Which trunk is tried next, and after which failures there is a next one at all.

use crate::domain::cause::Cause;
use crate::domain::cdr::EndedBy;

/// How asking a trunk for the callee ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Attempted {
    /// A final status other than 2xx.
    Status(u16),
    /// No final response in time.
    Silent,
    /// The network says that nobody is there.
    Unreachable,
    /// It has as much as it takes, or has asked for less; it was not asked.
    Full,
}

impl Attempted {
    /// Why the call ends, where another trunk would get the same answer. `None` for a failure of
    /// the trunk itself (RFC 3263 §4.3): it does not serve us (503), does not believe us (401 and
    /// 407 that were not answered to its content), or hears nothing from behind it (408) while no
    /// phone `has_rung`. A 3xx is never followed: its Contact is somebody's choice of destination.
    pub(super) const fn final_cause(self, has_rung: bool) -> Option<Cause> {
        match self {
            Self::Status(401 | 407 | 503) | Self::Silent | Self::Unreachable | Self::Full => None,
            Self::Status(408) if !has_rung => None,
            Self::Status(status) => Some(Cause::from_callee_status(status)),
        }
    }

    /// Why the call ends where no other trunk is left.
    pub(super) const fn last_cause(self) -> (Cause, EndedBy) {
        match self {
            Self::Status(503) | Self::Silent | Self::Unreachable | Self::Full => {
                (Cause::TrunkFailed, EndedBy::Relay)
            }
            Self::Status(status) => (Cause::from_callee_status(status), EndedBy::Callee),
        }
    }
}

/// The trunks of one call, by position, best first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    targets: usize,
    tried: usize,
    alive: bool,
}

impl Plan {
    /// No trunk at all.
    pub(super) const fn none() -> Self {
        Self::new(0)
    }

    /// So many trunks, none tried yet.
    pub(super) const fn new(targets: usize) -> Self {
        Self { targets, tried: 0, alive: false }
    }

    /// The next trunk to try.
    pub(super) const fn next(&mut self) -> Option<usize> {
        if !self.has_next() {
            return None;
        }
        let next = self.tried;
        self.tried += 1;
        self.alive = false;
        Some(next)
    }

    /// The trunk being tried is asked once more: silence counts anew.
    pub(super) const fn ask_again(&mut self) {
        self.alive = false;
    }

    /// There is a trunk that was not tried.
    pub(super) const fn has_next(&self) -> bool {
        self.tried < self.targets
    }

    /// The trunk being tried has said something; true the first time.
    pub(super) const fn mark_alive(&mut self) -> bool {
        !std::mem::replace(&mut self.alive, true)
    }

    /// The trunk being tried has said something.
    pub(super) const fn is_alive(&self) -> bool {
        self.alive
    }
}
