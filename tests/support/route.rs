//! Routes for whoever hands them to the brain from outside of the crate.

use maskline::call::io::Peer;
use maskline::domain::binding::BindingState;
use maskline::domain::id::{AgentId, BindingId, SubscriberId, TenantId};
use maskline::domain::network;
use maskline::domain::number::VirtualNumber;
use maskline::domain::route::{Callee, CallerParty, Hearer, Route, TrunkTarget};

/// Over an active binding to whoever is called, without any limit: an agent calls the subscriber,
/// and the subscriber the desk.
pub(crate) fn route(
    tenant: TenantId,
    virtual_number: VirtualNumber,
    callee: Callee,
    targets: Vec<TrunkTarget>,
) -> Route {
    let caller = match callee {
        Callee::Subscriber(_) => CallerParty::Agent { id: AgentId::from_u128(0xa9), active: true },
        Callee::Desk(_) => CallerParty::Subscriber,
    };
    Route {
        tenant,
        tenant_active: true,
        binding: BindingId::from_u128(0xb1d),
        state: BindingState::Active { expires_at: None },
        subscriber: SubscriberId::from_u128(0x5b),
        virtual_number,
        caller,
        callee,
        targets,
        duration_max: None,
        hearer: Hearer::default(),
        agent_number: "4821".into(),
        allowed_purposes: None,
        do_not_call: Vec::new(),
        paused_until: None,
        is_blocked: false,
        caps: Vec::new(),
        recording: None,
        announced: None,
    }
}

/// Where a peer is reached.
pub(crate) fn target(peer: &Peer) -> TrunkTarget {
    TrunkTarget {
        trunk: peer.trunk,
        name: None,
        address: peer.address,
        transport: network::Transport::Udp,
    }
}
