//! A new binding: the subscriber is found or made, an X is taken, and a repeat changes nothing.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};

use super::take::Taken;
use super::terms::idle_check_at;
use super::{BindingMode, BindingRecord, BindingTerm, BindingTerms, PolicyRef, told};
use crate::domain::binding::BindingState;
use crate::domain::event::EventKind;
use crate::domain::id::{BindingId, PoolId, SubscriberId};
use crate::domain::number::{RealNumber, VirtualNumber};
use crate::store::binding_row::{BindingRow, StateColumns, select_bindings, write_seconds};
use crate::store::convert::{to_jiff, to_sql, to_sql_maybe, to_stored_precision, unix_ms, uuid};
use crate::store::error::StoreError;
use crate::store::subscriber::NewSubscriber;
use crate::store::{TenantFacts, TenantTx};
use crate::vault::random_u128;

/// So often an X is chosen for a pair while others put one of the two on what was chosen.
const PAIR_TRIES_MAX: u32 = 16;

/// What a tenant asks for.
#[derive(Debug)]
pub struct NewBinding {
    /// The tenant's own name for it; the same name with the same content is the same binding.
    pub external_id: String,
    /// How it ties.
    pub mode: BindingMode,
    /// How long.
    pub term: BindingTerm,
    /// For which policy.
    pub policy: PolicyRef,
    /// Whom it protects.
    pub subscriber: SubscriberChoice,
    /// Which X.
    pub number: NumberChoice,
    /// Agents of this group only.
    pub agent_group: Option<String>,
    /// From when on; from now on when absent.
    pub valid_from: Option<SystemTime>,
    /// Until when; a short term needs it.
    pub valid_until: Option<SystemTime>,
    /// What holds beside its end.
    pub terms: BindingTerms,
    /// The longest answered duration, in whole seconds.
    pub duration_max: Option<Duration>,
    /// The tenant's own notes.
    pub metadata: Map<String, Value>,
}

/// Whom a new binding protects.
#[derive(Debug)]
pub enum SubscriberChoice {
    /// Somebody known.
    Existing(SubscriberId),
    /// The owner of this number, known or not.
    Number(RealNumber),
}

/// Which X a new binding gets.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum NumberChoice {
    /// A free one, of this pool and city if they are named.
    Free {
        /// Of this pool only.
        pool: Option<PoolId>,
        /// Of pools of this city only.
        city: Option<String>,
        /// Of any other city where that one has none.
        elsewhere: bool,
    },
    /// This one.
    Exact(VirtualNumber),
}

/// What became of a new binding.
#[derive(Clone, Debug, PartialEq)]
pub enum BindOutcome {
    /// Made.
    Created(Box<BindingRecord>),
    /// The same was asked for before; nothing was changed.
    Existing(Box<BindingRecord>),
    /// The name stands for another content.
    ExternalIdTaken,
    /// This tenant has no such subscriber, or it was erased.
    SubscriberUnknown,
    /// This tenant has no such agent.
    AgentUnknown,
    /// This tenant binds to subscribers that others enrol.
    RealNumbersRefused,
    /// A suspended tenant makes no new bindings.
    TenantSuspended,
    /// The end lies before the start or has passed, or a short term has none.
    TermInvalid,
    /// There is no such pool.
    PoolUnknown,
    /// The pool is not of that city, or no pool is.
    CityUnknown,
    /// No number of the pool is free for this tenant.
    PoolEmpty,
    /// The subscriber's number is a virtual number of ours, of whatever tenant.
    SubscriberVirtual,
    /// That X rests after a binding of this tenant's own, with somebody else.
    NumberCooling,
    /// That X is not free for this tenant: taken, resting, foreign or unknown, which all look
    /// alike.
    NumberTaken,
}

/// The rest says what to do about a row that clashes.
macro_rules! insert_binding {
    ($rest:literal) => {
        concat!(
            "insert into binding (tenant_id, id, external_id, content_hash, mode, term, policy_ref,
                 policy_product, policy_ends_at, subscriber_id, number_id, virtual_number,
                 agent_group, state, starts_at, expires_at, suspend_reason, ended_at, valid_from,
                 duration_max_s, metadata, created_at, updated_at, follow_policy, idle_ttl_s,
                 idle_check_at, on_expiry, agent_id)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17,
                 $18, $19, $20, $21, $22, $22, $23, $24, $25, $26, $27)",
            $rest
        )
    };
}

impl TenantTx {
    /// Binds an X to a subscriber. Any outcome but `Created` has changed nothing.
    ///
    /// # Errors
    /// [`StoreError`] when the database or the vault fails.
    pub async fn bind(
        &mut self,
        now: SystemTime,
        new: NewBinding,
    ) -> Result<BindOutcome, StoreError> {
        let facts = self.facts().await?;
        self.lock_external_id(&new.external_id).await?;
        if let Some(row) = self.find_external_id(&new.external_id).await? {
            let hash = match self.find_chosen(&facts, &new.subscriber).await? {
                Some((id, _)) => content_hash(&new, id)?,
                None => return Ok(BindOutcome::ExternalIdTaken),
            };
            if row.content_hash != hash {
                return Ok(BindOutcome::ExternalIdTaken);
            }
            return Ok(BindOutcome::Existing(Box::new(row.read(&facts.keys)?)));
        }
        let Some(state) = first_state(&new, now) else { return Ok(BindOutcome::TermInvalid) };
        if !facts.active {
            return Ok(BindOutcome::TenantSuspended);
        }
        if matches!(new.subscriber, SubscriberChoice::Number(_)) && !facts.accept_real_numbers {
            return Ok(BindOutcome::RealNumbersRefused);
        }
        let found = self.find_chosen(&facts, &new.subscriber).await?;
        if found.is_none() && matches!(new.subscriber, SubscriberChoice::Existing(_)) {
            return Ok(BindOutcome::SubscriberUnknown);
        }
        // Not of somebody known: the operator could import numbers, and hear whose they are.
        if let SubscriberChoice::Number(number) = &new.subscriber
            && self.is_virtual(number).await?
        {
            return Ok(BindOutcome::SubscriberVirtual);
        }
        if let Some(agent) = new.mode.agent()
            && self.find_agent(agent).await?.is_none()
        {
            return Ok(BindOutcome::AgentUnknown);
        }
        let (mode, number) = (new.mode, new.number.clone());
        let returning = found.as_ref().map(|(subscriber, _)| *subscriber);
        let taken = match self.take(now, &number, mode, returning).await? {
            Ok(taken) => taken,
            Err(outcome) => return Ok(outcome),
        };
        let (subscriber, masked) = match found {
            Some(found) => found,
            None => self.enrol(now, &facts, &new.subscriber).await?,
        };
        let hash = content_hash(&new, subscriber)?;
        let mut binding = record(now, new, state, taken, (subscriber, masked))?;
        let mut tries = PAIR_TRIES_MAX;
        while !self.insert_binding(&binding, &hash).await? {
            // Somebody else has put one of the two on this X meanwhile.
            tries -= 1;
            match self.take(now, &number, mode, Some(subscriber)).await? {
                Ok(taken) if tries > 0 => {
                    (binding.number, binding.virtual_number) = (taken.id, taken.digits);
                }
                // No outcome: the subscriber may be written already.
                Ok(_) | Err(_) => return Err(StoreError::conflict("binding_live_agent")),
            }
        }
        // No warning to cached routes: that nobody is reached by X is never remembered.
        self.emit(now, told(EventKind::BindingCreated, &binding)).await?;
        Ok(BindOutcome::Created(Box::new(binding)))
    }

    /// Two requests with one name wait for each other, so that the second finds the first.
    async fn lock_external_id(&mut self, external_id: &str) -> Result<(), StoreError> {
        let tenant = uuid(self.tenant().as_u128()).to_string();
        sqlx::query("select pg_advisory_xact_lock(hashtextextended($1 || $2, 0))")
            .bind(tenant)
            .bind(external_id)
            .execute(self.connection())
            .await?;
        Ok(())
    }

    async fn find_external_id(&mut self, name: &str) -> Result<Option<BindingRow>, StoreError> {
        Ok(sqlx::query_as(concat!(
            select_bindings!(),
            "where b.tenant_id = $1 and b.external_id = $2"
        ))
        .bind(uuid(self.tenant().as_u128()))
        .bind(name)
        .fetch_optional(self.connection())
        .await?)
    }

    async fn find_chosen(
        &mut self,
        facts: &TenantFacts,
        choice: &SubscriberChoice,
    ) -> Result<Option<(SubscriberId, String)>, StoreError> {
        let found = match choice {
            SubscriberChoice::Existing(id) => self.find_subscriber(*id).await?,
            SubscriberChoice::Number(number) => self.find_by_number(&facts.keys, number).await?,
        };
        Ok(found.and_then(|subscriber| Some((subscriber.id, subscriber.masked?))))
    }

    async fn enrol(
        &mut self,
        now: SystemTime,
        facts: &TenantFacts,
        choice: &SubscriberChoice,
    ) -> Result<(SubscriberId, String), StoreError> {
        if let SubscriberChoice::Number(number) = choice {
            let new = NewSubscriber::default();
            if let Some(created) = self.insert_subscriber(now, facts, number, &new).await? {
                return Ok((created.id, number.masked()));
            }
        }
        // Somebody else has made it at this moment.
        let found = self.find_chosen(facts, choice).await?;
        found.ok_or(StoreError::from(sqlx::Error::RowNotFound))
    }

    /// Writes a binding down, unless its X serves one party of the pair already.
    async fn insert_binding(
        &mut self,
        binding: &BindingRecord,
        content_hash: &[u8],
    ) -> Result<bool, StoreError> {
        let state = StateColumns::of(&binding.state)?;
        let statement = match binding.mode {
            BindingMode::Ax => insert_binding!(""),
            BindingMode::Axb { .. } => insert_binding!(" on conflict do nothing"),
        };
        let written = sqlx::query(statement)
            .bind(uuid(self.tenant().as_u128()))
            .bind(uuid(binding.id.as_u128()))
            .bind(&binding.external_id)
            .bind(content_hash)
            .bind(binding.mode.label())
            .bind(binding.term.label())
            .bind(&binding.policy.reference)
            .bind(&binding.policy.product)
            .bind(to_sql_maybe(binding.policy.ends_at)?)
            .bind(uuid(binding.subscriber.as_u128()))
            .bind(uuid(binding.number.as_u128()))
            .bind(binding.virtual_number.as_str())
            .bind(&binding.agent_group)
            .bind(state.state)
            .bind(state.starts_at)
            .bind(state.expires_at)
            .bind(state.suspend_reason)
            .bind(state.ended_at)
            .bind(to_sql(binding.valid_from)?)
            .bind(write_seconds(binding.duration_max))
            .bind(Value::Object(binding.metadata.clone()))
            .bind(to_sql(binding.created_at)?)
            .bind(binding.terms.follow_policy)
            .bind(write_seconds(binding.terms.idle_ttl))
            .bind(to_sql_maybe(idle_check_at(binding))?)
            .bind(binding.terms.on_expiry.label())
            .bind(binding.mode.agent().map(|agent| uuid(agent.as_u128())))
            .execute(self.connection())
            .await?;
        Ok(written.rows_affected() == 1)
    }
}

/// Absent when the times contradict each other.
pub(super) fn first_state(new: &NewBinding, now: SystemTime) -> Option<BindingState> {
    let until = if new.terms.follow_policy { new.policy.ends_at } else { new.valid_until };
    let expires_at = until.map(to_stored_precision);
    let starts_at = new.valid_from.map(to_stored_precision).filter(|from| *from > now);
    let needs_end = new.term == BindingTerm::Short || new.terms.follow_policy;
    if needs_end && expires_at.is_none()
        || expires_at.is_some_and(|until| until <= starts_at.unwrap_or(now))
    {
        return None;
    }
    Some(match starts_at {
        Some(starts_at) => BindingState::Pending { starts_at, expires_at },
        None => BindingState::Active { expires_at },
    })
}

pub(super) fn record(
    now: SystemTime,
    new: NewBinding,
    state: BindingState,
    taken: Taken,
    (subscriber, masked): (SubscriberId, String),
) -> Result<BindingRecord, StoreError> {
    let created_at = to_stored_precision(now);
    let ends_at = new.policy.ends_at.map(to_stored_precision);
    Ok(BindingRecord {
        id: BindingId::new(unix_ms(now), random_u128()?),
        external_id: new.external_id,
        mode: new.mode,
        term: new.term,
        policy: PolicyRef { ends_at, ..new.policy },
        subscriber,
        masked: Some(masked),
        number: taken.id,
        virtual_number: taken.digits,
        agent_group: new.agent_group,
        state,
        valid_from: new.valid_from.map_or(created_at, to_stored_precision),
        terms: new.terms,
        duration_max: new.duration_max.map(|max| Duration::from_secs(max.as_secs())),
        metadata: new.metadata,
        version: 1,
        created_at,
        updated_at: created_at,
    })
}

/// A digest of everything that was asked for. The subscriber stands for its number: no digest of a
/// number may be stored that a list of all numbers could undo.
pub(super) fn content_hash(
    new: &NewBinding,
    subscriber: SubscriberId,
) -> Result<Vec<u8>, StoreError> {
    let moment = |at: Option<SystemTime>| {
        at.map(|at| to_jiff(to_stored_precision(at)).map(|at| at.to_string())).transpose()
    };
    let number = match &new.number {
        NumberChoice::Free { pool, city, elsewhere: false } => {
            json!([pool.map(|id| id.to_string()), city])
        }
        NumberChoice::Free { pool, city, elsewhere: true } => {
            json!([pool.map(|id| id.to_string()), city, "elsewhere"])
        }
        NumberChoice::Exact(digits) => json!(digits.as_str()),
    };
    let mut content = json!([
        new.mode.label(),
        new.term.label(),
        new.policy.reference,
        new.policy.product,
        moment(new.policy.ends_at)?,
        subscriber.to_string(),
        number,
        new.agent_group,
        moment(new.valid_from)?,
        moment(new.valid_until)?,
        new.duration_max.map(|max| max.as_secs()),
        new.metadata,
    ]);
    // Digests of before there were terms stay what they were.
    if let (true, Value::Array(content)) = (new.terms != BindingTerms::default(), &mut content) {
        let BindingTerms { follow_policy, idle_ttl, on_expiry } = new.terms;
        let idle_ttl_s = idle_ttl.map(|ttl| ttl.as_secs());
        content.push(json!([follow_policy, idle_ttl_s, on_expiry.label()]));
    }
    if let (Some(agent), Value::Array(content)) = (new.mode.agent(), &mut content) {
        content.push(json!(agent.to_string()));
    }
    let digest =
        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, content.to_string().as_bytes());
    Ok(digest.as_ref().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::AgentId;

    fn hash(mode: BindingMode) -> String {
        let new = NewBinding {
            external_id: "E-1".to_owned(),
            mode,
            term: BindingTerm::Long,
            policy: PolicyRef { reference: "P-1".to_owned(), product: None, ends_at: None },
            subscriber: SubscriberChoice::Existing(SubscriberId::new(1, 1)),
            number: NumberChoice::Free { pool: None, city: None, elsewhere: false },
            agent_group: None,
            valid_from: None,
            valid_until: None,
            terms: BindingTerms::default(),
            duration_max: None,
            metadata: Map::new(),
        };
        let hash = content_hash(&new, SubscriberId::new(1, 1)).expect("inside the calendar");
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn digests_of_before_there_were_pairs_stay_what_they_were() {
        let before = "2368a3da32b7b16e055a3aadb7954190861dc056b7d900d1cad4b7c9f1a497d9";
        assert_eq!(hash(BindingMode::Ax), before);
        let pair = |n| hash(BindingMode::Axb { agent: AgentId::new(1, n) });
        assert_ne!(pair(1), before);
        assert_ne!(pair(1), pair(2));
    }
}
