//! The recordings of one media thread: begun, told of, and ended.

use std::mem;

use super::Worker;
use crate::rtp::plane::{RecordAs, Report, SessionId};
use crate::rtp::time::Moment;

impl Worker {
    /// The recorder tells whether it has begun.
    pub(super) fn record(&mut self, now: Moment, session: SessionId, recording: Box<RecordAs>) {
        let slot = self.calls.find(session);
        let Some(call) = slot.and_then(|slot| self.calls.at(slot)) else {
            self.meter.counts.unknown_session += 1;
            return;
        };
        let queue = &self.queue;
        let tape = self.tape.as_ref();
        let begun = tape.and_then(|tape| tape.begin(now, session, recording, queue));
        let has_begun = begun.is_some();
        self.untold.extend(mem::replace(&mut call.taping, begun));
        let link = call.link;
        if !has_begun {
            self.report(link, Report::Recording { session, begun: false });
        }
    }

    /// What the recorder says of the recording that has this number.
    pub(super) fn taped(&mut self, session: SessionId, number: u64, begun: bool) {
        let slot = self.calls.find(session);
        let Some(call) = slot.and_then(|slot| self.calls.at(slot)) else { return };
        if call.taping.as_ref().is_none_or(|taping| taping.number() != number) {
            return;
        }
        if !begun {
            call.taping = None;
        }
        let link = call.link;
        self.report(link, Report::Recording { session, begun });
    }

    /// Tells of recordings that are none any more: a call that has to be recorded ends.
    pub(super) fn tell_lossy(&mut self) {
        while let Some((link, session)) = self.lossy.pop() {
            self.report(link, Report::Recording { session, begun: false });
        }
    }

    /// Tells the recorder of recordings that are over, as far as it has room.
    pub(super) fn end_recordings(&mut self) {
        while let (Some(taping), Some(tape)) = (self.untold.pop(), &self.tape) {
            if let Err(taping) = tape.end(taping) {
                self.untold.push(taping);
                break;
            }
        }
    }
}
