//! Which X a new binding gets: the one its subscriber had, or for a pair one that serves others
//! already; else the free one that rested longest.

use std::time::SystemTime;

use uuid::Uuid;

use super::pair::Pair;
use super::{BindOutcome, BindingMode, NumberChoice};
use crate::domain::id::{NumberId, PoolId, SubscriberId};
use crate::domain::number::VirtualNumber;
use crate::domain::number_state::SAME_TENANT_TIME;
use crate::store::TenantTx;
use crate::store::convert::{to_sql, uuid};
use crate::store::error::StoreError;
use crate::store::number::read_digits;

/// An X just taken.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) id: NumberId,
    pub(super) digits: VirtualNumber,
}

impl Taken {
    pub(super) fn read((id, digits): (Uuid, String)) -> Result<Self, StoreError> {
        Ok(Self { id: NumberId::from_u128(id.as_u128()), digits: read_digits(&digits)? })
    }
}

impl TenantTx {
    /// Takes an X for a binding; `returning` is its subscriber, when it is known already.
    pub(super) async fn take(
        &mut self,
        now: SystemTime,
        choice: &NumberChoice,
        mode: BindingMode,
        returning: Option<SubscriberId>,
    ) -> Result<Result<Taken, BindOutcome>, StoreError> {
        match choice {
            NumberChoice::Exact(digits) => {
                if let Some(taken) = self.take_exact(now, digits, mode).await? {
                    return Ok(Ok(taken));
                }
                let known = match mode {
                    BindingMode::Ax => self.take_back(now, returning, None, Some(digits)).await?,
                    BindingMode::Axb { agent } => {
                        self.join_exact(now, digits, Pair { agent, subscriber: returning }).await?
                    }
                };
                if let Some(taken) = known {
                    return Ok(Ok(taken));
                }
                let rests = self.rests_after_own(digits).await?;
                Ok(Err(if rests { BindOutcome::NumberCooling } else { BindOutcome::NumberTaken }))
            }
            NumberChoice::Free { pool, city, elsewhere } => {
                let found = self.find_pools(*pool, city.as_deref()).await?;
                if found.is_empty() {
                    return Ok(Err(BindOutcome::PoolUnknown));
                }
                let fits = |(_, is_there): &(Uuid, bool)| *is_there || *elsewhere;
                let (pools, is_there): (Vec<Uuid>, Vec<bool>) =
                    found.into_iter().filter(fits).unzip();
                if pools.is_empty() {
                    return Ok(Err(BindOutcome::CityUnknown));
                }
                let taken = match mode {
                    BindingMode::Ax => {
                        match self.take_back(now, returning, Some(&pools), None).await? {
                            Some(taken) => Some(taken),
                            None => self.take_free(now, &pools, mode).await?,
                        }
                    }
                    BindingMode::Axb { agent } => {
                        let there = is_there.iter().take_while(|is_there| **is_there).count();
                        let pair = Pair { agent, subscriber: returning };
                        self.join_or_take(now, pools.split_at(there), pair).await?
                    }
                };
                Ok(taken.ok_or(BindOutcome::PoolEmpty))
            }
        }
    }

    /// The pools that are meant, and whether each is of the city that is meant; those first.
    async fn find_pools(
        &mut self,
        pool: Option<PoolId>,
        city: Option<&str>,
    ) -> Result<Vec<(Uuid, bool)>, StoreError> {
        Ok(sqlx::query_as(
            "select id, $2::text is null or city is not distinct from $2 as is_there from pool
             where $1::uuid is null or id = $1 order by is_there desc, id",
        )
        .bind(pool.map(|id| uuid(id.as_u128())))
        .bind(city)
        .fetch_all(self.connection())
        .await?)
    }

    /// Takes the number back that its subscriber had last, while it rests: its callers reach whom
    /// they know, and nobody else has heard of it meanwhile.
    async fn take_back(
        &mut self,
        now: SystemTime,
        returning: Option<SubscriberId>,
        pools: Option<&[Uuid]>,
        digits: Option<&VirtualNumber>,
    ) -> Result<Option<Taken>, StoreError> {
        let Some(subscriber) = returning else { return Ok(None) };
        let row: Option<(Uuid, String)> = sqlx::query_as(
            "update virtual_number
             set state = 'bound', released_at = null, cooling_until = null, attempted_at = null,
                 updated_at = $3, version = version + 1
             where id = (
                 select v.id from binding b join virtual_number v on v.id = b.number_id
                 where b.tenant_id = $1 and b.subscriber_id = $2 and b.ended_at is not null
                   and b.mode = 'ax' and v.tenant_id = $1 and v.state in ('draining', 'cooling')
                   and ($4::uuid[] is null or v.pool_id = any ($4))
                   and ($5::text is null or v.digits = $5)
                   and not exists (
                       select from binding o
                       where o.tenant_id = $1 and o.virtual_number = b.virtual_number
                         and o.number_id = b.number_id and o.subscriber_id <> $2
                         and o.ended_at >= b.ended_at)
                 order by b.ended_at desc limit 1 for update of v skip locked)
             returning id, digits",
        )
        .bind(uuid(self.tenant().as_u128()))
        .bind(uuid(subscriber.as_u128()))
        .bind(to_sql(now)?)
        .bind(pools)
        .bind(digits.map(VirtualNumber::as_str))
        .fetch_optional(self.connection())
        .await?;
        row.map(Taken::read).transpose()
    }

    /// Whether an X rests after a binding of this tenant's own. Once it has rested it is told as
    /// any other number, or a change of the answer would say when somebody else got it.
    async fn rests_after_own(&mut self, digits: &VirtualNumber) -> Result<bool, StoreError> {
        Ok(sqlx::query_scalar(
            "select exists (
                 select from virtual_number v
                 where v.digits = $2 and v.tenant_id = $1 and v.state in ('draining', 'cooling'))",
        )
        .bind(uuid(self.tenant().as_u128()))
        .bind(digits.as_str())
        .fetch_one(self.connection())
        .await?)
    }

    /// Takes the number that has rested longest, passing over those that others take right now.
    pub(super) async fn take_free(
        &mut self,
        now: SystemTime,
        pools: &[Uuid],
        mode: BindingMode,
    ) -> Result<Option<Taken>, StoreError> {
        for pool in pools {
            let row: Option<(Uuid, String)> = sqlx::query_as(
                "update virtual_number
                 set state = 'bound', tenant_id = $1, released_at = null, updated_at = $3,
                     version = version + 1, pairs = $5
                 where id = (select v.id from virtual_number v
                             where v.pool_id = $2 and v.state = 'available'
                               and not exists (select from number_tenancy t
                                               where t.tenant_id = $1 and t.number_id = v.id
                                                 and t.released_at > $4)
                             order by v.released_at nulls first, v.id
                             limit 1 for update of v skip locked)
                 returning id, digits",
            )
            .bind(uuid(self.tenant().as_u128()))
            .bind(pool)
            .bind(to_sql(now)?)
            .bind(to_sql(now - SAME_TENANT_TIME)?)
            .bind(mode.agent().is_some())
            .fetch_optional(self.connection())
            .await?;
            if let Some(row) = row {
                return Taken::read(row).map(Some);
            }
        }
        Ok(None)
    }

    async fn take_exact(
        &mut self,
        now: SystemTime,
        digits: &VirtualNumber,
        mode: BindingMode,
    ) -> Result<Option<Taken>, StoreError> {
        let row: Option<(Uuid, String)> = sqlx::query_as(
            "update virtual_number v
             set state = 'bound', tenant_id = $1, released_at = null, updated_at = $3,
                 version = version + 1, pairs = $5
             where v.digits = $2 and v.state = 'available'
               and not exists (select from number_tenancy t
                               where t.tenant_id = $1 and t.number_id = v.id
                                 and t.released_at > $4)
             returning v.id, v.digits",
        )
        .bind(uuid(self.tenant().as_u128()))
        .bind(digits.as_str())
        .bind(to_sql(now)?)
        .bind(to_sql(now - SAME_TENANT_TIME)?)
        .bind(mode.agent().is_some())
        .fetch_optional(self.connection())
        .await?;
        row.map(Taken::read).transpose()
    }
}
