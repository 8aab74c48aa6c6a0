//! What can be wrong with a field: too long, repeated, missing, another number, another encoding,
//! characters that mean something elsewhere.

use rand_chacha::ChaCha8Rng;
use rand_core::Rng as _;

/// One way to break a field.
pub(super) struct Anomaly {
    pub(super) name: String,
    how: How,
}

enum How {
    Instead(Vec<u8>),
    Before(Vec<u8>),
    Behind(Vec<u8>),
    Twice,
    OtherCase,
    /// One bit of one byte is flipped.
    Bit,
    /// So many bytes of anything.
    Noise(usize),
}

impl Anomaly {
    pub(super) fn behind(text: &[u8]) -> Self {
        Self { name: format!("{} behind", shown(text)), how: How::Behind(text.to_vec()) }
    }

    fn before(text: &[u8]) -> Self {
        Self { name: format!("{} before", shown(text)), how: How::Before(text.to_vec()) }
    }

    fn instead(text: &[u8]) -> Self {
        Self { name: format!("{} instead", shown(text)), how: How::Instead(text.to_vec()) }
    }

    fn other(name: &str, how: How) -> Self {
        Self { name: name.to_owned(), how }
    }

    pub(super) fn apply(&self, text: &[u8], rng: &mut ChaCha8Rng) -> Vec<u8> {
        match &self.how {
            How::Instead(other) => other.clone(),
            How::Before(more) => [more, text].concat(),
            How::Behind(more) => [text, more].concat(),
            How::Twice => [text, text].concat(),
            How::OtherCase => text.iter().map(|byte| byte ^ case_bit(*byte)).collect(),
            How::Bit => {
                let mut text = text.to_vec();
                let at = rng.next_u32() as usize % text.len().max(1);
                if let Some(byte) = text.get_mut(at) {
                    *byte ^= 1 << (rng.next_u32() % 8);
                }
                text
            }
            How::Noise(length) => (0..*length).map(|_| rng.next_u32() as u8).collect(),
        }
    }
}

fn case_bit(byte: u8) -> u8 {
    if byte.is_ascii_alphabetic() { 0x20 } else { 0 }
}

fn shown(text: &[u8]) -> String {
    let start = text.get(..text.len().min(12)).unwrap_or(text).escape_ascii();
    if text.len() > 12 { format!("{} bytes of {start}..", text.len()) } else { start.to_string() }
}

/// All of them, always in the same order.
pub(super) fn anomalies() -> Vec<Anomaly> {
    let mut all = vec![
        Anomaly::instead(b""),
        Anomaly::other("itself twice", How::Twice),
        Anomaly::other("the other case", How::OtherCase),
        Anomaly::other("a flipped bit", How::Bit),
        Anomaly::other("16 random bytes", How::Noise(16)),
        Anomaly::other("1,000 random bytes", How::Noise(1_000)),
    ];
    all.extend((8..=16).map(|power| Anomaly::instead(&b"a".repeat(1 << power))));
    all.extend([8, 12, 14].map(|power| Anomaly::behind(&b"a".repeat(1 << power))));
    all.extend([10, 20, 256, 8_192].map(|digits| Anomaly::instead(&b"9".repeat(digits))));
    all.extend(REPEATED.map(|piece| Anomaly::instead(&piece.repeat(4_096 / piece.len()))));
    all.extend(NUMBERS.map(|text| Anomaly::instead(text.as_bytes())));
    all.extend(INSTEAD.map(Anomaly::instead));
    all.extend(BEHIND.map(Anomaly::behind));
    all.extend(BEFORE.map(Anomaly::before));
    all
}

/// Separators, thousands of times.
const REPEATED: [&[u8]; 12] =
    [b";", b",", b":", b"\"", b"<", b"@", b" ", b"\t", b"\\", b"[", b"%s", b"\r\n "];

/// Where counters of some width end.
const NUMBERS: [&str; 22] = [
    "0",
    "-1",
    "+1",
    "00000000000000000001",
    "127",
    "128",
    "255",
    "256",
    "32768",
    "65535",
    "65536",
    "2147483647",
    "2147483648",
    "4294967295",
    "4294967296",
    "4294967297",
    "9223372036854775808",
    "18446744073709551616",
    "340282366920938463463374607431768211456",
    "0x10",
    "1e9",
    "1.5",
];

const INSTEAD: [&[u8]; 23] = [
    b"%s%s%s%s%s%s",
    b"%n%n%n%n%n%n",
    b"%.65536d",
    b"\0",
    b"\xc0\x80",
    b"\xc0\xaf\xc0\xaf",
    b"\xe0\x80\xaf",
    b"\xf0\x80\x80\xaf",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"%",
    b"%zz",
    b"%00",
    b"[::",
    b"[::ffff:999.0.0.1]",
    b"[fe80::1%25lo]",
    b"999.999.999.999",
    b"\"",
    b"\"\\\"",
    b"<>",
    b"*",
    b"sip:",
];

const BEHIND: [&[u8]; 20] = [
    b"\0",
    b"\x01",
    b"\x7f",
    b"\x80",
    b"\r",
    b"\n",
    b"\r\n ",
    b"\r\n\t\r\n ",
    b"\r\n\r\n",
    b"\r\nContent-Length: 1\r\nX: ",
    b"\r\nRoute: <sip:evil.example;lr>\r\nX: ",
    b" ",
    b"\t",
    b";",
    b";;=;",
    b",",
    b", ,",
    b";tag=a;tag=b",
    b"?Route=%3Csip:evil.example%3E",
    b"(comment (nested)",
];

const BEFORE: [&[u8]; 6] = [b" ", b"\0", b"\r\n", b"\"", b"<", b","];
