//! Where events may be sent: what a receiver's URL may look like, and which addresses of the
//! network are open to everybody. Nothing of ours or of our neighbours is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest URL.
pub const URL_CHARS_MAX: usize = 1_000;
/// The longest name of a host, RFC 1035 §2.3.4.
const HOST_CHARS_MAX: usize = 253;
/// The ports that receivers have.
pub const PORTS: [u16; 2] = [443, 8443];

/// How far deliveries reach. The default is what is safe; the rest is for tests and trials.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Reach {
    /// Receivers without TLS, at any port.
    pub allow_http: bool,
    /// Receivers in networks that are not open to everybody, at any port, and without a name.
    pub allow_private: bool,
}

/// Why a URL is refused. It holds nothing of the URL.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum InvalidUrl {
    /// Longer than [`URL_CHARS_MAX`].
    TooLong,
    /// Something other than `https`.
    Scheme,
    /// A user name or a password stands before the host.
    UserInfo,
    /// The host is no name in the domain name system, or one that never leads out.
    Host,
    /// A port that is none of [`PORTS`].
    Port,
    /// Characters that belong into no URL, or a fragment.
    Characters,
}

/// The URL of a receiver.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WebhookUrl {
    text: String,
    host: String,
    port: u16,
}

/// Endings of names that never lead to somebody else's machine.
const INNER_NAMES: &[&str] = &[
    "localhost",
    "local",
    "localdomain",
    "internal",
    "intranet",
    "lan",
    "home",
    "corp",
    "private",
    "arpa",
    "test",
    "invalid",
    "onion",
];

impl WebhookUrl {
    /// Reads a URL strictly: what it does not know is refused, so that no other reader of the same
    /// text can find another host in it.
    ///
    /// # Errors
    /// [`InvalidUrl`] names the rule.
    pub fn parse(text: &str, reach: Reach) -> Result<Self, InvalidUrl> {
        if text.len() > URL_CHARS_MAX {
            return Err(InvalidUrl::TooLong);
        }
        let https = text.strip_prefix("https://");
        let http = text.strip_prefix("http://").filter(|_| reach.allow_http);
        let rest = https.or(http).ok_or(InvalidUrl::Scheme)?;
        let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end).ok_or(InvalidUrl::Characters)?;
        let fits = |byte: u8| byte.is_ascii_graphic() && !b"\"#<>\\^`{|}".contains(&byte);
        if !path.bytes().all(fits) {
            return Err(InvalidUrl::Characters);
        }
        if authority.contains('@') {
            return Err(InvalidUrl::UserInfo);
        }
        let (host, port) = split_port(authority, if https.is_some() { 443 } else { 80 })?;
        if !PORTS.contains(&port) && !reach.allow_http && !reach.allow_private {
            return Err(InvalidUrl::Port);
        }
        let is_host = is_name(host) || (reach.allow_private && find_literal(host).is_some());
        if !is_host || (is_inner(host) && !reach.allow_private) {
            return Err(InvalidUrl::Host);
        }
        Ok(Self { text: text.to_owned(), host: host.to_owned(), port })
    }

    /// As it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The name that is to be looked up; or an address, in brackets if it is one of IPv6.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The address, where the host is no name.
    #[must_use]
    pub fn literal(&self) -> Option<IpAddr> {
        find_literal(&self.host)
    }

    /// The port of the receiver.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }
}

fn split_port(authority: &str, default: u16) -> Result<(&str, u16), InvalidUrl> {
    let after = authority.rfind(']').map_or(0, |at| at + 1);
    let tail = authority.get(after..).unwrap_or_default();
    let Some(colon) = tail.find(':').map(|at| at + after) else { return Ok((authority, default)) };
    let (host, port) = authority.split_at_checked(colon).ok_or(InvalidUrl::Port)?;
    let digits = port.strip_prefix(':').unwrap_or_default();
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    let port = digits.parse().ok().filter(|_| plain);
    Ok((host, port.ok_or(InvalidUrl::Port)?))
}

/// At least two labels of letters, digits and hyphens; the last one begins with a letter, so that
/// no spelling of an address is a name.
fn is_name(host: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = host.rsplit('.').next().unwrap_or_default();
    host.len() <= HOST_CHARS_MAX
        && host.contains('.')
        && host.split('.').all(label)
        && last.starts_with(|first: char| first.is_ascii_alphabetic())
}

fn is_inner(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or_default();
    INNER_NAMES.iter().any(|name| last.eq_ignore_ascii_case(name))
}

fn find_literal(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => host.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

/// Whether an address belongs to the open network, where everybody may have a receiver.
#[must_use]
pub fn is_open(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_open_v4(address),
        IpAddr::V6(address) => is_open_v6(address),
    }
}

/// Networks of the registry of special addresses (RFC 6890 and later) that lead elsewhere than to
/// somebody's machine in the open network: first address and length.
const CLOSED_V4: &[([u8; 4], u32)] = &[
    ([0, 0, 0, 0], 8),       // this network
    ([10, 0, 0, 0], 8),      // private
    ([100, 64, 0, 0], 10),   // behind a carrier's NAT
    ([127, 0, 0, 0], 8),     // loopback
    ([169, 254, 0, 0], 16),  // link-local, and the metadata of clouds
    ([172, 16, 0, 0], 12),   // private
    ([192, 0, 0, 0], 24),    // protocol assignments
    ([192, 0, 2, 0], 24),    // documentation
    ([192, 31, 196, 0], 24), // AS112
    ([192, 52, 193, 0], 24), // AMT
    ([192, 88, 99, 0], 24),  // relays of 6to4
    ([192, 168, 0, 0], 16),  // private
    ([192, 175, 48, 0], 24), // AS112
    ([198, 18, 0, 0], 15),   // benchmarks
    ([198, 51, 100, 0], 24), // documentation
    ([203, 0, 113, 0], 24),  // documentation
    ([224, 0, 0, 0], 3),     // multicast, reserved, broadcast
];

/// Addresses of machines of clouds that are open addresses, and answer from inside only.
const METADATA_V4: &[[u8; 4]] = &[
    [100, 100, 100, 200], // also in the carriers' network; named here for whoever reads it
    [168, 63, 129, 16],
];

fn is_open_v4(address: Ipv4Addr) -> bool {
    let bits = u32::from(address);
    let holds = |(first, length): &([u8; 4], u32)| {
        let shift = 32 - length;
        bits >> shift == u32::from_be_bytes(*first) >> shift
    };
    !CLOSED_V4.iter().any(holds) && !METADATA_V4.contains(&address.octets())
}

/// Only what is given out to networks (2000::/3) is open at all; of that, not what carries an IPv4
/// address inside, is for documents, or for experiments.
fn is_open_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    let is_given_out = first >> 13 == 1;
    let is_special = match first {
        0x2001 => second < 0x0200 || second == 0x0db8, // Teredo, ORCHID, benchmarks; documentation
        0x2002 => true,                                // 6to4
        0x2620 => second == 0x004f,                    // AS112
        0x3ffe | 0x3fff => true,                       // the old 6bone; documentation
        _ => false,
    };
    is_given_out && !is_special
}

#[cfg(test)]
mod tests;
