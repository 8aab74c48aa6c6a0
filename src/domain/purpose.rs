//! What a call is for: a closed list, and how an attempt may name one of it.

use super::id::IntentId;

macro_rules! purposes {
    ($($(#[$doc:meta])* $name:ident $label:literal $code:literal;)+) => {
        /// The purpose of a call to a subscriber.
        #[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
        pub enum Purpose {
            $($(#[$doc])* $name,)+
            /// None was named, or none that we know.
            #[default]
            Unspecified,
        }

        impl Purpose {
            /// All that can be named, in the order of their codes.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The stable word in headers, the store, events and the API.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self {
                    $(Self::$name => $label,)+
                    Self::Unspecified => "unspecified",
                }
            }

            /// The two digits that a person dials behind the number and a `*`.
            #[must_use]
            pub const fn code(self) -> Option<&'static str> {
                match self {
                    $(Self::$name => Some($code),)+
                    Self::Unspecified => None,
                }
            }
        }
    };
}

purposes! {
    /// Somebody needs help after an accident.
    AccidentEmergency "accident_emergency" "01";
    /// A claim is being handled.
    Claim "claim" "02";
    /// The answer to a complaint.
    ComplaintReply "complaint_reply" "03";
    /// The confirmation of a sale that the regulator asks for.
    ReturnVisit "return_visit" "04";
    /// A question that anti-money-laundering rules demand.
    AmlCheck "aml_check" "05";
    /// Something about a policy in force.
    PolicyService "policy_service" "06";
    /// A premium is due.
    PaymentReminder "payment_reminder" "07";
    /// A policy ends soon.
    RenewalNotice "renewal_notice" "08";
    /// An offer.
    Marketing "marketing" "09";
    /// Questions about satisfaction.
    Survey "survey" "10";
    /// A notice that the law demands.
    StatutoryNotice "statutory_notice" "11";
}

impl Purpose {
    /// Reads a label back; `unspecified` is one too.
    #[must_use]
    pub fn find_label(label: &str) -> Option<Self> {
        let all = Self::ALL.iter().chain(&[Self::Unspecified]);
        all.copied().find(|purpose| purpose.label() == label)
    }

    /// The purpose of a dialled code.
    #[must_use]
    pub fn find_code(code: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|purpose| purpose.code() == Some(code))
    }
}

/// What an attempt says of itself. Only what was understood is kept, never a text.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Stated {
    /// What it is for.
    pub purpose: Purpose,
    /// The intent that the caller's tool has announced before.
    pub intent: Option<IntentId>,
}

/// What an agent's tool has said of an attempt before it came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Announced {
    /// The intent that it uses up.
    pub intent: IntentId,
    /// What it is for.
    pub purpose: Purpose,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_purpose_has_a_word_and_a_code_of_its_own() {
        for (at, purpose) in Purpose::ALL.iter().enumerate() {
            assert_eq!(Purpose::find_label(purpose.label()), Some(*purpose));
            assert_eq!(purpose.code(), Some(format!("{:02}", at + 1).as_str()));
            assert_eq!(purpose.code().and_then(Purpose::find_code), Some(*purpose));
        }
        assert_eq!(Purpose::find_label("unspecified"), Some(Purpose::Unspecified));
    }

    #[test]
    fn anything_else_is_no_purpose() {
        for text in ["", "Claim", "claim ", "claims", "02", "claim\r\nX: y"] {
            assert_eq!(Purpose::find_label(text), None, "{text:?}");
        }
        for code in ["", "0", "00", "12", "99", "7", "007", "+7", "0７"] {
            assert_eq!(Purpose::find_code(code), None, "{code:?}");
        }
    }
}
