//! The store as the relay sees it: where routes are found and records are kept.

use std::sync::Arc;

use super::memory::Question;
use super::recorder::{RecordFailure, RecordStore};
use super::routes::{Lookup, RouteSource};
use crate::domain::cdr::Cdr;
use crate::domain::route::{RouteAnswer, RouteQuery};
use crate::store::RelayPool;
use crate::vault::Vault;

/// Routes of the store, opened by the vault.
pub(crate) struct StoreRoutes {
    pool: RelayPool,
    vault: Arc<Vault>,
}

impl StoreRoutes {
    pub(crate) const fn new(pool: RelayPool, vault: Arc<Vault>) -> Self {
        Self { pool, vault }
    }
}

impl RouteSource for StoreRoutes {
    type Sealed = ();

    async fn find(&self, _question: Question) -> Lookup<()> {
        let _ = (&self.pool, &self.vault);
        Lookup::Failed
    }

    fn open(&self, _sealed: &(), _query: &RouteQuery) -> RouteAnswer {
        RouteAnswer::Failed
    }
}

/// Records of the store.
pub(crate) struct StoreRecords {
    pool: RelayPool,
}

impl StoreRecords {
    pub(crate) const fn new(pool: RelayPool) -> Self {
        Self { pool }
    }
}

impl RecordStore for StoreRecords {
    async fn insert(&self, _records: &[Cdr]) -> Result<(), RecordFailure> {
        let _ = &self.pool;
        Err(RecordFailure::Refused)
    }
}
