//! Says which pools run low, to the operator and to the tenants that use them, and counts how fast
//! their numbers go.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::sweep::every;
use crate::relay::now::now;
use crate::store::pool_stock::PoolsSeen;
use crate::store::{RelayPool, Store, StoreError};

/// How often pools are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Looks until `stop`.
pub(super) async fn watch(store: Store, relay: RelayPool, stop: CancellationToken) {
    metrics::describe_gauge!(
        "maskline_pools_low",
        "Pools with 20 % of their numbers left or less."
    );
    every(LOOK_EVERY, &stop, "Nobody knows how full the pools are", async || {
        look(&store, &relay).await
    })
    .await;
}

async fn look(store: &Store, relay: &RelayPool) -> Result<(), StoreError> {
    let at = now().wall;
    let seen = store.look_at_pools(at).await?;
    say(&seen);
    // One that fails keeps the other from nothing.
    let told = store.tell_of_low_pools(at).await;
    store.count_paces(relay, at).await?;
    told
}

fn say(seen: &PoolsSeen) {
    #[expect(clippy::cast_precision_loss, reason = "there are at most thousands")]
    metrics::gauge!("maskline_pools_low").set(seen.low as f64);
    for (pool, stock) in &seen.newly_low {
        let percent = stock.percent_left();
        tracing::warn!(pool.id = %pool, left = stock.free, "{pool} has {percent} % left");
    }
    for pool in &seen.recovered {
        tracing::info!(pool.id = %pool, "{pool} has enough numbers again");
    }
}
