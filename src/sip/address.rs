//! From, To, Contact, Route and their kind: an optional display name, a URI, parameters.

use std::fmt;

use super::lex::{self, Cursor, InvalidValue, Param};
use super::uri::Uri;

/// One name-addr or addr-spec with its parameters. `Debug` shows no text.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Address<'a> {
    /// The whole value, byte for byte.
    pub raw: &'a [u8],
    /// The display name, with its quotes when it had some. Empty without one.
    pub display: &'a [u8],
    /// The URI, without angle brackets.
    pub uri: &'a [u8],
    /// The parameters behind the URI, from the first `;`.
    pub params: &'a [u8],
    /// The value of the parameter `tag`.
    pub tag: Option<&'a [u8]>,
}

impl<'a> Address<'a> {
    /// Reads one value of a header; lists are split before.
    ///
    /// # Errors
    /// [`InvalidValue`] for anything the grammar does not allow, and for a repeated tag.
    pub fn parse(value: &'a [u8]) -> Result<Self, InvalidValue> {
        let raw = lex::trim(value);
        let (display, uri, params) = split(raw)?;
        let tag = find_tag(params)?;
        Ok(Self { raw, display, uri, params, tag })
    }

    /// The parts of the URI.
    ///
    /// # Errors
    /// [`InvalidValue`] when it is not a well-formed URI.
    pub fn parse_uri(&self) -> Result<Uri<'a>, InvalidValue> {
        Uri::parse(self.uri)
    }

    /// The value of a parameter behind the URI, with quotes kept; empty for one without a value.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&'a [u8]> {
        let mut cursor = Cursor::new(self.params);
        while let Ok(Some((key, value))) = lex::next_param(&mut cursor) {
            if key.eq_ignore_ascii_case(name.as_bytes()) {
                return Some(value.unwrap_or_default());
            }
        }
        None
    }
}

impl fmt::Debug for Address<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Address(***)")
    }
}

type Parts<'a> = (&'a [u8], &'a [u8], &'a [u8]);

fn split(raw: &[u8]) -> Result<Parts<'_>, InvalidValue> {
    let mut cursor = Cursor::new(raw);
    let display = match cursor.peek() {
        Some(b'"') => {
            let display = cursor.quoted()?;
            cursor.skip_lws();
            display
        }
        Some(b'<') => b"",
        Some(_) => match unquoted_display(raw)? {
            Some(display) => {
                cursor = Cursor::new(raw.get(display.len()..).ok_or(InvalidValue)?);
                lex::trim(display)
            }
            None => return split_addr_spec(raw),
        },
        None => return Err(InvalidValue),
    };
    if !cursor.eat(b'<') {
        return Err(InvalidValue);
    }
    let uri = cursor.take_run(lex::URI);
    check_scheme(uri)?;
    if !cursor.eat(b'>') {
        return Err(InvalidValue);
    }
    Ok((display, uri, lex::trim(cursor.rest())))
}

/// The words before `<`. `None` when this is an addr-spec, which has no `<` outside its parameters.
fn unquoted_display(raw: &[u8]) -> Result<Option<&[u8]>, InvalidValue> {
    let Some(bracket) = lex::find(b'<', raw) else { return Ok(None) };
    let words = raw.get(..bracket).ok_or(InvalidValue)?;
    if words.contains(&b';') {
        return Ok(None);
    }
    // A comma, a quote or a control character in here is an attack or a fault: RFC 4475 §3.1.2.15.
    let allowed = |byte: &u8| {
        lex::LWS.has(*byte) || lex::TOKEN.has(*byte) || lex::URI.has(*byte) && *byte != b','
    };
    if words.iter().all(allowed) { Ok(Some(words)) } else { Err(InvalidValue) }
}

/// Without brackets, parameters belong to the header, and a `?` or a comma is a fault (§20.10).
fn split_addr_spec(raw: &[u8]) -> Result<Parts<'_>, InvalidValue> {
    let mut cursor = Cursor::new(raw);
    let uri = cursor.take_while(|byte| lex::URI.has(byte) && !matches!(byte, b';' | b',' | b'?'));
    check_scheme(uri)?;
    cursor.skip_lws();
    match cursor.peek() {
        None | Some(b';') => Ok((b"", uri, cursor.rest())),
        Some(_) => Err(InvalidValue),
    }
}

/// A scheme and something behind it. More is read on demand.
fn check_scheme(uri: &[u8]) -> Result<(), InvalidValue> {
    if let [b's', b'i', b'p', b':', _, ..] = uri {
        return Ok(());
    }
    let colon = lex::find(b':', uri).ok_or(InvalidValue)?;
    let scheme = uri.get(..colon).ok_or(InvalidValue)?;
    super::uri::scheme_of(scheme)?;
    if uri.len() > colon + 1 { Ok(()) } else { Err(InvalidValue) }
}

fn find_tag(params: &[u8]) -> Result<Option<&[u8]>, InvalidValue> {
    // As nearly all are written.
    match params {
        [] => return Ok(None),
        [b';', b't', b'a', b'g', b'=', tag @ ..] if lex::TOKEN.has_all(tag) && !tag.is_empty() => {
            return Ok(Some(tag));
        }
        [..] => {}
    }
    let mut cursor = Cursor::new(params);
    let mut tag = None;
    while let Some((name, value)) = lex::next_param(&mut cursor)? {
        if is_tag((name, value)) {
            let value = value.filter(|value| lex::TOKEN.has_all(value));
            if tag.replace(value.ok_or(InvalidValue)?).is_some() {
                return Err(InvalidValue);
            }
        }
    }
    if cursor.is_empty() { Ok(tag) } else { Err(InvalidValue) }
}

fn is_tag((name, _): Param<'_>) -> bool {
    name.eq_ignore_ascii_case(b"tag")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Address<'_> {
        Address::parse(text.as_bytes()).expect("a valid address of this test")
    }

    #[test]
    fn parameters_in_brackets_belong_to_the_uri_and_others_to_the_header() {
        let inside = parsed("<sip:a@h;unknownparam>");
        assert_eq!((inside.uri, inside.params), (&b"sip:a@h;unknownparam"[..], &b""[..]));
        let outside = parsed("sip:a@h;unknownparam");
        assert_eq!((outside.uri, outside.param("unknownparam")), (&b"sip:a@h"[..], Some(&b""[..])));
    }

    #[test]
    fn display_names_of_all_kinds_are_read() {
        for (text, display) in [
            (r#""J Rosenberg \\\""       <sip:j@h>;tag = 1"#, r#""J Rosenberg \\\"""#),
            ("caller<sip:j@h>;tag=1", "caller"),
            ("token1~` token2'+_ <sip:j@h> ; tag=1", "token1~` token2'+_"),
            ("sip:j@h;tag=1", ""),
            ("<sip:j@h>;a=\"x;tag=2>\";tag=1", ""),
        ] {
            let address = parsed(text);
            assert_eq!((address.display, address.uri), (display.as_bytes(), &b"sip:j@h"[..]));
            assert_eq!(address.tag, Some(&b"1"[..]), "{text}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_are_kept_in_a_display_name() {
        let address = Address::parse(b"\"\xff\xfe\" <sip:a@h>").expect("kept as bytes");
        assert_eq!(address.display, b"\"\xff\xfe\"");
        assert!(Address::parse(b"J\xf6rg <sip:a@h>").is_ok());
    }

    #[test]
    fn faults_are_refused() {
        for bad in [
            "",
            "<>",
            "<sip:>",
            "sip:",
            "a@h",
            "\"Mr. J <sip:j@h>",
            "< sip:a@h >",
            "<sip:a@h",
            "Bell, Alexander <sip:a@h>",
            "sip:a@h?Route=x",
            "<sip:a@h>;;",
            "<sip:a@h>;tag=1;tag=2",
            "<sip:a@h>;tag",
            "<sip:a@h>;tag=",
            "<sip:a@h> x",
            "<sip:a@h>;tag=\"q\"",
            "<sip:a@h>,<sip:b@h>",
        ] {
            assert!(Address::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
