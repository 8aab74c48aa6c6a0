//! Writes down at once what subscribers say they do not want, waits out a store that is away, and
//! tells the shards when the store says it.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::handle::Handle;
use super::recorder::{Pace, RecordFailure, RecordStore};
use crate::domain::id::{BindingId, CallId};
use crate::domain::whisper::Unwanted;

/// How often one is tried that fails in an unclear way, before it is left to the CDR of its call.
const UNCLEAR_MAX: u32 = 8;

/// A shard's end of it.
#[derive(Clone)]
pub(crate) struct Refusals(mpsc::Sender<Unwanted>);

impl Refusals {
    /// An empty queue, and the end that is to be written from. There is room for as many as there
    /// may be attempts without a record: each says it once at most.
    pub(crate) fn new(queue_max: usize) -> (Self, mpsc::Receiver<Unwanted>) {
        let (sender, receiver) = mpsc::channel(queue_max);
        (Self(sender), receiver)
    }

    /// Queues one. Without room it is written with the CDR of its call, and in force here until
    /// then.
    pub(crate) fn push(&self, unwanted: Unwanted) {
        let call = unwanted.call;
        if self.0.try_send(unwanted).is_err() {
            leave_to_cdr(call);
        }
    }
}

fn leave_to_cdr(call: CallId) {
    metrics::counter!("maskline_refusals_deferred_total").increment(1);
    tracing::error!(call.id = %call, "Call {call}: a refusal waits for its CDR");
}

/// Writes until every shard's end is dropped. `jitter` gives numbers from 0 to 1. Once `closing`,
/// the store is asked again soon, however long it has been away.
pub(crate) async fn write_refusals<S: RecordStore>(
    mut queue: mpsc::Receiver<Unwanted>,
    store: Arc<S>,
    handle: Handle,
    pace: Pace,
    jitter: impl Fn() -> f64 + Send + Sync,
    closing: CancellationToken,
) {
    while let Some(unwanted) = queue.recv().await {
        let call = unwanted.call;
        match persist(&*store, &unwanted, pace, &jitter, &closing).await {
            Some(bindings) => {
                if handle.unwanted_stored(unwanted, &bindings).is_err() {
                    tracing::error!(call.id = %call, "Call {call}: a shard does not hear");
                }
            }
            None => leave_to_cdr(call),
        }
    }
}

async fn persist<S: RecordStore>(
    store: &S,
    unwanted: &Unwanted,
    pace: Pace,
    jitter: &(impl Fn() -> f64 + Send + Sync),
    closing: &CancellationToken,
) -> Option<Vec<BindingId>> {
    let (mut wait, mut unclear) = (pace.retry_first, 0);
    loop {
        match store.heed(unwanted).await {
            Ok(bindings) => return Some(bindings),
            Err(RecordFailure::Refused) => return None,
            Err(RecordFailure::Unavailable) => {}
            Err(RecordFailure::Unclear) => unclear += 1,
        }
        if unclear >= UNCLEAR_MAX {
            return None;
        }
        metrics::counter!("maskline_refusals_retries_total").increment(1);
        wait = pace.wait(wait, jitter(), closing).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::time::{Duration, SystemTime};

    use crate::domain::cdr::Cdr;
    use crate::domain::id::{SubscriberId, TenantId};
    use crate::domain::purpose::Purpose;
    use crate::domain::whisper::Dislike;
    use crate::relay::freshness::Subject;

    /// Fails in these ways first, the last one first.
    struct Store {
        failures: Mutex<Vec<RecordFailure>>,
        written: Mutex<Vec<CallId>>,
    }

    impl RecordStore for Store {
        async fn insert(&self, _records: &[Cdr]) -> Result<(), RecordFailure> {
            panic!("no record is needed");
        }

        async fn heed(&self, unwanted: &Unwanted) -> Result<Vec<BindingId>, RecordFailure> {
            if let Some(failure) = self.failures.lock().expect("no panic").pop() {
                return Err(failure);
            }
            self.written.lock().expect("no panic").push(unwanted.call);
            Ok(vec![BindingId::from_u128(5), BindingId::from_u128(6)])
        }
    }

    fn said(call: u64) -> Unwanted {
        Unwanted {
            what: Dislike::Kind,
            agent: None,
            call: CallId::new(call, 0),
            tenant: TenantId::from_u128(1),
            binding: BindingId::from_u128(5),
            subscriber: SubscriberId::from_u128(2),
            purpose: Purpose::Survey,
            at: SystemTime::UNIX_EPOCH,
        }
    }

    /// Which of three calls were written, and whether a route of another binding of the subscriber
    /// that was read before may still be used.
    fn write(failures: Vec<RecordFailure>) -> (Vec<CallId>, bool) {
        let store = Arc::new(Store { failures: Mutex::new(failures), written: Mutex::default() });
        let (relay, binding) = (Handle::detached(), BindingId::from_u128(6));
        let before = relay.shared().freshness.mark();
        let (refusals, queue) = Refusals::new(3);
        (1..4).for_each(|call| refusals.push(said(call)));
        drop(refusals);
        let ms = Duration::from_millis(1);
        let pace = Pace { retry_first: ms, retry_max: ms };
        let (writes, closing) = (Arc::clone(&store), CancellationToken::new());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.expect("a runtime").block_on(write_refusals(
            queue,
            writes,
            relay.clone(),
            pace,
            || 0.5,
            closing,
        ));
        let written = store.written.lock().expect("no panic").clone();
        (written, relay.shared().freshness.is_unchanged(before, &[Subject::Binding(binding)]))
    }

    fn calls(calls: &[u64]) -> Vec<CallId> {
        calls.iter().map(|call| CallId::new(*call, 0)).collect()
    }

    #[test]
    fn a_refusal_is_written_without_a_record_and_all_routes_it_concerns_are_forgotten() {
        assert_eq!(write(Vec::new()), (calls(&[1, 2, 3]), false));
    }

    #[test]
    fn a_store_that_is_away_is_waited_for() {
        assert_eq!(write(vec![RecordFailure::Unavailable; 20]), (calls(&[1, 2, 3]), false));
    }

    #[test]
    fn one_that_the_store_will_not_take_is_left_to_its_record_and_holds_up_no_other() {
        assert_eq!(write(vec![RecordFailure::Refused]).0, calls(&[2, 3]));
        let unclear = vec![RecordFailure::Unclear; UNCLEAR_MAX as usize];
        assert_eq!(write(unclear).0, calls(&[2, 3]));
    }

    #[test]
    fn more_than_may_wait_are_left_to_their_records() {
        let (refusals, mut queue) = Refusals::new(1);
        refusals.push(said(1));
        refusals.push(said(2));
        drop(refusals);
        assert_eq!(queue.try_recv().map(|it| it.call), Ok(CallId::new(1, 0)));
        assert!(queue.try_recv().is_err());
    }
}
