//! A receiver of webhooks that remembers what it got, and answers as it is told.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response, StatusCode};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// How it answers.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    Status(u16),
    /// Elsewhere.
    Redirect(String),
    /// 200, and a body that does not end.
    Endless,
    /// Never.
    Hang,
}

/// One request.
#[derive(Clone, Debug)]
pub(super) struct Got {
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Got {
    pub(super) fn event(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    pub(super) fn kind(&self) -> String {
        self.event()["type"].as_str().expect("a type").to_owned()
    }
}

#[derive(Default)]
struct Shared {
    got: Mutex<Vec<Got>>,
    replies: Mutex<VecDeque<Reply>>,
    arrived: Notify,
}

/// A server of its own that lives as long as the test.
#[derive(Clone)]
pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
}

impl Receiver {
    pub(super) async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared::default());
        let router = Router::new().fallback(take).with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, router).await.expect("served") });
        Self { address, shared }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/hook?key=1", self.address)
    }

    /// What it answers next; after the last of them 204 to everything.
    pub(super) fn answers(&self, replies: impl IntoIterator<Item = Reply>) {
        *self.shared.replies.lock().expect("no panic") = replies.into_iter().collect();
    }

    pub(super) fn got(&self) -> Vec<Got> {
        self.shared.got.lock().expect("no panic").clone()
    }

    pub(super) fn kinds(&self) -> Vec<String> {
        self.got().iter().map(Got::kind).collect()
    }

    /// Waits for so many requests.
    pub(super) async fn wait_for(&self, count: usize) {
        loop {
            let arrived = self.shared.arrived.notified();
            if self.got().len() >= count {
                return;
            }
            arrived.await;
        }
    }
}

async fn take(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    shared.got.lock().expect("no panic").push(Got { headers, body });
    shared.arrived.notify_waiters();
    let reply = shared.replies.lock().expect("no panic").pop_front();
    let builder = Response::builder();
    let response = match reply.unwrap_or(Reply::Status(204)) {
        Reply::Status(status) => builder.status(status).body(Body::from("said")),
        Reply::Redirect(to) => {
            builder.status(StatusCode::FOUND).header("location", to).body(Body::empty())
        }
        Reply::Endless => builder.body(endless()),
        Reply::Hang => std::future::pending().await,
    };
    response.expect("a response")
}

/// Zeros for as long as somebody reads.
fn endless() -> Body {
    Body::from_stream(tokio_util::io::ReaderStream::new(tokio::io::repeat(0)))
}
