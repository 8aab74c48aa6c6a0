//! Events are pulled in order, each once by whoever keeps the cursor.

use maskline::domain::event::EventKind;
use maskline::store::outbox::assign_sequences;
use serde_json::{Value, json};

use crate::support::noon;
use crate::world::{World, binding};

/// Two bindings, of which one ends: four events of bindings.
async fn busy() -> World {
    let world = World::new().await;
    for n in 1..=2 {
        let bound = world.admin.post("/v1/bindings", binding(n)).await.id();
        let path = format!("/v1/bindings/{bound}/suspend");
        world.admin.post(&path, json!({})).await.gave(200);
    }
    assign_sequences(&world.db.database.relay, noon()).await.expect("assigned");
    world
}

fn told(page: &Value) -> Vec<(u64, String)> {
    let told = |event: &Value| {
        let kind = event["type"].as_str().expect("a type").to_owned();
        (event["sequence"].as_u64().expect("a sequence"), kind)
    };
    page["data"].as_array().expect("events").iter().map(told).collect()
}

#[tokio::test]
async fn events_come_oldest_first_and_the_cursor_goes_on_where_the_page_ended() {
    let world = busy().await;
    let first = world.admin.get("/v1/events?limit=3").await.gave(200).body;
    let kinds = ["binding.created", "binding.suspended", "binding.created"];
    let wanted: Vec<_> = (1..).zip(kinds.map(str::to_owned)).collect();
    assert_eq!(told(&first), wanted);
    assert_eq!(first["has_more"], true);
    let event = &first["data"][0];
    assert!(event["id"].as_str().expect("an id").starts_with("evt_"));
    assert!(event["timestamp"].as_str().expect("a time").starts_with("2025-06-15T04:00:00"));
    assert_eq!(event["data"]["external_id"], "E-1");
    let mut cursor = first["next_cursor"].as_str().expect("a cursor").to_owned();
    let last = world.admin.get(&format!("/v1/events?cursor={cursor}")).await.gave(200).body;
    assert_eq!(told(&last), [(4, "binding.suspended".to_owned())]);
    assert_eq!(last["has_more"], false);
    // The end has a cursor too: what comes later is found behind it.
    cursor = last["next_cursor"].as_str().expect("a cursor").to_owned();
    let path = format!("/v1/events?cursor={cursor}");
    let nothing = world.admin.get(&path).await.gave(200).body;
    assert_eq!((told(&nothing), &nothing["next_cursor"]), (vec![], &json!(cursor)));
    world.admin.post("/v1/bindings", binding(3)).await.gave(201);
    assert_eq!(told(&world.admin.get(&path).await.gave(200).body), [], "it has no place yet");
    assign_sequences(&world.db.database.relay, noon()).await.expect("assigned");
    let new = world.admin.get(&path).await.gave(200).body;
    assert_eq!(told(&new), [(5, "binding.created".to_owned())]);
}

#[tokio::test]
async fn events_of_wanted_kinds_come_alone() {
    let world = busy().await;
    let some = world.admin.get("/v1/events?type=binding.suspended,call.refused").await.gave(200);
    let sequences: Vec<u64> = told(&some.body).into_iter().map(|(at, _)| at).collect();
    assert_eq!(sequences, [2, 4]);
    for bad in ["type=binding.unknown", "type=", "cursor=AQ", "cursor=!", "limit=0", "kind=x"] {
        let answer = world.admin.get(&format!("/v1/events?{bad}")).await;
        answer.refused(422, "validation_failed");
    }
}

#[tokio::test]
async fn a_tenant_is_told_nothing_of_another() {
    let world = busy().await;
    let stranger = world.stranger().await;
    assert_eq!(stranger.get("/v1/events").await.gave(200).body["data"], json!([]));
    world.operator.get("/v1/events").await.refused(403, "forbidden");
}

#[tokio::test]
async fn every_kind_is_listed_with_a_sentence() {
    let world = World::new().await;
    let list = world.admin.get("/v1/event-types").await.gave(200).body;
    let kinds: Vec<&str> = list["data"]
        .as_array()
        .expect("kinds")
        .iter()
        .filter_map(|it| it["type"].as_str())
        .collect();
    assert_eq!(kinds, EventKind::ALL.iter().map(|kind| kind.label()).collect::<Vec<_>>());
    assert!(list["data"][0]["description"].as_str().is_some_and(|text| text.len() > 10));
}
