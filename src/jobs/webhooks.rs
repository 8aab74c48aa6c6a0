//! Tells tenants' endpoints what has happened: takes what is due, sends it, writes down what became
//! of it. Several nodes share the work; a slow receiver holds up nobody but itself.

mod post;
mod resolve;
mod sign;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

pub use post::{Outcome, Poster, RESPONSE_BYTES_MAX, TRY_TIME};
pub use resolve::{FoundAddresses, NameServers, Names};

use super::sweep::every;
use crate::domain::id::WebhookId;
use crate::relay::now::now;
use crate::store::delivery::{Attempted, Claimed, Next, SWEEP_MAX};
use crate::store::{RelayPool, StoreError};
use crate::vault::Vault;

/// Attempts at one time of one node.
pub const ATTEMPTS_AT_ONCE_MAX: usize = 256;
/// How often what is due is looked for.
const EVERY: Duration = Duration::from_millis(500);
/// How often what waits is measured.
const MEASURE_EVERY: Duration = Duration::from_secs(5);
/// How often old deliveries are removed.
const SWEEP_EVERY: Duration = Duration::from_secs(600);
/// At the end attempts that are under way get so long; what is cut off is tried again.
const END_TIME: Duration = Duration::from_secs(5);

/// How long after a failed attempt the next one is made; after the last one there is none.
pub const RETRY_AFTER: [Duration; 7] = [
    Duration::from_secs(5),
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(2 * 3_600),
    Duration::from_secs(5 * 3_600),
    Duration::from_secs(10 * 3_600),
    Duration::from_secs(10 * 3_600),
];

/// What a delivery comes to by the outcome of an attempt after so many others.
#[must_use]
pub fn next(outcome: Outcome, attempts_before: u16, at: SystemTime) -> Next {
    match outcome {
        Outcome::Delivered => Next::Delivered,
        Outcome::Gone => Next::Gone,
        Outcome::Refused
        | Outcome::Redirected
        | Outcome::TimedOut
        | Outcome::Unreachable
        | Outcome::Forbidden => match RETRY_AFTER.get(usize::from(attempts_before)) {
            Some(after) => Next::Again { at: at + *after },
            None => Next::Dead,
        },
    }
}

/// Delivers from one database.
#[derive(Debug)]
pub struct Dispatcher {
    pool: RelayPool,
    vault: Arc<Vault>,
    poster: Arc<Poster>,
}

impl Dispatcher {
    /// One that sends by this poster.
    #[must_use]
    pub fn new(pool: RelayPool, vault: Arc<Vault>, poster: Poster) -> Self {
        Self { pool, vault, poster: Arc::new(poster) }
    }

    /// Takes what is due at this moment and tries each once; returns how many.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    pub async fn round(&self, at: SystemTime) -> Result<usize, StoreError> {
        let most = i64::try_from(ATTEMPTS_AT_ONCE_MAX).unwrap_or(i64::MAX);
        let claimed = self.pool.claim_deliveries(&self.vault, &[], most, at).await?;
        let (count, mut attempts) = (claimed.len(), JoinSet::new());
        for claimed in claimed {
            attempts.spawn(self.attempt(claimed, move || at));
        }
        while attempts.join_next().await.is_some() {}
        Ok(count)
    }

    /// One attempt, from the bytes to the row.
    fn attempt(
        &self,
        claimed: Claimed,
        clock: impl Fn() -> SystemTime + Send + 'static,
    ) -> impl Future<Output = WebhookId> + Send + 'static {
        let (pool, poster) = (self.pool.clone(), Arc::clone(&self.poster));
        async move {
            let posted = poster.post(&claimed, clock()).await;
            let outcome = posted.outcome;
            metrics::counter!("maskline_webhook_deliveries_total", "outcome" => outcome.label())
                .increment(1);
            let at = clock();
            let next = next(outcome, claimed.attempts, at);
            let attempted =
                Attempted { outcome: outcome.label(), status: posted.status, took: posted.took };
            if let Err(error) = pool.finish_delivery(&claimed, &attempted, next, at).await {
                // Its lease ends, and it is tried again.
                tracing::warn!(%error, "What became of a webhook was not written down: {error}");
            }
            claimed.endpoint
        }
    }
}

/// Delivers until `stop`.
pub(super) async fn run(dispatcher: Dispatcher, stop: CancellationToken) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut attempts: JoinSet<WebhookId> = JoinSet::new();
    let mut busy: BTreeMap<WebhookId, i64> = BTreeMap::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(done) = attempts.join_next(), if !attempts.is_empty() => {
                note_done(&mut busy, done);
                // All that have ended by now, before the store is asked again.
                while let Some(done) = attempts.try_join_next() {
                    note_done(&mut busy, done);
                }
            }
            _ = ticks.tick() => {}
        }
        if attempts.is_empty() {
            // Whatever became of their tasks: nothing is under way.
            busy.clear();
        }
        let free = ATTEMPTS_AT_ONCE_MAX.saturating_sub(attempts.len());
        if free == 0 {
            continue;
        }
        let slots: Vec<_> = busy.iter().map(|(id, slots)| (*id, *slots)).collect();
        let most = i64::try_from(free).unwrap_or(i64::MAX);
        let (pool, vault) = (&dispatcher.pool, &dispatcher.vault);
        match pool.claim_deliveries(vault, &slots, most, now().wall).await {
            Ok(claimed) => {
                for claimed in claimed {
                    *busy.entry(claimed.endpoint).or_default() += 1;
                    attempts.spawn(dispatcher.attempt(claimed, || now().wall));
                }
            }
            Err(error) => {
                tracing::warn!(%error, "Webhooks wait: {error}");
                ticks.reset();
                stop.run_until_cancelled(ticks.tick()).await;
            }
        }
    }
    let rest = async { while attempts.join_next().await.is_some() {} };
    // What is cut off here is tried again when its lease is over.
    timeout(END_TIME, rest).await.ok();
}

fn note_done(busy: &mut BTreeMap<WebhookId, i64>, done: Result<WebhookId, tokio::task::JoinError>) {
    // A task that panicked has said so already; its slot comes back when nothing is under way.
    let Ok(endpoint) = done else { return };
    if let Some(slots) = busy.get_mut(&endpoint) {
        *slots -= 1;
        if *slots <= 0 {
            busy.remove(&endpoint);
        }
    }
}

/// Says how much waits, and for how long, until `stop`.
pub(super) async fn measure(pool: RelayPool, stop: CancellationToken) {
    metrics::describe_gauge!("maskline_outbox_pending", "Events and deliveries that wait.");
    metrics::describe_gauge!(
        "maskline_outbox_lag_seconds",
        "How long the oldest event has waited for its first attempt."
    );
    metrics::describe_counter!(
        "maskline_webhook_deliveries_total",
        "Attempts to tell an endpoint an event."
    );
    every(MEASURE_EVERY, &stop, "What waits in the outbox is not known", async || {
        let (pending, lag) = pool.measure_outbox(now().wall).await?;
        let pending = u32::try_from(pending).unwrap_or(u32::MAX);
        metrics::gauge!("maskline_outbox_pending").set(f64::from(pending));
        metrics::gauge!("maskline_outbox_lag_seconds").set(lag.as_secs_f64());
        Ok(())
    })
    .await;
}

/// Removes old deliveries until `stop`.
pub(super) async fn sweep(pool: RelayPool, stop: CancellationToken) {
    every(SWEEP_EVERY, &stop, "Old deliveries of webhooks stay", async || {
        let max = SWEEP_MAX.unsigned_abs();
        while pool.sweep_deliveries(now().wall).await? >= max && !stop.is_cancelled() {}
        Ok(())
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_is_tried_eight_times_over_more_than_a_day_and_then_given_up() {
        let begin = SystemTime::UNIX_EPOCH;
        let (mut at, mut tries) = (begin, Vec::new());
        for attempts in 0_u16.. {
            tries.push(at.duration_since(begin).expect("later").as_secs());
            match next(Outcome::TimedOut, attempts, at) {
                Next::Again { at: then } => at = then,
                Next::Dead => break,
                other @ (Next::Delivered | Next::Gone) => panic!("{other:?}"),
            }
        }
        let steps: Vec<u64> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(steps, [5, 300, 1_800, 7_200, 18_000, 36_000, 36_000]);
        assert!(tries.last() >= Some(&(24 * 3_600)));
    }

    #[test]
    fn a_receiver_that_says_goodbye_is_not_asked_again() {
        assert_eq!(next(Outcome::Gone, 0, SystemTime::UNIX_EPOCH), Next::Gone);
        assert_eq!(next(Outcome::Delivered, 7, SystemTime::UNIX_EPOCH), Next::Delivered);
    }
}
