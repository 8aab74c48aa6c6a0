//! The OpenAPI file is the contract: what it names answers, and nothing else does.

use maskline::api::roles::OPERATIONS;
use serde_json::{Value, json};

use crate::world::World;

#[tokio::test]
async fn every_route_of_the_file_is_in_the_binary() {
    let world = World::new().await;
    let document = world.operator.with_key("").get("/openapi.json").await.gave(200).body;
    assert_eq!(document["openapi"], "3.1.0");
    let mut operations = 0;
    for (path, item) in document["paths"].as_object().expect("paths") {
        for method in item.as_object().expect("methods").keys() {
            let path = path.replace("{id}", "x").replace("{x}", "x");
            // Without a key a known route asks for one; an unknown one is not found.
            let nobody = world.operator.with_key("");
            let answer = nobody.json(&method.to_uppercase(), &path, json!({}), &[]).await;
            assert_eq!(answer.status.as_u16(), 401, "{method} {path}");
            operations += 1;
        }
    }
    assert_eq!(operations, OPERATIONS.len());
}

#[tokio::test]
async fn the_binary_has_no_route_beside_the_file() {
    let world = World::new().await;
    // axum shows its table of routes in `Debug` only.
    let api = maskline::api::Api::new(
        world.db.store.clone(),
        world.relay.clone(),
        std::sync::Arc::new(crate::world::now),
    );
    let table = format!("{:?}", maskline::api::router(api));
    let document = serde_json::to_value(maskline::api::openapi::document()).expect("JSON");
    let mut routes: Vec<&str> = Vec::new();
    for text in table.split('"').skip(1).step_by(2).filter(|text| text.starts_with('/')) {
        let is_fallback = text == "/" || text.contains("__private__axum_fallback");
        let is_page = is_fallback || text == "/openapi.json" || text.starts_with("/docs");
        // A link is a secret of its own: it is given out by an operation, and is none.
        let is_link = text == "/recordings/{token}";
        if !is_page && !is_link && !routes.contains(&text) {
            routes.push(text);
        }
    }
    let mut written: Vec<&str> =
        document["paths"].as_object().expect("paths").keys().map(String::as_str).collect();
    routes.sort_unstable();
    written.sort_unstable();
    assert_eq!(routes, written);
}

#[test]
fn what_the_file_refers_to_is_in_it() {
    let document = serde_json::to_value(maskline::api::openapi::document()).expect("JSON");
    let operations: Vec<&Value> = document["paths"]
        .as_object()
        .expect("paths")
        .values()
        .flat_map(|item| item.as_object().expect("methods").values())
        .map(|operation| &operation["operationId"])
        .collect();
    let (mut references, mut links) = (0, 0);
    let mut values = vec![&document];
    while let Some(value) = values.pop() {
        if let Some(reference) = value["$ref"].as_str() {
            let pointer = reference.strip_prefix('#').expect("in the same file");
            assert!(document.pointer(pointer).is_some(), "{reference}");
            references += 1;
        }
        for link in value["links"].as_object().into_iter().flat_map(|links| links.values()) {
            assert!(operations.contains(&&link["operationId"]), "{link}");
            links += 1;
        }
        values.extend(value.as_array().into_iter().flatten());
        values.extend(value.as_object().into_iter().flat_map(|object| object.values()));
    }
    assert!(references > 500 && links > 50, "{references} references, {links} links");
}

#[tokio::test]
async fn the_pages_work_without_the_network() {
    let world = World::new().await;
    let page = world.operator.with_key("").get("/docs/").await.gave(200);
    assert!(page.header("content-security-policy").contains("default-src 'self'"));
    world.operator.with_key("").get("/docs/swagger-ui-bundle.js").await.gave(200);
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems() {
    let world = World::new().await;
    world.operator.get("/v1/nothing").await.refused(404, "not_found");
    world.operator.get("/debug").await.refused(404, "not_found");
    world.operator.delete("/v1/tenants").await.refused(405, "method_not_allowed");
    let traced = world.operator.raw("TRACE", "/v1/tenants", "", &[]).await;
    traced.refused(405, "method_not_allowed");
}

#[tokio::test]
async fn problems_speak_the_language_of_the_request() {
    let world = World::new().await;
    let path = "/v1/tenants/ten_x";
    let english = world.operator.get(path).await.gave(404);
    assert_eq!(english.body["title"], "Not found");
    let headers = [("accept-language", "zh-CN,zh;q=0.9,en;q=0.5")];
    let chinese = world.operator.raw("GET", path, "", &headers).await.gave(404);
    assert_eq!(chinese.body["title"], "未找到");
    assert_eq!(chinese.header("content-language"), "zh-CN");
    assert_eq!(chinese.body["type"], "urn:maskline:problem:not_found");
    assert_eq!(chinese.body["retryable"], Value::Bool(false));
}

#[tokio::test]
async fn a_request_id_is_echoed_if_it_is_harmless() {
    let world = World::new().await;
    let echoed = world.operator.raw("GET", "/v1/tenants", "", &[("x-request-id", "crm-7")]).await;
    assert_eq!(echoed.header("x-request-id"), "crm-7");
    for id in ["a b", "<script>", &"x".repeat(129)] {
        let made = world.operator.raw("GET", "/v1/tenants", "", &[("x-request-id", id)]).await;
        assert_ne!(made.header("x-request-id"), id);
        assert_eq!(made.header("x-request-id").len(), 36);
    }
}

#[tokio::test]
async fn every_answer_has_the_security_headers() {
    let world = World::new().await;
    for path in ["/v1/tenants", "/v1/nothing"] {
        let answer = world.operator.get(path).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert!(answer.header("content-security-policy").contains("default-src 'none'"));
    }
}
