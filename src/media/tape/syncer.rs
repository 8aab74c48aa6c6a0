//! The thread that waits until a recording that has ended is on the disk. The recorder does not:
//! while one is synced, the others go on.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use super::deck::failed;
use super::{Taped, Told};

/// The most recordings that wait to be synced: as many calls may end at once. What is beyond it is
/// left as a crash would leave it, which is all of it, and is found within seconds.
pub(super) const SYNCS_MAX: usize = 1_024;

/// Brings a file or a folder to the disk.
pub(super) type Sync = Box<dyn Fn(&File) -> io::Result<()> + Send>;

/// A recording whose file is written to its end. Nobody else takes the file while it is open.
pub(super) struct Ended {
    pub(super) file: File,
    pub(super) folder: PathBuf,
    pub(super) taped: Taped,
    pub(super) told: Told,
}

/// The running thread; it ends when all is on the disk.
pub(super) struct Syncer {
    queue: Option<SyncSender<Ended>>,
    thread: Option<JoinHandle<()>>,
}

impl Syncer {
    pub(super) fn start(
        sync: Sync,
        done: Box<dyn Fn(Taped) + Send>,
        has_room: Arc<AtomicBool>,
        syncs_max: usize,
    ) -> io::Result<Self> {
        let (queue, ended) = sync_channel(syncs_max);
        let thread = thread::Builder::new().name("recorder-sync".to_owned());
        let thread = thread.spawn(move || run(&ended, &sync, &done, &has_room))?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    /// Takes one without waiting. False when too many wait: it is left where it is.
    pub(super) fn take(&self, ended: Ended) -> bool {
        self.queue.as_ref().is_some_and(|queue| queue.try_send(ended).is_ok())
    }

    /// Takes one at the end of all, when nothing else has to be done.
    pub(super) fn take_waiting(&self, ended: Ended) -> bool {
        self.queue.as_ref().is_some_and(|queue| queue.send(ended).is_ok())
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }
}

fn run(ended: &Receiver<Ended>, sync: &Sync, done: &dyn Fn(Taped), has_room: &AtomicBool) {
    while let Ok(Ended { file, folder, taped, told }) = ended.recv() {
        let synced = sync(&file).and_then(|()| sync(&File::open(folder)?));
        // Whoever is told may take it.
        drop(file);
        match synced {
            Ok(()) => {
                metrics::counter!("maskline_recording_packets_lost_total")
                    .increment(taped.totals.lost);
                done(taped);
            }
            Err(error) => failed(&error, &told, has_room),
        }
    }
}
