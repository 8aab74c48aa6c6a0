//! What goes into the brain and what comes out. One input, one full drain of the outputs, then
//! sleep until the timeout.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::trunks::TrunkBook;
use crate::domain::cap::CapReached;
use crate::domain::cause::Cause;
use crate::domain::cdr::{Cdr, Direction};
use crate::domain::id::{AgentId, BindingId, CallId, TenantId, TrunkId};
use crate::domain::menu::{MenuAnswer, MenuQuestion};
use crate::domain::number::VirtualNumber;
use crate::domain::route::{RouteAnswer, RouteQuery};
use crate::domain::whisper::Unwanted;
use crate::rtp::plane;
use crate::sip::digest::Secret;
use crate::sip::ids::Branch;
use crate::sip::malformed::Malformed;
use crate::sip::transport::{Hop, Transport};

/// A SIP peer whose source address belongs to a configured trunk. Nobody else's bytes reach the
/// brain.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Peer {
    /// Where the message came from; answers go there and nowhere else.
    pub address: SocketAddr,
    /// How it came.
    pub transport: Transport,
    /// The trunk of that address.
    pub trunk: TrunkId,
    /// Which side of the relay it is.
    pub role: PeerRole,
}

impl Peer {
    /// The way back.
    #[must_use]
    pub const fn hop(&self) -> Hop {
        Hop::new(self.transport, self.address).of(self.trunk.as_u128())
    }
}

/// Which side of the relay a peer is on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PeerRole {
    /// A tenant's PBX.
    Insurer {
        /// Whose.
        tenant: TenantId,
    },
    /// A carrier.
    Carrier,
    /// No trunk: perhaps the softphone of an agent, which has proved nothing yet.
    Softphone,
    /// The softphone of an agent that has proved it.
    Agent {
        /// Whose.
        tenant: TenantId,
        /// Who.
        agent: AgentId,
    },
}

/// Stands for the trunk of a peer that is no trunk.
pub const NO_TRUNK: TrunkId = TrunkId::from_u128(0);

/// Something happened outside. `Debug` never shows what a datagram says.
pub enum Input {
    /// One UDP datagram, or one message of a stream, from a trunk.
    Datagram {
        /// From whom.
        peer: Peer,
        /// What was received.
        bytes: Bytes,
    },
    /// The stream of a trunk could not be read on behind this message.
    Broken {
        /// From whom.
        peer: Peer,
        /// What can be answered, and why not more.
        malformed: Malformed,
    },
    /// The peer of an earlier [`Output::Transmit`] cannot be reached: there is no connection to it
    /// any more, or no way.
    Unreachable {
        /// Which peer.
        peer: Hop,
    },
    /// A request of an earlier [`Output::Transmit`] did not arrive: ICMP says so, or there was no
    /// connection for it in time.
    Undelivered {
        /// Where it went.
        peer: Hop,
        /// That of the request.
        branch: Branch,
    },
    /// The answer to [`Output::FindRoute`].
    Route {
        /// The attempt that asked.
        call: CallId,
        /// What was found.
        answer: RouteAnswer,
    },
    /// The media plane reports.
    Media(plane::Report),
    /// Somebody with authority wants something.
    Control(Control),
    /// The answer to [`Output::FindLogin`].
    Login {
        /// The request that asked.
        request: u64,
        /// What was found.
        answer: LoginAnswer,
    },
    /// The answer to [`Output::AskMenu`].
    Menu {
        /// The call in which it was asked.
        call: CallId,
        /// Which of its questions.
        number: u32,
        /// What the store says.
        answer: MenuAnswer,
    },
    /// The trunks, at the start and whenever one has changed.
    Trunks(Arc<TrunkBook>),
    /// The recorder has written records down: so many more attempts may be taken.
    RecorderCredit(u32),
    /// The time of `poll_timeout` has come.
    Timeout,
}

/// Orders from the API, the sweep and the process itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Control {
    /// End this call now.
    Terminate {
        /// Which.
        call: CallId,
    },
    /// A binding may no longer be used: ringing calls through it end at once with `cause`.
    BindingEnded {
        /// Which.
        binding: BindingId,
        /// Why.
        cause: Cause,
        /// End talking calls too.
        drop_calls: bool,
        /// When it was ordered: who was answered since then ends too.
        ordered_at: Instant,
    },
    /// A subscriber said in a call of another brain that it wants no more calls of this kind.
    Unwanted(Unwanted),
    /// The store says so too, and no route is used that was read before.
    UnwantedStored(Unwanted),
    /// Take no new attempts; calls go on.
    Drain,
    /// End every call and take every registration back: the drain time is over.
    TerminateAll,
}

/// What the shell has to do. `Debug` never shows what a datagram says.
pub enum Output {
    /// Send one message.
    Transmit {
        /// Where to.
        to: Hop,
        /// What.
        bytes: Bytes,
    },
    /// Look a route up, under a deadline, and answer with [`Input::Route`].
    FindRoute {
        /// The attempt.
        call: CallId,
        /// What is known.
        query: RouteQuery,
    },
    /// Look the login of a softphone up, under a deadline, and answer with [`Input::Login`].
    FindLogin {
        /// The request that asks.
        request: u64,
        /// Its user name, as it came.
        user: Box<str>,
    },
    /// A subscriber asks for something by keys: answer with [`Input::Menu`].
    AskMenu(MenuQuestion),
    /// This softphone has shown the login of an agent: its connection may stay.
    Proved {
        /// Where it is.
        softphone: Hop,
    },
    /// An order to the media plane.
    Media(plane::Command),
    /// A live call has changed its status.
    Status(LiveCall),
    /// A trunk is reached in another way than before.
    TrunkStatus(TrunkStatus),
    /// Something for the security log.
    Security(SecurityEvent),
    /// The subscriber wants no more calls of this kind: write it down at once, tell the other
    /// brains, and answer with [`Control::UnwantedStored`]. Here it is in force already.
    Unwanted(Unwanted),
    /// Both legs are over: write this down, then give back one [`Input::RecorderCredit`].
    Finished(Box<Cdr>),
}

/// Whose login a user name is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LoginAnswer {
    /// An agent's.
    Found {
        /// Whose agent.
        tenant: TenantId,
        /// Who.
        agent: AgentId,
        /// What is kept of the password.
        secret: Secret,
    },
    /// Nobody's who may call.
    Unknown,
    /// The store gave no answer in time.
    Failed,
}

/// How a trunk is reached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TrunkStatus {
    /// Our registration has come or gone.
    Registered {
        /// Where.
        trunk: TrunkId,
        /// It knows us now.
        is_registered: bool,
    },
    /// A target has gone down or come back.
    Targets {
        /// Of which trunk.
        trunk: TrunkId,
        /// Bits of those that are down.
        down: u32,
    },
}

/// What whoever watches the door should know. It holds nothing that a message says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SecurityEvent {
    /// A wrong answer to a challenge of ours.
    LoginFailed {
        /// Where it came from.
        source: IpAddr,
    },
    /// So many wrong passwords of one login have come that its agent is believed from where it has
    /// been registered alone, for a while.
    LoginGuessed {
        /// Whose login it is.
        agent: AgentId,
        /// Where the last one came from.
        source: IpAddr,
    },
    /// A cap against fraud has refused an attempt or ended a call, for the first time in its
    /// period.
    CapReached {
        /// Which, and whose.
        reached: CapReached,
        /// Whose call it was.
        tenant: TenantId,
        /// Through which binding.
        binding: BindingId,
        /// The agent, when one took part.
        agent: Option<AgentId>,
    },
    /// A peer has sent what belongs to the dialog of another peer, or answers what it was not
    /// asked: it knows tags of a call of others.
    ForeignDialog {
        /// Where it came from.
        source: IpAddr,
        /// The trunk that has this address; none for a softphone's.
        trunk: Option<TrunkId>,
    },
    /// A source was refused so often that it meets silence for a while.
    Silenced {
        /// Which.
        source: IpAddr,
    },
}

/// A call as shown in lists of live calls.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LiveCall {
    /// Which.
    pub call: CallId,
    /// Whose.
    pub tenant: TenantId,
    /// Through which binding.
    pub binding: BindingId,
    /// The agent, when one takes part.
    pub agent: Option<AgentId>,
    /// The number both sides see.
    pub virtual_number: VirtualNumber,
    /// Which way.
    pub direction: Direction,
    /// How far it is.
    pub status: CallStatus,
    /// Since when it exists.
    pub started_at: std::time::SystemTime,
    /// Since when it is bridged.
    pub answered_at: Option<std::time::SystemTime>,
}

/// How far a call is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CallStatus {
    /// The callee is being called.
    Calling,
    /// The callee's phone rings.
    Ringing,
    /// Bridged.
    Answered,
    /// Both legs are over; the CDR follows.
    Ended,
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Datagram { peer, bytes } => {
                write!(f, "Datagram({peer:?}, {} bytes)", bytes.len())
            }
            Self::Broken { peer, malformed } => write!(f, "Broken({peer:?}, {malformed:?})"),
            Self::Unreachable { peer } => write!(f, "Unreachable({peer})"),
            Self::Undelivered { peer, branch } => write!(f, "Undelivered({peer}, {branch:?})"),
            Self::Route { call, answer } => write!(f, "Route({call:?}, {answer:?})"),
            Self::Media(report) => write!(f, "Media({report:?})"),
            Self::Control(control) => write!(f, "Control({control:?})"),
            Self::Login { request, answer } => write!(f, "Login({request}, {answer:?})"),
            Self::Menu { call, number, answer } => {
                write!(f, "Menu({call:?}, {number}, {answer:?})")
            }
            Self::Trunks(_) => f.write_str("Trunks"),
            Self::RecorderCredit(credit) => write!(f, "RecorderCredit({credit})"),
            Self::Timeout => f.write_str("Timeout"),
        }
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transmit { to, bytes } => write!(f, "Transmit({to}, {} bytes)", bytes.len()),
            Self::FindRoute { call, query } => write!(f, "FindRoute({call:?}, {query:?})"),
            Self::FindLogin { request, .. } => write!(f, "FindLogin({request})"),
            Self::AskMenu(question) => write!(f, "AskMenu({question:?})"),
            Self::Proved { softphone } => write!(f, "Proved({softphone})"),
            Self::Media(command) => write!(f, "Media({command:?})"),
            Self::Status(live) => write!(f, "Status({live:?})"),
            Self::TrunkStatus(status) => write!(f, "TrunkStatus({status:?})"),
            Self::Security(event) => write!(f, "Security({event:?})"),
            Self::Unwanted(unwanted) => write!(f, "{unwanted:?}"),
            Self::Finished(cdr) => write!(f, "Finished({cdr:?})"),
        }
    }
}
