//! Writes down what time has done: partitions of the coming months.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::relay::handle::Handle;
use crate::relay::now::now;
use crate::store::Store;

/// How often the partitions of the coming months are looked after.
const PARTITIONS_EVERY: Duration = Duration::from_secs(6 * 3_600);

/// Runs until `stop`.
pub(super) async fn run(store: Store, _relay: Handle, stop: CancellationToken) {
    let mut ticks = interval(PARTITIONS_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        if let Err(error) = store.create_partitions(now().wall).await {
            tracing::error!(%error, "The partitions of the coming months are missing: {error}");
        }
    }
}
