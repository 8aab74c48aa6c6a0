//! An offer within a call: who made it and waits, whom we have asked about it, and the 2xx that
//! goes on until it is confirmed.

use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::wires::{GIVE_UP, Wires};
use crate::rtp::plane::Side;
use crate::sdp::{Session, Wish};
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::timers::{T1, T2};
use crate::sip::transaction::{ClientId, ServerId};
use crate::sip::transport::Hop;

/// How long a side may take to answer an offer of ours before it is withdrawn.
pub(super) const OFFER_WAIT: Duration = Duration::from_secs(10);
/// How often one side is brought back in line with the other before it is left as it is.
pub(super) const TELLS_MAX: u8 = 5;

/// A re-INVITE or an UPDATE that was received. `Debug` does not show it.
pub(super) struct Asker {
    pub(super) server: ServerId,
    pub(super) source: Hop,
    pub(super) request: Message,
}

impl Asker {
    pub(super) fn is_invite(&self) -> bool {
        self.request.method() == Method::Invite
    }
}

impl fmt::Debug for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Asker({:?}, {:?})", self.request.method(), self.server)
    }
}

/// An offer of ours to one side.
#[derive(Debug)]
pub(super) struct Change {
    /// To whom.
    pub(super) to: Side,
    /// What it is told.
    pub(super) told: Wish,
    /// Who waits for its answer, and with which offer. Nobody when we only bring the side back in
    /// line, or when who has waited has given up.
    pub(super) asker: Option<(Asker, Session)>,
    /// Our re-INVITE; none while we wait to ask again.
    pub(super) client: Option<ClientId>,
    /// Nobody stands behind the offer any more: what is answered to it does not count.
    pub(super) is_withdrawn: bool,
    /// How often it has been sent.
    pub(super) tries: u8,
}

impl Change {
    /// An offer for which nobody waits, not sent yet.
    pub(super) const fn new(to: Side, told: Wish) -> Self {
        Self { to, told, asker: None, client: None, is_withdrawn: false, tries: 0 }
    }

    /// Whether it is worth another try, and has not had too many.
    pub(super) const fn may_be_told_again(&self) -> bool {
        !self.is_withdrawn && self.tries < TELLS_MAX
    }
}

/// A 2xx within a call: repeated until its ACK (RFC 3261 §14.2). `Debug` does not show it.
pub(super) struct Unconfirmed {
    pub(super) server: ServerId,
    /// The number of the INVITE, which its ACK repeats.
    pub(super) cseq: u32,
    response: Bytes,
    repeat_at: Instant,
    interval: Duration,
    give_up_at: Instant,
}

impl fmt::Debug for Unconfirmed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Unconfirmed({:?}, {} bytes)", self.server, self.response.len())
    }
}

impl Unconfirmed {
    /// A 2xx that has just been sent.
    pub(super) fn new(now: Instant, server: ServerId, cseq: u32, response: Bytes) -> Self {
        let (repeat_at, give_up_at) = (now + T1, now + GIVE_UP);
        Self { server, cseq, response, repeat_at, interval: T1, give_up_at }
    }

    /// When [`Self::repeat`] is due.
    pub(super) fn due_at(&self) -> Instant {
        self.repeat_at.min(self.give_up_at)
    }

    /// Sends it again if the time has come; false when nobody will ever confirm it.
    pub(super) fn repeat(&mut self, wires: &mut Wires, now: Instant) -> bool {
        if self.give_up_at <= now {
            return false;
        }
        if self.repeat_at <= now {
            wires.transactions.respond(now, self.server, 200, self.response.clone());
            self.interval = (self.interval * 2).min(T2);
            self.repeat_at = now + self.interval;
        }
        true
    }
}

/// How long to wait after a 491 (RFC 3261 §14.1), in steps of 10 ms: who owns the Call-ID waits
/// longer, so that both sides do not meet again.
pub(super) fn glare_wait(wires: &mut Wires, owns_call_id: bool) -> Duration {
    let (least, steps) = if owns_call_id { (2_100, 191) } else { (0, 201) };
    Duration::from_millis(least + wires.random_u64() % steps * 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::config::CallConfig;
    use crate::call::tests::harness::us;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    #[test]
    fn after_a_glare_the_owner_of_the_call_id_waits_longer_than_the_other() {
        let mut wires = Wires::new(CallConfig::new(us()), ChaCha20Rng::seed_from_u64(1));
        let mut seen = [Vec::new(), Vec::new()];
        for _ in 0..2_000 {
            for (waits, owns) in seen.iter_mut().zip([true, false]) {
                waits.push(glare_wait(&mut wires, owns).as_millis());
            }
        }
        let span = |waits: &[u128]| (waits.iter().min().copied(), waits.iter().max().copied());
        assert_eq!(
            seen.each_ref().map(|waits| span(waits)),
            [(Some(2_100), Some(4_000)), (Some(0), Some(2_000))]
        );
        assert!(seen.iter().flatten().all(|wait| wait % 10 == 0));
    }
}
