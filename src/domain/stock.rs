//! How far the numbers of a pool go: whether few are left, and when none will be.

use std::time::Duration;

/// With so many percent of its numbers left, or fewer, a pool is low.
pub const LOW_PERCENT: u64 = 20;
/// A low pool has enough again with more than so many: a number that comes and goes is no news.
pub const ENOUGH_PERCENT: u64 = 25;
/// The pace is that of so many days, or of those that the pool has existed for.
pub const PACE_DAYS: u16 = 28;
/// So many days are looked ahead.
pub const FORECAST_DAYS: u16 = 365;

const DAY_S: u64 = 24 * 60 * 60;

/// What is left of a pool.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Stock {
    /// Numbers that can be given to somebody now.
    pub free: u64,
    /// All that were not given back for good.
    pub usable: u64,
}

impl Stock {
    /// How many of a hundred numbers are left, rounded down; 0 of an empty pool.
    #[must_use]
    pub fn percent_left(self) -> u8 {
        let percent = self.free.saturating_mul(100).checked_div(self.usable).unwrap_or(0);
        u8::try_from(percent.min(100)).unwrap_or(100)
    }

    /// Whether few are left. A pool that never had a number lacks none.
    #[must_use]
    pub fn is_low(self, was_low: bool) -> bool {
        let limit = if was_low { ENOUGH_PERCENT } else { LOW_PERCENT };
        self.usable > 0 && self.free.saturating_mul(100) <= self.usable.saturating_mul(limit)
    }
}

/// How fast the numbers of a pool are taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pace {
    /// Numbers that somebody got.
    pub taken: u64,
    /// In so many days, 1 or more.
    pub days: u16,
}

impl Pace {
    /// The days that a pace is taken over, for a pool that is so old: whole ones, begun ones too.
    #[must_use]
    pub fn days(age: Duration) -> u16 {
        let days = age.as_secs().div_ceil(DAY_S).clamp(1, PACE_DAYS.into());
        u16::try_from(days).unwrap_or(PACE_DAYS)
    }

    /// Numbers a day.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "no pool comes near 2^52 numbers")]
    pub fn per_day(self) -> f64 {
        self.taken as f64 / f64::from(self.days.max(1))
    }

    /// After how many days none is free any more if it goes on like this, while `returning` numbers
    /// come back on each of the coming days. `None` when that is more than [`FORECAST_DAYS`] away.
    #[must_use]
    pub fn days_left(self, free: u64, returning: &[u64]) -> Option<u16> {
        let days = u64::from(self.days.max(1));
        let mut supply = free;
        for day in 0..FORECAST_DAYS {
            supply = supply.saturating_add(returning.get(usize::from(day)).copied().unwrap_or(0));
            let wanted = self.taken.saturating_mul(u64::from(day) + 1);
            let is_used_up = self.taken > 0 && supply.saturating_mul(days) <= wanted;
            // Where nothing is left nothing is taken either: that is no sign of plenty.
            if is_used_up || supply == 0 {
                return Some(day);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_is_low_from_a_fifth_down_and_not_before_a_quarter_up() {
        let stock = |free| Stock { free, usable: 1_000 };
        assert!(!stock(201).is_low(false));
        assert!(stock(200).is_low(false));
        assert!(stock(250).is_low(true));
        assert!(!stock(251).is_low(true));
        assert_eq!([0, 9, 200, 1_000].map(|free| stock(free).percent_left()), [0, 0, 20, 100]);
        let empty = Stock { free: 0, usable: 0 };
        assert_eq!((empty.is_low(false), empty.percent_left()), (false, 0));
        assert!(Stock { free: 0, usable: 1 }.is_low(false));
    }

    #[test]
    fn the_days_left_follow_from_the_pace_and_from_what_comes_back() {
        let pace = Pace { taken: 280, days: 28 };
        assert!((pace.per_day() - 10.0).abs() < f64::EPSILON);
        // Ten a day: the fifth day takes the last of fifty.
        assert_eq!(pace.days_left(50, &[]), Some(4));
        assert_eq!(pace.days_left(51, &[]), Some(5));
        assert_eq!(pace.days_left(0, &[]), Some(0));
        assert_eq!(pace.days_left(50, &[0, 0, 10]), Some(5));
        // What comes back too late helps nobody who waits before.
        assert_eq!(pace.days_left(50, &[0, 0, 0, 0, 0, 1_000]), Some(4));
        assert_eq!(pace.days_left(10, &[10; 365]), None);
        assert_eq!(pace.days_left(3_650, &[]), Some(364));
        assert_eq!(pace.days_left(3_651, &[]), None);
        let idle = Pace { taken: 0, days: 28 };
        assert_eq!((idle.days_left(1, &[]), idle.days_left(0, &[])), (None, Some(0)));
        assert_eq!(idle.days_left(0, &[0, 1]), Some(0));
        assert_eq!(Pace { taken: u64::MAX, days: 1 }.days_left(u64::MAX, &[1]), Some(0));
    }

    #[test]
    fn a_young_pool_has_the_pace_of_its_few_days() {
        let day = Duration::from_secs(DAY_S);
        let days = [Duration::ZERO, day, day + Duration::from_secs(1), day * 28, day * 400];
        assert_eq!(days.map(Pace::days), [1, 1, 2, 28, 28]);
    }
}
