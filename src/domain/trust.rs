//! How far a trunk is believed, and how it spells numbers.

use super::number::{DIGITS_MAX, InvalidNumber, RealNumber, VirtualNumber};

/// What is believed of the messages of a trunk, and how numbers are spelled on it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TrunkIdentity {
    /// What it says of purposes and of callers in headers of their own is believed.
    pub trusted: bool,
    /// How it spells the numbers that it sends.
    pub format_in: NumberFormat,
    /// How numbers are written to it.
    pub format_out: NumberFormat,
}

/// A way to spell the numbers of one country; `86` stands for its calling code.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum NumberFormat {
    /// In: whatever it is. Out: real numbers with `+`, virtual numbers as they are stored.
    #[default]
    AsIs,
    /// `+8613800001234`
    E164,
    /// `8613800001234`
    E164Digits,
    /// `013800001234`
    TrunkPrefix,
    /// `13800001234`
    National,
}

impl NumberFormat {
    const ALL: [Self; 5] =
        [Self::AsIs, Self::E164, Self::E164Digits, Self::TrunkPrefix, Self::National];

    /// The stable word in the store and the API.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::AsIs => "as_is",
            Self::E164 => "e164",
            Self::E164Digits => "e164_digits",
            Self::TrunkPrefix => "trunk_prefix",
            Self::National => "national",
        }
    }

    /// Reads a label back, as stored.
    #[must_use]
    pub fn find_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.label() == label)
    }

    /// Reads a caller's own number. A `+` says the same in every format.
    ///
    /// # Errors
    /// [`InvalidNumber`] names the rule that is broken and never the text.
    pub fn read_real(self, text: &str, country: &str) -> Result<RealNumber, InvalidNumber> {
        let from = |digits: &str| {
            // Only digits: a sign within would be a second way to say something.
            VirtualNumber::parse(digits).map_err(|_| InvalidNumber::NotADigit)?;
            RealNumber::parse(&format!("+{digits}"))
        };
        if text.starts_with('+') {
            return RealNumber::parse(text);
        }
        let abroad = text.strip_prefix("00");
        match self {
            Self::AsIs | Self::E164 => RealNumber::parse_dialled(text, country),
            Self::E164Digits => from(abroad.unwrap_or(text)),
            Self::TrunkPrefix | Self::National => match abroad {
                Some(digits) => from(digits),
                None => from(&format!("{country}{}", text.strip_prefix('0').unwrap_or(text))),
            },
        }
    }

    /// Reads what was dialled: a virtual number as it is stored, which is national on a trunk with
    /// a format. Short ones often come without the prefix of the format.
    ///
    /// # Errors
    /// [`InvalidNumber`] names the rule that is broken and never the text.
    pub fn read_virtual(self, text: &str, country: &str) -> Result<VirtualNumber, InvalidNumber> {
        let digits = text.strip_prefix('+').unwrap_or(text);
        let rest = match self {
            Self::AsIs => None,
            Self::E164 => text.strip_prefix('+').and_then(|text| text.strip_prefix(country)),
            Self::E164Digits => digits.strip_prefix(country),
            Self::TrunkPrefix | Self::National => text
                .strip_prefix('+')
                .and_then(|text| text.strip_prefix(country))
                .or_else(|| text.strip_prefix('0')),
        };
        VirtualNumber::parse(rest.unwrap_or(text))
    }

    /// Writes a number in E.164 form, with its `+`.
    pub fn write_real(self, e164: &str, country: &str, out: &mut Vec<u8>) {
        let digits = e164.strip_prefix('+').unwrap_or(e164);
        let (prefix, rest) = match (self, digits.strip_prefix(country)) {
            (Self::AsIs | Self::E164, _) => ("+", digits),
            (Self::E164Digits, _) => ("", digits),
            (Self::TrunkPrefix, Some(national)) => ("0", national),
            (Self::National, Some(national)) => ("", national),
            (Self::TrunkPrefix | Self::National, None) => ("00", digits),
        };
        out.extend_from_slice(prefix.as_bytes());
        out.extend_from_slice(rest.as_bytes());
    }

    /// Writes a virtual number. One that is too long for a prefix stays as it is.
    pub fn write_virtual(self, number: &VirtualNumber, country: &str, out: &mut Vec<u8>) {
        let digits = number.as_str();
        let fits = digits.len() + country.len() <= DIGITS_MAX;
        let prefix: [&str; 2] = match self {
            Self::AsIs | Self::National => ["", ""],
            Self::E164 if fits => ["+", country],
            Self::E164Digits if fits => ["", country],
            Self::TrunkPrefix if fits => ["0", ""],
            Self::E164 | Self::E164Digits | Self::TrunkPrefix => ["", ""],
        };
        prefix.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
        out.extend_from_slice(digits.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn x(text: &str) -> VirtualNumber {
        VirtualNumber::parse(text).expect("a valid number")
    }

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn each_format_writes_and_reads_its_own_spelling() {
        let real = "+8613800001234";
        let wanted = RealNumber::parse(real).expect("a valid number");
        for (format, real_text, virtual_text) in [
            (NumberFormat::AsIs, "+8613800001234", "17000001234"),
            (NumberFormat::E164, "+8613800001234", "+8617000001234"),
            (NumberFormat::E164Digits, "8613800001234", "8617000001234"),
            (NumberFormat::TrunkPrefix, "013800001234", "017000001234"),
            (NumberFormat::National, "13800001234", "17000001234"),
        ] {
            assert_eq!(written(|out| format.write_real(real, "86", out)), real_text);
            assert_eq!(format.read_real(real_text, "86").as_ref(), Ok(&wanted));
            assert_eq!(format.read_real(real, "86").as_ref(), Ok(&wanted));
            let own = x("17000001234");
            assert_eq!(written(|out| format.write_virtual(&own, "86", out)), virtual_text);
            assert_eq!(format.read_virtual(virtual_text, "86"), Ok(own.clone()));
            assert_eq!(format.read_virtual("17000001234", "86"), Ok(own), "without a prefix too");
            assert_eq!(NumberFormat::find_label(format.label()), Some(format));
        }
    }

    #[test]
    fn numbers_of_other_countries_keep_their_code() {
        let abroad = "+85212345";
        let spelled = |format: NumberFormat| written(|out| format.write_real(abroad, "86", out));
        assert_eq!(
            NumberFormat::ALL.map(spelled),
            ["+85212345", "+85212345", "85212345", "0085212345", "0085212345"]
        );
        let wanted = RealNumber::parse(abroad).expect("a valid number");
        for format in NumberFormat::ALL {
            assert_eq!(format.read_real(&spelled(format), "86").as_ref(), Ok(&wanted));
        }
    }

    #[test]
    fn a_number_of_fifteen_digits_has_no_room_for_a_prefix() {
        let own = x("700000000012345");
        for format in NumberFormat::ALL {
            let text = written(|out| format.write_virtual(&own, "86", out));
            assert_eq!(text, "700000000012345");
            assert_eq!(format.read_virtual(&text, "86"), Ok(own.clone()));
        }
    }

    #[test]
    fn what_is_no_number_is_none_in_any_format() {
        for format in NumberFormat::ALL {
            for text in ["", "+", "86", "anonymous", "1380000+1234", "00", "+86", "１２３"] {
                assert!(format.read_real(text, "86").is_err(), "{format:?} {text:?}");
            }
            for text in ["", "+", "anonymous", "9 5", "+8", "+86"] {
                assert!(format.read_virtual(text, "86").is_err(), "{format:?} {text:?}");
            }
        }
    }
}
