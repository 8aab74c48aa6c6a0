//! Webhook deliveries: which wait, which a node has taken, and what became of each attempt.

use std::time::{Duration, SystemTime};

use jiff_sqlx::Timestamp;
use serde_json::{Value, json};
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::convert::{from_sql, to_jiff, to_sql, unix_ms, uuid};
use super::outbox::{self, Event, NewEvent};
use super::page::{Page, PageRequest};
use super::{RelayPool, Store, StoreError};
use crate::domain::event::EventKind;
use crate::domain::id::{DeliveryId, EventId, TenantId, WebhookId};
use crate::vault::{Cell, Column, Vault, random_u128};

/// How long a node has to tell what became of a delivery; then another one takes it.
pub const LEASE_TIME: Duration = Duration::from_secs(60);
/// Attempts at one time to an endpoint that takes what it is told.
pub const ENDPOINT_SLOTS: i64 = 8;
/// Attempts at one time to an endpoint that has just failed: it is probed, and holds up nobody.
pub const FAILING_SLOTS: i64 = 1;
/// An endpoint that has taken nothing for so long is disabled.
pub const FAILING_TIME: Duration = Duration::from_secs(5 * 24 * 3_600);
/// How long deliveries are kept, whatever became of them.
pub const KEEP_TIME: Duration = Duration::from_secs(30 * 24 * 3_600);
/// The most deliveries that one sweep removes.
pub const SWEEP_MAX: i64 = 5_000;

/// A delivery as the tenant sees it.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct Delivery {
    pub id: DeliveryId,
    pub endpoint: WebhookId,
    pub event: EventId,
    pub event_type: String,
    pub sequence: u64,
    /// `pending`, `delivered` or `dead`.
    pub state: String,
    /// When it is tried next, if it is.
    pub next_at: Option<SystemTime>,
    /// One object for each attempt.
    pub log: Value,
    pub created_at: SystemTime,
    pub done_at: Option<SystemTime>,
}

#[derive(FromRow)]
struct Row {
    id: Uuid,
    endpoint_id: Uuid,
    event_id: Uuid,
    event_type: String,
    sequence: i64,
    state: String,
    next_at: Timestamp,
    log: Value,
    created_at: Timestamp,
    done_at: Option<Timestamp>,
}

impl From<Row> for Delivery {
    fn from(row: Row) -> Self {
        Self {
            id: DeliveryId::from_u128(row.id.as_u128()),
            endpoint: WebhookId::from_u128(row.endpoint_id.as_u128()),
            event: EventId::from_u128(row.event_id.as_u128()),
            event_type: row.event_type,
            sequence: row.sequence.unsigned_abs(),
            next_at: row.done_at.is_none().then(|| from_sql(row.next_at)),
            state: row.state,
            log: row.log,
            created_at: from_sql(row.created_at),
            done_at: row.done_at.map(from_sql),
        }
    }
}

impl Store {
    /// A page of what was and will be told to an endpoint, newest first.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    pub async fn list_deliveries(
        &self,
        tenant: TenantId,
        endpoint: WebhookId,
        state: Option<&str>,
        page: PageRequest,
    ) -> Result<Page<Delivery>, StoreError> {
        let mut tx = self.tenant(tenant).await?;
        tx.plan_for_values().await?;
        let rows: Vec<Row> = sqlx::query_as(
            "select id, endpoint_id, event_id, event_type, sequence, state, next_at, log,
                    created_at, done_at
             from webhook_delivery
             where tenant_id = $1 and endpoint_id = $2 and id < $3
               and ($4::text is null or state = $4)
             order by id desc limit $5",
        )
        .bind(uuid(tenant.as_u128()))
        .bind(uuid(endpoint.as_u128()))
        .bind(page.before())
        .bind(state)
        .bind(page.fetch())
        .fetch_all(tx.connection())
        .await?;
        let rows = rows.into_iter().map(Delivery::from).collect();
        Ok(page.page(rows, |delivery: &Delivery| delivery.id.as_u128()))
    }

    /// Tells an event once more, beside whatever else waits: a new delivery with all its attempts.
    /// `None` when there is no such delivery, or its endpoint is gone.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    pub async fn replay_delivery(
        &self,
        tenant: TenantId,
        id: DeliveryId,
        now: SystemTime,
    ) -> Result<Option<Delivery>, StoreError> {
        let new = DeliveryId::new(unix_ms(now), random_u128()?);
        let mut tx = self.tenant(tenant).await?;
        // It waits for nothing, and nothing waits for it: it is alone in its order.
        let row: Option<Row> = sqlx::query_as(
            "insert into webhook_delivery (tenant_id, id, endpoint_id, event_id, event_type,
                 sequence, order_id, state, next_at, created_at)
             select d.tenant_id, $3, d.endpoint_id, d.event_id, d.event_type, d.sequence, $3,
                    'pending', $4, $4
             from webhook_delivery d
             join webhook_endpoint w on w.tenant_id = d.tenant_id and w.id = d.endpoint_id
             where d.tenant_id = $1 and d.id = $2
             returning id, endpoint_id, event_id, event_type, sequence, state, next_at, log,
                 created_at, done_at",
        )
        .bind(uuid(tenant.as_u128()))
        .bind(uuid(id.as_u128()))
        .bind(uuid(new.as_u128()))
        .bind(to_sql(now)?)
        .fetch_optional(tx.connection())
        .await?;
        tx.commit().await?;
        Ok(row.map(Delivery::from))
    }
}

/// A delivery that this node has taken. `Debug` shows no secret.
pub struct Claimed {
    /// Whose.
    pub tenant: TenantId,
    /// Which.
    pub id: DeliveryId,
    /// To where.
    pub endpoint: WebhookId,
    /// The attempts before this one.
    pub attempts: u16,
    /// Its receiver.
    pub url: String,
    /// What signs: the newest first.
    pub secrets: Vec<Zeroizing<Vec<u8>>>,
    /// What is told.
    pub event: Event,
    lease: i64,
}

impl std::fmt::Debug for Claimed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Claimed({})", self.id)
    }
}

#[derive(FromRow)]
struct ClaimedRow {
    tenant_id: Uuid,
    id: Uuid,
    endpoint_id: Uuid,
    attempts: i16,
    lease: i64,
    url: String,
    secret_sealed: Vec<u8>,
    old_secret_sealed: Option<Vec<u8>>,
    event_id: Uuid,
    sequence: i64,
    event_type: String,
    occurred_at: Timestamp,
    data: Value,
}

impl ClaimedRow {
    fn open(self, vault: &Vault) -> Result<Claimed, StoreError> {
        let tenant = TenantId::from_u128(self.tenant_id.as_u128());
        let endpoint = WebhookId::from_u128(self.endpoint_id.as_u128());
        let open = |column, sealed: &[u8]| {
            vault.open_webhook_secret(&Cell::of_webhook(tenant, endpoint, column), sealed)
        };
        let mut secrets = vec![open(Column::WebhookSecret, &self.secret_sealed)?];
        if let Some(old) = &self.old_secret_sealed {
            secrets.push(open(Column::WebhookOldSecret, old)?);
        }
        Ok(Claimed {
            tenant,
            id: DeliveryId::from_u128(self.id.as_u128()),
            endpoint,
            attempts: self.attempts.unsigned_abs(),
            url: self.url,
            secrets,
            event: Event {
                id: EventId::from_u128(self.event_id.as_u128()),
                sequence: self.sequence.unsigned_abs(),
                kind: self.event_type,
                occurred_at: from_sql(self.occurred_at),
                data: self.data,
            },
            lease: self.lease,
        })
    }
}

/// Endpoints with something that waits are found by stepping through an index; from each comes no
/// more than it has free slots, and whoever holds the fewest comes first: a receiver that is slow
/// to take what it gets does not keep all slots of a node. What waits for an earlier one of its
/// order is passed over, and what another node looks at too.
const CLAIM: &str = "
with recursive waiting (endpoint_id) as (
    (select endpoint_id from webhook_delivery where state = 'pending'
     order by endpoint_id limit 1)
    union all
    select (select d.endpoint_id from webhook_delivery d
            where d.state = 'pending' and d.endpoint_id > waiting.endpoint_id
            order by d.endpoint_id limit 1)
    from waiting where waiting.endpoint_id is not null
), due as (
    select next.tenant_id, next.id
    from waiting
    join webhook_endpoint w on w.id = waiting.endpoint_id and w.state = 'enabled'
    left join unnest($2::uuid[], $3::bigint[]) as busy (endpoint_id, slots)
        on busy.endpoint_id = w.id
    cross join lateral (
        select free.tenant_id, free.id, row_number() over () as nth from (
            select d.tenant_id, d.id from webhook_delivery d
            where d.endpoint_id = w.id and d.state = 'pending' and d.next_at <= $1
              and not exists (
                  select from webhook_delivery e
                  where e.endpoint_id = d.endpoint_id and e.order_id = d.order_id
                    and e.sequence < d.sequence and e.state = 'pending')
            order by d.next_at, d.sequence
            limit greatest(0, case when w.failing_since is null then $4 else $5 end
                              - coalesce(busy.slots, 0))
            for update skip locked
        ) as free
    ) as next
    order by coalesce(busy.slots, 0) + next.nth, random()
    limit $6
), claimed as (
    update webhook_delivery d set lease = d.lease + 1, next_at = $7
    from due where d.tenant_id = due.tenant_id and d.id = due.id
    returning d.*
)
select d.tenant_id, d.id, d.endpoint_id, d.attempts, d.lease, w.url, w.secret_sealed,
       case when w.old_secret_until > $1 then w.old_secret_sealed end as old_secret_sealed,
       d.event_id, d.sequence, d.event_type, e.occurred_at, e.data
from claimed d
join webhook_endpoint w on w.tenant_id = d.tenant_id and w.id = d.endpoint_id
join event e on e.tenant_id = d.tenant_id and e.id = d.event_id
order by d.sequence";

/// What became of an attempt, for whoever decides about the next.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Attempted {
    /// A stable word, such as `delivered` or `timeout`.
    pub outcome: &'static str,
    /// What the receiver answered, if it did.
    pub status: Option<u16>,
    /// How long it took.
    pub took: Duration,
}

/// What happens to a delivery after an attempt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Next {
    /// It was taken.
    Delivered,
    /// It is tried again.
    Again {
        /// Then.
        at: SystemTime,
    },
    /// It is given up; it can be replayed.
    Dead,
    /// The receiver wants nothing more: its endpoint is disabled too.
    Gone,
}

impl Next {
    const fn state(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Again { .. } => "pending",
            Self::Dead | Self::Gone => "dead",
        }
    }
}

impl RelayPool {
    /// Takes deliveries that are due, at most `most`; `busy` are the slots that endpoints hold at
    /// this node already.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away, or a secret does not open.
    pub async fn claim_deliveries(
        &self,
        vault: &Vault,
        busy: &[(WebhookId, i64)],
        most: i64,
        now: SystemTime,
    ) -> Result<Vec<Claimed>, StoreError> {
        let (ids, slots): (Vec<Uuid>, Vec<i64>) =
            busy.iter().map(|(id, slots)| (uuid(id.as_u128()), *slots)).unzip();
        let rows: Vec<ClaimedRow> = sqlx::query_as(CLAIM)
            .bind(to_sql(now)?)
            .bind(ids)
            .bind(slots)
            .bind(ENDPOINT_SLOTS)
            .bind(FAILING_SLOTS)
            .bind(most)
            .bind(to_sql(now + LEASE_TIME)?)
            .fetch_all(&self.0)
            .await?;
        rows.into_iter().map(|row| row.open(vault)).collect()
    }

    /// Writes down what became of an attempt; false when the claim was over, so that nothing was
    /// written.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    pub async fn finish_delivery(
        &self,
        claimed: &Claimed,
        attempted: &Attempted,
        next: Next,
        now: SystemTime,
    ) -> Result<bool, StoreError> {
        let entry = json!([{
            "at": to_jiff(now)?.to_string(),
            "outcome": attempted.outcome,
            "status": attempted.status,
            "duration_ms": u64::try_from(attempted.took.as_millis()).unwrap_or(u64::MAX),
        }]);
        let next_at = match next {
            Next::Again { at } => at,
            Next::Delivered | Next::Dead | Next::Gone => now,
        };
        let mut tx = self.0.begin().await?;
        let order: Option<Uuid> = sqlx::query_scalar(
            "update webhook_delivery set state = $4, attempts = attempts + 1, next_at = $5,
                 log = log || $6, done_at = case when $4 = 'pending' then null else $7 end
             where tenant_id = $1 and id = $2 and lease = $3 and state = 'pending'
             returning order_id",
        )
        .bind(uuid(claimed.tenant.as_u128()))
        .bind(uuid(claimed.id.as_u128()))
        .bind(claimed.lease)
        .bind(next.state())
        .bind(to_sql(next_at)?)
        .bind(entry)
        .bind(to_sql(now)?)
        .fetch_optional(&mut *tx)
        .await?;
        let Some(order) = order else { return Ok(false) };
        // What waits behind it need not be looked at before it is tried again.
        sqlx::query(
            "update webhook_delivery set next_at = $3
             where endpoint_id = $1 and order_id = $2 and state = 'pending' and next_at <> $3",
        )
        .bind(uuid(claimed.endpoint.as_u128()))
        .bind(order)
        .bind(to_sql(next_at)?)
        .execute(&mut *tx)
        .await?;
        note_health(&mut tx, claimed, next, now).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Forgets deliveries that are old, or whose endpoint is gone; returns how many.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    pub async fn sweep_deliveries(&self, now: SystemTime) -> Result<u64, StoreError> {
        let before = now.checked_sub(KEEP_TIME).unwrap_or(SystemTime::UNIX_EPOCH);
        let old = sqlx::query(
            "delete from webhook_delivery where (tenant_id, id) in (
                 (select tenant_id, id from webhook_delivery where created_at < $1 limit $2)
                 union
                 (select d.tenant_id, d.id from webhook_delivery d
                  where not exists (select from webhook_endpoint w
                                    where w.tenant_id = d.tenant_id and w.id = d.endpoint_id)
                  limit $2))",
        )
        .bind(to_sql(before)?)
        .bind(SWEEP_MAX)
        .execute(&self.0)
        .await?;
        Ok(old.rows_affected())
    }

    /// How many tellings wait, and for how long the oldest has waited for its first attempt.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    pub async fn measure_outbox(&self, now: SystemTime) -> Result<(u64, Duration), StoreError> {
        let (pending, oldest): (i64, Option<Timestamp>) = sqlx::query_as(
            "with fresh as (select occurred_at as at from event where sequence is null),
                  waiting as (
                 select d.created_at as at, d.attempts from webhook_delivery d
                 join webhook_endpoint w on w.tenant_id = d.tenant_id and w.id = d.endpoint_id
                 where d.state = 'pending' and w.state = 'enabled')
             select (select count(*) from fresh) + (select count(*) from waiting),
                    least((select min(at) from fresh),
                          (select min(at) from waiting where attempts = 0))",
        )
        .fetch_one(&self.0)
        .await?;
        let lag = oldest.and_then(|at| now.duration_since(from_sql(at)).ok()).unwrap_or_default();
        Ok((pending.unsigned_abs(), lag))
    }
}

/// A success ends the time of failures; too long a time of them, or a farewell, disables.
async fn note_health(
    connection: &mut PgConnection,
    claimed: &Claimed,
    next: Next,
    now: SystemTime,
) -> Result<(), StoreError> {
    let (tenant, id) = (uuid(claimed.tenant.as_u128()), uuid(claimed.endpoint.as_u128()));
    if next == Next::Delivered {
        sqlx::query(
            "update webhook_endpoint set failing_since = null
             where tenant_id = $1 and id = $2 and failing_since is not null",
        )
        .bind(tenant)
        .bind(id)
        .execute(connection)
        .await?;
        return Ok(());
    }
    let reason = if next == Next::Gone { "gone" } else { "failing" };
    let since = now.checked_sub(FAILING_TIME).unwrap_or(SystemTime::UNIX_EPOCH);
    let state: Option<String> = sqlx::query_scalar(
        "update webhook_endpoint w set failing_since = coalesce(w.failing_since, $3),
             state = case when over.it then 'disabled' else w.state end,
             disabled_reason = case when over.it then $5 end,
             version = w.version + case when over.it then 1 else 0 end,
             updated_at = case when over.it then $3 else w.updated_at end
         from (select $5 = 'gone' or failing_since <= $4 as it from webhook_endpoint
               where tenant_id = $1 and id = $2 for update) as over
         where w.tenant_id = $1 and w.id = $2 and w.state = 'enabled'
         returning w.state",
    )
    .bind(tenant)
    .bind(id)
    .bind(to_sql(now)?)
    .bind(to_sql(since)?)
    .bind(reason)
    .fetch_optional(&mut *connection)
    .await?;
    if state.as_deref() == Some("disabled") {
        let data = json!({ "endpoint": claimed.endpoint.to_string(), "reason": reason });
        let (kind, subject) = (EventKind::WebhookEndpointDisabled, claimed.endpoint.as_u128());
        outbox::insert(connection, claimed.tenant, now, NewEvent { kind, subject, data }).await?;
    }
    Ok(())
}
