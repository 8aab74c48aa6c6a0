//! The side of signalling: a link for each shard, and a thread behind it that carries its messages
//! to the process of the media plane.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use super::courier::Courier;
use super::wire::{Hello, VERSION};
use crate::media::bell::Bell;
use crate::media::free_ports::FreePorts;
use crate::media::limits::sessions_by_descriptors;
use crate::media::link::{Full, REPORTS_MAX, Waker, waiting_max};
use crate::rtp::plane::{Command, Report};

/// What a link and its thread share.
pub(super) struct Shared {
    pub(super) bell: Bell,
    pub(super) stopping: AtomicBool,
    pub(super) is_connected: AtomicBool,
    pub(super) free: AtomicU32,
    pub(super) all: AtomicU32,
    orders: Mutex<VecDeque<Command>>,
}

impl Shared {
    fn new() -> io::Result<Self> {
        Ok(Self {
            bell: Bell::new()?,
            stopping: AtomicBool::new(false),
            is_connected: AtomicBool::new(false),
            free: AtomicU32::new(0),
            all: AtomicU32::new(0),
            orders: Mutex::new(VecDeque::new()),
        })
    }

    fn push(&self, command: Command) -> Result<(), Full> {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        if orders.len() >= waiting_max(&command) {
            return Err(Full);
        }
        orders.push_back(command);
        Ok(())
    }

    /// The oldest command.
    pub(super) fn pop(&self) -> Option<Command> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

/// A shard's end of the media plane in another process. As with one in this process, reports about
/// a call come to the link that opened it.
pub struct RemoteLink {
    shared: Arc<Shared>,
    reports: Receiver<Report>,
    /// Something was queued that the thread was not woken for.
    is_due: bool,
}

impl RemoteLink {
    /// Queues a command. Nothing is answered at once.
    ///
    /// # Errors
    /// Too many commands wait.
    pub fn queue(&mut self, command: Command) -> Result<Option<Report>, Full> {
        self.shared.push(command)?;
        self.is_due = true;
        Ok(None)
    }

    /// Sends what is queued.
    pub fn flush(&mut self) {
        if std::mem::take(&mut self.is_due) {
            self.shared.bell.ring();
        }
    }

    /// The next report, if one is waiting.
    pub fn try_report(&mut self) -> Option<Report> {
        self.reports.try_recv().ok()
    }
}

/// The media plane of another process, as this one sees it. The connections end with it.
pub struct Outside {
    shards: Vec<Arc<Shared>>,
    threads: Vec<JoinHandle<()>>,
}

impl Outside {
    /// Connects to the plane that serves `path`, now or as soon as it does, if it plays what has
    /// the hash `sounds`. There is one link for each waker, in order. Until it is connected, and
    /// whenever it is not, calls get no ports. Raises the file limit to the hard limit, as a plane
    /// of this process would.
    ///
    /// # Errors
    /// No descriptor or no thread is left.
    pub fn connect(
        path: &Path,
        wakers: Vec<Waker>,
        sounds: [u8; 32],
    ) -> io::Result<(Self, Vec<RemoteLink>)> {
        sessions_by_descriptors();
        let count = wakers.len() as u16;
        let mut this = Self { shards: Vec::new(), threads: Vec::new() };
        let mut links = Vec::new();
        for (shard, waker) in (0..).zip(wakers) {
            let shared = Arc::new(Shared::new()?);
            let (sender, reports) = sync_channel(REPORTS_MAX);
            let hello = Hello { version: VERSION, shard, shards: count, is_known: false, sounds };
            let to = (path.to_owned(), hello);
            let courier = Courier::new(to, Arc::clone(&shared), sender, waker);
            let thread = thread::Builder::new().name(format!("media-link-{shard}"));
            this.shards.push(Arc::clone(&shared));
            this.threads.push(thread.spawn(move || courier.run())?);
            links.push(RemoteLink { shared, reports, is_due: false });
        }
        Ok((this, links))
    }

    /// All connections are up.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.shards.iter().all(|shard| shard.is_connected.load(Ordering::SeqCst))
    }

    /// The port pairs that a new call can take, and all, as last told.
    #[must_use]
    pub fn free_ports(&self) -> FreePorts {
        let read = |number: &AtomicU32| number.load(Ordering::SeqCst) as usize;
        // Each shard is told of the whole plane.
        self.shards.first().map_or(FreePorts::default(), |shard| FreePorts {
            free: read(&shard.free),
            all: read(&shard.all),
        })
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        for shard in &self.shards {
            shard.stopping.store(true, Ordering::SeqCst);
            shard.bell.ring();
        }
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }
}
