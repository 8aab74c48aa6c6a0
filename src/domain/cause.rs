//! The one list of reasons for which a call is refused or ends, and the one table that says what
//! each means outside.

/// What the caller is told: a SIP status of a refusal and the Q.850 cause that goes with it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CauseRow {
    /// The cause this row is about.
    pub cause: Cause,
    /// The stable word in CDRs, events, API answers and metric labels.
    pub label: &'static str,
    /// The final status sent to the caller when the call was not answered (RFC 3261 §21).
    pub sip_status: u16,
    /// ITU-T Q.850 cause value.
    pub q850: u8,
    /// The announcement played before the final status, by its name in `assets/`.
    pub announcement: Announcement,
}

/// The spoken sentence for a cause; several causes sound alike on purpose.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Announcement {
    /// Nothing is said.
    Silent,
    /// "This contact number cannot connect you." The same for unknown, foreign, cooling and expired
    /// numbers.
    CannotConnect,
    /// "The person you call is busy."
    Busy,
    /// "The person you call does not answer."
    NoAnswer,
    /// "This call is not permitted now."
    NotPermitted,
    /// "Please try again later."
    TryLater,
}

macro_rules! causes {
    ($($(#[$doc:meta])* $name:ident $label:literal $sip:literal $q850:literal $say:ident;)+) => {
        /// Why a call was refused or how it ended.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum Cause {
            $($(#[$doc])* $name,)+
        }

        /// One row per cause, in the order of the enum.
        pub const CAUSES: &[CauseRow] = &[
            $(CauseRow {
                cause: Cause::$name,
                label: $label,
                sip_status: $sip,
                q850: $q850,
                announcement: Announcement::$say,
            },)+
        ];

        impl Cause {
            /// The row of this cause.
            #[must_use]
            pub const fn row(self) -> &'static CauseRow {
                &CAUSES[self as usize]
            }
        }
    };
}

causes! {
    /// The callee is busy.
    Busy "busy" 486 17 Busy;
    /// The callee rang for the whole ring time.
    NoAnswer "no_answer" 480 19 NoAnswer;
    /// The callee refused the call.
    Rejected "rejected" 603 21 NoAnswer;
    /// The callee's phone is off or out of reach.
    Unreachable "unreachable" 480 20 NoAnswer;
    /// The caller ended an answered call.
    CallerHangup "caller_hangup" 480 16 Silent;
    /// The callee ended an answered call.
    CalleeHangup "callee_hangup" 480 16 Silent;
    /// The caller gave up before the answer.
    CallerCancelled "caller_cancelled" 487 16 Silent;
    /// The self-service menu came to its end.
    MenuFinished "menu_finished" 480 16 Silent;
    /// The longest allowed duration was reached.
    MaxDuration "max_duration" 480 31 Silent;
    /// Outside the hours allowed for this purpose.
    QuietHours "quiet_hours" 403 21 NotPermitted;
    /// The tenant or agent has called too often.
    FrequencyCap "frequency_cap" 403 21 NotPermitted;
    /// As many calls at one time as a cap against fraud allows.
    CallsCap "calls_cap" 403 21 NotPermitted;
    /// As many calls in this minute as a cap against fraud allows.
    RateCap "rate_cap" 403 21 NotPermitted;
    /// The minutes of this day that a cap against fraud allows are used up.
    MinutesCap "minutes_cap" 403 21 NotPermitted;
    /// All tenants together have called this subscriber too often.
    PlatformBudget "platform_budget" 403 21 NotPermitted;
    /// The purpose needs a consent that does not exist.
    NoConsent "no_consent" 403 21 NotPermitted;
    /// The subscriber asked not to be called.
    DoNotCall "do_not_call" 403 21 NotPermitted;
    /// The subscriber has paused all calls for a while.
    Paused "paused" 403 21 NotPermitted;
    /// A block refuses this attempt.
    Blocked "blocked" 403 21 NotPermitted;
    /// The tenant is suspended.
    TenantSuspended "tenant_suspended" 403 21 NotPermitted;
    /// The caller is no active agent of the tenant.
    AgentUnknown "agent_unknown" 403 21 NotPermitted;
    /// The agent's filing is missing or out of date.
    AgentNotFiled "agent_not_filed" 403 21 NotPermitted;
    /// The number class or the agent may not call for this purpose.
    PurposeNotAllowed "purpose_not_allowed" 403 21 NotPermitted;
    /// The tenant demands an intent and there is none.
    IntentRequired "intent_required" 403 21 NotPermitted;
    /// Calls in this direction are not allowed.
    DirectionNotAllowed "direction_not_allowed" 403 21 NotPermitted;
    /// Nobody is reached by this number; strangers and foreign tenants get this too.
    NumberUnknown "number_unknown" 404 1 CannotConnect;
    /// The binding is suspended.
    BindingSuspended "binding_suspended" 403 21 NotPermitted;
    /// The binding is over.
    BindingExpired "binding_expired" 404 1 CannotConnect;
    /// The virtual number rests between two bindings.
    Cooling "cooling" 404 1 CannotConnect;
    /// The extension does not exist.
    ExtensionWrong "extension_wrong" 404 1 CannotConnect;
    /// The subscriber refused after hearing who calls.
    WhisperRefused "whisper_refused" 603 21 NoAnswer;
    /// The subscriber pressed nothing after hearing who calls.
    WhisperTimeout "whisper_timeout" 480 19 NoAnswer;
    /// The subscriber has heard who calls and wants to be called later.
    WhisperLater "whisper_later" 480 19 NoAnswer;
    /// The caller is on the shared harassment list.
    SharedList "shared_list" 403 21 NotPermitted;
    /// No trunk leads to the callee, or the INVITE cannot be routed as it is: a loop, no hops left,
    /// an extension that it demands.
    NoRoute "no_route" 503 3 TryLater;
    /// Every trunk to the callee failed.
    TrunkFailed "trunk_failed" 503 38 TryLater;
    /// No media port is free.
    NoMediaPort "no_media_port" 503 34 TryLater;
    /// Both sides were silent for too long.
    MediaTimeout "media_timeout" 480 31 Silent;
    /// The media plane ended while the call was up.
    MediaLost "media_lost" 503 41 TryLater;
    /// It has to be recorded, and cannot be.
    NotRecorded "not_recorded" 503 41 TryLater;
    /// A side did not confirm in time that it is still there: no session refresh, or no PRACK.
    SessionExpired "session_expired" 504 102 Silent;
    /// No codec in common, or a body or an offer that cannot be read or relayed.
    MediaUnacceptable "media_unacceptable" 488 88 Silent;
    /// More work than the relay can do.
    Overload "overload" 503 42 TryLater;
    /// The relay finishes its calls and takes no new ones.
    Draining "draining" 503 42 TryLater;
    /// The store gave no answer in time.
    StoreUnavailable "store_unavailable" 503 41 TryLater;
    /// An operator or the tenant ended the call.
    OperatorTerminated "operator_terminated" 480 31 Silent;
    /// Our own fault.
    Internal "internal" 500 41 TryLater;
}

impl Cause {
    /// The stable word in CDRs, events, API answers and metric labels.
    #[must_use]
    pub const fn label(self) -> &'static str {
        self.row().label
    }

    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        CAUSES.iter().map(|row| row.cause)
    }

    /// Reads a label back, as stored.
    #[must_use]
    pub fn find_label(label: &str) -> Option<Self> {
        CAUSES.iter().find(|row| row.label == label).map(|row| row.cause)
    }

    /// What the caller is told: a SIP status with the standard's own words belongs to it.
    #[must_use]
    pub const fn sip_status(self) -> u16 {
        self.row().sip_status
    }

    /// ITU-T Q.850 cause value for the Reason header (RFC 3326).
    #[must_use]
    pub const fn q850(self) -> u8 {
        self.row().q850
    }

    /// The cause for a status with which an attempt is refused for what its INVITE says, before
    /// anybody is asked whom it reaches.
    #[must_use]
    pub const fn from_our_status(status: u16) -> Self {
        match status {
            406 | 415 | 488 => Self::MediaUnacceptable,
            416 => Self::NumberUnknown,
            _ => Self::NoRoute,
        }
    }

    /// The cause for a callee's final status on the last trunk tried.
    #[must_use]
    pub const fn from_callee_status(status: u16) -> Self {
        match status {
            486 | 600 => Self::Busy,
            403 | 433 | 603 | 607 | 608 => Self::Rejected,
            408 => Self::NoAnswer,
            404 | 410 | 480 | 484 | 604 => Self::Unreachable,
            406 | 415 | 488 | 606 => Self::MediaUnacceptable,
            487 => Self::NoAnswer,
            _ => Self::TrunkFailed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_finds_its_own_row() {
        for (index, row) in CAUSES.iter().enumerate() {
            assert_eq!(row.cause as usize, index);
            assert_eq!(row.cause.row(), row);
            assert_eq!(Cause::find_label(row.label), Some(row.cause));
        }
    }

    #[test]
    fn numbers_that_connect_nobody_look_and_sound_alike() {
        let unknown = Cause::NumberUnknown.row();
        for cause in [Cause::Cooling, Cause::BindingExpired, Cause::ExtensionWrong] {
            let row = cause.row();
            assert_eq!(
                (row.sip_status, row.q850, row.announcement),
                (unknown.sip_status, unknown.q850, unknown.announcement)
            );
        }
    }

    #[test]
    fn a_refusal_is_never_a_success() {
        assert!(CAUSES.iter().all(|row| (400..700).contains(&row.sip_status)));
    }
}
