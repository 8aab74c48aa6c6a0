//! Messages that cross: RFC 5407, and the lines of the checklist about races.

use maskline::domain::cause::Cause;
use maskline::phone::{CallState, Ending, Script, Step};

use crate::cast::{ALICE, BOB, X};
use crate::people::{SPEAK, answering, answering_after, ms, secs};
use crate::world::{World, seed};

pub(crate) const STORIES: &[fn()] = &[
    caller_cancels_while_the_route_is_late,
    a_cancel_crosses_the_answer,
    a_cancel_crosses_the_answer_at_every_millisecond,
    an_answer_after_the_cancel_is_ended_by_bye,
    two_byes_cross,
    a_callee_that_hangs_up_before_the_ack,
    a_bye_that_overtakes_its_200,
    a_lost_ack_is_sent_again,
    an_ack_that_never_comes_ends_the_call,
    a_late_ringing_after_the_answer_changes_nothing,
    a_caller_that_vanishes_while_it_rings,
    a_callee_that_vanishes_in_mid_call,
    a_cancel_before_the_trunk_has_said_anything,
    a_reinvite_does_not_harm_the_call,
    a_lost_bye_is_sent_again,
    the_wall_clock_is_set_in_mid_call,
    the_wall_clock_is_set_back_in_mid_call,
];

#[test]
fn caller_cancels_while_the_route_is_late() {
    let mut world = World::new(seed(50)).bind(ALICE, X, BOB).store_delay(ms(900));
    let call = world.phone(ALICE).dial(X).cancel_after(ms(300));
    world.run_until_idle();
    assert_eq!(call.cause(), Cause::CallerCancelled);
    assert_eq!(world.phone(BOB).heard("INVITE"), 0);
    world.check_invariants();
}

#[test]
fn a_cancel_crosses_the_answer() {
    // The 200 of Bob reaches the relay before the CANCEL of Alice, that of the relay after it.
    let mut world = World::new(seed(51)).bind(ALICE, X, BOB);
    world.phone(BOB).when_called(Script::new().ring().after(ms(990)).answer());
    let call = world.phone(ALICE).dial(X).then(Step::Wait(ms(1_010))).then(Step::HangUp);
    world.run_until_idle();
    assert!(matches!(call.cause(), Cause::CallerHangup | Cause::CallerCancelled));
    assert!(matches!(call.record().state, CallState::Over(_)));
    world.check_invariants();
}

#[test]
fn a_cancel_crosses_the_answer_at_every_millisecond() {
    let mut causes = std::collections::BTreeSet::new();
    for shift in 0..60 {
        let mut world = World::new(seed(5_200 + shift)).bind(ALICE, X, BOB);
        world.phone(BOB).when_called(Script::new().ring().after(ms(1_000)).answer());
        let call = world.phone(ALICE).dial(X).cancel_after(ms(980 + shift));
        world.run_until_idle();
        causes.insert(call.cause());
        world.check_invariants();
    }
    assert_eq!(causes, [Cause::CallerHangup, Cause::CallerCancelled].into());
}

#[test]
fn an_answer_after_the_cancel_is_ended_by_bye() {
    let mut world = World::new(seed(53)).bind(ALICE, X, BOB).relay_holds_up("CANCEL", ms(600));
    world.phone(BOB).when_called(answering_after(ms(2_000)));
    let call = world.phone(ALICE).dial(X).cancel_after(ms(1_700));
    world.run_until_idle();
    assert_eq!(call.cause(), Cause::CallerCancelled);
    let [bob] = &world.phone(BOB).calls()[..] else { panic!("one call for Bob") };
    assert_eq!(bob.state, CallState::Over(Ending::FarHungUp));
    world.check_invariants();
}

#[test]
fn two_byes_cross() {
    let mut world = World::new(seed(54)).bind(ALICE, X, BOB);
    world.phone(BOB).when_called(answering_after(secs(1)).after(secs(5)).hang_up());
    // Alice hears of the answer 10 ms after Bob gave it, Bob of her ACK another 10 ms later.
    let call = world.phone(ALICE).dial(X).talk_for(ms(5_003));
    world.run_until_idle();
    assert!(matches!(call.cause(), Cause::CallerHangup | Cause::CalleeHangup));
    world.check_invariants();
}

#[test]
fn a_callee_that_hangs_up_before_the_ack() {
    let mut world = World::new(seed(55)).bind(ALICE, X, BOB);
    world.phone(BOB).when_called(Script::new().ring().after(secs(1)).answer().hang_up());
    let call = world.phone(ALICE).dial(X).talk();
    world.run_until_idle();
    assert_eq!(call.cause(), Cause::CalleeHangup);
    world.check_invariants();
}

/// The call was once kept for ever, and the 200 never confirmed.
#[test]
fn a_bye_that_overtakes_its_200() {
    let mut world = World::new(seed(65)).bind(ALICE, X, BOB).hold_up(BOB, "SIP/2.0 200", ms(250));
    world.phone(BOB).when_called(Script::new().ring().after(secs(1)).answer().hang_up());
    let call = world.phone(ALICE).dial(X).talk();
    world.run_until_idle();
    assert_eq!((call.cause(), call.status_sent()), (Cause::CalleeHangup, Some(480)));
    assert_eq!(world.phone(BOB).heard("ACK"), 1);
    world.check_invariants();
}

#[test]
fn a_lost_ack_is_sent_again() {
    let mut world = World::new(seed(56)).bind(ALICE, X, BOB);
    let call = world.phone(ALICE).dial(X).then(Step::LoseAcks { times: 3 }).talk_for(secs(20));
    world.run_until_idle();
    assert_eq!(call.cause(), Cause::CallerHangup);
    assert_eq!(world.phone(ALICE).heard("SIP/2.0 200"), 4 + 1, "the 200, 3 repeats, one for BYE");
    world.check_invariants();
}

#[test]
fn an_ack_that_never_comes_ends_the_call() {
    let mut world = World::new(seed(57)).bind(ALICE, X, BOB);
    let call = world.phone(ALICE).dial(X).then(Step::LoseAcks { times: 255 }).talk();
    world.run_until_idle();
    let cdr = call.cdr();
    assert!((31..=33).contains(&cdr.duration.as_secs()), "{cdr:?}");
    assert_eq!(world.phone(BOB).heard("BYE"), 1);
    world.check_invariants();
}

#[test]
fn a_late_ringing_after_the_answer_changes_nothing() {
    let mut world = World::new(seed(58)).bind(ALICE, X, BOB).hold_up(BOB, "SIP/2.0 180", secs(3));
    let call = world.phone(ALICE).dial(X).talk_for(secs(10));
    world.run_until_idle();
    assert_eq!(call.cause(), Cause::CallerHangup);
    assert_eq!(call.record().rings, 0);
    world.check_invariants();
}

#[test]
fn a_caller_that_vanishes_while_it_rings() {
    let mut world = World::new(seed(59)).bind(ALICE, X, BOB);
    let call = world.phone(ALICE).dial(X).after(ms(500)).then(Step::Vanish);
    world.run_until_idle();
    assert_eq!(call.record().state, CallState::Over(Ending::Vanished));
    let [bob] = &world.phone(BOB).calls()[..] else { panic!("one call for Bob") };
    assert_eq!(bob.state, CallState::Over(Ending::FarHungUp));
    world.check_invariants();
}

#[test]
fn a_callee_that_vanishes_in_mid_call() {
    let mut world = World::new(seed(60)).bind(ALICE, X, BOB);
    world.phone(BOB).when_called(answering().after(secs(5)).vanish());
    let call = world.phone(ALICE).dial(X).talk_for(secs(12));
    world.run_until_idle();
    assert_eq!(call.cause(), Cause::CallerHangup);
    world.check_invariants();
}

#[test]
fn a_cancel_before_the_trunk_has_said_anything() {
    let mut world = World::new(seed(61)).bind(ALICE, X, BOB).hold_up(BOB, "SIP/2.0 100", ms(1_500));
    world.phone(BOB).when_called(Script::new().after(ms(1_700)).ring().after(secs(9)).answer());
    let call = world.phone(ALICE).dial(X).cancel_after(ms(700));
    world.run_until_idle();
    assert_eq!(call.cause(), Cause::CallerCancelled);
    let [bob] = &world.phone(BOB).calls()[..] else { panic!("one call for Bob") };
    assert_eq!(bob.state, CallState::Over(Ending::Cancelled));
    world.check_invariants();
}

#[test]
fn a_reinvite_does_not_harm_the_call() {
    let mut world = World::new(seed(62)).bind(ALICE, X, BOB);
    world.phone(BOB).when_called(answering().after(secs(3)).then(Step::Reinvite));
    let call = world
        .phone(ALICE)
        .dial(X)
        .talk()
        .after(secs(3))
        .then(Step::Reinvite)
        .after(secs(4))
        .then(Step::HangUp);
    world.run_until_idle();
    assert_eq!(call.cause(), Cause::CallerHangup);
    assert_eq!(call.cdr().duration.as_secs(), 7);
    world.check_invariants();
}

#[test]
fn a_lost_bye_is_sent_again() {
    let mut world =
        World::new(seed(63)).bind(ALICE, X, BOB).lose(ALICE, "BYE", 4).relay_loses("BYE", 3);
    let call = world.phone(ALICE).dial(X).talk_for(secs(3));
    world.run_until_idle();
    assert_eq!(call.cause(), Cause::CallerHangup);
    assert_eq!(world.phone(BOB).heard("BYE"), 1);
    world.check_invariants();
}

#[test]
fn the_wall_clock_is_set_in_mid_call() {
    let mut world = World::new(seed(64))
        .bind(ALICE, X, BOB)
        .when(secs(5), crate::actions::Action::SetWallForward(secs(3_600)));
    let call = world.phone(ALICE).dial(X).then(Step::AwaitAnswer).then(SPEAK).cancel_after(secs(9));
    world.run_until_idle();
    assert_eq!(call.cdr().duration.as_secs(), 9);
    world.check_invariants();
}

#[test]
fn the_wall_clock_is_set_back_in_mid_call() {
    let mut world = World::new(seed(66))
        .bind(ALICE, X, BOB)
        .when(ms(1_040), crate::actions::Action::SetWallForward(secs(60)))
        .when(secs(5), crate::actions::Action::SetWallBack(secs(61)));
    let call = world.phone(ALICE).dial(X).then(Step::AwaitAnswer).then(SPEAK).cancel_after(secs(9));
    world.run_until_idle();
    assert_eq!(call.cdr().duration.as_secs(), 9);
    world.check_invariants();
}
