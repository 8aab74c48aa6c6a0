//! Our answer to a challenge.

use std::fmt;

use super::hash::hex_of;
use super::read::{Challenge, Qop};
use super::{Asked, Ha1, ha1};

/// A user and a password at a peer of ours. `Debug` shows neither.
#[derive(Clone, Eq, PartialEq)]
pub struct Account {
    /// As the peer knows us; without quotes and backslashes.
    pub user: Box<str>,
    /// What only we and the peer know.
    pub password: Box<str>,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Account(***)")
    }
}

/// The value of Authorization or Proxy-Authorization that answers `challenge` for the `count`-th
/// time. `chance` becomes our own nonce.
#[must_use]
pub fn answer(
    account: &Account,
    challenge: &Challenge,
    method: &[u8],
    uri: &[u8],
    count: u32,
    chance: u64,
) -> Vec<u8> {
    let (user, password) = (account.user.as_bytes(), account.password.as_bytes());
    let algorithm = challenge.algorithm;
    let ha1 = Ha1 { algorithm, sum: ha1(algorithm, user, &challenge.realm, password) };
    let count: Vec<u8> = count.to_be_bytes().into_iter().flat_map(hex_of).collect();
    let cnonce: Vec<u8> = chance.to_be_bytes().into_iter().flat_map(hex_of).collect();
    let counted = match challenge.qop {
        Qop::Auth => Some((&*count, &*cnonce)),
        Qop::Absent => None,
    };
    let response = ha1.response(&Asked { method, uri, nonce: &challenge.nonce, counted });

    let mut value = Vec::with_capacity(VALUE_USUAL);
    let mut put = |name: &str, text: &[u8], quote: &[u8]| {
        value.extend_from_slice(name.as_bytes());
        value.extend_from_slice(quote);
        value.extend_from_slice(text);
        value.extend_from_slice(quote);
    };
    put("Digest username=", user, b"\"");
    put(", realm=", &challenge.realm, b"\"");
    put(", nonce=", &challenge.nonce, b"\"");
    put(", uri=", uri, b"\"");
    put(", response=", response.hex(algorithm).as_bytes(), b"\"");
    if challenge.is_named {
        put(", algorithm=", algorithm.name().as_bytes(), b"");
    }
    if let Some((count, cnonce)) = counted {
        put(", qop=auth, nc=", count, b"");
        put(", cnonce=", cnonce, b"\"");
    }
    if let Some(opaque) = &challenge.opaque {
        put(", opaque=", opaque, b"\"");
    }
    value
}

const VALUE_USUAL: usize = 384;
