//! Which X a pair gets: one that serves pairs of this tenant already, as long as neither party can
//! meet somebody else on it; numbers are scarce. Else a free one.

use std::time::SystemTime;

use uuid::Uuid;

use super::take::Taken;
use super::{BindingMode, CallsUp};
use crate::domain::id::{AgentId, NumberId, SubscriberId, TenantId};
use crate::domain::number::VirtualNumber;
use crate::store::convert::{from_sql, to_sql, uuid};
use crate::store::error::StoreError;
use crate::store::{RelayPool, Store, TenantTx};

/// The most numbers that one look for those without a pair finds.
const LEFT_NUMBERS_MAX: i64 = 500;

/// Who is to be reached on X by the other one alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair {
    pub(super) agent: AgentId,
    /// Absent while it is not known yet: no X rests for its sake then, not even one that it was on
    /// before it was erased. Nobody can tell any more that it is the same person.
    pub(super) subscriber: Option<SubscriberId>,
}

/// The row is held until the pair is written, so that the number cannot rest meanwhile; pairs do
/// not wait for each other. For an ended pair X rests as any number does: with somebody else at the
/// other end, whoever dials what it dialled before would reach a stranger.
macro_rules! shared_number {
    ($which:literal, $lock:literal) => {
        concat!(
            "select v.id, v.digits from virtual_number v join pool p on p.id = v.pool_id
             where v.tenant_id = $1 and v.pairs and v.state = 'bound'
               and not exists (
                   select from binding b
                   where b.tenant_id = $1 and b.agent_id = $2 and b.number_id = v.id
                     and (b.ended_at is null or b.subscriber_id is distinct from $3
                         and b.ended_at + make_interval(days => p.cooling_days) > $4))
               and not exists (
                   select from binding b
                   where b.tenant_id = $1 and b.subscriber_id = $3 and b.number_id = v.id
                     and (b.ended_at is null or b.agent_id is distinct from $2
                         and b.ended_at + make_interval(days => p.cooling_days) > $4))
               and ",
            $which,
            " order by v.id limit 1 for share of v",
            $lock
        )
    };
}

impl TenantTx {
    /// Takes an X of the first pools for a pair, or else of the others.
    pub(super) async fn join_or_take(
        &mut self,
        now: SystemTime,
        pools: (&[Uuid], &[Uuid]),
        pair: Pair,
    ) -> Result<Option<Taken>, StoreError> {
        let mode = BindingMode::Axb { agent: pair.agent };
        for pools in [pools.0, pools.1] {
            if let Some(taken) = self.join(now, pools, pair).await? {
                return Ok(Some(taken));
            }
            if let Some(taken) = self.take_free(now, pools, mode).await? {
                return Ok(Some(taken));
            }
        }
        Ok(None)
    }

    async fn join(
        &mut self,
        now: SystemTime,
        pools: &[Uuid],
        pair: Pair,
    ) -> Result<Option<Taken>, StoreError> {
        let row: Option<(Uuid, String)> =
            sqlx::query_as(shared_number!("v.pool_id = any ($5)", " skip locked"))
                .bind(uuid(self.tenant().as_u128()))
                .bind(uuid(pair.agent.as_u128()))
                .bind(pair.subscriber.map(|id| uuid(id.as_u128())))
                .bind(to_sql(now)?)
                .bind(pools)
                .fetch_optional(self.connection())
                .await?;
        row.map(Taken::read).transpose()
    }

    /// Takes this X for a pair, where it serves others already.
    pub(super) async fn join_exact(
        &mut self,
        now: SystemTime,
        digits: &VirtualNumber,
        pair: Pair,
    ) -> Result<Option<Taken>, StoreError> {
        let row: Option<(Uuid, String)> = sqlx::query_as(shared_number!("v.digits = $5", ""))
            .bind(uuid(self.tenant().as_u128()))
            .bind(uuid(pair.agent.as_u128()))
            .bind(pair.subscriber.map(|id| uuid(id.as_u128())))
            .bind(to_sql(now)?)
            .bind(digits.as_str())
            .fetch_optional(self.connection())
            .await?;
        row.map(Taken::read).transpose()
    }

    /// Lets X rest where this pair was its last, unless somebody else binds a pair to it or ends
    /// one at this moment: an end waits for nobody. What is left over then,
    /// [`Store::rest_left_numbers`] finds.
    pub(super) async fn leave_number(
        &mut self,
        now: SystemTime,
        released_at: SystemTime,
        number: NumberId,
        calls: CallsUp,
    ) -> Result<(), StoreError> {
        let held: Option<bool> = sqlx::query_scalar(
            "select true from virtual_number where id = $2 and tenant_id = $1
             for update skip locked",
        )
        .bind(uuid(self.tenant().as_u128()))
        .bind(uuid(number.as_u128()))
        .fetch_optional(self.connection())
        .await?;
        if held.is_none() {
            return Ok(());
        }
        // A statement of its own: it sees what was committed before the row was held.
        let is_used: bool = sqlx::query_scalar(
            "select exists (select from binding
                            where tenant_id = $1 and number_id = $2 and ended_at is null)",
        )
        .bind(uuid(self.tenant().as_u128()))
        .bind(uuid(number.as_u128()))
        .fetch_one(self.connection())
        .await?;
        if is_used {
            return Ok(());
        }
        self.release_number(now, released_at, number, calls).await
    }
}

impl Store {
    /// Lets numbers rest that serve no pair any more and were held by somebody when their last one
    /// ended, at most 500; returns how many were found.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses or is away.
    pub async fn rest_left_numbers(
        &self,
        relay: &RelayPool,
        now: SystemTime,
    ) -> Result<usize, StoreError> {
        let left: Vec<(Uuid, Uuid, Option<jiff_sqlx::Timestamp>)> = sqlx::query_as(
            "select v.tenant_id, v.id,
                    (select max(b.ended_at) from binding b
                     where b.tenant_id = v.tenant_id and b.number_id = v.id)
             from virtual_number v
             where v.pairs and v.state in ('bound', 'sick')
               and not exists (select from binding b
                               where b.tenant_id = v.tenant_id and b.number_id = v.id
                                 and b.ended_at is null)
             order by v.tenant_id, v.id limit $1",
        )
        .bind(LEFT_NUMBERS_MAX)
        .fetch_all(&relay.0)
        .await?;
        for (tenant, number, ended_at) in &left {
            let mut transaction = self.tenant(TenantId::from_u128(tenant.as_u128())).await?;
            let number = NumberId::from_u128(number.as_u128());
            let ended_at = ended_at.map_or(now, from_sql);
            transaction.leave_number(now, ended_at, number, CallsUp::GoOn).await?;
            transaction.commit().await?;
        }
        Ok(left.len())
    }
}
