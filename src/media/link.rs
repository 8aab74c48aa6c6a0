//! The two queues between a signalling shard and the media threads. Both are bounded; both wake
//! their reader.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::bell::Bell;
use crate::rtp::plane::{Command, Report, SessionId};

/// The most commands waiting for one media thread.
pub const COMMANDS_MAX: usize = 16_384;
/// From this many waiting commands on, `Open` is refused, so that calls that run can still be
/// changed and closed.
pub const OPENS_WAITING_MAX: usize = 1_024;
/// The most reports waiting for one shard. When they are full the media threads take no commands
/// until there is room, and in turn `Open` is refused: nothing is lost.
pub const REPORTS_MAX: usize = 16_384;

/// The most commands that may wait before this one is refused.
pub(super) const fn waiting_max(command: &Command) -> usize {
    if matches!(command, Command::Open { .. }) { OPENS_WAITING_MAX } else { COMMANDS_MAX }
}

/// Ports opened in advance for each link by each thread, at most: a burst of calls as large waits
/// for no thread.
pub(super) const SPARES_MAX: usize = 32;

/// Stands for a part of the plane itself, where otherwise the link of an order stands.
const NO_LINK: usize = usize::MAX;

/// Called from a media thread after it has queued reports for a shard; it must not block. Writing
/// to an eventfd is meant. [`Report::Closed`] alone does not call it: whoever has closed a call
/// looks for that report soon by itself.
pub type Waker = Box<dyn Fn() + Send + Sync>;

/// The command was not taken: too many are waiting. For `Open` this means the same as
/// [`Report::Failed`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the media plane has too many commands waiting")]
pub struct Full;

/// Ports that no call has yet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Spare {
    /// Which of its thread.
    pub(super) id: usize,
    /// As to be advertised, towards A and towards B.
    pub(super) local: [SocketAddr; 2],
}

/// What a media thread tells a link.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum News {
    Report(Report),
    Spare { thread: usize, spare: Spare },
}

/// What a link asks of a media thread.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Order {
    Command(Command),
    /// The spare ports are those of this call from now on.
    Take {
        session: SessionId,
        spare: usize,
    },
    /// The recorder has begun this recording, or there is none any more.
    Taped {
        session: SessionId,
        number: u64,
        begun: bool,
    },
}

/// A shard's end. Reports about a call come to the link that opened it.
pub struct Link {
    id: usize,
    threads: Arc<[Arc<CommandQueue>]>,
    news: Receiver<News>,
    /// Reports that were there when a command was sent.
    early: VecDeque<Report>,
    /// Ports that each thread has opened in advance for our next calls.
    spares: Box<[Vec<Spare>]>,
    /// By thread: it has got a command of ours that somebody waits for.
    awaited: Box<[bool]>,
}

impl Link {
    /// Queues a command to the thread of its call and wakes that thread. Never blocks. Every answer
    /// comes as a report.
    pub fn send(&mut self, command: Command) -> Result<(), Full> {
        let answer = self.queue(command)?;
        self.early.extend(answer);
        self.flush_all();
        Ok(())
    }

    /// Queues a command without waking anybody: call [`Self::flush`] after the last one of a round,
    /// and [`Self::flush_all`] soon. The answer to an `Open` is there at once when ports were
    /// opened in advance.
    pub fn queue(&mut self, command: Command) -> Result<Option<Report>, Full> {
        let thread = self.thread_of(command.session());
        let queue = &self.threads[thread];
        let Command::Open { session } = command else {
            return queue.push(self.id, Order::Command(command)).map(|()| None);
        };
        let Some(spare) = self.spares[thread].pop() else {
            queue.push(self.id, Order::Command(command))?;
            self.awaited[thread] = true;
            return Ok(None);
        };
        if let Err(full) = queue.push(self.id, Order::Take { session, spare: spare.id }) {
            self.spares[thread].push(spare);
            return Err(full);
        }
        Ok(Some(Report::Opened { session, local: spare.local }))
    }

    fn thread_of(&self, session: SessionId) -> usize {
        let folded = (session.0 ^ (session.0 >> 64)) as u64;
        // Fibonacci hashing: neighbouring numbers spread evenly, and so do those that differ only
        // in their high bits.
        let spread = (folded.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as usize;
        spread % self.threads.len()
    }

    /// Wakes the threads that shall open ports. The other commands can wait for the next packet: a
    /// thread takes its commands before its packets.
    pub fn flush(&mut self) {
        for (awaited, thread) in self.awaited.iter_mut().zip(self.threads.iter()) {
            if std::mem::take(awaited) {
                thread.wake();
            }
        }
    }

    /// Wakes all threads that have commands. To be called a few milliseconds after a command was
    /// queued, for the calls of which no packet comes.
    pub fn flush_all(&mut self) {
        self.awaited.fill(false);
        for thread in self.threads.iter().filter(|thread| thread.has_commands()) {
            thread.wake();
        }
    }

    /// The next report, if one is waiting.
    pub fn try_report(&mut self) -> Option<Report> {
        if let Some(report) = self.early.pop_front() {
            return Some(report);
        }
        loop {
            let news = self.news.try_recv().ok()?;
            if let Some(report) = self.learn(news) {
                return Some(report);
            }
        }
    }

    /// Waits for a report. For tests and tools that have nothing else to wait for.
    pub fn wait_report(&mut self, timeout: Duration) -> Option<Report> {
        if let Some(report) = self.early.pop_front() {
            return Some(report);
        }
        loop {
            let news = self.news.recv_timeout(timeout).ok()?;
            if let Some(report) = self.learn(news) {
                return Some(report);
            }
        }
    }

    fn learn(&mut self, news: News) -> Option<Report> {
        match news {
            News::Report(report) => Some(report),
            News::Spare { thread, spare } => {
                self.spares[thread].push(spare);
                None
            }
        }
    }
}

/// Makes the links of all shards, and what the media threads need to answer them.
pub(super) fn links(wakers: Vec<Waker>, threads: usize) -> io::Result<(Vec<Link>, Ends)> {
    let queues: io::Result<Vec<_>> =
        (0..threads).map(|_| CommandQueue::new().map(Arc::new)).collect();
    let queues: Arc<[_]> = queues?.into();
    let mut links = Vec::with_capacity(wakers.len());
    let mut reporters = Vec::with_capacity(wakers.len());
    for (id, waker) in wakers.into_iter().enumerate() {
        let (sender, news) = sync_channel(REPORTS_MAX);
        let awaited = vec![false; queues.len()].into();
        let spares = vec![Vec::with_capacity(SPARES_MAX); queues.len()].into();
        links.push(Link {
            id,
            threads: Arc::clone(&queues),
            news,
            early: VecDeque::new(),
            spares,
            awaited,
        });
        reporters.push(Reporter { sender, waker: Arc::from(waker) });
    }
    Ok((links, Ends { queues, reporters }))
}

/// The media threads' ends of all links.
pub(super) struct Ends {
    /// One a thread.
    pub(super) queues: Arc<[Arc<CommandQueue>]>,
    /// One a link, by its id.
    pub(super) reporters: Vec<Reporter>,
}

/// Sends reports to one shard.
#[derive(Clone)]
pub(super) struct Reporter {
    sender: SyncSender<News>,
    waker: Arc<dyn Fn() + Send + Sync>,
}

impl Reporter {
    /// Queues news without blocking. `Err` when there is no room now; a shard that is gone takes
    /// everything.
    pub(super) fn offer(&self, news: News) -> Result<(), Full> {
        match self.sender.try_send(news) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => Ok(()),
            Err(TrySendError::Full(_)) => Err(Full),
        }
    }

    /// Tells the shard that reports wait.
    pub(super) fn wake(&self) {
        (self.waker)();
    }
}

/// Commands to one media thread, from all links.
pub(super) struct CommandQueue {
    waiting: Mutex<VecDeque<(usize, Order)>>,
    /// How many wait, to be asked without the lock.
    count: AtomicUsize,
    stopping: AtomicBool,
    bell: Bell,
}

impl CommandQueue {
    pub(super) fn new() -> io::Result<Self> {
        let waiting = Mutex::new(VecDeque::with_capacity(OPENS_WAITING_MAX));
        let (count, stopping) = (AtomicUsize::new(0), AtomicBool::new(false));
        Ok(Self { waiting, count, stopping, bell: Bell::new()? })
    }

    fn push(&self, link: usize, order: Order) -> Result<(), Full> {
        let limit = match &order {
            Order::Take { .. } => OPENS_WAITING_MAX,
            Order::Command(command) => waiting_max(command),
            Order::Taped { .. } => COMMANDS_MAX,
        };
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= limit {
            return Err(Full);
        }
        waiting.push_back((link, order));
        self.count.store(waiting.len(), Ordering::Release);
        Ok(())
    }

    /// Queues what a part of the plane has to tell its thread, and wakes the thread. There is room
    /// for that in any case: it is no more than two for each call.
    pub(super) fn push_own(&self, order: Order) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push_back((NO_LINK, order));
        self.count.store(waiting.len(), Ordering::Release);
        drop(waiting);
        self.wake();
    }

    /// The oldest command.
    pub(super) fn pop(&self) -> Option<(usize, Order)> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = waiting.pop_front();
        self.count.store(waiting.len(), Ordering::Release);
        oldest
    }

    /// Whether there is something to do.
    #[inline]
    pub(super) fn has_commands(&self) -> bool {
        self.count.load(Ordering::Acquire) > 0
    }

    /// Asks the thread to end.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.wake();
    }

    /// Has the thread been asked to end?
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Readable after somebody has woken the thread.
    pub(super) fn event(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// Takes the wake-up back before the commands are read, so that none is missed.
    pub(super) fn clear_event(&self) {
        self.bell.clear();
    }

    fn wake(&self) {
        self.bell.ring();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::plane::SessionId;

    fn open(n: usize) -> Command {
        Command::Open { session: SessionId(n as u128) }
    }

    #[test]
    fn too_many_waiting_calls_are_refused_while_running_ones_can_still_be_closed() {
        let (mut links, ends) = links(vec![Box::new(|| {})], 1).expect("eventfd");
        for n in 0..OPENS_WAITING_MAX {
            links[0].send(open(n)).expect("room");
        }
        assert_eq!(links[0].send(open(OPENS_WAITING_MAX)), Err(Full));
        links[0].send(Command::Close { session: SessionId(0) }).expect("room for a close");
        assert_eq!(ends.queues[0].pop(), Some((0, Order::Command(open(0)))));
    }

    #[test]
    fn a_shard_that_does_not_read_fills_its_queue_and_no_more() {
        let (links, ends) = links(vec![Box::new(|| {})], 1).expect("eventfd");
        let report = News::Report(Report::Failed { session: SessionId(1) });
        for _ in 0..REPORTS_MAX {
            ends.reporters[0].offer(report).expect("room");
        }
        assert_eq!(ends.reporters[0].offer(report), Err(Full));
        drop(links);
        assert_eq!(ends.reporters[0].offer(report), Ok(()));
    }

    #[test]
    fn a_spare_answers_at_once_and_wakes_nobody() {
        let (mut links, ends) = links(vec![Box::new(|| {})], 1).expect("eventfd");
        let local = [SocketAddr::from(([192, 0, 2, 1], 20_000)); 2];
        let spare = Spare { id: 7, local };
        ends.reporters[0].offer(News::Spare { thread: 0, spare }).expect("room");
        assert_eq!(links[0].try_report(), None);
        let session = SessionId(1);
        let opened = links[0].queue(Command::Open { session });
        assert_eq!(opened, Ok(Some(Report::Opened { session, local })));
        links[0].flush();
        assert!(!ends.queues[0].bell.is_rung(), "it can wait for a packet");
        assert_eq!(ends.queues[0].pop(), Some((0, Order::Take { session, spare: 7 })));
        assert_eq!(links[0].queue(open(2)), Ok(None), "there was only one");
        links[0].flush();
        assert!(ends.queues[0].bell.is_rung());
    }

    #[test]
    fn calls_spread_over_the_threads() {
        let (mut links, ends) = links(vec![Box::new(|| {})], 4).expect("eventfd");
        for n in 0..400 {
            links[0].send(open(n)).expect("room");
        }
        for queue in ends.queues.iter() {
            let mut taken = 0;
            while queue.pop().is_some() {
                taken += 1;
            }
            assert!((50..=150).contains(&taken), "{taken} of 400 on one thread");
        }
    }
}
