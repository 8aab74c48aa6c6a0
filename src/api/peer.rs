//! Where a request comes from: the address, and over TLS the certificate that the client has shown.

use std::net::{IpAddr, SocketAddr};

use axum::extract::ConnectInfo;
use axum::http::Extensions;

/// The SHA-256 of a certificate in DER.
pub type Fingerprint = [u8; 32];

/// The client of a TLS connection.
#[derive(Clone, Copy, Debug)]
pub struct TlsPeer {
    /// Where it is.
    pub address: SocketAddr,
    /// Its certificate, where it has shown one that chains to the roots of the settings.
    pub certificate: Option<Fingerprint>,
}

/// What is known of a client.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Peer {
    pub(super) ip: Option<IpAddr>,
    pub(super) certificate: Option<Fingerprint>,
}

impl Peer {
    pub(super) fn of(request: &Extensions) -> Self {
        if let Some(ConnectInfo(peer)) = request.get::<ConnectInfo<TlsPeer>>() {
            return Self { ip: Some(peer.address.ip()), certificate: peer.certificate };
        }
        let plain = request.get::<ConnectInfo<SocketAddr>>();
        Self { ip: plain.map(|peer| peer.0.ip()), certificate: None }
    }
}

/// Reads a fingerprint of 64 hexadecimal digits, a colon or none between two of them.
pub(super) fn read_fingerprint(text: &str) -> Option<Fingerprint> {
    let mut read = [0; 32];
    let mut rest = text;
    for (place, byte) in read.iter_mut().enumerate() {
        if place > 0 {
            rest = rest.strip_prefix(':').unwrap_or(rest);
        }
        let digits =
            rest.get(..2).filter(|it| it.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
        rest = rest.get(2..)?;
    }
    rest.is_empty().then_some(read)
}

/// The same without colons.
pub(super) fn write_fingerprint(fingerprint: &Fingerprint) -> String {
    fingerprint.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_read_as_tools_print_it_and_nothing_else_is_one() {
        let bytes: Fingerprint = std::array::from_fn(|place| place as u8 * 8);
        let plain = write_fingerprint(&bytes);
        assert!(plain.starts_with("000810") && plain.len() == 64);
        let pairs: Vec<_> = plain.as_bytes().chunks(2).map(String::from_utf8_lossy).collect();
        let colons = pairs.join(":").to_uppercase();
        for text in [&plain, &colons] {
            assert_eq!(read_fingerprint(text), Some(bytes));
        }
        let short = &plain[..62];
        let wrong = [
            String::new(),
            short.to_owned(),
            format!("{plain}00"),
            format!(":{plain}"),
            format!("{plain}:"),
            format!("{short}+1"),
            format!("{short}é"),
            colons.replacen(':', "::", 1),
        ];
        for text in wrong {
            assert_eq!(read_fingerprint(&text), None, "{text}");
        }
    }
}
