//! A binding's row and what it means: the columns of a state, and the whole record.

use std::time::{Duration, SystemTime};

use jiff_sqlx::Timestamp;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::convert::{from_sql, label, to_sql_maybe};
use super::error::StoreError;
use super::number::read_digits;
use super::subscriber::masked;
use crate::domain::binding::{BindingState, OnExpiry, SuspendReason};
use crate::domain::id::{AgentId, BindingId, NumberId, SubscriberId};
use crate::domain::number::VirtualNumber;
use crate::vault::TenantKeys;

/// How a binding ties parties together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BindingMode {
    /// Any agent of the tenant reaches the subscriber by X.
    Ax,
    /// A pair: one agent and one subscriber reach each other by X, which may serve other pairs too.
    Axb {
        /// Who, at the tenant.
        agent: AgentId,
    },
}

impl BindingMode {
    /// The stable word in the store and the API.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ax => "ax",
            Self::Axb { .. } => "axb",
        }
    }

    /// The one agent it is for, if it is for one.
    #[must_use]
    pub const fn agent(self) -> Option<AgentId> {
        match self {
            Self::Ax => None,
            Self::Axb { agent } => Some(agent),
        }
    }

    /// Reads a label back, as stored, with the agent beside it.
    #[must_use]
    pub fn find_label(label: &str, agent: Option<AgentId>) -> Option<Self> {
        let modes = [Some(Self::Ax), agent.map(|agent| Self::Axb { agent })];
        let fits = |mode: &Self| mode.label() == label && mode.agent() == agent;
        modes.into_iter().flatten().find(fits)
    }
}

/// How long a binding lasts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BindingTerm {
    /// As long as the policy.
    Long,
    /// Until a time that was set.
    Short,
}

impl BindingTerm {
    /// The stable word in the store and the API.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Long => "long",
            Self::Short => "short",
        }
    }

    /// Reads a label back, as stored.
    #[must_use]
    pub fn find_label(label: &str) -> Option<Self> {
        [Self::Long, Self::Short].into_iter().find(|term| term.label() == label)
    }
}

/// The insurance policy a binding serves.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PolicyRef {
    /// The insurer's own reference.
    pub reference: String,
    /// The product's name.
    pub product: Option<String>,
    /// The end of the term, for calls that are allowed near it only.
    pub ends_at: Option<SystemTime>,
}

/// The terms of a binding beside its end.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct BindingTerms {
    /// It ends when the policy does, wherever that end is moved.
    pub follow_policy: bool,
    /// It ends when no attempt came for so long.
    pub idle_ttl: Option<Duration>,
    /// What becomes of calls that are up when its time is over.
    pub on_expiry: OnExpiry,
}

/// A binding as the tenant may see it.
#[derive(Clone, Debug, PartialEq)]
pub struct BindingRecord {
    /// Which.
    pub id: BindingId,
    /// The tenant's own name for it.
    pub external_id: String,
    /// How it ties.
    pub mode: BindingMode,
    /// How long.
    pub term: BindingTerm,
    /// For which policy.
    pub policy: PolicyRef,
    /// Whom it protects.
    pub subscriber: SubscriberId,
    /// Such as `138****0000`; absent after an erasure.
    pub masked: Option<String>,
    /// X, as a thing with a history.
    pub number: NumberId,
    /// X.
    pub virtual_number: VirtualNumber,
    /// Agents of this group only.
    pub agent_group: Option<String>,
    /// The state as stored; judge it with [`BindingState::at`].
    pub state: BindingState,
    /// From when calls are routed.
    pub valid_from: SystemTime,
    /// What holds beside its end.
    pub terms: BindingTerms,
    /// The longest answered duration.
    pub duration_max: Option<Duration>,
    /// The tenant's own notes.
    pub metadata: Map<String, Value>,
    /// Counts its changes.
    pub version: u64,
    /// When it was made.
    pub created_at: SystemTime,
    /// When it last changed.
    pub updated_at: SystemTime,
}

/// How every query of whole bindings begins: the rest names `b`, the binding.
macro_rules! select_bindings {
    () => {
        "select b.id, b.external_id, b.content_hash, b.mode, b.term, b.policy_ref, b.policy_product,
         b.policy_ends_at, b.subscriber_id, b.number_id, b.virtual_number, b.agent_id,
         b.agent_group, b.state, b.starts_at, b.expires_at, b.suspend_reason, b.ended_at,
         b.valid_from, b.duration_max_s, b.follow_policy, b.idle_ttl_s, b.on_expiry, b.metadata,
         b.version, b.created_at, b.updated_at, s.number_sealed, s.key_sealed
         from binding b
         join subscriber s on s.tenant_id = b.tenant_id and s.id = b.subscriber_id "
    };
}
pub(super) use select_bindings;

#[derive(sqlx::FromRow)]
pub(super) struct BindingRow {
    pub(super) id: Uuid,
    pub(super) external_id: String,
    pub(super) content_hash: Vec<u8>,
    mode: String,
    term: String,
    policy_ref: String,
    policy_product: Option<String>,
    policy_ends_at: Option<Timestamp>,
    subscriber_id: Uuid,
    number_id: Uuid,
    virtual_number: String,
    agent_id: Option<Uuid>,
    agent_group: Option<String>,
    #[sqlx(flatten)]
    state: StateRow,
    valid_from: Timestamp,
    follow_policy: bool,
    idle_ttl_s: Option<i32>,
    on_expiry: String,
    duration_max_s: Option<i32>,
    metadata: Value,
    pub(super) version: i64,
    created_at: Timestamp,
    updated_at: Timestamp,
    number_sealed: Option<Vec<u8>>,
    key_sealed: Option<Vec<u8>>,
}

impl BindingRow {
    pub(super) fn read(self, keys: &TenantKeys) -> Result<BindingRecord, StoreError> {
        let subscriber = SubscriberId::from_u128(self.subscriber_id.as_u128());
        let agent = self.agent_id.map(|id| AgentId::from_u128(id.as_u128()));
        let Value::Object(metadata) = self.metadata else {
            return Err(StoreError::Unreadable { column: "binding.metadata" });
        };
        Ok(BindingRecord {
            id: BindingId::from_u128(self.id.as_u128()),
            external_id: self.external_id,
            mode: label("binding.mode", &self.mode, |mode| BindingMode::find_label(mode, agent))?,
            term: label("binding.term", &self.term, BindingTerm::find_label)?,
            policy: PolicyRef {
                reference: self.policy_ref,
                product: self.policy_product,
                ends_at: self.policy_ends_at.map(from_sql),
            },
            subscriber,
            masked: masked(keys, subscriber, self.number_sealed, self.key_sealed)?,
            number: NumberId::from_u128(self.number_id.as_u128()),
            virtual_number: read_digits(&self.virtual_number)?,
            agent_group: self.agent_group,
            state: self.state.read()?,
            valid_from: from_sql(self.valid_from),
            terms: BindingTerms {
                follow_policy: self.follow_policy,
                idle_ttl: read_seconds(self.idle_ttl_s),
                on_expiry: label("binding.on_expiry", &self.on_expiry, OnExpiry::find_label)?,
            },
            duration_max: read_seconds(self.duration_max_s),
            metadata,
            version: self.version.unsigned_abs(),
            created_at: from_sql(self.created_at),
            updated_at: from_sql(self.updated_at),
        })
    }
}

pub(super) fn read_seconds(seconds: Option<i32>) -> Option<Duration> {
    seconds.map(|seconds| Duration::from_secs(u64::from(seconds.unsigned_abs())))
}

/// Whole seconds as their column.
pub(super) fn write_seconds(duration: Option<Duration>) -> Option<i32> {
    duration.map(|duration| i32::try_from(duration.as_secs()).unwrap_or(i32::MAX))
}

/// A state as its columns, for reading.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(super) struct StateRow {
    pub(super) state: String,
    pub(super) starts_at: Option<Timestamp>,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) suspend_reason: Option<String>,
    pub(super) ended_at: Option<Timestamp>,
}

impl StateRow {
    pub(super) fn read(self) -> Result<BindingState, StoreError> {
        const FACTS: StoreError = StoreError::Unreadable { column: "binding.state" };
        let expires_at = self.expires_at.map(from_sql);
        match self.state.as_str() {
            "pending" => {
                let starts_at = from_sql(self.starts_at.ok_or(FACTS)?);
                Ok(BindingState::Pending { starts_at, expires_at })
            }
            "active" => Ok(BindingState::Active { expires_at }),
            "suspended" => {
                let reason = self.suspend_reason.ok_or(FACTS)?;
                let find = SuspendReason::find_label;
                let reason = label("binding.suspend_reason", &reason, find)?;
                Ok(BindingState::Suspended { reason, expires_at })
            }
            "expired" => {
                Ok(BindingState::Expired { expired_at: from_sql(self.ended_at.ok_or(FACTS)?) })
            }
            "released" => {
                Ok(BindingState::Released { released_at: from_sql(self.ended_at.ok_or(FACTS)?) })
            }
            _ => Err(FACTS),
        }
    }
}

/// A state as its columns, for writing. The check constraints of the table say the same.
#[derive(Clone, Debug)]
pub(super) struct StateColumns {
    pub(super) state: &'static str,
    pub(super) starts_at: Option<Timestamp>,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) suspend_reason: Option<&'static str>,
    pub(super) ended_at: Option<Timestamp>,
}

impl StateColumns {
    pub(super) fn of(state: &BindingState) -> Result<Self, StoreError> {
        let (starts_at, expires_at, reason, ended_at) = match *state {
            BindingState::Pending { starts_at, expires_at } => {
                (Some(starts_at), expires_at, None, None)
            }
            BindingState::Active { expires_at } => (None, expires_at, None, None),
            BindingState::Suspended { reason, expires_at } => {
                (None, expires_at, Some(reason.label()), None)
            }
            BindingState::Expired { expired_at: at }
            | BindingState::Released { released_at: at } => (None, None, None, Some(at)),
        };
        Ok(Self {
            state: state.label(),
            starts_at: to_sql_maybe(starts_at)?,
            expires_at: to_sql_maybe(expires_at)?,
            suspend_reason: reason,
            ended_at: to_sql_maybe(ended_at)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn moment() -> impl Strategy<Value = SystemTime> + Clone {
        (0_u64..4_000_000_000_000_000)
            .prop_map(|micros| SystemTime::UNIX_EPOCH + Duration::from_micros(micros))
    }

    fn state() -> impl Strategy<Value = BindingState> {
        let until = proptest::option::of(moment());
        let reason = prop_oneof![Just(SuspendReason::Tenant), Just(SuspendReason::Operator)];
        prop_oneof![
            (moment(), until.clone()).prop_map(|(starts_at, expires_at)| BindingState::Pending {
                starts_at,
                expires_at
            }),
            until.clone().prop_map(|expires_at| BindingState::Active { expires_at }),
            (reason, until)
                .prop_map(|(reason, expires_at)| BindingState::Suspended { reason, expires_at }),
            moment().prop_map(|expired_at| BindingState::Expired { expired_at }),
            moment().prop_map(|released_at| BindingState::Released { released_at }),
        ]
    }

    proptest! {
        #[test]
        fn a_state_written_is_the_state_read(state in state()) {
            let written = StateColumns::of(&state).expect("inside the calendar");
            let row = StateRow {
                state: written.state.to_owned(),
                starts_at: written.starts_at,
                expires_at: written.expires_at,
                suspend_reason: written.suspend_reason.map(str::to_owned),
                ended_at: written.ended_at,
            };
            prop_assert_eq!(row.read().expect("readable"), state);
        }
    }

    #[test]
    fn a_state_without_its_facts_is_unreadable() {
        for state in ["pending", "suspended", "expired", "released", "gone"] {
            let row = StateRow {
                state: state.to_owned(),
                starts_at: None,
                expires_at: None,
                suspend_reason: None,
                ended_at: None,
            };
            assert!(row.read().is_err(), "{state}");
        }
    }
}
