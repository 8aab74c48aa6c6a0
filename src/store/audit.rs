//! Who did what: lines that nobody can change, written in the transaction of the deed.

use std::time::SystemTime;

use serde_json::Value;
use sqlx::PgConnection;

use super::StoreError;
use super::convert::{to_sql, unix_ms, uuid};
use crate::domain::id::{AuditId, TenantId};
use crate::vault::random_u128;

/// A line to be written. It never holds a number.
#[derive(Clone, Debug)]
pub(super) struct Deed<'a> {
    /// Whose things it was about.
    pub(super) tenant: TenantId,
    /// Who did it: the identifier of a key, or `relay`.
    pub(super) actor: &'a str,
    /// What, such as `recording.fetched`.
    pub(super) action: &'static str,
    /// The bits of the identifier of what it was done to.
    pub(super) subject: u128,
    /// What else is worth knowing.
    pub(super) details: Value,
}

pub(super) async fn write(
    connection: &mut PgConnection,
    now: SystemTime,
    deed: Deed<'_>,
) -> Result<AuditId, StoreError> {
    let id = AuditId::new(unix_ms(now), random_u128()?);
    sqlx::query(
        "insert into audit_entry (tenant_id, id, at, actor, action, subject_id, details)
         values ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(uuid(deed.tenant.as_u128()))
    .bind(uuid(id.as_u128()))
    .bind(to_sql(now)?)
    .bind(deed.actor)
    .bind(deed.action)
    .bind(uuid(deed.subject))
    .bind(deed.details)
    .execute(connection)
    .await?;
    Ok(id)
}
