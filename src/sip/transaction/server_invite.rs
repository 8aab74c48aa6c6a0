//! An INVITE of a peer: RFC 3261 §17.2.1 with the Accepted state of RFC 6026 §7.1.
//!
//! ```text
//! Proceeding --2xx--> Accepted --L--> gone
//!     |--300..699--> Completed --ACK--> Confirmed --I--> gone
//!                        |--H--> gone, no ACK came
//! ```

use std::time::Instant;

use bytes::Bytes;

use super::{Effects, Reliability, Repeat, Verdict, earlier, is_due};
use crate::sip::timers::{GIVE_UP, T4};

/// The machine. The 2xx itself is repeated by the layer above, end to end.
pub(super) struct ServerInvite {
    state: State,
    reliability: Reliability,
}

enum State {
    Proceeding { last: Option<Bytes> },
    Accepted { end: Instant },
    Completed { refusal: Bytes, repeat: Option<Repeat>, give_up_at: Instant },
    Confirmed { end: Instant },
    Terminated,
}

/// What can happen to it.
pub(super) enum Input {
    /// The INVITE came again.
    Invite,
    /// An ACK with its branch.
    Ack,
    /// The layer above answers.
    Provisional(Bytes),
    /// The layer above answers 2xx, perhaps again.
    Success(Bytes),
    /// The layer above answers 300 to 699.
    Refusal(Bytes),
    /// The time of `deadline` has come.
    Timeout,
}

impl ServerInvite {
    pub(super) fn new(reliability: Reliability) -> Self {
        Self { state: State::Proceeding { last: None }, reliability }
    }

    pub(super) fn handle_input(&mut self, now: Instant, input: Input) -> Effects {
        match (&mut self.state, input) {
            (State::Proceeding { last: Some(last) }, Input::Invite) => Effects::transmit(last),
            (State::Completed { refusal, .. }, Input::Invite) => Effects::transmit(refusal),
            (State::Proceeding { last }, Input::Provisional(bytes)) => {
                Effects::transmit(last.insert(bytes))
            }
            (State::Proceeding { .. }, Input::Success(bytes)) => {
                self.state = State::Accepted { end: now + GIVE_UP };
                Effects::transmit(&bytes)
            }
            (State::Accepted { .. }, Input::Success(bytes)) => Effects::transmit(&bytes),
            (State::Proceeding { .. }, Input::Refusal(refusal)) => self.refuse(now, refusal),
            (State::Accepted { .. }, Input::Ack) => Effects::verdict(Verdict::Deliver),
            (State::Completed { .. }, Input::Ack) => {
                self.confirm(now);
                Effects::default()
            }
            (_, Input::Timeout) => self.time_out(now),
            // Anything else is late or repeated, and changes nothing.
            (State::Proceeding { .. }, Input::Invite | Input::Ack)
            | (State::Accepted { .. }, Input::Invite | Input::Provisional(_) | Input::Refusal(_))
            | (
                State::Completed { .. },
                Input::Provisional(_) | Input::Success(_) | Input::Refusal(_),
            )
            | (
                State::Confirmed { .. } | State::Terminated,
                Input::Invite
                | Input::Ack
                | Input::Provisional(_)
                | Input::Success(_)
                | Input::Refusal(_),
            ) => Effects::default(),
        }
    }

    fn refuse(&mut self, now: Instant, refusal: Bytes) -> Effects {
        let effects = Effects::transmit(&refusal);
        // Timer G runs only where the network may lose the response; timer H always.
        let repeat = Repeat::first(now, self.reliability);
        self.state = State::Completed { refusal, repeat, give_up_at: now + GIVE_UP };
        effects
    }

    /// Timer I, zero on reliable transports.
    fn confirm(&mut self, now: Instant) {
        self.state = match self.reliability {
            Reliability::Unreliable => State::Confirmed { end: now + T4 },
            Reliability::Reliable => State::Terminated,
        };
    }

    fn time_out(&mut self, now: Instant) -> Effects {
        match &mut self.state {
            State::Completed { give_up_at, .. } if *give_up_at <= now => {
                self.state = State::Terminated;
                return Effects::verdict(Verdict::Fail);
            }
            State::Completed { refusal, repeat, .. } => {
                if let Some(repeat) = is_due(repeat.as_mut(), now) {
                    repeat.again_up_to_t2(now);
                    return Effects::transmit(refusal);
                }
            }
            State::Accepted { end } | State::Confirmed { end } if *end <= now => {
                self.state = State::Terminated;
            }
            State::Proceeding { .. }
            | State::Accepted { .. }
            | State::Confirmed { .. }
            | State::Terminated => {}
        }
        Effects::default()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Proceeding { .. } | State::Terminated => None,
            State::Accepted { end } | State::Confirmed { end } => Some(*end),
            State::Completed { repeat, give_up_at, .. } => Some(earlier(*repeat, *give_up_at)),
        }
    }

    pub(super) fn is_terminated(&self) -> bool {
        matches!(self.state, State::Terminated)
    }

    /// Whether the request is still being worked on, or was accepted.
    pub(super) fn is_ongoing(&self) -> bool {
        matches!(self.state, State::Proceeding { .. } | State::Accepted { .. })
    }
}
