//! Digest authentication (RFC 7616, RFC 8760), both ways: we answer challenges of carriers, and
//! challenge trunks and softphones ourselves. Texts from outside are read within hard limits.

mod answer;
mod guard;
mod hash;
mod read;

use std::fmt;

pub use answer::{Account, answer};
pub use guard::{Guard, Judgement, NONCES_MAX, challenge};
pub use read::{Challenge, Credentials, InvalidDigest, Qop, strongest};

use hash::{Sum, digest_of};

/// Hash algorithms, weakest first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Algorithm {
    /// MD5, for peers that know nothing better.
    Md5,
    /// SHA-256.
    Sha256,
    /// SHA-512/256.
    Sha512T256,
}

impl Algorithm {
    /// Weakest first.
    pub const ALL: [Self; 3] = [Self::Md5, Self::Sha256, Self::Sha512T256];

    /// As in `algorithm=`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
            Self::Sha512T256 => "SHA-512-256",
        }
    }

    fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|it| name.eq_ignore_ascii_case(it.name().as_bytes()))
    }
}

/// What is kept of a password: HA1 of one user and realm, for every algorithm. Whoever has it can
/// answer challenges of that realm, so it is stored sealed. `Debug` shows nothing.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret([Sum; 3]);

impl Secret {
    /// How long [`Self::to_bytes`] is.
    pub const BYTES: usize = 3 * Sum::BYTES;

    /// Of a password.
    #[must_use]
    pub fn of(user: &[u8], realm: &[u8], password: &[u8]) -> Self {
        Self(Algorithm::ALL.map(|algorithm| ha1(algorithm, user, realm, password)))
    }

    /// To be sealed and stored.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        for (to, sum) in bytes.chunks_exact_mut(Sum::BYTES).zip(&self.0) {
            to.copy_from_slice(&sum.0);
        }
        bytes
    }

    /// What was stored; `None` for anything of another length.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::BYTES] = bytes.try_into().ok()?;
        let mut sums = [Sum::default(); 3];
        for (sum, from) in sums.iter_mut().zip(bytes.chunks_exact(Sum::BYTES)) {
            sum.0.copy_from_slice(from);
        }
        Some(Self(sums))
    }

    const fn ha1(&self, algorithm: Algorithm) -> Ha1 {
        Ha1 { algorithm, sum: self.0[algorithm as usize] }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// One HA1 and what it was made with.
struct Ha1 {
    algorithm: Algorithm,
    sum: Sum,
}

fn ha1(algorithm: Algorithm, user: &[u8], realm: &[u8], password: &[u8]) -> Sum {
    digest_of(algorithm, &[user, b":", realm, b":", password])
}

/// What a response is made of beside the secret.
struct Asked<'a> {
    method: &'a [u8],
    uri: &'a [u8],
    nonce: &'a [u8],
    /// The count in hexadecimal and the client's nonce; `None` for a peer of RFC 2069.
    counted: Option<(&'a [u8], &'a [u8])>,
}

impl Ha1 {
    /// RFC 7616 §3.4.1.
    fn response(&self, asked: &Asked<'_>) -> Sum {
        let ha2 = digest_of(self.algorithm, &[asked.method, b":", asked.uri]).hex(self.algorithm);
        let ha1 = self.sum.hex(self.algorithm);
        let (ha1, ha2) = (ha1.as_bytes(), ha2.as_bytes());
        match asked.counted {
            Some((count, cnonce)) => digest_of(
                self.algorithm,
                &[ha1, b":", asked.nonce, b":", count, b":", cnonce, b":auth:", ha2],
            ),
            None => digest_of(self.algorithm, &[ha1, b":", asked.nonce, b":", ha2]),
        }
    }
}

#[cfg(test)]
mod tests;
