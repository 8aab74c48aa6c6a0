//! Several phones behind one number: many early dialogs, more than one answer.

use maskline::domain::cause::Cause;
use maskline::phone::{CallState, Script, Step};

use crate::cast::{ALICE, BOB, X};
use crate::people::{SPEAK, ms, secs};
use crate::world::{World, seed};

pub(crate) const STORIES: &[fn()] = &[
    several_phones_ring_and_one_answers,
    a_second_answer_is_ended_by_bye,
    a_forked_call_is_cancelled,
];

fn three_ring() -> Script {
    Script::new()
        .ring()
        .after(ms(40))
        .then(Step::Ring { status: 183, fork: 1 })
        .after(ms(40))
        .then(Step::Ring { status: 180, fork: 2 })
        .after(secs(2))
}

#[test]
fn several_phones_ring_and_one_answers() {
    let mut world = World::new(seed(70)).bind(ALICE, X, BOB);
    let script = three_ring().then(Step::Answer { fork: 1 }).once_answered().then(SPEAK);
    world.phone(BOB).when_called(script);
    let call = world.phone(ALICE).dial(X).talk_for(secs(5));
    world.run_until_idle();
    assert_eq!(call.cause(), Cause::CallerHangup);
    assert!(call.record().packets_in > 40, "{:?}", call.record());
    world.check_invariants();
}

#[test]
fn a_second_answer_is_ended_by_bye() {
    let mut world = World::new(seed(71)).bind(ALICE, X, BOB);
    let script = three_ring()
        .then(Step::Answer { fork: 2 })
        .after(ms(3))
        .then(Step::Answer { fork: 0 })
        .once_answered()
        .then(SPEAK);
    world.phone(BOB).when_called(script);
    let call = world.phone(ALICE).dial(X).talk_for(secs(5));
    world.run_until_idle();
    assert_eq!(call.cause(), Cause::CallerHangup);
    assert_eq!(call.cdr().duration.as_secs(), 5);
    assert_eq!(world.phone(BOB).heard("BYE"), 2, "one for each phone that answered");
    world.check_invariants();
}

#[test]
fn a_forked_call_is_cancelled() {
    let mut world = World::new(seed(72)).bind(ALICE, X, BOB);
    world.phone(BOB).when_called(three_ring().after(secs(9)).answer());
    let call = world.phone(ALICE).dial(X).cancel_after(secs(3));
    world.run_until_idle();
    assert_eq!(call.cause(), Cause::CallerCancelled);
    let [bob] = &world.phone(BOB).calls()[..] else { panic!("one call for Bob") };
    assert!(matches!(bob.state, CallState::Over(_)));
    world.check_invariants();
}

/// The early dialogs of the phones that did not answer were once kept for ever.
#[test]
fn a_cancel_crosses_the_answer_of_one_of_several_phones() {
    let mut world = World::new(seed(73)).bind(ALICE, X, BOB).relay_holds_up("CANCEL", ms(600));
    world.phone(BOB).when_called(three_ring().then(Step::Answer { fork: 1 }));
    let call = world.phone(ALICE).dial(X).cancel_after(secs(2));
    world.run_until_idle();
    assert_eq!(call.cause(), Cause::CallerCancelled);
    assert_eq!((world.phone(BOB).heard("ACK"), world.phone(BOB).heard("BYE")), (1, 1));
    world.check_invariants();
}
