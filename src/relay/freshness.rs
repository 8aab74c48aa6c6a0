//! Which looked-up routes may still be used. A change is known here before it is acknowledged, so
//! that neither a route in memory nor a lookup that began before the change is used after it.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::now::now;
use crate::domain::id::{BindingId, TenantId};
use crate::domain::number::VirtualNumber;

/// The moment, in the order of changes, at which a lookup began. Take it *before* asking the store.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Mark(u64);

/// What a change is about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Subject<'a> {
    /// Who owns this number.
    Number(&'a VirtualNumber),
    /// The state of one binding.
    Binding(BindingId),
    /// A tenant, its agents, desk or trunks.
    Tenant(TenantId),
    /// The carrier trunks, or we do not know what.
    Everything,
}

/// A clock of changes: one counter, and for each subject (by hash) the time of its last change. Two
/// subjects that share a stripe cost a lookup too many, never a wrong answer.
#[derive(Debug)]
pub(crate) struct Freshness {
    changes: AtomicU64,
    all: AtomicU64,
    stripes: Box<[AtomicU64]>,
    hasher: RandomState,
    /// The origin of `confirmed_ms`.
    born_at: Instant,
    confirmed_ms: AtomicU64,
}

/// At a thousand changes a second a stripe is hit by chance about once a minute, the age limit of a
/// route.
const STRIPES: usize = 1 << 16;

impl Freshness {
    pub(crate) fn new() -> Self {
        Self {
            changes: AtomicU64::new(0),
            all: AtomicU64::new(0),
            stripes: (0..STRIPES).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
            born_at: now().monotonic,
            confirmed_ms: AtomicU64::new(0),
        }
    }

    /// Every change in the store up to `at` is known here, those of other nodes too.
    pub(crate) fn confirm(&self, at: Instant) {
        let ms = at.saturating_duration_since(self.born_at).as_millis();
        self.confirmed_ms.fetch_max(u64::try_from(ms).unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    /// Until when every change in the store is known here.
    pub(crate) fn confirmed_at(&self) -> Instant {
        self.born_at + Duration::from_millis(self.confirmed_ms.load(Ordering::SeqCst))
    }

    /// Makes every route about `subject` unusable whose lookup began before now.
    pub(crate) fn forget(&self, subject: Subject<'_>) {
        let time = self.changes.fetch_add(1, Ordering::SeqCst) + 1;
        self.last_change(subject).fetch_max(time, Ordering::SeqCst);
    }

    /// To be taken before a lookup begins.
    pub(crate) fn mark(&self) -> Mark {
        Mark(self.changes.load(Ordering::SeqCst))
    }

    /// Nothing about these subjects has changed since `mark`.
    pub(crate) fn is_unchanged(&self, mark: Mark, subjects: &[Subject<'_>]) -> bool {
        subjects
            .iter()
            .chain([&Subject::Everything])
            .all(|subject| self.last_change(*subject).load(Ordering::SeqCst) <= mark.0)
    }

    fn last_change(&self, subject: Subject<'_>) -> &AtomicU64 {
        let stripe = match subject {
            Subject::Number(number) => self.stripe(number),
            Subject::Binding(binding) => self.stripe(binding),
            Subject::Tenant(tenant) => self.stripe(tenant),
            Subject::Everything => return &self.all,
        };
        self.stripes.get(stripe).unwrap_or(&self.all)
    }

    fn stripe(&self, subject: impl Hash) -> usize {
        usize::try_from(self.hasher.hash_one(subject) % STRIPES as u64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number() -> VirtualNumber {
        VirtualNumber::parse("17000001234").expect("a valid number")
    }

    #[test]
    fn a_lookup_that_began_before_the_change_may_not_be_used() {
        let freshness = Freshness::new();
        let before = freshness.mark();
        freshness.forget(Subject::Number(&number()));
        let after = freshness.mark();
        assert!(!freshness.is_unchanged(before, &[Subject::Number(&number())]));
        assert!(freshness.is_unchanged(after, &[Subject::Number(&number())]));
    }

    #[test]
    fn a_change_elsewhere_disturbs_nobody() {
        let freshness = Freshness::new();
        let mark = freshness.mark();
        freshness.forget(Subject::Binding(BindingId::new(1, 1)));
        let other = (2..)
            .map(|n| BindingId::new(n, 1))
            .find(|id| freshness.stripe(id) != freshness.stripe(BindingId::new(1, 1)))
            .expect("there is more than one stripe");
        assert!(freshness.is_unchanged(mark, &[Subject::Binding(other)]));
    }

    #[test]
    fn a_change_of_everything_is_a_change_of_each() {
        let freshness = Freshness::new();
        let mark = freshness.mark();
        freshness.forget(Subject::Everything);
        assert!(!freshness.is_unchanged(mark, &[Subject::Tenant(TenantId::new(1, 1))]));
    }
}
