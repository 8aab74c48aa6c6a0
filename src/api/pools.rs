//! Pools: virtual numbers of one class and city, reached by the same carrier trunks.

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
use super::forms::{Name, Word};
use super::paging::{Cursor, Limit, ListBody, request};
use super::values::{Checks, Id, Time, nullable};
use crate::domain::id::{PoolId, TrunkId};
use crate::store::pool::{NewPool, Pool, PoolCapacity, PoolChange};
use crate::store::pool_stock::PoolForecast;

const NAME_CHARS_MAX: usize = 200;
const CITY_CHARS_MAX: usize = 64;
const TRUNKS_MAX: usize = 64;
const COOLING_DAYS_MIN: i64 = 90;
const COOLING_DAYS_MAX: i64 = 3650;
const COOLING_DAYS_DEFAULT: u16 = 180;

/// The class of the numbers of a pool.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
pub enum ClassWord {
    /// Mobile numbers.
    #[serde(rename = "mobile")]
    Mobile,
    /// Fixed lines.
    #[serde(rename = "fixed")]
    Fixed,
    /// Service numbers beginning with 95.
    #[serde(rename = "95")]
    Service95,
    /// 700 numbers of 15 digits.
    #[serde(rename = "700")]
    Personal700,
}

impl ClassWord {
    const fn label(self) -> &'static str {
        match self {
            Self::Mobile => "mobile",
            Self::Fixed => "fixed",
            Self::Service95 => "95",
            Self::Personal700 => "700",
        }
    }
}

/// A new pool.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "name": "Shanghai mobile", "class": "mobile", "city": "Shanghai",
    "trunks": ["trk_01977420a1b27c3d8e4f5a6b7c8d9e02"],
}))]
pub struct PoolCreate {
    /// Unique name, 1 to 200 characters.
    #[schema(value_type = Name)]
    name: String,
    /// What kind of numbers it holds.
    class: ClassWord,
    /// Where they belong, for bindings that ask for a city.
    #[schema(value_type = Option<Word>)]
    city: Option<String>,
    /// Days a released number rests, 90 or more; 180 when absent.
    #[schema(minimum = 90, maximum = 3_650)]
    cooling_days: Option<u16>,
    /// The carrier trunks that carry its numbers.
    #[serde(default)]
    #[schema(value_type = std::collections::BTreeSet<TrunkId>, max_items = 64)]
    trunks: Vec<Id<TrunkId>>,
}

/// What may change of a pool.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"cooling_days": 365}))]
pub struct PoolPatch {
    /// Unique name, 1 to 200 characters.
    #[schema(value_type = Option<Name>)]
    name: Option<String>,
    /// Where its numbers belong; null takes it away.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<Word>)]
    city: Option<Option<String>>,
    /// Counts from the next release on.
    #[schema(minimum = 90, maximum = 3_650)]
    cooling_days: Option<u16>,
    /// Replaces all of them.
    #[schema(value_type = Option<std::collections::BTreeSet<TrunkId>>, max_items = 64)]
    trunks: Option<Vec<Id<TrunkId>>>,
}

/// A pool.
#[derive(Debug, Serialize, ToSchema)]
pub struct PoolBody {
    /// `pol_…`
    #[schema(value_type = PoolId)]
    id: Id<PoolId>,
    /// Unique name.
    name: String,
    /// `mobile`, `fixed`, `95` or `700`.
    class: String,
    /// Where its numbers belong.
    city: Option<String>,
    /// Days a released number rests.
    cooling_days: u16,
    /// The operator sees them; absent for tenants.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<TrunkId>>)]
    trunks: Option<Vec<Id<TrunkId>>>,
    /// When it was made.
    created_at: Time,
    /// When it was last changed.
    updated_at: Time,
}

impl PoolBody {
    fn new(pool: Pool, actor: &Actor) -> Self {
        let trunks = pool.trunks.into_iter().map(Id).collect();
        Self {
            id: Id(pool.id),
            name: pool.name,
            class: pool.class,
            city: pool.city,
            cooling_days: pool.cooling_days,
            trunks: actor.tenant.is_none().then_some(trunks),
            created_at: Time(pool.created_at),
            updated_at: Time(pool.updated_at),
        }
    }
}

/// How far the numbers of a pool go.
#[derive(Debug, Serialize, ToSchema)]
pub struct ForecastBody {
    /// Numbers that were taken, a day on average over the last 28 days or since the pool is in use.
    taken_per_day: f64,
    /// Numbers that are free again within 7 days: rested, and where one tenant alone uses the pool,
    /// a year after that tenant released them.
    returning_7_days: u64,
    /// Within 30 days.
    returning_30_days: u64,
    /// After how many days none is free any more if it goes on like this, 0 for today; null when
    /// that is more than 365 days away, or pairs share numbers of the pool: they take more of them.
    days_left: Option<u16>,
    /// As of when `taken_per_day` was counted.
    counted_at: Time,
}

impl ForecastBody {
    fn new(forecast: &PoolForecast) -> Self {
        let PoolForecast { pace, counted_at, free, has_pairs, returning } = forecast;
        let within = |days| returning.iter().take(days).sum();
        Self {
            taken_per_day: (pace.per_day() * 100.0).round() / 100.0,
            returning_7_days: within(7),
            returning_30_days: within(30),
            days_left: pace.days_left(*free, returning).filter(|_| !has_pairs),
            counted_at: Time(*counted_at),
        }
    }
}

/// How many numbers of a pool are in which state, and how far they go.
#[derive(Debug, Serialize, ToSchema)]
pub struct CapacityBody {
    /// Free to be bound.
    available: u64,
    /// Held by bindings.
    bound: u64,
    /// Released, with a call still up.
    draining: u64,
    /// At rest after a binding.
    cooling: u64,
    /// Kept back by the operator.
    reserved: u64,
    /// Reported faulty by the carrier.
    sick: u64,
    /// Given back for good.
    retired: u64,
    /// All of them.
    total: u64,
    /// Since when 20 % or fewer of those that are not retired are available; null again from more
    /// than 25 % on.
    low_since: Option<Time>,
    /// How far they go; null for a minute after a pool was made.
    forecast: Option<ForecastBody>,
}

impl From<PoolCapacity> for CapacityBody {
    fn from(counts: PoolCapacity) -> Self {
        Self {
            available: counts.available,
            bound: counts.bound,
            draining: counts.draining,
            cooling: counts.cooling,
            reserved: counts.reserved,
            sick: counts.sick,
            retired: counts.retired,
            total: counts.total(),
            low_since: counts.low_since.map(Time),
            forecast: counts.forecast.map(|it| ForecastBody::new(&it)),
        }
    }
}

/// Filters of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PoolFilter {
    /// Rows of the page, 1 to 200; 50 when absent.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 200)]
    limit: Option<Limit>,
    /// `next_cursor` of the page before.
    cursor: Option<Cursor>,
}

/// Creates a pool.
#[utoipa::path(post, path = "/pools", operation_id = "pools_create", tag = "pools",
    request_body = PoolCreate,
    responses((status = 201, body = PoolBody), (status = "4XX", body = Problem)))]
pub async fn create(
    State(api): State<Api>,
    actor: Actor,
    Json(body): Json<PoolCreate>,
) -> Result<Response, ApiError> {
    let cooling_days = body.cooling_days.unwrap_or(COOLING_DAYS_DEFAULT);
    let mut checks = Checks::default();
    checks.text("/name", &body.name, NAME_CHARS_MAX);
    checks.optional_text("/city", body.city.as_deref(), CITY_CHARS_MAX);
    checks.range("/cooling_days", cooling_days.into(), COOLING_DAYS_MIN, COOLING_DAYS_MAX);
    let trunks = check_trunks(&api, &mut checks, &body.trunks).await?;
    checks.finish()?;
    let now = api.now();
    let new = NewPool {
        id: PoolId::new(now.unix_ms(), api.random_bits()),
        name: body.name,
        class: body.class.label(),
        city: body.city,
        cooling_days,
        trunks,
    };
    let pool = api.store().insert_pool(new, now.wall).await?;
    let (id, version) = (pool.id, pool.version);
    Ok(created(&format!("/v1/pools/{id}"), version, PoolBody::new(pool, &actor)))
}

/// Lists pools, newest first.
#[utoipa::path(get, path = "/pools", operation_id = "pools_list", tag = "pools",
    params(PoolFilter),
    responses((status = 200, body = ListBody<PoolBody>), (status = "4XX", body = Problem)))]
pub async fn list(
    State(api): State<Api>,
    actor: Actor,
    Query(filter): Query<PoolFilter>,
) -> Result<axum::Json<ListBody<PoolBody>>, ApiError> {
    let page = request(filter.limit, filter.cursor);
    let rows = api.store().list_pools(page).await?;
    Ok(ListBody::new(rows, |row| PoolBody::new(row, &actor)))
}

/// Shows one pool.
#[utoipa::path(get, path = "/pools/{id}", operation_id = "pools_get", tag = "pools",
    params(("id" = String, Path)),
    responses((status = 200, body = PoolBody), (status = "4XX", body = Problem)))]
pub async fn get(
    State(api): State<Api>,
    actor: Actor,
    PathId(id): PathId<PoolId>,
) -> Result<Response, ApiError> {
    let pool = api.store().find_pool(id).await?.ok_or(ApiError::new(Code::NotFound))?;
    Ok(tagged(StatusCode::OK, pool.version, PoolBody::new(pool, &actor)))
}

/// Changes a pool.
#[utoipa::path(patch, path = "/pools/{id}", operation_id = "pools_patch", tag = "pools",
    params(("id" = String, Path), IfMatch), request_body = PoolPatch,
    responses((status = 200, body = PoolBody), (status = "4XX", body = Problem)))]
pub async fn patch(
    State(api): State<Api>,
    actor: Actor,
    PathId(id): PathId<PoolId>,
    if_match: IfMatch,
    Json(body): Json<PoolPatch>,
) -> Result<Response, ApiError> {
    let mut checks = Checks::default();
    checks.optional_text("/name", body.name.as_deref(), NAME_CHARS_MAX);
    let city = body.city.as_ref().and_then(Option::as_deref);
    checks.optional_text("/city", city, CITY_CHARS_MAX);
    let days = body.cooling_days.unwrap_or(COOLING_DAYS_DEFAULT);
    checks.range("/cooling_days", days.into(), COOLING_DAYS_MIN, COOLING_DAYS_MAX);
    let trunks = match &body.trunks {
        Some(trunks) => Some(check_trunks(&api, &mut checks, trunks).await?),
        None => None,
    };
    checks.finish()?;
    api.store().find_pool(id).await?.ok_or(ApiError::new(Code::NotFound))?;
    let change =
        PoolChange { name: body.name, city: body.city, cooling_days: body.cooling_days, trunks };
    let pool = api.store().update_pool(id, change, if_match.version()?, api.now().wall).await?;
    let pool = if_match.unless_changed(pool)?;
    // Which trunks lead to its numbers may have changed.
    api.relay().trunks_changed();
    Ok(tagged(StatusCode::OK, pool.version, PoolBody::new(pool, &actor)))
}

/// Counts a pool's numbers by state, and says how far they go.
#[utoipa::path(get, path = "/pools/{id}/capacity", operation_id = "pools_capacity", tag = "pools",
    params(("id" = String, Path)),
    responses((status = 200, body = CapacityBody), (status = "4XX", body = Problem)))]
pub async fn capacity(
    State(api): State<Api>,
    PathId(id): PathId<PoolId>,
) -> Result<axum::Json<CapacityBody>, ApiError> {
    let counts = api.store().find_pool_capacity(id, api.now().wall).await?;
    Ok(axum::Json(counts.ok_or(ApiError::new(Code::NotFound))?.into()))
}

/// They must be carrier trunks, each named once.
async fn check_trunks(
    api: &Api,
    checks: &mut Checks,
    ids: &[Id<TrunkId>],
) -> Result<Vec<TrunkId>, ApiError> {
    checks.require(ids.len() <= TRUNKS_MAX, "/trunks", Rule::Length(0, TRUNKS_MAX));
    let ids: Vec<TrunkId> = ids.iter().take(TRUNKS_MAX).map(|id| id.0).collect();
    let carriers = api.store().filter_carrier_trunks(&ids).await?;
    for (index, id) in ids.iter().enumerate() {
        let pointer = format!("/trunks/{index}");
        checks.require(carriers.contains(id), &pointer, Rule::UnknownReference);
        let is_first = ids.iter().position(|other| other == id) == Some(index);
        checks.require(is_first, &pointer, Rule::Duplicate);
    }
    Ok(ids)
}
