//! What the service does by itself, without a call or a request.

use std::time::Duration;

use maskline::app::{RootKeyFile, start};
use maskline::config::Webhooks;
use maskline::domain::event::EventKind;
use maskline::domain::id::{ApiKeyId, CallId, RecordingId, WebhookId};
use maskline::recording::{About, Frame, Track, Writer};
use maskline::rtp::g711::Law;
use maskline::rtp::plane::Side;
use maskline::store::PageRequest;
use maskline::store::binding::{BindingChange, BindingOutcome};
use maskline::store::webhook::{NewWebhook, WebhookOwner};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::calls::Bench;
use crate::service::{page, service, settings, url};
use crate::support::database;

#[tokio::test(flavor = "multi_thread")]
async fn a_running_service_gives_events_their_place_in_the_sequence() {
    // The bench has made a binding; its event came without a place.
    let bench = Bench::new().await;
    let placed = async {
        loop {
            let mut tx = bench.running.store.tenant(bench.tenant).await.expect("a transaction");
            if let [event] = tx.list_events(0, &[], 200).await.expect("events").as_slice() {
                return (event.kind.clone(), event.sequence);
            }
        }
    };
    let placed = tokio::time::timeout(Duration::from_secs(20), placed).await;
    assert_eq!(placed.expect("in time"), ("binding.created".to_owned(), 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_service_tells_of_the_end_of_a_binding_before_it_comes() {
    let bench = Bench::new().await;
    let (store, at) = (&bench.running.store, maskline::relay::now::now().wall);
    let renew_until = Some(at + Duration::from_secs(24 * 60 * 60));
    let change = BindingChange { renew_until, ..BindingChange::default() };
    let mut tx = store.tenant(bench.tenant).await.expect("a transaction");
    let outcome = tx.change_terms(at, bench.binding, change, None).await.expect("an answer");
    assert!(matches!(outcome, BindingOutcome::Changed(_)), "{outcome:?}");
    tx.commit().await.expect("committed");
    // It looks for them when it starts, and then once a minute.
    let there = service(&url(&bench.test)).await;
    let told = async {
        loop {
            let mut tx = store.tenant(bench.tenant).await.expect("a transaction");
            let events = tx.list_events(0, &[EventKind::BindingExpiring], 200).await;
            if let [event] = events.expect("events").as_slice() {
                return event.data["binding"].clone();
            }
        }
    };
    let told = tokio::time::timeout(Duration::from_secs(20), told).await.expect("in time");
    assert_eq!(told, bench.binding.to_string());
    there.stop(Duration::ZERO, Default::default()).await;
}

/// Takes one request, answers 204, and gives what came.
async fn take_one(listener: &TcpListener) -> String {
    let (mut stream, _) = listener.accept().await.expect("a connection");
    let mut request = String::new();
    while !request.ends_with('}') {
        let mut bytes = [0; 4_096];
        let length = stream.read(&mut bytes).await.expect("bytes");
        assert_ne!(length, 0, "{request}");
        request.push_str(std::str::from_utf8(&bytes[..length]).expect("text"));
    }
    let answer = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
    stream.write_all(answer).await.expect("answered");
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_service_tells_endpoints_and_says_how_much_waits() {
    let test = database().await;
    let mut config = settings(&url(&test));
    config.webhooks = Webhooks { allow_http: true, allow_private: true };
    let running = start(config, RootKeyFile::MustExist).await.expect("started");
    let bench = Bench::on(test, running).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let (store, at) = (&bench.running.store, maskline::relay::now::now().wall);
    let id = WebhookId::new(1, 1);
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let event_types = vec![EventKind::TenantSuspended];
    let new = NewWebhook { id, url, description: None, event_types };
    let owner = WebhookOwner { tenant: bench.tenant, key: ApiKeyId::new(1, 1) };
    store.insert_webhook(owner, new, &[7; 32], at).await.expect("made").expect("room");
    let ping = store.ping_webhook(bench.tenant, id, at).await.expect("asked").expect("enabled");
    let told = tokio::time::timeout(Duration::from_secs(20), take_one(&listener)).await;
    let told = told.expect("in time");
    assert!(told.contains("webhook-signature: v1,") && told.contains(&ping.to_string()), "{told}");
    let counted = async {
        let wanted = [
            "maskline_webhook_deliveries_total{outcome=\"delivered\"}",
            "maskline_outbox_pending",
            "maskline_outbox_lag_seconds",
        ];
        loop {
            let page = page(&bench.running, "/metrics").await.1;
            if wanted.iter().all(|name| page.contains(name)) {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), counted).await.expect("in time");
}

/// Writes a second of one side under a partial name, with a bit changed near its end.
async fn damaged(bench: &Bench, partial: &std::path::Path) -> RecordingId {
    let (relay, vault) = (&bench.test.database.relay, bench.running.store.vault());
    let keys = relay.tenant_keys(vault, bench.tenant).await.expect("keys");
    let (recording, call) = (RecordingId::new(1, 1), CallId::new(1, 1));
    let (key, wrapped) = keys.create_recording_key(recording).expect("a key");
    let about = About { tenant: bench.tenant, recording, call, started_ms: 1_700_000_000_000 };
    let mut writer = Writer::begin(Vec::new(), &about, &key, &wrapped).expect("a header");
    for at in 0..50 {
        let (track, law, samples) = (Track(Side::B), Law::A, &[0x2a; 160]);
        let frame = Frame { track, law, at_ms: at * 20, timestamp: at * 160, samples };
        writer.add(&frame).expect("a frame");
    }
    let mut file = writer.finish().expect("an end").out;
    let end = 2 + 10 + 24 + 16;
    let at = file.len() - end - 1;
    file[at] ^= 1;
    std::fs::write(partial.join(format!("{recording}.part")), file).expect("written");
    recording
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_be_read_of_a_damaged_recording_is_kept_and_files_of_no_use_go_in_time() {
    let test = database().await;
    let folder = std::env::temp_dir().join(format!("maskline-left-{}", std::process::id()));
    let partial = folder.join("five_years/partial");
    std::fs::create_dir_all(&partial).expect("a folder");
    let days_ago =
        |days: u64| maskline::relay::now::now().wall - Duration::from_secs(days * 86_400);
    let put = |name: &str, content: &[u8], days: u64| {
        let path = partial.join(name);
        std::fs::write(&path, content).expect("written");
        let file = std::fs::File::options().write(true).open(&path).expect("a file");
        file.set_modified(days_ago(days)).expect("a time");
        path
    };
    let (old, empty) = (put("old.part", b"no recording", 1_828), put("empty.part", b"", 1));
    let recent = put("recent.part", b"no recording", 1_826);
    let mut config = settings(&url(&test));
    config.recording.folder = Some(folder.clone());
    let running = start(config, RootKeyFile::MustExist).await.expect("started");
    let bench = Bench::on(test, running).await;
    let recording = damaged(&bench, &partial).await;
    let page = PageRequest::new(9, None);
    let kept = async {
        loop {
            let store = &bench.running.store;
            let rows = store.list_recordings(bench.tenant, None, page).await.expect("a list");
            if let [row] = rows.items.as_slice() {
                return row.clone();
            }
        }
    };
    let row = tokio::time::timeout(Duration::from_secs(20), kept).await.expect("in time");
    assert_eq!((row.id, row.frames, row.complete), (recording, [0, 49], false));
    assert!(recent.exists() && !old.exists() && !empty.exists());
    std::fs::remove_dir_all(folder).expect("removed");
}
