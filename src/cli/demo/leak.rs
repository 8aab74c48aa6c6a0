//! The search for a real number in bytes that must not hold it, in every spelling and disguise we
//! can think of. Used by the demo on what the insurer's side received, and by the end-to-end tests.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem;

/// A number that must not be found, with all its spellings.
pub struct Canary {
    spellings: Vec<Spelling>,
}

struct Spelling {
    name: &'static str,
    bytes: Vec<u8>,
}

/// Where a number was found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hit {
    /// What was searched.
    pub surface: String,
    /// In which spelling.
    pub spelling: &'static str,
    /// The first byte of it.
    pub offset: usize,
}

impl Canary {
    /// The number of `country` code and `national` digits, both without `+` and `0`.
    #[must_use]
    pub fn new(country: &str, national: &str) -> Self {
        let full = format!("{country}{national}");
        let mut spellings = Vec::new();
        let mut add = |name, bytes: Vec<u8>| spellings.push(Spelling { name, bytes });
        // Every other textual form of the number, such as +86…, 0086… or 0…, contains these digits.
        add("digits", national.into());
        add("reversed", national.bytes().rev().collect());
        for separator in ["-", " ", ".", "%20", "\u{a0}"] {
            add("separated", grouped(national, separator));
        }
        add("percent", national.bytes().flat_map(|d| format!("%{d:02x}").into_bytes()).collect());
        add("hex", national.bytes().flat_map(|d| format!("{d:02x}").into_bytes()).collect());
        add("UTF-16", national.bytes().flat_map(|d| [0, d]).collect());
        add("full-width", national.bytes().flat_map(full_width).collect());
        add("database numeric", numeric(national));
        for text in [national.to_owned(), full.clone(), format!("+{full}")] {
            for before in 0..3 {
                add("base64", base64_inside(&text, before));
            }
            for algorithm in [&digest::SHA256, &digest::SHA1_FOR_LEGACY_USE_ONLY] {
                let hash = digest::digest(algorithm, text.as_bytes()).as_ref().to_vec();
                add("unkeyed hash, hex", hash.iter().flat_map(|b| hex(*b)).collect());
                add("unkeyed hash", hash);
            }
        }
        for digits in [national, &full] {
            add("BCD", bcd(digits, false));
            add("BCD, swapped", bcd(digits, true));
            if let Ok(number) = digits.parse::<u64>() {
                add("integer", number.to_be_bytes().to_vec());
                add("integer", number.to_le_bytes().to_vec());
            }
        }
        Self { spellings }
    }

    /// All places in `bytes` where the number stands, at most one for each spelling.
    #[must_use]
    pub fn search(&self, surface: &str, bytes: &[u8]) -> Vec<Hit> {
        let found = |spelling: &Spelling| {
            let offset = memmem::find(bytes, &spelling.bytes)?;
            Some(Hit { surface: surface.to_owned(), spelling: spelling.name, offset })
        };
        self.spellings.iter().filter_map(found).collect()
    }

    /// In how many spellings is searched.
    #[must_use]
    pub fn spelling_count(&self) -> usize {
        self.spellings.len()
    }
}

/// As people write it: 138-0000-1234.
fn grouped(national: &str, separator: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for (at, digit) in national.bytes().enumerate() {
        if at >= 3 && (at - 3).is_multiple_of(4) {
            out.extend_from_slice(separator.as_bytes());
        }
        out.push(digit);
    }
    out
}

fn hex(byte: u8) -> Vec<u8> {
    format!("{byte:02x}").into_bytes()
}

fn full_width(digit: u8) -> Vec<u8> {
    let wide = char::from_u32(0xff10 + u32::from(digit - b'0')).unwrap_or('０');
    wide.to_string().into_bytes()
}

/// Base64 of the number standing `before` bytes into a group of three, without the characters
/// that depend on its neighbours.
fn base64_inside(text: &str, before: usize) -> Vec<u8> {
    let mut padded = vec![0; before];
    padded.extend_from_slice(text.as_bytes());
    let skipped = [0, 2, 3].get(before).copied().unwrap_or(0);
    let whole = STANDARD.encode(&padded);
    let kept = padded.len() / 3 * 4;
    whole.as_bytes().get(skipped..kept).unwrap_or_default().to_vec()
}

/// Packed decimal, two digits a byte, filled up with `f`; `swapped` as telephone networks do.
fn bcd(digits: &str, swapped: bool) -> Vec<u8> {
    let nibbles: Vec<u8> = digits.bytes().map(|d| d - b'0').collect();
    let pack = |pair: &[u8]| match *pair {
        [a, b] if swapped => b << 4 | a,
        [a, b] => a << 4 | b,
        [a] if swapped => 0xf0 | a,
        [a] => a << 4 | 0x0f,
        _ => 0,
    };
    nibbles.chunks(2).map(pack).collect()
}

/// PostgreSQL's binary numeric: groups of four digits, two bytes each.
fn numeric(national: &str) -> Vec<u8> {
    let head = national.len() % 4;
    let (first, rest) = national.split_at(head);
    let groups = rest.as_bytes().chunks(4).map(|group| std::str::from_utf8(group).unwrap_or("0"));
    let all = std::iter::once(first).filter(|first| !first.is_empty()).chain(groups);
    all.flat_map(|group| group.parse::<u16>().unwrap_or(0).to_be_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canary() -> Canary {
        Canary::new("86", "13800001234")
    }

    fn spellings(bytes: &[u8]) -> Vec<&'static str> {
        canary().search("test", bytes).into_iter().map(|hit| hit.spelling).collect()
    }

    #[test]
    fn every_planted_disguise_is_found() {
        let planted: [(&str, Vec<u8>); 9] = [
            ("digits", b"To: <sip:+8613800001234@carrier>".to_vec()),
            ("reversed", b"x43210000831y".to_vec()),
            ("separated", b"call 138-0000-1234 now".to_vec()),
            ("percent", b"q=%31%33%38%30%30%30%30%31%32%33%34".to_vec()),
            ("hex", b"0x3133383030303031323334".to_vec()),
            ("UTF-16", "13800001234".encode_utf16().flat_map(u16::to_be_bytes).collect()),
            ("full-width", "１３８００００１２３４".as_bytes().to_vec()),
            ("integer", 13_800_001_234_u64.to_le_bytes().to_vec()),
            ("BCD, swapped", vec![0x31, 0x08, 0x00, 0x10, 0x32, 0xf4]),
        ];
        for (name, bytes) in planted {
            assert!(spellings(&bytes).contains(&name), "{name}: {:?}", spellings(&bytes));
        }
    }

    #[test]
    fn base64_is_found_wherever_it_begins() {
        for before in ["", "a", "ab", "abc", "abcd"] {
            let text = STANDARD.encode(format!("{before}+8613800001234 and more"));
            assert!(spellings(text.as_bytes()).contains(&"base64"), "after {} bytes", before.len());
        }
    }

    #[test]
    fn an_unkeyed_hash_is_found() {
        let hash = digest::digest(&digest::SHA256, b"+8613800001234");
        assert_eq!(spellings(hash.as_ref()), ["unkeyed hash"]);
    }

    #[test]
    fn a_masked_and_a_foreign_number_are_no_hits() {
        assert!(spellings(b"138****1234 13800001235 17000000001").is_empty());
    }
}
