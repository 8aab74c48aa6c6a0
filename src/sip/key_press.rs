//! A key of the phone in the body of an INFO: `application/dtmf-relay` and `application/dtmf`. Only
//! what is read here is ever passed on.

use std::fmt;

use super::lex;

/// The body types.
pub const DTMF_RELAY: &str = "application/dtmf-relay";
/// As above, of nothing but the key.
pub const DTMF: &str = "application/dtmf";

/// One key, and for how long. `Debug` shows neither: a PIN is typed with keys.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct KeyPress {
    key: u8,
    duration_ms: u16,
}

/// The body says no key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NoKey;

const DURATION_MS_USUAL: u16 = 160;
const DURATION_MS: std::ops::RangeInclusive<u16> = 40..=6_000;
const KEYS: &[u8; 16] = b"0123456789*#ABCD";

impl KeyPress {
    /// Reads the body of an INFO of this type.
    ///
    /// # Errors
    /// [`NoKey`] when there is none, or more than one.
    pub fn parse(content_type: &[u8], body: &[u8]) -> Result<Self, NoKey> {
        if content_type.eq_ignore_ascii_case(DTMF.as_bytes()) {
            return Self::new(read_key(lex::trim(body))?, DURATION_MS_USUAL);
        }
        let (mut key, mut duration_ms) = (None, DURATION_MS_USUAL);
        for line in body.split(|byte| matches!(byte, b'\r' | b'\n')) {
            let mut parts = line.splitn(2, |byte| *byte == b'=').map(lex::trim);
            let (Some(name), Some(value)) = (parts.next(), parts.next()) else { continue };
            if name.eq_ignore_ascii_case(b"Signal") {
                if key.replace(read_key(value)?).is_some() {
                    return Err(NoKey);
                }
            } else if name.eq_ignore_ascii_case(b"Duration") {
                let text = str::from_utf8(value).map_err(|_| NoKey)?;
                duration_ms = text.parse().map_err(|_| NoKey)?;
            }
        }
        Self::new(key.ok_or(NoKey)?, duration_ms)
    }

    /// A key that was heard in another way, for a usual time.
    ///
    /// # Errors
    /// [`NoKey`] when no key has this sign.
    pub fn of_sign(sign: char) -> Result<Self, NoKey> {
        let mut bytes = [0; 4];
        Self::new(read_key(sign.encode_utf8(&mut bytes).as_bytes())?, DURATION_MS_USUAL)
    }

    fn new(key: u8, duration_ms: u16) -> Result<Self, NoKey> {
        let duration_ms = duration_ms.clamp(*DURATION_MS.start(), *DURATION_MS.end());
        Ok(Self { key, duration_ms })
    }

    /// What is printed on the key: for a decision about the call alone, never to be written down.
    #[must_use]
    pub const fn sign(self) -> char {
        self.key as char
    }

    /// Our own words for it, as `application/dtmf-relay`.
    #[must_use]
    pub fn write(self) -> String {
        format!("Signal={}\r\nDuration={}\r\n", char::from(self.key), self.duration_ms)
    }
}

/// A key by its name, or by its number in RFC 4733.
fn read_key(text: &[u8]) -> Result<u8, NoKey> {
    let named = match text {
        [one] => KEYS.iter().find(|key| **key == one.to_ascii_uppercase()),
        [b'1', ones @ b'0'..=b'5'] => KEYS.get(usize::from(ones - b'0') + 10),
        _ => None,
    };
    named.copied().ok_or(NoKey)
}

impl fmt::Debug for KeyPress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyPress(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relayed(body: &str) -> Result<String, NoKey> {
        KeyPress::parse(DTMF_RELAY.as_bytes(), body.as_bytes()).map(KeyPress::write)
    }

    #[test]
    fn a_key_is_written_anew_whatever_else_the_body_says() {
        let body = "Signal= 5 \r\nDuration=250\r\nOwner=13800001234\r\n";
        assert_eq!(relayed(body), Ok("Signal=5\r\nDuration=250\r\n".into()));
        assert_eq!(relayed("signal=d"), Ok("Signal=D\r\nDuration=160\r\n".into()));
        assert_eq!(
            relayed("Signal=11\nDuration=65535"),
            Ok("Signal=#\r\nDuration=6000\r\n".into())
        );
        let plain = KeyPress::parse(b"Application/DTMF", b"*\r\n").map(KeyPress::write);
        assert_eq!(plain, Ok("Signal=*\r\nDuration=160\r\n".into()));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let bodies = ["", "5", "Signal=", "Signal=55", "Signal=16", "Signal=1\r\nSignal=2"];
        for body in
            bodies.into_iter().chain(["Signal=1\r\nDuration=-1", "Signal=1\nDuration=99999"])
        {
            assert_eq!(relayed(body), Err(NoKey), "{body}");
        }
    }

    #[test]
    fn a_key_is_never_shown() {
        let key = KeyPress::parse(DTMF.as_bytes(), b"7").expect("a key");
        assert_eq!(format!("{key:?}"), "KeyPress(***)");
    }
}
