//! The fixed header of RTP, RFC 3550 §5.1: read with every length checked, written without anything
//! optional.

/// Bytes of a header without contributors and extensions, the only one we send.
pub const HEADER_BYTES: usize = 12;

/// What a packet's header says, and where its payload lies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    /// The start of a talk spurt.
    pub marker: bool,
    /// How the payload is coded.
    pub payload_type: u8,
    /// Counts packets.
    pub sequence: u16,
    /// Counts samples.
    pub timestamp: u32,
    /// Names the stream.
    pub ssrc: u32,
    /// Where the payload begins: behind contributors and extensions.
    pub payload_start: usize,
    /// Where it ends: before the padding.
    pub payload_end: usize,
}

/// Not RTP, or RTP whose lengths lie.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Malformed;

impl Header {
    /// Reads the header of a whole packet. STUN and DTLS fail by their version, RTCP by its type.
    pub fn parse(packet: &[u8]) -> Result<Self, Malformed> {
        let Some((fixed, rest)) = packet.split_first_chunk::<HEADER_BYTES>() else {
            return Err(Malformed);
        };
        let [flags, kind, s0, s1, t0, t1, t2, t3, r0, r1, r2, r3] = *fixed;
        if flags >> 6 != VERSION || RTCP_TYPES.contains(&kind) {
            return Err(Malformed);
        }
        let contributors = usize::from(flags & CONTRIBUTORS) * 4;
        let mut skipped = contributors;
        if flags & EXTENSION != 0 {
            let extension = rest.get(contributors..).ok_or(Malformed)?;
            let [_, _, l0, l1, ..] = *extension else { return Err(Malformed) };
            skipped += 4 + usize::from(u16::from_be_bytes([l0, l1])) * 4;
        }
        let payload_start = HEADER_BYTES + skipped;
        let mut payload_end = packet.len();
        if flags & PADDING != 0 {
            let padding = usize::from(*packet.last().ok_or(Malformed)?);
            payload_end = payload_end.checked_sub(padding).ok_or(Malformed)?;
            if padding == 0 {
                return Err(Malformed);
            }
        }
        if payload_start > payload_end {
            return Err(Malformed);
        }
        Ok(Self {
            marker: kind & MARKER != 0,
            payload_type: kind & !MARKER,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([r0, r1, r2, r3]),
            payload_start,
            payload_end,
        })
    }

    /// Writes version, marker, type, sequence, timestamp and SSRC; no padding, extension or
    /// contributors.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let [s0, s1] = self.sequence.to_be_bytes();
        let [t0, t1, t2, t3] = self.timestamp.to_be_bytes();
        let [r0, r1, r2, r3] = self.ssrc.to_be_bytes();
        let kind = self.payload_type & !MARKER | if self.marker { MARKER } else { 0 };
        [VERSION << 6, kind, s0, s1, t0, t1, t2, t3, r0, r1, r2, r3]
    }
}

/// What a packet is that is not RTP, by its first byte (RFC 7983 §7).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Foreign {
    /// STUN, by which ICE looks for ways.
    Stun,
    /// DTLS, by which SRTP agrees on keys.
    Dtls,
}

impl Foreign {
    /// The protocol of a packet; `None` when it is neither.
    #[must_use]
    pub fn of(packet: &[u8]) -> Option<Self> {
        match *packet.first()? {
            0..=3 => Some(Self::Stun),
            20..=63 => Some(Self::Dtls),
            _ => None,
        }
    }
}

const VERSION: u8 = 2;
const PADDING: u8 = 0b0010_0000;
const EXTENSION: u8 = 0b0001_0000;
const CONTRIBUTORS: u8 = 0b0000_1111;
const MARKER: u8 = 0b1000_0000;
/// The second byte of RTCP packets, RFC 5761 §4. We never agree to RTCP on the RTP port.
const RTCP_TYPES: std::ops::RangeInclusive<u8> = 192..=223;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plain() -> Vec<u8> {
        let mut packet = vec![0x80, 0x88, 0, 7, 0, 0, 0, 160, 1, 2, 3, 4];
        packet.extend([0xd5; 160]);
        packet
    }

    #[test]
    fn a_plain_packet_is_read() {
        let header = Header::parse(&plain()).expect("valid");
        assert!(header.marker);
        assert_eq!((header.payload_type, header.sequence), (8, 7));
        assert_eq!((header.timestamp, header.ssrc), (160, 0x0102_0304));
        assert_eq!((header.payload_start, header.payload_end), (12, 172));
    }

    #[test]
    fn contributors_extensions_and_padding_are_left_of_and_right_of_the_payload() {
        let mut packet = vec![0x80 | 0x20 | 0x10 | 2, 8, 0, 7, 0, 0, 0, 160, 1, 2, 3, 4];
        packet.extend([0xcc; 8]);
        packet.extend([0xbe, 0xde, 0, 1, 0x10, 0x22, 0, 0]);
        packet.extend([0xd5; 160]);
        packet.extend([9, 9, 9, 4]);
        let header = Header::parse(&packet).expect("valid");
        assert_eq!((header.payload_start, header.payload_end), (28, 188));
    }

    #[test]
    fn lying_lengths_are_malformed() {
        let with = |at: usize, value: u8| {
            let mut packet = plain();
            packet[at] = value;
            Header::parse(&packet)
        };
        assert_eq!(with(0, 0x40), Err(Malformed), "version 1");
        assert_eq!(with(0, 0x00), Err(Malformed), "STUN");
        assert_eq!(with(0, 22), Err(Malformed), "DTLS");
        assert_eq!(with(1, 200), Err(Malformed), "RTCP");
        assert_eq!(Header::parse(&plain()[..11]), Err(Malformed), "short");
        let mut contributors = plain();
        contributors[0] = 0x8f;
        assert_eq!(Header::parse(&contributors[..40]), Err(Malformed), "more CSRC than bytes");
        let mut extension = plain();
        extension[0] = 0x90;
        assert_eq!(Header::parse(&extension), Err(Malformed), "extension beyond the end");
        let mut padding = plain();
        padding[0] = 0xa0;
        padding[171] = 161;
        assert_eq!(Header::parse(&padding), Err(Malformed), "padding into the header");
        padding[171] = 0;
        assert_eq!(Header::parse(&padding), Err(Malformed), "padding of no bytes");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(
            mut packet in proptest::collection::vec(any::<u8>(), 0..96),
        ) {
            // Half of the cases get past the version, so that the lengths are tried too.
            if let Some(first) = packet.first_mut().filter(|first| **first & 1 == 0) {
                *first = (*first & 0x3f) | 0x80;
            }
            if let Ok(header) = Header::parse(&packet) {
                prop_assert!(header.payload_start >= HEADER_BYTES);
                prop_assert!(header.payload_start <= header.payload_end);
                prop_assert!(header.payload_end <= packet.len());
                let plain = header.to_bytes();
                prop_assert_eq!(&plain[1..], &packet[1..HEADER_BYTES]);
                prop_assert_eq!(plain[0], 0x80);
            }
        }
    }
}
