//! The notice before a binding ends: its tenant is told once of each end, in the transaction that
//! writes down that it was.

use std::time::{Duration, SystemTime};

use jiff_sqlx::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::BindingMode;
use super::expire::EXPIRE_BINDINGS_MAX;
use super::sweep::Due;
use crate::domain::event::EventKind;
use crate::domain::id::{AgentId, BindingId, SubscriberId, TenantId};
use crate::store::binding_row::StateRow;
use crate::store::convert::{from_sql, label, to_jiff, to_sql, uuid};
use crate::store::error::StoreError;
use crate::store::outbox::NewEvent;
use crate::store::{RelayPool, Store};

/// Notices of ends that have come, forgotten at one time.
const SWEPT_MAX: i64 = 10_000;

/// What ends soon at `$1`, which is before `$2`: a notice takes no more than a tenth of the term.
macro_rules! ends_soon {
    () => {
        "b.ended_at is null and b.expires_at > $1 and b.expires_at <= $2
         and b.expires_at - (b.expires_at - b.valid_from) / 10 <= $1"
    };
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    external_id: String,
    subscriber_id: Uuid,
    virtual_number: String,
    mode: String,
    agent_id: Option<Uuid>,
    until: Timestamp,
    #[sqlx(flatten)]
    state: StateRow,
}

impl Store {
    /// Tells tenants of bindings that end within `notice`, or within a tenth of their term where
    /// that is less, and that they were not told of: how many there were. It is run again while
    /// there are as many as [`EXPIRE_BINDINGS_MAX`].
    ///
    /// # Errors
    /// The first one, after all other tenants were told.
    pub async fn tell_expiring_bindings(
        &self,
        relay: &RelayPool,
        now: SystemTime,
        notice: Duration,
    ) -> Result<usize, StoreError> {
        Ok(self.sweep(relay, now, Due::Soon(notice)).await?.seen)
    }

    pub(super) async fn tell_expiring_of(
        &self,
        tenant: TenantId,
        bindings: &[Uuid],
        now: SystemTime,
        notice: Duration,
    ) -> Result<(), StoreError> {
        let mut transaction = self.tenant(tenant).await?;
        // What a tenant changes at this moment is passed over: its end may be another one by then.
        let rows: Vec<Row> = sqlx::query_as(concat!(
            "with due as (
                 select b.id, b.external_id, b.subscriber_id, b.virtual_number, b.mode, b.agent_id,
                     b.expires_at as until, b.state, b.starts_at, b.expires_at, b.suspend_reason,
                     b.ended_at
                 from binding b
                 where b.tenant_id = $3 and b.id = any ($4) and ",
            ends_soon!(),
            "    for update skip locked
             ), told as (
                 insert into binding_notice (tenant_id, binding_id, expires_at)
                 select $3, due.id, due.until from due
                 on conflict on constraint binding_notice_pkey do nothing
                 returning binding_id
             )
             select due.* from due join told on told.binding_id = due.id
             order by due.until, due.id"
        ))
        .bind(to_sql(now)?)
        .bind(to_sql(now + notice)?)
        .bind(uuid(tenant.as_u128()))
        .bind(bindings)
        .fetch_all(transaction.connection())
        .await?;
        let told: Result<Vec<_>, _> = rows.into_iter().map(|row| row.told(now)).collect();
        transaction.emit_all(now, told?).await?;
        transaction.commit().await
    }

    /// Forgets notices of ends that have come.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    pub async fn sweep_binding_notices(&self, now: SystemTime) -> Result<u64, StoreError> {
        let mut tx = self.platform().await?;
        let swept = sqlx::query(
            "delete from binding_notice where (tenant_id, binding_id, expires_at) in (
                 select tenant_id, binding_id, expires_at from binding_notice
                 where expires_at <= $1 order by expires_at limit $2)",
        )
        .bind(to_sql(now)?)
        .bind(SWEPT_MAX)
        .execute(tx.connection())
        .await?
        .rows_affected();
        tx.commit().await?;
        Ok(swept)
    }
}

impl RelayPool {
    pub(super) async fn find_expiring(
        &self,
        now: SystemTime,
        notice: Duration,
        but: &[Uuid],
    ) -> Result<Vec<(Uuid, Uuid)>, StoreError> {
        Ok(sqlx::query_as(concat!(
            "select b.tenant_id, b.id from binding b where ",
            ends_soon!(),
            " and b.tenant_id <> all ($3) and not exists (
                  select from binding_notice n
                  where n.tenant_id = b.tenant_id and n.binding_id = b.id
                    and n.expires_at = b.expires_at)
              order by b.expires_at limit $4"
        ))
        .bind(to_sql(now)?)
        .bind(to_sql(now + notice)?)
        .bind(but)
        .bind(EXPIRE_BINDINGS_MAX)
        .fetch_all(&self.0)
        .await?)
    }
}

impl Row {
    fn told(self, now: SystemTime) -> Result<NewEvent, StoreError> {
        let agent = self.agent_id.map(|id| AgentId::from_u128(id.as_u128()));
        let mode = label("binding.mode", &self.mode, |it| BindingMode::find_label(it, agent))?;
        let data = json!({
            "binding": BindingId::from_u128(self.id.as_u128()).to_string(),
            "external_id": self.external_id,
            "subscriber": SubscriberId::from_u128(self.subscriber_id.as_u128()).to_string(),
            "virtual_number": self.virtual_number,
            "mode": mode.label(),
            "agent": agent.map(|agent| agent.to_string()),
            "state": self.state.read()?.at(now).label(),
            "valid_until": to_jiff(from_sql(self.until))?.to_string(),
        });
        Ok(NewEvent { kind: EventKind::BindingExpiring, subject: self.id.as_u128(), data })
    }
}
