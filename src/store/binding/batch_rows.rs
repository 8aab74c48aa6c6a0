//! The rows of a batch and its events, each written by one statement.

use std::time::SystemTime;

use serde::Serialize;
use serde_json::{Map, Value};
use sqlx::types::Json;
use uuid::Uuid;

use super::BindingRecord;
use super::terms::idle_check_at;
use crate::domain::binding::BindingState;
use crate::store::TenantTx;
use crate::store::binding_row::write_seconds;
use crate::store::convert::{to_jiff, uuid};
use crate::store::error::StoreError;

/// The columns are those that `bind` writes; what is absent is null.
const INSERT: &str = "
insert into binding (tenant_id, id, external_id, content_hash, mode, term, policy_ref,
    policy_product, policy_ends_at, subscriber_id, number_id, virtual_number, agent_group, state,
    starts_at, expires_at, valid_from, duration_max_s, metadata, created_at, updated_at,
    follow_policy, idle_ttl_s, idle_check_at, on_expiry)
select $1, id, external_id, content_hash, mode, term, policy_ref, policy_product, policy_ends_at,
    subscriber_id, number_id, virtual_number, agent_group, state, starts_at, expires_at,
    valid_from, duration_max_s, metadata, created_at, created_at, follow_policy, idle_ttl_s,
    idle_check_at, on_expiry
from jsonb_to_recordset($2) as r (
    id uuid, external_id text, content_hash bytea, mode text, term text, policy_ref text,
    policy_product text, policy_ends_at timestamptz, subscriber_id uuid, number_id uuid,
    virtual_number text, agent_group text, state text, starts_at timestamptz,
    expires_at timestamptz, valid_from timestamptz, duration_max_s integer, metadata jsonb,
    created_at timestamptz, follow_policy boolean, idle_ttl_s integer,
    idle_check_at timestamptz, on_expiry text)";

impl TenantTx {
    /// Writes new bindings, each with the digest of its content.
    pub(super) async fn insert_bindings(
        &mut self,
        bindings: &[(BindingRecord, Vec<u8>)],
    ) -> Result<(), StoreError> {
        let rows: Result<Vec<Row<'_>>, _> =
            bindings.iter().map(|(binding, hash)| Row::new(binding, hash)).collect();
        sqlx::query(INSERT)
            .bind(uuid(self.tenant().as_u128()))
            .bind(Json(rows?))
            .execute(self.connection())
            .await?;
        Ok(())
    }
}

/// A row as it is sent: what is large in it is not copied.
#[derive(Serialize)]
struct Row<'a> {
    id: Uuid,
    external_id: &'a str,
    content_hash: String,
    mode: &'static str,
    term: &'static str,
    policy_ref: &'a str,
    policy_product: Option<&'a str>,
    policy_ends_at: Option<String>,
    subscriber_id: Uuid,
    number_id: Uuid,
    virtual_number: &'a str,
    agent_group: Option<&'a str>,
    state: &'static str,
    starts_at: Option<String>,
    expires_at: Option<String>,
    valid_from: Option<String>,
    duration_max_s: Option<i32>,
    metadata: &'a Map<String, Value>,
    created_at: Option<String>,
    follow_policy: bool,
    idle_ttl_s: Option<i32>,
    idle_check_at: Option<String>,
    on_expiry: &'static str,
}

impl<'a> Row<'a> {
    fn new(binding: &'a BindingRecord, content_hash: &[u8]) -> Result<Self, StoreError> {
        let (starts_at, expires_at) = match binding.state {
            BindingState::Pending { starts_at, expires_at } => (Some(starts_at), expires_at),
            BindingState::Active { expires_at } => (None, expires_at),
            // A new binding is neither.
            BindingState::Suspended { .. }
            | BindingState::Expired { .. }
            | BindingState::Released { .. } => (None, None),
        };
        Ok(Self {
            id: uuid(binding.id.as_u128()),
            external_id: &binding.external_id,
            content_hash: hex(content_hash),
            mode: binding.mode.label(),
            term: binding.term.label(),
            policy_ref: &binding.policy.reference,
            policy_product: binding.policy.product.as_deref(),
            policy_ends_at: moment(binding.policy.ends_at)?,
            subscriber_id: uuid(binding.subscriber.as_u128()),
            number_id: uuid(binding.number.as_u128()),
            virtual_number: binding.virtual_number.as_str(),
            agent_group: binding.agent_group.as_deref(),
            state: binding.state.label(),
            starts_at: moment(starts_at)?,
            expires_at: moment(expires_at)?,
            valid_from: moment(Some(binding.valid_from))?,
            duration_max_s: write_seconds(binding.duration_max),
            metadata: &binding.metadata,
            created_at: moment(Some(binding.created_at))?,
            follow_policy: binding.terms.follow_policy,
            idle_ttl_s: write_seconds(binding.terms.idle_ttl),
            idle_check_at: moment(idle_check_at(binding))?,
            on_expiry: binding.terms.on_expiry.label(),
        })
    }
}

fn moment(at: Option<SystemTime>) -> Result<Option<String>, StoreError> {
    at.map(|at| to_jiff(at).map(|at| at.to_string())).transpose()
}

/// As PostgreSQL reads bytes from a text.
fn hex(bytes: &[u8]) -> String {
    let mut text = "\\x".to_owned();
    for byte in bytes {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}
