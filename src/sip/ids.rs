//! Tags, branches and Call-IDs of ours. Each carries the number of its shard, so that whatever
//! comes back finds its thread without a shared table, and random bits nobody can guess.

use std::fmt;

use rand_core::Rng;

/// The number of a shard: a thread that owns one core.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Shard(u16);

impl Shard {
    /// How many shards can be told apart.
    pub const COUNT_MAX: u16 = 1024;

    /// `None` at [`Self::COUNT_MAX`] and above.
    #[must_use]
    pub const fn new(number: u16) -> Option<Self> {
        if number < Self::COUNT_MAX { Some(Self(number)) } else { None }
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }
}

const SHARD_CHARS: usize = 2;

/// Lower case only: some peers fold the case of tokens. By sums and not by a table, so that many
/// are made at once.
const fn letter(five_bits: u8) -> u8 {
    let value = five_bits & 31;
    value + if value < 10 { b'0' } else { b'a' - 10 }
}

/// What each letter stands for, and [`NO_LETTER`] for all that is none.
static VALUES: [u8; 256] = values();
const NO_LETTER: u8 = 0x80;

const fn values() -> [u8; 256] {
    let mut values = [NO_LETTER; 256];
    let mut value = 0;
    while value < 32 {
        values[letter(value) as usize] = value;
        value += 1;
    }
    values
}

/// Five bits of each byte are kept, and those of the first are the number of the shard.
fn spell(text: &mut [u8], shard: Shard) {
    for byte in text.iter_mut() {
        *byte = letter(*byte);
    }
    let number = shard.0.to_be_bytes();
    let high = number[0] << 3 | number[1] >> 5;
    for (place, bits) in text.iter_mut().zip([high, number[1]]) {
        *place = letter(bits);
    }
}

fn shard_in(text: &[u8]) -> Option<Shard> {
    let value = |letter: &u8| VALUES[usize::from(*letter)];
    let [high, low, rest @ ..] = text else { return None };
    let (high, low) = (value(high), value(low));
    if rest.iter().fold(high | low, |all, letter| all | value(letter)) & NO_LETTER != 0 {
        return None;
    }
    Shard::new(u16::from(high) << 5 | u16::from(low))
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal + $random:literal;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name([u8; Self::LENGTH]);

        impl $name {
            /// How many bytes each has.
            pub const LENGTH: usize = $prefix.len() + SHARD_CHARS + $random;

            /// A new one; five random bits in each character behind the shard number.
            #[must_use]
            pub fn new(shard: Shard, rng: &mut (impl Rng + ?Sized)) -> Self {
                let mut text = [0; Self::LENGTH];
                let (prefix, rest) = text.split_at_mut($prefix.len());
                prefix.copy_from_slice($prefix);
                rng.fill_bytes(rest);
                spell(rest, shard);
                Self(text)
            }

            /// One of bytes that need not be random, for what nobody has to find again.
            #[must_use]
            pub fn made_of(shard: Shard, mut byte: impl FnMut() -> u8) -> Self {
                let mut text = [0; Self::LENGTH];
                let (prefix, rest) = text.split_at_mut($prefix.len());
                prefix.copy_from_slice($prefix);
                rest.fill_with(&mut byte);
                spell(rest, shard);
                Self(text)
            }

            /// Reads one of ours; `None` for what another party made.
            #[must_use]
            pub fn parse(text: &[u8]) -> Option<Self> {
                shard_in(text.strip_prefix($prefix)?)?;
                text.try_into().ok().map(Self)
            }

            /// The shard that made it.
            #[must_use]
            pub fn shard(&self) -> Shard {
                self.0.strip_prefix($prefix).and_then(shard_in).unwrap_or(Shard(0))
            }

            /// As on the wire.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8] {
                &self.0
            }

            /// As on the wire.
            #[must_use]
            pub fn as_str(&self) -> &str {
                std::str::from_utf8(&self.0).unwrap_or_default()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.as_str())
            }
        }
    )+};
}

ids! {
    /// A From or To tag of ours; 80 random bits.
    Tag = b"" + 16;
    /// A Via branch of ours; 80 random bits behind the magic cookie.
    Branch = b"z9hG4bK" + 16;
    /// A Call-ID of ours; 120 random bits, and no host name.
    SipCallId = b"" + 24;
}

/// How many of the last characters of a [`Tag::sealed`] follow from those before.
const SEAL: usize = 6;

impl Tag {
    /// The same for the same `hash`, and [`Self::is_sealed`]: for an answer of which nothing is
    /// kept, so that what comes of it can be told from all else.
    #[must_use]
    pub fn sealed(shard: Shard, mut hash: u64) -> Self {
        let mut tag = Self::made_of(shard, || {
            hash = hash.rotate_right(5);
            hash as u8
        });
        let seal = tag.seal();
        if let Some(last) = tag.0.last_chunk_mut() {
            *last = seal;
        }
        tag
    }

    /// Whether it is one of [`Self::sealed`], as of the others one in 2^30 is. It proves nothing:
    /// anybody can make one.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.0.ends_with(&self.seal())
    }

    fn seal(&self) -> [u8; SEAL] {
        let free = self.0.get(..Self::LENGTH - SEAL).unwrap_or_default();
        let value = |letter: &u8| u64::from(VALUES[usize::from(*letter)]);
        let mut mixed = mix(free.iter().fold(0, |bits, letter| bits << 5 | value(letter)));
        std::array::from_fn(|_| {
            mixed = mixed.rotate_right(5);
            letter(mixed as u8)
        })
    }
}

/// Spreads what differs little far apart: both halves of a long product.
#[must_use]
pub(crate) const fn mix(value: u64) -> u64 {
    let product = (value ^ 0x9e37_79b9_7f4a_7c15) as u128 * 0xbf58_476d_1ce4_e5b9_u128;
    (product as u64) ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand_chacha::ChaCha8Rng;
    use rand_core::SeedableRng;

    use super::*;

    #[test]
    fn every_shard_finds_its_own_values() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for number in 0..Shard::COUNT_MAX {
            let shard = Shard::new(number).expect("below the maximum");
            let tag = Tag::new(shard, &mut rng);
            assert_eq!(tag.shard(), shard);
            assert_eq!(Tag::parse(tag.as_bytes()), Some(tag));
            assert_eq!(Branch::new(shard, &mut rng).shard(), shard);
            assert_eq!(SipCallId::new(shard, &mut rng).shard(), shard);
        }
        assert_eq!(Shard::new(Shard::COUNT_MAX), None);
    }

    #[test]
    fn every_letter_is_read_as_what_it_was_written_for_and_no_other_byte_is_one() {
        let letters: Vec<u8> = (0..32).map(letter).collect();
        assert_eq!(letters, b"0123456789abcdefghijklmnopqrstuv");
        let known = (0..=255).filter(|byte| VALUES[usize::from(*byte)] != NO_LETTER);
        assert_eq!(known.collect::<Vec<u8>>(), letters);
        assert_eq!(shard_in(b"0v0000"), Shard::new(31));
        assert_eq!(shard_in(b"10"), Shard::new(32));
        assert_eq!((shard_in(b"0"), shard_in(b"0w"), shard_in(b"00000V")), (None, None, None));
    }

    #[test]
    fn a_sealed_tag_is_told_from_all_others() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let shard = |number| Shard::new(number).expect("below the maximum");
        let mut seen = BTreeSet::new();
        for number in 0..100_000_u64 {
            let of = shard((number % 7) as u16);
            let sealed = Tag::sealed(of, mix(number));
            assert!(sealed.is_sealed() && sealed == Tag::sealed(of, mix(number)));
            assert_eq!((sealed.shard(), Tag::parse(sealed.as_bytes())), (of, Some(sealed)));
            assert!(seen.insert(sealed), "it has come before");
            assert!(!Tag::new(of, &mut rng).is_sealed());
        }
        let mut text =
            *Tag::sealed(shard(1), 1).as_bytes().first_chunk::<18>().expect("18 letters");
        for at in 0..text.len() {
            let was = text[at];
            text[at] = letter(VALUES[usize::from(was)] ^ 1);
            assert!(Tag::parse(&text).is_none_or(|tag| !tag.is_sealed()), "{at}");
            text[at] = was;
        }
    }

    #[test]
    fn values_of_others_are_not_ours() {
        for text in ["", "z9hG4bK", "z9hG4bK-524287-1---abc", "98asjd8", "zzzzzzzzzzzzzzzzzz"] {
            assert_eq!(Branch::parse(text.as_bytes()), None);
            assert_eq!(Tag::parse(text.as_bytes()), None);
        }
    }

    /// S17: the values of `text` behind the shard number, each letter as often as any other at each
    /// place and behind each letter: `2^bits` of them.
    fn looks_random(bits: usize, mut text: impl FnMut() -> Vec<u8>) {
        const COUNT: u32 = 100_000;
        let mut seen = BTreeSet::new();
        let mut places = vec![[0_u32; 32]; bits / 5];
        let mut pairs = vec![0_u32; 1_024];
        for _ in 0..COUNT {
            let value = text();
            let letters: Vec<usize> =
                value.iter().map(|byte| usize::from(VALUES[usize::from(*byte)])).collect();
            assert_eq!(letters.len() * 5, bits);
            places.iter_mut().zip(&letters).for_each(|(place, letter)| place[*letter] += 1);
            letters.windows(2).for_each(|pair| pairs[pair[0] * 32 + pair[1]] += 1);
            assert!(seen.insert(value), "it has come before");
        }
        let is_even = |count: u32, of: u32, parts: u32| {
            let expected = f64::from(of / parts);
            // Of some thousand counts none is six deviations away.
            (f64::from(count) - expected).abs() < 6.0 * expected.sqrt()
        };
        assert!(places.iter().flatten().all(|count| is_even(*count, COUNT, 32)), "{places:?}");
        let all = pairs.iter().sum();
        assert!(pairs.iter().all(|count| is_even(*count, all, 1_024)), "{pairs:?}");
    }

    #[test]
    fn a_hundred_thousand_values_never_repeat_and_have_every_letter_as_often_everywhere() {
        let shard = Shard::new(7).expect("below the maximum");
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let behind = |text: &[u8], prefix: &[u8]| text[prefix.len() + SHARD_CHARS..].to_vec();
        looks_random(80, || behind(Tag::new(shard, &mut rng).as_bytes(), b""));
        looks_random(80, || behind(Branch::new(shard, &mut rng).as_bytes(), b"z9hG4bK"));
        looks_random(120, || behind(SipCallId::new(shard, &mut rng).as_bytes(), b""));
    }
}
