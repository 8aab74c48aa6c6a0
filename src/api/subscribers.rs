//! Subscribers: one of the two places where a real number enters. It never comes out.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::answer::{at, created, tagged};
use super::auth::TenantActor;
use super::error::{ApiError, Code, Problem};
use super::etag::IfMatch;
use super::extract::{Json, PathId, Query};
use super::field_error::Rule;
use super::forms::{HexDigest, TimeZone};
use super::paging::{Cursor, Limit, ListBody, request};
use super::tenants::{LanguageWord, check_time_zone};
use super::values::{Checks, Id, RealNumberField, Time, problem_at};
use crate::domain::id::SubscriberId;
use crate::store::number_period::NumberPeriod;
use crate::store::subscriber::{NewSubscriber, NumberChange, SubscriberOutcome, SubscriberRecord};

/// Roughly how old somebody is.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AgeBandWord {
    /// Under age.
    Minor,
    /// Of age.
    Adult,
    /// Sixty or older.
    Senior,
}

impl AgeBandWord {
    const fn label(self) -> &'static str {
        match self {
            Self::Minor => "minor",
            Self::Adult => "adult",
            Self::Senior => "senior",
        }
    }
}

/// A new subscriber; what is absent comes from the tenant.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "real_number": "+8613800005678", "language": "zh-CN", "age_band": "adult",
}))]
pub struct SubscriberCreate {
    /// `+` and digits; it is sealed at once and never shown again.
    real_number: RealNumberField,
    /// The language of prompts.
    language: Option<LanguageWord>,
    /// Roughly how old the person is.
    age_band: Option<AgeBandWord>,
    /// IANA time zone, in which quiet hours are counted.
    #[schema(value_type = Option<TimeZone>)]
    time_zone: Option<String>,
}

/// Another number of the same person.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"real_number": "+8613800006789"}))]
pub struct NumberReplace {
    /// `+` and digits; it is sealed at once and never shown again.
    real_number: RealNumberField,
}

/// A subscriber, as much as may be shown.
#[derive(Debug, Serialize, ToSchema)]
pub struct SubscriberBody {
    /// `sub_…`
    #[schema(value_type = SubscriberId)]
    id: Id<SubscriberId>,
    /// Such as `138****0000`; null after an erasure.
    masked: Option<String>,
    /// The language of prompts.
    language: String,
    /// `minor`, `adult` or `senior`; null when nobody has said.
    age_band: Option<String>,
    /// IANA time zone, in which quiet hours are counted.
    time_zone: String,
    /// When it was made.
    created_at: Time,
    /// When it was last changed.
    updated_at: Time,
}

impl From<SubscriberRecord> for SubscriberBody {
    fn from(subscriber: SubscriberRecord) -> Self {
        Self {
            id: Id(subscriber.id),
            masked: subscriber.masked,
            language: subscriber.language,
            age_band: subscriber.age_band,
            time_zone: subscriber.time_zone,
            created_at: Time(subscriber.created_at),
            updated_at: Time(subscriber.updated_at),
        }
    }
}

/// Adds a subscriber; a number that this tenant knows already gives 200 and the known subscriber.
/// A virtual number of the platform, whoever holds it, is refused with `number_virtual`.
#[utoipa::path(post, path = "/subscribers", operation_id = "subscribers_create",
    tag = "subscribers", request_body = SubscriberCreate,
    responses((status = 201, body = SubscriberBody), (status = 200, body = SubscriberBody),
        (status = "4XX", body = Problem)))]
pub async fn create(
    State(api): State<Api>,
    actor: TenantActor,
    Json(body): Json<SubscriberCreate>,
) -> Result<Response, ApiError> {
    let number = body.real_number.into_number("/real_number")?;
    let mut checks = Checks::default();
    if let Some(time_zone) = &body.time_zone {
        check_time_zone(&mut checks, time_zone);
    }
    checks.finish()?;
    let new = NewSubscriber {
        language: body.language.map(|language| language.label().to_owned()),
        age_band: body.age_band.map(|band| band.label().to_owned()),
        time_zone: body.time_zone,
    };
    let mut tx = api.store().tenant(actor.tenant).await?;
    match tx.create_subscriber(api.now().wall, &number, new).await? {
        SubscriberOutcome::Created(subscriber) => {
            tx.commit().await?;
            let (location, version) = (location(subscriber.id), subscriber.version);
            Ok(created(&location, version, SubscriberBody::from(subscriber)))
        }
        SubscriberOutcome::Existing(subscriber) => {
            let (location, version) = (location(subscriber.id), subscriber.version);
            let body = SubscriberBody::from(subscriber);
            Ok(at(&location, tagged(StatusCode::OK, version, body)))
        }
        SubscriberOutcome::RealNumbersRefused => Err(real_numbers_refused("/real_number")),
        SubscriberOutcome::NumberVirtual => Err(number_virtual("/real_number")),
    }
}

/// Shows one subscriber.
#[utoipa::path(get, path = "/subscribers/{id}", operation_id = "subscribers_get",
    tag = "subscribers", params(("id" = String, Path)),
    responses((status = 200, body = SubscriberBody), (status = "4XX", body = Problem)))]
pub async fn get(
    State(api): State<Api>,
    actor: TenantActor,
    PathId(id): PathId<SubscriberId>,
) -> Result<Response, ApiError> {
    let found = api.store().tenant(actor.tenant).await?.find_subscriber(id).await?;
    let subscriber = found.ok_or(ApiError::new(Code::NotFound))?;
    Ok(tagged(StatusCode::OK, subscriber.version, SubscriberBody::from(subscriber)))
}

/// Replaces a number; bindings keep their X. The next call reaches the new number. A virtual number
/// of the platform, whoever holds it, is refused with `number_virtual`.
#[utoipa::path(put, path = "/subscribers/{id}/number", operation_id = "subscribers_number",
    tag = "subscribers", params(("id" = String, Path), IfMatch), request_body = NumberReplace,
    responses((status = 200, body = SubscriberBody), (status = "4XX", body = Problem)))]
pub async fn replace_number(
    State(api): State<Api>,
    actor: TenantActor,
    PathId(id): PathId<SubscriberId>,
    if_match: IfMatch,
    Json(body): Json<NumberReplace>,
) -> Result<Response, ApiError> {
    let number = body.real_number.into_number("/real_number")?;
    let mut tx = api.store().tenant(actor.tenant).await?;
    let change = tx.replace_number(api.now().wall, id, &number, if_match.version()?).await?;
    match change {
        NumberChange::Changed(subscriber) => {
            tx.commit().await?;
            // Any of this person's bindings may be remembered with the old number.
            api.relay().forget_tenant(actor.tenant);
            Ok(tagged(StatusCode::OK, subscriber.version, SubscriberBody::from(subscriber)))
        }
        NumberChange::NotFound => Err(Code::NotFound.into()),
        NumberChange::NumberTaken => {
            Err(problem_at(Code::AlreadyExists, "/real_number", Rule::Taken))
        }
        NumberChange::VersionMismatch => Err(Code::PreconditionFailed.into()),
        NumberChange::RealNumbersRefused => Err(real_numbers_refused("/real_number")),
        NumberChange::NumberVirtual => Err(number_virtual("/real_number")),
    }
}

/// A time for which a subscriber had one number.
#[derive(Debug, Serialize, ToSchema)]
pub struct NumberPeriodBody {
    /// Since when its virtual numbers led there.
    since: Time,
    /// When the number was changed; null of the one that it has now.
    until: Option<Time>,
    /// A commitment to the number, 64 hexadecimal digits. Without the platform's keys nothing can
    /// be learnt of the number by it.
    #[schema(value_type = HexDigest)]
    commitment: String,
}

impl From<NumberPeriod> for NumberPeriodBody {
    fn from(period: NumberPeriod) -> Self {
        let digest = period.commitment.as_bytes().iter();
        Self {
            since: Time(period.since),
            until: period.until.map(Time),
            commitment: digest.map(|byte| format!("{byte:02x}")).collect(),
        }
    }
}

/// Filters of the history.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PeriodParams {
    /// Rows of the page, 1 to 200; 50 when absent.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 200)]
    limit: Option<Limit>,
    /// `next_cursor` of the page before.
    cursor: Option<Cursor>,
}

/// Shows when the number of a subscriber was changed, newest first, with a commitment to each
/// number: never a number, and none of its digits.
#[utoipa::path(get, path = "/subscribers/{id}/number-history",
    operation_id = "subscribers_number_history", tag = "subscribers",
    params(("id" = String, Path), PeriodParams),
    responses((status = 200, body = ListBody<NumberPeriodBody>), (status = "4XX", body = Problem)))]
pub async fn number_history(
    State(api): State<Api>,
    actor: TenantActor,
    PathId(id): PathId<SubscriberId>,
    Query(params): Query<PeriodParams>,
) -> Result<axum::Json<ListBody<NumberPeriodBody>>, ApiError> {
    let page = request(params.limit, params.cursor);
    let mut tx = api.store().tenant(actor.tenant).await?;
    tx.find_subscriber(id).await?.ok_or(ApiError::new(Code::NotFound))?;
    let periods = tx.list_number_periods(id, page).await?;
    Ok(ListBody::new(periods, NumberPeriodBody::from))
}

fn location(id: SubscriberId) -> String {
    format!("/v1/subscribers/{id}")
}

/// The tenant names subscribers by id only.
pub(super) fn real_numbers_refused(pointer: &str) -> ApiError {
    problem_at(Code::RealNumberNotAccepted, pointer, Rule::RealNumberNotAccepted)
}

/// Nobody behind an X may be reached by another X: the call would come back to us.
pub(super) fn number_virtual(pointer: &str) -> ApiError {
    problem_at(Code::NumberVirtual, pointer, Rule::NumberVirtual)
}
