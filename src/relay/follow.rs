//! Follows what other nodes change: forgets routes and ends calls when they tell, or when they
//! cannot be heard, and keeps the table of trunks up to date.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::freshness::Subject;
use super::handle::{Handle, Shared, Talking};
use super::now::now;
use super::trunks::{TrunkEntry, TrunkTable};
use crate::store::binding::CallsUp;
use crate::store::notice::EndedBinding;
use crate::store::watch::{Heard, RouteWatch};
use crate::store::{RelayPool, RouteTable, StoreError};

/// How often the version of routes is asked for.
const POLL_EVERY: Duration = Duration::from_secs(5);
/// So many polls after a change that nobody told of look which bindings have ended: the second sees
/// the calls whose route was found just before the first.
const LOOKS: u8 = 2;
/// How long to wait before listening again.
const RECONNECT_AFTER: Duration = Duration::from_secs(1);
/// How often trunks are loaded although nobody told of a change.
pub(crate) const TRUNKS_EVERY: Duration = Duration::from_secs(60);

/// Listens for ever.
pub(crate) async fn follow_changes(relay: RelayPool, handle: Handle) {
    loop {
        // What was changed while nobody listened is unknown.
        let Err(error) = listen(&relay, &handle).await;
        tracing::warn!(%error, "Changes of other nodes cannot be heard: {error}");
        sleep(RECONNECT_AFTER).await;
    }
}

async fn listen(
    relay: &RelayPool,
    handle: &Handle,
) -> Result<std::convert::Infallible, StoreError> {
    let mut watch = RouteWatch::connect(relay).await?;
    handle.trunks_changed();
    let mut looks = LOOKS;
    let mut polls = interval(POLL_EVERY);
    polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            heard = watch.next() => {
                if apply(heard?, handle) {
                    looks = LOOKS;
                    polls.reset_immediately();
                }
            }
            _ = polls.tick() => {
                let asked_at = now().monotonic;
                for heard in watch.poll().await? {
                    if apply(heard, handle) {
                        looks = LOOKS;
                    }
                }
                if looks > 0 {
                    looks -= 1;
                    end_what_ended(relay, handle).await?;
                }
                handle.shared().freshness.confirm(asked_at);
            }
        }
    }
}

/// Whether it is unknown what has changed: then every route is looked up anew, and the caller has
/// to ask about every binding with a call.
fn apply(heard: Heard, handle: &Handle) -> bool {
    match heard {
        Heard::Own => {}
        Heard::Ended(ended) => end(handle, ended),
        Heard::Binding(binding) => {
            handle.shared().freshness.forget(Subject::Binding(binding));
        }
        Heard::Change(RouteTable::Trunk) | Heard::Unknown => handle.trunks_changed(),
        Heard::Change(
            RouteTable::Tenant
            | RouteTable::Agent
            | RouteTable::VirtualNumber
            | RouteTable::Binding
            | RouteTable::Subscriber,
        ) => handle.shared().freshness.forget(Subject::Everything),
    }
    heard == Heard::Unknown
}

async fn end_what_ended(relay: &RelayPool, handle: &Handle) -> Result<(), StoreError> {
    let live: Vec<_> = handle.shared().live.bindings().into_iter().collect();
    if !live.is_empty() {
        relay.find_ended(&live).await?.into_iter().for_each(|ended| end(handle, ended));
    }
    Ok(())
}

fn end(handle: &Handle, ended: EndedBinding) {
    let EndedBinding { binding, cause, calls } = ended;
    let talking = match calls {
        CallsUp::GoOn => Talking::GoesOn,
        CallsUp::End => Talking::Ends,
    };
    if handle.binding_ended(binding, cause, talking).is_err() {
        tracing::error!(binding.id = %binding, "{binding} ended, and the shard is deaf");
    }
}

/// Loads the trunks for ever: when they have changed, and when what `load` says of them has grown
/// old.
pub(crate) async fn keep_trunks<F>(
    shared: Arc<Shared>,
    table: Arc<ArcSwap<TrunkTable>>,
    load: impl Fn() -> F + Send,
) where
    F: Future<Output = Result<(Vec<TrunkEntry>, Duration), StoreError>> + Send,
{
    loop {
        let wait = match load().await {
            Ok((entries, wait)) => {
                if let Some(new) = TrunkTable::after(&table.load(), entries) {
                    tracing::debug!(trunks = new.len(), "The trunks have changed");
                    shared.trunk_states.follow(&new.reach());
                    table.store(Arc::new(new));
                }
                shared.checks.carrier_trunk.store(table.load().has_carrier(), Ordering::SeqCst);
                wait
            }
            Err(error) => {
                tracing::warn!(%error, "The trunks cannot be loaded; the old ones stay: {error}");
                RECONNECT_AFTER
            }
        };
        tokio::select! {
            () = shared.trunks_changed.notified() => {}
            () = sleep(wait) => {}
        }
    }
}
