//! Hop 3: one indexed query gives everything that the gate and the call need to know of an attempt;
//! where a number serves pairs and the public network calls, a second one finds the caller's own.
//! The number stays sealed until an attempt is answered.

mod query;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sqlx::PgExecutor;
use uuid::Uuid;
use zeroize::Zeroizing;

use self::query::{FROM_CARRIER, FROM_INSURER, FROM_ONE_OF_A_PAIR, HolderRow, RouteRow};
use super::RelayPool;
use super::binding_row::{StateRow, read_seconds};
use super::convert::{from_sql, label, uuid};
use super::error::StoreError;
use super::number::read_digits;
use crate::domain::binding::{BindingState, OnExpiry};
use crate::domain::cause::Cause;
use crate::domain::id::{AgentId, BindingId, RecordingId, SubscriberId, TenantId, TrunkId};
use crate::domain::language::Language;
use crate::domain::magic::LOOPBACK;
use crate::domain::network::{Transport, TrunkPlace};
use crate::domain::number::{RealNumber, VirtualNumber};
use crate::domain::number_state::NumberStateKind;
use crate::domain::purpose::{Announced, Purpose};
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
        /// The calling number, if there is one. It matters where X serves pairs.
        caller: Option<&'a RealNumber>,
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
    allowed_purposes: Option<Box<[Purpose]>>,
    do_not_call: Vec<(Purpose, SystemTime)>,
    paused_until: Option<SystemTime>,
    is_blocked: bool,
    /// An intent of the agent waits until then.
    intents_until: Option<SystemTime>,
    announced: Option<Announced>,
}

/// What differs by who dials.
#[derive(Debug)]
enum SideRecord {
    Insurer(CallerParty),
    Carrier {
        /// The user part that the PBX knows.
        desk: Option<Box<str>>,
    },
    /// The caller is one of a pair.
    Pair {
        /// The extension of the other one, or the desk.
        agent: Option<Box<str>>,
    },
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

    /// The agent for whom intents may wait, unless none does at `now`.
    #[must_use]
    pub fn waits_for(&self, now: SystemTime) -> Option<AgentId> {
        let waits = self.intents_until.is_some_and(|until| now < until);
        self.agent().filter(|_| waits)
    }

    /// The agent who calls.
    #[must_use]
    pub const fn agent(&self) -> Option<AgentId> {
        match self.side {
            SideRecord::Insurer(CallerParty::Agent { id, .. }) => Some(id),
            SideRecord::Insurer(_) | SideRecord::Carrier { .. } | SideRecord::Pair { .. } => None,
        }
    }

    /// It is the route of one attempt, which uses this intent up.
    pub const fn announce(&mut self, announced: Announced) {
        self.announced = Some(announced);
    }

    /// It leads to whom its caller alone is to reach: nobody else may use it.
    #[must_use]
    pub const fn is_for_its_caller(&self) -> bool {
        match self.side {
            SideRecord::Insurer(_) | SideRecord::Carrier { .. } => false,
            SideRecord::Pair { .. } => true,
        }
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
            SideRecord::Carrier { desk: user } | SideRecord::Pair { agent: user } => {
                let is_own = |caller| keys.is_number(caller, &self.lookup_hash);
                let party = if caller.is_some_and(is_own) {
                    CallerParty::Subscriber
                } else {
                    CallerParty::Stranger
                };
                // A tenant without a desk is reached by no trunk.
                let targets = user.as_ref().map(|_| self.targets.clone()).unwrap_or_default();
                (party, Callee::Desk(user.clone().unwrap_or_default()), targets)
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
            allowed_purposes: self.allowed_purposes.clone(),
            do_not_call: self.do_not_call.clone(),
            paused_until: self.paused_until,
            is_blocked: self.is_blocked,
            caps: Vec::new(),
            recording: None,
            announced: self.announced,
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

/// The queries, from an insurer, from a carrier, and from one of a pair: for whoever wants to see
/// their plans.
#[must_use]
pub const fn queries() -> (&'static str, &'static str, &'static str) {
    (FROM_INSURER, FROM_CARRIER, FROM_ONE_OF_A_PAIR)
}

/// Looks a route up.
///
/// # Errors
/// [`StoreError`] when the database is away or slow: never the same as missing.
pub async fn find(
    relay: &RelayPool,
    vault: &Vault,
    key: RouteKey<'_>,
) -> Result<RouteLookup, StoreError> {
    match key {
        RouteKey::FromInsurer { tenant, dialled, caller } => {
            find_from_insurer(&relay.0, tenant, dialled, caller).await
        }
        RouteKey::FromCarrier { dialled, caller } => {
            let row: Option<RouteRow> = sqlx::query_as(FROM_CARRIER)
                .bind(dialled.as_str())
                .fetch_optional(&relay.0)
                .await?;
            if let (Some(row), Some(caller)) = (row.as_ref().filter(|row| row.pairs), caller) {
                return find_pair(relay, vault, row, dialled, caller).await;
            }
            judge(row, None, |row| SideRecord::Carrier {
                desk: row.desk_user.take().map(Into::into),
            })
        }
    }
}

/// For the relay, or in a transaction of the tenant.
pub(super) async fn find_from_insurer(
    executor: impl PgExecutor<'_>,
    tenant: TenantId,
    dialled: &VirtualNumber,
    caller: &str,
) -> Result<RouteLookup, StoreError> {
    let row: Option<RouteRow> = sqlx::query_as(FROM_INSURER)
        .bind(dialled.as_str())
        .bind(caller)
        .bind(uuid(tenant.as_u128()))
        .bind(proved_agent(caller).map(|agent| uuid(agent.as_u128())))
        .fetch_optional(executor)
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

/// A second query, once it is known by whose keys the caller is found.
async fn find_pair(
    relay: &RelayPool,
    vault: &Vault,
    row: &RouteRow,
    dialled: &VirtualNumber,
    caller: &RealNumber,
) -> Result<RouteLookup, StoreError> {
    let tenant = TenantId::from_u128(row.tenant_id.ok_or(JOINED)?.as_u128());
    let keys = vault.open_tenant(tenant, &tenant_keys(&row.holder)?)?;
    let row: Option<RouteRow> = sqlx::query_as(FROM_ONE_OF_A_PAIR)
        .bind(dialled.as_str())
        .bind(keys.lookup_hash(caller).as_bytes().as_slice())
        .fetch_optional(&relay.0)
        .await?;
    judge(row, None, |row| SideRecord::Pair { agent: row.desk_user.take().map(Into::into) })
}

/// The agent whose softphone has proved who it is.
fn proved_agent(caller: &str) -> Option<AgentId> {
    AgentId::parse(caller.strip_prefix(AGENT_MARK)?).ok()
}

fn judge(
    row: Option<RouteRow>,
    asking: Option<TenantId>,
    side: impl FnOnce(&mut RouteRow) -> SideRecord,
) -> Result<RouteLookup, StoreError> {
    let Some(mut row) = row else {
        return Ok(RouteLookup::Missing { why: Missing::Unknown, tenant: asking });
    };
    // Nobody on the public network meets what belongs to test mode.
    if row.is_test && asking.is_none() {
        return Ok(RouteLookup::Missing { why: Missing::Unknown, tenant: None });
    }
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

const JOINED: StoreError = StoreError::Unreadable { column: "a joined row of a route" };

fn tenant_keys(holder: &HolderRow) -> Result<SealedTenantKeys, StoreError> {
    Ok(SealedTenantKeys {
        wrapping: holder.wrapping_key_sealed.clone().ok_or(JOINED)?,
        lookup: holder.lookup_key_sealed.clone().ok_or(JOINED)?,
    })
}

fn record(row: RouteRow, side: SideRecord) -> Result<RouteRecord, StoreError> {
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
        allowed_purposes: row.allowed_purposes.as_deref().map(read_purposes).transpose()?,
        do_not_call: read_refused(
            &bound.refused.unwrap_or_default(),
            bound.refused_until.unwrap_or_default(),
        )?,
        paused_until: bound.paused_until.map(from_sql),
        is_blocked: bound.is_blocked.unwrap_or(false),
        intents_until: bound.intents_until.map(from_sql),
        announced: None,
        targets: if row.is_test {
            vec![LOOPBACK_TARGET]
        } else {
            read_targets(
                &row.trunks.unwrap_or_default(),
                &row.targets.unwrap_or_default(),
                &row.transports.unwrap_or_default(),
            )?
        },
    })
}

/// All that a test tenant's calls are sent to, whatever trunks the pool of the number has. The
/// relay knows where it is.
const LOOPBACK_TARGET: TrunkTarget = TrunkTarget {
    trunk: LOOPBACK,
    name: None,
    address: TrunkTarget::UNRESOLVED,
    transport: Transport::Udp,
};

/// One that is not known stops the lookup: nobody can say whether it allows the call.
fn read_purposes(labels: &[String]) -> Result<Box<[Purpose]>, StoreError> {
    let read = |purpose: &String| label("agent_purpose.purposes", purpose, Purpose::find_label);
    labels.iter().map(read).collect()
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
