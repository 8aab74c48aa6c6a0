//! What a phone has sent and received: the ladder of a demo, the evidence of a simulation.

use std::fmt;
use std::net::SocketAddr;

use bytes::Bytes;

use crate::domain::now::Now;

/// The most entries that are kept; later ones are only counted.
pub const ENTRIES_MAX: usize = 100_000;

/// Into the phone or out of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Way {
    /// Received.
    In,
    /// Sent.
    Out,
}

/// Which of a phone's sockets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Signalling.
    Sip,
    /// Media.
    Rtp,
    /// Reports about media.
    Rtcp,
}

/// One datagram. `Debug` does not show what it says.
#[derive(Clone)]
pub struct Entry {
    /// When.
    pub at: Now,
    /// In or out.
    pub way: Way,
    /// On which socket.
    pub kind: Kind,
    /// The far end.
    pub peer: SocketAddr,
    /// All of it.
    pub bytes: Bytes,
}

impl Entry {
    /// The first line of a SIP message; empty for media.
    #[must_use]
    pub fn first_line(&self) -> &str {
        match self.kind {
            Kind::Sip => {
                let line = self.bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
                std::str::from_utf8(line).unwrap_or_default()
            }
            Kind::Rtp | Kind::Rtcp => "",
        }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (way, kind, bytes) = (self.way, self.kind, self.bytes.len());
        write!(f, "Entry({way:?}, {kind:?}, {}, {bytes} bytes)", self.peer)
    }
}

/// All datagrams received, and all signalling sent, in order.
#[derive(Clone, Debug, Default)]
pub struct Log {
    entries: Vec<Entry>,
    left_out: u64,
}

impl Log {
    pub(super) fn push(&mut self, entry: Entry) {
        if self.entries.len() < ENTRIES_MAX {
            self.entries.push(entry);
        } else {
            self.left_out += 1;
        }
    }

    /// The entries, oldest first.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// What came in, oldest first.
    pub fn received(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.way == Way::In)
    }

    /// How many came after [`ENTRIES_MAX`].
    #[must_use]
    pub const fn left_out(&self) -> u64 {
        self.left_out
    }
}
