//! Secrets between SIP peers and us: our account at a trunk's peer, the login of a trunk, and that
//! of an agent's softphone. Passwords of ours are made here, and shown once.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::Api;
use super::auth::TenantActor;
use super::bindings::NoFields;
use super::error::{ApiError, Code, Problem};
use super::extract::{Json, OptionalJson, PathId};
use super::field_error::Rule;
use super::forms::{Password, Username};
use super::idempotency::Completion;
use super::secrets::SipLogin;
use super::values::Checks;
use crate::domain::id::{AgentId, TrunkId};
use crate::relay::handle::{SIP_REALM, TrunkState, sip_secret};
use crate::store::trunk_access::{TrunkAccess, TrunkAccount, TrunkLogin};

const USERNAME_CHARS_MAX: usize = 128;
const PASSWORD_CHARS_MAX: usize = 128;
const REGISTER_S_DEFAULT: u32 = 3_600;
const REGISTER_S_MIN: i64 = 60;
const REGISTER_S_MAX: i64 = 86_400;

/// Our account at the peer of a trunk.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "username": "relay-1", "password": "what the carrier has given you", "register": true,
    "register_expires_s": 1800,
}))]
pub struct AccountPut {
    /// As the peer knows us, 1 to 128 visible characters without quotes and backslashes.
    #[schema(value_type = Username)]
    username: String,
    /// What the peer has given us; never shown again.
    #[serde(deserialize_with = "wiped")]
    #[schema(value_type = Password, write_only)]
    password: Zeroizing<String>,
    /// Answer challenges with SHA-256 or better only; false when absent.
    refuse_md5: Option<bool>,
    /// Register at the peer, as carriers with changing addresses want it; false when absent.
    register: Option<bool>,
    /// How long a registration is asked for, 60 to 86400 seconds; 3600 when absent.
    #[schema(minimum = 60, maximum = 86_400)]
    register_expires_s: Option<u32>,
}

/// A text that is wiped when it has been used.
fn wiped<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Zeroizing<String>, D::Error> {
    String::deserialize(deserializer).map(Zeroizing::new)
}

impl std::fmt::Debug for AccountPut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AccountPut(***)")
    }
}

/// Our account at the peer, without its password.
#[derive(Debug, Serialize, ToSchema)]
pub struct AccountBody {
    /// As the peer knows us.
    username: String,
    /// Challenges are answered with SHA-256 or better only.
    refuse_md5: bool,
    /// We register at the peer.
    register: bool,
    /// How long a registration is asked for; null without one.
    register_expires_s: Option<u32>,
    /// Whether the peer knows us now, as this process sees it; null when that is not wanted or not
    /// known yet.
    registered: Option<bool>,
}

/// How the peer of a trunk answers our challenges, without its password.
#[derive(Debug, Serialize, ToSchema)]
pub struct LoginBody {
    /// As we know the peer.
    username: String,
    /// SHA-256 and better only are offered.
    refuse_md5: bool,
}

/// What a trunk and we prove to each other.
#[derive(Debug, Serialize, ToSchema)]
pub struct AccessBody {
    /// We at the peer; null when its challenges are not answered.
    account: Option<AccountBody>,
    /// The peer at us; null when its address alone lets it in.
    login: Option<LoginBody>,
    /// Targets of the trunk that are down: they fail calls, or answer no probe.
    targets_down: u32,
}

impl AccessBody {
    fn new(access: TrunkAccess, state: TrunkState) -> Self {
        Self {
            targets_down: state.down.count_ones(),
            account: access.account.map(|account| AccountBody {
                username: account.user,
                refuse_md5: account.refuses_md5,
                register: account.register_s.is_some(),
                register_expires_s: account.register_s,
                registered: account.register_s.and(state.is_registered),
            }),
            login: access
                .login
                .map(|login| LoginBody { username: login.user, refuse_md5: login.refuses_md5 }),
        }
    }
}

/// A new login of a trunk.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"refuse_md5": true}))]
pub struct LoginCreate {
    /// Offer SHA-256 and better only; false when absent.
    refuse_md5: Option<bool>,
}

/// A login of ours, shown once.
#[derive(Serialize, ToSchema)]
pub struct IssuedLoginBody {
    /// As the peer has to name itself.
    username: String,
    /// Shown in this answer only.
    password: String,
    /// As it stands in our challenges.
    realm: &'static str,
}

impl std::fmt::Debug for IssuedLoginBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IssuedLoginBody(***)")
    }
}

/// Shows what a trunk and we prove to each other.
#[utoipa::path(get, path = "/trunks/{id}/access", operation_id = "trunks_access", tag = "trunks",
    params(("id" = String, Path)),
    responses((status = 200, body = AccessBody), (status = "4XX", body = Problem)))]
pub async fn access(
    State(api): State<Api>,
    PathId(id): PathId<TrunkId>,
) -> Result<axum::Json<AccessBody>, ApiError> {
    let access = api.store().find_trunk_access(id).await?;
    let access = access.ok_or(ApiError::new(Code::NotFound))?;
    Ok(axum::Json(AccessBody::new(access, api.relay().trunk_state(id))))
}

/// Sets our account at the peer: its challenges are answered, and it is registered at if wanted.
#[utoipa::path(put, path = "/trunks/{id}/account", operation_id = "trunks_account",
    tag = "trunks", params(("id" = String, Path)), request_body = AccountPut,
    responses((status = 200, body = AccessBody), (status = "4XX", body = Problem)))]
pub async fn put_account(
    State(api): State<Api>,
    PathId(id): PathId<TrunkId>,
    Json(body): Json<AccountPut>,
) -> Result<axum::Json<AccessBody>, ApiError> {
    let mut checks = Checks::default();
    check_quotable(&mut checks, "/username", &body.username, USERNAME_CHARS_MAX);
    let password_fits = (1..=PASSWORD_CHARS_MAX).contains(&body.password.chars().count());
    let length = Rule::Length(1, PASSWORD_CHARS_MAX);
    checks.require(password_fits, "/password", length);
    let expires_s = body.register_expires_s.unwrap_or(REGISTER_S_DEFAULT);
    let range = (REGISTER_S_MIN, REGISTER_S_MAX);
    checks.range("/register_expires_s", expires_s.into(), range.0, range.1);
    checks.finish()?;
    let account = TrunkAccount {
        user: body.username,
        refuses_md5: body.refuse_md5.unwrap_or(false),
        register_s: body.register.unwrap_or(false).then_some(expires_s),
    };
    let now = api.now().wall;
    if !api.store().set_trunk_account(id, &account, &body.password, now).await? {
        return Err(Code::NotFound.into());
    }
    api.relay().trunks_changed();
    access(State(api), PathId(id)).await
}

/// Forgets our account at the peer.
#[utoipa::path(delete, path = "/trunks/{id}/account", operation_id = "trunks_account_delete",
    tag = "trunks", params(("id" = String, Path)),
    responses((status = 204), (status = "4XX", body = Problem)))]
pub async fn delete_account(
    State(api): State<Api>,
    PathId(id): PathId<TrunkId>,
) -> Result<StatusCode, ApiError> {
    let cleared = api.store().clear_trunk_account(id, api.now().wall).await?;
    api.relay().trunks_changed();
    found(cleared)
}

/// Makes a login for the peer of a trunk, in the place of an old one: from now on its calls are
/// challenged.
#[utoipa::path(post, path = "/trunks/{id}/login", operation_id = "trunks_login", tag = "trunks",
    params(("id" = String, Path)), request_body = Option<LoginCreate>,
    responses((status = 200, body = IssuedLoginBody), (status = "4XX", body = Problem)))]
pub async fn create_login(
    State(api): State<Api>,
    PathId(id): PathId<TrunkId>,
    completion: Completion,
    OptionalJson(body): OptionalJson<LoginCreate>,
) -> Result<Response, ApiError> {
    let issued = SipLogin::new("t");
    let login =
        TrunkLogin { user: issued.username.clone(), refuses_md5: body.refuse_md5.unwrap_or(false) };
    let secret = sip_secret(&issued.username, issued.expose());
    let mut tx = api.store().platform().await?;
    let (vault, now) = (api.store().vault(), api.now().wall);
    if !tx.set_trunk_login(vault, id, &login, &secret, now).await? {
        return Err(Code::NotFound.into());
    }
    let answer = completion.commit(tx, issued_answer(&issued)).await;
    // Whether or not that can be told.
    api.relay().trunks_changed();
    answer
}

/// Lets the peer of a trunk in by its address alone again.
#[utoipa::path(delete, path = "/trunks/{id}/login", operation_id = "trunks_login_delete",
    tag = "trunks", params(("id" = String, Path)),
    responses((status = 204), (status = "4XX", body = Problem)))]
pub async fn delete_login(
    State(api): State<Api>,
    PathId(id): PathId<TrunkId>,
) -> Result<StatusCode, ApiError> {
    let cleared = api.store().clear_trunk_login(id, api.now().wall).await?;
    api.relay().trunks_changed();
    found(cleared)
}

/// Makes a login for an agent's softphone, in the place of an old one.
#[utoipa::path(post, path = "/agents/{id}/sip-login", operation_id = "agents_sip_login",
    tag = "agents", params(("id" = String, Path)), request_body = Option<NoFields>,
    responses((status = 200, body = IssuedLoginBody), (status = "4XX", body = Problem)))]
pub async fn create_agent_login(
    State(api): State<Api>,
    actor: TenantActor,
    PathId(id): PathId<AgentId>,
    OptionalJson(NoFields {}): OptionalJson<NoFields>,
) -> Result<Response, ApiError> {
    let issued = SipLogin::new("a");
    let secret = sip_secret(&issued.username, issued.expose());
    let (tenant, now) = (actor.tenant, api.now().wall);
    if !api.store().set_agent_login(tenant, id, &issued.username, &secret, now).await? {
        return Err(Code::NotFound.into());
    }
    api.relay().forget_tenant(tenant);
    Ok(issued_answer(&issued))
}

/// Shuts an agent's softphone out.
#[utoipa::path(delete, path = "/agents/{id}/sip-login", operation_id = "agents_sip_login_delete",
    tag = "agents", params(("id" = String, Path)),
    responses((status = 204), (status = "4XX", body = Problem)))]
pub async fn delete_agent_login(
    State(api): State<Api>,
    actor: TenantActor,
    PathId(id): PathId<AgentId>,
) -> Result<StatusCode, ApiError> {
    let cleared = api.store().clear_agent_login(actor.tenant, id).await?;
    api.relay().forget_tenant(actor.tenant);
    found(cleared)
}

fn issued_answer(issued: &SipLogin) -> Response {
    let body = IssuedLoginBody {
        username: issued.username.clone(),
        password: issued.expose().to_owned(),
        realm: SIP_REALM,
    };
    axum::Json(body).into_response()
}

fn found(cleared: bool) -> Result<StatusCode, ApiError> {
    if cleared { Ok(StatusCode::NO_CONTENT) } else { Err(Code::NotFound.into()) }
}

/// A text that can stand between quotes in a header.
fn check_quotable(checks: &mut Checks, pointer: &str, text: &str, max: usize) {
    checks.require((1..=max).contains(&text.len()), pointer, Rule::Length(1, max));
    let fits = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
    checks.require(text.bytes().all(fits), pointer, Rule::Invalid);
}
