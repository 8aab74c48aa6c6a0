//! Which X a binding gets, and why it gets none.

use serde_json::json;

use crate::world::{World, binding};

#[tokio::test]
async fn each_reason_for_no_number_has_its_own_word() {
    let world = World::new().await;
    let pool = json!({"name": "empty", "class": "fixed", "city": "Beijing"});
    let pool = world.operator.post("/v1/pools", pool).await.id();
    let made = world.admin.post("/v1/bindings", binding(1)).await.gave(201);
    let x = made.body["virtual_number"].clone();
    for (fields, code, place) in [
        (json!({"city": "Beijing"}), "pool_empty", None),
        (json!({"city": "Canton"}), "geo_mismatch", Some("/city")),
        (json!({"city": "Shanghai", "pool": pool}), "geo_mismatch", Some("/city")),
        (json!({"virtual_number": x}), "number_taken", Some("/virtual_number")),
    ] {
        let mut body = binding(2);
        for (name, value) in fields.as_object().expect("fields") {
            body[name] = value.clone();
        }
        let refused = world.admin.post("/v1/bindings", body).await.refused(409, code);
        if let Some(place) = place {
            assert_eq!(refused.place().0, place);
        }
    }
    let unbind = format!("/v1/bindings/{}/unbind", made.id());
    world.admin.post(&unbind, json!({"drop_calls": true})).await.gave(200);
    let mut other = binding(2);
    other["virtual_number"] = x.clone();
    let refused = world.admin.post("/v1/bindings", other.clone()).await;
    refused.refused(409, "number_cooling");
    // A stranger hears no more than that it cannot have it.
    let stranger = world.stranger().await;
    stranger.post("/v1/bindings", other).await.refused(409, "number_taken");
    assert_eq!(world.count("bound").await, 0);
    let mut back = binding(1);
    back["external_id"] = json!("again");
    let back = world.admin.post("/v1/bindings", back).await.gave(201);
    assert_eq!(back.body["virtual_number"], x);
}

#[tokio::test]
async fn a_city_may_be_left_for_another_when_the_request_says_so() {
    let world = World::new().await;
    let mut body = binding(1);
    body["city_fallback"] = json!(true);
    let refused = world.admin.post("/v1/bindings", body.clone()).await;
    assert_eq!(refused.refused(422, "validation_failed").place(), ("/city", "missing"));
    body["city"] = json!("Canton");
    world.admin.post("/v1/bindings", body).await.gave(201);
}
