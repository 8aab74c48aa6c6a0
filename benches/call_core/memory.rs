//! Counts what the allocator is asked for, the test peers' share included.

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicU64, Ordering};

use mimalloc::MiMalloc;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static HELD: AtomicU64 = AtomicU64::new(0);

/// The allocator of the product with two counters in front of it.
pub(crate) struct Counting;

/// What has been asked for so far.
#[derive(Clone, Copy)]
pub(crate) struct Count {
    pub(crate) allocations: u64,
    pub(crate) held: u64,
}

pub(crate) fn now() -> Count {
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    Count { allocations: load(&ALLOCATIONS), held: load(&HELD) }
}

// SAFETY: every call is passed on unchanged to an allocator that keeps the contract.
#[expect(unsafe_code, reason = "an allocator can only be counted from inside of one")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        HELD.fetch_add(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { MiMalloc.dealloc(place, layout) }
    }
}
