//! One connection between the two processes, with what has come and what has to go. It never
//! blocks.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use rustix::event::PollFlags;
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroize;

use super::wire::{self, Broken, FRAME_BYTES_MAX};

/// From so many unsent bytes on nothing more is added.
const UNSENT_BYTES_MAX: usize = 256 * 1_024;
/// What one look at the socket may bring.
const READ_BYTES: usize = 64 * 1_024;

/// What one look at the socket has brought.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Filled {
    /// Bytes; there may be more.
    Some,
    /// Nothing now.
    Nothing,
    /// The peer has closed its end, and all it has said was read.
    End,
}

pub(super) struct Pipe {
    stream: UnixStream,
    /// What has come and was not taken yet, from `taken` on.
    come: Vec<u8>,
    taken: usize,
    /// What has to go, from `gone` on.
    to_go: Vec<u8>,
    gone: usize,
}

impl Pipe {
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream, come: Vec::new(), taken: 0, to_go: Vec::new(), gone: 0 })
    }

    /// Whether another message may be put.
    pub(super) fn has_room(&self) -> bool {
        self.to_go.len() - self.gone + FRAME_BYTES_MAX <= UNSENT_BYTES_MAX
    }

    pub(super) fn put<T: Serialize>(&mut self, message: &T) {
        wire::put(message, &mut self.to_go);
    }

    /// Writes as much as the socket takes.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while self.gone < self.to_go.len() {
            match self.stream.write(&self.to_go[self.gone..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => self.gone += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        // What has gone may have held keys.
        self.to_go[..self.gone].zeroize();
        self.to_go.drain(..self.gone);
        self.gone = 0;
        Ok(())
    }

    /// Reads once what is there.
    pub(super) fn fill(&mut self) -> io::Result<Filled> {
        self.come.drain(..self.taken);
        self.taken = 0;
        let length = self.come.len();
        self.come.resize(length + READ_BYTES, 0);
        let read = self.stream.read(&mut self.come[length..]);
        self.come.truncate(length + read.as_ref().map_or(0, |count| *count));
        match read {
            Ok(0) => Ok(Filled::End),
            Ok(_) => Ok(Filled::Some),
            Err(error) if is_for_later(&error) => Ok(Filled::Nothing),
            Err(error) => Err(error),
        }
    }

    /// The next message that has come whole.
    pub(super) fn take<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Broken> {
        let Some((message, length)) = wire::take(&self.come[self.taken..])? else {
            return Ok(None);
        };
        self.come[self.taken..self.taken + length].zeroize();
        self.taken += length;
        Ok(Some(message))
    }

    /// What to wait for: room when something has to go; more only if it `reads`.
    pub(super) fn wants(&self, reads: bool) -> PollFlags {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, reads);
        flags.set(PollFlags::OUT, self.gone < self.to_go.len());
        flags
    }
}

impl AsFd for Pipe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn is_for_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
