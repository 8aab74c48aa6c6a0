//! Just enough reading of SIP to observe it, apart from the parser under test.

use std::str::from_utf8;

/// The trimmed value of the first header of this name; empty when there is none.
pub(crate) fn header<'a>(bytes: &'a [u8], name: &str) -> &'a str {
    head(bytes)
        .split("\r\n")
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .find(|(found, _)| found.trim().eq_ignore_ascii_case(name))
        .map_or("", |(_, value)| value.trim())
}

/// The `tag` parameter of From or To.
pub(crate) fn tag<'a>(bytes: &'a [u8], name: &str) -> Option<&'a str> {
    header(bytes, name).split_once(";tag=").map(|(_, tag)| tag)
}

/// The branch of the topmost Via.
pub(crate) fn branch(bytes: &[u8]) -> &str {
    let via = header(bytes, "Via");
    let rest = via.split_once("branch=").map_or("", |(_, rest)| rest);
    rest.split([';', ',']).next().unwrap_or("")
}

/// The user part of the Request-URI.
pub(crate) fn request_user(bytes: &[u8]) -> &str {
    user(head(bytes).split(' ').nth(1).unwrap_or(""))
}

/// The user part of From.
pub(crate) fn from_user(bytes: &[u8]) -> &str {
    user(header(bytes, "From"))
}

fn user(text: &str) -> &str {
    let after = text.split_once("sip:").map_or("", |(_, rest)| rest);
    after.split('@').next().unwrap_or("")
}

/// The status of a response.
pub(crate) fn status(bytes: &[u8]) -> Option<u16> {
    head(bytes).strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
}

/// The port of the audio line in the body.
pub(crate) fn audio_port(bytes: &[u8]) -> Option<u16> {
    let text = from_utf8(bytes).ok()?;
    let (_, rest) = text.split_once("\r\nm=audio ")?;
    rest.split(' ').next()?.parse().ok()
}

/// The names of all headers, as written.
pub(crate) fn header_names(bytes: &[u8]) -> impl Iterator<Item = &str> {
    let lines = head(bytes).split("\r\n").skip(1);
    lines.filter_map(|line| line.split_once(':')).map(|(name, _)| name)
}

fn head(bytes: &[u8]) -> &str {
    let text = from_utf8(bytes).unwrap_or("");
    text.split("\r\n\r\n").next().unwrap_or("")
}
