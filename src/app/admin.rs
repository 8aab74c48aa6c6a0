//! The listener for machines that watch: health, readiness, metrics, version, settings.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;

use crate::relay::handle::{Handle, Readiness};

/// What the pages show.
#[derive(Clone)]
pub(super) struct Pages {
    pub(super) relay: Handle,
    pub(super) metrics: PrometheusHandle,
    /// The settings in force, without secrets.
    pub(super) config: Arc<str>,
}

/// The pages, by their paths.
pub(super) fn router(pages: Pages) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readiness))
        .route("/metrics", get(metrics))
        .route("/version", get(async || concat!(env!("CARGO_PKG_VERSION"), "\n")))
        .route("/debug/config", get(config))
        .with_state(pages)
}

async fn readiness(State(pages): State<Pages>) -> (StatusCode, String) {
    let readiness = pages.relay.readiness();
    let status = if readiness.is_ready() { 200 } else { 503 };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    (status, describe(&readiness))
}

/// One condition a line, so that a person sees at once what is missing.
fn describe(readiness: &Readiness) -> String {
    let conditions = [
        ("database", readiness.database),
        ("sip_socket", readiness.sip_socket),
        ("carrier_trunk", readiness.carrier_trunk),
        ("media_ports", readiness.media_ports),
        ("not_draining", !readiness.draining),
    ];
    conditions.iter().fold(String::new(), |mut text, (name, holds)| {
        // Writing into a String cannot fail.
        writeln!(text, "{name} {}", if *holds { "ok" } else { "FAILS" }).ok();
        text
    })
}

async fn metrics(State(pages): State<Pages>) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    (kind, pages.metrics.render()).into_response()
}

async fn config(State(pages): State<Pages>) -> String {
    pages.config.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_condition_is_named() {
        let text = describe(&Handle::detached().readiness());
        assert!(text.contains("database FAILS\n"), "{text}");
        assert!(text.contains("not_draining ok\n"), "{text}");
    }
}
