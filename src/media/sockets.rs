//! The four sockets of a call, and the two system calls of a packet.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;

use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recvfrom, sendto, sockopt};

use crate::rtp::plane::Side;

/// The longest packet we relay; an Ethernet frame holds less.
pub(super) const PACKET_BYTES_MAX: usize = 2048;

/// Which of a call's sockets something is about: its number is the lower part of the epoll token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Place {
    pub(super) side: Side,
    pub(super) channel: Channel,
}

/// RTP or RTCP.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Channel {
    Rtp,
    Rtcp,
}

impl Place {
    /// How many there are in a call.
    pub(super) const COUNT: usize = 4;
    const SHIFT: u32 = 2;

    pub(super) const fn rtp(side: Side) -> Self {
        Self { side, channel: Channel::Rtp }
    }

    pub(super) const fn rtcp(side: Side) -> Self {
        Self { side, channel: Channel::Rtcp }
    }

    /// The position in [`Sockets`].
    const fn index(self) -> usize {
        let channel = match self.channel {
            Channel::Rtp => 0,
            Channel::Rtcp => 1,
        };
        self.side.index() * 2 + channel
    }

    /// The epoll token of this socket of the call at `slot`.
    const fn token(self, slot: usize) -> u64 {
        ((slot as u64) << Self::SHIFT) | self.index() as u64
    }

    /// The slot and the socket of a token.
    pub(super) const fn of_token(token: u64) -> (usize, Self) {
        let side = if token & 2 == 0 { Side::A } else { Side::B };
        let place = if token & 1 == 0 { Self::rtp(side) } else { Self::rtcp(side) };
        ((token >> Self::SHIFT) as usize, place)
    }
}

/// The open sockets of a call: RTP and RTCP of A, then of B. Closing them takes them out of epoll.
#[derive(Debug)]
pub(super) struct Sockets([UdpSocket; Place::COUNT]);

impl Sockets {
    /// Binds both pairs.
    pub(super) fn open(bind: IpAddr, ports: [u16; 2]) -> io::Result<Self> {
        let [a, b] = ports;
        Ok(Self([socket(bind, a)?, socket(bind, a + 1)?, socket(bind, b)?, socket(bind, b + 1)?]))
    }

    /// Has epoll watch them under the tokens of `slot`.
    pub(super) fn watch(&self, poller: &OwnedFd, slot: usize) -> io::Result<()> {
        for side in [Side::A, Side::B] {
            for place in [Place::rtp(side), Place::rtcp(side)] {
                let token = epoll::EventData::new_u64(place.token(slot));
                let socket = &self.0[place.index()];
                epoll::add(poller, socket, token, epoll::EventFlags::IN)?;
            }
        }
        Ok(())
    }

    /// Takes one packet, if there is one. The length is that of the whole packet, even when it does
    /// not fit.
    #[inline]
    pub(super) fn receive(
        &self,
        place: Place,
        buffer: &mut [u8; PACKET_BYTES_MAX],
    ) -> Option<(usize, SocketAddr)> {
        let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
        let (_, length, source) = recvfrom(&self.0[place.index()], &mut buffer[..], flags).ok()?;
        Some((length, SocketAddr::try_from(source?).ok()?))
    }

    /// Sends one packet. A packet that cannot be sent now is late already.
    #[inline]
    pub(super) fn send(&self, place: Place, packet: &[u8], to: SocketAddr) -> Result<(), Errno> {
        sendto(&self.0[place.index()], packet, SendFlags::DONTWAIT, &to).map(|_| ())
    }
}

fn socket(bind: IpAddr, port: u16) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((bind, port))?;
    match bind {
        IpAddr::V4(_) => sockopt::set_ip_tos(&socket, EXPEDITED_FORWARDING)?,
        IpAddr::V6(_) => sockopt::set_ipv6_tclass(&socket, u32::from(EXPEDITED_FORWARDING))?,
    }
    Ok(socket)
}

/// An address as a socket of this family writes it: a socket of both families maps IPv4.
pub(super) fn for_family(bind: IpAddr, address: SocketAddr) -> SocketAddr {
    match (bind, address.ip()) {
        (IpAddr::V6(_), IpAddr::V4(v4)) if !v4.is_unspecified() => {
            SocketAddr::new(IpAddr::V6(v4.to_ipv6_mapped()), address.port())
        }
        (IpAddr::V6(_) | IpAddr::V4(_), IpAddr::V4(_) | IpAddr::V6(_)) => address,
    }
}

/// DSCP EF (46) in the upper six bits, RFC 3246.
const EXPEDITED_FORWARDING: u8 = 46 << 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_name_slot_and_socket() {
        for slot in [0, 1, 70_000] {
            for side in [Side::A, Side::B] {
                for place in [Place::rtp(side), Place::rtcp(side)] {
                    assert_eq!(Place::of_token(place.token(slot)), (slot, place));
                }
            }
        }
    }

    #[test]
    fn sockets_are_marked_for_expedited_forwarding() {
        let socket = socket(IpAddr::from([127, 0, 0, 1]), 0).expect("a free port");
        assert_eq!(sockopt::ip_tos(&socket).expect("an option"), 0xb8);
    }
}
