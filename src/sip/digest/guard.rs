//! Our own challenges. A nonce carries its time and a keyed hash, so nothing is kept of one that
//! nobody answers; only counts of nonces that were answered rightly are remembered.

use std::collections::BTreeMap;

use super::hash::{Sum, hex_of, is_same, keyed, parse_hex};
use super::read::Credentials;
use super::{Algorithm, Asked, Secret};

/// The most answered nonces that are remembered.
pub const NONCES_MAX: usize = 16_384;
/// How long a nonce may be used.
const LIFE_MS: u64 = 5 * 60 * 1_000;
/// A clock that was set back by less than this spoils no nonce.
const CLOCK_SLIP_MS: u64 = 2_000;
/// Counts that may come out of order.
const WINDOW: u32 = 64;

/// What an answer to a challenge of ours is worth.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Judgement {
    /// It is who it says.
    Passed,
    /// The nonce is old or none of ours, or the secret is right and the nonce used up: ask again.
    Stale,
    /// The secret is wrong.
    Failed,
}

/// Makes challenges and judges the answers. One for each shard, with a key of its own: an answer
/// that comes to another shard is asked again.
pub struct Guard {
    key: [u8; 32],
    /// Counts seen, by time and salt of the nonce.
    seen: BTreeMap<(u64, u64), Counts>,
    /// Nonces as old as this were forgotten, and are not taken again.
    forgotten_ms: Option<u64>,
}

/// The highest count of a nonce and which of the [`WINDOW`] before it were used.
#[derive(Clone, Copy)]
struct Counts {
    highest: u32,
    /// Bit n stands for `highest - n`.
    used: u64,
}

impl Guard {
    /// `key` must be random.
    #[must_use]
    pub const fn new(key: [u8; 32]) -> Self {
        Self { key, seen: BTreeMap::new(), forgotten_ms: None }
    }

    /// A nonce for whoever is described by `to`, its source address for one.
    #[must_use]
    pub fn nonce(&self, now_ms: u64, to: &[u8], chance: u64) -> String {
        let mut text = String::with_capacity(NONCE_CHARS);
        let (time, salt) = (short(now_ms), short(chance));
        let mac = keyed(&self.key, &[&time, &salt, to]);
        let bytes = time.iter().chain(&salt).chain(mac.iter().take(MAC_BYTES));
        text.extend(bytes.flat_map(|byte| hex_of(*byte)).map(char::from));
        text
    }

    /// Judges an answer of whoever is described by `from`, for a request of `method`.
    pub fn judge(
        &mut self,
        now_ms: u64,
        from: &[u8],
        secret: &Secret,
        method: &[u8],
        credentials: &Credentials<'_>,
    ) -> Judgement {
        let Some(nonce) = self.read(now_ms, from, credentials.nonce) else {
            return Judgement::Stale;
        };
        let expected = secret.ha1(credentials.algorithm).response(&Asked {
            method,
            uri: credentials.uri,
            nonce: credentials.nonce,
            counted: Some((credentials.count, credentials.cnonce)),
        });
        let given = Sum::parse(credentials.algorithm, credentials.response);
        if given != Some(expected) {
            return Judgement::Failed;
        }
        match read_count(credentials.count) {
            Some(count) if self.take(nonce, count) => Judgement::Passed,
            Some(_) | None => Judgement::Stale,
        }
    }

    /// Whether credentials answer a nonce that `from` was given, and not too long ago.
    #[must_use]
    pub fn is_fresh(&self, now_ms: u64, from: &[u8], credentials: &Credentials<'_>) -> bool {
        self.read(now_ms, from, credentials.nonce).is_some()
    }

    /// How many nonces are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// Nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// Time and salt of a nonce of ours that is not too old.
    fn read(&self, now_ms: u64, from: &[u8], text: &[u8]) -> Option<(u64, u64)> {
        let mut bytes = [0; NONCE_CHARS / 2];
        (text.len() == NONCE_CHARS).then_some(())?;
        parse_hex(text, &mut bytes)?;
        let (time, rest) = bytes.split_first_chunk::<PART_BYTES>()?;
        let (salt, mac) = rest.split_first_chunk::<PART_BYTES>()?;
        let own = keyed(&self.key, &[time, salt, from]);
        is_same(own.get(..MAC_BYTES)?, mac).then_some(())?;
        let issued_ms = long(*time);
        let is_fresh = issued_ms <= now_ms.saturating_add(CLOCK_SLIP_MS)
            && now_ms.saturating_sub(issued_ms) < LIFE_MS
            && self.forgotten_ms.is_none_or(|forgotten| issued_ms > forgotten);
        is_fresh.then(|| (issued_ms, long(*salt)))
    }

    /// False when this count of the nonce was used before, or is too far behind.
    fn take(&mut self, nonce: (u64, u64), count: u32) -> bool {
        if let Some(counts) = self.seen.get_mut(&nonce) {
            return counts.take(count);
        }
        if count == 0 {
            return false;
        }
        self.seen.insert(nonce, Counts { highest: count, used: 1 });
        if self.seen.len() > NONCES_MAX
            && let Some(((issued_ms, _), _)) = self.seen.pop_first()
        {
            self.forgotten_ms = self.forgotten_ms.max(Some(issued_ms));
            self.seen.retain(|(other_ms, _), _| *other_ms > issued_ms);
        }
        true
    }
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Guard({} nonces)", self.seen.len())
    }
}

impl Counts {
    const fn take(&mut self, count: u32) -> bool {
        if count > self.highest {
            let ahead = count - self.highest;
            self.used = if ahead < WINDOW { self.used << ahead | 1 } else { 1 };
            self.highest = count;
            return true;
        }
        let behind = self.highest - count;
        if count == 0 || behind >= WINDOW || self.used & (1 << behind) != 0 {
            return false;
        }
        self.used |= 1 << behind;
        true
    }
}

/// Of the time and of the salt. Whoever has not proved anything gets nonces, so they are short.
const PART_BYTES: usize = 6;
const MAC_BYTES: usize = 12;
const NONCE_CHARS: usize = 2 * (2 * PART_BYTES + MAC_BYTES);

const fn short(number: u64) -> [u8; PART_BYTES] {
    let [_, _, a, b, c, d, e, f] = number.to_be_bytes();
    [a, b, c, d, e, f]
}

const fn long([a, b, c, d, e, f]: [u8; PART_BYTES]) -> u64 {
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

fn read_count(digits: &[u8]) -> Option<u32> {
    let mut bytes = [0; 4];
    (digits.len() == 2 * bytes.len()).then_some(())?;
    parse_hex(digits, &mut bytes)?;
    Some(u32::from_be_bytes(bytes))
}

/// The value of a challenge of ours. `realm` and `nonce` are ours too.
#[must_use]
pub fn challenge(realm: &str, nonce: &str, algorithm: Algorithm, is_stale: bool) -> String {
    let stale = if is_stale { ", stale=true" } else { "" };
    let name = algorithm.name();
    format!("Digest realm=\"{realm}\", nonce=\"{nonce}\", algorithm={name}, qop=\"auth\"{stale}")
}
