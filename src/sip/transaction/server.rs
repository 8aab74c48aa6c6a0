//! Any other request of a peer: RFC 3261 §17.2.2.
//!
//! ```text
//! Trying --1xx--> Proceeding --200..699--> Completed --J--> gone
//! ```

use std::time::Instant;

use bytes::Bytes;

use super::{Effects, Reliability};
use crate::sip::timers::GIVE_UP;

/// The machine.
pub(super) struct Server {
    state: State,
    reliability: Reliability,
}

enum State {
    Trying,
    Proceeding { last: Bytes },
    Completed { last: Bytes, end: Instant },
    Terminated,
}

/// What can happen to it.
pub(super) enum Input {
    /// The request came again.
    Request,
    /// The layer above answers 1xx.
    Provisional(Bytes),
    /// The layer above answers for good.
    Final(Bytes),
    /// The time of `deadline` has come.
    Timeout,
}

impl Server {
    pub(super) fn new(reliability: Reliability) -> Self {
        Self { state: State::Trying, reliability }
    }

    pub(super) fn handle_input(&mut self, now: Instant, input: Input) -> Effects {
        match (&mut self.state, input) {
            (State::Proceeding { last } | State::Completed { last, .. }, Input::Request) => {
                Effects::transmit(last)
            }
            (State::Trying | State::Proceeding { .. }, Input::Provisional(last)) => {
                let effects = Effects::transmit(&last);
                self.state = State::Proceeding { last };
                effects
            }
            (State::Trying | State::Proceeding { .. }, Input::Final(last)) => {
                let effects = Effects::transmit(&last);
                // Timer J, zero on reliable transports.
                self.state = match self.reliability {
                    Reliability::Unreliable => State::Completed { last, end: now + GIVE_UP },
                    Reliability::Reliable => State::Terminated,
                };
                effects
            }
            (State::Completed { end, .. }, Input::Timeout) if *end <= now => {
                self.state = State::Terminated;
                Effects::default()
            }
            // Anything else is late or repeated, and changes nothing.
            (State::Trying, Input::Request | Input::Timeout)
            | (State::Proceeding { .. }, Input::Timeout)
            | (State::Completed { .. }, Input::Provisional(_) | Input::Final(_) | Input::Timeout)
            | (
                State::Terminated,
                Input::Request | Input::Provisional(_) | Input::Final(_) | Input::Timeout,
            ) => Effects::default(),
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Trying | State::Proceeding { .. } | State::Terminated => None,
            State::Completed { end, .. } => Some(*end),
        }
    }

    pub(super) fn is_terminated(&self) -> bool {
        matches!(self.state, State::Terminated)
    }

    /// Whether the request is still being worked on.
    pub(super) fn is_ongoing(&self) -> bool {
        matches!(self.state, State::Trying | State::Proceeding { .. })
    }
}
