//! The sweep that writes down what time has ended.

use std::cmp::Reverse;
use std::time::SystemTime;

use serde_json::json;
use uuid::Uuid;

use super::sweep::Due;
use super::{BindingMode, CallsUp, Freed};
use crate::domain::binding::OnExpiry;
use crate::domain::cause::Cause;
use crate::domain::event::EventKind;
use crate::domain::id::{AgentId, BindingId, NumberId, SubscriberId, TenantId};
use crate::domain::number::VirtualNumber;
use crate::store::convert::{from_sql, label, to_sql, uuid};
use crate::store::error::StoreError;
use crate::store::notice::EndedBinding;
use crate::store::number::read_digits;
use crate::store::outbox::NewEvent;
use crate::store::{RelayPool, Store, TenantTx};

/// The most bindings of one sweep.
pub const EXPIRE_BINDINGS_MAX: i64 = 500;

/// A binding whose time ran out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ExpiredBinding {
    /// Whose it was.
    pub tenant: TenantId,
    /// Which.
    pub binding: BindingId,
    /// Its X, which rests now, unless it serves other pairs.
    pub virtual_number: VirtualNumber,
    /// What happens to calls that are up.
    pub calls: CallsUp,
}

#[derive(sqlx::FromRow)]
pub(super) struct ExpiredRow {
    id: Uuid,
    external_id: String,
    subscriber_id: Uuid,
    number_id: Uuid,
    virtual_number: String,
    mode: String,
    agent_id: Option<Uuid>,
    ended_at: jiff_sqlx::Timestamp,
    on_expiry: String,
}

impl Store {
    /// Ends what is due, at most [`EXPIRE_BINDINGS_MAX`] bindings; run it again while it returns as
    /// many. Calls know the time themselves, so nothing is routed late.
    ///
    /// # Errors
    /// [`StoreError`] when nothing was ended; after an error later on, what was ended is returned.
    pub async fn expire_bindings(
        &self,
        relay: &RelayPool,
        now: SystemTime,
    ) -> Result<Vec<ExpiredBinding>, StoreError> {
        Ok(self.sweep(relay, now, Due::Over).await?.expired)
    }

    pub(super) async fn expire_of(
        &self,
        tenant: TenantId,
        bindings: &[Uuid],
        now: SystemTime,
    ) -> Result<Vec<ExpiredBinding>, StoreError> {
        let mut transaction = self.tenant(tenant).await?;
        // What another node ends at this moment, or a tenant prolongs, is passed over.
        let rows: Vec<ExpiredRow> = sqlx::query_as(
            "update binding
             set state = 'expired', ended_at = expires_at, starts_at = null, expires_at = null,
                 suspend_reason = null, drop_calls = on_expiry = 'end', version = version + 1,
                 updated_at = $3
             where tenant_id = $1 and id in (
                 select id from binding
                 where tenant_id = $1 and id = any ($2) and ended_at is null and expires_at <= $3
                 for update skip locked)
             returning id, external_id, subscriber_id, number_id, virtual_number, mode, agent_id,
                 ended_at, on_expiry",
        )
        .bind(uuid(tenant.as_u128()))
        .bind(bindings)
        .bind(to_sql(now)?)
        .fetch_all(transaction.connection())
        .await?;
        let expired = transaction.tell_expired(now, rows).await?;
        transaction.commit().await?;
        Ok(expired)
    }
}

impl TenantTx {
    /// Lets the numbers of expired bindings rest, and tells everybody.
    pub(super) async fn tell_expired(
        &mut self,
        now: SystemTime,
        mut rows: Vec<ExpiredRow>,
    ) -> Result<Vec<ExpiredBinding>, StoreError> {
        // Numbers that serve pairs are locked in the same order by every sweep, and rest from the
        // last end on.
        rows.sort_by_key(|row| (row.number_id, Reverse(from_sql(row.ended_at))));
        let (mut expired, mut told) = (Vec::with_capacity(rows.len()), Vec::new());
        let (mut freed, mut left) = (Vec::new(), Vec::new());
        for row in rows {
            let calls = match label("binding.on_expiry", &row.on_expiry, OnExpiry::find_label)? {
                OnExpiry::Finish => CallsUp::GoOn,
                OnExpiry::End => CallsUp::End,
            };
            let (mode, number) = (row.mode()?, NumberId::from_u128(row.number_id.as_u128()));
            let freed_here = Freed { number, at: from_sql(row.ended_at), calls };
            match mode {
                BindingMode::Ax => freed.push(freed_here),
                BindingMode::Axb { .. } => left.push(freed_here),
            }
            told.push(row.told(mode));
            let binding = BindingId::from_u128(row.id.as_u128());
            let cause = Cause::BindingExpired;
            self.end_binding(EndedBinding { binding, cause, calls });
            let virtual_number = read_digits(&row.virtual_number)?;
            let tenant = self.tenant();
            expired.push(ExpiredBinding { tenant, binding, virtual_number, calls });
        }
        self.release_numbers(now, &freed).await?;
        for Freed { number, at, calls } in left {
            self.leave_number(now, at, number, calls).await?;
        }
        self.emit_all(now, told).await?;
        Ok(expired)
    }
}

impl ExpiredRow {
    fn mode(&self) -> Result<BindingMode, StoreError> {
        let agent = self.agent_id.map(|id| AgentId::from_u128(id.as_u128()));
        label("binding.mode", &self.mode, |mode| BindingMode::find_label(mode, agent))
    }

    fn told(&self, mode: BindingMode) -> NewEvent {
        NewEvent {
            kind: EventKind::BindingExpired,
            subject: self.id.as_u128(),
            data: json!({
                "binding": BindingId::from_u128(self.id.as_u128()).to_string(),
                "external_id": self.external_id,
                "subscriber": SubscriberId::from_u128(self.subscriber_id.as_u128()).to_string(),
                "virtual_number": self.virtual_number,
                "mode": mode.label(),
                "agent": mode.agent().map(|agent| agent.to_string()),
                "state": "expired",
            }),
        }
    }
}
