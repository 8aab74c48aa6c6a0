//! What peers know us by: host, port and transport in Via and Contact, for each kind of peer.

use std::net::{IpAddr, SocketAddr};

use super::config::CallConfig;
use super::io::NO_TRUNK;
use crate::domain::id::TrunkId;
use crate::domain::network;
use crate::domain::route::TrunkTarget;
use crate::sip::overload::OFFER;
use crate::sip::transport::{Hop, Transport};
use crate::sip::write::put_socket_address;

/// Our names, one for each transport and address family.
#[derive(Debug)]
pub(super) struct Names([Own; KINDS]);

/// Three transports over two address families.
const KINDS: usize = 6;

/// What one kind of peer knows us by.
#[derive(Debug)]
pub(super) struct Own {
    /// Where we are.
    pub(super) address: SocketAddr,
    /// The same, as in From.
    pub(super) host: Box<str>,
    /// Transport, host and port, as in Via.
    sent_by: Box<str>,
    /// The same for trunks, which may ask us to send less.
    sent_by_controlled: Box<str>,
    /// Our Contact.
    pub(super) contact: Box<str>,
}

impl Names {
    /// Each kind has the address that fits best of those that are listened on.
    pub(super) fn new(config: &CallConfig) -> Self {
        let own = |transport: Transport, is_v6: bool| {
            let main = (Transport::Udp, config.advertise);
            let all = || std::iter::once(main).chain(config.more_addresses.iter().copied());
            let fits = |it: &(Transport, SocketAddr)| it.0 == transport && it.1.is_ipv6() == is_v6;
            let found = all().find(fits).or_else(|| all().find(|it| it.0 == transport));
            // Whoever answers on the same connection need not reach us by another.
            let address = found.map_or(config.advertise, |(_, address)| address);
            let parameter = transport.uri_parameter();
            let sent_by = format!("{} {address}", transport.name());
            Own {
                address,
                host: address.to_string().into(),
                sent_by_controlled: format!("{sent_by}{OFFER}").into(),
                sent_by: sent_by.into(),
                contact: format!("<sip:{address}{parameter}>").into(),
            }
        };
        let [udp, tcp, tls] = Transport::ALL;
        Self([
            own(udp, false),
            own(udp, true),
            own(tcp, false),
            own(tcp, true),
            own(tls, false),
            own(tls, true),
        ])
    }

    /// Our name towards a peer.
    pub(super) fn of(&self, peer: Hop) -> &Own {
        let [udp4, udp6, tcp4, tcp6, tls4, tls6] = &self.0;
        match (peer.transport, peer.address.is_ipv6()) {
            (Transport::Udp, false) => udp4,
            (Transport::Udp, true) => udp6,
            (Transport::Tcp, false) => tcp4,
            (Transport::Tcp, true) => tcp6,
            (Transport::Tls, false) => tls4,
            (Transport::Tls, true) => tls6,
        }
    }

    /// What our Via says towards a peer, up to its branch.
    pub(super) fn via_of(&self, peer: Hop) -> &str {
        let own = self.of(peer);
        let is_trunk = TrunkId::from_u128(peer.owner) != NO_TRUNK;
        if is_trunk { &own.sent_by_controlled } else { &own.sent_by }
    }

    /// Whether a Via names us.
    pub(super) fn is_one(&self, host: &[u8], port: u16) -> bool {
        let host = std::str::from_utf8(host).unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let Ok(ip) = host.parse::<IpAddr>() else { return false };
        self.0.iter().any(|own| own.address == SocketAddr::new(ip, port))
    }
}

/// Writes where a trunk is, as in a URI: the name that it is configured by, so that it finds itself
/// in there (RFC 3261 §8.1.2, RFC 3263 §4), else its address.
pub(super) fn put_authority(target: &TrunkTarget, out: &mut Vec<u8>) {
    match &target.name {
        Some(name) => out.extend_from_slice(name.as_bytes()),
        None => put_socket_address(out, target.address),
    }
}

/// The same as a text.
pub(super) fn authority(target: &TrunkTarget) -> String {
    match &target.name {
        Some(name) => name.to_string(),
        None => target.address.to_string(),
    }
}

/// The URI of a trunk itself.
pub(super) fn uri_of(target: &TrunkTarget) -> String {
    format!("sip:{}{}", authority(target), hop_of(target).transport.uri_parameter())
}

/// Where the messages to a trunk go.
pub(super) const fn hop_of(target: &TrunkTarget) -> Hop {
    let transport = match target.transport {
        network::Transport::Udp => Transport::Udp,
        network::Transport::Tcp => Transport::Tcp,
        network::Transport::Tls => Transport::Tls,
    };
    Hop::new(transport, target.address).of(target.trunk.as_u128())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn hop(transport: Transport, text: &str) -> Hop {
        Hop::new(transport, address(text))
    }

    #[test]
    fn each_peer_is_told_the_address_it_can_reach() {
        let mut config = CallConfig::new(address("192.0.2.1:5060"));
        config.more_addresses = vec![
            (Transport::Udp, address("[2001:db8::1]:5060")),
            (Transport::Tls, address("192.0.2.1:5061")),
        ];
        let names = Names::new(&config);
        let contact = |transport, text| &*names.of(hop(transport, text)).contact;
        assert_eq!(contact(Transport::Udp, "198.51.100.1:1"), "<sip:192.0.2.1:5060>");
        assert_eq!(contact(Transport::Udp, "[2001:db8::9]:1"), "<sip:[2001:db8::1]:5060>");
        let tls = "<sip:192.0.2.1:5061;transport=tls>";
        assert_eq!(contact(Transport::Tls, "198.51.100.1:1"), tls);
        assert_eq!(contact(Transport::Tls, "[2001:db8::9]:1"), tls);
        let tcp = names.of(hop(Transport::Tcp, "198.51.100.1:1"));
        assert_eq!(&*tcp.sent_by, "TCP 192.0.2.1:5060");
        let tls = hop(Transport::Tls, "198.51.100.1:1");
        assert_eq!(names.via_of(tls), "TLS 192.0.2.1:5061", "no trunk is asked what it wants");
        assert_eq!(names.via_of(tls.of(7)), "TLS 192.0.2.1:5061;oc;oc-algo=\"loss\"");
        assert!(names.is_one(b"[2001:db8::1]", 5060) && names.is_one(b"192.0.2.1", 5061));
        assert!(!names.is_one(b"192.0.2.1", 5062) && !names.is_one(b"pbx.example", 5060));
    }
}
