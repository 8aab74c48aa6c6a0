//! What receivers get can be trusted: whole, signed, and the same that is pulled.

use maskline::store::webhook::OLD_SECRET_TIME;
use serde_json::{Value, json};
use standardwebhooks::Webhook;

use super::receiver::{Got, Receiver};
use super::{Bench, secs};
use crate::support::noon;
use crate::world::key_of;

fn is_signed(got: &Got, secret: &Value) -> bool {
    let webhook = Webhook::new(secret.as_str().expect("a secret")).expect("a whsec");
    let header = |name: &str| got.headers[name].to_str().expect("text");
    // The time of most tests is not that of the clock, which `verify` reads.
    let at = header("webhook-timestamp").parse().expect("a number");
    let wanted = webhook.sign(header("webhook-id"), at, &got.body).expect("a signature");
    header("webhook-signature").split(' ').any(|signature| signature == wanted)
}

#[tokio::test]
async fn a_receiver_gets_the_event_that_is_pulled_with_a_signature_that_holds() {
    let bench = Bench::new().await;
    let receiver = Receiver::new().await;
    let endpoint = bench.endpoint(&bench.world.admin, &receiver, &[]).await;
    bench.bind(1).await;
    assert_eq!(bench.round(secs(7)).await, 1);
    let [got] = &receiver.got()[..] else { panic!("one request") };
    assert!(is_signed(got, &endpoint["secret"]));
    let pulled = bench.world.admin.get("/v1/events").await.gave(200).body;
    assert_eq!(got.event(), pulled["data"][0]);
    let header = |name: &str| got.headers[name].to_str().expect("text").to_owned();
    assert_eq!(header("webhook-id"), pulled["data"][0]["id"].as_str().expect("an id"));
    assert_eq!(header("webhook-timestamp"), "1749960007");
    assert_eq!(header("content-type"), "application/json");
    assert!(!String::from_utf8_lossy(&got.body).contains(crate::world::CANARY));
    let mut changed = got.clone();
    changed.body = String::from_utf8_lossy(&got.body).replace("E-1", "E-2").into();
    assert!(!is_signed(&changed, &endpoint["secret"]));
    assert_eq!(bench.round(secs(8)).await, 0, "it was taken");
}

#[tokio::test]
async fn a_receiver_that_verifies_by_the_public_scheme_takes_what_is_sent_now() {
    let bench = Bench::new().await;
    let receiver = Receiver::new().await;
    let endpoint = bench.endpoint(&bench.world.admin, &receiver, &[]).await;
    bench.bind(1).await;
    let now = crate::world::clock().duration_since(noon()).expect("noon is long past");
    bench.round(now).await;
    let webhook = Webhook::new(endpoint["secret"].as_str().expect("a secret")).expect("a whsec");
    let [got] = &receiver.got()[..] else { panic!("one request") };
    webhook.verify(&got.body, &got.headers).expect("verified");
    let mut late = got.clone();
    late.headers.insert("webhook-timestamp", "1749960007".parse().expect("a value"));
    webhook.verify(&late.body, &late.headers).expect_err("repeated much later");
}

#[tokio::test]
async fn after_a_rotation_both_secrets_sign_for_a_day() {
    let bench = Bench::new().await;
    let receiver = Receiver::new().await;
    let old = bench.endpoint(&bench.world.admin, &receiver, &[]).await;
    let path = format!("/v1/webhook-endpoints/{}/rotate-secret", old["id"].as_str().expect("id"));
    let new = bench.world.admin.post(&path, json!({})).await.gave(200).body;
    assert_ne!(old["secret"], new["secret"]);
    bench.bind(1).await;
    bench.round(OLD_SECRET_TIME - secs(1)).await;
    bench.bind(2).await;
    bench.round(OLD_SECRET_TIME + secs(1)).await;
    let got = receiver.got();
    let signed = |secret| got.iter().map(|got| is_signed(got, secret)).collect::<Vec<_>>();
    assert_eq!(signed(&new["secret"]), [true, true]);
    assert_eq!(signed(&old["secret"]), [true, false]);
}

#[tokio::test]
async fn an_endpoint_is_told_of_the_kinds_it_wants_and_a_ping_reaches_it_alone() {
    let bench = Bench::new().await;
    let (all, some) = (Receiver::new().await, Receiver::new().await);
    bench.endpoint(&bench.world.admin, &all, &[]).await;
    let wants = bench.endpoint(&bench.world.admin, &some, &["binding.suspended"]).await;
    let foreign = Receiver::new().await;
    let stranger = bench.world.stranger().await;
    bench.endpoint(&stranger, &foreign, &[]).await;
    let bound = bench.bind(1).await;
    bench.order(&bound, "suspend").await;
    let path = format!("/v1/webhook-endpoints/{}/ping", wants["id"].as_str().expect("an id"));
    let ping = bench.world.admin.post(&path, json!({})).await.gave(202).body;
    for after in 1..4 {
        bench.round(secs(after)).await;
    }
    assert_eq!(all.kinds(), ["binding.created", "binding.suspended"]);
    let mut kinds = some.kinds();
    kinds.sort();
    assert_eq!(kinds, ["binding.suspended", "webhook.ping"]);
    let pinged = some.got().iter().any(|got| got.event()["id"] == ping["event_id"]);
    assert!(pinged);
    assert_eq!(foreign.kinds(), [""; 0]);
    let crm = key_of(&bench.world.operator, &bench.world.tenant, "insurer_crm").await;
    crm.post(&path, json!({})).await.refused(403, "forbidden");
}
