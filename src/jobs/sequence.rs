//! Gives committed events their place in their tenant's sequence.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::relay::now::now;
use crate::store::RelayPool;
use crate::store::outbox::assign_sequences;

/// How often events are looked for.
const EVERY: Duration = Duration::from_millis(500);

/// Runs until `stop`.
pub(super) async fn run(pool: RelayPool, stop: CancellationToken) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        // Something was done: there may be more.
        loop {
            match assign_sequences(&pool, now().wall).await {
                Ok(0) => break,
                Ok(_) if stop.is_cancelled() => break,
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "Events wait for their sequence: {error}");
                    break;
                }
            }
        }
    }
}
