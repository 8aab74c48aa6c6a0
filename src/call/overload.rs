//! Overload: whether datagrams wait too long, and how many attempts a second are let in until they
//! do not (RFC 6357: the server itself measures its delay, and sheds what it cannot serve).

use std::time::{Duration, Instant};

use super::joint_ask::JointAsk;
use crate::domain::now::Now;
use crate::sip::overload::{Control, Seq};
use crate::sip::timers::T1;

/// Datagrams may wait longer than wished for so long before attempts are refused: a burst is none.
/// The longer they wait, the shorter: after a wait of twice what is wished for, half of it.
const BURST_TIME: Duration = Duration::from_millis(100);
/// A queue that falls all the time, and at this pace will be empty so soon after it was first found
/// too long, is what a pause of ours has left, no overload.
const WORKED_OFF_WITHIN: Duration = Duration::from_millis(250);
/// Unless the pause was longer than T1: peers have then repeated what they sent.
const PAUSE_MAX: Duration = T1;
/// The limit goes when nobody has met it for so long.
const LIMIT_TIME: Duration = Duration::from_secs(1);
/// How often the limit is set anew, by how long datagrams have waited meanwhile.
const INTERVAL: Duration = Duration::from_millis(50);
/// The first limit is what was let in within the second before, or this part of the attempts taken
/// a second while the queue was long, whichever is more: most of what those cost was still to come.
const FIRST_PART: f64 = 0.5;
/// While the queue does not empty, the limit falls by this factor in an interval.
const DOWN: f64 = 0.9;
/// While it empties, it rises by this one, unless some have waited for too long even so.
const UP: f64 = 1.03;
/// The lowest limit, in attempts a second.
const RATE_MIN: f64 = 50.0;
/// What may be let in at one time, as a time at the limit: a burst would make all others wait. A
/// busy thread lets messages gather for as long.
const BURST_LET_IN: f64 = 0.010;
/// What calls about accidents may be let in beyond the tokens there are, as a time at the limit.
/// They go before all others, and are limited as all together: everybody could name that purpose.
const EMERGENCY_DEBT: f64 = 0.1;
/// The shortest time over which attempts are counted for the first limit.
const COUNTED_MIN: Duration = Duration::from_millis(5);
/// How often it is said anew what others are asked to keep from us, by what has come meanwhile.
const ASKED_EVERY: Duration = Duration::from_millis(200);
/// How long that holds (RFC 7339 §4.3 has this, too). Whoever sends nothing hears nothing.
const ASKED_FOR_MS: u32 = 500;
/// The least share that others are believed to send of what they have.
const KEPT_MIN: f64 = 0.01;
/// By how much those who heed may have grown since nothing was asked of them. More is not believed:
/// one who says that it heeds and does not would have all others keep back everything.
const GROWN_MAX: f64 = 2.0;

/// Whether datagrams wait too long, in the manner of CoDel: not how long one had to wait counts,
/// but that none has waited less for some time.
#[derive(Debug, Default)]
pub(super) struct Overload {
    late: Option<Late>,
    refusing: bool,
    /// Attempts let in so far.
    let_in: u64,
    recent: Recent,
    limit: Option<Limit>,
    asking: Asking,
}

/// What others are asked to keep from us (RFC 7339).
#[derive(Debug, Default)]
struct Asking {
    since: Option<Instant>,
    /// When it is looked at again.
    renew_at: Option<Instant>,
    /// Attempts since then: of all others, and of those who heed what they are asked.
    came: [u32; 2],
    /// The share that these send of what they have.
    kept: Option<f64>,
    /// Attempts a second of these when nothing was asked, and the most since.
    unasked: f64,
    control: Control,
}

/// What was let in of late.
#[derive(Debug, Default)]
struct Recent {
    second_began: Option<Instant>,
    /// In this second, and in the one before it.
    counts: [u32; 2],
}

/// Since when datagrams wait too long.
#[derive(Debug)]
struct Late {
    since: Instant,
    /// How long they waited then.
    first: Duration,
    /// How long at the least since.
    least: Duration,
    /// Whether it may be a pause's.
    may_be_pause: bool,
    /// What had been let in by then.
    let_in: u64,
}

/// How many attempts are let in: tokens that come at a rate, and a rate that is found by trying.
#[derive(Debug)]
struct Limit {
    /// A second.
    rate: f64,
    tokens: f64,
    /// Up to when tokens were given.
    at: Instant,
    interval_began: Instant,
    /// Whether every datagram of this interval had to wait. Absent: none is known to have waited.
    is_standing: Option<bool>,
    /// Whether one has waited for longer than wished for.
    had_late: bool,
    /// When somebody met the limit, or nobody was let in.
    met_at: Instant,
}

impl Overload {
    /// A datagram has waited so long, or none waits.
    pub(super) fn note(&mut self, now: Instant, delay: Duration, delay_max: Duration) {
        self.forget_limit(now);
        if let Some(limit) = &mut self.limit {
            limit.note(now, delay > delay_max / 2, delay > delay_max);
        }
        if delay <= delay_max {
            (self.late, self.refusing) = (None, false);
            return;
        }
        let let_in = self.let_in;
        let late = self.late.get_or_insert_with(|| Late::new(now, delay, let_in));
        late.note(delay, delay_max);
        // A queue that grows fast is no burst, and whoever is refused in the end has waited in it.
        let share = delay_max.as_secs_f64() / delay.as_secs_f64();
        let lasted = now.saturating_duration_since(late.since);
        let is_long = lasted >= BURST_TIME.mul_f64(share) && !late.is_worked_off(lasted, delay);
        self.refusing |= self.limit.is_some() || is_long;
        if self.refusing && self.limit.is_none() {
            let taken = let_in.saturating_sub(late.let_in);
            self.limit = Some(Limit::new(now, self.recent.rate(now), taken, lasted));
        }
        if let Some(limit) = self.limit.as_mut().filter(|_| self.refusing) {
            limit.met_at = now;
        }
    }

    /// A limit that nobody meets any more is none.
    fn forget_limit(&mut self, now: Instant) {
        self.limit.take_if(|limit| now >= limit.met_at + LIMIT_TIME);
    }

    /// Whether all attempts are refused now.
    pub(super) const fn is_refusing(&self) -> bool {
        self.refusing
    }

    /// An attempt has come; from one who heeds what it is asked, or not.
    pub(super) fn came(&mut self, heeds: bool) {
        let [others, heeding] = &mut self.asking.came;
        let count = if heeds { heeding } else { others };
        *count = count.saturating_add(1);
    }

    /// What others are asked to keep from us now: what we would refuse, so that they can send it
    /// elsewhere at once.
    pub(super) fn control(&mut self, now: Now, all: &JointAsk, shard: u8) -> Control {
        // Nearly all messages come in between.
        if self.asking.is_renewed(now.monotonic) {
            return self.asking.control;
        }
        self.forget_limit(now.monotonic);
        let rate = self.limit.as_ref().map(|limit| limit.rate);
        if let Some(loss) = self.asking.renew(now, rate) {
            let loss = all.renew(shard, loss, now.unix_ms(), u64::from(ASKED_FOR_MS));
            self.asking.ask(now, loss);
        }
        self.asking.control
    }

    /// Whether one more attempt may be let in now; if so, it counts as let in.
    pub(super) fn lets_in(&mut self, now: Instant, is_emergency: bool) -> bool {
        self.forget_limit(now);
        let may = self.limit.as_mut().is_none_or(|limit| limit.take(now, is_emergency));
        if may {
            self.let_in += 1;
            self.recent.note(now);
        }
        may
    }
}

impl Late {
    fn new(since: Instant, delay: Duration, let_in: u64) -> Self {
        Self { since, first: delay, least: delay, let_in, may_be_pause: delay <= PAUSE_MAX }
    }

    /// What a pause has left never grows again, but for what comes in a bunch.
    fn note(&mut self, delay: Duration, delay_max: Duration) {
        self.least = self.least.min(delay);
        self.may_be_pause &= delay <= self.least + delay_max;
    }

    /// Whether the queue has become so much shorter that it will soon be empty at this pace.
    fn is_worked_off(&self, lasted: Duration, delay: Duration) -> bool {
        let fallen = self.first.saturating_sub(delay).as_secs_f64();
        let needs = lasted.as_secs_f64() * self.first.as_secs_f64();
        self.may_be_pause && needs < fallen * WORKED_OFF_WITHIN.as_secs_f64()
    }
}

impl Asking {
    /// Whether it is not time yet to look again.
    fn is_renewed(&self, now: Instant) -> bool {
        self.renew_at.is_some_and(|at| now < at)
    }

    /// Nothing is asked where no more comes than is let in. Else each shall keep the same share of
    /// what it has, and what those have who heed is more than what comes of them.
    /// Absent: it is not time yet.
    fn renew(&mut self, now: Now, rate: Option<f64>) -> Option<u8> {
        let began = *self.since.get_or_insert(now.monotonic);
        let seconds = now.monotonic.saturating_duration_since(began).as_secs_f64();
        if seconds < ASKED_EVERY.as_secs_f64() {
            self.renew_at = Some(began + ASKED_EVERY);
            return None;
        }
        self.renew_at = Some(now.monotonic + ASKED_EVERY);
        let [others, heeding] = self.came.map(|count| f64::from(count) / seconds);
        let seen = if self.kept.is_some() { self.unasked } else { 0.0 };
        self.unasked = heeding.max(seen);
        let had = heeding / self.kept.unwrap_or(1.0).max(KEPT_MIN);
        let demand = others + had.min(GROWN_MAX * self.unasked);
        self.kept = rate.map(|rate| (rate / demand.max(rate)).max(KEPT_MIN));
        (self.since, self.came) = (Some(now.monotonic), [0, 0]);
        Some(((1.0 - self.kept.unwrap_or(1.0)) * 100.0).round() as u8)
    }

    fn ask(&mut self, now: Now, loss: u8) {
        // Zero for both says that we take part and ask nothing (§5.7).
        let validity_ms = if loss > 0 { ASKED_FOR_MS } else { 0 };
        let seq = Seq::of_ms(now.unix_ms()).max(self.control.seq.next());
        self.control = Control { loss_percent: loss, validity_ms, seq };
    }
}

impl Recent {
    fn note(&mut self, now: Instant) {
        self.turn(now);
        self.counts[0] = self.counts[0].saturating_add(1);
    }

    /// In the last full second.
    fn rate(&mut self, now: Instant) -> f64 {
        self.turn(now);
        f64::from(self.counts[1])
    }

    fn turn(&mut self, now: Instant) {
        let began = *self.second_began.get_or_insert(now);
        let seconds = now.saturating_duration_since(began).as_secs();
        if seconds > 0 {
            self.counts = [0, if seconds == 1 { self.counts[0] } else { 0 }];
            self.second_began = Some(began + Duration::from_secs(seconds));
        }
    }
}

impl Limit {
    fn new(now: Instant, recent: f64, taken: u64, lasted: Duration) -> Self {
        let rate = FIRST_PART * taken as f64 / lasted.max(COUNTED_MIN).as_secs_f64();
        let rate = rate.max(recent).max(RATE_MIN);
        Self {
            rate,
            tokens: 1.0,
            at: now,
            interval_began: now,
            is_standing: None,
            had_late: false,
            met_at: now,
        }
    }

    fn note(&mut self, now: Instant, is_standing: bool, is_late: bool) {
        self.is_standing = Some(is_standing && self.is_standing.unwrap_or(true));
        self.had_late |= is_late;
        self.give(now);
    }

    /// Tokens for the time that has passed; and another rate, if an interval is over.
    fn give(&mut self, now: Instant) {
        if now >= self.interval_began + INTERVAL {
            let factor = match (self.is_standing, self.had_late) {
                (Some(true), _) => DOWN,
                (_, true) => 1.0,
                (_, false) => UP,
            };
            self.rate = (self.rate * factor).max(RATE_MIN);
            (self.interval_began, self.is_standing, self.had_late) = (now, None, false);
        }
        let more = self.rate * now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + more).min((self.rate * BURST_LET_IN).max(1.0));
        self.at = now;
    }

    fn take(&mut self, now: Instant, is_emergency: bool) -> bool {
        self.give(now);
        let debt = if is_emergency { self.rate * EMERGENCY_DEBT } else { 0.0 };
        if self.tokens + debt < 1.0 {
            self.met_at = now;
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests;
