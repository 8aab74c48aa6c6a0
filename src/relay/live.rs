//! The live calls of this process, as lists show them and as watchers are told of them. Written by
//! the shards, read by the API.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{Receiver, Sender, channel};
use tokio::time::{Instant, timeout_at};

use super::handle::Shared;
use crate::call::io::{CallStatus, LiveCall};
use crate::domain::id::{BindingId, CallId, TenantId};

/// The most changes that wait for a watcher; one that is further behind is given all calls anew.
const CHANGES_MAX: usize = 1_024;
/// The most that watch at a time.
pub const WATCHERS_MAX: usize = 64;
/// The most of them that are one tenant's.
pub const TENANT_WATCHERS_MAX: usize = 8;

/// Live calls by id. Bounded by the calls that the brain admits.
#[derive(Debug)]
pub(crate) struct LiveTable {
    calls: Mutex<BTreeMap<CallId, LiveCall>>,
    changes: Sender<Arc<LiveCall>>,
    watchers: Mutex<BTreeMap<TenantId, usize>>,
}

impl Default for LiveTable {
    fn default() -> Self {
        let changes = channel(CHANGES_MAX).0;
        Self { calls: Mutex::default(), changes, watchers: Mutex::default() }
    }
}

impl LiveTable {
    /// Takes a new status; an ended call leaves the table.
    pub(crate) fn record(&self, call: LiveCall) {
        let mut calls = self.lock();
        // Told under the lock: who takes all calls and the changes after them misses none and sees
        // none twice.
        if self.changes.receiver_count() > 0 {
            // It fails when the last watcher has gone meanwhile.
            let _ = self.changes.send(Arc::new(call.clone()));
        }
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
        of(&self.lock(), tenant)
    }

    /// The bindings that calls go through.
    pub(crate) fn bindings(&self) -> BTreeSet<(TenantId, BindingId)> {
        self.lock().values().map(|call| (call.tenant, call.binding)).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// A tenant's calls, and every change from then on.
    fn follow(&self, tenant: TenantId) -> (Vec<LiveCall>, Receiver<Arc<LiveCall>>) {
        let calls = self.lock();
        (of(&calls, tenant), self.changes.subscribe())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<CallId, LiveCall>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watchers(&self) -> MutexGuard<'_, BTreeMap<TenantId, usize>> {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn of(calls: &BTreeMap<CallId, LiveCall>, tenant: TenantId) -> Vec<LiveCall> {
    calls.values().filter(|call| call.tenant == tenant).cloned().collect()
}

/// What a watcher is told.
#[derive(Clone, Debug)]
pub enum LiveNews {
    /// All live calls of the tenant, oldest first: what was told before is void.
    All(Vec<LiveCall>),
    /// One call is new, has gone on, or has ended.
    Changed(Arc<LiveCall>),
    /// Nothing, for as long as the watcher wanted to wait.
    Quiet,
}

/// One who watches the calls of a tenant. Its place is free again when this is dropped.
#[derive(Debug)]
pub struct LiveWatch {
    shared: Arc<Shared>,
    tenant: TenantId,
    /// None: all calls have to be told first.
    changes: Option<Receiver<Arc<LiveCall>>>,
}

impl LiveWatch {
    /// `None` when there are as many watchers as there may be.
    pub(super) fn begin(shared: &Arc<Shared>, tenant: TenantId) -> Option<Self> {
        let mut watchers = shared.live.watchers();
        let is_full = watchers.values().sum::<usize>() >= WATCHERS_MAX
            || watchers.get(&tenant).is_some_and(|count| *count >= TENANT_WATCHERS_MAX);
        if is_full {
            return None;
        }
        *watchers.entry(tenant).or_default() += 1;
        drop(watchers);
        Some(Self { shared: Arc::clone(shared), tenant, changes: None })
    }

    /// Waits for what comes next, no longer than until `quiet_max` from now. Can be given up at any
    /// time without a loss.
    pub async fn next(&mut self, quiet_max: Duration) -> LiveNews {
        let until = Instant::now() + quiet_max;
        while let Some(changes) = &mut self.changes {
            match timeout_at(until, changes.recv()).await {
                Ok(Ok(call)) if call.tenant == self.tenant => return LiveNews::Changed(call),
                Ok(Ok(_)) => {}
                // It was too slow, and some changes are lost to it.
                Ok(Err(RecvError::Lagged(_) | RecvError::Closed)) => self.changes = None,
                Err(_) => return LiveNews::Quiet,
            }
        }
        let (calls, changes) = self.shared.live.follow(self.tenant);
        self.changes = Some(changes);
        LiveNews::All(calls)
    }
}

impl Drop for LiveWatch {
    fn drop(&mut self) {
        let mut watchers = self.shared.live.watchers();
        if let Some(count) = watchers.get_mut(&self.tenant) {
            *count -= 1;
        }
        watchers.retain(|_, count| *count > 0);
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::domain::cdr::Direction;
    use crate::domain::number::VirtualNumber;
    use crate::relay::handle::Handle;

    const OURS: TenantId = TenantId::from_u128(1);

    fn call(tenant: TenantId, n: u128, status: CallStatus) -> LiveCall {
        LiveCall {
            call: CallId::from_u128(n),
            tenant,
            binding: BindingId::from_u128(1),
            agent: None,
            virtual_number: VirtualNumber::parse("17000000001").expect("a number"),
            direction: Direction::ToSubscriber,
            status,
            started_at: SystemTime::UNIX_EPOCH,
            answered_at: None,
        }
    }

    fn record(handle: &Handle, n: u128, status: CallStatus) {
        handle.shared().live.record(call(OURS, n, status));
    }

    /// What is there to be told, without waiting.
    async fn told(watch: &mut LiveWatch) -> String {
        match watch.next(Duration::ZERO).await {
            LiveNews::All(calls) => {
                format!("all {:?}", calls.iter().map(|it| it.call.as_u128()).collect::<Vec<_>>())
            }
            LiveNews::Changed(call) => format!("{} {:?}", call.call.as_u128(), call.status),
            LiveNews::Quiet => "quiet".to_owned(),
        }
    }

    #[tokio::test]
    async fn a_watcher_is_told_all_calls_and_then_every_change_of_its_tenant() {
        let handle = Handle::detached();
        record(&handle, 1, CallStatus::Ringing);
        let mut watch = handle.watch_live(OURS).expect("a place");
        assert_eq!(told(&mut watch).await, "all [1]");
        record(&handle, 2, CallStatus::Calling);
        handle.shared().live.record(call(TenantId::from_u128(2), 3, CallStatus::Calling));
        record(&handle, 1, CallStatus::Ended);
        assert_eq!(told(&mut watch).await, "2 Calling");
        assert_eq!(told(&mut watch).await, "1 Ended");
        assert_eq!(told(&mut watch).await, "quiet");
    }

    #[tokio::test]
    async fn a_watcher_that_is_too_slow_is_given_all_calls_anew() {
        let handle = Handle::detached();
        let mut watch = handle.watch_live(OURS).expect("a place");
        assert_eq!(told(&mut watch).await, "all []");
        for n in 0..=CHANGES_MAX as u128 {
            record(&handle, n, CallStatus::Calling);
            record(&handle, n, CallStatus::Ended);
        }
        record(&handle, 7, CallStatus::Answered);
        assert_eq!(told(&mut watch).await, "all [7]");
        assert_eq!(told(&mut watch).await, "quiet");
    }

    #[test]
    fn there_are_so_many_watchers_and_no_more() {
        let handle = Handle::detached();
        let watch = |n: usize| handle.watch_live(TenantId::from_u128(n as u128));
        let mut ours: Vec<_> = (0..TENANT_WATCHERS_MAX).map(|_| watch(1)).collect();
        assert!(ours.iter().all(Option::is_some) && watch(1).is_none() && watch(2).is_some());
        ours.pop();
        assert!(watch(1).is_some(), "a place is not given back");
        let others: Vec<_> = (2..).map_while(watch).take(WATCHERS_MAX).collect();
        assert_eq!(ours.len() + others.len(), WATCHERS_MAX);
    }
}
