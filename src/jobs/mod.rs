//! L3: what runs by itself now and then. Every job may run on several nodes at once.

mod sequence;
mod sweep;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::relay::handle::Handle;
use crate::store::{RelayPool, Store};

/// Starts all jobs; they end at `stop`, after what they are doing.
pub(crate) fn start(
    tasks: &TaskTracker,
    stop: &CancellationToken,
    store: &Store,
    pool: &RelayPool,
    relay: &Handle,
) {
    tasks.spawn(sequence::run(pool.clone(), stop.clone()));
    let expiry = sweep::expire(store.clone(), pool.clone(), relay.clone(), stop.clone());
    tasks.spawn(expiry);
    tasks.spawn(sweep::rest(store.clone(), stop.clone()));
    tasks.spawn(sweep::partitions(store.clone(), stop.clone()));
}
