//! Events: what has happened to a tenant's things, to be pulled in order, and the list of their
//! kinds. What is pulled is what webhooks bring.

use std::borrow::Cow;

use axum::extract::State;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use super::Api;
use super::auth::TenantActor;
use super::error::{ApiError, Problem};
use super::extract::Query;
use super::paging::Limit;
use super::values::{Id, RULE_MARK, Time, text_schema};
use crate::domain::event::EventKind;
use crate::domain::id::EventId;
use crate::store::outbox::Event;

/// The first byte of a cursor of events: no other list's begins so.
const CURSOR_VERSION: u8 = 2;
/// The most kinds of one filter.
pub const KINDS_MAX: usize = 32;

/// The place after an event.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct EventCursor(u64);

impl EventCursor {
    fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (version, sequence) = bytes.split_first()?;
        let sequence = <[u8; 8]>::try_from(sequence).ok()?;
        (*version == CURSOR_VERSION).then(|| Self(u64::from_be_bytes(sequence)))
    }

    fn write(self) -> String {
        let mut bytes = vec![CURSOR_VERSION];
        bytes.extend_from_slice(&self.0.to_be_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }
}

impl<'de> Deserialize<'de> for EventCursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom(format_args!("{RULE_MARK}cursor")))
    }
}

impl PartialSchema for EventCursor {
    fn schema() -> RefOr<Schema> {
        let text = "The place after an event: the `next_cursor` of the page before.";
        text_schema("^A[g-v][A-Za-z0-9_-]{10}$", Some(text))
    }
}

impl ToSchema for EventCursor {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("EventCursor")
    }
}

/// Kinds with commas between them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Kinds(Vec<EventKind>);

impl<'de> Deserialize<'de> for Kinds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let kinds: Option<Vec<_>> =
            text.split(',').take(KINDS_MAX + 1).map(EventKind::find_label).collect();
        let kinds = kinds.filter(|kinds| kinds.len() <= KINDS_MAX).map(Self);
        kinds.ok_or_else(|| de::Error::custom(format_args!("{RULE_MARK}invalid")))
    }
}

/// Which events.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventParams {
    /// Events of the page, 1 to 200; 50 when absent.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 200)]
    limit: Option<Limit>,
    /// `next_cursor` of the page before; without it the oldest event comes first.
    cursor: Option<EventCursor>,
    /// These kinds only, with commas between them.
    #[serde(rename = "type")]
    #[param(value_type = Option<Vec<EventKind>>, explode = false, min_items = 1, max_items = 32)]
    kinds: Option<Kinds>,
}

/// An event, as webhooks bring it too.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventBody {
    /// The same however often it is told.
    #[schema(value_type = EventId)]
    id: Id<EventId>,
    /// One of `/event-types`.
    #[serde(rename = "type")]
    kind: String,
    /// When it happened.
    timestamp: Time,
    /// Counts the tenant's events without a gap.
    sequence: u64,
    /// What is worth knowing; never a real number.
    data: Value,
}

impl From<Event> for EventBody {
    fn from(event: Event) -> Self {
        Self {
            id: Id(event.id),
            kind: event.kind,
            timestamp: Time(event.occurred_at),
            sequence: event.sequence,
            data: event.data,
        }
    }
}

/// Events in their order.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventsBody {
    /// Oldest first.
    data: Vec<EventBody>,
    /// There are more of them now.
    has_more: bool,
    /// Where the next page begins, whether or not there is one yet: keep it, and ask again later.
    next_cursor: String,
}

/// A kind of event.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventTypeBody {
    /// Such as `binding.created`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// What has happened then.
    description: &'static str,
}

/// All kinds of events.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventTypesBody {
    /// All of them.
    data: Vec<EventTypeBody>,
}

/// Gives events, oldest first, each at least once: whoever keeps `next_cursor` after each page
/// misses none. An event is there about a second after what it tells of.
#[utoipa::path(get, path = "/events", operation_id = "events_list", tag = "events",
    params(EventParams),
    responses((status = 200, body = EventsBody), (status = "4XX", body = Problem)))]
pub async fn list(
    State(api): State<Api>,
    actor: TenantActor,
    Query(params): Query<EventParams>,
) -> Result<axum::Json<EventsBody>, ApiError> {
    let limit = params.limit.unwrap_or_default().rows();
    let after = params.cursor.unwrap_or_default();
    let kinds = params.kinds.unwrap_or_default().0;
    let mut tx = api.store().tenant(actor.tenant).await?;
    // One more than wanted, to learn whether there are more.
    let mut events = tx.list_events(after.0, &kinds, limit + 1).await?;
    let has_more = events.len() > usize::from(limit);
    events.truncate(limit.into());
    let next = events.last().map_or(after, |event| EventCursor(event.sequence));
    let data = events.into_iter().map(EventBody::from).collect();
    Ok(axum::Json(EventsBody { data, has_more, next_cursor: next.write() }))
}

/// Lists every kind of event there is.
#[utoipa::path(get, path = "/event-types", operation_id = "event_types_list", tag = "events",
    responses((status = 200, body = EventTypesBody), (status = "4XX", body = Problem)))]
pub async fn types() -> axum::Json<EventTypesBody> {
    let body = |kind: &EventKind| EventTypeBody { kind: kind.label(), description: kind.says() };
    axum::Json(EventTypesBody { data: EventKind::ALL.iter().map(body).collect() })
}
