//! How a call that was placed ends.

use maskline::domain::cause::Cause;
use maskline::domain::cdr::EndedBy;
use maskline::domain::mark::Mark;
use maskline::domain::purpose::Purpose;
use maskline::domain::whisper::WhisperPolicy;
use maskline::phone::{CallState, Ending, Script, Step};

use crate::actions::Action;
use crate::cast::{ALICE, BOB, X};
use crate::people::{SPEAK, answering, answering_after, ms, secs};
use crate::world::{World, seed};

pub(crate) const STORIES: &[fn()] = &[
    they_talk_and_the_caller_hangs_up,
    the_callee_hangs_up,
    the_callee_is_busy,
    nobody_answers,
    a_callee_that_gives_up_by_itself_did_not_answer,
    the_callee_refuses,
    the_callees_phone_is_off,
    the_caller_gives_up_while_it_rings,
    the_longest_duration_ends_a_call,
    two_silent_phones_lose_their_call,
    calls_end_with_the_media_plane,
    a_call_that_has_to_be_recorded_and_is_not_ends,
    one_who_speaks_keeps_the_call,
    an_operator_ends_a_call,
    an_operator_ends_a_ringing_call,
    the_callee_answers_with_media_that_cannot_be_relayed,
];

#[test]
fn they_talk_and_the_caller_hangs_up() {
    let mut world = World::new(seed(1)).bind(ALICE, X, BOB);
    let call = world.phone(ALICE).dial(X).talk_for(secs(20));
    world.run_until_idle();
    let cdr = call.cdr();
    assert_eq!((cdr.cause, cdr.ended_by), (Cause::CallerHangup, EndedBy::Caller));
    assert_eq!(cdr.duration.as_secs(), 20);
    let [heard_by_bob] = &world.phone(BOB).calls()[..] else { panic!("one call for Bob") };
    assert!(call.record().packets_in >= 190, "{:?}", call.record());
    assert!(heard_by_bob.packets_in >= 190, "{heard_by_bob:?}");
    assert_eq!(&*heard_by_bob.caller, X);
    let media = cdr.media.expect("media was open");
    assert!(media.iter().all(|side| side.packets >= 190 && side.dropped == 0), "{media:?}");
    world.check_invariants();
}

#[test]
fn the_callee_hangs_up() {
    let mut world = World::new(seed(2)).bind(ALICE, X, BOB);
    world.phone(BOB).when_called(answering().after(secs(5)).hang_up());
    let call = world.phone(ALICE).dial(X).talk();
    world.run_until_idle();
    let cdr = call.cdr();
    assert_eq!((cdr.cause, cdr.ended_by), (Cause::CalleeHangup, EndedBy::Callee));
    assert_eq!(call.record().state, CallState::Over(Ending::FarHungUp));
    world.check_invariants();
}

#[test]
fn the_callee_is_busy() {
    let mut world = World::new(seed(3)).bind(ALICE, X, BOB);
    world.phone(BOB).when_called(Script::new().after(ms(50)).reject(486));
    let call = world.phone(ALICE).dial(X).talk();
    world.run_until_idle();
    assert_eq!(call.cause(), Cause::Busy);
    assert_eq!(call.record().state, CallState::Over(Ending::Refused(486)));
    world.check_invariants();
}

#[test]
fn nobody_answers() {
    let mut world = World::configured(seed(4), |config| config.ring_timeout = secs(25));
    world = world.bind(ALICE, X, BOB);
    world.phone(BOB).when_called(Script::new().ring());
    let call = world.phone(ALICE).dial(X);
    world.run_until_idle();
    assert_eq!(call.cause(), Cause::NoAnswer);
    assert_eq!(call.status_sent(), Some(480));
    let [ringing] = &world.phone(BOB).calls()[..] else { panic!("one call for Bob") };
    assert_eq!(ringing.state, CallState::Over(Ending::Cancelled));
    world.check_invariants();
}

#[test]
fn a_callee_that_gives_up_by_itself_did_not_answer() {
    let mut world = World::new(seed(5)).bind(ALICE, X, BOB);
    world.phone(BOB).when_called(Script::new().ring().after(secs(20)).reject(408));
    let call = world.phone(ALICE).dial(X);
    world.run_until_idle();
    assert_eq!(call.cause(), Cause::NoAnswer);
    world.check_invariants();
}

#[test]
fn the_callee_refuses() {
    let mut world = World::new(seed(6)).bind(ALICE, X, BOB);
    world.phone(BOB).when_called(Script::new().ring().after(secs(2)).reject(603));
    let call = world.phone(ALICE).dial(X);
    world.run_until_idle();
    assert_eq!((call.cause(), call.status_sent()), (Cause::Rejected, Some(603)));
    world.check_invariants();
}

#[test]
fn the_callees_phone_is_off() {
    let mut world = World::new(seed(7)).bind(ALICE, X, BOB);
    world.phone(BOB).when_called(Script::new().after(ms(400)).reject(480));
    let call = world.phone(ALICE).dial(X);
    world.run_until_idle();
    assert_eq!(call.cause(), Cause::Unreachable);
    world.check_invariants();
}

#[test]
fn the_caller_gives_up_while_it_rings() {
    let mut world = World::new(seed(8)).bind(ALICE, X, BOB);
    world.phone(BOB).when_called(answering_after(secs(30)));
    let call = world.phone(ALICE).dial(X).cancel_after(secs(4));
    world.run_until_idle();
    let cdr = call.cdr();
    assert_eq!((cdr.cause, cdr.ended_by), (Cause::CallerCancelled, EndedBy::Caller));
    assert_eq!(call.status_sent(), Some(487));
    assert_eq!(world.phone(BOB).heard("CANCEL"), 1);
    world.check_invariants();
}

#[test]
fn the_longest_duration_ends_a_call() {
    let mut world = World::new(seed(9)).bind(ALICE, X, BOB);
    world.store.duration_max = Some(secs(90));
    let call = world.phone(ALICE).dial(X).talk();
    world.run_until_idle();
    let cdr = call.cdr();
    assert_eq!((cdr.cause, cdr.ended_by), (Cause::MaxDuration, EndedBy::Relay));
    assert_eq!(cdr.duration.as_secs(), 90);
    assert_eq!(world.phone(BOB).heard("BYE"), 1);
    assert_eq!(world.phone(ALICE).heard("BYE"), 1);
    world.check_invariants();
}

#[test]
fn two_silent_phones_lose_their_call() {
    let mut world = World::new(seed(10)).bind(ALICE, X, BOB);
    world.phone(BOB).when_called(answering().after(secs(10)).then(Step::Hush));
    let call = world.phone(ALICE).dial(X).talk().after(secs(10)).then(Step::Hush);
    world.run_until_idle();
    let cdr = call.cdr();
    assert_eq!((cdr.cause, cdr.ended_by), (Cause::MediaTimeout, EndedBy::Relay));
    assert!((39..=41).contains(&cdr.duration.as_secs()), "{:?}", cdr.duration);
    world.check_invariants();
}

#[test]
fn calls_end_with_the_media_plane() {
    for after in [ms(2_500), secs(10)] {
        let world = World::new(seed(10)).bind(ALICE, X, BOB);
        world.phone(BOB).when_called(answering_after(secs(5)));
        let mut world = world.when(after, Action::MediaPlaneEnds);
        let call = world.phone(ALICE).dial(X).talk();
        world.run_until_idle();
        let cdr = call.cdr();
        assert_eq!((cdr.cause, cdr.ended_by), (Cause::MediaLost, EndedBy::Relay));
        assert_eq!(cdr.answered_at.is_some(), after > secs(5), "while it rings, and in talk");
        assert_eq!(cdr.media, None, "nobody knows what was said");
        world.check_invariants();
    }
}

#[test]
fn a_call_that_has_to_be_recorded_and_is_not_ends() {
    let world = World::configured(seed(121), |config| {
        config.whisper.policy = WhisperPolicy::Announce;
        config.recording.purposes = vec![Purpose::Unspecified];
        config.recording.required = vec![Purpose::Unspecified];
    });
    let mut world = world.bind(ALICE, X, BOB);
    world.phone(BOB).when_called(answering());
    let call = world.phone(ALICE).dial(X).talk();
    world.run_until_idle();
    let cdr = call.cdr();
    assert_eq!((cdr.cause, cdr.ended_by), (Cause::NotRecorded, EndedBy::Relay));
    assert_eq!(cdr.marks, [Mark::NotRecorded]);
    assert!(cdr.answered_at.is_some(), "it was bridged before that was known");
    world.check_invariants();
}

#[test]
fn one_who_speaks_keeps_the_call() {
    let mut world = World::new(seed(11)).bind(ALICE, X, BOB);
    world.phone(BOB).when_called(Script::new().ring().answer());
    let call =
        world.phone(ALICE).dial(X).then(Step::AwaitAnswer).then(SPEAK).cancel_after(secs(95));
    world.run_until_idle();
    assert_eq!(call.cause(), Cause::CallerHangup);
    world.check_invariants();
}

#[test]
fn an_operator_ends_a_call() {
    let mut world =
        World::new(seed(12)).bind(ALICE, X, BOB).when(secs(8), Action::TerminateCallOf(ALICE));
    let call = world.phone(ALICE).dial(X).talk();
    world.run_until_idle();
    let cdr = call.cdr();
    assert_eq!((cdr.cause, cdr.ended_by), (Cause::OperatorTerminated, EndedBy::Relay));
    assert!(cdr.answered_at.is_some());
    world.check_invariants();
}

#[test]
fn an_operator_ends_a_ringing_call() {
    let mut world =
        World::new(seed(13)).bind(ALICE, X, BOB).when(secs(3), Action::TerminateCallOf(ALICE));
    world.phone(BOB).when_called(answering_after(secs(30)));
    let call = world.phone(ALICE).dial(X).talk();
    world.run_until_idle();
    assert_eq!((call.cause(), call.status_sent()), (Cause::OperatorTerminated, Some(480)));
    world.check_invariants();
}

#[test]
fn the_callee_answers_with_media_that_cannot_be_relayed() {
    let mut world = World::new(seed(14)).bind(ALICE, X, BOB).speaks_g729_only(BOB);
    let call = world.phone(ALICE).dial(X).talk();
    world.run_until_idle();
    assert_eq!((call.cause(), call.status_sent()), (Cause::MediaUnacceptable, Some(488)));
    assert_eq!((world.phone(BOB).heard("ACK"), world.phone(BOB).heard("BYE")), (1, 1));
    world.check_invariants();
}
