//! What the API and the jobs may ask of the running relay: forget what has changed, end calls, list
//! them, stop.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;

pub use crate::call::io::{CallStatus, LiveCall};

use super::backlog::Backlog;
use super::freshness::{Freshness, Subject};
use super::live::LiveTable;
pub use super::live::{LiveNews, LiveWatch, TENANT_WATCHERS_MAX, WATCHERS_MAX};
use super::mailbox::TakesOrders;
use super::now::now;
pub use super::trunk_states::TrunkState;
use super::trunk_states::TrunkStates;
use crate::call::io::Control;
use crate::domain::cause::Cause;
use crate::domain::id::{BindingId, CallId, TenantId, TrunkId};
use crate::domain::number::VirtualNumber;
use crate::domain::whisper::Unwanted;

/// A reference to the relay of this process; clones mean the same relay. Nothing here is `async`:
/// when a function has returned, its effect is ordered before everything the relay does next.
#[derive(Clone, Debug)]
pub struct Handle(Arc<Shared>);

/// What the shards, the API and the jobs share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) freshness: Freshness,
    pub(crate) live: LiveTable,
    pub(crate) backlog: Arc<Backlog>,
    pub(crate) checks: Checks,
    /// Attempts whose record has not come yet.
    pub(crate) calls: AtomicU64,
    pub(crate) trunk_states: TrunkStates,
    pub(crate) trunks_changed: Notify,
    pub(crate) thread_gone: Notify,
    shards: OnceLock<Vec<Arc<dyn TakesOrders>>>,
}

/// What becomes of talking calls when their binding ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Talking {
    /// They may be finished; ringing ones end.
    GoesOn,
    /// They end too.
    Ends,
}

/// What became of an order to end a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Termination {
    /// The call is being ended; its CDR follows.
    Ordered,
    /// This process has no such live call.
    NotLive,
}

/// The relay does not take orders: a shard stands still. Answer 503 and do not acknowledge the
/// change.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the relay does not answer")]
pub struct RelayStuck;

/// The conditions of readiness, as the shell last saw them.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    pub(crate) database: AtomicBool,
    /// Threads of signalling that run: one for each shard, and the one of the connections.
    pub(crate) threads: AtomicUsize,
    pub(crate) carrier_trunk: AtomicBool,
    pub(crate) media_ports: AtomicBool,
    pub(crate) draining: AtomicBool,
}

/// Whatever ends a thread of signalling, the process knows that nobody listens there.
#[derive(Debug)]
pub(crate) struct MarkGone(Arc<Shared>);

impl MarkGone {
    /// The thread runs; keep this until its end.
    pub(crate) fn of(shared: &Arc<Shared>) -> Self {
        shared.checks.threads.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(shared))
    }
}

impl Drop for MarkGone {
    fn drop(&mut self) {
        self.0.checks.threads.fetch_sub(1, Ordering::SeqCst);
        self.0.thread_gone.notify_one();
    }
}

/// Whether new calls should be sent here, and why not.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Readiness {
    /// The database answers and its schema is ours.
    pub database: bool,
    /// Every SIP socket is open and its thread runs, and so does the thread of the connections.
    pub sip_socket: bool,
    /// At least one carrier trunk is configured.
    pub carrier_trunk: bool,
    /// Enough media ports are free.
    pub media_ports: bool,
    /// The relay finishes its calls and takes no new ones.
    pub draining: bool,
}

impl Readiness {
    /// All conditions hold.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        self.database && self.sip_socket && self.carrier_trunk && self.media_ports && !self.draining
    }
}

impl Handle {
    /// A relay whose shards are connected later.
    pub(crate) fn new() -> Self {
        Self::detached()
    }

    /// A relay without shards: it remembers and answers, and no call is ever live. For tests of the
    /// API.
    #[must_use]
    pub fn detached() -> Self {
        Self(Arc::new(Shared {
            freshness: Freshness::new(),
            live: LiveTable::default(),
            backlog: Arc::default(),
            checks: Checks::default(),
            calls: AtomicU64::new(0),
            trunk_states: TrunkStates::default(),
            trunks_changed: Notify::new(),
            thread_gone: Notify::new(),
            shards: OnceLock::new(),
        }))
    }

    /// A binding was unbound, suspended or has expired: when this returns, no later attempt uses it
    /// in this process, and ringing calls through it are being ended with `cause`. Call it after
    /// the commit, before the answer.
    ///
    /// # Errors
    /// [`RelayStuck`] when the change cannot be promised.
    pub fn binding_ended(
        &self,
        binding: BindingId,
        cause: Cause,
        talking: Talking,
    ) -> Result<(), RelayStuck> {
        let ordered_at = now().monotonic;
        self.0.freshness.forget(Subject::Binding(binding));
        // A lookup consumed before the line above is in the brain by now, and meets this order
        // there.
        let drop_calls = talking == Talking::Ends;
        self.order(Control::BindingEnded { binding, cause, drop_calls, ordered_at })
    }

    /// The store says that a subscriber wants no more calls of a kind: routes through these
    /// bindings are looked up anew, and then the shards may believe them again.
    pub(crate) fn unwanted_stored(
        &self,
        unwanted: Unwanted,
        bindings: &[BindingId],
    ) -> Result<(), RelayStuck> {
        for binding in bindings {
            self.0.freshness.forget(Subject::Binding(*binding));
        }
        self.order(Control::UnwantedStored(unwanted))
    }

    /// What was known about this number may be wrong: it was bound, unbound, imported or resumed.
    pub fn forget_routes(&self, number: &VirtualNumber) {
        self.0.freshness.forget(Subject::Number(number));
    }

    /// Something about a tenant, its agents or its desk has changed.
    pub fn forget_tenant(&self, tenant: TenantId) {
        self.0.freshness.forget(Subject::Tenant(tenant));
    }

    /// Ends one live call.
    ///
    /// # Errors
    /// [`RelayStuck`] when the order cannot be delivered.
    pub fn terminate(&self, call: CallId) -> Result<Termination, RelayStuck> {
        if self.find_live(call).is_none() {
            return Ok(Termination::NotLive);
        }
        self.order(Control::Terminate { call }).map(|()| Termination::Ordered)
    }

    /// The live calls of one tenant, oldest first.
    #[must_use]
    pub fn live(&self, tenant: TenantId) -> Vec<LiveCall> {
        self.0.live.of_tenant(tenant)
    }

    /// Watches the calls of one tenant; `None` when there are as many watchers as there may be.
    #[must_use]
    pub fn watch_live(&self, tenant: TenantId) -> Option<LiveWatch> {
        LiveWatch::begin(&self.0, tenant)
    }

    /// One live call, whosever it is: compare its tenant before you show it.
    #[must_use]
    pub fn find_live(&self, call: CallId) -> Option<LiveCall> {
        self.0.live.find(call)
    }

    /// How many calls are live in this process.
    #[must_use]
    pub fn live_count(&self) -> usize {
        self.0.live.len()
    }

    /// A trunk was added, changed or removed: routes are looked up anew at once, and the table of
    /// source addresses is loaded again soon.
    pub fn trunks_changed(&self) {
        self.0.freshness.forget(Subject::Everything);
        self.0.trunks_changed.notify_one();
    }

    /// How a trunk is reached from here.
    #[must_use]
    pub fn trunk_state(&self, trunk: TrunkId) -> TrunkState {
        self.0.trunk_states.of(trunk)
    }

    /// Some carrier knows us and would send us calls.
    #[must_use]
    pub(crate) fn is_registered_anywhere(&self) -> bool {
        self.0.trunk_states.is_registered_anywhere()
    }

    /// Takes no new attempts from now on; calls go on.
    ///
    /// # Errors
    /// [`RelayStuck`] when the order cannot be delivered.
    pub fn drain(&self) -> Result<(), RelayStuck> {
        self.0.checks.draining.store(true, Ordering::SeqCst);
        self.order(Control::Drain)
    }

    /// Whether new calls should be sent here.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let checks = &self.0.checks;
        let shards = self.0.shards.get().map_or(0, Vec::len);
        Readiness {
            database: checks.database.load(Ordering::SeqCst),
            sip_socket: shards > 0 && checks.threads.load(Ordering::SeqCst) == shards + 1,
            carrier_trunk: checks.carrier_trunk.load(Ordering::SeqCst),
            media_ports: checks.media_ports.load(Ordering::SeqCst),
            draining: checks.draining.load(Ordering::SeqCst),
        }
    }

    /// Connects the shards; once, before they run.
    pub(crate) fn connect(&self, shards: Vec<Arc<dyn TakesOrders>>) {
        self.0.shards.set(shards).expect("the shards are connected once, by app::start");
    }

    /// What the shards and the tasks of the shell share with the API.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0
    }

    /// Ends every call and takes every registration back: the drain time is over.
    pub(crate) fn terminate_all(&self) -> Result<(), RelayStuck> {
        self.order(Control::TerminateAll)
    }

    fn order(&self, control: Control) -> Result<(), RelayStuck> {
        let shards = self.0.shards.get().map(Vec::as_slice).unwrap_or_default();
        shards.iter().try_for_each(|shard| shard.order(control).map_err(|_| RelayStuck))
    }
}

/// The realm of our own challenges. It names no product.
pub const SIP_REALM: &str = crate::call::door::REALM;

/// What is stored of a SIP password of ours.
#[must_use]
pub fn sip_secret(username: &str, password: &str) -> zeroize::Zeroizing<Vec<u8>> {
    use crate::sip::digest::Secret;
    let secret = Secret::of(username.as_bytes(), SIP_REALM.as_bytes(), password.as_bytes());
    zeroize::Zeroizing::new(secret.to_bytes().to_vec())
}

/// Whether a text holds at least one certificate in PEM, and none that cannot be read.
#[must_use]
pub fn is_certificate_list(pem: &str) -> bool {
    super::tls::read_roots(pem.as_bytes()).is_ok()
}

/// Whether a text is a name that a certificate can hold: a DNS name or an IP address.
#[must_use]
pub fn is_tls_name(name: &str) -> bool {
    rustls::pki_types::ServerName::try_from(name).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detached_relay_has_no_live_calls_and_is_not_ready() {
        let handle = Handle::detached();
        assert_eq!(handle.terminate(CallId::new(1, 1)), Ok(Termination::NotLive));
        assert!(handle.live(TenantId::new(1, 1)).is_empty());
        assert!(!handle.readiness().is_ready());
    }

    #[test]
    fn an_ended_binding_makes_earlier_lookups_unusable() {
        let handle = Handle::detached();
        let binding = BindingId::new(1, 1);
        let before = handle.0.freshness.mark();
        let ended = handle.binding_ended(binding, Cause::BindingExpired, Talking::GoesOn);
        assert_eq!(ended, Ok(()));
        assert!(!handle.0.freshness.is_unchanged(before, &[Subject::Binding(binding)]));
    }
}
