//! The store as the call plane sees it: routes are asked for and come late, or never. It keeps the
//! rule of the real route cache: a look-up that began before an invalidation is done again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use maskline::domain::binding::{BindingState, SuspendReason};
use maskline::domain::cap::CapLimits;
use maskline::domain::cause::Cause;
use maskline::domain::id::{BindingId, CallId, RecordingId};
use maskline::domain::network::Transport;
use maskline::domain::number::{RealNumber, VirtualNumber};
use maskline::domain::purpose::Purpose;
use maskline::domain::recording::RecordingKey;
use maskline::domain::route::{
    Callee, CallerParty, Hearer, Route, RouteAnswer, RouteQuery, TrunkTarget,
};
use maskline::policy::caps::Ledger;
use rand_chacha::ChaCha8Rng;
use zeroize::Zeroizing;

use crate::cast::{EVERYBODY, Place, Who};
use crate::chance::Chance;
use crate::model::{Binding, Facts};

/// The most look-ups that wait at one time.
pub(crate) const LOOKUPS_MAX: usize = 5_000;

/// What the store does a while after it was asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum StoreStep {
    /// It reads the rows.
    Read(CallId),
    /// It answers with what it read.
    Answer(CallId),
}

pub(crate) struct Store {
    rng: ChaCha8Rng,
    /// What has been committed.
    facts: Facts,
    binding_ids: BTreeMap<&'static str, BindingId>,
    bindings_made: u128,
    /// The trunks that lead to a subscriber's phone, best first.
    carriers: BTreeMap<&'static str, Vec<Who>>,
    invalidations: u64,
    lookups: BTreeMap<CallId, Lookup>,
    /// What it has been told of refusals: later than they were said.
    unwanted: BTreeSet<(Place, &'static str)>,
    /// How long an answer takes.
    pub(crate) delay: (Duration, Duration),
    /// The database is away.
    pub(crate) failing: bool,
    /// The longest answered duration that routes carry.
    pub(crate) duration_max: Option<Duration>,
    /// The caps against fraud, which the shell puts into routes.
    pub(crate) ledger: Ledger,
}

struct Lookup {
    query: RouteQuery,
    give_up_at: Instant,
    invalidations: u64,
    read: Option<RouteAnswer>,
}

/// After this long the shell gives up on the database.
const LOOKUP_TIME_MAX: Duration = Duration::from_millis(1_500);

impl Store {
    pub(crate) fn new(rng: ChaCha8Rng) -> Self {
        Self {
            rng,
            facts: Facts::default(),
            binding_ids: BTreeMap::new(),
            bindings_made: 0,
            carriers: BTreeMap::new(),
            invalidations: 0,
            lookups: BTreeMap::new(),
            unwanted: BTreeSet::new(),
            delay: (Duration::from_millis(1), Duration::from_millis(1)),
            failing: false,
            duration_max: None,
            ledger: Ledger::new(CapLimits::default()),
        }
    }

    pub(crate) fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Commits a change. It is not yet known to the route cache: see [`Self::invalidate`].
    pub(crate) fn commit(&mut self, change: impl FnOnce(&mut Facts)) {
        change(&mut self.facts);
    }

    /// Commits a new binding.
    pub(crate) fn bind(&mut self, binding: Binding) -> BindingId {
        self.bindings_made += 1;
        let id = BindingId::from_u128(0x5000 + self.bindings_made);
        self.binding_ids.insert(binding.x, id);
        self.facts.bindings.push(binding);
        id
    }

    pub(crate) fn find_binding_id(&self, x: &str) -> Option<BindingId> {
        self.binding_ids.get(x).copied()
    }

    /// Whose binding it is, and the subscriber's number.
    pub(crate) fn find_binding_of(&self, id: Option<BindingId>) -> Option<(Place, &'static str)> {
        let (x, _) = self.binding_ids.iter().find(|(_, known)| Some(**known) == id)?;
        let binding = self.facts.bindings.iter().find(|binding| binding.x == *x)?;
        Some((binding.tenant, binding.subscriber.user))
    }

    pub(crate) fn has_carriers(&self, subscriber: Who) -> bool {
        self.carriers.contains_key(subscriber.user)
    }

    pub(crate) fn set_carriers(&mut self, subscriber: Who, carriers: Vec<Who>) {
        self.carriers.insert(subscriber.user, carriers);
    }

    /// Writes a refusal down. False while the database is away.
    pub(crate) fn write_unwanted(&mut self, party: (Place, &'static str)) -> bool {
        if !self.failing {
            self.unwanted.insert(party);
        }
        !self.failing
    }

    /// From here on no answer is given that was read before.
    pub(crate) fn invalidate(&mut self) {
        self.invalidations += 1;
    }

    pub(crate) fn waiting(&self) -> usize {
        self.lookups.len()
    }

    /// Begins a look-up: when it reads. `None` means at once "failed", since too many wait.
    pub(crate) fn ask(
        &mut self,
        now: Instant,
        call: CallId,
        query: RouteQuery,
    ) -> Option<Duration> {
        if self.lookups.len() >= LOOKUPS_MAX {
            return None;
        }
        let lookup = Lookup {
            query,
            give_up_at: now + LOOKUP_TIME_MAX,
            invalidations: self.invalidations,
            read: None,
        };
        self.lookups.insert(call, lookup);
        Some(self.half_way())
    }

    /// Reads the rows as they are now: when the answer is given.
    pub(crate) fn read(&mut self, call: CallId) -> Duration {
        let answer = self.lookups.get(&call).map(|lookup| self.route_for(&lookup.query));
        if let Some(lookup) = self.lookups.get_mut(&call) {
            lookup.read = answer;
        }
        self.half_way()
    }

    /// The answer, or when the look-up that must be done again reads.
    pub(crate) fn answer(&mut self, now: Instant, call: CallId) -> Result<RouteAnswer, Duration> {
        let Some(mut lookup) = self.lookups.remove(&call) else { return Ok(RouteAnswer::Failed) };
        if self.failing || lookup.give_up_at <= now {
            return Ok(RouteAnswer::Failed);
        }
        if lookup.invalidations == self.invalidations {
            let mut answer = lookup.read.take().unwrap_or(RouteAnswer::Failed);
            if let RouteAnswer::Found(route) = &mut answer {
                route.caps = self.ledger.caps_of(0, route).expect("there are few");
            }
            return Ok(answer);
        }
        lookup.invalidations = self.invalidations;
        self.lookups.insert(call, lookup);
        Err(self.half_way())
    }

    fn half_way(&mut self) -> Duration {
        self.rng.between(self.delay.0, self.delay.1) / 2
    }

    fn route_for(&self, query: &RouteQuery) -> RouteAnswer {
        let dialled = match query {
            RouteQuery::FromInsurer { dialled, .. } | RouteQuery::FromCarrier { dialled, .. } => {
                dialled
            }
        };
        let missing = |cause| RouteAnswer::Missing { cause, tenant: None };
        let Some(binding) = self.facts.bindings.iter().find(|row| row.x == dialled.as_str()) else {
            let cooling = self.facts.cooling.contains(dialled.as_str());
            return missing(if cooling { Cause::Cooling } else { Cause::NumberUnknown });
        };
        let owner = tenant_of(binding.tenant);
        let (caller, callee, targets) = match query {
            RouteQuery::FromInsurer { tenant, .. } if owner.tenant() != Some(*tenant) => {
                return missing(Cause::NumberUnknown);
            }
            RouteQuery::FromInsurer { caller, .. } => (
                self.agent_party(binding.tenant, caller),
                Callee::Subscriber(Arc::new(real_number(binding.subscriber))),
                self.carriers.get(binding.subscriber.user).cloned().unwrap_or_default(),
            ),
            RouteQuery::FromCarrier { caller, .. } => {
                let desk = self.facts.desks.iter().find(|desk| desk.place == binding.tenant);
                let known = caller.as_ref() == Some(&real_number(binding.subscriber));
                (
                    if known { CallerParty::Subscriber } else { CallerParty::Stranger },
                    Callee::Desk(desk.map_or("nobody", |desk| desk.user).into()),
                    desk.copied().into_iter().collect(),
                )
            }
        };
        RouteAnswer::Found(Box::new(self.route(binding, caller, callee, &targets)))
    }

    fn route(
        &self,
        binding: &Binding,
        caller: CallerParty,
        callee: Callee,
        targets: &[Who],
    ) -> Route {
        let expires_at = binding.expires_at;
        let agent = match caller {
            CallerParty::Agent { id, .. } => Some(id),
            CallerParty::UnknownAgent | CallerParty::Subscriber | CallerParty::Stranger => None,
        };
        Route {
            tenant: tenant_of(binding.tenant).tenant().expect("bindings belong to tenants"),
            tenant_active: !self.facts.suspended_tenants.contains(&binding.tenant),
            binding: self.binding_ids[binding.x],
            state: if binding.suspended {
                BindingState::Suspended { reason: SuspendReason::Tenant, expires_at }
            } else {
                BindingState::Active { expires_at }
            },
            subscriber: binding.subscriber.subscriber(),
            virtual_number: VirtualNumber::parse(binding.x).expect("a virtual number of the cast"),
            caller,
            callee,
            targets: targets
                .iter()
                .map(|who| TrunkTarget {
                    trunk: who.trunk(),
                    name: None,
                    address: who.sip(),
                    transport: Transport::Udp,
                })
                .collect(),
            duration_max: self.duration_max,
            hearer: Hearer::default(),
            agent_number: "4821".into(),
            allowed_purposes: agent
                .and_then(|id| self.facts.allowed.get(&id))
                .map(|only| Box::from([*only])),
            do_not_call: {
                let party = (binding.tenant, binding.subscriber.user);
                let is_unwanted = self.unwanted.contains(&party);
                is_unwanted.then_some((Purpose::Unspecified, for_ever())).into_iter().collect()
            },
            paused_until: {
                let party = (binding.tenant, binding.subscriber.user);
                self.facts.paused.contains(&party).then(for_ever)
            },
            is_blocked: agent
                .is_some_and(|id| self.facts.blocked.contains(&(id, binding.subscriber.user))),
            announced: None,
            caps: Vec::new(),
            recording: Some(Box::new(RecordingKey {
                recording: RecordingId::from_u128(7),
                key: Zeroizing::new([5; 32].as_slice().into()),
                wrapped: [9; 60].as_slice().into(),
            })),
        }
    }

    fn agent_party(&self, tenant: Place, caller: &str) -> CallerParty {
        let person = EVERYBODY.iter().find(|who| who.place == tenant && who.user == caller);
        match person.filter(|who| self.facts.agents.contains(who)) {
            Some(agent) => CallerParty::Agent { id: agent.agent(), active: true },
            None => CallerParty::UnknownAgent,
        }
    }
}

/// Anybody of this tenant: only for the tenant's id.
fn tenant_of(place: Place) -> Who {
    Who { name: "", user: "", host: 0, place }
}

fn real_number(who: Who) -> RealNumber {
    RealNumber::parse(who.user).expect("subscribers of the cast have real numbers")
}

/// Longer than any story takes, whatever becomes of its clock.
fn for_ever() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(100 * 365 * 86_400)
}
