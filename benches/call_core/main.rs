//! What the brain costs by itself: whole calls through one [`CallCore`] in virtual time, at a rate
//! that lets lingering transactions pile up as they do in service. Prints CPU time, allocations
//! and bytes held for a call; then what 10,000 calls hold that are up at once, and what is left of
//! them after 64*T1.
//!
//! usage: cargo bench --bench call_core [calls a second]

mod brain;
mod memory;
mod peers;

use std::collections::VecDeque;
use std::time::Duration;

use brain::Brain;
use peers::Call;

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

fn main() {
    let rate = std::env::args().filter_map(|word| word.parse().ok()).next().unwrap_or(RATE_USUAL);
    show_rate(rate);
    show_room();
}

/// 10,000 calls: what they hold while they are up, and when all is over.
#[expect(clippy::print_stdout, reason = "a benchmark tells its figures")]
fn show_room() {
    let mut bench = Brain::new();
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
    let mut bench = Brain::new();
    let every = Duration::from_secs(1) / rate;
    let (mut up, mut number) = (VecDeque::new(), 0_u64);
    let before = memory::now();
    let mut run = |bench: &mut Brain, span: Duration| {
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
