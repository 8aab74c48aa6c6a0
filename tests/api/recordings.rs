//! Recordings: listed by those who may, fetched once by a link.

use std::io::Cursor;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request};
use axum::response::Response;
use maskline::api::{Api, router};
use maskline::domain::id::{CallId, RecordingId, TenantId};
use maskline::domain::recording::Retention;
use maskline::recording::{About, Frame, Place, Track, Writer};
use maskline::rtp::g711::Law;
use maskline::rtp::plane::Side;
use maskline::store::recording::Recording;
use tower::ServiceExt as _;

use crate::world::{World, key_of, now};

/// A slow machine notices by then that a client went away.
const NOTICED_WITHIN: Duration = Duration::from_secs(60);
const STARTED_MS: u64 = 1_700_000_000_000;

/// A folder of its own that goes with the test.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Writes a recording of a second of one level to the disk and into the store.
async fn recorded(world: &World, folder: &Folder) -> Recording {
    recorded_for(world, folder, 1).await
}

/// The same, of some seconds.
async fn recorded_for(world: &World, folder: &Folder, seconds: u32) -> Recording {
    let tenant = TenantId::parse(&world.tenant).expect("an id");
    let (id, call) = (RecordingId::new(STARTED_MS, 5), CallId::new(STARTED_MS, 6));
    let (retention, started_ms) = (Retention::FiveYears, STARTED_MS);
    let place = Place { recording: id, retention, started_ms };
    let kept = place.kept(&folder.0);
    std::fs::create_dir_all(kept.parent().expect("a day")).expect("a folder");
    let keys = world.db.database.relay.tenant_keys(&world.db.vault, tenant).await.expect("keys");
    let (key, wrapped) = keys.create_recording_key(id).expect("a key");
    let about = About { tenant, recording: id, call, started_ms };
    let file = std::fs::File::create(place.kept(&folder.0)).expect("a file");
    let mut writer = Writer::begin(file, &about, &key, &wrapped).expect("a header");
    for at in 0..50 * seconds {
        let (track, law) = (Track(Side::B), Law::A);
        let frame =
            Frame { track, law, at_ms: at * 20, timestamp: at * 160, samples: &[0x2a; 160] };
        writer.add(&frame).expect("a frame");
    }
    let finished = writer.finish().expect("an end");
    let started_at = SystemTime::UNIX_EPOCH + Duration::from_millis(STARTED_MS);
    let recording = Recording {
        tenant,
        id,
        call,
        retention,
        started_at,
        duration: Duration::from_secs(seconds.into()),
        bytes: finished.bytes,
        frames: finished.totals.frames,
        lost: 0,
        complete: true,
        sha256: finished.sha256,
        retain_until: started_at + retention.time(),
        erased_at: None,
    };
    world.db.database.relay.insert_recording(&recording, now().wall).await.expect("written");
    recording
}

/// The API with that folder.
fn app(world: &World, folder: &Folder) -> Router {
    let at = now();
    let api = Api::new(world.db.store.clone(), world.relay.clone(), Arc::new(move || at));
    router(api.with_recordings(folder.0.clone()))
}

/// A link to a recording.
async fn link_to(world: &World, recording: &Recording) -> String {
    let links = format!("/v1/recordings/{}/links", recording.id);
    let link = world.admin.post(&links, serde_json::json!({})).await.gave(201);
    link.body["path"].as_str().expect("a path").to_owned()
}

/// Begins to follow a link without a key.
async fn begin(app: &Router, path: &str) -> Response {
    let request = Request::get(path).body(Body::empty()).expect("a request");
    app.clone().oneshot(request).await.expect("an answer")
}

/// Follows a link to its end.
async fn follow(app: &Router, path: &str) -> (u16, HeaderMap, Vec<u8>) {
    let (parts, body) = begin(app, path).await.into_parts();
    let body = to_bytes(body, 1 << 24).await.expect("a body");
    (parts.status.as_u16(), parts.headers, body.to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_is_fetched_once_by_a_link_and_heard() {
    let world = World::new().await;
    let name = format!("maskline-api-recordings-{}", std::process::id());
    let folder = Folder(std::env::temp_dir().join(name));
    let recording = recorded(&world, &folder).await;
    let listed = world.admin.get("/v1/recordings").await.gave(200);
    assert_eq!(listed.body["data"][0]["id"], recording.id.to_string());
    assert_eq!(listed.body["data"][0]["complete"], true);
    let (app, path) = (app(&world, &folder), link_to(&world, &recording).await);
    let (status, headers, wav) = follow(&app, &path).await;
    assert_eq!((status, &headers["content-type"]), (200, &"audio/wav".parse().expect("a value")));
    assert_eq!(
        (&headers["cache-control"], &headers["x-recording-complete"]),
        (&"no-store".parse().expect("a value"), &"true".parse().expect("a value"),)
    );
    let mut reader = hound::WavReader::new(Cursor::new(wav)).expect("a WAV file");
    assert_eq!((reader.spec().channels, reader.duration()), (2, 8_000));
    let samples: Vec<i16> = reader.samples().map(|sample| sample.expect("a sample")).collect();
    let level = Law::A.decode(0x2a);
    assert!(samples.chunks(2).all(|moment| *moment == [0, level]), "only the callee spoke");
    assert_eq!(follow(&app, &path).await.0, 404, "once");
    assert_eq!(follow(&app, "/recordings/guess").await.0, 404);
    assert_eq!(world.count("audit_entry").await, 2, "made and used");
}

#[tokio::test(flavor = "multi_thread")]
async fn downloads_beyond_the_limit_are_refused_and_their_link_stays_good() {
    let world = World::new().await;
    let name = format!("maskline-api-slow-{}", std::process::id());
    let folder = Folder(std::env::temp_dir().join(name));
    let recording = recorded_for(&world, &folder, 30).await;
    let app = app(&world, &folder);
    let mut unread = Vec::new();
    let refused = loop {
        let path = link_to(&world, &recording).await;
        let response = begin(&app, &path).await;
        if response.status() != 200 {
            break (path, response);
        }
        unread.push(response);
        assert!(unread.len() < 9, "no limit");
    };
    let (path, response) = refused;
    assert_eq!((unread.len(), response.status().as_u16()), (2, 429));
    assert_eq!(response.headers()["retry-after"], "10");
    let problem = to_bytes(response.into_body(), 1 << 16).await.expect("a body");
    let problem: serde_json::Value = serde_json::from_slice(&problem).expect("JSON");
    assert_eq!(problem["code"], "too_many_downloads");
    drop(unread);
    let follows = async {
        loop {
            // The two that went away are noticed when something is written to them.
            match follow(&app, &path).await {
                (429, ..) => tokio::task::yield_now().await,
                (status, _, wav) => break (status, wav.len()),
            }
        }
    };
    let status = tokio::time::timeout(NOTICED_WITHIN, follows).await.expect("they are noticed");
    assert_eq!(status, (200, 44 + 30 * 8_000 * 4));
}

/// How long the whole way of a long recording takes, from the link to the last byte.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a figure: run it alone, in release, with --ignored --nocapture"]
#[expect(clippy::disallowed_methods, reason = "it measures")]
#[expect(clippy::print_stdout, reason = "it is for the figure it prints")]
async fn two_hours_are_checked_and_sent() {
    let world = World::new().await;
    let name = format!("maskline-api-long-{}", std::process::id());
    let folder = Folder(std::env::temp_dir().join(name));
    let recording = recorded_for(&world, &folder, 7_200).await;
    let (app, path) = (app(&world, &folder), link_to(&world, &recording).await);
    let begun = std::time::Instant::now();
    let response = begin(&app, &path).await;
    let checked = begun.elapsed();
    assert_eq!(response.status(), 200);
    let wav = to_bytes(response.into_body(), 1 << 30).await.expect("a body");
    let (megabytes, sent) = (recording.bytes / 1_000_000, begun.elapsed() - checked);
    println!("two hours, one side, {megabytes} MB: checked in {checked:?}, sent in {sent:?}");
    assert_eq!(wav.len(), 44 + 7_200 * 8_000 * 4);
}

/// The code of a problem.
async fn refused(app: &Router, path: &str) -> (u16, String) {
    let (status, headers, body) = follow(app, path).await;
    assert_eq!(headers["content-type"], "application/problem+json", "{status}");
    let problem: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    (status, problem["code"].as_str().expect("a code").to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_what_was_recorded_is_not_given_out_and_the_link_stays_good() {
    let world = World::new().await;
    let name = format!("maskline-api-changed-{}", std::process::id());
    let folder = Folder(std::env::temp_dir().join(name));
    let recording = recorded(&world, &folder).await;
    let (retention, started_ms) = (recording.retention, STARTED_MS);
    let file = Place { recording: recording.id, retention, started_ms }.kept(&folder.0);
    let whole = std::fs::read(&file).expect("a file");
    let (app, path) = (app(&world, &folder), link_to(&world, &recording).await);
    // The end and the last frame: what is left reads as a recording that a crash has cut off.
    let end = 2 + 10 + 24 + 16;
    let frame = 2 + 10 + 160 + 16;
    std::fs::write(&file, &whole[..whole.len() - end - frame]).expect("written");
    assert_eq!(refused(&app, &path).await, (500, "recording_changed".to_owned()));
    let mut flipped = whole.clone();
    flipped[whole.len() - end - 1] ^= 1;
    std::fs::write(&file, &flipped).expect("written");
    assert_eq!(refused(&app, &path).await, (500, "recording_changed".to_owned()));
    std::fs::remove_file(&file).expect("removed");
    assert_eq!(refused(&app, &path).await, (500, "recording_missing".to_owned()));
    assert_eq!(world.count("audit_entry").await, 2, "linked, and found unfit once");
    std::fs::write(&file, &whole).expect("brought back");
    let (status, _, wav) = follow(&app, &path).await;
    assert_eq!((status, wav.len()), (200, 44 + 8_000 * 4));
    assert_eq!(world.count("audit_entry").await, 3);
}

#[tokio::test]
async fn nobody_links_what_another_tenant_recorded_and_a_crm_links_nothing() {
    let world = World::new().await;
    let name = format!("maskline-api-foreign-{}", std::process::id());
    let folder = Folder(std::env::temp_dir().join(name));
    let recording = recorded(&world, &folder).await;
    let links = format!("/v1/recordings/{}/links", recording.id);
    let stranger = world.stranger().await;
    stranger.post(&links, serde_json::json!({})).await.refused(404, "not_found");
    let crm = key_of(&world.operator, &world.tenant, "insurer_crm").await;
    crm.post(&links, serde_json::json!({})).await.refused(403, "forbidden");
    assert_eq!(world.count("recording_link").await, 0);
}
