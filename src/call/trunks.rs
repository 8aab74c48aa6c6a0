//! What the brain knows of trunks beside the route of a call: how each of them wants to be spoken
//! to, and how much it takes. Replaced as a whole when a trunk changes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::down::TargetsDown;
use super::pick::Weighed;
use crate::domain::id::TrunkId;
use crate::domain::route::TrunkTarget;
use crate::domain::trunk_media::TrunkMedia;
use crate::domain::trust::TrunkIdentity;
use crate::sip::digest::{Account, Algorithm, Secret};

/// All trunks that take part.
#[derive(Debug, Default)]
pub struct TrunkBook(BTreeMap<TrunkId, TrunkTerms>);

impl TrunkBook {
    /// A book of these. What runs on a trunk of `before` is counted on.
    #[must_use]
    pub fn new(mut terms: BTreeMap<TrunkId, TrunkTerms>, before: &Self) -> Self {
        for (trunk, terms) in &mut terms {
            if let Some(old) = before.get(*trunk) {
                terms.load = Arc::clone(&old.load);
                terms.down = old.down_among(&terms.targets);
            }
        }
        Self(terms)
    }

    /// All of them, by their ids.
    pub fn all(&self) -> impl Iterator<Item = (TrunkId, &TrunkTerms)> {
        self.0.iter().map(|(trunk, terms)| (*trunk, terms))
    }

    /// What is known of one.
    #[must_use]
    pub fn get(&self, trunk: TrunkId) -> Option<&TrunkTerms> {
        self.0.get(&trunk)
    }
}

/// What is known of one trunk.
#[derive(Clone, Debug, Default)]
pub struct TrunkTerms {
    /// How we answer its challenges, and the weakest algorithm for that.
    pub account: Option<(Account, Algorithm)>,
    /// How it answers ours; its address alone lets it in when absent.
    pub login: Option<Login>,
    /// The most calls at once, both ways together.
    pub channels_max: Option<u32>,
    /// The most new calls in one second of the clock, both ways together.
    pub cps_max: Option<u32>,
    /// Lower is asked first.
    pub priority: u16,
    /// Its share among those of the same priority.
    pub weight: u16,
    /// Where it listens, always in the same order.
    pub targets: Vec<Weighed<TrunkTarget>>,
    /// It wants us to register with its account, each time for so long.
    pub registers: Option<Duration>,
    /// How far it is believed.
    pub identity: TrunkIdentity,
    /// How its media behaves.
    pub media: TrunkMedia,
    /// What runs on it, in all shards.
    pub load: Arc<TrunkLoad>,
    /// Which of its targets are down, in all shards.
    pub down: Arc<TargetsDown>,
}

/// Whether they say the same; what runs on the trunk is no part of that.
impl PartialEq for TrunkTerms {
    fn eq(&self, other: &Self) -> bool {
        let Self {
            account,
            login,
            channels_max,
            cps_max,
            priority,
            weight,
            targets,
            registers,
            identity,
            media,
            load: _,
            down: _,
        } = self;
        (account, login) == (&other.account, &other.login)
            && (channels_max, cps_max) == (&other.channels_max, &other.cps_max)
            && (priority, weight, targets) == (&other.priority, &other.weight, &other.targets)
            && (registers, identity) == (&other.registers, &other.identity)
            && media == &other.media
    }
}

/// What a peer must prove to us. `Debug` shows no secret.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Login {
    /// The user name that we have given it.
    pub user: Box<str>,
    /// What is kept of its password.
    pub secret: Secret,
    /// Weaker algorithms are not offered.
    pub least: Algorithm,
}

/// What runs on a trunk; the one thing that shards share, since a limit holds for all of them.
#[derive(Debug, Default)]
pub struct TrunkLoad {
    calls: AtomicU32,
    /// A second of the clock, and the calls that have begun in it.
    begun: AtomicU64,
}

const COUNT_BITS: u32 = 24;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;

impl TrunkLoad {
    /// How many calls have a seat.
    #[must_use]
    pub fn calls(&self) -> u32 {
        self.calls.load(Ordering::Relaxed)
    }

    fn may_begin(&self, second: u64, cps_max: u32) -> bool {
        let next = |begun: u64| {
            let count = if begun >> COUNT_BITS == second { begun & COUNT_MASK } else { 0 };
            (count < u64::from(cps_max)).then_some(second << COUNT_BITS | (count + 1))
        };
        self.begun.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

/// A call's place on a trunk with limits, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Seat(Arc<TrunkLoad>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The trunk has as much as it takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct TrunkFull;

impl TrunkTerms {
    /// Which of the `new` targets are down: those that were before. Shards with the old book go on
    /// with the old bits as long as the positions differ.
    fn down_among(&self, new: &[Weighed<TrunkTarget>]) -> Arc<TargetsDown> {
        let position = |target: &TrunkTarget| self.targets.iter().position(|it| it.item == *target);
        let before: Vec<_> = new.iter().map(|it| position(&it.item)).collect();
        let is_same = before.iter().enumerate().all(|(index, it)| *it == Some(index));
        if is_same && new.len() == self.targets.len() {
            return Arc::clone(&self.down);
        }
        Arc::new(self.down.moved(&before))
    }

    /// Whether one more call would be too much. Another shard may still be faster.
    pub(super) fn is_full(&self, unix_ms: u64) -> bool {
        let begun = self.load.begun.load(Ordering::Relaxed);
        let is_now = begun >> COUNT_BITS == unix_ms / 1_000;
        let has_begun = if is_now { begun & COUNT_MASK } else { 0 };
        self.channels_max.is_some_and(|max| self.load.calls() >= max)
            || self.cps_max.is_some_and(|max| has_begun >= u64::from(max))
    }

    /// A place for one more call; `None` where nothing has to be counted.
    pub(super) fn seat(&self, unix_ms: u64) -> Result<Option<Seat>, TrunkFull> {
        if self.channels_max.is_none() && self.cps_max.is_none() {
            return Ok(None);
        }
        let calls_max = self.channels_max.unwrap_or(u32::MAX);
        let next = |calls: u32| (calls < calls_max).then_some(calls + 1);
        let calls = &self.load.calls;
        if calls.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_err() {
            return Err(TrunkFull);
        }
        let seat = Seat(Arc::clone(&self.load));
        match self.cps_max {
            Some(cps_max) if !self.load.may_begin(unix_ms / 1_000, cps_max) => Err(TrunkFull),
            Some(_) | None => Ok(Some(seat)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trunk_takes_exactly_its_channels_and_gives_them_back() {
        let terms = TrunkTerms { channels_max: Some(2), ..TrunkTerms::default() };
        let seats = [0, 0].map(|_| terms.seat(0).expect("room").expect("counted"));
        assert_eq!(terms.seat(0).err(), Some(TrunkFull));
        drop(seats);
        assert_eq!(terms.load.calls(), 0);
        assert!(terms.seat(0).is_ok());
    }

    #[test]
    fn a_trunk_takes_exactly_so_many_new_calls_in_a_second() {
        let terms = TrunkTerms { cps_max: Some(3), ..TrunkTerms::default() };
        let begun = |ms| (0..10).filter(|_| terms.seat(ms).is_ok()).count();
        assert_eq!((begun(1_000), begun(1_999), begun(2_000)), (3, 0, 3));
        assert_eq!(terms.load.calls(), 0, "a call that was refused has no seat");
    }

    #[test]
    fn a_new_book_counts_on_and_a_trunk_without_limits_is_not_counted() {
        let trunk = TrunkId::from_u128(1);
        let book = |channels_max, before: &TrunkBook| {
            let terms = TrunkTerms { channels_max, ..TrunkTerms::default() };
            TrunkBook::new(BTreeMap::from([(trunk, terms)]), before)
        };
        let free = book(None, &TrunkBook::default());
        assert!(free.get(trunk).expect("it is there").seat(0).expect("room").is_none());
        let first = book(Some(1), &free);
        let seat = first.get(trunk).expect("it is there").seat(0).expect("room");
        let second = book(Some(1), &first);
        assert_eq!(second.get(trunk).expect("it is there").seat(0).err(), Some(TrunkFull));
        drop(seat);
        assert!(second.get(trunk).expect("it is there").seat(0).is_ok());
    }
}
