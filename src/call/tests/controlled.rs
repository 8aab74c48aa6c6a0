//! Overload control by Via (RFC 7339): what trunks hear from us of our load, and what we do about
//! theirs.

#[cfg(test)]
use super::harness::*;
use crate::call::io::{Input, Peer, PeerRole};
use crate::call::trunks::{TrunkBook, TrunkTerms};
use crate::domain::cause::Cause;
use crate::domain::trust::TrunkIdentity;
use std::collections::BTreeMap;
use std::sync::Arc;

const ASKS: &str = ";oc;oc-algo=\"loss\"";

/// One more attempt of the PBX, with these parameters in its Via.
fn attempt(h: &mut Harness, name: &str, via: &str, extra: &str) {
    let caller = Caller { call_id: name.into(), ..Caller::agent() };
    let invite = caller.with("INVITE", name, caller.cseq, extra, &caller.body);
    h.from(pbx(), invite.replace(";rport", &format!("{via};rport")));
}

/// The queue of the socket is too long for a while, and attempts go on coming.
fn overload(h: &mut Harness) {
    for at in 0..300 {
        h.now = h.now + ms(1);
        attempt(h, &format!("late{at}"), "", "");
        h.core.note_queue_delay(h.now, ms(30));
    }
    h.take(pbx());
}

fn via_of(text: &str) -> String {
    header(text, "Via")
}

/// The value of a parameter; nothing where it is not there.
fn param(via: &str, name: &str) -> Option<String> {
    let found = via.split(';').find_map(|param| param.strip_prefix(&format!("{name}=")));
    found.map(|value| value.trim_matches('"').to_owned())
}

/// What the one answer that the PBX got says of our load: loss and validity.
fn told(h: &mut Harness) -> (Option<String>, Option<String>) {
    let via = via_of(&h.take_one(pbx()));
    assert_eq!(via.matches(";oc-seq=").count(), via.matches(";oc=").count(), "{via}");
    assert!(param(&via, "received").is_some() && param(&via, "rport").is_some(), "{via}");
    (param(&via, "oc"), param(&via, "oc-validity"))
}

#[test]
fn a_trunk_that_asks_hears_that_nothing_is_wanted_of_it_and_in_an_overload_how_much_is() {
    let mut h = Harness::new();
    h.store = || None;
    h.hears_trying = true;
    attempt(&mut h, "quiet", ASKS, "");
    h.advance(ms(300));
    assert_eq!(told(&mut h), (Some("0".into()), Some("0".into())), "we take part");
    overload(&mut h);
    attempt(&mut h, "asks", ASKS, "");
    let (loss, validity) = told(&mut h);
    let loss: u32 = loss.expect("a share").parse().expect("a number");
    assert!((10..100).contains(&loss), "{loss} of 100");
    assert_eq!(validity.as_deref(), Some("500"));
    attempt(&mut h, "other", ";oc;oc-algo=\"rate\"", "");
    let via = via_of(&h.take_one(pbx()));
    assert!(via.contains(";oc;oc-algo=\"rate\"") && !via.contains("oc-seq"), "as it came: {via}");
    attempt(&mut h, "mute", "", "");
    assert_eq!(told(&mut h), (None, None), "who does not ask hears nothing");
    h.core.note_queue_delay(h.now, ms(0));
    h.advance(ms(30_000));
    h.take(pbx());
    attempt(&mut h, "after", ASKS, "");
    h.advance(ms(300));
    assert_eq!(told(&mut h), (Some("0".into()), Some("0".into())), "it is over");
}

/// The answer to a call that has rung for long says what is wanted now, not what was then.
#[test]
fn a_late_answer_says_what_is_wanted_by_then() {
    let mut h = Harness::new();
    attempt(&mut h, "early", ASKS, "");
    let invite = h.take_one(carrier());
    h.from(carrier(), reply(&invite, "180 Ringing", "bob", ""));
    let ringing = via_of(&h.take_one(pbx()));
    assert_eq!(param(&ringing, "oc").as_deref(), Some("0"));
    h.store = || None;
    overload(&mut h);
    h.from(carrier(), reply(&invite, "486 Busy Here", "bob", ""));
    let busy = via_of(&h.take(pbx()).pop().expect("a refusal"));
    assert_ne!(param(&busy, "oc").expect("a share"), "0");
    assert!(param(&busy, "oc-seq") > param(&ringing, "oc-seq"), "newer than {ringing}");
}

#[test]
fn who_is_no_trunk_hears_nothing_of_our_load() {
    let mut h = Harness::new();
    let softphone = Peer { role: PeerRole::Softphone, trunk: crate::call::io::NO_TRUNK, ..pbx() };
    let invite = Caller::agent().invite().replace(";rport", &format!("{ASKS};rport"));
    h.from(softphone, invite);
    let via = via_of(&h.take_one(softphone));
    assert!(!via.contains("oc=") && via.contains(ASKS), "as it came: {via}");
}

/// The first carrier answers a call with this control, and the call is over.
fn ask(h: &mut Harness, name: &str, control: &str) {
    attempt(h, name, "", "");
    let invite = h.take_one(carrier());
    assert!(via_of(&invite).contains(ASKS), "{invite}");
    let control = format!(";oc={control};oc-algo=\"loss\"");
    let busy = reply(&invite, "486 Busy Here", "bob", "").replacen(ASKS, &control, 1);
    h.from(carrier(), busy);
    h.take(carrier());
    h.take(pbx());
}

/// How many of so many new calls each carrier is asked for.
fn spread(h: &mut Harness, name: &str, count: usize) -> [usize; 2] {
    for at in 0..count {
        attempt(h, &format!("{name}{at}"), "", "");
    }
    [carrier(), second_carrier()].map(|peer| {
        let invites = h.take(peer).into_iter().filter(|text| start(text) == "INVITE");
        invites.count()
    })
}

#[test]
fn the_share_of_new_calls_that_a_trunk_asks_for_goes_to_the_next_one_while_it_holds() {
    let mut h = Harness::new();
    attempt(&mut h, "older", "", "");
    let older = h.take_one(carrier());
    ask(&mut h, "first", "30;oc-validity=2000;oc-seq=5.1");
    let overtaken = ";oc=100;oc-algo=\"loss\";oc-validity=60000;oc-seq=5.09";
    h.from(carrier(), reply(&older, "180 Ringing", "bob", "").replacen(ASKS, overtaken, 1));
    let [first, second] = spread(&mut h, "a", 1_000);
    assert_eq!(first + second, 1_000);
    assert!((260..340).contains(&second), "{second} of 1,000");
    assert_eq!(h.core.counters().hops_spared, second as u64);
    h.now = h.now + ms(2_000);
    assert_eq!(spread(&mut h, "b", 100), [100, 0], "its time is over");
}

#[test]
fn where_all_trunks_ask_for_nothing_more_the_caller_is_told_to_come_back() {
    let mut h = Harness::new();
    ask(&mut h, "first", "100;oc-validity=5000;oc-seq=1.0");
    attempt(&mut h, "second", "", "");
    let invite = h.take_one(second_carrier());
    let control = ";oc=100;oc-algo=\"loss\";oc-validity=5000;oc-seq=1.0";
    h.from(second_carrier(), reply(&invite, "486 Busy", "bob", "").replacen(ASKS, control, 1));
    h.take(second_carrier());
    h.take(pbx());
    attempt(&mut h, "third", "", "");
    let refusal = h.take_one(pbx());
    assert_eq!(start(&refusal), "503 INVITE");
    assert_eq!(header(&refusal, "Retry-After"), "5");
    assert_eq!(h.cdrs.last().expect("a record").cause, Cause::TrunkFailed);
    assert_eq!(spread(&mut h, "none", 5), [0, 0]);
}

#[test]
fn what_is_in_a_dialog_and_calls_about_accidents_are_sent_all_the_same() {
    let mut h = Harness::new();
    let identity = TrunkIdentity { trusted: true, ..TrunkIdentity::default() };
    let terms = TrunkTerms { identity, ..TrunkTerms::default() };
    let book = TrunkBook::new(BTreeMap::from([(pbx().trunk, terms)]), &TrunkBook::default());
    h.input(Input::Trunks(Arc::new(book)));
    let up = h.bridged();
    ask(&mut h, "first", "100;oc-validity=5000;oc-seq=1.0");
    attempt(&mut h, "claim", "", "X-Maskline-Purpose: claim\r\n");
    assert_eq!(h.lines(second_carrier()), ["INVITE"]);
    attempt(&mut h, "accident", "", "X-Maskline-Purpose: accident_emergency\r\n");
    assert_eq!(h.lines(carrier()), ["INVITE"]);
    h.from(pbx(), up.caller.bye());
    let bye = h.take_one(carrier());
    assert!(start(&bye) == "BYE" && via_of(&bye).contains(ASKS), "{bye}");
}

/// Who answers in the name of another trunk is not heard, and nobody but a trunk is asked.
#[test]
fn nobody_but_the_trunk_itself_can_have_it_spared() {
    let mut h = Harness::new();
    attempt(&mut h, "first", "", "");
    let invite = h.take_one(carrier());
    let control = ";oc=100;oc-algo=\"loss\";oc-validity=60000;oc-seq=9.0";
    let ringing = reply(&invite, "180 Ringing", "bob", "").replacen(ASKS, control, 1);
    let softphone =
        Peer { role: PeerRole::Softphone, trunk: crate::call::io::NO_TRUNK, ..carrier() };
    for liar in [second_carrier(), softphone, pbx()] {
        h.from(liar, &ringing);
        h.take(liar);
    }
    let guessed = ringing.replace("z9hG4bK", "z9hG4bKx");
    h.from(carrier(), guessed);
    h.take(pbx());
    assert_eq!(spread(&mut h, "next", 50), [50, 0]);
}
