//! The hashes of digest authentication, a keyed one for nonces, and their texts.

use sha2::Digest as _;

use super::Algorithm;

/// A hash of any algorithm; an MD5 one is followed by zeros.
#[derive(Clone, Copy, Default)]
pub(super) struct Sum(pub(super) [u8; Self::BYTES]);

/// Compared without a hint of where they differ.
impl PartialEq for Sum {
    fn eq(&self, other: &Self) -> bool {
        is_same(&self.0, &other.0)
    }
}

impl Eq for Sum {}

impl Sum {
    pub(super) const BYTES: usize = 32;

    fn new(bytes: &[u8]) -> Self {
        let mut sum = Self::default();
        for (to, from) in sum.0.iter_mut().zip(bytes) {
            *to = *from;
        }
        sum
    }

    /// As in messages.
    pub(super) fn hex(&self, algorithm: Algorithm) -> Hex {
        let len = bytes_of(algorithm) * 2;
        let mut digits = [0; Hex::MAX];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(self.0) {
            pair.copy_from_slice(&hex_of(byte));
        }
        Hex { digits, len }
    }

    /// What somebody else has written; `None` unless it has exactly the right length.
    pub(super) fn parse(algorithm: Algorithm, text: &[u8]) -> Option<Self> {
        let bytes = bytes_of(algorithm);
        let mut sum = Self::default();
        (text.len() == bytes * 2).then_some(())?;
        parse_hex(text, sum.0.get_mut(..bytes)?)?;
        Some(sum)
    }
}

const fn bytes_of(algorithm: Algorithm) -> usize {
    match algorithm {
        Algorithm::Md5 => 16,
        Algorithm::Sha256 | Algorithm::Sha512T256 => 32,
    }
}

/// A hash in hexadecimal.
pub(super) struct Hex {
    digits: [u8; Self::MAX],
    len: usize,
}

impl Hex {
    const MAX: usize = 2 * Sum::BYTES;

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.digits.get(..self.len).unwrap_or_default()
    }
}

/// Two lower-case digits.
pub(super) const fn hex_of(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [DIGITS[(byte >> 4) as usize], DIGITS[(byte & 15) as usize]]
}

/// Fills `into`, two digits a byte; `None` when the text is shorter or holds anything else.
pub(super) fn parse_hex(text: &[u8], into: &mut [u8]) -> Option<()> {
    let mut digits = text.iter().map(|digit| char::from(*digit).to_digit(16));
    for byte in into {
        let (high, low) = (digits.next()??, digits.next()??);
        *byte = u8::try_from(high << 4 | low).ok()?;
    }
    Some(())
}

/// The hash of `parts` one after the other.
pub(super) fn digest_of(algorithm: Algorithm, parts: &[&[u8]]) -> Sum {
    fn all<D: sha2::Digest>(parts: &[&[u8]]) -> Sum {
        let mut hash = D::new();
        for part in parts {
            hash.update(part);
        }
        Sum::new(&hash.finalize())
    }
    match algorithm {
        Algorithm::Md5 => all::<md5::Md5>(parts),
        Algorithm::Sha256 => all::<sha2::Sha256>(parts),
        Algorithm::Sha512T256 => all::<sha2::Sha512_256>(parts),
    }
}

/// HMAC-SHA-256 (RFC 2104) with a key of 32 bytes.
pub(super) fn keyed(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    const BLOCK: usize = 64;
    let pad = |with: u8| {
        let mut pad = [with; BLOCK];
        for (byte, key) in pad.iter_mut().zip(key) {
            *byte ^= key;
        }
        pad
    };
    let mut inner = sha2::Sha256::new();
    inner.update(pad(0x36));
    for part in parts {
        inner.update(part);
    }
    let mut outer = sha2::Sha256::new();
    outer.update(pad(0x5c));
    outer.update(inner.finalize());
    Sum::new(&outer.finalize()).0
}

/// Compares in a time that does not depend on where they differ.
pub(super) fn is_same(one: &[u8], other: &[u8]) -> bool {
    let differ = one.iter().zip(other).fold(0, |differ, (a, b)| differ | (a ^ b));
    one.len() == other.len() && std::hint::black_box(differ) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keyed_hash_is_that_of_rfc_4231() {
        // Test case 2 has the key "Jefe": zeros behind it change nothing.
        let mut key = [0; 32];
        key[..4].copy_from_slice(b"Jefe");
        let tag = keyed(&key, &[b"what do ya want ", b"for nothing?"]);
        let text = Sum(tag).hex(Algorithm::Sha256);
        assert_eq!(
            text.as_bytes(),
            b"5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn a_hash_is_read_only_in_its_own_length_and_in_hexadecimal() {
        let md5 = digest_of(Algorithm::Md5, &[b"abc"]);
        let text = md5.hex(Algorithm::Md5);
        assert_eq!(text.as_bytes(), b"900150983cd24fb0d6963f7d28e17f72");
        assert!(Sum::parse(Algorithm::Md5, text.as_bytes()) == Some(md5));
        assert!(Sum::parse(Algorithm::Sha256, text.as_bytes()).is_none());
        assert!(Sum::parse(Algorithm::Md5, b"900150983cd24fb0d6963f7d28e17f7g").is_none());
        assert!(Sum::parse(Algorithm::Md5, b"").is_none());
    }

    #[test]
    fn texts_of_other_lengths_are_never_the_same() {
        assert!(is_same(b"", b"") && is_same(b"ab", b"ab"));
        assert!(!is_same(b"ab", b"abc") && !is_same(b"ab", b"ac"));
    }
}
