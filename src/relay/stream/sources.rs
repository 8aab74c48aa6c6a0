//! How many connections each source has. Whoever has an IPv6 address has a whole network of them.

use std::net::{IpAddr, Ipv6Addr};

use hashbrown::HashMap;

/// What one subscriber of IPv6 is given at least: the first 64 bits are its network.
const HOST_BITS: u32 = 64;

/// Counts of connections. Never iterated; no larger than the table of connections.
#[derive(Debug, Default)]
pub(super) struct Sources(HashMap<IpAddr, usize>);

impl Sources {
    /// The connections of this source.
    pub(super) fn count(&self, source: IpAddr) -> usize {
        self.0.get(&network_of(source)).copied().unwrap_or(0)
    }

    /// One more.
    pub(super) fn add(&mut self, source: IpAddr) {
        *self.0.entry(network_of(source)).or_default() += 1;
    }

    /// One less.
    pub(super) fn remove(&mut self, source: IpAddr) {
        let source = network_of(source);
        if let Some(count) = self.0.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&source);
            }
        }
    }
}

fn network_of(source: IpAddr) -> IpAddr {
    match source {
        IpAddr::V4(_) => source,
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() >> HOST_BITS << HOST_BITS).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_addresses_of_one_ipv6_network_are_one_source() {
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        let mut sources = Sources::default();
        sources.add(address("2001:db8:1:2::1"));
        sources.add(address("2001:db8:1:2:ffff::2"));
        sources.add(address("192.0.2.1"));
        assert_eq!(sources.count(address("2001:db8:1:2:3:4:5:6")), 2);
        assert_eq!(sources.count(address("2001:db8:1:3::1")), 0, "the network beside it");
        assert_eq!(sources.count(address("192.0.2.1")), 1);
        assert_eq!(sources.count(address("192.0.2.2")), 0);
        sources.remove(address("2001:db8:1:2::7"));
        sources.remove(address("2001:db8:1:2::8"));
        sources.remove(address("192.0.2.1"));
        assert!(sources.0.is_empty(), "what nobody has is forgotten");
    }
}
