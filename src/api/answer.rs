//! Successful answers: the body with its entity tag, and the place of what was made.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::etag::etag;

/// A body with the tag of its version.
#[must_use]
pub fn tagged(status: StatusCode, version: u64, body: impl Serialize) -> Response {
    let mut response = (status, axum::Json(body)).into_response();
    response.headers_mut().insert(header::ETAG, etag(version));
    response
}

/// 201 with the place of what was made.
#[must_use]
pub fn created(location: &str, version: u64, body: impl Serialize) -> Response {
    at(location, tagged(StatusCode::CREATED, version, body))
}

/// Adds `Location`.
#[must_use]
pub fn at(location: &str, mut response: Response) -> Response {
    let location = HeaderValue::from_str(location).expect("our paths are ASCII");
    response.headers_mut().insert(header::LOCATION, location);
    response
}
