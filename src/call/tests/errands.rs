//! Registrations at carriers, and the order of trunks.

#[cfg(test)]
use super::harness::*;
use crate::call::io::{Control, Input, Peer, TrunkStatus};
use crate::call::pick::Weighed;
use crate::call::trunks::{TrunkBook, TrunkTerms};
use crate::domain::network;
use crate::domain::route::{RouteQuery, TrunkTarget};
use crate::sip::digest::{Account, Algorithm};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub(super) fn terms(peer: Peer) -> TrunkTerms {
    let target = TrunkTarget {
        trunk: peer.trunk,
        name: None,
        address: peer.address,
        transport: network::Transport::Udp,
    };
    let target = Weighed { item: target, priority: 0, weight: 0 };
    TrunkTerms { targets: vec![target], priority: 10, weight: 100, ..TrunkTerms::default() }
}

pub(super) fn tell(h: &mut Harness, all: Vec<(Peer, TrunkTerms)>) {
    let all: BTreeMap<_, _> = all.into_iter().map(|(peer, it)| (peer.trunk, it)).collect();
    h.input(Input::Trunks(Arc::new(TrunkBook::new(all, &TrunkBook::default()))));
}

/// As when the store is read again.
pub(super) fn tell_after(
    h: &mut Harness,
    before: &TrunkBook,
    all: Vec<(Peer, TrunkTerms)>,
) -> Arc<TrunkBook> {
    let all: BTreeMap<_, _> = all.into_iter().map(|(peer, it)| (peer.trunk, it)).collect();
    let book = Arc::new(TrunkBook::new(all, before));
    h.input(Input::Trunks(Arc::clone(&book)));
    book
}

pub(super) fn registering() -> TrunkTerms {
    registering_by("between us")
}

fn registering_by(password: &str) -> TrunkTerms {
    let account = Account { user: "relay-1".into(), password: password.into() };
    TrunkTerms {
        account: Some((account, Algorithm::Md5)),
        registers: Some(Duration::from_secs(600)),
        ..terms(carrier())
    }
}

/// Lets time pass until something is sent to a peer.
fn next_sent(h: &mut Harness, peer: Peer) -> String {
    while !h.has_sent(peer) {
        h.advance(ms(250));
    }
    h.take_one(peer)
}

pub(super) fn granted(request: &str, seconds: u32) -> String {
    let contact = header(request, "Contact");
    let line = format!("Contact: {contact};expires={seconds}\r\n");
    reply_with(request, "200 OK", "reg", &line, "")
        .replace("Contact: <sip:callee@198.51.100.77:5070>\r\n", "")
}

pub(super) fn status(is_registered: bool) -> TrunkStatus {
    TrunkStatus::Registered { trunk: carrier().trunk, is_registered }
}

#[test]
fn a_carrier_that_wants_it_is_registered_at_with_digest_and_refreshed_in_time() {
    let mut h = Harness::new();
    tell(&mut h, vec![(carrier(), registering())]);
    let first = h.take_one(carrier());
    assert_eq!(start(&first), "REGISTER");
    assert_eq!(header(&first, "To"), "<sip:relay-1@198.51.100.1:5060>");
    assert_eq!(header(&first, "Contact"), "<sip:relay-1@203.0.113.5:5060>");
    assert_eq!(header(&first, "Expires"), "600");
    let ask = "WWW-Authenticate: Digest realm=\"c\", nonce=\"n1\", qop=\"auth\"\r\n";
    h.from(carrier(), reply_with(&first, "401 Unauthorized", "reg", ask, ""));
    let second = h.take_one(carrier());
    assert_eq!(header(&second, "CSeq"), "2 REGISTER");
    assert!(header(&second, "Authorization").contains("nc=00000001"));
    assert_eq!(header(&second, "Call-ID"), header(&first, "Call-ID"));
    h.from(carrier(), granted(&second, 400));
    assert_eq!(h.trunk_statuses, [status(true)]);
    h.advance(Duration::from_secs(299));
    assert!(h.take(carrier()).is_empty());
    h.advance(ms(1_001));
    let refresh = h.take_one(carrier());
    assert_eq!(header(&refresh, "CSeq"), "3 REGISTER");
    assert!(header(&refresh, "Authorization").contains("nc=00000002"), "without being asked");
    h.from(carrier(), granted(&refresh, 400));
    assert_eq!(h.trunk_statuses.len(), 1, "nothing has changed");
}

#[test]
fn a_user_name_with_an_at_sign_stays_one_part_of_the_uri() {
    let mut h = Harness::new();
    let account = Account { user: "relay@c.example".into(), password: "between us".into() };
    let terms = TrunkTerms { account: Some((account, Algorithm::Md5)), ..registering() };
    tell(&mut h, vec![(carrier(), terms)]);
    let register = h.take_one(carrier());
    assert_eq!(header(&register, "To"), "<sip:relay%40c.example@198.51.100.1:5060>");
    assert_eq!(header(&register, "Contact"), "<sip:relay%40c.example@203.0.113.5:5060>");
}

#[test]
fn a_call_that_a_carrier_sends_to_our_contact_is_for_the_number_in_to() {
    let mut h = Harness::new();
    tell(&mut h, vec![(carrier(), registering())]);
    h.take_one(carrier());
    h.store = || None;
    let caller = Caller::at(carrier(), "anonymous", "s1");
    let text = caller.with("INVITE", "s1", 1, "", &caller.body);
    let to_us = |user: &str| format!("INVITE sip:{user}@");
    h.from(carrier(), text.replace(&to_us(X), &to_us("relay-1")));
    let (_, RouteQuery::FromCarrier { dialled, .. }) = &h.asked[0] else { panic!("a carrier's") };
    assert_eq!(dialled.as_str(), X);

    let other = Caller::at(carrier(), "anonymous", "s2");
    let text = other.with("INVITE", "s2", 1, "", &other.body);
    h.from(carrier(), text.replace(&to_us(X), &to_us("relay-2")));
    assert_eq!(h.asked.len(), 1, "that is nobody's");
}

#[test]
fn a_refused_registration_is_tried_again_ever_slower_and_said_once() {
    let mut h = Harness::new();
    tell(&mut h, vec![(carrier(), registering())]);
    let mut waits = Vec::new();
    for _ in 0..6 {
        let request = h.take_one(carrier());
        h.from(carrier(), reply(&request, "403 Forbidden", "reg", ""));
        let mut waited = 0;
        while h.core.poll_timeout().is_some_and(|_| !h.has_sent(carrier())) {
            h.advance(ms(250));
            waited += 1;
        }
        waits.push(waited / 4);
    }
    for (wait, least) in waits.iter().zip([15, 30, 60, 120, 240, 480]) {
        assert!((least..=2 * least + 1).contains(wait), "{waits:?}");
    }
    assert_eq!(h.trunk_statuses, [status(false)]);
    assert_eq!(h.core.counters().registrations_failed, 6);
}

/// RFC 3261 §20.33.
#[test]
fn a_carrier_that_wants_to_be_left_alone_is_and_its_other_target_is_not() {
    for (asked, wait) in [("600", 600), ("900 (maintenance);duration=60", 900), ("99999", 3_600)] {
        let mut h = Harness::new();
        tell(&mut h, vec![(carrier(), registering())]);
        let first = h.take_one(carrier());
        let line = format!("Retry-After: {asked}\r\n");
        h.from(carrier(), reply_with(&first, "503 Busy", "reg", &line, ""));
        h.advance(Duration::from_secs(wait - 1));
        assert!(h.take(carrier()).is_empty(), "{asked}");
        h.advance(Duration::from_secs(1));
        assert_eq!(h.lines(carrier()), ["REGISTER"], "{asked}");
    }
    let mut h = Harness::new();
    let mut terms = registering();
    let other = TrunkTarget { address: second_carrier().address, ..terms.targets[0].item.clone() };
    terms.targets.push(Weighed { item: other, priority: 0, weight: 0 });
    tell(&mut h, vec![(carrier(), terms)]);
    let (first, began) = (h.take_one(carrier()), h.now);
    h.from(carrier(), reply_with(&first, "503 Busy", "reg", "Retry-After: 600\r\n", ""));
    let moved = next_sent(&mut h, second_carrier());
    let other = Peer { trunk: carrier().trunk, ..second_carrier() };
    h.from(other, reply_with(&moved, "503 Busy", "reg", "", ""));
    assert_eq!(start(&next_sent(&mut h, carrier())), "REGISTER");
    let waited = h.now.monotonic - began.monotonic;
    assert!((600..=601).contains(&waited.as_secs()), "{waited:?}");
    assert!(h.take(second_carrier()).is_empty());
}

#[test]
fn a_carrier_may_demand_longer_registrations() {
    let mut h = Harness::new();
    tell(&mut h, vec![(carrier(), registering())]);
    let request = h.take_one(carrier());
    h.from(
        carrier(),
        reply_with(&request, "423 Interval Too Brief", "r", "Min-Expires: 1800\r\n", ""),
    );
    h.advance(Duration::from_millis(1));
    let again = h.take_one(carrier());
    assert_eq!(header(&again, "Expires"), "1800");
    h.from(carrier(), granted(&again, 1_800));
    assert_eq!(h.trunk_statuses, [status(true)]);
}

/// Once it was asked again at once, each time.
#[test]
fn a_carrier_that_finds_every_registration_too_brief_is_asked_ever_less_often() {
    let mut h = Harness::new();
    tell(&mut h, vec![(carrier(), registering())]);
    let mut asked = 0;
    for _ in 0..4 * 3_600 {
        h.advance(ms(250));
        for request in h.take(carrier()) {
            let expires: u32 = header(&request, "Expires").parse().expect("seconds");
            let line = format!("Min-Expires: {}\r\n", expires + 1);
            h.from(carrier(), reply_with(&request, "423 Interval Too Brief", "r", &line, ""));
            asked += 1;
        }
    }
    assert!((5..=15).contains(&asked), "{asked} in an hour");
    assert!(h.core.counters().registrations_failed >= asked - 1);
    let request = next_sent(&mut h, carrier());
    h.from(carrier(), granted(&request, 600));
    assert_eq!(h.trunk_statuses.last(), Some(&status(true)));
    let request = next_sent(&mut h, carrier());
    let line = "Min-Expires: 7200\r\n";
    h.from(carrier(), reply_with(&request, "423 Interval Too Brief", "r", line, ""));
    h.advance(Duration::from_millis(1));
    assert_eq!(header(&h.take_one(carrier()), "Expires"), "7200", "that is a new demand");
}

#[test]
fn a_reload_of_the_trunks_leaves_a_back_off_alone_and_a_new_password_is_tried_at_once() {
    let mut h = Harness::new();
    tell(&mut h, vec![(carrier(), registering())]);
    for _ in 0..3 {
        let request = next_sent(&mut h, carrier());
        h.from(carrier(), reply(&request, "403 Forbidden", "reg", ""));
        for _ in 0..10 {
            tell(&mut h, vec![(carrier(), registering())]);
            h.advance(Duration::from_secs(1));
            assert!(h.take(carrier()).is_empty(), "a carrier locks out who insists");
        }
    }
    let request = next_sent(&mut h, carrier());
    h.from(carrier(), reply(&request, "403 Forbidden", "reg", ""));
    tell(&mut h, vec![(carrier(), registering_by("another one"))]);
    let request = h.take_one(carrier());
    h.from(carrier(), granted(&request, 600));
    tell(&mut h, vec![(carrier(), registering_by("another one"))]);
    h.advance(Duration::from_secs(449));
    assert!(h.take(carrier()).is_empty(), "nor is it refreshed too early");
}

/// Registered for ten minutes, after one challenge.
fn registered() -> Harness {
    let mut h = Harness::new();
    tell(&mut h, vec![(carrier(), registering())]);
    let first = h.take_one(carrier());
    h.from(carrier(), reply_with(&first, "401 Unauthorized", "reg", ASKS, ""));
    let second = h.take_one(carrier());
    h.from(carrier(), granted(&second, 600));
    assert_eq!(h.trunk_statuses, [status(true)]);
    h
}

const ASKS: &str = "WWW-Authenticate: Digest realm=\"c\", nonce=\"n1\", qop=\"auth\"\r\n";

#[test]
fn a_registration_that_nobody_wants_any_more_is_taken_back() {
    for without_account in [false, true] {
        let mut h = registered();
        let terms = TrunkTerms { registers: None, ..registering() };
        let terms = if without_account { TrunkTerms { account: None, ..terms } } else { terms };
        tell(&mut h, vec![(carrier(), terms)]);
        let back = h.take_one(carrier());
        assert_eq!((start(&back), header(&back, "Expires")), ("REGISTER".into(), "0".into()));
        assert_eq!(header(&back, "Contact"), "<sip:relay-1@203.0.113.5:5060>");
        assert_eq!(header(&back, "CSeq"), "3 REGISTER");
        let asks = ASKS.replace("n1", "n2");
        h.from(carrier(), reply_with(&back, "401 Unauthorized", "reg", &asks, ""));
        let again = h.take_one(carrier());
        assert!(header(&again, "Authorization").contains("nonce=\"n2\""));
        assert_eq!(header(&again, "Expires"), "0");
        h.from(carrier(), reply(&again, "200 OK", "reg", ""));
        assert_eq!(h.trunk_statuses, [status(true), status(false)]);
        h.check_nothing_is_left();
        assert_eq!(h.core.poll_timeout(), None);
    }
}

#[test]
fn a_process_that_stops_takes_its_registration_back_and_does_not_register_again() {
    let mut h = registered();
    h.control(Control::Drain);
    assert!(h.take(carrier()).is_empty(), "calls that go on may need it");
    h.control(Control::TerminateAll);
    let back = h.take_one(carrier());
    assert_eq!((start(&back), header(&back, "Expires")), ("REGISTER".into(), "0".into()));
    h.from(carrier(), reply(&back, "200 OK", "reg", ""));
    assert_eq!(h.trunk_statuses, [status(true), status(false)]);
    tell(&mut h, vec![(carrier(), registering())]);
    h.advance(Duration::from_secs(3_600));
    assert!(h.take(carrier()).is_empty());
    assert_eq!(h.core.poll_timeout(), None);
}

#[test]
fn a_registration_that_is_granted_too_late_is_taken_back_at_once() {
    let mut h = Harness::new();
    tell(&mut h, vec![(carrier(), registering())]);
    let first = h.take_one(carrier());
    tell(&mut h, vec![]);
    assert!(h.take(carrier()).is_empty(), "one question at a time");
    h.from(carrier(), granted(&first, 600));
    let back = h.take_one(carrier());
    assert_eq!(header(&back, "Expires"), "0");
    h.advance(64 * T1);
    h.take(carrier());
    h.check_nothing_is_left();
    assert_eq!(h.core.poll_timeout(), None, "a carrier that is silent is not waited for");
}

#[test]
fn another_account_leaves_the_old_registration_and_begins_its_own() {
    let mut h = registered();
    let account = Account { user: "relay-2".into(), password: "other".into() };
    let other = TrunkTerms { account: Some((account, Algorithm::Md5)), ..registering() };
    tell(&mut h, vec![(carrier(), other)]);
    let sent = h.take(carrier());
    let what: Vec<_> = sent.iter().map(|it| (header(it, "To"), header(it, "Expires"))).collect();
    let of = |user: &str| format!("<sip:{user}@198.51.100.1:5060>");
    assert_eq!(what, [(of("relay-1"), "0".into()), (of("relay-2"), "600".into())]);
}

#[test]
fn a_refresh_follows_the_time_that_was_granted_to_our_own_contact() {
    let mut h = Harness::new();
    tell(&mut h, vec![(carrier(), registering())]);
    let request = h.take_one(carrier());
    let all = "Contact: <sip:relay-1@192.0.2.77:5060>;expires=3600, \
               \"us\" <sip:relay-1@203.0.113.5>;expires=120\r\nExpires: 900\r\n";
    let answer = reply_with(&request, "200 OK", "reg", all, "")
        .replace("Contact: <sip:callee@198.51.100.77:5070>\r\n", "");
    h.from(carrier(), answer);
    h.advance(Duration::from_secs(89));
    assert!(h.take(carrier()).is_empty());
    h.advance(ms(1_200));
    let refresh = h.take_one(carrier());
    // A carrier that has written our Contact anew knows one of us.
    let one = "Contact: <sip:relay-1@10.0.0.1:5060>;expires=240\r\n";
    let answer = reply_with(&refresh, "200 OK", "reg", one, "")
        .replace("Contact: <sip:callee@198.51.100.77:5070>\r\n", "");
    h.from(carrier(), answer);
    h.advance(Duration::from_secs(179));
    assert!(h.take(carrier()).is_empty());
    h.advance(ms(1_200));
    h.take_one(carrier());
}

#[test]
fn a_registration_is_refreshed_where_it_is_and_not_where_it_failed_before() {
    let mut h = Harness::new();
    let mut terms = registering();
    terms.targets.extend(self::terms(second_carrier()).targets);
    terms.targets[1].item.trunk = carrier().trunk;
    tell(&mut h, vec![(carrier(), terms)]);
    let request = h.take_one(carrier());
    h.from(carrier(), reply(&request, "503 Service Unavailable", "reg", ""));
    let request = next_sent(&mut h, second_carrier());
    h.from(second_carrier(), granted(&request, 400));
    next_sent(&mut h, second_carrier());
    assert!(h.take(carrier()).is_empty());
}

/// A carrier that is configured by this name.
fn named(name: &str, terms: TrunkTerms) -> TrunkTerms {
    let mut terms = terms;
    for target in &mut terms.targets {
        target.item.name = Some(name.into());
    }
    terms
}

#[test]
fn a_carrier_that_is_configured_by_a_name_is_asked_by_that_name_wherever_it_leads() {
    for name in ["sip.c.example", "sip.c.example:5080"] {
        let mut h = Harness::with(|config| config.probe_interval = Duration::from_secs(30));
        let last = TrunkTerms { priority: 20, ..terms(second_carrier()) };
        tell(&mut h, vec![(carrier(), named(name, registering())), (second_carrier(), last)]);
        let uri = |text: &str| text.split(' ').nth(1).unwrap_or_default().to_owned();
        let register = h.take_one(carrier());
        assert_eq!(uri(&register), format!("sip:{name}"));
        assert_eq!(header(&register, "To"), format!("<sip:relay-1@{name}>"));
        h.from(carrier(), reply_with(&register, "401 Unauthorized", "reg", ASKS, ""));
        let register = h.take_one(carrier());
        assert!(header(&register, "Authorization").contains(&format!("uri=\"sip:{name}\"")));
        h.from(carrier(), granted(&register, 600));
        let probe = next_sent(&mut h, carrier());
        assert_eq!((start(&probe), uri(&probe)), ("OPTIONS".into(), format!("sip:{name}")));
        h.from(carrier(), reply(&probe, "200 OK", "x", ""));
        h.take(second_carrier());
        let up = h.called();
        assert_eq!(uri(&up.invite), format!("sip:{BOB}@{name}"));
        assert_eq!(header(&up.invite, "To"), format!("<{}>", uri(&up.invite)));
        let credentials = header(&up.invite, "Authorization");
        assert!(credentials.contains(&format!("uri=\"{}\"", uri(&up.invite))));
    }
}

#[test]
fn calls_are_shared_by_weight_and_a_higher_priority_is_asked_first() {
    let mut h = Harness::new();
    let heavy = TrunkTerms { weight: 300, ..terms(second_carrier()) };
    tell(&mut h, vec![(carrier(), terms(carrier())), (second_carrier(), heavy)]);
    let mut heavier = 0;
    for at in 0..200 {
        let caller = Caller { call_id: format!("c{at}"), ..Caller::agent() };
        h.from(pbx(), caller.with("INVITE", &format!("c{at}"), 1, "", &caller.body));
        heavier += h.take(second_carrier()).len();
        h.take(carrier());
    }
    assert!((120..180).contains(&heavier), "{heavier}");
    let last = TrunkTerms { priority: 20, weight: 300, ..terms(second_carrier()) };
    tell(&mut h, vec![(carrier(), terms(carrier())), (second_carrier(), last)]);
    let caller = Caller { call_id: "last".into(), ..Caller::agent() };
    h.from(pbx(), caller.with("INVITE", "last", 1, "", &caller.body));
    assert_eq!(h.lines(carrier()), ["INVITE"]);
}
