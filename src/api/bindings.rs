//! Bindings: made once per policy, shown, stopped, resumed, ended. What ends a binding is in force
//! in the relay before the answer leaves.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::answer::{at, tagged};
use super::auth::TenantActor;
use super::binding_body::{BindingBody, BindingCreate};
use super::error::{ApiError, Code, Problem};
use super::etag::IfMatch;
use super::extract::{Json, OptionalJson, PathId, Query};
use super::field_error::Rule;
use super::forms::Key;
use super::paging::{Cursor, Limit, ListBody, request};
use super::subscribers::{number_virtual, real_numbers_refused};
use super::values::{Checks, Id, VirtualNumberField, problem_at};
use crate::domain::binding::{BindingState, SuspendReason};
use crate::domain::cause::Cause;
use crate::domain::id::{AgentId, BindingId, SubscriberId};
use crate::relay::handle::Talking;
use crate::store::TenantTx;
use crate::store::binding::{BindOutcome, BindingFilter, BindingOutcome, BindingRecord, CallsUp};
use crate::store::notice::EndedBinding;

/// The states of a binding.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the words of BindingState")]
pub enum BindingStateWord {
    Pending,
    Active,
    Suspended,
    Expired,
    Released,
}

impl BindingStateWord {
    const fn label(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Expired => "expired",
            Self::Released => "released",
        }
    }
}

/// Filters of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct BindingParams {
    /// Rows of the page, 1 to 200; 50 when absent.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 200)]
    limit: Option<Limit>,
    /// `next_cursor` of the page before.
    cursor: Option<Cursor>,
    /// In this state only.
    state: Option<BindingStateWord>,
    /// With this name of the tenant's own.
    #[param(value_type = Option<Key>)]
    external_id: Option<String>,
    /// Of this subscriber only.
    #[param(value_type = Option<SubscriberId>)]
    subscriber_id: Option<Id<SubscriberId>>,
    /// Of this policy only.
    #[param(value_type = Option<Key>)]
    policy_ref: Option<String>,
    /// Behind this X, now or before.
    virtual_number: Option<VirtualNumberField>,
    /// Of pairs with this agent only.
    #[param(value_type = Option<AgentId>)]
    agent_id: Option<Id<AgentId>>,
}

/// What happens to talking calls.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"drop_calls": true}))]
pub struct EndCalls {
    /// True ends talking calls too; ringing ones end in any case.
    #[serde(default)]
    drop_calls: bool,
}

/// Nothing to say.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({}))]
pub struct NoFields {}

/// Binds an X to a subscriber. The same `external_id` with the same content gives 200 and the
/// existing binding, with other content 409. A subscriber that comes back while its last virtual
/// number rests gets that one again, where the pool and the city allow it. A subscriber whose
/// number is a virtual number of the platform, whoever holds it, is refused with `number_virtual`.
/// A pair (`axb`) is put on a virtual number that serves pairs of the tenant already, where neither
/// the agent nor the subscriber has another one, or had one so lately that it would still rest.
#[utoipa::path(post, path = "/bindings", operation_id = "bindings_create", tag = "bindings",
    request_body = BindingCreate,
    responses((status = 201, body = BindingBody), (status = 200, body = BindingBody),
        (status = "4XX", body = Problem)))]
pub async fn create(
    State(api): State<Api>,
    actor: TenantActor,
    Json(body): Json<BindingCreate>,
) -> Result<Response, ApiError> {
    let asked = Asked::of(&body);
    let new = body.check()?;
    let now = api.now().wall;
    let mut tx = api.store().tenant(actor.tenant).await?;
    let (status, binding) = asked.told(tx.bind(now, new).await?)?;
    // Whatever is not committed is undone: a refused binding stores nothing.
    if status == StatusCode::CREATED {
        tx.commit().await?;
    }
    let (location, version) = (location(binding.id), binding.version);
    Ok(at(&location, tagged(status, version, BindingBody::new(binding, now))))
}

/// What a refusal of a new binding depends on beside the outcome.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// A pool was named, and may be the mistake.
    names_pool: bool,
    /// Where the subscriber is named.
    subscriber: &'static str,
    /// Where its end is named.
    end: &'static str,
}

impl Asked {
    pub(super) fn of(body: &BindingCreate) -> Self {
        let (subscriber, end) = (body.subscriber_pointer(), body.end_pointer());
        Self { names_pool: body.names_pool(), subscriber, end }
    }

    /// The binding, new (201) or of before (200), or why there is none.
    pub(super) fn told(
        self,
        outcome: BindOutcome,
    ) -> Result<(StatusCode, BindingRecord), ApiError> {
        let unknown = |pointer| problem_at(Code::ValidationFailed, pointer, Rule::UnknownReference);
        match outcome {
            BindOutcome::Created(binding) => Ok((StatusCode::CREATED, *binding)),
            BindOutcome::Existing(binding) => Ok((StatusCode::OK, *binding)),
            BindOutcome::ExternalIdTaken => {
                Err(problem_at(Code::ExternalIdConflict, "/external_id", Rule::Taken))
            }
            BindOutcome::SubscriberUnknown => Err(unknown("/subscriber/id")),
            BindOutcome::AgentUnknown => Err(unknown("/agents/0")),
            BindOutcome::RealNumbersRefused => Err(real_numbers_refused("/subscriber/real_number")),
            BindOutcome::SubscriberVirtual => Err(number_virtual(self.subscriber)),
            BindOutcome::TenantSuspended => Err(Code::TenantSuspended.into()),
            BindOutcome::TermInvalid => {
                Err(problem_at(Code::ValidationFailed, self.end, Rule::TimeOrder))
            }
            BindOutcome::CityUnknown => {
                Err(problem_at(Code::GeoMismatch, "/city", Rule::UnknownReference))
            }
            BindOutcome::NumberCooling => {
                Err(problem_at(Code::NumberCooling, "/virtual_number", Rule::Taken))
            }
            BindOutcome::PoolUnknown if self.names_pool => Err(unknown("/pool")),
            BindOutcome::PoolUnknown | BindOutcome::PoolEmpty => Err(Code::PoolEmpty.into()),
            BindOutcome::NumberTaken => {
                Err(problem_at(Code::NumberTaken, "/virtual_number", Rule::Taken))
            }
        }
    }
}

/// Lists bindings, newest first.
#[utoipa::path(get, path = "/bindings", operation_id = "bindings_list", tag = "bindings",
    params(BindingParams),
    responses((status = 200, body = ListBody<BindingBody>), (status = "4XX", body = Problem)))]
pub async fn list(
    State(api): State<Api>,
    actor: TenantActor,
    Query(params): Query<BindingParams>,
) -> Result<axum::Json<ListBody<BindingBody>>, ApiError> {
    let mut checks = Checks::default();
    checks.optional_key("/query/external_id", params.external_id.as_deref(), 128);
    checks.optional_key("/query/policy_ref", params.policy_ref.as_deref(), 128);
    checks.finish()?;
    let filter = BindingFilter {
        state: params.state.map(|state| state.label().to_owned()),
        subscriber: params.subscriber_id.map(|id| id.0),
        policy_ref: params.policy_ref,
        external_id: params.external_id,
        virtual_number: params.virtual_number.map(|number| number.0),
        agent: params.agent_id.map(|id| id.0),
    };
    let page = request(params.limit, params.cursor);
    let rows = api.store().tenant(actor.tenant).await?.list_bindings(&filter, page).await?;
    let now = api.now().wall;
    Ok(ListBody::new(rows, |binding| BindingBody::new(binding, now)))
}

/// Shows one binding.
#[utoipa::path(get, path = "/bindings/{id}", operation_id = "bindings_get", tag = "bindings",
    params(("id" = String, Path)),
    responses((status = 200, body = BindingBody), (status = "4XX", body = Problem)))]
pub async fn get(
    State(api): State<Api>,
    actor: TenantActor,
    PathId(id): PathId<BindingId>,
) -> Result<Response, ApiError> {
    let found = api.store().tenant(actor.tenant).await?.find_binding(id).await?;
    Ok(answer(&api, found.ok_or(ApiError::new(Code::NotFound))?))
}

/// Stops routing until it is resumed. Ringing calls have been told to end when the answer leaves.
#[utoipa::path(post, path = "/bindings/{id}/suspend", operation_id = "bindings_suspend",
    tag = "bindings", params(("id" = String, Path), IfMatch), request_body = Option<EndCalls>,
    responses((status = 200, body = BindingBody), (status = "4XX", body = Problem)))]
pub async fn suspend(
    State(api): State<Api>,
    actor: TenantActor,
    PathId(id): PathId<BindingId>,
    if_match: IfMatch,
    OptionalJson(body): OptionalJson<EndCalls>,
) -> Result<Response, ApiError> {
    let (now, version) = (api.now().wall, if_match.version()?);
    let (cause, calls) = (Cause::BindingSuspended, calls(&body));
    let mut tx = api.store().tenant(actor.tenant).await?;
    let outcome = tx.suspend_binding(now, id, SuspendReason::Tenant, calls, version).await?;
    let is_done = |state: &BindingState| matches!(state, BindingState::Suspended { .. });
    end(&api, tx, outcome, is_done, EndedBinding { binding: id, cause, calls }).await
}

/// Routes again.
#[utoipa::path(post, path = "/bindings/{id}/resume", operation_id = "bindings_resume",
    tag = "bindings", params(("id" = String, Path), IfMatch), request_body = Option<NoFields>,
    responses((status = 200, body = BindingBody), (status = "4XX", body = Problem)))]
pub async fn resume(
    State(api): State<Api>,
    actor: TenantActor,
    PathId(id): PathId<BindingId>,
    if_match: IfMatch,
    OptionalJson(NoFields {}): OptionalJson<NoFields>,
) -> Result<Response, ApiError> {
    let (now, version) = (api.now().wall, if_match.version()?);
    let mut tx = api.store().tenant(actor.tenant).await?;
    let outcome = tx.resume_binding(now, id, version).await?;
    let is_done = |state: &BindingState| matches!(state, BindingState::Active { .. });
    let binding = settle(tx, id, outcome, is_done).await?;
    api.relay().forget_routes(&binding.virtual_number);
    Ok(answer(&api, binding))
}

/// Ends a binding for good; its X rests. Ringing calls have been told to end when the answer
/// leaves.
#[utoipa::path(post, path = "/bindings/{id}/unbind", operation_id = "bindings_unbind",
    tag = "bindings", params(("id" = String, Path), IfMatch), request_body = Option<EndCalls>,
    responses((status = 200, body = BindingBody), (status = "4XX", body = Problem)))]
pub async fn unbind(
    State(api): State<Api>,
    actor: TenantActor,
    PathId(id): PathId<BindingId>,
    if_match: IfMatch,
    OptionalJson(body): OptionalJson<EndCalls>,
) -> Result<Response, ApiError> {
    let (now, version) = (api.now().wall, if_match.version()?);
    let (cause, calls) = (Cause::BindingExpired, calls(&body));
    let mut tx = api.store().tenant(actor.tenant).await?;
    let outcome = tx.unbind(now, id, calls, version).await?;
    let is_done = |state: &BindingState| matches!(state, BindingState::Released { .. });
    end(&api, tx, outcome, is_done, EndedBinding { binding: id, cause, calls }).await
}

const fn calls(body: &EndCalls) -> CallsUp {
    if body.drop_calls { CallsUp::End } else { CallsUp::GoOn }
}

/// Makes the end of a binding durable, then known to the relay of this process. Other nodes hear of
/// a repeat too: it may want to end calls that the first request let go on.
async fn end(
    api: &Api,
    mut tx: TenantTx,
    outcome: BindingOutcome,
    is_done: fn(&BindingState) -> bool,
    ended: EndedBinding,
) -> Result<Response, ApiError> {
    let EndedBinding { binding: id, cause, calls } = ended;
    if matches!(&outcome, BindingOutcome::NotAllowed(state) if is_done(state)) {
        tx.end_binding(ended);
    }
    let binding = settle(tx, id, outcome, is_done).await?;
    let talking = match calls {
        CallsUp::GoOn => Talking::GoesOn,
        CallsUp::End => Talking::Ends,
    };
    api.relay().binding_ended(id, cause, talking)?;
    Ok(answer(api, binding))
}

/// Makes a change durable. A repeat of one that is done is no mistake: the first answer may have
/// been lost before the relay was told.
async fn settle(
    mut tx: TenantTx,
    id: BindingId,
    outcome: BindingOutcome,
    is_done: fn(&BindingState) -> bool,
) -> Result<BindingRecord, ApiError> {
    match outcome {
        BindingOutcome::Changed(binding) => {
            tx.commit().await?;
            Ok(*binding)
        }
        BindingOutcome::NotAllowed(state) if is_done(&state) => {
            let binding = tx.find_binding(id).await?.ok_or(ApiError::new(Code::NotFound))?;
            tx.commit().await?;
            Ok(binding)
        }
        BindingOutcome::NotAllowed(_) | BindingOutcome::TermInvalid => {
            Err(Code::StateConflict.into())
        }
        BindingOutcome::NotFound => Err(Code::NotFound.into()),
        BindingOutcome::VersionMismatch => Err(Code::PreconditionFailed.into()),
    }
}

pub(super) fn answer(api: &Api, binding: BindingRecord) -> Response {
    let version = binding.version;
    tagged(StatusCode::OK, version, BindingBody::new(binding, api.now().wall))
}

fn location(id: BindingId) -> String {
    format!("/v1/bindings/{id}")
}
