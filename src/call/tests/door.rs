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

/// A datagram from the address of a trunk need not come from the trunk.
#[test]
fn a_challenge_is_sent_once_and_nothing_is_kept_of_who_is_asked() {
    let mut h = with_login(Algorithm::Md5);
    h.from(pbx(), Caller::agent().invite());
    let first = h.take_one(pbx());
    assert_eq!(h.core.occupancy().transactions, 0);
    h.advance(std::time::Duration::from_secs(32));
    assert!(h.take(pbx()).is_empty(), "it is not repeated");
    h.from(pbx(), Caller::agent().invite());
    let again = h.take_one(pbx());
    assert_eq!(header(&first, "To"), header(&again, "To"), "RFC 3261 8.2.7");
    assert_ne!(header(&first, "To"), header(&Caller::agent().invite(), "To"));
    h.from(pbx(), Caller::agent().cancel());
    assert_eq!(h.lines(pbx()), ["481 CANCEL"]);
    h.from(pbx(), Caller::agent().ack());
    let inside = Caller { to_tag: "0123456789abcdef01".into(), ..Caller::agent() };
    for method in ["INVITE", "BYE", "UPDATE"] {
        h.from(pbx(), inside.request(method, method, 7));
        assert_eq!(h.lines(pbx()), [format!("481 {method}")]);
    }
    for (method, status) in [("OPTIONS", 200), ("REGISTER", 405), ("FROBNICATE", 501)] {
        h.from(pbx(), Caller::agent().request(method, method, 1));
        assert_eq!(h.lines(pbx()), [format!("{status} {method}")]);
    }
    assert_eq!(h.core.occupancy().transactions, 0);
}

/// S15.
#[test]
fn whoever_forges_the_address_of_a_trunk_gets_it_little_more_than_he_sends() {
    const METHODS: [&str; 9] = [
        "INVITE",
        "OPTIONS",
        "REGISTER",
        "BYE",
        "CANCEL",
        "UPDATE",
        "MESSAGE",
        "REFER",
        "FROBNICATE",
    ];
    let short = |method: &str| {
        format!(
            "{method} sip:1@h SIP/2.0\r\nv:SIP/2.0/UDP h;branch=z9hG4bK1\r\nf:<sip:1@h>;tag=1\r\n\
             t:<sip:2@h>\r\ni:1\r\nCSeq:1 {method}\r\n\r\n"
        )
    };
    for method in METHODS {
        let caller = Caller::agent();
        let long = caller.with(method, method, 1, "", &caller.body);
        for request in [caller.request(method, method, 1), long, short(method)] {
            let mut h = with_login(Algorithm::Md5);
            h.from(pbx(), &request);
            h.advance(std::time::Duration::from_secs(32));
            let answers: usize = h.take(pbx()).iter().map(String::len).sum();
            let asked = request.len();
            assert!(answers * 2 <= asked * 3, "{method}: {answers} for {asked}");
            assert!(asked < 300 || answers > 0, "{method} is answered");
        }
    }
}

#[test]
fn a_short_attempt_is_asked_for_what_fits_and_can_be_proved() {
    let mut h = with_login(Algorithm::Md5);
    let without_offer = Caller { body: String::new(), ..Caller::agent() };
    h.from(pbx(), without_offer.invite());
    let refusal = h.take_one(pbx());
    assert!(headers(&refusal, "WWW-Authenticate").len() < 3);
    let caller = Caller { body: String::new(), ..answer(&refusal, Algorithm::Md5, PASSWORD, 1) };
    send(&mut h, &caller, "b1");
    assert_eq!(h.lines(carrier()), ["INVITE"]);
}

#[test]
fn what_has_not_been_proved_uses_nothing_up() {
    let mut h = Harness::with(|config| config.source_cps_max = Some(1));
    let secret = Secret::of(USER.as_bytes(), REALM.as_bytes(), PASSWORD.as_bytes());
    let login = Some(Login { user: USER.into(), secret, least: Algorithm::Md5 });
    let terms = TrunkTerms { login, cps_max: Some(1), ..TrunkTerms::default() };
    let book = TrunkBook::new(BTreeMap::from([(pbx().trunk, terms)]), &TrunkBook::default());
    h.input(Input::Trunks(Arc::new(book)));
    for at in 0..50 {
        let forged = Caller { call_id: format!("f{at}"), ..Caller::agent() };
        send(&mut h, &forged, &format!("f{at}"));
    }
    let refusals = h.take(pbx());
    assert!(refusals.iter().all(|it| start(it) == "401 INVITE"), "{refusals:?}");
    let proved = answer(&refusals[0], Algorithm::Sha256, PASSWORD, 1);
    send(&mut h, &proved, "b1");
    assert_eq!(h.lines(carrier()), ["INVITE"]);
    h.hears_trying = true;
    send(&mut h, &proved, "b1");
    assert!(!h.lines(pbx()).contains(&"401 INVITE".to_owned()), "a repeat");
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
