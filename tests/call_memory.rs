//! What the brain holds for a call: counted by the allocator of this test's own process, so that
//! every run counts the same.

#[path = "../benches/call_core/brain.rs"]
mod brain;
#[expect(dead_code, reason = "the benchmark counts allocations too")]
#[path = "../benches/call_core/memory.rs"]
mod memory;
#[path = "../benches/call_core/peers.rs"]
mod peers;

use std::time::Duration;

use brain::Brain;
use peers::Call;

#[global_allocator]
static MEMORY: memory::Counting = memory::Counting;

const CALLS: u64 = 1_000;
/// What a bridged call may hold.
const BYTES_MAX: u64 = 8_000;
/// Less than the texts of its dialogs alone: a count below it has not seen the calls.
const BYTES_MIN: u64 = 500;
/// What may be left of it in tables that do not shrink.
const BYTES_LEFT_MAX: u64 = 500;
/// Longer than 64*T1.
const REST: Duration = Duration::from_secs(40);

/// Bytes for each call that are held now and were not held before, the test's own left out.
fn held(before: u64, calls: &[Call]) -> u64 {
    let own = calls.iter().map(Call::bytes).sum::<usize>() as u64;
    (memory::now().held - before - own) / CALLS
}

#[test]
fn a_bridged_call_takes_little_memory() {
    let mut brain = Brain::new();
    let before = memory::now().held;
    let mut calls = Vec::with_capacity(CALLS as usize);
    for number in 0..CALLS {
        brain.sleep(brain.now.monotonic + Duration::from_millis(1));
        calls.push(brain.begin(number));
    }
    let fresh = held(before, &calls);
    assert!((BYTES_MIN..=BYTES_MAX).contains(&fresh), "{fresh} bytes with all transactions");
    brain.sleep(brain.now.monotonic + REST);
    let occupancy = brain.core.occupancy();
    assert_eq!((occupancy.calls as u64, occupancy.transactions), (CALLS, 0), "{occupancy:?}");
    let settled = held(before, &calls);
    assert!((BYTES_MIN..=BYTES_MAX).contains(&settled), "{settled} bytes");

    calls.iter().for_each(|call| brain.end(call));
    brain.sleep(brain.now.monotonic + REST);
    assert_eq!((brain.finished, brain.core.occupancy().lingering), (CALLS, 0));
    let left = held(before, &calls);
    assert!(left <= BYTES_LEFT_MAX, "{left} bytes");
}
