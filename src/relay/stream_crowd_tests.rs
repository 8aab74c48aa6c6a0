//! A crowd of connections that say nothing or the wrong thing, beside a peer that is served.

use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::time::Duration;

use super::tests::*;
use super::*;
use crate::domain::network::Network;
use crate::relay::certificates;
use crate::relay::tls::{TlsFiles, TrunkTls};
use crate::relay::trunks::TrunkEntry;

/// A trunk with many hosts.
fn wide(transport: Transport) -> TrunkEntry {
    let sources = vec![Network::parse("127.0.0.0/16").expect("a network")];
    TrunkEntry { sources, ..trunk(transport, TrunkTls::default()) }
}

fn world(transport: Transport, limits: Limits) -> World {
    let file = |name: &str| Some(certificates::folder().join(name));
    let files = TlsFiles { certificate: file("relay.pem"), key: file("relay.key"), ca: None };
    World::of(transport, limits, vec![wide(transport)], files, &[])
}

/// S13: of four hundred idle connections each source has its hundred, others are served, and all
/// are cut in time.
#[test]
fn four_hundred_idle_connections_keep_nobody_out_and_do_not_stay() {
    let world = world(Transport::Tcp, quick(Duration::from_secs(4)));
    let hosts = [11, 12, 13, 14].map(|host| Ipv4Addr::new(127, 0, 0, host));
    let mut idle: Vec<_> =
        hosts.iter().flat_map(|host| (0..100).map(|_| world.connect(*host))).collect();
    for (at, socket) in idle.iter_mut().enumerate() {
        // Some have begun, and go on by a byte now and then.
        if at.is_multiple_of(2) {
            socket.write_all(&OPTIONS[..at % 50 + 1]).expect("taken");
        }
    }
    let mut one_more = world.connect(hosts[0]);
    assert_eq!(rest(&mut one_more), b"", "its source has a hundred");
    let mut pbx = world.connect(PBX);
    for _ in 0..50 {
        pbx.write_all(OPTIONS).expect("taken");
        let (peer, _) = world.message();
        world.post.send(peer.hop(), bytes::Bytes::from_static(b"200"));
        pbx.read_exact(&mut [0; 3]).expect("an answer");
        let slow = idle.iter_mut().step_by(40);
        slow.for_each(|socket| drop(socket.write_all(b"x")));
    }
    for socket in &mut idle {
        assert_eq!(rest(socket), b"", "cut without a word");
    }
    pbx.write_all(OPTIONS).expect("idle between messages is no fault");
    assert_eq!(world.message().0.address, pbx.local_addr().expect("bound"));
}

/// S28: half of a handshake, nonsense and the versions of old from many, and one who is served.
#[test]
fn two_hundred_broken_handshakes_keep_nobody_out_and_are_cut() {
    let world = world(Transport::Tls, quick(Duration::from_secs(4)));
    let hello = [0x16, 3, 1, 0, 64, 1, 0, 0, 60, 3, 3];
    let old = [0x16, 3, 0, 0, 4, 1, 0, 0, 0];
    let mut crowd: Vec<_> = (0..200_u8)
        .map(|at| {
            let mut socket = world.connect(Ipv4Addr::new(127, 0, 0, 20 + at / 64));
            let start: &[u8] = [&hello[..], &hello[..1], &old, OPTIONS, b""][usize::from(at % 5)];
            socket.write_all(start).expect("taken");
            socket
        })
        .collect();
    let mut tls = super::tls_tests::tls_peer(None);
    let mut socket = world.connect(PBX);
    let mut stream = rustls::Stream::new(&mut tls, &mut socket);
    stream.write_all(OPTIONS).expect("taken");
    let (peer, _) = world.message();
    world.post.send(peer.hop(), bytes::Bytes::from_static(b"200"));
    stream.read_exact(&mut [0; 3]).expect("an answer");
    assert!(crowd.iter_mut().all(|socket| rest(socket).len() < 32), "an alert at most");
    stream.write_all(OPTIONS).expect("taken");
    assert_eq!(world.message().0, peer);
}
