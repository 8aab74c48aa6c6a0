//! The numbers of a batch: each row gets the one it would get if it came after the rows before it,
//! but a pool is asked once for all that come from it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::SystemTime;

use uuid::Uuid;

use super::take::Taken;
use super::{BindOutcome, NumberChoice};
use crate::domain::id::PoolId;
use crate::domain::number_state::SAME_TENANT_TIME;
use crate::store::TenantTx;
use crate::store::convert::{to_sql, uuid};
use crate::store::error::StoreError;

/// Every pool with its city.
#[derive(Debug)]
pub(super) struct Pools(Vec<(Uuid, Option<String>)>);

/// Numbers that were taken from a pool and not given yet.
#[derive(Debug, Default)]
struct Shelf {
    numbers: VecDeque<Taken>,
    /// The pool had fewer than were asked for.
    is_last: bool,
}

impl Shelf {
    fn is_bare(&self) -> bool {
        self.is_last && self.numbers.is_empty()
    }
}

/// By pool.
#[derive(Debug, Default)]
pub(super) struct Shelves(BTreeMap<Uuid, Shelf>);

/// The pools a row may be served from, in their order, or why from none.
type Sources = Result<Arc<[Uuid]>, BindOutcome>;

impl Pools {
    /// As the pools of a single binding are found.
    fn sources(&self, pool: Option<PoolId>, city: Option<&str>, elsewhere: bool) -> Sources {
        let named = pool.map(|id| uuid(id.as_u128()));
        let is_there = |of: &Option<String>| city.is_none() || of.as_deref() == city;
        let mut found: Vec<(bool, Uuid)> = self
            .0
            .iter()
            .filter(|(id, _)| named.is_none_or(|named| named == *id))
            .map(|(id, of)| (!is_there(of), *id))
            .collect();
        if found.is_empty() {
            return Err(BindOutcome::PoolUnknown);
        }
        found.retain(|(is_elsewhere, _)| elsewhere || !is_elsewhere);
        found.sort_unstable();
        if found.is_empty() {
            return Err(BindOutcome::CityUnknown);
        }
        Ok(found.into_iter().map(|(_, id)| id).collect())
    }
}

impl TenantTx {
    pub(super) async fn look_pools_up(&mut self) -> Result<Pools, StoreError> {
        let pools = sqlx::query_as("select id, city from pool");
        Ok(Pools(pools.fetch_all(self.connection()).await?))
    }

    /// Takes a free number for each choice, in their order. One that asks for a number by its
    /// digits gets none here.
    pub(super) async fn take_each(
        &mut self,
        now: SystemTime,
        pools: &Pools,
        shelves: &mut Shelves,
        choices: &[&NumberChoice],
    ) -> Result<Vec<Result<Taken, BindOutcome>>, StoreError> {
        let sources = sources(pools, choices);
        let mut given = Vec::with_capacity(sources.len());
        for nth in 0..sources.len() {
            given.push(self.take_next(now, shelves, sources.get(nth..).unwrap_or_default()).await?);
        }
        Ok(given)
    }

    /// A number for the first of these rows.
    async fn take_next(
        &mut self,
        now: SystemTime,
        shelves: &mut Shelves,
        rows: &[Sources],
    ) -> Result<Result<Taken, BindOutcome>, StoreError> {
        let pools = match rows.first() {
            Some(Ok(pools)) => pools,
            Some(Err(outcome)) => return Ok(Err(outcome.clone())),
            None => return Ok(Err(BindOutcome::PoolEmpty)),
        };
        for pool in pools.iter() {
            let shelf = shelves.0.entry(*pool).or_default();
            if shelf.numbers.is_empty() && !shelf.is_last {
                // Only as many as are given: others may want the rest.
                let count = rows.iter().filter(|row| shelves.serves(row) == Some(*pool)).count();
                let numbers = self.take_many(now, *pool, count).await?;
                let is_last = numbers.len() < count;
                shelves.0.insert(*pool, Shelf { numbers, is_last });
            }
            if let Some(taken) = shelves.0.get_mut(pool).and_then(|shelf| shelf.numbers.pop_front())
            {
                return Ok(Ok(taken));
            }
        }
        Ok(Err(BindOutcome::PoolEmpty))
    }

    /// Takes those numbers of a pool that have rested longest, as `take_free` takes one.
    async fn take_many(
        &mut self,
        now: SystemTime,
        pool: Uuid,
        count: usize,
    ) -> Result<VecDeque<Taken>, StoreError> {
        // A limit that is not known counts as a tenth of all that is free: a plan for that reads
        // the whole table.
        self.plan_for_values().await?;
        let rows: Vec<(Uuid, String)> = sqlx::query_as(
            "with free as materialized (
                 select v.id, v.released_at from virtual_number v
                 where v.pool_id = $2 and v.state = 'available'
                   and not exists (select from number_tenancy t
                                   where t.tenant_id = $1 and t.number_id = v.id
                                     and t.released_at > $4)
                 order by v.released_at nulls first, v.id
                 limit $5 for update of v skip locked
             ), taken as (
                 update virtual_number v
                 set state = 'bound', tenant_id = $1, released_at = null, updated_at = $3,
                     version = version + 1
                 from free where v.id = free.id
                 returning v.id, v.digits, free.released_at
             )
             select id, digits from taken order by released_at nulls first, id",
        )
        .bind(uuid(self.tenant().as_u128()))
        .bind(pool)
        .bind(to_sql(now)?)
        .bind(to_sql(now - SAME_TENANT_TIME)?)
        .bind(i64::try_from(count).unwrap_or(i64::MAX))
        .fetch_all(self.connection())
        .await?;
        self.plan_for_all().await?;
        rows.into_iter().map(Taken::read).collect()
    }
}

impl Shelves {
    /// The pool that a row would be served from now.
    fn serves(&self, row: &Sources) -> Option<Uuid> {
        let pools = row.as_ref().ok()?;
        pools.iter().find(|pool| !self.0.get(*pool).is_some_and(Shelf::is_bare)).copied()
    }
}

/// Rows that ask for the same share their pools.
fn sources(pools: &Pools, choices: &[&NumberChoice]) -> Vec<Sources> {
    let mut asked = BTreeMap::new();
    let mut sources = Vec::with_capacity(choices.len());
    for choice in choices {
        sources.push(match choice {
            NumberChoice::Free { pool, city, elsewhere } => asked
                .entry((*pool, city.as_deref(), *elsewhere))
                .or_insert_with(|| pools.sources(*pool, city.as_deref(), *elsewhere))
                .clone(),
            NumberChoice::Exact(_) => Err(BindOutcome::NumberTaken),
        });
    }
    sources
}
