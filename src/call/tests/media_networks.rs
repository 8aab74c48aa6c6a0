//! A trunk may say in which networks its media is: what names another address is refused, and
//! nothing is heard of it or said to it.

use std::sync::Arc;

use super::harness::*;
use super::trunk_media::tell;
use crate::call::io::Peer;
use crate::domain::cause::Cause;
use crate::domain::network::Network;
use crate::domain::trunk_media::TrunkMedia;
use crate::rtp::plane::{Command, Side};

/// The media of this trunk is there alone.
fn within(h: &mut Harness, peer: Peer, networks: &[&str]) {
    let networks = networks.iter().map(|text| Network::parse(text).expect("a network"));
    let networks = networks.collect::<Arc<[_]>>();
    tell(h, peer, TrunkMedia { networks, ..TrunkMedia::default() });
}

/// Where the media of a side is, as the plane was told each time.
fn told(h: &Harness, of: Side) -> Vec<String> {
    let told = h.orders.iter().filter_map(|order| {
        let Command::Update { side, remote, .. } = order else { return None };
        (*side == of).then(|| remote.rtp.to_string())
    });
    told.collect()
}

#[test]
fn who_offers_media_elsewhere_is_refused_after_the_gate_and_hears_no_reason_there() {
    let mut h = Harness::with(|config| config.announce_refusals = true);
    within(&mut h, pbx(), &["203.0.113.0/24", "192.0.2.21"]);
    h.from(pbx(), Caller::agent().invite());
    assert_eq!(h.lines(pbx()), ["488 INVITE"]);
    assert!(!h.has_sent(carrier()), "nobody is called");
    assert_eq!((h.cdr().cause, h.cdr().tenant), (Cause::MediaUnacceptable, Some(TENANT)));
    assert_eq!(told(&h, Side::A), [""; 0]);
    h.check_nothing_is_left();
}

#[test]
fn who_answers_with_media_elsewhere_is_not_connected() {
    let mut h = Harness::new();
    within(&mut h, carrier(), &["198.51.100.78"]);
    let up = h.ringing();
    h.from(carrier(), up.reply("200 OK"));
    let sent = h.take(carrier());
    assert_eq!(sent.iter().map(|text| start(text)).collect::<Vec<_>>(), ["ACK", "BYE"]);
    h.from(carrier(), reply(&sent[1], "200 OK", "", ""));
    assert_eq!(h.lines(pbx()), ["488 INVITE"]);
    assert_eq!((h.cdr().cause, told(&h, Side::B)), (Cause::MediaUnacceptable, vec![]));
}

#[test]
fn who_moves_elsewhere_in_a_call_stays_where_it_was_and_the_call_goes_on() {
    let mut h = Harness::new();
    within(&mut h, pbx(), &["192.0.2.0/24"]);
    let up = h.bridged();
    let before = told(&h, Side::A);
    assert!(!before.is_empty(), "it is in its network");
    let elsewhere = sdp("198.51.100.200", 4_000);
    h.from(pbx(), up.caller.with("INVITE", "r1", 2, "", &elsewhere));
    assert_eq!(h.lines(pbx()), ["488 INVITE"]);
    h.from(pbx(), up.caller.request("ACK", "k1", 2));
    assert_eq!(told(&h, Side::A), before);
    let inside = sdp("192.0.2.99", 4_000);
    h.from(pbx(), up.caller.with("INVITE", "r2", 3, "", &inside));
    assert_eq!(h.lines(pbx()).last().map(String::as_str), Some("200 INVITE"));
    assert_eq!(told(&h, Side::A).last().map(String::as_str), Some("192.0.2.99:4000"));
    assert!(h.cdrs.is_empty(), "the call goes on");
}
