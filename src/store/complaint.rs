//! Complaints of subscribers: about one call, once for each way in which it can be reported.

use std::time::SystemTime;

use serde_json::json;
use sqlx::PgConnection;

use super::StoreError;
use super::convert::{to_sql, to_stored_precision, unix_ms, uuid};
use super::outbox::{self, NewEvent};
use crate::domain::event::EventKind;
use crate::domain::id::{AgentId, BindingId, CallId, EventId, SubscriberId, TenantId};
use crate::domain::purpose::Purpose;
use crate::vault::random_u128;

/// What is complained of.
pub(super) struct NewComplaint {
    pub(super) tenant: TenantId,
    pub(super) subscriber: SubscriberId,
    pub(super) binding: Option<BindingId>,
    pub(super) agent: Option<AgentId>,
    pub(super) call: CallId,
    pub(super) purpose: Purpose,
    /// By what it was said.
    pub(super) source: &'static str,
    pub(super) at: SystemTime,
}

/// Opens it and tells its tenant, in the transaction of the caller. A call that was reported in
/// this way before is not reported again.
///
/// # Errors
/// [`StoreError`] when the database is away.
pub(super) async fn open(
    connection: &mut PgConnection,
    new: NewComplaint,
) -> Result<(), StoreError> {
    let id = EventId::new(unix_ms(new.at), random_u128()?);
    let at = to_stored_precision(new.at);
    let opened = sqlx::query(
        "insert into complaint (tenant_id, id, subscriber_id, binding_id, agent_id, call_id,
             purpose, source, state, opened_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, 'open', $9)
         on conflict on constraint complaint_call do nothing",
    )
    .bind(uuid(new.tenant.as_u128()))
    .bind(uuid(id.as_u128()))
    .bind(uuid(new.subscriber.as_u128()))
    .bind(new.binding.map(|id| uuid(id.as_u128())))
    .bind(new.agent.map(|id| uuid(id.as_u128())))
    .bind(uuid(new.call.as_u128()))
    .bind(new.purpose.label())
    .bind(new.source)
    .bind(to_sql(at)?)
    .execute(&mut *connection)
    .await?;
    if opened.rows_affected() == 0 {
        return Ok(());
    }
    // The same stands in `cdr::insert`, for what a record alone has told.
    let data = json!({
        "call": new.call.to_string(),
        "binding": new.binding.map(|id| id.to_string()),
        "subscriber": new.subscriber.to_string(),
        "agent": new.agent.map(|id| id.to_string()),
        "purpose": new.purpose.label(),
        "source": new.source,
    });
    let (kind, subject) = (EventKind::ComplaintOpened, new.call.as_u128());
    outbox::insert(connection, new.tenant, at, NewEvent { kind, subject, data }).await?;
    Ok(())
}
