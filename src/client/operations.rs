//! A method for each operation of the OpenAPI file, by hand. Tests hold the table against the file:
//! an operation without a method fails, and so does a method without an operation.

use reqwest::{Method, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::shapes::{
    Advanced, Agent, Binding, Call, EndCalls, Events, Intent, NewAgent, NewBinding, NewIntent,
    NewNumber, NewSubscriber, Page, Renewal, Step, Subscriber,
};
use super::sign::BodyDigest;
use super::{Client, ClientError, escape};
use crate::domain::id::{
    AgentId, ApiKeyId, BindingId, CallId, DeliveryId, ImportId, IntentId, PoolId, RecordingId,
    SubscriberId, TenantId, TrunkId, WebhookId,
};
use crate::domain::number::VirtualNumber;

/// An operation as a method knows it: its name, its method of HTTP, its path.
#[cfg(test)]
pub(super) type Known = (&'static str, &'static str, &'static str);

/// `name(path parameters) [body] ?filters = METHOD "path" -> answer`
macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $kind:ty)?) $([$body:ty])? $(?$filters:ident)?
        = $method:ident $path:literal -> $answer:ty;)+) => {
        impl Client {
            $(
                $(#[$doc])*
                ///
                /// # Errors
                /// See [`ClientError`].
                pub async fn $name(
                    &self,
                    $($arg: $kind,)?
                    $(body: &$body,)?
                    $($filters: &[(&str, Option<&str>)],)?
                ) -> Result<$answer, ClientError> {
                    let places: &[String] = &[$($arg.to_string())?];
                    let path = path_of($path, places);
                    $(let path = super::with_query(&path, $filters);)?
                    let bodies: &[Value] = &[$(self.written::<$body>(body)?)?];
                    let answer = self.send(Method::$method, &path, bodies.first()).await?;
                    self.read(answer)
                }
            )+
        }

        #[cfg(test)]
        const TABLE: &[Known] = &[$((stringify!($name), stringify!($method), $path),)+];
    };
}

operations! {
    /// Creates a tenant.
    tenants_create() [Value] = POST "/v1/tenants" -> Value;
    /// Lists tenants, newest first.
    tenants_list() ?filters = GET "/v1/tenants" -> Page<Value>;
    /// Shows one tenant.
    tenants_get(id: TenantId) = GET "/v1/tenants/{id}" -> Value;
    /// Changes a tenant.
    tenants_patch(id: TenantId) [Value] = PATCH "/v1/tenants/{id}" -> Value;
    /// Creates a key and shows it once.
    api_keys_create() [Value] = POST "/v1/api-keys" -> Value;
    /// Lists keys, newest first.
    api_keys_list() ?filters = GET "/v1/api-keys" -> Page<Value>;
    /// Gives a key a new text.
    api_keys_roll(id: ApiKeyId) = POST "/v1/api-keys/{id}/roll" -> Value;
    /// Revokes a key.
    api_keys_delete(id: ApiKeyId) = DELETE "/v1/api-keys/{id}" -> ();
    /// Creates an agent.
    agents_create() [NewAgent] = POST "/v1/agents" -> Agent;
    /// Lists agents, newest first.
    agents_list() ?filters = GET "/v1/agents" -> Page<Agent>;
    /// Shows one agent.
    agents_get(id: AgentId) = GET "/v1/agents/{id}" -> Agent;
    /// Changes an agent.
    agents_patch(id: AgentId) [Value] = PATCH "/v1/agents/{id}" -> Agent;
    /// Removes an agent.
    agents_delete(id: AgentId) = DELETE "/v1/agents/{id}" -> ();
    /// Makes a login for an agent's softphone, in the place of an old one.
    agents_sip_login(id: AgentId) = POST "/v1/agents/{id}/sip-login" -> Value;
    /// Shuts an agent's softphone out.
    agents_sip_login_delete(id: AgentId) = DELETE "/v1/agents/{id}/sip-login" -> ();
    /// Creates a trunk.
    trunks_create() [Value] = POST "/v1/trunks" -> Value;
    /// Lists trunks, newest first.
    trunks_list() ?filters = GET "/v1/trunks" -> Page<Value>;
    /// Shows one trunk.
    trunks_get(id: TrunkId) = GET "/v1/trunks/{id}" -> Value;
    /// Changes a trunk.
    trunks_patch(id: TrunkId) [Value] = PATCH "/v1/trunks/{id}" -> Value;
    /// Removes a trunk, from its pools too.
    trunks_delete(id: TrunkId) = DELETE "/v1/trunks/{id}" -> ();
    /// Shows what a trunk and we prove to each other.
    trunks_access(id: TrunkId) = GET "/v1/trunks/{id}/access" -> Value;
    /// Sets our account at the peer.
    trunks_account(id: TrunkId) [Value] = PUT "/v1/trunks/{id}/account" -> Value;
    /// Forgets our account at the peer.
    trunks_account_delete(id: TrunkId) = DELETE "/v1/trunks/{id}/account" -> ();
    /// Makes a login for the peer of a trunk, in the place of an old one.
    trunks_login(id: TrunkId) [Value] = POST "/v1/trunks/{id}/login" -> Value;
    /// Lets the peer of a trunk in by its address alone again.
    trunks_login_delete(id: TrunkId) = DELETE "/v1/trunks/{id}/login" -> ();
    /// Creates a pool.
    pools_create() [Value] = POST "/v1/pools" -> Value;
    /// Lists pools, newest first.
    pools_list() ?filters = GET "/v1/pools" -> Page<Value>;
    /// Shows one pool.
    pools_get(id: PoolId) = GET "/v1/pools/{id}" -> Value;
    /// Changes a pool.
    pools_patch(id: PoolId) [Value] = PATCH "/v1/pools/{id}" -> Value;
    /// Counts a pool's numbers by state, and says how far they go.
    pools_capacity(id: PoolId) = GET "/v1/pools/{id}/capacity" -> Value;
    /// Lists numbers, newest first.
    numbers_list() ?filters = GET "/v1/numbers" -> Page<Value>;
    /// Shows one number.
    numbers_get(x: &VirtualNumber) = GET "/v1/numbers/{x}" -> Value;
    /// Orders a number into another state.
    numbers_patch(x: &VirtualNumber) [Value] = PATCH "/v1/numbers/{x}" -> Value;
    /// Adds a subscriber.
    subscribers_create() [NewSubscriber] = POST "/v1/subscribers" -> Subscriber;
    /// Shows one subscriber.
    subscribers_get(id: SubscriberId) = GET "/v1/subscribers/{id}" -> Subscriber;
    /// Replaces a number.
    subscribers_number(id: SubscriberId) [NewNumber] =
        PUT "/v1/subscribers/{id}/number" -> Subscriber;
    /// Shows when the number of a subscriber was changed, newest first, with a commitment to each
    /// number.
    subscribers_number_history(id: SubscriberId) ?filters =
        GET "/v1/subscribers/{id}/number-history" -> Page<Value>;
    /// Binds an X to a subscriber.
    bindings_create() [NewBinding] = POST "/v1/bindings" -> Binding;
    /// Binds up to 1,000 rows, each as `POST /v1/bindings` would, one after the other.
    bindings_batch() [Value] = POST "/v1/bindings:batch" -> Value;
    /// Lists imports, newest first.
    imports_list() ?filters = GET "/v1/jobs/imports" -> Page<Value>;
    /// Shows how far an import has come.
    imports_get(id: ImportId) = GET "/v1/jobs/imports/{id}" -> Value;
    /// Stops an import that is `running`.
    imports_cancel(id: ImportId) = POST "/v1/jobs/imports/{id}/cancel" -> Value;
    /// Lists bindings, newest first.
    bindings_list() ?filters = GET "/v1/bindings" -> Page<Binding>;
    /// Shows one binding.
    bindings_get(id: BindingId) = GET "/v1/bindings/{id}" -> Binding;
    /// Changes the terms of a binding that is not over.
    bindings_patch(id: BindingId) [Value] = PATCH "/v1/bindings/{id}" -> Binding;
    /// Gives a binding that is not over a new end.
    bindings_renew(id: BindingId) [Renewal] = POST "/v1/bindings/{id}/renew" -> Binding;
    /// Stops routing until it is resumed.
    bindings_suspend(id: BindingId) [EndCalls] = POST "/v1/bindings/{id}/suspend" -> Binding;
    /// Routes again.
    bindings_resume(id: BindingId) = POST "/v1/bindings/{id}/resume" -> Binding;
    /// Ends a binding for good.
    bindings_unbind(id: BindingId) [EndCalls] = POST "/v1/bindings/{id}/unbind" -> Binding;
    /// Says what the next call of an agent to a subscriber is for.
    intents_create() [NewIntent] = POST "/v1/call-intents" -> Intent;
    /// Lists intents, newest first.
    intents_list() ?filters = GET "/v1/call-intents" -> Page<Intent>;
    /// Shows one intent.
    intents_get(id: IntentId) = GET "/v1/call-intents/{id}" -> Intent;
    /// Takes an intent back that still waits.
    intents_cancel(id: IntentId) = POST "/v1/call-intents/{id}/cancel" -> Intent;
    /// Advances the clock of a test tenant.
    test_clock_advance() [Step] = POST "/v1/test-clock/advance" -> Advanced;
    /// Lists calls that are over, refused attempts too, newest first.
    calls_list() ?filters = GET "/v1/calls" -> Page<Call>;
    /// Lists the live calls of this node, newest first.
    calls_live() ?filters = GET "/v1/calls/live" -> Page<Call>;
    /// Shows one call, live or over.
    calls_get(id: CallId) = GET "/v1/calls/{id}" -> Call;
    /// Gives events, oldest first, each at least once.
    events_list() ?filters = GET "/v1/events" -> Events;
    /// Lists every kind of event there is.
    event_types_list() = GET "/v1/event-types" -> Value;
    /// Makes an endpoint.
    webhooks_create() [Value] = POST "/v1/webhook-endpoints" -> Value;
    /// Lists endpoints, newest first.
    webhooks_list() ?filters = GET "/v1/webhook-endpoints" -> Page<Value>;
    /// Shows one endpoint.
    webhooks_get(id: WebhookId) = GET "/v1/webhook-endpoints/{id}" -> Value;
    /// Changes an endpoint.
    webhooks_patch(id: WebhookId) [Value] = PATCH "/v1/webhook-endpoints/{id}" -> Value;
    /// Removes an endpoint, and what waits for it.
    webhooks_delete(id: WebhookId) = DELETE "/v1/webhook-endpoints/{id}" -> ();
    /// Makes a new secret, shown in this answer only.
    webhooks_rotate(id: WebhookId) = POST "/v1/webhook-endpoints/{id}/rotate-secret" -> Value;
    /// Tells the endpoint an event of the kind `webhook.ping`, by the way of all others.
    webhooks_ping(id: WebhookId) = POST "/v1/webhook-endpoints/{id}/ping" -> Value;
    /// Lists what was and will be told to an endpoint, newest first, for 30 days.
    webhooks_deliveries(id: WebhookId) ?filters =
        GET "/v1/webhook-endpoints/{id}/deliveries" -> Page<Value>;
    /// Tells an event once more to the endpoint of this delivery.
    webhooks_replay(id: DeliveryId) = POST "/v1/webhook-deliveries/{id}/replay" -> Value;
    /// Lists recordings, newest first.
    recordings_list() ?filters = GET "/v1/recordings" -> Page<Value>;
    /// Makes a link that fetches a recording once within 15 minutes.
    recordings_link(id: RecordingId) = POST "/v1/recordings/{id}/links" -> Value;
    /// Ends a live call.
    calls_terminate(id: CallId) [Value] = POST "/v1/calls/{id}/terminate" -> Value;
}

/// Those whose bodies are files, or that have no end.
#[cfg(test)]
const OTHERS: &[Known] = &[
    ("numbers_import", "POST", "/v1/numbers:import"),
    ("imports_create", "POST", "/v1/jobs/imports"),
    ("imports_errors", "GET", "/v1/jobs/imports/{id}/errors"),
    ("calls_events", "GET", "/v1/calls/events"),
];

impl Client {
    /// Adds numbers to a pool: its identifier, and the digits.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn numbers_import(
        &self,
        pool: PoolId,
        numbers: &[VirtualNumber],
    ) -> Result<Value, ClientError> {
        let numbers: Vec<&str> = numbers.iter().map(VirtualNumber::as_str).collect();
        let body = serde_json::json!({"pool": pool.to_string(), "numbers": numbers});
        self.send(Method::POST, "/v1/numbers:import", Some(&body)).await
    }

    /// Hands a file of bindings over: `text/csv` or `application/x-ndjson`. A key that signs needs
    /// the digest of the file before it is sent.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn imports_create(
        &self,
        kind: &str,
        file: reqwest::Body,
        digest: Option<BodyDigest>,
    ) -> Result<Value, ClientError> {
        self.upload("/v1/jobs/imports", kind, file, digest).await
    }

    /// The error file of an import, to be read piece by piece.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn imports_errors(&self, id: ImportId) -> Result<Response, ClientError> {
        self.open(&path_of("/v1/jobs/imports/{id}/errors", &[id.to_string()])).await
    }

    /// Tells of the live calls of a node as they go: server-sent events, to be read piece by piece.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn calls_events(
        &self,
        filters: &[(&str, Option<&str>)],
    ) -> Result<Response, ClientError> {
        self.open(&super::with_query("/v1/calls/events", filters)).await
    }

    fn written<T: Serialize>(&self, body: &T) -> Result<Value, ClientError> {
        serde_json::to_value(body).map_err(|_| self.not_the_api())
    }

    fn read<T: DeserializeOwned>(&self, answer: Value) -> Result<T, ClientError> {
        serde_json::from_value(answer).map_err(|_| self.not_the_api())
    }
}

/// A path of the file with its parameters in their places.
fn path_of(path: &str, places: &[String]) -> String {
    let mut out = path.to_owned();
    for place in places {
        let range = out.find('{').zip(out.find('}'));
        let (start, end) = range.expect("the table has a place for each parameter");
        out.replace_range(start..=end, &escape(place));
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use serde_json::{Map, json};

    use super::super::shapes::SHAPES;
    use super::*;
    use crate::api::openapi;

    fn document() -> Value {
        serde_json::to_value(openapi::document()).expect("JSON")
    }

    #[test]
    fn each_operation_of_the_file_has_its_method_and_no_other_is_there() {
        let document = document();
        let mut written = BTreeSet::new();
        for (path, item) in document["paths"].as_object().expect("paths") {
            for (method, operation) in item.as_object().expect("methods") {
                let name = operation["operationId"].as_str().unwrap_or_default().to_owned();
                written.insert((name, method.to_uppercase(), path.clone()));
            }
        }
        let own = |it: &Known| (it.0.to_owned(), it.1.to_owned(), it.2.to_owned());
        let known: BTreeSet<_> = TABLE.iter().chain(OTHERS).map(own).collect();
        assert_eq!(known.len(), TABLE.len() + OTHERS.len(), "one is there twice");
        assert_eq!(known, written);
    }

    /// A value with all that the schema names.
    fn sample(document: &Value, schema: &Value) -> Value {
        if let Some(name) = schema["$ref"].as_str() {
            let name = name.rsplit('/').next().unwrap_or_default();
            let found = &document["components"]["schemas"][name];
            let prefix = found["pattern"].as_str().and_then(|it| it.strip_prefix('^'));
            let prefix = prefix.and_then(|it| it.split_once("_[0-9a-f]{32}"));
            return match prefix {
                Some((prefix, _)) => json!(format!("{prefix}_{:032x}", 7)),
                None => sample(document, found),
            };
        }
        for choice in ["oneOf", "anyOf", "allOf"] {
            let choices = schema[choice].as_array();
            let real = |it: &&Value| it["type"] != "null";
            if let Some(found) = choices.and_then(|all| all.iter().find(real)) {
                return sample(document, found);
            }
        }
        if let Some(first) = schema["enum"].as_array().and_then(|all| all.first()) {
            return first.clone();
        }
        let kinds = schema["type"].as_array();
        let kind = match kinds {
            Some(kinds) => kinds.iter().find(|kind| *kind != "null").cloned(),
            None => Some(schema["type"].clone()),
        };
        match kind.as_ref().and_then(Value::as_str) {
            Some("object") => {
                let fields = schema["properties"].as_object().cloned().unwrap_or_default();
                let fields = fields.iter().map(|(name, it)| (name.clone(), sample(document, it)));
                Value::Object(fields.collect::<Map<_, _>>())
            }
            Some("array") => json!([sample(document, &schema["items"])]),
            Some("string") if schema["format"] == "date-time" => json!("2026-11-24T00:00:00Z"),
            Some("string") => json!("x"),
            Some("integer") => json!(1),
            Some("boolean") => json!(true),
            Some(_) | None => json!({}),
        }
    }

    #[test]
    fn each_shape_has_the_fields_of_its_schema_and_reads_them() {
        let document = document();
        for (name, through) in SHAPES {
            let schema = &document["components"]["schemas"][*name];
            assert!(schema["properties"].is_object(), "{name} is not in the file");
            let whole = sample(&document, schema);
            let read = through(whole.clone());
            let read = read.unwrap_or_else(|error| panic!("{name}: {error} in {whole}"));
            let fields = |value: &Value| -> BTreeMap<String, bool> {
                let all = value.as_object().cloned().unwrap_or_default();
                all.into_iter().map(|(field, value)| (field, value.is_null())).collect()
            };
            assert_eq!(fields(&read), fields(&whole), "{name}");
            // What need not be there may be missing.
            let required = schema["required"].as_array().cloned().unwrap_or_default();
            let mut least = whole.as_object().cloned().unwrap_or_default();
            least.retain(|field, _| required.iter().any(|it| it == field.as_str()));
            assert!(through(Value::Object(least)).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_parameter_stands_in_its_place_and_cannot_leave_it() {
        let path = path_of("/v1/bindings/{id}/unbind", &["bnd_1/../x".to_owned()]);
        assert_eq!(path, "/v1/bindings/bnd_1%2F..%2Fx/unbind");
    }
}
