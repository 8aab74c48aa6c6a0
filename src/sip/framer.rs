//! Cuts the byte stream of a connection into messages by Content-Length. Where the end of a message
//! is in doubt it stops for good: what follows could be read as another message by somebody else.

use std::fmt;

use bytes::{Buf as _, Bytes, BytesMut};

use super::header::HeaderId;
use super::lex;
use super::limits::{BODY_MAX, HEADERS_MAX, MESSAGE_MAX};
use super::malformed::Malformed;
use super::parse::{Fault, Lines, split_header};

/// The bytes of one connection on their way to messages. Give it what was read by [`Self::push`],
/// then take frames until there is none: it then holds less than one message.
#[derive(Default)]
pub struct Framer {
    buffer: BytesMut,
    /// How much of `buffer` holds no end of a head.
    scanned: usize,
    /// The length of the message that `buffer` begins with, once its head is complete.
    length: Option<usize>,
    /// One CRLF has come since the last message; the next makes a keepalive.
    half_keepalive: bool,
    broken: bool,
}

/// One thing that a peer has said. `Debug` never shows its text.
pub enum Frame {
    /// One whole message, not yet looked at but for its length.
    Message(Bytes),
    /// A double CRLF: to be answered by a single one (RFC 5626 §3.5.1).
    Keepalive,
    /// Nobody knows where the next message begins: answer if possible, and close. Nothing follows.
    Broken(Malformed),
}

impl Framer {
    /// An empty stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what was read. Behind a broken message nothing is kept.
    pub fn push(&mut self, bytes: &[u8]) {
        if !self.broken {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// The next frame, when it is complete.
    pub fn next_frame(&mut self) -> Option<Frame> {
        let length = match self.length {
            Some(length) => length,
            None => {
                if self.skip_line_end() {
                    return Some(Frame::Keepalive);
                }
                match self.find_length()? {
                    Ok(length) => length,
                    Err(fault) => return Some(self.break_off(fault)),
                }
            }
        };
        self.length = Some(length);
        if self.buffer.len() < length {
            return None;
        }
        let message = Bytes::copy_from_slice(self.buffer.get(..length).unwrap_or_default());
        self.buffer.advance(length);
        (self.length, self.scanned, self.half_keepalive) = (None, 0, false);
        Some(Frame::Message(message))
    }

    /// A message has begun and is not complete: its peer may not take for ever.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// Drops line ends before a message; `true` when two of them made a keepalive.
    fn skip_line_end(&mut self) -> bool {
        while self.scanned == 0 && self.buffer.starts_with(b"\r\n") {
            self.buffer.advance(2);
            self.half_keepalive = !self.half_keepalive;
            if !self.half_keepalive {
                return true;
            }
        }
        false
    }

    /// The length of the message that the buffer begins with; `None` while its head is incomplete.
    fn find_length(&mut self) -> Option<Result<usize, Fault>> {
        let Some(head_length) = head_end(&self.buffer, self.scanned) else {
            // A lone CR may be the first half of a line end before the message.
            self.scanned = if *self.buffer == b"\r"[..] { 0 } else { self.buffer.len() };
            return (self.buffer.len() > MESSAGE_MAX).then_some(Err(Fault::TooLong));
        };
        // Looked at no further: in pieces it would have been refused before its end had come.
        if head_length > MESSAGE_MAX {
            return Some(Err(Fault::TooLong));
        }
        let head = self.buffer.get(..head_length).unwrap_or_default();
        Some(body_length(head).and_then(|body| match head_length.saturating_add(body) {
            length if length > MESSAGE_MAX => Err(Fault::TooLong),
            _ if body > BODY_MAX => Err(Fault::BodyTooLong),
            length => Ok(length),
        }))
    }

    fn break_off(&mut self, fault: Fault) -> Frame {
        self.broken = true;
        let end = head_end(&self.buffer, 0).unwrap_or(self.buffer.len()).min(MESSAGE_MAX);
        let head = Bytes::copy_from_slice(self.buffer.get(..end).unwrap_or_default());
        self.buffer = BytesMut::new();
        Frame::Broken(Malformed::new(head, fault))
    }
}

/// Behind the first empty line from `from` on, by any reading of what a line end is. A head with
/// another line end than CRLF is refused later: here it must only not be overlooked.
fn head_end(text: &[u8], from: usize) -> Option<usize> {
    let rest = text.get(from..).unwrap_or_default();
    memchr::memchr2_iter(b'\r', b'\n', rest).map(|at| from + at).find_map(|at| {
        let (before, end) = text.split_at_checked(at)?;
        let ends = match end.first() {
            Some(b'\n') => before.ends_with(b"\n") || before.ends_with(b"\n\r"),
            Some(_) | None => before.ends_with(b"\r"),
        };
        ends.then_some(at + 1)
    })
}

/// What a whole head says of its body: exactly one Content-Length, of decimal digits only.
fn body_length(head: &[u8]) -> Result<usize, Fault> {
    let mut lines = Lines::new(head);
    lines.start_line()?;
    let (mut headers, mut found) = (0, None);
    while let Some(line) = lines.next_header()? {
        headers += 1;
        if headers > HEADERS_MAX {
            return Err(Fault::TooManyHeaders);
        }
        let (id, _, value) = split_header(line)?;
        if id == HeaderId::ContentLength && found.replace(value).is_some() {
            return Err(Fault::Repeated(id));
        }
    }
    let value = found.ok_or(Fault::Missing(HeaderId::ContentLength))?;
    lex::decimal(value, u64::from(u32::MAX))
        .and_then(|length| usize::try_from(length).ok())
        .ok_or(Fault::Invalid(HeaderId::ContentLength))
}

impl fmt::Debug for Framer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Framer({} bytes, broken: {})", self.buffer.len(), self.broken)
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(bytes) => write!(f, "Message({} bytes)", bytes.len()),
            Self::Keepalive => f.write_str("Keepalive"),
            Self::Broken(malformed) => write!(f, "Broken({malformed:?})"),
        }
    }
}

#[cfg(test)]
#[path = "framer_tests.rs"]
mod tests;
