//! Where a host name is served, by RFC 3263: which records are asked for and which of them count.
//! The transport is configured, so only records of that transport do. Knows no resolver.

use super::transport::Transport;

/// One NAPTR record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Naptr {
    /// Lower goes first, and nothing behind it counts.
    pub order: u16,
    /// Lower goes first among those of one order.
    pub preference: u16,
    /// `s` where the replacement is the name of SRV records.
    pub flags: Vec<u8>,
    /// Such as `SIP+D2U`.
    pub service: Vec<u8>,
    /// The next name to ask for.
    pub replacement: String,
}

/// The name of the SRV records where no NAPTR record names another one.
#[must_use]
pub fn srv_name(domain: &str, transport: Transport) -> String {
    let service = match transport {
        Transport::Udp => "_sip._udp",
        Transport::Tcp => "_sip._tcp",
        Transport::Tls => "_sips._tcp",
    };
    format!("{service}.{domain}")
}

/// The name of the SRV records that NAPTR records give for a transport; `None` without one.
#[must_use]
pub fn srv_name_by(records: &[Naptr], transport: Transport) -> Option<&str> {
    let service: &[u8] = match transport {
        Transport::Udp => b"SIP+D2U",
        Transport::Tcp => b"SIP+D2T",
        Transport::Tls => b"SIPS+D2T",
    };
    let fits = |record: &&Naptr| {
        record.service.eq_ignore_ascii_case(service) && record.flags.eq_ignore_ascii_case(b"s")
    };
    let best = records.iter().filter(fits).min_by_key(|it| (it.order, it.preference))?;
    Some(&best.replacement)
}

/// RFC 2782: a single record with this target says that the service is decidedly not available.
#[must_use]
pub fn is_refusal(target: &str) -> bool {
    target.is_empty() || target == "."
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naptr(order: u16, preference: u16, service: &str, replacement: &str) -> Naptr {
        let (flags, service) = (b"S".to_vec(), service.as_bytes().to_vec());
        Naptr { order, preference, flags, service, replacement: replacement.to_owned() }
    }

    #[test]
    fn the_first_record_of_the_configured_transport_counts() {
        let records = [
            naptr(50, 50, "SIPS+D2T", "tls.example"),
            naptr(90, 50, "sip+d2t", "tcp.example"),
            naptr(100, 60, "SIP+D2U", "later.example"),
            naptr(100, 50, "SIP+D2U", "udp.example"),
            Naptr { flags: b"U".to_vec(), ..naptr(1, 1, "SIP+D2U", "uri.example") },
            naptr(1, 1, "E2U+sip", "enum.example"),
        ];
        let name = |transport| srv_name_by(&records, transport);
        assert_eq!(name(Transport::Udp), Some("udp.example"));
        assert_eq!(name(Transport::Tcp), Some("tcp.example"));
        assert_eq!(name(Transport::Tls), Some("tls.example"));
        assert_eq!(srv_name_by(&records[..2], Transport::Udp), None);
    }

    #[test]
    fn without_them_the_name_is_made_of_service_and_transport() {
        assert_eq!(srv_name("c.example", Transport::Udp), "_sip._udp.c.example");
        assert_eq!(srv_name("c.example", Transport::Tcp), "_sip._tcp.c.example");
        assert_eq!(srv_name("c.example", Transport::Tls), "_sips._tcp.c.example");
        assert!(is_refusal(".") && !is_refusal("a."));
    }
}
