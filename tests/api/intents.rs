//! Call intents: made while the call would be allowed, shown, and taken back.

use serde_json::{Value, json};

use crate::world::{World, binding};

/// A binding and an agent, and the intent of a call between them.
async fn wanted(world: &World, n: usize) -> Value {
    let bound = world.admin.post("/v1/bindings", binding(n)).await.gave(201);
    let agent = json!({"employee_id": format!("A-{n}"), "name": "Li"});
    let agent = world.admin.post("/v1/agents", agent).await.id();
    json!({
        "binding": bound.id(), "agent": agent, "purpose": "claim", "case_ref": "CLM-1",
        "mode": "dial_in", "ttl_s": 60,
    })
}

fn text<'a>(body: &'a Value, field: &str) -> &'a str {
    body[field].as_str().expect("a text")
}

#[tokio::test]
async fn an_intent_says_what_to_dial_and_is_shown_and_taken_back() {
    let world = World::new().await;
    let body = wanted(&world, 1).await;
    let made = world.admin.post("/v1/call-intents", body.clone()).await.gave(201);
    let bound = world.admin.get(&format!("/v1/bindings/{}", text(&body, "binding"))).await;
    assert_eq!(made.body["virtual_number"], bound.body["virtual_number"]);
    assert_eq!((text(&made.body, "state"), &made.body["used_by"]), ("waiting", &Value::Null));
    let path = format!("/v1/call-intents/{}", made.id());
    assert_eq!(made.header("location"), path);
    assert_eq!(world.admin.get(&path).await.gave(200).body, made.body);
    let other = wanted(&world, 2).await;
    world.admin.post("/v1/call-intents", other.clone()).await.gave(201);
    for filter in ["binding_id", "agent_id"] {
        let of = text(&body, filter.trim_end_matches("_id"));
        let list = world.admin.get(&format!("/v1/call-intents?{filter}={of}")).await.gave(200);
        assert_eq!(list.body["data"], json!([made.body]), "{filter}");
    }
    let cancel = format!("{path}/cancel");
    let cancelled = world.admin.post(&cancel, json!({})).await.gave(200);
    assert_eq!(text(&cancelled.body, "state"), "cancelled");
    let again = world.admin.post(&cancel, json!({})).await.gave(200);
    assert_eq!(again.body, cancelled.body);
    let key = [("idempotency-key", "twice")];
    let first = world.admin.json("POST", "/v1/call-intents", other.clone(), &key).await.gave(201);
    let second = world.admin.json("POST", "/v1/call-intents", other, &key).await.gave(201);
    assert_eq!(first.body, second.body);
}

#[tokio::test]
async fn a_call_that_would_be_refused_is_refused_with_every_reason() {
    let world = World::new().await;
    let body = wanted(&world, 1).await;
    let bound = format!("/v1/bindings/{}", text(&body, "binding"));
    let agent = format!("/v1/agents/{}", text(&body, "agent"));
    world.admin.post(&format!("{bound}/suspend"), json!({})).await.gave(200);
    let reasons = async || {
        let answer = world.admin.post("/v1/call-intents", body.clone()).await;
        answer.refused(403, "policy_refused").body["reasons"].clone()
    };
    assert_eq!(reasons().await, json!(["binding_suspended"]));
    world.admin.patch(&agent, json!({"state": "disabled"})).await.gave(200);
    assert_eq!(reasons().await, json!(["binding_suspended", "agent_unknown"]));
    world.admin.post(&format!("{bound}/resume"), json!({})).await.gave(200);
    assert_eq!(reasons().await, json!(["agent_unknown"]));
    world.admin.patch(&agent, json!({"state": "active"})).await.gave(200);
    world.admin.post("/v1/call-intents", body.clone()).await.gave(201);
    world.admin.post(&format!("{bound}/unbind"), json!({})).await.gave(200);
    assert_eq!(reasons().await, json!(["cooling"]));
}

#[tokio::test]
async fn an_agent_announces_only_what_it_may_call_for() {
    let world = World::new().await;
    let body = wanted(&world, 1).await;
    let agent = format!("/v1/agents/{}", text(&body, "agent"));
    world.admin.patch(&agent, json!({"allowed_purposes": ["survey"]})).await.gave(200);
    let answer = world.admin.post("/v1/call-intents", body.clone()).await;
    let answer = answer.refused(403, "policy_refused");
    assert_eq!(answer.body["reasons"], json!(["purpose_not_allowed"]));
    world.admin.patch(&agent, json!({"allowed_purposes": ["survey", "claim"]})).await.gave(200);
    world.admin.post("/v1/call-intents", body).await.gave(201);
}

#[tokio::test]
async fn what_is_wrong_or_foreign_is_told_by_its_place() {
    let world = World::new().await;
    let body = wanted(&world, 1).await;
    let stranger = world.stranger().await;
    let foreign = stranger.post("/v1/call-intents", body.clone()).await;
    let foreign = foreign.refused(422, "validation_failed");
    assert_eq!(foreign.place(), ("/binding", "unknown_reference"));
    let nobody = format!("agt_{}", "0".repeat(32));
    for (field, value, rule) in [
        ("agent", json!(nobody), "unknown_reference"),
        ("purpose", json!("unspecified"), "not_allowed"),
        ("ttl_s", json!(0), "out_of_range"),
        ("ttl_s", json!(3_601), "out_of_range"),
        ("mode", json!("call_back"), "not_allowed"),
        ("case_ref", json!("13800001234"), "real_number_here"),
    ] {
        let mut wrong = body.clone();
        wrong[field] = value;
        let answer = world.admin.post("/v1/call-intents", wrong).await;
        let answer = answer.refused(422, "validation_failed");
        assert_eq!(answer.place(), (&*format!("/{field}"), rule));
    }
}
