//! What was done under the caps before the process began, from the call records.

use std::time::SystemTime;

use uuid::Uuid;

use super::RelayPool;
use super::convert::{to_sql, uuid};
use super::error::StoreError;
use super::number::read_digits;
use crate::domain::cap::{CapKey, CapUsage, begun};
use crate::domain::id::{AgentId, CallId, SubscriberId, TenantId};

/// Begun calls of this minute, and begun minutes of this day. A call that a timer of ours has ended
/// lasts a little longer than it may: that is no further minute. A menu is no talk. The records
/// that can matter are looked up tenant by tenant, as they are indexed.
const USAGE: &str = "
with used as (
    select tenant_id, virtual_number, agent_id,
        case direction when 'to_subscriber' then subscriber_id end as subscriber_id,
        case when started_at >= $2 and setup_us is not null then 1 else 0 end as calls,
        case when answered_at is null or 'menu' = any(marks) then 0 else greatest(0,
            ceil(greatest(1, case when cause in ('minutes_cap', 'max_duration')
                then duration_ms - 1000 else duration_ms end) / 60000.0)
            - ceil(greatest(0, extract(epoch from $3 - answered_at)) / 60.0)) end as minutes
    from tenant t cross join lateral (
        select * from cdr where cdr.tenant_id = t.id and cdr.id >= $1) as of_tenant
)
select tenant_id, virtual_number, agent_id, subscriber_id,
    sum(calls)::bigint as calls, sum(minutes)::bigint as minutes
from used
group by grouping sets ((tenant_id), (virtual_number), (agent_id), (subscriber_id))
having sum(calls) + sum(minutes) > 0";

#[derive(sqlx::FromRow)]
struct Row {
    tenant_id: Option<Uuid>,
    virtual_number: Option<String>,
    agent_id: Option<Uuid>,
    subscriber_id: Option<Uuid>,
    calls: i64,
    minutes: i64,
}

impl RelayPool {
    /// What each subject has done in the minute and on the day of `now`.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses or is away.
    pub async fn load_cap_usage(&self, now: SystemTime) -> Result<Vec<CapUsage>, StoreError> {
        let [minute, day] = begun(now);
        let since = day.checked_sub(LONGEST).unwrap_or(SystemTime::UNIX_EPOCH);
        let rows: Vec<Row> = sqlx::query_as(USAGE)
            .bind(uuid(CallId::new(super::convert::unix_ms(since), 0).as_u128()))
            .bind(to_sql(minute)?)
            .bind(to_sql(day)?)
            .fetch_all(&self.0)
            .await?;
        rows.into_iter().filter_map(|row| row.read().transpose()).collect()
    }
}

/// No call lasts longer.
const LONGEST: std::time::Duration = std::time::Duration::from_secs(86_400);

impl Row {
    /// `None` for the rows of nobody.
    fn read(self) -> Result<Option<CapUsage>, StoreError> {
        let Self { tenant_id, virtual_number, agent_id, subscriber_id, calls, minutes } = self;
        let key = match (tenant_id, virtual_number, agent_id, subscriber_id) {
            (Some(id), ..) => CapKey::Tenant(TenantId::from_u128(id.as_u128())),
            (_, Some(digits), ..) => CapKey::Number(read_digits(&digits)?),
            (.., Some(id), None) => CapKey::Agent(AgentId::from_u128(id.as_u128())),
            (.., Some(id)) => CapKey::Subscriber(SubscriberId::from_u128(id.as_u128())),
            (None, None, None, None) => return Ok(None),
        };
        let count = |count: i64| u32::try_from(count).unwrap_or(u32::MAX);
        Ok(Some(CapUsage { key, calls: count(calls), minutes: count(minutes) }))
    }
}
