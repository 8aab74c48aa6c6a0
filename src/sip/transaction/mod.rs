//! The four transaction machines of RFC 3261 §17 with the Accepted states of RFC 6026, and the
//! table that holds them. No socket, no clock: a message or the time goes in, bytes come out.

mod client;
mod client_invite;
mod key;
mod layer;
mod linger;
mod server;
mod server_invite;
mod slot;
mod table;

use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::timers::{T1, T2};
use super::transport::Hop;

pub use layer::{ATTEMPT_TRANSACTIONS_MAX, OUTPUTS_MAX, TRANSACTIONS_MAX, Transactions};

/// A request of a peer that we answer. An id whose transaction is gone is harmless.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ServerId(slot::SlotId);

/// A request of ours that a peer answers. An id whose transaction is gone is harmless.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ClientId(slot::SlotId);

/// What the layer above ties to a transaction, handed back with everything that happens to it.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Owner(pub u64);

/// What is known already of a received message: one look-up serves all who ask.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    slot: Option<slot::SlotId>,
    /// Which look-up it was, so that an old one is not taken for the last.
    turn: u64,
}

impl Found {
    /// Of a request: whether it was taken before, and must not be refused as a new one.
    #[must_use]
    pub const fn is_repeat(self) -> bool {
        self.slot.is_some()
    }
}

/// What a received message means to the layer above.
#[derive(Debug)]
pub enum Event {
    /// A new request. Answer with [`Transactions::respond`].
    Request {
        /// Its transaction.
        server: ServerId,
    },
    /// A request that has come before by another path (RFC 3261 §8.2.2.2): answer 482.
    Merged {
        /// Its transaction.
        server: ServerId,
    },
    /// A CANCEL. Answer it with 200 and its INVITE with 487; without an INVITE answer 481.
    Cancel {
        /// The transaction of the CANCEL itself.
        server: ServerId,
        /// The INVITE it means, and who owns that.
        invite: Option<(ServerId, Owner)>,
    },
    /// An ACK that belongs to a 2xx, or to nothing.
    Ack,
    /// A response to a request of ours: 1xx, the final one, and every repeat of a 2xx to INVITE.
    Response {
        /// The request.
        client: ClientId,
        /// Who owns it.
        owner: Owner,
        /// Where the request went.
        to: Hop,
    },
    /// A response without a transaction: a late 2xx of a dialog that must be ACKed again, or noise.
    Stray,
    /// A repeat, or the answer to a CANCEL of ours: nothing to do.
    Absorbed,
    /// The table is full: answer 503 without a transaction.
    Full,
}

/// What the layer below has to do, or the layer above has to know.
pub enum Output {
    /// Send one message.
    Transmit {
        /// Where to.
        to: Hop,
        /// What.
        bytes: Bytes,
    },
    /// No final response will come.
    ClientFailed {
        /// The request.
        client: ClientId,
        /// Who owns it.
        owner: Owner,
        /// Why.
        why: ClientFailure,
    },
    /// A refusal of ours to an INVITE was never acknowledged (timer H).
    AckMissing {
        /// The request.
        server: ServerId,
        /// Who owns it.
        owner: Owner,
    },
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transmit { bytes, .. } => write!(f, "Transmit({} bytes)", bytes.len()),
            Self::ClientFailed { client, why, .. } => {
                write!(f, "ClientFailed({client:?}, {why:?})")
            }
            Self::AckMissing { server, .. } => write!(f, "AckMissing({server:?})"),
        }
    }
}

/// Why a request of ours got no final response.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClientFailure {
    /// Nobody answered in time: timer B or F, or 64*T1 after a CANCEL.
    Timeout,
    /// The network says that nobody is there.
    Unreachable,
}

/// The table is full and nothing was sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Full;

/// Whether the transport delivers by itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reliability {
    /// UDP: we repeat.
    Unreliable,
    /// TCP and TLS: we do not.
    Reliable,
}

impl Reliability {
    /// How long a finished transaction stays to catch repeats: not at all where there are none.
    fn linger(self, span: Duration) -> Duration {
        match self {
            Self::Unreliable => span,
            Self::Reliable => Duration::ZERO,
        }
    }
}

/// What one input made a machine do.
#[derive(Default, Eq, PartialEq)]
struct Effects {
    transmit: Option<Bytes>,
    verdict: Verdict,
}

impl fmt::Debug for Effects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.transmit.as_ref().map_or(0, Bytes::len);
        write!(f, "Effects({:?}, {bytes} bytes)", self.verdict)
    }
}

/// What becomes of the input.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Verdict {
    /// Nobody else needs to know.
    #[default]
    Absorb,
    /// It goes on to the layer above.
    Deliver,
    /// The transaction has failed, which the layer above must know.
    Fail,
}

impl Effects {
    fn transmit(bytes: &Bytes) -> Self {
        Self { transmit: Some(bytes.clone()), verdict: Verdict::Absorb }
    }

    fn verdict(verdict: Verdict) -> Self {
        Self { transmit: None, verdict }
    }
}

/// The next repeat of a message.
#[derive(Clone, Copy, Debug)]
struct Repeat {
    at: Instant,
    interval: Duration,
}

impl Repeat {
    /// None where the transport delivers by itself.
    fn first(now: Instant, reliability: Reliability) -> Option<Self> {
        match reliability {
            Reliability::Unreliable => Some(Self { at: now + T1, interval: T1 }),
            Reliability::Reliable => None,
        }
    }

    /// Doubles the interval, up to `longest`.
    fn again(&mut self, now: Instant, longest: Duration) {
        self.interval = (self.interval * 2).min(longest);
        self.at = now + self.interval;
    }

    /// As [`Self::again`] up to T2.
    fn again_up_to_t2(&mut self, now: Instant) {
        self.again(now, T2);
    }
}

/// Whether an optional repeat is due.
fn is_due(repeat: Option<&mut Repeat>, now: Instant) -> Option<&mut Repeat> {
    repeat.filter(|repeat| repeat.at <= now)
}

/// The earlier of a repeat and an end.
fn earlier(repeat: Option<Repeat>, end: Instant) -> Instant {
    repeat.map_or(end, |repeat| repeat.at.min(end))
}

#[cfg(test)]
mod layer_tests;
#[cfg(test)]
mod tests;
