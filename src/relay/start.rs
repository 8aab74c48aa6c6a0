//! Puts the parts of the relay together, and takes them apart again.

use std::io;
use std::net::{IpAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::ArcSwap;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng as _;
use tokio::task::{AbortHandle, JoinHandle};
use tokio_util::sync::CancellationToken;

use super::handle::{Handle, Shared};
use super::mailbox::{Mailbox, TakesOrders};
use super::recorder::{Pace, RecordStore, RecorderQueue};
use super::routes::{Found, RouteSource, Routes};
use super::shard::Shard;
use super::sip_udp::SipSocket;
use super::stream::{Limits, Post, Streams};
use super::tls::Tls;
use super::trunks::TrunkTable;
use crate::call::config::CallConfig;
use crate::call::core::CallCore;
use crate::media::{Link, Waker};
use crate::sip::transport::Transport;

/// A shard that can be rung, but does not run yet.
pub(crate) struct Prepared<R: RouteSource> {
    socket: SipSocket,
    mailbox: Arc<Mailbox<Found<R::Sealed>>>,
    handle: Handle,
}

/// What a shard works with.
pub(crate) struct Parts<R, S> {
    pub(crate) call: CallConfig,
    pub(crate) media: Link,
    pub(crate) routes: Arc<R>,
    pub(crate) records: S,
    pub(crate) trunks: Arc<ArcSwap<TrunkTable>>,
    pub(crate) streams: StreamParts,
}

/// What the thread of connections works with.
pub(crate) struct StreamParts {
    pub(crate) listeners: Vec<(Transport, TcpListener)>,
    pub(crate) sources: Vec<IpAddr>,
    pub(crate) tls: Tls,
    pub(crate) limits: Limits,
}

/// The relay at work.
pub(crate) struct Relay {
    shared: Arc<Shared>,
    shard: Arc<dyn TakesOrders>,
    thread: std::thread::JoinHandle<()>,
    post: Arc<Post>,
    streams: std::thread::JoinHandle<()>,
    recorder: JoinHandle<()>,
    closing: CancellationToken,
    tasks: Vec<AbortHandle>,
}

impl<R: RouteSource> Prepared<R> {
    /// Connects the handle to a mailbox: orders wait in it until the shard runs.
    ///
    /// # Errors
    /// No descriptor is left.
    pub(crate) fn new(socket: SipSocket, handle: &Handle) -> io::Result<Self> {
        let mailbox = Arc::new(Mailbox::new()?);
        handle.connect(vec![Arc::clone(&mailbox) as Arc<dyn TakesOrders>]);
        Ok(Self { socket, mailbox, handle: handle.clone() })
    }

    /// Rings the shard when the media plane has something to report.
    pub(crate) fn waker(&self) -> Waker {
        let mailbox = Arc::clone(&self.mailbox);
        Box::new(move || mailbox.ring())
    }

    /// Starts the shard's thread and its recorder. Call it within a tokio runtime.
    ///
    /// # Errors
    /// No thread, descriptor or randomness is left.
    pub(crate) fn start<S: RecordStore>(self, parts: Parts<R, S>) -> io::Result<Relay> {
        let Self { socket, mailbox, handle } = self;
        let shared = Arc::clone(handle.shared());
        let route_limits = (parts.call.pending_routes_max, parts.call.route_deadline);
        // The brain holds one credit for each place.
        let queue = RecorderQueue::new(parts.call.recorder_credits as usize);
        let runtime = tokio::runtime::Handle::current();
        let routes = Routes::new(
            parts.routes,
            runtime.clone(),
            Arc::clone(&mailbox),
            Arc::clone(&shared),
            route_limits,
        );
        let post = Arc::new(Post::new()?);
        let StreamParts { listeners, sources, tls, limits } = parts.streams;
        let streams = Streams {
            listeners,
            sources,
            post: Arc::clone(&post),
            inbox: Arc::clone(&mailbox) as _,
            trunks: Arc::clone(&parts.trunks),
            tls,
            limits,
        };
        let shard = Shard {
            post: Arc::clone(&post),
            core: CallCore::new(parts.call, random_generator()?),
            socket,
            mailbox: Arc::clone(&mailbox),
            media: parts.media,
            routes,
            recorder: queue.recorder(Arc::clone(&mailbox) as _),
            trunks: parts.trunks,
            shared: Arc::clone(&shared),
        };
        let thread = shard.start(0)?;
        let streams = streams.start()?;
        let closing = CancellationToken::new();
        let recorder =
            runtime.spawn(queue.run(parts.records, Pace::default(), chance, closing.clone()));
        Ok(Relay {
            shared,
            shard: mailbox,
            thread,
            post,
            streams,
            recorder,
            closing,
            tasks: Vec::new(),
        })
    }
}

impl Relay {
    /// Lets a task end with the relay.
    pub(crate) fn adopt(&mut self, task: AbortHandle) {
        self.tasks.push(task);
    }

    /// What reads the certificates again.
    pub(crate) fn post(&self) -> Arc<Post> {
        Arc::clone(&self.post)
    }

    /// Attempts whose record has not come yet.
    pub(crate) fn calls(&self) -> u64 {
        self.shared.calls.load(Ordering::SeqCst)
    }

    /// Comes to an end only when the shard did.
    pub(crate) async fn failed(&self) {
        self.shared.shard_gone.notified().await;
    }

    /// Ends the shard and writes what is left, within `flush`; `true` when records are left.
    pub(crate) async fn stop(self, flush: Duration) -> bool {
        self.shard.stop();
        self.closing.cancel();
        self.post.stop();
        let threads = [self.thread, self.streams];
        // A thread that panicked has said so already.
        let join = move || threads.into_iter().for_each(|thread| drop(thread.join()));
        tokio::task::spawn_blocking(join).await.ok();
        let unwritten = tokio::time::timeout(flush, self.recorder).await.is_err();
        self.tasks.iter().for_each(AbortHandle::abort);
        unwritten
    }
}

/// The one source of chance of a brain, seeded by the system.
fn random_generator() -> io::Result<ChaCha20Rng> {
    let mut seed = [0; 32];
    aws_lc_rs::rand::fill(&mut seed).map_err(|_| io::Error::other("no randomness"))?;
    Ok(ChaCha20Rng::from_seed(seed))
}

/// A number from 0 to 1, to keep nodes out of step.
fn chance() -> f64 {
    let mut byte = [128];
    // Without randomness they stay in step; nothing worse.
    aws_lc_rs::rand::fill(&mut byte).ok();
    f64::from(byte[0]) / 255.0
}
