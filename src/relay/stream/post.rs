//! What a shard wants sent over streams: one queue behind a lock, and an eventfd that wakes the
//! thread of the connections.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rustix::event::{EventfdFlags, eventfd};

use crate::sip::transport::Hop;

/// Messages that wait to be sent. More are lost: the thread then stands still, and what waits for
/// an answer times out.
pub(crate) const SENDS_MAX: usize = 16_384;

/// The queue, shared by the shard and the thread of the connections.
#[derive(Debug)]
pub(crate) struct Post {
    letters: Mutex<Letters>,
    rung: AtomicBool,
    bell: OwnedFd,
}

/// What has been asked since the thread last looked.
#[derive(Debug, Default)]
pub(super) struct Letters {
    /// Messages, oldest first.
    pub(super) sends: VecDeque<(Hop, Bytes)>,
    /// Softphones that have shown the login of an agent.
    pub(super) proved: Vec<Hop>,
    /// Messages for which there was no room.
    pub(super) lost: u64,
    /// Read the certificates again.
    pub(super) reload: bool,
    /// The thread shall end.
    pub(super) stop: bool,
}

impl Post {
    /// # Errors
    /// The process has no descriptor left.
    pub(crate) fn new() -> io::Result<Self> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { letters: Mutex::default(), rung: AtomicBool::new(false), bell })
    }

    /// Sends a message on the connection to its hop, or on a new one.
    pub(crate) fn send(&self, to: Hop, bytes: Bytes) {
        let mut letters = self.lock();
        if letters.sends.len() >= SENDS_MAX {
            letters.lost += 1;
            return;
        }
        letters.sends.push_back((to, bytes));
        drop(letters);
        self.ring();
    }

    /// This softphone has shown the login of an agent: its connection may stay. Without room it has
    /// to show it once more.
    pub(crate) fn believe(&self, softphone: Hop) {
        let mut letters = self.lock();
        if letters.proved.len() < SENDS_MAX {
            letters.proved.push(softphone);
        }
        drop(letters);
        self.ring();
    }

    /// Reads the certificates again.
    pub(crate) fn reload(&self) {
        self.lock().reload = true;
        self.ring();
    }

    /// Ends the thread, and with it every connection.
    pub(crate) fn stop(&self) {
        self.lock().stop = true;
        self.ring();
    }

    fn ring(&self) {
        if !self.rung.swap(true, Ordering::SeqCst) {
            // It can only fail by overflow, and then the thread is awake already.
            rustix::io::write(&self.bell, &1_u64.to_ne_bytes()).ok();
        }
    }

    pub(super) fn take(&self) -> Letters {
        // Silence the bell first: whoever comes after this line rings it anew.
        let mut count = [0_u8; 8];
        // Nothing to read means that nobody has rung; both are fine.
        rustix::io::read(&self.bell, &mut count).ok();
        self.rung.store(false, Ordering::SeqCst);
        std::mem::take(&mut *self.lock())
    }

    pub(super) fn bell_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    fn lock(&self) -> MutexGuard<'_, Letters> {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
