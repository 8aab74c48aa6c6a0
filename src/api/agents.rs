//! Agents: the people of a tenant who dial, known by the calling extensions of its PBX.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::answer::{created, tagged};
use super::auth::TenantActor;
use super::error::{ApiError, Code, Problem};
use super::etag::IfMatch;
use super::extract::{Json, PathId, Query};
use super::field_error::Rule;
use super::forms::{CallerNumber, Name, PurposeWord, Word, purposes};
use super::paging::{Cursor, Limit, ListBody, request};
use super::values::{Checks, Id, Time, nullable, refuse_unsupported};
use crate::domain::id::AgentId;
use crate::domain::purpose::Purpose;
use crate::domain::route::CALLER_CHARS_MAX;
use crate::store::agent::{Agent, AgentChange, NewAgent};

const NAME_CHARS_MAX: usize = 200;
const WORD_CHARS_MAX: usize = 64;
const CALLER_NUMBERS_MAX: usize = 16;

/// Whether an agent may dial at all.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AgentStateWord {
    /// May dial.
    Active,
    /// May not.
    Disabled,
}

impl AgentStateWord {
    const fn label(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
        }
    }
}

/// The state of an agent's filing with the regulator.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FilingWord {
    /// Filed and in force.
    Filed,
    /// Not filed.
    Missing,
    /// Filed, but over.
    Expired,
}

impl FilingWord {
    const fn label(self) -> &'static str {
        match self {
            Self::Filed => "filed",
            Self::Missing => "missing",
            Self::Expired => "expired",
        }
    }
}

/// A new agent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "employee_id": "A-4821", "name": "Li Ming", "licence": "L-0815", "caller_numbers": ["4821"],
    "group": "claims",
}))]
pub struct AgentCreate {
    /// The tenant's own name for the person, unique, 1 to 64 characters.
    #[schema(value_type = Word)]
    employee_id: String,
    /// For people, 1 to 200 characters.
    #[schema(value_type = Name)]
    name: String,
    /// The number of its licence.
    #[schema(value_type = Option<Word>)]
    licence: Option<String>,
    /// The calling extensions that the tenant's PBX sends, each of at most one agent.
    #[serde(default)]
    #[schema(value_type = std::collections::BTreeSet<CallerNumber>, max_items = 16)]
    caller_numbers: Vec<String>,
    /// `filed` when absent; others are not supported yet.
    filing: Option<FilingWord>,
    /// The tenant's own word for a team.
    #[schema(value_type = Option<Word>)]
    group: Option<String>,
    /// The only purposes that it may call for; all when absent. A call that names no purpose is
    /// for none of them.
    #[schema(value_type = Option<std::collections::BTreeSet<PurposeWord>>, min_items = 1,
        max_items = 11)]
    allowed_purposes: Option<Vec<String>>,
}

/// What may change of an agent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"caller_numbers": ["4821", "4822"]}))]
pub struct AgentPatch {
    /// For people, 1 to 200 characters.
    #[schema(value_type = Option<Name>)]
    name: Option<String>,
    /// The number of its licence; null takes it away.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<Word>)]
    licence: Option<Option<String>>,
    /// Replaces all of them.
    #[schema(value_type = Option<std::collections::BTreeSet<CallerNumber>>, max_items = 16)]
    caller_numbers: Option<Vec<String>>,
    /// `filed`; others are not supported yet.
    filing: Option<FilingWord>,
    /// `disabled` refuses its calls from now on.
    state: Option<AgentStateWord>,
    /// The tenant's own word for a team; null takes it away.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<Word>)]
    group: Option<Option<String>>,
    /// The only purposes that it may call for, instead of those before; null allows all.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<std::collections::BTreeSet<PurposeWord>>, min_items = 1,
        max_items = 11)]
    allowed_purposes: Option<Option<Vec<String>>>,
}

/// An agent.
#[derive(Debug, Serialize, ToSchema)]
pub struct AgentBody {
    /// `agt_…`
    #[schema(value_type = AgentId)]
    id: Id<AgentId>,
    /// The tenant's own name for the person.
    employee_id: String,
    /// For people.
    name: String,
    /// The number of its licence.
    licence: Option<String>,
    /// The calling extensions that the tenant's PBX sends.
    caller_numbers: Vec<String>,
    /// `filed`, `missing` or `expired`.
    filing: String,
    /// `active` or `disabled`.
    state: String,
    /// The tenant's own word for a team.
    group: Option<String>,
    /// The only purposes that it may call for; null where it may call for all.
    allowed_purposes: Option<Vec<&'static str>>,
    /// When it was made.
    created_at: Time,
    /// When it was last changed.
    updated_at: Time,
}

impl From<Agent> for AgentBody {
    fn from(agent: Agent) -> Self {
        Self {
            id: Id(agent.id),
            employee_id: agent.employee_id,
            name: agent.name,
            licence: agent.licence,
            caller_numbers: agent.caller_numbers,
            filing: agent.filing,
            state: agent.state,
            group: agent.group,
            allowed_purposes: agent
                .allowed_purposes
                .map(|only| only.iter().map(|purpose| purpose.label()).collect()),
            created_at: Time(agent.created_at),
            updated_at: Time(agent.updated_at),
        }
    }
}

/// Filters of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AgentFilter {
    /// Rows of the page, 1 to 200; 50 when absent.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 200)]
    limit: Option<Limit>,
    /// `next_cursor` of the page before.
    cursor: Option<Cursor>,
    /// The agent of this employee id.
    #[param(value_type = Option<Word>)]
    employee_id: Option<String>,
}

/// Creates an agent.
#[utoipa::path(post, path = "/agents", operation_id = "agents_create", tag = "agents",
    request_body = AgentCreate,
    responses((status = 201, body = AgentBody), (status = "4XX", body = Problem)))]
pub async fn create(
    State(api): State<Api>,
    actor: TenantActor,
    Json(body): Json<AgentCreate>,
) -> Result<Response, ApiError> {
    let mut checks = Checks::default();
    checks.text("/employee_id", &body.employee_id, WORD_CHARS_MAX);
    checks.text("/name", &body.name, NAME_CHARS_MAX);
    checks.optional_text("/licence", body.licence.as_deref(), WORD_CHARS_MAX);
    checks.optional_text("/group", body.group.as_deref(), WORD_CHARS_MAX);
    check_callers(&mut checks, &body.caller_numbers);
    let allowed_purposes = body.allowed_purposes.map(|only| check_purposes(&mut checks, &only));
    checks.finish()?;
    check_filing(body.filing)?;
    let now = api.now();
    let new = NewAgent {
        id: AgentId::new(now.unix_ms(), api.random_bits()),
        employee_id: body.employee_id,
        name: body.name,
        licence: body.licence,
        caller_numbers: body.caller_numbers,
        filing: body.filing.unwrap_or(FilingWord::Filed).label(),
        group: body.group,
        allowed_purposes,
    };
    let agent = api.store().insert_agent(actor.tenant, new, now.wall).await?;
    // An attempt of this extension may have been refused, and remembered, before it was known.
    api.relay().forget_tenant(actor.tenant);
    let (id, version) = (agent.id, agent.version);
    Ok(created(&format!("/v1/agents/{id}"), version, AgentBody::from(agent)))
}

/// Lists agents, newest first.
#[utoipa::path(get, path = "/agents", operation_id = "agents_list", tag = "agents",
    params(AgentFilter),
    responses((status = 200, body = ListBody<AgentBody>), (status = "4XX", body = Problem)))]
pub async fn list(
    State(api): State<Api>,
    actor: TenantActor,
    Query(filter): Query<AgentFilter>,
) -> Result<axum::Json<ListBody<AgentBody>>, ApiError> {
    let page = request(filter.limit, filter.cursor);
    let employee_id = filter.employee_id.as_deref();
    let mut checks = Checks::default();
    checks.optional_text("/query/employee_id", employee_id, WORD_CHARS_MAX);
    checks.finish()?;
    let rows = api.store().list_agents(actor.tenant, employee_id, page).await?;
    Ok(ListBody::new(rows, AgentBody::from))
}

/// Shows one agent.
#[utoipa::path(get, path = "/agents/{id}", operation_id = "agents_get", tag = "agents",
    params(("id" = String, Path)),
    responses((status = 200, body = AgentBody), (status = "4XX", body = Problem)))]
pub async fn get(
    State(api): State<Api>,
    actor: TenantActor,
    PathId(id): PathId<AgentId>,
) -> Result<Response, ApiError> {
    let agent = api.store().find_agent(actor.tenant, id).await?;
    let agent = agent.ok_or(ApiError::new(Code::NotFound))?;
    Ok(tagged(StatusCode::OK, agent.version, AgentBody::from(agent)))
}

/// Changes an agent. A disabled agent cannot place a call once the answer has arrived.
#[utoipa::path(patch, path = "/agents/{id}", operation_id = "agents_patch", tag = "agents",
    params(("id" = String, Path), IfMatch), request_body = AgentPatch,
    responses((status = 200, body = AgentBody), (status = "4XX", body = Problem)))]
pub async fn patch(
    State(api): State<Api>,
    actor: TenantActor,
    PathId(id): PathId<AgentId>,
    if_match: IfMatch,
    Json(body): Json<AgentPatch>,
) -> Result<Response, ApiError> {
    let mut checks = Checks::default();
    checks.optional_text("/name", body.name.as_deref(), NAME_CHARS_MAX);
    let inner = |field: &'_ Option<Option<String>>| field.clone().flatten();
    checks.optional_text("/licence", inner(&body.licence).as_deref(), WORD_CHARS_MAX);
    checks.optional_text("/group", inner(&body.group).as_deref(), WORD_CHARS_MAX);
    check_callers(&mut checks, body.caller_numbers.as_deref().unwrap_or_default());
    let allowed_purposes = body.allowed_purposes;
    let allowed_purposes =
        allowed_purposes.map(|only| only.map(|only| check_purposes(&mut checks, &only)));
    checks.finish()?;
    check_filing(body.filing)?;
    let found = api.store().find_agent(actor.tenant, id).await?;
    found.ok_or(ApiError::new(Code::NotFound))?;
    let change = AgentChange {
        name: body.name,
        licence: body.licence,
        caller_numbers: body.caller_numbers,
        filing: body.filing.map(FilingWord::label),
        state: body.state.map(AgentStateWord::label),
        group: body.group,
        allowed_purposes,
    };
    let (version, now) = (if_match.version()?, api.now().wall);
    let agent = api.store().update_agent(actor.tenant, id, change, version, now).await?;
    let agent = if_match.unless_changed(agent)?;
    api.relay().forget_tenant(actor.tenant);
    Ok(tagged(StatusCode::OK, agent.version, AgentBody::from(agent)))
}

/// Removes an agent; its extensions are free again.
#[utoipa::path(delete, path = "/agents/{id}", operation_id = "agents_delete", tag = "agents",
    params(("id" = String, Path), IfMatch),
    responses((status = 204), (status = "4XX", body = Problem)))]
pub async fn delete(
    State(api): State<Api>,
    actor: TenantActor,
    PathId(id): PathId<AgentId>,
    if_match: IfMatch,
) -> Result<StatusCode, ApiError> {
    let (version, now) = (if_match.version()?, api.now().wall);
    if_match.unless_changed(api.store().delete_agent(actor.tenant, id, version, now).await?)?;
    api.relay().forget_tenant(actor.tenant);
    Ok(StatusCode::NO_CONTENT)
}

/// Nothing keeps an agent without a filing from dialling yet.
fn check_filing(filing: Option<FilingWord>) -> Result<(), ApiError> {
    let is_other = matches!(filing, Some(FilingWord::Missing | FilingWord::Expired));
    refuse_unsupported(&[(is_other, "/filing")])
}

/// Purposes in the order of their codes.
fn check_purposes(checks: &mut Checks, labels: &[String]) -> Vec<Purpose> {
    let (pointer, count_max) = ("/allowed_purposes", Purpose::ALL.len());
    let length = Rule::Length(1, count_max);
    checks.require((1..=count_max).contains(&labels.len()), pointer, length);
    let mut only = Vec::with_capacity(count_max);
    for (index, label) in labels.iter().enumerate().take(count_max) {
        let pointer = format!("{pointer}/{index}");
        let purpose = Purpose::ALL.iter().copied().find(|it| it.label() == label);
        checks.require(purpose.is_some(), &pointer, Rule::NotAllowed(purposes().into()));
        let is_first = purpose.is_none_or(|purpose| !only.contains(&purpose));
        checks.require(is_first, &pointer, Rule::Duplicate);
        only.extend(purpose);
    }
    only.sort_unstable();
    only
}

/// Extensions as a PBX writes them into the user part of From.
fn check_callers(checks: &mut Checks, callers: &[String]) {
    let pointer = "/caller_numbers";
    let length = Rule::Length(0, CALLER_NUMBERS_MAX);
    checks.require(callers.len() <= CALLER_NUMBERS_MAX, pointer, length);
    for (index, caller) in callers.iter().enumerate().take(CALLER_NUMBERS_MAX) {
        let pointer = format!("{pointer}/{index}");
        let length = Rule::Length(1, CALLER_CHARS_MAX);
        checks.require((1..=CALLER_CHARS_MAX).contains(&caller.len()), &pointer, length);
        // An agent's own direct number may be one: it is no subscriber's.
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_.+".contains(&b);
        checks.require(caller.bytes().all(fits), &pointer, Rule::Invalid);
        let is_first = callers.iter().position(|other| other == caller) == Some(index);
        checks.require(is_first, &pointer, Rule::Duplicate);
    }
}
