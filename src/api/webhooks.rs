//! Webhook endpoints: where a tenant is told of its events, with what it is signed, and what became
//! of each telling.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::answer::{at, created, tagged};
use super::auth::TenantActor;
use super::bindings::NoFields;
use super::error::{ApiError, Code, Problem};
use super::etag::IfMatch;
use super::events::KINDS_MAX;
use super::extract::{Json, OptionalJson, PathId, Query};
use super::field_error::Rule;
use super::forms::{Name, ReceiverUrl};
use super::paging::{Cursor, Limit, ListBody, request};
use super::secrets::WebhookSecret;
use super::values::{Checks, Id, Time, nullable};
use crate::domain::event::EventKind;
use crate::domain::id::{DeliveryId, EventId, WebhookId};
use crate::domain::webhook::{InvalidUrl, URL_CHARS_MAX, WebhookUrl};
use crate::store::delivery::Delivery;
use crate::store::webhook::{NewWebhook, Webhook, WebhookChange, WebhookOwner};

const DESCRIPTION_CHARS_MAX: usize = 200;

/// Whether an endpoint is told anything.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WebhookStateWord {
    /// It is.
    Enabled,
    /// It is not.
    Disabled,
}

/// A new endpoint.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "url": "https://crm.example.com/maskline", "description": "CRM",
    "event_types": ["call.completed", "call.refused"],
}))]
pub struct WebhookCreate {
    /// `https`, a public host name, port 443 or 8443; at most 1000 characters.
    #[schema(value_type = ReceiverUrl)]
    url: String,
    /// For people, 1 to 200 characters.
    #[schema(value_type = Option<Name>)]
    description: Option<String>,
    /// Kinds of `/event-types`; all when absent or empty.
    #[serde(default)]
    #[schema(value_type = std::collections::BTreeSet<EventKind>, max_items = 32)]
    event_types: Vec<String>,
}

/// What may change of an endpoint.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"event_types": ["binding.expired"]}))]
pub struct WebhookPatch {
    /// `https`, a public host name, port 443 or 8443; at most 1000 characters.
    #[schema(value_type = Option<ReceiverUrl>)]
    url: Option<String>,
    /// For people, 1 to 200 characters; null takes it away.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<Name>)]
    description: Option<Option<String>>,
    /// Replaces all of them; an empty list means all kinds.
    #[schema(value_type = Option<std::collections::BTreeSet<EventKind>>, max_items = 32)]
    event_types: Option<Vec<String>>,
    /// `enabled` ends what has disabled it; what waited in the meantime is told now.
    state: Option<WebhookStateWord>,
}

/// An endpoint.
#[derive(Debug, Serialize, ToSchema)]
pub struct WebhookBody {
    /// `whe_…`
    #[schema(value_type = WebhookId)]
    id: Id<WebhookId>,
    /// Where it is told.
    url: String,
    /// For people.
    description: Option<String>,
    /// Empty: all kinds.
    event_types: Vec<String>,
    /// `enabled` or `disabled`.
    state: String,
    /// `request`, `gone` (it answered 410) or `failing` (for five days).
    disabled_reason: Option<String>,
    /// Until then the secret before the last rotation signs too.
    old_secret_until: Option<Time>,
    /// Since when it has taken nothing; null while deliveries succeed.
    failing_since: Option<Time>,
    /// When it was made.
    created_at: Time,
    /// When it was last changed.
    updated_at: Time,
}

impl From<Webhook> for WebhookBody {
    fn from(webhook: Webhook) -> Self {
        Self {
            id: Id(webhook.id),
            url: webhook.url,
            description: webhook.description,
            event_types: webhook.event_types,
            state: webhook.state,
            disabled_reason: webhook.disabled_reason,
            old_secret_until: webhook.old_secret_until.map(Time),
            failing_since: webhook.failing_since.map(Time),
            created_at: Time(webhook.created_at),
            updated_at: Time(webhook.updated_at),
        }
    }
}

/// An endpoint with a new secret.
#[derive(Serialize, ToSchema)]
pub struct WebhookSecretBody {
    #[serde(flatten)]
    endpoint: WebhookBody,
    /// `whsec_…`, shown in this answer only.
    secret: String,
}

impl std::fmt::Debug for WebhookSecretBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WebhookSecretBody(***)")
    }
}

/// The event of a ping.
#[derive(Debug, Serialize, ToSchema)]
pub struct PingBody {
    /// `evt_…`, what the endpoint will be told.
    #[schema(value_type = EventId)]
    event_id: Id<EventId>,
}

/// What became of telling an event.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeliveryBody {
    /// `dlv_…`
    #[schema(value_type = DeliveryId)]
    id: Id<DeliveryId>,
    /// Who is told.
    #[schema(value_type = WebhookId)]
    endpoint_id: Id<WebhookId>,
    /// Of what.
    #[schema(value_type = EventId)]
    event_id: Id<EventId>,
    /// Such as `binding.created`.
    event_type: String,
    /// The place of the event among those of the tenant.
    sequence: u64,
    /// `pending`, `delivered` or `dead`.
    state: String,
    /// When it is tried next; null when it is over.
    next_attempt_at: Option<Time>,
    /// For each attempt `at`, `outcome`, the `status` that was answered, and `duration_ms`.
    attempts: Value,
    /// When it was made.
    created_at: Time,
    /// When it was over; null while it is tried.
    done_at: Option<Time>,
}

impl From<Delivery> for DeliveryBody {
    fn from(delivery: Delivery) -> Self {
        Self {
            id: Id(delivery.id),
            endpoint_id: Id(delivery.endpoint),
            event_id: Id(delivery.event),
            event_type: delivery.event_type,
            sequence: delivery.sequence,
            state: delivery.state,
            next_attempt_at: delivery.next_at.map(Time),
            attempts: delivery.log,
            created_at: Time(delivery.created_at),
            done_at: delivery.done_at.map(Time),
        }
    }
}

/// Pages of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WebhookParams {
    /// Rows of the page, 1 to 200; 50 when absent.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 200)]
    limit: Option<Limit>,
    /// `next_cursor` of the page before.
    cursor: Option<Cursor>,
}

/// What a delivery has come to.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStateWord {
    /// It will be tried, again or at all.
    Pending,
    /// The receiver took it.
    Delivered,
    /// It is given up.
    Dead,
}

impl DeliveryStateWord {
    const fn label(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
        }
    }
}

/// Filters of the list of deliveries.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DeliveryParams {
    /// Rows of the page, 1 to 200; 50 when absent.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 200)]
    limit: Option<Limit>,
    /// `next_cursor` of the page before.
    cursor: Option<Cursor>,
    /// `pending`, `delivered` or `dead` ones only.
    state: Option<DeliveryStateWord>,
}

/// Makes an endpoint. Its secret is shown in this answer only.
#[utoipa::path(post, path = "/webhook-endpoints", operation_id = "webhooks_create",
    tag = "webhooks", request_body = WebhookCreate,
    responses((status = 201, body = WebhookSecretBody), (status = "4XX", body = Problem)))]
pub async fn create(
    State(api): State<Api>,
    actor: TenantActor,
    Json(body): Json<WebhookCreate>,
) -> Result<Response, ApiError> {
    let mut checks = Checks::default();
    check_url(&mut checks, &api, &body.url);
    checks.optional_text("/description", body.description.as_deref(), DESCRIPTION_CHARS_MAX);
    let event_types = parse_kinds(&mut checks, &body.event_types);
    checks.finish()?;
    let now = api.now();
    let id = WebhookId::new(now.unix_ms(), api.random_bits());
    let new = NewWebhook { id, url: body.url, description: body.description, event_types };
    let secret = WebhookSecret::new();
    let made = api.store().insert_webhook(owner(actor), new, secret.bytes(), now.wall).await?;
    let webhook = made.ok_or(ApiError::new(Code::LimitReached))?;
    let version = webhook.version;
    let body = WebhookSecretBody { endpoint: webhook.into(), secret: secret.expose() };
    Ok(created(&format!("/v1/webhook-endpoints/{id}"), version, body))
}

/// Lists endpoints, newest first.
#[utoipa::path(get, path = "/webhook-endpoints", operation_id = "webhooks_list", tag = "webhooks",
    params(WebhookParams),
    responses((status = 200, body = ListBody<WebhookBody>), (status = "4XX", body = Problem)))]
pub async fn list(
    State(api): State<Api>,
    actor: TenantActor,
    Query(params): Query<WebhookParams>,
) -> Result<axum::Json<ListBody<WebhookBody>>, ApiError> {
    let page = request(params.limit, params.cursor);
    let rows = api.store().list_webhooks(actor.tenant, page).await?;
    Ok(ListBody::new(rows, WebhookBody::from))
}

/// Shows one endpoint.
#[utoipa::path(get, path = "/webhook-endpoints/{id}", operation_id = "webhooks_get",
    tag = "webhooks", params(("id" = String, Path)),
    responses((status = 200, body = WebhookBody), (status = "4XX", body = Problem)))]
pub async fn get(
    State(api): State<Api>,
    actor: TenantActor,
    PathId(id): PathId<WebhookId>,
) -> Result<Response, ApiError> {
    let webhook = find(&api, actor, id).await?;
    Ok(tagged(StatusCode::OK, webhook.version, WebhookBody::from(webhook)))
}

/// Changes an endpoint. What waits is told by what holds when it is its turn.
#[utoipa::path(patch, path = "/webhook-endpoints/{id}", operation_id = "webhooks_patch",
    tag = "webhooks", params(("id" = String, Path), IfMatch), request_body = WebhookPatch,
    responses((status = 200, body = WebhookBody), (status = "4XX", body = Problem)))]
pub async fn patch(
    State(api): State<Api>,
    actor: TenantActor,
    PathId(id): PathId<WebhookId>,
    if_match: IfMatch,
    Json(body): Json<WebhookPatch>,
) -> Result<Response, ApiError> {
    let mut checks = Checks::default();
    if let Some(url) = &body.url {
        check_url(&mut checks, &api, url);
    }
    let description = body.description.as_ref().and_then(Option::as_deref);
    checks.optional_text("/description", description, DESCRIPTION_CHARS_MAX);
    let event_types = body.event_types.as_ref().map(|kinds| parse_kinds(&mut checks, kinds));
    checks.finish()?;
    find(&api, actor, id).await?;
    let change = WebhookChange {
        url: body.url,
        description: body.description,
        event_types,
        enabled: body.state.map(|state| matches!(state, WebhookStateWord::Enabled)),
    };
    let (version, now) = (if_match.version()?, api.now().wall);
    let webhook = api.store().update_webhook(owner(actor), id, change, version, now).await?;
    let webhook = if_match.unless_changed(webhook)?;
    Ok(tagged(StatusCode::OK, webhook.version, WebhookBody::from(webhook)))
}

/// Removes an endpoint, and what waits for it.
#[utoipa::path(delete, path = "/webhook-endpoints/{id}", operation_id = "webhooks_delete",
    tag = "webhooks", params(("id" = String, Path), IfMatch),
    responses((status = 204), (status = "4XX", body = Problem)))]
pub async fn delete(
    State(api): State<Api>,
    actor: TenantActor,
    PathId(id): PathId<WebhookId>,
    if_match: IfMatch,
) -> Result<StatusCode, ApiError> {
    let (version, now) = (if_match.version()?, api.now().wall);
    let deleted = api.store().delete_webhook(owner(actor), id, version, now).await?;
    if_match.unless_changed(deleted)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes a new secret, shown in this answer only. For 24 hours the one before signs beside it.
#[utoipa::path(post, path = "/webhook-endpoints/{id}/rotate-secret",
    operation_id = "webhooks_rotate", tag = "webhooks", params(("id" = String, Path)),
    request_body = Option<NoFields>,
    responses((status = 200, body = WebhookSecretBody), (status = "4XX", body = Problem)))]
pub async fn rotate(
    State(api): State<Api>,
    actor: TenantActor,
    PathId(id): PathId<WebhookId>,
    OptionalJson(NoFields {}): OptionalJson<NoFields>,
) -> Result<Response, ApiError> {
    let (secret, now) = (WebhookSecret::new(), api.now().wall);
    let rotated = api.store().rotate_webhook_secret(owner(actor), id, secret.bytes(), now).await?;
    let webhook = rotated.ok_or(ApiError::new(Code::NotFound))?;
    let version = webhook.version;
    let body = WebhookSecretBody { endpoint: webhook.into(), secret: secret.expose() };
    Ok(tagged(StatusCode::OK, version, body))
}

/// Tells the endpoint an event of the kind `webhook.ping`, by the way of all others.
#[utoipa::path(post, path = "/webhook-endpoints/{id}/ping", operation_id = "webhooks_ping",
    tag = "webhooks", params(("id" = String, Path)), request_body = Option<NoFields>,
    responses((status = 202, body = PingBody), (status = "4XX", body = Problem)))]
pub async fn ping(
    State(api): State<Api>,
    actor: TenantActor,
    PathId(id): PathId<WebhookId>,
    OptionalJson(NoFields {}): OptionalJson<NoFields>,
) -> Result<Response, ApiError> {
    find(&api, actor, id).await?;
    let event = api.store().ping_webhook(actor.tenant, id, api.now().wall).await?;
    let event = event.ok_or(ApiError::new(Code::StateConflict))?;
    Ok((StatusCode::ACCEPTED, axum::Json(PingBody { event_id: Id(event) })).into_response())
}

/// Lists what was and will be told to an endpoint, newest first, for 30 days.
#[utoipa::path(get, path = "/webhook-endpoints/{id}/deliveries",
    operation_id = "webhooks_deliveries", tag = "webhooks",
    params(("id" = String, Path), DeliveryParams),
    responses((status = 200, body = ListBody<DeliveryBody>), (status = "4XX", body = Problem)))]
pub async fn deliveries(
    State(api): State<Api>,
    actor: TenantActor,
    PathId(id): PathId<WebhookId>,
    Query(params): Query<DeliveryParams>,
) -> Result<axum::Json<ListBody<DeliveryBody>>, ApiError> {
    find(&api, actor, id).await?;
    let page = request(params.limit, params.cursor);
    let state = params.state.map(DeliveryStateWord::label);
    let rows = api.store().list_deliveries(actor.tenant, id, state, page).await?;
    Ok(ListBody::new(rows, DeliveryBody::from))
}

/// Tells an event once more to the endpoint of this delivery: a delivery of its own, with the same
/// event id, that waits for no other.
#[utoipa::path(post, path = "/webhook-deliveries/{id}/replay", operation_id = "webhooks_replay",
    tag = "webhooks", params(("id" = String, Path)), request_body = Option<NoFields>,
    responses((status = 202, body = DeliveryBody), (status = "4XX", body = Problem)))]
pub async fn replay(
    State(api): State<Api>,
    actor: TenantActor,
    PathId(id): PathId<DeliveryId>,
    OptionalJson(NoFields {}): OptionalJson<NoFields>,
) -> Result<Response, ApiError> {
    let replayed = api.store().replay_delivery(actor.tenant, id, api.now().wall).await?;
    let delivery = replayed.ok_or(ApiError::new(Code::NotFound))?;
    let place = format!("/v1/webhook-endpoints/{}/deliveries", delivery.endpoint);
    let body = axum::Json(DeliveryBody::from(delivery));
    Ok(at(&place, (StatusCode::ACCEPTED, body).into_response()))
}

/// Who is written down for a change.
fn owner(actor: TenantActor) -> WebhookOwner {
    WebhookOwner { tenant: actor.tenant, key: actor.key }
}

async fn find(api: &Api, actor: TenantActor, id: WebhookId) -> Result<Webhook, ApiError> {
    let webhook = api.store().find_webhook(actor.tenant, id).await?;
    webhook.ok_or(ApiError::new(Code::NotFound))
}

fn check_url(checks: &mut Checks, api: &Api, url: &str) {
    checks.no_number("/url", url);
    if let Err(why) = WebhookUrl::parse(url, api.reach()) {
        let rule = match why {
            InvalidUrl::TooLong => Rule::Length(1, URL_CHARS_MAX),
            InvalidUrl::Scheme
            | InvalidUrl::UserInfo
            | InvalidUrl::Host
            | InvalidUrl::Port
            | InvalidUrl::Characters => Rule::ReceiverUrl,
        };
        checks.require(false, "/url", rule);
    }
}

fn parse_kinds(checks: &mut Checks, texts: &[String]) -> Vec<EventKind> {
    let pointer = "/event_types";
    checks.require(texts.len() <= KINDS_MAX, pointer, Rule::Length(0, KINDS_MAX));
    let mut kinds = Vec::new();
    for (index, text) in texts.iter().enumerate().take(KINDS_MAX) {
        let pointer = format!("{pointer}/{index}");
        match EventKind::find_label(text) {
            Some(kind) => {
                checks.require(!kinds.contains(&kind), &pointer, Rule::Duplicate);
                kinds.push(kind);
            }
            None => checks.require(false, &pointer, Rule::UnknownReference),
        }
    }
    kinds
}
