//! Many bindings at once: each row is read, judged and answered as a request of its own would be.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{FromRequest, Request, State};
use axum::http::StatusCode;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use utoipa::openapi::schema::{AnyOfBuilder, ObjectBuilder, Schema, SchemaType};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

use super::Api;
use super::auth::TenantActor;
use super::binding_body::{BindingBody, BindingCreate};
use super::bindings::Asked;
use super::error::{ApiError, Code, Problem};
use super::extract::{MediaType, media_type, parse_json, read_body, wipe};
use super::field_error::{FieldError, Rule};
use super::layers::RequestContext;
use crate::store::binding::{BATCH_ROWS_MAX, BindingRecord, NewBinding, RowOutcome};

/// So many batches are read and bound at once: each holds its rows in memory, and later a
/// connection and a lock for every row.
pub const BATCHES_MAX: usize = 2;
/// The longest row: more than one that is good can need, and few enough to be read into memory.
pub(super) const ROW_BYTES_MAX: usize = 128 * 1024;
/// How long a batch waits for its turn.
const TURN_TIME_MAX: Duration = Duration::from_secs(5);

/// Up to 1,000 new bindings.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"bindings": [
    {"external_id": "crm-8001", "mode": "ax", "policy": {"ref": "P-2026-8001"},
        "subscriber": {"real_number": "+8613800005678"}},
    {"external_id": "crm-8002", "mode": "ax", "policy": {"ref": "P-2026-8002"},
        "subscriber": {"real_number": "+8613800006789"}, "valid_until": "2035-12-31T16:00:00Z"},
]}))]
pub struct BindingBatch {
    /// Each as `POST /v1/bindings` takes it.
    #[schema(value_type = Vec<BindingRow>, min_items = 1, max_items = 1000)]
    bindings: Vec<IgnoredAny>,
}

/// How a row looks, for the OpenAPI file: no value has this type.
#[derive(Debug)]
struct BindingRow;

impl PartialSchema for BindingRow {
    fn schema() -> RefOr<Schema> {
        let anything = ObjectBuilder::new()
            .schema_type(SchemaType::AnyValue)
            .description(Some("Anything else is answered by a problem of its own."));
        let binding = Ref::from_schema_name(BindingCreate::name());
        AnyOfBuilder::new().item(binding).item(anything).into()
    }
}

impl ToSchema for BindingRow {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("BindingRow")
    }
}

/// What became of each row, in their order.
#[derive(Debug, Serialize, ToSchema)]
pub struct BindingResults {
    /// As many as rows were sent.
    results: Vec<BindingResult>,
}

/// What became of one row.
#[derive(Debug, Serialize, ToSchema)]
pub struct BindingResult {
    /// 201 for a new binding, 200 for one of before, else the status of the problem.
    status: u16,
    /// The binding, when there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    binding: Option<BindingBody>,
    /// Why there is none. Its pointers begin at the row.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Problem>,
}

/// The rows of a body; those that are no binding are refused one by one. Whoever has them has a
/// turn.
#[derive(Debug)]
pub struct Rows {
    rows: Vec<Row>,
    _turn: OwnedSemaphorePermit,
}

pub(super) type Row = Result<(Asked, NewBinding), ApiError>;

impl FromRequest<Api> for Rows {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Api) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        if media_type(&parts.headers) != Some(MediaType::Json) {
            return Err(Code::UnsupportedMediaType.into());
        }
        let bytes = read_body(&parts, body).await?;
        // What is read takes many times the room of its text.
        let turn = timeout(TURN_TIME_MAX, Arc::clone(api.batches()).acquire_owned()).await;
        let turn = turn.ok().and_then(Result::ok).ok_or(ApiError::new(Code::Unavailable));
        let rows = turn.and_then(|turn| Ok(Self { rows: read_rows(&bytes)?, _turn: turn }));
        wipe(bytes);
        rows
    }
}

/// Binds up to 1,000 rows, each as `POST /v1/bindings` would, one after the other. The answer is
/// 200 with a result for every row in their order; a row that is refused changes nothing and does
/// not hold up the others. Rows with the same `external_id`, subscriber or virtual number are
/// carried out in their order too. A problem of the whole request of status 4xx has bound no row;
/// after one of 5xx, or none, that is unknown. The same rows sent again give the bindings that
/// there are already. The body may have 2 MiB, a row of it 128 KiB. A tenant may have two batches
/// under way; one more gets 503.
#[utoipa::path(post, path = "/bindings:batch", operation_id = "bindings_batch", tag = "bindings",
    request_body = BindingBatch,
    responses((status = 200, body = BindingResults), (status = "4XX", body = Problem)))]
pub async fn batch(
    State(api): State<Api>,
    actor: TenantActor,
    Extension(context): Extension<RequestContext>,
    Rows { rows, _turn }: Rows,
) -> Result<axum::Json<BindingResults>, ApiError> {
    let mut news: Vec<NewBinding> = Vec::with_capacity(rows.len());
    let mut checked: Vec<Result<Asked, ApiError>> = Vec::with_capacity(rows.len());
    for row in rows {
        checked.push(row.map(|(asked, new)| {
            news.push(new);
            asked
        }));
    }
    let now = api.now().wall;
    let mut outcomes = Vec::new();
    if !news.is_empty() {
        let mut tx = api.store().tenant(actor.tenant).await?;
        outcomes = tx.bind_all(now, news).await?;
        tx.commit().await?;
    }
    let mut outcomes = outcomes.into_iter();
    let results = checked
        .into_iter()
        .map(|asked| match asked.and_then(|asked| told(asked, outcomes.next())) {
            Ok((status, binding)) => BindingResult {
                status: status.as_u16(),
                binding: Some(BindingBody::new(binding, now)),
                problem: None,
            },
            Err(error) => {
                let problem = error.problem(&context.id, context.language);
                BindingResult { status: problem.status, binding: None, problem: Some(problem) }
            }
        })
        .collect();
    Ok(axum::Json(BindingResults { results }))
}

fn told(
    asked: Asked,
    outcome: Option<RowOutcome>,
) -> Result<(StatusCode, BindingRecord), ApiError> {
    // The store answers every row.
    asked.told(outcome.ok_or(ApiError::new(Code::Internal))??)
}

/// Splits the body where one row ends and the next begins, and reads every row as a body of its
/// own. The text is not copied: it holds real numbers, and is wiped afterwards. A row is judged
/// before the next is read, so that what is too large is not kept.
fn read_rows(body: &[u8]) -> Result<Vec<Row>, ApiError> {
    let BindingBatch { bindings } = parse_json(body)?;
    if !(1..=BATCH_ROWS_MAX).contains(&bindings.len()) {
        return Err(FieldError::new("/bindings", Rule::Length(1, BATCH_ROWS_MAX)).into());
    }
    let texts = split(body, bindings.len());
    let texts = texts.ok_or(ApiError::new(Code::Internal))?;
    Ok(texts.into_iter().map(read_row).collect())
}

/// Reads one row, as `POST /v1/bindings` reads its body.
pub(super) fn read_row(text: &[u8]) -> Row {
    if text.len() > ROW_BYTES_MAX {
        return Err(Code::BodyTooLarge.into());
    }
    let body: BindingCreate = parse_json(text)?;
    Ok((Asked::of(&body), body.check()?))
}

/// The texts of the `count` items of the only field of an object, which is known to be one.
fn split(body: &[u8], count: usize) -> Option<Vec<&[u8]>> {
    let name = after(skip_space(body), b'{')?;
    let (_, rest) = value(name)?;
    let mut rest = after(skip_space(after(skip_space(rest), b':')?), b'[')?;
    let mut texts = Vec::with_capacity(count);
    for nth in 0..count {
        if nth > 0 {
            rest = after(skip_space(rest), b',')?;
        }
        let (text, behind) = value(rest)?;
        texts.push(text);
        rest = behind;
    }
    Some(texts)
}

/// One JSON value, and what comes behind it.
fn value(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut values = serde_json::Deserializer::from_slice(text).into_iter::<IgnoredAny>();
    values.next()?.ok()?;
    text.split_at_checked(values.byte_offset())
}

fn after(text: &[u8], mark: u8) -> Option<&[u8]> {
    text.split_first().filter(|(first, _)| **first == mark).map(|(_, rest)| rest)
}

fn skip_space(text: &[u8]) -> &[u8] {
    let space = text.iter().take_while(|byte| b" \t\r\n".contains(byte)).count();
    text.get(space..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_split_between_its_rows() {
        let body = br#" { "b\u0069ndings" : [ {"a":"],}{\"["} ,1,null,"x", [ [ ] ,{}],-2.5e3 ] } "#;
        let texts = split(body, 6).expect("six rows");
        let texts: Vec<&str> =
            texts.iter().map(|it| std::str::from_utf8(it).expect("text").trim()).collect();
        assert_eq!(texts, [r#"{"a":"],}{\"["}"#, "1", "null", "\"x\"", "[ [ ] ,{}]", "-2.5e3"]);
        assert!(split(body, 7).is_none());
    }

    #[test]
    fn only_a_list_of_a_thousand_at_the_most_is_read() {
        let rows = |count: usize| format!("{{\"bindings\":[{}]}}", vec!["{}"; count].join(","));
        for (count, is_read) in [(0, false), (1, true), (1_000, true), (1_001, false)] {
            let read = read_rows(rows(count).as_bytes());
            assert_eq!(read.as_ref().is_ok_and(|it| it.len() == count), is_read, "{count}");
        }
    }
}
