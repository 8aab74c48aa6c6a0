//! S25: a bad network between everybody.

use std::time::Duration;

use crate::cast::{ALICE, BOB, X};
use crate::net::{Quality, Repeats};
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

/// The same, and each way takes up to a second.
const DISTANT: Quality = Quality { delay_max: Duration::from_secs(1), ..AWFUL };

/// RFC 3261: nothing is repeated for longer.
const REPEATED_MAX: Duration = Duration::from_millis(64 * 500);

#[test]
fn at_thirty_percent_loss_ninety_nine_of_a_hundred_calls_succeed() {
    let (mut calls, mut answered) = (0, 0);
    for number in 0..20 {
        let network = if number % 2 == 0 { AWFUL } else { DISTANT };
        let mut world = World::new(seed(11_000 + number)).bind(ALICE, X, BOB).network(network);
        world.repeats = Some(Repeats::default());
        world.phone(BOB).when_called(
            maskline::phone::Script::new().after(ms(80)).ring().after(secs(2)).answer(),
        );
        let dialled: Vec<_> = (0..100)
            .map(|nth| {
                let call = world.phone(ALICE).dial(X).at(ms(150 * nth));
                // One in a hundred confirms nothing: its 200 is repeated for as long as may be.
                let call = if nth == 0 { call.then(LOSE_ACKS) } else { call };
                let call = call.then(maskline::phone::Step::AwaitAnswer);
                if nth == 0 { call } else { call.after(secs(20)).then(HANG_UP) }
            })
            .collect();
        world.run_until_idle();
        calls += dialled.len();
        answered += dialled.iter().filter(|call| call.record().answered_at.is_some()).count();
        let repeated_for = world.repeats.as_ref().expect("watched").longest;
        assert!(repeated_for > REPEATED_MAX - secs(4), "given up after {repeated_for:?}");
        assert!(repeated_for <= REPEATED_MAX, "something was sent again after {repeated_for:?}");
        world.check_invariants();
    }
    assert!(answered * 100 >= calls * 99, "{answered} of {calls} calls succeeded");
}

const LOSE_ACKS: maskline::phone::Step = maskline::phone::Step::LoseAcks { times: 255 };
const HANG_UP: maskline::phone::Step = maskline::phone::Step::HangUp;
