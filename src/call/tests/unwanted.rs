//! A subscriber who wants no more calls of a kind is not called again, from the key on, whatever
//! the store says meanwhile.

#[cfg(test)]
use super::harness::*;
use super::whisper::{by_purpose, listening, press};
use crate::call::io::Control;
use crate::domain::cause::Cause;
use crate::domain::cdr::Direction;
use crate::domain::id::{AgentId, CallId};
use crate::domain::purpose::Purpose;
use crate::domain::whisper::{Dislike, Unwanted};
use crate::rtp::plane::Side;

/// A colleague of the agent dials the same number.
fn colleague(h: &mut Harness, name: &'static str) -> Caller {
    let caller = Caller::at(pbx(), name, &format!("{name}@pbx"));
    h.from(pbx(), caller.invite().replace("branch=z9hG4bKa1", &format!("branch=z9hG4bK{name}")));
    caller
}

/// Of somebody else's brain.
fn said_elsewhere(purpose: Purpose) -> Unwanted {
    let (call, subscriber) = (CallId::from_u128(9), route().subscriber);
    let at = epoch().wall;
    let what = Dislike::Kind;
    Unwanted { what, call, tenant: TENANT, binding: BINDING, subscriber, agent: None, purpose, at }
}

#[test]
fn a_no_is_in_force_from_the_key_on_and_given_out_at_once() {
    let mut h = Harness::with(by_purpose);
    listening(&mut h);
    assert!(h.unwanted.is_empty());
    press(&mut h, Side::B, '3');
    let said = Unwanted {
        call: h.statuses[0].call,
        agent: Some(AgentId::from_u128(0xa9)),
        at: h.now.wall,
        ..said_elsewhere(Purpose::Unspecified)
    };
    assert_eq!((h.unwanted.as_slice(), h.cdrs.len()), (&[said][..], 0), "no record is needed");
    h.take(carrier());
    colleague(&mut h, "8002");
    assert_eq!(h.lines(pbx()), ["403 INVITE"], "although the route knows nothing of it");
    assert!(h.take(carrier()).is_empty(), "the phone does not ring");
    assert_eq!((h.cdr().cause, &*h.cdr().reasons), (Cause::DoNotCall, &[Cause::DoNotCall][..]));
    press(&mut h, Side::B, '3');
    assert_eq!(h.unwanted.len(), 1, "once");
}

#[test]
fn a_report_is_given_out_from_the_key_on_and_forbids_nothing() {
    let mut h = Harness::with(by_purpose);
    listening(&mut h);
    press(&mut h, Side::B, '9');
    let said = Unwanted {
        what: Dislike::Call,
        call: h.statuses[0].call,
        agent: Some(AgentId::from_u128(0xa9)),
        at: h.now.wall,
        ..said_elsewhere(Purpose::Unspecified)
    };
    assert_eq!((h.unwanted.as_slice(), h.cdrs.len()), (&[said][..], 0), "no record is needed");
    press(&mut h, Side::B, '9');
    assert_eq!(h.unwanted.len(), 1, "once");
    h.take(carrier());
    h.take(pbx());
    // What another brain has heard ends no call here that rings.
    let invite = {
        colleague(&mut h, "8002");
        h.take_one(carrier())
    };
    h.from(carrier(), reply(&invite, "180 Ringing", "bob2", ""));
    h.take(pbx());
    h.control(Control::Unwanted(said));
    h.control(Control::UnwantedStored(said));
    assert!(h.take(pbx()).is_empty() && h.take(carrier()).is_empty());
}

#[test]
fn no_other_answer_denies_anything() {
    for sign in ['1', '2', '8', '9'] {
        let mut h = Harness::with(by_purpose);
        listening(&mut h);
        press(&mut h, Side::B, sign);
        assert_eq!(h.unwanted.len(), usize::from(sign == '9'), "{sign}");
        h.take(pbx());
        colleague(&mut h, "8002");
        assert!(h.take(pbx()).is_empty(), "{sign}: nothing to tell yet");
    }
}

#[test]
fn what_only_rings_ends_with_it_and_what_talks_goes_on() {
    let mut h = Harness::new();
    let talking = h.bridged();
    h.take(carrier());
    colleague(&mut h, "8002");
    let invite = h.take_one(carrier());
    h.from(carrier(), reply(&invite, "180 Ringing", "bob2", ""));
    h.take(pbx());
    h.control(Control::Unwanted(said_elsewhere(Purpose::Claim)));
    assert!(h.take(pbx()).is_empty(), "another kind");
    h.control(Control::Unwanted(said_elsewhere(Purpose::Unspecified)));
    assert_eq!(h.lines(pbx()), ["403 INVITE"]);
    assert_eq!(h.lines(carrier()), ["CANCEL"]);
    assert_eq!(h.cdr().cause, Cause::DoNotCall);
    h.from(pbx(), talking.caller.bye());
    assert_eq!(h.lines(pbx()), ["200 BYE"]);
}

#[test]
fn what_another_brain_has_heard_counts_here_until_the_store_says_it() {
    let mut h = Harness::new();
    let said = said_elsewhere(Purpose::Unspecified);
    h.control(Control::Unwanted(said));
    colleague(&mut h, "8002");
    assert_eq!(h.lines(pbx()), ["403 INVITE"]);
    let other = Unwanted { call: CallId::from_u128(10), ..said };
    h.control(Control::UnwantedStored(other));
    colleague(&mut h, "8003");
    assert_eq!(h.lines(pbx()), ["403 INVITE"], "that was another call");
    h.control(Control::UnwantedStored(said));
    colleague(&mut h, "8004");
    assert!(h.take(pbx()).is_empty(), "the route is believed again");
    assert_eq!(h.cdrs.len(), 2);
}

#[test]
fn who_wants_no_calls_may_still_call() {
    let mut h = Harness::new();
    h.control(Control::Unwanted(said_elsewhere(Purpose::Unspecified)));
    h.store = || Some(crate::domain::route::RouteAnswer::Found(Box::new(desk_route())));
    let caller = Caller::at(carrier(), "13800001234", "sub@carrier");
    h.from(carrier(), caller.invite());
    assert_eq!(h.take(pbx()).iter().map(|it| start(it)).collect::<Vec<_>>(), ["INVITE"]);
    let direction = h.statuses.first().map(|status| status.direction);
    assert_eq!(direction, Some(Direction::FromSubscriber));
}
