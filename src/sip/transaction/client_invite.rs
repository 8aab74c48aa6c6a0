//! An INVITE of ours: RFC 3261 §17.1.1 with the Accepted state of RFC 6026 §7.2.
//!
//! ```text
//! Calling --1xx--> Proceeding --2xx--> Accepted --M--> gone
//!    |                 |--300..699, ACK--> Completed --D--> gone
//!    |--B--> gone, nobody answered
//! ```

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Effects, Reliability, Repeat, Verdict, earlier, is_due};
use crate::sip::timers::{GIVE_UP, TIMER_D};
use crate::sip::write;

/// The machine.
pub(super) struct ClientInvite {
    state: State,
    reliability: Reliability,
}

enum State {
    Calling {
        request: Bytes,
        repeat: Option<Repeat>,
        give_up_at: Instant,
    },
    /// `give_up_at` is set by a CANCEL: a peer that ignores it is not waited for (§9.1).
    Proceeding {
        request: Bytes,
        give_up_at: Option<Instant>,
    },
    /// Each ACK of ours to a 2xx repeats the credentials of the INVITE.
    Accepted {
        end: Instant,
        credentials: Box<[u8]>,
    },
    Completed {
        ack: Bytes,
        end: Instant,
    },
    Terminated,
}

/// What can happen to it.
pub(super) enum Input {
    /// 1xx.
    Provisional,
    /// 2xx.
    Success,
    /// 300 to 699, with the ACK to it where [`ClientInvite::request`] made one possible.
    Refusal(Option<Bytes>),
    /// A CANCEL was sent, or waits for a provisional response.
    Cancelled,
    /// The network says that nobody is there.
    Unreachable,
    /// The time of `deadline` has come.
    Timeout,
}

impl ClientInvite {
    /// The caller has sent `request` once.
    pub(super) fn new(now: Instant, request: Bytes, reliability: Reliability) -> Self {
        let repeat = Repeat::first(now, reliability);
        let state = State::Calling { request, repeat, give_up_at: now + GIVE_UP };
        Self { state, reliability }
    }

    pub(super) fn handle_input(&mut self, now: Instant, input: Input) -> Effects {
        match (&mut self.state, input) {
            (State::Calling { request, .. }, Input::Provisional) => {
                let request = std::mem::take(request);
                self.state = State::Proceeding { request, give_up_at: None };
                Effects::verdict(Verdict::Deliver)
            }
            (State::Proceeding { .. }, Input::Provisional) => Effects::verdict(Verdict::Deliver),
            (
                State::Calling { request, .. } | State::Proceeding { request, .. },
                Input::Success,
            ) => {
                let credentials = write::credentials_of(request);
                self.state = State::Accepted { end: now + GIVE_UP, credentials };
                Effects::verdict(Verdict::Deliver)
            }
            // A fork answers too: the layer above must ACK it and end it.
            (State::Accepted { .. } | State::Completed { .. }, Input::Success) => {
                Effects::verdict(Verdict::Deliver)
            }
            (State::Calling { .. } | State::Proceeding { .. }, Input::Refusal(ack)) => {
                self.complete(now, ack)
            }
            (State::Completed { ack, .. }, Input::Refusal(_)) => Effects::transmit(ack),
            (State::Proceeding { give_up_at, .. }, Input::Cancelled) => {
                give_up_at.get_or_insert(now + GIVE_UP);
                Effects::default()
            }
            (State::Calling { repeat, .. }, Input::Cancelled) => {
                *repeat = None;
                Effects::default()
            }
            (State::Calling { .. }, Input::Unreachable) => {
                self.state = State::Terminated;
                Effects::verdict(Verdict::Fail)
            }
            (_, Input::Timeout) => self.time_out(now),
            // Anything else is late or repeated, and changes nothing.
            (State::Proceeding { .. }, Input::Unreachable)
            | (
                State::Accepted { .. },
                Input::Provisional | Input::Refusal(_) | Input::Cancelled | Input::Unreachable,
            )
            | (
                State::Completed { .. },
                Input::Provisional | Input::Cancelled | Input::Unreachable,
            )
            | (
                State::Terminated,
                Input::Provisional
                | Input::Success
                | Input::Refusal(_)
                | Input::Cancelled
                | Input::Unreachable,
            ) => Effects::default(),
        }
    }

    fn complete(&mut self, now: Instant, ack: Option<Bytes>) -> Effects {
        self.state = match (&ack, self.linger()) {
            (Some(ack), Some(linger)) => State::Completed { ack: ack.clone(), end: now + linger },
            (Some(_), None) | (None, _) => State::Terminated,
        };
        Effects { transmit: ack, verdict: Verdict::Deliver }
    }

    /// Timer D, zero on reliable transports.
    fn linger(&self) -> Option<Duration> {
        Some(self.reliability.linger(TIMER_D)).filter(|linger| !linger.is_zero())
    }

    fn time_out(&mut self, now: Instant) -> Effects {
        match &mut self.state {
            State::Calling { give_up_at, .. }
            | State::Proceeding { give_up_at: Some(give_up_at), .. }
                if *give_up_at <= now =>
            {
                self.state = State::Terminated;
                return Effects::verdict(Verdict::Fail);
            }
            State::Calling { request, repeat, .. } => {
                if let Some(repeat) = is_due(repeat.as_mut(), now) {
                    // Timer A has no upper bound but timer B.
                    repeat.again(now, GIVE_UP);
                    return Effects::transmit(request);
                }
            }
            State::Accepted { end, .. } | State::Completed { end, .. } if *end <= now => {
                self.state = State::Terminated;
            }
            State::Proceeding { .. }
            | State::Accepted { .. }
            | State::Completed { .. }
            | State::Terminated => {}
        }
        Effects::default()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Calling { repeat, give_up_at, .. } => Some(earlier(*repeat, *give_up_at)),
            State::Proceeding { give_up_at, .. } => *give_up_at,
            State::Accepted { end, .. } | State::Completed { end, .. } => Some(*end),
            State::Terminated => None,
        }
    }

    pub(super) fn is_terminated(&self) -> bool {
        matches!(self.state, State::Terminated)
    }

    /// The INVITE, while no final response has come: the ACK and the CANCEL are made from it.
    pub(super) fn request(&self) -> Option<&Bytes> {
        match &self.state {
            State::Calling { request, .. } | State::Proceeding { request, .. } => Some(request),
            State::Accepted { .. } | State::Completed { .. } | State::Terminated => None,
        }
    }

    /// The header lines with the credentials of an INVITE that was answered with 2xx.
    pub(super) fn credentials(&self) -> &[u8] {
        match &self.state {
            State::Accepted { credentials, .. } => credentials,
            State::Calling { .. }
            | State::Proceeding { .. }
            | State::Completed { .. }
            | State::Terminated => b"",
        }
    }

    /// Whether nothing at all has come back.
    pub(super) fn is_unanswered(&self) -> bool {
        matches!(self.state, State::Calling { .. })
    }
}
