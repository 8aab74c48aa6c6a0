//! What a subscriber hears before a call of an insurer is bridged: in which way for which purpose,
//! and what came of it.

use std::time::SystemTime;

use super::cause::Cause;
use super::event::EventKind;
use super::id::{AgentId, BindingId, CallId, SubscriberId, TenantId};
use super::purpose::Purpose;

/// How a call is announced to the subscriber who has answered it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WhisperMode {
    /// Bridged when the announcement is over, unless the subscriber says no.
    Announce,
    /// Bridged only when the subscriber accepts.
    Accept,
}

/// What the platform has set for all calls.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum WhisperPolicy {
    /// As the purpose of the call demands.
    #[default]
    ByPurpose,
    /// Announced whatever it is for, and bridged.
    Announce,
    /// Bridged at once.
    Off,
}

impl WhisperPolicy {
    /// How a call for this purpose is announced; `None` when it is not.
    #[must_use]
    pub const fn mode(self, purpose: Purpose) -> Option<WhisperMode> {
        match self {
            Self::ByPurpose => Some(mode_of(purpose)),
            Self::Announce => Some(WhisperMode::Announce),
            Self::Off => None,
        }
    }

    /// The stable word in the configuration.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::ByPurpose => "by_purpose",
            Self::Announce => "announce",
            Self::Off => "off",
        }
    }

    /// Reads a label back.
    #[must_use]
    pub fn find_label(label: &str) -> Option<Self> {
        let all = [Self::ByPurpose, Self::Announce, Self::Off];
        all.into_iter().find(|policy| policy.label() == label)
    }
}

/// What silence means where a yes is needed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum OnSilence {
    /// No.
    #[default]
    Refuse,
    /// The subscriber was told, and that is enough.
    Connect,
}

impl OnSilence {
    /// The stable word in the configuration.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Connect => "connect",
        }
    }

    /// Reads a label back.
    #[must_use]
    pub fn find_label(label: &str) -> Option<Self> {
        [Self::Refuse, Self::Connect].into_iter().find(|it| it.label() == label)
    }
}

/// What a subscriber says of a call that it does not want.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Dislike {
    /// No more calls of this kind from this tenant.
    Kind,
    /// This call is reported: a complaint.
    Call,
}

/// A subscriber has said by a key that it does not want a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Unwanted {
    /// What it has said.
    pub what: Dislike,
    /// In which call.
    pub call: CallId,
    /// Whose calls.
    pub tenant: TenantId,
    /// Through which binding.
    pub binding: BindingId,
    /// Who.
    pub subscriber: SubscriberId,
    /// By which agent it was called.
    pub agent: Option<AgentId>,
    /// For what.
    pub purpose: Purpose,
    /// When.
    pub at: SystemTime,
}

/// What nobody should have to ask for is announced; what sells, asks or names no purpose needs a
/// yes.
const fn mode_of(purpose: Purpose) -> WhisperMode {
    match purpose {
        Purpose::AccidentEmergency
        | Purpose::Claim
        | Purpose::ComplaintReply
        | Purpose::ReturnVisit
        | Purpose::AmlCheck
        | Purpose::PolicyService
        | Purpose::PaymentReminder
        | Purpose::StatutoryNotice => WhisperMode::Announce,
        Purpose::RenewalNotice | Purpose::Marketing | Purpose::Survey | Purpose::Unspecified => {
            WhisperMode::Accept
        }
    }
}

macro_rules! results {
    ($($(#[$doc:meta])* $name:ident $label:literal $event:expr, $cause:expr;)+) => {
        /// What became of an announcement: one for each call that was announced.
        #[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
        pub enum WhisperResult {
            $($(#[$doc])* $name,)+
        }

        impl WhisperResult {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The stable word in the store, events and the API.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)+ }
            }

            /// The event that tells the tenant, beside the one of the call.
            #[must_use]
            pub const fn event(self) -> Option<EventKind> {
                match self { $(Self::$name => $event,)+ }
            }

            /// Why the call ends; `None` when it is bridged, or ends for a cause of its own.
            #[must_use]
            pub const fn cause(self) -> Option<Cause> {
                match self { $(Self::$name => $cause,)+ }
            }
        }
    };
}

results! {
    /// Heard, and bridged without a key.
    Announced "announced" None, None;
    /// The subscriber wants the call.
    Accepted "accepted" Some(EventKind::WhisperAccepted), None;
    /// Not now.
    Later "later" Some(EventKind::WhisperLater), Some(Cause::WhisperLater);
    /// Never again for this purpose.
    Refused "refused" Some(EventKind::WhisperRefused), Some(Cause::WhisperRefused);
    /// The subscriber complains about it.
    Reported "reported" Some(EventKind::WhisperReported), Some(Cause::WhisperRefused);
    /// Whoever has answered is not the one who is meant.
    WrongPerson "wrong_person" Some(EventKind::WhisperWrongPerson),
        Some(Cause::WhisperRefused);
    /// No key came in time.
    TimedOut "timed_out" Some(EventKind::WhisperTimedOut), Some(Cause::WhisperTimeout);
    /// The subscriber hung up before it was decided.
    HungUp "hung_up" None, None;
    /// The caller gave up, or the relay ended the call, before it was decided.
    GivenUp "given_up" None, None;
}

impl WhisperResult {
    /// Reads a label back, as stored.
    #[must_use]
    pub fn find_label(label: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|result| result.label() == label)
    }

    /// What of it is written at once, and not with the record of the call alone.
    #[must_use]
    pub const fn dislike(self) -> Option<Dislike> {
        match self {
            Self::Refused => Some(Dislike::Kind),
            Self::Reported => Some(Dislike::Call),
            Self::Announced
            | Self::Accepted
            | Self::Later
            | Self::WrongPerson
            | Self::TimedOut
            | Self::HungUp
            | Self::GivenUp => None,
        }
    }

    /// The call goes on to the bridge.
    #[must_use]
    pub const fn admits(self) -> bool {
        matches!(self, Self::Announced | Self::Accepted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sells_or_hides_its_purpose_needs_a_yes_and_all_else_is_announced() {
        let needs_yes: Vec<&str> = Purpose::ALL
            .iter()
            .chain(&[Purpose::Unspecified])
            .filter(|purpose| WhisperPolicy::ByPurpose.mode(**purpose) == Some(WhisperMode::Accept))
            .map(|purpose| purpose.label())
            .collect();
        assert_eq!(needs_yes, ["renewal_notice", "marketing", "survey", "unspecified"]);
    }

    #[test]
    fn a_policy_for_all_calls_does_not_ask_for_the_purpose() {
        for purpose in [Purpose::Claim, Purpose::Marketing] {
            assert_eq!(WhisperPolicy::Announce.mode(purpose), Some(WhisperMode::Announce));
            assert_eq!(WhisperPolicy::Off.mode(purpose), None);
        }
        for policy in [WhisperPolicy::ByPurpose, WhisperPolicy::Announce, WhisperPolicy::Off] {
            assert_eq!(WhisperPolicy::find_label(policy.label()), Some(policy));
        }
    }

    #[test]
    fn every_result_has_a_word_of_its_own_and_none_that_admits_ends_the_call() {
        for result in WhisperResult::ALL {
            assert_eq!(WhisperResult::find_label(result.label()), Some(*result));
            assert!(!result.admits() || result.cause().is_none());
        }
    }
}
