//! Pools of virtual numbers and the carrier trunks that reach them.

use std::time::SystemTime;

use jiff_sqlx::Timestamp;
use sqlx::FromRow;
use uuid::Uuid;

use super::convert::{from_sql, to_sql, uuid};
use super::page::{Page, PageRequest};
use super::pool_stock::PoolForecast;
use super::{PlatformTx, RouteTable, Store, StoreError};
use crate::domain::id::{PoolId, TrunkId};

/// A pool.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of the tables")]
pub struct Pool {
    pub id: PoolId,
    pub name: String,
    pub class: String,
    pub city: Option<String>,
    pub cooling_days: u16,
    pub trunks: Vec<TrunkId>,
    pub version: u64,
    pub created_at: SystemTime,
    pub updated_at: SystemTime,
}

/// A pool to be made.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of the tables")]
pub struct NewPool {
    pub id: PoolId,
    pub name: String,
    pub class: &'static str,
    pub city: Option<String>,
    pub cooling_days: u16,
    pub trunks: Vec<TrunkId>,
}

/// What changes of a pool; absent fields stay.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "the columns of the tables")]
pub struct PoolChange {
    pub name: Option<String>,
    pub city: Option<Option<String>>,
    pub cooling_days: Option<u16>,
    pub trunks: Option<Vec<TrunkId>>,
}

/// How many numbers of a pool are in which state, and how far they go.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[expect(missing_docs, reason = "the states of a number, and what says it by itself")]
pub struct PoolCapacity {
    pub available: u64,
    pub bound: u64,
    pub draining: u64,
    pub cooling: u64,
    pub reserved: u64,
    pub sick: u64,
    pub retired: u64,
    pub low_since: Option<SystemTime>,
    pub forecast: Option<PoolForecast>,
}

impl PoolCapacity {
    /// All of them.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.available
            + self.bound
            + self.draining
            + self.cooling
            + self.reserved
            + self.sick
            + self.retired
    }
}

#[derive(FromRow)]
struct Row {
    id: Uuid,
    name: String,
    class: String,
    city: Option<String>,
    cooling_days: i16,
    trunk_ids: Vec<Uuid>,
    version: i64,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl From<Row> for Pool {
    fn from(row: Row) -> Self {
        Self {
            id: PoolId::from_u128(row.id.as_u128()),
            name: row.name,
            class: row.class,
            city: row.city,
            cooling_days: u16::try_from(row.cooling_days).unwrap_or(u16::MAX),
            trunks: row.trunk_ids.iter().map(|id| TrunkId::from_u128(id.as_u128())).collect(),
            version: row.version.unsigned_abs(),
            created_at: from_sql(row.created_at),
            updated_at: from_sql(row.updated_at),
        }
    }
}

impl Store {
    /// Makes a pool.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the name is taken or a trunk is gone.
    pub async fn insert_pool(&self, new: NewPool, now: SystemTime) -> Result<Pool, StoreError> {
        let mut tx = self.platform().await?;
        sqlx::query(
            "insert into pool (id, name, class, city, cooling_days, created_at, updated_at)
             values ($1, $2, $3, $4, $5, $6, $6)",
        )
        .bind(uuid(new.id.as_u128()))
        .bind(new.name)
        .bind(new.class)
        .bind(new.city)
        .bind(new.cooling_days.cast_signed())
        .bind(to_sql(now)?)
        .execute(tx.connection())
        .await?;
        tx.write_pool_trunks(new.id, &new.trunks).await?;
        let pool = tx.load_pool(new.id).await?;
        tx.commit().await?;
        Ok(pool)
    }

    /// Finds a pool.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    pub async fn find_pool(&self, id: PoolId) -> Result<Option<Pool>, StoreError> {
        self.platform().await?.find_pool(id).await
    }

    /// Lists pools, newest first.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    pub async fn list_pools(&self, page: PageRequest) -> Result<Page<Pool>, StoreError> {
        let mut tx = self.platform().await?;
        let rows: Vec<Row> = sqlx::query_as(
            "select p.*, array(select trunk_id from pool_trunk t where t.pool_id = p.id
                 order by trunk_id) as trunk_ids
             from pool p where id < $1 order by id desc limit $2",
        )
        .bind(page.before())
        .bind(page.fetch())
        .fetch_all(tx.connection())
        .await?;
        let pools = rows.into_iter().map(Pool::from).collect();
        Ok(page.page(pools, |pool: &Pool| pool.id.as_u128()))
    }

    /// Changes a pool if it has the wanted `version`; `None` when it has not, or is not there.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the name is taken or a trunk is gone.
    pub async fn update_pool(
        &self,
        id: PoolId,
        change: PoolChange,
        version: Option<u64>,
        now: SystemTime,
    ) -> Result<Option<Pool>, StoreError> {
        let mut tx = self.platform().await?;
        let changed = sqlx::query(
            "update pool set
                 name = coalesce($3, name),
                 city = case when $4 then $5 else city end,
                 cooling_days = coalesce($6, cooling_days),
                 version = version + 1, updated_at = $7
             where id = $1 and ($2::bigint is null or version = $2)",
        )
        .bind(uuid(id.as_u128()))
        .bind(version.map(u64::cast_signed))
        .bind(change.name)
        .bind(change.city.is_some())
        .bind(change.city.flatten())
        .bind(change.cooling_days.map(u16::cast_signed))
        .bind(to_sql(now)?)
        .execute(tx.connection())
        .await?
        .rows_affected();
        if changed == 0 {
            return Ok(None);
        }
        if let Some(trunks) = &change.trunks {
            sqlx::query("delete from pool_trunk where pool_id = $1")
                .bind(uuid(id.as_u128()))
                .execute(tx.connection())
                .await?;
            tx.write_pool_trunks(id, trunks).await?;
            tx.touch_routes(RouteTable::Trunk);
        }
        let pool = tx.load_pool(id).await?;
        tx.commit().await?;
        Ok(Some(pool))
    }

    /// Counts a pool's numbers by state; `None` when there is no such pool.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    pub async fn find_pool_capacity(
        &self,
        id: PoolId,
        now: SystemTime,
    ) -> Result<Option<PoolCapacity>, StoreError> {
        let mut tx = self.platform().await?;
        if tx.find_pool(id).await?.is_none() {
            return Ok(None);
        }
        let rows: Vec<(String, i64)> = sqlx::query_as(
            "select state, count(*) from virtual_number where pool_id = $1 group by state",
        )
        .bind(uuid(id.as_u128()))
        .fetch_all(tx.connection())
        .await?;
        let (low_since, forecast) = tx.find_stock(id, now).await?;
        let mut capacity = PoolCapacity { low_since, forecast, ..PoolCapacity::default() };
        for (state, count) in rows {
            let count = u64::try_from(count).unwrap_or(0);
            match state.as_str() {
                "available" => capacity.available = count,
                "bound" => capacity.bound = count,
                "draining" => capacity.draining = count,
                "cooling" => capacity.cooling = count,
                "reserved" => capacity.reserved = count,
                "sick" => capacity.sick = count,
                "retired" => capacity.retired = count,
                _ => return Err(StoreError::Unreadable { column: "virtual_number.state" }),
            }
        }
        Ok(Some(capacity))
    }
}

impl PlatformTx {
    async fn find_pool(&mut self, id: PoolId) -> Result<Option<Pool>, StoreError> {
        let row: Option<Row> = sqlx::query_as(
            "select p.*, array(select trunk_id from pool_trunk t where t.pool_id = p.id
                 order by trunk_id) as trunk_ids
             from pool p where id = $1",
        )
        .bind(uuid(id.as_u128()))
        .fetch_optional(self.connection())
        .await?;
        Ok(row.map(Pool::from))
    }

    async fn load_pool(&mut self, id: PoolId) -> Result<Pool, StoreError> {
        self.find_pool(id).await?.ok_or(StoreError::Unreadable { column: "pool.id" })
    }

    async fn write_pool_trunks(
        &mut self,
        id: PoolId,
        trunks: &[TrunkId],
    ) -> Result<(), StoreError> {
        let trunks: Vec<Uuid> = trunks.iter().map(|trunk| uuid(trunk.as_u128())).collect();
        sqlx::query(
            "insert into pool_trunk (pool_id, trunk_id)
             select $1, trunk_id from unnest($2::uuid[]) as trunk_id",
        )
        .bind(uuid(id.as_u128()))
        .bind(trunks)
        .execute(self.connection())
        .await?;
        Ok(())
    }
}
