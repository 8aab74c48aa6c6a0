//! Characters and words of the SIP grammar (RFC 3261 §25), read without a copy or a panic.

/// A value does not follow its grammar. It holds nothing of the value: that may be a number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct InvalidValue;

const TOKEN: u8 = 1;
const LWS: u8 = 2;
const PARAM_VALUE: u8 = 4;
const URI: u8 = 8;
const HOST: u8 = 16;

/// One byte of flags for every character, so that a class test is one load.
static CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        table[at] = class_of(at as u8);
        at += 1;
    }
    table
}

const fn class_of(byte: u8) -> u8 {
    let mut class = 0;
    if byte.is_ascii_alphanumeric() || is_in(byte, b"-.!%*_+`'~") {
        class |= TOKEN;
    }
    if is_in(byte, b" \t\r\n") {
        class |= LWS;
    }
    if byte.is_ascii_alphanumeric() || is_in(byte, b"-._") {
        class |= HOST;
    }
    let visible = byte > 0x20 && byte != 0x7f;
    if visible && !is_in(byte, b";,\"<>") {
        class |= PARAM_VALUE;
    }
    if visible && !is_in(byte, b"<>\"\\^`{|}") {
        class |= URI;
    }
    class
}

const fn is_in(byte: u8, set: &[u8]) -> bool {
    let mut at = 0;
    while at < set.len() {
        if set[at] == byte {
            return true;
        }
        at += 1;
    }
    false
}

fn has(byte: u8, class: u8) -> bool {
    CLASS[usize::from(byte)] & class != 0
}

/// A character of a token.
pub(crate) fn is_token(byte: u8) -> bool {
    has(byte, TOKEN)
}

/// Space, tab, or part of a fold: the scanner has made sure that CR and LF are only found in folds.
pub(crate) fn is_lws(byte: u8) -> bool {
    has(byte, LWS)
}

/// A character of an unquoted parameter value, read liberally.
pub(crate) fn is_param_value(byte: u8) -> bool {
    has(byte, PARAM_VALUE)
}

/// A character that may stand in a URI. Bytes above ASCII are kept: [`super::uri::Uri::parse`]
/// refuses them.
pub(crate) fn is_uri(byte: u8) -> bool {
    has(byte, URI)
}

/// A character of a host name or an IPv4 address.
pub(crate) fn is_host(byte: u8) -> bool {
    has(byte, HOST)
}

/// The value without white space at both ends.
pub(crate) fn trim(mut value: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = value
        && is_lws(*first)
    {
        value = rest;
    }
    while let [rest @ .., last] = value
        && is_lws(*last)
    {
        value = rest;
    }
    value
}

/// A number of decimal digits only, at most `max`. Never wraps.
pub(crate) fn decimal(digits: &[u8], max: u64) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |sum, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        let sum = sum.checked_mul(10)?.checked_add(digit)?;
        (sum <= max).then_some(sum)
    })
}

/// Where we are in a value.
#[derive(Clone, Copy)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Takes `byte` when it is next.
    pub(crate) fn eat(&mut self, byte: u8) -> bool {
        match self.rest.split_first() {
            Some((first, rest)) if *first == byte => {
                self.rest = rest;
                true
            }
            Some(_) | None => false,
        }
    }

    /// Takes `text` when it is next.
    pub(crate) fn eat_text(&mut self, text: &[u8]) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    pub(crate) fn skip_lws(&mut self) {
        while let Some((first, rest)) = self.rest.split_first()
            && is_lws(*first)
        {
            self.rest = rest;
        }
    }

    /// Takes the longest run of characters of a class; may be empty.
    pub(crate) fn take_while(&mut self, class: impl Fn(u8) -> bool) -> &'a [u8] {
        let len = self.rest.iter().position(|byte| !class(*byte)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(len);
        self.rest = rest;
        taken
    }

    /// Takes a token of at least one character.
    pub(crate) fn token(&mut self) -> Result<&'a [u8], InvalidValue> {
        let token = self.take_while(is_token);
        if token.is_empty() { Err(InvalidValue) } else { Ok(token) }
    }

    /// Takes a quoted string with its quotes; the next character must be the opening one.
    pub(crate) fn quoted(&mut self) -> Result<&'a [u8], InvalidValue> {
        let text = self.rest;
        let mut at = 1;
        loop {
            let tail = text.get(at..).ok_or(InvalidValue)?;
            match memchr::memchr2(b'"', b'\\', tail) {
                Some(skip) if tail.get(skip) == Some(&b'"') => {
                    let (taken, rest) = text.split_at_checked(at + skip + 1).ok_or(InvalidValue)?;
                    self.rest = rest;
                    return Ok(taken);
                }
                Some(skip) => at += skip + 2,
                None => return Err(InvalidValue),
            }
        }
    }
}

/// One parameter: its name, and its value with quotes kept.
pub(crate) type Param<'a> = (&'a [u8], Option<&'a [u8]>);

/// Takes the next `;name=value`. `None` at the end or before a comma; anything else is a fault.
pub(crate) fn next_param<'a>(cursor: &mut Cursor<'a>) -> Result<Option<Param<'a>>, InvalidValue> {
    cursor.skip_lws();
    if !cursor.eat(b';') {
        let at_end = matches!(cursor.peek(), None | Some(b','));
        return if at_end { Ok(None) } else { Err(InvalidValue) };
    }
    cursor.skip_lws();
    let name = cursor.token()?;
    cursor.skip_lws();
    if !cursor.eat(b'=') {
        return Ok(Some((name, None)));
    }
    cursor.skip_lws();
    let value = if cursor.peek() == Some(b'"') {
        cursor.quoted()?
    } else {
        let value = cursor.take_while(is_param_value);
        if value.is_empty() {
            return Err(InvalidValue);
        }
        value
    };
    Ok(Some((name, Some(value))))
}

/// The values of a list header, split at the commas outside quotes and angle brackets.
pub(crate) struct CommaList<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> CommaList<'a> {
    pub(crate) fn new(value: &'a [u8]) -> Self {
        Self { rest: Some(value) }
    }
}

impl<'a> Iterator for CommaList<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let text = self.rest?;
        match comma_outside_quotes(text) {
            Some(at) => {
                let (value, rest) = text.split_at(at);
                self.rest = rest.get(1..);
                Some(trim(value))
            }
            None => {
                self.rest = None;
                Some(trim(text))
            }
        }
    }
}

fn comma_outside_quotes(text: &[u8]) -> Option<usize> {
    memchr::memchr(b',', text)?;
    let (mut quoted, mut bracketed, mut escaped) = (false, false, false);
    for (at, byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' if !bracketed => quoted = !quoted,
            b'<' if !quoted => bracketed = true,
            b'>' if !quoted => bracketed = false,
            b',' if !quoted && !bracketed => return Some(at),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_never_wraps() {
        assert_eq!(decimal(b"255", 255), Some(255));
        assert_eq!(decimal(b"0009", 255), Some(9));
        for bad in [&b""[..], b"256", b"+1", b"-1", b"0x1", b"1 ", b"36893488147419103232"] {
            assert_eq!(decimal(bad, 255), None);
        }
        assert_eq!(decimal(b"18446744073709551616", u64::MAX), None);
    }

    #[test]
    fn commas_in_quotes_and_brackets_do_not_split() {
        let list = br#""a, \"b" <sip:x,y@h>;q=1 , sip:z"#;
        let values: Vec<_> = CommaList::new(list).collect();
        assert_eq!(values, [&br#""a, \"b" <sip:x,y@h>;q=1"#[..], b"sip:z"]);
    }

    #[test]
    fn a_quoted_string_ends_at_its_own_quote() {
        let mut cursor = Cursor::new(br#""a\"b" c"#);
        assert_eq!(cursor.quoted(), Ok(&br#""a\"b""#[..]));
        assert_eq!(cursor.rest(), b" c");
        for open in [&b"\""[..], b"\"a", b"\"a\\", b"\"a\\\""] {
            assert_eq!(Cursor::new(open).quoted(), Err(InvalidValue));
        }
    }
}
