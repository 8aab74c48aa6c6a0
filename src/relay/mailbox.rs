//! What other threads want to tell a shard: one inbox behind a lock, and an eventfd that wakes the
//! shard's epoll.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};

use super::now::now;
use super::stream::TakesInputs;
use super::ways::TakesPassed;
use crate::call::io::{Control, Input};

/// Orders that wait for a shard. A shard empties its inbox every round, so this many mean it does
/// not run.
pub(crate) const CONTROLS_MAX: usize = 4_096;
/// Messages of streams that wait for a shard. With more, connections are not read: one read brings
/// no more than some hundred.
pub(crate) const STREAM_INPUTS_MAX: usize = 1_024;
/// Datagrams that another shard has received and this one has not looked at. More are lost.
pub(crate) const PASSED_MAX: usize = 8_192;
/// How long an order waits for room before it is given up as undeliverable.
const ROOM_WAIT: Duration = Duration::from_secs(5);

/// A shard's inbox, shared with everybody who talks to it. `F` is the answer of a lookup.
#[derive(Debug)]
pub(crate) struct Mailbox<F> {
    inbox: Mutex<Inbox<F>>,
    room: Condvar,
    rung: AtomicBool,
    ordered: AtomicBool,
    bell: OwnedFd,
}

/// What has arrived since the shard last looked.
#[derive(Debug)]
pub(crate) struct Inbox<F> {
    /// Orders, oldest first.
    pub(crate) controls: VecDeque<Control>,
    /// What connections bring; whoever brings it asks for room first.
    pub(crate) streams: VecDeque<Input>,
    /// When the oldest of them came.
    pub(crate) streams_since: Option<Instant>,
    /// What other shards have received.
    pub(crate) passed: VecDeque<Input>,
    /// Answers of lookups. The shard asks for no more than it may have waiting, so they need no
    /// bound of their own.
    pub(crate) found: Vec<F>,
    /// Attempts that may be taken again, because their CDRs are durable.
    pub(crate) credit: u32,
    /// The thread shall end.
    pub(crate) stop: bool,
}

impl<F> Default for Inbox<F> {
    fn default() -> Self {
        Self {
            controls: VecDeque::new(),
            streams: VecDeque::new(),
            streams_since: None,
            passed: VecDeque::new(),
            found: Vec::new(),
            credit: 0,
            stop: false,
        }
    }
}

/// The shard has not looked into its inbox for [`ROOM_WAIT`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct ShardStuck;

/// Takes orders for a shard, whatever its lookups answer.
pub(crate) trait TakesOrders: std::fmt::Debug + Send + Sync {
    /// Hands an order over. An order is never dropped for want of room: it waits for the shard.
    ///
    /// # Errors
    /// [`ShardStuck`] when the shard stands still; the caller may not acknowledge what it ordered.
    fn order(&self, control: Control) -> Result<(), ShardStuck>;

    /// Lets the thread end after it has handled what came before.
    fn stop(&self);
}

impl<F: std::fmt::Debug + Send> TakesOrders for Mailbox<F> {
    fn order(&self, control: Control) -> Result<(), ShardStuck> {
        let inbox = self.lock();
        let full = |inbox: &mut Inbox<F>| inbox.controls.len() >= CONTROLS_MAX;
        let (mut inbox, wait) = self
            .room
            .wait_timeout_while(inbox, ROOM_WAIT, full)
            .unwrap_or_else(PoisonError::into_inner);
        if wait.timed_out() {
            return Err(ShardStuck);
        }
        inbox.controls.push_back(control);
        self.ordered.store(true, Ordering::SeqCst);
        drop(inbox);
        self.ring();
        Ok(())
    }

    fn stop(&self) {
        self.lock().stop = true;
        self.ring();
    }
}

impl<F: Send> TakesInputs for Mailbox<F> {
    fn has_room(&self) -> bool {
        self.lock().streams.len() < STREAM_INPUTS_MAX
    }

    fn bring(&self, input: Input) {
        let mut inbox = self.lock();
        inbox.streams_since.get_or_insert_with(|| now().monotonic);
        inbox.streams.push_back(input);
        drop(inbox);
        self.ring();
    }
}

impl<F: Send> TakesPassed for Mailbox<F> {
    fn pass(&self, inputs: &mut Vec<Input>) {
        let mut inbox = self.lock();
        let room = PASSED_MAX.saturating_sub(inbox.passed.len()).min(inputs.len());
        inbox.passed.extend(inputs.drain(..room));
        drop(inbox);
        self.ring();
    }
}

impl<F> Mailbox<F> {
    /// # Errors
    /// The process has no descriptor left.
    pub(crate) fn new() -> io::Result<Self> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let [rung, ordered] = [false; 2].map(AtomicBool::new);
        Ok(Self { inbox: Mutex::default(), room: Condvar::new(), rung, ordered, bell })
    }

    /// Brings the answer of a lookup.
    pub(crate) fn answer(&self, found: F) {
        self.lock().found.push(found);
        self.ring();
    }

    /// Since when messages of streams wait, if some do.
    pub(crate) fn streams_since(&self) -> Option<Instant> {
        self.lock().streams_since
    }

    /// Gives credit back. It adds up in one number, so it needs no bound.
    pub(crate) fn credit(&self, records: u32) {
        let mut inbox = self.lock();
        inbox.credit = inbox.credit.saturating_add(records);
        drop(inbox);
        self.ring();
    }

    /// Wakes the shard; it then looks at everything that may have arrived for it.
    pub(crate) fn ring(&self) {
        if !self.rung.swap(true, Ordering::SeqCst) {
            // It can only fail by overflow, and then the shard is awake already.
            rustix::io::write(&self.bell, &1_u64.to_ne_bytes()).ok();
        }
    }

    /// Something may have arrived since the last look.
    pub(crate) fn has_rung(&self) -> bool {
        self.rung.load(Ordering::SeqCst)
    }

    /// An order waits.
    pub(crate) fn has_order(&self) -> bool {
        self.ordered.load(Ordering::SeqCst)
    }

    /// Moves everything that has arrived into `taken`, which must be empty: its buffers are used
    /// next.
    pub(crate) fn take(&self, taken: &mut Inbox<F>) {
        // Silence the bell first: whoever comes after this line rings it anew.
        let mut count = [0_u8; 8];
        // Nothing to read means that nobody has rung; both are fine.
        rustix::io::read(&self.bell, &mut count).ok();
        self.rung.store(false, Ordering::SeqCst);
        let mut inbox = self.lock();
        self.ordered.store(false, Ordering::SeqCst);
        std::mem::swap(&mut *inbox, taken);
        drop(inbox);
        self.room.notify_all();
    }

    /// To be watched for reading.
    pub(crate) fn bell_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    fn lock(&self) -> MutexGuard<'_, Inbox<F>> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::CallId;

    #[test]
    fn everything_that_arrived_is_taken_once_and_in_order() {
        let mailbox = Mailbox::<u8>::new().expect("a descriptor");
        let orders = [1, 2].map(|n| Control::Terminate { call: CallId::new(n, 0) });
        orders.iter().for_each(|order| mailbox.order(*order).expect("room"));
        assert!(mailbox.has_order());
        mailbox.answer(7);
        mailbox.credit(3);
        mailbox.credit(4);
        let mut taken = Inbox::default();
        mailbox.take(&mut taken);
        assert!(!mailbox.has_order());
        assert_eq!(taken.controls, orders);
        assert_eq!((taken.found, taken.credit, taken.stop), (vec![7], 7, false));
        let mut again = Inbox::default();
        mailbox.take(&mut again);
        assert!(again.controls.is_empty() && again.found.is_empty() && again.credit == 0);
    }

    #[test]
    fn what_other_shards_pass_on_is_bounded_and_keeps_its_order() {
        let mailbox = Mailbox::<u8>::new().expect("a descriptor");
        let credit = |n| Input::RecorderCredit(n);
        let mut inputs: Vec<_> = (0..PASSED_MAX as u32 + 3).map(credit).collect();
        mailbox.pass(&mut inputs);
        assert_eq!(inputs.len(), 3, "those without room are left");
        let mut taken = Inbox::default();
        mailbox.take(&mut taken);
        for (n, input) in (0..).zip(&taken.passed) {
            assert!(matches!(input, Input::RecorderCredit(it) if *it == n), "{n}: {input:?}");
        }
        mailbox.pass(&mut inputs);
        assert!(inputs.is_empty(), "there is room again");
    }

    #[test]
    fn what_streams_bring_waits_since_the_oldest_of_it_came() {
        let mailbox = Mailbox::<u8>::new().expect("a descriptor");
        assert_eq!(mailbox.streams_since(), None);
        mailbox.bring(Input::RecorderCredit(1));
        let since = mailbox.streams_since().expect("one waits");
        assert!(since <= now().monotonic);
        mailbox.bring(Input::RecorderCredit(2));
        assert_eq!(mailbox.streams_since(), Some(since));
        mailbox.take(&mut Inbox::default());
        assert_eq!(mailbox.streams_since(), None);
    }

    #[test]
    fn the_bell_rings_again_after_a_look() {
        let mailbox = Mailbox::<u8>::new().expect("a descriptor");
        for _ in 0..2 {
            mailbox.credit(1);
            let mut count = [0_u8; 8];
            assert_eq!(rustix::io::read(mailbox.bell_fd(), &mut count), Ok(8));
            mailbox.ring(); // Already rung: no second write.
            assert!(rustix::io::read(mailbox.bell_fd(), &mut count).is_err());
            mailbox.take(&mut Inbox::default());
        }
    }

    #[test]
    fn an_order_waits_for_room() {
        let mailbox = Mailbox::<u8>::new().expect("a descriptor");
        let order = |n: usize| Control::Terminate { call: CallId::new(n as u64, 0) };
        (0..CONTROLS_MAX).for_each(|n| mailbox.order(order(n)).expect("room"));
        std::thread::scope(|scope| {
            let late = scope.spawn(|| mailbox.order(order(CONTROLS_MAX)));
            let mut count = 0;
            while count <= CONTROLS_MAX {
                let mut taken = Inbox::default();
                mailbox.take(&mut taken);
                count += taken.controls.len();
            }
            assert_eq!(late.join().expect("no panic"), Ok(()));
        });
    }
}
