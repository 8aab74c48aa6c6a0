//! RTCP ends at the relay: what peers send is checked and consumed, and our own reports are written
//! from our own counts. Nothing of one side's RTCP is ever in the other's.

use std::time::Duration;

use super::header::Malformed;
use super::stats::Block;

/// The most bytes of a report of ours.
pub const REPORT_BYTES_MAX: usize = 112;
/// Letters of a name: 12 random bytes as hex digits (RFC 7022 §4.2 asks for 96 bits).
pub const CNAME_BYTES: usize = 24;

/// What we keep of a peer's compound packet.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Incoming {
    /// The stream of who sent it.
    pub ssrc: u32,
    /// The middle 32 bits of the NTP time of its sender report.
    pub sender_report: Option<u32>,
    /// How many packets it says it has sent.
    pub packets_sent: Option<u32>,
    /// What it says about the first stream that it hears.
    pub echo: Option<Echo>,
}

/// The part of a report block that tells how far away its sender is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Echo {
    /// The stream it is about.
    pub ssrc: u32,
    /// The middle 32 bits of the last sender report it has got of that stream; zero for none.
    pub last_report: u32,
    /// How long it has had that, in 65536ths of a second.
    pub since_last_report: u32,
}

impl Echo {
    fn read(block: &[u8]) -> Option<Self> {
        let word = |at: usize| {
            let bytes = block.get(at..at + 4)?.first_chunk()?;
            Some(u32::from_be_bytes(*bytes))
        };
        let (ssrc, last_report) = (word(0)?, word(16)?);
        Some(Self { ssrc, last_report, since_last_report: word(20)? })
    }

    /// The time to the peer and back, when it is now `middle` by the clock of our reports.
    #[must_use]
    pub fn round_trip(&self, middle: u32) -> Option<Duration> {
        if self.last_report == 0 {
            return None;
        }
        let units = middle.wrapping_sub(self.last_report).checked_sub(self.since_last_report)?;
        let round_trip = Duration::from_micros((u64::from(units) * 1_000_000) >> 16);
        // Longer than that is no distance but a lie.
        (round_trip < ROUND_TRIP_MAX).then_some(round_trip)
    }
}

/// Checks a compound packet: each part within the bytes, a report first (RFC 3550 §A.2).
pub fn parse(packet: &[u8]) -> Result<Incoming, Malformed> {
    let mut incoming = Incoming::default();
    let mut rest = packet;
    let mut is_first = true;
    while let Some((head, _)) = rest.split_first_chunk::<4>() {
        let [flags, kind, l0, l1] = *head;
        let bytes = (usize::from(u16::from_be_bytes([l0, l1])) + 1) * 4;
        let padded = flags & PADDING != 0;
        let starts_well = !is_first || (matches!(kind, SENDER_REPORT | RECEIVER_REPORT) && !padded);
        // Only the last part may be padded.
        let padded_well = !padded || bytes == rest.len();
        if flags >> 6 != 2 || !TYPES.contains(&kind) || !starts_well || !padded_well {
            return Err(Malformed);
        }
        let (part, after) = rest.split_at_checked(bytes).ok_or(Malformed)?;
        let blocks = usize::from(flags & COUNT) * BLOCK_BYTES;
        match kind {
            SENDER_REPORT => {
                let Some(&[n2, n3, n4, n5]) = part.get(10..14) else { return Err(Malformed) };
                if part.len() < SENDER_REPORT_BYTES + blocks {
                    return Err(Malformed);
                }
                incoming.sender_report = Some(u32::from_be_bytes([n2, n3, n4, n5]));
                let packets = part.get(20..24).and_then(<[u8]>::first_chunk);
                incoming.packets_sent = packets.map(|packets| u32::from_be_bytes(*packets));
                incoming.echo = part
                    .get(SENDER_REPORT_BYTES..SENDER_REPORT_BYTES + blocks)
                    .and_then(Echo::read);
            }
            RECEIVER_REPORT if part.len() < RECEIVER_REPORT_BYTES + blocks => {
                return Err(Malformed);
            }
            RECEIVER_REPORT if is_first => {
                incoming.echo = part
                    .get(RECEIVER_REPORT_BYTES..RECEIVER_REPORT_BYTES + blocks)
                    .and_then(Echo::read);
            }
            _ => {}
        }
        if let Some(&[s0, s1, s2, s3]) = part.get(4..8).filter(|_| is_first) {
            incoming.ssrc = u32::from_be_bytes([s0, s1, s2, s3]);
        }
        rest = after;
        is_first = false;
    }
    if is_first || !rest.is_empty() { Err(Malformed) } else { Ok(incoming) }
}

/// A report of ours to one side.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// Our SSRC towards that side.
    pub ssrc: u32,
    /// What we have sent it, if we have since the last reports.
    pub sent: Option<Sent>,
    /// What we have received from it.
    pub heard: Option<Heard>,
    /// Our name on that leg.
    pub cname: &'a [u8; CNAME_BYTES],
}

/// The sender's part.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// 32.32 bits; time since the call began, which tells nobody anything.
    pub ntp: u64,
    /// The same moment on the stream's clock.
    pub timestamp: u32,
    /// Packets so far.
    pub packets: u32,
    /// Payload bytes so far.
    pub octets: u32,
}

/// The receiver's part.
#[derive(Clone, Copy, Debug)]
pub struct Heard {
    /// The stream it is about.
    pub ssrc: u32,
    /// Loss and jitter.
    pub block: Block,
    /// Its last sender report.
    pub last_report: u32,
    /// How long ago that came, in 65536ths of a second.
    pub since_last_report: u32,
}

impl Report<'_> {
    /// Writes the compound packet and returns its length.
    pub fn write(&self, buffer: &mut [u8; REPORT_BYTES_MAX]) -> usize {
        let mut out = Writer { buffer, length: 0 };
        let count = u8::from(self.heard.is_some());
        let block_words = u16::from(count) * 6;
        match self.sent {
            Some(sent) => {
                out.head(count, SENDER_REPORT, 6 + block_words);
                out.u32(self.ssrc);
                out.u32((sent.ntp >> 32) as u32);
                out.u32(sent.ntp as u32);
                out.u32(sent.timestamp);
                out.u32(sent.packets);
                out.u32(sent.octets);
            }
            None => {
                out.head(count, RECEIVER_REPORT, 1 + block_words);
                out.u32(self.ssrc);
            }
        }
        if let Some(heard) = self.heard {
            out.u32(heard.ssrc);
            let lost = heard.block.lost as u32 & 0x00ff_ffff;
            out.u32(u32::from(heard.block.fraction_lost) << 24 | lost);
            out.u32(heard.block.highest);
            out.u32(heard.block.jitter);
            out.u32(heard.last_report);
            out.u32(heard.since_last_report);
        }
        // One chunk: SSRC, the name as an item, and zeros up to the next word, at least one.
        let chunk_words = 1 + (2 + CNAME_BYTES + 1).div_ceil(4);
        out.head(1, SOURCE_DESCRIPTION, chunk_words as u16);
        out.u32(self.ssrc);
        out.bytes(&[CNAME, CNAME_BYTES as u8]);
        out.bytes(self.cname);
        out.bytes(&[0; 4 - (2 + CNAME_BYTES) % 4]);
        out.length
    }
}

/// Appends to a buffer that holds the largest report.
struct Writer<'a> {
    buffer: &'a mut [u8; REPORT_BYTES_MAX],
    length: usize,
}

impl Writer<'_> {
    fn head(&mut self, count: u8, kind: u8, words: u16) {
        let [l0, l1] = words.to_be_bytes();
        self.bytes(&[2 << 6 | count, kind, l0, l1]);
    }

    fn u32(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        let room = self.buffer.get_mut(self.length..self.length + bytes.len());
        room.expect("REPORT_BYTES_MAX holds the largest report").copy_from_slice(bytes);
        self.length += bytes.len();
    }
}

const ROUND_TRIP_MAX: Duration = Duration::from_secs(10);
const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const CNAME: u8 = 1;
const TYPES: std::ops::RangeInclusive<u8> = 192..=223;
const PADDING: u8 = 0b0010_0000;
const COUNT: u8 = 0b0001_1111;
const BLOCK_BYTES: usize = 24;
const SENDER_REPORT_BYTES: usize = 28;
const RECEIVER_REPORT_BYTES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NAME: [u8; CNAME_BYTES] = *b"0123456789abcdef01234567";

    fn report(sent: bool, heard: bool) -> Vec<u8> {
        let sent = sent.then_some(Sent { ntp: 7 << 32 | 9, timestamp: 1, packets: 2, octets: 320 });
        let block = Block { fraction_lost: 64, lost: 5, highest: 70_000, jitter: 12 };
        let heard = heard.then_some(Heard { ssrc: 3, block, last_report: 4, since_last_report: 5 });
        let mut buffer = [0; REPORT_BYTES_MAX];
        let length = Report { ssrc: 1, sent, heard, cname: &NAME }.write(&mut buffer);
        buffer[..length].to_vec()
    }

    #[test]
    fn our_reports_are_valid_and_hold_the_name_and_no_other_text() {
        for (sent, heard) in [(true, true), (true, false), (false, true), (false, false)] {
            let bytes = report(sent, heard);
            let incoming = parse(&bytes).expect("valid");
            assert_eq!(incoming.sender_report, sent.then_some(7 << 16));
            assert_eq!(bytes.len() % 4, 0);
            assert_eq!(bytes[bytes.len() - 26..bytes.len() - 2], NAME);
        }
    }

    #[test]
    fn a_report_with_all_parts_is_written_byte_for_byte() {
        let mut expected = vec![0x81, 200, 0, 12, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 9];
        expected.extend([0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 1, 64]);
        expected.extend([0, 0, 0, 3, 64, 0, 0, 5, 0, 1, 0x11, 0x70, 0, 0, 0, 12]);
        expected.extend([0, 0, 0, 4, 0, 0, 0, 5]);
        expected.extend([0x81, 202, 0, 8, 0, 0, 0, 1, 1, 24]);
        expected.extend(NAME);
        expected.extend([0, 0]);
        assert_eq!(report(true, true), expected);
    }

    #[test]
    fn lying_lengths_are_malformed() {
        let bytes = report(true, true);
        for length in 0..bytes.len() {
            let whole_first_part = length == 52;
            assert_eq!(parse(&bytes[..length]).is_ok(), whole_first_part, "{length} bytes");
        }
        let mut longer = bytes.clone();
        longer[3] = 200;
        assert_eq!(parse(&longer), Err(Malformed));
        let mut more_blocks = bytes.clone();
        more_blocks[0] = 0x9f;
        assert_eq!(parse(&more_blocks), Err(Malformed));
        let mut description_first = bytes;
        description_first[1] = 202;
        assert_eq!(parse(&description_first), Err(Malformed));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(
            mut packet in proptest::collection::vec(any::<u8>(), 0..128),
            words in 0_u8..40,
        ) {
            if packet.len() > 4 {
                packet[0] = packet[0] & 0x3f | 0x80;
                packet[1] = 200 + (packet[1] & 1);
                packet[2] = 0;
                packet[3] = words;
            }
            let _ = parse(&packet);
        }
    }
}
