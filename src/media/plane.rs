//! The running media plane: its threads, and their end.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::calls::{Calls, Room};
use super::clock::Clock;
use super::config::PlaneConfig;
use super::free_ports::{FreePorts, PortsSeen};
use super::limits::sessions_by_descriptors;
use super::link::{CommandQueue, Link, Waker, links};
use super::worker::Worker;
use crate::rtp::ports::Ports;

/// The media threads. They end, and all ports close, when this is dropped or stopped.
pub struct Plane {
    queues: Arc<[Arc<CommandQueue>]>,
    threads: Vec<JoinHandle<()>>,
    clock: Clock,
    ports: Vec<Arc<PortsSeen>>,
}

impl Plane {
    /// Starts the threads, after the file limit has been raised to the hard limit. There is one
    /// link for each waker, in order. Install the recorder of metrics before.
    pub fn start(config: &PlaneConfig, wakers: Vec<Waker>) -> io::Result<(Self, Vec<Link>)> {
        let threads = config.threads.clamp(1, THREADS_MAX);
        let room = Arc::new(Room::new(config.sessions_max.min(sessions_by_descriptors())));
        let clock = Clock::start();
        let (links, ends) = links(wakers, threads)?;
        let queues = Arc::clone(&ends.queues);
        let mut plane = Self { queues, threads: Vec::new(), clock, ports: Vec::new() };
        for (part, queue) in ends.queues.iter().enumerate() {
            let ports = Ports::new(&config.ports, config.port_quarantine, part, threads);
            if ports.free() < 2 {
                return Err(io::Error::other("the RTP port range is too small for its threads"));
            }
            let mut rng = ChaCha20Rng::from_seed(config.seed);
            rng.set_stream(part as u64);
            let seen = PortsSeen::new(&ports, config.port_quarantine);
            plane.ports.push(Arc::clone(&seen));
            let room = Arc::clone(&room);
            let calls = Calls::new(config.address, ports, config.silence_timeout, room, seen);
            let queue = Arc::clone(queue);
            let library = (Arc::clone(&config.sounds), config.tape.clone());
            let reporters = ends.reporters.clone();
            let worker = Worker::new(part, clock, queue, reporters, calls, library, rng)?;
            let thread = thread::Builder::new().name(format!("media-{part}"));
            plane.threads.push(thread.spawn(move || worker.run())?);
        }
        Ok((plane, links))
    }

    /// All threads are alive.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.threads.iter().all(|thread| !thread.is_finished())
    }

    /// The port pairs that a new call can take, and all.
    #[must_use]
    pub fn free_ports(&self) -> FreePorts {
        let now = self.clock.now();
        self.ports.iter().fold(FreePorts::default(), |sum, thread| {
            let seen = thread.read(now);
            FreePorts { free: sum.free + seen.free, all: sum.all + seen.all }
        })
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

/// More threads than any machine of ours has cores.
const THREADS_MAX: usize = 256;
