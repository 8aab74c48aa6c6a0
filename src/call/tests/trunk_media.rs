//! What is said of the media of a trunk reaches the media plane: whose port may be learned, and how
//! keys travel.

use super::harness::*;
use super::keys::{RELAY, with_body};
use crate::call::io::{Input, Peer};
use crate::call::trunks::{TrunkBook, TrunkTerms};
use crate::domain::ring::RingTone;
use crate::domain::trunk_media::{KeyWay, TrunkMedia};
use crate::domain::whisper::WhisperPolicy;
use crate::rtp::key::Key;
use crate::rtp::plane::{Command, KeyMode, Report, Side};
use crate::rtp::sound::{KeyAs, Sound};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) fn tell(h: &mut Harness, peer: Peer, media: TrunkMedia) {
    let terms = TrunkTerms { media, ..TrunkTerms::default() };
    let book = TrunkBook::new(BTreeMap::from([(peer.trunk, terms)]), &TrunkBook::default());
    h.input(Input::Trunks(Arc::new(book)));
}

pub(super) fn by(keys: KeyWay) -> TrunkMedia {
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
        tell(&mut h, peer, nat.clone());
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

/// What a side is told of a key of the other one: by INFO, or what is pressed for it.
fn told_of_key(h: &mut Harness, to: Side) -> Vec<(&'static str, char)> {
    let peer = if to == Side::A { pbx() } else { carrier() };
    let sign = |text: &str| text.split_once("Signal=").and_then(|(_, rest)| rest.chars().next());
    let requests = h.take(peer);
    let by_info = requests.iter().filter_map(|text| Some(("info", sign(text)?)));
    let pressed = h.orders.iter().filter_map(|order| {
        let Command::Play { side, sound: Sound::Key(key, key_as), .. } = order else { return None };
        let way = match key_as {
            KeyAs::Event => "event",
            KeyAs::Tones => "tones",
        };
        (*side == to).then_some((way, key.sign()))
    });
    by_info.chain(pressed).collect()
}

/// A call between trunks with these ways, whose phones have agreed on events.
fn between(agent: KeyWay, subscriber: KeyWay) -> (Harness, Up) {
    let mut h = Harness::new();
    let terms = |keys| TrunkTerms { media: by(keys), ..TrunkTerms::default() };
    let trunks =
        BTreeMap::from([(pbx().trunk, terms(agent)), (carrier().trunk, terms(subscriber))]);
    let book = TrunkBook::new(trunks, &TrunkBook::default());
    h.input(Input::Trunks(Arc::new(book)));
    let up = h.bridged();
    h.take(carrier());
    (h, up)
}

fn press(h: &mut Harness, side: Side, sign: char) {
    let session = h.orders.first().expect("an order").session();
    let key = Key::of_sign(sign).expect("a key");
    h.input(Input::Media(Report::Key { session, side, key }));
}

#[test]
fn a_key_reaches_each_trunk_in_its_own_way_whatever_the_way_it_came() {
    use KeyWay::{Events, Inband, Info};
    // Who types how, how the other side hears of it, and what the media plane does with it.
    let rows = [
        (Events, Events, "event", (false, true, false)),
        (Events, Info, "info", (true, false, false)),
        (Events, Inband, "tones", (true, false, false)),
        (Inband, Events, "event", (true, false, true)),
        (Inband, Info, "info", (true, false, true)),
        (Inband, Inband, "tones", (false, true, false)),
        (Info, Events, "event", (false, true, false)),
        (Info, Inband, "tones", (true, false, false)),
    ];
    for (from, to, way, (report, pass, inband)) in rows {
        let (mut h, up) = between(from, to);
        let mode = mode_of(&h, Side::A);
        assert_eq!(mode, KeyMode { report, pass, inband }, "{from:?} to {to:?}");
        // One that came by INFO, or that the media plane has told of.
        let info = up.caller.request("INFO", "i5", 5);
        h.from(pbx(), with_body(info, RELAY, "Signal=7\r\nDuration=250\r\n"));
        h.take(pbx());
        assert_eq!(told_of_key(&mut h, Side::B), [(way, '7')], "{from:?} to {to:?}");
        if report {
            h.orders.truncate(1);
            press(&mut h, Side::A, '8');
            let told = told_of_key(&mut h, Side::B);
            let is_next = way == "info";
            assert_eq!(told, if is_next { vec![(way, '8')] } else { vec![] }, "one by one");
        }
        h.orders.truncate(1);
        press(&mut h, Side::B, '9');
        assert_eq!(told_of_key(&mut h, Side::A), [], "what the subscriber types stays here");
    }
}

/// The keys that were pressed for the callee since this was last asked, and the number of the last.
fn pressed(h: &mut Harness) -> (String, u32) {
    let number = |order: &Command| {
        let Command::Play { side: Side::B, play, .. } = order else { return None };
        Some(*play)
    };
    let last = h.orders.iter().rev().find_map(number).unwrap_or_default();
    let told = told_of_key(h, Side::B);
    h.orders.truncate(1);
    (told.into_iter().map(|(_, sign)| sign).collect(), last)
}

/// The plane tells that this was played to the callee.
fn done(h: &mut Harness, play: u32) {
    let session = h.orders.first().expect("an order").session();
    h.input(Input::Media(Report::PlayDone { session, side: Side::B, play, was_sent: true }));
}

#[test]
fn keys_are_pressed_one_after_the_other_and_the_end_of_something_else_is_not_theirs() {
    let (mut h, _) = between(KeyWay::Events, KeyWay::Inband);
    for sign in "123".chars() {
        press(&mut h, Side::A, sign);
    }
    let (sign, first) = pressed(&mut h);
    assert_eq!(sign, "1");
    done(&mut h, first);
    let (sign, second) = pressed(&mut h);
    assert_eq!(sign, "2");
    for other in [first, 100] {
        done(&mut h, other);
        assert_eq!(pressed(&mut h).0, "", "that is told late, or of the beep of the last minute");
    }
    done(&mut h, second);
    let (sign, third) = pressed(&mut h);
    assert_eq!(sign, "3");
    done(&mut h, third);
    assert_eq!(pressed(&mut h).0, "");
    for _ in 0..40 {
        press(&mut h, Side::A, '5');
    }
    assert_eq!(h.core.counters().keys_dropped, 8, "no more than five seconds of them wait");
}

#[test]
fn keys_go_on_though_nobody_tells_that_the_one_before_was_pressed() {
    let (mut h, up) = between(KeyWay::Events, KeyWay::Inband);
    for sign in "123".chars() {
        press(&mut h, Side::A, sign);
    }
    let (sign, first) = pressed(&mut h);
    assert_eq!(sign, "1");
    h.advance(ms(999));
    assert_eq!(pressed(&mut h).0, "");
    h.advance(ms(1));
    let (sign, second) = pressed(&mut h);
    assert_eq!(sign, "2");
    done(&mut h, first);
    assert_eq!(pressed(&mut h).0, "", "that one was given up");
    h.advance(ms(500));
    done(&mut h, second);
    assert_eq!(pressed(&mut h).0, "3");
    h.advance(ms(10_000));
    assert_eq!(pressed(&mut h).0, "");
    press(&mut h, Side::A, '4');
    assert_eq!(pressed(&mut h).0, "4", "and keys are taken for as long as the call lasts");
    h.from(pbx(), up.caller.request("BYE", "b", 9));
    h.confirm(carrier(), "BYE");
    h.check_nothing_is_left();
}
