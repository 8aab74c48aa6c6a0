//! Somebody who may send sends far too much: others are served nevertheless.

use super::harness::*;
use crate::call::io::Control;
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
