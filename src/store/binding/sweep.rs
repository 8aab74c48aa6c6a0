//! How a sweep goes through the bindings that are due: each tenant in a transaction of its own, and
//! none held up by another that fails.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use uuid::Uuid;

use super::expire::{EXPIRE_BINDINGS_MAX, ExpiredBinding};
use crate::domain::id::TenantId;
use crate::domain::number_state::DRAINING_TIME;
use crate::store::convert::{to_sql, uuid};
use crate::store::error::StoreError;
use crate::store::{RelayPool, Store};

/// The most tenants that one sweep passes over because they failed.
const FAILED_TENANTS_MAX: usize = 64;

/// What a sweep has done.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Swept {
    /// How many bindings were due.
    pub(super) seen: usize,
    /// Those that it ended.
    pub(super) expired: Vec<ExpiredBinding>,
}

/// Why bindings are looked at without anybody's order.
#[derive(Clone, Copy, Debug)]
pub(super) enum Due {
    /// Their time is over.
    Over,
    /// Nobody uses them.
    Idle,
    /// They go on, and their time is over within this time.
    Soon(Duration),
}

impl Store {
    /// Ends what is due, or says that it will be. After a failure the others' are looked for anew,
    /// so that a tenant whose bindings fill a whole page holds up no other.
    ///
    /// # Errors
    /// The first one, when nothing was ended: else the relay must hear of those that were, and the
    /// next sweep tries the rest again.
    pub(super) async fn sweep(
        &self,
        relay: &RelayPool,
        now: SystemTime,
        why: Due,
    ) -> Result<Swept, StoreError> {
        let (mut swept, mut failed, mut first) = (Swept::default(), Vec::new(), None);
        loop {
            let due = match relay.find_due(now, why, &failed).await {
                Ok(due) => due,
                Err(error) => {
                    first.get_or_insert(error);
                    break;
                }
            };
            swept.seen += due.len();
            let before = failed.len();
            for (tenant, bindings) in by_tenant(due) {
                let ended = match why {
                    Due::Over => self.expire_of(tenant, &bindings, now).await,
                    Due::Idle => self.expire_idle_of(tenant, &bindings, now).await,
                    Due::Soon(notice) => {
                        let told = self.tell_expiring_of(tenant, &bindings, now, notice).await;
                        told.map(|()| Vec::new())
                    }
                };
                match ended {
                    Ok(ended) => swept.expired.extend(ended),
                    Err(error) => {
                        tracing::warn!(
                            %error,
                            tenant.id = %tenant,
                            "The bindings of {tenant} wait"
                        );
                        // One that waits too long for a lock of its own says the same as a
                        // database that is away.
                        let is_away = error.is_unavailable() && self.ping().await.is_err();
                        failed.push(uuid(tenant.as_u128()));
                        first.get_or_insert(error);
                        if is_away || failed.len() >= FAILED_TENANTS_MAX {
                            return told(swept, first);
                        }
                    }
                }
            }
            if failed.len() == before {
                break;
            }
        }
        told(swept, first)
    }
}

impl RelayPool {
    async fn find_due(
        &self,
        now: SystemTime,
        why: Due,
        but: &[Uuid],
    ) -> Result<Vec<(Uuid, Uuid)>, StoreError> {
        let (due, at) = match why {
            Due::Over => (
                sqlx::query_as(
                    "select tenant_id, id from binding
                     where ended_at is null and expires_at <= $1 and tenant_id <> all ($3)
                     order by expires_at limit $2",
                ),
                now,
            ),
            Due::Idle => (
                sqlx::query_as(
                    "select tenant_id, id from binding
                     where ended_at is null and idle_check_at <= $1 and tenant_id <> all ($3)
                     order by idle_check_at limit $2",
                ),
                now - DRAINING_TIME,
            ),
            Due::Soon(notice) => return self.find_expiring(now, notice, but).await,
        };
        let due = due.bind(to_sql(at)?).bind(EXPIRE_BINDINGS_MAX).bind(but);
        Ok(due.fetch_all(&self.0).await?)
    }
}

fn told(swept: Swept, first: Option<StoreError>) -> Result<Swept, StoreError> {
    match first {
        Some(error) if swept.expired.is_empty() => Err(error),
        Some(_) | None => Ok(swept),
    }
}

fn by_tenant(due: Vec<(Uuid, Uuid)>) -> BTreeMap<TenantId, Vec<Uuid>> {
    let mut by_tenant: BTreeMap<TenantId, Vec<Uuid>> = BTreeMap::new();
    for (tenant, binding) in due {
        by_tenant.entry(TenantId::from_u128(tenant.as_u128())).or_default().push(binding);
    }
    by_tenant
}
