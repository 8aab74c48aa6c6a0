//! The place of a call under the caps against fraud: taken after the gate's word and before anybody
//! is called, a minute more for each minute of talk, and given back at the end.

use std::time::{Duration, Instant};

use super::call::Call;
use super::coupling::{Event, Stage};
use super::io::{Output, SecurityEvent};
use super::timers::Timer;
use super::wires::Wires;
use crate::domain::cap::{Cap, CapMeasure, CapReached, CapSubject};
use crate::domain::cause::Cause;
use crate::domain::now::Now;
use crate::policy::caps::CapSeat;

/// A minute of talk.
pub(super) const MINUTE: Duration = Duration::from_secs(60);

impl Call {
    /// Takes a place under all the caps of the route.
    ///
    /// # Errors
    /// Why it has none: another shard was faster than this one since the gate has looked.
    pub(super) fn take_cap_seat(
        &mut self,
        wires: &mut Wires,
        now: Now,
        caps: &[Cap],
    ) -> Result<(), Cause> {
        match CapSeat::take(caps, now.unix_ms()) {
            Ok(seat) => {
                self.cap_seat = seat;
                Ok(())
            }
            Err(reached) => {
                let cause = reached.measure.cause();
                if let Some(record) = self.record_mut() {
                    record.refused(vec![cause]);
                }
                self.note_caps(wires, now, caps, &[reached]);
                Err(cause)
            }
        }
    }

    /// An attempt was refused: whoever watches hears of the caps that are full.
    pub(super) fn note_full_caps(&mut self, wires: &mut Wires, now: Now, caps: &[Cap]) {
        let full: Vec<_> = caps.iter().flat_map(|cap| cap.full(now.unix_ms())).collect();
        self.note_caps(wires, now, caps, &full);
    }

    /// Both sides talk: minutes begin to count.
    pub(super) fn begin_minutes(&mut self, wires: &mut Wires, at: Instant) {
        let Some(seat) = &mut self.cap_seat else { return };
        seat.bridged();
        if seat.counts_minutes() {
            wires.timers.arm(at, self.serial, Timer::Minute, at + MINUTE);
        }
    }

    /// A minute of talk is over: there is another one, or the call ends.
    pub(super) fn on_minute_timer(&mut self, wires: &mut Wires, now: Now) {
        let stage = self.stage();
        let Some(seat) = self.cap_seat.take_if(|_| stage == Stage::Bridged) else {
            return;
        };
        match seat.next_minute(now.unix_ms()) {
            Ok(()) => {
                let talked = self.record().and_then(|record| record.talked_for(now));
                let over = talked.unwrap_or_default().as_nanos() % MINUTE.as_nanos();
                let over = Duration::from_nanos(u64::try_from(over).unwrap_or(0));
                let at = now.monotonic;
                wires.timers.arm(at, self.serial, Timer::Minute, at + (MINUTE - over));
                self.cap_seat = Some(seat);
            }
            Err(reached) => {
                self.note_caps(wires, now, seat.caps(), &[reached]);
                self.happen(wires, now, Event::Stopped(reached.measure.cause()));
            }
        }
    }

    /// The call has lasted as long as any may.
    pub(super) fn note_longest(&mut self, wires: &mut Wires) {
        let reached = CapReached { subject: CapSubject::Call, measure: CapMeasure::Duration };
        self.tell_caps(wires, [reached]);
    }

    /// Leaves its place.
    pub(super) fn leave_caps(&mut self, wires: &mut Wires) {
        if self.cap_seat.take().is_some() {
            wires.timers.disarm(self.serial, Timer::Minute);
        }
    }

    /// Tells of caps that are reached, each once in its period.
    fn note_caps(&mut self, wires: &mut Wires, now: Now, caps: &[Cap], reached: &[CapReached]) {
        let is_news = |it: &CapReached| {
            let cap = caps.iter().find(|cap| cap.subject == it.subject);
            cap.is_some_and(|cap| cap.is_news(it.measure, now.unix_ms()))
        };
        let news: Vec<_> = reached.iter().copied().filter(is_news).collect();
        self.tell_caps(wires, news);
    }

    fn tell_caps(&mut self, wires: &mut Wires, news: impl IntoIterator<Item = CapReached>) {
        let Some(record) = &mut self.record else { return };
        for reached in news {
            let cdr = record.known();
            let (Some(tenant), Some(binding)) = (cdr.tenant, cdr.binding) else { return };
            let agent = cdr.agent;
            let event = SecurityEvent::CapReached { reached, tenant, binding, agent };
            wires.outputs.push_back(Output::Security(event));
            record.cap_reached(reached);
        }
    }
}
