//! Tenants: insurers and brokers, made and changed by the operator.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::answer::{created, tagged};
use super::auth::Actor;
use super::error::{ApiError, Code, Problem};
use super::etag::IfMatch;
use super::extract::{Json, PathId, Query};
use super::field_error::Rule;
use super::forms::{CountryCode, DeskUser, Name, TimeZone};
use super::idempotency::Completion;
use super::paging::{Cursor, Limit, ListBody, request};
use super::values::{Checks, Id, Time, nullable, refuse_unsupported};
use crate::domain::id::TenantId;
use crate::store::tenant::{NewTenant, Tenant, TenantChange, TenantState};

/// The one calling code whose national numbers are understood.
pub(super) const COUNTRY_CODE: &str = "86";
const NAME_CHARS_MAX: usize = 200;
const DESK_USER_CHARS_MAX: usize = 64;

/// Whether a tenant may work.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TenantStateWord {
    /// Calls are relayed.
    Active,
    /// No calls and no new bindings.
    Suspended,
}

/// The language of prompts.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
pub enum LanguageWord {
    /// Simplified Chinese.
    #[serde(rename = "zh-CN")]
    ZhCn,
    /// English.
    #[serde(rename = "en")]
    En,
}

impl LanguageWord {
    /// As stored.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::ZhCn => "zh-CN",
            Self::En => "en",
        }
    }
}

/// A new tenant.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "Example Insurance", "desk_user": "4000"}))]
pub struct TenantCreate {
    /// Unique name, 1 to 200 characters.
    #[schema(value_type = Name)]
    name: String,
    /// It is there for tests: its calls reach nobody but the peer within the relay, and its clock
    /// can be advanced. This is for good.
    #[serde(default)]
    test: bool,
    /// False: the tenant names subscribers by id only.
    #[serde(default = "yes")]
    accept_real_numbers: bool,
    /// The user part that the tenant's PBX knows as its desk; subscribers who call X reach it.
    #[schema(value_type = Option<DeskUser>)]
    desk_user: Option<String>,
    /// The language of prompts; `zh-CN` when absent.
    language: Option<LanguageWord>,
    /// IANA time zone; `Asia/Shanghai` when absent.
    #[schema(value_type = Option<TimeZone>)]
    time_zone: Option<String>,
    /// Calling code of national numbers; `86` when absent, others are not supported yet.
    #[schema(value_type = Option<CountryCode>)]
    country_code: Option<String>,
}

const fn yes() -> bool {
    true
}

/// What may change of a tenant.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"desk_user": "4001"}))]
pub struct TenantPatch {
    /// Unique name, 1 to 200 characters.
    #[schema(value_type = Option<Name>)]
    name: Option<String>,
    /// `suspended`: no calls and no new bindings.
    state: Option<TenantStateWord>,
    /// False: the tenant names subscribers by id only.
    accept_real_numbers: Option<bool>,
    /// The user part that the tenant's PBX knows as its desk; null takes it away.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<DeskUser>)]
    desk_user: Option<Option<String>>,
    /// The language of prompts.
    language: Option<LanguageWord>,
    /// IANA time zone.
    #[schema(value_type = Option<TimeZone>)]
    time_zone: Option<String>,
    /// True: its keys do nothing unless the request is signed; in force on all nodes after 5 s.
    requires_signature: Option<bool>,
}

/// A tenant.
#[derive(Debug, Serialize, ToSchema)]
pub struct TenantBody {
    /// `ten_…`
    #[schema(value_type = TenantId)]
    id: Id<TenantId>,
    /// Unique name.
    name: String,
    /// Whether it may work.
    state: TenantStateWord,
    /// A test tenant, seen by test keys only.
    test: bool,
    /// False: the tenant names subscribers by id only.
    accept_real_numbers: bool,
    /// The user part that the tenant's PBX knows as its desk.
    desk_user: Option<String>,
    /// The language of prompts.
    language: String,
    /// IANA time zone.
    time_zone: String,
    /// Calling code of national numbers.
    country_code: String,
    /// True: its keys do nothing unless the request is signed.
    requires_signature: bool,
    /// When it was made.
    created_at: Time,
    /// When it was last changed.
    updated_at: Time,
}

impl From<Tenant> for TenantBody {
    fn from(tenant: Tenant) -> Self {
        Self {
            id: Id(tenant.id),
            name: tenant.name,
            state: match tenant.state {
                TenantState::Active => TenantStateWord::Active,
                TenantState::Suspended => TenantStateWord::Suspended,
            },
            test: tenant.is_test,
            accept_real_numbers: tenant.accept_real_numbers,
            desk_user: tenant.desk_user,
            language: tenant.language,
            time_zone: tenant.time_zone,
            country_code: tenant.country_code,
            requires_signature: tenant.requires_signature,
            created_at: Time(tenant.created_at),
            updated_at: Time(tenant.updated_at),
        }
    }
}

/// Filters of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TenantFilter {
    /// Rows of the page, 1 to 200; 50 when absent.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 200)]
    limit: Option<Limit>,
    /// `next_cursor` of the page before.
    cursor: Option<Cursor>,
}

/// Creates a tenant.
#[utoipa::path(post, path = "/tenants", operation_id = "tenants_create", tag = "tenants",
    request_body = TenantCreate,
    responses((status = 201, body = TenantBody), (status = "4XX", body = Problem)))]
pub async fn create(
    State(api): State<Api>,
    actor: Actor,
    completion: Completion,
    Json(body): Json<TenantCreate>,
) -> Result<Response, ApiError> {
    let time_zone = body.time_zone.unwrap_or_else(|| "Asia/Shanghai".to_owned());
    let country_code = body.country_code.unwrap_or_else(|| COUNTRY_CODE.to_owned());
    let mut checks = Checks::default();
    checks.text("/name", &body.name, NAME_CHARS_MAX);
    check_desk_user(&mut checks, body.desk_user.as_deref());
    check_time_zone(&mut checks, &time_zone);
    check_country_code(&mut checks, &country_code);
    checks.finish()?;
    refuse_unsupported(&[(country_code != COUNTRY_CODE, "/country_code")])?;
    if actor.is_test && !body.test {
        return Err(Code::Forbidden.into());
    }
    let now = api.now();
    let new = NewTenant {
        id: TenantId::new(now.unix_ms(), api.random_bits()),
        name: body.name,
        is_test: body.test,
        accept_real_numbers: body.accept_real_numbers,
        desk_user: body.desk_user,
        language: body.language.unwrap_or(LanguageWord::ZhCn).label(),
        time_zone,
        country_code,
    };
    let mut tx = api.store().platform().await?;
    let tenant = tx.insert_tenant(api.store().vault(), new, now.wall).await?;
    let (id, version) = (tenant.id, tenant.version);
    let answer = created(&format!("/v1/tenants/{id}"), version, TenantBody::from(tenant));
    completion.commit(tx, answer).await
}

/// Lists tenants, newest first.
#[utoipa::path(get, path = "/tenants", operation_id = "tenants_list", tag = "tenants",
    params(TenantFilter),
    responses((status = 200, body = ListBody<TenantBody>), (status = "4XX", body = Problem)))]
pub async fn list(
    State(api): State<Api>,
    actor: Actor,
    Query(filter): Query<TenantFilter>,
) -> Result<axum::Json<ListBody<TenantBody>>, ApiError> {
    let page = request(filter.limit, filter.cursor);
    let rows = api.store().list_tenants(actor.is_test, page).await?;
    Ok(ListBody::new(rows, TenantBody::from))
}

/// Shows one tenant.
#[utoipa::path(get, path = "/tenants/{id}", operation_id = "tenants_get", tag = "tenants",
    params(("id" = String, Path)),
    responses((status = 200, body = TenantBody), (status = "4XX", body = Problem)))]
pub async fn get(
    State(api): State<Api>,
    actor: Actor,
    PathId(id): PathId<TenantId>,
) -> Result<Response, ApiError> {
    let tenant = find(&api, &actor, id).await?;
    Ok(tagged(StatusCode::OK, tenant.version, TenantBody::from(tenant)))
}

/// Changes a tenant. A suspension is in force when the answer arrives.
#[utoipa::path(patch, path = "/tenants/{id}", operation_id = "tenants_patch", tag = "tenants",
    params(("id" = String, Path), IfMatch), request_body = TenantPatch,
    responses((status = 200, body = TenantBody), (status = "4XX", body = Problem)))]
pub async fn patch(
    State(api): State<Api>,
    actor: Actor,
    PathId(id): PathId<TenantId>,
    if_match: IfMatch,
    Json(body): Json<TenantPatch>,
) -> Result<Response, ApiError> {
    let mut checks = Checks::default();
    checks.optional_text("/name", body.name.as_deref(), NAME_CHARS_MAX);
    check_desk_user(&mut checks, body.desk_user.as_ref().and_then(Option::as_deref));
    if let Some(time_zone) = &body.time_zone {
        check_time_zone(&mut checks, time_zone);
    }
    checks.finish()?;
    find(&api, &actor, id).await?;
    let change = TenantChange {
        name: body.name,
        state: body.state.map(|word| match word {
            TenantStateWord::Active => TenantState::Active,
            TenantStateWord::Suspended => TenantState::Suspended,
        }),
        accept_real_numbers: body.accept_real_numbers,
        desk_user: body.desk_user,
        language: body.language.map(LanguageWord::label),
        time_zone: body.time_zone,
        requires_signature: body.requires_signature,
    };
    let now = api.now().wall;
    let tenant = api.store().update_tenant(id, change, if_match.version()?, now).await?;
    let tenant = if_match.unless_changed(tenant)?;
    api.relay().forget_tenant(id);
    if body.requires_signature.is_some() {
        api.forget_keys();
    }
    Ok(tagged(StatusCode::OK, tenant.version, TenantBody::from(tenant)))
}

/// A test key of the platform sees test tenants only.
async fn find(api: &Api, actor: &Actor, id: TenantId) -> Result<Tenant, ApiError> {
    let tenant = api.store().find_tenant(id).await?;
    tenant.filter(|tenant| tenant.is_test || !actor.is_test).ok_or(Code::NotFound.into())
}

/// It is written into a SIP URI: letters, digits and a few marks (RFC 3261 §25.1 `unreserved`).
fn check_desk_user(checks: &mut Checks, desk_user: Option<&str>) {
    let Some(desk_user) = desk_user else { return };
    checks.text("/desk_user", desk_user, DESK_USER_CHARS_MAX);
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_.!~*'()+".contains(&b);
    checks.require(desk_user.bytes().all(fits), "/desk_user", Rule::Invalid);
}

pub(super) fn check_time_zone(checks: &mut Checks, name: &str) {
    let is_known = name.len() <= 64 && jiff::tz::TimeZone::get(name).is_ok();
    checks.require(is_known, "/time_zone", Rule::Invalid);
}

pub(super) fn check_country_code(checks: &mut Checks, code: &str) {
    let is_code = (1..=3).contains(&code.len())
        && code.bytes().all(|b| b.is_ascii_digit())
        && !code.starts_with('0');
    checks.require(is_code, "/country_code", Rule::Invalid);
}
