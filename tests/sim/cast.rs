//! The people of the stories: where their phones are and what the networks call them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use maskline::domain::id::{AgentId, SubscriberId, TenantId, TrunkId};

/// Somebody with a phone.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Who {
    /// For traces and failures.
    pub(crate) name: &'static str,
    /// The user part of the person's address: a real number, an extension or a desk.
    pub(crate) user: &'static str,
    /// The last byte of the phone's address; unlike everybody else's.
    pub(crate) host: u8,
    /// On which side of the relay, and behind which trunk.
    pub(crate) place: Place,
}

/// Behind which trunk a phone is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Place {
    /// The PBX of the tenant with this index.
    Insurer(u8),
    /// The carrier with this index.
    Carrier(u8),
}

pub(crate) const ALICE: Who =
    Who { name: "Alice", user: "ext-4821-alice", host: 101, place: Place::Insurer(1) };
pub(crate) const ANN: Who =
    Who { name: "Ann", user: "ext-4822-ann", host: 102, place: Place::Insurer(1) };
/// Dials from the trunk of the first tenant, but is nobody's agent.
pub(crate) const IVAN: Who =
    Who { name: "Ivan", user: "ext-6666-ivan", host: 103, place: Place::Insurer(1) };
/// An agent of another tenant.
pub(crate) const EVE: Who =
    Who { name: "Eve", user: "ext-1001-eve", host: 104, place: Place::Insurer(2) };
pub(crate) const DESK: Who =
    Who { name: "Desk", user: "desk-claims", host: 105, place: Place::Insurer(1) };
pub(crate) const BOB: Who =
    Who { name: "Bob", user: "+8613800001101", host: 201, place: Place::Carrier(1) };
pub(crate) const CAROL: Who =
    Who { name: "Carol", user: "+8613800001102", host: 202, place: Place::Carrier(1) };
/// Bob's one phone, reached through the second carrier.
pub(crate) const BOB_BY_SECOND_TRUNK: Who =
    Who { name: "Bob2", user: "+8613800001101", host: 203, place: Place::Carrier(2) };
/// Dials virtual numbers that are not bound to him.
pub(crate) const MALLORY: Who =
    Who { name: "Mallory", user: "+8613800001199", host: 204, place: Place::Carrier(1) };

/// Everybody.
pub(crate) const EVERYBODY: [Who; 9] =
    [ALICE, ANN, IVAN, EVE, DESK, BOB, CAROL, BOB_BY_SECOND_TRUNK, MALLORY];

/// The virtual numbers of the stories.
pub(crate) const X: &str = "95012340001";
pub(crate) const X2: &str = "95012340002";
pub(crate) const X3: &str = "95012340003";

/// Where the relay takes SIP.
pub(crate) const RELAY_SIP: SocketAddr = SocketAddr::new(RELAY_HOST, 5060);
/// The relay's one address.
pub(crate) const RELAY_HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 10));

impl Who {
    /// The phone's own address. Written out it is no part of anybody else's.
    pub(crate) fn ip(self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(10, 77, 99, self.host))
    }

    /// Where the phone takes SIP.
    pub(crate) fn sip(self) -> SocketAddr {
        SocketAddr::new(self.ip(), 5060)
    }

    /// The trunk in front of this phone.
    pub(crate) fn trunk(self) -> TrunkId {
        TrunkId::from_u128(match self.place {
            Place::Insurer(tenant) => 0x1000 + u128::from(tenant),
            Place::Carrier(carrier) => 0x2000 + u128::from(carrier),
        })
    }

    /// The tenant whose PBX this phone belongs to.
    pub(crate) fn tenant(self) -> Option<TenantId> {
        match self.place {
            Place::Insurer(tenant) => Some(TenantId::from_u128(0x100 + u128::from(tenant))),
            Place::Carrier(_) => None,
        }
    }

    /// The subscriber with this phone.
    pub(crate) fn subscriber(self) -> SubscriberId {
        SubscriberId::from_u128(0x3000 + u128::from(self.host))
    }

    /// The agent with this phone.
    pub(crate) fn agent(self) -> AgentId {
        AgentId::from_u128(0x4000 + u128::from(self.host))
    }

    /// What nobody on another phone may ever receive: the number and the address, in the spellings
    /// that contain all others.
    pub(crate) fn secrets(self) -> [String; 2] {
        [self.user.trim_start_matches("+86").to_owned(), self.ip().to_string()]
    }

    /// Whose phone is at this address.
    pub(crate) fn at(address: IpAddr) -> Option<Self> {
        EVERYBODY.into_iter().find(|who| who.ip() == address)
    }
}
