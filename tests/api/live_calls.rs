//! The stream of live calls: who gets one, how many there are, and what ends them.

use axum::response::Response;
use futures_util::StreamExt as _;
use maskline::relay::handle::TENANT_WATCHERS_MAX;
use serde_json::json;

use crate::world::{Client, World};

const PATH: &str = "/v1/calls/events";
const SNAPSHOT: &str = "event: snapshot\ndata: {\"data\":[]}\n\n";

/// What comes next, or nothing when the stream is over.
async fn next(stream: &mut axum::body::BodyDataStream) -> String {
    let bytes = stream.next().await.map_or_else(Default::default, |read| read.expect("read"));
    String::from_utf8(bytes.to_vec()).expect("text")
}

async fn opened(client: &Client, path: &str) -> axum::body::BodyDataStream {
    let response: Response = client.open(path).await;
    assert_eq!(response.status().as_u16(), 200);
    let header = |name: &str| response.headers().get(name).and_then(|it| it.to_str().ok());
    assert_eq!(header("content-type"), Some("text/event-stream"));
    assert_eq!(header("cache-control"), Some("no-store"));
    response.into_body().into_data_stream()
}

#[tokio::test]
async fn a_stream_begins_with_all_calls_and_is_never_silent_for_long() {
    let world = World::new().await;
    let mut stream = opened(&world.admin, PATH).await;
    assert_eq!(next(&mut stream).await, SNAPSHOT);
    for _ in 0..3 {
        assert_eq!(next(&mut stream).await, ": \n\n");
    }
}

#[tokio::test]
async fn the_platform_says_whose_calls_it_wants_and_a_tenant_does_not() {
    let world = World::new().await;
    let named = format!("{PATH}?tenant_id={}", world.tenant);
    assert_eq!(next(&mut opened(&world.operator, &named).await).await, SNAPSHOT);
    world.operator.get(PATH).await.refused(422, "validation_failed");
    world.admin.get(&named).await.refused(422, "validation_failed");
    let unknown = format!("{PATH}?tenant_id=ten_{:032x}", 7);
    world.operator.get(&unknown).await.refused(422, "validation_failed");
}

#[tokio::test]
async fn a_tenant_has_so_many_streams_and_no_more() {
    let world = World::new().await;
    let mut streams = Vec::new();
    for _ in 0..TENANT_WATCHERS_MAX {
        streams.push(opened(&world.admin, PATH).await);
    }
    let refused = world.admin.get(PATH).await.refused(429, "too_many_streams");
    assert_eq!(refused.header("retry-after"), "1");
    drop(opened(&world.stranger().await, PATH).await);
    streams.pop();
    assert_eq!(next(&mut opened(&world.admin, PATH).await).await, SNAPSHOT);
}

#[tokio::test]
async fn a_stream_ends_with_its_key() {
    let world = World::new().await;
    let key = json!({"name": "wall board", "role": "insurer_auditor"});
    let key = world.admin.post("/v1/api-keys", key).await.gave(201);
    let reader = world.admin.with_key(key.body["key"].as_str().expect("a key"));
    let mut stream = opened(&reader, PATH).await;
    assert_eq!(next(&mut stream).await, SNAPSHOT);
    world.admin.delete(&format!("/v1/api-keys/{}", key.id())).await.gave(204);
    // Some comments may have been on their way.
    for _ in 0..100 {
        if next(&mut stream).await.is_empty() {
            return;
        }
    }
    panic!("the stream outlives its key");
}
