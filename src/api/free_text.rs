//! Finds what looks like a telephone number in a text that people write freely, however they spell
//! it. It errs on the side of refusing: a number may enter through its own two fields only.

use std::ops::RangeInclusive;

/// The digits of a mainland mobile number.
const MOBILE_DIGITS: usize = 11;
/// What may stand before a mobile number: nothing, the trunk prefix, the country code.
const PREFIXES: [&str; 5] = ["", "0", "86", "086", "0086"];
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
            if is_number(begins, &digits) {
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
        ] {
            assert!(!holds_a_number(text), "{text}");
        }
    }
}
