//! L3: what runs by itself now and then. Every job may run on several nodes at once.

mod imports;
mod pools;
mod recordings;
mod sequence;
mod sweep;
pub mod webhooks;

use std::future::Future;
use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::domain::id::{ImportId, TenantId};
use crate::media::tape::Taped;
use crate::relay::handle::Handle;
use crate::store::{RelayPool, Store, StoreError};
pub(crate) use recordings::Shelf;

/// Starts all jobs; they end at `stop`, after what they are doing. Tenants hear of the end of a
/// binding `expiry_notice` before.
pub(crate) fn start(
    tasks: &TaskTracker,
    stop: &CancellationToken,
    store: &Store,
    pool: &RelayPool,
    relay: &Handle,
    expiry_notice: Duration,
) {
    tasks.spawn(sequence::run(pool.clone(), stop.clone()));
    let expiry = sweep::expire(store.clone(), pool.clone(), relay.clone(), stop.clone());
    tasks.spawn(expiry);
    let idle = sweep::expire_idle(store.clone(), pool.clone(), relay.clone(), stop.clone());
    tasks.spawn(idle);
    let soon = sweep::tell_expiring(store.clone(), pool.clone(), expiry_notice, stop.clone());
    tasks.spawn(soon);
    tasks.spawn(sweep::rest(store.clone(), pool.clone(), stop.clone()));
    tasks.spawn(sweep::partitions(store.clone(), stop.clone()));
    tasks.spawn(pools::watch(store.clone(), pool.clone(), stop.clone()));
}

/// Starts telling tenants' endpoints what happens; it ends at `stop`.
pub(crate) fn deliver(
    tasks: &TaskTracker,
    stop: &CancellationToken,
    pool: &RelayPool,
    dispatcher: webhooks::Dispatcher,
) {
    tasks.spawn(webhooks::run(dispatcher, stop.clone()));
    tasks.spawn(webhooks::measure(pool.clone(), stop.clone()));
    tasks.spawn(webhooks::sweep(pool.clone(), stop.clone()));
}

/// Starts binding what tenants import, by `bind`: the next rows of an import, and whether there may
/// be more. It ends at `stop`.
pub(crate) fn bind_imports<F>(
    tasks: &TaskTracker,
    stop: &CancellationToken,
    store: &Store,
    bind: impl Fn(TenantId, ImportId) -> F + Send + Sync + 'static,
) where
    F: Future<Output = Result<bool, StoreError>> + Send + 'static,
{
    tasks.spawn(imports::run(store.clone(), bind, stop.clone()));
    tasks.spawn(imports::sweep(store.clone(), stop.clone()));
}

/// Starts the jobs of recordings; they end at `stop`. What a recorder of this process has done
/// comes by `taped`.
pub(crate) fn keep_recordings(
    tasks: &TaskTracker,
    stop: &CancellationToken,
    shelf: &Shelf,
    taped: Option<Receiver<Taped>>,
) {
    if let Some(taped) = taped {
        tasks.spawn(recordings::keep(shelf.clone(), taped, stop.clone()));
    }
    tasks.spawn(recordings::adopt(shelf.clone(), stop.clone()));
    tasks.spawn(recordings::erase(shelf.clone(), stop.clone()));
}
