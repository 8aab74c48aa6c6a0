//! Test mode: the numbers that a built-in peer answers, each in its own way, and the trunk that
//! leads to it. The subscribers of test tenants are reached by this trunk alone, and those of all
//! others never.

use super::id::TrunkId;

/// The trunk that is in no table: the peer within this process.
pub const LOOPBACK: TrunkId = TrunkId::from_u128(u128::MAX);

/// What all magic numbers begin with: numbers that nobody has.
const PREFIX: &str = "861380000";

/// What somebody behind a magic number does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Magic {
    /// Rings, answers after two seconds, and talks.
    Answers,
    /// Is busy.
    Busy,
    /// Rings for ever.
    NoAnswer,
    /// Has a phone that is off.
    Unreachable,
    /// Rings and refuses.
    Rejects,
    /// Answers and presses this key when it has heard a little.
    Presses {
        /// 1 connects, 2 means later, 3 no more of that kind, 9 a complaint.
        key: u8,
    },
    /// Makes sound before it answers.
    EarlyMedia,
    /// Answers, and hangs up after a second.
    Drops,
    /// Answers and is never heard.
    OneWay,
    /// Is nobody's number.
    Unassigned,
}

impl Magic {
    /// Who is behind a number, as an INVITE has it: with or without `+`.
    #[must_use]
    pub fn of(number: &[u8]) -> Self {
        let digits = number.strip_prefix(b"+").unwrap_or(number);
        match digits.strip_prefix(PREFIX.as_bytes()) {
            Some(b"0001") => Self::Answers,
            Some(b"0002") => Self::Busy,
            Some(b"0003") => Self::NoAnswer,
            Some(b"0004") => Self::Unreachable,
            Some(b"0005") => Self::Rejects,
            Some(b"0006") => Self::Presses { key: 1 },
            Some(b"0007") => Self::EarlyMedia,
            Some(b"0008") => Self::Drops,
            Some(b"0009") => Self::OneWay,
            Some(b"0012") => Self::Presses { key: 2 },
            Some(b"0013") => Self::Presses { key: 3 },
            Some(b"0019") => Self::Presses { key: 9 },
            Some(_) | None => Self::Unassigned,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_magic_number_is_known_by_all_of_its_digits() {
        assert_eq!(Magic::of(b"+8613800000001"), Magic::Answers);
        assert_eq!(Magic::of(b"8613800000019"), Magic::Presses { key: 9 });
        for other in ["13800000001", "+86138000000010", "+861380000001", "+8613800005678", ""] {
            assert_eq!(Magic::of(other.as_bytes()), Magic::Unassigned, "{other}");
        }
    }
}
