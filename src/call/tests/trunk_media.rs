//! What is said of the media of a trunk reaches the media plane: whose port may be learned, and how
//! keys travel.

use super::harness::*;
use crate::call::io::{Input, Peer};
use crate::call::trunks::{TrunkBook, TrunkTerms};
use crate::domain::ring::RingTone;
use crate::domain::trunk_media::{KeyWay, TrunkMedia};
use crate::domain::whisper::WhisperPolicy;
use crate::rtp::key::Key;
use crate::rtp::plane::{Command, KeyMode, Report, Side};
use std::collections::BTreeMap;
use std::sync::Arc;

fn tell(h: &mut Harness, peer: Peer, media: TrunkMedia) {
    let terms = TrunkTerms { media, ..TrunkTerms::default() };
    let book = TrunkBook::new(BTreeMap::from([(peer.trunk, terms)]), &TrunkBook::default());
    h.input(Input::Trunks(Arc::new(book)));
}

fn by(keys: KeyWay) -> TrunkMedia {
    TrunkMedia { keys, ..TrunkMedia::default() }
}

fn learned(h: &Harness) -> Vec<(Side, bool)> {
    let orders = h.orders.iter().filter_map(|order| {
        let Command::Update { side, remote, .. } = order else { return None };
        Some((*side, remote.learning))
    });
    orders.collect()
}

fn mode_of(h: &Harness, wanted: Side) -> KeyMode {
    let mut orders = h.orders.iter().filter_map(|order| {
        let Command::Keys { side, mode, .. } = order else { return None };
        (*side == wanted).then_some(*mode)
    });
    orders.next_back().expect("keys were spoken of")
}

#[test]
fn a_port_is_learned_only_where_its_trunk_may_be_behind_a_nat() {
    let nat = TrunkMedia { learning: true, ..TrunkMedia::default() };
    for (peer, learns) in [(pbx(), [true, false]), (carrier(), [false, true])] {
        let mut h = Harness::with(|config| config.ring = RingTone::Relay);
        tell(&mut h, peer, nat);
        h.bridged();
        let mut seen = learned(&h);
        assert_eq!(seen.len(), 3, "the caller's place is told twice, and is the same");
        seen.sort();
        seen.dedup();
        assert_eq!(seen, [(Side::A, learns[0]), (Side::B, learns[1])]);
    }
    let mut h = Harness::new();
    h.bridged();
    assert!(learned(&h).iter().all(|(_, learns)| !learns), "strict unless somebody says so");
}

#[test]
fn tones_of_a_subscriber_are_looked_for_where_its_trunk_sends_them() {
    for policy in [WhisperPolicy::Off, WhisperPolicy::Announce] {
        for (way, inband) in [(KeyWay::Events, false), (KeyWay::Inband, true)] {
            let mut h = Harness::with(|config| config.whisper.policy = policy);
            tell(&mut h, carrier(), by(way));
            let up = h.ringing();
            h.from(carrier(), up.reply("200 OK"));
            assert_eq!(mode_of(&h, Side::B).inband, inband, "{policy:?}");
        }
    }
}

#[test]
fn what_the_insurer_types_goes_as_info_to_a_trunk_that_wants_it_so_and_never_twice() {
    let mut h = Harness::new();
    tell(&mut h, carrier(), by(KeyWay::Info));
    h.bridged();
    assert_eq!(mode_of(&h, Side::A), KeyMode { report: true, pass: false, inband: false });
    let session = h.orders.first().expect("an order").session();
    let press = |h: &mut Harness, side: Side| {
        let key = Key::of_sign('7').expect("a key");
        h.input(Input::Media(Report::Key { session, side, key }));
    };
    h.take(carrier());
    press(&mut h, Side::A);
    let told = h.take_one(carrier());
    assert_eq!((start(&told).as_str(), told.contains("Signal=7\r\n")), ("INFO", true));
    press(&mut h, Side::B);
    assert!(!h.has_sent(pbx()), "what the subscriber types stays here");
    let mut h = Harness::new();
    tell(&mut h, pbx(), by(KeyWay::Info));
    h.bridged();
    assert_eq!(mode_of(&h, Side::A), KeyMode { report: false, pass: true, inband: false });
    assert!(!mode_of(&h, Side::B).pass);
}
