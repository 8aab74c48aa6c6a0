//! A route: what one lookup returns about an attempt, ready to decide on.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::binding::BindingState;
use super::cap::Cap;
use super::cause::Cause;
use super::id::{AgentId, BindingId, SubscriberId, TenantId, TrunkId};
use super::language::Language;
use super::network::Transport;
use super::number::{RealNumber, VirtualNumber};
use super::purpose::{Announced, Purpose, Stated};
use super::recording::RecordingKey;

/// What the brain asks when an attempt arrives. It is answered by a [`RouteAnswer`]. `Debug` shows
/// neither what was dialled nor who calls: either may be somebody's own number.
pub enum RouteQuery {
    /// An attempt on a tenant's own trunk: an agent dials X.
    FromInsurer {
        /// The trunk it came from.
        trunk: TrunkId,
        /// The tenant that owns the trunk.
        tenant: TenantId,
        /// The number in the Request-URI.
        dialled: VirtualNumber,
        /// The calling extension as the PBX wrote it, at most [`CALLER_CHARS_MAX`] characters; or
        /// [`AGENT_MARK`] and an agent's id, which the softphone has proved.
        caller: Box<str>,
        /// What it says it is for.
        stated: Stated,
    },
    /// An attempt on a carrier trunk: somebody dials X from the public network.
    FromCarrier {
        /// The trunk it came from.
        trunk: TrunkId,
        /// The number in the Request-URI.
        dialled: VirtualNumber,
        /// The calling number, when the carrier gave one.
        caller: Option<RealNumber>,
    },
}

/// Before an agent's id where otherwise a calling extension stands; no extension begins with it.
pub const AGENT_MARK: char = '@';
/// The longest calling extension that is looked up.
pub const CALLER_CHARS_MAX: usize = 32;

/// The answer to a [`RouteQuery`].
#[derive(Debug)]
pub enum RouteAnswer {
    /// Somebody is reached by this number.
    Found(Box<Route>),
    /// Nobody is; the cause is one that sounds like [`Cause::NumberUnknown`] to the caller. The
    /// tenant is known when the number or the trunk belongs to one.
    Missing {
        /// For the CDR: unknown, cooling, expired.
        cause: Cause,
        /// Whose CDR it is, if anybody's.
        tenant: Option<TenantId>,
    },
    /// The store gave no answer in time; never the same as missing.
    Failed,
}

/// Everything the gate and the call need to know of one attempt.
#[derive(Debug)]
pub struct Route {
    /// Whose binding it is.
    pub tenant: TenantId,
    /// The tenant may place and receive calls.
    pub tenant_active: bool,
    /// The binding that was found.
    pub binding: BindingId,
    /// Its state as stored; judge it with [`BindingState::at`].
    pub state: BindingState,
    /// The subscriber behind it.
    pub subscriber: SubscriberId,
    /// The only caller number the callee ever sees.
    pub virtual_number: VirtualNumber,
    /// Who calls.
    pub caller: CallerParty,
    /// Who is called.
    pub callee: Callee,
    /// Trunks to try, best first.
    pub targets: Vec<TrunkTarget>,
    /// The longest answered duration; the configured default when absent.
    pub duration_max: Option<Duration>,
    /// How the subscriber is spoken to.
    pub hearer: Hearer,
    /// The number by which the tenant knows the agent who calls; empty where nobody is known.
    pub agent_number: Box<str>,
    /// The only purposes that the agent may call for; all where absent.
    pub allowed_purposes: Option<Box<[Purpose]>>,
    /// What the subscriber does not want to be called for, each until a time.
    pub do_not_call: Vec<(Purpose, SystemTime)>,
    /// The subscriber wants no calls at all before this.
    pub paused_until: Option<SystemTime>,
    /// The subscriber has blocked the agent who calls.
    pub is_blocked: bool,
    /// The caps against fraud that hold for it.
    pub caps: Vec<Cap>,
    /// With which the call is recorded, if it is to be; absent when there is no key to be had.
    pub recording: Option<Box<RecordingKey>>,
    /// The intent that the attempt uses up.
    pub announced: Option<Announced>,
}

/// How a subscriber is spoken to.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Hearer {
    /// In which language.
    pub language: Language,
    /// Slowly, since of a great age.
    pub slow: bool,
}

/// Who calls, as far as the route lookup could tell.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CallerParty {
    /// A person at the tenant.
    Agent {
        /// Who.
        id: AgentId,
        /// May dial at all.
        active: bool,
    },
    /// The tenant's trunk, but no agent of that calling extension.
    UnknownAgent,
    /// The subscriber of the binding.
    Subscriber,
    /// Anybody else on the public network.
    Stranger,
}

/// Who is called. `Debug` shows no more than which of the two.
pub enum Callee {
    /// The subscriber's own phone, over a carrier trunk.
    Subscriber(Arc<RealNumber>),
    /// The tenant's desk, or the agent of a pair, over an insurer trunk: the user part its PBX
    /// knows.
    Desk(Box<str>),
}

/// One trunk to try.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TrunkTarget {
    /// Which trunk.
    pub trunk: TrunkId,
    /// The name that it is configured by, with its port where one is written; `None` where that is
    /// the address.
    pub name: Option<Arc<str>>,
    /// Where its SIP peer listens.
    pub address: SocketAddr,
    /// How it wants its messages.
    pub transport: Transport,
}

impl TrunkTarget {
    /// Stands for a name that has to be resolved first; nothing is ever sent there.
    pub const UNRESOLVED: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);

    /// The name without its port, which a certificate has to hold.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        self.name.as_deref()?.split(':').next()
    }

    /// Nobody knows yet where it is.
    #[must_use]
    pub const fn is_unresolved(&self) -> bool {
        self.address.port() == 0
    }
}

impl fmt::Debug for RouteQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FromInsurer { trunk, tenant, .. } => {
                write!(f, "FromInsurer({trunk:?}, {tenant:?})")
            }
            Self::FromCarrier { trunk, caller, .. } => {
                let caller = if caller.is_some() { "with a caller" } else { "without a caller" };
                write!(f, "FromCarrier({trunk:?}, {caller})")
            }
        }
    }
}

impl fmt::Debug for Callee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Subscriber(_) => "Subscriber(***)",
            Self::Desk(_) => "Desk(***)",
        })
    }
}
