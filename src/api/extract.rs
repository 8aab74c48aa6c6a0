//! From a request to typed values: bodies under a limit, parameters and path names, each mistake
//! with its place and without its value.

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{FromRequest, FromRequestParts, MatchedPath, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::error::Category;
use zeroize::Zeroize;

use super::error::{ApiError, Code};
use super::field_error::{FieldError, Rule, Segment};
use super::roles::{BASE, BATCH_PATH, IMPORTS_PATH};
use super::values::{Object, PublicId, RULE_MARK, problem_at};
use crate::domain::number::{InvalidNumber, VirtualNumber};

/// The largest body of any request but those of [`body_bytes_max`].
pub const BODY_BYTES_MAX: usize = 1024 * 1024;

/// The largest batch of bindings: 2 KiB for each of its rows.
pub const BATCH_BYTES_MAX: usize = 2 * 1024 * 1024;

/// The most query parameters of any request.
pub const QUERY_PARAMETERS_MAX: usize = 32;

/// A JSON body.
#[derive(Debug)]
pub struct Json<T>(pub T);

/// A JSON body that may be left out.
#[derive(Debug)]
pub struct OptionalJson<T>(pub T);

/// Query parameters; the fields of `T` read texts.
#[derive(Debug)]
pub struct Query<T>(pub T);

/// The one identifier in a path. A text that is none is answered like an unknown one.
#[derive(Clone, Copy, Debug)]
pub struct PathId<T>(pub T);

/// A virtual number in a path. A text that is none is answered like an unknown one.
#[derive(Clone, Debug)]
pub struct PathNumber(pub VirtualNumber);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        if media_type(&parts.headers) != Some(MediaType::Json) {
            return Err(Code::UnsupportedMediaType.into());
        }
        let bytes = read_body(&parts, body).await?;
        let value = parse_json(&bytes);
        wipe(bytes);
        value.map(Self)
    }
}

impl<S: Sync, T: DeserializeOwned + Default> FromRequest<S> for OptionalJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let bytes = read_body(&parts, body).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        if media_type(&parts.headers) != Some(MediaType::Json) {
            return Err(Code::UnsupportedMediaType.into());
        }
        parse_json(&bytes).map(Self)
    }
}

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|_| FieldError::new("/query", Rule::Invalid))?;
        if pairs.0.len() > QUERY_PARAMETERS_MAX {
            let length = Rule::Length(0, QUERY_PARAMETERS_MAX);
            return Err(problem_at(Code::TooManyParameters, "/query", length));
        }
        let mut object = serde_json::Map::new();
        for (name, value) in pairs.0 {
            if object.contains_key(&name) {
                let path = std::iter::once(Segment::Name(&name));
                return Err(FieldError::at_path(path, Rule::Duplicate).under("/query").into());
            }
            object.insert(name, value.into());
        }
        serde_path_to_error::deserialize(serde_json::Value::Object(object))
            .map(Self)
            .map_err(|error| field_error(&error).under("/query").into())
    }
}

impl<S: Send + Sync, T: PublicId> FromRequestParts<S> for PathId<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let text = path_text(parts, state).await?;
        T::find(&text).map(Self).ok_or(Code::NotFound.into())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PathNumber {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let text = path_text(parts, state).await?;
        VirtualNumber::parse(&text).map(Self).map_err(|_| Code::NotFound.into())
    }
}

async fn path_text<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<String, ApiError> {
    let params = RawPathParams::from_request_parts(parts, state).await;
    let params = params.map_err(|_| ApiError::new(Code::NotFound))?;
    params.iter().next().map(|(_, text)| text.to_owned()).ok_or(Code::NotFound.into())
}

/// What a body claims to be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MediaType {
    /// `application/json` or `application/…+json`.
    Json,
    /// `text/csv`.
    Csv,
}

/// Reads `Content-Type`; `None` for anything that no operation reads.
#[must_use]
pub fn media_type(headers: &HeaderMap) -> Option<MediaType> {
    let text = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_json = essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"));
    if is_json {
        return Some(MediaType::Json);
    }
    (essence == "text/csv").then_some(MediaType::Csv)
}

/// The path template of the operation that is asked for, below [`BASE`].
fn path_of(parts: &Parts) -> Option<&str> {
    parts.extensions.get::<MatchedPath>().and_then(|it| it.as_str().strip_prefix(BASE))
}

/// An import: its body is read while it comes, and nobody holds all of it.
pub(super) fn is_import(parts: &Parts) -> bool {
    parts.method == Method::POST && path_of(parts) == Some(IMPORTS_PATH)
}

/// The largest body that the operation of this request reads.
#[must_use]
pub fn body_bytes_max(parts: &Parts) -> usize {
    if path_of(parts) == Some(BATCH_PATH) { BATCH_BYTES_MAX } else { BODY_BYTES_MAX }
}

/// Reads a body up to the bound of its operation.
///
/// # Errors
/// [`Code::BodyTooLarge`] as soon as that is known; [`Code::MalformedBody`] when the peer breaks
/// off.
pub async fn read_body(parts: &Parts, body: Body) -> Result<Bytes, ApiError> {
    let (headers, bytes_max) = (&parts.headers, body_bytes_max(parts));
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: u64| length > bytes_max as u64) {
        return Err(Code::BodyTooLarge.into());
    }
    to_bytes(body, bytes_max).await.map_err(|error| {
        // axum boxes the error of its limit; the text is all that it shows of it.
        let is_limit = error.to_string().contains("length limit");
        if is_limit { Code::BodyTooLarge } else { Code::MalformedBody }.into()
    })
}

/// Overwrites a body that may have held a real number, if nobody else holds it.
pub fn wipe(bytes: Bytes) {
    if let Ok(mut bytes) = bytes.try_into_mut() {
        bytes.as_mut().zeroize();
    }
}

/// Reads a JSON object; every mistake names its place.
///
/// # Errors
/// [`Code::MalformedBody`] when it is no JSON, [`Code::ValidationFailed`] when it is another JSON.
pub fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    // First whether it is JSON at all, to its end: a mistake of form comes before one of content.
    serde_json::from_slice::<IgnoredAny>(bytes).map_err(|_| ApiError::new(Code::MalformedBody))?;
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let read = serde_path_to_error::deserialize(&mut deserializer);
    let Object(value) = read.map_err(|error| match error.inner().classify() {
        Category::Data => field_error(&error).into(),
        Category::Syntax | Category::Eof | Category::Io => ApiError::new(Code::MalformedBody),
    })?;
    Ok(value)
}

/// serde says what is wrong in a text that may quote the value. Only its kind is taken from it, and
/// names that are our own.
pub(super) fn field_error(error: &serde_path_to_error::Error<serde_json::Error>) -> FieldError {
    let text = error.inner().to_string();
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
    let path = || {
        error.path().iter().filter_map(|segment| match segment {
            serde_path_to_error::Segment::Seq { index } => Some(Segment::Index(*index)),
            serde_path_to_error::Segment::Map { key } => Some(Segment::Name(key)),
            serde_path_to_error::Segment::Enum { .. } | serde_path_to_error::Segment::Unknown => {
                None
            }
        })
    };
    if let Some(name) = text.strip_prefix("missing field `").and_then(|t| t.strip_suffix('`')) {
        return FieldError::at_path(path().chain([Segment::Name(name)]), Rule::Missing);
    }
    FieldError::at_path(path(), rule_of(text))
}

fn rule_of(text: &str) -> Rule {
    if let Some(rule) = text.strip_prefix(RULE_MARK) {
        return match rule {
            "invalid_id" => Rule::InvalidId,
            "invalid_time" => Rule::InvalidTime,
            "number_plus_missing" => Rule::Number(InvalidNumber::PlusMissing),
            "number_too_short" => Rule::Number(InvalidNumber::TooShort),
            "number_too_long" => Rule::Number(InvalidNumber::TooLong),
            "number_not_a_digit" => Rule::Number(InvalidNumber::NotADigit),
            "number_leading_zero" => Rule::Number(InvalidNumber::LeadingZero),
            "limit" => Rule::OutOfRange(1, i64::from(super::paging::LIMIT_MAX)),
            _ => Rule::Invalid,
        };
    }
    if text.starts_with("unknown field") {
        Rule::UnknownField
    } else if text.starts_with("duplicate field") {
        Rule::Duplicate
    } else if text.starts_with("unknown variant") {
        // What follows the last "expected" is our own list of words.
        let allowed = text.rsplit_once("expected ").map_or("", |(_, allowed)| allowed);
        let allowed = allowed.trim_start_matches("one of ").replace('`', "");
        Rule::NotAllowed(allowed.into())
    } else if text.starts_with("invalid type") {
        Rule::WrongType
    } else {
        Rule::Invalid
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        #[expect(dead_code, reason = "only read")]
        inner: Vec<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[expect(dead_code, reason = "only read")]
        count: u8,
        #[expect(dead_code, reason = "only read")]
        kind: Option<Kind>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        Left,
        Right,
    }

    fn problem(json: &str) -> (Code, String, String) {
        let error = parse_json::<Outer>(json.as_bytes()).expect_err("must be refused");
        let field = error.fields().first();
        let (pointer, rule) = field.map_or(("", ""), |f| (f.pointer(), f.rule().code()));
        (error.code(), pointer.to_owned(), rule.to_owned())
    }

    #[test]
    fn a_mistake_is_named_by_its_place() {
        let invalid = |pointer: &str, rule: &str| {
            (Code::ValidationFailed, pointer.to_owned(), rule.to_owned())
        };
        assert_eq!(problem(r#"{"inner":[{"count":1},{}]}"#), invalid("/inner/1/count", "missing"));
        assert_eq!(
            problem(r#"{"inner":[{"count":"1"}]}"#),
            invalid("/inner/0/count", "wrong_type")
        );
        assert_eq!(
            problem(r#"{"inner":[{"count":1,"kind":"Up"}]}"#),
            invalid("/inner/0/kind", "not_allowed")
        );
        assert_eq!(
            problem(r#"{"inner":[{"count":1,"extra":2}]}"#),
            invalid("/inner/0/extra", "unknown_field")
        );
        assert_eq!(
            problem(r#"{"inner":[{"count":1,"13800000000":2}]}"#),
            invalid("/inner/0", "unknown_field")
        );
        assert_eq!(problem(r#"{"inner":[{"count":300}]}"#), invalid("/inner/0/count", "invalid"));
        assert_eq!(problem("[]").2, "wrong_type");
    }

    #[test]
    fn what_is_no_json_is_malformed() {
        for text in ["", "{", "{]", r#"{"inner":[]} x"#, "\u{feff}{}", r#"{"inner":[]"#] {
            assert_eq!(problem(text).0, Code::MalformedBody, "{text:.20}");
        }
    }

    #[test]
    fn the_allowed_words_are_told_and_the_wrong_one_is_not() {
        let json = r#"{"inner":[{"count":1,"kind":"x`, expected `13800000000"}]}"#;
        let error = parse_json::<Outer>(json.as_bytes()).expect_err("must be refused");
        let rule = error.fields().first().map(FieldError::rule).cloned();
        assert_eq!(rule, Some(Rule::NotAllowed("left or right".into())));
    }

    #[test]
    fn a_real_number_leaves_no_text_behind() {
        use super::super::values::RealNumberField;
        #[derive(Debug, Deserialize)]
        struct Both {
            #[expect(dead_code, reason = "only shown")]
            good: RealNumberField,
            #[expect(dead_code, reason = "only shown")]
            bad: RealNumberField,
        }
        let json = br#"{"good": "+8613800001234", "bad": "+8613800x"}"#;
        let parsed = format!("{:?}", parse_json::<Both>(json).expect("two texts"));
        assert!(parsed.contains("RealNumber(***)") && parsed.contains("NotADigit"), "{parsed}");
        assert!(!parsed.contains("1380000"));
        let error = parse_json::<Both>(br#"{"good": 13800001234}"#).expect_err("not a text");
        assert!(!format!("{error:?}").contains("1380000"));
    }
}
