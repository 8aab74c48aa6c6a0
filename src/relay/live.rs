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
#[derive(Debug, Default)]
pub(crate) struct LiveTable(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    calls: BTreeMap<CallId, LiveCall>,
    /// The tenants that are watched: no tenant's changes wake another's watchers.
    watched: BTreeMap<TenantId, Watched>,
}

#[derive(Debug)]
struct Watched {
    watchers: usize,
    changes: Sender<Arc<LiveCall>>,
}

impl Default for Watched {
    fn default() -> Self {
        Self { watchers: 0, changes: channel(CHANGES_MAX).0 }
    }
}

impl Table {
    fn of(&self, tenant: TenantId) -> Vec<LiveCall> {
        self.calls.values().filter(|call| call.tenant == tenant).cloned().collect()
    }
}

impl LiveTable {
    /// Takes a new status; an ended call leaves the table.
    pub(crate) fn record(&self, call: LiveCall) {
        let mut table = self.lock();
        // Told under the lock: who takes all calls and the changes after them misses none and sees
        // none twice.
        if let Some(watched) = table.watched.get(&call.tenant) {
            // It fails while no watcher has asked for anything yet.
            let _ = watched.changes.send(Arc::new(call.clone()));
        }
        match call.status {
            CallStatus::Calling | CallStatus::Ringing | CallStatus::Answered => {
                table.calls.insert(call.call, call);
            }
            CallStatus::Ended => {
                table.calls.remove(&call.call);
            }
        }
    }

    pub(crate) fn find(&self, call: CallId) -> Option<LiveCall> {
        self.lock().calls.get(&call).cloned()
    }

    /// The calls of one tenant, oldest first.
    pub(crate) fn of_tenant(&self, tenant: TenantId) -> Vec<LiveCall> {
        self.lock().of(tenant)
    }

    /// The bindings that calls go through.
    pub(crate) fn bindings(&self) -> BTreeSet<(TenantId, BindingId)> {
        self.lock().calls.values().map(|call| (call.tenant, call.binding)).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().calls.len()
    }

    /// A tenant's calls, and every change from then on.
    fn follow(&self, tenant: TenantId) -> (Vec<LiveCall>, Receiver<Arc<LiveCall>>) {
        let mut table = self.lock();
        let changes = table.watched.entry(tenant).or_default().changes.subscribe();
        (table.of(tenant), changes)
    }

    /// Takes a watcher's place, if there is one.
    fn watch(&self, tenant: TenantId) -> bool {
        let mut table = self.lock();
        let all = table.watched.values().map(|watched| watched.watchers).sum::<usize>();
        let ours = table.watched.get(&tenant).map_or(0, |watched| watched.watchers);
        let fits = all < WATCHERS_MAX && ours < TENANT_WATCHERS_MAX;
        if fits {
            table.watched.entry(tenant).or_default().watchers += 1;
        }
        fits
    }

    /// Gives a watcher's place back; the last one takes the tenant's channel with it.
    fn leave(&self, tenant: TenantId) {
        let mut table = self.lock();
        if let Some(watched) = table.watched.get_mut(&tenant) {
            watched.watchers = watched.watchers.saturating_sub(1);
        }
        table.watched.retain(|_, watched| watched.watchers > 0);
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
        let has_place = shared.live.watch(tenant);
        has_place.then(|| Self { shared: Arc::clone(shared), tenant, changes: None })
    }

    /// Waits for what comes next, no longer than until `quiet_max` from now. Can be given up at any
    /// time without a loss.
    pub async fn next(&mut self, quiet_max: Duration) -> LiveNews {
        let until = Instant::now() + quiet_max;
        while let Some(changes) = &mut self.changes {
            match timeout_at(until, changes.recv()).await {
                Ok(Ok(call)) => return LiveNews::Changed(call),
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
        self.shared.live.leave(self.tenant);
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

    #[tokio::test]
    async fn a_busy_tenant_makes_no_other_late() {
        let handle = Handle::detached();
        let mut watch = handle.watch_live(OURS).expect("a place");
        let mut busy = handle.watch_live(TenantId::from_u128(2)).expect("a place");
        assert_eq!(
            (told(&mut watch).await, told(&mut busy).await),
            ("all []".into(), "all []".into())
        );
        record(&handle, 1, CallStatus::Calling);
        for n in 10..10 + 2 * CHANGES_MAX as u128 {
            handle.shared().live.record(call(TenantId::from_u128(2), n, CallStatus::Calling));
        }
        assert_eq!(told(&mut watch).await, "1 Calling", "it was not late");
        assert!(told(&mut busy).await.starts_with("all [10, 11,"));
        drop((watch, busy));
        assert!(handle.shared().live.lock().watched.is_empty(), "a channel is left");
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
