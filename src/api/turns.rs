//! Who may bring a large body now: so many of a tenant and of all together, and nobody else's is
//! read. What waits would lie in the memory of the process that relays calls.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Api;
use super::auth::Actor;
use super::error::{ApiError, Code};
use super::roles::{BASE, BATCH_PATH};
use crate::domain::id::TenantId;

/// Batches of one tenant that are read, wait or are bound: one more works while one is bound.
pub const TENANT_BATCHES_MAX: usize = 2;
/// The same of all tenants together.
pub const ALL_BATCHES_MAX: usize = 16;

/// How many each tenant has; one without any has no entry.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<BTreeMap<TenantId, usize>>);

/// A place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    turns: Arc<Turns>,
    tenant: TenantId,
}

impl Turns {
    /// A place, if there is one.
    pub(super) fn enter(self: &Arc<Self>, tenant: TenantId) -> Option<Place> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = counts.get(&tenant).copied().unwrap_or_default();
        if own >= TENANT_BATCHES_MAX || counts.values().sum::<usize>() >= ALL_BATCHES_MAX {
            return None;
        }
        counts.insert(tenant, own + 1);
        Some(Place { turns: Arc::clone(self), tenant })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.turns.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left = counts.remove(&self.tenant).unwrap_or_default().saturating_sub(1);
        if left > 0 {
            counts.insert(self.tenant, left);
        }
    }
}

/// The layer around batches, inside authentication.
pub(super) async fn wait(
    State(api): State<Api>,
    actor: Actor,
    request: Request,
    next: Next,
) -> Response {
    let path = request.extensions().get::<MatchedPath>();
    let is_batch = path.and_then(|it| it.as_str().strip_prefix(BASE)) == Some(BATCH_PATH);
    let (true, Some(tenant)) = (is_batch, actor.tenant) else { return next.run(request).await };
    let Some(place) = api.turns().enter(tenant) else {
        return ApiError::new(Code::Unavailable).into_response();
    };
    let response = next.run(request).await;
    drop(place);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_has_its_places_and_all_have_theirs_and_what_is_left_is_free_again() {
        let turns = Arc::new(Turns::default());
        let tenant = |n: u64| TenantId::new(1, u128::from(n));
        let own: Vec<_> = (0..TENANT_BATCHES_MAX).map(|_| turns.enter(tenant(0))).collect();
        assert!(own.iter().all(Option::is_some) && turns.enter(tenant(0)).is_none());
        let others: Vec<_> =
            (TENANT_BATCHES_MAX..ALL_BATCHES_MAX).map(|n| turns.enter(tenant(n as u64))).collect();
        assert!(others.iter().all(Option::is_some));
        assert!(turns.enter(tenant(99)).is_none(), "there are no more than for all");
        drop(own);
        let place = turns.enter(tenant(0));
        assert!(place.is_some());
        drop((place, others));
        assert!(turns.0.lock().expect("whole").is_empty());
    }
}
