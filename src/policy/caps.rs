//! Caps against fraud: which of them hold for an attempt, and the place that a call takes under
//! all of them. Exact in all shards of a process: what a call takes, no other has.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::cap::{
    Cap, CapKey, CapLimits, CapLoad, CapMeasure, CapReached, CapUsage, Limits,
};
use crate::domain::route::{Callee, CallerParty, Route};

/// The most subjects that are counted at one time.
pub const SUBJECTS_MAX: usize = 1 << 20;
/// Those that did nothing of late are looked for no sooner than so long after the last time.
const FORGET_EVERY_MS: u64 = 10_000;

/// What every subject has done. Whoever owns it hands out, with each route, what holds for that.
#[derive(Debug)]
pub struct Ledger {
    limits: CapLimits,
    loads: BTreeMap<CapKey, Arc<CapLoad>>,
    subjects_max: usize,
    forgot_at_ms: u64,
}

/// More subjects are active than can be counted: in doubt an attempt is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LedgerFull;

impl Ledger {
    /// Nothing was done yet.
    #[must_use]
    pub fn new(limits: CapLimits) -> Self {
        Self { limits, loads: BTreeMap::new(), subjects_max: SUBJECTS_MAX, forgot_at_ms: 0 }
    }

    /// Nothing is limited.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.limits.are_none()
    }

    /// Takes over what was done before the process began. What has no limit is not counted.
    pub fn restore(&mut self, unix_ms: u64, usage: Vec<CapUsage>) {
        for CapUsage { key, calls, minutes } in usage {
            if self.limit(&key).is_some()
                && let Ok(load) = self.load(unix_ms, key)
            {
                load.restore(unix_ms, calls, minutes);
            }
        }
    }

    /// The caps that hold for a route.
    ///
    /// # Errors
    /// [`LedgerFull`] when one of them cannot be counted.
    pub fn caps_of(&mut self, unix_ms: u64, route: &Route) -> Result<Vec<Cap>, LedgerFull> {
        let agent = match route.caller {
            CallerParty::Agent { id, .. } => Some(CapKey::Agent(id)),
            CallerParty::UnknownAgent | CallerParty::Subscriber | CallerParty::Stranger => None,
        };
        let subscriber = match route.callee {
            Callee::Subscriber(_) => Some(CapKey::Subscriber(route.subscriber)),
            Callee::Desk(_) => None,
        };
        let number = Some(CapKey::Number(route.virtual_number.clone()));
        let keys = [number, agent, Some(CapKey::Tenant(route.tenant)), subscriber];
        let mut caps = Vec::new();
        for key in keys.into_iter().flatten() {
            let Some(limits) = self.limit(&key) else { continue };
            let subject = key.subject();
            caps.push(Cap { subject, limits, load: self.load(unix_ms, key)? });
        }
        Ok(caps)
    }

    /// The limits of a subject; `None` without any.
    fn limit(&self, key: &CapKey) -> Option<Limits> {
        let limits = self.limits.0.get(key.subject() as usize).copied()?;
        (limits != Limits::default()).then_some(limits)
    }

    fn load(&mut self, unix_ms: u64, key: CapKey) -> Result<Arc<CapLoad>, LedgerFull> {
        if let Some(load) = self.loads.get(&key) {
            return Ok(Arc::clone(load));
        }
        if self.loads.len() >= self.subjects_max {
            self.forget(unix_ms)?;
        }
        Ok(Arc::clone(self.loads.entry(key).or_default()))
    }

    /// Makes room: what nobody holds and nothing is counted for now.
    fn forget(&mut self, unix_ms: u64) -> Result<(), LedgerFull> {
        if unix_ms < self.forgot_at_ms.saturating_add(FORGET_EVERY_MS) {
            return Err(LedgerFull);
        }
        self.forgot_at_ms = unix_ms;
        self.loads.retain(|_, load| Arc::strong_count(load) > 1 || !load.is_idle(unix_ms));
        if self.loads.len() >= self.subjects_max { Err(LedgerFull) } else { Ok(()) }
    }
}

/// The place of a call under its caps: given back when it is dropped.
#[derive(Debug)]
pub struct CapSeat {
    caps: Vec<Cap>,
    taken_unix_ms: u64,
    is_bridged: bool,
}

/// What a call takes before it is placed: a place, a beginning, and its first minute.
const TAKEN: [CapMeasure; 3] =
    [CapMeasure::Calls, CapMeasure::CallsPerMinute, CapMeasure::MinutesPerDay];

impl CapSeat {
    /// Takes one of everything, or nothing; `None` where nothing is limited.
    ///
    /// # Errors
    /// What left no room.
    pub fn take(caps: &[Cap], unix_ms: u64) -> Result<Option<Self>, CapReached> {
        if caps.is_empty() {
            return Ok(None);
        }
        let all = || caps.iter().flat_map(|cap| TAKEN.map(|measure| (cap, measure)));
        if let Some(at) = all().position(|(cap, measure)| !cap.take(measure, unix_ms)) {
            all().take(at).for_each(|(cap, measure)| cap.give_back(measure, unix_ms));
            let reached = all().nth(at).map(|(cap, measure)| cap.reached(measure));
            return reached.map_or(Ok(None), Err);
        }
        Ok(Some(Self { caps: caps.to_vec(), taken_unix_ms: unix_ms, is_bridged: false }))
    }

    /// Both sides talk from now on: the first minute is used.
    pub const fn bridged(&mut self) {
        self.is_bridged = true;
    }

    /// Whether minutes are limited at all.
    #[must_use]
    pub fn counts_minutes(&self) -> bool {
        self.caps.iter().any(|cap| cap.limits.minutes_per_day_max.is_some())
    }

    /// Takes one more minute of everybody, or of nobody.
    ///
    /// # Errors
    /// Whose minutes are used up.
    pub fn next_minute(&self, unix_ms: u64) -> Result<(), CapReached> {
        let minute = CapMeasure::MinutesPerDay;
        let Some(at) = self.caps.iter().position(|cap| !cap.take(minute, unix_ms)) else {
            return Ok(());
        };
        self.caps.iter().take(at).for_each(|cap| cap.give_back(minute, unix_ms));
        self.caps.get(at).map_or(Ok(()), |cap| Err(cap.reached(minute)))
    }

    /// The caps themselves.
    #[must_use]
    pub fn caps(&self) -> &[Cap] {
        &self.caps
    }
}

impl Drop for CapSeat {
    fn drop(&mut self) {
        for cap in &self.caps {
            cap.give_back(CapMeasure::Calls, self.taken_unix_ms);
            if !self.is_bridged {
                cap.give_back(CapMeasure::MinutesPerDay, self.taken_unix_ms);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::binding::BindingState;
    use crate::domain::cap::CapSubject;
    use crate::domain::id::{AgentId, BindingId, SubscriberId, TenantId};
    use crate::policy::gate::tests::{route, subscriber as callee};

    const ONE: Limits =
        Limits { calls_max: Some(1), calls_per_minute_max: Some(2), minutes_per_day_max: Some(3) };

    fn agent_calls(agent: u128, subscriber: u128) -> Route {
        let caller = CallerParty::Agent { id: AgentId::from_u128(agent), active: true };
        let active = BindingState::Active { expires_at: None };
        Route {
            binding: BindingId::from_u128(subscriber),
            subscriber: SubscriberId::from_u128(subscriber),
            ..route(active, caller, callee())
        }
    }

    fn limits(subjects: &[CapSubject]) -> CapLimits {
        let of = |it| if subjects.contains(&it) { ONE } else { Limits::default() };
        CapLimits(CapSubject::COUNTED.map(of))
    }

    fn subjects(ledger: &mut Ledger, route: &Route) -> Vec<CapSubject> {
        let caps = ledger.caps_of(0, route).expect("room");
        caps.iter().map(|cap| cap.subject).collect()
    }

    #[test]
    fn a_subscriber_who_calls_meets_the_caps_of_number_and_tenant_alone() {
        let mut ledger = Ledger::new(limits(&CapSubject::COUNTED));
        let mut route = agent_calls(7, 8);
        assert_eq!(subjects(&mut ledger, &route), CapSubject::COUNTED);
        (route.caller, route.callee) = (CallerParty::Subscriber, Callee::Desk("600".into()));
        assert_eq!(subjects(&mut ledger, &route), [CapSubject::Number, CapSubject::Tenant]);
        let mut ledger = Ledger::new(limits(&[CapSubject::Tenant]));
        assert_eq!(subjects(&mut ledger, &route), [CapSubject::Tenant], "others have no limit");
        assert!(Ledger::new(limits(&[])).is_open() && !ledger.is_open());
    }

    /// One cap that is full gives back what was taken of the others.
    #[test]
    fn a_call_takes_its_place_under_all_caps_or_under_none() {
        let mut ledger = Ledger::new(limits(&CapSubject::COUNTED));
        let mut caps = |agent, subscriber| ledger.caps_of(0, &agent_calls(agent, subscriber));
        let (mut first, mut second) = (caps(1, 1).expect("room"), caps(2, 1).expect("room"));
        // The number and the tenant of both are the same, and are not looked at here.
        first.retain(|cap| matches!(cap.subject, CapSubject::Agent | CapSubject::Subscriber));
        second.retain(|cap| matches!(cap.subject, CapSubject::Agent | CapSubject::Subscriber));
        let seat = CapSeat::take(&first, 0).expect("room");
        let full = CapReached { subject: CapSubject::Subscriber, measure: CapMeasure::Calls };
        for _ in 0..5 {
            assert_eq!(CapSeat::take(&second, 0).err(), Some(full));
        }
        assert!(second[0].load.is_idle(0), "nothing is left of what was refused");
        drop(seat);
        assert!(CapSeat::take(&second, 0).expect("there is room again").is_some());
    }

    #[test]
    fn minutes_are_taken_of_all_or_of_none_and_an_unused_one_is_given_back() {
        let mut ledger = Ledger::new(limits(&[CapSubject::Number, CapSubject::Subscriber]));
        let caps = ledger.caps_of(0, &agent_calls(1, 1)).expect("room");
        let other = ledger.caps_of(0, &agent_calls(1, 2)).expect("room");
        let seat = || CapSeat::take(&caps, 0).expect("room").expect("counted");
        drop(seat());
        let mut seat = seat();
        seat.bridged();
        assert_eq!([0, 0].map(|at| seat.next_minute(at)), [Ok(()), Ok(())]);
        let full = CapReached { subject: CapSubject::Number, measure: CapMeasure::MinutesPerDay };
        assert_eq!(seat.next_minute(0), Err(full));
        drop(seat);
        assert_eq!(CapSeat::take(&other, 60_000).err(), Some(full), "they stay used");
        assert!(other[1].load.is_idle(60_000), "what the subscriber had given is back");
    }

    #[test]
    fn what_the_store_knows_counts_from_the_start_where_it_is_limited() {
        let mut ledger = Ledger::new(limits(&[CapSubject::Agent]));
        let keys = [CapKey::Agent(AgentId::from_u128(1)), CapKey::Tenant(TenantId::from_u128(1))];
        let used = |key| CapUsage { key, calls: 1, minutes: 2 };
        ledger.restore(0, keys.map(used).to_vec());
        assert_eq!(ledger.loads.len(), 1);
        let caps = ledger.caps_of(0, &agent_calls(1, 1)).expect("room");
        let mut seat = CapSeat::take(&caps, 0).expect("room").expect("counted");
        seat.bridged();
        assert!(seat.next_minute(0).is_err());
        drop(seat);
        let full: Vec<_> = caps[0].full(0).map(|it| it.measure).collect();
        assert_eq!(full, [CapMeasure::CallsPerMinute, CapMeasure::MinutesPerDay]);
    }

    #[test]
    fn the_table_is_bounded_and_forgets_who_has_done_nothing_of_late() {
        let mut ledger = Ledger::new(limits(&[CapSubject::Agent]));
        ledger.subjects_max = 3;
        let mut caps = |at, agent| ledger.caps_of(at, &agent_calls(agent, 1));
        let busy = caps(0, 1).expect("room");
        let seat = CapSeat::take(&busy, 0).expect("room");
        for agent in 2..50 {
            assert!(caps(u64::try_from(agent).unwrap_or(0) * FORGET_EVERY_MS, agent).is_ok());
        }
        let full = [50, 51, 52].map(|agent| caps(49 * FORGET_EVERY_MS, agent).err());
        assert_eq!(full, [None, None, Some(LedgerFull)], "not so soon again");
        assert!(ledger.loads.contains_key(&CapKey::Agent(AgentId::from_u128(1))));
        drop(seat);
    }
}
