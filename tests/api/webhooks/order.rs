//! Order and company: what belongs together comes in order, and nobody waits for a stranger.

use maskline::domain::id::WebhookId;
use maskline::store::delivery::{Attempted, Claimed, KEEP_TIME, LEASE_TIME, Next};
use serde_json::json;

use super::receiver::{Receiver, Reply};
use super::{Bench, NEAR, dispatcher, secs};
use crate::support::noon;

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

/// Where there are fewer free slots than deliveries, they go to whoever has the fewest.
#[tokio::test]
async fn an_endpoint_that_keeps_its_slots_busy_leaves_the_next_ones_to_others() {
    let bench = Bench::new().await;
    let receiver = Receiver::new().await;
    let (one, two) = (
        bench.endpoint(&bench.world.admin, &receiver, &[]).await,
        bench.endpoint(&bench.world.admin, &receiver, &[]).await,
    );
    for n in 1..=20 {
        bench.bind(n).await;
    }
    let at = bench.place(secs(1)).await;
    let (relay, vault) = (&bench.world.db.database.relay, &bench.world.db.vault);
    let id = |endpoint: &serde_json::Value| {
        WebhookId::parse(endpoint["id"].as_str().expect("an id")).expect("an id")
    };
    let count = |claimed: &[Claimed], of: WebhookId| {
        claimed.iter().filter(|claimed| claimed.endpoint == of).count()
    };
    let claimed = relay.claim_deliveries(vault, &[], 6, at).await.expect("claimed");
    assert_eq!((count(&claimed, id(&one)), count(&claimed, id(&two))), (3, 3));
    for busy in [id(&one), id(&two)] {
        let claimed = relay.claim_deliveries(vault, &[(busy, 5)], 4, at).await.expect("claimed");
        assert_eq!((claimed.len(), count(&claimed, busy)), (4, 0));
    }
    let both = [(id(&one), 8), (id(&two), 7)];
    let claimed = relay.claim_deliveries(vault, &both, 100, at).await.expect("claimed");
    assert_eq!((claimed.len(), count(&claimed, id(&two))), (1, 1), "no more than eight");
}

#[tokio::test]
async fn what_a_node_took_and_never_told_of_is_taken_by_another_a_minute_later() {
    let bench = Bench::new().await;
    let receiver = Receiver::new().await;
    bench.endpoint(&bench.world.admin, &receiver, &[]).await;
    bench.bind(1).await;
    let at = bench.place(secs(0)).await;
    let (relay, vault) = (&bench.world.db.database.relay, &bench.world.db.vault);
    let claimed = relay.claim_deliveries(vault, &[], 8, at).await.expect("claimed");
    let [lost] = &claimed[..] else { panic!("one delivery") };
    receiver.answers([Reply::Status(500)]);
    assert_eq!(bench.round(LEASE_TIME - secs(1)).await, 0);
    assert_eq!(bench.round(LEASE_TIME).await, 1);
    assert_eq!(receiver.kinds(), ["binding.created"]);
    // The first node wakes up: its word counts no more.
    let attempted = Attempted { outcome: "timed_out", status: None, took: secs(1) };
    let told = relay.finish_delivery(lost, &attempted, Next::Dead, at).await.expect("an answer");
    assert!(!told);
    assert_eq!(bench.round(LEASE_TIME + secs(5)).await, 1);
}

#[tokio::test]
async fn what_waits_is_measured_and_what_is_old_or_left_over_is_swept() {
    let bench = Bench::new().await;
    let receiver = Receiver::new().await;
    let (stays, goes) = (
        bench.endpoint(&bench.world.admin, &receiver, &[]).await,
        bench.endpoint(&bench.world.admin, &receiver, &[]).await,
    );
    let relay = &bench.world.db.database.relay;
    bench.bind(1).await;
    let (pending, lag) = relay.measure_outbox(noon() + secs(9)).await.expect("measured");
    assert_eq!((pending, lag.as_secs()), (1, 8), "an event without its place");
    bench.place(secs(10)).await;
    let (pending, lag) = relay.measure_outbox(noon() + secs(15)).await.expect("measured");
    assert_eq!((pending, lag.as_secs()), (2, 5), "two tellings");
    receiver.answers([Reply::Status(500), Reply::Status(500)]);
    bench.round(secs(16)).await;
    let (pending, lag) = relay.measure_outbox(noon() + secs(17)).await.expect("measured");
    assert_eq!((pending, lag.as_secs()), (2, 0), "both had their first attempt");
    let path = format!("/v1/webhook-endpoints/{}", goes["id"].as_str().expect("an id"));
    bench.world.admin.delete(&path).await.gave(204);
    assert_eq!(relay.sweep_deliveries(noon()).await.expect("swept"), 1);
    assert_eq!(bench.deliveries(&stays).await.len(), 1);
    let old = noon() + KEEP_TIME + secs(11);
    assert_eq!(relay.sweep_deliveries(old).await.expect("swept"), 1);
    assert_eq!(bench.deliveries(&stays).await.len(), 0);
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
