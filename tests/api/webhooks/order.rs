//! Order and company: what belongs together comes in order, and nobody waits for a stranger.

use serde_json::json;

use super::receiver::{Receiver, Reply};
use super::{Bench, NEAR, dispatcher, secs};

#[tokio::test]
async fn a_later_event_of_a_binding_waits_for_the_earlier_one_and_others_do_not() {
    let bench = Bench::new().await;
    let receiver = Receiver::new().await;
    bench.endpoint(&bench.world.admin, &receiver, &[]).await;
    receiver.answers([Reply::Status(500)]);
    let first = bench.bind(1).await;
    assert_eq!(bench.round(secs(0)).await, 1, "it fails");
    bench.order(&first, "suspend").await;
    bench.order(&first, "resume").await;
    bench.bind(2).await;
    assert_eq!(bench.round(secs(1)).await, 1, "the other binding alone");
    assert_eq!(bench.round(secs(4)).await, 0);
    for after in 5..8 {
        assert_eq!(bench.round(secs(after)).await, 1);
    }
    let told: Vec<_> = receiver.got().iter().map(|got| got.event()["sequence"].clone()).collect();
    assert_eq!(told, [json!(1), json!(4), json!(1), json!(2), json!(3)]);
}

#[tokio::test]
async fn a_receiver_that_hangs_holds_up_nobody_else() {
    let bench = Bench::new().await;
    let (slow, quick) = (Receiver::new().await, Receiver::new().await);
    let hangs = bench.endpoint(&bench.world.admin, &slow, &[]).await;
    bench.endpoint(&bench.world.admin, &quick, &[]).await;
    slow.answers(std::iter::repeat_n(Reply::Hang, 100));
    for n in 1..=20 {
        bench.bind(n).await;
    }
    let round = async {
        let tried = bench.round(secs(1)).await;
        // The second round begins only when the first has given up.
        (tried, bench.round(secs(2)).await)
    };
    let (tried, _) = tokio::join!(round, quick.wait_for(8));
    assert_eq!(tried.0, 16, "eight of each");
    assert_eq!(slow.got().len(), 9, "then it is only probed");
    assert_eq!(quick.got().len(), 16);
    let timed_out = bench.deliveries(&hangs).await;
    let has = |it: &&serde_json::Value| it["attempts"][0]["outcome"] == "timed_out";
    assert_eq!(timed_out.iter().filter(has).count(), 9);
}

#[tokio::test]
async fn several_nodes_share_the_work_and_tell_everything_once() {
    let bench = Bench::new().await;
    let receiver = Receiver::new().await;
    bench.endpoint(&bench.world.admin, &receiver, &[]).await;
    for n in 1..=24 {
        bench.bind(n).await;
    }
    let at = bench.place(secs(1)).await;
    let other = dispatcher(&bench.world, NEAR, Default::default());
    let mut tried = 0;
    while tried < 24 {
        let (one, two) = tokio::join!(bench.dispatcher.round(at), other.round(at));
        let new = one.expect("a round") + two.expect("a round");
        assert!(new > 0, "something is due");
        tried += new;
    }
    let mut told: Vec<u64> =
        receiver.got().iter().filter_map(|got| got.event()["sequence"].as_u64()).collect();
    told.sort_unstable();
    assert_eq!(told, (1..=24).collect::<Vec<_>>());
}
