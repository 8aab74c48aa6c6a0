//! A message that was refused, and the answer it gets when enough of it can be read.

use std::fmt;

use bytes::{Bytes, BytesMut};

use super::header::HeaderId;
use super::ids::Tag;
use super::limits::{HEADERS_MAX, MESSAGE_MAX, VIAS_MAX};
use super::parse::{Fault, Lines, split_header};
use super::transport::Hop;
use super::via::Via;
use super::write::reply::{ReplyHead, ToTag};
use super::write::take;

/// A message that was refused. `Debug` shows why, never its text.
pub struct Malformed {
    bytes: Bytes,
    fault: Fault,
}

impl Malformed {
    pub(crate) fn new(bytes: Bytes, fault: Fault) -> Self {
        Self { bytes, fault }
    }

    /// Why it was refused.
    #[must_use]
    pub fn fault(&self) -> Fault {
        self.fault
    }

    /// The status an answer would carry.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.fault.status()
    }

    /// The stateless answer to a message from `source`, and where it goes. `None` for a response,
    /// an ACK, a keepalive, and wherever Via, From, To, Call-ID or CSeq cannot be read.
    #[must_use]
    pub fn answer(
        &self,
        source: impl Into<Hop>,
        to_tag: &Tag,
        out: &mut BytesMut,
    ) -> Option<(Hop, Bytes)> {
        let source = source.into();
        if self.bytes.len() > MESSAGE_MAX {
            return None;
        }
        let salvage = Salvage::read(&self.bytes)?;
        let vias = salvage.vias.as_slice();
        let via = Via::parse(vias.first()?).ok()?;
        let head = ReplyHead {
            status: self.status(),
            via,
            more_vias: vias.iter().copied().skip(1),
            from: salvage.from?,
            to: salvage.to?,
            to_tag: if has_tag(salvage.to?) { ToTag::Keep } else { ToTag::Add(to_tag) },
            call_id: salvage.call_id?,
            cseq: salvage.cseq?,
        };
        head.write(out, source.address.into());
        out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
        Some((via.reply_hop(source), take(out)))
    }
}

impl fmt::Debug for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Malformed({:?}, {} bytes)", self.fault, self.bytes.len())
    }
}

/// The first value of each header that an answer repeats, wherever it can be read.
#[derive(Default)]
struct Salvage<'a> {
    vias: Vec<&'a [u8]>,
    from: Option<&'a [u8]>,
    to: Option<&'a [u8]>,
    call_id: Option<&'a [u8]>,
    cseq: Option<&'a [u8]>,
}

impl<'a> Salvage<'a> {
    /// Reads past faults, line by line, never further than the limits allow. `None` for what is
    /// never answered.
    fn read(text: &'a [u8]) -> Option<Self> {
        let mut lines = Lines::new(text);
        let start = lines.start_line().ok()?;
        if start.starts_with(b"ACK ") || start.get(..4)?.eq_ignore_ascii_case(b"SIP/") {
            return None;
        }
        let mut salvage = Self::default();
        for _ in 0..=HEADERS_MAX {
            match lines.next_header() {
                Ok(Some(line)) => salvage.note(line),
                Ok(None) => break,
                Err(_) if lines.skip_line() => {}
                Err(_) => break,
            }
        }
        Some(salvage)
    }

    fn note(&mut self, line: &'a [u8]) {
        let Ok((id, _, value)) = split_header(line) else { return };
        if !is_printable(value) {
            return;
        }
        #[expect(clippy::wildcard_enum_match_arm, reason = "an answer repeats these five only")]
        match id {
            HeaderId::Via if self.vias.len() < VIAS_MAX => self.vias.push(value),
            HeaderId::From => _ = self.from.get_or_insert(value),
            HeaderId::To => _ = self.to.get_or_insert(value),
            HeaderId::CallId => _ = self.call_id.get_or_insert(value),
            HeaderId::CSeq => _ = self.cseq.get_or_insert(value),
            _ => {}
        }
    }
}

/// Not empty, and no control characters but those of folds.
fn is_printable(value: &[u8]) -> bool {
    !value.is_empty() && value.iter().all(|byte| *byte >= 0x20 || b"\t\r\n".contains(byte))
}

/// Whether a To that may be broken seems to have a tag already.
fn has_tag(to: &[u8]) -> bool {
    to.windows(4).any(|word| word.eq_ignore_ascii_case(b"tag="))
}
