//! The subscriber calls X, reaches nobody, and types.

use maskline::domain::cause::Cause;
use maskline::domain::mark::Mark;
use maskline::phone::{Script, Step};

use crate::cast::{ALICE, BOB, DESK, X};
use crate::menus::CODE;
use crate::people::{CallHandle, secs};
use crate::world::{World, seed};

pub(crate) const STORIES: &[fn()] = &[
    who_proves_itself_and_pauses_calls_is_not_called,
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
fn who_does_not_want_the_menu_is_sent_away() {
    let mut world = with_menu(113).bind(ALICE, X, BOB);
    let call = world.phone(BOB).dial(X).talk();
    world.run_until_idle();
    let cdr = call.cdr();
    assert_eq!((cdr.cause, &cdr.reasons[..]), (Cause::MenuFinished, &[Cause::NoRoute][..]));
    assert!(cdr.duration < secs(30), "{cdr:?}");
    world.check_invariants();
}
