//! Bindings: made, found, stopped, ended. Each change releases or takes its X, tells its event and
//! warns cached routes in one transaction.

mod batch;
mod batch_numbers;
mod batch_people;
mod batch_rows;
mod create;
mod expire;
mod expiring;
mod idle;
mod pair;
mod sweep;
mod take;
mod terms;

use std::time::SystemTime;

use serde_json::json;

pub use batch::{BATCH_ROWS_MAX, RowOutcome};
pub use create::{BindOutcome, NewBinding, NumberChoice, SubscriberChoice};
pub use expire::{EXPIRE_BINDINGS_MAX, ExpiredBinding};
pub use idle::IdleBindings;
pub use terms::BindingChange;

pub use super::binding_row::{BindingMode, BindingRecord, BindingTerm, BindingTerms, PolicyRef};
use super::binding_row::{BindingRow, StateColumns, select_bindings};
use super::convert::{to_sql, uuid};
use super::error::StoreError;
use super::notice::EndedBinding;
use super::outbox::NewEvent;
use super::page::{Page, PageRequest};
use super::{RouteTable, TenantTx};
use crate::domain::binding::{BindingState, InvalidTransition, SuspendReason};
use crate::domain::cause::Cause;
use crate::domain::event::EventKind;
use crate::domain::id::{AgentId, BindingId, NumberId, SubscriberId};
use crate::domain::number::VirtualNumber;

/// Which bindings a list shows.
#[derive(Clone, Debug, Default)]
pub struct BindingFilter {
    /// In this stored state only: `pending`, `active`, `suspended`, `expired`, `released`.
    pub state: Option<String>,
    /// Of this subscriber only.
    pub subscriber: Option<SubscriberId>,
    /// Of this policy only.
    pub policy_ref: Option<String>,
    /// With this name of the tenant's own.
    pub external_id: Option<String>,
    /// Behind this X, now or before.
    pub virtual_number: Option<VirtualNumber>,
    /// Of pairs with this agent only.
    pub agent: Option<AgentId>,
}

/// What became of a change.
#[derive(Clone, Debug, PartialEq)]
pub enum BindingOutcome {
    /// Done.
    Changed(Box<BindingRecord>),
    /// This tenant has no such binding.
    NotFound,
    /// The state, as it is now, does not allow it.
    NotAllowed(BindingState),
    /// Somebody has changed it meanwhile.
    VersionMismatch,
    /// The end lies before the start or has passed, or what it follows has no end.
    TermInvalid,
}

/// What happens to calls that are up when a binding ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CallsUp {
    /// They go on: the number drains before it cools.
    GoOn,
    /// They are ended now: the number cools at once.
    End,
}

impl TenantTx {
    /// Finds a binding of this tenant.
    ///
    /// # Errors
    /// [`StoreError`] when the database or the vault fails.
    pub async fn find_binding(
        &mut self,
        id: BindingId,
    ) -> Result<Option<BindingRecord>, StoreError> {
        let facts = self.facts().await?;
        let row: Option<BindingRow> =
            sqlx::query_as(concat!(select_bindings!(), "where b.tenant_id = $1 and b.id = $2"))
                .bind(uuid(self.tenant().as_u128()))
                .bind(uuid(id.as_u128()))
                .fetch_optional(self.connection())
                .await?;
        row.map(|row| row.read(&facts.keys)).transpose()
    }

    /// This tenant's bindings, newest first.
    ///
    /// # Errors
    /// [`StoreError`] when the database or the vault fails.
    pub async fn list_bindings(
        &mut self,
        filter: &BindingFilter,
        page: PageRequest,
    ) -> Result<Page<BindingRecord>, StoreError> {
        let facts = self.facts().await?;
        self.plan_for_values().await?;
        let rows: Vec<BindingRow> = sqlx::query_as(concat!(
            select_bindings!(),
            "where b.tenant_id = $1 and b.id < $2
               and ($3::text is null or b.state = $3)
               and ($4::uuid is null or b.subscriber_id = $4)
               and ($5::text is null or b.policy_ref = $5)
               and ($6::text is null or b.external_id = $6)
               and ($7::text is null or b.virtual_number = $7)
               and ($9::uuid is null or b.agent_id = $9)
             order by b.id desc limit $8"
        ))
        .bind(uuid(self.tenant().as_u128()))
        .bind(page.before())
        .bind(&filter.state)
        .bind(filter.subscriber.map(|id| uuid(id.as_u128())))
        .bind(&filter.policy_ref)
        .bind(&filter.external_id)
        .bind(filter.virtual_number.as_ref().map(VirtualNumber::as_str))
        .bind(page.fetch())
        .bind(filter.agent.map(|id| uuid(id.as_u128())))
        .fetch_all(self.connection())
        .await?;
        let read: Result<Vec<_>, _> = rows.into_iter().map(|row| row.read(&facts.keys)).collect();
        Ok(page.page(read?, |binding| binding.id.as_u128()))
    }

    /// Stops routing until it is resumed.
    ///
    /// # Errors
    /// [`StoreError`] when the database or the vault fails.
    pub async fn suspend_binding(
        &mut self,
        now: SystemTime,
        id: BindingId,
        reason: SuspendReason,
        calls: CallsUp,
        version: Option<u64>,
    ) -> Result<BindingOutcome, StoreError> {
        let change = |state: BindingState| state.suspend(reason);
        let event = EventKind::BindingSuspended;
        let outcome = self.change_binding(now, id, version, event, calls, change).await?;
        if let BindingOutcome::Changed(_) = &outcome {
            let cause = Cause::BindingSuspended;
            self.end_binding(EndedBinding { binding: id, cause, calls });
        }
        Ok(outcome)
    }

    /// Routes again.
    ///
    /// # Errors
    /// [`StoreError`] when the database or the vault fails.
    pub async fn resume_binding(
        &mut self,
        now: SystemTime,
        id: BindingId,
        version: Option<u64>,
    ) -> Result<BindingOutcome, StoreError> {
        let change = BindingState::resume;
        let (event, calls) = (EventKind::BindingResumed, CallsUp::GoOn);
        let outcome = self.change_binding(now, id, version, event, calls, change).await?;
        if let BindingOutcome::Changed(_) = &outcome {
            self.touch_routes(RouteTable::Binding);
        }
        Ok(outcome)
    }

    /// Ends a binding for good; its X rests.
    ///
    /// # Errors
    /// [`StoreError`] when the database or the vault fails.
    pub async fn unbind(
        &mut self,
        now: SystemTime,
        id: BindingId,
        calls: CallsUp,
        version: Option<u64>,
    ) -> Result<BindingOutcome, StoreError> {
        let change = |state: BindingState| state.release(now);
        let event = EventKind::BindingReleased;
        let outcome = self.change_binding(now, id, version, event, calls, change).await?;
        if let BindingOutcome::Changed(binding) = &outcome {
            match binding.mode {
                BindingMode::Ax => self.release_number(now, now, binding.number, calls).await?,
                BindingMode::Axb { .. } => {
                    self.leave_number(now, now, binding.number, calls).await?;
                }
            }
            let cause = Cause::BindingExpired;
            self.end_binding(EndedBinding { binding: id, cause, calls });
        }
        Ok(outcome)
    }

    async fn change_binding(
        &mut self,
        now: SystemTime,
        id: BindingId,
        version: Option<u64>,
        event: EventKind,
        calls: CallsUp,
        change: impl FnOnce(BindingState) -> Result<BindingState, InvalidTransition>,
    ) -> Result<BindingOutcome, StoreError> {
        let tenant = uuid(self.tenant().as_u128());
        let locked = self.lock_binding(id).await?;
        let Some(mut binding) = locked else { return Ok(BindingOutcome::NotFound) };
        if version.is_some_and(|version| version != binding.version) {
            return Ok(BindingOutcome::VersionMismatch);
        }
        let state = binding.state.at(now);
        let Ok(changed) = change(state) else { return Ok(BindingOutcome::NotAllowed(state)) };
        let columns = StateColumns::of(&changed)?;
        let (version, updated_at): (i64, jiff_sqlx::Timestamp) = sqlx::query_as(
            "update binding set state = $3, starts_at = $4, expires_at = $5, suspend_reason = $6,
                 ended_at = $7, drop_calls = $9, version = version + 1, updated_at = $8
             where tenant_id = $1 and id = $2 returning version, updated_at",
        )
        .bind(tenant)
        .bind(uuid(id.as_u128()))
        .bind(columns.state)
        .bind(columns.starts_at)
        .bind(columns.expires_at)
        .bind(columns.suspend_reason)
        .bind(columns.ended_at)
        .bind(to_sql(now)?)
        .bind(calls == CallsUp::End)
        .fetch_one(self.connection())
        .await?;
        binding.state = changed;
        binding.version = version.unsigned_abs();
        binding.updated_at = super::convert::from_sql(updated_at);
        self.emit(now, told(event, &binding)).await?;
        Ok(BindingOutcome::Changed(Box::new(binding)))
    }

    /// Finds a binding that nobody else changes before this transaction ends.
    async fn lock_binding(&mut self, id: BindingId) -> Result<Option<BindingRecord>, StoreError> {
        let facts = self.facts().await?;
        let row: Option<BindingRow> = sqlx::query_as(concat!(
            select_bindings!(),
            "where b.tenant_id = $1 and b.id = $2 for update of b"
        ))
        .bind(uuid(self.tenant().as_u128()))
        .bind(uuid(id.as_u128()))
        .fetch_optional(self.connection())
        .await?;
        row.map(|row| row.read(&facts.keys)).transpose()
    }

    /// Lets X rest. `released_at` may lie before `now`: an expiry that is written down late.
    pub(super) async fn release_number(
        &mut self,
        now: SystemTime,
        released_at: SystemTime,
        number: NumberId,
        calls: CallsUp,
    ) -> Result<(), StoreError> {
        self.release_numbers(now, &[Freed { number, at: released_at, calls }]).await
    }

    /// Lets numbers rest, each from its own moment on.
    async fn release_numbers(
        &mut self,
        now: SystemTime,
        freed: &[Freed],
    ) -> Result<(), StoreError> {
        let (mut numbers, mut states, mut times) = (Vec::new(), Vec::new(), Vec::new());
        for Freed { number, at, calls } in freed {
            numbers.push(uuid(number.as_u128()));
            states.push(match calls {
                CallsUp::GoOn => "draining",
                CallsUp::End => "cooling",
            });
            times.push(to_sql(*at)?);
        }
        sqlx::query(
            "with released as (
                 update virtual_number v
                 set state = f.state, released_at = f.at, updated_at = $5,
                     version = v.version + 1, pairs = false,
                     cooling_until = f.at + make_interval(days => p.cooling_days)
                 from unnest($2::uuid[], $3::text[], $4::timestamptz[]) as f (id, state, at), pool p
                 where v.id = f.id and v.tenant_id = $1 and p.id = v.pool_id
                   and v.released_at is null and v.state in ('bound', 'sick')
                 returning v.id, v.released_at
             )
             insert into number_tenancy (tenant_id, number_id, released_at)
             select $1, id, released_at from released
             on conflict do nothing",
        )
        .bind(uuid(self.tenant().as_u128()))
        .bind(numbers)
        .bind(states)
        .bind(times)
        .bind(to_sql(now)?)
        .execute(self.connection())
        .await?;
        Ok(())
    }
}

/// A number that nobody is reached by any more.
struct Freed {
    number: NumberId,
    at: SystemTime,
    calls: CallsUp,
}

/// What a tenant is told about a binding.
fn told(kind: EventKind, binding: &BindingRecord) -> NewEvent {
    NewEvent {
        kind,
        subject: binding.id.as_u128(),
        data: json!({
            "binding": binding.id.to_string(),
            "external_id": binding.external_id,
            "subscriber": binding.subscriber.to_string(),
            "virtual_number": binding.virtual_number.as_str(),
            "mode": binding.mode.label(),
            "agent": binding.mode.agent().map(|agent| agent.to_string()),
            "state": binding.state.label(),
        }),
    }
}
