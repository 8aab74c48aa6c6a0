//! The clock of test mode: a tenant for tests does not have to wait until its bindings end.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::auth::TenantActor;
use super::error::{ApiError, Code, Problem};
use super::extract::Json;
use super::field_error::Rule;
use super::idempotency::Completion;
use super::values::Checks;

/// The longest step: what do-not-call lasts, twice.
const STEP_S_MAX: u32 = 366 * 24 * 60 * 60;

/// By how much.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"by_s": 86_400}))]
pub struct ClockAdvance {
    /// Seconds, up to 366 days.
    #[schema(minimum = 1, maximum = 31_622_400)]
    by_s: u32,
}

/// What has come nearer.
#[derive(Debug, Serialize, ToSchema)]
pub struct ClockAdvanced {
    /// Bindings that are not over.
    bindings: u64,
    /// Intents that wait.
    intents: u64,
    /// Purposes for which subscribers want no calls, and pauses.
    refusals: u64,
}

/// Advances the clock of a test tenant: all times of its bindings that are not over, of intents
/// that wait, and of what subscribers have refused for a while are so much earlier from then on.
/// What is over by that ends within seconds, as ever. Times that lie behind, and records, stay as
/// they are; an `idle_ttl` counts from the last real call. With any other key this is refused with
/// `test_key_required`.
#[utoipa::path(post, path = "/test-clock/advance", operation_id = "test_clock_advance",
    tag = "test mode", request_body = ClockAdvance,
    responses((status = 200, body = ClockAdvanced), (status = "4XX", body = Problem)))]
pub async fn advance(
    State(api): State<Api>,
    actor: TenantActor,
    completion: Completion,
    Json(body): Json<ClockAdvance>,
) -> Result<Response, ApiError> {
    let mut checks = Checks::default();
    checks.require(
        (1..=STEP_S_MAX).contains(&body.by_s),
        "/by_s",
        Rule::OutOfRange(1, STEP_S_MAX.into()),
    );
    checks.finish()?;
    let mut tx = api.store().tenant(actor.tenant).await?;
    let advanced = tx.advance_clock(Duration::from_secs(body.by_s.into())).await?;
    let advanced = advanced.ok_or(ApiError::new(Code::TestKeyRequired))?;
    let (bindings, intents) = (advanced.bindings, advanced.intents);
    let body = ClockAdvanced { bindings, intents, refusals: advanced.refusals };
    let answer = completion.commit_own(tx, axum::Json(body).into_response()).await;
    // Whether or not that can be told.
    api.relay().forget_tenant(actor.tenant);
    answer
}
