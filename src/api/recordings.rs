//! Recordings: which there are, and links that fetch one of them once. A link is a secret of its
//! own; whoever has it needs no key, and both its making and its use are written down.

use aws_lc_rs::rand;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::auth::{Actor, TenantActor};
use super::bindings::NoFields;
use super::error::{ApiError, Code, Problem};
use super::extract::{OptionalJson, PathId, Query};
use super::paging::{Cursor, Limit, ListBody, request};
use super::values::{Id, Time};
use crate::domain::id::{CallId, RecordingId};
use crate::store::recording::Recording;

/// Random bytes of a link.
const TOKEN_BYTES: usize = 32;

/// Filters of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RecordingParams {
    /// Rows of the page, 1 to 200; 50 when absent.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 200)]
    limit: Option<Limit>,
    /// `next_cursor` of the page before.
    cursor: Option<Cursor>,
    /// Of this call only.
    #[param(value_type = Option<CallId>)]
    call_id: Option<Id<CallId>>,
}

/// A recording.
#[derive(Debug, Serialize, ToSchema)]
pub struct RecordingBody {
    /// `rec_…`
    #[schema(value_type = RecordingId)]
    id: Id<RecordingId>,
    /// `cal_…`, what was recorded.
    #[schema(value_type = CallId)]
    call_id: Id<CallId>,
    /// When the recording began.
    started_at: Time,
    /// How long it is.
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
    /// It is erased after that.
    retain_until: Time,
    /// When it was erased; null while it is there.
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
    /// It is of no use from then on.
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

/// Where links lead.
pub(super) const DOWNLOADS: &str = "/recordings/";
