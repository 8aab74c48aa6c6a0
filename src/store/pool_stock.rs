//! Pools that run low, and how fast their numbers go.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use jiff_sqlx::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::convert::{from_sql, to_sql, uuid};
use super::error::StoreError;
use super::outbox::NewEvent;
use super::{PlatformTx, RelayPool, Store};
use crate::domain::event::EventKind;
use crate::domain::id::{PoolId, TenantId};
use crate::domain::number_state::SAME_TENANT_TIME;
use crate::domain::stock::{FORECAST_DAYS, PACE_DAYS, Pace, Stock};

/// The most pools that are looked at.
const POOLS_MAX: i64 = 10_000;
/// The most tenants that one look tells; the others are told by the next one.
const TELL_MAX: i64 = 1_000;
/// The longest that the pace of all pools is counted for.
const COUNT_TIME_MAX: &str = "60s";
/// How old a pace may be.
const PACE_KEEP_TIME: Duration = Duration::from_secs(60 * 60);

/// What one look at all pools has found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PoolsSeen {
    /// How many are low.
    pub low: usize,
    /// Those that were not low before.
    pub newly_low: Vec<(PoolId, Stock)>,
    /// Those that have enough again.
    pub recovered: Vec<PoolId>,
}

/// What is expected of a pool.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PoolForecast {
    /// How fast its numbers are taken.
    pub pace: Pace,
    /// As of when.
    pub counted_at: SystemTime,
    /// Numbers that can be given now to whoever uses the pool: where that is one tenant, none that
    /// it has had within a year.
    pub free: u64,
    /// Some of its numbers are shared by pairs, and have room for more: nobody knows when none is
    /// left.
    pub has_pairs: bool,
    /// How many numbers are free again on each of the coming days, today first.
    pub returning: Vec<u64>,
}

type CountsRow = (i64, i64, bool, bool);
type StockRow = (Uuid, i64, i64, Option<Timestamp>);

/// Counts of the numbers of a pool, without those that pairs share: they take more of them. $1:
/// who has released a number since then does not get it again
/// (`take_free`). The numbers of a pool that one tenant alone uses were its own.
macro_rules! counts {
    () => {
        "count(*) filter (where state = 'available') as free,
         count(*) filter (where state = 'available'
             and (released_at is null or released_at <= $1)) as rested,
         count(*) filter (where state <> 'retired'
             and not (state = 'bound' and pairs)) as usable,
         coalesce(bool_or(pairs) filter (where state = 'bound'), false) as has_pairs,
         coalesce(min(uuid_hash_extended(tenant_id, 0)) filter (where state = 'bound')
             = max(uuid_hash_extended(tenant_id, 0)) filter (where state = 'bound'), false)
             as has_one_user "
    };
}

impl Store {
    /// Looks how many numbers each pool has left, and writes down which are low and which no more.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses or is away.
    pub async fn look_at_pools(&self, now: SystemTime) -> Result<PoolsSeen, StoreError> {
        let mut tx = self.platform().await?;
        let rows: Vec<StockRow> = sqlx::query_as(concat!(
            "select p.id, coalesce(n.free, 0), coalesce(n.usable, 0), s.low_since
             from pool p
             left join pool_stock s on s.pool_id = p.id
             left join (select c.pool_id, case when c.has_one_user then c.rested else c.free end
                                   as free, c.usable
                        from (select pool_id, ",
            counts!(),
            "             from virtual_number group by pool_id) as c) as n on n.pool_id = p.id
             order by p.id limit $2",
        ))
        .bind(to_sql(now - SAME_TENANT_TIME)?)
        .bind(POOLS_MAX)
        .fetch_all(tx.connection())
        .await?;
        let mut seen = PoolsSeen::default();
        for (id, free, usable, low_since) in rows {
            let pool = PoolId::from_u128(id.as_u128());
            let stock = Stock { free: free.unsigned_abs(), usable: usable.unsigned_abs() };
            let is_low = stock.is_low(low_since.is_some());
            seen.low += usize::from(is_low);
            if is_low != low_since.is_some() && tx.mark_low(id, is_low, now).await? {
                if is_low {
                    seen.newly_low.push((pool, stock));
                } else {
                    seen.recovered.push(pool);
                }
            }
        }
        tx.commit().await?;
        Ok(seen)
    }

    /// Tells each tenant that uses a low pool so, once for each time that it is. The first error is
    /// returned after all others were told.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses or is away; who was not told is told by the next
    /// call.
    pub async fn tell_of_low_pools(&self, now: SystemTime) -> Result<(), StoreError> {
        let mut tx = self.platform().await?;
        let untold: Vec<(Uuid, Uuid, Timestamp)> = sqlx::query_as(
            "select v.tenant_id, l.pool_id, l.low_since
             from pool_stock l join virtual_number v on v.pool_id = l.pool_id
             left join pool_low_told t
                 on t.tenant_id = v.tenant_id and t.pool_id = l.pool_id
                 and t.low_since >= l.low_since
             where l.low_since is not null and v.state = 'bound' and t.pool_id is null
             group by v.tenant_id, l.pool_id, l.low_since order by 1, 2 limit $1",
        )
        .bind(TELL_MAX)
        .fetch_all(tx.connection())
        .await?;
        drop(tx);
        let mut first = None;
        for (tenant, pool, low_since) in untold {
            let tenant = TenantId::from_u128(tenant.as_u128());
            if let Err(error) = self.tell_of_low_pool(tenant, pool, low_since, now).await {
                // One that waits too long for a lock of its own says the same as a database that
                // is away.
                let is_away = error.is_unavailable() && self.ping().await.is_err();
                first.get_or_insert(error);
                if is_away {
                    break;
                }
            }
        }
        first.map_or(Ok(()), Err)
    }

    async fn tell_of_low_pool(
        &self,
        tenant: TenantId,
        pool: Uuid,
        low_since: Timestamp,
        now: SystemTime,
    ) -> Result<(), StoreError> {
        let mut tx = self.tenant(tenant).await?;
        // Of several nodes that come to this, one writes.
        let is_news = sqlx::query(
            "insert into pool_low_told as told (tenant_id, pool_id, low_since) values ($1, $2, $3)
             on conflict on constraint pool_low_told_pkey
             do update set low_since = excluded.low_since
             where told.low_since < excluded.low_since",
        )
        .bind(uuid(tenant.as_u128()))
        .bind(pool)
        .bind(low_since)
        .execute(tx.connection())
        .await?
        .rows_affected();
        if is_news == 0 {
            return Ok(());
        }
        let id = PoolId::from_u128(pool.as_u128());
        // Not how many are left: others take from the pool too.
        let data = json!({"pool": id.to_string()});
        let kind = EventKind::NumberPoolLow;
        tx.emit(now, NewEvent { kind, subject: id.as_u128(), data }).await?;
        tx.commit().await
    }

    /// Counts how fast the numbers of all pools go, unless that was done within the last hour, or
    /// another node is at it. False when it was, or is.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses or is away.
    pub async fn count_paces(
        &self,
        relay: &RelayPool,
        now: SystemTime,
    ) -> Result<bool, StoreError> {
        let mut tx = self.platform().await?;
        let is_due: bool = sqlx::query_scalar(
            "select exists (select from pool p left join pool_stock s on s.pool_id = p.id
                            where s.counted_at is null or s.counted_at <= $1)",
        )
        .bind(to_sql(now - PACE_KEEP_TIME)?)
        .fetch_one(tx.connection())
        .await?;
        drop(tx);
        if !is_due {
            return Ok(false);
        }
        let Some(taken) = relay.count_taken(now).await? else { return Ok(false) };
        let days = |row: &TakenRow| {
            Pace::days(now.duration_since(from_sql(row.2)).unwrap_or_default()).cast_signed()
        };
        let mut tx = self.platform().await?;
        sqlx::query(
            "insert into pool_stock (pool_id, taken, days, counted_at)
             select p.id, coalesce(t.taken, 0), coalesce(t.days, $4), $5
             from pool p left join unnest($1::uuid[], $2::bigint[], $3::smallint[])
                 as t (pool_id, taken, days) on t.pool_id = p.id
             order by p.id
             on conflict on constraint pool_stock_pkey do update
             set taken = excluded.taken, days = excluded.days, counted_at = excluded.counted_at",
        )
        .bind(taken.iter().map(|row| row.0).collect::<Vec<_>>())
        .bind(taken.iter().map(|row| row.1).collect::<Vec<_>>())
        .bind(taken.iter().map(days).collect::<Vec<_>>())
        .bind(PACE_DAYS.cast_signed())
        .bind(to_sql(now)?)
        .execute(tx.connection())
        .await?;
        tx.commit().await?;
        Ok(true)
    }
}

/// A pool, how many of its numbers were taken in the time, and when the first one was that
/// somebody had in it.
type TakenRow = (Uuid, i64, Timestamp);

impl RelayPool {
    /// How many numbers of each pool were taken in the last [`PACE_DAYS`]. A number rests for
    /// longer than that: where the oldest binding of the time began in it, nobody had it before.
    /// All bindings are read, once for all pools and by one node at a time: `None` when another
    /// one does.
    async fn count_taken(&self, now: SystemTime) -> Result<Option<Vec<TakenRow>>, StoreError> {
        let since = now - Duration::from_secs(u64::from(PACE_DAYS) * 24 * 60 * 60);
        let mut tx = self.0.begin().await?;
        sqlx::query("select set_config('statement_timeout', $1, true)")
            .bind(COUNT_TIME_MAX)
            .execute(&mut *tx)
            .await?;
        let is_ours: bool = sqlx::query_scalar(
            "select pg_try_advisory_xact_lock(hashtextextended('the pace of pools', 0))",
        )
        .fetch_one(&mut *tx)
        .await?;
        if !is_ours {
            return Ok(None);
        }
        let rows = sqlx::query_as(
            "select v.pool_id, count(*) filter (where t.first_at >= $1), min(t.first_at)
             from (select number_id, min(created_at) as first_at from binding
                   where ended_at is null or ended_at >= $1 group by number_id) as t
             join virtual_number v on v.id = t.number_id
             group by v.pool_id",
        )
        .bind(to_sql(since)?)
        .fetch_all(&mut *tx)
        .await?;
        Ok(Some(rows))
    }
}

impl PlatformTx {
    /// False when another node has done it.
    async fn mark_low(
        &mut self,
        pool: Uuid,
        is_low: bool,
        now: SystemTime,
    ) -> Result<bool, StoreError> {
        let marked = sqlx::query(
            "insert into pool_stock as stock (pool_id, low_since) values ($1, $2)
             on conflict on constraint pool_stock_pkey do update set low_since = excluded.low_since
             where (stock.low_since is null) <> (excluded.low_since is null)",
        )
        .bind(pool)
        .bind(is_low.then(|| to_sql(now)).transpose()?)
        .execute(self.connection())
        .await?;
        Ok(marked.rows_affected() == 1)
    }

    /// Since when a pool is low, and what is expected of it; nothing of one that was not looked at.
    pub(super) async fn find_stock(
        &mut self,
        pool: PoolId,
        now: SystemTime,
    ) -> Result<(Option<SystemTime>, Option<PoolForecast>), StoreError> {
        let row: Option<(Option<Timestamp>, i64, i16, Option<Timestamp>)> = sqlx::query_as(
            "select low_since, taken, days, counted_at from pool_stock where pool_id = $1",
        )
        .bind(uuid(pool.as_u128()))
        .fetch_optional(self.connection())
        .await?;
        let Some((low_since, taken, days, counted_at)) = row else { return Ok((None, None)) };
        let low_since = low_since.map(from_sql);
        let Some(counted_at) = counted_at else { return Ok((low_since, None)) };
        let pace = Pace { taken: taken.unsigned_abs(), days: days.unsigned_abs() };
        let (free, rested, has_one_user, has_pairs): CountsRow = sqlx::query_as(concat!(
            "select free, rested, has_one_user, has_pairs from (select ",
            counts!(),
            " from virtual_number where pool_id = $2) as c",
        ))
        .bind(to_sql(now - SAME_TENANT_TIME)?)
        .bind(uuid(pool.as_u128()))
        .fetch_one(self.connection())
        .await?;
        let free = if has_one_user { rested } else { free }.unsigned_abs();
        let returning = self.count_returning(pool, has_one_user, now).await?;
        let counted_at = from_sql(counted_at);
        Ok((low_since, Some(PoolForecast { pace, counted_at, free, has_pairs, returning })))
    }

    async fn count_returning(
        &mut self,
        pool: PoolId,
        has_one_user: bool,
        now: SystemTime,
    ) -> Result<Vec<u64>, StoreError> {
        // Of what is absent, `greatest` takes no notice.
        let rows: Vec<(i32, i64)> = sqlx::query_as(
            "select greatest(0, floor(extract(epoch from back_at - $2) / 86400))::integer, count(*)
             from (select case when $4 then greatest(cooling_until, released_at + $5)
                               else cooling_until end as back_at
                   from virtual_number
                   where pool_id = $1 and (state in ('draining', 'cooling')
                       or $4 and state = 'available' and released_at > $2 - $5)) as n
             where back_at < $2 + make_interval(days => $3)
             group by 1",
        )
        .bind(uuid(pool.as_u128()))
        .bind(to_sql(now)?)
        .bind(i32::from(FORECAST_DAYS))
        .bind(has_one_user)
        .bind(SAME_TENANT_TIME)
        .fetch_all(self.connection())
        .await?;
        let by_day: BTreeMap<u16, u64> = rows
            .into_iter()
            .filter_map(|(day, count)| Some((u16::try_from(day).ok()?, count.unsigned_abs())))
            .collect();
        Ok((0..FORECAST_DAYS).map(|day| by_day.get(&day).copied().unwrap_or(0)).collect())
    }
}
