//! The self-service menu: what a subscriber asks of the store by keys, and what it answers.

use std::fmt;

use super::id::{BindingId, CallId, SubscriberId, TenantId};
use super::purpose::Purpose;

/// Digits of the code of a call.
pub const CODE_DIGITS: usize = 6;
/// The most calls of the past that the menu tells of.
pub const PAST_CALLS_MAX: usize = 5;
/// For so many days calls are paused.
pub const PAUSE_DAYS: i32 = 7;

/// The code that a subscriber hears when a call is announced, and types to show that it was there.
/// Its `Debug` shows nothing.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct CallCode([u8; CODE_DIGITS]);

impl CallCode {
    /// Reads what was typed; anything but so many digits is no code.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits: [u8; CODE_DIGITS] = text.as_bytes().try_into().ok()?;
        digits.iter().all(u8::is_ascii_digit).then_some(Self(digits))
    }

    /// A code out of chance.
    #[must_use]
    pub fn from_random(chance: u64) -> Self {
        let mut rest = chance;
        Self(std::array::from_fn(|_| {
            let digit = b'0' + (rest % 10) as u8;
            rest /= 10;
            digit
        }))
    }

    /// Its digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("it holds digits only")
    }
}

impl fmt::Debug for CallCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallCode(***)")
    }
}

/// What a subscriber wants of the store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MenuRequest {
    /// Is this the code of a call to me?
    Check(CallCode),
    /// Who has called me?
    Callers,
    /// Nobody of this insurer shall call me for [`PAUSE_DAYS`].
    Pause,
    /// Whoever has called last shall not call me again.
    BlockLast,
    /// I complain about the last call.
    ReportLast,
}

/// A request, and by whom.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MenuQuestion {
    /// The call in which the menu is used.
    pub call: CallId,
    /// Counts the questions of that call.
    pub number: u32,
    /// Whose subscriber.
    pub tenant: TenantId,
    /// Through which binding.
    pub binding: BindingId,
    /// Who asks.
    pub subscriber: SubscriberId,
    /// What for.
    pub request: MenuRequest,
}

/// A call of the past, as far as the menu tells of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PastCall {
    /// What it was for.
    pub purpose: Purpose,
    /// Midnights since then, where the subscriber lives.
    pub days_ago: u16,
}

/// What the store says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum MenuAnswer {
    /// The call of that code; `None` when there is none.
    Checked(Option<PastCall>),
    /// None is known, but the subscriber was called lately with a code that nobody knows any more:
    /// it may have been this one.
    Uncertain,
    /// Too many codes were wrong lately: none is looked at for a while.
    Locked,
    /// The last calls that have reached the subscriber, latest first, at most [`PAST_CALLS_MAX`].
    Callers(Vec<PastCall>),
    /// It is so, and durable.
    Done,
    /// No call has come that could be meant.
    NoCalls,
    /// The store gave no answer in time; perhaps it is done.
    Failed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_six_digits_and_nothing_else() {
        assert_eq!(CallCode::parse("012345").expect("a code").as_str(), "012345");
        for text in ["", "12345", "1234567", "12345a", "１２３４５６", "12345 "] {
            assert_eq!(CallCode::parse(text), None, "{text}");
        }
    }

    #[test]
    fn every_chance_gives_a_code_and_none_is_shown() {
        for chance in [0, 1, 999_999, 1_000_000, u64::MAX] {
            let code = CallCode::from_random(chance);
            assert_eq!(CallCode::parse(code.as_str()), Some(code));
            assert_eq!(format!("{code:?}"), "CallCode(***)");
        }
        assert_eq!(CallCode::from_random(123_456).as_str(), "654321");
    }
}
