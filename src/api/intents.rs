//! Call intents: an agent's tool says what a call is for before the agent dials, and learns at once
//! whether it would be refused.

use std::time::{Duration, SystemTime};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::answer::at;
use super::auth::TenantActor;
use super::bindings::NoFields;
use super::error::{ApiError, Code, Problem};
use super::extract::{Json, OptionalJson, PathId, Query};
use super::field_error::Rule;
use super::forms::{Key, PurposeWord, purposes};
use super::idempotency::Completion;
use super::paging::{Cursor, Limit, ListBody, request};
use super::values::{Checks, Id, Time, VirtualNumberField, problem_at};
use crate::domain::cause::Cause;
use crate::domain::cdr::Direction;
use crate::domain::id::{AgentId, BindingId, CallId, IntentId};
use crate::domain::number::VirtualNumber;
use crate::domain::purpose::{Purpose, Stated};
use crate::policy::gate::{Attempt, Decision, decide};
use crate::store::TenantTx;
use crate::store::intent::{IntentEnd, IntentFilter, IntentRecord, NewIntent};

const CASE_REF_CHARS_MAX: usize = 128;
const TTL_S_MIN: u32 = 1;
const TTL_S_MAX: u32 = 3_600;

/// How the call comes about.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum IntentMode {
    /// The agent dials the virtual number.
    DialIn,
}

/// What has become of an intent.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum IntentState {
    /// The next call of its agent to the virtual number uses it up.
    Waiting,
    /// A call has used it up.
    Used,
    /// It was taken back.
    Cancelled,
    /// Its time is over, and no call came.
    Expired,
}

/// A call that is going to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "binding": "bnd_01977420a1b27c3d8e4f5a6b7c8d9e0f",
    "agent": "agt_01977420a1b27c3d8e4f5a6b7c8d9e0f",
    "purpose": "claim", "case_ref": "CLM-2026-17", "mode": "dial_in", "ttl_s": 120,
}))]
pub struct IntentCreate {
    /// Who is to be called.
    #[schema(value_type = BindingId)]
    binding: Id<BindingId>,
    /// Who is going to call.
    #[schema(value_type = AgentId)]
    agent: Id<AgentId>,
    /// What the call is for.
    #[schema(value_type = PurposeWord)]
    purpose: String,
    /// The tenant's own name of the case, 1 to 128 characters.
    #[schema(value_type = Option<Key>)]
    case_ref: Option<String>,
    /// How the call comes about.
    mode: IntentMode,
    /// Seconds within which the agent dials.
    #[schema(minimum = 1, maximum = 3_600)]
    ttl_s: u32,
}

/// An intent.
#[derive(Debug, Serialize, ToSchema)]
pub struct IntentBody {
    /// `int_…`
    #[schema(value_type = IntentId)]
    id: Id<IntentId>,
    /// Who is to be called.
    #[schema(value_type = BindingId)]
    binding: Id<BindingId>,
    /// Who is going to call.
    #[schema(value_type = AgentId)]
    agent: Id<AgentId>,
    /// What the agent dials.
    virtual_number: VirtualNumberField,
    /// What the call is for.
    purpose: &'static str,
    /// The tenant's own name of the case.
    case_ref: Option<String>,
    /// How the call comes about.
    mode: IntentMode,
    /// What has become of it.
    state: IntentState,
    /// The call that has used it up. It is on record when it is over.
    #[schema(value_type = Option<CallId>)]
    used_by: Option<Id<CallId>>,
    /// When it was made.
    created_at: Time,
    /// When it is over, unless a call uses it up before.
    expires_at: Time,
    /// When a call has used it up, or it was taken back.
    ended_at: Option<Time>,
}

impl IntentBody {
    fn new(intent: IntentRecord, now: SystemTime) -> Self {
        let (state, used_by, ended_at) = match intent.end {
            IntentEnd::Used { at, call } => (IntentState::Used, Some(Id(call)), Some(Time(at))),
            IntentEnd::Cancelled { at } => (IntentState::Cancelled, None, Some(Time(at))),
            IntentEnd::Open if now < intent.expires_at => (IntentState::Waiting, None, None),
            IntentEnd::Open => (IntentState::Expired, None, None),
        };
        Self {
            id: Id(intent.id),
            binding: Id(intent.binding),
            agent: Id(intent.agent),
            virtual_number: VirtualNumberField(intent.virtual_number),
            purpose: intent.purpose.label(),
            case_ref: intent.case_ref,
            mode: IntentMode::DialIn,
            state,
            used_by,
            created_at: Time(intent.created_at),
            expires_at: Time(intent.expires_at),
            ended_at,
        }
    }
}

/// Filters of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct IntentParams {
    /// Rows of the page, 1 to 200; 50 when absent.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 200)]
    limit: Option<Limit>,
    /// `next_cursor` of the page before.
    cursor: Option<Cursor>,
    /// To this binding only.
    #[param(value_type = Option<BindingId>)]
    binding_id: Option<Id<BindingId>>,
    /// Of this agent only.
    #[param(value_type = Option<AgentId>)]
    agent_id: Option<Id<AgentId>>,
}

/// Says what the next call of an agent to a subscriber is for. A call that would be refused now is
/// refused here, with every reason; caps are counted when the agent dials. At most 100 intents of
/// an agent wait at one time.
#[utoipa::path(post, path = "/call-intents", operation_id = "intents_create", tag = "intents",
    request_body = IntentCreate,
    responses((status = 201, body = IntentBody), (status = "4XX", body = Problem)))]
pub async fn create(
    State(api): State<Api>,
    actor: TenantActor,
    completion: Completion,
    Json(body): Json<IntentCreate>,
) -> Result<Response, ApiError> {
    let mut checks = Checks::default();
    let purpose = Purpose::ALL.iter().copied().find(|it| it.label() == body.purpose);
    checks.require(purpose.is_some(), "/purpose", Rule::NotAllowed(purposes().into()));
    checks.optional_key("/case_ref", body.case_ref.as_deref(), CASE_REF_CHARS_MAX);
    checks.range("/ttl_s", body.ttl_s.into(), TTL_S_MIN.into(), TTL_S_MAX.into());
    checks.finish()?;
    // The only one there is.
    let IntentMode::DialIn = body.mode;
    let now = api.now();
    let new = NewIntent {
        id: IntentId::new(now.unix_ms(), api.random_bits()),
        binding: body.binding.0,
        agent: body.agent.0,
        purpose: purpose.unwrap_or_default(),
        case_ref: body.case_ref,
        ttl: Duration::from_secs(body.ttl_s.into()),
    };
    let unknown = |pointer| problem_at(Code::ValidationFailed, pointer, Rule::UnknownReference);
    let mut tx = api.store().tenant(actor.tenant).await?;
    let binding = tx.find_binding(new.binding).await?.ok_or(unknown("/binding"))?;
    tx.find_agent(new.agent).await?.ok_or(unknown("/agent"))?;
    let reasons = refusals(&mut tx, now.wall, &new, &binding.virtual_number).await?;
    if !reasons.is_empty() {
        return Err(ApiError::new(Code::PolicyRefused).with_reasons(reasons));
    }
    let intent = tx.insert_intent(now.wall, new).await?.ok_or(Code::LimitReached)?;
    let location = format!("/v1/call-intents/{}", intent.id);
    let body = axum::Json(IntentBody::new(intent, now.wall));
    let answer = at(&location, (StatusCode::CREATED, body).into_response());
    let answer = completion.commit_own(tx, answer).await;
    // Whether or not that can be told.
    api.relay().forget_routes(&binding.virtual_number);
    answer
}

/// Why a call for this intent would be refused now: what the gate says of the route that it would
/// take.
async fn refusals(
    tx: &mut TenantTx,
    now: SystemTime,
    new: &NewIntent,
    dialled: &VirtualNumber,
) -> Result<Vec<Cause>, ApiError> {
    let route = match tx.find_agent_route(dialled, new.agent).await? {
        Ok(route) if route.binding == new.binding => route,
        Ok(_) => return Ok(vec![Cause::NumberUnknown]),
        Err(cause) => return Ok(vec![cause]),
    };
    let stated = Stated { purpose: new.purpose, intent: None };
    let attempt = Attempt { direction: Direction::ToSubscriber, stated };
    Ok(match decide(&route, attempt, now) {
        Decision::Allow => Vec::new(),
        Decision::Refuse { reasons, .. } => reasons,
    })
}

/// Lists intents, newest first. They are kept for 30 days after their time.
#[utoipa::path(get, path = "/call-intents", operation_id = "intents_list", tag = "intents",
    params(IntentParams),
    responses((status = 200, body = ListBody<IntentBody>), (status = "4XX", body = Problem)))]
pub async fn list(
    State(api): State<Api>,
    actor: TenantActor,
    Query(params): Query<IntentParams>,
) -> Result<axum::Json<ListBody<IntentBody>>, ApiError> {
    let filter = IntentFilter {
        binding: params.binding_id.map(|id| id.0),
        agent: params.agent_id.map(|id| id.0),
    };
    let (page, now) = (request(params.limit, params.cursor), api.now().wall);
    let rows = api.store().tenant(actor.tenant).await?.list_intents(filter, page).await?;
    Ok(ListBody::new(rows, |intent| IntentBody::new(intent, now)))
}

/// Shows one intent.
#[utoipa::path(get, path = "/call-intents/{id}", operation_id = "intents_get", tag = "intents",
    params(("id" = String, Path)),
    responses((status = 200, body = IntentBody), (status = "4XX", body = Problem)))]
pub async fn get(
    State(api): State<Api>,
    actor: TenantActor,
    PathId(id): PathId<IntentId>,
) -> Result<axum::Json<IntentBody>, ApiError> {
    let intent = api.store().tenant(actor.tenant).await?.find_intent(id).await?;
    let intent = intent.ok_or(ApiError::new(Code::NotFound))?;
    Ok(axum::Json(IntentBody::new(intent, api.now().wall)))
}

/// Takes an intent back that still waits; one that was taken back before is answered alike.
#[utoipa::path(post, path = "/call-intents/{id}/cancel", operation_id = "intents_cancel",
    tag = "intents", params(("id" = String, Path)), request_body = Option<NoFields>,
    responses((status = 200, body = IntentBody), (status = "4XX", body = Problem)))]
pub async fn cancel(
    State(api): State<Api>,
    actor: TenantActor,
    PathId(id): PathId<IntentId>,
    OptionalJson(NoFields {}): OptionalJson<NoFields>,
) -> Result<axum::Json<IntentBody>, ApiError> {
    let now = api.now().wall;
    let mut tx = api.store().tenant(actor.tenant).await?;
    tx.cancel_intent(now, id).await?;
    let intent = tx.find_intent(id).await?.ok_or(ApiError::new(Code::NotFound))?;
    tx.commit().await?;
    match intent.end {
        IntentEnd::Cancelled { .. } => Ok(axum::Json(IntentBody::new(intent, now))),
        IntentEnd::Used { .. } | IntentEnd::Open => Err(Code::StateConflict.into()),
    }
}
