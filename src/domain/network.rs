//! A network of addresses, such as the sources of a trunk or of an API key.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

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

/// Where a trunk listens: an address, or a name that leads to some.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TrunkPlace {
    /// `192.0.2.1:5060`, `[2001:db8::1]:5060`.
    Address(SocketAddr),
    /// `carrier.example`, whose NAPTR and SRV records say where; with a port a host.
    Name {
        /// Lower case, without a dot at its end.
        host: Box<str>,
        /// Where the host listens.
        port: Option<u16>,
    },
}

/// The longest host name (RFC 1035 §2.3.4), and its longest part.
const HOST_CHARS_MAX: usize = 253;
const LABEL_CHARS_MAX: usize = 63;

impl TrunkPlace {
    /// Reads an address with its port, or a name of at least two parts with or without one.
    ///
    /// # Errors
    /// [`InvalidNetwork`] for any other text.
    pub fn parse(text: &str) -> Result<Self, InvalidNetwork> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            let fits = address.port() != 0 && !address.ip().is_unspecified();
            return if fits { Ok(Self::Address(address)) } else { Err(InvalidNetwork) };
        }
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => {
                let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
                let port = port.parse().ok().filter(|port| is_number && *port != 0);
                (host, Some(port.ok_or(InvalidNetwork)?))
            }
            None => (text, None),
        };
        let is_part = |part: &str| {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            (1..=LABEL_CHARS_MAX).contains(&part.len()) && part.bytes().all(fits)
        };
        let last = host.rsplit('.').next().unwrap_or_default();
        let is_name = host.len() <= HOST_CHARS_MAX
            && host.contains('.')
            && host.split('.').all(is_part)
            // An address without a port is no name.
            && last.bytes().any(|byte| byte.is_ascii_alphabetic());
        if is_name {
            Ok(Self::Name { host: host.to_ascii_lowercase().into(), port })
        } else {
            Err(InvalidNetwork)
        }
    }
}

impl fmt::Display for TrunkPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Name { host, port: None } => f.write_str(host),
            Self::Name { host, port: Some(port) } => write!(f, "{host}:{port}"),
        }
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
    /// The network of one address.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        let prefix = if address.is_ipv4() { 32 } else { 128 };
        Self { address, prefix }
    }

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

    /// Its first address.
    #[must_use]
    pub const fn address(&self) -> IpAddr {
        self.address
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
    fn a_trunk_listens_at_an_address_or_a_name_and_at_nothing_else() {
        let whole = ["192.0.2.1:5060", "[2001:db8::1]:5060", "sip.c.example", "c.example:5080"];
        for text in whole {
            let place = TrunkPlace::parse(text).expect("a place");
            assert_eq!(place.to_string(), text);
        }
        let upper = TrunkPlace::parse("SIP.Example").expect("a name");
        assert_eq!(upper.to_string(), "sip.example");
        for bad in [
            "",
            "localhost",
            "192.0.2.1",
            "192.0.2.1:0",
            "0.0.0.0:5060",
            "c..example",
            ".example",
            "c.example.",
            "c.example:",
            "c.example:0",
            "c.example:+1",
            "c.example:65536",
            "a b.example",
            "c.example/x",
            "2001:db8::1",
            "sip:c.example",
            "c.ex\u{e4}mple",
        ] {
            assert_eq!(TrunkPlace::parse(bad), Err(InvalidNetwork), "{bad}");
        }
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
