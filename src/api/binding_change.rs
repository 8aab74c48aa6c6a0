//! Other terms for a binding that is there: the request that changes them, the one that renews,
//! and their handlers. X stays, and so does the subscriber.

use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::Api;
use super::auth::TenantActor;
use super::binding_body::{BindingBody, OnExpiryWord, check_metadata, check_product, check_times};
use super::bindings::answer;
use super::error::{ApiError, Code, Problem};
use super::etag::IfMatch;
use super::extract::{Json, PathId};
use super::field_error::Rule;
use super::forms::Key;
use super::values::{Checks, Object, Time, nullable, problem_at};
use crate::domain::id::BindingId;
use crate::store::binding::{BindingChange, BindingOutcome};

/// What may change of the policy.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyPatch {
    /// The insurer's own word for what is insured; null takes it away.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<Key>)]
    product: Option<Option<String>>,
    /// When the policy ends; null for no end. A binding that follows its policy ends then.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<Time>)]
    ends_at: Option<Option<Time>>,
}

/// What may change of a binding; absent fields stay.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "policy": {"ends_at": "2036-12-31T16:00:00Z"}, "follow_policy": true, "on_expiry": "end",
    "idle_ttl": 31_536_000, "max_duration_s": 1_800,
}))]
pub struct BindingPatch {
    /// Its end and its product; the reference stays.
    #[schema(value_type = Option<PolicyPatch>)]
    policy: Option<Object<PolicyPatch>>,
    /// Calls are routed until then; null for no end. Not where it follows the policy.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<Time>)]
    valid_until: Option<Option<Time>>,
    /// True ends it when the policy ends.
    follow_policy: Option<bool>,
    /// Seconds without an attempt after which it ends, 86,400 to 315,360,000, counted from now on;
    /// null for never.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<u32>, minimum = 86_400, maximum = 315_360_000)]
    idle_ttl: Option<Option<u32>>,
    /// What becomes of talking calls when its time is over.
    on_expiry: Option<OnExpiryWord>,
    /// The longest answered duration, 10 to 86,400; null for the platform's. Calls that are up keep
    /// theirs.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<u32>, minimum = 10, maximum = 86_400)]
    max_duration_s: Option<Option<u32>>,
    /// The tenant's own notes, all of them; no real numbers.
    #[schema(value_type = Option<std::collections::BTreeMap<String, Value>>)]
    metadata: Option<Map<String, Value>>,
}

/// A renewal.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"until": "2037-12-31T16:00:00Z"}))]
pub struct BindingRenew {
    /// The end of the policy where the binding follows it, else of the binding alone.
    until: Time,
}

impl BindingPatch {
    /// Where the end is that makes no sense: the one that was given, or the policy's that is to be
    /// followed.
    fn end_pointer(&self) -> &'static str {
        let ends_at = self.policy.as_ref().and_then(|policy| policy.0.ends_at.as_ref());
        let follows = ends_at.is_some() || self.follow_policy == Some(true);
        if self.valid_until.is_none() && follows { "/policy/ends_at" } else { "/valid_until" }
    }

    /// All rules of the request, and what is left when they hold.
    fn check(self) -> Result<BindingChange, ApiError> {
        let mut checks = Checks::default();
        let (product, ends_at) = match self.policy {
            Some(Object(policy)) => (policy.product, policy.ends_at),
            None => (None, None),
        };
        check_product(&mut checks, product.as_ref().and_then(|product| product.as_deref()));
        check_times(&mut checks, self.idle_ttl.flatten(), self.max_duration_s.flatten());
        if let Some(metadata) = &self.metadata {
            check_metadata(&mut checks, metadata);
        }
        let follows = self.follow_policy == Some(true);
        checks.require(!(follows && self.valid_until.is_some()), "/valid_until", Rule::ExactlyOne);
        checks.finish()?;
        let seconds = |s: Option<u32>| s.map(|s| Duration::from_secs(s.into()));
        Ok(BindingChange {
            policy_product: product,
            policy_ends_at: ends_at.map(|at| at.map(|at| at.0)),
            valid_until: self.valid_until.map(|at| at.map(|at| at.0)),
            renew_until: None,
            follow_policy: self.follow_policy,
            idle_ttl: self.idle_ttl.map(seconds),
            on_expiry: self.on_expiry.map(OnExpiryWord::read),
            duration_max: self.max_duration_s.map(seconds),
            metadata: self.metadata,
        })
    }
}

/// Changes the terms of a binding that is not over. X and the subscriber stay; a call that comes
/// after the answer is routed by the new terms.
#[utoipa::path(patch, path = "/bindings/{id}", operation_id = "bindings_patch", tag = "bindings",
    params(("id" = String, Path), IfMatch), request_body = BindingPatch,
    responses((status = 200, body = BindingBody), (status = "4XX", body = Problem)))]
pub async fn patch(
    State(api): State<Api>,
    actor: TenantActor,
    PathId(id): PathId<BindingId>,
    if_match: IfMatch,
    Json(body): Json<BindingPatch>,
) -> Result<Response, ApiError> {
    let end = body.end_pointer();
    change(&api, &actor, id, if_match, body.check()?, end).await
}

/// Gives a binding that is not over a new end: the policy's where it follows the policy, else its
/// own.
#[utoipa::path(post, path = "/bindings/{id}/renew", operation_id = "bindings_renew",
    tag = "bindings", params(("id" = String, Path), IfMatch), request_body = BindingRenew,
    responses((status = 200, body = BindingBody), (status = "4XX", body = Problem)))]
pub async fn renew(
    State(api): State<Api>,
    actor: TenantActor,
    PathId(id): PathId<BindingId>,
    if_match: IfMatch,
    Json(body): Json<BindingRenew>,
) -> Result<Response, ApiError> {
    let renewal = BindingChange { renew_until: Some(body.until.0), ..BindingChange::default() };
    change(&api, &actor, id, if_match, renewal, "/until").await
}

async fn change(
    api: &Api,
    actor: &TenantActor,
    id: BindingId,
    if_match: IfMatch,
    change: BindingChange,
    end: &str,
) -> Result<Response, ApiError> {
    let (now, version) = (api.now().wall, if_match.version()?);
    let mut tx = api.store().tenant(actor.tenant).await?;
    match tx.change_terms(now, id, change, version).await? {
        BindingOutcome::Changed(binding) => {
            tx.commit().await?;
            api.relay().forget_routes(&binding.virtual_number);
            Ok(answer(api, *binding))
        }
        BindingOutcome::TermInvalid => {
            Err(problem_at(Code::ValidationFailed, end, Rule::TimeOrder))
        }
        BindingOutcome::NotAllowed(_) => Err(Code::StateConflict.into()),
        BindingOutcome::NotFound => Err(Code::NotFound.into()),
        BindingOutcome::VersionMismatch => Err(Code::PreconditionFailed.into()),
    }
}
