//! Encrypted media of trunks: who offers it, who insists on it, and that no key is on two legs.

#[cfg(test)]
use super::harness::*;
use crate::call::io::{Input, Peer};
use crate::call::trunks::{TrunkBook, TrunkTerms};
use crate::domain::cause::Cause;
use crate::domain::network;
use crate::domain::route::{Route, RouteAnswer};
use crate::domain::trunk_media::SrtpMode::{self, Off, Optional, Required};
use crate::domain::trunk_media::TrunkMedia;
use crate::rtp::plane::{Command, Side};
use crate::rtp::srtp::LegKeys;
use crate::sip::transport::Transport;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Keys of A and of B, of 30 bytes each.
const A1: &str = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";
const A2: &str = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB";
const B1: &str = "QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJC";

fn over(transport: Transport, peer: Peer) -> Peer {
    Peer { transport, ..peer }
}

fn found_over_tls() -> Option<RouteAnswer> {
    let mut targets = route().targets;
    targets.iter_mut().for_each(|it| it.transport = network::Transport::Tls);
    Some(RouteAnswer::Found(Box::new(Route { targets, ..route() })))
}

/// Two trunks over TLS, of the agent and of the carrier.
fn world(modes: [SrtpMode; 2]) -> Harness {
    let mut h = Harness::new();
    h.store = found_over_tls;
    know(&mut h, modes);
    h
}

fn know(h: &mut Harness, modes: [SrtpMode; 2]) {
    let terms = |srtp| {
        let media = TrunkMedia { srtp, ..TrunkMedia::default() };
        TrunkTerms { media, ..TrunkTerms::default() }
    };
    let book = BTreeMap::from([(pbx().trunk, terms(modes[0])), (carrier().trunk, terms(modes[1]))]);
    h.input(Input::Trunks(Arc::new(TrunkBook::new(book, &TrunkBook::default()))));
}

/// A description in clear (no key), or with a line of that tag.
fn body(port: u16, profile: &str, line: Option<(u32, &str)>) -> String {
    let text = sdp("192.0.2.20", port).replace("RTP/AVP", profile);
    let crypto =
        line.map(|(tag, key)| format!("a=crypto:{tag} AES_CM_128_HMAC_SHA1_80 inline:{key}\r\n"));
    text + &crypto.unwrap_or_default()
}

fn keys(text: &str) -> Vec<&str> {
    let keys = text.lines().filter_map(|line| line.split_once(" inline:"));
    keys.map(|(_, key)| key).collect()
}

fn profile(text: &str) -> &str {
    let line = text.lines().find(|line| line.starts_with("m=audio")).expect("audio");
    line.split(' ').nth(2).expect("a profile")
}

fn pbx_tls() -> Peer {
    over(Transport::Tls, pbx())
}

fn carrier_tls() -> Peer {
    over(Transport::Tls, carrier())
}

fn agent(body: String) -> Caller {
    Caller { peer: pbx_tls(), body, ..Caller::agent() }
}

/// The keys of a leg, as the media plane was last told; absent when it was not told of the leg.
fn told_of(h: &Harness, wanted: Side) -> Option<Option<LegKeys>> {
    h.orders.iter().rev().find_map(|order| match order {
        Command::Update { side, keys, .. } if *side == wanted => Some(keys.as_deref().cloned()),
        Command::Open { .. }
        | Command::Update { .. }
        | Command::Bridge { .. }
        | Command::Hold { .. }
        | Command::Record { .. }
        | Command::Play { .. }
        | Command::Stop { .. }
        | Command::Keys { .. }
        | Command::Close { .. } => None,
    })
}

/// The keys of each leg.
fn in_use(h: &Harness) -> [Option<LegKeys>; 2] {
    [Side::A, Side::B].map(|side| told_of(h, side).expect("it was spoken of"))
}

/// A call between both trunks: what B was offered and what A was answered.
fn connect(h: &mut Harness, offer: String, answer: &str) -> (Up, String) {
    let mut caller = agent(offer);
    h.from(caller.peer, caller.invite());
    let invite = h.take_one(carrier());
    h.from(carrier_tls(), reply(&invite, "200 OK", "bob", answer));
    assert_eq!(h.lines(carrier()), ["ACK"]);
    let answer = h.take_one(pbx());
    assert_eq!(start(&answer), "200 INVITE");
    caller.learn(&answer);
    h.from(caller.peer, caller.ack());
    (Up { caller, invite }, answer)
}

fn encrypted_call(h: &mut Harness) -> (Up, String) {
    let offer = body(4_000, "RTP/SAVP", Some((1, A1)));
    connect(h, offer, &body(6_000, "RTP/SAVP", Some((2, B1))))
}

#[test]
fn each_leg_has_keys_of_its_own_and_hears_of_no_other() {
    for modes in [[Required; 2], [Optional, Required]] {
        let mut h = world(modes);
        let (up, answer) = encrypted_call(&mut h);
        assert_eq!((profile(&up.invite), profile(&answer)), ("RTP/SAVP", "RTP/SAVP"));
        assert_eq!((keys(&up.invite).len(), keys(&answer).len()), (2, 1));
        assert!(answer.contains("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:"), "{answer}");
        // Of all that was ever sent: what A was told, B was not, and neither hears of their keys.
        let told = |peer: Peer| {
            let texts = h.wire.iter().filter(|(to, _)| *to == peer.address);
            let all = texts.flat_map(|(_, text)| keys(text)).map(str::to_owned);
            all.collect::<std::collections::BTreeSet<_>>()
        };
        let (to_a, to_b) = (told(pbx()), told(carrier()));
        assert!(to_a.is_disjoint(&to_b), "{to_a:?} {to_b:?}");
        for key in [A1, B1] {
            assert!(!to_a.contains(key) && !to_b.contains(key));
        }
        let [a, b] = in_use(&h).map(|keys| keys.expect("encrypted"));
        let all = [&a.ours, &a.theirs, &b.ours, &b.theirs];
        for (at, one) in all.iter().enumerate() {
            assert!(all[at + 1..].iter().all(|other| other != one), "no key is there twice");
        }
    }
}

#[test]
fn one_leg_may_be_encrypted_and_the_other_in_clear() {
    let mut h = world([Off, Required]);
    let answer = body(6_000, "RTP/SAVP", Some((2, B1)));
    let (up, answer) = connect(&mut h, body(4_000, "RTP/AVP", None), &answer);
    assert_eq!((profile(&up.invite), profile(&answer)), ("RTP/SAVP", "RTP/AVP"));
    assert!(keys(&answer).is_empty(), "{answer}");
    assert_eq!(in_use(&h).map(|keys| keys.is_some()), [false, true]);
    // Where there is a choice, the peer has it.
    let mut h = world([Optional, Optional]);
    let offer = body(4_000, "RTP/SAVP", Some((1, A1)));
    let (up, _) = connect(&mut h, offer, &body(6_000, "RTP/AVP", None));
    assert_eq!((profile(&up.invite), keys(&up.invite).len()), ("RTP/AVP", 2));
    assert_eq!(in_use(&h).map(|keys| keys.is_some()), [true, false]);
}

#[test]
fn what_a_trunk_does_not_allow_is_refused_with_488_and_nobody_is_called() {
    let clear = || body(4_000, "RTP/AVP", None);
    let encrypted = || body(4_000, "RTP/SAVP", Some((1, A1)));
    let no_key = || body(4_000, "RTP/SAVP", None);
    for (mode, transport, offer) in [
        (Required, Transport::Tls, clear()),
        (Required, Transport::Tls, no_key()),
        (Optional, Transport::Tls, no_key()),
        (Off, Transport::Tls, encrypted()),
        // Others read the keys.
        (Required, Transport::Udp, encrypted()),
        (Optional, Transport::Tcp, encrypted()),
    ] {
        let mut h = world([mode, Off]);
        let caller = Caller { peer: over(transport, pbx()), ..agent(offer) };
        h.from(caller.peer, caller.invite());
        assert_eq!(h.lines(pbx()), ["488 INVITE"], "{mode:?} {transport:?}");
        assert!(!h.has_sent(carrier()));
        h.from(caller.peer, caller.request("ACK", "a1", 1));
        assert_eq!(h.cdr().cause, Cause::MediaUnacceptable);
        h.check_nothing_is_left();
    }
}

#[test]
fn a_callee_that_answers_in_clear_where_keys_are_demanded_is_not_connected() {
    let mut h = world([Off, Required]);
    let caller = agent(body(4_000, "RTP/AVP", None));
    h.from(caller.peer, caller.invite());
    let invite = h.take_one(carrier());
    h.from(carrier_tls(), reply(&invite, "200 OK", "bob", &body(6_000, "RTP/AVP", None)));
    assert_eq!(h.lines(carrier()), ["ACK", "BYE"]);
    assert_eq!(h.lines(pbx()), ["488 INVITE"]);
    assert!(!h.orders.iter().any(|order| matches!(order, Command::Bridge { .. })));
}

#[test]
fn a_new_offer_keeps_the_keys_unless_the_peer_changes_its_own() {
    let mut h = world([Required; 2]);
    let (up, answer) = encrypted_call(&mut h);
    let before = in_use(&h);
    let mut cseq = 1;
    let mut offers = |h: &mut Harness, line: Option<(u32, &str)>, profile: &str| {
        cseq += 1;
        let text = body(4_000, profile, line);
        h.from(pbx_tls(), up.caller.with("INVITE", &format!("r{cseq}"), cseq, "", &text));
        let answer = h.take_one(pbx());
        h.from(pbx_tls(), up.caller.request("ACK", &format!("k{cseq}"), cseq));
        assert!(!h.has_sent(carrier()), "the far side need not know");
        answer
    };
    // The same again: a session refresh.
    let again = offers(&mut h, Some((1, A1)), "RTP/SAVP");
    assert_eq!((start(&again), keys(&again)), ("200 INVITE".into(), keys(&answer)));
    assert_eq!(in_use(&h), before);
    // In clear: nothing changes.
    assert_eq!(start(&offers(&mut h, None, "RTP/AVP")), "488 INVITE");
    assert_eq!(in_use(&h), before);
    // A new key of A's: perhaps another phone, which must not get what ours has encrypted.
    let new = offers(&mut h, Some((1, A2)), "RTP/SAVP");
    assert_eq!(start(&new), "200 INVITE");
    assert_eq!(keys(&new).len(), 1);
    assert_ne!(keys(&new), keys(&answer));
    let ([a0, b0], [a, b]) = (before, in_use(&h));
    let (a0, a) = (a0.expect("encrypted"), a.expect("encrypted"));
    assert!(a.ours != a0.ours && a.theirs != a0.theirs);
    assert_eq!(b, b0, "the other leg has nothing to do with it");
}

#[test]
fn a_hold_that_is_passed_on_offers_the_line_that_is_in_use() {
    let mut h = world([Required; 2]);
    let (up, _) = encrypted_call(&mut h);
    let before = in_use(&h);
    let hold = body(4_000, "RTP/SAVP", Some((1, A1))) + "a=sendonly\r\n";
    h.from(pbx_tls(), up.caller.with("INVITE", "r2", 2, "", &hold));
    let told = h.take_one(carrier());
    assert_eq!((start(&told), profile(&told)), ("INVITE".into(), "RTP/SAVP"));
    assert_eq!(keys(&told).len(), 1, "{told}");
    assert!(keys(&up.invite).contains(&keys(&told)[0]) && told.contains("a=crypto:2 "));
    let held = body(6_000, "RTP/SAVP", Some((2, B1))) + "a=recvonly\r\n";
    h.from(carrier_tls(), reply(&told, "200 OK", "", &held));
    let answer = h.take(pbx()).pop().expect("an answer");
    assert_eq!(start(&answer), "200 INVITE");
    assert_eq!(in_use(&h), before);
}

#[test]
fn a_trunk_over_tls_is_not_called_before_its_terms_are_known() {
    let mut h = Harness::new();
    h.store = found_over_tls;
    let caller = agent(body(4_000, "RTP/AVP", None));
    h.from(caller.peer, caller.invite());
    assert!(!h.has_sent(carrier()) && !h.has_sent(second_carrier()), "it may insist on keys");
    assert_eq!(h.lines(pbx()), ["503 INVITE"]);
}

#[test]
fn a_subscriber_over_an_encrypted_trunk_hears_the_menu_by_its_own_keys() {
    let mut h = Harness::with(|config| config.menu.is_enabled = true);
    h.store = || {
        let route = Route { targets: Vec::new(), ..desk_route() };
        Some(RouteAnswer::Found(Box::new(route)))
    };
    know(&mut h, [Off, Required]);
    let caller = Caller {
        body: body(4_000, "RTP/SAVP", Some((1, B1))),
        ..Caller::at(carrier_tls(), "13800001234", "s-call")
    };
    h.from(caller.peer, caller.invite());
    let answer = h.take_one(carrier());
    assert_eq!((start(&answer).as_str(), profile(&answer)), ("200 INVITE", "RTP/SAVP"));
    assert_eq!(keys(&answer).len(), 1, "{answer}");
    let told = told_of(&h, Side::A).map(|keys| keys.is_some());
    assert_eq!(told, Some(true));
}
