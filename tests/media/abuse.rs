//! What strangers and broken peers send goes nowhere, and brings nothing back.

use maskline::rtp::plane::{Command, Report};

use crate::peers::{World, assert_silent, payload, receive, rtp};

/// A canary that must not be seen on the other side.
const CANARY: &[u8] = b"13800001234";

fn contains(packet: &[u8], canary: &[u8]) -> bool {
    packet.windows(canary.len()).any(|window| window == canary)
}

/// RTP, RTCP, STUN and DTLS, as scanners send them.
fn probes() -> Vec<Vec<u8>> {
    let stun = [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12]].concat();
    let dtls = [&[22, 0xfe, 0xfd][..], &[0; 40]].concat();
    vec![rtp(1, 1), vec![0x80, 201, 0, 1, 0, 0, 0, 1], stun, dtls]
}

#[test]
fn a_stranger_gets_nothing_from_any_port_of_idle_and_running_calls() {
    let mut world = World::new();
    let idle = world.open(1);
    let mut running = world.call(2);
    let stranger = world.stranger();
    for port in idle.relay_ports().into_iter().chain(running.relay_ports()) {
        for probe in probes() {
            stranger.send_to(&probe, port).expect("sent");
        }
    }
    running.talk(8);
    assert_silent(&stranger);
    assert_silent(&idle.a.rtp);
    assert_silent(&idle.b.rtp);
}

#[test]
fn a_stranger_gets_nothing_from_any_port_of_the_range() {
    let ports = 43_000..=43_063_u16;
    let mut world = World::with(|config| config.ports = ports.clone());
    let idle = world.open(1);
    let mut running = world.call(2);
    let stranger = world.stranger();
    for port in ports {
        for probe in probes() {
            // Closed ports answer with an error of the system, which the next send would tell.
            let _ = stranger.send_to(&probe, (world.ip, port));
        }
    }
    running.talk(8);
    while stranger.take_error().is_ok_and(|error| error.is_some()) {}
    assert_silent(&stranger);
    assert_silent(&idle.a.rtp);
}

#[test]
fn a_stranger_who_speaks_first_wins_nothing() {
    let mut world = World::new();
    let mut call = world.open(1);
    let stranger = world.stranger();
    let flood = |world: &World| {
        let _ = world;
        for sequence in 0..20 {
            for relay in call.relay {
                stranger.send_to(&rtp(7, sequence), relay).expect("sent");
            }
        }
    };
    flood(&world);
    world.bridge(&call);
    flood(&world);
    call.talk(50);
    assert_silent(&stranger);
}

#[test]
fn injected_packets_reach_neither_end_and_cost_none() {
    let mut world = World::new();
    let mut call = world.call(1);
    call.talk(3);
    let strangers = [world.stranger(), world.stranger()];
    for round in 0..100_u16 {
        for n in 0..9 {
            // A stream of its own, and the very next packet of A's stream.
            let foreign = rtp(0xdead_beef, round * 9 + n);
            let forged = rtp(call.a.ssrc, call.a.sequence.wrapping_add(1));
            strangers[0].send_to(&foreign, call.relay[0]).expect("sent");
            strangers[1].send_to(&forged, call.relay[0]).expect("sent");
        }
        // The right address, but its RTCP port.
        let forged = rtp(call.a.ssrc, call.a.sequence.wrapping_add(1));
        call.a.rtcp.send_to(&forged, call.relay[0]).expect("sent");
        // Nothing but these arrives, in order: `talk` compares each payload.
        call.talk(1);
    }
    assert!(strangers.iter().all(|stranger| {
        assert_silent(stranger);
        true
    }));
    world.send(Command::Close { session: call.session });
    let Report::Closed { counts, .. } = world.report() else { panic!("not closed") };
    assert_eq!(counts[0].packets, 103);
    assert_eq!(counts[0].lost, 0);
    assert_eq!(counts[0].dropped, 100 * 19);
    assert_eq!(counts[1].dropped, 0);
}

/// One packet of RTCP of this kind: its count, its SSRC and something behind that.
fn rtcp(count: u8, kind: u8, rest: &[u8]) -> Vec<u8> {
    let mut packet = [&[0x80 | count, kind, 0, 0, 0, 0, 0, 9][..], rest].concat();
    packet.resize(packet.len().next_multiple_of(4), 0);
    packet[3] = (packet.len() / 4 - 1) as u8;
    packet
}

/// Every kind of RTCP that has room for words, with the canary in all of them.
fn talkative() -> Vec<Vec<u8>> {
    let item = |kind: u8| [&[kind, CANARY.len() as u8][..], CANARY].concat();
    // SDES with every item, among them PRIV with a prefix, and an end.
    let mut items: Vec<u8> = (1..=8).flat_map(item).collect();
    items.extend([&[8, 13, 1, b'x'][..], CANARY, &[0, 0, 0, 0]].concat());
    let reason = [&[CANARY.len() as u8][..], CANARY].concat();
    let sender = [&[0; 20][..], CANARY].concat();
    let about = [&[0, 0, 0, 1][..], CANARY].concat();
    vec![
        rtcp(0, 201, &[]),
        rtcp(1, 202, &items),
        rtcp(1, 203, &reason),
        rtcp(0, 204, &[b"name", CANARY].concat()),
        // Words of a profile behind reports, feedback of both kinds, extended reports, and kinds
        // that nobody knows.
        rtcp(0, 200, &sender),
        rtcp(0, 201, CANARY),
        rtcp(1, 205, &about),
        rtcp(15, 206, &about),
        rtcp(0, 207, CANARY),
        rtcp(0, 208, CANARY),
        rtcp(0, 223, CANARY),
    ]
}

#[test]
fn text_in_rtcp_ends_at_the_relay_which_reports_on_its_own() {
    let mut world = World::new();
    let mut call = world.call(1);
    let all = talkative();
    let report = &all[0];
    // Each alone behind a report, and all of them at once; on the RTCP and on the RTP port.
    let each = all.iter().map(|packet| [&report[..], packet].concat());
    for compound in each.chain([all.concat()]) {
        for phone in [&call.a, &call.b] {
            phone.send_rtcp(&compound);
            phone.send(&compound);
        }
    }
    call.talk(15);
    for (phone, other) in [(&call.a, &call.b), (&call.b, &call.a)] {
        let (packet, from) = receive(&phone.rtcp);
        assert_eq!(from.port(), phone.relay.port() + 1);
        assert!(maskline::rtp::rtcp::parse(&packet).is_ok());
        assert_eq!(packet[1], 200, "we have sent: a sender report");
        assert!(!contains(&packet, CANARY));
        assert!(!contains(&packet, &other.ssrc.to_be_bytes()));
    }
    assert_silent(&call.a.rtp);
    assert_silent(&call.b.rtp);
}

#[test]
fn forged_rtcp_of_a_stranger_ends_nothing_and_is_believed_by_nobody() {
    let mut world = World::new();
    let mut call = world.call(1);
    call.talk(3);
    let stranger = world.stranger();
    // The goodbye of A's own stream, and a report that it has sent nothing.
    let ssrc = call.a.ssrc.to_be_bytes();
    let mut forged = [rtcp(0, 200, &[0; 20]), rtcp(1, 203, &[])].concat();
    forged[4..8].copy_from_slice(&ssrc);
    forged[32..36].copy_from_slice(&ssrc);
    for port in call.relay_ports() {
        for _ in 0..20 {
            stranger.send_to(&forged, port).expect("sent");
        }
        call.talk(20);
    }
    assert_silent(&stranger);
    world.send(Command::Close { session: call.session });
    let Report::Closed { counts, .. } = world.report() else { panic!("not closed") };
    assert_eq!(counts.map(|side| (side.packets, side.lost, side.dropped)), [(83, 0, 40); 2]);
}

#[test]
fn malformed_packets_of_anybody_do_not_disturb_a_call() {
    let mut world = World::new();
    let mut call = world.call(1);
    let stranger = world.stranger();
    let mut bad: Vec<Vec<u8>> = vec![vec![], vec![0x80], rtp(1, 1)[..11].to_vec()];
    bad.extend(probes().drain(1..));
    for (at, value) in [(0, 0x40), (0, 0xc0), (0, 0x8f), (0, 0x90), (0, 0xb0)] {
        let mut packet = rtp(call.a.ssrc, 9)[..40].to_vec();
        packet[at] = value;
        bad.push(packet);
    }
    let mut padding = rtp(call.a.ssrc, 9);
    padding[0] = 0xa0;
    padding[171] = 200;
    bad.push(padding);
    bad.push([&rtp(call.a.ssrc, 9)[..], &[0; 60_000]].concat());
    bad.push(vec![0x80, 200, 0xff, 0xff, 0, 0, 0, 1]);
    for packet in &bad {
        call.a.send(packet);
        call.a.send_rtcp(packet);
        for port in call.relay_ports() {
            stranger.send_to(packet, port).expect("sent");
        }
        call.talk(1);
    }
    call.talk(2 * bad.len() as u16);
    assert_silent(&stranger);
    world.send(Command::Close { session: call.session });
    let Report::Closed { counts, .. } = world.report() else { panic!("not closed") };
    assert_eq!(counts.map(|side| side.lost), [0, 0]);
    assert_eq!(counts[1].dropped, 2 * bad.len() as u64, "those of the stranger alone");
}

#[test]
fn a_call_hears_nothing_of_another() {
    let mut world = World::new();
    let (mut one, mut two) = (world.call(1), world.call(2));
    for _ in 0..20 {
        // One's phones send to two's ports as well.
        let packet = one.a.packet();
        one.a.rtp.send_to(&packet, two.relay[0]).expect("sent");
        one.a.rtp.send_to(&packet, two.relay[1]).expect("sent");
        two.talk(1);
        one.a.send(&packet);
        assert_eq!(payload(&one.b.hear()), payload(&packet));
    }
}
