//! Who offers and who answers: callers without an offer, and offers within a call.

use maskline::domain::cause::Cause;
use maskline::phone::Step;

use crate::cast::{ALICE, BOB, DESK, X};
use crate::people::{answering, secs};
use crate::world::{World, seed};

pub(crate) const STORIES: &[fn()] = &[
    a_caller_without_an_offer_hears_and_is_heard,
    a_subscriber_without_an_offer_reaches_the_desk,
    both_sides_ask_for_an_offer_within_the_call,
    an_offer_of_ours_that_is_never_answered_ends_the_call,
];

#[test]
fn a_caller_without_an_offer_hears_and_is_heard() {
    let mut world = World::new(seed(100)).bind(ALICE, X, BOB);
    let call = world.phone(ALICE).dial(X).then(Step::DialWithoutOffer).talk_for(secs(5));
    world.run_until_idle();
    assert_eq!(call.cause(), Cause::CallerHangup);
    assert!(call.record().packets_in > 40, "{:?}", call.record());
    assert!(world.phone(BOB).calls()[0].packets_in > 40);
    world.check_invariants();
}

#[test]
fn a_subscriber_without_an_offer_reaches_the_desk() {
    let mut world = World::new(seed(101)).bind(ALICE, X, BOB).desk(DESK);
    let call = world.phone(BOB).dial(X).then(Step::DialWithoutOffer).talk_for(secs(5));
    world.run_until_idle();
    assert_eq!(call.cause(), Cause::CallerHangup);
    assert!(call.record().packets_in > 40, "{:?}", call.record());
    world.check_invariants();
}

#[test]
fn both_sides_ask_for_an_offer_within_the_call() {
    let mut world = World::new(seed(102)).bind(ALICE, X, BOB);
    world.phone(BOB).when_called(answering().after(secs(3)).then(Step::AskForOffer));
    let call = world
        .phone(ALICE)
        .dial(X)
        .talk()
        .after(secs(1))
        .then(Step::AskForOffer)
        .after(secs(39))
        .then(Step::HangUp);
    world.run_until_idle();
    assert_eq!((call.cause(), call.cdr().duration.as_secs()), (Cause::CallerHangup, 40));
    assert!(call.record().packets_in > 380, "{:?}", call.record());
    world.check_invariants();
}

#[test]
fn an_offer_of_ours_that_is_never_answered_ends_the_call() {
    let mut world = World::new(seed(103)).bind(ALICE, X, BOB);
    let dial = world.phone(ALICE).dial(X).then(Step::DialWithoutOffer);
    let call = dial.then(Step::LoseAcks { times: 255 }).talk();
    world.run_until_idle();
    assert!((29..=33).contains(&call.cdr().duration.as_secs()), "{:?}", call.cdr());
    world.check_invariants();
}
