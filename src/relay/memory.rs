//! The routes that a shard remembers: bounded, aged, and never used after a change. Numbers are in
//! it only sealed.

use std::hash::{Hash, Hasher};
use std::time::{Duration, Instant};

use hashbrown::{Equivalent, HashMap};

use super::freshness::{Freshness, Mark, Subject};
use crate::domain::id::{BindingId, TenantId};
use crate::domain::number::VirtualNumber;
use crate::domain::route::RouteQuery;

/// A route is looked up anew after this long, whatever happens.
pub(crate) const ROUTE_AGE_MAX: Duration = Duration::from_secs(600);
/// While the store cannot be asked what has changed, a route is used for this long. Purposes that
/// may use it longer come with purposes themselves.
pub(crate) const UNCONFIRMED_MAX: Duration = Duration::from_secs(60);

/// What a route is remembered by, without the caller's real number: a subscriber is recognised
/// when the route is opened. Where X serves pairs an agent's route is the agent's own, since its
/// extension is part of this; a subscriber's route is not remembered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Question {
    /// An agent of this tenant dials.
    FromInsurer {
        /// The owner of the trunk.
        tenant: TenantId,
        /// X.
        dialled: VirtualNumber,
        /// The calling extension.
        caller: Box<str>,
    },
    /// Somebody on the public network dials.
    FromCarrier {
        /// X.
        dialled: VirtualNumber,
    },
}

impl Question {
    /// What an attempt asks.
    #[must_use]
    pub(crate) fn of(query: &RouteQuery) -> Self {
        match query {
            RouteQuery::FromInsurer { tenant, dialled, caller, .. } => Self::FromInsurer {
                tenant: *tenant,
                dialled: dialled.clone(),
                caller: caller.clone(),
            },
            RouteQuery::FromCarrier { dialled, .. } => {
                Self::FromCarrier { dialled: dialled.clone() }
            }
        }
    }

    /// X.
    #[must_use]
    pub(crate) const fn dialled(&self) -> &VirtualNumber {
        match self {
            Self::FromInsurer { dialled, .. } | Self::FromCarrier { dialled } => dialled,
        }
    }

    fn parts(&self) -> Parts<'_> {
        match self {
            Self::FromInsurer { tenant, dialled, caller } => {
                Parts(Some((*tenant, caller)), dialled)
            }
            Self::FromCarrier { dialled } => Parts(None, dialled),
        }
    }
}

/// A question by reference, so that a known route is found without a copy.
#[derive(Eq, Hash, PartialEq)]
struct Parts<'a>(Option<(TenantId, &'a str)>, &'a VirtualNumber);

impl<'a> Parts<'a> {
    fn of(query: &'a RouteQuery) -> Self {
        match query {
            RouteQuery::FromInsurer { tenant, dialled, caller, .. } => {
                Self(Some((*tenant, caller)), dialled)
            }
            RouteQuery::FromCarrier { dialled, .. } => Self(None, dialled),
        }
    }
}

impl Hash for Question {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

impl Equivalent<Question> for Parts<'_> {
    fn equivalent(&self, question: &Question) -> bool {
        *self == question.parts()
    }
}

/// A route and what it depends on.
#[derive(Debug)]
pub struct Known<S> {
    /// Whose binding it is.
    pub tenant: TenantId,
    /// Which binding.
    pub binding: BindingId,
    /// The rest, with numbers sealed.
    pub sealed: S,
}

struct Entry<S> {
    known: Known<S>,
    mark: Mark,
    learnt_at: Instant,
}

impl<S> Entry<S> {
    fn may_be_used(&self, dialled: &VirtualNumber, at: Instant, freshness: &Freshness) -> bool {
        let confirmed_at = freshness.confirmed_at().max(self.learnt_at);
        at.saturating_duration_since(self.learnt_at) <= ROUTE_AGE_MAX
            && at.saturating_duration_since(confirmed_at) <= UNCONFIRMED_MAX
            && freshness.is_unchanged(
                self.mark,
                &[
                    Subject::Number(dialled),
                    Subject::Binding(self.known.binding),
                    Subject::Tenant(self.known.tenant),
                ],
            )
    }
}

/// Routes in two halves: what is used moves to the young half; when that is full it becomes the
/// old half, and the old one is forgotten. So the bound costs no search for a victim.
pub(crate) struct Memory<S> {
    young: HashMap<Question, Entry<S>>,
    old: HashMap<Question, Entry<S>>,
    half_max: usize,
}

impl<S> Memory<S> {
    /// Holds at most `routes_max` routes.
    pub(crate) fn new(routes_max: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), half_max: (routes_max / 2).max(1) }
    }

    /// The route of an attempt, when it is known and may still be used.
    pub(crate) fn find(
        &mut self,
        query: &RouteQuery,
        at: Instant,
        freshness: &Freshness,
    ) -> Option<&S> {
        let asked = Parts::of(query);
        if let Some((question, entry)) = self.old.remove_entry(&asked) {
            self.insert(question, entry);
        }
        let entry = self.young.get(&asked)?;
        if !entry.may_be_used(asked.1, at, freshness) {
            self.young.remove(&asked);
            return None;
        }
        self.young.get(&asked).map(|entry| &entry.known.sealed)
    }

    /// Remembers the answer of a lookup that began at `mark`.
    pub(crate) fn learn(&mut self, question: Question, known: Known<S>, mark: Mark, at: Instant) {
        self.old.remove(&question);
        self.insert(question, Entry { known, mark, learnt_at: at });
    }

    fn insert(&mut self, question: Question, entry: Entry<S>) {
        if self.young.len() >= self.half_max {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(question, entry);
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::TrunkId;
    use crate::domain::purpose::Stated;
    use crate::relay::now::now;

    fn query(caller: &str) -> RouteQuery {
        RouteQuery::FromInsurer {
            trunk: TrunkId::new(1, 1),
            tenant: TenantId::new(1, 1),
            dialled: VirtualNumber::parse("17000001234").expect("a valid number"),
            caller: caller.into(),
            stated: Stated::default(),
        }
    }

    fn known(sealed: u32) -> Known<u32> {
        Known { tenant: TenantId::new(1, 1), binding: BindingId::new(1, 1), sealed }
    }

    fn remember(memory: &mut Memory<u32>, caller: &str, freshness: &Freshness, at: Instant) {
        memory.learn(Question::of(&query(caller)), known(7), freshness.mark(), at);
    }

    #[test]
    fn a_route_is_found_by_its_tenant_number_and_caller_only() {
        let (mut memory, freshness, at) = (Memory::new(10), Freshness::new(), now().monotonic);
        remember(&mut memory, "8001", &freshness, at);
        assert_eq!(memory.find(&query("8001"), at, &freshness), Some(&7));
        assert_eq!(memory.find(&query("8002"), at, &freshness), None);
    }

    #[test]
    fn a_change_makes_a_known_route_unusable_at_once() {
        let changes = [
            Subject::Binding(BindingId::new(1, 1)),
            Subject::Tenant(TenantId::new(1, 1)),
            Subject::Everything,
        ];
        for change in changes {
            let (mut memory, freshness, at) = (Memory::new(10), Freshness::new(), now().monotonic);
            remember(&mut memory, "8001", &freshness, at);
            freshness.forget(change);
            assert_eq!(memory.find(&query("8001"), at, &freshness), None, "{change:?}");
        }
    }

    #[test]
    fn a_lookup_that_began_before_a_change_is_never_remembered_as_usable() {
        let (mut memory, freshness, at) = (Memory::new(10), Freshness::new(), now().monotonic);
        let mark = freshness.mark();
        freshness.forget(Subject::Binding(BindingId::new(1, 1)));
        memory.learn(Question::of(&query("8001")), known(7), mark, at);
        assert_eq!(memory.find(&query("8001"), at, &freshness), None);
    }

    #[test]
    fn without_the_store_a_route_lives_a_minute_and_with_it_ten() {
        let (mut memory, freshness, at) = (Memory::new(10), Freshness::new(), now().monotonic);
        remember(&mut memory, "8001", &freshness, at);
        let second = Duration::from_secs(1);
        assert!(memory.find(&query("8001"), at + UNCONFIRMED_MAX, &freshness).is_some());
        freshness.confirm(at + UNCONFIRMED_MAX);
        assert!(memory.find(&query("8001"), at + UNCONFIRMED_MAX + second, &freshness).is_some());
        freshness.confirm(at + ROUTE_AGE_MAX);
        assert!(memory.find(&query("8001"), at + ROUTE_AGE_MAX + second, &freshness).is_none());
    }

    #[test]
    fn the_store_away_for_more_than_a_minute_makes_memory_unusable() {
        let (mut memory, freshness, at) = (Memory::new(10), Freshness::new(), now().monotonic);
        remember(&mut memory, "8001", &freshness, at);
        let late = at + UNCONFIRMED_MAX + Duration::from_secs(1);
        assert!(memory.find(&query("8001"), late, &freshness).is_none());
    }

    #[test]
    fn memory_is_bounded_and_keeps_what_is_used() {
        let (mut memory, freshness, at) = (Memory::new(10), Freshness::new(), now().monotonic);
        for n in 0..100 {
            remember(&mut memory, &n.to_string(), &freshness, at);
            assert!(memory.len() <= 10);
            assert!(memory.find(&query("0"), at, &freshness).is_some(), "after {n}");
        }
    }
}
