//! A binding ends while an attempt arrives, rings, is answered, talks: R25.

use maskline::domain::cause::Cause;
use maskline::domain::cdr::EndedBy;
use maskline::phone::Script;

use crate::actions::Action;
use crate::cast::{ALICE, BOB, CAROL, X};
use crate::people::{answering, answering_after, ms, secs};
use crate::world::{World, seed};

pub(crate) const STORIES: &[fn()] = &[
    an_unbind_while_the_route_is_looked_up,
    an_unbind_while_it_rings_ends_the_call_within_a_second,
    a_block_while_they_talk_ends_the_call,
    an_unbind_lets_those_talk_who_talk,
    an_unbind_crosses_the_answer_at_every_millisecond,
    a_number_bound_anew_reaches_only_the_new_subscriber,
];

const UNBIND: Action = Action::Unbind { x: X, drops_calls: false };

#[test]
fn an_unbind_while_the_route_is_looked_up() {
    for shift in 0..60 {
        let mut world = World::new(seed(9_000 + shift))
            .bind(ALICE, X, BOB)
            .store_delay(ms(40))
            .when(ms(shift), UNBIND);
        let call = world.phone(ALICE).dial(X).talk_for(secs(1));
        world.run_until_idle();
        let cause = call.cause();
        assert!(matches!(cause, Cause::Cooling | Cause::BindingExpired), "{cause:?} at {shift}");
        world.check_invariants();
    }
}

#[test]
fn an_unbind_while_it_rings_ends_the_call_within_a_second() {
    let mut world = World::new(seed(91)).bind(ALICE, X, BOB).when(secs(5), UNBIND);
    world.phone(BOB).when_called(answering_after(secs(30)));
    let call = world.phone(ALICE).dial(X).talk();
    world.run_until_idle();
    let cdr = call.cdr();
    assert_eq!((cdr.cause, cdr.ended_by), (Cause::BindingExpired, EndedBy::Relay));
    assert!(cdr.ended_at <= cdr.started_at + secs(6), "{cdr:?}");
    assert_eq!(world.phone(BOB).heard("CANCEL"), 1);
    world.check_invariants();
}

#[test]
fn a_block_while_they_talk_ends_the_call() {
    let block = Action::Suspend { x: X, drops_calls: true };
    let mut world = World::new(seed(92)).bind(ALICE, X, BOB).when(secs(9), block);
    let call = world.phone(ALICE).dial(X).talk();
    world.run_until_idle();
    let cdr = call.cdr();
    assert_eq!((cdr.cause, cdr.ended_by), (Cause::BindingSuspended, EndedBy::Relay));
    assert!(cdr.ended_at <= cdr.started_at + secs(10), "{cdr:?}");
    world.check_invariants();
}

#[test]
fn an_unbind_lets_those_talk_who_talk() {
    let mut world = World::new(seed(93)).bind(ALICE, X, BOB).when(secs(9), UNBIND);
    let call = world.phone(ALICE).dial(X).talk_for(secs(30));
    world.run_until_idle();
    assert_eq!(call.cause(), Cause::CallerHangup);
    assert_eq!(call.cdr().duration.as_secs(), 30);
    world.check_invariants();
}

#[test]
fn an_unbind_crosses_the_answer_at_every_millisecond() {
    let mut causes = std::collections::BTreeSet::new();
    for shift in 0..60 {
        let mut world =
            World::new(seed(9_400 + shift)).bind(ALICE, X, BOB).when(ms(990 + shift), UNBIND);
        world.phone(BOB).when_called(Script::new().ring().after(secs(1)).answer());
        let call = world.phone(ALICE).dial(X).talk_for(secs(3));
        world.run_until_idle();
        causes.insert(call.cause());
        world.check_invariants();
    }
    assert_eq!(causes, [Cause::CallerHangup, Cause::BindingExpired].into());
}

#[test]
fn a_number_bound_anew_reaches_only_the_new_subscriber() {
    let again = Action::Bind { agent: ALICE, x: X, subscriber: CAROL };
    let mut world =
        World::new(seed(95)).bind(ALICE, X, BOB).when(secs(20), UNBIND).when(secs(25), again);
    world.phone(CAROL).when_called(answering());
    let before = world.phone(ALICE).dial(X).talk_for(secs(5));
    let between = world.phone(ALICE).dial(X).at(secs(22)).talk_for(secs(5));
    let after = world.phone(ALICE).dial(X).at(secs(30)).talk_for(secs(5));
    world.run_until_idle();
    assert_eq!(before.cause(), Cause::CallerHangup);
    assert_eq!(between.cause(), Cause::Cooling);
    assert_eq!(after.cause(), Cause::CallerHangup);
    assert_eq!((world.phone(BOB).heard("INVITE"), world.phone(CAROL).heard("INVITE")), (1, 1));
    world.check_invariants();
}
