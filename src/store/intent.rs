//! Call intents: said by an agent's tool before the agent dials, and used up by one attempt. Which
//! attempt that is the database decides, in one statement.

use std::time::{Duration, SystemTime};

use jiff_sqlx::Timestamp;
use sqlx::FromRow;
use uuid::Uuid;

use super::convert::{from_sql, label, to_sql, uuid};
use super::number::read_digits;
use super::page::{Page, PageRequest};
use super::route::{RouteLookup, find_from_insurer};
use super::{RelayPool, Store, StoreError, TenantTx};
use crate::domain::cause::Cause;
use crate::domain::id::{AgentId, BindingId, CallId, IntentId, TenantId};
use crate::domain::number::VirtualNumber;
use crate::domain::purpose::{Announced, Purpose};
use crate::domain::route::{AGENT_MARK, Route};

/// Intents of one agent that wait at one time.
pub const INTENTS_WAITING_MAX: i64 = 100;
/// How long intents are shown after they are over.
pub const INTENT_KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Old intents that are forgotten at one time.
const SWEPT_MAX: i64 = 10_000;

/// An intent.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct IntentRecord {
    pub id: IntentId,
    pub binding: BindingId,
    pub agent: AgentId,
    pub virtual_number: VirtualNumber,
    pub purpose: Purpose,
    pub case_ref: Option<String>,
    pub created_at: SystemTime,
    pub expires_at: SystemTime,
    pub end: IntentEnd,
}

/// How an intent ended, if anybody ended it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum IntentEnd {
    /// It waits until it expires.
    Open,
    /// An attempt has used it up.
    Used {
        /// When.
        at: SystemTime,
        /// Which.
        call: CallId,
    },
    /// It was taken back.
    Cancelled {
        /// When.
        at: SystemTime,
    },
}

/// An intent to be made.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct NewIntent {
    pub id: IntentId,
    pub binding: BindingId,
    pub agent: AgentId,
    pub purpose: Purpose,
    pub case_ref: Option<String>,
    pub ttl: Duration,
}

/// Which intents are listed.
#[derive(Clone, Copy, Debug, Default)]
pub struct IntentFilter {
    /// Of this binding only.
    pub binding: Option<BindingId>,
    /// Of this agent only.
    pub agent: Option<AgentId>,
}

/// What an attempt says when it asks for an intent.
#[derive(Clone, Copy, Debug)]
pub struct IntentAsked {
    /// Whose.
    pub tenant: TenantId,
    /// To whom.
    pub binding: BindingId,
    /// Who dials.
    pub agent: AgentId,
    /// The attempt.
    pub call: CallId,
    /// The very intent that it names; else the oldest is meant.
    pub named: Option<IntentId>,
}

#[derive(FromRow)]
struct Row {
    id: Uuid,
    binding_id: Uuid,
    agent_id: Uuid,
    purpose: String,
    case_ref: Option<String>,
    created_at: Timestamp,
    expires_at: Timestamp,
    cancelled_at: Option<Timestamp>,
    used_at: Option<Timestamp>,
    call_id: Option<Uuid>,
    virtual_number: String,
}

impl Row {
    fn read(self) -> Result<IntentRecord, StoreError> {
        let used = self.used_at.zip(self.call_id);
        let end = match (used, self.cancelled_at) {
            (Some((at, call)), _) => {
                IntentEnd::Used { at: from_sql(at), call: CallId::from_u128(call.as_u128()) }
            }
            (None, Some(at)) => IntentEnd::Cancelled { at: from_sql(at) },
            (None, None) => IntentEnd::Open,
        };
        Ok(IntentRecord {
            id: IntentId::from_u128(self.id.as_u128()),
            binding: BindingId::from_u128(self.binding_id.as_u128()),
            agent: AgentId::from_u128(self.agent_id.as_u128()),
            virtual_number: read_digits(&self.virtual_number)?,
            purpose: label("call_intent.purpose", &self.purpose, Purpose::find_label)?,
            case_ref: self.case_ref,
            created_at: from_sql(self.created_at),
            expires_at: from_sql(self.expires_at),
            end,
        })
    }
}

impl TenantTx {
    /// Makes an intent; `None` when as many of its agent wait as may. Every node looks the routes
    /// of its binding up anew once this is committed.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when there is no such binding or agent.
    pub async fn insert_intent(
        &mut self,
        now: SystemTime,
        new: NewIntent,
    ) -> Result<Option<IntentRecord>, StoreError> {
        // Others that count for this agent wait here.
        sqlx::query("select from agent where tenant_id = $1 and id = $2 for no key update")
            .bind(uuid(self.tenant().as_u128()))
            .bind(uuid(new.agent.as_u128()))
            .execute(self.connection())
            .await?;
        let row: Option<Row> = sqlx::query_as(
            "insert into call_intent (tenant_id, id, binding_id, agent_id, purpose, case_ref,
                 created_at, expires_at)
             select $1, $2, $3, $4, $5, $6, $7, $8
             where (select count(*) from call_intent
                    where tenant_id = $1 and agent_id = $4 and used_at is null
                      and cancelled_at is null and expires_at > $7) < $9
             returning id, binding_id, agent_id, purpose, case_ref, created_at, expires_at,
                 cancelled_at, used_at, call_id,
                 (select b.virtual_number from binding b
                  where b.tenant_id = call_intent.tenant_id and b.id = binding_id)
                     as virtual_number",
        )
        .bind(uuid(self.tenant().as_u128()))
        .bind(uuid(new.id.as_u128()))
        .bind(uuid(new.binding.as_u128()))
        .bind(uuid(new.agent.as_u128()))
        .bind(new.purpose.label())
        .bind(new.case_ref)
        .bind(to_sql(now)?)
        .bind(to_sql(now + new.ttl)?)
        .bind(INTENTS_WAITING_MAX)
        .fetch_optional(self.connection())
        .await?;
        self.forget_binding(new.binding);
        row.map(Row::read).transpose()
    }

    /// The route that a call of this agent to this X would take now, without the trunks of the
    /// platform; or why there is none.
    ///
    /// # Errors
    /// [`StoreError`] when the database or the vault fails.
    pub async fn find_agent_route(
        &mut self,
        dialled: &VirtualNumber,
        agent: AgentId,
    ) -> Result<Result<Route, Cause>, StoreError> {
        let tenant = self.tenant();
        let caller = format!("{AGENT_MARK}{agent}");
        let found = find_from_insurer(self.connection(), tenant, dialled, &caller).await?;
        match found {
            RouteLookup::Found(record) => Ok(Ok(record.open(&self.vault, None)?)),
            RouteLookup::Missing { why, .. } => Ok(Err(why.cause())),
        }
    }

    /// Finds an intent of this tenant.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    pub async fn find_intent(&mut self, id: IntentId) -> Result<Option<IntentRecord>, StoreError> {
        let row: Option<Row> = sqlx::query_as(
            "select id, binding_id, agent_id, purpose, case_ref, created_at, expires_at,
                 cancelled_at, used_at, call_id,
                 (select b.virtual_number from binding b
                  where b.tenant_id = call_intent.tenant_id and b.id = binding_id)
                     as virtual_number
             from call_intent where tenant_id = $1 and id = $2",
        )
        .bind(uuid(self.tenant().as_u128()))
        .bind(uuid(id.as_u128()))
        .fetch_optional(self.connection())
        .await?;
        row.map(Row::read).transpose()
    }

    /// Lists intents, newest first.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    pub async fn list_intents(
        &mut self,
        filter: IntentFilter,
        page: PageRequest,
    ) -> Result<Page<IntentRecord>, StoreError> {
        self.plan_for_values().await?;
        let rows: Vec<Row> = sqlx::query_as(
            "select id, binding_id, agent_id, purpose, case_ref, created_at, expires_at,
                 cancelled_at, used_at, call_id,
                 (select b.virtual_number from binding b
                  where b.tenant_id = call_intent.tenant_id and b.id = binding_id)
                     as virtual_number
             from call_intent
             where tenant_id = $1 and id < $2 and ($3::uuid is null or binding_id = $3)
                 and ($4::uuid is null or agent_id = $4)
             order by id desc limit $5",
        )
        .bind(uuid(self.tenant().as_u128()))
        .bind(page.before())
        .bind(filter.binding.map(|id| uuid(id.as_u128())))
        .bind(filter.agent.map(|id| uuid(id.as_u128())))
        .bind(page.fetch())
        .fetch_all(self.connection())
        .await?;
        let intents = rows.into_iter().map(Row::read).collect::<Result<Vec<_>, _>>()?;
        Ok(page.page(intents, |intent: &IntentRecord| intent.id.as_u128()))
    }

    /// Takes an intent back that still waits; false when it does not, or is not there.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    pub async fn cancel_intent(
        &mut self,
        now: SystemTime,
        id: IntentId,
    ) -> Result<bool, StoreError> {
        let cancelled = sqlx::query(
            "update call_intent set cancelled_at = $3
             where tenant_id = $1 and id = $2 and used_at is null and cancelled_at is null
                 and expires_at > $3",
        )
        .bind(uuid(self.tenant().as_u128()))
        .bind(uuid(id.as_u128()))
        .bind(to_sql(now)?)
        .execute(self.connection())
        .await?
        .rows_affected();
        Ok(cancelled > 0)
    }
}

impl Store {
    /// Forgets intents that have been over for long.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    pub async fn sweep_intents(&self, now: SystemTime) -> Result<u64, StoreError> {
        let mut tx = self.platform().await?;
        let swept = sqlx::query(
            "delete from call_intent where (tenant_id, id) in (
                 select tenant_id, id from call_intent where expires_at <= $1
                 order by expires_at limit $2)",
        )
        .bind(to_sql(now.checked_sub(INTENT_KEPT).unwrap_or(SystemTime::UNIX_EPOCH))?)
        .bind(SWEPT_MAX)
        .execute(tx.connection())
        .await?
        .rows_affected();
        tx.commit().await?;
        Ok(swept)
    }
}

/// An attempt that asks twice, since the first answer could not be used, gets the same.
const USE: &str = "
with mine as (
    select i.id, i.purpose from call_intent i where i.tenant_id = $1 and i.call_id = $4
), used as (
    update call_intent set used_at = $5, call_id = $4
    where not exists (select from mine) and tenant_id = $1 and id = (
        select i.id from call_intent i
        where i.tenant_id = $1 and i.binding_id = $2 and i.agent_id = $3 and i.used_at is null
          and i.cancelled_at is null and i.expires_at > $5 and ($6::uuid is null or i.id = $6)
        order by i.id limit 1 for update skip locked)
    returning id, purpose
)
select id, purpose from mine union all select id, purpose from used";

impl RelayPool {
    /// Uses the oldest intent up that waits for this attempt, or the one that it names. Of attempts
    /// that ask at the same time each gets another one, or none.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away; it is then unknown whether one was used up.
    pub async fn use_intent(
        &self,
        now: SystemTime,
        asked: IntentAsked,
    ) -> Result<Option<Announced>, StoreError> {
        let row: Option<(Uuid, String)> = sqlx::query_as(USE)
            .bind(uuid(asked.tenant.as_u128()))
            .bind(uuid(asked.binding.as_u128()))
            .bind(uuid(asked.agent.as_u128()))
            .bind(uuid(asked.call.as_u128()))
            .bind(to_sql(now)?)
            .bind(asked.named.map(|id| uuid(id.as_u128())))
            .fetch_optional(&self.0)
            .await?;
        let read = |(id, purpose): (Uuid, String)| {
            let purpose = label("call_intent.purpose", &purpose, Purpose::find_label)?;
            Ok(Announced { intent: IntentId::from_u128(id.as_u128()), purpose })
        };
        row.map(read).transpose()
    }
}
