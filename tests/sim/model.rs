//! Who may talk to whom, from bindings and times alone. It knows nothing of SIP, of routes, of the
//! gate; it is short enough to be believed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use maskline::domain::cause::Cause;
use maskline::domain::id::AgentId;
use maskline::domain::purpose::Purpose;

use crate::cast::{Place, Who};

/// What is true about the world at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) bindings: Vec<Binding>,
    pub(crate) agents: Vec<Who>,
    /// Agents who may call for one purpose alone.
    pub(crate) allowed: BTreeMap<AgentId, Purpose>,
    /// The desk of each tenant that has one.
    pub(crate) desks: Vec<Who>,
    pub(crate) suspended_tenants: BTreeSet<Place>,
    /// Virtual numbers that rest.
    pub(crate) cooling: BTreeSet<&'static str>,
    /// Whose calls a subscriber does not want any more. No agent of the stories names a purpose.
    pub(crate) unwanted: BTreeSet<(Place, &'static str)>,
    /// Who does not want to be called at all for a while, longer than any story takes.
    pub(crate) paused: BTreeSet<(Place, &'static str)>,
    /// Which agents a subscriber does not want to hear any more.
    pub(crate) blocked: BTreeSet<(AgentId, &'static str)>,
}

/// One binding as everybody understands it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Binding {
    pub(crate) x: &'static str,
    pub(crate) tenant: Place,
    pub(crate) subscriber: Who,
    pub(crate) expires_at: Option<SystemTime>,
    pub(crate) suspended: bool,
}

impl Facts {
    /// Whose phone rings when `caller` dials `x` at `now`; or why nobody's does.
    pub(crate) fn reached(&self, caller: Who, x: &str, now: SystemTime) -> Result<Who, Cause> {
        let insider = matches!(caller.place, Place::Insurer(_));
        let Some(binding) = self.bindings.iter().find(|binding| binding.x == x) else {
            return Err(if self.cooling.contains(x) {
                Cause::Cooling
            } else {
                Cause::NumberUnknown
            });
        };
        if insider && caller.place != binding.tenant
            || !insider && caller.user != binding.subscriber.user
        {
            return Err(Cause::NumberUnknown);
        }
        if binding.expires_at.is_some_and(|expiry| expiry <= now) {
            return Err(Cause::BindingExpired);
        }
        if binding.suspended {
            return Err(Cause::BindingSuspended);
        }
        if self.suspended_tenants.contains(&binding.tenant) {
            return Err(Cause::TenantSuspended);
        }
        if insider {
            if !self.agents.contains(&caller) {
                return Err(Cause::AgentUnknown);
            }
            // None of them names one.
            if self.allowed.get(&caller.agent()).is_some_and(|only| *only != Purpose::Unspecified) {
                return Err(Cause::PurposeNotAllowed);
            }
            let party = (binding.tenant, binding.subscriber.user);
            if self.paused.contains(&party) {
                return Err(Cause::Paused);
            }
            if self.blocked.contains(&(caller.agent(), binding.subscriber.user)) {
                return Err(Cause::Blocked);
            }
            let is_unwanted = self.unwanted.contains(&party);
            return if is_unwanted { Err(Cause::DoNotCall) } else { Ok(binding.subscriber) };
        }
        let desk = self.desks.iter().find(|desk| desk.place == binding.tenant);
        desk.copied().ok_or(Cause::NoRoute)
    }
}

/// The causes that the model decides on; all others are faults, timers or people.
pub(crate) const POLICY: [Cause; 10] = [
    Cause::PurposeNotAllowed,
    Cause::Paused,
    Cause::Blocked,
    Cause::DoNotCall,
    Cause::TenantSuspended,
    Cause::AgentUnknown,
    Cause::BindingSuspended,
    Cause::BindingExpired,
    Cause::Cooling,
    Cause::NumberUnknown,
];
