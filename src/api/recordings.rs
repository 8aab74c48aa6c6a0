//! Recordings: which there are, and links that fetch one of them once. A link is a secret of its
//! own; whoever has it needs no key, and both its making and its use are written down.

use std::fs::File;
use std::io;

use aws_lc_rs::rand;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;
use tokio_util::io::{ReaderStream, SyncIoBridge};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::auth::{Actor, TenantActor};
use super::bindings::NoFields;
use super::error::{ApiError, Code, Problem};
use super::extract::{OptionalJson, PathId, Query};
use super::paging::{Cursor, Limit, ListBody, request};
use super::values::{Id, Time};
use crate::domain::id::{CallId, RecordingId};
use crate::recording::{Outcome, Place, Reader, Wav};
use crate::store::convert::unix_ms;
use crate::store::recording::Recording;
use crate::vault::SecretKey;

/// Random bytes of a link.
const TOKEN_BYTES: usize = 32;
/// What of a WAV file waits for a slow client.
const PIPE_BYTES: usize = 64 << 10;

/// Filters of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RecordingParams {
    /// Rows of the page, 1 to 200; 50 when absent.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 200)]
    limit: Option<Limit>,
    /// `next_cursor` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
    /// Of this call only.
    #[param(value_type = Option<String>)]
    call_id: Option<Id<CallId>>,
}

/// A recording.
#[derive(Debug, Serialize, ToSchema)]
pub struct RecordingBody {
    #[schema(value_type = String)]
    id: Id<RecordingId>,
    #[schema(value_type = String)]
    call_id: Id<CallId>,
    started_at: Time,
    duration_ms: u128,
    /// Of the encrypted file.
    bytes: u64,
    /// SHA-256 of the encrypted file, in hexadecimal.
    sha256: String,
    /// False when a crash or a full disk cut it off.
    complete: bool,
    /// Packets that could not be kept.
    lost_packets: u64,
    /// `six_months`, `five_years` or `ten_years`.
    retention: &'static str,
    retain_until: Time,
    erased_at: Option<Time>,
}

impl From<Recording> for RecordingBody {
    fn from(recording: Recording) -> Self {
        Self {
            id: Id(recording.id),
            call_id: Id(recording.call),
            started_at: Time(recording.started_at),
            duration_ms: recording.duration.as_millis(),
            bytes: recording.bytes,
            sha256: recording.sha256.iter().map(|byte| format!("{byte:02x}")).collect(),
            complete: recording.complete,
            lost_packets: recording.lost,
            retention: recording.retention.label(),
            retain_until: Time(recording.retain_until),
            erased_at: recording.erased_at.map(Time),
        }
    }
}

/// A link, shown once.
#[derive(Debug, Serialize, ToSchema)]
pub struct LinkBody {
    /// Below the address of this API; a GET without a key gives the WAV file, once.
    path: String,
    expires_at: Time,
}

/// Lists recordings, newest first.
#[utoipa::path(get, path = "/recordings", operation_id = "recordings_list", tag = "recordings",
    params(RecordingParams),
    responses((status = 200, body = ListBody<RecordingBody>), (status = "4XX", body = Problem)))]
pub async fn list(
    State(api): State<Api>,
    actor: TenantActor,
    Query(params): Query<RecordingParams>,
) -> Result<axum::Json<ListBody<RecordingBody>>, ApiError> {
    let page = request(params.limit, params.cursor);
    let call = params.call_id.map(|id| id.0);
    let rows = api.store().list_recordings(actor.tenant, call, page).await?;
    Ok(ListBody::new(rows, RecordingBody::from))
}

/// Makes a link that fetches a recording once within 15 minutes. That it was made, and that it was
/// used, is written down with the key that asked.
#[utoipa::path(post, path = "/recordings/{id}/links", operation_id = "recordings_link",
    tag = "recordings", params(("id" = String, Path)), request_body = Option<NoFields>,
    responses((status = 201, body = LinkBody), (status = "4XX", body = Problem)))]
pub async fn link(
    State(api): State<Api>,
    actor: Actor,
    owner: TenantActor,
    PathId(id): PathId<RecordingId>,
    OptionalJson(NoFields {}): OptionalJson<NoFields>,
) -> Result<Response, ApiError> {
    let mut secret = [0; TOKEN_BYTES];
    rand::fill(&mut secret).map_err(|_| ApiError::from(Code::Internal))?;
    let token = URL_SAFE_NO_PAD.encode(secret);
    let hash = api.store().vault().api_key_hash(token.as_bytes());
    let (by, now) = (actor.key.to_string(), api.now().wall);
    let linked = api.store().link_recording(owner.tenant, id, &hash, &by, now).await?;
    let expires_at = Time(linked.ok_or(ApiError::from(Code::NotFound))?);
    let body = LinkBody { path: format!("{DOWNLOADS}{token}"), expires_at };
    Ok((StatusCode::CREATED, axum::Json(body)).into_response())
}

const DOWNLOADS: &str = "/recordings/";

/// Where links lead: no key is asked for.
pub(super) fn downloads() -> Router<Api> {
    Router::new().route("/recordings/{token}", get(fetch))
}

async fn fetch(State(api): State<Api>, Path(token): Path<String>) -> Result<Response, ApiError> {
    let not_found = || ApiError::from(Code::NotFound);
    let folder = api.recordings().ok_or_else(not_found)?.to_owned();
    let hash = api.store().vault().api_key_hash(token.as_bytes());
    let found = api.store().fetch_recording(&hash, api.now().wall).await?;
    let recording = found.ok_or_else(not_found)?;
    let (tenant, id) = (recording.tenant, recording.id);
    let opened = spawn_blocking(move || open(&recording, &folder)).await;
    let (file, wrapped) = opened.map_err(failed)?.map_err(failed)?;
    let key = api.store().open_recording_key(tenant, id, &wrapped).await?;
    let measured = spawn_blocking(move || measure(file, key)).await;
    let wav = measured.map_err(failed)?.map_err(failed)?;
    let (length, outcome) = (wav.bytes(), wav.outcome());
    let (read, write) = tokio::io::duplex(PIPE_BYTES);
    spawn_blocking(move || {
        let out = io::BufWriter::with_capacity(PIPE_BYTES, SyncIoBridge::new(write));
        if let Err(error) = wav.write(out) {
            tracing::debug!(%error, "A recording was not fetched whole");
        }
    });
    let mut response = Body::from_stream(ReaderStream::new(read)).into_response();
    let name = format!("attachment; filename=\"{id}.wav\"");
    let is_whole = match outcome {
        Outcome::Complete(_) => "true",
        Outcome::CutOff => "false",
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("audio/wav")),
        (header::CONTENT_LENGTH, HeaderValue::from(length)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (
            header::HeaderName::from_static("x-recording-complete"),
            HeaderValue::from_static(is_whole),
        ),
    ];
    response.headers_mut().extend(headers.map(|(name, value)| (Some(name), value)));
    if let Ok(name) = HeaderValue::try_from(name) {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, name);
    }
    Ok(response)
}

/// What went wrong is written down here; the client learns nothing of it.
fn failed(error: impl std::fmt::Display) -> ApiError {
    tracing::error!(%error, "A recording cannot be fetched: {error}");
    Code::Internal.into()
}

/// The file of a recording and its wrapped key, if it is that of the row.
fn open(recording: &Recording, folder: &std::path::Path) -> io::Result<(File, Vec<u8>)> {
    let place = Place {
        recording: recording.id,
        retention: recording.retention,
        started_ms: unix_ms(recording.started_at),
    };
    let file = File::open(place.kept(folder)).or_else(|_| File::open(place.partial(folder)))?;
    let reader = Reader::open(io::BufReader::new(&file)).map_err(io::Error::other)?;
    let about = reader.about();
    if (about.tenant, about.recording) != (recording.tenant, recording.id) {
        return Err(io::Error::other("the file is that of another recording"));
    }
    let wrapped = reader.wrapped_key().to_vec();
    Ok((file, wrapped))
}

type WavFile = Wav<io::BufReader<File>>;

fn measure(file: File, key: SecretKey) -> Result<WavFile, crate::recording::RecordingError> {
    Wav::measure(io::BufReader::new(file), key)
}
