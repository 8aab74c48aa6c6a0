//! The request id: the client's own `X-Request-Id` when it is a harmless text, else a UUIDv7.

use std::fmt;
use std::sync::Arc;

use axum::http::HeaderValue;

use crate::domain::id::ImportId;

/// The header, in and out.
pub const X_REQUEST_ID: &str = "x-request-id";

/// The longest id taken from a client.
pub const REQUEST_ID_CHARS_MAX: usize = 128;

/// The most digits in a row in an id taken from a client: a longer run could be somebody's number,
/// and ids are logged.
const DIGIT_RUN_MAX: usize = 10;

/// Names one request in answers and logs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// Takes a client's id if it is short, of the safe set, and cannot be a telephone number.
    #[must_use]
    pub fn from_client(value: &HeaderValue) -> Option<Self> {
        let text = value.to_str().ok()?;
        let safe = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let fits = (1..=REQUEST_ID_CHARS_MAX).contains(&text.len()) && text.bytes().all(safe);
        (fits && text.bytes().any(|b| b.is_ascii_alphabetic()) && !has_long_digit_run(text))
            .then(|| Self(text.into()))
    }

    /// Makes one from a wall time and random bits.
    #[must_use]
    pub fn new(unix_ms: u64, random: u128) -> Self {
        let id = crate::domain::id::EventId::new(unix_ms, random).as_u128();
        Self(uuid::Uuid::from_u128(id).to_string().into())
    }

    /// Names an import, in what became of its rows and in the log.
    #[must_use]
    pub fn of_import(import: ImportId) -> Self {
        Self(import.to_string().into())
    }

    /// As a header value.
    #[must_use]
    pub fn header(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).expect("a request id has only visible ASCII")
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A UUID without hyphens may have such a run too: it is then replaced, which harms nobody.
fn has_long_digit_run(text: &str) -> bool {
    text.as_bytes()
        .chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit())
        .any(|run| run.len() > DIGIT_RUN_MAX && run.first().is_some_and(u8::is_ascii_digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(text: &'static str) -> bool {
        RequestId::from_client(&HeaderValue::from_static(text)).is_some()
    }

    #[test]
    fn only_harmless_ids_are_taken() {
        assert!(taken("crm-2024-000017.retry_2"));
        assert!(taken("018f3a5c-7b1e-7c3d-9f00-2b8a1c0d4e5f"));
        assert!(!taken("two words"));
        assert!(!taken(""));
        assert!(!taken("8613800001234"));
        assert!(!taken("call-8613800001234"));
        assert!(!taken(Box::leak("x".repeat(129).into_boxed_str())));
    }

    #[test]
    fn a_made_id_is_a_uuid_of_version_seven() {
        let text = RequestId::new(1_700_000_000_000, 5).to_string();
        assert_eq!(uuid::Uuid::parse_str(&text).map(|id| id.get_version_num()), Ok(7));
    }
}
