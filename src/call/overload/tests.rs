//! The limit against a queue that is served at a known capacity.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::*;

const MS: Duration = Duration::from_millis(1);
const LATE: Duration = Duration::from_millis(10);
/// Calls a second that the server can serve.
const CAPACITY: u64 = 500;
/// The messages of a call, and when they come after its INVITE.
const MESSAGES_AT_MS: [u64; 9] = [0, 5, 6, 10, 50, 51, 250, 251, 255];
/// What a refusal costs, as a part of a call.
const REFUSAL_PART: f64 = 0.03;

/// A server that handles one message after the other, and is stopped for a part of the time.
struct Server {
    start: Instant,
    overload: Overload,
    /// Microseconds from the start, whether it is an attempt, and whether of one who heeds.
    queue: VecDeque<(u64, bool, bool)>,
    coming: BinaryHeap<Reverse<(u64, bool)>>,
    now_us: f64,
    /// Of every 10 ms, so many it does nothing.
    stopped_ms: f64,
    /// When each was let in; and how long each one waited that was not.
    let_in: Vec<u64>,
    waited_ms: Vec<(u64, f64)>,
    clients: Clients,
}

/// Those who send, as far as they heed what they are asked (RFC 7339).
#[derive(Default)]
struct Clients {
    /// Of a hundred.
    heeding: u32,
    /// What they have heard last, and until when it holds.
    heard: Option<(Control, u64)>,
    /// Counts up what is to be kept back, by hundredths, and whose turn it is.
    owed: u32,
    turn: u32,
    kept_back: Vec<u64>,
}

impl Clients {
    /// Whether the next attempt is one of those who heed.
    fn next_heeds(&mut self) -> bool {
        self.turn = (self.turn + 37) % 100;
        self.turn < self.heeding
    }

    /// Whether somebody keeps its attempt back at this time.
    fn keep_back(&mut self, at: u64) -> bool {
        let Some((control, _)) = self.heard.filter(|(_, until)| at < *until) else { return false };
        self.owed += u32::from(control.loss_percent);
        let is_kept = self.owed >= 100;
        if is_kept {
            self.owed -= 100;
            self.kept_back.push(at);
        }
        is_kept
    }
}

impl Server {
    fn new(stopped_ms: f64) -> Self {
        let start = crate::call::tests::harness::epoch().monotonic;
        let (queue, coming) = (VecDeque::new(), BinaryHeap::new());
        let overload = Overload::default();
        let (let_in, waited_ms) = (Vec::new(), Vec::new());
        let clients = Clients::default();
        Self { start, overload, queue, coming, now_us: 0.0, stopped_ms, let_in, waited_ms, clients }
    }

    /// So much comes in a second from now on for so long, in bunches of one millisecond.
    fn offer(&mut self, calls: u64, seconds: u64) {
        let from = self.now_us as u64 / 1_000;
        let mut offered = 0;
        for ms in 0..seconds * 1_000 {
            while offered < calls * ms / 1_000 {
                self.coming.push(Reverse(((from + ms) * 1_000, true)));
                offered += 1;
            }
        }
        self.run((from + seconds * 1_000) * 1_000);
    }

    fn run(&mut self, until_us: u64) {
        while self.now_us < until_us as f64 {
            while let Some(Reverse(next)) = self.coming.peek().copied()
                && next.0 as f64 <= self.now_us
            {
                self.coming.pop();
                let (at, is_attempt) = next;
                let heeds = is_attempt && self.clients.next_heeds();
                if !heeds || !self.clients.keep_back(at) {
                    self.queue.push_back((at, is_attempt, heeds));
                }
            }
            let Some((at, is_attempt, heeds)) = self.queue.pop_front() else {
                self.overload.note(self.now(), Duration::ZERO, LATE);
                let next = self.coming.peek().map_or(until_us, |Reverse(next)| next.0);
                self.now_us = next.min(until_us).max(self.now_us as u64 + 1) as f64;
                continue;
            };
            let waited = self.now_us - at as f64;
            self.overload.note(self.now(), Duration::from_secs_f64(waited / 1e6), LATE);
            self.handle(is_attempt, waited / 1e3);
            if is_attempt {
                self.answer(heeds);
            }
        }
    }

    /// Who is answered hears what is asked of it, if it wants to.
    fn answer(&mut self, heeds: bool) {
        self.overload.came(heeds);
        let elapsed = Duration::from_secs_f64(self.now_us / 1e6);
        let wall = std::time::SystemTime::UNIX_EPOCH + elapsed;
        let control =
            self.overload.control(Now { monotonic: self.now(), wall }, &JointAsk::default(), 0);
        if heeds {
            let until = self.now_us as u64 + u64::from(control.validity_ms) * 1_000;
            self.clients.heard = Some((control, until));
        }
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_secs_f64(self.now_us / 1e6)
    }

    fn handle(&mut self, is_attempt: bool, waited_ms: f64) {
        let share = 1.0 - self.stopped_ms / 10.0;
        let call_us = 1e6 / CAPACITY as f64 * share;
        let mut cost = call_us / MESSAGES_AT_MS.len() as f64;
        if is_attempt {
            let now = self.now_us as u64;
            if !self.overload.is_refusing() && self.overload.lets_in(self.now(), false) {
                self.let_in.push(now);
                let later = MESSAGES_AT_MS[1..].iter();
                self.coming.extend(later.map(|at| Reverse((now + at * 1_000, false))));
            } else {
                self.waited_ms.push((now, waited_ms));
                cost = call_us * REFUSAL_PART;
            }
        }
        self.now_us += cost;
        if self.now_us % 10_000.0 > 10_000.0 - self.stopped_ms * 1_000.0 {
            self.now_us = (self.now_us / 10_000.0).ceil() * 10_000.0;
        }
    }

    /// Calls let in a second, as a part of the capacity, and the wait that all but one of a hundred
    /// refused ones had less than, over so many seconds from `second` on.
    fn figures(&self, second: u64, seconds: u64) -> (f64, f64) {
        let span = second * 1_000_000..(second + seconds) * 1_000_000;
        let let_in = self.let_in.iter().filter(|at| span.contains(at)).count();
        let mut waited: Vec<f64> =
            self.waited_ms.iter().filter(|(at, _)| span.contains(at)).map(|(_, ms)| *ms).collect();
        waited.sort_by(f64::total_cmp);
        let p99 = waited.get(waited.len() * 99 / 100).copied().unwrap_or(0.0);
        (let_in as f64 / (CAPACITY * seconds) as f64, p99)
    }
}

/// RFC 6357: what can be served is served, and whoever is refused hears it within 50 ms.
#[test]
fn beyond_the_capacity_what_can_be_served_is_and_the_others_are_refused_soon() {
    for stopped_ms in [0.0, 7.5] {
        for load in [2, 5, 10] {
            let mut server = Server::new(stopped_ms);
            server.offer(CAPACITY / 2, 5);
            server.offer(CAPACITY * load, 20);
            server.offer(CAPACITY / 2, 10);
            let what = format!("stopped {stopped_ms} ms, load {load}");
            let (before, _) = server.figures(0, 5);
            let f = server.figures(5, 20);
            eprintln!("{what} {f:?} {:?}", server.figures(27, 8));
            assert!(before > 0.49, "{what}: {before} before");
            let (served, p99) = server.figures(5, 20);
            let most = 1.0 - (load as f64 - 1.0) * REFUSAL_PART;
            assert!(served > 0.9 * most, "{what}: {served} of {most}");
            assert!(p99 < 50.0, "{what}: {p99} ms");
            let (after, _) = server.figures(27, 8);
            assert!(after > 0.49, "{what}: {after} two seconds after");
        }
    }
}

/// RFC 7339: what is refused is refused before it is sent.
#[test]
fn those_who_heed_keep_back_what_would_be_refused_and_send_all_again_afterwards() {
    for (load, heeding) in [(2, 100), (5, 100), (10, 100), (5, 50)] {
        let what = format!("load {load}, {heeding} of 100 heed");
        let mut server = Server::new(0.0);
        server.clients.heeding = heeding;
        server.offer(CAPACITY / 2, 5);
        assert!(server.clients.kept_back.is_empty(), "{what}: nothing was asked");
        server.offer(CAPACITY * load, 20);
        server.offer(CAPACITY / 2, 10);
        let (served, _) = server.figures(10, 15);
        assert!(served > 0.9 * (1.0 - load as f64 * REFUSAL_PART / 2.0), "{what}: {served} served");
        let span = 10_000_000..25_000_000;
        let count =
            |list: &mut dyn Iterator<Item = u64>| list.filter(|at| span.contains(at)).count();
        let kept_back = count(&mut server.clients.kept_back.iter().copied()) as f64;
        let refused = count(&mut server.waited_ms.iter().map(|(at, _)| *at)) as f64;
        let share = kept_back / (kept_back + refused);
        let least = f64::from(heeding) / 100.0 * 0.8;
        assert!(share > least, "{what}: {share} of what had to be was kept back");
        let (after, _) = server.figures(27, 8);
        assert!(after > 0.49, "{what}: {after} afterwards");
        assert_eq!(server.overload.asking.control.validity_ms, 0, "{what}: nothing is asked");
    }
}

#[test]
fn a_limit_that_nobody_meets_goes() {
    let mut server = Server::new(0.0);
    server.offer(CAPACITY * 5, 5);
    assert!(server.overload.limit.is_some());
    server.offer(CAPACITY / 4, 8);
    assert!(server.overload.limit.is_none());
}

/// Refused by the queue alone for longer than a limit lasts.
#[test]
fn after_a_long_refusal_no_burst_is_let_in() {
    let mut now = crate::call::tests::harness::epoch().monotonic;
    let mut overload = Overload::default();
    run(&mut overload, &mut now, 3_000, 2 * LATE);
    run(&mut overload, &mut now, 1, Duration::ZERO);
    assert!(!overload.is_refusing());
    let let_in = (0..100).filter(|_| overload.lets_in(now, false)).count();
    assert_eq!(let_in, 1);
}

#[test]
fn a_pause_of_ours_leaves_room_for_a_load_below_the_capacity() {
    for pause_ms in [100, 300, 1_000] {
        let mut server = Server::new(0.0);
        server.offer(CAPACITY * 2 / 5, 5);
        server.now_us += f64::from(pause_ms) * 1e3;
        server.offer(CAPACITY * 2 / 5, 10);
        let refused = server.waited_ms.len() as f64 / CAPACITY as f64;
        let pause = f64::from(pause_ms) / 1e3;
        assert!(refused < 0.1 + pause, "{pause_ms} ms: {refused} capacity-seconds refused");
        let (after, _) = server.figures(12, 3);
        assert!(after > 0.39, "{pause_ms} ms: {after} after");
    }
}

#[test]
fn a_neighbour_that_disturbs_again_and_again_does_not_starve_the_calls() {
    let mut now = crate::call::tests::harness::epoch().monotonic;
    let mut overload = Overload::default();
    let mut let_in = 0;
    for at in 0..30_000 {
        now += MS;
        let delay = if at < 200 || at % 100 < 2 { 2 * LATE } else { Duration::ZERO };
        overload.note(now, delay, LATE);
        // One a millisecond asks.
        let_in += u32::from(!overload.is_refusing() && overload.lets_in(now, false));
    }
    assert!(let_in > 10_000, "{let_in} of 30,000");
}

/// Feeds one look a millisecond; how many of them found attempts refused.
fn run(overload: &mut Overload, now: &mut Instant, looks: u32, delay: Duration) -> u32 {
    let mut refused = 0;
    for _ in 0..looks {
        *now += MS;
        overload.note(*now, delay, LATE);
        refused += u32::from(overload.is_refusing());
    }
    refused
}

#[test]
fn a_burst_that_is_worked_off_refuses_nobody() {
    let (mut overload, mut now) =
        (Overload::default(), crate::call::tests::harness::epoch().monotonic);
    for _ in 0..20 {
        assert_eq!(run(&mut overload, &mut now, 90, LATE + MS), 0);
        run(&mut overload, &mut now, 1, LATE);
        assert_eq!(run(&mut overload, &mut now, 50, 2 * LATE), 0);
        run(&mut overload, &mut now, 1, LATE);
        assert!(overload.lets_in(now, false));
    }
}

/// A queue that is served at its capacity while `load` times as much comes, from `waiting` on: how
/// long the last datagram had waited when attempts were refused, and after how long, if they were.
fn first_refusal(
    load: impl Fn(u32) -> f64,
    waiting: Duration,
    overload: &mut Overload,
) -> Option<(Duration, u32)> {
    let start = crate::call::tests::harness::epoch().monotonic;
    let mut delay = waiting.as_secs_f64();
    for at in 1..1_000 {
        // What is at the head of the queue now came when so much less had been served.
        delay = (delay + (1.0 - 1.0 / load(at)) * MS.as_secs_f64()).max(0.0);
        let delay = Duration::from_secs_f64(delay);
        overload.note(start + at * MS, delay, LATE);
        if overload.is_refusing() {
            return Some((delay, at));
        }
    }
    None
}

#[test]
fn the_more_comes_the_sooner_it_is_refused_and_a_pause_of_ours_is_no_overload() {
    let first_of_all =
        |load: f64, waiting| first_refusal(|_| load, waiting, &mut Overload::default());
    for load in [1.5, 2.0, 5.0, 10.0] {
        let (waited, _) = first_of_all(load, Duration::ZERO).expect("more comes than is served");
        assert!(waited < 40 * MS, "{load}: {waited:?}");
    }
    for pause in [10, 40, 70, 200, 350] {
        assert_eq!(first_of_all(0.4, pause * MS), None, "{pause}");
    }
    let (waited, after) = first_of_all(0.8, 100 * MS).expect("nobody waits for one that stays");
    assert!(waited < 100 * MS && after < 20, "{waited:?} {after}");
    // It would be empty soon, but peers have repeated by then what they sent.
    assert!(first_of_all(0.1, 600 * MS).is_some_and(|(_, after)| after < 5));
}

#[test]
fn a_queue_that_falls_and_grows_again_is_no_pause() {
    let load = |at| if at < 40 { 0.15 } else { 5.0 };
    let (waited, after) =
        first_refusal(load, 300 * MS, &mut Overload::default()).expect("it grows");
    assert!(waited < 90 * MS && after < 60, "{waited:?} {after}");
}

#[test]
fn bunches_that_are_worked_off_are_served_however_often_they_come_and_growing_ones_are_not() {
    // It falls within 134 ms each time, and jumps again after half a second.
    let first_refused = |jump: fn(u32) -> u32| {
        let mut overload = Overload::default();
        let start = crate::call::tests::harness::epoch().monotonic;
        (1..5_000).find(|at| {
            let delay = jump(*at / 500).saturating_sub(at % 500 * 3 / 2) * MS;
            overload.note(start + *at * MS, delay, LATE);
            overload.is_refusing()
        })
    };
    assert_eq!(first_refused(|_| 200), None);
    let at = first_refused(|bunch| 100 * (bunch + 1)).expect("too long to be worked off soon");
    assert!((1_000..1_600).contains(&at), "{at}");
}

/// What is asked of those who heed, round after round, when so many attempts a second come of each
/// kind and nothing changes by it.
fn asked(others: u32, heeding: u32, rounds: u32) -> Vec<u8> {
    let (mut overload, mut now) = (Overload::default(), crate::call::tests::harness::epoch());
    overload.limit = Some(Limit::new(now.monotonic, f64::from(500), 0, MS));
    overload.control(now, &JointAsk::default(), 0);
    let mut asked = Vec::new();
    for _ in 0..rounds {
        (0..others / 5).for_each(|_| overload.came(false));
        (0..heeding / 5).for_each(|_| overload.came(true));
        now.monotonic += ASKED_EVERY;
        overload.limit.as_mut().expect("a limit").met_at = now.monotonic;
        asked.push(overload.control(now, &JointAsk::default(), 0).loss_percent);
    }
    asked
}

#[test]
fn one_who_says_that_it_heeds_and_does_not_takes_no_more_than_half_from_others() {
    let rounds = asked(0, 1_000, 50);
    assert_eq!(rounds[0], 50, "at first it is believed: {rounds:?}");
    assert!(rounds[1..].iter().all(|loss| *loss == 75), "{rounds:?}");
}

#[test]
fn emergencies_go_first_and_are_limited_as_all_are() {
    let begun = crate::call::tests::harness::epoch().monotonic;
    let mut limit = Limit::new(begun, 500.0, 0, MS);
    let mut taken = [0_u32; 2];
    // Twice the limit of each, by turns, for ten seconds.
    for at in 0..20_000_u32 {
        let now = begun + Duration::from_micros(500) * at;
        let is_emergency = at % 2 == 0;
        taken[usize::from(is_emergency)] += u32::from(limit.take(now, is_emergency));
        limit.interval_began = now;
    }
    let [usual, emergencies] = taken;
    assert!((5_000..=5_060).contains(&emergencies) && usual <= 10, "{taken:?}");
}
