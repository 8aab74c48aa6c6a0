//! What a binding looks like outside: the request that makes one, with its rules, and the answer.

use std::time::{Duration, SystemTime};

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::error::{ApiError, Code};
use super::field_error::Rule;
use super::forms::{Key, Word};
use super::values::{
    Checks, Id, Object, RealNumberField, Time, VirtualNumberField, refuse_unsupported,
};
use crate::domain::binding::{BindingState, OnExpiry};
use crate::domain::id::{AgentId, BindingId, PoolId, SubscriberId};
use crate::store::binding::{
    BindingMode, BindingRecord, BindingTerm, BindingTerms, NewBinding, NumberChoice, PolicyRef,
    SubscriberChoice,
};

const WORD_CHARS_MAX: usize = 128;
const CITY_CHARS_MAX: usize = 64;
const METADATA_FIELDS_MAX: usize = 50;
const METADATA_BYTES_MAX: usize = 16 * 1024;
/// A day, which no call is longer than, to ten years.
const IDLE_TTL_S_MIN: i64 = 24 * 60 * 60;
const IDLE_TTL_S_MAX: i64 = 3_650 * IDLE_TTL_S_MIN;
const DURATION_S_MIN: i64 = 10;
const DURATION_S_MAX: i64 = 24 * 60 * 60;

/// How a binding ties parties together.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ModeWord {
    /// Any agent of the tenant reaches the subscriber by X.
    Ax,
    /// One agent and one subscriber reach each other by X, which may serve other pairs too.
    Axb,
    /// X with an extension; not supported yet.
    Axe,
    /// X for one side, Y for the other; not supported yet.
    Axyb,
}

/// How long a binding lasts.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TermWord {
    /// As long as the policy.
    Long,
    /// Until `valid_until`.
    Short,
}

/// What becomes of talking calls when a binding's time is over.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnExpiryWord {
    /// They go on to their own end.
    Finish,
    /// They hear a warning, and end with the binding.
    End,
}

impl OnExpiryWord {
    pub(super) const fn read(self) -> OnExpiry {
        match self {
            Self::Finish => OnExpiry::Finish,
            Self::End => OnExpiry::End,
        }
    }
}

/// The policy a binding serves.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyField {
    /// The insurer's own reference.
    #[serde(rename = "ref")]
    #[schema(value_type = Key)]
    reference: String,
    /// The insurer's own word for what is insured, 1 to 128 characters.
    #[schema(value_type = Option<Key>)]
    product: Option<String>,
    /// When the policy ends.
    ends_at: Option<Time>,
}

/// Whom it protects: exactly one of the two.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SubscriberField {
    /// `sub_…`, one that is known.
    #[schema(value_type = Option<SubscriberId>)]
    id: Option<Id<SubscriberId>>,
    /// `+` and digits; it is sealed at once and never shown again.
    real_number: Option<RealNumberField>,
}

/// A new binding.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "external_id": "crm-7f3a", "mode": "ax", "policy": {"ref": "P-2026-1", "product": "motor"},
    "subscriber": {"real_number": "+8613800005678"},
    "pool": "pol_01977420a1b27c3d8e4f5a6b7c8d9e01", "valid_until": "2035-12-31T16:00:00Z",
    "metadata": {"branch": "Shanghai"},
}))]
pub struct BindingCreate {
    /// The tenant's own name for it, unique, 1 to 128 characters.
    #[schema(value_type = Key)]
    external_id: String,
    /// `ax` or `axb`; others are not supported yet.
    mode: ModeWord,
    /// `short` when there is a `valid_until`, else `long`.
    term: Option<TermWord>,
    /// What the calls are about.
    #[schema(value_type = PolicyField)]
    policy: Object<PolicyField>,
    /// Whom the virtual number protects.
    #[schema(value_type = SubscriberField)]
    subscriber: Object<SubscriberField>,
    /// `agt_…`, the one agent of mode `axb`; not of `ax`.
    #[schema(value_type = Option<Vec<AgentId>>, min_items = 1, max_items = 1)]
    agents: Option<Vec<Id<AgentId>>>,
    /// Agents of this group only; not supported yet.
    #[schema(value_type = Option<Word>)]
    group: Option<String>,
    /// A free number of this pool.
    #[schema(value_type = Option<PoolId>)]
    pool: Option<Id<PoolId>>,
    /// A free number of this city.
    #[schema(value_type = Option<Word>)]
    city: Option<String>,
    /// True takes a number of another city where that one has none.
    city_fallback: Option<bool>,
    /// This very number, instead of a free one.
    virtual_number: Option<VirtualNumberField>,
    /// Calls are routed from then on; at once when absent.
    valid_from: Option<Time>,
    /// Calls are routed until then.
    valid_until: Option<Time>,
    /// True instead of a `valid_until`: calls are routed until `policy.ends_at`, wherever that is
    /// moved.
    follow_policy: Option<bool>,
    /// Seconds without an attempt after which it ends, 86,400 to 315,360,000; never when absent.
    #[schema(minimum = 86_400, maximum = 315_360_000)]
    idle_ttl: Option<u32>,
    /// What becomes of talking calls when its time is over; `finish` when absent.
    on_expiry: Option<OnExpiryWord>,
    /// The longest answered duration, 10 to 86,400.
    #[schema(minimum = 10, maximum = 86_400)]
    max_duration_s: Option<u32>,
    /// The tenant's own notes; no real numbers.
    #[serde(default)]
    #[schema(value_type = Option<std::collections::BTreeMap<String, Value>>)]
    metadata: Option<Map<String, Value>>,
    #[schema(ignore)]
    extension: Option<IgnoredAny>,
    #[schema(ignore)]
    call_policy: Option<IgnoredAny>,
}

impl BindingCreate {
    /// A pool was named, and may be the mistake.
    pub(super) const fn names_pool(&self) -> bool {
        self.pool.is_some()
    }

    /// Where the subscriber is named.
    pub(super) const fn subscriber_pointer(&self) -> &'static str {
        if self.subscriber.0.real_number.is_some() {
            "/subscriber/real_number"
        } else {
            "/subscriber/id"
        }
    }

    /// Where its end is named.
    pub(super) fn end_pointer(&self) -> &'static str {
        if self.follow_policy.unwrap_or_default() { "/policy/ends_at" } else { "/valid_until" }
    }

    /// All rules of the request, and what is left when they hold.
    pub(super) fn check(self) -> Result<NewBinding, ApiError> {
        self.check_supported()?;
        let mut checks = Checks::default();
        let policy = self.policy.0;
        checks.key("/external_id", &self.external_id, WORD_CHARS_MAX);
        checks.key("/policy/ref", &policy.reference, WORD_CHARS_MAX);
        check_product(&mut checks, policy.product.as_deref());
        checks.optional_text("/city", self.city.as_deref(), CITY_CHARS_MAX);
        check_times(&mut checks, self.idle_ttl, self.max_duration_s);
        let follow_policy = self.follow_policy.unwrap_or_default();
        let has_end = policy.ends_at.is_some();
        checks.require(!follow_policy || has_end, "/policy/ends_at", Rule::Missing);
        let has_two_ends = follow_policy && self.valid_until.is_some();
        checks.require(!has_two_ends, "/valid_until", Rule::ExactlyOne);
        let exact = self.virtual_number.is_some();
        checks.require(!(exact && self.pool.is_some()), "/pool", Rule::ExactlyOne);
        checks.require(!(exact && self.city.is_some()), "/city", Rule::ExactlyOne);
        let is_lost = self.city_fallback.is_some() && self.city.is_none();
        checks.require(!is_lost, "/city", Rule::Missing);
        let term = match (self.term, self.valid_until) {
            (Some(TermWord::Long), _) | (None, None) => BindingTerm::Long,
            (Some(TermWord::Short), _) | (None, Some(_)) => BindingTerm::Short,
        };
        let is_open = self.valid_until.is_none() && !follow_policy;
        let needs_end = term == BindingTerm::Short && is_open;
        checks.require(!needs_end, "/valid_until", Rule::Missing);
        let metadata = self.metadata.unwrap_or_default();
        check_metadata(&mut checks, &metadata);
        let subscriber = choose(&mut checks, self.subscriber.0);
        let mode = choose_mode(&mut checks, self.mode, self.agents.as_deref());
        checks.finish()?;
        // What was chosen is there when the checks have passed.
        Ok(NewBinding {
            external_id: self.external_id,
            mode: mode.ok_or(ApiError::new(Code::Internal))?,
            term,
            policy: PolicyRef {
                reference: policy.reference,
                product: policy.product,
                ends_at: policy.ends_at.map(|at| at.0),
            },
            subscriber: subscriber.ok_or(ApiError::new(Code::Internal))?,
            number: match self.virtual_number {
                Some(number) => NumberChoice::Exact(number.0),
                None => NumberChoice::Free {
                    pool: self.pool.map(|id| id.0),
                    city: self.city,
                    elsewhere: self.city_fallback.unwrap_or_default(),
                },
            },
            agent_group: None,
            valid_from: self.valid_from.map(|at| at.0),
            valid_until: self.valid_until.map(|at| at.0),
            terms: BindingTerms {
                follow_policy,
                idle_ttl: self.idle_ttl.map(|s| Duration::from_secs(s.into())),
                on_expiry: self.on_expiry.map(OnExpiryWord::read).unwrap_or_default(),
            },
            duration_max: self.max_duration_s.map(|s| Duration::from_secs(s.into())),
            metadata,
        })
    }

    /// What is designed but not built is told from what is wrong.
    fn check_supported(&self) -> Result<(), ApiError> {
        refuse_unsupported(&[
            (matches!(self.mode, ModeWord::Axe | ModeWord::Axyb), "/mode"),
            (self.group.is_some(), "/group"),
            (self.extension.is_some(), "/extension"),
            (self.call_policy.is_some(), "/call_policy"),
        ])
    }
}

/// A pair has its agent, and no other mode has any.
fn choose_mode(
    checks: &mut Checks,
    mode: ModeWord,
    agents: Option<&[Id<AgentId>]>,
) -> Option<BindingMode> {
    match (mode, agents) {
        (ModeWord::Ax, None) => return Some(BindingMode::Ax),
        (ModeWord::Axb, Some([agent])) => return Some(BindingMode::Axb { agent: agent.0 }),
        (ModeWord::Axb, None) => checks.require(false, "/agents", Rule::Missing),
        (ModeWord::Axb, Some(_)) => checks.require(false, "/agents", Rule::Length(1, 1)),
        (ModeWord::Ax | ModeWord::Axe | ModeWord::Axyb, _) => {
            checks.require(false, "/agents", Rule::Invalid);
        }
    }
    None
}

fn choose(checks: &mut Checks, field: SubscriberField) -> Option<SubscriberChoice> {
    match (field.id, field.real_number) {
        (Some(id), None) => Some(SubscriberChoice::Existing(id.0)),
        (None, Some(number)) => {
            let number = number.into_number("/subscriber/real_number");
            checks.take(number).map(SubscriberChoice::Number)
        }
        (Some(_), Some(_)) | (None, None) => {
            checks.require(false, "/subscriber", Rule::ExactlyOne);
            None
        }
    }
}

/// Bounds of what is told in seconds.
pub(super) fn check_times(checks: &mut Checks, idle_ttl: Option<u32>, max: Option<u32>) {
    if let Some(seconds) = idle_ttl {
        checks.range("/idle_ttl", seconds.into(), IDLE_TTL_S_MIN, IDLE_TTL_S_MAX);
    }
    if let Some(seconds) = max {
        checks.range("/max_duration_s", seconds.into(), DURATION_S_MIN, DURATION_S_MAX);
    }
}

/// What a product's name may look like.
pub(super) fn check_product(checks: &mut Checks, product: Option<&str>) {
    checks.optional_text("/policy/product", product, WORD_CHARS_MAX);
}

pub(super) fn check_metadata(checks: &mut Checks, metadata: &Map<String, Value>) {
    let pointer = "/metadata";
    let length = Rule::Length(0, METADATA_FIELDS_MAX);
    checks.require(metadata.len() <= METADATA_FIELDS_MAX, pointer, length);
    let mut rest = METADATA_BYTES_MAX;
    let mut texts = Vec::new();
    let mut values: Vec<&Value> = Vec::new();
    for (name, value) in metadata {
        texts.push(name.as_str());
        values.push(value);
    }
    while let Some(value) = values.pop() {
        match value {
            Value::String(text) => texts.push(text),
            Value::Array(items) => values.extend(items),
            Value::Object(fields) => {
                texts.extend(fields.keys().map(String::as_str));
                values.extend(fields.values());
            }
            Value::Number(number) => checks.no_number(pointer, &number.to_string()),
            Value::Null | Value::Bool(_) => {}
        }
        rest = rest.saturating_sub(8);
    }
    for text in texts {
        rest = rest.saturating_sub(text.len());
        checks.no_number(pointer, text);
        // PostgreSQL cannot keep this character.
        checks.require(!text.contains('\0'), pointer, Rule::Invalid);
    }
    checks.require(rest > 0, pointer, Rule::Length(0, METADATA_BYTES_MAX));
}

/// The policy a binding serves.
#[derive(Debug, Serialize, ToSchema)]
pub struct PolicyBody {
    /// The insurer's own reference.
    #[serde(rename = "ref")]
    reference: String,
    /// The insurer's own word for what is insured.
    product: Option<String>,
    /// When the policy ends.
    ends_at: Option<Time>,
}

/// A binding, as much as may be shown.
#[derive(Debug, Serialize, ToSchema)]
pub struct BindingBody {
    /// `bnd_…`
    #[schema(value_type = BindingId)]
    id: Id<BindingId>,
    /// The tenant's own name for it.
    external_id: String,
    /// `ax` or `axb`.
    mode: &'static str,
    /// `long` or `short`.
    term: &'static str,
    /// What the calls are about.
    policy: PolicyBody,
    /// What is dialled instead of the real number.
    virtual_number: String,
    /// `pending`, `active`, `suspended`, `expired` or `released`, as it is now.
    state: &'static str,
    /// `tenant` or `operator`, while it is suspended.
    suspend_reason: Option<&'static str>,
    /// Whom it protects.
    #[schema(value_type = SubscriberId)]
    subscriber_id: Id<SubscriberId>,
    /// Such as `138****0000`; null after an erasure.
    masked: Option<String>,
    /// `agt_…`, the one agent of a pair; empty where any agent may call.
    #[schema(value_type = Vec<AgentId>)]
    agents: Vec<Id<AgentId>>,
    /// Agents of this group only.
    group: Option<String>,
    /// Calls are routed from then on.
    valid_from: Time,
    /// Calls are routed until then.
    valid_until: Option<Time>,
    /// It ends when the policy does.
    follow_policy: bool,
    /// Seconds without an attempt after which it ends; null for never.
    idle_ttl: Option<u64>,
    /// What becomes of talking calls when its time is over: `finish` or `end`.
    on_expiry: &'static str,
    /// When it was over for good.
    ended_at: Option<Time>,
    /// The longest answered duration.
    max_duration_s: Option<u64>,
    /// The tenant's own notes.
    #[schema(value_type = std::collections::BTreeMap<String, Value>)]
    metadata: Map<String, Value>,
    /// When it was made.
    created_at: Time,
    /// When it was last changed.
    updated_at: Time,
}

impl BindingBody {
    /// The binding as it is at `now`.
    pub(super) fn new(binding: BindingRecord, now: SystemTime) -> Self {
        let state = binding.state.at(now);
        let (suspend_reason, valid_until, ended_at) = match state {
            BindingState::Pending { expires_at, .. } | BindingState::Active { expires_at } => {
                (None, expires_at, None)
            }
            BindingState::Suspended { reason, expires_at } => {
                (Some(reason.label()), expires_at, None)
            }
            BindingState::Expired { expired_at: at }
            | BindingState::Released { released_at: at } => (None, None, Some(at)),
        };
        Self {
            id: Id(binding.id),
            external_id: binding.external_id,
            mode: binding.mode.label(),
            term: binding.term.label(),
            policy: PolicyBody {
                reference: binding.policy.reference,
                product: binding.policy.product,
                ends_at: binding.policy.ends_at.map(Time),
            },
            virtual_number: binding.virtual_number.to_string(),
            state: state.label(),
            suspend_reason,
            subscriber_id: Id(binding.subscriber),
            masked: binding.masked,
            agents: binding.mode.agent().map(Id).into_iter().collect(),
            group: binding.agent_group,
            valid_from: Time(binding.valid_from),
            valid_until: valid_until.map(Time),
            follow_policy: binding.terms.follow_policy,
            idle_ttl: binding.terms.idle_ttl.map(|ttl| ttl.as_secs()),
            on_expiry: binding.terms.on_expiry.label(),
            ended_at: ended_at.map(Time),
            max_duration_s: binding.duration_max.map(|max| max.as_secs()),
            metadata: binding.metadata,
            created_at: Time(binding.created_at),
            updated_at: Time(binding.updated_at),
        }
    }
}
