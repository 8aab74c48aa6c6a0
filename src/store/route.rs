//! Hop 3: one indexed query gives everything that the gate and the call need to know of an attempt.
//! The number stays sealed until an attempt is answered.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use uuid::Uuid;
use zeroize::Zeroizing;

use super::RelayPool;
use super::binding_row::{StateRow, read_seconds};
use super::convert::{from_sql, label, uuid};
use super::error::StoreError;
use super::number::read_digits;
use crate::domain::binding::{BindingState, OnExpiry};
use crate::domain::cause::Cause;
use crate::domain::id::{AgentId, BindingId, RecordingId, SubscriberId, TenantId, TrunkId};
use crate::domain::language::Language;
use crate::domain::network::{Transport, TrunkPlace};
use crate::domain::number::{RealNumber, VirtualNumber};
use crate::domain::number_state::NumberStateKind;
use crate::domain::purpose::Purpose;
use crate::domain::recording::RecordingKey;
use crate::domain::route::{AGENT_MARK, Callee, CallerParty, Hearer, Route, TrunkTarget};
use crate::vault::{SealedNumber, SealedTenantKeys, Vault, VaultError};

/// The most targets of one route: failing over for longer helps nobody.
pub const TARGETS_MAX: usize = 16;

/// What a route is looked up by.
#[derive(Clone, Copy, Debug)]
pub enum RouteKey<'a> {
    /// An agent of this tenant dials.
    FromInsurer {
        /// The owner of the trunk.
        tenant: TenantId,
        /// X.
        dialled: &'a VirtualNumber,
        /// The calling extension.
        caller: &'a str,
    },
    /// Somebody on the public network dials.
    FromCarrier {
        /// X.
        dialled: &'a VirtualNumber,
    },
}

/// What a lookup finds.
#[derive(Debug)]
pub enum RouteLookup {
    /// A binding that is not over.
    Found(Box<RouteRecord>),
    /// Nobody is reached by this number.
    Missing {
        /// Why, for the record only: to the caller all of them sound alike.
        why: Missing,
        /// Whose record it is, if anybody's.
        tenant: Option<TenantId>,
    },
}

/// Why nobody is reached by a number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Missing {
    /// No such number.
    Unknown,
    /// Another tenant holds it: never to be told apart from unknown.
    Foreign,
    /// It rests after a release.
    Cooling,
    /// It is free, or kept back.
    Unbound,
}

impl Missing {
    /// What the CDR says.
    #[must_use]
    pub const fn cause(self) -> Cause {
        match self {
            Self::Unknown | Self::Foreign | Self::Unbound => Cause::NumberUnknown,
            Self::Cooling => Cause::Cooling,
        }
    }
}

/// A route as it may be kept in memory: its number is sealed.
#[derive(Debug)]
pub struct RouteRecord {
    tenant: TenantId,
    tenant_active: bool,
    tenant_keys: SealedTenantKeys,
    binding: BindingId,
    state: BindingState,
    on_expiry: OnExpiry,
    duration_max: Option<Duration>,
    subscriber: SubscriberId,
    number: SealedNumber,
    lookup_hash: Vec<u8>,
    virtual_number: VirtualNumber,
    side: SideRecord,
    targets: Vec<TrunkTarget>,
    hearer: Hearer,
    agent_number: Box<str>,
    do_not_call: Vec<(Purpose, SystemTime)>,
    paused_until: Option<SystemTime>,
    is_blocked: bool,
}

/// What differs by who dials.
#[derive(Debug)]
enum SideRecord {
    Insurer(CallerParty),
    Carrier { desk: Option<Box<str>> },
}

impl RouteRecord {
    /// Whose binding it is.
    #[must_use]
    pub const fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// Which binding.
    #[must_use]
    pub const fn binding(&self) -> BindingId {
        self.binding
    }

    /// The longest answered duration of an attempt at `now`: where calls end with their binding,
    /// they are warned of its end as of any other.
    #[must_use]
    pub fn duration_max(&self, now: SystemTime) -> Option<Duration> {
        let left = match self.on_expiry {
            OnExpiry::Finish => None,
            OnExpiry::End => self.state.expires_at(),
        };
        let left = left.map(|until| until.duration_since(now).unwrap_or_default());
        left.into_iter().chain(self.duration_max).min()
    }

    /// Makes the route of one attempt. From an insurer the callee's number is opened; from a
    /// carrier the caller is recognised. It takes microseconds and asks nobody.
    ///
    /// # Errors
    /// [`VaultError`] when a key or a number does not open.
    pub fn open(&self, vault: &Vault, caller: Option<&RealNumber>) -> Result<Route, VaultError> {
        let keys = vault.open_tenant(self.tenant, &self.tenant_keys)?;
        let (caller, callee, targets) = match &self.side {
            SideRecord::Insurer(caller) => {
                let number = keys.open_number(self.subscriber, &self.number)?;
                (*caller, Callee::Subscriber(Arc::new(number)), self.targets.clone())
            }
            SideRecord::Carrier { desk } => {
                let is_own = |caller| keys.is_number(caller, &self.lookup_hash);
                let party = if caller.is_some_and(is_own) {
                    CallerParty::Subscriber
                } else {
                    CallerParty::Stranger
                };
                // A tenant without a desk is reached by no trunk.
                let targets = desk.as_ref().map(|_| self.targets.clone()).unwrap_or_default();
                (party, Callee::Desk(desk.clone().unwrap_or_default()), targets)
            }
        };
        Ok(Route {
            tenant: self.tenant,
            tenant_active: self.tenant_active,
            binding: self.binding,
            state: self.state,
            subscriber: self.subscriber,
            virtual_number: self.virtual_number.clone(),
            caller,
            callee,
            targets,
            duration_max: self.duration_max,
            hearer: self.hearer,
            agent_number: self.agent_number.clone(),
            do_not_call: self.do_not_call.clone(),
            paused_until: self.paused_until,
            is_blocked: self.is_blocked,
            caps: Vec::new(),
            recording: None,
        })
    }

    /// Makes the key of a recording of one attempt. It takes microseconds and asks nobody.
    ///
    /// # Errors
    /// [`VaultError`] when a key does not open, or the library fails.
    pub fn recording_key(
        &self,
        vault: &Vault,
        recording: RecordingId,
    ) -> Result<RecordingKey, VaultError> {
        let keys = vault.open_tenant(self.tenant, &self.tenant_keys)?;
        let (key, wrapped) = keys.create_recording_key(recording)?;
        let key = Zeroizing::new(key.as_bytes().as_slice().into());
        Ok(RecordingKey { recording, key, wrapped: wrapped.into() })
    }
}

/// The two queries, from an insurer and from a carrier: for whoever wants to see their plans.
#[must_use]
pub const fn queries() -> (&'static str, &'static str) {
    (FROM_INSURER, FROM_CARRIER)
}

/// Looks a route up.
///
/// # Errors
/// [`StoreError`] when the database is away or slow: never the same as missing.
pub async fn find(relay: &RelayPool, key: RouteKey<'_>) -> Result<RouteLookup, StoreError> {
    match key {
        RouteKey::FromInsurer { tenant, dialled, caller } => {
            let row: Option<RouteRow> = sqlx::query_as(FROM_INSURER)
                .bind(dialled.as_str())
                .bind(caller)
                .bind(uuid(tenant.as_u128()))
                .bind(proved_agent(caller).map(|agent| uuid(agent.as_u128())))
                .fetch_optional(&relay.0)
                .await?;
            judge(row, Some(tenant), |row| {
                let caller = match row.agent_id {
                    Some(id) => CallerParty::Agent {
                        id: AgentId::from_u128(id.as_u128()),
                        active: row.agent_active.unwrap_or(false),
                    },
                    None => CallerParty::UnknownAgent,
                };
                SideRecord::Insurer(caller)
            })
        }
        RouteKey::FromCarrier { dialled } => {
            let row: Option<RouteRow> = sqlx::query_as(FROM_CARRIER)
                .bind(dialled.as_str())
                .fetch_optional(&relay.0)
                .await?;
            judge(row, None, |row| SideRecord::Carrier {
                desk: row.desk_user.take().map(Into::into),
            })
        }
    }
}

/// The agent whose softphone has proved who it is.
fn proved_agent(caller: &str) -> Option<AgentId> {
    AgentId::parse(caller.strip_prefix(AGENT_MARK)?).ok()
}

/// Both queries start at the number and follow one index for each step, so their cost does not
/// depend on how many bindings there are.
macro_rules! route_query {
    ($agent_columns:literal, $agent_join:literal, $refused_join:literal, $targets:literal) => {
        concat!(
            "select v.digits, v.state as number_state, v.tenant_id,
                    t.state = 'active' as tenant_active, t.wrapping_key_sealed,
                    t.lookup_key_sealed, t.desk_user, ",
            $agent_columns,
            ",
                    b.id as binding_id, b.state, b.starts_at, b.expires_at, b.suspend_reason,
                    b.ended_at, b.on_expiry, b.duration_max_s,
                    s.id as subscriber_id, s.number_sealed, s.key_sealed, s.lookup_hash,
                    s.language, s.age_band = 'senior' as is_senior, d.refused, d.refused_until,
                    o.trunks, o.targets, o.transports
             from virtual_number v
             left join tenant t on t.id = v.tenant_id
             left join binding b on b.number_id = v.id and b.tenant_id = v.tenant_id
                 and b.ended_at is null and b.mode <> 'axb' and b.extension is null
             left join subscriber s on s.tenant_id = b.tenant_id and s.id = b.subscriber_id ",
            $agent_join,
            $refused_join,
            " left join lateral (
                 select array_agg(k.id order by k.priority, k.weight desc, k.id, k.nth) as trunks,
                        array_agg(k.target order by k.priority, k.weight desc, k.id, k.nth)
                            as targets,
                        array_agg(k.transport
                            order by k.priority, k.weight desc, k.id, k.nth) as transports
                 from (select k.id, k.priority, k.weight, k.transport, u.target, u.nth from ",
            $targets,
            " cross join lateral unnest(k.targets) with ordinality as u (target, nth)
                       where k.enabled and k.deleted_at is null) as k
             ) as o on b.id is not null
             where v.digits = $1"
        )
    };
}

/// The subscriber is called over the carrier trunks of the number's pool.
const FROM_INSURER: &str = route_query!(
    "a.id as agent_id, a.state = 'active' as agent_active, a.employee_id,
     q.until as paused_until, x.agent_id is not null as is_blocked",
    "left join agent_caller_number c on c.tenant_id = $3 and c.caller = $2
     left join agent a on a.tenant_id = $3 and a.id = coalesce($4::uuid, c.agent_id)
         and a.deleted_at is null",
    " left join lateral (
          select array_agg(n.purpose order by n.purpose) as refused,
                 array_agg(n.until order by n.purpose) as refused_until
          from do_not_call n
          where n.tenant_id = b.tenant_id and n.subscriber_id = b.subscriber_id
      ) as d on b.id is not null
      left join subscriber_pause q on q.tenant_id = b.tenant_id
          and q.subscriber_id = b.subscriber_id
      left join agent_block x on x.tenant_id = b.tenant_id
          and x.subscriber_id = b.subscriber_id and x.agent_id = a.id",
    "(select k.* from pool_trunk p join trunk k on k.id = p.trunk_id and k.role = 'carrier'
      where p.pool_id = v.pool_id) k"
);

/// The desk is called over the tenant's own trunks.
const FROM_CARRIER: &str = route_query!(
    "null::uuid as agent_id, null::boolean as agent_active, null::text as employee_id,
     null::timestamptz as paused_until, null::boolean as is_blocked",
    "",
    " left join (select null::text[] as refused, null::timestamptz[] as refused_until) as d
         on true",
    "(select k.* from trunk k where k.tenant_id = v.tenant_id and k.role = 'insurer') k"
);

#[derive(sqlx::FromRow)]
struct RouteRow {
    digits: String,
    number_state: String,
    tenant_id: Option<Uuid>,
    agent_id: Option<Uuid>,
    agent_active: Option<bool>,
    employee_id: Option<String>,
    desk_user: Option<String>,
    #[sqlx(flatten)]
    holder: HolderRow,
    #[sqlx(flatten)]
    binding: BoundRow,
    trunks: Option<Vec<Uuid>>,
    targets: Option<Vec<String>>,
    transports: Option<Vec<String>>,
}

#[derive(sqlx::FromRow)]
struct HolderRow {
    tenant_active: Option<bool>,
    wrapping_key_sealed: Option<Vec<u8>>,
    lookup_key_sealed: Option<Vec<u8>>,
}

#[derive(sqlx::FromRow)]
struct BoundRow {
    binding_id: Option<Uuid>,
    state: Option<String>,
    starts_at: Option<jiff_sqlx::Timestamp>,
    expires_at: Option<jiff_sqlx::Timestamp>,
    suspend_reason: Option<String>,
    ended_at: Option<jiff_sqlx::Timestamp>,
    on_expiry: Option<String>,
    duration_max_s: Option<i32>,
    subscriber_id: Option<Uuid>,
    number_sealed: Option<Vec<u8>>,
    key_sealed: Option<Vec<u8>>,
    lookup_hash: Option<Vec<u8>>,
    language: Option<String>,
    is_senior: Option<bool>,
    refused: Option<Vec<String>>,
    refused_until: Option<Vec<jiff_sqlx::Timestamp>>,
    paused_until: Option<jiff_sqlx::Timestamp>,
    is_blocked: Option<bool>,
}

fn judge(
    row: Option<RouteRow>,
    asking: Option<TenantId>,
    side: impl FnOnce(&mut RouteRow) -> SideRecord,
) -> Result<RouteLookup, StoreError> {
    let Some(mut row) = row else {
        return Ok(RouteLookup::Missing { why: Missing::Unknown, tenant: asking });
    };
    let holder = row.tenant_id.map(|id| TenantId::from_u128(id.as_u128()));
    if asking.is_some() && holder.is_some() && asking != holder {
        return Ok(RouteLookup::Missing { why: Missing::Foreign, tenant: asking });
    }
    let tenant = holder.or(asking);
    let why = match label("number state", &row.number_state, NumberStateKind::find_label)? {
        // A sick number may still connect; the carrier will say.
        NumberStateKind::Bound | NumberStateKind::Sick if row.binding.binding_id.is_some() => {
            let side = side(&mut row);
            let record = record(row, side)?;
            return Ok(RouteLookup::Found(Box::new(record)));
        }
        NumberStateKind::Draining | NumberStateKind::Cooling => Missing::Cooling,
        NumberStateKind::Bound
        | NumberStateKind::Sick
        | NumberStateKind::Available
        | NumberStateKind::Reserved
        | NumberStateKind::Retired => Missing::Unbound,
    };
    Ok(RouteLookup::Missing { why, tenant })
}

fn record(row: RouteRow, side: SideRecord) -> Result<RouteRecord, StoreError> {
    const JOINED: StoreError = StoreError::Unreadable { column: "a joined row of a route" };
    let (holder, bound) = (row.holder, row.binding);
    let state = StateRow {
        state: bound.state.ok_or(JOINED)?,
        starts_at: bound.starts_at,
        expires_at: bound.expires_at,
        suspend_reason: bound.suspend_reason,
        ended_at: bound.ended_at,
    };
    let id = |bits: Option<Uuid>| bits.map(|id| id.as_u128()).ok_or(JOINED);
    Ok(RouteRecord {
        tenant: TenantId::from_u128(id(row.tenant_id)?),
        tenant_active: holder.tenant_active.ok_or(JOINED)?,
        tenant_keys: SealedTenantKeys {
            wrapping: holder.wrapping_key_sealed.ok_or(JOINED)?,
            lookup: holder.lookup_key_sealed.ok_or(JOINED)?,
        },
        binding: BindingId::from_u128(id(bound.binding_id)?),
        state: state.read()?,
        on_expiry: label(
            "binding.on_expiry",
            &bound.on_expiry.ok_or(JOINED)?,
            OnExpiry::find_label,
        )?,
        duration_max: read_seconds(bound.duration_max_s),
        subscriber: SubscriberId::from_u128(id(bound.subscriber_id)?),
        number: SealedNumber {
            number: bound.number_sealed.ok_or(JOINED)?,
            key: bound.key_sealed.ok_or(JOINED)?,
        },
        lookup_hash: bound.lookup_hash.ok_or(JOINED)?,
        virtual_number: read_digits(&row.digits)?,
        side,
        hearer: Hearer {
            language: label(
                "subscriber.language",
                &bound.language.ok_or(JOINED)?,
                Language::find_label,
            )?,
            slow: bound.is_senior.unwrap_or(false),
        },
        agent_number: row.employee_id.unwrap_or_default().into(),
        do_not_call: read_refused(
            &bound.refused.unwrap_or_default(),
            bound.refused_until.unwrap_or_default(),
        )?,
        paused_until: bound.paused_until.map(from_sql),
        is_blocked: bound.is_blocked.unwrap_or(false),
        targets: read_targets(
            &row.trunks.unwrap_or_default(),
            &row.targets.unwrap_or_default(),
            &row.transports.unwrap_or_default(),
        )?,
    })
}

fn read_refused(
    purposes: &[String],
    until: Vec<jiff_sqlx::Timestamp>,
) -> Result<Vec<(Purpose, SystemTime)>, StoreError> {
    let read = |(purpose, until): (&String, _)| {
        Ok((label("do_not_call.purpose", purpose, Purpose::find_label)?, from_sql(until)))
    };
    purposes.iter().zip(until).map(read).collect()
}

fn read_targets(
    trunks: &[Uuid],
    targets: &[String],
    transports: &[String],
) -> Result<Vec<TrunkTarget>, StoreError> {
    let read = |((trunk, target), transport): ((&Uuid, &String), &String)| {
        let address = match label("trunk.targets", target, |it| TrunkPlace::parse(it).ok())? {
            TrunkPlace::Address(address) => address,
            // The relay knows where the name leads.
            TrunkPlace::Name { .. } => TrunkTarget::UNRESOLVED,
        };
        let transport = label("trunk.transport", transport, Transport::find_label)?;
        let trunk = TrunkId::from_u128(trunk.as_u128());
        Ok(TrunkTarget { trunk, name: None, address, transport })
    };
    trunks.iter().zip(targets).zip(transports).take(TARGETS_MAX).map(read).collect()
}
