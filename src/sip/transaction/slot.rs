//! One row of the table: a machine with what belongs to it.

use std::time::Instant;

use bytes::Bytes;

use super::client::{self, Client};
use super::client_invite::{self, ClientInvite};
use super::server::{self, Server};
use super::server_invite::{self, ServerInvite};
use super::{Effects, Owner, Verdict};
use crate::sip::ids::Branch;
use crate::sip::method::Method;
use crate::sip::reason::Reason;
use crate::sip::transport::Hop;

/// A place in the table and which of its tenants is meant.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct SlotId {
    pub(super) index: u32,
    pub(super) serial: u32,
}

pub(super) struct Slot {
    pub(super) machine: Machine,
    pub(super) key: Key,
    pub(super) hash: u64,
    /// The hash of the merge key, for a request outside a dialog.
    pub(super) merge: Option<u64>,
    pub(super) serial: u32,
    pub(super) owner: Owner,
    pub(super) peer: Hop,
    pub(super) cancel: Cancel,
    pub(super) audience: Audience,
    pub(super) listed: Listed,
    /// Its end, while it waits for nothing else.
    pub(super) lingers_until: Option<Instant>,
}

impl Slot {
    /// One of nobody yet.
    pub(super) fn new(machine: Machine, key: Key, hash: u64, peer: Hop) -> Self {
        Self {
            machine,
            key,
            hash,
            merge: None,
            serial: 0,
            owner: Owner::default(),
            peer,
            cancel: Cancel::No,
            audience: Audience::User,
            listed: Listed::No,
            lingers_until: None,
        }
    }

    /// Our request, while it may still be sent once more as another one.
    pub(super) fn challenged(&self) -> Option<Bytes> {
        let is_wanted = self.cancel == Cancel::No && self.audience == Audience::User;
        self.machine.unfinished_request().filter(|_| is_wanted).cloned()
    }
}

#[derive(Eq, PartialEq)]
pub(super) enum Key {
    Server(Box<[u8]>),
    Client(Branch, Method),
}

/// Which side of a transaction we are.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum Role {
    Server,
    Client,
}

impl Key {
    pub(super) fn role(&self) -> Role {
        match self {
            Self::Server(_) => Role::Server,
            Self::Client(..) => Role::Client,
        }
    }
}

/// How far the CANCEL of an INVITE of ours is.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum Cancel {
    No,
    /// Held back until a provisional response: before that the peer may not know the INVITE.
    Wanted(Option<Reason>),
    Sent,
}

/// Who hears of a client transaction.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum Audience {
    User,
    /// A CANCEL that this layer made itself.
    Nobody,
}

/// Whether the slot is in the list of requests that nobody has answered.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum Listed {
    No,
    Unanswered,
}

pub(super) enum Machine {
    ServerInvite(ServerInvite),
    Server(Server),
    ClientInvite(ClientInvite),
    Client(Client),
}

impl Machine {
    pub(super) fn repeat_request(&mut self, now: Instant) -> Effects {
        match self {
            Self::ServerInvite(machine) => machine.handle_input(now, server_invite::Input::Invite),
            Self::Server(machine) => machine.handle_input(now, server::Input::Request),
            Self::ClientInvite(_) | Self::Client(_) => Effects::default(),
        }
    }

    pub(super) fn ack(&mut self, now: Instant) -> Effects {
        match self {
            Self::ServerInvite(machine) => machine.handle_input(now, server_invite::Input::Ack),
            Self::Server(_) | Self::ClientInvite(_) | Self::Client(_) => Effects::default(),
        }
    }

    pub(super) fn respond(&mut self, now: Instant, status: u16, bytes: Bytes) -> Effects {
        match self {
            Self::ServerInvite(machine) => {
                let input = match status {
                    ..200 => server_invite::Input::Provisional(bytes),
                    200..300 => server_invite::Input::Success(bytes),
                    300.. => server_invite::Input::Refusal(bytes),
                };
                machine.handle_input(now, input)
            }
            Self::Server(machine) => {
                let input = match status {
                    ..200 => server::Input::Provisional(bytes),
                    200.. => server::Input::Final(bytes),
                };
                machine.handle_input(now, input)
            }
            Self::ClientInvite(_) | Self::Client(_) => Effects::default(),
        }
    }

    /// `ack` is made by the caller where [`Self::unfinished_invite`] has something to make it of.
    pub(super) fn response(&mut self, now: Instant, status: u16, ack: Option<Bytes>) -> Effects {
        match self {
            Self::ClientInvite(machine) => {
                let input = match status {
                    ..200 => client_invite::Input::Provisional,
                    200..300 => client_invite::Input::Success,
                    300.. => client_invite::Input::Refusal(ack),
                };
                machine.handle_input(now, input)
            }
            Self::Client(machine) => {
                let input = match status {
                    ..200 => client::Input::Provisional,
                    200.. => client::Input::Final,
                };
                machine.handle_input(now, input)
            }
            Self::ServerInvite(_) | Self::Server(_) => Effects::default(),
        }
    }

    pub(super) fn cancelled(&mut self, now: Instant) {
        if let Self::ClientInvite(machine) = self {
            let effects = machine.handle_input(now, client_invite::Input::Cancelled);
            debug_assert_eq!(effects, Effects::verdict(Verdict::Absorb));
        }
    }

    pub(super) fn unreachable(&mut self, now: Instant) -> Effects {
        match self {
            Self::ClientInvite(machine) => {
                machine.handle_input(now, client_invite::Input::Unreachable)
            }
            Self::Client(machine) => machine.handle_input(now, client::Input::Unreachable),
            Self::ServerInvite(_) | Self::Server(_) => Effects::default(),
        }
    }

    pub(super) fn time_out(&mut self, now: Instant) -> Effects {
        match self {
            Self::ServerInvite(machine) => machine.handle_input(now, server_invite::Input::Timeout),
            Self::Server(machine) => machine.handle_input(now, server::Input::Timeout),
            Self::ClientInvite(machine) => machine.handle_input(now, client_invite::Input::Timeout),
            Self::Client(machine) => machine.handle_input(now, client::Input::Timeout),
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::ServerInvite(machine) => machine.deadline(),
            Self::Server(machine) => machine.deadline(),
            Self::ClientInvite(machine) => machine.deadline(),
            Self::Client(machine) => machine.deadline(),
        }
    }

    pub(super) fn is_terminated(&self) -> bool {
        match self {
            Self::ServerInvite(machine) => machine.is_terminated(),
            Self::Server(machine) => machine.is_terminated(),
            Self::ClientInvite(machine) => machine.is_terminated(),
            Self::Client(machine) => machine.is_terminated(),
        }
    }

    /// Whether a request of a peer is still being worked on.
    pub(super) fn is_ongoing(&self) -> bool {
        match self {
            Self::ServerInvite(machine) => machine.is_ongoing(),
            Self::Server(machine) => machine.is_ongoing(),
            Self::ClientInvite(_) | Self::Client(_) => false,
        }
    }

    /// Whether nothing at all has come back to a request of ours.
    pub(super) fn is_unanswered(&self) -> bool {
        match self {
            Self::ClientInvite(machine) => machine.is_unanswered(),
            Self::Client(machine) => machine.is_unanswered(),
            Self::ServerInvite(_) | Self::Server(_) => false,
        }
    }

    /// A request of ours without a final response.
    fn unfinished_request(&self) -> Option<&Bytes> {
        match self {
            Self::Client(machine) => machine.request(),
            Self::ClientInvite(machine) => machine.request(),
            Self::ServerInvite(_) | Self::Server(_) => None,
        }
    }

    /// The header lines with the credentials of an INVITE of ours that was answered with 2xx.
    pub(super) fn credentials(&self) -> &[u8] {
        match self {
            Self::ClientInvite(machine) => machine.credentials(),
            Self::ServerInvite(_) | Self::Server(_) | Self::Client(_) => b"",
        }
    }

    /// An INVITE of ours without a final response.
    pub(super) fn unfinished_invite(&self) -> Option<&Bytes> {
        match self {
            Self::ClientInvite(machine) => machine.request(),
            Self::ServerInvite(_) | Self::Server(_) | Self::Client(_) => None,
        }
    }
}
