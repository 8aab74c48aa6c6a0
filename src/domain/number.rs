//! Telephone numbers as types: the real number that must never leak, and the virtual number shown
//! to both sides.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

/// The most digits a number may have (E.164 §6).
pub const DIGITS_MAX: usize = 15;
/// The fewest digits a real number may have.
pub const REAL_DIGITS_MIN: usize = 5;
/// The fewest digits a virtual number may have: short service codes such as `95xxx`.
pub const VIRTUAL_DIGITS_MIN: usize = 3;

/// Why a text is no number. It never holds the text: the text may be somebody's number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum InvalidNumber {
    /// A real number starts with `+` and its country code.
    PlusMissing,
    /// Fewer digits than the kind of number allows.
    TooShort,
    /// More than [`DIGITS_MAX`] digits.
    TooLong,
    /// Something other than an ASCII digit.
    NotADigit,
    /// A country code does not start with zero.
    LeadingZero,
}

impl InvalidNumber {
    /// A stable code for API errors and CLI messages.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::PlusMissing => "number_plus_missing",
            Self::TooShort => "number_too_short",
            Self::TooLong => "number_too_long",
            Self::NotADigit => "number_not_a_digit",
            Self::LeadingZero => "number_leading_zero",
        }
    }
}

impl fmt::Display for InvalidNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PlusMissing => "must start with + and the country code",
            Self::TooShort => "has too few digits",
            Self::TooLong => "has more than 15 digits",
            Self::NotADigit => "has a character that is not a digit",
            Self::LeadingZero => "must not have a zero after the +",
        })
    }
}

impl std::error::Error for InvalidNumber {}

/// Why a real number is read in clear. Naming one makes every use findable with one search.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reveal {
    /// To seal it for storage.
    Seal,
    /// To compute its keyed lookup hash.
    LookupHash,
    /// To compute a keyed commitment to it.
    Commit,
    /// To dial it on a carrier trunk.
    DialCarrier,
}

/// A subscriber's own number in E.164 form. Its `Debug` shows nothing; it has no `Display`, no
/// `Serialize` and no `Clone`: share it behind an `Arc`. The memory is wiped when it is dropped.
#[derive(Eq, PartialEq, Zeroize, ZeroizeOnDrop)]
pub struct RealNumber(Box<str>);

impl RealNumber {
    /// Reads `+` and 5 to 15 digits.
    ///
    /// # Errors
    /// [`InvalidNumber`] names the rule that is broken and never the text.
    pub fn parse(text: &str) -> Result<Self, InvalidNumber> {
        let digits = text.strip_prefix('+').ok_or(InvalidNumber::PlusMissing)?;
        check_digits(digits, REAL_DIGITS_MIN)?;
        if digits.starts_with('0') {
            return Err(InvalidNumber::LeadingZero);
        }
        Ok(Self(text.into()))
    }

    /// Reads a number as a carrier of `country` (its calling code, such as `86`) spells a caller:
    /// `+86…`, `0086…`, `86…` at full length, or a national number with or without the trunk prefix
    /// `0`.
    ///
    /// # Errors
    /// [`InvalidNumber`] when none of these spellings fits.
    pub fn parse_dialled(text: &str, country: &str) -> Result<Self, InvalidNumber> {
        if text.starts_with('+') {
            return Self::parse(text);
        }
        check_digits(text, REAL_DIGITS_MIN)?;
        if let Some(rest) = text.strip_prefix("00") {
            return Self::parse(&format!("+{rest}"));
        }
        // A national number of at most 11 digits never reaches the length of one with its country
        // code.
        if text.starts_with(country) && text.len() > NATIONAL_DIGITS_MAX {
            return Self::parse(&format!("+{text}"));
        }
        let national = text.strip_prefix('0').unwrap_or(text);
        Self::parse(&format!("+{country}{national}"))
    }

    /// The number in clear, with its `+`. `why` makes every use findable with one search.
    #[must_use]
    pub fn reveal(&self, _why: Reveal) -> &str {
        &self.0
    }

    /// Of the plan we know (86 and eleven digits) the first three and last four, such as
    /// `138****0000`. Of any other number the last four at most, and so few that at least four
    /// national digits are hidden; of a short one nothing.
    #[must_use]
    pub fn masked(&self) -> String {
        let digits = self.0.trim_start_matches('+');
        if let Some(national) = digits.strip_prefix("86").filter(|n| n.len() == 11) {
            return format!("{}****{}", &national[..3], &national[national.len() - 4..]);
        }
        let hidden = COUNTRY_CODE_DIGITS_MAX + HIDDEN_DIGITS_MIN;
        let shown = match digits.len().saturating_sub(hidden) {
            ..SHOWN_DIGITS_MIN => 0,
            spare => spare.min(SHOWN_DIGITS_MAX),
        };
        format!("****{}", &digits[digits.len() - shown..])
    }

    /// The last four digits: what the masked form of a telephone number shows too.
    #[must_use]
    pub fn ending(&self) -> &str {
        self.0.get(self.0.len() - ENDING_DIGITS..).unwrap_or_default()
    }

    /// Whether the network of `country` takes both for one number: X may be stored at full length
    /// or as a national number, with or without the trunk prefix `0`.
    #[must_use]
    pub fn is_virtual(&self, number: &VirtualNumber, country: &str) -> bool {
        let full = self.0.trim_start_matches('+');
        let digits = number.as_str();
        let national = digits.strip_prefix('0').unwrap_or(digits);
        full == digits
            || digits.strip_prefix("00") == Some(full)
            || full.strip_prefix(country) == Some(national)
    }
}

/// How much of a number [`RealNumber::ending`] shows.
pub const ENDING_DIGITS: usize = 4;

/// The longest country code of E.164: whoever sees a mask can guess these digits.
const COUNTRY_CODE_DIGITS_MAX: usize = 3;
/// So many national digits a mask hides at least.
const HIDDEN_DIGITS_MIN: usize = 4;
/// The last digits help to tell numbers apart; a single one does not.
const SHOWN_DIGITS_MIN: usize = 2;
/// As many last digits as of the known plan.
const SHOWN_DIGITS_MAX: usize = 4;
/// The longest national number of the numbering plans we read without a plus sign.
const NATIONAL_DIGITS_MAX: usize = 11;

impl fmt::Debug for RealNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RealNumber(***)")
    }
}

/// The number shown to both sides: a string of 3 to 15 digits, E.164 or national, 700-numbers of 15
/// digits included. It is stored without `+`; an extension travels apart.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct VirtualNumber {
    /// Unused places hold zeroes. No memory of its own: each call copies its number some times.
    digits: [u8; DIGITS_MAX],
    count: u8,
}

impl VirtualNumber {
    /// Reads 3 to 15 digits; one leading `+` is dropped.
    ///
    /// # Errors
    /// [`InvalidNumber`] names the rule that is broken and never the text.
    pub fn parse(text: &str) -> Result<Self, InvalidNumber> {
        let digits = text.strip_prefix('+').unwrap_or(text);
        check_digits(digits, VIRTUAL_DIGITS_MIN)?;
        let mut number = Self { digits: [0; DIGITS_MAX], count: 0 };
        for (place, digit) in number.digits.iter_mut().zip(digits.bytes()) {
            *place = digit;
            number.count += 1;
        }
        Ok(number)
    }

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let digits = self.digits.get(..usize::from(self.count)).unwrap_or_default();
        str::from_utf8(digits).unwrap_or_default()
    }
}

impl fmt::Display for VirtualNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for VirtualNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VirtualNumber({})", self.as_str())
    }
}

/// Digits dialled after X, so that one X serves many subscribers: 3 to 8 of them.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Extension(Box<str>);

impl Extension {
    /// Reads 3 to 8 digits.
    ///
    /// # Errors
    /// [`InvalidNumber`] names the rule that is broken.
    pub fn parse(text: &str) -> Result<Self, InvalidNumber> {
        check_digits(text, 3)?;
        if text.len() > 8 {
            return Err(InvalidNumber::TooLong);
        }
        Ok(Self(text.into()))
    }

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check_digits(digits: &str, digits_min: usize) -> Result<(), InvalidNumber> {
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(InvalidNumber::NotADigit);
    }
    if digits.len() < digits_min {
        return Err(InvalidNumber::TooShort);
    }
    if digits.len() > DIGITS_MAX {
        return Err(InvalidNumber::TooLong);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::marker::PhantomData;

    /// Whether a type has a trait: what is there for types that have it goes before what is there
    /// for all types. A `String` has each of them, which shows that this can say yes.
    macro_rules! has {
        ($type:ty, $bound:path) => {{
            struct Probe<T>(PhantomData<T>);
            trait Otherwise: Sized {
                fn has(self) -> bool {
                    false
                }
            }
            impl<T> Otherwise for Probe<T> {}
            impl<T: $bound> Probe<T> {
                fn has(self) -> bool {
                    let Self(PhantomData) = self;
                    true
                }
            }
            assert!(
                Probe::<String>(PhantomData).has() && !Otherwise::has(Probe(PhantomData::<()>))
            );
            Probe::<$type>(PhantomData).has()
        }};
    }

    /// L6. What is missing here cannot be called by accident: the way out is `reveal`.
    #[test]
    fn a_real_number_cannot_be_printed_copied_or_serialized() {
        assert!(!has!(RealNumber, fmt::Display) && !has!(RealNumber, ToString));
        assert!(!has!(RealNumber, Clone) && !has!(RealNumber, ToOwned));
        assert!(!has!(RealNumber, serde::Serialize) && !has!(RealNumber, Into<String>));
        assert!(!has!(RealNumber, AsRef<str>) && !has!(RealNumber, std::ops::Deref));
        assert!(!has!(RealNumber, std::hash::Hash) && !has!(RealNumber, PartialOrd));
        assert!(has!(VirtualNumber, fmt::Display) && has!(VirtualNumber, Clone));
    }

    #[test]
    fn debug_of_a_real_number_shows_nothing() {
        let number = RealNumber::parse("+8613800001234").expect("a valid number");
        assert_eq!(format!("{number:?}"), "RealNumber(***)");
        assert_eq!(number.masked(), "138****1234");
    }

    #[test]
    fn every_carrier_spelling_is_one_number() {
        let wanted = RealNumber::parse("+8613800001234").expect("a valid number");
        for text in
            ["+8613800001234", "008613800001234", "8613800001234", "13800001234", "013800001234"]
        {
            assert_eq!(
                RealNumber::parse_dialled(text, "86").as_ref(),
                Ok(&wanted),
                "{}",
                text.len()
            );
        }
    }

    #[test]
    fn broken_numbers_are_named_by_rule() {
        let rule = |text| RealNumber::parse(text).expect_err("an invalid number");
        assert_eq!(rule("13800001234"), InvalidNumber::PlusMissing);
        assert_eq!(rule("+1380"), InvalidNumber::TooShort);
        assert_eq!(rule("+1234567890123456"), InvalidNumber::TooLong);
        assert_eq!(rule("+86138abc01234"), InvalidNumber::NotADigit);
        assert_eq!(rule("+86１380000"), InvalidNumber::NotADigit);
        assert_eq!(rule("+0613800001234"), InvalidNumber::LeadingZero);
    }

    #[test]
    fn a_700_number_of_fifteen_digits_is_a_virtual_number() {
        let x = VirtualNumber::parse("700123456789012").expect("a valid number");
        assert_eq!(x.to_string(), "700123456789012");
        assert_eq!(VirtualNumber::parse("7001234567890123"), Err(InvalidNumber::TooLong));
        assert_eq!(VirtualNumber::parse("95"), Err(InvalidNumber::TooShort));
    }

    #[test]
    fn a_number_is_virtual_in_every_spelling_of_its_country_and_no_other() {
        let is_virtual = |real: &str, number: &str| {
            let number = VirtualNumber::parse(number).expect("a valid number");
            RealNumber::parse(real).expect("a valid number").is_virtual(&number, "86")
        };
        for number in ["8613800001234", "13800001234", "013800001234", "008613800001234"] {
            assert!(is_virtual("+8613800001234", number), "{number}");
        }
        assert!(is_virtual("+86951", "951") && is_virtual("+8695588", "95588"));
        for number in ["13800001235", "3800001234", "1234", "4913800001234", "613800001234"] {
            assert!(!is_virtual("+8613800001234", number), "{number}");
        }
        assert!(!is_virtual("+4913800001234", "13800001234"));
        assert_eq!(RealNumber::parse("+86951").expect("a valid number").ending(), "6951");
    }

    #[test]
    fn outside_the_known_plan_at_least_four_national_digits_are_hidden() {
        let masks = ["", "", "", "", "89", "890", "8901", "9012", "0123", "1234", "2345"];
        for (digits, shown) in (REAL_DIGITS_MIN..=DIGITS_MAX).zip(masks) {
            let number = RealNumber::parse(&format!("+{}", &"123456789012345"[..digits]));
            let masked = number.expect("a valid number").masked();
            assert_eq!(masked, format!("****{shown}"));
            let country_code = 3;
            assert!(shown.is_empty() || digits - country_code - shown.len() >= 4, "{digits}");
        }
        // Country 86, and not as long as the numbers of mobile phones there.
        let landline = RealNumber::parse("+862112345678").expect("a valid number");
        assert_eq!(landline.masked(), "****5678");
    }
}
