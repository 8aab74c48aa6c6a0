//! Other terms for a binding that is there: its end, what it follows, how long it may lie unused.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

use super::{BindingOutcome, BindingRecord, told};
use crate::domain::binding::{BindingState, OnExpiry};
use crate::domain::event::EventKind;
use crate::domain::id::BindingId;
use crate::store::binding_row::{BindingTerm, StateColumns, write_seconds};
use crate::store::convert::{from_sql, to_sql, to_sql_maybe, to_stored_precision, uuid};
use crate::store::error::StoreError;
use crate::store::{RouteTable, TenantTx};

/// What changes of a binding; absent fields stay, an inner `None` takes the value away.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BindingChange {
    /// The product's name.
    pub policy_product: Option<Option<String>>,
    /// The end of the policy.
    pub policy_ends_at: Option<Option<SystemTime>>,
    /// Until when calls are routed. Not for a binding that follows its policy.
    pub valid_until: Option<Option<SystemTime>>,
    /// A new end: of the policy where the binding follows it, else of the binding alone.
    pub renew_until: Option<SystemTime>,
    /// Whether it ends when the policy does.
    pub follow_policy: Option<bool>,
    /// How long it may lie unused.
    pub idle_ttl: Option<Option<Duration>>,
    /// What becomes of calls that are up when its time is over.
    pub on_expiry: Option<OnExpiry>,
    /// The longest answered duration, in whole seconds.
    pub duration_max: Option<Option<Duration>>,
    /// The tenant's own notes, all of them.
    pub metadata: Option<Map<String, Value>>,
}

impl BindingChange {
    /// The binding as it will be; absent when the terms contradict each other or the time.
    fn apply(mut self, now: SystemTime, mut binding: BindingRecord) -> Option<BindingRecord> {
        let terms = &mut binding.terms;
        terms.follow_policy = self.follow_policy.unwrap_or(terms.follow_policy);
        terms.idle_ttl = self.idle_ttl.unwrap_or(terms.idle_ttl);
        terms.on_expiry = self.on_expiry.unwrap_or(terms.on_expiry);
        match self.renew_until {
            Some(until) if terms.follow_policy => self.policy_ends_at = Some(Some(until)),
            Some(until) => self.valid_until = Some(Some(until)),
            None => {}
        }
        let policy = &mut binding.policy;
        if let Some(ends_at) = self.policy_ends_at {
            policy.ends_at = ends_at.map(to_stored_precision);
        }
        if let Some(product) = self.policy_product {
            policy.product = product;
        }
        let until = match (terms.follow_policy, self.valid_until) {
            (true, None) => policy.ends_at,
            // Two ends would contradict each other.
            (true, Some(_)) => return None,
            (false, Some(until)) => until.map(to_stored_precision),
            (false, None) => binding.state.expires_at(),
        };
        let needs_end = terms.follow_policy || binding.term == BindingTerm::Short;
        let start = match binding.state {
            BindingState::Pending { starts_at, .. } => starts_at.max(now),
            BindingState::Active { .. } | BindingState::Suspended { .. } => now,
            BindingState::Expired { .. } | BindingState::Released { .. } => return None,
        };
        if needs_end && until.is_none() || until.is_some_and(|until| until <= start) {
            return None;
        }
        binding.state = binding.state.renew(until).ok()?;
        binding.duration_max = self.duration_max.unwrap_or(binding.duration_max);
        binding.metadata = self.metadata.unwrap_or(binding.metadata);
        Some(binding)
    }
}

impl TenantTx {
    /// Gives a binding other terms; X and subscriber stay. This is how a binding is renewed.
    ///
    /// # Errors
    /// [`StoreError`] when the database or the vault fails.
    pub async fn change_terms(
        &mut self,
        now: SystemTime,
        id: BindingId,
        change: BindingChange,
        version: Option<u64>,
    ) -> Result<BindingOutcome, StoreError> {
        let locked = self.lock_binding(id).await?;
        let Some(mut binding) = locked else { return Ok(BindingOutcome::NotFound) };
        if version.is_some_and(|version| version != binding.version) {
            return Ok(BindingOutcome::VersionMismatch);
        }
        binding.state = binding.state.at(now);
        if let over @ (BindingState::Expired { .. } | BindingState::Released { .. }) = binding.state
        {
            return Ok(BindingOutcome::NotAllowed(over));
        }
        let Some(mut binding) = change.apply(now, binding) else {
            return Ok(BindingOutcome::TermInvalid);
        };
        binding.updated_at = to_stored_precision(now);
        let (version, updated_at) = self.write_terms(&binding).await?;
        binding.version = version.unsigned_abs();
        binding.updated_at = from_sql(updated_at);
        self.emit(now, told(EventKind::BindingUpdated, &binding)).await?;
        self.touch_routes(RouteTable::Binding);
        Ok(BindingOutcome::Changed(Box::new(binding)))
    }

    async fn write_terms(
        &mut self,
        binding: &BindingRecord,
    ) -> Result<(i64, jiff_sqlx::Timestamp), StoreError> {
        let columns = StateColumns::of(&binding.state)?;
        Ok(sqlx::query_as(
            "update binding set state = $3, starts_at = $4, expires_at = $5, policy_product = $6,
                 policy_ends_at = $7, follow_policy = $8, idle_ttl_s = $9, idle_check_at = $10,
                 on_expiry = $11, duration_max_s = $12, metadata = $13, version = version + 1,
                 updated_at = $14
             where tenant_id = $1 and id = $2 returning version, updated_at",
        )
        .bind(uuid(self.tenant().as_u128()))
        .bind(uuid(binding.id.as_u128()))
        .bind(columns.state)
        .bind(columns.starts_at)
        .bind(columns.expires_at)
        .bind(&binding.policy.product)
        .bind(to_sql_maybe(binding.policy.ends_at)?)
        .bind(binding.terms.follow_policy)
        .bind(write_seconds(binding.terms.idle_ttl))
        .bind(to_sql_maybe(idle_check_at(binding))?)
        .bind(binding.terms.on_expiry.label())
        .bind(write_seconds(binding.duration_max))
        .bind(Value::Object(binding.metadata.clone()))
        .bind(to_sql(binding.updated_at)?)
        .fetch_one(self.connection())
        .await?)
    }
}

/// When it is next asked whether the binding was used: a change of its terms counts as a use.
pub(super) fn idle_check_at(binding: &BindingRecord) -> Option<SystemTime> {
    let from = binding.valid_from.max(binding.updated_at);
    binding.terms.idle_ttl.and_then(|ttl| from.checked_add(ttl))
}
