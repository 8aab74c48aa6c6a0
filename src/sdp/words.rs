//! The words and numbers of a line, read as bytes: nearly all of it is ASCII, and is checked to be
//! text only where that makes a difference.

use std::net::Ipv4Addr;

/// What stands between spaces.
#[derive(Clone)]
pub(super) struct Words<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while let [b' ', rest @ ..] = self.0 {
            self.0 = rest;
        }
        let (word, rest) = split_at_byte(self.0, b' ');
        self.0 = rest.unwrap_or_default();
        (!word.is_empty()).then_some(word)
    }
}

/// What stands before the first `byte` and what behind it; `None` behind where there is none.
pub(super) fn split_at_byte(text: &[u8], byte: u8) -> (&[u8], Option<&[u8]>) {
    let mut rest = text;
    while let [first, behind @ ..] = rest {
        if *first == byte {
            let len = text.len() - rest.len();
            return (text.get(..len).unwrap_or_default(), Some(behind));
        }
        rest = behind;
    }
    (text, None)
}

/// Whether this is text at all.
pub(super) fn is_text(value: &[u8]) -> bool {
    value.is_ascii() || str::from_utf8(value).is_ok()
}

/// Text without white space at its ends; `None` when it is no text.
pub(super) fn trimmed(value: &[u8]) -> Option<&[u8]> {
    if !value.is_ascii() {
        return str::from_utf8(value).ok().map(|text| text.trim().as_bytes());
    }
    let is_space = |byte: &u8| matches!(byte, b' ' | 9..=13);
    let mut value = value;
    while let [first, rest @ ..] = value
        && is_space(first)
    {
        value = rest;
    }
    while let [rest @ .., last] = value
        && is_space(last)
    {
        value = rest;
    }
    Some(value)
}

/// A number of at most `max`, as `str::parse` reads it.
pub(super) fn number(word: &[u8], max: u16) -> Option<u16> {
    let digits = word.strip_prefix(b"+").unwrap_or(word);
    let mut sum = 0_u32;
    for digit in digits {
        sum = sum * 10 + u32::from(digit.is_ascii_digit().then(|| digit - b'0')?);
        if sum > u32::from(max) {
            return None;
        }
    }
    if digits.is_empty() { None } else { u16::try_from(sum).ok() }
}

/// An IPv4 address, as `str::parse` reads it.
pub(super) fn ipv4(word: &[u8]) -> Option<Ipv4Addr> {
    let mut octets = [0_u8; 4];
    let mut rest = Some(word);
    for octet in &mut octets {
        let (digits, behind) = split_at_byte(rest?, b'.');
        if !matches!(digits, [b'0'] | [b'1'..=b'9', ..]) {
            return None;
        }
        *octet = u8::try_from(number(digits, u16::from(u8::MAX))?).ok()?;
        rest = behind;
    }
    rest.is_none().then_some(Ipv4Addr::from_octets(octets))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_addresses_are_read_as_the_standard_library_reads_them() {
        for word in ["", "0", "7", "+7", "-7", "++7", "007", "255", "256", "65535", "65536", "x"] {
            assert_eq!(number(word.as_bytes(), u16::MAX), word.parse().ok(), "{word}");
            let small = number(word.as_bytes(), 255).and_then(|number| u8::try_from(number).ok());
            assert_eq!(small, word.parse().ok(), "{word}");
        }
        assert_eq!(number(&b"9".repeat(40), u16::MAX), None);
        for octets in ["1.2.3.4", "0.0.0.0", "255.255.255.255", "1.2.3", "1.2.3.4.", "1.2.3.4.5"] {
            assert_eq!(ipv4(octets.as_bytes()), octets.parse().ok(), "{octets}");
        }
        for octet in ["", "00", "01", "+1", "-1", "256", "0256", "1a", " 1", "1 ", "\u{661}"] {
            let word = format!("{octet}.2.3.4");
            assert_eq!(ipv4(word.as_bytes()), word.parse().ok(), "{word}");
        }
    }

    #[test]
    fn white_space_goes_from_both_ends_of_what_is_text() {
        for text in ["", " ", "a", " \t a b\r\u{b}\u{c}", "\u{a0}a\u{2003}", "\u{85}\u{1f}a"] {
            assert_eq!(trimmed(text.as_bytes()), Some(text.trim().as_bytes()));
        }
        assert_eq!(trimmed(b" \xff"), None);
        assert!(is_text("ä".as_bytes()) && !is_text(b"\xff"));
    }

    #[test]
    fn words_are_what_stands_between_any_number_of_spaces() {
        let words = |text: &'static str| Words(text.as_bytes()).collect::<Vec<_>>();
        assert_eq!(words("  a  bc d "), [&b"a"[..], b"bc", b"d"]);
        assert!(words("").is_empty() && words("  ").is_empty());
    }
}
