//! SIP, SIPS and tel URIs, read without copying.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;

use super::lex::{self, InvalidValue};

/// The scheme of a URI.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scheme {
    /// `sip:`
    Sip,
    /// `sips:`
    Sips,
    /// `tel:`
    Tel,
    /// Any other; its URI is not looked into. As a Request-URI it is answered 416.
    Other,
}

/// The parts of a URI. `Debug` shows no text: it may be a number.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Uri<'a> {
    /// Which kind.
    pub scheme: Scheme,
    /// The part before `@` and before a password, still escaped; the number of a `tel:` URI.
    pub user: Option<&'a str>,
    /// Host name, IPv4 address, or IPv6 address in brackets. Empty for `tel:` and other schemes.
    pub host: &'a str,
    /// The port, when one is written.
    pub port: Option<u16>,
    /// Everything between the first `;` after the host and the `?`, without that `;`.
    pub params: &'a str,
    /// Everything after the `?`.
    pub headers: &'a str,
}

impl<'a> Uri<'a> {
    /// Reads a URI.
    ///
    /// # Errors
    /// [`InvalidValue`] for anything the grammar does not allow.
    pub fn parse(text: &'a [u8]) -> Result<Self, InvalidValue> {
        let Parts { scheme, user, host, port, params, headers } = Parts::parse(text)?;
        let text = |part| std::str::from_utf8(part).map_err(|_| InvalidValue);
        Ok(Self {
            scheme,
            user: user.map(text).transpose()?,
            host: text(host)?,
            port,
            params: text(params)?,
            headers: text(headers)?,
        })
    }

    /// The user part with its escapes undone. `None` without a user, or when it is not UTF-8 then.
    #[must_use]
    pub fn user_unescaped(&self) -> Option<Cow<'a, str>> {
        let user = self.user?;
        if lex::find(b'%', user.as_bytes()).is_none() {
            return Some(Cow::Borrowed(user));
        }
        let mut bytes = Vec::with_capacity(user.len());
        let mut rest = user.as_bytes();
        while let Some((first, tail)) = rest.split_first() {
            match (first, tail) {
                (b'%', [high, low, tail @ ..]) => {
                    bytes.push(hex(*high)? << 4 | hex(*low)?);
                    rest = tail;
                }
                _ => {
                    bytes.push(*first);
                    rest = tail;
                }
            }
        }
        String::from_utf8(bytes).ok().map(Cow::Owned)
    }

    /// The dialled number: the user part unescaped, without the parameters of a
    /// telephone-subscriber (`;phone-context=`, `;npdi`), which never choose a destination.
    #[must_use]
    pub fn number(&self) -> Option<Cow<'a, str>> {
        match self.user_unescaped()? {
            Cow::Borrowed(user) => {
                let number = lex::find(b';', user.as_bytes()).and_then(|end| user.get(..end));
                Some(Cow::Borrowed(number.unwrap_or(user)))
            }
            Cow::Owned(mut user) => {
                user.truncate(user.find(';').unwrap_or(user.len()));
                Some(Cow::Owned(user))
            }
        }
    }

    /// The value of a URI parameter; the empty text for one without a value. Names in any case.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&'a str> {
        self.params.split(';').find_map(|param| {
            let (key, value) = param.split_once('=').unwrap_or((param, ""));
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

impl fmt::Debug for Uri<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Uri({:?}, ***)", self.scheme)
    }
}

/// What a [`Uri`] is made of, for who only asks whether and of which kind it is.
pub(crate) struct Parts<'a> {
    pub(crate) scheme: Scheme,
    user: Option<&'a [u8]>,
    host: &'a [u8],
    port: Option<u16>,
    params: &'a [u8],
    pub(crate) headers: &'a [u8],
}

impl<'a> Parts<'a> {
    /// Finds them. All that is given out is ASCII.
    pub(crate) fn parse(text: &'a [u8]) -> Result<Self, InvalidValue> {
        if let Some(rest) = text.strip_prefix(b"sip:") {
            return Self::parse_sip(Scheme::Sip, rest);
        }
        let colon = lex::find(b':', text).ok_or(InvalidValue)?;
        let (scheme, rest) = split_around(text, colon)?;
        match scheme_of(scheme)? {
            scheme @ (Scheme::Sip | Scheme::Sips) => Self::parse_sip(scheme, rest),
            Scheme::Tel => Self::parse_tel(rest),
            Scheme::Other if rest.is_empty() || !is_uri(rest) => Err(InvalidValue),
            Scheme::Other => Ok(Self::bare(Scheme::Other, None, b"")),
        }
    }

    fn bare(scheme: Scheme, user: Option<&'a [u8]>, params: &'a [u8]) -> Self {
        Self { scheme, user, host: b"", port: None, params, headers: b"" }
    }

    fn parse_tel(rest: &'a [u8]) -> Result<Self, InvalidValue> {
        let (number, params) = match lex::find(b';', rest) {
            Some(at) => split_around(rest, at)?,
            None => (rest, &b""[..]),
        };
        let digits = number.strip_prefix(b"+").unwrap_or(number);
        let is_phone_digit = |b: &u8| b.is_ascii_hexdigit() || b"-.()*#".contains(b);
        if digits.is_empty() || !digits.iter().all(is_phone_digit) || !is_uri(params) {
            return Err(InvalidValue);
        }
        Ok(Self::bare(Scheme::Tel, Some(number), params))
    }

    fn parse_sip(scheme: Scheme, rest: &'a [u8]) -> Result<Self, InvalidValue> {
        let (user, rest) = match lex::find(b'@', rest) {
            Some(at) => {
                let (user, rest) = split_around(rest, at)?;
                (Some(checked_user(user)?), rest)
            }
            None => (None, rest),
        };
        let (host, rest) = split_host(rest)?;
        let (port, rest) = split_port(rest)?;
        let (params, headers) = match rest {
            [] => (rest, rest),
            [..] => split_params(rest)?,
        };
        Ok(Self { scheme, user, host, port, params, headers })
    }
}

/// The scheme at the start of a URI; the text before the colon.
pub(crate) fn scheme_of(scheme: &[u8]) -> Result<Scheme, InvalidValue> {
    if scheme.eq_ignore_ascii_case(b"sip") {
        return Ok(Scheme::Sip);
    }
    if scheme.eq_ignore_ascii_case(b"sips") {
        return Ok(Scheme::Sips);
    }
    if scheme.eq_ignore_ascii_case(b"tel") {
        return Ok(Scheme::Tel);
    }
    let starts_well = scheme.first().is_some_and(u8::is_ascii_alphabetic);
    let goes_on_well =
        scheme.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    if starts_well && goes_on_well { Ok(Scheme::Other) } else { Err(InvalidValue) }
}

/// What stands before and behind the character at `at`.
fn split_around(text: &[u8], at: usize) -> Result<(&[u8], &[u8]), InvalidValue> {
    text.get(..at).zip(text.get(at + 1..)).ok_or(InvalidValue)
}

/// Characters of a URI only.
fn is_uri(text: &[u8]) -> bool {
    text.iter().all(|byte| lex::URI_PART.has(*byte) || *byte == b'@')
}

/// The user part without its password; escapes must be whole.
fn checked_user(userinfo: &[u8]) -> Result<&[u8], InvalidValue> {
    if lex::USER.has_all(userinfo) && !userinfo.is_empty() {
        return Ok(userinfo);
    }
    let user = lex::find(b':', userinfo).and_then(|at| userinfo.get(..at)).unwrap_or(userinfo);
    let mut bytes = userinfo;
    while let Some(at) = lex::find(b'%', bytes) {
        let escape = bytes.get(at + 1..at + 3).ok_or(InvalidValue)?;
        if !escape.iter().all(u8::is_ascii_hexdigit) {
            return Err(InvalidValue);
        }
        bytes = bytes.get(at + 3..).ok_or(InvalidValue)?;
    }
    let allowed = |byte: &u8| lex::URI_PART.has(*byte) && !matches!(byte, b'[' | b']' | b'#');
    if user.is_empty() || !userinfo.iter().all(allowed) {
        return Err(InvalidValue);
    }
    Ok(user)
}

/// Takes the host at the front: a name, an IPv4 address, or an IPv6 address in brackets.
#[inline]
pub(crate) fn split_host(text: &[u8]) -> Result<(&[u8], &[u8]), InvalidValue> {
    match lex::HOST.split(text) {
        ([], _) => split_ipv6(text),
        (host, rest) => Ok((host, rest)),
    }
}

fn split_ipv6(text: &[u8]) -> Result<(&[u8], &[u8]), InvalidValue> {
    let inner = text.strip_prefix(b"[").ok_or(InvalidValue)?;
    let len = memchr::memchr(b']', inner).ok_or(InvalidValue)?;
    let address = inner.get(..len).and_then(|address| std::str::from_utf8(address).ok());
    if address.is_none_or(|address| address.parse::<Ipv6Addr>().is_err()) {
        return Err(InvalidValue);
    }
    text.split_at_checked(len + 2).ok_or(InvalidValue)
}

fn split_port(text: &[u8]) -> Result<(Option<u16>, &[u8]), InvalidValue> {
    let [b':', rest @ ..] = text else { return Ok((None, text)) };
    let (digits, rest) = lex::split_digits(rest);
    let port = lex::decimal(digits, u64::from(u16::MAX)).ok_or(InvalidValue)?;
    Ok((u16::try_from(port).ok(), rest))
}

/// The parameters and the headers behind the host, without their first signs.
fn split_params(text: &[u8]) -> Result<(&[u8], &[u8]), InvalidValue> {
    if !lex::URI_PART.has_all(text) {
        return Err(InvalidValue);
    }
    let (params, headers) = match lex::find(b'?', text) {
        Some(at) => split_around(text, at)?,
        None => (text, &b""[..]),
    };
    match params {
        [] => Ok((params, headers)),
        [b';', params @ ..] if !params.is_empty() => Ok((params, headers)),
        [..] => Err(InvalidValue),
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Uri<'_> {
        Uri::parse(text.as_bytes()).expect("a valid URI of this test")
    }

    #[test]
    fn all_parts_of_a_sip_uri_are_found() {
        let uri = parsed("sip:+8613800000001;npdi:pw@[2001:db8::10]:5070;user=phone;lr?a=b");
        assert_eq!(uri.scheme, Scheme::Sip);
        assert_eq!(uri.number().as_deref(), Some("+8613800000001"));
        assert_eq!((uri.host, uri.port), ("[2001:db8::10]", Some(5070)));
        assert_eq!((uri.param("USER"), uri.param("lr")), (Some("phone"), Some("")));
        assert_eq!(uri.headers, "a=b");
    }

    #[test]
    fn a_tel_uri_gives_its_number() {
        let uri = parsed("tel:+86-138-0000-0001;phone-context=x");
        assert_eq!((uri.scheme, uri.user), (Scheme::Tel, Some("+86-138-0000-0001")));
        assert!(Uri::parse(b"tel:alice").is_err());
    }

    #[test]
    fn escapes_in_the_user_part_never_make_a_second_uri() {
        let uri = parsed("sip:sips%3Auser%40example.com@example.net");
        assert_eq!(uri.user_unescaped().as_deref(), Some("sips:user@example.com"));
        assert_eq!(uri.host, "example.net");
        assert_eq!(parsed("sip:%00@h").user_unescaped().as_deref(), Some("\0"));
    }

    #[test]
    fn broken_uris_are_refused() {
        for bad in [
            "",
            ":",
            "sip",
            "sip:",
            "sip:@h",
            "sip:/",
            "sip:a@",
            "sip:a@b@c",
            "sip:h:",
            "sip:h:70000",
            "sip:h;",
            "sip:2001:db8::10",
            "sip:[2001:db8:::192.0.2.1]",
            "sip:[::1",
            "sip:a%4@h",
            "sip:a%zz@h",
            "sip:a b@h",
            "sip:h:5060x",
            "1sip:h",
            "tel:",
            "tel:+",
            "isbn:",
        ] {
            assert!(Uri::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
