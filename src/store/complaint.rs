//! Complaints of subscribers: about one call, once for each way in which it can be reported.

use std::time::SystemTime;

use sqlx::PgConnection;
use uuid::Uuid;

use super::StoreError;
use super::convert::{to_sql, to_stored_precision, unix_ms};
use crate::domain::id::EventId;
use crate::vault::random_u128;

/// What is complained of.
pub(super) struct NewComplaint<'a> {
    pub(super) tenant: Uuid,
    pub(super) subscriber: Uuid,
    pub(super) binding: Option<Uuid>,
    pub(super) agent: Option<Uuid>,
    pub(super) call: Uuid,
    pub(super) purpose: &'a str,
    /// By what it was said.
    pub(super) source: &'a str,
    pub(super) at: SystemTime,
}

/// Opens it. False when the call was reported in this way before.
///
/// # Errors
/// [`StoreError`] when the database is away.
pub(super) async fn open(
    connection: &mut PgConnection,
    new: NewComplaint<'_>,
) -> Result<bool, StoreError> {
    let id = EventId::new(unix_ms(new.at), random_u128()?);
    let opened = sqlx::query(
        "insert into complaint (tenant_id, id, subscriber_id, binding_id, agent_id, call_id,
             purpose, source, state, opened_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, 'open', $9)
         on conflict on constraint complaint_call do nothing",
    )
    .bind(new.tenant)
    .bind(super::convert::uuid(id.as_u128()))
    .bind(new.subscriber)
    .bind(new.binding)
    .bind(new.agent)
    .bind(new.call)
    .bind(new.purpose)
    .bind(new.source)
    .bind(to_sql(to_stored_precision(new.at))?)
    .execute(connection)
    .await?
    .rows_affected();
    Ok(opened > 0)
}
