//! Hop 8: writes CDRs down in batches, waits out a store that is away, and gives each shard its
//! credit back when its records are durable.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::backlog::Backlog;
use crate::domain::cdr::Cdr;
use crate::domain::id::BindingId;
use crate::domain::whisper::Unwanted;

/// The most records in one transaction.
pub const BATCH_MAX: usize = 200;
/// How long the first record of a batch waits for company.
pub const BATCH_WAIT: Duration = Duration::from_millis(50);

/// How often a batch is tried that fails in an unclear way, before its records are tried one by
/// one.
const UNCLEAR_BATCH_MAX: u32 = 8;
/// How often a single record is tried that fails in an unclear way, before it is given up.
const UNCLEAR_RECORD_MAX: u32 = 2;

/// How patient the recorder is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// The first wait after a failure; each further one is twice as long.
    pub(crate) retry_first: Duration,
    /// The longest wait between two tries.
    pub(crate) retry_max: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { retry_first: Duration::from_millis(100), retry_max: Duration::from_secs(5) }
    }
}

impl Pace {
    /// Waits half of it to all of it, so that nodes do not come back in step; how long to wait the
    /// next time.
    pub(super) async fn wait(
        self,
        wait: Duration,
        chance: f64,
        closing: &CancellationToken,
    ) -> Duration {
        let sleep = tokio::time::sleep(wait.mul_f64(0.5 + 0.5 * chance.clamp(0.0, 1.0)));
        if closing.is_cancelled() {
            sleep.await;
            return self.retry_first;
        }
        closing.run_until_cancelled(sleep).await;
        (wait * 2).min(self.retry_max)
    }
}

/// Where records become durable: a CDR, its facts and its events in one transaction. Writing the
/// same record twice leaves one.
pub trait RecordStore: Send + Sync + 'static {
    /// Writes all of them or none.
    fn insert(&self, records: &[Cdr]) -> impl Future<Output = Result<(), RecordFailure>> + Send;

    /// Writes that a subscriber does not want a call, or any of its kind. The bindings whose
    /// routes may not say so yet.
    fn heed(
        &self,
        unwanted: &Unwanted,
    ) -> impl Future<Output = Result<Vec<BindingId>, RecordFailure>> + Send;
}

/// Why records were not written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RecordFailure {
    /// The store is away: try again.
    Unavailable,
    /// The store will not take one of them, however often it is tried.
    Refused,
    /// The store failed in an unforeseen way: perhaps for good, perhaps not.
    Unclear,
}

/// Takes credit back for a shard.
pub(crate) trait TakesCredit: Send + Sync + 'static {
    /// So many records are durable.
    fn credit(&self, records: u32);
}

impl<F: Send + 'static> TakesCredit for super::mailbox::Mailbox<F> {
    fn credit(&self, records: u32) {
        Self::credit(self, records);
    }
}

/// A shard's end of the recorder.
pub(crate) struct Recorder {
    queue: mpsc::Sender<Record>,
    backlog: Arc<Backlog>,
    shard: Arc<dyn TakesCredit>,
}

struct Record {
    cdr: Box<Cdr>,
    shard: Arc<dyn TakesCredit>,
}

impl Recorder {
    /// Queues one record. There is room: the shard holds one credit for each place.
    pub(crate) fn push(&self, cdr: Box<Cdr>) {
        let call = cdr.call;
        let record = Record { cdr, shard: Arc::clone(&self.shard) };
        self.backlog.queued();
        if self.queue.try_send(record).is_err() {
            self.backlog.settled(1);
            metrics::counter!("maskline_recorder_lost_total").increment(1);
            tracing::error!(call.id = %call, "Call {call}: the recorder is gone, its CDR is lost");
        }
    }
}

/// The writing end, not yet running.
pub(crate) struct RecorderQueue {
    sender: mpsc::Sender<Record>,
    receiver: mpsc::Receiver<Record>,
    backlog: Arc<Backlog>,
}

impl RecorderQueue {
    /// Room for `queue_max` records: hand out no more credits than that.
    pub(crate) fn new(queue_max: usize, backlog: Arc<Backlog>) -> Self {
        let (sender, receiver) = mpsc::channel(queue_max);
        Self { sender, receiver, backlog }
    }

    /// The end of one shard.
    pub(crate) fn recorder(&self, shard: Arc<dyn TakesCredit>) -> Recorder {
        Recorder { queue: self.sender.clone(), backlog: Arc::clone(&self.backlog), shard }
    }

    /// Writes until every shard's end is dropped and everything is written. `jitter` gives numbers
    /// from 0 to 1. Once `closing`, the store is asked again soon, however long it has been away.
    pub(crate) async fn run<S: RecordStore>(
        self,
        store: Arc<S>,
        pace: Pace,
        jitter: impl Fn() -> f64 + Send + Sync,
        closing: CancellationToken,
    ) {
        let Self { sender, mut receiver, backlog } = self;
        drop(sender);
        let writer = Writer { store, pace, jitter, closing };
        let mut batch = Vec::with_capacity(BATCH_MAX);
        while gather(&mut receiver, &mut batch).await {
            let (cdrs, shards): (_, Vec<_>) = batch.drain(..).map(|r| (*r.cdr, r.shard)).unzip();
            writer.write(cdrs).await;
            backlog.settled(shards.len());
            give_credit(shards);
        }
    }
}

/// Waits for the next batch; `false` when there will be none.
async fn gather(receiver: &mut mpsc::Receiver<Record>, batch: &mut Vec<Record>) -> bool {
    let Some(first) = receiver.recv().await else { return false };
    batch.push(first);
    // Not woken by each further record: the shard would pay for that.
    if receiver.len() < BATCH_MAX {
        tokio::time::sleep(BATCH_WAIT).await;
    }
    while batch.len() < BATCH_MAX {
        match receiver.try_recv() {
            Ok(record) => batch.push(record),
            Err(_) => break,
        }
    }
    let waiting = u32::try_from(receiver.len()).unwrap_or(u32::MAX);
    metrics::gauge!("maskline_recorder_waiting").set(f64::from(waiting));
    true
}

struct Writer<S, J> {
    store: Arc<S>,
    pace: Pace,
    jitter: J,
    closing: CancellationToken,
}

/// The store will not take a record, however often it is tried.
struct RecordRefused;

impl<S: RecordStore, J: Fn() -> f64 + Send + Sync> Writer<S, J> {
    /// Writes a batch, however long the store is away.
    async fn write(&self, cdrs: Vec<Cdr>) {
        match self.persist(&cdrs, UNCLEAR_BATCH_MAX).await {
            Ok(()) => cdrs.iter().for_each(count),
            // One of them is refused; it may not take the others with it.
            Err(RecordRefused) => {
                for cdr in cdrs {
                    match self.persist(std::slice::from_ref(&cdr), UNCLEAR_RECORD_MAX).await {
                        Ok(()) => count(&cdr),
                        Err(RecordRefused) => refused(&cdr),
                    }
                }
            }
        }
    }

    async fn persist(&self, cdrs: &[Cdr], unclear_max: u32) -> Result<(), RecordRefused> {
        let (mut wait, mut unclear) = (self.pace.retry_first, 0);
        loop {
            match self.store.insert(cdrs).await {
                Ok(()) => return Ok(()),
                Err(RecordFailure::Refused) => return Err(RecordRefused),
                Err(RecordFailure::Unavailable) => {}
                Err(RecordFailure::Unclear) => unclear += 1,
            }
            if unclear >= unclear_max {
                return Err(RecordRefused);
            }
            metrics::counter!("maskline_recorder_retries_total").increment(1);
            let (records, wait_ms) = (cdrs.len(), wait.as_millis());
            tracing::warn!(records, wait_ms, "The store is away; {records} CDRs wait {wait_ms} ms");
            wait = self.pace.wait(wait, (self.jitter)(), &self.closing).await;
        }
    }
}

fn refused(cdr: &Cdr) {
    metrics::counter!("maskline_recorder_lost_total").increment(1);
    tracing::error!(call.id = %cdr.call, "Call {}: the store refuses its CDR", cdr.call);
}

/// Tells each shard how many of its records are durable, in one message each.
fn give_credit(mut shards: Vec<Arc<dyn TakesCredit>>) {
    while let Some(shard) = shards.pop() {
        let before = shards.len();
        shards.retain(|other| !Arc::ptr_eq(other, &shard));
        shard.credit(u32::try_from(before - shards.len() + 1).unwrap_or(u32::MAX));
    }
}

/// What an attempt adds to the metrics of calls.
fn count(cdr: &Cdr) {
    let cause = cdr.cause.label();
    let direction = cdr.direction.label();
    if cdr.answered_at.is_some() {
        metrics::counter!("maskline_calls_total", "direction" => direction, "result" => "answered")
            .increment(1);
        metrics::histogram!("maskline_call_duration_seconds").record(cdr.duration);
    } else if cdr.trunk_b.is_some() {
        metrics::counter!("maskline_calls_total", "direction" => direction, "result" => "failed")
            .increment(1);
    } else {
        metrics::counter!("maskline_calls_total", "direction" => direction, "result" => "refused")
            .increment(1);
        metrics::counter!("maskline_attempts_refused_total", "cause" => cause).increment(1);
    }
    if let Some(whisper) = &cdr.whisper {
        metrics::counter!("maskline_whispers_total", "result" => whisper.result.label())
            .increment(1);
    }
    if let Some(setup) = cdr.setup {
        metrics::histogram!("maskline_call_setup_seconds").record(setup);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::SystemTime;

    use crate::domain::cause::Cause;
    use crate::domain::cdr::{Direction, EndedBy};
    use crate::domain::id::{CallId, TrunkId};

    #[derive(Default)]
    struct Shard(AtomicU32);

    impl TakesCredit for Shard {
        fn credit(&self, records: u32) {
            self.0.fetch_add(records, Ordering::SeqCst);
        }
    }

    /// Refuses one call, and is away for the first tries.
    #[derive(Clone, Default)]
    struct Store {
        away_for: Arc<AtomicU32>,
        refuses: Option<CallId>,
        unclear_for: Arc<AtomicU32>,
        batches: Arc<Mutex<Vec<Vec<CallId>>>>,
    }

    impl RecordStore for Store {
        async fn insert(&self, records: &[Cdr]) -> Result<(), RecordFailure> {
            let away = self.away_for.load(Ordering::SeqCst);
            if away > 0 {
                self.away_for.store(away - 1, Ordering::SeqCst);
                return Err(RecordFailure::Unavailable);
            }
            let unclear = self.unclear_for.load(Ordering::SeqCst);
            if unclear > 0 {
                self.unclear_for.store(unclear - 1, Ordering::SeqCst);
                return Err(RecordFailure::Unclear);
            }
            if records.iter().any(|cdr| Some(cdr.call) == self.refuses) {
                return Err(RecordFailure::Refused);
            }
            let calls = records.iter().map(|cdr| cdr.call).collect();
            self.batches.lock().expect("no panic").push(calls);
            Ok(())
        }

        async fn heed(&self, _unwanted: &Unwanted) -> Result<Vec<BindingId>, RecordFailure> {
            panic!("a record was pushed");
        }
    }

    fn cdr(n: u64) -> Box<Cdr> {
        Box::new(Cdr {
            call: CallId::new(n, 0),
            tenant: None,
            binding: None,
            subscriber: None,
            agent: None,
            virtual_number: None,
            direction: Direction::ToSubscriber,
            purpose: None,
            intent: None,
            marks: vec![],
            trunk_a: TrunkId::new(1, 0),
            trunk_b: None,
            started_at: SystemTime::UNIX_EPOCH,
            ringing_at: None,
            callee_answered_at: None,
            answered_at: None,
            ended_at: SystemTime::UNIX_EPOCH,
            duration: Duration::ZERO,
            setup: None,
            cause: Cause::NumberUnknown,
            reasons: vec![],
            ended_by: EndedBy::Relay,
            sip_status: 404,
            q850: 1,
            media: None,
            caps_reached: vec![],
            whisper: None,
        })
    }

    /// Pushes records, closes the queue, and runs the recorder to its end with little patience.
    fn record(store: &Store, records: u64) -> (Vec<usize>, u32) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.expect("a runtime").block_on(async {
            let queue = RecorderQueue::new(1_000, Arc::default());
            let shard = Arc::new(Shard::default());
            let recorder = queue.recorder(Arc::clone(&shard) as Arc<dyn TakesCredit>);
            (0..records).for_each(|n| recorder.push(cdr(n)));
            drop(recorder);
            let ms = Duration::from_millis(1);
            let pace = Pace { retry_first: ms, retry_max: ms };
            queue.run(Arc::new(store.clone()), pace, || 0.5, CancellationToken::new()).await;
            let batches = store.batches.lock().expect("no panic");
            (batches.iter().map(Vec::len).collect(), shard.0.load(Ordering::SeqCst))
        })
    }

    #[test]
    fn records_are_written_in_batches_and_each_gives_one_credit_back() {
        assert_eq!(record(&Store::default(), 450), (vec![200, 200, 50], 450));
    }

    #[test]
    fn a_store_that_is_away_is_waited_for_and_nothing_is_lost() {
        let store = Store { away_for: Arc::new(AtomicU32::new(7)), ..Store::default() };
        assert_eq!(record(&store, 3), (vec![3], 3));
    }

    #[test]
    fn an_unforeseen_failure_is_tried_again_and_its_records_given_up_only_one_by_one() {
        let store = Store { unclear_for: Arc::new(AtomicU32::new(3)), ..Store::default() };
        assert_eq!(record(&store, 3), (vec![3], 3));
        let failures = UNCLEAR_BATCH_MAX + UNCLEAR_RECORD_MAX;
        let store = Store { unclear_for: Arc::new(AtomicU32::new(failures)), ..Store::default() };
        assert_eq!(record(&store, 3), (vec![1, 1], 3));
    }

    #[test]
    fn one_refused_record_does_not_take_the_others_with_it() {
        let store = Store { refuses: Some(CallId::new(1, 0)), ..Store::default() };
        let (batches, credit) = record(&store, 3);
        assert_eq!((batches, credit), (vec![1, 1], 3));
    }
}
