//! UDP ports of built-in phones. They are held from the moment they are found: between a look and
//! a later bind, whatever else runs on the machine could take them.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

/// How often a free run of ports is looked for.
const TRIES_MAX: usize = 100;

/// Neighbouring ports of one address, held until dropped.
#[derive(Debug)]
pub struct Ports {
    first: SocketAddr,
    sockets: Vec<(SocketAddr, UdpSocket)>,
}

impl Ports {
    /// `count` ports from `first` on.
    ///
    /// # Errors
    /// When one of them is taken, or the run goes beyond the last port.
    pub fn at(first: SocketAddr, count: u16) -> io::Result<Self> {
        let take = |step: u16| {
            let port = first.port().checked_add(step);
            let port = port.ok_or_else(|| io::Error::other("no port after the last one"))?;
            let address = SocketAddr::new(first.ip(), port);
            let socket = UdpSocket::bind(address)?;
            socket.set_nonblocking(true)?;
            Ok::<_, io::Error>((address, socket))
        };
        Ok(Self { first, sockets: (0..count).map(take).collect::<io::Result<_>>()? })
    }

    /// `count` free ports of `ip`, the first one even as RTP wants it (RFC 3550, section 11).
    ///
    /// # Errors
    /// When no such run of ports is found.
    pub fn free(ip: IpAddr, count: u16) -> io::Result<Self> {
        for _ in 0..TRIES_MAX {
            let mut first = UdpSocket::bind((ip, 0))?.local_addr()?;
            first.set_port(first.port() & !1);
            if let Ok(ports) = Self::at(first, count) {
                return Ok(ports);
            }
        }
        Err(io::Error::other("no free run of UDP ports"))
    }

    /// Where they begin.
    #[must_use]
    pub const fn first(&self) -> SocketAddr {
        self.first
    }

    /// The sockets, each with its address.
    pub(crate) fn into_sockets(self) -> Vec<(SocketAddr, UdpSocket)> {
        self.sockets
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn ports_that_were_found_are_nobody_elses() {
        let found = Ports::free(LOOPBACK, 4).expect("free ports");
        let first = found.first();
        assert_eq!(first.port() % 2, 0);
        for step in 0..4 {
            let again = Ports::at(SocketAddr::new(LOOPBACK, first.port() + step), 1);
            assert_eq!(again.expect_err("held").kind(), io::ErrorKind::AddrInUse);
        }
        drop(found);
        assert_eq!(Ports::at(first, 4).expect("let go").first(), first);
    }

    #[test]
    fn no_run_of_ports_goes_beyond_the_last_one() {
        let last = SocketAddr::new(LOOPBACK, u16::MAX);
        assert!(Ports::at(last, 2).is_err());
    }
}
