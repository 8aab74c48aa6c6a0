//! How far the recorder has come, for those who must not act on what the store knew a while ago.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

/// Records of this process that were queued, and those that are settled: written, or given up.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    queued: AtomicU64,
    settled: watch::Sender<u64>,
}

impl Backlog {
    /// One more is on its way. They are settled in their order.
    pub(super) fn queued(&self) {
        self.queued.fetch_add(1, Ordering::SeqCst);
    }

    /// So many more are written, or never will be.
    pub(super) fn settled(&self, records: usize) {
        self.settled.send_modify(|settled| *settled += records as u64);
    }

    /// Comes when all that are queued now are settled.
    pub(super) async fn settle(&self) {
        let queued = self.queued.load(Ordering::SeqCst);
        let mut settled = self.settled.subscribe();
        settled.wait_for(|settled| *settled >= queued).await.expect("its sender is borrowed here");
    }
}
