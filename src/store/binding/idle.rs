//! The sweep of bindings that nobody uses. Whether one was used is read from the records of its
//! calls, so that no call has to write anything for it. A call is recorded when it has ended, so
//! the sweep judges as of [`DRAINING_TIME`] ago, which no call lasts longer than: a binding that is
//! in use is never ended, and an idle one that much later.

use std::time::SystemTime;

use uuid::Uuid;

use super::expire::{ExpiredBinding, ExpiredRow};
use super::sweep::{Due, Swept};
use crate::domain::id::TenantId;
use crate::domain::number_state::DRAINING_TIME;
use crate::store::convert::{to_sql, uuid};
use crate::store::error::StoreError;
use crate::store::{RelayPool, Store};

/// Bindings that were looked at for their last use.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct IdleBindings {
    /// How many were due; as many as [`super::EXPIRE_BINDINGS_MAX`] mean that there may be more.
    pub seen: usize,
    /// Those that nobody had used for too long.
    pub expired: Vec<ExpiredBinding>,
}

impl Store {
    /// Ends bindings without an attempt for as long as their `idle_ttl`, and puts the others off
    /// until they might be.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses or is away.
    pub async fn expire_idle_bindings(
        &self,
        relay: &RelayPool,
        now: SystemTime,
    ) -> Result<IdleBindings, StoreError> {
        let Swept { seen, expired } = self.sweep(relay, now, Due::Idle).await?;
        Ok(IdleBindings { seen, expired })
    }

    pub(super) async fn expire_idle_of(
        &self,
        tenant: TenantId,
        bindings: &[Uuid],
        now: SystemTime,
    ) -> Result<Vec<ExpiredBinding>, StoreError> {
        let mut transaction = self.tenant(tenant).await?;
        sqlx::query(
            "update binding b set idle_check_at = used.again
             from (select i.id, l.started_at + make_interval(secs => i.idle_ttl_s) as again
                   from binding i
                   cross join lateral (
                       select c.started_at from cdr c
                       where c.tenant_id = i.tenant_id and c.binding_id = i.id
                       order by c.id desc limit 1) as l
                   where i.tenant_id = $1 and i.id = any ($2) and i.ended_at is null
                     and i.idle_check_at <= $3
                   for update of i skip locked) as used
             where b.tenant_id = $1 and b.id = used.id and used.again > $3",
        )
        .bind(uuid(tenant.as_u128()))
        .bind(bindings)
        .bind(to_sql(now - DRAINING_TIME)?)
        .execute(transaction.connection())
        .await?;
        // What another session held above is judged again here, since it may be free by now.
        let rows: Vec<ExpiredRow> = sqlx::query_as(
            "update binding
             set state = 'expired', ended_at = $3, starts_at = null, expires_at = null,
                 suspend_reason = null, drop_calls = on_expiry = 'end', version = version + 1,
                 updated_at = $3
             where tenant_id = $1 and id in (
                 select i.id from binding i
                 where i.tenant_id = $1 and i.id = any ($2) and i.ended_at is null
                   and i.idle_check_at <= $4
                   and not exists (
                       select from (select c.started_at from cdr c
                                    where c.tenant_id = i.tenant_id and c.binding_id = i.id
                                    order by c.id desc limit 1) as l
                       where l.started_at + make_interval(secs => i.idle_ttl_s) > $4)
                 for update of i skip locked)
             returning id, external_id, subscriber_id, number_id, virtual_number, mode, agent_id,
                 ended_at, on_expiry",
        )
        .bind(uuid(tenant.as_u128()))
        .bind(bindings)
        .bind(to_sql(now)?)
        .bind(to_sql(now - DRAINING_TIME)?)
        .fetch_all(transaction.connection())
        .await?;
        let expired = transaction.tell_expired(now, rows).await?;
        transaction.commit().await?;
        Ok(expired)
    }
}
