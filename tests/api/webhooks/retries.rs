//! What is not taken is tried again, ever slower, and given up in the end.

use maskline::store::delivery::FAILING_TIME;
use serde_json::{Value, json};

use super::receiver::{Receiver, Reply};
use super::{Bench, secs};

fn outcomes(delivery: &Value) -> Vec<(String, Option<u64>)> {
    let attempts = delivery["attempts"].as_array().expect("attempts");
    let read = |it: &Value| {
        let outcome = it["outcome"].as_str().expect("an outcome").to_owned();
        (outcome, it["status"].as_u64())
    };
    attempts.iter().map(read).collect()
}

#[tokio::test]
async fn a_receiver_that_fails_is_tried_eight_times_and_the_event_can_be_replayed() {
    let bench = Bench::new().await;
    let receiver = Receiver::new().await;
    let endpoint = bench.endpoint(&bench.world.admin, &receiver, &[]).await;
    receiver.answers(std::iter::repeat_n(Reply::Status(500), 8));
    bench.bind(1).await;
    let mut at = 0;
    for (nth, wait) in [0, 5, 300, 1_800, 7_200, 18_000, 36_000, 36_000].into_iter().enumerate() {
        if wait > 0 {
            at += wait;
            assert_eq!(bench.round(secs(at - 1)).await, 0, "not before its time");
        }
        assert_eq!(bench.round(secs(at)).await, 1, "attempt {nth}");
    }
    let [dead] = &bench.deliveries(&endpoint).await[..] else { panic!("one delivery") };
    assert_eq!((&dead["state"], &dead["next_attempt_at"]), (&json!("dead"), &Value::Null));
    assert_eq!(outcomes(dead), vec![("refused".to_owned(), Some(500)); 8]);
    assert_eq!(bench.round(secs(at + 100_000)).await, 0);
    assert_eq!(bench.find(&endpoint).await["state"], "enabled");
    assert_ne!(bench.find(&endpoint).await["failing_since"], Value::Null);

    let path = format!("/v1/webhook-deliveries/{}/replay", dead["id"].as_str().expect("an id"));
    let again = bench.world.admin.post(&path, json!({})).await.gave(202).body;
    assert_eq!((&again["event_id"], &again["state"]), (&dead["event_id"], &json!("pending")));
    assert_eq!(bench.round(secs(at)).await, 1);
    let got = receiver.got();
    assert_eq!(got.len(), 9);
    assert!(got.iter().all(|it| it.headers["webhook-id"] == got[0].headers["webhook-id"]));
    let list = bench.deliveries(&endpoint).await;
    let done = list.iter().find(|it| it["id"] == again["id"]).expect("the replay");
    assert_eq!(outcomes(done), [("delivered".to_owned(), Some(204))]);
    assert_eq!(bench.find(&endpoint).await["failing_since"], Value::Null);
}

#[tokio::test]
async fn a_receiver_that_says_goodbye_is_told_nothing_more_and_the_tenant_hears_of_it() {
    let bench = Bench::new().await;
    let (leaves, stays) = (Receiver::new().await, Receiver::new().await);
    let endpoint = bench.endpoint(&bench.world.admin, &leaves, &[]).await;
    bench.endpoint(&bench.world.admin, &stays, &["webhook.endpoint_disabled"]).await;
    leaves.answers([Reply::Status(410)]);
    bench.bind(1).await;
    bench.round(secs(1)).await;
    bench.bind(2).await;
    bench.round(secs(2)).await;
    assert_eq!(leaves.kinds(), ["binding.created"]);
    let disabled = bench.find(&endpoint).await;
    assert_eq!(
        (&disabled["state"], &disabled["disabled_reason"]),
        (&json!("disabled"), &json!("gone"))
    );
    let [told] = &stays.got()[..] else { panic!("one event") };
    assert_eq!(told.event()["data"], json!({"endpoint": endpoint["id"], "reason": "gone"}));
    let ping = format!("/v1/webhook-endpoints/{}/ping", endpoint["id"].as_str().expect("an id"));
    bench.world.admin.post(&ping, json!({})).await.refused(409, "state_conflict");
    // It can be taken back.
    let path = format!("/v1/webhook-endpoints/{}", endpoint["id"].as_str().expect("an id"));
    bench.world.admin.patch(&path, json!({"state": "enabled"})).await.gave(200);
    bench.bind(3).await;
    bench.round(secs(3)).await;
    assert_eq!(leaves.kinds(), ["binding.created", "binding.created"]);
}

#[tokio::test]
async fn an_endpoint_that_takes_nothing_for_five_days_is_disabled() {
    let bench = Bench::new().await;
    let receiver = Receiver::new().await;
    let endpoint = bench.endpoint(&bench.world.admin, &receiver, &[]).await;
    receiver.answers(std::iter::repeat_n(Reply::Status(503), 100));
    bench.bind(1).await;
    bench.round(secs(0)).await;
    bench.bind(2).await;
    bench.round(FAILING_TIME - secs(1)).await;
    assert_eq!(bench.find(&endpoint).await["state"], "enabled");
    bench.bind(3).await;
    while bench.round(FAILING_TIME).await > 0 {}
    let disabled = bench.find(&endpoint).await;
    assert_eq!(disabled["disabled_reason"], "failing");
    bench.place(FAILING_TIME).await;
    let events = bench.world.admin.get("/v1/events?type=webhook.endpoint_disabled").await;
    assert_eq!(events.body["data"][0]["data"]["reason"], "failing");
}
