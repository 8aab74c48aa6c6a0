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

/// Binds until `stop`. Every import gets its turn for one chunk.
pub(super) async fn run<F>(
    store: Store,
    bind: impl Fn(TenantId, ImportId) -> F + Send + Sync,
    stop: CancellationToken,
) where
    F: Future<Output = Result<bool, StoreError>> + Send,
{
    every(LOOK_EVERY, &stop, "Imports wait", async || {
        let mut has_more = true;
        while has_more {
            has_more = false;
            for (tenant, import) in store.due_imports().await? {
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
    })
    .await;
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
