//! A binding: a virtual number tied to a subscriber under a policy reference, for a time.

use std::time::SystemTime;

/// The state does not allow this change.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct InvalidTransition;

/// Who stopped a binding for a while.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SuspendReason {
    /// The tenant, through its API.
    Tenant,
    /// The operator of the platform.
    Operator,
}

impl SuspendReason {
    /// The stable word in the store and the API.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Operator => "operator",
        }
    }

    /// Reads a label back, as stored.
    #[must_use]
    pub fn find_label(label: &str) -> Option<Self> {
        [Self::Tenant, Self::Operator].into_iter().find(|reason| reason.label() == label)
    }
}

/// What becomes of talking calls when a binding's time is over.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum OnExpiry {
    /// They go on to their own end.
    #[default]
    Finish,
    /// They are warned, and end with the binding.
    End,
}

impl OnExpiry {
    /// The stable word in the store and the API.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Finish => "finish",
            Self::End => "end",
        }
    }

    /// Reads a label back, as stored.
    #[must_use]
    pub fn find_label(label: &str) -> Option<Self> {
        [Self::Finish, Self::End].into_iter().find(|what| what.label() == label)
    }
}

/// A binding's state, with the facts of that state. `expires_at` is absent for terms that follow
/// the policy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BindingState {
    /// Not yet valid; becomes active by itself at `starts_at`.
    Pending {
        /// From when calls are routed.
        starts_at: SystemTime,
        /// Until when.
        expires_at: Option<SystemTime>,
    },
    /// Calls are routed until `expires_at`.
    Active {
        /// Until when.
        expires_at: Option<SystemTime>,
    },
    /// Stopped by an operator or the tenant; can be resumed.
    Suspended {
        /// Who stopped it.
        reason: SuspendReason,
        /// Until when the binding itself lasts.
        expires_at: Option<SystemTime>,
    },
    /// Its time ran out; the virtual number cools down.
    Expired {
        /// When the time ran out.
        expired_at: SystemTime,
    },
    /// Over for good by an unbind; the virtual number cools down.
    Released {
        /// When it was unbound.
        released_at: SystemTime,
    },
}

impl BindingState {
    /// The state at `now`: a time that has come counts, whether or not a sweep has written it down.
    #[must_use]
    pub fn at(self, now: SystemTime) -> Self {
        if let Some(expired_at) = self.expires_at().filter(|at| *at <= now) {
            return Self::Expired { expired_at };
        }
        match self {
            Self::Pending { starts_at, expires_at } if starts_at <= now => {
                Self::Active { expires_at }
            }
            Self::Pending { .. }
            | Self::Active { .. }
            | Self::Suspended { .. }
            | Self::Expired { .. }
            | Self::Released { .. } => self,
        }
    }

    /// Stops routing, and keeps the expiry for a later resume.
    ///
    /// # Errors
    /// Only an active binding can be suspended.
    pub fn suspend(self, reason: SuspendReason) -> Result<Self, InvalidTransition> {
        match self {
            Self::Active { expires_at } => Ok(Self::Suspended { reason, expires_at }),
            Self::Pending { .. }
            | Self::Suspended { .. }
            | Self::Expired { .. }
            | Self::Released { .. } => Err(InvalidTransition),
        }
    }

    /// Routes again.
    ///
    /// # Errors
    /// Only a suspended binding can be resumed.
    pub fn resume(self) -> Result<Self, InvalidTransition> {
        match self {
            Self::Suspended { expires_at, .. } => Ok(Self::Active { expires_at }),
            Self::Pending { .. }
            | Self::Active { .. }
            | Self::Expired { .. }
            | Self::Released { .. } => Err(InvalidTransition),
        }
    }

    /// Gives the binding another end, or none. Whether that end makes sense is the caller's to
    /// judge, who knows the time.
    ///
    /// # Errors
    /// What is over stays over.
    pub fn renew(self, expires_at: Option<SystemTime>) -> Result<Self, InvalidTransition> {
        match self {
            Self::Pending { starts_at, .. } => Ok(Self::Pending { starts_at, expires_at }),
            Self::Active { .. } => Ok(Self::Active { expires_at }),
            Self::Suspended { reason, .. } => Ok(Self::Suspended { reason, expires_at }),
            Self::Expired { .. } | Self::Released { .. } => Err(InvalidTransition),
        }
    }

    /// Until when it lasts; absent when nothing is set, or when it is over.
    #[must_use]
    pub const fn expires_at(&self) -> Option<SystemTime> {
        match *self {
            Self::Pending { expires_at, .. }
            | Self::Active { expires_at }
            | Self::Suspended { expires_at, .. } => expires_at,
            Self::Expired { .. } | Self::Released { .. } => None,
        }
    }

    /// Ends the binding for good.
    ///
    /// # Errors
    /// A binding that is over cannot be released again.
    pub fn release(self, released_at: SystemTime) -> Result<Self, InvalidTransition> {
        match self {
            Self::Pending { .. } | Self::Active { .. } | Self::Suspended { .. } => {
                Ok(Self::Released { released_at })
            }
            Self::Expired { .. } | Self::Released { .. } => Err(InvalidTransition),
        }
    }

    /// The stable word in the store, events and the API.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Pending { .. } => "pending",
            Self::Active { .. } => "active",
            Self::Suspended { .. } => "suspended",
            Self::Expired { .. } => "expired",
            Self::Released { .. } => "released",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_suspended_binding_keeps_its_expiry() {
        let active = BindingState::Active { expires_at: Some(at(100)) };
        let suspended = active.suspend(SuspendReason::Tenant).expect("active can be suspended");
        assert_eq!(suspended.resume(), Ok(active));
        assert_eq!(suspended.at(at(100)), BindingState::Expired { expired_at: at(100) });
    }

    #[test]
    fn a_renewal_moves_the_end_and_nothing_else() {
        let reason = SuspendReason::Tenant;
        let suspended = BindingState::Suspended { reason, expires_at: Some(at(100)) };
        let renewed = suspended.renew(Some(at(200))).expect("it is not over");
        assert_eq!(renewed, BindingState::Suspended { reason, expires_at: Some(at(200)) });
        let pending = BindingState::Pending { starts_at: at(10), expires_at: Some(at(20)) };
        let endless = BindingState::Pending { starts_at: at(10), expires_at: None };
        assert_eq!((pending.renew(None), endless.expires_at()), (Ok(endless), None));
    }

    #[test]
    fn time_opens_and_closes_a_binding() {
        let pending = BindingState::Pending { starts_at: at(10), expires_at: Some(at(20)) };
        assert_eq!(pending.at(at(9)), pending);
        assert_eq!(pending.at(at(10)), BindingState::Active { expires_at: Some(at(20)) });
        assert_eq!(pending.at(at(20)), BindingState::Expired { expired_at: at(20) });
    }

    #[test]
    fn what_is_over_stays_over() {
        for over in [
            BindingState::Released { released_at: at(1) },
            BindingState::Expired { expired_at: at(1) },
        ] {
            assert_eq!(over.suspend(SuspendReason::Tenant), Err(InvalidTransition));
            assert_eq!(over.resume(), Err(InvalidTransition));
            assert_eq!(over.renew(None), Err(InvalidTransition));
            assert_eq!(over.release(at(2)), Err(InvalidTransition));
            assert_eq!(over.at(at(1_000)), over);
        }
    }
}
