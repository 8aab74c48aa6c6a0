//! How messages travel, and the next hop of one.

use std::fmt;
use std::net::SocketAddr;

use super::transaction::Reliability;

/// How a message travels.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A stream.
    Tcp,
    /// An encrypted stream.
    Tls,
}

impl Transport {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Udp, Self::Tcp, Self::Tls];

    /// As in Via.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
        }
    }

    /// The URI parameter that asks for it; UDP is what peers use without being asked.
    #[must_use]
    pub const fn uri_parameter(self) -> &'static str {
        match self {
            Self::Udp => "",
            Self::Tcp => ";transport=tcp",
            Self::Tls => ";transport=tls",
        }
    }

    /// The port where none is written.
    #[must_use]
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 5060,
            Self::Tls => 5061,
        }
    }

    /// Whether what was sent arrives without being repeated.
    #[must_use]
    pub const fn reliability(self) -> Reliability {
        match self {
            Self::Udp => Reliability::Unreliable,
            Self::Tcp | Self::Tls => Reliability::Reliable,
        }
    }
}

/// Where a message goes next, or came from. A bare address means UDP.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Hop {
    /// How.
    pub transport: Transport,
    /// The peer's end: of the datagram, or of the connection.
    pub address: SocketAddr,
    /// On a stream, the port to connect to at that host when the connection is gone.
    pub port: u16,
    /// On a stream, whose end that is, as the layer above counts its peers: no connection carries
    /// what is meant for another's, even from the same address (RFC 5923 §8).
    pub owner: u128,
}

impl Hop {
    /// A peer that listens at `address`, and belongs to nobody in particular.
    #[must_use]
    pub const fn new(transport: Transport, address: SocketAddr) -> Self {
        Self { transport, address, port: address.port(), owner: 0 }
    }

    /// The same place when it is this owner's.
    #[must_use]
    pub const fn of(self, owner: u128) -> Self {
        Self { owner, ..self }
    }

    /// What an error is about: the port for a new connection is not part of it.
    #[must_use]
    pub const fn place(self) -> (Transport, SocketAddr) {
        (self.transport, self.address)
    }

    /// Where a new connection to this peer is opened.
    #[must_use]
    pub const fn listens_at(self) -> SocketAddr {
        match self.address {
            SocketAddr::V4(address) => {
                SocketAddr::V4(std::net::SocketAddrV4::new(*address.ip(), self.port))
            }
            SocketAddr::V6(address) => {
                let (flow, scope) = (address.flowinfo(), address.scope_id());
                let with = std::net::SocketAddrV6::new(*address.ip(), self.port, flow, scope);
                SocketAddr::V6(with)
            }
        }
    }
}

impl From<SocketAddr> for Hop {
    fn from(address: SocketAddr) -> Self {
        Self::new(Transport::Udp, address)
    }
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.transport.name(), self.address)
    }
}
