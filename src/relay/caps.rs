//! The caps against fraud of a node: one ledger for all shards, which puts into each route what
//! holds for it. The brains themselves count without a lock.

use std::sync::{Arc, Mutex, PoisonError};

use super::now::now;
use crate::domain::route::RouteAnswer;
use crate::policy::caps::Ledger;

/// What all shards count in.
#[derive(Clone, Debug)]
pub(crate) struct Caps(Option<Arc<Mutex<Ledger>>>);

impl Caps {
    /// Those of a ledger; nothing is looked up where nothing is limited.
    pub(crate) fn new(ledger: Ledger) -> Self {
        Self((!ledger.is_open()).then(|| Arc::new(Mutex::new(ledger))))
    }

    /// The answer with the caps that hold for it. An attempt that cannot be counted fails.
    pub(crate) fn put_into(&self, mut answer: RouteAnswer) -> RouteAnswer {
        let (Some(ledger), RouteAnswer::Found(route)) = (&self.0, &mut answer) else {
            return answer;
        };
        let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
        match ledger.caps_of(now().unix_ms(), route) {
            Ok(caps) => {
                route.caps = caps;
                answer
            }
            Err(full) => {
                metrics::counter!("maskline_caps_uncounted_total").increment(1);
                tracing::error!(?full, "An attempt is refused: too many subjects are counted");
                RouteAnswer::Failed
            }
        }
    }
}
