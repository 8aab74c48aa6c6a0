//! Keys: made, shown once, rolled, revoked. The operator makes keys for everybody, a tenant's
//! administrator for its own people.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::answer::at;
use super::auth::Actor;
use super::bindings::NoFields;
use super::error::{ApiError, Code, Problem};
use super::etag::IfMatch;
use super::extract::{Json, OptionalJson, PathId, Query};
use super::field_error::Rule;
use super::forms::{FingerprintText, Name, NetworkText, Scope};
use super::idempotency::Completion;
use super::paging::{Cursor, Limit, ListBody, request};
use super::peer::{read_fingerprint, write_fingerprint};
use super::roles::{Role, is_scope};
use super::secrets::{IssuedKey, KeyUse};
use super::values::{Checks, Id, Time, problem_at};
use crate::domain::id::{ApiKeyId, TenantId};
use crate::domain::network::Network;
use crate::store::StoreError;
use crate::store::api_key::{ApiKey, KeyOwner, NewApiKey, NewSecret};

const NAME_CHARS_MAX: usize = 200;
const SCOPES_MAX: usize = 64;
const NETWORKS_MAX: usize = 64;

/// What a key is for.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the words of roles::Role")]
pub enum RoleWord {
    Operator,
    InsurerAdmin,
    InsurerCrm,
    InsurerAuditor,
    Compliance,
    Approver,
    Regulator,
    Ops,
}

impl RoleWord {
    const fn role(self) -> Role {
        match self {
            Self::Operator => Role::Operator,
            Self::InsurerAdmin => Role::InsurerAdmin,
            Self::InsurerCrm => Role::InsurerCrm,
            Self::InsurerAuditor => Role::InsurerAuditor,
            Self::Compliance => Role::Compliance,
            Self::Approver => Role::Approver,
            Self::Regulator => Role::Regulator,
            Self::Ops => Role::Ops,
        }
    }
}

/// How a key is used.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyAuth {
    /// Its text is sent with each request.
    #[default]
    Bearer,
    /// It signs each request, and is never sent.
    Signature,
}

impl KeyAuth {
    const fn usage(self) -> KeyUse {
        match self {
            Self::Bearer => KeyUse::Bearer,
            Self::Signature => KeyUse::Signature,
        }
    }

    const fn of(key: &ApiKey) -> Self {
        match key.signing_sealed {
            None => Self::Bearer,
            Some(_) => Self::Signature,
        }
    }
}

/// A new key.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "name": "CRM", "role": "insurer_crm", "tenant_id": "ten_01977420a1b27c3d8e4f5a6b7c8d9e03",
    "scopes": ["bindings:read", "bindings:write"], "source_networks": ["192.0.2.0/24"],
}))]
pub struct ApiKeyCreate {
    /// What it is used for, 1 to 200 characters.
    #[schema(value_type = Name)]
    name: String,
    /// What it may do; an administrator makes keys of the tenant only.
    role: RoleWord,
    /// `signature`: it signs each request (RFC 9421) and is never sent; `bearer` when absent.
    #[serde(default)]
    auth: KeyAuth,
    /// Whose key; the operator names it for keys of a tenant, a tenant leaves it out.
    #[schema(value_type = Option<TenantId>)]
    tenant_id: Option<Id<TenantId>>,
    /// Operations it may use, such as `bindings:read`; empty: all of its role.
    #[serde(default)]
    #[schema(value_type = Vec<Scope>, max_items = 64)]
    scopes: Vec<String>,
    /// Addresses and networks it may come from; empty: anywhere.
    #[serde(default)]
    #[schema(value_type = Vec<NetworkText>, max_items = 64)]
    source_networks: Vec<String>,
    /// It works over TLS alone, for the client that has shown the certificate of this SHA-256. That
    /// must chain to `api.tls_client_ca` of the settings.
    #[schema(value_type = Option<FingerprintText>)]
    client_certificate_sha256: Option<String>,
    /// From then on it is refused; never when absent.
    expires_at: Option<Time>,
}

/// A key, without its text.
#[derive(Debug, Serialize, ToSchema)]
pub struct ApiKeyBody {
    /// `key_…`
    #[schema(value_type = ApiKeyId)]
    id: Id<ApiKeyId>,
    /// Whose key; null for those of the platform.
    #[schema(value_type = Option<TenantId>)]
    tenant_id: Option<Id<TenantId>>,
    /// What it is used for.
    name: String,
    /// What it may do.
    role: String,
    /// How it is used.
    auth: KeyAuth,
    /// Operations it may use; empty: all of its role.
    scopes: Vec<String>,
    /// The last characters of its text.
    hint: String,
    /// Where it may come from; empty: anywhere.
    source_networks: Vec<String>,
    /// The SHA-256 of the certificate that its client must show, as 64 hexadecimal digits.
    client_certificate_sha256: Option<String>,
    /// It sees test tenants only.
    test: bool,
    /// When it was made.
    created_at: Time,
    /// From then on it is refused.
    expires_at: Option<Time>,
    /// When it was taken back.
    revoked_at: Option<Time>,
}

impl From<ApiKey> for ApiKeyBody {
    fn from(key: ApiKey) -> Self {
        Self {
            id: Id(key.id),
            auth: KeyAuth::of(&key),
            tenant_id: key.tenant.map(Id),
            name: key.name,
            role: key.role,
            scopes: key.scopes,
            hint: key.hint,
            source_networks: key.source_networks.iter().map(ToString::to_string).collect(),
            client_certificate_sha256: key.certificate.as_ref().map(write_fingerprint),
            test: key.is_test,
            created_at: Time(key.created_at),
            expires_at: key.expires_at.map(Time),
            revoked_at: key.revoked_at.map(Time),
        }
    }
}

/// A key in the one answer that shows its text.
#[derive(Serialize, ToSchema)]
pub struct IssuedKeyBody {
    /// What to send as `Authorization: Bearer …`, or to sign with. It cannot be shown again.
    key: String,
    #[serde(flatten)]
    rest: ApiKeyBody,
}

/// Filters of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ApiKeyFilter {
    /// Rows of the page, 1 to 200; 50 when absent.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 200)]
    limit: Option<Limit>,
    /// `next_cursor` of the page before.
    cursor: Option<Cursor>,
}

/// Creates a key and shows it once.
#[utoipa::path(post, path = "/api-keys", operation_id = "api_keys_create", tag = "api-keys",
    request_body = ApiKeyCreate,
    responses((status = 201, body = IssuedKeyBody), (status = "4XX", body = Problem)))]
pub async fn create(
    State(api): State<Api>,
    actor: Actor,
    completion: Completion,
    Json(body): Json<ApiKeyCreate>,
) -> Result<Response, ApiError> {
    let role = body.role.role();
    let now = api.now();
    let mut checks = Checks::default();
    checks.text("/name", &body.name, NAME_CHARS_MAX);
    checks.require(body.scopes.len() <= SCOPES_MAX, "/scopes", Rule::Length(0, SCOPES_MAX));
    for (index, scope) in body.scopes.iter().enumerate().take(SCOPES_MAX) {
        checks.require(is_scope(scope), &format!("/scopes/{index}"), Rule::Invalid);
    }
    let networks =
        parse_networks(&mut checks, "/source_networks", &body.source_networks, 0, NETWORKS_MAX);
    let certificate = body.client_certificate_sha256.as_deref().map(read_fingerprint);
    let is_fingerprint = certificate != Some(None);
    checks.require(is_fingerprint, "/client_certificate_sha256", Rule::Invalid);
    let is_later = body.expires_at.is_none_or(|at| at.0 > now.wall);
    checks.require(is_later, "/expires_at", Rule::TimeOrder);
    checks.finish()?;
    if !actor.covers(&body.scopes) {
        return Err(Code::Forbidden.into());
    }
    let (tenant, is_test) = owner(&api, &actor, role, body.tenant_id.map(|id| id.0)).await?;

    let issued = IssuedKey::new(api.store().vault(), body.auth.usage(), is_test);
    let id = ApiKeyId::new(now.unix_ms(), api.random_bits());
    let new = NewApiKey {
        id,
        tenant,
        name: body.name,
        role: role.label(),
        scopes: body.scopes,
        is_test,
        secret_hash: issued.hash,
        hint: issued.hint(),
        source_networks: networks,
        expires_at: body.expires_at.map(|at| at.0),
        signing_sealed: seal(&api, body.auth, id, &issued)?,
        certificate: certificate.flatten(),
    };
    let mut tx = api.store().platform().await?;
    let key = tx.insert_api_key(new, now.wall).await?;
    completion.commit(tx, issued_answer(StatusCode::CREATED, &issued, key)).await
}

/// What is kept of a key that signs, beside its hash.
fn seal(
    api: &Api,
    auth: KeyAuth,
    id: ApiKeyId,
    issued: &IssuedKey,
) -> Result<Option<Vec<u8>>, ApiError> {
    match auth {
        KeyAuth::Bearer => Ok(None),
        KeyAuth::Signature => {
            let sealed = api.store().vault().seal_api_secret(id, issued.expose().as_bytes());
            Ok(Some(sealed.map_err(StoreError::from)?))
        }
    }
}

/// Whose key it becomes. A key can only make keys that reach no further than itself.
async fn owner(
    api: &Api,
    actor: &Actor,
    role: Role,
    wanted: Option<TenantId>,
) -> Result<(Option<TenantId>, bool), ApiError> {
    if let Some(own) = actor.tenant {
        if wanted.is_some_and(|tenant| tenant != own) {
            return Err(unknown_tenant());
        }
        return match role.needs_tenant() {
            true => Ok((Some(own), actor.is_test)),
            false => Err(Code::Forbidden.into()),
        };
    }
    match wanted {
        None if role.needs_tenant() => {
            Err(problem_at(Code::ValidationFailed, "/tenant_id", Rule::Missing))
        }
        None => Ok((None, actor.is_test)),
        Some(_) if matches!(role, Role::Operator | Role::Regulator | Role::Ops) => {
            Err(problem_at(Code::ValidationFailed, "/tenant_id", Rule::Invalid))
        }
        Some(tenant) => {
            let tenant = api.store().find_tenant(tenant).await?.ok_or_else(unknown_tenant)?;
            if actor.is_test && !tenant.is_test {
                return Err(unknown_tenant());
            }
            Ok((Some(tenant.id), tenant.is_test))
        }
    }
}

fn unknown_tenant() -> ApiError {
    problem_at(Code::ValidationFailed, "/tenant_id", Rule::UnknownReference)
}

/// Lists keys, newest first: a tenant's own, or all for the operator.
#[utoipa::path(get, path = "/api-keys", operation_id = "api_keys_list", tag = "api-keys",
    params(ApiKeyFilter),
    responses((status = 200, body = ListBody<ApiKeyBody>), (status = "4XX", body = Problem)))]
pub async fn list(
    State(api): State<Api>,
    actor: Actor,
    Query(filter): Query<ApiKeyFilter>,
) -> Result<axum::Json<ListBody<ApiKeyBody>>, ApiError> {
    let page = request(filter.limit, filter.cursor);
    let rows = api.store().list_api_keys(owner_of(&actor), page).await?;
    Ok(ListBody::new(rows, ApiKeyBody::from))
}

/// Gives a key a new text; the old one ends at once.
#[utoipa::path(post, path = "/api-keys/{id}/roll", operation_id = "api_keys_roll",
    tag = "api-keys", params(("id" = String, Path)), request_body = Option<NoFields>,
    responses((status = 200, body = IssuedKeyBody), (status = "4XX", body = Problem)))]
pub async fn roll(
    State(api): State<Api>,
    actor: Actor,
    PathId(id): PathId<ApiKeyId>,
    completion: Completion,
    OptionalJson(NoFields {}): OptionalJson<NoFields>,
) -> Result<Response, ApiError> {
    let owner = owner_of(&actor);
    let old = api.store().find_api_key_of(owner, id).await?;
    let old = old.filter(|key| key.revoked_at.is_none()).ok_or(ApiError::new(Code::NotFound))?;
    // Whoever rolls a key can use it: it must not reach further than the roller.
    let is_insurer = Role::find_label(&old.role).is_some_and(Role::needs_tenant);
    if (actor.tenant.is_some() && !is_insurer) || !actor.covers(&old.scopes) {
        return Err(Code::Forbidden.into());
    }
    let auth = KeyAuth::of(&old);
    let issued = IssuedKey::new(api.store().vault(), auth.usage(), old.is_test);
    let signing_sealed = seal(&api, auth, id, &issued)?;
    let mut tx = api.store().platform().await?;
    let new = NewSecret { hash: issued.hash, hint: issued.hint(), signing_sealed };
    let key = tx.roll_api_key(owner, id, new).await?;
    let key = key.ok_or(ApiError::new(Code::NotFound))?;
    let answer = completion.commit(tx, issued_answer(StatusCode::OK, &issued, key)).await;
    // Whether or not that can be told.
    api.forget_key(&old);
    answer
}

/// Revokes a key; a second time is not found.
#[utoipa::path(delete, path = "/api-keys/{id}", operation_id = "api_keys_delete",
    tag = "api-keys", params(("id" = String, Path), IfMatch),
    responses((status = 204), (status = "4XX", body = Problem)))]
pub async fn delete(
    State(api): State<Api>,
    actor: Actor,
    PathId(id): PathId<ApiKeyId>,
    if_match: IfMatch,
) -> Result<StatusCode, ApiError> {
    if_match.untagged()?;
    let key = api.store().revoke_api_key(owner_of(&actor), id, api.now().wall).await?;
    let key = key.ok_or(ApiError::new(Code::NotFound))?;
    api.forget_key(&key);
    Ok(StatusCode::NO_CONTENT)
}

const fn owner_of(actor: &Actor) -> KeyOwner {
    match actor.tenant {
        Some(tenant) => KeyOwner::Tenant(tenant),
        None => KeyOwner::Anybody { only_test: actor.is_test },
    }
}

fn issued_answer(status: StatusCode, issued: &IssuedKey, key: ApiKey) -> Response {
    let location = format!("/v1/api-keys/{}", key.id);
    let body = IssuedKeyBody { key: issued.expose().to_owned(), rest: ApiKeyBody::from(key) };
    at(&location, (status, axum::Json(body)).into_response())
}

/// Reads a list of networks.
pub(super) fn parse_networks(
    checks: &mut Checks,
    pointer: &str,
    texts: &[String],
    min: usize,
    max: usize,
) -> Vec<Network> {
    checks.require((min..=max).contains(&texts.len()), pointer, Rule::Length(min, max));
    let mut networks = Vec::new();
    for (index, text) in texts.iter().enumerate().take(max) {
        match Network::parse(text) {
            Ok(network) => networks.push(network),
            Err(_) => checks.require(false, &format!("{pointer}/{index}"), Rule::InvalidAddress),
        }
    }
    networks
}
