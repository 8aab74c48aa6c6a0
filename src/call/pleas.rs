//! What next hops ask of us: that a share of the new calls is not sent to them for a while
//! (RFC 7339, as client). Each hop is on its own; what is in a dialog is sent all the same.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::core::CallCore;
use super::io::{Peer, PeerRole};
use super::wires::Wires;
use crate::domain::id::TrunkId;
use crate::domain::now::Now;
use crate::sip::message::Message;
use crate::sip::overload::{Control, Seq};
use crate::sip::transport::{Hop, Transport};

/// Hops whose pleas are known at one time; those of more are not heeded.
const PLEAS_MAX: usize = 1_024;
/// No plea holds for longer: who asks for more has to say so again.
const VALIDITY_MAX: Duration = Duration::from_secs(60);
/// For so long at least it is known which plea of a hop was the last one.
const ORDER_TIME: Duration = Duration::from_secs(5);

/// The pleas of all next hops.
#[derive(Debug, Default)]
pub(super) struct Pleas(BTreeMap<Key, Plea>);

/// The owner of a hop, and where it is.
type Key = (u128, Transport, SocketAddr);

#[derive(Debug)]
struct Plea {
    loss_percent: u8,
    until: Instant,
    seq: Seq,
    /// From then on any other is newer.
    forget_at: Instant,
}

const fn key_of(hop: Hop) -> Key {
    (hop.owner, hop.transport, hop.address)
}

impl Pleas {
    /// A hop asks for this. What is older than what it has asked last does not count.
    fn hear(&mut self, now: Instant, hop: Hop, control: Control) {
        let key = key_of(hop);
        match self.0.get(&key) {
            Some(known) if now < known.forget_at && control.seq <= known.seq => return,
            Some(_) => {}
            None if self.0.len() >= PLEAS_MAX => {
                self.0.retain(|_, plea| now < plea.forget_at);
                if self.0.len() >= PLEAS_MAX {
                    return;
                }
            }
            None => {}
        }
        let validity = Duration::from_millis(u64::from(control.validity_ms)).min(VALIDITY_MAX);
        let forget_at = now + validity.max(ORDER_TIME);
        let Control { loss_percent, seq, .. } = control;
        self.0.insert(key, Plea { loss_percent, until: now + validity, seq, forget_at });
    }

    /// Of a hundred new calls, so many are not to be sent there now.
    fn loss_percent(&self, now: Instant, hop: Hop) -> u8 {
        let plea = self.0.get(&key_of(hop)).filter(|plea| now < plea.until);
        plea.map_or(0, |plea| plea.loss_percent)
    }
}

impl Wires {
    /// Whether one more new call is to be kept from a hop that has asked for less.
    pub(super) fn spares(&mut self, now: Instant, hop: Hop) -> bool {
        let loss = u64::from(self.pleas.loss_percent(now, hop));
        let is_spared = loss > 0 && self.random_u64() % 100 < loss;
        self.counters.hops_spared += u64::from(is_spared);
        is_spared
    }
}

impl CallCore {
    /// A response to a request of ours that went `to` there: what it asks counts where a trunk says
    /// it of itself.
    pub(super) fn hear_plea(&mut self, now: Now, peer: &Peer, to: Hop, response: &Message) {
        let is_trunk = match peer.role {
            PeerRole::Insurer { .. } | PeerRole::Carrier => {
                peer.trunk == TrunkId::from_u128(to.owner)
            }
            PeerRole::Softphone | PeerRole::Agent { .. } => false,
        };
        let via = response.top_via();
        if let Some(control) = Control::read(&via).filter(|_| is_trunk) {
            self.wires.pleas.hear(now.monotonic, to, control);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(number: u32) -> Hop {
        let ip = std::net::Ipv4Addr::from(number);
        Hop::from(SocketAddr::from((ip, 5060))).of(1)
    }

    fn control(loss_percent: u8, validity_ms: u32, seq: u64) -> Control {
        Control { loss_percent, validity_ms, seq: Seq::of_ms(seq) }
    }

    #[test]
    fn a_plea_holds_for_its_time_at_its_hop_alone_and_an_older_one_changes_nothing() {
        let (mut pleas, t0) = (Pleas::default(), crate::call::tests::harness::epoch().monotonic);
        let ms = Duration::from_millis;
        pleas.hear(t0, hop(1), control(40, 500, 2_000));
        pleas.hear(t0, hop(1), control(90, 500, 1_999));
        pleas.hear(t0, hop(1), control(90, 500, 2_000));
        let loss =
            |pleas: &Pleas, at| [hop(1), hop(2), hop(1).of(2)].map(|it| pleas.loss_percent(at, it));
        assert_eq!(loss(&pleas, t0 + ms(499)), [40, 0, 0]);
        assert_eq!(loss(&pleas, t0 + ms(500)), [0, 0, 0]);
        pleas.hear(t0 + ms(600), hop(1), control(90, 500, 1_000));
        assert_eq!(loss(&pleas, t0 + ms(600)), [0, 0, 0], "still known to be older");
        pleas.hear(t0 + ms(600), hop(1), control(50, u32::MAX, 3_000));
        pleas.hear(t0 + ms(700), hop(1), control(0, 0, 3_001));
        assert_eq!(loss(&pleas, t0 + ms(700)), [0, 0, 0], "it is taken back");
        pleas.hear(t0 + ms(6_000), hop(1), control(7, u32::MAX, 1));
        assert_eq!(loss(&pleas, t0 + ms(6_000)), [7, 0, 0], "a server that counts anew");
        assert_eq!(loss(&pleas, t0 + ms(6_000) + VALIDITY_MAX), [0, 0, 0]);
    }

    #[test]
    fn the_table_of_pleas_is_bounded_and_makes_room_when_they_are_over() {
        let (mut pleas, t0) = (Pleas::default(), crate::call::tests::harness::epoch().monotonic);
        for number in 0..2 * PLEAS_MAX as u32 {
            pleas.hear(t0, hop(number), control(10, 500, 1));
        }
        assert_eq!(pleas.0.len(), PLEAS_MAX);
        let later = t0 + ORDER_TIME;
        pleas.hear(later, hop(u32::MAX), control(10, 500, 1));
        assert_eq!((pleas.0.len(), pleas.loss_percent(later, hop(u32::MAX))), (1, 10));
    }
}
