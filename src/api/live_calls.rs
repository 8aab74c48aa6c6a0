//! Live calls as they go: a stream of server-sent events (WHATWG HTML, "Server-sent events") that
//! begins with all of them.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::response::IntoResponse;
use axum::response::sse::{Event, Sse};
use futures_util::stream::unfold;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::auth::Actor;
use super::calls::{CallBody, live_tenant};
use super::error::{ApiError, Code, Problem};
use super::extract::Query;
use super::values::Id;
use crate::domain::id::TenantId;
use crate::relay::handle::{LiveNews, LiveWatch};
use crate::store::api_key::KeyOwner;

/// How long a stream is silent at the most, and how long it may outlive its key.
pub const HEARTBEAT: Duration = Duration::from_secs(15);

/// Whose live calls.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct StreamParams {
    /// The platform's keys name the tenant; a tenant's keys leave it out.
    #[param(value_type = Option<TenantId>)]
    tenant_id: Option<Id<TenantId>>,
}

/// The data of the event `snapshot`.
#[derive(Debug, Serialize, ToSchema)]
pub struct SnapshotBody {
    /// All live calls of this node, oldest first; what was told before is void.
    data: Vec<CallBody>,
}

/// One stream on its way.
struct Stream {
    api: Api,
    actor: Actor,
    watch: LiveWatch,
    /// When the key was last found to be good.
    checked_at: Instant,
}

/// Tells of the live calls of this node as they go. The stream begins with the event `snapshot`,
/// which holds all of them; then each call that is new, has gone on or has ended is an event `call`
/// with the call as `/calls/{id}` shows it. Another `snapshot` comes when the reader was too slow.
/// A comment comes when 15 seconds were silent. Connect again whenever the stream ends: there is
/// nothing to be resumed. At most 8 streams of a tenant, and 64 of a node.
#[utoipa::path(get, path = "/calls/events", operation_id = "calls_events", tag = "calls",
    params(StreamParams),
    responses((status = 200, content_type = "text/event-stream", body = SnapshotBody),
        (status = "4XX", body = Problem)))]
pub async fn stream(
    State(api): State<Api>,
    actor: Actor,
    Query(params): Query<StreamParams>,
) -> Result<impl IntoResponse, ApiError> {
    let tenant = live_tenant(&api, &actor, params.tenant_id).await?;
    let watch = api.relay().watch_live(tenant).ok_or(ApiError::new(Code::TooManyStreams))?;
    let checked_at = api.now().monotonic;
    let stream = Stream { api, actor, watch, checked_at };
    let events = unfold(stream, async |mut stream| {
        let event = stream.next().await?;
        Some((Ok::<_, Infallible>(event), stream))
    });
    // A proxy that gathers a stream before it passes it on would make it useless.
    let headers = [("cache-control", "no-store"), ("x-accel-buffering", "no")];
    Ok((headers, Sse::new(events)))
}

impl Stream {
    /// The next event; `None` ends the stream.
    async fn next(&mut self) -> Option<Event> {
        let stop = self.api.stop().clone();
        let news = tokio::select! {
            news = self.watch.next(self.api.heartbeat()) => news,
            () = stop.cancelled() => return None,
        };
        let now = self.api.now();
        let is_due = matches!(news, LiveNews::Quiet)
            || now.monotonic.saturating_duration_since(self.checked_at) >= self.api.heartbeat();
        if is_due {
            self.is_permitted().await.then_some(())?;
            self.checked_at = now.monotonic;
        }
        let event = match news {
            LiveNews::All(calls) => {
                let data = calls.into_iter().map(CallBody::from).collect();
                Event::default().event("snapshot").json_data(SnapshotBody { data })
            }
            LiveNews::Changed(call) => {
                Event::default().event("call").json_data(CallBody::from((*call).clone()))
            }
            LiveNews::Quiet => Ok(Event::default().comment("")),
        };
        // Bodies are made of maps and strings: they can be written.
        event.ok()
    }

    /// A key that is over, and one that cannot be asked for, ends the stream.
    async fn is_permitted(&self) -> bool {
        let owner = match self.actor.tenant {
            Some(tenant) => KeyOwner::Tenant(tenant),
            None => KeyOwner::Anybody { only_test: false },
        };
        let found = self.api.store().find_api_key_of(owner, self.actor.key).await;
        let now = self.api.now().wall;
        found.is_ok_and(|key| {
            key.is_some_and(|key| {
                key.revoked_at.is_none() && key.expires_at.is_none_or(|at| now < at)
            })
        })
    }
}
