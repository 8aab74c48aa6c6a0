//! A trunk fails and the next one is tried; never do two ring.

use maskline::domain::cause::Cause;
use maskline::phone::Script;

use crate::actions::Action;
use crate::cast::{ALICE, BOB, BOB_BY_SECOND_TRUNK, X};
use crate::people::{answering_after, ms, secs};
use crate::world::{World, seed};

pub(crate) const STORIES: &[fn()] = &[
    a_trunk_that_says_503_is_passed_over_at_once,
    a_trunk_that_says_nothing_is_passed_over_in_two_seconds,
    a_host_without_a_relay_is_passed_over_at_once,
    a_slow_trunk_that_rings_after_all_is_silenced,
    both_trunks_fail,
    both_trunks_are_silent,
    a_busy_callee_is_not_tried_again_elsewhere,
    a_caller_may_cancel_between_two_trunks,
];

fn two_trunks(number: u64) -> World {
    World::new(seed(number)).reached_by(BOB, &[BOB, BOB_BY_SECOND_TRUNK]).bind(ALICE, X, BOB)
}

#[test]
fn a_trunk_that_says_503_is_passed_over_at_once() {
    let mut world = two_trunks(80);
    world.phone(BOB).when_called(Script::new().reject(503));
    let call = world.phone(ALICE).dial(X).talk_for(secs(2));
    world.run_until_idle();
    let cdr = call.cdr();
    assert_eq!((cdr.cause, cdr.trunk_b), (Cause::CallerHangup, Some(BOB_BY_SECOND_TRUNK.trunk())));
    assert!(cdr.ringing_at.expect("it rang") < cdr.started_at + ms(300));
    world.check_invariants();
}

#[test]
fn a_trunk_that_says_nothing_is_passed_over_in_two_seconds() {
    let mut world = two_trunks(81).when(ms(0), Action::PullCable(BOB));
    let call = world.phone(ALICE).dial(X).talk_for(secs(2));
    world.run_until_idle();
    let cdr = call.cdr();
    assert_eq!((cdr.cause, cdr.trunk_b), (Cause::CallerHangup, Some(BOB_BY_SECOND_TRUNK.trunk())));
    assert!(cdr.ringing_at.expect("it rang") < cdr.started_at + ms(2_300));
    world.check_invariants();
}

#[test]
fn a_host_without_a_relay_is_passed_over_at_once() {
    let mut world = two_trunks(82).when(ms(0), Action::Unplug(BOB));
    let call = world.phone(ALICE).dial(X).talk_for(secs(2));
    world.run_until_idle();
    let cdr = call.cdr();
    assert_eq!(cdr.trunk_b, Some(BOB_BY_SECOND_TRUNK.trunk()));
    assert!(cdr.ringing_at.expect("it rang") < cdr.started_at + ms(300));
    world.check_invariants();
}

#[test]
fn a_slow_trunk_that_rings_after_all_is_silenced() {
    let mut world = two_trunks(83).hold_up(BOB, "SIP/2.0 100", ms(2_500)).hold_up(
        BOB,
        "SIP/2.0 180",
        ms(2_500),
    );
    world.phone(BOB).when_called(answering_after(secs(20)));
    world.phone(BOB_BY_SECOND_TRUNK).when_called(answering_after(secs(4)));
    let call = world.phone(ALICE).dial(X).talk_for(secs(2));
    world.run_until_idle();
    assert_eq!(call.cdr().trunk_b, Some(BOB_BY_SECOND_TRUNK.trunk()));
    assert_eq!(world.phone(BOB).heard("CANCEL"), 1);
    world.check_invariants();
}

#[test]
fn both_trunks_fail() {
    let mut world = two_trunks(84);
    world.phone(BOB).when_called(Script::new().reject(503));
    world.phone(BOB_BY_SECOND_TRUNK).when_called(Script::new().reject(500));
    let call = world.phone(ALICE).dial(X);
    world.run_until_idle();
    assert_eq!((call.cause(), call.status_sent()), (Cause::TrunkFailed, Some(503)));
    world.check_invariants();
}

#[test]
fn both_trunks_are_silent() {
    let mut world = two_trunks(85)
        .when(ms(0), Action::PullCable(BOB))
        .when(ms(0), Action::PullCable(BOB_BY_SECOND_TRUNK));
    let call = world.phone(ALICE).dial(X);
    world.run_until_idle();
    assert_eq!((call.cause(), call.status_sent()), (Cause::TrunkFailed, Some(503)));
    world.check_invariants();
}

#[test]
fn a_busy_callee_is_not_tried_again_elsewhere() {
    let mut world = two_trunks(86);
    world.phone(BOB).when_called(Script::new().ring().after(secs(1)).reject(486));
    let call = world.phone(ALICE).dial(X);
    world.run_until_idle();
    assert_eq!(call.cause(), Cause::Busy);
    assert_eq!(world.phone(BOB_BY_SECOND_TRUNK).heard("INVITE"), 0);
    world.check_invariants();
}

#[test]
fn a_caller_may_cancel_between_two_trunks() {
    for wait in [1_900, 1_990, 2_000, 2_005, 2_010, 2_020, 2_100] {
        let mut world = two_trunks(8_700 + wait).when(ms(0), Action::PullCable(BOB));
        let call = world.phone(ALICE).dial(X).cancel_after(ms(wait));
        world.run_until_idle();
        assert_eq!(call.cause(), Cause::CallerCancelled);
        world.check_invariants();
    }
}
