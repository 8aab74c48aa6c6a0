//! Pairs over the API: what is asked for, what is shown, and who is not told anything.

use serde_json::{Value, json};

use crate::world::{Client, World, binding};

async fn agent(admin: &Client, extension: &str) -> String {
    let body = json!({"employee_id": extension, "name": "Li", "caller_numbers": [extension]});
    admin.post("/v1/agents", body).await.id()
}

fn pair(n: usize, agent: &str) -> Value {
    let mut body = binding(n);
    body["mode"] = json!("axb");
    body["agents"] = json!([agent]);
    body
}

#[tokio::test]
async fn two_pairs_of_a_tenant_share_a_number_and_are_shown_with_their_agents() {
    let world = World::new().await;
    let (one, two) = (agent(&world.admin, "4821").await, agent(&world.admin, "4822").await);
    let first = world.admin.post("/v1/bindings", pair(1, &one)).await.gave(201);
    let second = world.admin.post("/v1/bindings", pair(2, &two)).await.gave(201);
    assert_eq!(first.body["virtual_number"], second.body["virtual_number"]);
    assert_eq!((&first.body["mode"], &first.body["agents"]), (&json!("axb"), &json!([one])));
    let ax = world.admin.post("/v1/bindings", binding(3)).await.gave(201);
    assert_eq!((&ax.body["mode"], &ax.body["agents"]), (&json!("ax"), &json!([])));
    assert_ne!(ax.body["virtual_number"], first.body["virtual_number"]);
    let list = world.admin.get(&format!("/v1/bindings?agent_id={two}")).await.gave(200);
    assert_eq!(list.body["data"], json!([second.body]));
    let again = world.admin.post("/v1/bindings", pair(1, &one)).await.gave(200);
    assert_eq!(again.body, first.body);
    let other = world.admin.post("/v1/bindings", pair(1, &two)).await;
    other.refused(409, "external_id_conflict");
    let mut taken = pair(4, &one);
    taken["virtual_number"] = first.body["virtual_number"].clone();
    let taken = world.admin.post("/v1/bindings", taken).await.refused(409, "number_taken");
    assert_eq!(taken.place().0, "/virtual_number");
}

#[tokio::test]
async fn one_pair_changes_and_ends_without_the_others() {
    let world = World::new().await;
    let (one, two) = (agent(&world.admin, "4821").await, agent(&world.admin, "4822").await);
    let first = world.admin.post("/v1/bindings", pair(1, &one)).await.gave(201);
    let second = world.admin.post("/v1/bindings", pair(2, &two)).await.gave(201);
    let path = format!("/v1/bindings/{}", first.id());
    let until = json!({"until": "2035-01-01T00:00:00Z"});
    for (verb, body, state) in [
        ("suspend", json!({}), "suspended"),
        ("resume", json!({}), "active"),
        ("renew", until, "active"),
        ("unbind", json!({}), "released"),
    ] {
        let changed = world.admin.post(&format!("{path}/{verb}"), body).await.gave(200);
        assert_eq!(changed.body["state"], state);
        assert_eq!(changed.body["agents"], json!([one]));
        let other = world.admin.get(&format!("/v1/bindings/{}", second.id())).await;
        assert_eq!(other.gave(200).body, second.body);
        assert_eq!(world.count("bound").await, 1, "the number serves the other one");
    }
    let path = format!("/v1/bindings/{}", second.id());
    let patched = world.admin.patch(&path, json!({"max_duration_s": 600})).await.gave(200);
    assert_eq!(patched.body["agents"], json!([two]));
    world.admin.post(&format!("{path}/unbind"), json!({})).await.gave(200);
    assert_eq!(world.count("bound").await, 0);
    let told: Vec<Value> = sqlx::query_scalar("select data from event order by position")
        .fetch_all(&mut world.db.superuser().await)
        .await
        .expect("events");
    assert_eq!(told.len(), 8);
    for data in told {
        let is_first = data["binding"] == first.body["id"];
        let wanted = if is_first { &one } else { &two };
        assert_eq!((&data["mode"], &data["agent"]), (&json!("axb"), &json!(wanted)));
    }
}

#[tokio::test]
async fn a_pair_has_one_agent_of_the_tenant_and_no_other_mode_has_any() {
    let world = World::new().await;
    let known = agent(&world.admin, "4821").await;
    let foreign = agent(&world.stranger().await, "4821").await;
    let unknown = "agt_00000000000000000000000000000000";
    let cases = [
        ("axb", Value::Null, "/agents", "missing"),
        ("axb", json!([]), "/agents", "length"),
        ("axb", json!([known, known]), "/agents", "length"),
        ("axb", json!(["sub_1"]), "/agents/0", "invalid_id"),
        ("axb", json!([unknown]), "/agents/0", "unknown_reference"),
        ("axb", json!([foreign]), "/agents/0", "unknown_reference"),
        ("ax", json!([known]), "/agents", "invalid"),
        ("ax", json!([]), "/agents", "invalid"),
    ];
    for (mode, agents, pointer, rule) in cases {
        let mut body = binding(1);
        body["mode"] = json!(mode);
        body["agents"] = agents;
        let refused = world.admin.post("/v1/bindings", body).await;
        assert_eq!(refused.refused(422, "validation_failed").place(), (pointer, rule), "{mode}");
    }
    assert_eq!(world.count("binding").await + world.count("subscriber").await, 0);
    let gone = world.admin.delete(&format!("/v1/agents/{known}")).await;
    assert!(gone.status.is_success());
    let refused = world.admin.post("/v1/bindings", pair(1, &known)).await;
    let place = refused.refused(422, "validation_failed");
    assert_eq!(place.place(), ("/agents/0", "unknown_reference"));
}
