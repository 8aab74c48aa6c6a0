//! What a subscriber says with a key of a call that it does not want: written at once, long before
//! the record of the call, and twice the same as once.

use uuid::Uuid;

use super::complaint::{self, NewComplaint};
use super::convert::{to_sql, to_stored_precision, uuid};
use super::error::StoreError;
use super::{ROUTES_CHANNEL, RelayPool};
use crate::domain::id::BindingId;
use crate::domain::whisper::{Dislike, Unwanted};

/// One statement is one transaction: no more calls of this kind, the consents to them are
/// withdrawn, and every node hears of it. A consent that was given later stays.
const REFUSE: &str = "
with refusal as (
    insert into do_not_call as d (tenant_id, subscriber_id, purpose, since, until, source, call_id)
    values ($1, $2, $3, $4, $4 + interval '6 months', 'whisper', $5)
    on conflict (tenant_id, subscriber_id, purpose) do update
    set since = excluded.since, until = excluded.until, source = excluded.source,
        call_id = excluded.call_id
    where d.until < excluded.until and d.call_id is distinct from excluded.call_id
), withdrawals as (
    update consent set withdrawn_at = $4, withdrawn_call_id = $5
    where tenant_id = $1 and subscriber_id = $2 and purpose = $3
      and withdrawn_at is null and captured_at <= $4
)
select b.id, pg_notify($6, 'binding ' || nextval('route_version') || ' ? ' || b.id
                           || ' changed')::text as told
from binding b
where b.tenant_id = $1 and b.subscriber_id = $2 and b.ended_at is null";

/// Writes it down. What was known of the bindings that it names may be wrong now.
///
/// # Errors
/// [`StoreError::Unavailable`] when it is worth trying again.
pub async fn heed(relay: &RelayPool, unwanted: &Unwanted) -> Result<Vec<BindingId>, StoreError> {
    match unwanted.what {
        Dislike::Kind => refuse(relay, unwanted).await,
        Dislike::Call => report(relay, unwanted).await.map(|()| Vec::new()),
    }
}

async fn report(relay: &RelayPool, unwanted: &Unwanted) -> Result<(), StoreError> {
    let new = NewComplaint {
        tenant: unwanted.tenant,
        subscriber: unwanted.subscriber,
        binding: Some(unwanted.binding),
        agent: unwanted.agent,
        call: unwanted.call,
        purpose: unwanted.purpose,
        source: "whisper",
        at: unwanted.at,
    };
    let mut transaction = relay.0.begin().await?;
    complaint::open(&mut transaction, new).await?;
    Ok(transaction.commit().await?)
}

async fn refuse(relay: &RelayPool, unwanted: &Unwanted) -> Result<Vec<BindingId>, StoreError> {
    let rows: Vec<(Uuid, String)> = sqlx::query_as(REFUSE)
        .bind(uuid(unwanted.tenant.as_u128()))
        .bind(uuid(unwanted.subscriber.as_u128()))
        .bind(unwanted.purpose.label())
        .bind(to_sql(to_stored_precision(unwanted.at))?)
        .bind(uuid(unwanted.call.as_u128()))
        .bind(ROUTES_CHANNEL)
        .fetch_all(&relay.0)
        .await?;
    Ok(rows.into_iter().map(|(id, _told)| BindingId::from_u128(id.as_u128())).collect())
}
