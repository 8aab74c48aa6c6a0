//! IPv4 on one side, IPv6 on the other: each peer is told an address that it can reach.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use maskline::app::{RootKeyFile, start};
use maskline::config::{Listener, Listeners};
use maskline::domain::cause::Cause;
use maskline::domain::network::Transport;

use crate::calls::{Bench, X};
use crate::peers::{Peer, header, sdp_at};
use crate::service::{settings, url};
use crate::support::database;

/// A service on both families; the PBX is at one, the carrier at the other.
async fn bench(pbx: &str, carrier: &str) -> Bench {
    bench_with(pbx, carrier, Ipv4Addr::LOCALHOST.into()).await
}

/// The same with media sockets bound here.
async fn bench_with(pbx: &str, carrier: &str, media: IpAddr) -> Bench {
    let test = database().await;
    let mut config = settings(&url(&test));
    config.media.bind = media;
    let listeners = ["127.0.0.1:0", "[::1]:0"].map(|address| Listener {
        transport: Transport::Udp,
        address: address.parse().expect("an address"),
    });
    config.sip.listen = Listeners(listeners.into());
    let running = start(config, RootKeyFile::MustExist).await.expect("started");
    let relay_at = |own: &str| {
        if own.starts_with('[') { running.sip_more[0] } else { running.sip }
    };
    let [pbx, carrier] = [pbx, carrier].map(|own| Peer::new(own, relay_at(own)));
    Bench::between(test, running, pbx, carrier).await
}

/// A call that the agent ends, and one that the subscriber ends.
async fn talk(bench: Bench) {
    let carrier_side = bench.carrier.relay().to_string();
    let (invite, answer) = bench.answered("one");
    assert!(header(&invite, "Via").starts_with(&format!("SIP/2.0/UDP {carrier_side};")));
    assert_eq!(header(&invite, "Contact"), format!("<sip:{carrier_side}>"));
    assert_eq!(header(&answer, "Contact"), format!("<sip:{}>", bench.pbx.relay()));
    bench.pbx.follow_up("BYE", 2, &answer, "one");
    bench.pbx.expect("SIP/2.0 200");
    let bye = bench.carrier.expect("BYE");
    bench.carrier.answer(&bye, "200 OK", "");
    let (invite, _) = bench.answered("two");
    bench.carrier.hang_up(&invite);
    bench.carrier.expect("SIP/2.0 200");
    let bye = bench.pbx.expect("BYE");
    assert!(header(&bye, "Via").starts_with(&format!("SIP/2.0/UDP {};", bench.pbx.relay())));
    bench.pbx.answer(&bye, "200 OK", "");
    let causes: Vec<_> = bench.records().await.iter().map(|cdr| cdr.cause).collect();
    assert_eq!(causes, [Cause::CallerHangup, Cause::CalleeHangup]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pbx_of_ipv4_reaches_a_carrier_of_ipv6() {
    talk(bench("127.0.0.1:0", "[::1]:0").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pbx_of_ipv6_reaches_a_carrier_of_ipv4_and_one_of_ipv6() {
    talk(bench("[::1]:0", "127.0.0.1:0").await).await;
    talk(bench("[::1]:0", "[::1]:0").await).await;
}

/// Where the relay hears and sends sound, as the SDP of a message says.
fn media_of(message: &str) -> SocketAddr {
    let line = |start: &str| {
        let found = message.lines().find_map(|line| line.strip_prefix(start));
        found.unwrap_or_else(|| panic!("no {start} in {message}"))
    };
    let (family, ip) = line("c=IN ").split_once(' ').expect("a family and an address");
    let ip: IpAddr = ip.parse().expect("an address");
    assert_eq!(family, if ip.is_ipv4() { "IP4" } else { "IP6" });
    let port = line("m=audio ").split(' ').next().expect("a port");
    SocketAddr::new(ip, port.parse().expect("a number"))
}

/// A packet of A-law from one ear to the relay, and what comes of it at the other.
fn is_heard(from: &UdpSocket, relay: SocketAddr, at: &UdpSocket, relay_there: SocketAddr) {
    let mut packet = vec![0x80, 8, 0, 1, 0, 0, 0, 160, 1, 2, 3, 4];
    packet.extend([0x33; 160]);
    let mut heard = [0; 2_048];
    for _ in 0..100 {
        packet[3] += 1;
        from.send_to(&packet, relay).expect("sent");
        // The first ones may come before the answer has reached the media plane.
        let Ok((length, source)) = at.recv_from(&mut heard) else { continue };
        assert_eq!(source, relay_there, "from where its SDP says");
        assert_eq!(heard[12..length], packet[12..]);
        return;
    }
    panic!("nothing came through the relay");
}

async fn speak(pbx: &str, carrier: &str) {
    let bench = bench_with(pbx, carrier, Ipv6Addr::UNSPECIFIED.into()).await;
    let ears = [&bench.pbx, &bench.carrier].map(|peer| {
        let ear = UdpSocket::bind((peer.address().ip(), 0)).expect("a free port");
        ear.set_read_timeout(Some(Duration::from_millis(100))).expect("an option");
        ear
    });
    let offers = ears.each_ref().map(|ear| sdp_at(ear.local_addr().expect("bound")));
    bench.pbx.invite_with("4821", X, "one", &offers[0]);
    let invite = bench.carrier.expect("INVITE");
    bench.carrier.answer(&invite, "200 OK", &offers[1]);
    let answer = bench.pbx.expect("SIP/2.0 200");
    bench.pbx.follow_up("ACK", 1, &answer, "one");
    let relay = [media_of(&answer), media_of(&invite)];
    for (ear, relay) in ears.iter().zip(relay) {
        assert_eq!(relay.ip(), ear.local_addr().expect("bound").ip(), "each leg its own family");
    }
    is_heard(&ears[0], relay[0], &ears[1], relay[1]);
    is_heard(&ears[1], relay[1], &ears[0], relay[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_leg_is_told_a_media_address_of_its_own_family_and_hears_the_other() {
    speak("127.0.0.1:0", "[::1]:0").await;
    speak("[::1]:0", "127.0.0.1:0").await;
    speak("[::1]:0", "[::1]:0").await;
    speak("127.0.0.1:0", "127.0.0.1:0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_of_ipv6_hears_nothing() {
    let bench = bench("127.0.0.1:0", "127.0.0.1:0").await;
    let stranger = Peer::new("[::1]:0", bench.running.sip_more[0]);
    stranger.invite("4821", X, "stranger");
    stranger.expect_silence();
    assert!(bench.records().await.is_empty());
}
