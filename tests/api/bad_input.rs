//! Bad input: a clear problem, and nothing stored.

use serde_json::{Value, json};

use crate::certificates;
use crate::world::{Answer, World, binding, real_number};

async fn bind(world: &World, change: impl FnOnce(&mut Value)) -> Answer {
    let mut body = binding(1);
    change(&mut body);
    world.admin.post("/v1/bindings", body).await
}

async fn nothing_is_stored(world: &World) {
    assert_eq!(world.count("binding").await, 0);
    assert_eq!(world.count("subscriber").await, 0);
    assert_eq!(world.count("event").await, 0);
    assert_eq!(world.count("bound").await, 0);
}

#[tokio::test]
async fn a_body_that_is_no_json_object_is_refused() {
    let world = World::new().await;
    let json = [("content-type", "application/json")];
    for body in ["", "{", "{\"mode\": ax}", "{}{}", "\u{0}", "{\"external_id\":\"\\ud800\"}"] {
        let answer = world.admin.raw("POST", "/v1/bindings", body, &json).await;
        answer.refused(400, "malformed_body");
    }
    let list = world.admin.raw("POST", "/v1/bindings", "[\"E-1\", \"ax\"]", &json).await;
    list.refused(422, "validation_failed");
    let deep = format!("{{\"metadata\":{{\"a\":{}", "[".repeat(100_000));
    world.admin.raw("POST", "/v1/bindings", deep, &json).await.refused(400, "malformed_body");
    nothing_is_stored(&world).await;
}

#[tokio::test]
async fn a_large_body_and_a_strange_type_are_refused() {
    let world = World::new().await;
    let json = [("content-type", "application/json")];
    let body = format!("{{\"external_id\":\"{}\"}}", "x".repeat(2 * 1024 * 1024));
    let announced = [json[0], ("content-length", "2097170")];
    let answer = world.admin.raw("POST", "/v1/bindings", body.clone(), &announced).await;
    answer.refused(413, "body_too_large");
    let answer = world.admin.raw("POST", "/v1/bindings", body.clone(), &json).await;
    answer.refused(413, "body_too_large");
    let keyed = [json[0], ("idempotency-key", "k")];
    let answer = world.admin.raw("POST", "/v1/bindings", body, &keyed).await;
    answer.refused(413, "body_too_large");
    for kind in ["text/plain", "application/x-www-form-urlencoded", "text/csv"] {
        let headers = [("content-type", kind)];
        let answer = world.admin.raw("POST", "/v1/bindings", "{}", &headers).await;
        answer.refused(415, "unsupported_media_type");
    }
    nothing_is_stored(&world).await;
}

#[tokio::test]
async fn unknown_fields_are_named_unless_they_could_be_a_number() {
    let world = World::new().await;
    let answer = bind(&world, |body| body["tenant_id"] = json!(world.tenant)).await;
    assert_eq!(answer.refused(422, "validation_failed").place(), ("/tenant_id", "unknown_field"));
    let answer = bind(&world, |body| body["policy"]["number"] = json!(1)).await;
    assert_eq!(answer.gave(422).place(), ("/policy/number", "unknown_field"));
    let answer = bind(&world, |body| body[real_number(1)] = json!(1)).await;
    assert_eq!(answer.gave(422).place(), ("", "unknown_field"));
    let answer = world.admin.get("/v1/bindings?tenant=1").await;
    assert_eq!(
        answer.refused(422, "validation_failed").place(),
        ("/query/tenant", "unknown_field")
    );
    nothing_is_stored(&world).await;
}

#[tokio::test]
async fn wrong_types_and_values_are_named_by_place() {
    let world = World::new().await;
    let cases = [
        ("/external_id", json!(7), "wrong_type"),
        ("/external_id", json!(""), "length"),
        ("/external_id", json!("x".repeat(129)), "length"),
        ("/external_id", json!("a\u{0}b"), "invalid"),
        ("/external_id", json!(null), "wrong_type"),
        ("/mode", json!("axz"), "not_allowed"),
        ("/policy", json!(["P"]), "wrong_type"),
        ("/policy", json!("P"), "wrong_type"),
        ("/subscriber", json!({}), "exactly_one"),
        ("/subscriber", json!([null, real_number(1)]), "wrong_type"),
        ("/pool", json!("pool"), "invalid_id"),
        ("/pool", json!("bnd_00000000000000000000000000000000"), "invalid_id"),
        ("/valid_until", json!("tomorrow"), "invalid_time"),
        ("/valid_until", json!("2025-07-01T00:00:00"), "invalid_time"),
        ("/valid_until", json!("2020-01-01T00:00:00Z"), "time_order"),
        ("/max_duration_s", json!(-1), "invalid"),
        ("/max_duration_s", json!(5), "out_of_range"),
        ("/virtual_number", json!("9x"), "number_not_a_digit"),
        ("/metadata", json!([1]), "wrong_type"),
        ("/metadata", json!({"phone": [real_number(1)]}), "real_number_here"),
        ("/policy/ref", json!(real_number(1)), "real_number_here"),
        ("/city", json!("sip:+86-138-0000-0001@x"), "real_number_here"),
        ("/metadata", json!({"phone": "138 0000 0001"}), "real_number_here"),
        ("/metadata", json!({"phone": 13_800_000_001_u64}), "real_number_here"),
        ("/metadata", json!({"a": [{"b": 8_613_800_000_001_u64}]}), "real_number_here"),
        ("/metadata", json!({"phone": 13_800_000_001.0}), "real_number_here"),
        ("/metadata", json!({"8613800000001": true}), "real_number_here"),
    ];
    for (pointer, value, rule) in cases {
        let answer = bind(&world, |body| match body.pointer_mut(pointer) {
            Some(place) => *place = value,
            None => body[&pointer[1..]] = value,
        });
        let answer = answer.await.refused(422, "validation_failed");
        assert_eq!(answer.place(), (pointer, rule), "{:#}", answer.body);
    }
    nothing_is_stored(&world).await;
}

#[tokio::test]
async fn a_key_of_another_system_may_hold_digits_but_be_no_phone_number() {
    let world = World::new().await;
    let answer = bind(&world, |body| {
        body["external_id"] = json!("2026-0000-0001-7");
        body["policy"]["ref"] = json!("P 86 138 0000");
    });
    answer.await.gave(201);
    world.admin.get("/v1/bindings?external_id=2026-0000-0001-7").await.gave(200);
    for number in ["13800000001", "138-0000-0001", "86 138 0000 0001"] {
        let answer = bind(&world, |body| body["external_id"] = json!(number)).await;
        let answer = answer.refused(422, "validation_failed");
        assert_eq!(answer.place(), ("/external_id", "real_number_here"));
    }
    let agent = json!({"employee_id": "1", "name": "Li 138-0000-0001"});
    let answer = world.admin.post("/v1/agents", agent).await.refused(422, "validation_failed");
    assert_eq!(answer.place(), ("/name", "real_number_here"));
    let answer = bind(&world, |body| body["policy"]["product"] = json!("13800000001")).await;
    let answer = answer.refused(422, "validation_failed");
    assert_eq!(answer.place(), ("/policy/product", "real_number_here"));
}

#[tokio::test]
async fn a_number_that_is_none_is_refused_without_an_echo() {
    let world = World::new().await;
    let cases = [
        ("+86138000000ab", "number_not_a_digit"),
        ("13800000001", "number_plus_missing"),
        ("+1", "number_too_short"),
        ("+8613800000000000", "number_too_long"),
        ("+0138000000", "number_leading_zero"),
        ("", "number_plus_missing"),
    ];
    for (text, rule) in cases {
        let answer = bind(&world, |body| body["subscriber"] = json!({"real_number": text})).await;
        let answer = answer.refused(422, "validation_failed");
        assert_eq!(answer.place(), ("/subscriber/real_number", rule));
        let answer = world.admin.post("/v1/subscribers", json!({"real_number": text})).await;
        assert_eq!(answer.gave(422).place(), ("/real_number", rule));
    }
    let number: u64 = real_number(1)[1..].parse().expect("digits");
    let answer = world.admin.post("/v1/subscribers", json!({"real_number": number})).await;
    assert_eq!(answer.gave(422).place(), ("/real_number", "wrong_type"));
    nothing_is_stored(&world).await;
}

#[tokio::test]
async fn a_taken_or_unknown_number_binds_nobody() {
    let world = World::new().await;
    let named = |n: usize, x: &str| {
        let mut body = binding(n);
        body["virtual_number"] = json!(x);
        body
    };
    world.admin.post("/v1/bindings", named(1, "17000000001")).await.gave(201);
    for x in ["17000000001", "17000009999"] {
        let answer = world.admin.post("/v1/bindings", named(2, x)).await;
        let answer = answer.refused(409, "number_taken");
        assert_eq!(answer.place(), ("/virtual_number", "taken"));
    }
    assert_eq!((world.count("binding").await, world.count("subscriber").await), (1, 1));
}

#[tokio::test]
async fn an_empty_pool_binds_nobody() {
    let world = World::new().await;
    let pool = json!({"name": "empty", "class": "fixed"});
    let pool = world.operator.post("/v1/pools", pool).await.id();
    let answer = bind(&world, |body| body["pool"] = json!(pool)).await;
    answer.refused(409, "pool_empty");
    let unknown = "pol_00000000000000000000000000000000";
    let answer = bind(&world, |body| body["pool"] = json!(unknown)).await;
    assert_eq!(answer.refused(422, "validation_failed").place(), ("/pool", "unknown_reference"));
    nothing_is_stored(&world).await;
}

#[tokio::test]
async fn what_is_not_built_yet_says_so() {
    let world = World::new().await;
    for (field, value) in
        [("mode", json!("axe")), ("extension", json!("123")), ("group", json!("north"))]
    {
        let answer = bind(&world, |body| body[field] = value).await;
        let answer = answer.refused(422, "not_supported_yet");
        assert_eq!(answer.place().0, format!("/{field}"));
    }
    let agent = json!({"employee_id": "1", "name": "Li", "filing": "missing"});
    let answer = world.admin.post("/v1/agents", agent).await.refused(422, "not_supported_yet");
    assert_eq!(answer.place().0, "/filing");
    nothing_is_stored(&world).await;
}

#[tokio::test]
async fn the_operator_is_told_too_what_is_not_built_yet() {
    let world = World::new().await;
    let tenant = json!({"name": "t"});
    let trunk = json!({"name": "t", "role": "carrier", "source_networks": ["192.0.2.1"],
        "targets": ["192.0.2.1:5060"]});
    let cases = [
        ("/v1/tenants", &tenant, "country_code", json!("852")),
        ("/v1/trunks", &trunk, "country_code", json!("852")),
    ];
    for (path, body, field, value) in cases {
        let mut body = body.clone();
        body[field] = value;
        let answer = world.operator.post(path, body).await.refused(422, "not_supported_yet");
        assert_eq!(answer.place().0, format!("/{field}"));
    }
}

#[tokio::test]
async fn a_tenant_may_refuse_real_numbers_and_a_suspended_one_binds_nobody() {
    let world = World::new().await;
    let tenant = format!("/v1/tenants/{}", world.tenant);
    world.operator.patch(&tenant, json!({"accept_real_numbers": false})).await.gave(200);
    let answer = bind(&world, |_| ()).await.refused(422, "real_number_not_accepted");
    assert_eq!(answer.place().0, "/subscriber/real_number");
    let answer = world.admin.post("/v1/subscribers", json!({"real_number": real_number(1)})).await;
    answer.refused(422, "real_number_not_accepted");
    let patch = json!({"accept_real_numbers": true, "state": "suspended"});
    world.operator.patch(&tenant, patch).await.gave(200);
    bind(&world, |_| ()).await.refused(403, "tenant_suspended");
    assert_eq!((world.count("binding").await, world.count("subscriber").await), (0, 0));
}

#[tokio::test]
async fn platform_things_have_rules_too() {
    let world = World::new().await;
    let ca = std::fs::read_to_string(certificates::folder().join("root.pem"))
        .expect("a file of the tests");
    let trunk = |change: Value| {
        let mut body = json!({"name": "t", "role": "carrier", "source_networks": ["192.0.2.1"],
            "targets": ["192.0.2.1:5060"]});
        for (name, value) in change.as_object().expect("fields") {
            body[name] = value.clone();
        }
        body
    };
    let cases = [
        ("/v1/trunks", trunk(json!({"source_networks": ["192.0.2.1/24"]})), "/source_networks/0"),
        ("/v1/trunks", trunk(json!({"source_networks": []})), "/source_networks"),
        ("/v1/trunks", trunk(json!({"targets": ["localhost:5060"]})), "/targets/0"),
        ("/v1/trunks", trunk(json!({"targets": ["0.0.0.0:5060"]})), "/targets/0"),
        ("/v1/trunks", trunk(json!({"role": "insurer"})), "/tenant_id"),
        ("/v1/trunks", trunk(json!({"tenant_id": world.tenant})), "/tenant_id"),
        ("/v1/trunks", trunk(json!({"transport": "sctp"})), "/transport"),
        ("/v1/trunks", trunk(json!({"transport": "tls", "tls_ca": "no certificate"})), "/tls_ca"),
        (
            "/v1/trunks",
            trunk(json!({"transport": "tls", "tls_ca": ca, "tls_name": "a name"})),
            "/tls_name",
        ),
        ("/v1/trunks", trunk(json!({"transport": "tls", "tls_name": "pbx.test"})), "/tls_ca"),
        ("/v1/trunks", trunk(json!({"transport": "tcp", "tls_ca": ca})), "/tls_ca"),
        ("/v1/trunks", trunk(json!({"tls_ca": ca})), "/tls_ca"),
        ("/v1/trunks", trunk(json!({"tls_name": "pbx.test"})), "/tls_name"),
        ("/v1/trunks", trunk(json!({"priority": 1001})), "/priority"),
        ("/v1/pools", json!({"name": "p", "class": "mobile", "cooling_days": 89}), "/cooling_days"),
        ("/v1/pools", json!({"name": "p", "class": "888"}), "/class"),
        ("/v1/tenants", json!({"name": "t", "time_zone": "Mars/Olympus"}), "/time_zone"),
        ("/v1/tenants", json!({"name": "t", "desk_user": "a@b;c"}), "/desk_user"),
        ("/v1/tenants", json!({"test": true}), "/name"),
        ("/v1/numbers:import", json!({"pool": world.pool, "numbers": []}), "/numbers"),
        ("/v1/numbers:import", json!({"pool": world.pool, "numbers": [1]}), "/numbers/0"),
        ("/v1/api-keys", json!({"name": "k", "role": "root"}), "/role"),
        ("/v1/api-keys", json!({"name": "k", "role": "insurer_crm"}), "/tenant_id"),
        ("/v1/api-keys", json!({"name": "k", "role": "ops", "scopes": ["all"]}), "/scopes/0"),
    ];
    for (path, body, pointer) in cases {
        let answer = world.operator.post(path, body).await.refused(422, "validation_failed");
        assert_eq!(answer.place().0, pointer, "{:#}", answer.body);
    }
    for query in ["limit=0", "limit=201", "limit=x", "limit=1&limit=2", "cursor=AAAA"] {
        let answer = world.operator.get(&format!("/v1/tenants?{query}")).await;
        answer.refused(422, "validation_failed");
    }
}

#[tokio::test]
async fn a_query_of_too_many_parameters_is_refused_whole() {
    let world = World::new().await;
    let query: Vec<String> = (0..33).map(|n| format!("p{n}=1")).collect();
    let answer = world.operator.get(&format!("/v1/tenants?{}", query.join("&"))).await;
    let answer = answer.refused(400, "too_many_parameters");
    assert_eq!(answer.place(), ("/query", "length"));
    // The last one used to be cut off in silence.
    let last = format!("/v1/tenants?{}&limit=0", ["a=1"; 32].join("&"));
    world.operator.get(&last).await.refused(400, "too_many_parameters");
}
