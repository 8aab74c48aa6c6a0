//! Virtual numbers: import, lists, the way from free to bound to resting and free again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use jiff_sqlx::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;

use super::convert::{from_sql, label, to_sql, unix_ms, uuid};
use super::error::StoreError;
use super::outbox::NewEvent;
use super::page::{Page, PageRequest};
use super::{PlatformTx, RouteTable, TenantTx};
use crate::domain::event::EventKind;
use crate::domain::id::{NumberId, PoolId, TenantId};
use crate::domain::number::VirtualNumber;
use crate::domain::number_state::{
    DRAINING_TIME, NumberOrder, NumberState, NumberStateKind, QUIET_TIME,
};
use crate::vault::random_u128;

/// The most numbers of one import.
pub const IMPORT_NUMBERS_MAX: usize = 10_000;
/// The most numbers that one sweep moves on.
pub const SWEEP_NUMBERS_MAX: i64 = 1_000;

/// A virtual number as stored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NumberRecord {
    /// Which.
    pub id: NumberId,
    /// Its digits.
    pub digits: VirtualNumber,
    /// Its pool.
    pub pool: PoolId,
    /// Who holds it, or held it last while it drains or cools.
    pub tenant: Option<TenantId>,
    /// What it is doing.
    pub state: NumberState,
    /// Counts its changes.
    pub version: u64,
    /// When it was imported.
    pub created_at: SystemTime,
    /// When it last changed.
    pub updated_at: SystemTime,
}

/// Which numbers a list shows.
#[derive(Clone, Debug, Default)]
pub struct NumberFilter {
    /// Of this pool only.
    pub pool: Option<PoolId>,
    /// In this state only.
    pub state: Option<NumberStateKind>,
    /// This one only.
    pub digits: Option<VirtualNumber>,
}

/// What an import did.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ImportedNumbers {
    /// New and free now.
    pub added: Vec<VirtualNumber>,
    /// In this pool before, in whatever state, and left as they were.
    pub present: Vec<VirtualNumber>,
    /// In another pool, and left there.
    pub elsewhere: Vec<VirtualNumber>,
}

/// What became of an order about a number.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum NumberOutcome {
    /// Done.
    Changed(NumberRecord),
    /// There is no such number.
    NotFound,
    /// Its state does not allow it.
    NotAllowed,
    /// Somebody has changed it meanwhile.
    VersionMismatch,
}

/// What a sweep moved on.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SweptNumbers {
    /// Calls are over: they rest now.
    pub cooling: u64,
    /// Rested enough: they are free.
    pub available: u64,
}

#[derive(sqlx::FromRow)]
struct NumberRow {
    id: Uuid,
    digits: String,
    pool_id: Uuid,
    tenant_id: Option<Uuid>,
    state: String,
    cooling_until: Option<Timestamp>,
    version: i64,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl NumberRow {
    fn read(self) -> Result<NumberRecord, StoreError> {
        let unreadable = StoreError::Unreadable { column: "virtual_number.cooling_until" };
        let cooling_until = self.cooling_until.map(from_sql);
        let state = match label("virtual_number.state", &self.state, NumberStateKind::find_label)? {
            NumberStateKind::Available => NumberState::Available,
            NumberStateKind::Bound => NumberState::Bound,
            NumberStateKind::Draining => {
                NumberState::Draining { cooling_until: cooling_until.ok_or(unreadable)? }
            }
            NumberStateKind::Cooling => {
                NumberState::Cooling { cooling_until: cooling_until.ok_or(unreadable)? }
            }
            NumberStateKind::Reserved => NumberState::Reserved,
            NumberStateKind::Sick => NumberState::Sick,
            NumberStateKind::Retired => NumberState::Retired,
        };
        Ok(NumberRecord {
            id: NumberId::from_u128(self.id.as_u128()),
            digits: read_digits(&self.digits)?,
            pool: PoolId::from_u128(self.pool_id.as_u128()),
            tenant: self.tenant_id.map(|id| TenantId::from_u128(id.as_u128())),
            state,
            version: self.version.unsigned_abs(),
            created_at: from_sql(self.created_at),
            updated_at: from_sql(self.updated_at),
        })
    }
}

pub(super) fn read_digits(digits: &str) -> Result<VirtualNumber, StoreError> {
    VirtualNumber::parse(digits).map_err(|_| StoreError::Unreadable { column: "digits" })
}

impl TenantTx {
    /// The numbers this tenant holds, or held last while they rest.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses or is away.
    pub async fn list_numbers(
        &mut self,
        filter: &NumberFilter,
        page: PageRequest,
    ) -> Result<Page<NumberRecord>, StoreError> {
        let tenant = self.tenant();
        self.plan_for_values().await?;
        list(self.connection(), Some(tenant), filter, page).await
    }
}

impl PlatformTx {
    /// All numbers.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses or is away.
    pub async fn list_numbers(
        &mut self,
        filter: &NumberFilter,
        page: PageRequest,
    ) -> Result<Page<NumberRecord>, StoreError> {
        list(self.connection(), None, filter, page).await
    }

    /// Adds numbers to a pool; the first [`IMPORT_NUMBERS_MAX`] of them.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] with `virtual_number_pool` when there is no such pool.
    pub async fn import_numbers(
        &mut self,
        now: SystemTime,
        pool: PoolId,
        numbers: &[VirtualNumber],
    ) -> Result<ImportedNumbers, StoreError> {
        let mut ids = Vec::new();
        let mut wanted = Vec::new();
        for number in numbers.iter().take(IMPORT_NUMBERS_MAX) {
            ids.push(uuid(NumberId::new(unix_ms(now), random_u128()?).as_u128()));
            wanted.push(number.as_str());
        }
        let added: Vec<(String,)> = sqlx::query_as(
            "insert into virtual_number (id, digits, pool_id, state, created_at, updated_at)
             select new.id, new.digits, $3, 'available', $4, $4
             from unnest($1::uuid[], $2::text[]) as new (id, digits)
             on conflict (digits) do nothing returning digits",
        )
        .bind(&ids)
        .bind(&wanted)
        .bind(uuid(pool.as_u128()))
        .bind(to_sql(now)?)
        .fetch_all(self.connection())
        .await?;
        let elsewhere: Vec<(String,)> = sqlx::query_as(
            "select digits from virtual_number where digits = any($1) and pool_id <> $2",
        )
        .bind(&wanted)
        .bind(uuid(pool.as_u128()))
        .fetch_all(self.connection())
        .await?;
        let read = |rows: Vec<(String,)>| -> Result<BTreeSet<_>, _> {
            rows.iter().map(|(digits,)| read_digits(digits)).collect()
        };
        let (added, elsewhere) = (read(added)?, read(elsewhere)?);
        let is_present =
            |number: &&VirtualNumber| !added.contains(*number) && !elsewhere.contains(*number);
        let present = numbers.iter().take(IMPORT_NUMBERS_MAX).filter(is_present).cloned().collect();
        let (added, elsewhere) = (added.into_iter().collect(), elsewhere.into_iter().collect());
        Ok(ImportedNumbers { added, present, elsewhere })
    }

    /// How many numbers of a pool are in which state.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses or is away.
    pub async fn count_numbers(
        &mut self,
        pool: PoolId,
    ) -> Result<BTreeMap<NumberStateKind, u64>, StoreError> {
        let counts: Vec<(String, i64)> = sqlx::query_as(
            "select state, count(*) from virtual_number where pool_id = $1 group by state",
        )
        .bind(uuid(pool.as_u128()))
        .fetch_all(self.connection())
        .await?;
        let read = |(state, count): (String, i64)| {
            let state = label("virtual_number.state", &state, NumberStateKind::find_label)?;
            Ok((state, count.unsigned_abs()))
        };
        counts.into_iter().map(read).collect()
    }

    /// Carries out an operator's order; `version` guards against a change made meanwhile.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses or is away.
    pub async fn order_number(
        &mut self,
        now: SystemTime,
        digits: &VirtualNumber,
        order: NumberOrder,
        version: Option<u64>,
    ) -> Result<NumberOutcome, StoreError> {
        let found: Option<(i64, String, bool)> = sqlx::query_as(
            "select version, state, tenant_id is not null and released_at is null
             from virtual_number where digits = $1 for update",
        )
        .bind(digits.as_str())
        .fetch_optional(self.connection())
        .await?;
        let Some((stored, state, held)) = found else { return Ok(NumberOutcome::NotFound) };
        if version.is_some_and(|version| version != stored.unsigned_abs()) {
            return Ok(NumberOutcome::VersionMismatch);
        }
        let from = label("virtual_number.state", &state, NumberStateKind::find_label)?;
        let Some(to) = obey(from, held, order) else { return Ok(NumberOutcome::NotAllowed) };
        let row: NumberRow = sqlx::query_as(
            "update virtual_number set version = version + 1, updated_at = $2,
                 state = case when $3 <> 'available' then $3
                              when tenant_id is null then 'available'
                              when released_at is null then 'bound' else 'cooling' end
             where digits = $1
             returning id, digits, pool_id, tenant_id, state, cooling_until, version, created_at,
                       updated_at",
        )
        .bind(digits.as_str())
        .bind(to_sql(now)?)
        .bind(to.label())
        .fetch_one(self.connection())
        .await?;
        self.touch_routes(RouteTable::VirtualNumber);
        let number = row.read()?;
        if let Some(tenant) = number.tenant {
            let event = state_changed(&number);
            self.emit(tenant, now, event).await?;
        }
        Ok(NumberOutcome::Changed(number))
    }

    /// Moves numbers on whose time has come.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses or is away.
    pub async fn sweep_numbers(&mut self, now: SystemTime) -> Result<SweptNumbers, StoreError> {
        let cooling = sqlx::query(
            "update virtual_number set state = 'cooling', version = version + 1, updated_at = $1
             where id in (select id from virtual_number
                          where state = 'draining' and released_at <= $2
                          order by cooling_until limit $3 for update skip locked)",
        )
        .bind(to_sql(now)?)
        .bind(to_sql(now - DRAINING_TIME)?)
        .bind(SWEEP_NUMBERS_MAX)
        .execute(self.connection())
        .await?
        .rows_affected();
        let available = sqlx::query(
            "update virtual_number
             set state = 'available', tenant_id = null, cooling_until = null, attempted_at = null,
                 version = version + 1, updated_at = $1
             where id in (select id from virtual_number
                          where state = 'cooling' and cooling_until <= $1
                            and (attempted_at is null or attempted_at <= $2)
                          order by cooling_until limit $3 for update skip locked)",
        )
        .bind(to_sql(now)?)
        .bind(to_sql(now - QUIET_TIME)?)
        .bind(SWEEP_NUMBERS_MAX)
        .execute(self.connection())
        .await?
        .rows_affected();
        Ok(SweptNumbers { cooling, available })
    }
}

/// The state an order leads to; `Available` stands for "what it was".
fn obey(from: NumberStateKind, held: bool, order: NumberOrder) -> Option<NumberStateKind> {
    use NumberStateKind::{Available, Bound, Cooling, Draining, Reserved, Retired, Sick};
    match (order, from) {
        (NumberOrder::Reserve, Available) => Some(Reserved),
        (NumberOrder::MarkSick, Available | Bound | Draining | Cooling | Reserved) => Some(Sick),
        (NumberOrder::Restore, Reserved | Sick) => Some(Available),
        (NumberOrder::Retire, Available | Reserved | Cooling) => Some(Retired),
        (NumberOrder::Retire, Sick) if !held => Some(Retired),
        (NumberOrder::Reserve, Bound | Draining | Cooling | Reserved | Sick | Retired)
        | (NumberOrder::MarkSick, Sick | Retired)
        | (NumberOrder::Restore, Available | Bound | Draining | Cooling | Retired)
        | (NumberOrder::Retire, Bound | Draining | Sick | Retired) => None,
    }
}

fn state_changed(number: &NumberRecord) -> NewEvent {
    NewEvent {
        kind: EventKind::NumberStateChanged,
        subject: number.id.as_u128(),
        data: serde_json::json!({
            "virtual_number": number.digits.as_str(),
            "state": number.state.kind().label(),
        }),
    }
}

async fn list(
    connection: &mut PgConnection,
    tenant: Option<TenantId>,
    filter: &NumberFilter,
    page: PageRequest,
) -> Result<Page<NumberRecord>, StoreError> {
    let rows: Vec<NumberRow> = sqlx::query_as(
        "select id, digits, pool_id, tenant_id, state, cooling_until, version, created_at,
                updated_at
         from virtual_number
         where id < $1 and ($2::uuid is null or tenant_id = $2)
           and ($3::uuid is null or pool_id = $3) and ($4::text is null or state = $4)
           and ($5::text is null or digits = $5)
         order by id desc limit $6",
    )
    .bind(page.before())
    .bind(tenant.map(|id| uuid(id.as_u128())))
    .bind(filter.pool.map(|id| uuid(id.as_u128())))
    .bind(filter.state.map(NumberStateKind::label))
    .bind(filter.digits.as_ref().map(VirtualNumber::as_str))
    .bind(page.fetch())
    .fetch_all(connection)
    .await?;
    let numbers: Result<Vec<_>, _> = rows.into_iter().map(NumberRow::read).collect();
    Ok(page.page(numbers?, |number| number.id.as_u128()))
}
