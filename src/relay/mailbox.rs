//! What other threads want to tell a shard: one inbox behind a lock, and an eventfd that wakes the
//! shard's epoll.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};

use crate::call::io::Control;

/// Orders that wait for a shard. A shard empties its inbox every round, so this many mean it does
/// not run.
pub(crate) const CONTROLS_MAX: usize = 4_096;
/// How long an order waits for room before it is given up as undeliverable.
const ROOM_WAIT: Duration = Duration::from_secs(5);

/// A shard's inbox, shared with everybody who talks to it.
#[derive(Debug)]
pub(crate) struct Mailbox {
    inbox: Mutex<Inbox>,
    room: Condvar,
    wake: OwnedFd,
}

/// What has arrived since the shard last looked.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    /// Orders, oldest first.
    pub(crate) controls: VecDeque<Control>,
    /// Attempts that may be taken again, because their CDRs are durable.
    pub(crate) credit: u32,
    woken: bool,
}

/// The shard has not looked into its inbox for [`ROOM_WAIT`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct ShardStuck;

impl Mailbox {
    /// # Errors
    /// The process has no descriptor left.
    pub(crate) fn new() -> io::Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { inbox: Mutex::default(), room: Condvar::new(), wake })
    }

    /// Hands an order over. An order is never dropped for want of room: it waits for the shard.
    ///
    /// # Errors
    /// [`ShardStuck`] when the shard stands still; the caller may not acknowledge what it ordered.
    pub(crate) fn order(&self, control: Control) -> Result<(), ShardStuck> {
        let inbox = self.lock();
        let full = |inbox: &mut Inbox| inbox.controls.len() >= CONTROLS_MAX;
        let (mut inbox, wait) = self
            .room
            .wait_timeout_while(inbox, ROOM_WAIT, full)
            .unwrap_or_else(PoisonError::into_inner);
        if wait.timed_out() {
            return Err(ShardStuck);
        }
        inbox.controls.push_back(control);
        self.wake_up(&mut inbox);
        Ok(())
    }

    /// Gives credit back. It adds up in one number, so it needs no bound.
    pub(crate) fn credit(&self, records: u32) {
        let mut inbox = self.lock();
        inbox.credit = inbox.credit.saturating_add(records);
        self.wake_up(&mut inbox);
    }

    /// Moves everything that has arrived into `taken`, whose own (empty) buffers are used next.
    pub(crate) fn take(&self, taken: &mut Inbox) {
        *taken = Inbox { controls: std::mem::take(&mut taken.controls), ..Inbox::default() };
        taken.controls.clear();
        // Reset the eventfd first: a letter that comes later sets it again.
        let mut count = [0_u8; 8];
        // Nothing to read means that nobody has rung; both are fine.
        rustix::io::read(&self.wake, &mut count).ok();
        let mut inbox = self.lock();
        std::mem::swap(&mut *inbox, taken);
        inbox.woken = false;
        drop(inbox);
        self.room.notify_all();
    }

    /// To be watched for reading.
    pub(crate) fn wake_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    fn wake_up(&self, inbox: &mut Inbox) {
        if !std::mem::replace(&mut inbox.woken, true) {
            // It can only fail by overflow, and then the shard is awake already.
            rustix::io::write(&self.wake, &1_u64.to_ne_bytes()).ok();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
