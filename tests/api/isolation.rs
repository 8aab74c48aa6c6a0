//! Another tenant's things answer exactly like unknown ones, and nobody without a key gets in.

use serde_json::{Value, json};

use crate::world::{Answer, World, binding, logged, real_number};

/// A problem without what differs from request to request.
fn shape(mut body: Value) -> Value {
    body["request_id"] = Value::Null;
    body
}

#[tokio::test]
async fn a_foreign_id_answers_exactly_like_an_unknown_one() {
    let world = World::new().await;
    let bound = world.admin.post("/v1/bindings", binding(1)).await.gave(201);
    let agent = json!({"employee_id": "1", "name": "Li"});
    let agent = world.admin.post("/v1/agents", agent).await.id();
    let subscriber = bound.body["subscriber_id"].as_str().expect("an id").to_owned();
    let key = world.admin.get("/v1/api-keys").await.body["data"][0]["id"].clone();
    let key = key.as_str().expect("a key").to_owned();
    let import = format!("{}\n", binding(2));
    let kind = [("content-type", "application/x-ndjson")];
    let import = world.admin.raw("POST", "/v1/jobs/imports", import, &kind).await.gave(202).id();
    let intent = json!({
        "binding": bound.id(), "agent": agent, "purpose": "claim", "mode": "dial_in", "ttl_s": 60,
    });
    let intent = world.admin.post("/v1/call-intents", intent).await.gave(201).id();
    let stranger = world.stranger().await;

    let paths = [
        ("GET", "bindings", bound.id(), ""),
        ("PATCH", "bindings", bound.id(), ""),
        ("POST", "bindings", bound.id(), "/renew"),
        ("POST", "bindings", bound.id(), "/suspend"),
        ("POST", "bindings", bound.id(), "/resume"),
        ("POST", "bindings", bound.id(), "/unbind"),
        ("GET", "subscribers", subscriber.clone(), ""),
        ("PUT", "subscribers", subscriber.clone(), "/number"),
        ("GET", "subscribers", subscriber.clone(), "/number-history"),
        ("GET", "agents", agent.clone(), ""),
        ("PATCH", "agents", agent.clone(), ""),
        ("DELETE", "agents", agent, ""),
        ("POST", "api-keys", key.clone(), "/roll"),
        ("DELETE", "api-keys", key, ""),
        ("GET", "jobs/imports", import.clone(), ""),
        ("GET", "jobs/imports", import.clone(), "/errors"),
        ("POST", "jobs/imports", import, "/cancel"),
        ("GET", "call-intents", intent.clone(), ""),
        ("POST", "call-intents", intent, "/cancel"),
    ];
    for (method, noun, id, action) in paths {
        let body = match (method, action) {
            ("PUT", _) => json!({"real_number": real_number(9)}),
            (_, "/renew") => json!({"until": "2030-01-01T00:00:00Z"}),
            _ => json!({}),
        };
        let unknown = format!("{}_{}", &id[..3], "0".repeat(32));
        let mut answers = Vec::new();
        for id in [&*id, &*unknown, "nonsense", "ten_0"] {
            let path = format!("/v1/{noun}/{id}{action}");
            let answer = stranger.json(method, &path, body.clone(), &[]).await;
            answers.push(shape(answer.refused(404, "not_found").body));
        }
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{method} {noun}{action}");
    }
    let foreign = json!({
        "external_id": "E", "mode": "ax", "policy": {"ref": "P"}, "subscriber": {"id": subscriber},
    });
    let answer = stranger.post("/v1/bindings", foreign).await.refused(422, "validation_failed");
    assert_eq!(answer.place(), ("/subscriber/id", "unknown_reference"));
    for noun in ["bindings", "agents", "calls", "calls/live", "call-intents"] {
        let list = stranger.get(&format!("/v1/{noun}")).await.gave(200);
        assert_eq!(list.body["data"], json!([]), "{noun}");
    }
    let after = world.admin.get(&format!("/v1/bindings/{}", bound.id())).await.gave(200);
    assert_eq!(after.body, bound.body);
}

/// S24: a call to such a subscriber would come back to us.
#[tokio::test]
async fn a_virtual_number_is_no_subscribers_own_whoever_holds_it() {
    let world = World::new().await;
    let stranger = world.stranger().await;
    let x_of =
        |answer: &Answer| format!("+86{}", answer.body["virtual_number"].as_str().expect("an X"));
    let named = |n: usize, x: &str| {
        let mut body = binding(n);
        body["virtual_number"] = json!(x);
        body
    };
    let own = x_of(&world.admin.post("/v1/bindings", named(1, "17000000001")).await.gave(201));
    let foreign = x_of(&stranger.post("/v1/bindings", named(2, "17000000002")).await.gave(201));
    let known = world.admin.post("/v1/subscribers", json!({"real_number": real_number(3)})).await;
    let subscriber = format!("/v1/subscribers/{}/number", known.id());
    let before = (world.count("subscriber").await, world.count("bound").await);
    let mut answers = Vec::new();
    for number in [&*own, &foreign, "+8617000000029"] {
        let body = json!({"real_number": number});
        let mut bind = binding(4);
        bind["subscriber"] = body.clone();
        let bound = world.admin.post("/v1/bindings", bind).await.refused(422, "number_virtual");
        assert_eq!(bound.place(), ("/subscriber/real_number", "number_virtual"));
        let made = world.admin.post("/v1/subscribers", body.clone()).await;
        let changed = world.admin.put(&subscriber, body).await.refused(422, "number_virtual");
        assert_eq!(changed.place(), ("/real_number", "number_virtual"));
        answers.push([bound, made.refused(422, "number_virtual"), changed].map(|a| shape(a.body)));
    }
    // Nothing tells who holds the number, or whether anybody does.
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    assert_eq!((world.count("subscriber").await, world.count("bound").await), before);
    assert_eq!(world.admin.get(&subscriber.replace("/number", "")).await.body, known.body);
    let near = json!({"real_number": "+8617000000030"});
    world.admin.post("/v1/subscribers", near).await.gave(201);
    // What was given back to the carrier is somebody's own number one day.
    let retired = json!({"state": "retired"});
    world.operator.patch("/v1/numbers/17000000029", retired).await.gave(200);
    let number = json!({"real_number": "+8617000000029"});
    world.admin.post("/v1/subscribers", number).await.gave(201);
}

/// S24. An import looks at no subscriber: else the operator could ask for numbers in bulk whether
/// they are somebody's.
#[tokio::test]
async fn an_import_tells_nothing_of_subscribers() {
    let world = World::new().await;
    let number = json!({"real_number": "+8617000001234"});
    let subscriber = world.admin.post("/v1/subscribers", number).await.gave(201).id();
    let rows = json!({"pool": world.pool, "numbers": ["17000001234", "17000001235"]});
    let imported = world.operator.post("/v1/numbers:import", rows).await.gave(200).body;
    assert_eq!((&imported["imported"], &imported["invalid"]), (&json!(2), &json!(0)));
    let mut bind = binding(1);
    bind["subscriber"] = json!({"id": subscriber});
    world.admin.post("/v1/bindings", bind).await.gave(201);
}

#[tokio::test]
async fn no_key_or_a_wrong_one_gives_one_and_the_same_answer() {
    let world = World::new().await;
    let wrong = format!("mk_live_{}", "a".repeat(43));
    let mut answers = Vec::new();
    for key in ["", "x", "mk_live_", &wrong, &"m".repeat(5000)] {
        let answer = world.admin.with_key(key).get("/v1/bindings").await;
        let answer = answer.refused(401, "unauthenticated");
        assert_eq!(answer.header("www-authenticate"), "Bearer");
        answers.push(shape(answer.body));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    let twice = world.admin.request("GET", "/v1/bindings").header("authorization", "Bearer x");
    let twice = twice.body(axum::body::Body::empty()).expect("a request");
    world.admin.send(twice).await.refused(401, "unauthenticated");
}

#[tokio::test]
async fn a_key_bound_to_addresses_works_from_nowhere_else() {
    let world = World::new().await;
    let body = json!({"name": "k", "role": "insurer_crm", "source_networks": ["192.0.2.0/24"]});
    let key = world.admin.post("/v1/api-keys", body).await.gave(201);
    let client = world.admin.with_key(key.body["key"].as_str().expect("a key"));
    client.get("/v1/bindings").await.refused(401, "unauthenticated");
    for (from, status) in [([192, 0, 2, 9], 200), ([192, 0, 3, 9], 401)] {
        let peer = std::net::SocketAddr::from((from, 4000));
        let request = client.request("GET", "/v1/bindings");
        let request = request.extension(axum::extract::ConnectInfo(peer));
        let request = request.body(axum::body::Body::empty()).expect("a request");
        client.send(request).await.gave(status);
    }
}

#[tokio::test]
async fn a_test_key_of_the_platform_sees_test_tenants_only() {
    let world = World::new().await;
    let test = world.operator.post("/v1/tenants", json!({"name": "t", "test": true})).await.id();
    let body = json!({"name": "k", "role": "compliance", "tenant_id": test});
    let key = world.operator.post("/v1/api-keys", body).await.gave(201);
    assert!(key.body["key"].as_str().expect("a key").starts_with("mk_test_"));
    assert_eq!(key.body["test"], true);
}

#[tokio::test]
async fn real_numbers_appear_in_no_log_and_no_event() {
    let world = World::new().await;
    world.admin.post("/v1/subscribers", json!({"real_number": real_number(1)})).await.gave(201);
    let bound = world.admin.post("/v1/bindings", binding(2)).await.id();
    world.admin.post(&format!("/v1/bindings/{bound}/unbind"), json!({})).await.gave(200);
    let key = [("idempotency-key", &*real_number(3)), ("x-request-id", "crm-13800000003")];
    world.admin.json("POST", "/v1/bindings", binding(3), &key).await.gave(201);
    world.admin.get(&format!("/v1/bindings/{}", real_number(4))).await.gave(404);
    world.admin.get(&format!("/v1/bindings?external_id={}", &real_number(4)[1..])).await.gave(422);
    world.admin.get(&format!("/v1/{}", real_number(4))).await.gave(404);
    let bad = format!("{{\"real_number\": \"{}\", \"{}\": 1", real_number(5), real_number(5));
    let json = [("content-type", "application/json")];
    world.admin.raw("POST", "/v1/subscribers", bad, &json).await.gave(400);

    let log = logged();
    assert!(log.contains("POST /v1/bindings gave 201"), "logs are captured");
    let leak = log.lines().find(|line| line.contains(crate::world::CANARY));
    assert_eq!(leak, None);
    let mut superuser = world.db.superuser().await;
    let rows: Vec<String> = sqlx::query_scalar(
        "select row_to_json(e)::text from event e
         union all select row_to_json(i)::text from idempotency i
         union all select row_to_json(b)::text from binding b
         union all select row_to_json(s)::text from subscriber s",
    )
    .fetch_all(&mut superuser)
    .await
    .expect("rows");
    assert!(rows.len() > 4);
    assert!(rows.iter().all(|row| !row.contains(crate::world::CANARY)));
}
