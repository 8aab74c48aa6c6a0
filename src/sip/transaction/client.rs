//! Any other request of ours: RFC 3261 §17.1.2.
//!
//! ```text
//! Trying --1xx--> Proceeding --200..699--> Completed --K--> gone
//!    |----------------|--F--> gone, nobody answered
//! ```

use std::time::Instant;

use bytes::Bytes;

use super::{Effects, Reliability, Repeat, Verdict, earlier, is_due};
use crate::sip::timers::{GIVE_UP, T2, T4};

/// The machine.
pub(super) struct Client {
    state: State,
    reliability: Reliability,
}

enum State {
    Waiting { request: Bytes, answered: Answered, repeat: Option<Repeat>, give_up_at: Instant },
    Completed { end: Instant },
    Terminated,
}

/// The two waiting states of the figure: they differ in timer E only.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Answered {
    Trying,
    Proceeding,
}

/// What can happen to it.
pub(super) enum Input {
    /// 1xx.
    Provisional,
    /// 200 to 699.
    Final,
    /// The network says that nobody is there.
    Unreachable,
    /// The time of `deadline` has come.
    Timeout,
}

impl Client {
    /// The caller has sent `request` once.
    pub(super) fn new(now: Instant, request: Bytes, reliability: Reliability) -> Self {
        let repeat = Repeat::first(now, reliability);
        let give_up_at = now + GIVE_UP;
        let state = State::Waiting { request, answered: Answered::Trying, repeat, give_up_at };
        Self { state, reliability }
    }

    pub(super) fn handle_input(&mut self, now: Instant, input: Input) -> Effects {
        match (&mut self.state, input) {
            (State::Waiting { answered, .. }, Input::Provisional) => {
                *answered = Answered::Proceeding;
                Effects::verdict(Verdict::Deliver)
            }
            (State::Waiting { .. }, Input::Final) => {
                // Timer K, zero on reliable transports.
                self.state = match self.reliability {
                    Reliability::Unreliable => State::Completed { end: now + T4 },
                    Reliability::Reliable => State::Terminated,
                };
                Effects::verdict(Verdict::Deliver)
            }
            (State::Waiting { answered: Answered::Trying, .. }, Input::Unreachable) => {
                self.state = State::Terminated;
                Effects::verdict(Verdict::Fail)
            }
            (State::Waiting { give_up_at, .. }, Input::Timeout) if *give_up_at <= now => {
                self.state = State::Terminated;
                Effects::verdict(Verdict::Fail)
            }
            (State::Waiting { request, answered, repeat, .. }, Input::Timeout) => {
                let Some(repeat) = is_due(repeat.as_mut(), now) else { return Effects::default() };
                match answered {
                    Answered::Trying => repeat.again_up_to_t2(now),
                    Answered::Proceeding => *repeat = Repeat { at: now + T2, interval: T2 },
                }
                Effects::transmit(request)
            }
            (State::Completed { end }, Input::Timeout) if *end <= now => {
                self.state = State::Terminated;
                Effects::default()
            }
            // Anything else is late or repeated, and changes nothing.
            (State::Waiting { answered: Answered::Proceeding, .. }, Input::Unreachable)
            | (
                State::Completed { .. } | State::Terminated,
                Input::Provisional | Input::Final | Input::Unreachable | Input::Timeout,
            ) => Effects::default(),
        }
    }

    /// The request, while no final response has come.
    pub(super) const fn request(&self) -> Option<&Bytes> {
        match &self.state {
            State::Waiting { request, .. } => Some(request),
            State::Completed { .. } | State::Terminated => None,
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Waiting { repeat, give_up_at, .. } => Some(earlier(*repeat, *give_up_at)),
            State::Completed { end } => Some(*end),
            State::Terminated => None,
        }
    }

    pub(super) fn is_terminated(&self) -> bool {
        matches!(self.state, State::Terminated)
    }

    /// Whether nothing at all has come back.
    pub(super) fn is_unanswered(&self) -> bool {
        matches!(self.state, State::Waiting { answered: Answered::Trying, .. })
    }
}
