//! Where the media of a peer may be.

use std::net::IpAddr;
use std::sync::Arc;

use super::session::{InvalidSdp, Session};

/// Networks in which the media of a peer has to be; anywhere when there are none.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct MediaNetworks(Arc<[(IpAddr, u8)]>);

impl MediaNetworks {
    /// These: the first address of each, and how many of its leading bits are fixed.
    pub fn new(networks: impl Iterator<Item = (IpAddr, u8)>) -> Self {
        Self(networks.collect())
    }

    /// The description, if its media is in one of them. Who is on hold may name no address.
    ///
    /// # Errors
    /// [`InvalidSdp::NoAudio`] when it is elsewhere.
    pub fn admit(&self, session: Session) -> Result<Session, InvalidSdp> {
        let is_in = |ip: IpAddr| {
            ip.is_unspecified() || self.0.iter().any(|(first, bits)| is_within(ip, *first, *bits))
        };
        let is_fit =
            self.0.is_empty() || [session.rtp, session.rtcp].iter().all(|it| is_in(it.ip()));
        if is_fit { Ok(session) } else { Err(InvalidSdp::NoAudio) }
    }
}

/// An IPv4 address inside IPv6 counts as IPv4.
fn is_within(ip: IpAddr, first: IpAddr, bits: u8) -> bool {
    let differs = match (ip.to_canonical(), first) {
        (IpAddr::V4(ip), IpAddr::V4(first)) => {
            (ip.to_bits() ^ first.to_bits()).leading_zeros() < u32::from(bits)
        }
        (IpAddr::V6(ip), IpAddr::V6(first)) => {
            (ip.to_bits() ^ first.to_bits()).leading_zeros() < u32::from(bits)
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => true,
    };
    !differs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sdp::parse;

    fn offer(address: &str, rtcp: &str) -> Session {
        let kind = if address.contains(':') { "IP6" } else { "IP4" };
        let text = format!(
            "v=0\r\no=- 1 1 IN {kind} {address}\r\ns=-\r\nc=IN {kind} {address}\r\nt=0 0\r\n\
             m=audio 4000 RTP/AVP 8\r\n{rtcp}"
        );
        parse(text.as_bytes()).expect("an offer")
    }

    fn networks(networks: &[(&str, u8)]) -> MediaNetworks {
        let parsed = |text: &str| text.parse::<IpAddr>().expect("an address");
        MediaNetworks::new(networks.iter().map(|(first, bits)| (parsed(first), *bits)))
    }

    #[test]
    fn media_is_taken_from_its_networks_and_from_anywhere_where_there_are_none() {
        let both = networks(&[("192.0.2.0", 25), ("2001:db8::", 32)]);
        for (address, is_in) in [
            ("192.0.2.1", true),
            ("192.0.2.127", true),
            ("192.0.2.128", false),
            ("198.51.100.1", false),
            ("2001:db8:1::7", true),
            ("2001:db9::7", false),
            ("::ffff:192.0.2.9", true),
            ("::ffff:192.0.2.200", false),
        ] {
            assert_eq!(both.admit(offer(address, "")).is_ok(), is_in, "{address}");
            assert!(MediaNetworks::default().admit(offer(address, "")).is_ok());
        }
        let all = networks(&[("0.0.0.0", 0)]);
        assert!(all.admit(offer("198.51.100.1", "")).is_ok());
        assert!(all.admit(offer("2001:db8::1", "")).is_err(), "the other family");
    }

    #[test]
    fn reports_go_nowhere_else_either_and_a_hold_without_an_address_is_one() {
        let one = networks(&[("192.0.2.7", 32)]);
        let elsewhere = "a=rtcp:4001 IN IP4 198.51.100.1\r\n";
        assert_eq!(one.admit(offer("192.0.2.7", elsewhere)), Err(InvalidSdp::NoAudio));
        assert!(one.admit(offer("0.0.0.0", "")).is_ok());
    }
}
