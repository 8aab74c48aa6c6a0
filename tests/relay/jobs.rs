//! What the service does by itself, without a call or a request.

use std::time::Duration;

use maskline::app::{RootKeyFile, start};
use maskline::config::Webhooks;
use maskline::domain::event::EventKind;
use maskline::domain::id::WebhookId;
use maskline::store::webhook::NewWebhook;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::calls::Bench;
use crate::service::{page, settings, url};
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
    let running = start(config, RootKeyFile::Ephemeral).await.expect("started");
    let bench = Bench::on(test, running).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let (store, at) = (&bench.running.store, maskline::relay::now::now().wall);
    let id = WebhookId::new(1, 1);
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let event_types = vec![EventKind::TenantSuspended];
    let new = NewWebhook { id, url, description: None, event_types };
    store.insert_webhook(bench.tenant, new, &[7; 32], at).await.expect("made").expect("room");
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
