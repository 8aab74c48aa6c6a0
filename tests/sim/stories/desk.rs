//! The other way: the subscriber dials X and reaches the tenant's desk.

use maskline::domain::cause::Cause;
use maskline::domain::cdr::Direction;

use crate::cast::{ALICE, BOB, DESK, MALLORY, X, X2};
use crate::people::{answering, secs};
use crate::world::{World, seed};

pub(crate) const STORIES: &[fn()] = &[
    the_subscriber_reaches_the_desk_by_x,
    the_desk_hangs_up,
    a_subscriber_of_another_number_is_a_stranger,
    a_tenant_without_a_desk_cannot_be_called,
    both_directions_at_once_are_two_calls,
];

#[test]
fn the_subscriber_reaches_the_desk_by_x() {
    let mut world = World::new(seed(40)).bind(ALICE, X, BOB).desk(DESK);
    let call = world.phone(BOB).dial(X).talk_for(secs(6));
    world.run_until_idle();
    let cdr = call.cdr();
    assert_eq!((cdr.cause, cdr.direction), (Cause::CallerHangup, Direction::FromSubscriber));
    assert_eq!(cdr.agent, None);
    let [at_the_desk] = &world.phone(DESK).calls()[..] else { panic!("one call for the desk") };
    assert_eq!((&*at_the_desk.caller, &*at_the_desk.number), (X, DESK.user));
    assert!(at_the_desk.packets_in > 50, "{at_the_desk:?}");
    world.check_invariants();
}

#[test]
fn the_desk_hangs_up() {
    let mut world = World::new(seed(41)).bind(ALICE, X, BOB).desk(DESK);
    world.phone(DESK).when_called(answering().after(secs(2)).hang_up());
    let call = world.phone(BOB).dial(X).talk();
    world.run_until_idle();
    assert_eq!(call.cause(), Cause::CalleeHangup);
    world.check_invariants();
}

#[test]
fn a_subscriber_of_another_number_is_a_stranger() {
    let mut world = World::new(seed(42)).bind(ALICE, X, BOB).bind(ALICE, X2, MALLORY).desk(DESK);
    let call = world.phone(MALLORY).dial(X).talk();
    world.run_until_idle();
    assert_eq!((call.cause(), call.status_sent()), (Cause::NumberUnknown, Some(404)));
    assert_eq!(world.phone(DESK).heard("INVITE"), 0);
    world.check_invariants();
}

#[test]
fn a_tenant_without_a_desk_cannot_be_called() {
    let mut world = World::new(seed(43)).bind(ALICE, X, BOB);
    let call = world.phone(BOB).dial(X).talk();
    world.run_until_idle();
    assert_eq!(call.cause(), Cause::NoRoute);
    world.check_invariants();
}

#[test]
fn both_directions_at_once_are_two_calls() {
    let mut world = World::new(seed(44)).bind(ALICE, X, BOB).desk(DESK);
    let out = world.phone(ALICE).dial(X).talk_for(secs(9));
    let back = world.phone(BOB).dial(X).talk_for(secs(7));
    world.run_until_idle();
    assert_eq!((out.cause(), back.cause()), (Cause::CallerHangup, Cause::CallerHangup));
    assert_ne!(out.cdr().call, back.cdr().call);
    world.check_invariants();
}
