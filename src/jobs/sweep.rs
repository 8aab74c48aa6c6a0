//! Writes down what time has done: bindings that ran out, numbers that have rested, answers that
//! need not be kept, partitions of the coming months.

use std::future::Future;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::domain::cause::Cause;
use crate::relay::handle::{Handle, Talking};
use crate::relay::now::now;
use crate::store::binding::{CallsUp, EXPIRE_BINDINGS_MAX, ExpiredBinding};
use crate::store::{RelayPool, Store, StoreError};

/// How often bindings that ran out are looked for. Calls know the time themselves; this only ends
/// what rings, and lets the number rest.
const EXPIRY_EVERY: Duration = Duration::from_secs(2);
/// How often numbers and kept answers are looked at.
const REST_EVERY: Duration = Duration::from_secs(60);
/// The most times in a row that tenants are told of bindings that end soon.
const TELLS_MAX: usize = 100;
/// How often the partitions of the coming months are looked after.
const PARTITIONS_EVERY: Duration = Duration::from_secs(6 * 3_600);

/// Ends bindings whose time ran out.
pub(super) async fn expire(store: Store, pool: RelayPool, relay: Handle, stop: CancellationToken) {
    every(EXPIRY_EVERY, &stop, "Bindings that ran out wait", async || {
        loop {
            let expired = store.expire_bindings(&pool, now().wall).await?;
            tell(&relay, &expired);
            if is_last(expired.len()) {
                return Ok(());
            }
        }
    })
    .await;
}

/// Ends bindings that nobody uses.
pub(super) async fn expire_idle(
    store: Store,
    pool: RelayPool,
    relay: Handle,
    stop: CancellationToken,
) {
    every(REST_EVERY, &stop, "Bindings that nobody uses wait", async || {
        loop {
            let idle = store.expire_idle_bindings(&pool, now().wall).await?;
            tell(&relay, &idle.expired);
            if is_last(idle.seen) {
                return Ok(());
            }
        }
    })
    .await;
}

/// Tells tenants of bindings that end soon; never where `notice` is zero.
pub(super) async fn tell_expiring(
    store: Store,
    pool: RelayPool,
    notice: Duration,
    stop: CancellationToken,
) {
    if notice.is_zero() {
        return;
    }
    every(REST_EVERY, &stop, "Nobody is told of bindings that end soon", async || {
        // Those that somebody else holds are seen each time: they wait for the next tick.
        for _ in 0..TELLS_MAX {
            if is_last(store.tell_expiring_bindings(&pool, now().wall, notice).await?) {
                break;
            }
        }
        Ok(())
    })
    .await;
}

fn is_last(count: usize) -> bool {
    usize::try_from(EXPIRE_BINDINGS_MAX).is_ok_and(|max| count < max)
}

fn tell(relay: &Handle, expired: &[ExpiredBinding]) {
    for binding in expired {
        let id = binding.binding;
        let talking = match binding.calls {
            CallsUp::GoOn => Talking::GoesOn,
            CallsUp::End => Talking::Ends,
        };
        if relay.binding_ended(id, Cause::BindingExpired, talking).is_err() {
            tracing::error!(binding.id = %id, "{id} expired, and the shard is deaf");
        }
    }
}

/// Moves numbers on that have rested, and forgets answers that were kept for repeats.
pub(super) async fn rest(store: Store, pool: RelayPool, stop: CancellationToken) {
    every(REST_EVERY, &stop, "Resting numbers wait", async || {
        let at = now().wall;
        store.rest_left_numbers(&pool, at).await?;
        let mut platform = store.platform().await?;
        let swept = platform.sweep_numbers(at).await?;
        platform.commit().await?;
        store.sweep_once(at).await?;
        store.sweep_nonces(at).await?;
        store.sweep_intents(at).await?;
        store.sweep_binding_notices(at).await?;
        tracing::debug!(cooling = swept.cooling, available = swept.available, "Swept numbers");
        Ok(())
    })
    .await;
}

/// Makes the partitions of the coming months.
pub(super) async fn partitions(store: Store, stop: CancellationToken) {
    every(PARTITIONS_EVERY, &stop, "The partitions of the coming months are missing", async || {
        store.create_partitions(now().wall).await
    })
    .await;
}

/// Does something now and then until `stop`; a failure is told and tried again the next time.
pub(super) async fn every<F>(
    period: Duration,
    stop: &CancellationToken,
    failing: &'static str,
    work: impl Fn() -> F,
) where
    F: Future<Output = Result<(), StoreError>>,
{
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        if let Err(error) = work().await {
            tracing::warn!(%error, "{failing}: {error}");
        }
    }
}
