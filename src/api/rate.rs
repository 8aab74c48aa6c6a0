//! How many requests a key and a tenant may make: so many in a second, and as many at once after a
//! pause. Each node counts for itself.

use std::fmt;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};

use super::Clock;
use super::auth::Actor;

/// Requests that may come at once, as a time at the full rate.
pub const BURST_S: u32 = 2;
/// The most keys or tenants that are remembered before those that have all they may are forgotten.
/// There are never more than have a valid key.
const REMEMBERED_MAX: usize = 10_000;

const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// Requests a second; 0 is no limit.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Rates {
    /// Of one key.
    pub key: u32,
    /// Of all keys of one tenant together.
    pub tenant: u32,
}

/// What each key and each tenant has left.
pub(super) struct Rate {
    keys: Option<Buckets>,
    tenants: Option<Buckets>,
}

type Buckets = RateLimiter<u128, DashMapStateStore<u128>, Monotonic, StateInformationMiddleware>;

/// The clock of the API, as the buckets read it.
#[derive(Clone)]
struct Monotonic(Clock);

impl governor::clock::Clock for Monotonic {
    type Instant = Instant;

    fn now(&self) -> Instant {
        (self.0)().monotonic
    }
}

/// What an answer says of the limit that is nearer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Left {
    limit: u32,
    remaining: u32,
}

impl Rate {
    pub(super) fn new(rates: Rates, clock: &Clock) -> Self {
        Self { keys: buckets(rates.key, clock), tenants: buckets(rates.tenant, clock) }
    }

    /// Counts a request; what is left of the limit that is nearer.
    ///
    /// # Errors
    /// The limit that it is one too many for.
    pub(super) fn admit(&self, actor: &Actor) -> Result<Option<Left>, Left> {
        let key = take(self.keys.as_ref(), actor.key.as_u128(), "key")?;
        let tenant = actor.tenant.map(|tenant| tenant.as_u128());
        let tenant = tenant.map(|id| take(self.tenants.as_ref(), id, "tenant")).transpose()?;
        Ok(key.into_iter().chain(tenant.flatten()).min_by_key(|left| left.remaining))
    }
}

impl fmt::Debug for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rate")
    }
}

impl Left {
    /// Says it in the header fields of draft-ietf-httpapi-ratelimit-headers-06.
    pub(super) fn write(self, headers: &mut HeaderMap) {
        let burst = self.limit.saturating_mul(BURST_S);
        let reset_s = burst.saturating_sub(self.remaining).div_ceil(self.limit.max(1));
        for (name, value) in [(LIMIT, self.limit), (REMAINING, self.remaining), (RESET, reset_s)] {
            headers.insert(name, HeaderValue::from(value));
        }
    }
}

fn buckets(rate: u32, clock: &Clock) -> Option<Buckets> {
    let rate = NonZeroU32::new(rate)?;
    let burst = rate.saturating_mul(NonZeroU32::new(BURST_S)?);
    let quota = Quota::per_second(rate).allow_burst(burst);
    let limiter = RateLimiter::dashmap_with_clock(quota, Monotonic(clock.clone()));
    Some(limiter.with_middleware())
}

fn take(buckets: Option<&Buckets>, id: u128, limit: &'static str) -> Result<Option<Left>, Left> {
    let Some(buckets) = buckets else { return Ok(None) };
    if buckets.len() > REMEMBERED_MAX {
        buckets.retain_recent();
    }
    match buckets.check_key(&id) {
        Ok(state) => Ok(Some(left(state.quota(), state.remaining_burst_capacity()))),
        Err(not_yet) => {
            metrics::counter!("maskline_http_rate_limited_total", "limit" => limit).increment(1);
            Err(left(not_yet.quota(), 0))
        }
    }
}

fn left(quota: Quota, remaining: u32) -> Left {
    let second = Duration::from_secs(1).as_nanos();
    let each = quota.replenish_interval().as_nanos().max(1);
    let limit = u32::try_from(second / each).unwrap_or(u32::MAX);
    Left { limit, remaining }
}
