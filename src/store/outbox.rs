//! The outbox: what tenants will be told, written in the transaction of the change itself.

use std::time::SystemTime;

use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::convert::{from_sql, to_sql, unix_ms, uuid};
use super::error::StoreError;
use super::{PlatformTx, RelayPool, TenantTx};
use crate::domain::event::EventKind;
use crate::domain::id::{EventId, TenantId};
use crate::vault::random_u128;

/// A fact for a tenant. It never holds a real number, not even masked.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEvent {
    /// What has happened.
    pub kind: EventKind,
    /// The bits of the identifier of the thing it is about; events of one thing keep their order.
    pub subject: u128,
    /// The body as the tenant will see it.
    pub data: Value,
}

/// A stored event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The same at every delivery.
    pub id: EventId,
    /// Counts a tenant's events without a gap.
    pub sequence: u64,
    /// Such as `binding.created`.
    pub kind: String,
    /// When it happened.
    pub occurred_at: SystemTime,
    /// The body.
    pub data: Value,
}

type Row = (Uuid, i64, String, jiff_sqlx::Timestamp, Value);

impl TenantTx {
    /// Adds an event of this tenant. Call it after the change it tells of: the lock on the changed
    /// row orders the events.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses or is away.
    pub async fn emit(&mut self, now: SystemTime, event: NewEvent) -> Result<EventId, StoreError> {
        let tenant = self.tenant();
        insert(self.connection(), tenant, now, event).await
    }

    /// Adds events of this tenant in their order, as [`Self::emit`] does one by one.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses or is away.
    pub async fn emit_all(
        &mut self,
        now: SystemTime,
        events: impl IntoIterator<Item = NewEvent>,
    ) -> Result<(), StoreError> {
        let (mut ids, mut kinds) = (Vec::new(), Vec::new());
        let (mut subjects, mut bodies) = (Vec::new(), Vec::new());
        for event in events {
            ids.push(uuid(EventId::new(unix_ms(now), random_u128()?).as_u128()));
            kinds.push(event.kind.label());
            subjects.push(uuid(event.subject));
            bodies.push(event.data);
        }
        // An event gets its place in the order when it is inserted.
        sqlx::query(
            "insert into event (tenant_id, id, type, subject_id, occurred_at, data)
             select $1, new.id, new.type, new.subject, $2, new.data
             from unnest($3::uuid[], $4::text[], $5::uuid[], $6::jsonb[]) with ordinality
                 as new (id, type, subject, data, nth)
             order by new.nth",
        )
        .bind(uuid(self.tenant().as_u128()))
        .bind(to_sql(now)?)
        .bind(ids)
        .bind(kinds)
        .bind(subjects)
        .bind(bodies)
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Events in their order, at most `limit` from the one after `sequence` on, of these kinds or,
    /// without any, of all; only those that have a sequence already.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses or is away.
    pub async fn list_events(
        &mut self,
        sequence: u64,
        kinds: &[EventKind],
        limit: u16,
    ) -> Result<Vec<Event>, StoreError> {
        let tenant = uuid(self.tenant().as_u128());
        let kinds: Vec<&str> = kinds.iter().map(|kind| kind.label()).collect();
        let rows: Vec<Row> = sqlx::query_as(
            "select id, sequence, type, occurred_at, data from event
             where tenant_id = $1 and sequence > $2
               and ($3::text[] = '{}' or type = any($3::text[]))
             order by sequence limit $4",
        )
        .bind(tenant)
        .bind(i64::try_from(sequence).unwrap_or(i64::MAX))
        .bind(kinds)
        .bind(i64::from(limit))
        .fetch_all(self.connection())
        .await?;
        let event = |(id, sequence, kind, at, data): Row| Event {
            id: EventId::from_u128(id.as_u128()),
            sequence: u64::try_from(sequence).unwrap_or(0),
            kind,
            occurred_at: from_sql(at),
            data,
        };
        Ok(rows.into_iter().map(event).collect())
    }
}

impl PlatformTx {
    /// Adds an event for a tenant.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses or is away.
    pub async fn emit(
        &mut self,
        tenant: TenantId,
        now: SystemTime,
        event: NewEvent,
    ) -> Result<EventId, StoreError> {
        insert(self.connection(), tenant, now, event).await
    }
}

pub(super) async fn insert(
    connection: &mut PgConnection,
    tenant: TenantId,
    now: SystemTime,
    event: NewEvent,
) -> Result<EventId, StoreError> {
    let id = EventId::new(unix_ms(now), random_u128()?);
    sqlx::query(
        "insert into event (tenant_id, id, type, subject_id, occurred_at, data)
         values ($1, $2, $3, $4, $5, $6)",
    )
    .bind(uuid(tenant.as_u128()))
    .bind(uuid(id.as_u128()))
    .bind(event.kind.label())
    .bind(uuid(event.subject))
    .bind(to_sql(now)?)
    .bind(event.data)
    .execute(connection)
    .await?;
    Ok(id)
}

/// The most events that get their sequence in one transaction.
pub const SEQUENCE_BATCH_MAX: i64 = 1_000;

/// Gives committed events their place in their tenant's sequence, and each of them a delivery for
/// every endpoint that wants its kind; returns how many events. One node at a time does this; the
/// others find the lock taken and do nothing. Events of one binding are delivered in their order; a
/// ping is for its endpoint alone.
///
/// # Errors
/// [`StoreError`] when the database refuses or is away.
pub async fn assign_sequences(relay: &RelayPool, now: SystemTime) -> Result<u64, StoreError> {
    let mut transaction = relay.0.begin().await?;
    let (mine,): (bool,) =
        sqlx::query_as("select pg_try_advisory_xact_lock(hashtext('maskline.event_sequence'))")
            .fetch_one(&mut *transaction)
            .await?;
    if !mine {
        return Ok(0);
    }
    let (done,): (i64,) = sqlx::query_as(
        "with pending as (
             select tenant_id, id, position,
                    row_number() over (partition by tenant_id order by position) as nth,
                    count(*) over (partition by tenant_id) as pending_count
             from (select tenant_id, id, position from event where sequence is null
                   order by position limit $1) as oldest
         ), counter as (
             insert into event_counter as c (tenant_id, sequence)
             select distinct tenant_id, pending_count from pending
             on conflict (tenant_id) do update set sequence = c.sequence + excluded.sequence
             returning tenant_id, sequence
         ), placed as (
             update event e
             set sequence = counter.sequence - pending.pending_count + pending.nth
             from pending join counter using (tenant_id)
             where e.tenant_id = pending.tenant_id and e.id = pending.id
             returning e.tenant_id, e.id, e.sequence, e.type, e.subject_id, e.data
         ), told as (
             insert into webhook_delivery (tenant_id, id, endpoint_id, event_id, event_type,
                 sequence, order_id, state, next_at, created_at)
             select p.tenant_id, uuid_v7($2), w.id, p.id, p.type, p.sequence,
                    case when p.data->>'binding' ~ '^bnd_[0-9a-f]{32}$'
                         then substr(p.data->>'binding', 5)::uuid else p.subject_id end,
                    'pending', $2, $2
             from placed p
             join webhook_endpoint w on w.tenant_id = p.tenant_id and w.state = 'enabled'
                 and case when p.type = 'webhook.ping' then w.id = p.subject_id
                          else w.event_types = '{}' or p.type = any(w.event_types) end
         )
         select count(*) from placed",
    )
    .bind(SEQUENCE_BATCH_MAX)
    .bind(to_sql(now)?)
    .fetch_one(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(done.unsigned_abs())
}
