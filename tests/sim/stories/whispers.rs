//! The subscriber hears who calls before anybody is connected.

use maskline::domain::cause::Cause;
use maskline::domain::whisper::{OnSilence, WhisperPolicy, WhisperResult};
use maskline::phone::{CallState, Ending, Script, Step};

use crate::cast::{ALICE, ANN, BOB, EVE, X, X2, X3};
use crate::people::{CallHandle, SPEAK, answering, ms, secs};
use crate::world::{World, seed};

pub(crate) const STORIES: &[fn()] = &[
    who_presses_1_is_connected,
    who_only_hears_it_is_connected_when_it_is_said,
    who_presses_2_is_called_again_later,
    who_presses_3_is_not_called_again,
    who_presses_3_is_heard_before_the_store_is,
    who_presses_nothing_is_not_connected,
    who_presses_1_is_connected_though_nobody_tells_that_it_was_said,
    words_without_an_end_and_silence_connect_nobody,
    a_caller_who_gives_up_meanwhile_leaves_nobody_listening,
    a_subscriber_who_hangs_up_meanwhile_is_not_connected,
];

fn result(call: &CallHandle) -> Option<WhisperResult> {
    call.cdr().whisper.map(|whisper| whisper.result)
}

fn pressing(event: u8) -> Script {
    answering().after(secs(2)).then(Step::TellKey { event })
}

#[test]
fn who_presses_1_is_connected() {
    let mut world = World::configured(seed(91), World::whispering(WhisperPolicy::ByPurpose));
    world = world.bind(ALICE, X, BOB);
    world.phone(BOB).when_called(pressing(1));
    let call = world.phone(ALICE).dial(X).talk_for(secs(20));
    world.run_until_idle();
    let cdr = call.cdr();
    assert_eq!((cdr.cause, result(&call)), (Cause::CallerHangup, Some(WhisperResult::Accepted)));
    assert_eq!(cdr.duration.as_secs(), 20, "the caller counts from the bridge");
    let [bob] = &world.phone(BOB).calls()[..] else { panic!("one call for Bob") };
    assert!(bob.packets_in > 250, "the prompt and Alice: {bob:?}");
    let heard = call.record().packets_in;
    assert!((150..=220).contains(&heard), "nothing of Bob before: {heard}");
    world.check_invariants();
}

#[test]
fn who_only_hears_it_is_connected_when_it_is_said() {
    let mut world = World::configured(seed(92), World::whispering(WhisperPolicy::Announce));
    world = world.bind(ALICE, X, BOB);
    let call = world.phone(ALICE).dial(X).talk_for(secs(5));
    world.run_until_idle();
    assert_eq!(
        (call.cause(), result(&call)),
        (Cause::CallerHangup, Some(WhisperResult::Announced))
    );
    world.check_invariants();
}

#[test]
fn who_presses_2_is_called_again_later() {
    let mut world = World::configured(seed(93), World::whispering(WhisperPolicy::ByPurpose));
    world = world.bind(ALICE, X, BOB);
    world.phone(BOB).when_called_next(pressing(2));
    world.phone(BOB).when_called_next(pressing(1));
    let (first, second) = (
        world.phone(ALICE).dial(X).talk(),
        world.phone(ALICE).dial(X).at(secs(60)).talk_for(secs(5)),
    );
    world.run_until_idle();
    assert_eq!((first.cause(), first.status_sent()), (Cause::WhisperLater, Some(480)));
    assert_eq!(result(&second), Some(WhisperResult::Accepted));
    world.check_invariants();
}

#[test]
fn who_presses_3_is_not_called_again() {
    let mut world = World::configured(seed(94), World::whispering(WhisperPolicy::ByPurpose));
    world = world.bind(ALICE, X, BOB).bind(ANN, X2, BOB).bind(EVE, X3, BOB);
    world.phone(BOB).when_called_next(pressing(3));
    world.phone(BOB).when_called_next(pressing(1));
    let refused = world.phone(ALICE).dial(X).talk();
    let again = world.phone(ALICE).dial(X).at(secs(60)).talk();
    let colleague = world.phone(ANN).dial(X2).at(secs(70)).talk();
    let other_insurer = world.phone(EVE).dial(X3).at(secs(80)).talk_for(secs(5));
    world.run_until_idle();
    assert_eq!((refused.cause(), refused.status_sent()), (Cause::WhisperRefused, Some(603)));
    for call in [&again, &colleague] {
        assert_eq!((call.cause(), call.status_sent()), (Cause::DoNotCall, Some(403)));
    }
    assert_eq!(result(&other_insurer), Some(WhisperResult::Accepted));
    assert_eq!(world.phone(BOB).calls().len(), 2);
    world.check_invariants();
}

#[test]
fn who_presses_3_is_heard_before_the_store_is() {
    let mut world = World::configured(seed(98), World::whispering(WhisperPolicy::ByPurpose));
    world = world.bind(ALICE, X, BOB).bind(ANN, X2, BOB);
    world.phone(BOB).when_called_next(pressing(3));
    world.phone(BOB).when_called(pressing(1));
    let refused = world.phone(ALICE).dial(X).talk();
    let mut others = Vec::new();
    for tenths in [20, 50, 55, 60, 70, 80] {
        others.push(world.phone(ANN).dial(X2).at(ms(100 * tenths)).talk());
    }
    world.run_until_idle();
    assert_eq!(refused.cause(), Cause::WhisperRefused);
    let ended_at = refused.cdr().ended_at;
    let denied = others.iter().filter(|call| call.cause() == Cause::DoNotCall);
    assert!(denied.count() > 2, "{:?}", others.iter().map(|it| it.cause()).collect::<Vec<_>>());
    let after = others.iter().filter(|call| call.cdr().started_at >= ended_at);
    assert!(after.clone().count() > 1);
    assert!(after.into_iter().all(|call| call.cause() == Cause::DoNotCall));
    world.check_invariants();
}

#[test]
fn who_presses_nothing_is_not_connected() {
    let mut world = World::configured(seed(95), World::whispering(WhisperPolicy::ByPurpose));
    world = world.bind(ALICE, X, BOB);
    let call = world.phone(ALICE).dial(X).talk();
    world.run_until_idle();
    assert_eq!((call.cause(), call.status_sent()), (Cause::WhisperTimeout, Some(480)));
    assert_eq!((result(&call), call.record().packets_in), (Some(WhisperResult::TimedOut), 0));
    world.check_invariants();
}

#[test]
fn a_caller_who_gives_up_meanwhile_leaves_nobody_listening() {
    let mut world = World::configured(seed(96), World::whispering(WhisperPolicy::ByPurpose));
    world = world.bind(ALICE, X, BOB);
    let call = world.phone(ALICE).dial(X).cancel_after(secs(4));
    world.run_until_idle();
    assert_eq!(
        (call.cause(), result(&call)),
        (Cause::CallerCancelled, Some(WhisperResult::GivenUp))
    );
    let [bob] = &world.phone(BOB).calls()[..] else { panic!("one call for Bob") };
    assert_eq!(bob.state, CallState::Over(Ending::FarHungUp));
    world.check_invariants();
}

#[test]
fn a_subscriber_who_hangs_up_meanwhile_is_not_connected() {
    let mut world = World::configured(seed(97), World::whispering(WhisperPolicy::ByPurpose));
    world = world.bind(ALICE, X, BOB);
    let hangs_up = answering().then(SPEAK).after(ms(1_500)).hang_up();
    world.phone(BOB).when_called(hangs_up);
    let call = world.phone(ALICE).dial(X).talk();
    world.run_until_idle();
    assert_eq!((call.cause(), result(&call)), (Cause::CalleeHangup, Some(WhisperResult::HungUp)));
    assert_eq!((call.status_sent(), call.record().packets_in), (Some(480), 0));
    world.check_invariants();
}

#[test]
fn who_presses_1_is_connected_though_nobody_tells_that_it_was_said() {
    let mut world = World::configured(seed(101), World::whispering(WhisperPolicy::ByPurpose));
    world = world.bind(ALICE, X, BOB);
    world.media.loses_ends = true;
    // After the words, and before they are said once more.
    world.phone(BOB).when_called(answering().after(secs(19)).then(Step::TellKey { event: 1 }));
    let call = world.phone(ALICE).dial(X).talk_for(secs(20));
    world.run_until_idle();
    assert_eq!((call.cause(), result(&call)), (Cause::CallerHangup, Some(WhisperResult::Accepted)));
    world.check_invariants();
}

#[test]
fn words_without_an_end_and_silence_connect_nobody() {
    for (number, policy) in [(102, WhisperPolicy::ByPurpose), (103, WhisperPolicy::Announce)] {
        let mut world = World::configured(seed(number), |config| {
            config.whisper.policy = policy;
            config.whisper.on_silence = OnSilence::Connect;
        });
        world = world.bind(ALICE, X, BOB);
        world.media.loses_ends = true;
        let call = world.phone(ALICE).dial(X).talk();
        world.run_until_idle();
        let cdr = call.cdr();
        let took = cdr.ended_at.duration_since(cdr.started_at).expect("later");
        assert_eq!(result(&call), Some(WhisperResult::TimedOut));
        assert!(took < secs(75), "nobody waits for an end for ever: {took:?}");
        world.check_invariants();
    }
}
