//! Opaque identifiers: a prefix that names the kind, and a UUIDv7 (RFC 9562 §5.7) that sorts by
//! birth.

use std::fmt;

/// The text is not an identifier of the wanted kind. It holds nothing of that text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct InvalidId;

/// Lays out a UUIDv7: 48 bits of Unix milliseconds, version, 74 bits of the caller's randomness.
fn uuid_v7(unix_ms: u64, random: u128) -> u128 {
    let time = u128::from(unix_ms & 0xffff_ffff_ffff) << 80;
    let rand_a = ((random >> 64) & 0x0fff) << 64;
    let rand_b = random & 0x3fff_ffff_ffff_ffff;
    time | (0x7 << 76) | rand_a | (0b10 << 62) | rand_b
}

fn parse_hex(text: &str) -> Option<u128> {
    let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    (text.len() == 32 && text.bytes().all(lower_hex))
        .then(|| u128::from_str_radix(text, 16).ok())
        .flatten()
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name(u128);

        impl $name {
            /// The text before the underscore.
            pub const PREFIX: &'static str = $prefix;

            /// Makes an identifier from a wall time in Unix milliseconds and at least 74 random
            /// bits.
            #[must_use]
            pub fn new(unix_ms: u64, random: u128) -> Self {
                Self(uuid_v7(unix_ms, random))
            }

            /// Takes the 128 bits as stored.
            #[must_use]
            pub const fn from_u128(bits: u128) -> Self {
                Self(bits)
            }

            /// The 128 bits to store.
            #[must_use]
            pub const fn as_u128(self) -> u128 {
                self.0
            }

            /// Reads `prefix_` and 32 lower-case hexadecimal digits.
            ///
            /// # Errors
            /// [`InvalidId`] for any other text.
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                let digits = text.strip_prefix(concat!($prefix, "_")).ok_or(InvalidId)?;
                parse_hex(digits).map(Self).ok_or(InvalidId)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "_{:032x}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    )+};
}

ids! {
    /// An insurer or broker.
    TenantId = "ten";
    /// A bearer key of the control API.
    ApiKeyId = "key";
    /// A person at an insurer who dials virtual numbers.
    AgentId = "agt";
    /// A configured SIP peer.
    TrunkId = "trk";
    /// A set of virtual numbers of one class.
    PoolId = "pol";
    /// A virtual number, as a thing with a history.
    NumberId = "num";
    /// The owner of a real number.
    SubscriberId = "sub";
    /// A virtual number tied to a subscriber under a policy reference.
    BindingId = "bnd";
    /// One A-to-B relay, both legs; refused attempts have one too.
    CallId = "cal";
    /// What an agent's tool has announced about a call.
    IntentId = "int";
    /// What was said in a call, on disk.
    RecordingId = "rec";
    /// A line of the record of who did what.
    AuditId = "aud";
    /// A fact told to a tenant.
    EventId = "evt";
    /// Where a tenant is told of facts.
    WebhookId = "whe";
    /// One telling of one fact there.
    DeliveryId = "dlv";
    /// Bindings that came in one file.
    ImportId = "imp";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bits_round_trip() {
        let id = BindingId::new(1_700_000_000_000, u128::MAX);
        assert_eq!(BindingId::parse(&id.to_string()), Ok(id));
        assert_eq!(BindingId::from_u128(id.as_u128()), id);
    }

    #[test]
    fn another_kind_is_refused() {
        let id = CallId::new(1, 2);
        assert_eq!(BindingId::parse(&id.to_string()), Err(InvalidId));
        assert_eq!(CallId::parse("cal_+0000000000000000000000000000001"), Err(InvalidId));
    }

    #[test]
    fn version_and_variant_are_those_of_uuid_v7() {
        let bits = CallId::new(0x0123_4567_89ab, u128::MAX).as_u128();
        assert_eq!(bits >> 80, 0x0123_4567_89ab);
        assert_eq!((bits >> 76) & 0xf, 7);
        assert_eq!((bits >> 62) & 0b11, 0b10);
    }

    #[test]
    fn later_identifiers_sort_later() {
        assert!(CallId::new(1, u128::MAX) < CallId::new(2, 0));
    }
}
