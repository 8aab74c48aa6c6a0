//! The Reason header (RFC 3326): why a request was sent, in codes. Its texts are never written, and
//! never read.

use super::header::HeaderId;
use super::lex;
use super::message::Message;

/// Why we cancel or refuse.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Reason {
    /// The SIP status that fits.
    pub sip_status: u16,
    /// The ITU-T Q.850 cause value.
    pub q850: u8,
}

/// The highest Q.850 cause value.
pub const Q850_MAX: u8 = 127;

impl Reason {
    /// As in the header.
    #[must_use]
    pub fn value(self) -> String {
        format!("SIP;cause={}, Q.850;cause={}", self.sip_status, self.q850)
    }
}

/// The Q.850 cause that a message gives, if it gives one.
#[must_use]
pub fn find_q850(message: &Message) -> Option<u8> {
    message.values(HeaderId::Reason).find_map(|value| {
        let mut parts = value.split(|byte| *byte == b';').map(lex::trim);
        parts.next().filter(|protocol| protocol.eq_ignore_ascii_case(b"Q.850"))?;
        let cause = parts.find_map(|part| {
            let (name, value) = part.split_at_checked(part.iter().position(|it| *it == b'=')?)?;
            let is_cause = lex::trim(name).eq_ignore_ascii_case(b"cause");
            is_cause.then(|| lex::trim(value.get(1..).unwrap_or_default()))
        })?;
        let cause: u8 = str::from_utf8(cause).ok()?.parse().ok()?;
        (cause <= Q850_MAX).then_some(cause)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn found(lines: &str) -> Option<u8> {
        let text = format!(
            "BYE sip:a@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKa\r\nFrom: <sip:a@h>;tag=1\r\n\
             To: <sip:b@h>;tag=2\r\nCall-ID: c\r\nCSeq: 1 BYE\r\n{lines}\r\n"
        );
        find_q850(&Message::parse(Bytes::from(text)).expect("a valid message"))
    }

    #[test]
    fn a_received_reason_is_read_as_a_code_only() {
        let text =
            "Reason: SIP;cause=200;text=\"a, b;cause=9\", q.850 ; text=\"no\" ; cause = 20\r\n";
        assert_eq!(found(text), Some(20));
        assert_eq!(found("Reason: Q.850;cause=16;text=\"Terminated\"\r\n"), Some(16));
        assert_eq!(found("Reason: SIP;cause=480\r\nReason: Q.850;cause=1\r\n"), Some(1));
    }

    #[test]
    fn what_is_no_code_is_nothing() {
        for value in
            ["", "Q.850", "Q.850;cause", "Q.850;cause=", "Q.850;cause=128", "Q.850;cause=x"]
        {
            assert_eq!(found(&format!("Reason: {value}\r\n")), None, "{value}");
        }
    }

    #[test]
    fn ours_says_both_codes() {
        let reason = Reason { sip_status: 487, q850: 16 };
        assert_eq!(reason.value(), "SIP;cause=487, Q.850;cause=16");
    }
}
