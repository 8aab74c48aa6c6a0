//! Receivers that mean harm, and URLs that lead to where nobody outside may send.

use std::net::SocketAddr;
use std::sync::Arc;

use maskline::domain::webhook::Reach;
use serde_json::json;

use super::receiver::{Receiver, Reply};
use super::{Bench, FakeNames, NEAR, PATIENCE, dispatcher, secs};

#[tokio::test]
async fn a_redirect_is_a_failure_and_is_not_followed() {
    let bench = Bench::new().await;
    let (receiver, elsewhere) = (Receiver::new().await, Receiver::new().await);
    let endpoint = bench.endpoint(&bench.world.admin, &receiver, &[]).await;
    receiver.answers([Reply::Redirect(elsewhere.url())]);
    bench.bind(1).await;
    bench.round(secs(1)).await;
    let attempt = bench.deliveries(&endpoint).await[0]["attempts"][0].clone();
    assert_eq!((&attempt["outcome"], &attempt["status"]), (&json!("redirected"), &json!(302)));
    assert_eq!(elsewhere.got().len(), 0);
}

#[tokio::test]
async fn an_answer_without_end_is_not_read_to_its_end() {
    let bench = Bench::new().await;
    let receiver = Receiver::new().await;
    let endpoint = bench.endpoint(&bench.world.admin, &receiver, &[]).await;
    receiver.answers([Reply::Endless]);
    bench.bind(1).await;
    bench.round(secs(1)).await;
    let delivery = bench.deliveries(&endpoint).await[0].clone();
    assert_eq!(delivery["state"], "delivered");
    let took = delivery["attempts"][0]["duration_ms"].as_u64().expect("a time");
    assert!(u128::from(took) < PATIENCE.as_millis(), "read for {took} ms");
}

#[tokio::test]
async fn nobody_there_is_a_failure_and_the_log_says_nothing_of_it() {
    let bench = Bench::new().await;
    let unused = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address: SocketAddr = unused.local_addr().expect("an address");
    drop(unused);
    let body = json!({ "url": format!("http://{address}/secret-path") });
    let endpoint = bench.world.admin.post("/v1/webhook-endpoints", body).await.gave(201).body;
    bench.bind(1).await;
    bench.round(secs(1)).await;
    let attempt = bench.deliveries(&endpoint).await[0]["attempts"][0].clone();
    assert_eq!(attempt["outcome"], "unreachable");
    let ours = |line: &&str| line.contains("maskline::jobs") && line.contains("secret-path");
    assert_eq!(crate::world::logged().lines().find(ours), None);
}

/// The name leads to a closed address, beside an open one or a moment after it: rebinding. Each
/// attempt looks the name up once, and what was looked at is all that could be connected to.
#[tokio::test]
async fn a_name_that_leads_inside_is_not_connected_to_whatever_it_said_before() {
    let bench = Bench::new().await;
    let receiver = Receiver::new().await;
    let url = format!("http://hook.example.com:{}/", receiver.address.port());
    let body = json!({ "url": url });
    let endpoint = bench.world.admin.post("/v1/webhook-endpoints", body).await.gave(201).body;
    bench.bind(1).await;
    let at = bench.place(secs(0)).await;
    let far = Reach { allow_http: true, allow_private: false };
    let names = FakeNames::new(&[
        &["127.0.0.1"],
        &["1.1.1.1", "127.0.0.1"],
        &["::ffff:127.0.0.1"],
        &["169.254.169.254"],
    ]);
    let strict = dispatcher(&bench.world, far, Arc::clone(&names));
    for (nth, after) in [0, 5, 305, 2_105].into_iter().enumerate() {
        assert_eq!(strict.round(at + secs(after)).await.expect("a round"), 1);
        assert_eq!(names.asked(), nth + 1, "one lookup for each attempt");
    }
    assert_eq!(receiver.got().len(), 0);
    let attempts = bench.deliveries(&endpoint).await[0]["attempts"].clone();
    let attempts = attempts.as_array().expect("attempts");
    assert_eq!(attempts.len(), 4);
    assert!(attempts.iter().all(|it| it["outcome"] == "forbidden"), "{attempts:?}");
    // The same name is connected to where that is allowed: it was the address that was refused.
    let names = FakeNames::new(&[&["127.0.0.1"], &["192.0.2.1"]]);
    let open = dispatcher(&bench.world, NEAR, Arc::clone(&names));
    assert_eq!(open.round(at + secs(10_000)).await.expect("a round"), 1);
    assert_eq!((receiver.got().len(), names.asked()), (1, 1));
    assert_eq!(receiver.got()[0].headers["host"], url[7..url.len() - 1]);
}

#[tokio::test]
async fn what_the_settings_no_longer_allow_is_not_sent() {
    let bench = Bench::new().await;
    let receiver = Receiver::new().await;
    let endpoint = bench.endpoint(&bench.world.admin, &receiver, &[]).await;
    bench.bind(1).await;
    let at = bench.place(secs(0)).await;
    let strict = dispatcher(&bench.world, Reach::default(), Arc::default());
    assert_eq!(strict.round(at).await.expect("a round"), 1);
    assert_eq!(receiver.got().len(), 0);
    let attempt = bench.deliveries(&endpoint).await[0]["attempts"][0].clone();
    assert_eq!(attempt["outcome"], "forbidden");
}
