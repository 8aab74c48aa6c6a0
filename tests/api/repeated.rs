//! `Idempotency-Key`: one change, one answer, however often it is asked for.

use serde_json::json;
use tokio::task::JoinSet;

use crate::world::{World, binding, real_number};

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

/// Lets no answer be kept, as a crash after the work would, until it is lifted.
async fn break_answers(world: &World, is_broken: bool) {
    let mut superuser = world.db.superuser().await;
    let broken = [
        "create or replace function no_answer() returns trigger language plpgsql
             as $$ begin raise exception 'no'; end $$",
        "create trigger no_answer before update on idempotency for each row
             when (new.completed_at is not null) execute function no_answer()",
    ];
    let lifted = ["drop trigger no_answer on idempotency", "drop function no_answer"];
    for sql in if is_broken { broken } else { lifted } {
        sqlx::query(sql).execute(&mut superuser).await.expect("done");
    }
}

#[tokio::test]
async fn what_has_no_name_of_its_own_is_not_made_when_its_answer_cannot_be_kept() {
    let world = World::new().await;
    let admin_key = json!({"name": "k", "role": "insurer_crm"});
    let old = world.admin.post("/v1/api-keys", admin_key.clone()).await.gave(201);
    let roll = format!("/v1/api-keys/{}/roll", old.id());
    let old = world.admin.with_key(old.body["key"].as_str().expect("a key"));
    let requests = [
        (&world.operator, "/v1/tenants", json!({"name": "Two"})),
        (&world.operator, "/v1/api-keys", json!({"name": "k", "role": "ops"})),
        (&world.admin, "/v1/api-keys", admin_key),
        (&world.admin, &roll, json!({})),
    ];
    let made = async || (world.count("tenant").await, world.count("api_key").await);
    let before = made().await;
    break_answers(&world, true).await;
    for (client, path, body) in &requests {
        let key = format!("{path} {body}");
        let answer = client.json("POST", path, body.clone(), &[(KEY, &key)]).await;
        assert!(answer.status.is_server_error(), "{path} {answer:?}");
    }
    assert_eq!(made().await, before);
    old.get("/v1/bindings").await.gave(200);
    break_answers(&world, false).await;
    for (client, path, body) in &requests {
        for _ in 0..2 {
            let key = format!("{path} {body}");
            let answer = client.json("POST", path, body.clone(), &[(KEY, &key)]).await;
            assert!(answer.status.is_success(), "{path} {answer:?}");
        }
    }
    assert_eq!(made().await, (before.0 + 1, before.1 + 2));
    old.get("/v1/bindings").await.refused(401, "unauthenticated");
}

#[tokio::test]
async fn a_repeat_whose_first_answer_was_lost_does_nothing_twice() {
    let world = World::new().await;
    let made = world.admin.post("/v1/bindings", binding(9)).await.gave(201);
    let act = |what: &str| format!("/v1/bindings/{}/{what}", made.id());
    let trunk = json!({"name": "t", "role": "carrier", "source_networks": ["192.0.2.1"],
        "targets": ["192.0.2.1:5060"]});
    let agent = json!({"employee_id": "7", "name": "Li", "caller_numbers": ["7"]});
    let numbers = json!({"pool": world.pool, "numbers": ["17000000901"]});
    let (admin, operator) = (&world.admin, &world.operator);
    let requests = [
        (admin, "/v1/bindings".to_owned(), binding(1), 200),
        (admin, "/v1/subscribers".to_owned(), json!({"real_number": real_number(2)}), 200),
        (admin, "/v1/agents".to_owned(), agent, 409),
        (operator, "/v1/trunks".to_owned(), trunk, 409),
        (operator, "/v1/pools".to_owned(), json!({"name": "p", "class": "mobile"}), 409),
        (operator, "/v1/numbers:import".to_owned(), numbers, 200),
        (admin, act("suspend"), json!({}), 200),
        (admin, act("resume"), json!({}), 200),
        (admin, act("unbind"), json!({}), 200),
    ];
    let tables = ["binding", "subscriber", "agent", "trunk", "pool", "virtual_number", "event"];
    for (client, path, body, repeated) in requests {
        client.json("POST", &path, body.clone(), &[(KEY, &path)]).await;
        let mut first = Vec::new();
        for table in tables {
            first.push(world.count(table).await);
        }
        let mut superuser = world.db.superuser().await;
        let lose = "delete from idempotency";
        sqlx::query(lose).execute(&mut superuser).await.expect("lost");
        client.json("POST", &path, body, &[(KEY, &path)]).await.gave(repeated);
        for (table, count) in tables.into_iter().zip(first) {
            assert_eq!(world.count(table).await, count, "{table} after {path}");
        }
    }
}
