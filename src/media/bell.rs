//! Wakes a thread that waits for a descriptor.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{EventfdFlags, Timespec, eventfd};

/// An eventfd that is written to once, however often it is rung before the thread looks.
pub(super) struct Bell {
    /// It was rung, and the thread has not looked yet.
    rung: AtomicBool,
    event: OwnedFd,
}

impl Bell {
    pub(super) fn new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { rung: AtomicBool::new(false), event })
    }

    /// To be called after that was laid down which the thread shall find.
    pub(super) fn ring(&self) {
        if !self.rung.swap(true, Ordering::SeqCst) {
            // It fails only when the counter is at its end, and then the thread is awake anyway.
            let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
        }
    }

    /// Takes the rings back. To be called before looking at what was laid down, so that nothing is
    /// missed.
    pub(super) fn clear(&self) {
        let mut count = [0; 8];
        // It fails only when nobody has rung, and that is fine.
        let _ = rustix::io::read(&self.event, &mut count);
        self.rung.store(false, Ordering::SeqCst);
    }

    #[cfg(test)]
    pub(super) fn is_rung(&self) -> bool {
        self.rung.load(Ordering::SeqCst)
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

/// For `poll`.
pub(super) fn timespec(time: Duration) -> Timespec {
    let tv_sec = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    Timespec { tv_sec, tv_nsec: time.subsec_nanos().into() }
}
