//! Attempts that ring nobody's phone.

use maskline::domain::cause::Cause;
use maskline::domain::cdr::EndedBy;
use maskline::domain::purpose::Purpose;

use crate::actions::Action;
use crate::cast::{ALICE, BOB, DESK, EVE, IVAN, MALLORY, X, X2};
use crate::people::{ms, secs};
use crate::world::{World, seed};

pub(crate) const STORIES: &[fn()] = &[
    an_unknown_number_reaches_nobody,
    a_foreign_number_looks_unknown,
    a_stranger_reaches_nobody,
    an_extension_that_is_no_agent_is_refused,
    a_suspended_tenant_is_refused,
    an_agent_calls_for_its_purposes_alone,
    a_suspended_binding_is_refused_until_it_is_resumed,
    a_binding_ends_with_its_time,
    a_released_number_cools_down,
    a_store_that_is_away_is_no_unknown_number,
    a_store_that_never_answers_is_waited_for_no_longer_than_the_deadline,
    without_a_trunk_there_is_no_route,
    without_ports_there_is_no_call,
    an_offer_without_a_known_codec_is_refused,
    an_offer_that_cannot_be_read_is_refused_and_written_down,
];

/// Nobody's phone rang, and the caller was told so.
fn refused(world: &mut World, who: crate::cast::Who, cause: Cause, status: u16) {
    let call = world.phone(who).dial(X).talk();
    world.run_until_idle();
    let cdr = call.cdr();
    assert_eq!((cdr.cause, cdr.sip_status, cdr.ended_by), (cause, status, EndedBy::Relay));
    assert_eq!(call.status_sent(), Some(status));
    for phone in [BOB, DESK] {
        assert_eq!(world.phone(phone).heard("INVITE"), 0);
    }
    world.check_invariants();
}

#[test]
fn an_unknown_number_reaches_nobody() {
    let mut world = World::new(seed(20)).bind(ALICE, X2, BOB);
    refused(&mut world, ALICE, Cause::NumberUnknown, 404);
}

#[test]
fn a_foreign_number_looks_unknown() {
    let mut world = World::new(seed(21)).bind(ALICE, X, BOB);
    refused(&mut world, EVE, Cause::NumberUnknown, 404);
}

#[test]
fn a_stranger_reaches_nobody() {
    let mut world = World::new(seed(22)).bind(ALICE, X, BOB).desk(DESK);
    refused(&mut world, MALLORY, Cause::NumberUnknown, 404);
}

#[test]
fn an_extension_that_is_no_agent_is_refused() {
    let mut world = World::new(seed(23)).bind(ALICE, X, BOB);
    refused(&mut world, IVAN, Cause::AgentUnknown, 403);
}

#[test]
fn a_suspended_tenant_is_refused() {
    let mut world =
        World::new(seed(24)).bind(ALICE, X, BOB).when(ms(0), Action::SuspendTenant(ALICE.place));
    world.run_until(ms(100));
    refused(&mut world, ALICE, Cause::TenantSuspended, 403);
}

#[test]
fn an_agent_calls_for_its_purposes_alone() {
    let allow = |only| Action::Allow { agent: ALICE, only };
    let mut world = World::new(seed(30))
        .bind(ALICE, X, BOB)
        .when(ms(0), allow(Purpose::Claim))
        .when(secs(60), allow(Purpose::Unspecified));
    world.run_until(ms(100));
    let unnamed = world.phone(ALICE).dial(X).talk();
    let allowed = world.phone(ALICE).dial(X).at(secs(70)).talk_for(secs(3));
    world.run_until_idle();
    assert_eq!(unnamed.status_sent(), Some(403));
    assert_eq!(unnamed.cause(), Cause::PurposeNotAllowed);
    assert_eq!(allowed.cause(), Cause::CallerHangup);
    assert_eq!(world.phone(BOB).heard("INVITE"), 1);
    world.check_invariants();
}

#[test]
fn a_suspended_binding_is_refused_until_it_is_resumed() {
    let mut world = World::new(seed(25))
        .bind(ALICE, X, BOB)
        .when(ms(0), Action::Suspend { x: X, drops_calls: false })
        .when(secs(60), Action::Resume { x: X });
    world.run_until(ms(100));
    let refused = world.phone(ALICE).dial(X).talk();
    let placed = world.phone(ALICE).dial(X).at(secs(70)).talk_for(secs(3));
    world.run_until_idle();
    assert_eq!(refused.cause(), Cause::BindingSuspended);
    assert_eq!(placed.cause(), Cause::CallerHangup);
    world.check_invariants();
}

#[test]
fn a_binding_ends_with_its_time() {
    let mut world = World::new(seed(26)).bind_for(ALICE, X, BOB, secs(30));
    let in_time = world.phone(ALICE).dial(X).talk_for(secs(40));
    let too_late = world.phone(ALICE).dial(X).at(secs(31)).talk();
    world.run_until_idle();
    assert_eq!(in_time.cause(), Cause::CallerHangup);
    assert_eq!((too_late.cause(), too_late.status_sent()), (Cause::BindingExpired, Some(404)));
    world.check_invariants();
}

#[test]
fn a_released_number_cools_down() {
    let mut world = World::new(seed(27))
        .bind(ALICE, X, BOB)
        .when(ms(0), Action::Unbind { x: X, drops_calls: false });
    world.run_until(ms(100));
    refused(&mut world, ALICE, Cause::Cooling, 404);
}

#[test]
fn a_store_that_is_away_is_no_unknown_number() {
    let mut world = World::new(seed(28)).bind(ALICE, X2, BOB).when(ms(0), Action::StoreFails(true));
    refused(&mut world, ALICE, Cause::StoreUnavailable, 503);
}

#[test]
fn a_store_that_never_answers_is_waited_for_no_longer_than_the_deadline() {
    let mut world = World::new(seed(29)).bind(ALICE, X, BOB).store_delay(secs(60));
    let call = world.phone(ALICE).dial(X).talk();
    world.run_until_idle();
    let cdr = call.cdr();
    assert_eq!(cdr.cause, Cause::StoreUnavailable);
    let lasted = cdr.ended_at.duration_since(cdr.started_at).expect("times in order");
    assert!(lasted <= world.config.route_deadline + ms(10), "{lasted:?}");
    world.check_invariants();
}

#[test]
fn without_a_trunk_there_is_no_route() {
    let mut world = World::new(seed(30)).reached_by(BOB, &[]).bind(ALICE, X, BOB);
    refused(&mut world, ALICE, Cause::NoRoute, 503);
}

#[test]
fn without_ports_there_is_no_call() {
    let mut world = World::new(seed(31)).bind(ALICE, X, BOB).when(ms(0), Action::PortsFail(true));
    refused(&mut world, ALICE, Cause::NoMediaPort, 503);
}

#[test]
fn an_offer_without_a_known_codec_is_refused() {
    let mut world = World::new(seed(32)).bind(ALICE, X, BOB).speaks_g729_only(ALICE);
    refused(&mut world, ALICE, Cause::MediaUnacceptable, 488);
}

#[test]
fn an_offer_that_cannot_be_read_is_refused_and_written_down() {
    let mut world = World::new(seed(33)).bind(ALICE, X, BOB).offers_rubbish(ALICE);
    refused(&mut world, ALICE, Cause::MediaUnacceptable, 400);
}
