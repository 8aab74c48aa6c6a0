//! Binds what tenants import, a chunk of rows at a time and never two at once: calls need the same
//! database, and its time is theirs first.

use std::future::Future;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::sweep::every;
use crate::domain::id::{ImportId, TenantId};
use crate::relay::now::now;
use crate::store::{Store, StoreError};

/// How often imports are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often imports are looked for that broke off with their node, or are old.
const SWEEP_EVERY: Duration = Duration::from_secs(30);
/// The longest rest after a chunk.
const REST_MAX: Duration = Duration::from_secs(1);

/// Binds until `stop`.
pub(super) async fn run<F>(
    store: Store,
    bind: impl Fn(TenantId, ImportId) -> F + Send + Sync,
    stop: CancellationToken,
) where
    F: Future<Output = Result<bool, StoreError>> + Send,
{
    every(LOOK_EVERY, &stop, "Imports wait", async || {
        take_turns(|| store.due_imports(), &bind, &stop).await
    })
    .await;
}

/// Every import gets its turn for one chunk, until nothing is left to do.
async fn take_turns<D, F>(
    due: impl Fn() -> D,
    bind: impl Fn(TenantId, ImportId) -> F,
    stop: &CancellationToken,
) -> Result<(), StoreError>
where
    D: Future<Output = Result<Vec<(TenantId, ImportId)>, StoreError>>,
    F: Future<Output = Result<bool, StoreError>>,
{
    let mut has_more = true;
    while has_more {
        has_more = false;
        for (tenant, import) in due().await? {
            if stop.is_cancelled() {
                return Ok(());
            }
            let begun_at = now().monotonic;
            match bind(tenant, import).await {
                Ok(is_bound) => has_more |= is_bound,
                Err(error) if error.is_unavailable() => return Err(error),
                // The others do not wait for it.
                Err(error) => tracing::error!(%error, import.id = %import,
                    "{import} does not go on: {error}"),
            }
            // A database that is slow now gets a longer rest.
            let rest = now().monotonic.saturating_duration_since(begun_at).min(REST_MAX);
            stop.run_until_cancelled(sleep(rest)).await;
        }
    }
    Ok(())
}

/// Ends what a node was reading when it died, and forgets what is old.
pub(super) async fn sweep(store: Store, stop: CancellationToken) {
    every(SWEEP_EVERY, &stop, "Imports that broke off wait", async || {
        let abandoned = store.sweep_imports(now().wall).await?;
        if abandoned > 0 {
            tracing::info!(abandoned, "{abandoned} imports broke off with their node");
        }
        Ok(())
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::future::{Ready, ready};
    use std::sync::Mutex;

    use super::*;
    use crate::store::error::Fault;

    /// Imports with so many chunks each, of which none is opened again when it is at its end.
    struct Waiting {
        chunks: Mutex<Vec<u32>>,
        bound: Mutex<Vec<usize>>,
    }

    impl Waiting {
        fn new(chunks: &[u32]) -> Self {
            Self { chunks: Mutex::new(chunks.to_vec()), bound: Mutex::default() }
        }

        fn due(&self) -> Ready<Result<Vec<(TenantId, ImportId)>, StoreError>> {
            let chunks = self.chunks.lock().expect("whole");
            let due = chunks.iter().enumerate().filter(|(_, left)| **left > 0);
            let place = |nth: usize| (TenantId::from_u128(1), ImportId::from_u128(nth as u128));
            ready(Ok(due.map(|(nth, _)| place(nth)).collect()))
        }

        fn bind(&self, import: ImportId) -> bool {
            let nth = import.as_u128() as usize;
            self.chunks.lock().expect("whole")[nth] -= 1;
            self.bound.lock().expect("whole").push(nth);
            true
        }

        fn bound(&self) -> Vec<usize> {
            self.bound.lock().expect("whole").clone()
        }
    }

    #[tokio::test]
    async fn a_short_import_does_not_wait_for_a_long_one() {
        let (waiting, stop) = (Waiting::new(&[5, 1, 2]), CancellationToken::new());
        let bind = async |_, import| Ok(waiting.bind(import));
        take_turns(|| waiting.due(), bind, &stop).await.expect("all are bound");
        assert_eq!(waiting.bound(), [0, 1, 2, 0, 2, 0, 0, 0]);
    }

    #[tokio::test]
    async fn one_that_does_not_go_on_holds_up_no_other() {
        let (waiting, stop) = (Waiting::new(&[1, 2]), CancellationToken::new());
        let bind = async |_, import: ImportId| match import.as_u128() {
            0 => Err(StoreError::Internal(Fault::new("a fault"))),
            _ => Ok(waiting.bind(import)),
        };
        take_turns(|| waiting.due(), bind, &stop).await.expect("the other is bound");
        assert_eq!(waiting.bound(), [1, 1]);
    }

    #[tokio::test]
    async fn a_database_that_is_away_ends_the_round() {
        let (waiting, stop) = (Waiting::new(&[1, 1]), CancellationToken::new());
        let bind = async |_, _| Err(StoreError::Unavailable(Fault::new("it is away")));
        let told = take_turns(|| waiting.due(), bind, &stop).await;
        assert!(told.is_err_and(|error| error.is_unavailable()));
        assert!(waiting.bound().is_empty());
    }

    #[tokio::test]
    async fn nothing_is_begun_after_the_stop() {
        let (waiting, stop) = (Waiting::new(&[9]), CancellationToken::new());
        let bind = async |_, import| {
            stop.cancel();
            Ok(waiting.bind(import))
        };
        take_turns(|| waiting.due(), bind, &stop).await.expect("it ends");
        assert_eq!(waiting.bound(), [0]);
    }
}
