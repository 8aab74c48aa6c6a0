//! A side without a session timer is asked now and then whether it is still there: whoever is gone
//! while the other one speaks would be noticed by nobody.

use std::time::{Duration, Instant};

use super::call::Call;
use super::place::Part;
use super::renegotiate::vanished;
use super::sides::side_of;
use super::wires::Wires;
use crate::domain::now::Now;
use crate::rtp::plane::Side;
use crate::sip::method::Method;
use crate::sip::transaction::ClientId;

/// When a side is asked next.
#[derive(Debug)]
pub(super) struct Watch {
    ask_at: Instant,
    /// Our OPTIONS on its way.
    question: Option<ClientId>,
    /// It has answered one before. Some never do, and drop them unread: their silence says nothing.
    has_answered: bool,
}

impl Watch {
    pub(super) fn new(wires: &Wires, now: Instant) -> Self {
        Self { ask_at: now + every(wires), question: None, has_answered: false }
    }

    pub(super) const fn due_at(&self) -> Instant {
        self.ask_at
    }
}

/// As often as a session with a timer is refreshed.
fn every(wires: &Wires) -> Duration {
    Duration::from_secs(u64::from(wires.config.session_expires_s / 2))
}

impl Call {
    fn watch_mut(&mut self, side: Side) -> Option<&mut Watch> {
        Some(self.talk.as_mut()?.clocks.as_mut()?.watch_mut(side))
    }

    /// Asks a side without a timer, if it is time to.
    pub(super) fn ask_if_there(&mut self, wires: &mut Wires, at: Instant, side: Side) {
        let Some(watch) = self.watch_mut(side).filter(|watch| watch.ask_at <= at) else { return };
        watch.ask_at = at + every(wires);
        if watch.question.is_some() {
            return;
        }
        let question = self.ask_options(wires, at, side);
        if let Some(watch) = self.watch_mut(side) {
            watch.question = question;
        }
    }

    /// `None` where nobody is on that side, or without room for one more transaction.
    fn ask_options(&mut self, wires: &mut Wires, at: Instant, side: Side) -> Option<ClientId> {
        let place = self.place_of(side);
        let branch = wires.new_branch();
        let (dialog, hop) = self.line(side)?;
        let sent_by = wires.names.via_of(hop);
        let request = dialog.request(&mut wires.out, Method::Options, sent_by, branch).finish();
        wires.transactions.request(at, request, hop, place.to_owner()).ok()
    }

    /// The answer to such a question, whatever it says: only who does not know the call is gone
    /// (RFC 3261 §12.2.1.2), or who is not found any more. False when it is to another request.
    pub(super) fn on_watch_response(
        &mut self,
        wires: &mut Wires,
        now: Now,
        part: Part,
        client: ClientId,
        status: u16,
    ) -> bool {
        let is_it = self.take_question(part, client);
        let watch = self.watch_mut(side_of(part)).filter(|_| is_it);
        let is_gone = match (watch, status) {
            (None, _) => false,
            (Some(_), 481) => true,
            (Some(watch), 408) => watch.has_answered,
            (Some(watch), _) => {
                watch.has_answered = true;
                false
            }
        };
        if is_gone {
            self.happen(wires, now, vanished(side_of(part)));
        }
        is_it
    }

    /// No answer at all. False when it is another request.
    pub(super) fn on_watch_failure(
        &mut self,
        wires: &mut Wires,
        now: Now,
        part: Part,
        client: ClientId,
        is_silent: bool,
    ) -> bool {
        let is_it = self.take_question(part, client);
        let has_answered = self.watch_mut(side_of(part)).is_some_and(|watch| watch.has_answered);
        if is_it && is_silent && has_answered {
            self.happen(wires, now, vanished(side_of(part)));
        }
        is_it
    }

    fn take_question(&mut self, part: Part, client: ClientId) -> bool {
        let Some(watch) = self.watch_mut(side_of(part)) else { return false };
        watch.question.take_if(|question| *question == client).is_some()
    }

    /// Our question was sent again by another transaction.
    pub(super) fn replace_question(&mut self, part: Part, old: ClientId, new: ClientId) {
        let watch = self.watch_mut(side_of(part));
        if let Some(watch) = watch.filter(|watch| watch.question == Some(old)) {
            watch.question = Some(new);
        }
    }
}
