//! What the brain costs by itself: whole calls through one [`CallCore`] in virtual time, at a rate
//! that lets lingering transactions pile up as they do in service. Prints CPU time, allocations
//! and bytes held for a call; then what 10,000 calls hold that are up at once, and what is left of
//! them after 64*T1.
//!
//! usage: cargo bench --bench call_core [calls a second]

mod memory;
mod peers;

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use maskline::call::config::CallConfig;
use maskline::call::core::CallCore;
use maskline::call::io::{Input, Output, Peer};
use maskline::domain::now::Now;
use maskline::domain::whisper::WhisperPolicy;
use maskline::rtp::plane::{Command, Report, SideCounts};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use peers::{Call, Said};

#[global_allocator]
static MEMORY: memory::Counting = memory::Counting;

/// Longer than any transaction lingers (64*T1), so that what is measured is a steady state.
const WARM_UP: Duration = Duration::from_secs(40);
const MEASURED: Duration = Duration::from_secs(10);
/// From the INVITE of a call to its BYE.
const TALK: Duration = Duration::from_millis(200);
const RATE_USUAL: u32 = 1_000;
/// Calls that are up at once.
const UP: u64 = 10_000;
/// Longer than 64*T1.
const REST: Duration = Duration::from_secs(40);

/// The brain, and a clock that stands still while it works.
struct Bench {
    core: CallCore,
    now: Now,
    inputs: VecDeque<Input>,
    said: Vec<Said>,
    spent: Duration,
    finished: u64,
}

impl Bench {
    /// One input, the full drain, and whatever store, media plane and recorder answer to it.
    fn input(&mut self, input: Input) {
        self.inputs.push_back(input);
        while let Some(input) = self.inputs.pop_front() {
            let began = clock();
            self.core.handle_input(self.now, input);
            self.spent += began.elapsed();
            loop {
                let began = clock();
                let output = self.core.poll_output();
                self.spent += began.elapsed();
                let Some(output) = output else { break };
                self.carry_out(output);
            }
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Transmit { to, bytes } => self.said.push(Said { to: to.address, bytes }),
            Output::FindRoute { call, query } => {
                let answer = peers::find_route(query);
                self.inputs.push_back(Input::Route { call, answer });
            }
            Output::Media(Command::Open { session }) => {
                let local = peers::local_media();
                self.inputs.push_back(Input::Media(Report::Opened { session, local }));
            }
            Output::Media(Command::Close { session }) => {
                let counts = [SideCounts::default(); 2];
                self.inputs.push_back(Input::Media(Report::Closed { session, counts }));
            }
            Output::Media(
                Command::Update { .. }
                | Command::Bridge { .. }
                | Command::Hold { .. }
                | Command::Record { .. }
                | Command::Play { .. }
                | Command::Stop { .. }
                | Command::Keys { .. },
            )
            | Output::Status(_)
            | Output::TrunkStatus(_)
            | Output::FindLogin { .. }
            | Output::AskMenu(_)
            | Output::Proved { .. }
            | Output::Security(_)
            | Output::Unwanted(_) => {}
            Output::Finished(_) => {
                self.finished += 1;
                self.inputs.push_back(Input::RecorderCredit(1));
            }
        }
    }

    fn says(&mut self, peer: Peer, text: &str) {
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        self.input(Input::Datagram { peer, bytes });
    }

    /// The first half of a call: up to the ACK of the caller.
    fn begin(&mut self, number: u64) -> Call {
        let mut call = Call::new(number);
        self.says(peers::pbx(), &call.invite());
        call.hear_invite(&std::mem::take(&mut self.said));
        self.says(peers::carrier(), &call.answer(180));
        self.said.clear();
        self.says(peers::carrier(), &call.answer(200));
        call.hear_answer(&std::mem::take(&mut self.said));
        self.says(peers::pbx(), &call.caller_request("ACK", 1));
        self.said.clear();
        call
    }

    /// The second half: the caller hangs up.
    fn end(&mut self, call: &Call) {
        self.says(peers::pbx(), &call.caller_request("BYE", 2));
        let bye = std::mem::take(&mut self.said);
        self.says(peers::carrier(), &peers::agree(&bye));
        self.said.clear();
    }

    /// Lets time pass, timers at their time.
    fn sleep(&mut self, until: Instant) {
        while let Some(due) = self.core.poll_timeout().filter(|due| *due <= until) {
            self.set_clock(due);
            self.input(Input::Timeout);
            self.said.clear();
        }
        self.set_clock(until);
    }

    fn set_clock(&mut self, at: Instant) {
        let at = at.max(self.now.monotonic);
        self.now.wall += at - self.now.monotonic;
        self.now.monotonic = at;
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn clock() -> Instant {
    Instant::now()
}

fn new_bench() -> Bench {
    let mut config = CallConfig::new(peers::us());
    // A proxy announces nothing either.
    config.whisper.policy = WhisperPolicy::Off;
    config.recorder_credits = u32::MAX / 2;
    let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let now = Now { monotonic: clock(), wall };
    Bench {
        core: CallCore::new(config, ChaCha20Rng::seed_from_u64(1)),
        now,
        inputs: VecDeque::new(),
        said: Vec::new(),
        spent: Duration::ZERO,
        finished: 0,
    }
}

fn main() {
    let rate = std::env::args().filter_map(|word| word.parse().ok()).next().unwrap_or(RATE_USUAL);
    show_rate(rate);
    show_room();
}

/// 10,000 calls: what they hold while they are up, and when all is over.
#[expect(clippy::print_stdout, reason = "a benchmark tells its figures")]
fn show_room() {
    let mut bench = new_bench();
    let held = |before: u64| memory::now().held.saturating_sub(before) as f64 / f64::from(1 << 20);
    let before = memory::now().held;
    let mut calls = Vec::new();
    for number in 0..UP {
        bench.sleep(bench.now.monotonic + Duration::from_millis(1));
        calls.push(bench.begin(number));
    }
    bench.sleep(bench.now.monotonic + REST);
    let (up, theirs) = (held(before), calls.iter().map(Call::bytes).sum::<usize>());
    let live = bench.core.occupancy().calls;
    calls.iter().for_each(|call| bench.end(call));
    bench.sleep(bench.now.monotonic + REST);
    drop(calls);
    let occupancy = bench.core.occupancy();
    let theirs = theirs as f64 / f64::from(1 << 20);
    println!("{live} calls up: {up:.1} MiB, {theirs:.1} of them in the test peers");
    println!(
        "64*T1 after the last: {} calls, {} transactions, {:.1} MiB",
        occupancy.lingering,
        occupancy.transactions,
        held(before)
    );
}

/// A steady load of short calls.
#[expect(clippy::print_stdout, reason = "a benchmark tells its figures")]
fn show_rate(rate: u32) {
    let mut bench = new_bench();
    let every = Duration::from_secs(1) / rate;
    let (mut up, mut number) = (VecDeque::new(), 0_u64);
    let before = memory::now();
    let mut run = |bench: &mut Bench, span: Duration| {
        let end = bench.now.monotonic + span;
        while bench.now.monotonic < end {
            bench.sleep(bench.now.monotonic + every);
            number += 1;
            up.push_back((bench.now.monotonic + TALK, bench.begin(number)));
            while up.front().is_some_and(|(at, _)| *at <= bench.now.monotonic) {
                let Some((_, call)) = up.pop_front() else { break };
                bench.end(&call);
            }
        }
    };
    run(&mut bench, WARM_UP);
    let (spent, finished, warm) = (bench.spent, bench.finished, memory::now());
    run(&mut bench, MEASURED);
    let calls = bench.finished - finished;
    assert!(calls > 0, "no call came to its end");
    let memory::Count { allocations, .. } = memory::now();
    let us = (bench.spent - spent).as_secs_f64() * 1e6 / calls as f64;
    let each = (allocations - warm.allocations) as f64 / calls as f64;
    let held = warm.held.saturating_sub(before.held);
    let occupancy = bench.core.occupancy();
    println!("{rate} calls/s: {us:.1} us of a core for a call, {each:.0} allocations");
    println!(
        "held: {:.1} MiB for {} calls that linger and {} transactions, {:.1} KiB for a call",
        held as f64 / f64::from(1 << 20),
        occupancy.lingering,
        occupancy.transactions,
        held as f64 / 1024.0 / occupancy.lingering.max(1) as f64
    );
}
