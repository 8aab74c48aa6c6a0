//! The subscriber calls X, reaches nobody, and types.

use maskline::domain::cause::Cause;
use maskline::domain::mark::Mark;
use maskline::phone::{Script, Step};

use crate::cast::{ALICE, ANN, BOB, DESK, X, X2};
use crate::menus::CODE;
use crate::people::{CallHandle, secs};
use crate::world::{World, seed};

pub(crate) const STORIES: &[fn()] = &[
    who_proves_itself_and_pauses_calls_is_not_called,
    who_blocks_the_last_caller_hears_only_the_others,
    who_does_not_want_the_menu_is_sent_away,
    a_menu_goes_on_though_nobody_tells_that_it_was_said,
];

fn with_menu(number: u64) -> World {
    World::configured(seed(number), |config| {
        config.menu.is_enabled = true;
        config.whisper.speaks_code = true;
    })
}

const STAR: u8 = 10;
const HASH: u8 = 11;

/// Types these keys, told by INFO, one each second.
fn types(call: CallHandle, keys: &str) -> CallHandle {
    keys.chars().fold(call, |call, key| {
        let event = match key {
            '*' => STAR,
            '#' => HASH,
            digit => u8::try_from(digit.to_digit(10).expect("a digit")).expect("below ten"),
        };
        call.after(secs(1)).then(Step::TellKey { event })
    })
}

#[test]
fn who_proves_itself_and_pauses_calls_is_not_called() {
    let mut world = with_menu(111).bind(ALICE, X, BOB).desk(DESK);
    world.phone(DESK).when_called(Script::new().ring().after(secs(1)).reject(486));
    let call = world.phone(BOB).dial(X).then(Step::AwaitAnswer);
    let menu = types(call, &format!("*1{CODE}#2")).after(secs(3)).then(Step::HangUp);
    let agent = world.phone(ALICE).dial(X).at(secs(100)).talk();
    world.run_until_idle();
    let cdr = menu.cdr();
    assert_eq!((cdr.cause, &cdr.reasons[..]), (Cause::CallerHangup, &[Cause::Busy][..]));
    assert_eq!(cdr.marks, [Mark::Menu]);
    assert!(menu.record().packets_in > 50, "it was spoken to");
    assert_eq!((agent.cause(), agent.status_sent()), (Cause::Paused, Some(403)));
    world.check_invariants();
}

#[test]
fn a_menu_goes_on_though_nobody_tells_that_it_was_said() {
    let mut world = with_menu(114).bind(ALICE, X, BOB).desk(DESK);
    world.media.loses_ends = true;
    let call = world.phone(BOB).dial(X).talk();
    let call = types(call.then(Step::AwaitAnswer).after(secs(6)), "*2");
    let agent = world.phone(ALICE).dial(X).at(secs(300)).talk();
    world.phone(DESK).when_called(Script::new().ring().after(secs(1)).reject(486));
    world.run_until_idle();
    assert_eq!(call.cause(), Cause::MenuFinished, "silence ends it");
    assert!(call.cdr().duration < secs(150), "{:?}", call.cdr());
    assert_eq!(agent.cause(), Cause::Paused, "its keys count");
    world.check_invariants();
}

#[test]
fn who_blocks_the_last_caller_hears_only_the_others() {
    let mut world = with_menu(115).bind(ALICE, X, BOB).bind(ANN, X2, BOB).desk(DESK);
    world.phone(DESK).when_called(Script::new().ring().after(secs(1)).reject(486));
    let before = world.phone(ALICE).dial(X).talk_for(secs(5));
    let call = world.phone(BOB).dial(X).at(secs(100)).then(Step::AwaitAnswer);
    let menu = types(call, "*3").after(secs(3)).then(Step::HangUp);
    let blocked = world.phone(ALICE).dial(X).at(secs(200)).talk();
    let by_another_number = world.phone(ALICE).dial(X2).at(secs(210)).talk();
    let other = world.phone(ANN).dial(X2).at(secs(300)).talk_for(secs(5));
    world.run_until_idle();
    assert_eq!(before.cause(), Cause::CallerHangup);
    assert_eq!(menu.cdr().marks, [Mark::Menu]);
    for call in [blocked, by_another_number] {
        assert_eq!((call.cause(), call.status_sent()), (Cause::Blocked, Some(403)));
    }
    assert_eq!(other.cause(), Cause::CallerHangup);
    world.check_invariants();
}

#[test]
fn who_does_not_want_the_menu_is_sent_away() {
    let mut world = with_menu(113).bind(ALICE, X, BOB);
    let call = world.phone(BOB).dial(X).talk();
    world.run_until_idle();
    let cdr = call.cdr();
    assert_eq!((cdr.cause, &cdr.reasons[..]), (Cause::MenuFinished, &[Cause::NoRoute][..]));
    assert!(cdr.duration < secs(30), "{cdr:?}");
    world.check_invariants();
}
