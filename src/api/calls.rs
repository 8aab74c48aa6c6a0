//! Calls: the records of those that are over, the table of those that are up, and their end.

use std::borrow::Cow;
use std::time::SystemTime;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use super::Api;
use super::auth::{Actor, TenantActor};
use super::error::{ApiError, Code, Problem};
use super::extract::{OptionalJson, PathId, Query};
use super::field_error::{FieldError, Rule};
use super::forms::one_of;
use super::paging::{Cursor, Limit, ListBody, request};
use super::values::{Id, RULE_MARK, Time, VirtualNumberField};
use crate::domain::cause::Cause;
use crate::domain::cdr::{Cdr, Direction, MediaCounts, Whispered};
use crate::domain::id::{AgentId, BindingId, CallId, IntentId, SubscriberId, TenantId};
use crate::domain::purpose::Purpose;
use crate::relay::handle::{CallStatus, LiveCall, Termination};
use crate::store::Page;
use crate::store::cdr::CdrFilter;

/// Which way a call goes.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DirectionWord {
    /// An agent calls the subscriber.
    ToSubscriber,
    /// The subscriber calls X.
    FromSubscriber,
}

/// One of the closed list of causes.
#[derive(Clone, Copy, Debug)]
pub struct CauseWord(Cause);

impl<'de> Deserialize<'de> for CauseWord {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let cause = Cause::find_label(&text).map(Self);
        cause.ok_or_else(|| serde::de::Error::custom(format_args!("{RULE_MARK}cause")))
    }
}

impl PartialSchema for CauseWord {
    fn schema() -> RefOr<Schema> {
        one_of(Cause::all().map(Cause::label))
    }
}

impl ToSchema for CauseWord {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Cause")
    }
}

/// Filters of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct CallParams {
    /// Rows of the page, 1 to 200; 50 when absent.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 200)]
    limit: Option<Limit>,
    /// `next_cursor` of the page before.
    cursor: Option<Cursor>,
    /// Through this binding only.
    #[param(value_type = Option<BindingId>)]
    binding_id: Option<Id<BindingId>>,
    /// Of this agent only.
    #[param(value_type = Option<AgentId>)]
    agent_id: Option<Id<AgentId>>,
    /// That ended for this cause only.
    cause: Option<CauseWord>,
    /// This way only.
    direction: Option<DirectionWord>,
    /// By this number only.
    virtual_number: Option<VirtualNumberField>,
    /// Begun at this time or later.
    from: Option<Time>,
    /// Begun before this time.
    until: Option<Time>,
}

/// Whose live calls.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LiveParams {
    /// Rows of the page, 1 to 200; 50 when absent.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 200)]
    limit: Option<Limit>,
    /// `next_cursor` of the page before.
    cursor: Option<Cursor>,
    /// The platform's keys name the tenant; a tenant's keys leave it out.
    #[param(value_type = Option<TenantId>)]
    tenant_id: Option<Id<TenantId>>,
}

/// What came from one side of a call.
#[derive(Debug, Serialize, ToSchema)]
pub struct MediaBody {
    /// That came.
    packets: u64,
    /// That never came, by their sequence.
    lost: u64,
    /// That came and were not taken.
    dropped: u64,
    /// How unevenly they came.
    jitter_us: u32,
    /// To the peer and back, as its own reports told; null when they told nothing.
    round_trip_us: Option<u32>,
    /// How it sounded when it reached us, by the E-model: 1.0 to 4.41; null when nothing was heard.
    mos: Option<f64>,
    /// For some seconds this side was not heard while the other one was.
    one_way: bool,
    /// Its address was learnt from its packets, as its trunk allows.
    latched: bool,
}

impl From<MediaCounts> for MediaBody {
    fn from(counts: MediaCounts) -> Self {
        let mos = (counts.mos_centi > 0).then(|| f64::from(counts.mos_centi) / 100.0);
        Self {
            packets: counts.packets,
            lost: counts.lost,
            dropped: counts.dropped,
            jitter_us: counts.jitter_us,
            round_trip_us: (counts.round_trip_us > 0).then_some(counts.round_trip_us),
            mos,
            one_way: counts.one_way,
            latched: counts.latched,
        }
    }
}

/// What the subscriber was told before the call was connected, and what came of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct WhisperBody {
    /// `announced`, `accepted`, `later`, `refused`, `reported`, `wrong_person`, `timed_out`,
    /// `hung_up` or `given_up`.
    result: &'static str,
    /// What was said: the voice and the names of its clips, without the digits of numbers.
    prompt: String,
    /// A SHA-256 of how that sounded, without those digits; null in old records.
    prompt_sha256: Option<String>,
    /// When it had been heard, or was interrupted by a key.
    heard_at: Option<Time>,
}

impl From<Whispered> for WhisperBody {
    fn from(whispered: Whispered) -> Self {
        Self {
            result: whispered.result.label(),
            prompt: whispered.prompt.into(),
            prompt_sha256: whispered
                .prompt_hash
                .map(|hash| hash.iter().map(|byte| format!("{byte:02x}")).collect()),
            heard_at: whispered.heard_at.map(Time),
        }
    }
}

/// A call. What comes with its end is null while it is live.
#[derive(Debug, Serialize, ToSchema)]
pub struct CallBody {
    /// `cal_…`
    #[schema(value_type = CallId)]
    id: Id<CallId>,
    /// `calling`, `ringing`, `answered` or `ended`.
    status: &'static str,
    /// Through which binding; null when there was none.
    #[schema(value_type = Option<BindingId>)]
    binding_id: Option<Id<BindingId>>,
    /// With whom.
    #[schema(value_type = Option<SubscriberId>)]
    subscriber_id: Option<Id<SubscriberId>>,
    /// Of which agent; null when it is not known.
    #[schema(value_type = Option<AgentId>)]
    agent_id: Option<Id<AgentId>>,
    /// By which number.
    virtual_number: Option<String>,
    /// `to_subscriber` or `from_subscriber`.
    direction: &'static str,
    /// One of the closed list of purposes; null where nobody could name one.
    purpose: Option<&'static str>,
    /// The intent that was named with it.
    #[schema(value_type = Option<IntentId>)]
    intent_id: Option<Id<IntentId>>,
    /// What the caller's trunk says of the call, if it is trusted: `diverted`, `private`, `signed`.
    marks: Vec<&'static str>,
    /// When the first INVITE came.
    started_at: Time,
    /// When the callee first rang.
    ringing_at: Option<Time>,
    /// When the callee answered: from then on its carrier counts.
    callee_answered_at: Option<Time>,
    /// When the caller was answered and both were connected.
    answered_at: Option<Time>,
    /// When it was over.
    ended_at: Option<Time>,
    /// Answered time, in whole seconds.
    duration_s: Option<u64>,
    /// Answered time, in milliseconds.
    duration_ms: Option<u128>,
    /// From the agent's INVITE to the subscriber's.
    setup_ms: Option<u128>,
    /// Why it ended, one of the closed list of causes.
    cause: Option<&'static str>,
    /// Every reason of a refusal, in order.
    reasons: Vec<&'static str>,
    /// `caller`, `callee` or `relay`.
    ended_by: Option<&'static str>,
    /// What the caller was answered.
    sip_status: Option<u16>,
    /// The same as an ITU-T Q.850 cause.
    q850: Option<u8>,
    /// What the caller sent; null when there was no media.
    caller_media: Option<MediaBody>,
    /// What the callee sent; null when there was no media.
    callee_media: Option<MediaBody>,
    /// Null where the callee was told nothing.
    whisper: Option<WhisperBody>,
}

impl From<Cdr> for CallBody {
    fn from(cdr: Cdr) -> Self {
        let [caller_media, callee_media] = match cdr.media {
            Some(media) => media.map(|side| Some(MediaBody::from(side))),
            None => [None, None],
        };
        Self {
            id: Id(cdr.call),
            status: "ended",
            binding_id: cdr.binding.map(Id),
            subscriber_id: cdr.subscriber.map(Id),
            agent_id: cdr.agent.map(Id),
            virtual_number: cdr.virtual_number.map(|number| number.to_string()),
            direction: cdr.direction.label(),
            purpose: cdr.purpose.map(Purpose::label),
            intent_id: cdr.intent.map(Id),
            marks: cdr.marks.iter().map(|mark| mark.label()).collect(),
            started_at: Time(cdr.started_at),
            ringing_at: cdr.ringing_at.map(Time),
            callee_answered_at: cdr.callee_answered_at.map(Time),
            answered_at: cdr.answered_at.map(Time),
            ended_at: Some(Time(cdr.ended_at)),
            duration_s: Some(cdr.duration.as_secs()),
            duration_ms: Some(cdr.duration.as_millis()),
            setup_ms: cdr.setup.map(|setup| setup.as_millis()),
            cause: Some(cdr.cause.label()),
            reasons: cdr.reasons.iter().map(|cause| cause.label()).collect(),
            ended_by: Some(cdr.ended_by.label()),
            sip_status: Some(cdr.sip_status),
            q850: Some(cdr.q850),
            caller_media,
            callee_media,
            whisper: cdr.whisper.map(|whispered| (*whispered).into()),
        }
    }
}

impl From<LiveCall> for CallBody {
    fn from(call: LiveCall) -> Self {
        Self {
            id: Id(call.call),
            status: match call.status {
                CallStatus::Calling => "calling",
                CallStatus::Ringing => "ringing",
                CallStatus::Answered => "answered",
                CallStatus::Ended => "ended",
            },
            binding_id: Some(Id(call.binding)),
            subscriber_id: None,
            agent_id: call.agent.map(Id),
            virtual_number: Some(call.virtual_number.to_string()),
            direction: call.direction.label(),
            purpose: None,
            intent_id: None,
            marks: Vec::new(),
            started_at: Time(call.started_at),
            ringing_at: None,
            callee_answered_at: None,
            answered_at: call.answered_at.map(Time),
            ended_at: None,
            duration_s: None,
            duration_ms: None,
            setup_ms: None,
            cause: None,
            reasons: Vec::new(),
            ended_by: None,
            sip_status: None,
            q850: None,
            caller_media: None,
            callee_media: None,
            whisper: None,
        }
    }
}

/// An order was given; the record follows.
#[derive(Debug, Serialize, ToSchema)]
pub struct TerminationBody {
    /// `cal_…`
    #[schema(value_type = CallId)]
    id: Id<CallId>,
    /// `terminating`.
    status: &'static str,
}

/// Nothing to say.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({}))]
pub struct Terminate {}

/// Lists calls that are over, refused attempts too, newest first.
#[utoipa::path(get, path = "/calls", operation_id = "calls_list", tag = "calls",
    params(CallParams),
    responses((status = 200, body = ListBody<CallBody>), (status = "4XX", body = Problem)))]
pub async fn list(
    State(api): State<Api>,
    actor: TenantActor,
    Query(params): Query<CallParams>,
) -> Result<axum::Json<ListBody<CallBody>>, ApiError> {
    let filter = CdrFilter {
        binding: params.binding_id.map(|id| id.0),
        agent: params.agent_id.map(|id| id.0),
        cause: params.cause.map(|cause| cause.0),
        direction: params.direction.map(|word| match word {
            DirectionWord::ToSubscriber => Direction::ToSubscriber,
            DirectionWord::FromSubscriber => Direction::FromSubscriber,
        }),
        virtual_number: params.virtual_number.map(|number| number.0),
        from: params.from.map(since_epoch),
        until: params.until.map(since_epoch),
    };
    let page = request(params.limit, params.cursor);
    let rows = api.store().tenant(actor.tenant).await?.list_cdrs(&filter, page).await?;
    Ok(ListBody::new(rows, CallBody::from))
}

/// No call began before; identifiers cannot tell such times.
fn since_epoch(time: Time) -> SystemTime {
    time.0.max(SystemTime::UNIX_EPOCH)
}

/// Lists the live calls of this node, newest first.
#[utoipa::path(get, path = "/calls/live", operation_id = "calls_live", tag = "calls",
    params(LiveParams),
    responses((status = 200, body = ListBody<CallBody>), (status = "4XX", body = Problem)))]
pub async fn live(
    State(api): State<Api>,
    actor: Actor,
    Query(params): Query<LiveParams>,
) -> Result<axum::Json<ListBody<CallBody>>, ApiError> {
    let tenant = live_tenant(&api, &actor, params.tenant_id).await?;
    let page = request(params.limit, params.cursor);
    let mut calls = api.relay().live(tenant);
    calls.sort_by_key(|call| std::cmp::Reverse(call.call));
    let page: Page<LiveCall> = page.cut(calls, |call| call.call.as_u128());
    Ok(ListBody::new(page, CallBody::from))
}

/// Whose live calls are meant: a tenant's key means its own, the platform names a tenant.
pub(super) async fn live_tenant(
    api: &Api,
    actor: &Actor,
    named: Option<Id<TenantId>>,
) -> Result<TenantId, ApiError> {
    let field = |rule| ApiError::from(FieldError::new("/query/tenant_id", rule));
    match (actor.tenant, named) {
        (Some(tenant), None) => Ok(tenant),
        (Some(_), Some(_)) => Err(field(Rule::UnknownField)),
        (None, None) => Err(field(Rule::Missing)),
        (None, Some(id)) => {
            let tenant = api.store().find_tenant(id.0).await?;
            let tenant = tenant.filter(|tenant| tenant.is_test || !actor.is_test);
            Ok(tenant.ok_or_else(|| field(Rule::UnknownReference))?.id)
        }
    }
}

/// Shows one call, live or over.
#[utoipa::path(get, path = "/calls/{id}", operation_id = "calls_get", tag = "calls",
    params(("id" = String, Path)),
    responses((status = 200, body = CallBody), (status = "4XX", body = Problem)))]
pub async fn get(
    State(api): State<Api>,
    actor: TenantActor,
    PathId(id): PathId<CallId>,
) -> Result<axum::Json<CallBody>, ApiError> {
    // Asked in this order, a call that ends in between is found all the same.
    let live = api.relay().find_live(id).filter(|call| call.tenant == actor.tenant);
    if let Some(cdr) = api.store().tenant(actor.tenant).await?.find_cdr(id).await? {
        return Ok(axum::Json(cdr.into()));
    }
    Ok(axum::Json(live.ok_or(ApiError::new(Code::NotFound))?.into()))
}

/// Ends a live call. 409 when it is over already.
#[utoipa::path(post, path = "/calls/{id}/terminate", operation_id = "calls_terminate",
    tag = "calls", params(("id" = String, Path)), request_body = Option<Terminate>,
    responses((status = 202, body = TerminationBody), (status = "4XX", body = Problem)))]
pub async fn terminate(
    State(api): State<Api>,
    actor: Actor,
    PathId(id): PathId<CallId>,
    OptionalJson(Terminate {}): OptionalJson<Terminate>,
) -> Result<Response, ApiError> {
    let live = api.relay().find_live(id);
    let may = |call: &LiveCall| actor.tenant.is_none_or(|tenant| tenant == call.tenant);
    if live.as_ref().is_some_and(may) && api.relay().terminate(id)? == Termination::Ordered {
        let body = TerminationBody { id: Id(id), status: "terminating" };
        return Ok((StatusCode::ACCEPTED, axum::Json(body)).into_response());
    }
    let is_over = match actor.tenant {
        Some(tenant) => api.store().tenant(tenant).await?.find_cdr(id).await?.is_some(),
        None => false,
    };
    Err(if is_over { Code::StateConflict } else { Code::NotFound }.into())
}
