//! Too much work, a full recorder, and an orderly end.

use maskline::domain::cause::Cause;
use maskline::phone::{CallState, Ending};

use crate::actions::Action;
use crate::cast::{ALICE, BOB, X};
use crate::people::{answering_after, ms, secs};
use crate::world::{World, seed};

pub(crate) const STORIES: &[fn()] = &[
    more_calls_than_the_maximum_are_refused_and_the_others_go_on,
    a_stuck_recorder_refuses_new_calls_rather_than_lose_records,
    a_drain_lets_calls_finish_and_takes_no_new_ones,
    the_end_of_the_drain_time_ends_every_call,
    more_lookups_than_the_maximum_are_refused,
];

#[test]
fn more_calls_than_the_maximum_are_refused_and_the_others_go_on() {
    let mut world = World::configured(seed(100), |config| config.calls_max = 3);
    world = world.bind(ALICE, X, BOB);
    let calls: Vec<_> =
        (0..6).map(|nth| world.phone(ALICE).dial(X).at(ms(10 * nth)).talk_for(secs(10))).collect();
    world.run_until_idle();
    for (nth, call) in calls.iter().enumerate() {
        if nth < 3 {
            assert_eq!(call.cause(), Cause::CallerHangup);
        } else {
            assert_eq!(call.record().state, CallState::Over(Ending::Refused(503)));
        }
    }
    assert_eq!(world.phone(BOB).heard("INVITE"), 3);
    assert!(world.core.counters().refused_overload >= 3);
    world.check_invariants();
}

#[test]
fn a_stuck_recorder_refuses_new_calls_rather_than_lose_records() {
    let mut world = World::configured(seed(101), |config| config.recorder_credits = 2);
    world = world
        .bind(ALICE, X, BOB)
        .when(ms(0), Action::RecorderStalls(true))
        .when(secs(60), Action::RecorderStalls(false));
    let calls: Vec<_> =
        (0..4).map(|nth| world.phone(ALICE).dial(X).at(secs(8 * nth)).talk_for(secs(2))).collect();
    let later = world.phone(ALICE).dial(X).at(secs(70)).talk_for(secs(2));
    world.run_until_idle();
    let placed = |n: usize| calls[n].cdrs().len();
    assert_eq!([placed(0), placed(1), placed(2), placed(3)], [1, 1, 0, 0]);
    assert_eq!(calls[3].record().state, CallState::Over(Ending::Refused(503)));
    assert_eq!(later.cause(), Cause::CallerHangup);
    world.check_invariants();
}

#[test]
fn a_drain_lets_calls_finish_and_takes_no_new_ones() {
    let mut world = World::new(seed(102)).bind(ALICE, X, BOB).when(secs(5), Action::Drain);
    let old = world.phone(ALICE).dial(X).talk_for(secs(30));
    let new = world.phone(ALICE).dial(X).at(secs(6)).talk();
    world.run_until_idle();
    assert_eq!(old.cause(), Cause::CallerHangup);
    assert_eq!(new.record().state, CallState::Over(Ending::Refused(503)));
    assert!(world.core.counters().refused_draining >= 1);
    world.check_invariants();
}

#[test]
fn the_end_of_the_drain_time_ends_every_call() {
    let mut world = World::new(seed(103))
        .bind(ALICE, X, BOB)
        .when(secs(20), Action::Drain)
        .when(secs(25), Action::TerminateAll);
    let talks = world.phone(ALICE).dial(X).talk();
    world.run_until(secs(15));
    world.phone(BOB).when_called(answering_after(secs(50)));
    let rings = world.phone(ALICE).dial(X).talk();
    world.run_until_idle();
    for call in [talks, rings] {
        assert_eq!(call.cause(), Cause::Draining);
    }
    world.check_invariants();
}

#[test]
fn more_lookups_than_the_maximum_are_refused() {
    let mut world = World::configured(seed(104), |config| config.pending_routes_max = 2);
    world = world.bind(ALICE, X, BOB).store_delay(ms(800));
    let calls: Vec<_> =
        (0..4).map(|nth| world.phone(ALICE).dial(X).at(ms(nth)).talk_for(secs(2))).collect();
    world.run_until_idle();
    let placed = calls.iter().filter(|call| call.record().answered_at.is_some()).count();
    assert_eq!(placed, 2);
    world.check_invariants();
}
