//! Ports open and close, calls end, threads end.

use std::net::{IpAddr, UdpSocket};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use maskline::media::{Plane, PlaneConfig};
use maskline::rtp::plane::{Command, Report, SessionId, Side};

use crate::peers::{World, payload};

#[test]
fn a_used_port_stays_closed_and_is_not_given_to_the_next_call() {
    let mut world = World::with(|config| config.ports = 20_000..=20_007);
    let mut first = world.call_alone(1);
    first.talk(1);
    world.send(Command::Close { session: first.session });
    assert!(matches!(world.report(), Report::Closed { .. }));
    let mut second = world.call_alone(2);
    assert!(second.relay.iter().all(|port| !first.relay.contains(port)));
    // The old peers still send; the new call does not hear them.
    for _ in 0..5 {
        first.a.speak();
        first.b.speak();
        second.talk(1);
    }
    for port in first.relay_ports() {
        assert!(UdpSocket::bind(port).is_ok(), "a port in quarantine is closed");
    }
    world.send(Command::Open { session: SessionId(3) });
    assert_eq!(world.report(), Report::Failed { session: SessionId(3) });
}

#[test]
fn a_port_comes_back_after_the_quarantine() {
    let mut world = World::with(|config| {
        config.ports = 20_000..=20_003;
        config.port_quarantine = Duration::ZERO;
    });
    for number in 1..20 {
        let mut call = world.call_alone(number);
        call.talk(1);
        world.send(Command::Close { session: call.session });
        assert!(matches!(world.report(), Report::Closed { .. }));
    }
}

#[test]
fn ports_held_by_somebody_else_are_passed_over() {
    let mut world = World::with(|config| config.ports = 20_000..=20_063);
    // A quarter: eight tries in a row at one of these are a chance that nobody will see.
    let held: Vec<UdpSocket> =
        (0..8).map(|n| UdpSocket::bind((world.ip, 20_001 + 8 * n)).expect("free")).collect();
    world.call(1).talk(1);
    drop(held);
}

#[test]
fn silence_of_both_sides_is_reported_to_the_link_that_opened() {
    let timeout = Duration::from_millis(200);
    let mut world = World::with(|config| config.silence_timeout = timeout);
    let mut call = world.call(1);
    call.talk(2);
    let session = call.session;
    assert_eq!(world.report(), Report::Silent { session });
    assert_eq!(world.report(), Report::Silent { session }, "and again, until it is closed");
    world.send(Command::Close { session });
    assert!(matches!(world.report(), Report::Closed { .. }));
}

#[test]
fn commands_for_unknown_calls_are_ignored() {
    let mut world = World::new();
    let mut call = world.call(1);
    let session = SessionId(77);
    let remote = call.a.remote();
    world.send(Command::Update { session, side: Side::A, remote, keys: None });
    world.send(Command::Bridge { session });
    world.send(Command::Close { session });
    call.talk(2);
    world.send(Command::Close { session: call.session });
    world.send(Command::Close { session: call.session });
    assert!(matches!(world.report(), Report::Closed { session, .. } if session == call.session));
    world.send(Command::Open { session });
    assert!(matches!(world.report(), Report::Opened { .. }), "no second report of the close");
}

#[test]
fn calls_beyond_the_maximum_are_refused_and_a_twin_too() {
    let mut world = World::with(|config| {
        config.sessions_max = 2;
        config.threads = 2;
    });
    let session = SessionId(1);
    for (number, opens) in [(1, true), (1, false), (2, true), (3, false)] {
        world.send(Command::Open { session: SessionId(number) });
        let opened = matches!(world.report(), Report::Opened { .. });
        assert_eq!(opened, opens, "call {number}");
    }
    world.send(Command::Close { session });
    assert!(matches!(world.report(), Report::Closed { .. }));
    world.send(Command::Open { session: SessionId(3) });
    assert!(matches!(world.report(), Report::Opened { .. }));
}

#[test]
fn many_calls_on_several_threads_talk_at_once() {
    let mut world = World::with(|config| config.threads = 3);
    let mut calls: Vec<_> = (1..=40).map(|number| world.call(number)).collect();
    for call in &mut calls {
        call.talk(3);
    }
}

/// More than one batch of the thread, of all lengths, taken in one round: each packet leaves whole,
/// at its own call, in the order of its stream.
#[test]
fn packets_of_many_calls_that_come_at_once_reach_each_its_own_side() {
    const ROUNDS: usize = 20;
    let mut world = World::new();
    let mut calls: Vec<_> = (1..=50).map(|number| world.call(number)).collect();
    for round in 0..ROUNDS {
        let mut said = Vec::new();
        for (at, call) in calls.iter_mut().enumerate() {
            for phone in [&mut call.a, &mut call.b] {
                let mut packet = phone.packet();
                // From a short one to the longest that fits the way; a batch is 16 KiB.
                packet.resize(14 + (at * 37 + round * 101) % 1_200, at as u8);
                phone.send(&packet);
                said.push(payload(&packet));
            }
        }
        let mut said = said.into_iter();
        for call in &calls {
            for phone in [&call.b, &call.a] {
                assert_eq!(payload(&phone.hear()), said.next().expect("as many"), "{round}");
            }
        }
    }
}

#[test]
fn the_shard_is_woken_for_its_reports() {
    let (wake, woken) = sync_channel(8);
    let config = PlaneConfig::on("127.0.0.1".parse().expect("an address"), [1; 32]);
    let waker = Box::new(move || wake.try_send(()).unwrap_or_default());
    let (plane, mut links) = Plane::start(&config, vec![waker]).expect("a plane");
    links[0].send(Command::Open { session: SessionId(1) }).expect("room");
    woken.recv_timeout(Duration::from_secs(20)).expect("a wake-up");
    assert!(matches!(links[0].try_report(), Some(Report::Opened { .. })));
    plane.stop();
}

#[test]
fn the_end_of_the_plane_ends_its_threads_and_closes_all_ports() {
    let mut world = World::with(|config| config.threads = 2);
    let calls = [world.call(1), world.call(2)];
    assert!(world.plane.is_running());
    world.plane.stop();
    for port in calls.iter().flat_map(|call| call.relay_ports()) {
        assert!(UdpSocket::bind(port).is_ok(), "{port} is free again");
    }
}

#[test]
fn a_range_too_small_for_a_call_is_refused_at_the_start() {
    let mut config = PlaneConfig::on("127.0.0.1".parse().expect("an address"), [1; 32]);
    config.ports = 20_000..=20_002;
    assert!(Plane::start(&config, vec![]).is_err());
}

#[test]
fn a_plane_on_ipv6_serves_peers_of_both_families() {
    let Ok(socket) = UdpSocket::bind("[::1]:0") else {
        eprintln!("skipped: this machine has no IPv6");
        return;
    };
    let v6 = socket.local_addr().expect("bound").ip();
    let mut world = World::with(|config| {
        config.address.bind = v6;
        config.address.advertise = v6;
    });
    world.ip = v6;
    world.call(1).talk(3);
    let mut world = World::with(|config| {
        let IpAddr::V4(v4) = config.address.bind else { panic!("worlds are on IPv4") };
        config.address.bind = v4.to_ipv6_mapped().into();
    });
    world.call(1).talk(3);
}
