//! The rules about strangers where a trunk says that its peers may be behind a NAT: a peer is found
//! once at another port of its address, and everybody else gets as little as elsewhere.

use std::net::UdpSocket;

use maskline::rtp::plane::{Command, RemoteMedia, Report, Side};

use crate::peers::{Call, World, assert_silent, payload, rtp, socket};

/// A call whose B announces ports at which it is not; `behind` is where it is.
struct Nat {
    world: World,
    call: Call,
    behind: UdpSocket,
}

fn learning(call: &Call) -> RemoteMedia {
    RemoteMedia { learning: true, ..call.b.remote() }
}

impl Nat {
    fn new() -> Self {
        let mut world = World::new();
        let call = world.call(1);
        let remote = learning(&call);
        world.send(Command::Update { session: call.session, side: Side::B, remote, keys: None });
        let behind = socket(world.ip);
        Self { world, call, behind }
    }

    /// B speaks from behind its NAT until it is found.
    fn find(&mut self) {
        for _ in 0..4 {
            let packet = self.call.b.packet();
            self.behind.send_to(&packet, self.call.relay[1]).expect("sent");
        }
        let (session, side) = (self.call.session, Side::B);
        assert_eq!(self.world.report(), Report::Latched { session, side });
        std::mem::swap(&mut self.call.b.rtp, &mut self.behind);
        // The packet with which it was found has passed.
        self.call.a.hear();
    }
}

#[test]
fn a_peer_behind_a_nat_is_found_and_then_both_sides_talk() {
    let mut nat = Nat::new();
    nat.find();
    nat.call.talk(50);
    assert_silent(&nat.behind);
}

#[test]
fn a_stranger_gets_nothing_before_and_after_the_peer_is_found() {
    let mut nat = Nat::new();
    let stranger = nat.world.stranger();
    let elsewhere = socket([127, 0, 0, 1].into());
    let probe = |nat: &Nat| {
        for sequence in 0..3 {
            for port in nat.call.relay_ports() {
                for bytes in [&rtp(1, sequence * 2)[..], &[0x80, 201, 0, 1, 0, 0, 0, 1]] {
                    stranger.send_to(bytes, port).expect("sent");
                    // Another address may even send in sequence.
                    let _ = elsewhere.send_to(&rtp(2, sequence), port);
                }
            }
        }
    };
    probe(&nat);
    nat.find();
    probe(&nat);
    nat.call.talk(20);
    assert_silent(&stranger);
    assert_silent(&elsewhere);
}

#[test]
fn injected_packets_reach_neither_end_after_the_peer_is_found() {
    let mut nat = Nat::new();
    nat.find();
    let stranger = nat.world.stranger();
    for round in 0..50_u16 {
        for n in 0..9 {
            let foreign = rtp(0xdead_beef, round * 9 + n);
            let forged = rtp(nat.call.b.ssrc, nat.call.b.sequence.wrapping_add(1));
            stranger.send_to(&foreign, nat.call.relay[1]).expect("sent");
            // The announced port of the peer is nobody's now.
            nat.behind.send_to(&forged, nat.call.relay[1]).expect("sent");
        }
        nat.call.talk(1);
    }
    assert_silent(&stranger);
    assert_silent(&nat.behind);
}

#[test]
fn the_side_that_may_not_learn_does_not() {
    let mut nat = Nat::new();
    let other = socket(nat.world.ip);
    for sequence in 0..20 {
        other.send_to(&rtp(9, sequence), nat.call.relay[0]).expect("sent");
    }
    nat.find();
    let said = nat.call.a.speak();
    assert_eq!(payload(&nat.call.b.hear()), said);
    assert_silent(&other);
}
