//! Keys of encrypted media in a description: `a=crypto` (RFC 4568) with the suites we speak. A key
//! is never shown, and is wiped when it is dropped.

use std::fmt;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use rand_core::Rng;
use zeroize::{Zeroize, Zeroizing};

use super::words::{Words, number, split_at_byte};

/// Which encryption a leg may have. Only a leg whose signalling is encrypted has a choice: whoever
/// reads the signalling reads the keys.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Srtp {
    /// None: an offer of encrypted audio is refused, and keys are not read.
    #[default]
    Off,
    /// Where the peer wants it, too.
    Optional,
    /// Audio that is not encrypted is refused.
    Required,
}

/// How packets are encrypted and proved. The tag of each has 80 bits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Suite {
    /// `AES_CM_128_HMAC_SHA1_80`, RFC 4568 §6.2.1.
    Aes128,
    /// `AES_256_CM_HMAC_SHA1_80`, RFC 6188 §5.
    Aes256,
}

impl Suite {
    /// All of them, in the order in which we offer them.
    pub const ALL: [Self; 2] = [Self::Aes256, Self::Aes128];

    /// As in `a=crypto`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes128 => "AES_CM_128_HMAC_SHA1_80",
            Self::Aes256 => "AES_256_CM_HMAC_SHA1_80",
        }
    }

    /// The bytes of a master key and its salt.
    #[must_use]
    pub const fn key_bytes(self) -> usize {
        match self {
            Self::Aes128 => 16 + SALT_BYTES,
            Self::Aes256 => 32 + SALT_BYTES,
        }
    }

    fn of_name(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.name().as_bytes() == name)
    }
}

/// A master key and its salt. There is no way to print it but in a description.
#[derive(Clone, Eq, PartialEq)]
pub struct SrtpKey {
    suite: Suite,
    bytes: [u8; KEY_BYTES_MAX],
}

impl SrtpKey {
    /// A new one.
    pub fn random(suite: Suite, rng: &mut impl Rng) -> Self {
        let mut bytes = [0; KEY_BYTES_MAX];
        let (key, _) = bytes.split_at_mut(suite.key_bytes());
        rng.fill_bytes(key);
        Self { suite, bytes }
    }

    /// What it is for.
    #[must_use]
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// The key and behind it the salt: for the media plane alone.
    #[must_use]
    pub fn secret(&self) -> &[u8] {
        self.bytes.get(..self.suite.key_bytes()).unwrap_or_default()
    }

    /// `inline:<key and salt>[|lifetime]`. More than one key, or a key with a name (MKI), is
    /// nothing we can do.
    fn parse(suite: Suite, text: &[u8]) -> Option<Self> {
        let text = text.strip_prefix(b"inline:")?;
        let (encoded, limits) = split_at_byte(text, b'|');
        if let Some(lifetime) = limits {
            is_lifetime(lifetime).then_some(())?;
        }
        // The length that the engine foresees is a little more than what comes out.
        let mut decoded = Zeroizing::new([0; KEY_BYTES_MAX + 4]);
        let length = BASE64.decode_slice(encoded, &mut decoded[..]).ok()?;
        if length != suite.key_bytes() {
            return None;
        }
        let mut key = Self { suite, bytes: [0; KEY_BYTES_MAX] };
        key.bytes.copy_from_slice(decoded.get(..KEY_BYTES_MAX)?);
        Some(key)
    }
}

impl Drop for SrtpKey {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

impl fmt::Debug for SrtpKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SrtpKey(***)")
    }
}

/// One `a=crypto` line. `Debug` shows no key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Crypto {
    /// By which an answer names the line that it takes.
    pub(super) tag: u32,
    /// With which its writer encrypts.
    pub(super) key: SrtpKey,
}

impl Crypto {
    /// With which its writer encrypts.
    #[must_use]
    pub const fn key(&self) -> &SrtpKey {
        &self.key
    }

    /// `<tag> <suite> inline:<key> [session parameters]`. `None` for a line that asks for what we
    /// cannot do: it is passed over, as RFC 4568 §5.1.2 and §6.3 demand.
    pub(super) fn parse(value: &[u8]) -> Option<Self> {
        let mut words = Words(value);
        let tag = tag(words.next()?)?;
        let suite = Suite::of_name(words.next()?)?;
        let key = SrtpKey::parse(suite, words.next()?)?;
        words.all(is_harmless).then_some(Self { tag, key })
    }

    pub(super) fn write(&self, body: &mut Vec<u8>) {
        let mut inline = Zeroizing::new([0; INLINE_BYTES_MAX]);
        let length = BASE64
            .encode_slice(self.key.secret(), &mut inline[..])
            .expect("there is room for the longest key");
        body.extend_from_slice(b"\r\na=crypto:");
        super::write::put_decimal(body, u64::from(self.tag));
        for text in [b" ", self.key.suite.name().as_bytes(), b" inline:"] {
            body.extend_from_slice(text);
        }
        body.extend_from_slice(inline.get(..length).unwrap_or_default());
    }
}

/// 1 to 9 digits without leading zeros (RFC 4568 §9.1).
fn tag(word: &[u8]) -> Option<u32> {
    let is_tag = !word.starts_with(b"0") && word.len() <= TAG_DIGITS_MAX;
    let digits = str::from_utf8(word).ok().filter(|_| word.iter().all(u8::is_ascii_digit));
    digits.filter(|_| is_tag)?.parse().ok()
}

/// `2^n` or a number: so many packets the peer sends by its key, of 2^48 that SRTP allows. Before
/// that it has to send another one. What else may stand here names the key (MKI).
fn is_lifetime(text: &[u8]) -> bool {
    match text.strip_prefix(b"2^") {
        Some(power) => number(power, LIFETIME_BITS_MAX).is_some() && !power.starts_with(b"+"),
        None => {
            let is_number = text.iter().all(u8::is_ascii_digit) && text.len() <= 15;
            let count = str::from_utf8(text).ok().and_then(|text| text.parse::<u64>().ok());
            is_number && count.is_some_and(|it| it != 0 && it <= 1 << LIFETIME_BITS_MAX)
        }
    }
}

/// A session parameter that leaves the packets as they are: a hint of the window (ours is as wide
/// as a window has to be, or wider), and what may be ignored by its own word. Any other one, such
/// as `UNENCRYPTED_SRTP`, spoils its line.
fn is_harmless(parameter: &[u8]) -> bool {
    parameter.starts_with(b"-")
        || parameter.strip_prefix(b"WSH=").is_some_and(|size| number(size, u16::MAX).is_some())
}

const SALT_BYTES: usize = 14;
const KEY_BYTES_MAX: usize = Suite::Aes256.key_bytes();
const INLINE_BYTES_MAX: usize = KEY_BYTES_MAX.div_ceil(3) * 4;
const TAG_DIGITS_MAX: usize = 9;
const LIFETIME_BITS_MAX: u16 = 48;
/// RFC 4568 §6.1 pads; some phones do not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[cfg(test)]
mod tests {
    use super::*;

    /// The key of RFC 4568 §4.1, which has 30 bytes.
    const KEY: &str = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";

    fn read(line: &str) -> Option<(u32, Suite)> {
        Crypto::parse(line.as_bytes()).map(|it| (it.tag, it.key.suite))
    }

    #[test]
    fn the_example_of_the_rfc_is_read_and_written_as_it_was() {
        let line = format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20");
        let crypto = Crypto::parse(line.as_bytes()).expect("a line");
        assert_eq!(crypto.key.secret(), b"YS___semctl () {\t220;}\n}\nunles");
        let mut body = Vec::new();
        crypto.write(&mut body);
        let expected = format!("\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}");
        assert_eq!(String::from_utf8(body).expect("text"), expected);
    }

    #[test]
    fn a_line_that_asks_for_what_we_cannot_do_is_passed_over() {
        let usual = |rest: &str| format!("7 AES_CM_128_HMAC_SHA1_80 inline:{KEY}{rest}");
        for rest in ["", "|2^48", "|2^1", "|1", "|281474976710656", " WSH=128", " -x=1 WSH=64"] {
            assert_eq!(read(&usual(rest)), Some((7, Suite::Aes128)), "{rest}");
        }
        for rest in [
            "|1:4",
            "|2^20|1:4",
            "|2^49",
            "|2^+1",
            "|0",
            "|",
            "|281474976710657",
            ";inline:x",
            " KDR=1",
            " UNENCRYPTED_SRTP",
            " UNAUTHENTICATED_SRTP",
            " FEC_ORDER=FEC_SRTP",
            " WSH=",
            " x",
            "A",
            "=",
        ] {
            assert_eq!(read(&usual(rest)), None, "{rest}");
        }
        let suite = |suite: &str| read(&format!("1 {suite} inline:{KEY}"));
        for name in ["AES_CM_128_HMAC_SHA1_32", "F8_128_HMAC_SHA1_80", "aes_cm_128_hmac_sha1_80"] {
            assert_eq!(suite(name), None, "{name}");
        }
        assert_eq!(suite(Suite::Aes256.name()), None, "the key is too short");
        for tag in ["0", "01", "x", "1234567890", "+1", "-1", ""] {
            let line = format!("{tag} AES_CM_128_HMAC_SHA1_80 inline:{KEY}");
            assert_eq!(read(&line), None, "{tag}");
        }
        assert_eq!(read(""), None);
        assert_eq!(read("1 AES_CM_128_HMAC_SHA1_80 clear:x"), None);
    }

    #[test]
    fn what_is_written_is_read_with_padding_or_without() {
        use rand_core::SeedableRng;
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(4);
        for suite in Suite::ALL {
            let ours = Crypto { tag: 3, key: SrtpKey::random(suite, &mut rng) };
            let mut body = Vec::new();
            ours.write(&mut body);
            let value = body.strip_prefix(b"\r\na=crypto:").expect("a line");
            assert_eq!(Crypto::parse(value).as_ref(), Some(&ours));
            let bare = value.strip_suffix(b"==").unwrap_or(value);
            assert_eq!(Crypto::parse(bare).as_ref(), Some(&ours));
        }
    }

    #[test]
    fn no_form_of_a_key_is_shown() {
        let crypto = Crypto::parse(format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}").as_bytes());
        assert_eq!(format!("{crypto:?}"), "Some(Crypto { tag: 1, key: SrtpKey(***) })");
    }
}
