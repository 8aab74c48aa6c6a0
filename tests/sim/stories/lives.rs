//! Phones that confirm that it rings, and that say now and then that they are still there.

use maskline::domain::cause::Cause;
use maskline::phone::Step;

use crate::cast::{ALICE, BOB, X};
use crate::people::{answering_after, secs};
use crate::world::{World, seed};

pub(crate) const STORIES: &[fn()] = &[
    a_caller_that_demands_100rel_confirms_that_it_rings_and_talks,
    a_caller_without_an_offer_answers_ours_while_it_rings,
    a_caller_that_vanishes_while_the_callee_speaks_is_missed_by_its_session_timer,
    a_caller_that_refreshes_its_session_keeps_it,
];

#[test]
fn a_caller_that_demands_100rel_confirms_that_it_rings_and_talks() {
    let mut world = World::new(seed(110)).bind(ALICE, X, BOB);
    world.phone(BOB).when_called(answering_after(secs(6)));
    let call = world.phone(ALICE).dial(X).then(Step::DialReliably).talk_for(secs(5));
    world.run_until_idle();
    assert_eq!(call.cause(), Cause::CallerHangup);
    assert_eq!(call.record().rings, 1, "{:?}", call.record());
    assert!(call.record().packets_in > 40, "{:?}", call.record());
    world.check_invariants();
}

#[test]
fn a_caller_without_an_offer_answers_ours_while_it_rings() {
    for rings in [secs(0), secs(3)] {
        let mut world = World::new(seed(111)).bind(ALICE, X, BOB);
        world.phone(BOB).when_called(answering_after(rings));
        let dial = world.phone(ALICE).dial(X).then(Step::DialWithoutOffer);
        let call = dial.then(Step::DialReliably).talk_for(secs(5));
        world.run_until_idle();
        assert_eq!(call.cause(), Cause::CallerHangup);
        assert!(call.record().packets_in > 40, "{:?}", call.record());
        world.check_invariants();
    }
}

/// S27: somebody speaks all the time, so that silence says nothing.
#[test]
fn a_caller_that_vanishes_while_the_callee_speaks_is_missed_by_its_session_timer() {
    let mut world = World::new(seed(112)).bind(ALICE, X, BOB);
    let dial = world.phone(ALICE).dial(X).then(Step::DialWithTimer);
    let call = dial.talk().after(secs(5)).then(Step::Vanish);
    world.run_until_idle();
    assert_eq!((call.cause(), call.cdr().duration.as_secs()), (Cause::SessionExpired, 60));
    assert_eq!(world.phone(BOB).heard("BYE"), 1);
    world.check_invariants();
}

#[test]
fn a_caller_that_refreshes_its_session_keeps_it() {
    let mut world = World::new(seed(113)).bind(ALICE, X, BOB);
    let mut call = world.phone(ALICE).dial(X).then(Step::DialWithTimer).talk();
    for _ in 0..3 {
        call = call.after(secs(45)).then(Step::Refresh);
    }
    let call = call.after(secs(45)).then(Step::HangUp);
    world.run_until_idle();
    assert_eq!((call.cause(), call.cdr().duration.as_secs()), (Cause::CallerHangup, 180));
    world.check_invariants();
}
