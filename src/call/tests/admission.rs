//! Overload and abuse: what is shed, how, and that calls in progress never notice it.

#[cfg(test)]
use super::harness::*;
use super::softphone::{Phone, registered};
use crate::call::io::{Input, Peer};
use std::time::Duration;

fn attempt(h: &mut Harness, name: &str) {
    let caller = Caller { call_id: name.into(), ..Caller::agent() };
    h.from(pbx(), caller.with("INVITE", name, caller.cseq, "", &caller.body));
}

/// The queue of the socket stays longer than wished for some time.
fn overload(h: &mut Harness) {
    for _ in 0..200 {
        h.now = h.now + ms(1);
        h.core.note_queue_delay(h.now, ms(30));
    }
}

#[test]
fn a_long_queue_refuses_new_calls_without_state_and_serves_those_that_are_up() {
    let mut h = Harness::new();
    let up = h.bridged();
    overload(&mut h);
    let before = h.core.occupancy();
    for at in 0..100 {
        attempt(&mut h, &format!("late{at}"));
        let refusal = h.take_one(pbx());
        assert_eq!(start(&refusal), "503 INVITE");
        assert_eq!(header(&refusal, "Retry-After"), "5");
    }
    assert_eq!(h.core.occupancy(), before, "nothing is kept of what was refused");
    assert_eq!(h.core.counters().refused_overload, 100);
    h.from(pbx(), up.caller.bye());
    assert_eq!(h.lines(pbx()), ["200 BYE"]);
    h.confirm(carrier(), "BYE");
    h.core.note_queue_delay(h.now, Duration::ZERO);
    attempt(&mut h, "again");
    assert_eq!(h.lines(carrier()), ["INVITE"], "an empty queue ends it at once");
}

#[test]
fn after_an_overload_attempts_are_let_in_one_by_one_until_there_is_room_for_all() {
    let mut h = Harness::new();
    h.store = || None;
    h.hears_trying = true;
    overload(&mut h);
    h.core.note_queue_delay(h.now, Duration::ZERO);
    let let_in = |h: &mut Harness, from: usize| {
        for at in from..from + 10 {
            attempt(h, &format!("next{at}"));
        }
        h.advance(ms(300));
        h.lines(pbx()).iter().filter(|line| *line == "100 INVITE").count()
    };
    assert_eq!(let_in(&mut h, 0), 1, "a burst would make all others wait");
    attempt(&mut h, "next0");
    assert_eq!(h.lines(pbx()), ["100 INVITE"], "one that was let in stays so");
    h.advance(ms(2_000));
    assert_eq!(let_in(&mut h, 10), 10, "nobody was refused for a while");
    assert_eq!(h.core.counters().refused_overload, 9);
}

/// Its attempt is weighed when its login was looked up, and what nobody proves weighs nothing.
#[test]
fn after_an_overload_softphones_are_let_in_one_by_one_like_all_others() {
    let mut h = Harness::new();
    let mut phone = registered(&mut h);
    overload(&mut h);
    let refused = phone.invite(&mut h, "during");
    assert_eq!(refused.iter().map(|it| start(it)).collect::<Vec<_>>(), ["503 INVITE"]);
    h.core.note_queue_delay(h.now, Duration::ZERO);
    let mut unknown = Phone { password: "guessed", ..Phone::at(40_001) };
    for at in ["u1", "u2"] {
        let asked = unknown.invite(&mut h, at);
        assert_eq!(asked.iter().map(|it| start(it)).collect::<Vec<_>>(), ["401 INVITE"]);
    }
    assert!(phone.invite(&mut h, "first").is_empty());
    assert_eq!(h.lines(carrier()), ["INVITE"]);
    let refused = phone.invite(&mut h, "second");
    assert_eq!(refused.iter().map(|it| start(it)).collect::<Vec<_>>(), ["503 INVITE"]);
    assert_eq!(header(&refused[0], "Retry-After"), "5");
    attempt(&mut h, "trunk");
    assert_eq!(h.lines(pbx()), ["503 INVITE"], "there is one limit for all");
    assert_eq!(h.core.counters().refused_overload, 3);
    h.advance(ms(1_100));
    assert!(phone.invite(&mut h, "later").is_empty(), "nobody was refused for a while");
}

#[test]
fn a_repeat_of_an_attempt_that_was_taken_is_not_refused_by_overload() {
    let mut h = Harness::new();
    h.store = || None;
    h.hears_trying = true;
    attempt(&mut h, "taken");
    h.advance(ms(300));
    assert_eq!(h.lines(pbx()), ["100 INVITE"]);
    overload(&mut h);
    attempt(&mut h, "taken");
    assert_eq!(h.lines(pbx()), ["100 INVITE"]);
}

#[test]
fn a_source_gets_no_more_calls_in_a_second_than_it_may() {
    let mut h = Harness::with(|config| config.source_cps_max = Some(3));
    for at in 0..5 {
        attempt(&mut h, &format!("c{at}"));
    }
    assert_eq!(h.lines(pbx()), ["503 INVITE", "503 INVITE"]);
    assert_eq!(h.core.counters().refused_source, 2);
    let other = Peer { address: "192.0.2.11:5060".parse().expect("an address"), ..pbx() };
    h.from(other, Caller { call_id: "other".into(), ..Caller::agent() }.invite());
    assert!(h.take(other).is_empty(), "another source has its own share");
    h.advance(ms(1_000));
    h.take(pbx());
    attempt(&mut h, "later");
    assert!(h.lines(pbx()).is_empty());
}

#[test]
fn a_flood_of_broken_messages_gets_few_answers() {
    let mut h = Harness::new();
    let broken = Caller::agent().invite().replace("CSeq: 1 INVITE", "CSeq: 1 BYE");
    for _ in 0..1_000 {
        h.from(pbx(), &broken);
    }
    assert_eq!(h.take(pbx()).len(), 200);
    assert_eq!(h.core.counters().silenced, 800);
    h.advance(ms(1_000));
    h.from(pbx(), &broken);
    assert_eq!(h.take(pbx()).len(), 1);
}

/// S15: whoever forges the address of a trunk makes us send no more than he has sent.
#[test]
fn answers_without_state_are_hardly_longer_than_what_they_answer() {
    let mut h = Harness::new();
    overload(&mut h);
    let invite = Caller::agent().invite();
    h.from(pbx(), &invite);
    let mut foreign = Caller::agent();
    foreign.to_tag = "invented".into();
    let malformed = invite.replace("CSeq: 1 INVITE", "CSeq: 1 BYE");
    h.input(Input::Timeout);
    let answers: usize = h.take(pbx()).iter().map(String::len).sum();
    assert!(answers * 2 <= invite.len() * 3, "{answers} for {}", invite.len());
    h.from(pbx(), &malformed);
    let answers: usize = h.take(pbx()).iter().map(String::len).sum();
    assert!(answers * 2 <= malformed.len() * 3, "{answers} for {}", malformed.len());
}
