//! A network of addresses, such as the sources of a trunk or of an API key.

use std::fmt;
use std::net::IpAddr;

/// How SIP travels to a trunk and from it.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Transport {
    /// Datagrams.
    #[default]
    Udp,
    /// A stream.
    Tcp,
    /// An encrypted stream.
    Tls,
}

impl Transport {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Udp, Self::Tcp, Self::Tls];

    /// The word for it in settings, in the API and in the store.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }

    /// The one of this word.
    #[must_use]
    pub fn find_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|transport| transport.label() == label)
    }
}

/// The text is no network. It holds nothing of that text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct InvalidNetwork;

/// An address with the length of its network part: `192.0.2.0/24`, or one address.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Reads `address` or `address/length`; bits after the network part must be zero.
    ///
    /// # Errors
    /// [`InvalidNetwork`] for any other text.
    pub fn parse(text: &str) -> Result<Self, InvalidNetwork> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| InvalidNetwork)?;
        let width = width(address);
        let prefix = match prefix {
            // `u8::from_str` also takes `+8`.
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().map_err(|_| InvalidNetwork)?
            }
            Some(_) => return Err(InvalidNetwork),
            None => width,
        };
        if prefix > width || bits(address) & !mask(width, prefix) != 0 {
            return Err(InvalidNetwork);
        }
        Ok(Self { address, prefix })
    }

    /// How many leading bits are fixed: the more, the closer the network.
    #[must_use]
    pub const fn prefix(&self) -> u8 {
        self.prefix
    }

    /// The address is one of this network. An IPv4 address inside IPv6 counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let width = width(self.address);
        width == self::width(address)
            && bits(address) & mask(width, self.prefix) == bits(self.address)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

const fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// Ones over the network part of an address of `width` bits.
fn mask(width: u8, prefix: u8) -> u128 {
    let all = u128::MAX >> (128 - u32::from(width));
    let host = u32::from(width.saturating_sub(prefix));
    all & u128::MAX.checked_shl(host).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        Network::parse(text).expect("a network")
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn an_address_is_in_its_networks_only() {
        assert!(network("192.0.2.0/24").contains(address("192.0.2.255")));
        assert!(!network("192.0.2.0/24").contains(address("192.0.3.0")));
        assert!(network("192.0.2.7").contains(address("192.0.2.7")));
        assert!(!network("192.0.2.7").contains(address("192.0.2.8")));
        assert!(network("0.0.0.0/0").contains(address("203.0.113.9")));
        assert!(!network("0.0.0.0/0").contains(address("2001:db8::1")));
        assert!(network("2001:db8::/32").contains(address("2001:db8:1::1")));
        assert!(network("::/0").contains(address("2001:db8::1")));
        assert!(network("192.0.2.0/24").contains(address("::ffff:192.0.2.9")));
    }

    #[test]
    fn text_round_trips() {
        for text in ["192.0.2.0/24", "2001:db8::/32", "0.0.0.0/0", "192.0.2.7/32"] {
            assert_eq!(network(text).to_string(), text);
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "192.0.2.1/24", "192.0.2.0/33", "192.0.2.0/+8", "192.0.2.0/", "host", "/8"]
        {
            assert_eq!(Network::parse(text), Err(InvalidNetwork), "{text}");
        }
    }
}
