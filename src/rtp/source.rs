//! Where a side may send from: the place it has announced; and, only where its trunk says that it
//! may be behind a NAT, another port of the same address, found once.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::header::Header;

/// The one place a side may send from. IPv4 addresses are mapped, as a socket for both families
/// sees them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Source {
    ip: Ipv6Addr,
    port: u16,
}

impl Source {
    /// Nobody sends from here.
    pub(super) const NOBODY: Self = Self { ip: Ipv6Addr::UNSPECIFIED, port: 0 };

    #[inline]
    pub(super) fn of(address: SocketAddr) -> Self {
        let ip = match address.ip() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        Self { ip, port: address.port() }
    }

    /// Another port of the same address, or the same.
    pub(super) fn is_beside(self, other: Self) -> bool {
        self.ip == other.ip
    }
}

/// Looks for the port of a peer behind a NAT: who has sent four packets in sequence of one stream
/// is it. Packets from other ports go nowhere before that.
#[derive(Clone, Debug, Default)]
pub(super) struct Latch {
    /// At the port that was announced, and at another.
    candidates: [Option<Candidate>; 2],
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    port: u16,
    ssrc: u32,
    next: u16,
    heard: u8,
}

impl Latch {
    /// A packet from the address that was announced; whether its port is that of the peer from now
    /// on.
    pub(super) fn hear(&mut self, announced: Source, from: Source, header: &Header) -> bool {
        let slot = &mut self.candidates[usize::from(from.port != announced.port)];
        let before = slot.filter(|candidate| {
            (candidate.port, candidate.ssrc, candidate.next)
                == (from.port, header.ssrc, header.sequence)
        });
        let heard = before.map_or(0, |candidate| candidate.heard) + 1;
        let next = header.sequence.wrapping_add(1);
        *slot = Some(Candidate { port: from.port, ssrc: header.ssrc, next, heard });
        heard >= IN_SEQUENCE
    }
}

/// So many packets in sequence are a stream.
pub(super) const IN_SEQUENCE: u8 = 4;
