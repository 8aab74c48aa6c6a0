//! The running media plane: its threads, and their end.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use super::config::PlaneConfig;
use super::link::{CommandQueue, Link, Waker, links};

/// The media threads. They end, and all ports close, when this is dropped or stopped.
pub struct Plane {
    queues: Arc<[Arc<CommandQueue>]>,
    threads: Vec<JoinHandle<()>>,
}

impl Plane {
    /// Starts the threads. There is one link for each waker, in order.
    pub fn start(config: PlaneConfig, wakers: Vec<Waker>) -> io::Result<(Self, Vec<Link>)> {
        let (links, ends) = links(wakers, config.threads.max(1))?;
        Ok((Self { queues: ends.queues, threads: Vec::new() }, links))
    }

    /// All threads are alive.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.threads.iter().all(|thread| !thread.is_finished())
    }

    /// Ends the threads and waits for them.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        for queue in self.queues.iter() {
            queue.stop();
        }
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.end();
    }
}
