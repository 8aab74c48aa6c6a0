//! Imports: a file of bindings that is read while it comes, and bound in the background. The body
//! is never held whole; what has come of it lies sealed in the store.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use futures_util::stream::unfold;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::timeout;
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::answer::at;
use super::auth::{TenantActor, refuse};
use super::bindings::NoFields;
use super::error::{ApiError, Code, Problem};
use super::extract::{OptionalJson, PathId, Query};
use super::field_error::{FieldError, Rule};
use super::idempotency::{IDEMPOTENT_REPLAYED, key_of};
use super::import_file::{FileForm, ImportFile};
use super::layers::RequestContext;
use super::paging::{Cursor, Limit, ListBody, request};
use super::roles::{BASE, IMPORTS_PATH};
use super::secrets::{HASH_BYTES, Hashing, is_equal};
use super::signature::{ComingBody, SignedBody};
use super::values::{Id, Time};
use crate::domain::id::{ImportId, TenantId};
use crate::store::import::{BeginOutcome, CancelOutcome, ImportRecord};
use crate::store::import_rows::IMPORT_ROWS_MAX;

/// So many files are read at once.
pub const IMPORTS_READ_MAX: usize = 8;
/// The longest time in which a file must have come.
pub const IMPORT_TIME_MAX: Duration = Duration::from_secs(30 * 60);
/// The largest file: 2 KiB for each of its rows.
const IMPORT_BYTES_MAX: u64 = 2 * 1024 * IMPORT_ROWS_MAX as u64;
/// How long the next piece of a file may take.
const PIECE_TIME_MAX: Duration = Duration::from_secs(30);
/// The content type of files with a JSON text in each line.
const NDJSON: &str = "application/x-ndjson";

/// Filters of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ImportParams {
    /// Rows of the page, 1 to 200; 50 when absent.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 200)]
    limit: Option<Limit>,
    /// `next_cursor` of the page before.
    cursor: Option<Cursor>,
}

/// How far an import has come.
#[derive(Debug, Serialize, ToSchema)]
pub struct ImportJobBody {
    /// `imp_…`
    #[schema(value_type = ImportId)]
    id: Id<ImportId>,
    /// `reading` while its file comes, `running` while its rows are bound; over are `done`,
    /// `cancelled`, and `abandoned` when the file broke off.
    state: &'static str,
    /// Rows that have come; those that still wait are what the next three leave of them.
    rows_read: u32,
    /// New bindings.
    rows_created: u32,
    /// Rows whose binding there was.
    rows_existing: u32,
    /// Rows with a problem.
    rows_failed: u32,
    /// When its file began to come.
    created_at: Time,
    /// When all of its rows had come; null before.
    started_at: Option<Time>,
    /// When something last happened.
    updated_at: Time,
    /// When it was over.
    ended_at: Option<Time>,
}

impl From<ImportRecord> for ImportJobBody {
    fn from(import: ImportRecord) -> Self {
        Self {
            id: Id(import.id),
            state: import.state.label(),
            rows_read: import.read,
            rows_created: import.made,
            rows_existing: import.existing,
            rows_failed: import.failed,
            created_at: Time(import.created_at),
            started_at: import.started_at.map(Time),
            updated_at: Time(import.updated_at),
            ended_at: import.ended_at.map(Time),
        }
    }
}

/// A row that was refused: one line of the error file.
#[derive(Debug, Serialize, ToSchema)]
pub struct ImportProblem {
    /// Counts from 1; empty lines and the header of a CSV file are not counted.
    row: u32,
    /// Why, as the row would have been told in a request of its own.
    #[schema(value_type = Problem)]
    problem: Value,
}

/// Takes a file of up to 1,000,000 bindings and binds them in the background. Each row is what
/// `POST /v1/bindings` takes: a JSON object in a line of its own, or the cells below the header of
/// a CSV file whose columns are named for the fields (`external_id`, `policy.ref`,
/// `subscriber.real_number`, `metadata.branch` and so on). The answer is 202 when the whole file
/// has come; nothing is bound of one that breaks off. Rows are bound in their order, and one that
/// is refused does not hold up the others. A tenant has one import at a time: another is refused
/// with `import_running`. A repeat with the same `Idempotency-Key` and the same file gives the
/// import of the first. A file may have 2 GiB, a row of it 128 KiB.
#[utoipa::path(post, path = "/jobs/imports", operation_id = "imports_create", tag = "imports",
    request_body(content(
        (String = "application/x-ndjson", example = json!("{\"external_id\": \"crm-9001\", \
            \"mode\": \"ax\", \"policy\": {\"ref\": \"P-1\"}, \
            \"subscriber\": {\"real_number\": \"+8613800005678\"}}\n")),
        (String = "text/csv", example = json!("external_id,mode,policy.ref,\
            subscriber.real_number\ncrm-9001,ax,P-1,+8613800005678\n")),
    )),
    responses((status = 202, body = ImportJobBody), (status = "4XX", body = Problem)))]
pub async fn create(
    State(api): State<Api>,
    actor: TenantActor,
    Extension(context): Extension<RequestContext>,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let form = FileForm::of(&parts.headers).ok_or(ApiError::new(Code::UnsupportedMediaType))?;
    let length = parts.headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok());
    if length.and_then(|text| text.parse().ok()).is_some_and(|bytes: u64| bytes > IMPORT_BYTES_MAX)
    {
        return Err(Code::BodyTooLarge.into());
    }
    let key = key_of(&parts)?;
    let key_hash = key.map(|key| api.request_hasher().hash(&[b"import", key.as_bytes()]));
    let turn = Arc::clone(api.imports()).try_acquire_owned();
    let _turn = turn.map_err(|_| ApiError::new(Code::Unavailable))?;
    let mut tx = api.store().tenant(actor.tenant).await?;
    let key_hash = key_hash.as_ref().map(<[u8; 32]>::as_slice);
    let begun = tx.begin_import(api.now().wall, context.language.tag(), key_hash).await?;
    tx.commit().await?;
    let hashing = api.request_hasher().begin(&[form.label().as_bytes()]);
    let signed = parts.extensions.get::<SignedBody>().map(|body| body.begin());
    let pieces = body.into_data_stream();
    let mut coming = Coming { api: &api, pieces, hashing, signed, bytes: 0 };
    match begun {
        BeginOutcome::AnotherRuns => Err(Code::ImportRunning.into()),
        BeginOutcome::KeyInUse => Err(Code::IdempotencyInProgress.into()),
        BeginOutcome::Repeated(import, hash) => {
            while coming.next().await?.is_some() {}
            if !is_equal(&coming.finish()?, &hash) {
                return Err(Code::IdempotencyMismatch.into());
            }
            let mut response = accepted(import.as_started());
            let replayed = HeaderValue::from_static("true");
            response.headers_mut().insert(IDEMPOTENT_REPLAYED, replayed);
            Ok(response)
        }
        BeginOutcome::Begun(import) => {
            let file = ImportFile::new(form);
            let reading = Reading { tenant: actor.tenant, import: import.id, count: 0, file };
            match reading.read_all(coming).await {
                Ok(started) => Ok(accepted(started)),
                Err(error) => {
                    abandon(&api, actor.tenant, import.id).await;
                    Err(error)
                }
            }
        }
    }
}

fn accepted(import: ImportRecord) -> Response {
    let location = format!("{BASE}{IMPORTS_PATH}/{}", import.id);
    at(&location, (StatusCode::ACCEPTED, axum::Json(ImportJobBody::from(import))).into_response())
}

/// What cannot be written down now is found when its time is over.
async fn abandon(api: &Api, tenant: TenantId, import: ImportId) {
    let now = api.now().wall;
    let written = async {
        let mut tx = api.store().tenant(tenant).await?;
        tx.abandon_import(now, import, now).await?;
        tx.commit().await
    };
    if let Err(error) = written.await {
        tracing::warn!(%error, import.id = %import, "{import} broke off: {error}");
    }
}

/// A body on its way.
struct Coming<'a> {
    api: &'a Api,
    pieces: BodyDataStream,
    hashing: Hashing,
    signed: Option<ComingBody>,
    bytes: u64,
}

impl Coming<'_> {
    /// The next piece; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        let piece = tokio::select! {
            piece = timeout(PIECE_TIME_MAX, self.pieces.next()) => piece,
            () = self.api.stop().cancelled() => return Err(Code::Unavailable.into()),
        };
        let piece = piece.map_err(|_| ApiError::new(Code::Timeout))?;
        let Some(piece) = piece else { return Ok(None) };
        let piece = piece.map_err(|_| ApiError::new(Code::MalformedBody))?;
        self.bytes += piece.len() as u64;
        if self.bytes > IMPORT_BYTES_MAX {
            return Err(Code::BodyTooLarge.into());
        }
        self.hashing.update(&piece);
        if let Some(signed) = &mut self.signed {
            signed.update(&piece);
        }
        Ok(Some(piece))
    }

    /// The hash of all that came, unless something else was signed.
    fn finish(self) -> Result<[u8; HASH_BYTES], ApiError> {
        if self.signed.is_some_and(|signed| !signed.ends_as_signed()) {
            return Err(refuse("another body"));
        }
        Ok(self.hashing.finish())
    }
}

/// An import whose body is coming.
struct Reading {
    tenant: TenantId,
    import: ImportId,
    count: u32,
    file: ImportFile,
}

impl Reading {
    /// Reads all of it; then its rows may be bound.
    async fn read_all(mut self, mut coming: Coming<'_>) -> Result<ImportRecord, ApiError> {
        let api = coming.api;
        while let Some(piece) = coming.next().await? {
            let mut rest: &[u8] = &piece;
            while !rest.is_empty() {
                rest = self.file.take(rest)?;
                if self.file.is_full() {
                    self.keep(api).await?;
                }
            }
            super::extract::wipe(piece);
        }
        let hash = coming.finish()?;
        self.file.finish()?;
        self.keep(api).await?;
        if self.count == 0 {
            return Err(rows_error());
        }
        let mut tx = api.store().tenant(self.tenant).await?;
        let started = tx.start_import(api.now().wall, self.import, &hash).await?;
        tx.commit().await?;
        started.ok_or(Code::Timeout.into())
    }

    /// Keeps the rows that have ended.
    async fn keep(&mut self, api: &Api) -> Result<(), ApiError> {
        let (rows, count) = self.file.chunk();
        if count == 0 {
            return Ok(());
        }
        self.count += count;
        if self.count > IMPORT_ROWS_MAX {
            return Err(rows_error());
        }
        let mut tx = api.store().tenant(self.tenant).await?;
        let is_kept = tx.add_import_rows(api.now().wall, self.import, count, rows).await?;
        tx.commit().await?;
        self.file.clear();
        // Who is so slow that nothing has come of it for too long is abandoned.
        if is_kept { Ok(()) } else { Err(Code::Timeout.into()) }
    }
}

fn rows_error() -> ApiError {
    FieldError::new("", Rule::Length(1, IMPORT_ROWS_MAX as usize)).into()
}

/// Lists imports, newest first. They are kept for 30 days after their end.
#[utoipa::path(get, path = "/jobs/imports", operation_id = "imports_list", tag = "imports",
    params(ImportParams),
    responses((status = 200, body = ListBody<ImportJobBody>), (status = "4XX", body = Problem)))]
pub async fn list(
    State(api): State<Api>,
    actor: TenantActor,
    Query(params): Query<ImportParams>,
) -> Result<axum::Json<ListBody<ImportJobBody>>, ApiError> {
    let page = request(params.limit, params.cursor);
    let rows = api.store().tenant(actor.tenant).await?.list_imports(page).await?;
    Ok(ListBody::new(rows, ImportJobBody::from))
}

/// Shows how far an import has come.
#[utoipa::path(get, path = "/jobs/imports/{id}", operation_id = "imports_get", tag = "imports",
    params(("id" = String, Path)),
    responses((status = 200, body = ImportJobBody), (status = "4XX", body = Problem)))]
pub async fn get(
    State(api): State<Api>,
    actor: TenantActor,
    PathId(id): PathId<ImportId>,
) -> Result<axum::Json<ImportJobBody>, ApiError> {
    let found = api.store().tenant(actor.tenant).await?.find_import(id).await?;
    found.map(|import| axum::Json(import.into())).ok_or(Code::NotFound.into())
}

/// Stops an import that is `running`: rows that are not bound yet are forgotten, and those that are
/// stay bound. One whose file is still coming ends when its request does.
#[utoipa::path(post, path = "/jobs/imports/{id}/cancel", operation_id = "imports_cancel",
    tag = "imports", params(("id" = String, Path)), request_body = Option<NoFields>,
    responses((status = 200, body = ImportJobBody), (status = "4XX", body = Problem)))]
pub async fn cancel(
    State(api): State<Api>,
    actor: TenantActor,
    PathId(id): PathId<ImportId>,
    OptionalJson(NoFields {}): OptionalJson<NoFields>,
) -> Result<axum::Json<ImportJobBody>, ApiError> {
    let mut tx = api.store().tenant(actor.tenant).await?;
    match tx.cancel_import(api.now().wall, id).await? {
        CancelOutcome::Cancelled(import) => {
            tx.commit().await?;
            Ok(axum::Json(import.into()))
        }
        CancelOutcome::NotRunning => Err(Code::StateConflict.into()),
        CancelOutcome::NotFound => Err(Code::NotFound.into()),
    }
}

/// The error file: a line of JSON for each row that was refused, in their order. While the import
/// runs it holds those of the rows so far.
#[utoipa::path(get, path = "/jobs/imports/{id}/errors", operation_id = "imports_errors",
    tag = "imports", params(("id" = String, Path)),
    responses((status = 200, content_type = "application/x-ndjson", body = ImportProblem),
        (status = "4XX", body = Problem)))]
pub async fn errors(
    State(api): State<Api>,
    actor: TenantActor,
    PathId(id): PathId<ImportId>,
) -> Result<Response, ApiError> {
    let found = api.store().tenant(actor.tenant).await?.find_import(id).await?;
    if found.is_none() {
        return Err(Code::NotFound.into());
    }
    // `None` behind the last page, and behind a page that could not be read.
    let pages = unfold((api, Some(0)), move |(api, after)| async move {
        match page_of(&api, actor.tenant, id, after?).await {
            Ok((_, None)) => None,
            Ok((text, last)) => Some((Ok(text), (api, last))),
            Err(error) => Some((Err(error), (api, None))),
        }
    });
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static(NDJSON))];
    Ok((kind, Body::from_stream(pages)).into_response())
}

/// The lines behind a row, and the row of the last one. Whoever reads sees by the end of the
/// connection that something is missing.
async fn page_of(
    api: &Api,
    tenant: TenantId,
    import: ImportId,
    after: u32,
) -> io::Result<(Vec<u8>, Option<u32>)> {
    let listed = async {
        let mut tx = api.store().tenant(tenant).await?;
        tx.list_import_problems(import, after).await
    };
    let problems = listed.await.map_err(|error| {
        tracing::warn!(%error, import.id = %import, "The errors of {import} break off: {error}");
        io::Error::other(error)
    })?;
    let last = problems.last().map(|(row, _)| *row);
    let mut text = Vec::new();
    for (row, problem) in problems {
        serde_json::to_writer(&mut text, &ImportProblem { row, problem })?;
        text.push(b'\n');
    }
    Ok((text, last))
}
