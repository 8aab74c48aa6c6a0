//! Somebody who may send sends far too much: others are served nevertheless.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::blind::other_trunk;
use super::harness::*;
use crate::call::io::{Control, Input};
use crate::call::trunks::{TrunkBook, TrunkTerms};
use crate::sip::transaction::Transactions;

/// Transactions that fit; a quarter of them in each of four steps.
const ROOM: usize = 64;

fn narrow() -> Harness {
    let mut h = Harness::new();
    h.core.wires.transactions = Transactions::with_max(ROOM);
    h
}

/// S14, from the address of a trunk.
#[test]
fn however_many_questions_a_trunk_asks_calls_find_room() {
    for method in ["OPTIONS", "REGISTER", "MESSAGE", "FROBNICATE"] {
        let mut h = narrow();
        for at in 0..10 * ROOM {
            let caller = Caller { call_id: format!("q{at}"), ..Caller::agent() };
            h.from(pbx(), caller.request(method, &format!("q{at}"), 1));
            assert_eq!(h.lines(pbx()).len(), 1, "{method} {at}: each is answered");
        }
        assert!(h.core.occupancy().transactions <= ROOM / 2, "{method}");
        h.bridged();
    }
}

/// S15 and S16, from the address of a trunk: it gets what its limit allows, and small answers, each
/// once and to nobody else. Other trunks notice nothing.
#[test]
fn a_trunk_that_floods_gets_as_many_calls_as_it_may_have_and_others_all_of_theirs() {
    const LIMIT: u32 = 5;
    let mut h = Harness::new();
    let terms = TrunkTerms { cps_max: Some(LIMIT), ..TrunkTerms::default() };
    let book = TrunkBook::new(BTreeMap::from([(pbx().trunk, terms)]), &TrunkBook::default());
    h.input(Input::Trunks(Arc::new(book)));
    let (mut asked, mut refusals) = (BTreeMap::new(), Vec::new());
    for at in 0..1_000 {
        let own = Caller { call_id: format!("f{at}"), ..Caller::agent() };
        let invite = own.with("INVITE", &format!("f{at}"), 1, "", &own.body);
        let via = format!("Via: SIP/2.0/UDP {}", pbx().address);
        let forged = "Via: SIP/2.0/UDP 203.0.113.66:5060;maddr=203.0.113.66;received=203.0.113.66";
        let invite = invite.replacen(&via, forged, 1);
        asked.insert(format!("f{at}"), invite.len());
        h.from(pbx(), invite);
        refusals.extend(h.take(pbx()));
        if at % 100 == 50 {
            let call_id = format!("o{at}");
            let other = Caller { peer: other_trunk(), name: "8002", call_id, ..Caller::agent() };
            h.from(other_trunk(), other.with("INVITE", &format!("o{at}"), 1, "", &other.body));
            assert!(h.take(other_trunk()).is_empty(), "{at}: it is not refused");
        }
        h.advance(ms(1));
        refusals.extend(h.take(pbx()));
    }
    // Nobody answers there, so each is said more than once.
    let called: BTreeSet<_> = h.take(carrier()).iter().map(|it| header(it, "Call-ID")).collect();
    assert_eq!(called.len(), LIMIT as usize + 10, "its own calls, and all of the other's");
    assert_eq!(refusals.len(), 1_000 - LIMIT as usize);
    for refusal in &refusals {
        assert_eq!(start(refusal), "503 INVITE");
        let request = asked.remove(&header(refusal, "Call-ID")).expect("one answer to each");
        assert!(refusal.len() * 2 <= request * 3, "{} for {request}", refusal.len());
    }
    assert_eq!(asked.len(), LIMIT as usize);
    assert!(h.sent.is_empty(), "nothing goes anywhere else");
    h.advance(ms(32_000));
    let later = h.take(pbx());
    assert!(later.iter().all(|it| asked.contains_key(&header(it, "Call-ID"))), "no repeats");
}

#[test]
fn who_floods_a_call_of_its_own_fills_no_table_and_its_bye_is_heard() {
    let mut h = Harness::new();
    let up = h.bridged();
    let asked = |at: u32| up.caller.request("INFO", &format!("f{at}"), 10 + at);
    let mut answers = Vec::new();
    for at in 0..300 {
        h.from(pbx(), asked(at));
        answers.extend(h.lines(pbx()));
    }
    let count = |text: &str| answers.iter().filter(|line| *line == text).count();
    assert_eq!((answers.len(), count("500 INFO")), (300, 200));
    assert_eq!(h.core.counters().floods_inside, 200);
    assert!(h.core.occupancy().transactions < 110);
    h.advance(ms(1_000));
    h.from(pbx(), asked(301));
    assert_ne!(h.lines(pbx()), ["500 INFO"], "a second later it may ask again");
    for at in 302..600 {
        h.from(pbx(), asked(at));
    }
    h.take(pbx());
    h.from(pbx(), up.caller.request("BYE", "end", 999));
    assert_eq!(h.lines(pbx()), ["200 BYE"]);
    h.confirm(carrier(), "BYE");
    h.check_nothing_is_left();
}

#[test]
fn a_full_table_keeps_room_for_the_bye_to_the_other_side() {
    let mut h = narrow();
    let up = h.bridged();
    let other = h.core.occupancy().transactions;
    // Inside the call, until nothing of a peer is taken any more.
    for at in 0..u32::try_from(2 * ROOM).expect("small") {
        h.from(pbx(), up.caller.request("INFO", &format!("f{at}"), 10 + at));
    }
    assert!(h.core.occupancy().transactions > other + ROOM / 2);
    assert!(h.lines(pbx()).contains(&"503 INFO".to_owned()), "no more of a peer fits");
    h.control(Control::TerminateAll);
    h.confirm(carrier(), "BYE");
    h.confirm(pbx(), "BYE");
}
