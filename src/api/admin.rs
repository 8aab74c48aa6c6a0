//! The admin listener: health, readiness with its reasons, metrics, version. Loopback by default
//! and without keys; it shows no number and no identifier.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;

use crate::relay::handle::{Handle, Readiness};

/// Renders the metrics page.
pub type RenderMetrics = Arc<dyn Fn() -> String + Send + Sync>;

/// What the admin listener can ask.
#[derive(Clone)]
pub struct Admin {
    /// The relay of this process.
    pub relay: Handle,
    /// The metrics of this process.
    pub metrics: RenderMetrics,
}

/// `/healthz`, `/readyz`, `/metrics`, `/version`.
pub fn router(admin: Admin) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/version", get(version))
        .with_state(admin)
}

/// The process runs; nothing else is asked.
async fn healthz() -> Json<HealthBody> {
    Json(HealthBody { status: "ok" })
}

#[derive(Serialize)]
struct HealthBody {
    status: &'static str,
}

#[derive(Serialize)]
struct ReadyBody {
    ready: bool,
    /// What keeps new calls away.
    reasons: Vec<&'static str>,
}

async fn readyz(State(admin): State<Admin>) -> Response {
    let readiness = admin.relay.readiness();
    let ready = readiness.is_ready();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(ReadyBody { ready, reasons: reasons(&readiness) })).into_response()
}

fn reasons(readiness: &Readiness) -> Vec<&'static str> {
    let Readiness { database, sip_socket, carrier_trunk, media_ports, draining } = *readiness;
    let conditions = [
        (!database, "database"),
        (!sip_socket, "sip_socket"),
        (!carrier_trunk, "no_carrier_trunk"),
        (!media_ports, "media_ports"),
        (draining, "draining"),
    ];
    conditions.into_iter().filter_map(|(holds, reason)| holds.then_some(reason)).collect()
}

async fn metrics(State(admin): State<Admin>) -> Response {
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], (admin.metrics)()).into_response()
}

#[derive(Serialize)]
struct VersionBody {
    name: &'static str,
    version: &'static str,
}

async fn version() -> Json<VersionBody> {
    Json(VersionBody { name: env!("CARGO_PKG_NAME"), version: env!("CARGO_PKG_VERSION") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tower::ServiceExt as _;

    async fn ask(path: &str) -> (StatusCode, String) {
        let admin = Admin { relay: Handle::detached(), metrics: Arc::new(|| "up 1\n".to_owned()) };
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let response = router(admin).oneshot(request).await.expect("an answer");
        let status = response.status();
        let body = to_bytes(response.into_body(), 1 << 16).await.expect("a body");
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    #[tokio::test]
    async fn a_relay_that_is_not_ready_says_why() {
        let (status, body) = ask("/readyz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(body.contains(r#""ready":false"#) && body.contains(r#""database""#), "{body}");
    }

    #[tokio::test]
    async fn health_asks_nothing_but_the_process() {
        assert_eq!(ask("/healthz").await, (StatusCode::OK, r#"{"status":"ok"}"#.to_owned()));
        assert_eq!(ask("/metrics").await, (StatusCode::OK, "up 1\n".to_owned()));
        assert!(ask("/version").await.1.contains("maskline"));
        assert_eq!(ask("/debug").await.0, StatusCode::NOT_FOUND);
    }
}
