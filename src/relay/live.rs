//! The live calls of this process, as lists show them. Written by the shards, read by the API.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::call::io::{CallStatus, LiveCall};
use crate::domain::id::{BindingId, CallId, TenantId};

/// Live calls by id. Bounded by the calls that the brain admits.
#[derive(Debug, Default)]
pub(crate) struct LiveTable(Mutex<BTreeMap<CallId, LiveCall>>);

impl LiveTable {
    /// Takes a new status; an ended call leaves the table.
    pub(crate) fn record(&self, call: LiveCall) {
        let mut calls = self.lock();
        match call.status {
            CallStatus::Calling | CallStatus::Ringing | CallStatus::Answered => {
                calls.insert(call.call, call);
            }
            CallStatus::Ended => {
                calls.remove(&call.call);
            }
        }
    }

    pub(crate) fn find(&self, call: CallId) -> Option<LiveCall> {
        self.lock().get(&call).cloned()
    }

    /// The calls of one tenant, oldest first.
    pub(crate) fn of_tenant(&self, tenant: TenantId) -> Vec<LiveCall> {
        self.lock().values().filter(|call| call.tenant == tenant).cloned().collect()
    }

    /// The bindings that calls go through.
    pub(crate) fn bindings(&self) -> BTreeSet<(TenantId, BindingId)> {
        self.lock().values().map(|call| (call.tenant, call.binding)).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<CallId, LiveCall>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
