//! Many bindings in one request: every row is answered as a request of its own would be.

use std::convert::Infallible;

use axum::body::Body;
use futures_util::stream;
use maskline::api::turns::TENANT_BATCHES_MAX;
use serde_json::{Value, json};

use crate::world::{Answer, Client, World, binding, real_number};

const PATH: &str = "/v1/bindings:batch";
const KEY: &str = "idempotency-key";

async fn batch(client: &Client, rows: &[Value]) -> Answer {
    client.post(PATH, json!({"bindings": rows})).await
}

/// Rows of a batch, of which every second is wrong in another way.
pub(crate) fn mixed(world: &World) -> Vec<Value> {
    let wrong = [
        json!(null),
        json!(["E-1", "ax"]),
        json!({}),
        json!({"external_id": "E", "mode": "ax", "tenant_id": world.tenant}),
        with(1, "policy", json!({"ref": "P", "number": 1})),
        with(2, "subscriber", json!({"real_number": "13800000001"})),
        with(3, "subscriber", json!({})),
        with(4, "subscriber", json!({"id": "sub_01977420a1b27c3d8e4f5a6b7c8d9e0f"})),
        with(5, "metadata", json!({"phone": real_number(1), "a": "138 0000 0001"})),
        with(6, "mode", json!("axyb")),
        with(7, "valid_until", json!("2020-01-01T00:00:00Z")),
        with(8, "pool", json!("pol_01977420a1b27c3d8e4f5a6b7c8d9e0f")),
        with(9, "city", json!("Canton")),
        with(10, "virtual_number", json!("95588")),
        with(11, "subscriber", json!({"real_number": "+8617000000003"})),
        with(12, "external_id", json!("E-100")),
        with(13, "external_id", json!("x".repeat(200))),
    ];
    let good = (100..).map(binding);
    good.zip(wrong).flat_map(|(good, wrong)| [good, wrong]).collect()
}

fn with(n: usize, field: &str, value: Value) -> Value {
    let mut row = binding(n);
    row[field] = value;
    row
}

/// Without what no two answers have in common.
pub(crate) fn lasting(mut told: Value) -> Value {
    for name in ["id", "subscriber_id", "virtual_number", "request_id"] {
        told.as_object_mut().expect("an object").remove(name);
    }
    told
}

#[tokio::test]
async fn a_row_is_answered_as_a_request_of_its_own() {
    let (one, many) = (World::new().await, World::new().await);
    let together = batch(&many.admin, &mixed(&many)).await.gave(200);
    let results = together.body["results"].as_array().expect("results");
    let rows = mixed(&one);
    assert_eq!(results.len(), rows.len());
    for (row, result) in rows.into_iter().zip(results) {
        let alone = one.admin.post("/v1/bindings", row.clone()).await;
        assert_eq!(result["status"], alone.status.as_u16(), "{row}");
        let (told, other) = match alone.status.is_success() {
            true => (&result["binding"], &result["problem"]),
            false => (&result["problem"], &result["binding"]),
        };
        assert_eq!(lasting(told.clone()), lasting(alone.body), "{row}");
        assert!(other.is_null());
        if !alone.status.is_success() {
            assert_eq!(told["request_id"], together.header("x-request-id"));
        }
    }
    for table in ["binding", "subscriber", "event", "bound"] {
        assert_eq!(many.count(table).await, one.count(table).await, "{table}");
    }
}

#[tokio::test]
async fn the_same_name_twice_in_a_batch_is_one_binding() {
    let world = World::new().await;
    let rows = [binding(1), binding(1), with(2, "external_id", json!("E-1"))];
    let results = batch(&world.admin, &rows).await.gave(200).body["results"].clone();
    let statuses: Vec<&Value> = (0..3).map(|n| &results[n]["status"]).collect();
    assert_eq!(statuses, [201, 200, 409]);
    assert_eq!(results[0]["binding"], results[1]["binding"]);
    assert_eq!(results[2]["problem"]["code"], "external_id_conflict");
    // One subscriber under two names has two numbers.
    let rows = [binding(3), with(3, "external_id", json!("E-4"))];
    let results = batch(&world.admin, &rows).await.gave(200).body["results"].clone();
    let (one, two) = (&results[0]["binding"], &results[1]["binding"]);
    assert_eq!(one["subscriber_id"], two["subscriber_id"]);
    assert_ne!(one["virtual_number"], two["virtual_number"]);
}

#[tokio::test]
async fn a_virtual_number_goes_to_the_first_row_that_asks_for_it() {
    let world = World::new().await;
    let x = json!("17000000029");
    let rows = [with(5, "virtual_number", x.clone()), with(6, "virtual_number", x.clone())];
    let results = batch(&world.admin, &rows).await.gave(200).body["results"].clone();
    assert_eq!(results[0]["binding"]["virtual_number"], x);
    assert_eq!(results[1]["problem"]["errors"][0]["pointer"], "/virtual_number");
}

#[tokio::test]
async fn rows_beyond_the_last_number_say_that_there_is_none() {
    let world = World::new().await;
    let rows: Vec<Value> = (0..33).map(binding).collect();
    let results = batch(&world.admin, &rows).await.gave(200).body["results"].clone();
    for (nth, result) in results.as_array().expect("results").iter().enumerate() {
        let (status, code) = if nth < 30 { (201, None) } else { (409, Some("pool_empty")) };
        assert_eq!((&result["status"], result["problem"]["code"].as_str()), (&json!(status), code));
    }
    assert_eq!(world.count("subscriber").await, 30);
}

#[tokio::test]
async fn what_belongs_to_others_looks_like_what_is_not_there() {
    let world = World::new().await;
    let stranger = world.stranger().await;
    let theirs = stranger.post("/v1/bindings", binding(1)).await.gave(201).body;
    let nothing = "sub_01977420a1b27c3d8e4f5a6b7c8d9e0f";
    let rows = [
        with(2, "subscriber", json!({"id": theirs["subscriber_id"]})),
        with(3, "subscriber", json!({"id": nothing})),
        with(4, "virtual_number", theirs["virtual_number"].clone()),
        with(5, "virtual_number", json!("95588")),
    ];
    let results = batch(&world.admin, &rows).await.gave(200).body["results"].clone();
    for [foreign, unknown] in [[0, 1], [2, 3]] {
        assert_eq!(results[foreign], results[unknown]);
        assert!(results[foreign]["problem"].is_object());
    }
}

#[tokio::test]
async fn a_body_that_is_no_batch_binds_nothing() {
    let world = World::new().await;
    let json = [("content-type", "application/json")];
    let length = ("/bindings", "length");
    let rows =
        |count: usize, row: &str| format!("{{\"bindings\":[{}]}}", vec![row; count].join(","));
    let good = binding(1).to_string();
    for (body, place) in [
        (rows(1_001, &good), length),
        (rows(0, ""), length),
        (rows(1_000_000, "0"), length),
        ("{}".to_owned(), ("/bindings", "missing")),
        (format!("{{\"bindings\":[{good}],\"more\":1}}"), ("/more", "unknown_field")),
        (format!("{{\"bindings\":[{good}],\"bindings\":[]}}"), ("", "duplicate")),
        (format!("{{\"bindings\":{good}}}"), ("/bindings", "wrong_type")),
        (format!("[{good}]"), ("", "wrong_type")),
    ] {
        let answer = world.admin.raw("POST", PATH, body, &json).await;
        assert_eq!(answer.refused(422, "validation_failed").place(), place);
    }
    let half = format!("{{\"bindings\":[{good},{{]}}");
    world.admin.raw("POST", PATH, half, &json).await.refused(400, "malformed_body");
    let text = [("content-type", "text/csv")];
    world.admin.raw("POST", PATH, good, &text).await.refused(415, "unsupported_media_type");
    assert_eq!(world.count("binding").await, 0);
}

#[tokio::test]
async fn a_batch_may_be_larger_than_other_bodies_but_has_a_bound_too() {
    let world = World::new().await;
    let note = |n: usize, bytes: usize| with(n, "metadata", json!({"note": "x".repeat(bytes)}));
    let large: Vec<Value> = (0..120).map(|n| note(n, 15_000)).collect();
    let answer = world.admin.json("POST", PATH, json!({"bindings": large}), &[(KEY, "a")]).await;
    let first = answer.gave(200);
    assert_eq!(first.body["results"][29]["status"], 201);
    let again = world.admin.json("POST", PATH, json!({"bindings": large}), &[(KEY, "a")]).await;
    assert_eq!((again.header("idempotent-replayed"), &again.body), ("true", &first.body));
    let larger: Vec<Value> = (0..150).map(|n| note(n, 15_000)).collect();
    for headers in [&[][..], &[(KEY, "b")]] {
        let answer = world.admin.json("POST", PATH, json!({"bindings": larger}), headers).await;
        answer.refused(413, "body_too_large");
    }
}

#[tokio::test]
async fn a_row_that_is_too_large_by_itself_is_refused_alone() {
    let world = World::new().await;
    let zeros = |count: usize| json!({"a": vec![0; count]});
    let rows = [binding(1), with(2, "metadata", zeros(800_000)), with(3, "metadata", zeros(4_000))];
    let results = batch(&world.admin, &rows).await.gave(200).body["results"].clone();
    assert_eq!(results[0]["status"], 201);
    assert_eq!(results[1]["problem"]["code"], "body_too_large");
    assert_eq!(results[2]["problem"]["errors"][0]["pointer"], "/metadata");
    assert_eq!(world.count("binding").await, 1);
}

#[tokio::test]
async fn a_batch_with_a_key_is_carried_out_once() {
    let world = World::new().await;
    let rows = json!({"bindings": [binding(1), {}, binding(2)]});
    let first = world.admin.json("POST", PATH, rows.clone(), &[(KEY, "k")]).await.gave(200);
    let again = world.admin.json("POST", PATH, rows.clone(), &[(KEY, "k")]).await.gave(200);
    assert_eq!((again.header("idempotent-replayed"), &again.body), ("true", &first.body));
    let other = world.admin.json("POST", PATH, json!({"bindings": [{}]}), &[(KEY, "k")]).await;
    other.refused(422, "idempotency_mismatch");
    // Without it the names of the rows say what there is already.
    let plain = world.admin.json("POST", PATH, rows, &[]).await.gave(200).body;
    let statuses: Vec<&Value> = (0..3).map(|n| &plain["results"][n]["status"]).collect();
    assert_eq!(statuses, [200, 422, 200]);
    assert_eq!(plain["results"][0]["binding"], first.body["results"][0]["binding"]);
    assert_eq!(world.count("binding").await, 2);
}

#[tokio::test]
async fn batches_at_once_wait_for_their_turn() {
    let world = World::new().await;
    let mut batches = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let admin = world.admin.clone();
        batches.spawn(async move {
            let rows: Vec<Value> = (0..20).map(binding).collect();
            loop {
                let answer = batch(&admin, &rows).await;
                // What is over the tenant's room is not even read, and may come again.
                match answer.status.as_u16() {
                    503 => assert_eq!(answer.body["retryable"], true),
                    _ => return answer.gave(200).body,
                }
                tokio::task::yield_now().await;
            }
        });
    }
    let mut created = 0;
    for body in batches.join_all().await {
        let results = body["results"].as_array().expect("results").clone();
        created += results.iter().filter(|result| result["status"] == 201).count();
        assert!(results.iter().all(|result| result["binding"].is_object()));
    }
    assert_eq!((created, world.count("binding").await), (20, 20));
}

#[tokio::test]
async fn a_tenant_that_sends_slowly_fills_its_own_room_alone() {
    let world = World::new().await;
    let stranger = world.stranger().await;
    let mut slow = tokio::task::JoinSet::new();
    for _ in 0..TENANT_BATCHES_MAX {
        let admin = world.admin.clone();
        slow.spawn(async move {
            // Another one may be there first.
            loop {
                let body = Body::from_stream(stream::pending::<Result<String, Infallible>>());
                let headers = [("content-type", "application/json")];
                admin.raw("POST", PATH, body, &headers).await.refused(503, "unavailable");
                tokio::task::yield_now().await;
            }
        });
    }
    let rows = [binding(1)];
    while batch(&world.admin, &rows).await.status != 503 {
        tokio::task::yield_now().await;
    }
    batch(&stranger, &rows).await.gave(200);
    slow.shutdown().await;
    batch(&world.admin, &rows).await.gave(200);
}

#[tokio::test]
async fn problems_of_rows_speak_the_language_of_the_request() {
    let world = World::new().await;
    let headers = [("accept-language", "zh-CN")];
    let answer = world.admin.json("POST", PATH, json!({"bindings": [{}]}), &headers).await;
    let problem = answer.gave(200).body["results"][0]["problem"].clone();
    assert_eq!(problem["title"], "请求无效");
}
