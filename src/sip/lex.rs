//! Characters and words of the SIP grammar (RFC 3261 §25), read without a copy or a panic.

/// A value does not follow its grammar. It holds nothing of the value: that may be a number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct InvalidValue;

/// A class of characters: one bit in [`TABLE`], so that a test is one load.
#[derive(Clone, Copy)]
pub(crate) struct Class(u8);

/// A character of a token.
pub(crate) const TOKEN: Class = Class(1);
/// Space, tab, or part of a fold: the scanner has made sure that CR and LF are only found in folds.
pub(crate) const LWS: Class = Class(2);
/// A character of an unquoted parameter value, read liberally.
pub(crate) const PARAM_VALUE: Class = Class(4);
/// A character that may stand in a URI. Bytes above ASCII are kept: [`super::uri::Uri::parse`]
/// refuses them.
pub(crate) const URI: Class = Class(8);
/// A character of a host name or an IPv4 address.
pub(crate) const HOST: Class = Class(16);
/// Of [`URI`] what is ASCII, and no `@`.
pub(crate) const URI_PART: Class = Class(32);
/// Of [`URI_PART`] what a user part has without an escape and without a password behind it.
pub(crate) const USER: Class = Class(64);

/// Neither white space nor a control character.
pub(crate) const VISIBLE: Class = Class(128);

static TABLE: [u8; 256] = table();

const fn table() -> [u8; 256] {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        table[at] = classes_of(at as u8);
        at += 1;
    }
    table
}

const fn classes_of(byte: u8) -> u8 {
    let mut classes = 0;
    if byte.is_ascii_alphanumeric() || is_in(byte, b"-.!%*_+`'~") {
        classes |= TOKEN.0;
    }
    if is_in(byte, b" \t\r\n") {
        classes |= LWS.0;
    }
    if byte.is_ascii_alphanumeric() || is_in(byte, b"-._") {
        classes |= HOST.0;
    }
    let visible = byte > 0x20 && byte != 0x7f;
    if visible {
        classes |= VISIBLE.0;
    }
    if visible && !is_in(byte, b";,\"<>") {
        classes |= PARAM_VALUE.0;
    }
    if visible && !is_in(byte, b"<>\"\\^`{|}") {
        classes |= URI.0;
    }
    if classes & URI.0 != 0 && byte.is_ascii() && byte != b'@' {
        classes |= URI_PART.0;
    }
    if classes & URI_PART.0 != 0 && !is_in(byte, b"[]#%:") {
        classes |= USER.0;
    }
    classes
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

fn classes(byte: u8) -> u8 {
    TABLE[usize::from(byte)]
}

impl Class {
    /// This one is among them.
    pub(crate) fn has(self, byte: u8) -> bool {
        classes(byte) & self.0 != 0
    }

    /// All of them are.
    pub(crate) fn has_all(self, text: &[u8]) -> bool {
        text.iter().fold(self.0, |common, byte| common & classes(*byte)) != 0
    }

    /// The longest run of them at the front, and what stands behind it.
    #[inline]
    pub(crate) fn split(self, text: &[u8]) -> (&[u8], &[u8]) {
        let mut rest = text;
        while let Some(([a, b, c, d], behind)) = rest.split_first_chunk()
            && classes(*a) & classes(*b) & classes(*c) & classes(*d) & self.0 != 0
        {
            rest = behind;
        }
        while let [first, behind @ ..] = rest
            && self.has(*first)
        {
            rest = behind;
        }
        text.split_at_checked(text.len() - rest.len()).unwrap_or((text, b""))
    }
}

const BYTES: u64 = u64::MAX / 255;
const HIGH_BITS: u64 = BYTES << 7;

/// The first zero byte of eight: its bit is the lowest that is set, the bits above it mean nothing.
fn zero_of(eight: u64) -> u64 {
    eight.wrapping_sub(BYTES) & !eight & HIGH_BITS
}

/// Where a byte is first. Parts of a header are so short that a vector search costs more to begin
/// than it saves.
#[inline]
pub(crate) fn find(byte: u8, text: &[u8]) -> Option<usize> {
    let mut rest = text;
    while let Some((eight, behind)) = rest.split_first_chunk() {
        let found = zero_of(u64::from_le_bytes(*eight) ^ (BYTES * u64::from(byte)));
        if found != 0 {
            return Some(text.len() - rest.len() + found.trailing_zeros() as usize / 8);
        }
        rest = behind;
    }
    while let [first, behind @ ..] = rest {
        if *first == byte {
            return Some(text.len() - rest.len());
        }
        rest = behind;
    }
    None
}

/// Whether there is a CR or an LF.
pub(crate) fn has_line_end(text: &[u8]) -> bool {
    from_line_end(text).is_some()
}

/// What begins with the first CR or LF.
#[inline]
pub(crate) fn from_line_end(mut text: &[u8]) -> Option<&[u8]> {
    loop {
        while let Some((eight, behind)) = text.split_first_chunk() {
            let eight = u64::from_le_bytes(*eight);
            // Stops at all up to CR; of those only tabs are usual, and they are rare.
            let found = eight.wrapping_sub(BYTES * (b'\r' as u64 + 1)) & !eight & HIGH_BITS;
            if found != 0 {
                text = text.get(found.trailing_zeros() as usize / 8..)?;
                break;
            }
            text = behind;
        }
        match text {
            [b'\r' | b'\n', ..] => return Some(text),
            [_, behind @ ..] => text = behind,
            [] => return None,
        }
    }
}

/// The value without white space at both ends.
#[inline]
pub(crate) fn trim(mut value: &[u8]) -> &[u8] {
    if let [b'!'..=255, .., b'!'..=255] = value {
        return value;
    }
    while let [first, rest @ ..] = value
        && LWS.has(*first)
    {
        value = rest;
    }
    while let [rest @ .., last] = value
        && LWS.has(*last)
    {
        value = rest;
    }
    value
}

/// The digits at the front, and what stands behind them.
#[inline]
pub(crate) fn split_digits(text: &[u8]) -> (&[u8], &[u8]) {
    let mut rest = text;
    while let [b'0'..=b'9', behind @ ..] = rest {
        rest = behind;
    }
    text.split_at_checked(text.len() - rest.len()).unwrap_or((text, b""))
}

/// Below this, one more digit is never too much.
const FITS_ONE_MORE: u64 = u64::MAX / 10;

/// A number of decimal digits only, at most `max`. Never wraps.
pub(crate) fn decimal(digits: &[u8], max: u64) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    let mut sum = 0_u64;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        sum = match sum {
            0..FITS_ONE_MORE => sum * 10 + u64::from(digit),
            FITS_ONE_MORE.. => sum.checked_mul(10)?.checked_add(u64::from(digit))?,
        };
    }
    (sum <= max).then_some(sum)
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
            && LWS.has(*first)
        {
            self.rest = rest;
        }
    }

    /// Takes the longest run of characters of a class; may be empty.
    #[inline]
    pub(crate) fn take_run(&mut self, class: Class) -> &'a [u8] {
        let (taken, rest) = class.split(self.rest);
        self.rest = rest;
        taken
    }

    /// Takes the longest run that a rule of its own allows; may be empty.
    pub(crate) fn take_while(&mut self, allowed: impl Fn(u8) -> bool) -> &'a [u8] {
        let len = self.rest.iter().take_while(|byte| allowed(**byte)).count();
        let (taken, rest) = self.rest.split_at_checked(len).unwrap_or((self.rest, b""));
        self.rest = rest;
        taken
    }

    /// Takes a token of at least one character.
    pub(crate) fn token(&mut self) -> Result<&'a [u8], InvalidValue> {
        let token = self.take_run(TOKEN);
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
#[inline]
pub(crate) fn next_param<'a>(cursor: &mut Cursor<'a>) -> Result<Option<Param<'a>>, InvalidValue> {
    // As nearly all are written: without white space and quotes.
    if let [b';', rest @ ..] = cursor.rest
        && let (name @ [_, ..], behind) = TOKEN.split(rest)
    {
        match behind {
            [] | [b';' | b',', ..] => {
                cursor.rest = behind;
                return Ok(Some((name, None)));
            }
            [b'=', rest @ ..] if let (value @ [_, ..], behind) = PARAM_VALUE.split(rest) => {
                cursor.rest = behind;
                return Ok(Some((name, Some(value))));
            }
            [_, ..] => {}
        }
    }
    next_odd_param(cursor)
}

#[inline(never)]
fn next_odd_param<'a>(cursor: &mut Cursor<'a>) -> Result<Option<Param<'a>>, InvalidValue> {
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
        let value = cursor.take_run(PARAM_VALUE);
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
    find(b',', text)?;
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
        assert_eq!(decimal(b"18446744073709551615", u64::MAX), Some(u64::MAX));
        assert_eq!(decimal(b"18446744073709551616", u64::MAX), None);
    }

    #[test]
    fn a_byte_is_found_wherever_it_stands_and_only_where_it_is_first() {
        for len in 0..40 {
            let mut text = vec![b'\x80'; len];
            assert_eq!((find(b':', &text), from_line_end(&text)), (None, None));
            for at in (0..len).rev() {
                text[at] = b':';
                assert_eq!((find(b':', &text), from_line_end(&text)), (Some(at), None));
                text[at] = [b'\r', b'\n'][at % 2];
                assert_eq!(from_line_end(&text), Some(&text[at..]));
                text[at] = [b':' + 1, b'\t', 0][at % 3];
                assert_eq!((find(b':', &text), has_line_end(&text)), (None, false));
            }
        }
    }

    #[test]
    fn a_run_ends_at_the_first_byte_of_another_class() {
        for len in 0..20 {
            let text = [&b"a".repeat(len)[..], b";a"].concat();
            assert_eq!(TOKEN.split(&text), (&text[..len], &b";a"[..]));
            assert!(TOKEN.has_all(&text[..len]) && !TOKEN.has_all(&text));
        }
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
