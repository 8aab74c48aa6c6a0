//! Caps against fraud: as many calls, as often and as long as they allow, and not one more.

use maskline::domain::cap::{CapLimits, CapMeasure, CapReached, CapSubject, Limits};
use maskline::domain::cause::Cause;
use maskline::domain::cdr::EndedBy;
use maskline::policy::caps::Ledger;

use crate::actions::Action;
use crate::cast::{ALICE, BOB, X};
use crate::people::{answering, ms, secs};
use crate::world::{World, seed};

pub(crate) const STORIES: &[fn()] = &[
    no_more_calls_at_one_time_than_a_cap_allows,
    no_more_calls_in_a_minute_than_a_cap_allows,
    the_minutes_of_a_day_are_shared_and_cut_every_call_that_has_none_left,
];

/// A world in which one kind of subject is limited.
fn world(number: u64, subject: CapSubject, limits: Limits) -> World {
    let of = |it| if it == subject { limits } else { Limits::default() };
    let mut world = World::configured(seed(number), |config| config.announce_refusals = true);
    world.store.ledger = Ledger::new(CapLimits(CapSubject::COUNTED.map(of)));
    world.bind(ALICE, X, BOB)
}

#[test]
fn no_more_calls_at_one_time_than_a_cap_allows() {
    for (nth, subject) in (0..).zip(CapSubject::COUNTED) {
        let limits = Limits { calls_max: Some(2), ..Limits::default() };
        let mut world = world(120 + nth, subject, limits);
        let dials = [ms(0), ms(10), ms(20), secs(2), secs(29), secs(45)];
        let calls = dials.map(|at| world.phone(ALICE).dial(X).at(at).talk_for(secs(30)));
        world.run_until_idle();
        let causes = calls.each_ref().map(|call| call.cause());
        let (talks, full) = (Cause::CallerHangup, Cause::CallsCap);
        assert_eq!(causes, [talks, talks, full, full, full, talks], "{subject:?}");
        assert_eq!(world.phone(BOB).heard("INVITE"), 3);
        let told: Vec<_> = calls.iter().flat_map(|call| call.cdr().caps_reached).collect();
        let reached = CapReached { subject, measure: CapMeasure::Calls };
        assert_eq!(told, [reached], "once in a minute");
        let first = calls[2].cdr();
        let alarm = first.ended_at.duration_since(first.started_at).expect("in order");
        assert!(alarm <= secs(10), "somebody is told after {alarm:?}");
        world.check_invariants();
    }
}

#[test]
fn no_more_calls_in_a_minute_than_a_cap_allows() {
    let limits = Limits { calls_per_minute_max: Some(2), ..Limits::default() };
    let mut world = world(124, CapSubject::Agent, limits);
    // The story begins with a minute of the clock.
    let dials = [0, 10, 20, 59, 60, 61, 62].map(secs);
    let calls = dials.map(|at| world.phone(ALICE).dial(X).at(at).talk_for(secs(2)));
    world.run_until_idle();
    let (talks, full) = (Cause::CallerHangup, Cause::RateCap);
    let causes = calls.each_ref().map(|call| call.cause());
    assert_eq!(causes, [talks, talks, full, full, talks, talks, full]);
    world.check_invariants();
}

#[test]
fn the_minutes_of_a_day_are_shared_and_cut_every_call_that_has_none_left() {
    for (nth, subject) in (0..).zip(CapSubject::COUNTED) {
        let limits = Limits { minutes_per_day_max: Some(5), ..Limits::default() };
        let tomorrow = Action::SetWallForward(secs(22 * 3_600));
        let mut world = world(125 + nth, subject, limits).when(secs(500), tomorrow);
        world.phone(BOB).when_called(answering());
        let [first, second] =
            [secs(0), secs(30)].map(|at| world.phone(ALICE).dial(X).at(at).talk());
        let refused = world.phone(ALICE).dial(X).at(secs(400)).talk_for(secs(1));
        let tomorrow = world.phone(ALICE).dial(X).at(secs(600)).talk_for(secs(1));
        world.run_until_idle();
        let cut = [first.cdr(), second.cdr()];
        for cdr in &cut {
            assert_eq!((cdr.cause, cdr.ended_by), (Cause::MinutesCap, EndedBy::Relay));
        }
        // One begins minutes 1, 3 and 5, the other one 2 and 4.
        let lasted = cut.each_ref().map(|cdr| cdr.duration.as_secs());
        assert_eq!(lasted, [180, 120], "{subject:?}");
        assert_eq!(refused.cause(), Cause::MinutesCap);
        assert_eq!(tomorrow.cause(), Cause::CallerHangup, "another day");
        world.check_invariants();
    }
}
