//! Which of this machine's addresses peers are told.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use crate::config::Config;

/// What peers are told: the setting, else the address we listen on, else this machine's own.
pub(super) fn advertised(config: &Config, bound: SocketAddr) -> SocketAddr {
    match config.sip.advertise.map(|advertised| advertised.0) {
        Some(address) if address.port() == 0 => SocketAddr::new(address.ip(), bound.port()),
        Some(address) => address,
        None if bound.ip().is_unspecified() => {
            let address = SocketAddr::new(main_address(bound), bound.port());
            tracing::info!(%address, "Peers are told {address}; sip.advertise changes it");
            address
        }
        None => bound,
    }
}

/// The address that this machine would send from. Connecting a UDP socket sends nothing.
pub(super) fn main_address(bound: SocketAddr) -> IpAddr {
    let (from, to, loopback) = if bound.is_ipv4() {
        let elsewhere = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        (IpAddr::V4(Ipv4Addr::UNSPECIFIED), elsewhere, IpAddr::V4(Ipv4Addr::LOCALHOST))
    } else {
        let elsewhere = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
        (IpAddr::V6(Ipv6Addr::UNSPECIFIED), elsewhere, IpAddr::V6(Ipv6Addr::LOCALHOST))
    };
    UdpSocket::bind((from, 0))
        .and_then(|socket| socket.connect((to, 9)).and_then(|()| socket.local_addr()))
        .map_or(loopback, |address| address.ip())
}
