//! `Idempotency-Key`: one change, one answer, however often it is asked for.

use serde_json::json;
use tokio::task::JoinSet;

use crate::world::{World, binding};

const KEY: &str = "idempotency-key";

#[tokio::test]
async fn a_repeat_gets_the_first_answer() {
    let world = World::new().await;
    let headers = [(KEY, "first")];
    let first = world.admin.json("POST", "/v1/bindings", binding(1), &headers).await.gave(201);
    assert_eq!(first.header("idempotent-replayed"), "");
    let again = world.admin.json("POST", "/v1/bindings", binding(1), &headers).await.gave(201);
    assert_eq!(again.header("idempotent-replayed"), "true");
    assert_eq!(again.body, first.body);
    for name in ["location", "etag", "content-type"] {
        assert_eq!(again.header(name), first.header(name));
    }
    assert_ne!(again.header("x-request-id"), first.header("x-request-id"));
}

#[tokio::test]
async fn a_refusal_is_repeated_as_it_was() {
    let world = World::new().await;
    let headers = [(KEY, "first"), ("accept-language", "zh-CN")];
    let body = json!({"external_id": "E"});
    let first = world.admin.json("POST", "/v1/bindings", body.clone(), &headers).await.gave(422);
    let again = world.admin.json("POST", "/v1/bindings", body, &headers).await.gave(422);
    assert_eq!(again.header("idempotent-replayed"), "true");
    assert_eq!(again.header("content-type"), "application/problem+json");
    assert_eq!(again.body, first.body);
}

#[tokio::test]
async fn the_same_key_with_another_request_is_refused() {
    let world = World::new().await;
    let headers = [(KEY, "first")];
    world.admin.json("POST", "/v1/bindings", binding(1), &headers).await.gave(201);
    let other = world.admin.json("POST", "/v1/bindings", binding(2), &headers).await;
    other.refused(422, "idempotency_mismatch");
    let other = world.admin.json("POST", "/v1/subscribers", binding(1), &headers).await;
    other.refused(422, "idempotency_mismatch");
    assert_eq!(world.count("binding").await, 1);
}

#[tokio::test]
async fn keys_of_two_tenants_are_apart() {
    let world = World::new().await;
    let stranger = world.stranger().await;
    let headers = [(KEY, "first")];
    let own = world.admin.json("POST", "/v1/bindings", binding(1), &headers).await.gave(201);
    let other = stranger.json("POST", "/v1/bindings", binding(1), &headers).await.gave(201);
    assert_ne!(own.id(), other.id());
}

#[tokio::test]
async fn twenty_requests_at_once_bind_once() {
    let world = World::new().await;
    let mut requests = JoinSet::new();
    for _ in 0..20 {
        let admin = world.admin.clone();
        requests.spawn(async move {
            admin.json("POST", "/v1/bindings", binding(1), &[(KEY, "same")]).await
        });
    }
    let answers = requests.join_all().await;
    let mut ids: Vec<String> = Vec::new();
    for answer in answers {
        match answer.status.as_u16() {
            201 => ids.push(answer.id()),
            _ => drop(answer.refused(409, "idempotency_in_progress")),
        }
    }
    ids.dedup();
    assert_eq!(ids.len(), 1);
    assert_eq!((world.count("binding").await, world.count("bound").await), (1, 1));
    let later = world.admin.json("POST", "/v1/bindings", binding(1), &[(KEY, "same")]).await;
    assert_eq!(later.gave(201).id(), ids[0]);
}

#[tokio::test]
async fn twenty_requests_at_once_without_a_key_bind_once_too() {
    let world = World::new().await;
    let mut requests = JoinSet::new();
    for _ in 0..20 {
        let admin = world.admin.clone();
        requests.spawn(async move { admin.post("/v1/bindings", binding(1)).await });
    }
    let answers = requests.join_all().await;
    let created = answers.iter().filter(|answer| answer.status.as_u16() == 201).count();
    assert!(answers.iter().all(|answer| answer.status.is_success()));
    assert_eq!((created, world.count("binding").await), (1, 1));
}

#[tokio::test]
async fn a_new_key_is_repeated_but_not_readable_in_the_store() {
    let world = World::new().await;
    let body = json!({"name": "k", "role": "insurer_crm"});
    let headers = [(KEY, "first")];
    let first = world.admin.json("POST", "/v1/api-keys", body.clone(), &headers).await.gave(201);
    let again = world.admin.json("POST", "/v1/api-keys", body, &headers).await.gave(201);
    assert_eq!(again.body["key"], first.body["key"]);
    let mut superuser = world.db.superuser().await;
    let kept: Vec<Vec<u8>> = sqlx::query_scalar("select response_body_sealed from idempotency")
        .fetch_all(&mut superuser)
        .await
        .expect("rows");
    let readable = kept.iter().any(|body| body.windows(8).any(|bytes| bytes == b"mk_live_"));
    assert!(!kept.is_empty() && !readable);
}

#[tokio::test]
async fn a_key_of_no_or_too_many_characters_is_refused() {
    let world = World::new().await;
    let long = "k".repeat(256);
    for key in ["", &long] {
        let answer = world.admin.json("POST", "/v1/bindings", binding(1), &[(KEY, key)]).await;
        let answer = answer.refused(422, "validation_failed");
        assert_eq!(answer.place(), ("/header/idempotency-key", "length"));
    }
}
