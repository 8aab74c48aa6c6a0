//! A key of a telephone as the media plane hears it. A PIN is typed with keys, so none is shown.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One of the sixteen keys. `Debug` does not show which.
#[derive(Clone, Copy, Eq, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Key(u8);

impl Key {
    /// The key of a telephone event (RFC 4733 §3.2); `None` for events that are no keys.
    #[must_use]
    pub const fn of_event(event: u8) -> Option<Self> {
        if (event as usize) < KEYS.len() { Some(Self(event)) } else { None }
    }

    /// The key with this sign: a digit, `*`, `#`, or a letter from `A` to `D`.
    #[must_use]
    pub fn of_sign(sign: char) -> Option<Self> {
        let event = KEYS.iter().position(|key| char::from(*key) == sign)?;
        Some(Self(event as u8))
    }

    /// What is printed on the key. For the decision about a call alone: never to be written down.
    #[must_use]
    pub fn sign(self) -> char {
        KEYS.get(usize::from(self.0)).map_or('?', |key| char::from(*key))
    }

    /// The number of its telephone event.
    #[must_use]
    pub const fn event(self) -> u8 {
        self.0
    }
}

/// A telephone event that is no key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("no key has this event")]
pub struct NoKey;

impl TryFrom<u8> for Key {
    type Error = NoKey;

    fn try_from(event: u8) -> Result<Self, NoKey> {
        Self::of_event(event).ok_or(NoKey)
    }
}

impl From<Key> for u8 {
    fn from(key: Key) -> Self {
        key.event()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(*)")
    }
}

/// In the order of their telephone events.
const KEYS: &[u8; 16] = b"0123456789*#ABCD";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_up_to_fifteen_are_keys_and_later_ones_are_not() {
        let signs: String = (0..16).filter_map(Key::of_event).map(Key::sign).collect();
        assert_eq!(signs, "0123456789*#ABCD");
        assert_eq!(Key::of_event(16), None);
        assert_eq!(Key::of_sign('#').map(Key::event), Some(11));
        assert_eq!(Key::of_sign('a'), None);
    }

    #[test]
    fn nothing_shows_which_key_it_is() {
        assert_eq!(format!("{:?}", Key::of_sign('7')), "Some(Key(*))");
    }
}
