//! Trunks that must prove who they are, and trunks that take only so much.

#[cfg(test)]
use super::harness::*;
use crate::call::door::REALM;
use crate::call::io::{Input, Output, Peer, SecurityEvent};
use crate::call::trunks::{Login, TrunkBook, TrunkTerms};
use crate::domain::cause::Cause;
use crate::sip::digest::{self, Account, Algorithm, Challenge, Secret};
use std::collections::BTreeMap;
use std::sync::Arc;

const USER: &str = "t0123";
const PASSWORD: &str = "made by us";

fn harness(terms: Vec<(Peer, TrunkTerms)>) -> Harness {
    let mut h = Harness::new();
    let terms: BTreeMap<_, _> = terms.into_iter().map(|(peer, it)| (peer.trunk, it)).collect();
    h.input(Input::Trunks(Arc::new(TrunkBook::new(terms, &TrunkBook::default()))));
    h
}

fn with_login(least: Algorithm) -> Harness {
    let secret = Secret::of(USER.as_bytes(), REALM.as_bytes(), PASSWORD.as_bytes());
    let login = Login { user: USER.into(), secret, least };
    harness(vec![(pbx(), TrunkTerms { login: Some(login), ..TrunkTerms::default() })])
}

/// A caller that answers a challenge of ours.
fn answer(refusal: &str, algorithm: Algorithm, password: &str, count: u32) -> Caller {
    let values = headers(refusal, "WWW-Authenticate");
    let challenge = values
        .iter()
        .filter_map(|value| Challenge::parse(value.as_bytes()).ok())
        .find(|challenge| challenge.algorithm() == algorithm)
        .expect("the algorithm is offered");
    let account = Account { user: USER.into(), password: password.into() };
    let uri = format!("sip:{X}@203.0.113.5");
    let value = digest::answer(&account, &challenge, b"INVITE", uri.as_bytes(), count, 1);
    let value = String::from_utf8(value).expect("ASCII");
    Caller { cseq: 2, extra: format!("Authorization: {value}\r\n"), ..Caller::agent() }
}

fn send(h: &mut Harness, caller: &Caller, branch: &str) {
    h.from(pbx(), caller.with("INVITE", branch, caller.cseq, &caller.extra, &caller.body));
}

#[test]
fn a_trunk_with_a_login_is_asked_once_and_then_served() {
    for algorithm in Algorithm::ALL {
        let mut h = with_login(Algorithm::Md5);
        h.from(pbx(), Caller::agent().invite());
        let refusal = h.take_one(pbx());
        assert_eq!(start(&refusal), "401 INVITE");
        assert_eq!(headers(&refusal, "WWW-Authenticate").len(), 3);
        assert!(h.asked.is_empty() && h.cdrs.is_empty(), "nothing is looked up or written down");
        send(&mut h, &answer(&refusal, algorithm, PASSWORD, 1), "b1");
        assert_eq!(h.lines(carrier()), ["INVITE"]);
        // The same answer again, by whoever has overheard it.
        let overheard =
            Caller { call_id: "other".into(), ..answer(&refusal, algorithm, PASSWORD, 1) };
        send(&mut h, &overheard, "b2");
        let again = h.take_one(pbx());
        assert_eq!(start(&again), "401 INVITE");
        assert!(headers(&again, "WWW-Authenticate").concat().contains("stale=true"));
        assert_eq!(h.core.counters().logins_failed, 0);
    }
}

#[test]
fn a_wrong_password_is_written_down_and_never_dials() {
    let mut h = with_login(Algorithm::Sha256);
    h.from(pbx(), Caller::agent().invite());
    let refusal = h.take_one(pbx());
    assert_eq!(headers(&refusal, "WWW-Authenticate").len(), 2, "no MD5");
    for attempt in 0..20 {
        let caller = answer(&refusal, Algorithm::Sha256, "guessed", 1);
        let branch = format!("g{attempt}");
        send(&mut h, &Caller { cseq: 2 + attempt, ..caller }, &branch);
        assert_eq!(h.lines(pbx()), ["401 INVITE"]);
    }
    let failed = SecurityEvent::LoginFailed { source: pbx().address.ip() };
    assert_eq!(h.security, [failed; 10], "a flood does not flood the log");
    assert_eq!(h.core.counters().logins_failed, 20);
    assert!(h.take(carrier()).is_empty() && h.cdrs.is_empty());
}

#[test]
fn garbage_for_credentials_is_just_asked_again() {
    let mut h = with_login(Algorithm::Md5);
    for (at, value) in
        ["", "Digest", "Basic QQ==", "Digest realm=\"x\", nonce=\"\""].iter().enumerate()
    {
        let extra = format!("Authorization: {value}\r\n");
        let caller = Caller { extra, call_id: format!("g{at}"), ..Caller::agent() };
        send(&mut h, &caller, &format!("g{at}"));
        assert_eq!(h.lines(pbx()), ["401 INVITE"]);
    }
    assert!(h.security.is_empty());
}

#[test]
fn a_request_inside_a_call_is_not_asked_who_it_is() {
    let mut h = with_login(Algorithm::Md5);
    h.from(pbx(), Caller::agent().invite());
    let refusal = h.take_one(pbx());
    let mut caller = answer(&refusal, Algorithm::Sha256, PASSWORD, 1);
    send(&mut h, &caller, "b1");
    let invite = h.take_one(carrier());
    h.from(carrier(), reply(&invite, "200 OK", "bob", &sdp("198.51.100.77", 6_000)));
    let answered = h.take_one(pbx());
    assert_eq!(start(&answered), "200 INVITE");
    caller.learn(&answered);
    h.from(pbx(), caller.ack());
    h.from(pbx(), caller.bye());
    assert_eq!(h.lines(pbx()), ["200 BYE"]);
}

fn limited(peer: Peer, channels_max: Option<u32>, cps_max: Option<u32>) -> (Peer, TrunkTerms) {
    (peer, TrunkTerms { channels_max, cps_max, ..TrunkTerms::default() })
}

#[test]
fn a_full_carrier_is_passed_over_and_free_again_after_the_call() {
    let mut h = harness(vec![limited(carrier(), Some(1), None)]);
    let up = h.bridged();
    let second = Caller { call_id: "second".into(), ..Caller::agent() };
    send(&mut h, &second, "b1");
    assert!(h.take(carrier()).is_empty());
    assert_eq!(h.lines(second_carrier()), ["INVITE"]);
    assert_eq!(h.core.counters().trunks_full, 1);
    h.from(pbx(), up.caller.bye());
    h.confirm(carrier(), "BYE");
    h.take(pbx());
    let third = Caller { call_id: "third".into(), ..Caller::agent() };
    send(&mut h, &third, "b2");
    assert_eq!(h.lines(carrier()), ["INVITE"]);
}

#[test]
fn a_trunk_that_calls_too_often_is_told_to_come_back_later() {
    let mut h = harness(vec![limited(pbx(), None, Some(2))]);
    for at in 0..3 {
        let caller = Caller { call_id: format!("c{at}"), ..Caller::agent() };
        send(&mut h, &caller, &format!("c{at}"));
    }
    let refusal = h.take_one(pbx());
    assert_eq!(start(&refusal), "503 INVITE");
    assert_eq!(header(&refusal, "Retry-After"), "5");
    assert!(h.cdrs.is_empty(), "too many calls do not make too many records");
    assert_eq!((h.core.counters().trunks_full, h.core.counters().attempts), (1, 2));
    assert_eq!(h.take(carrier()).len(), 2);
    h.advance(ms(1_000));
    send(&mut h, &Caller { call_id: "later".into(), ..Caller::agent() }, "later");
    assert!(!h.take(carrier()).is_empty());
}

#[test]
fn when_all_carriers_are_full_the_caller_hears_it_at_once() {
    let none = [carrier(), second_carrier()].map(|peer| limited(peer, Some(1), None));
    let mut h = harness(none.to_vec());
    for at in 0..3 {
        let caller = Caller { call_id: format!("c{at}"), ..Caller::agent() };
        send(&mut h, &caller, &format!("c{at}"));
    }
    assert_eq!(h.lines(pbx()), ["503 INVITE"]);
    assert_eq!(h.cdr().cause, Cause::TrunkFailed);
    let shown = format!(
        "{:?}",
        Output::Security(SecurityEvent::LoginFailed { source: pbx().address.ip() })
    );
    assert!(shown.starts_with("Security("));
}
