//! S25: a bad network between everybody.

use std::time::Duration;

use crate::cast::{ALICE, BOB, X};
use crate::net::Quality;
use crate::people::{ms, secs};
use crate::world::{World, seed};

/// A third of all datagrams is lost, a fifth comes twice, many are overtaken.
const AWFUL: Quality = Quality {
    delay_min: Duration::from_millis(1),
    delay_max: Duration::from_millis(60),
    lost_permille: 300,
    repeated_permille: 200,
    held_up_permille: 200,
};

#[test]
fn at_thirty_percent_loss_ninety_nine_of_a_hundred_calls_succeed() {
    let (mut calls, mut answered) = (0, 0);
    for number in 0..20 {
        let mut world = World::new(seed(11_000 + number)).bind(ALICE, X, BOB).network(AWFUL);
        world.phone(BOB).when_called(
            maskline::phone::Script::new().after(ms(80)).ring().after(secs(2)).answer(),
        );
        let dialled: Vec<_> = (0..100)
            .map(|nth| {
                let call = world.phone(ALICE).dial(X).at(ms(150 * nth));
                call.then(maskline::phone::Step::AwaitAnswer).after(secs(20)).then(HANG_UP)
            })
            .collect();
        world.run_until_idle();
        calls += dialled.len();
        answered += dialled.iter().filter(|call| call.record().answered_at.is_some()).count();
        world.check_invariants();
    }
    assert!(answered * 100 >= calls * 99, "{answered} of {calls} calls succeeded");
}

const HANG_UP: maskline::phone::Step = maskline::phone::Step::HangUp;
