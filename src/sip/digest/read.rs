//! Reads challenges and credentials. What stands between quotes is kept as it came: it is hashed
//! and echoed so, and nobody agrees on anything else.

use super::Algorithm;
use crate::sip::lex::{self, Cursor};

/// The longest value that is read.
const VALUE_MAX: usize = 4 * 1024;
/// The most parameters of one value.
const PARAMS_MAX: usize = 32;
/// The longest text of one parameter.
const TEXT_MAX: usize = 512;
/// The most challenges of one response that are looked at.
const CHALLENGES_MAX: usize = 8;

/// A value is no digest that we can use. It holds nothing of the value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum InvalidDigest {
    /// It breaks the grammar or a limit.
    Malformed,
    /// Another scheme, algorithm or quality of protection.
    Unsupported,
}

/// Quality of protection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Qop {
    /// `auth`: nonces are counted.
    Auth,
    /// None was offered (RFC 2069).
    Absent,
}

/// The value of WWW-Authenticate or Proxy-Authenticate, kept for as long as its nonce is used.
/// `Debug` shows no text of it.
#[derive(Clone)]
pub struct Challenge {
    pub(super) realm: Box<[u8]>,
    pub(super) nonce: Box<[u8]>,
    pub(super) opaque: Option<Box<[u8]>>,
    pub(super) algorithm: Algorithm,
    /// The challenge names its algorithm; one of RFC 2069 does not.
    pub(super) is_named: bool,
    pub(super) qop: Qop,
    /// Our answer was right but for its old nonce.
    pub stale: bool,
}

impl std::fmt::Debug for Challenge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Challenge({}, {:?})", self.algorithm.name(), self.qop)
    }
}

impl Challenge {
    /// Reads one value.
    ///
    /// # Errors
    /// [`InvalidDigest`]: malformed, or something that we do not do.
    pub fn parse(value: &[u8]) -> Result<Self, InvalidDigest> {
        let params = Params::parse(value)?;
        let algorithm = match params.algorithm {
            Some(name) => Algorithm::from_name(name).ok_or(InvalidDigest::Unsupported)?,
            None => Algorithm::Md5,
        };
        let qop = match params.qop {
            None => Qop::Absent,
            Some(offered) => {
                let mut words = offered.split(|byte| matches!(byte, b',' | b' ' | b'\t'));
                let has_auth = words.any(|word| word.eq_ignore_ascii_case(b"auth"));
                has_auth.then_some(Qop::Auth).ok_or(InvalidDigest::Unsupported)?
            }
        };
        Ok(Self {
            realm: params.realm.ok_or(InvalidDigest::Malformed)?.into(),
            nonce: params.nonce.ok_or(InvalidDigest::Malformed)?.into(),
            opaque: params.opaque.map(Into::into),
            algorithm,
            is_named: params.algorithm.is_some(),
            qop,
            stale: params.stale.is_some_and(|stale| stale.eq_ignore_ascii_case(b"true")),
        })
    }

    /// The algorithm it wants.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

/// The strongest usable challenge of a response, at least as strong as `least`; the first of equals
/// (RFC 8760 §2.4 leaves the order to the peer, but a weaker one is nobody's wish).
pub fn strongest<'a>(
    values: impl Iterator<Item = &'a [u8]>,
    least: Algorithm,
) -> Option<Challenge> {
    let usable = values.take(CHALLENGES_MAX).filter_map(|value| Challenge::parse(value).ok());
    let strong = usable.filter(|challenge| challenge.algorithm >= least);
    strong.reduce(|best, next| if next.algorithm > best.algorithm { next } else { best })
}

/// The value of Authorization or Proxy-Authorization. `Debug` shows no text of it.
pub struct Credentials<'a> {
    /// Who it is said to be.
    pub user: &'a [u8],
    /// For which realm.
    pub realm: &'a [u8],
    /// With which algorithm.
    pub algorithm: Algorithm,
    pub(super) nonce: &'a [u8],
    pub(super) uri: &'a [u8],
    pub(super) response: &'a [u8],
    pub(super) cnonce: &'a [u8],
    /// The count, in hexadecimal.
    pub(super) count: &'a [u8],
}

impl std::fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({})", self.algorithm.name())
    }
}

impl<'a> Credentials<'a> {
    /// Reads one value. Only answers with `qop=auth` are read: we never ask for others.
    ///
    /// # Errors
    /// [`InvalidDigest`]: malformed, or something that we do not do.
    pub fn parse(value: &'a [u8]) -> Result<Self, InvalidDigest> {
        let params = Params::parse(value)?;
        let algorithm = match params.algorithm {
            Some(name) => Algorithm::from_name(name).ok_or(InvalidDigest::Unsupported)?,
            None => Algorithm::Md5,
        };
        if !params.qop.is_some_and(|qop| qop.eq_ignore_ascii_case(b"auth")) {
            return Err(InvalidDigest::Unsupported);
        }
        let count = params.count.ok_or(InvalidDigest::Malformed)?;
        if count.len() != COUNT_DIGITS {
            return Err(InvalidDigest::Malformed);
        }
        Ok(Self {
            user: params.username.ok_or(InvalidDigest::Malformed)?,
            realm: params.realm.ok_or(InvalidDigest::Malformed)?,
            algorithm,
            nonce: params.nonce.ok_or(InvalidDigest::Malformed)?,
            uri: params.uri.ok_or(InvalidDigest::Malformed)?,
            response: params.response.ok_or(InvalidDigest::Malformed)?,
            cnonce: params.cnonce.ok_or(InvalidDigest::Malformed)?,
            count,
        })
    }

    /// The Request-URI that was hashed.
    #[must_use]
    pub const fn uri(&self) -> &'a [u8] {
        self.uri
    }
}

const COUNT_DIGITS: usize = 8;

/// The parameters that mean something, each at most once, without their quotes.
#[derive(Default)]
struct Params<'a> {
    username: Option<&'a [u8]>,
    realm: Option<&'a [u8]>,
    nonce: Option<&'a [u8]>,
    uri: Option<&'a [u8]>,
    response: Option<&'a [u8]>,
    algorithm: Option<&'a [u8]>,
    cnonce: Option<&'a [u8]>,
    opaque: Option<&'a [u8]>,
    qop: Option<&'a [u8]>,
    count: Option<&'a [u8]>,
    stale: Option<&'a [u8]>,
}

impl<'a> Params<'a> {
    fn parse(value: &'a [u8]) -> Result<Self, InvalidDigest> {
        let mut params = Self::default();
        params.read(value)?;
        Ok(params)
    }

    fn read(&mut self, value: &'a [u8]) -> Result<(), InvalidDigest> {
        if value.len() > VALUE_MAX {
            return Err(InvalidDigest::Malformed);
        }
        let mut cursor = Cursor::new(value);
        cursor.skip_lws();
        let scheme = cursor.token().map_err(|_| InvalidDigest::Malformed)?;
        if !scheme.eq_ignore_ascii_case(b"Digest") {
            return Err(InvalidDigest::Unsupported);
        }
        for _ in 0..PARAMS_MAX {
            let (name, text) = next(&mut cursor)?;
            if let Some(place) = self.place(name)
                && place.replace(text).is_some()
            {
                return Err(InvalidDigest::Malformed);
            }
            cursor.skip_lws();
            if cursor.is_empty() {
                return Ok(());
            }
            if !cursor.eat(b',') {
                return Err(InvalidDigest::Malformed);
            }
        }
        Err(InvalidDigest::Malformed)
    }

    fn place(&mut self, name: &[u8]) -> Option<&mut Option<&'a [u8]>> {
        let places: [(&str, &mut Option<&'a [u8]>); 11] = [
            ("username", &mut self.username),
            ("realm", &mut self.realm),
            ("nonce", &mut self.nonce),
            ("uri", &mut self.uri),
            ("response", &mut self.response),
            ("algorithm", &mut self.algorithm),
            ("cnonce", &mut self.cnonce),
            ("opaque", &mut self.opaque),
            ("qop", &mut self.qop),
            ("nc", &mut self.count),
            ("stale", &mut self.stale),
        ];
        let is_it = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        places.into_iter().find(|(known, _)| is_it(known)).map(|(_, place)| place)
    }
}

/// The next `name=value`, without the quotes of the value.
fn next<'a>(cursor: &mut Cursor<'a>) -> Result<(&'a [u8], &'a [u8]), InvalidDigest> {
    let broken = |_| InvalidDigest::Malformed;
    cursor.skip_lws();
    let name = cursor.token().map_err(broken)?;
    cursor.skip_lws();
    if !cursor.eat(b'=') {
        return Err(InvalidDigest::Malformed);
    }
    cursor.skip_lws();
    let text = if cursor.peek() == Some(b'"') {
        let quoted = cursor.quoted().map_err(broken)?;
        quoted.get(1..quoted.len() - 1).unwrap_or_default()
    } else {
        let text =
            cursor.take_while(|byte| lex::TOKEN.has(byte) || matches!(byte, b'/' | b':' | b'='));
        if text.is_empty() {
            return Err(InvalidDigest::Malformed);
        }
        text
    };
    // A fold within quotes would not survive being echoed.
    if text.len() > TEXT_MAX || text.iter().any(u8::is_ascii_control) {
        return Err(InvalidDigest::Malformed);
    }
    Ok((name, text))
}
