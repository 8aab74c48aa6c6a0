//! Other terms for a binding that is there, and its renewal.

use serde_json::{Value, json};

use crate::world::{World, binding};

async fn bound(world: &World, more: &Value) -> (String, Value) {
    let mut body = binding(1);
    for (name, value) in more.as_object().expect("fields") {
        body[name] = value.clone();
    }
    let made = world.admin.post("/v1/bindings", body).await.gave(201);
    (format!("/v1/bindings/{}", made.id()), made.body.clone())
}

#[tokio::test]
async fn a_binding_follows_its_policy_and_is_renewed_with_it() {
    let world = World::new().await;
    let more = json!({
        "policy": {"ref": "P", "ends_at": "2025-07-01T00:00:00Z"}, "follow_policy": true,
        "idle_ttl": 86_400, "on_expiry": "end",
    });
    let (path, made) = bound(&world, &more).await;
    assert_eq!(made["valid_until"], "2025-07-01T00:00:00Z");
    assert_eq!(made["follow_policy"], true);
    assert_eq!((&made["idle_ttl"], &made["on_expiry"]), (&json!(86_400), &json!("end")));
    let until = json!({"until": "2026-07-01T00:00:00Z"});
    let renewed = world.admin.post(&format!("{path}/renew"), until).await.gave(200);
    assert_eq!(renewed.body["valid_until"], "2026-07-01T00:00:00Z");
    assert_eq!(renewed.body["policy"]["ends_at"], "2026-07-01T00:00:00Z");
    assert_eq!(renewed.body["virtual_number"], made["virtual_number"]);
    assert_eq!(world.admin.get(&path).await.gave(200).body, renewed.body);
    let past = json!({"until": "2025-01-01T00:00:00Z"});
    let refused = world.admin.post(&format!("{path}/renew"), past).await;
    assert_eq!(refused.refused(422, "validation_failed").place(), ("/until", "time_order"));
    world.admin.post(&format!("{path}/unbind"), json!({})).await.gave(200);
    let until = json!({"until": "2027-07-01T00:00:00Z"});
    let late = world.admin.post(&format!("{path}/renew"), until).await;
    late.refused(409, "state_conflict");
}

#[tokio::test]
async fn only_the_fields_that_are_named_change() {
    let world = World::new().await;
    let more = json!({"valid_until": "2025-07-01T00:00:00Z", "metadata": {"desk": 7}});
    let (path, made) = bound(&world, &more).await;
    let patch = json!({"max_duration_s": 600, "policy": {"product": "life"}});
    let patched = world.admin.patch(&path, patch).await.gave(200);
    let mut wanted = made.clone();
    wanted["max_duration_s"] = json!(600);
    wanted["policy"]["product"] = json!("life");
    wanted["updated_at"] = patched.body["updated_at"].clone();
    assert_eq!(patched.body, wanted);
    let patch = json!({"max_duration_s": null, "policy": {"product": null}, "metadata": {}});
    let patched = world.admin.patch(&path, patch).await.gave(200);
    assert_eq!(patched.body["metadata"], json!({}));
    assert_eq!(patched.body["policy"]["product"], Value::Null);
    let tag = [("if-match", "\"v1\"")];
    let patch = json!({"max_duration_s": 700});
    let stale = world.admin.json("PATCH", &path, patch.clone(), &tag).await;
    stale.refused(412, "precondition_failed");
    let tag = [("if-match", "\"v3\"")];
    let changed = world.admin.json("PATCH", &path, patch, &tag).await.gave(200);
    assert_eq!(changed.header("etag"), "\"v4\"");
}

#[tokio::test]
async fn terms_that_make_no_sense_change_nothing() {
    let world = World::new().await;
    let (path, made) = bound(&world, &json!({"valid_until": "2025-07-01T00:00:00Z"})).await;
    for (patch, pointer) in [
        (json!({"valid_until": "2020-01-01T00:00:00Z"}), "/valid_until"),
        // A short term has an end.
        (json!({"valid_until": null}), "/valid_until"),
        (json!({"follow_policy": true}), "/policy/ends_at"),
        (json!({"follow_policy": true, "valid_until": null}), "/valid_until"),
        (
            json!({"follow_policy": true, "policy": {"ends_at": "2020-01-01T00:00:00Z"}}),
            "/policy/ends_at",
        ),
        // What is counted from it would lie outside of the calendar.
        (json!({"valid_until": "9000-01-01T00:00:00Z"}), "/valid_until"),
        (json!({"idle_ttl": 60}), "/idle_ttl"),
        (json!({"max_duration_s": 5}), "/max_duration_s"),
        (json!({"on_expiry": "explode"}), "/on_expiry"),
        (json!({"policy": {"ref": "other"}}), "/policy/ref"),
        (json!({"policy": {"product": "13800001111"}}), "/policy/product"),
        (json!({"metadata": {"phone": "+8613800001111"}}), "/metadata"),
        (json!({"virtual_number": "17000000009"}), "/virtual_number"),
    ] {
        let refused = world.admin.patch(&path, patch).await.refused(422, "validation_failed");
        assert_eq!(refused.place().0, pointer, "{:#}", refused.body);
    }
    assert_eq!(world.admin.get(&path).await.gave(200).body, made);
    let mut two_ends = binding(2);
    two_ends["follow_policy"] = json!(true);
    two_ends["valid_until"] = json!("2025-07-01T00:00:00Z");
    let refused = world.admin.post("/v1/bindings", two_ends).await;
    refused.refused(422, "validation_failed");
    assert_eq!(world.count("binding").await, 1);
}

#[tokio::test]
async fn times_at_the_end_of_the_calendar_are_refused_and_those_before_are_kept() {
    let world = World::new().await;
    let mut late = binding(1);
    (late["valid_from"], late["idle_ttl"]) = (json!("9999-12-30T00:00:00Z"), json!(86_400));
    let refused = world.admin.post("/v1/bindings", late.clone()).await;
    assert_eq!(refused.refused(422, "validation_failed").place(), ("/valid_from", "invalid_time"));
    late["valid_from"] = json!("8999-12-31T23:59:59Z");
    late["idle_ttl"] = json!(315_360_000);
    let made = world.admin.post("/v1/bindings", late).await.gave(201);
    assert_eq!(made.body["valid_from"], "8999-12-31T23:59:59Z");

    let mut past = binding(2);
    past["follow_policy"] = json!(true);
    past["policy"]["ends_at"] = json!("2020-01-01T00:00:00Z");
    let refused = world.admin.post("/v1/bindings", past).await;
    let refused = refused.refused(422, "validation_failed");
    assert_eq!(refused.place(), ("/policy/ends_at", "time_order"));
}
