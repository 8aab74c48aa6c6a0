//! What the CRM's operations take and give, by hand. A test holds each of these against the schema
//! of the OpenAPI file; what is not here travels as JSON.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use zeroize::Zeroize;

use crate::api::values::{Id, Time};
use crate::domain::id::{AgentId, BindingId, CallId, EventId, IntentId, PoolId, SubscriberId};

/// A page of a list.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[expect(missing_docs, reason = "the fields of the OpenAPI file")]
pub struct Page<T> {
    pub data: Vec<T>,
    pub has_more: bool,
    pub next_cursor: Option<String>,
}

/// A real number on its way to the API. Its `Debug` shows nothing, and its memory is wiped.
#[derive(Clone, Deserialize, Serialize)]
#[serde(transparent)]
pub struct RealNumberText(String);

impl RealNumberText {
    /// `+` and digits.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for RealNumberText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RealNumberText(***)")
    }
}

impl Drop for RealNumberText {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

macro_rules! shapes {
    ($($(#[$doc:meta])* $name:ident = $schema:literal {
        $($(#[$how:meta])* $field:ident: $kind:ty,)+
    })+) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, Deserialize, Serialize)]
            #[expect(missing_docs, reason = "the fields of the OpenAPI file")]
            pub struct $name { $($(#[$how])* pub $field: $kind,)+ }
        )+

        /// What a shape makes of a value, by the name of its schema.
        #[cfg(test)]
        pub(super) const SHAPES: &[(&str, fn(Value) -> serde_json::Result<Value>)] =
            &[$(($schema, |value| {
                serde_json::to_value(serde_json::from_value::<$name>(value)?)
            }),)+];
    };
}

shapes! {
    /// What the calls are about.
    Policy = "PolicyBody" {
        #[serde(rename = "ref")]
        reference: String,
        product: Option<String>,
        ends_at: Option<Time>,
    }
    /// X to a subscriber.
    Binding = "BindingBody" {
        id: Id<BindingId>,
        external_id: String,
        mode: String,
        term: String,
        policy: Policy,
        virtual_number: String,
        state: String,
        suspend_reason: Option<String>,
        subscriber_id: Id<SubscriberId>,
        masked: Option<String>,
        agents: Vec<Id<AgentId>>,
        group: Option<String>,
        valid_from: Time,
        valid_until: Option<Time>,
        follow_policy: bool,
        idle_ttl: Option<u64>,
        on_expiry: String,
        ended_at: Option<Time>,
        max_duration_s: Option<u64>,
        metadata: Map<String, Value>,
        created_at: Time,
        updated_at: Time,
    }
    /// What the calls of a new binding are about.
    #[derive(Default)]
    NewPolicy = "PolicyField" {
        #[serde(rename = "ref")]
        reference: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        product: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        ends_at: Option<Time>,
    }
    /// Whom a new binding protects: one of the two.
    #[derive(Default)]
    Protected = "SubscriberField" {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<Id<SubscriberId>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        real_number: Option<RealNumberText>,
    }
    /// A binding to be made.
    #[derive(Default)]
    NewBinding = "BindingCreate" {
        external_id: String,
        mode: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        term: Option<String>,
        policy: NewPolicy,
        subscriber: Protected,
        #[serde(skip_serializing_if = "Option::is_none")]
        agents: Option<Vec<Id<AgentId>>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        group: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pool: Option<Id<PoolId>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        city: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        city_fallback: Option<bool>,
        #[serde(skip_serializing_if = "Option::is_none")]
        virtual_number: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        valid_from: Option<Time>,
        #[serde(skip_serializing_if = "Option::is_none")]
        valid_until: Option<Time>,
        #[serde(skip_serializing_if = "Option::is_none")]
        follow_policy: Option<bool>,
        #[serde(skip_serializing_if = "Option::is_none")]
        idle_ttl: Option<u32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        on_expiry: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        max_duration_s: Option<u32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        metadata: Option<Map<String, Value>>,
    }
    /// Until when a binding is renewed.
    Renewal = "BindingRenew" {
        until: Time,
    }
    /// Whether talking calls end too.
    #[derive(Default)]
    EndCalls = "EndCalls" {
        #[serde(default)]
        drop_calls: bool,
    }
    /// A subscriber, as much as may be shown.
    Subscriber = "SubscriberBody" {
        id: Id<SubscriberId>,
        masked: Option<String>,
        language: String,
        age_band: Option<String>,
        time_zone: String,
        created_at: Time,
        updated_at: Time,
    }
    /// A subscriber to be made.
    NewSubscriber = "SubscriberCreate" {
        real_number: RealNumberText,
        #[serde(skip_serializing_if = "Option::is_none")]
        language: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        age_band: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        time_zone: Option<String>,
    }
    /// Another number of the same person.
    NewNumber = "NumberReplace" {
        real_number: RealNumberText,
    }
    /// Somebody at an insurer who dials.
    Agent = "AgentBody" {
        id: Id<AgentId>,
        employee_id: String,
        name: String,
        licence: Option<String>,
        caller_numbers: Vec<String>,
        filing: String,
        state: String,
        group: Option<String>,
        allowed_purposes: Option<Vec<String>>,
        created_at: Time,
        updated_at: Time,
    }
    /// An agent to be made.
    #[derive(Default)]
    NewAgent = "AgentCreate" {
        employee_id: String,
        name: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        licence: Option<String>,
        #[serde(default)]
        caller_numbers: Vec<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        filing: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        group: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        allowed_purposes: Option<Vec<String>>,
    }
    /// What the next call of an agent is for.
    Intent = "IntentBody" {
        id: Id<IntentId>,
        binding: Id<BindingId>,
        agent: Id<AgentId>,
        virtual_number: String,
        purpose: String,
        case_ref: Option<String>,
        mode: String,
        state: String,
        used_by: Option<Id<CallId>>,
        created_at: Time,
        expires_at: Time,
        ended_at: Option<Time>,
    }
    /// An intent to be made.
    NewIntent = "IntentCreate" {
        binding: Id<BindingId>,
        agent: Id<AgentId>,
        purpose: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        case_ref: Option<String>,
        mode: String,
        ttl_s: u32,
    }
    /// An attempt.
    Call = "CallBody" {
        id: Id<CallId>,
        status: String,
        binding_id: Option<Id<BindingId>>,
        subscriber_id: Option<Id<SubscriberId>>,
        agent_id: Option<Id<AgentId>>,
        virtual_number: Option<String>,
        direction: String,
        purpose: Option<String>,
        intent_id: Option<Id<IntentId>>,
        marks: Vec<String>,
        started_at: Time,
        ringing_at: Option<Time>,
        callee_answered_at: Option<Time>,
        answered_at: Option<Time>,
        ended_at: Option<Time>,
        duration_s: Option<u64>,
        duration_ms: Option<u64>,
        setup_ms: Option<u64>,
        cause: Option<String>,
        reasons: Vec<String>,
        ended_by: Option<String>,
        sip_status: Option<u16>,
        q850: Option<u8>,
        caller_media: Option<Value>,
        callee_media: Option<Value>,
        whisper: Option<Value>,
    }
    /// Something that has happened.
    Event = "EventBody" {
        id: Id<EventId>,
        #[serde(rename = "type")]
        kind: String,
        timestamp: Time,
        sequence: u64,
        data: Value,
    }
    /// Events, oldest first, and where the next ones will be.
    Events = "EventsBody" {
        data: Vec<Event>,
        has_more: bool,
        next_cursor: String,
    }
    /// How far the clock of a test tenant goes on.
    Step = "ClockAdvance" {
        by_s: u32,
    }
    /// What has come nearer by it.
    Advanced = "ClockAdvanced" {
        bindings: u64,
        intents: u64,
        refusals: u64,
    }
}
