//! Finds what looks like a telephone number in a text that people write freely, however they spell
//! it. It errs on the side of refusing: a number may enter through its own two fields only.

use std::ops::RangeInclusive;

/// The digits of a mainland mobile number.
const MOBILE_DIGITS: usize = 11;
/// What may stand before a mobile number: nothing, the trunk prefix, the country code.
const PREFIXES: [&str; 5] = ["", "0", "86", "086", "0086"];
/// The first digits of the area codes of three digits, whose numbers have eight.
const SHORT_AREAS: [&str; 2] = ["010", "02"];
/// The digits of a number behind an area code of three digits, and of four.
const BEHIND_SHORT_AREA: RangeInclusive<usize> = 8..=8;
const BEHIND_AREA: RangeInclusive<usize> = 7..=8;
/// The country code by itself before an area code, which has no zero then.
const COUNTRY_CODES: [&str; 2] = ["86", "0086"];
/// The digits behind a `+`.
const PLUS_DIGITS: RangeInclusive<usize> = 8..=15;
/// The digits behind a scheme; fewer are an extension.
const URI_DIGITS: RangeInclusive<usize> = 5..=18;
const SCHEMES: [&str; 3] = ["tel:", "sip:", "sips:"];
/// The most separators between two groups of digits of one number.
const SEPARATORS_MAX: usize = 3;
/// The most groups that a number is looked for in at once: each digit by itself, and a prefix.
const GROUPS_MAX: usize = 18;

/// Whether a number stands in `text`.
#[must_use]
pub fn holds_a_number(text: &str) -> bool {
    let groups = groups(text);
    (0..groups.len()).any(|first| {
        let mut digits = String::new();
        for (nth, group) in groups.iter().skip(first).take(GROUPS_MAX).enumerate() {
            if nth > 0 && group.before != Before::Separators {
                break;
            }
            digits.push_str(&group.digits);
            if digits.len() > *URI_DIGITS.end() {
                break;
            }
            let begins = groups.get(first).map_or(Before::Other, |group| group.before);
            let written_first = groups.get(first).map_or("", |group| group.digits.as_str());
            if is_number(begins, &digits) || is_landline(written_first, &digits) {
                return true;
            }
        }
        false
    })
}

/// Digits in a row, and what stands before them.
struct Group {
    before: Before,
    digits: String,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Before {
    /// Only what may stand inside a number, since the group before.
    Separators,
    Plus,
    Scheme,
    Other,
}

fn groups(text: &str) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    // What stands between the last group and here, in lower case.
    let mut between = String::new();
    for letter in text.chars() {
        match digit(letter) {
            Some(digit) => match groups.last_mut().filter(|_| between.is_empty()) {
                Some(group) => group.digits.push(digit),
                None => {
                    let before = before(&between, groups.is_empty());
                    groups.push(Group { before, digits: digit.to_string() });
                    between.clear();
                }
            },
            None => between.extend(letter.to_lowercase()),
        }
    }
    groups
}

fn before(between: &str, is_first: bool) -> Before {
    let mark = between.trim_end_matches(is_separator);
    if mark.ends_with(['+', '＋']) {
        Before::Plus
    } else if SCHEMES.iter().any(|scheme| mark.ends_with(scheme)) {
        Before::Scheme
    } else if !is_first && mark.is_empty() && between.chars().count() <= SEPARATORS_MAX {
        Before::Separators
    } else {
        Before::Other
    }
}

/// A digit as it is typed, full-width ones too.
fn digit(letter: char) -> Option<char> {
    match letter {
        '0'..='9' => Some(letter),
        '０'..='９' => char::from_digit(u32::from(letter) - u32::from('０'), 10),
        _ => None,
    }
}

/// What people write between the digits of a number, and what is not seen at all.
fn is_separator(letter: char) -> bool {
    letter.is_whitespace()
        || matches!(letter, '-' | '.' | '(' | ')' | '[' | ']' | '/' | '_' | '·' | '•')
        || matches!(letter, '－' | '．' | '（' | '）' | '［' | '］' | '／' | '＿' | '。')
        || matches!(letter, '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{ad}')
        || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}')
}

fn is_number(before: Before, digits: &str) -> bool {
    let length = digits.len();
    is_mobile(digits)
        || match before {
            Before::Plus => PLUS_DIGITS.contains(&length) && !digits.starts_with('0'),
            Before::Scheme => URI_DIGITS.contains(&length),
            Before::Separators | Before::Other => false,
        }
}

/// A landline in national spelling, or behind a country code that stands by itself. Its area code
/// is written apart or the whole in one piece: the digits of a date make no number.
fn is_landline(written_first: &str, digits: &str) -> bool {
    if COUNTRY_CODES.contains(&written_first) {
        let national = digits.strip_prefix(written_first).unwrap_or_default();
        return has_area(&format!("0{national}")).is_some();
    }
    has_area(digits).is_some_and(|area| [area, digits.len()].contains(&written_first.len()))
}

/// The length of the area code with which a landline's number begins, trunk prefix included.
fn has_area(digits: &str) -> Option<usize> {
    let (area, behind) = match SHORT_AREAS.iter().any(|area| digits.starts_with(area)) {
        true => (3, BEHIND_SHORT_AREA),
        false => (4, BEHIND_AREA),
    };
    let mut leading = digits.bytes();
    let begins = leading.next() == Some(b'0') && leading.next().is_some_and(|next| next != b'0');
    let number = digits.len().checked_sub(area)?;
    // The first digit behind the area code is none of the trunk prefix or the services.
    let subscriber = digits.as_bytes().get(area).is_some_and(|first| (b'2'..=b'9').contains(first));
    (begins && subscriber && behind.contains(&number)).then_some(area)
}

/// Whether the whole text is a number of a mobile phone, with or without separators.
pub(super) fn is_a_mobile_number(text: &str) -> bool {
    let is_separator = |c: char| c.is_whitespace() || "-.()+/".contains(c);
    let digits: String = text.chars().filter(|c| !is_separator(*c)).collect();
    is_mobile(&digits)
}

fn is_mobile(digits: &str) -> bool {
    PREFIXES.iter().filter_map(|prefix| digits.strip_prefix(prefix)).any(|national| {
        let mut digits = national.bytes();
        national.len() == MOBILE_DIGITS
            && digits.next() == Some(b'1')
            && digits.next().is_some_and(|second| (b'3'..=b'9').contains(&second))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_found_however_it_is_spelt() {
        for text in [
            "13800001234",
            "+8613800001234",
            "8613800001234",
            "008613800001234",
            "013800001234",
            "+86 138 0000 1234",
            "+86-138-0000-1234",
            "(+86) 138.0000.1234",
            "138 0000 1234",
            "138-0000-1234",
            "[138] (0000) 1234",
            "1 3 8 0 0 0 0 1 2 3 4",
            "138\u{200b}0000\u{a0}1234",
            "１３８００００１２３４",
            "＋８６１３８００００１２３４",
            "１３８－００００－１２３４",
            "tel:13800001234",
            "TEL:+86-138-0000-1234",
            "tel:02112345678",
            "sip:13800001234@carrier.example",
            "sips:+8613800001234@carrier.example;user=phone",
            "call Mr Li: 13800001234, after six",
            "李先生13800001234",
            "13800000000 or 13800001234",
            "P-2026 13800001234",
            "13800000000 13800001234",
            "13800001234.0",
            "+1 415 555 0100",
            "021-23456789",
            "02123456789",
            "(0755) 8234 567",
            "0755 82345678",
            "86-21-2345-6789",
            "0086 755 8234 5678",
            "desk 010-6234-5678",
        ] {
            assert!(holds_a_number(text), "{text}");
        }
    }

    #[test]
    fn other_figures_are_no_numbers() {
        for text in [
            "",
            "4821",
            "policy P-2026-0001 of 2026-01-31",
            "95511",
            "400-820-8820",
            "310101199001011234",
            "2025-06-15 13:00:00",
            "1749960000000",
            "12800001234",
            "1380000123",
            "138000012345",
            "sip:4821@pbx.example",
            "C++ 17, 20 and 23",
            "138 and 0000 and 1234",
            "700123456789012",
            "2026-06-15 230000",
            "0000012345",
            "021-1234567",
            "0123-123456",
        ] {
            assert!(!holds_a_number(text), "{text}");
        }
    }
}
