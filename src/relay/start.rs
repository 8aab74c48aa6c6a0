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

use super::caps::Caps;
use super::handle::{Handle, Shared};
use super::mailbox::{Mailbox, TakesOrders};
use super::recorder::{Pace, RecordStore, RecorderQueue};
use super::refusals::{Refusals, write_refusals};
use super::routes::{Found, RouteSource, Routes, no_memory};
use super::shard::Shard;
use super::sip_udp::SipSocket;
use super::stream::{Limits, Post, Streams};
use super::tls::Tls;
use super::trunks::TrunkTable;
use super::ways::{SOFTPHONES_AT, TakesPassed, Ways};
use crate::call::config::CallConfig;
use crate::call::core::CallCore;
use crate::media::{ShardLink, Waker};
use crate::sip::transport::Transport;

/// Shards that can be rung, but do not run yet.
pub(crate) struct Prepared<R: RouteSource> {
    shards: Vec<(Vec<SipSocket>, Inbox<R>)>,
    handle: Handle,
}

type Inbox<R> = Arc<Mailbox<Found<<R as RouteSource>::Sealed>>>;

/// What the shards work with.
pub(crate) struct Parts<R, S> {
    /// The settings of all of them together.
    pub(crate) call: CallConfig,
    /// How long a busy shard lets datagrams gather.
    pub(crate) gather: Duration,
    /// One for each.
    pub(crate) media: Vec<ShardLink>,
    pub(crate) routes: Arc<R>,
    pub(crate) caps: Caps,
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
    pub(crate) softphones: &'static [Transport],
}

/// The relay at work.
pub(crate) struct Relay {
    shared: Arc<Shared>,
    shards: Vec<Arc<dyn TakesOrders>>,
    threads: Vec<std::thread::JoinHandle<()>>,
    post: Arc<Post>,
    /// What makes records and refusals durable.
    writers: [JoinHandle<()>; 2],
    closing: CancellationToken,
    tasks: Vec<AbortHandle>,
}

impl<R: RouteSource> Prepared<R> {
    /// Connects the handle to one mailbox for each shard, whose sockets these are: orders wait in
    /// them until the shards run.
    ///
    /// # Errors
    /// No descriptor is left.
    pub(crate) fn new(sockets: Vec<Vec<SipSocket>>, handle: &Handle) -> io::Result<Self> {
        let with_mailbox = |socket| Ok((socket, Arc::new(Mailbox::new()?)));
        let shards = sockets.into_iter().map(with_mailbox).collect::<io::Result<Vec<_>>>()?;
        let orders = shards.iter().map(|(_, mailbox)| Arc::clone(mailbox) as _).collect();
        handle.connect(orders);
        Ok(Self { shards, handle: handle.clone() })
    }

    /// What rings each shard when the media plane has something to report.
    pub(crate) fn wakers(&self) -> Vec<Waker> {
        let waker = |mailbox: Inbox<R>| Box::new(move || mailbox.ring()) as Waker;
        self.shards.iter().map(|(_, mailbox)| waker(Arc::clone(mailbox))).collect()
    }

    /// Starts the shards' threads and their recorder. Call it within a tokio runtime.
    ///
    /// # Errors
    /// No thread, descriptor or randomness is left.
    pub(crate) fn start<S: RecordStore>(self, parts: Parts<R, S>) -> io::Result<Relay> {
        let Self { shards, handle } = self;
        let shared = Arc::clone(handle.shared());
        // The brains together hold one credit for each place.
        let queue =
            RecorderQueue::new(parts.call.recorder_credits as usize, Arc::clone(&shared.backlog));
        let (refusals, unwanted) = Refusals::new(parts.call.recorder_credits as usize);
        let runtime = tokio::runtime::Handle::current();
        let post = Arc::new(Post::new()?);
        let passed =
            |(_, mailbox): &(Vec<SipSocket>, Inbox<R>)| Arc::clone(mailbox) as Arc<dyn TakesPassed>;
        let ways = Arc::new(Ways::new(shards.iter().map(passed).collect()));
        let orders = shards.iter().map(|(_, mailbox)| Arc::clone(mailbox) as _).collect();
        let mut threads = Vec::with_capacity(shards.len() + 1);
        let memory = no_memory();
        let count = shards.len();
        let has_softphones = !parts.streams.softphones.is_empty();
        for ((index, (sockets, mailbox)), media) in shards.into_iter().enumerate().zip(parts.media)
        {
            let call = share(&parts.call, index, count, has_softphones);
            let routes = Routes::new(
                Arc::clone(&parts.routes),
                runtime.clone(),
                Arc::clone(&mailbox),
                Arc::clone(&shared),
                Arc::clone(&memory),
                parts.caps.clone(),
                (call.pending_routes_max, call.route_deadline),
            );
            let shard = Shard {
                index,
                gather: parts.gather,
                ways: Arc::clone(&ways),
                post: Arc::clone(&post),
                core: CallCore::new(call, random_generator()?),
                sockets,
                mailbox: Arc::clone(&mailbox),
                media,
                routes,
                recorder: queue.recorder(mailbox as _),
                refusals: refusals.clone(),
                trunks: Arc::clone(&parts.trunks),
                shared: Arc::clone(&shared),
            };
            threads.push(shard.start()?);
        }
        let StreamParts { listeners, sources, tls, limits, softphones } = parts.streams;
        let streams = Streams {
            listeners,
            sources,
            post: Arc::clone(&post),
            inbox: ways,
            trunks: parts.trunks,
            tls,
            limits,
            softphones,
            shared: Arc::clone(&shared),
        };
        threads.push(streams.start()?);
        let closing = CancellationToken::new();
        let (records, pace) = (Arc::new(parts.records), Pace::default());
        let recorder =
            runtime.spawn(queue.run(Arc::clone(&records), pace, chance, closing.clone()));
        let writing = write_refusals(unwanted, records, handle, pace, chance, closing.clone());
        let writers = [recorder, runtime.spawn(writing)];
        Ok(Relay { shared, shards: orders, threads, post, writers, closing, tasks: Vec::new() })
    }
}

/// The share of one of several brains: what all may do together is shared out evenly. The one that
/// has all the softphones beside its trunks gets as much once more. What it takes beyond its share
/// of calls, the media plane still counts for all together.
fn share(all: &CallConfig, index: usize, count: usize, has_softphones: bool) -> CallConfig {
    let count = count.max(1);
    let own = if has_softphones && index == SOFTPHONES_AT { 2 } else { 1 };
    let of = |max: usize| (max.div_ceil(count) * own).min(max);
    // Never more credits than places.
    let parts = u32::try_from(count + usize::from(has_softphones)).unwrap_or(u32::MAX);
    let credits = u64::from(all.recorder_credits) * own as u64 / u64::from(parts);
    let sources = u32::try_from(count).unwrap_or(u32::MAX);
    CallConfig {
        shard: u8::try_from(index).unwrap_or(u8::MAX),
        calls_max: of(all.calls_max),
        pending_routes_max: of(all.pending_routes_max),
        source_cps_max: all.source_cps_max.map(|max| max.div_ceil(sources)),
        recorder_credits: u32::try_from(credits).unwrap_or(u32::MAX).max(1),
        ..all.clone()
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

    /// Comes to an end only when a thread of signalling did.
    pub(crate) async fn failed(&self) {
        self.shared.thread_gone.notified().await;
    }

    /// Ends the shards and writes what is left, within `flush`; `true` when records are left.
    pub(crate) async fn stop(self, flush: Duration) -> bool {
        self.shards.iter().for_each(|shard| shard.stop());
        self.closing.cancel();
        self.post.stop();
        let threads = self.threads;
        // A thread that panicked has said so already.
        let join = move || threads.into_iter().for_each(|thread| drop(thread.join()));
        tokio::task::spawn_blocking(join).await.ok();
        let [records, refusals] = self.writers;
        let written = async { drop((records.await, refusals.await)) };
        let unwritten = tokio::time::timeout(flush, written).await.is_err();
        self.tasks.iter().for_each(AbortHandle::abort);
        unwritten
    }
}

/// The one source of chance of a brain, seeded by the system.
pub(super) fn random_generator() -> io::Result<ChaCha20Rng> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shard_of_the_softphones_may_do_twice_as_much_and_the_recorder_has_room_for_all() {
        let address = "192.0.2.1:5060".parse().expect("an address");
        let all = CallConfig { source_cps_max: Some(8), ..CallConfig::new(address) };
        let all = CallConfig { softphone_cps_max: Some(8), ..all };
        for count in 1..70 {
            for has_softphones in [false, true] {
                let shares: Vec<_> =
                    (0..count).map(|index| share(&all, index, count, has_softphones)).collect();
                let credits: u32 = shares.iter().map(|it| it.recorder_credits).sum();
                assert!(credits <= all.recorder_credits && credits > all.recorder_credits / 2);
                let calls: usize = shares.iter().map(|it| it.calls_max).sum();
                assert!(calls >= all.calls_max);
                // Softphones are at one shard, the calls of a trunk are spread over all.
                assert!(shares.iter().all(|it| it.softphone_cps_max == Some(8)));
                if has_softphones && count > 1 {
                    assert_eq!(shares[0].calls_max, 2 * shares[1].calls_max);
                    assert!(shares[0].recorder_credits >= 2 * shares[1].recorder_credits);
                    assert!(shares[1].source_cps_max <= Some(4));
                }
            }
        }
    }
}
