//! The timers of all calls of a core: at most one of a kind per call, and of each call the soonest
//! in a wheel.

use std::time::Instant;

use super::place::Serial;
use crate::sip::wheel::Wheel;

/// What a timer of a call is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Timer {
    /// The route is late.
    Route,
    /// The caller has heard nothing yet and would soon ask again, or nothing for a minute.
    Trying,
    /// The caller waits no longer, as its INVITE says: as if it had cancelled it now.
    Expires,
    /// The ports are late.
    MediaOpen,
    /// The trunk says nothing.
    Failover,
    /// The callee does not answer.
    Ring,
    /// Our 2xx has to be sent to the caller again.
    Answer,
    /// The call has lasted as long as it may.
    Duration,
    /// A minute of talk is over.
    Minute,
    /// The last report of the media plane is late.
    MediaClose,
    /// No phone of a fork can answer any more.
    Forks,
    /// The far side says nothing to an offer, or is to be asked again.
    Offer,
    /// A 2xx to an INVITE within the call has to be sent again.
    Confirm,
    /// A session has to be refreshed, or was not.
    Refresh,
    /// Something has to be said, takes too long to say, or is not answered by a key.
    Speech,
}

impl Timer {
    /// In the order in which they come at one time: who is refused is not told that it rings.
    const ALL: [Self; 15] = [
        Self::Route,
        Self::Expires,
        Self::MediaOpen,
        Self::Failover,
        Self::Ring,
        Self::Answer,
        Self::Duration,
        Self::Minute,
        Self::MediaClose,
        Self::Forks,
        Self::Offer,
        Self::Confirm,
        Self::Refresh,
        Self::Speech,
        Self::Trying,
    ];
}

/// Due times by the place of the call. Bounded by the table of calls.
#[derive(Default)]
pub(super) struct Timers {
    wheel: Wheel,
    /// In pages: one long row would be moved, while all messages wait, whenever it grows.
    pages: Vec<Box<[Due]>>,
    armed: usize,
}

/// Calls of one page.
const PAGE: usize = 256;

/// The due times of one call, by kind.
#[derive(Clone, Copy)]
struct Due {
    call: Serial,
    at: [Option<Instant>; Timer::ALL.len()],
    /// How many of them are set.
    armed: u8,
}

impl Due {
    fn soonest(&self) -> Option<Instant> {
        self.at.iter().flatten().min().copied()
    }
}

impl Timers {
    /// Sets a timer, instead of the one of that kind that was set before.
    pub(super) fn arm(&mut self, now: Instant, call: Serial, timer: Timer, at: Instant) {
        while self.pages.len() <= call.index as usize / PAGE {
            let unused = Due { call, at: [None; Timer::ALL.len()], armed: 0 };
            self.pages.push(vec![unused; PAGE].into_boxed_slice());
        }
        let Some(due) = due_at(&mut self.pages, call.index) else { return };
        due.call = call;
        let Some(place) = due.at.get_mut(timer as usize) else { return };
        let is_new = place.replace(at).is_none();
        due.armed += u8::from(is_new);
        self.armed += usize::from(is_new);
        if let Some(soonest) = due.soonest() {
            self.wheel.set(now, call.index, soonest);
        }
    }

    /// Forgets a timer; nothing happens when it is not set. The wheel is left as it is: that it
    /// turns once in vain costs less than to move every timer that is never needed.
    pub(super) fn disarm(&mut self, call: Serial, timer: Timer) {
        let Some(due) = self.due_mut(call) else { return };
        if due.at.get_mut(timer as usize).and_then(Option::take).is_none() {
            return;
        }
        due.armed -= 1;
        let is_idle = due.armed == 0;
        self.armed -= 1;
        if is_idle {
            self.wheel.cancel(call.index);
        }
    }

    /// Forgets all timers of a call.
    pub(super) fn disarm_all(&mut self, call: Serial) {
        let Some(due) = self.due_mut(call) else { return };
        let set = std::mem::take(&mut due.armed);
        if set > 0 {
            due.at = [None; Timer::ALL.len()];
        }
        self.armed -= usize::from(set);
        self.wheel.cancel(call.index);
    }

    /// Takes one timer whose time has come.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<(Serial, Timer)> {
        while let Some(index) = self.wheel.pop(now) {
            let Some(due) = due_at(&mut self.pages, index) else { continue };
            let call = due.call;
            let Some(soonest) = due.soonest() else { continue };
            let timer = Timer::ALL.into_iter().find(|it| due.at[*it as usize] == Some(soonest));
            let fired = timer.filter(|_| soonest <= now);
            if let Some(timer) = fired {
                due.at[timer as usize] = None;
                due.armed -= 1;
                self.armed -= 1;
            }
            if let Some(next) = due.soonest() {
                self.wheel.set(now, index, next);
            }
            if let Some(timer) = fired {
                return Some((call, timer));
            }
        }
        None
    }

    /// When to call [`Self::pop_due`] next; it may be sooner than the next timer.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.wheel.next_deadline()
    }

    /// How many are set.
    pub(super) const fn len(&self) -> usize {
        self.armed
    }

    fn due_mut(&mut self, call: Serial) -> Option<&mut Due> {
        due_at(&mut self.pages, call.index).filter(|due| due.call == call)
    }
}

fn due_at(pages: &mut [Box<[Due]>], index: u32) -> Option<&mut Due> {
    let index = index as usize;
    pages.get_mut(index / PAGE)?.get_mut(index % PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::tests::harness::epoch;
    use std::time::Duration;

    fn serial(index: u32) -> Serial {
        Serial { index, count: 1 }
    }

    #[test]
    fn timers_come_in_the_order_of_their_times() {
        let t0 = epoch().monotonic;
        let [first, second] = [1, 2].map(serial);
        let mut timers = Timers::default();
        timers.arm(t0, first, Timer::Ring, t0 + Duration::from_secs(2));
        timers.arm(t0, second, Timer::Route, t0 + Duration::from_secs(1));
        assert_eq!(timers.pop_due(t0), None);
        let late = t0 + Duration::from_secs(9);
        assert_eq!(timers.pop_due(late), Some((second, Timer::Route)));
        assert_eq!(timers.pop_due(late), Some((first, Timer::Ring)));
        assert_eq!((timers.pop_due(late), timers.len()), (None, 0));
    }

    #[test]
    fn a_timer_set_again_comes_once_and_a_forgotten_one_never() {
        let t0 = epoch().monotonic;
        let call = serial(1);
        let mut timers = Timers::default();
        timers.arm(t0, call, Timer::Answer, t0);
        timers.arm(t0, call, Timer::Answer, t0 + Duration::from_secs(1));
        assert_eq!(timers.next_at(), Some(t0 + Duration::from_secs(1)));
        timers.disarm(call, Timer::Answer);
        assert_eq!((timers.next_at(), timers.len()), (None, 0));
    }
}
