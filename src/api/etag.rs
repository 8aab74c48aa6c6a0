//! Entity tags (RFC 9110 §8.8.3): the version of a row, and changes that name the one they mean.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use utoipa::openapi::Required;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};

use super::error::{ApiError, Code};
use super::values::text_schema;

/// The tag of a version.
#[must_use]
pub fn etag(version: u64) -> HeaderValue {
    HeaderValue::from_str(&format!("\"v{version}\"")).expect("a number is ASCII")
}

/// The `If-Match` of a change: it happens only if the row still has that version.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum IfMatch {
    /// No header, or `*`: whatever the version is.
    Any,
    /// This one.
    Version(u64),
    /// Something that is none of our tags, which therefore matches nothing.
    Nothing,
}

impl IfMatch {
    /// The version the store has to find.
    ///
    /// # Errors
    /// [`Code::PreconditionFailed`] for a tag that matches nothing.
    pub fn version(self) -> Result<Option<u64>, ApiError> {
        match self {
            Self::Any => Ok(None),
            Self::Version(version) => Ok(Some(version)),
            Self::Nothing => Err(Code::PreconditionFailed.into()),
        }
    }

    /// For things that have no tags, so that none can match.
    ///
    /// # Errors
    /// [`Code::PreconditionFailed`] for any tag.
    pub fn untagged(self) -> Result<(), ApiError> {
        match self {
            Self::Any => Ok(()),
            Self::Version(_) | Self::Nothing => Err(Code::PreconditionFailed.into()),
        }
    }

    /// A row that was there before and could not be changed has another version, or is gone.
    ///
    /// # Errors
    /// [`Code::PreconditionFailed`] or [`Code::NotFound`].
    pub fn unless_changed<T>(self, row: Option<T>) -> Result<T, ApiError> {
        row.ok_or_else(|| match self {
            Self::Any => Code::NotFound.into(),
            Self::Version(_) | Self::Nothing => Code::PreconditionFailed.into(),
        })
    }
}

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let Some(value) = parts.headers.get(header::IF_MATCH) else { return Ok(Self::Any) };
        let text = value.to_str().unwrap_or_default().trim();
        if text == "*" {
            return Ok(Self::Any);
        }
        let version = text.strip_prefix("\"v").and_then(|text| text.strip_suffix('"'));
        Ok(version.and_then(|v| v.parse().ok()).map_or(Self::Nothing, Self::Version))
    }
}

impl utoipa::IntoParams for IfMatch {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![
            ParameterBuilder::new()
                .name("If-Match")
                .parameter_in(ParameterIn::Header)
                .required(Required::False)
                .description(Some("The ETag that was read; 412 when it has changed."))
                .schema(Some(text_schema("^(\\*|\"v[0-9]{1,19}\")$", None)))
                .build(),
        ]
    }
}
