//! What the self-service menu reads and does for a subscriber: the last callers, codes of calls,
//! pauses, blocked agents, complaints. Each change, its event and the warning of cached routes
//! share one transaction.

use std::time::{Duration, SystemTime};

use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::complaint::{self, NewComplaint};
use super::convert::{label, to_sql, uuid};
use super::error::StoreError;
use super::outbox::{self, NewEvent};
use super::{ROUTES_CHANNEL, RelayPool};
use crate::domain::event::EventKind;
use crate::domain::id::{AgentId, BindingId, CallId, EventId};
use crate::domain::menu::{
    CallCode, MenuAnswer, MenuQuestion, MenuRequest, PAST_CALLS_MAX, PAUSE_DAYS, PastCall,
};
use crate::domain::purpose::Purpose;
use crate::vault::CallCodeHasher;

/// Wrong codes in a row, over all calls of a subscriber, before none is looked at any more.
pub const WRONG_CODES_MAX: i16 = 5;
/// For so long.
pub const LOCKED_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// So long a code is known; and so far back calls are told of.
pub const CODE_DAYS: u32 = 30;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The calls of one subscriber that have reached its phone, latest first. Identifiers grow with
/// time, so they bound the partitions that are read.
const LAST_CALLS: &str = "
select c.id, c.binding_id, c.agent_id, coalesce(c.purpose, 'unspecified') as purpose,
       ($3::timestamptz at time zone s.time_zone)::date
           - (c.started_at at time zone s.time_zone)::date as days_ago
from subscriber s
join binding b on b.tenant_id = s.tenant_id and b.subscriber_id = s.id
cross join lateral (
    select * from cdr
    where tenant_id = b.tenant_id and binding_id = b.id and id >= uuid_floor($4)
      and direction = 'to_subscriber'
      and (ringing_at is not null or callee_answered_at is not null)
    order by id desc limit $5
) as c
where s.tenant_id = $1 and s.id = $2
order by c.id desc limit $5";

/// The call of a code.
const CALL_OF_CODE: &str = "
select c.id, c.binding_id, c.agent_id, coalesce(c.purpose, 'unspecified') as purpose,
       ($3::timestamptz at time zone s.time_zone)::date
           - (c.started_at at time zone s.time_zone)::date as days_ago
from call_code k
join subscriber s on s.tenant_id = k.tenant_id and s.id = k.subscriber_id
join cdr c on c.tenant_id = k.tenant_id and c.id = k.call_id
where k.tenant_id = $1 and k.subscriber_id = $2 and k.spoken_at >= $4 and k.code_hash = $5
order by k.spoken_at desc limit 1";

/// Whether the subscriber has heard a code lately that nobody knows: one that a program of before
/// has written, or that was forgotten when codes became hashes.
const HAS_LOST_CODES: &str = "
select exists (
    select from call_code
    where tenant_id = $1 and subscriber_id = $2 and spoken_at >= $3 and code_hash is null
) or exists (
    select from call_code_loss l, binding b, cdr c
    where b.tenant_id = $1 and b.subscriber_id = $2
      and c.tenant_id = b.tenant_id and c.binding_id = b.id and c.id >= uuid_floor($3)
      and c.started_at < l.lost_at and c.whisper is not null
)";

#[derive(sqlx::FromRow)]
struct CallRow {
    id: Uuid,
    binding_id: Option<Uuid>,
    agent_id: Option<Uuid>,
    purpose: String,
    days_ago: i32,
}

impl CallRow {
    fn purpose(&self) -> Result<Purpose, StoreError> {
        label("cdr.purpose", &self.purpose, Purpose::find_label)
    }

    fn read(&self) -> Result<PastCall, StoreError> {
        let days_ago = u16::try_from(self.days_ago.max(0)).unwrap_or(u16::MAX);
        Ok(PastCall { purpose: self.purpose()?, days_ago })
    }
}

impl RelayPool {
    /// Answers what a subscriber asks for at `now`. What is to be done is durable when it is
    /// answered.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses or is away.
    pub async fn answer_menu(
        &self,
        now: SystemTime,
        question: &MenuQuestion,
    ) -> Result<MenuAnswer, StoreError> {
        let mut transaction = self.0.begin().await?;
        let asked = Asked { now, question, codes: self.2.as_ref() };
        let connection = &mut *transaction;
        let answer = match question.request {
            MenuRequest::Check(code) => asked.check(connection, code).await?,
            MenuRequest::Callers => asked.callers(connection).await?,
            MenuRequest::Pause => asked.pause(connection).await?,
            MenuRequest::BlockLast => asked.block_last(connection).await?,
            MenuRequest::ReportLast => asked.report_last(connection).await?,
        };
        transaction.commit().await?;
        Ok(answer)
    }
}

/// A question at its time.
struct Asked<'q> {
    now: SystemTime,
    question: &'q MenuQuestion,
    codes: Option<&'q CallCodeHasher>,
}

impl Asked<'_> {
    fn tenant(&self) -> Uuid {
        uuid(self.question.tenant.as_u128())
    }

    fn subscriber(&self) -> Uuid {
        uuid(self.question.subscriber.as_u128())
    }

    fn hash(&self, codes: &CallCodeHasher, code: &CallCode) -> Vec<u8> {
        codes.hash(self.question.tenant, self.question.subscriber, code)
    }

    fn long_ago(&self) -> Result<jiff_sqlx::Timestamp, StoreError> {
        to_sql(self.now.checked_sub(CODE_DAYS * DAY).unwrap_or(SystemTime::UNIX_EPOCH))
    }

    async fn last_calls(
        &self,
        connection: &mut PgConnection,
        count: usize,
    ) -> Result<Vec<CallRow>, StoreError> {
        let rows = sqlx::query_as(LAST_CALLS)
            .bind(self.tenant())
            .bind(self.subscriber())
            .bind(to_sql(self.now)?)
            .bind(self.long_ago()?)
            .bind(i64::try_from(count).unwrap_or(i64::MAX))
            .fetch_all(connection)
            .await?;
        Ok(rows)
    }

    async fn callers(&self, connection: &mut PgConnection) -> Result<MenuAnswer, StoreError> {
        let calls = self.last_calls(connection, PAST_CALLS_MAX).await?;
        let calls: Result<_, _> = calls.iter().map(CallRow::read).collect();
        Ok(MenuAnswer::Callers(calls?))
    }

    async fn check(
        &self,
        connection: &mut PgConnection,
        code: CallCode,
    ) -> Result<MenuAnswer, StoreError> {
        sqlx::query(
            "insert into code_try (tenant_id, subscriber_id, wrong) values ($1, $2, 0)
             on conflict (tenant_id, subscriber_id) do nothing",
        )
        .bind(self.tenant())
        .bind(self.subscriber())
        .execute(&mut *connection)
        .await?;
        let (wrong, is_locked): (i16, bool) = sqlx::query_as(
            "select wrong, coalesce(locked_until > $3, false) from code_try
             where tenant_id = $1 and subscriber_id = $2 for update",
        )
        .bind(self.tenant())
        .bind(self.subscriber())
        .bind(to_sql(self.now)?)
        .fetch_one(&mut *connection)
        .await?;
        if is_locked {
            return Ok(MenuAnswer::Locked);
        }
        let call: Option<CallRow> = sqlx::query_as(CALL_OF_CODE)
            .bind(self.tenant())
            .bind(self.subscriber())
            .bind(to_sql(self.now)?)
            .bind(self.long_ago()?)
            .bind(self.codes.map(|codes| self.hash(codes, &code)))
            .fetch_optional(&mut *connection)
            .await?;
        let is_uncertain = call.is_none()
            && sqlx::query_scalar(HAS_LOST_CODES)
                .bind(self.tenant())
                .bind(self.subscriber())
                .bind(self.long_ago()?)
                .fetch_one(&mut *connection)
                .await?;
        // Whoever guesses learns nothing from that, and has no more tries for it.
        let wrong = if call.is_some() { 0 } else { wrong + 1 };
        let is_too_much = wrong >= WRONG_CODES_MAX;
        sqlx::query(
            "update code_try set wrong = $3, locked_until = $4
             where tenant_id = $1 and subscriber_id = $2",
        )
        .bind(self.tenant())
        .bind(self.subscriber())
        .bind(if is_too_much { 0 } else { wrong })
        .bind(is_too_much.then(|| to_sql(self.now + LOCKED_FOR)).transpose()?)
        .execute(connection)
        .await?;
        if is_uncertain {
            return Ok(MenuAnswer::Uncertain);
        }
        Ok(MenuAnswer::Checked(call.as_ref().map(CallRow::read).transpose()?))
    }

    async fn pause(&self, connection: &mut PgConnection) -> Result<MenuAnswer, StoreError> {
        let until = self.now + PAUSE_DAYS.unsigned_abs() * DAY;
        sqlx::query(
            "insert into subscriber_pause as p
                 (tenant_id, subscriber_id, since, until, source, call_id)
             values ($1, $2, $3, $4, 'menu', $5)
             on conflict (tenant_id, subscriber_id) do update
             set since = excluded.since, until = greatest(p.until, excluded.until),
                 source = excluded.source, call_id = excluded.call_id",
        )
        .bind(self.tenant())
        .bind(self.subscriber())
        .bind(to_sql(self.now)?)
        .bind(to_sql(until)?)
        .bind(uuid(self.question.call.as_u128()))
        .execute(&mut *connection)
        .await?;
        let data = json!({
            "subscriber": self.question.subscriber.to_string(),
            "call": self.question.call.to_string(),
            "until": super::convert::to_jiff(until)?.to_string(),
            "source": SOURCE,
        });
        let subject = self.question.subscriber.as_u128();
        self.emit(connection, NewEvent { kind: EventKind::SubscriberPaused, subject, data })
            .await?;
        self.warn_routes(connection).await?;
        Ok(MenuAnswer::Done)
    }

    async fn block_last(&self, connection: &mut PgConnection) -> Result<MenuAnswer, StoreError> {
        let last = self.last_calls(&mut *connection, 1).await?;
        let Some((call, agent)) = last.first().and_then(|call| Some((call, call.agent_id?))) else {
            return Ok(MenuAnswer::NoCalls);
        };
        let is_new = sqlx::query(
            "insert into agent_block (tenant_id, subscriber_id, agent_id, since, source, call_id)
             values ($1, $2, $3, $4, 'menu', $5)
             on conflict (tenant_id, subscriber_id, agent_id) do nothing",
        )
        .bind(self.tenant())
        .bind(self.subscriber())
        .bind(agent)
        .bind(to_sql(self.now)?)
        .bind(call.id)
        .execute(&mut *connection)
        .await?
        .rows_affected();
        if is_new > 0 {
            let data = json!({
                "subscriber": self.question.subscriber.to_string(),
                "agent": AgentId::from_u128(agent.as_u128()).to_string(),
                "call": CallId::from_u128(call.id.as_u128()).to_string(),
                "source": SOURCE,
            });
            let subject = self.question.subscriber.as_u128();
            self.emit(connection, NewEvent { kind: EventKind::BlockCreated, subject, data })
                .await?;
            self.warn_routes(connection).await?;
        }
        Ok(MenuAnswer::Done)
    }

    /// The same call is reported once, however often it is asked for.
    async fn report_last(&self, connection: &mut PgConnection) -> Result<MenuAnswer, StoreError> {
        let last = self.last_calls(&mut *connection, 1).await?;
        let Some(call) = last.first() else { return Ok(MenuAnswer::NoCalls) };
        let new = NewComplaint {
            tenant: self.question.tenant,
            subscriber: self.question.subscriber,
            binding: call.binding_id.map(|id| BindingId::from_u128(id.as_u128())),
            agent: call.agent_id.map(|id| AgentId::from_u128(id.as_u128())),
            call: CallId::from_u128(call.id.as_u128()),
            purpose: call.purpose()?,
            source: SOURCE,
            at: self.now,
        };
        complaint::open(&mut *connection, new).await?;
        Ok(MenuAnswer::Done)
    }

    async fn emit(
        &self,
        connection: &mut PgConnection,
        event: NewEvent,
    ) -> Result<EventId, StoreError> {
        outbox::insert(connection, self.question.tenant, self.now, event).await
    }

    /// Every node looks up anew who may call the subscriber, as soon as this is durable.
    async fn warn_routes(&self, connection: &mut PgConnection) -> Result<(), StoreError> {
        sqlx::query(
            "select pg_notify($3, 'binding ' || nextval('route_version') || ' ? ' || id
                                  || ' changed')
             from binding where tenant_id = $1 and subscriber_id = $2 and ended_at is null",
        )
        .bind(self.tenant())
        .bind(self.subscriber())
        .bind(ROUTES_CHANNEL)
        .execute(connection)
        .await?;
        Ok(())
    }
}

/// How it came to us, as the tenant is told.
const SOURCE: &str = "menu";
