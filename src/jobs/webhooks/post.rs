//! One attempt: the body, its signature, the connection, and what the answer means.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reqwest::header::{CONTENT_TYPE, HeaderValue, USER_AGENT};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode, Url};
use serde_json::json;
use tokio::time::timeout;

use super::resolve::{Checked, Names, NoAddress};
use super::sign::sign;
use crate::domain::webhook::{Reach, WebhookUrl};
use crate::relay::now::now;
use crate::store::delivery::Claimed;

/// An attempt takes no longer than this, with the lookup and the answer.
pub const TRY_TIME: Duration = Duration::from_secs(15);
/// What is read of an answer at most; nothing of it is kept.
pub const RESPONSE_BYTES_MAX: usize = 4 << 10;

/// What became of an attempt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The receiver answered 2xx.
    Delivered,
    /// It answered 410: nothing more, please.
    Gone,
    /// It answered something else.
    Refused,
    /// It wants us to go elsewhere, which we do not.
    Redirected,
    /// It took too long.
    TimedOut,
    /// There was no connection, or it broke, or its name leads nowhere.
    Unreachable,
    /// Its URL leads to where nothing may be sent.
    Forbidden,
}

impl Outcome {
    /// The stable word in the store, the API and metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Gone => "gone",
            Self::Refused => "refused",
            Self::Redirected => "redirected",
            Self::TimedOut => "timed_out",
            Self::Unreachable => "unreachable",
            Self::Forbidden => "forbidden",
        }
    }

    fn of_status(status: StatusCode) -> Self {
        if status.is_success() {
            Self::Delivered
        } else if status == StatusCode::GONE {
            Self::Gone
        } else if status.is_redirection() {
            Self::Redirected
        } else {
            Self::Refused
        }
    }
}

/// An attempt that is over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Posted {
    pub(super) outcome: Outcome,
    pub(super) status: Option<u16>,
    pub(super) took: Duration,
}

/// Sends to receivers.
#[derive(Debug)]
pub struct Poster {
    client: Client,
    reach: Reach,
    tries_for: Duration,
}

impl Poster {
    /// One that finds receivers by these names, and gives each attempt so long; [`TRY_TIME`] is
    /// usual. Neither a proxy of the environment nor a redirect leads it elsewhere, and every
    /// connection serves one attempt.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn new(
        names: Arc<dyn Names>,
        reach: Reach,
        tries_for: Duration,
    ) -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .https_only(!reach.allow_http)
            .dns_resolver(Arc::new(Checked { names, reach }))
            .pool_max_idle_per_host(0)
            .timeout(tries_for)
            .build()?;
        Ok(Self { client, reach, tries_for })
    }

    pub(super) async fn post(&self, claimed: &Claimed, at: SystemTime) -> Posted {
        let begun = now().monotonic;
        let (outcome, status) = match timeout(self.tries_for, self.try_once(claimed, at)).await {
            Ok(Ok(status)) => (Outcome::of_status(status), Some(status.as_u16())),
            Ok(Err(outcome)) => (outcome, None),
            Err(_) => (Outcome::TimedOut, None),
        };
        Posted { outcome, status, took: now().monotonic.saturating_duration_since(begun) }
    }

    async fn try_once(&self, claimed: &Claimed, at: SystemTime) -> Result<StatusCode, Outcome> {
        // What was allowed when it was written need not be so now.
        let url = WebhookUrl::parse(&claimed.url, self.reach).map_err(|_| Outcome::Forbidden)?;
        let target = Url::parse(url.as_str()).map_err(|_| Outcome::Forbidden)?;
        // The client must see the host that was looked at.
        if !target.host_str().is_some_and(|host| host.eq_ignore_ascii_case(url.host())) {
            return Err(Outcome::Forbidden);
        }
        let unix = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let (id, body) = (claimed.event.id.to_string(), body(claimed));
        let signature = sign(&claimed.secrets, &id, unix, body.as_bytes());
        let agent = concat!("maskline/", env!("CARGO_PKG_VERSION"));
        let request = self
            .client
            .post(target)
            .header(USER_AGENT, HeaderValue::from_static(agent))
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header("webhook-id", id)
            .header("webhook-timestamp", unix)
            .header("webhook-signature", signature)
            .body(body);
        let response = request.send().await.map_err(|error| why(&error))?;
        let status = response.status();
        drain(response).await;
        Ok(status)
    }
}

/// The words of the error are the receiver's, in part: only its kind is looked at.
fn why(error: &reqwest::Error) -> Outcome {
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    while let Some(inner) = cause {
        if inner.downcast_ref() == Some(&NoAddress::Closed) {
            return Outcome::Forbidden;
        }
        cause = inner.source();
    }
    if error.is_timeout() { Outcome::TimedOut } else { Outcome::Unreachable }
}

/// Reads a little of the answer, so that the receiver is not cut off in the middle of a short one.
/// What counts is the status, which is there already.
async fn drain(mut response: Response) {
    let mut read = 0;
    while let Ok(Some(chunk)) = response.chunk().await {
        read += chunk.len();
        if read >= RESPONSE_BYTES_MAX {
            return;
        }
    }
}

/// The envelope, as `GET /v1/events` gives it too.
fn body(claimed: &Claimed) -> String {
    let event = &claimed.event;
    let at = jiff::Timestamp::try_from(event.occurred_at).unwrap_or_default();
    json!({
        "id": event.id.to_string(),
        "type": event.kind,
        "timestamp": at.to_string(),
        "sequence": event.sequence,
        "data": event.data,
    })
    .to_string()
}
