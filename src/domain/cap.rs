//! Caps against fraud: how much goes through one number, one agent, one tenant, and to one
//! subscriber. What each has done is counted where all shards see it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::cause::Cause;
use super::id::{AgentId, SubscriberId, TenantId};
use super::now::unix_ms;
use super::number::VirtualNumber;

/// Whose calls are counted together.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum CapSubject {
    /// One virtual number, both ways.
    Number,
    /// One agent who calls.
    Agent,
    /// One tenant, both ways.
    Tenant,
    /// One subscriber who is called.
    Subscriber,
    /// The call itself.
    Call,
}

impl CapSubject {
    /// Those that have caps of their own, in the order of [`CapLimits`].
    pub const COUNTED: [Self; 4] = [Self::Number, Self::Agent, Self::Tenant, Self::Subscriber];

    /// The stable word in settings, events and logs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Agent => "agent",
            Self::Tenant => "tenant",
            Self::Subscriber => "subscriber",
            Self::Call => "call",
        }
    }
}

/// What is counted.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum CapMeasure {
    /// Calls at one time.
    Calls,
    /// Calls that begin in one minute of the clock.
    CallsPerMinute,
    /// Minutes of bridged calls that begin in one day of the clock (UTC).
    MinutesPerDay,
    /// How long one call lasts.
    Duration,
}

impl CapMeasure {
    /// The stable word in events, logs and metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::CallsPerMinute => "calls_per_minute",
            Self::MinutesPerDay => "minutes_per_day",
            Self::Duration => "duration",
        }
    }

    /// Why an attempt is refused, or a call ends, that would be too much.
    #[must_use]
    pub const fn cause(self) -> Cause {
        match self {
            Self::Calls => Cause::CallsCap,
            Self::CallsPerMinute => Cause::RateCap,
            Self::MinutesPerDay => Cause::MinutesCap,
            Self::Duration => Cause::MaxDuration,
        }
    }
}

/// A cap that refused an attempt or ended a call.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct CapReached {
    /// Whose.
    pub subject: CapSubject,
    /// Which.
    pub measure: CapMeasure,
}

/// The most that one subject may do; no limit where absent.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Limits {
    /// Calls at one time.
    pub calls_max: Option<u32>,
    /// Calls that begin in one minute of the clock.
    pub calls_per_minute_max: Option<u32>,
    /// Minutes of bridged calls that begin in one day of the clock.
    pub minutes_per_day_max: Option<u32>,
}

/// The limits of all kinds of subjects, in the order of [`CapSubject::COUNTED`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct CapLimits(pub [Limits; 4]);

impl CapLimits {
    /// Nothing is limited.
    #[must_use]
    pub fn are_none(&self) -> bool {
        *self == Self::default()
    }
}

/// Somebody or something whose calls are counted.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum CapKey {
    /// A virtual number.
    Number(VirtualNumber),
    /// An agent.
    Agent(AgentId),
    /// A tenant.
    Tenant(TenantId),
    /// A subscriber of a tenant.
    Subscriber(SubscriberId),
}

impl CapKey {
    /// What kind it is.
    #[must_use]
    pub const fn subject(&self) -> CapSubject {
        match self {
            Self::Number(_) => CapSubject::Number,
            Self::Agent(_) => CapSubject::Agent,
            Self::Tenant(_) => CapSubject::Tenant,
            Self::Subscriber(_) => CapSubject::Subscriber,
        }
    }
}

/// What the store knows that a subject has done in the present minute and day.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CapUsage {
    /// Whose.
    pub key: CapKey,
    /// Calls that have begun in this minute.
    pub calls: u32,
    /// Minutes that have begun today.
    pub minutes: u32,
}

/// A cap that holds for an attempt: of whom, how much, and what has been done.
#[derive(Clone, Debug)]
pub struct Cap {
    /// Whose.
    pub subject: CapSubject,
    /// How much.
    pub limits: Limits,
    /// What all its calls have done.
    pub load: Arc<CapLoad>,
}

/// What one subject does and has done, in all shards: counted without a lock, never beyond a limit.
#[derive(Debug, Default)]
pub struct CapLoad {
    calls: AtomicU32,
    /// A minute of the clock and the calls that have begun in it.
    minute: AtomicU64,
    /// A day of the clock and the minutes that have begun in it.
    day: AtomicU64,
    /// The last minute, minute and day in which was told that a cap is reached.
    told: [AtomicU64; 3],
}

const COUNT_BITS: u32 = 32;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 86_400_000;

/// The minute of the clock at a time.
const fn minute_of(unix_ms: u64) -> u64 {
    unix_ms / MINUTE_MS
}

/// The day of the clock at a time.
const fn day_of(unix_ms: u64) -> u64 {
    unix_ms / DAY_MS
}

/// When the minute and the day of a time have begun.
#[must_use]
pub fn begun(at: SystemTime) -> [SystemTime; 2] {
    let unix_ms = unix_ms(at);
    let start = |span| SystemTime::UNIX_EPOCH + Duration::from_millis(unix_ms / span * span);
    [MINUTE_MS, DAY_MS].map(start)
}

/// What was counted in this period. A clock that is set back begins no new one.
const fn count_in(word: u64, period: u64) -> u64 {
    if period > word >> COUNT_BITS { 0 } else { word & COUNT_MASK }
}

/// Counts one more in a period, unless that is too much.
fn take(word: &AtomicU64, period: u64, max: u32) -> bool {
    let next = |word: u64| {
        let (begun, count) = (period.max(word >> COUNT_BITS), count_in(word, period));
        (count < u64::from(max)).then_some(begun << COUNT_BITS | (count + 1))
    };
    word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
}

/// Counts one less in a period, if it is still the present one.
fn give_back(word: &AtomicU64, period: u64) {
    let next = |word: u64| {
        let is_same = word >> COUNT_BITS == period && word & COUNT_MASK > 0;
        is_same.then(|| word - 1)
    };
    // Otherwise another period has begun, and nothing is owed.
    word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).ok();
}

impl CapLoad {
    /// Calls at this time.
    #[must_use]
    pub fn calls(&self) -> u32 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Takes over what was counted before the process began.
    pub fn restore(&self, unix_ms: u64, calls: u32, minutes: u32) {
        let word = |period: u64, count: u32| period << COUNT_BITS | u64::from(count);
        self.minute.store(word(minute_of(unix_ms), calls), Ordering::Relaxed);
        self.day.store(word(day_of(unix_ms), minutes), Ordering::Relaxed);
    }

    /// Nothing has to be remembered of it.
    #[must_use]
    pub fn is_idle(&self, unix_ms: u64) -> bool {
        let (minute, day) = (&self.minute, &self.day);
        self.calls() == 0
            && count_in(minute.load(Ordering::Relaxed), minute_of(unix_ms)) == 0
            && count_in(day.load(Ordering::Relaxed), day_of(unix_ms)) == 0
    }
}

impl Cap {
    /// Which of its limits leave no room for one more call, in order.
    pub fn full(&self, unix_ms: u64) -> impl Iterator<Item = CapReached> {
        let (load, limits) = (&self.load, &self.limits);
        let minute = count_in(load.minute.load(Ordering::Relaxed), minute_of(unix_ms));
        let day = count_in(load.day.load(Ordering::Relaxed), day_of(unix_ms));
        let all = [
            (CapMeasure::Calls, limits.calls_max, u64::from(load.calls())),
            (CapMeasure::CallsPerMinute, limits.calls_per_minute_max, minute),
            (CapMeasure::MinutesPerDay, limits.minutes_per_day_max, day),
        ];
        let is_full = |max: Option<u32>, count| max.is_some_and(|max| count >= u64::from(max));
        all.into_iter()
            .filter(move |(_, max, count)| is_full(*max, *count))
            .map(|(measure, ..)| self.reached(measure))
    }

    /// This limit of its.
    #[must_use]
    pub const fn reached(&self, measure: CapMeasure) -> CapReached {
        CapReached { subject: self.subject, measure }
    }

    /// Takes one of what is limited; false where all has been taken. What has no limit is not
    /// counted.
    #[must_use]
    pub fn take(&self, measure: CapMeasure, unix_ms: u64) -> bool {
        let (load, limits) = (&self.load, &self.limits);
        match measure {
            CapMeasure::Calls => limits.calls_max.is_none_or(|max| {
                let next = |calls: u32| (calls < max).then_some(calls + 1);
                load.calls.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
            }),
            CapMeasure::CallsPerMinute => limits
                .calls_per_minute_max
                .is_none_or(|max| take(&load.minute, minute_of(unix_ms), max)),
            CapMeasure::MinutesPerDay => {
                limits.minutes_per_day_max.is_none_or(|max| take(&load.day, day_of(unix_ms), max))
            }
            CapMeasure::Duration => true,
        }
    }

    /// Gives back what was taken at that time.
    pub fn give_back(&self, measure: CapMeasure, taken_unix_ms: u64) {
        let (load, limits) = (&self.load, &self.limits);
        match measure {
            CapMeasure::Calls if limits.calls_max.is_some() => {
                load.calls.fetch_sub(1, Ordering::Relaxed);
            }
            CapMeasure::CallsPerMinute if limits.calls_per_minute_max.is_some() => {
                give_back(&load.minute, minute_of(taken_unix_ms));
            }
            CapMeasure::MinutesPerDay if limits.minutes_per_day_max.is_some() => {
                give_back(&load.day, day_of(taken_unix_ms));
            }
            CapMeasure::Calls
            | CapMeasure::CallsPerMinute
            | CapMeasure::MinutesPerDay
            | CapMeasure::Duration => {}
        }
    }

    /// Whether somebody should be told that this limit is reached: once in a minute, and of a day
    /// once a day.
    #[must_use]
    pub fn is_news(&self, measure: CapMeasure, unix_ms: u64) -> bool {
        let [calls, per_minute, per_day] = &self.load.told;
        let (told, period) = match measure {
            CapMeasure::Calls => (calls, minute_of(unix_ms)),
            CapMeasure::CallsPerMinute => (per_minute, minute_of(unix_ms)),
            CapMeasure::MinutesPerDay => (per_day, day_of(unix_ms)),
            CapMeasure::Duration => return true,
        };
        told.fetch_max(period + 1, Ordering::Relaxed) <= period
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cap(limits: Limits) -> Cap {
        Cap { subject: CapSubject::Agent, limits, load: Arc::default() }
    }

    #[test]
    fn each_limit_is_exact_and_a_new_period_counts_anew() {
        let limits = Limits {
            calls_max: Some(2),
            calls_per_minute_max: Some(3),
            minutes_per_day_max: Some(4),
        };
        let cap = cap(limits);
        let taken = |measure, at| (0..10).filter(|_| cap.take(measure, at)).count();
        assert_eq!(taken(CapMeasure::Calls, 0), 2);
        cap.give_back(CapMeasure::Calls, 0);
        assert_eq!((taken(CapMeasure::Calls, 0), cap.load.calls()), (1, 2));
        let minute = |at| taken(CapMeasure::CallsPerMinute, at);
        assert_eq!((minute(0), minute(MINUTE_MS - 1), minute(MINUTE_MS)), (3, 0, 3));
        let day = |at| taken(CapMeasure::MinutesPerDay, at);
        assert_eq!((day(0), day(DAY_MS - 1), day(DAY_MS), day(DAY_MS - 1)), (4, 0, 4, 0));
        cap.give_back(CapMeasure::MinutesPerDay, DAY_MS - 1);
        assert_eq!(day(DAY_MS), 0, "what was taken yesterday is not owed today");
        cap.give_back(CapMeasure::MinutesPerDay, DAY_MS);
        assert_eq!(day(DAY_MS), 1);
        let full: Vec<_> = cap.full(DAY_MS).map(|it| it.measure).collect();
        assert_eq!(full, [CapMeasure::Calls, CapMeasure::MinutesPerDay]);
    }

    #[test]
    fn several_threads_together_take_no_more_than_there_is() {
        let limits = Limits {
            calls_max: Some(1_000),
            calls_per_minute_max: Some(1_000),
            minutes_per_day_max: Some(1_000),
        };
        let cap = cap(limits);
        let measures = [CapMeasure::Calls, CapMeasure::CallsPerMinute, CapMeasure::MinutesPerDay];
        let taken = || measures.map(|it| (0..600).filter(|_| cap.take(it, 7)).count());
        let all = std::thread::scope(|scope| {
            let threads = [(); 4].map(|()| scope.spawn(taken));
            threads.map(|thread| thread.join().expect("no panic"))
        });
        for at in 0..measures.len() {
            assert_eq!(all.iter().map(|taken| taken[at]).sum::<usize>(), 1_000);
        }
    }

    #[test]
    fn a_limit_is_told_once_in_its_period() {
        let cap = cap(Limits::default());
        let told = |measure, at| (0..5).filter(|_| cap.is_news(measure, at)).count();
        assert_eq!((told(CapMeasure::Calls, 0), told(CapMeasure::Calls, MINUTE_MS)), (1, 1));
        assert_eq!(told(CapMeasure::CallsPerMinute, 0), 1, "each on its own");
        let day = |at| told(CapMeasure::MinutesPerDay, at);
        assert_eq!((day(0), day(MINUTE_MS), day(DAY_MS)), (1, 0, 1));
    }

    #[test]
    fn what_was_done_before_a_restart_counts_and_is_forgotten_with_its_period() {
        let cap = cap(Limits { minutes_per_day_max: Some(5), ..Limits::default() });
        assert!(cap.load.is_idle(0));
        cap.load.restore(DAY_MS, 2, 3);
        assert!(!cap.load.is_idle(DAY_MS) && cap.load.is_idle(2 * DAY_MS));
        let taken = (0..10).filter(|_| cap.take(CapMeasure::MinutesPerDay, DAY_MS)).count();
        assert_eq!(taken, 2);
    }
}
