//! Virtual numbers: imported row by row, listed, kept back, given back. The operator's work.

use std::collections::BTreeSet;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::answer::tagged;
use super::error::{ApiError, Code, Problem};
use super::etag::IfMatch;
use super::extract::{Json, MediaType, PathNumber, Query, media_type, parse_json, read_body};
use super::field_error::{FieldError, Rule};
use super::paging::{Cursor, Limit, ListBody, request};
use super::values::{Id, Time, VirtualNumberField, problem_at};
use crate::domain::id::{NumberId, PoolId, TenantId};
use crate::domain::number::VirtualNumber;
use crate::domain::number_state::{NumberOrder, NumberState, NumberStateKind};
use crate::store::number::{IMPORT_NUMBERS_MAX, NumberFilter, NumberOutcome, NumberRecord};

/// The longest cell of a CSV file that is looked at.
const CELL_CHARS_MAX: usize = 64;

/// The states of a number.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the words of NumberStateKind")]
pub enum NumberStateWord {
    Available,
    Bound,
    Draining,
    Cooling,
    Reserved,
    Sick,
    Retired,
}

impl NumberStateWord {
    const fn kind(self) -> NumberStateKind {
        match self {
            Self::Available => NumberStateKind::Available,
            Self::Bound => NumberStateKind::Bound,
            Self::Draining => NumberStateKind::Draining,
            Self::Cooling => NumberStateKind::Cooling,
            Self::Reserved => NumberStateKind::Reserved,
            Self::Sick => NumberStateKind::Sick,
            Self::Retired => NumberStateKind::Retired,
        }
    }
}

/// The states that the operator may order.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OrderedStateWord {
    /// Ends a reserve or a fault: back to what it was.
    Available,
    /// Kept back; only a free number.
    Reserved,
    /// The carrier reports a fault; a binding stays.
    Sick,
    /// Given back for good; not while it is bound.
    Retired,
}

/// Numbers to be added to a pool.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "pool": "pol_01977420a1b27c3d8e4f5a6b7c8d9e01", "numbers": ["17000001001", "17000001002"],
}))]
pub struct NumbersImport {
    /// `pol_…`, where they go.
    #[schema(value_type = PoolId)]
    pool: Id<PoolId>,
    /// At most 10,000.
    #[schema(min_items = 1, max_items = 10_000)]
    numbers: Vec<String>,
}

/// The pool of a CSV import.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ImportParams {
    /// The pool, for `text/csv` only.
    #[param(value_type = Option<PoolId>)]
    pool: Option<Id<PoolId>>,
}

/// What became of an import.
#[derive(Debug, Serialize, ToSchema)]
pub struct ImportBody {
    /// New and free now.
    imported: usize,
    /// In this pool before, or twice in the request; left as they were.
    known: usize,
    /// In another pool before, and left there.
    other_pool: usize,
    /// Not numbers; nothing was stored of these rows.
    invalid: usize,
    /// One for each row, in order.
    results: Vec<ImportRowBody>,
}

/// What became of one row.
#[derive(Debug, Serialize, ToSchema)]
pub struct ImportRowBody {
    /// Counts from 1; the header of a CSV file is not counted.
    row: usize,
    /// `imported`, `known`, `other_pool` or `invalid`.
    result: &'static str,
    /// The number, unless it is invalid: what is no virtual number could be anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<String>,
    /// The broken rule of an invalid row.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
}

/// A virtual number.
#[derive(Debug, Serialize, ToSchema)]
pub struct NumberBody {
    /// `num_…`
    #[schema(value_type = NumberId)]
    id: Id<NumberId>,
    /// As it is dialled.
    number: String,
    /// `pol_…`, where it is.
    #[schema(value_type = PoolId)]
    pool_id: Id<PoolId>,
    /// Who holds it, or held it last while it rests.
    #[schema(value_type = Option<TenantId>)]
    tenant_id: Option<Id<TenantId>>,
    /// `available`, `bound`, `draining`, `cooling`, `reserved`, `sick` or `retired`.
    state: &'static str,
    /// The end of its rest.
    cooling_until: Option<Time>,
    /// When it was made.
    created_at: Time,
    /// When it was last changed.
    updated_at: Time,
}

impl From<NumberRecord> for NumberBody {
    fn from(number: NumberRecord) -> Self {
        let cooling_until = match number.state {
            NumberState::Draining { cooling_until } | NumberState::Cooling { cooling_until } => {
                Some(cooling_until)
            }
            NumberState::Available
            | NumberState::Bound
            | NumberState::Reserved
            | NumberState::Sick
            | NumberState::Retired => None,
        };
        Self {
            id: Id(number.id),
            number: number.digits.to_string(),
            pool_id: Id(number.pool),
            tenant_id: number.tenant.map(Id),
            state: number.state.kind().label(),
            cooling_until: cooling_until.map(Time),
            created_at: Time(number.created_at),
            updated_at: Time(number.updated_at),
        }
    }
}

/// Filters of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct NumberParams {
    /// Rows of the page, 1 to 200; 50 when absent.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 200)]
    limit: Option<Limit>,
    /// `next_cursor` of the page before.
    cursor: Option<Cursor>,
    /// Of this pool only.
    #[param(value_type = Option<PoolId>)]
    pool: Option<Id<PoolId>>,
    /// In this state only.
    state: Option<NumberStateWord>,
    /// This number only.
    number: Option<VirtualNumberField>,
}

/// What may change of a number.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"state": "reserved"}))]
pub struct NumberPatch {
    /// What it shall be from now on.
    state: OrderedStateWord,
}

/// Adds numbers to a pool. Valid rows are stored whatever the others are; each row has a result.
#[utoipa::path(post, path = "/numbers:import", operation_id = "numbers_import", tag = "numbers",
    params(ImportParams),
    request_body(content((NumbersImport = "application/json"), (String = "text/csv"))),
    responses((status = 200, body = ImportBody), (status = "4XX", body = Problem)))]
pub async fn import(
    State(api): State<Api>,
    Query(params): Query<ImportParams>,
    request: Request,
) -> Result<axum::Json<ImportBody>, ApiError> {
    let (parts, body) = request.into_parts();
    let kind = media_type(&parts.headers).ok_or(ApiError::new(Code::UnsupportedMediaType))?;
    let bytes = read_body(&parts, body).await?;
    let (pool, texts) = match (kind, params.pool) {
        (MediaType::Json, None) => {
            let body: NumbersImport = parse_json(&bytes)?;
            (body.pool.0, body.numbers)
        }
        (MediaType::Json, Some(_)) => {
            return Err(FieldError::new("/query/pool", Rule::UnknownField).into());
        }
        (MediaType::Csv, Some(pool)) => (pool.0, read_csv(&bytes)?),
        (MediaType::Csv, None) => {
            return Err(FieldError::new("/query/pool", Rule::Missing).into());
        }
    };
    if !(1..=IMPORT_NUMBERS_MAX).contains(&texts.len()) {
        let length = Rule::Length(1, IMPORT_NUMBERS_MAX);
        return Err(FieldError::new("/numbers", length).into());
    }
    let rows: Vec<_> = texts.iter().map(|text| VirtualNumber::parse(text)).collect();
    let valid: Vec<VirtualNumber> = rows.iter().filter_map(|row| row.clone().ok()).collect();
    let mut tx = api.store().platform().await?;
    let imported = tx.import_numbers(api.now().wall, pool, &valid).await?;
    tx.commit().await?;

    let mut added: BTreeSet<_> = imported.added.into_iter().collect();
    let elsewhere: BTreeSet<_> = imported.elsewhere.into_iter().collect();
    let results = Vec::new();
    let mut answer = ImportBody { imported: 0, known: 0, other_pool: 0, invalid: 0, results };
    for (index, row) in rows.into_iter().enumerate() {
        let (result, number, code) = match row {
            Ok(number) if added.remove(&number) => {
                answer.imported += 1;
                ("imported", Some(number.to_string()), None)
            }
            Ok(number) if elsewhere.contains(&number) => {
                answer.other_pool += 1;
                ("other_pool", Some(number.to_string()), None)
            }
            Ok(number) => {
                answer.known += 1;
                ("known", Some(number.to_string()), None)
            }
            Err(rule) => {
                answer.invalid += 1;
                ("invalid", None, Some(rule.code()))
            }
        };
        answer.results.push(ImportRowBody { row: index + 1, result, number, code });
    }
    Ok(axum::Json(answer))
}

/// The column `number` of a file with a header line; other columns are passed over.
fn read_csv(bytes: &[u8]) -> Result<Vec<String>, ApiError> {
    let malformed = |_| ApiError::new(Code::MalformedBody);
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(bytes);
    let headers = reader.headers().map_err(malformed)?;
    let column = headers.iter().position(|name| name.trim_start_matches('\u{feff}') == "number");
    let column =
        column.ok_or_else(|| problem_at(Code::ValidationFailed, "/number", Rule::Missing))?;
    let mut numbers = Vec::new();
    for record in reader.records().take(IMPORT_NUMBERS_MAX + 1) {
        let record = record.map_err(malformed)?;
        let cell = record.get(column).unwrap_or_default();
        numbers.push(cell.chars().take(CELL_CHARS_MAX).collect());
    }
    Ok(numbers)
}

/// Lists numbers, newest first.
#[utoipa::path(get, path = "/numbers", operation_id = "numbers_list", tag = "numbers",
    params(NumberParams),
    responses((status = 200, body = ListBody<NumberBody>), (status = "4XX", body = Problem)))]
pub async fn list(
    State(api): State<Api>,
    Query(params): Query<NumberParams>,
) -> Result<axum::Json<ListBody<NumberBody>>, ApiError> {
    let filter = NumberFilter {
        pool: params.pool.map(|id| id.0),
        state: params.state.map(NumberStateWord::kind),
        digits: params.number.map(|number| number.0),
    };
    let page = request(params.limit, params.cursor);
    let rows = api.store().platform().await?.list_numbers(&filter, page).await?;
    Ok(ListBody::new(rows, NumberBody::from))
}

/// Shows one number.
#[utoipa::path(get, path = "/numbers/{x}", operation_id = "numbers_get", tag = "numbers",
    params(("x" = String, Path)),
    responses((status = 200, body = NumberBody), (status = "4XX", body = Problem)))]
pub async fn get(
    State(api): State<Api>,
    PathNumber(number): PathNumber,
) -> Result<Response, ApiError> {
    let filter = NumberFilter { digits: Some(number), ..NumberFilter::default() };
    let page = request(None, None);
    let found = api.store().platform().await?.list_numbers(&filter, page).await?;
    let number = found.items.into_iter().next().ok_or(ApiError::new(Code::NotFound))?;
    Ok(tagged(StatusCode::OK, number.version, NumberBody::from(number)))
}

/// Orders a number into another state.
#[utoipa::path(patch, path = "/numbers/{x}", operation_id = "numbers_patch", tag = "numbers",
    params(("x" = String, Path), IfMatch), request_body = NumberPatch,
    responses((status = 200, body = NumberBody), (status = "4XX", body = Problem)))]
pub async fn patch(
    State(api): State<Api>,
    PathNumber(number): PathNumber,
    if_match: IfMatch,
    Json(body): Json<NumberPatch>,
) -> Result<Response, ApiError> {
    let order = match body.state {
        OrderedStateWord::Available => NumberOrder::Restore,
        OrderedStateWord::Reserved => NumberOrder::Reserve,
        OrderedStateWord::Sick => NumberOrder::MarkSick,
        OrderedStateWord::Retired => NumberOrder::Retire,
    };
    let now = api.now().wall;
    let mut tx = api.store().platform().await?;
    let changed = match tx.order_number(now, &number, order, if_match.version()?).await? {
        NumberOutcome::Changed(changed) => changed,
        NumberOutcome::NotFound => return Err(Code::NotFound.into()),
        NumberOutcome::NotAllowed => return Err(Code::StateConflict.into()),
        NumberOutcome::VersionMismatch => return Err(Code::PreconditionFailed.into()),
    };
    tx.commit().await?;
    api.relay().forget_routes(&number);
    Ok(tagged(StatusCode::OK, changed.version, NumberBody::from(changed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_column_named_number_is_read() {
        let text = "\u{feff}number,city\n17000000001,Shanghai\n 17000000002 ,\n\"95 001\",x\n";
        let numbers = read_csv(text.as_bytes()).expect("a CSV file");
        assert_eq!(numbers, ["17000000001", "17000000002", "95 001"]);
    }

    #[test]
    fn a_file_without_that_column_or_with_ragged_rows_is_refused() {
        let code = |text: &[u8]| read_csv(text).expect_err("refused").code();
        assert_eq!(code(b"17000000001\n"), Code::ValidationFailed);
        assert_eq!(code(b"number,city\n1,2,3\n"), Code::MalformedBody);
        assert_eq!(code(b"number\n\xff\xfe\n"), Code::MalformedBody);
    }
}
