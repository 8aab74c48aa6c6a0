//! IPv4 on one side, IPv6 on the other: each peer is told an address that it can reach.

use maskline::app::{RootKeyFile, start};
use maskline::config::{Listener, Listeners};
use maskline::domain::cause::Cause;
use maskline::domain::network::Transport;

use crate::calls::Bench;
use crate::peers::{Peer, header};
use crate::service::{settings, url};
use crate::support::database;

/// A service on both families; the PBX is at one, the carrier at the other.
async fn bench(pbx: &str, carrier: &str) -> Bench {
    let test = database().await;
    let mut config = settings(&url(&test));
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

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_of_ipv6_hears_nothing() {
    let bench = bench("127.0.0.1:0", "127.0.0.1:0").await;
    let stranger = Peer::new("[::1]:0", bench.running.sip_more[0]);
    stranger.invite("4821", crate::calls::X, "stranger");
    stranger.expect_silence();
    assert!(bench.records().await.is_empty());
}
