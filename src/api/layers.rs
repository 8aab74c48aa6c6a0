//! What surrounds every handler: request id, log line, time limit, panic guard, security headers,
//! and the writing of problems.

use std::any::Any;
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::{Instrument, info, info_span, warn};

use super::Api;
use super::error::{ApiError, Code, Language, render};
use super::extract::is_import;
use super::imports::IMPORT_TIME_MAX;
use super::request_id::{RequestId, X_REQUEST_ID};

/// The longest time a handler may take but for imports, the reading of its body included.
pub const REQUEST_TIME_MAX: Duration = Duration::from_secs(15);

/// What every layer and some handlers know of a request.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// Its id.
    pub id: RequestId,
    /// The language of its messages.
    pub language: Language,
}

const SECURITY_HEADERS: &[(HeaderName, &str)] = &[
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::STRICT_TRANSPORT_SECURITY, "max-age=31536000"),
];

/// For answers with data: nothing may be kept, nothing may be run.
const DATA_HEADERS: &[(HeaderName, &str)] = &[
    (header::CACHE_CONTROL, "no-store"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
];

/// For the documentation pages: their own files only. Swagger UI sets styles from script.
const PAGE_HEADERS: &[(HeaderName, &str)] = &[
    (header::CACHE_CONTROL, "no-cache"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
         frame-ancestors 'none'",
    ),
];

/// The outermost layer. It logs the route's template, never the path: a path may hold a number.
pub async fn observe(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let id = request.headers().get(X_REQUEST_ID).and_then(RequestId::from_client);
    let id = id.unwrap_or_else(|| RequestId::new(api.now().unix_ms(), api.random_bits()));
    let context = RequestContext { id, language: Language::of(request.headers()) };
    request.extensions_mut().insert(context.clone());
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let is_page = route.as_deref().is_some_and(|route| route.starts_with("/docs"));
    let route = route.unwrap_or_else(|| "unknown".to_owned());
    let method = method_label(request.method());
    let started = api.now();

    let span = info_span!("request", request.id = %context.id, method, route);
    let response = next.run(request).instrument(span.clone()).await;
    let mut response = render(response, &context.id, context.language);

    let elapsed = api.now().monotonic.saturating_duration_since(started.monotonic);
    let status = response.status();
    span.in_scope(|| {
        let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        let status = status.as_u16();
        info!(request.id = %context.id, status, elapsed_ms, "{method} {route} gave {status}");
    });
    let labels = [("route", route), ("method", method.to_owned())];
    metrics::histogram!("maskline_http_request_seconds", &labels).record(elapsed.as_secs_f64());
    metrics::counter!("maskline_http_requests_total", "route" => labels[0].1.clone(),
        "method" => method, "status" => status.as_u16().to_string())
    .increment(1);

    let headers = response.headers_mut();
    headers.insert(X_REQUEST_ID, context.id.header());
    headers.insert(header::VARY, HeaderValue::from_static("accept-language"));
    let kind = if is_page { PAGE_HEADERS } else { DATA_HEADERS };
    for (name, value) in SECURITY_HEADERS.iter().chain(kind) {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// A bounded label: clients may invent methods.
fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "OTHER",
    }
}

/// Ends a handler that takes too long. An import takes as long as its file.
pub async fn limit_time(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let time_max = if is_import(&parts) { IMPORT_TIME_MAX } else { REQUEST_TIME_MAX };
    let request = Request::from_parts(parts, body);
    match tokio::time::timeout(time_max, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            warn!("The request was not finished in time");
            ApiError::new(Code::Timeout).into_response()
        }
    }
}

/// A panic is our fault, and its text may quote anything: neither the client nor the log gets it.
#[must_use]
pub fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    tracing::error!("A handler panicked");
    ApiError::new(Code::Internal).into_response()
}

/// No such path.
pub async fn not_found() -> ApiError {
    Code::NotFound.into()
}

/// No such method on this path.
pub async fn method_not_allowed() -> ApiError {
    Code::MethodNotAllowed.into()
}
