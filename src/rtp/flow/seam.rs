//! Where our stream goes on from something else: after a pause, after what we have played, after
//! packets that were left out. Its numbers never jump and are never used twice.

use rand_core::Rng;

use super::{Flow, Gate, NO_PAYLOAD};
use crate::rtp::g711::Law;
use crate::rtp::header::{HEADER_BYTES, Header};
use crate::rtp::keys::EVENT_BYTES;
use crate::rtp::plane::EVENT_POSITION;
use crate::rtp::player::{Body, FRAME_SAMPLES, Frame};
use crate::rtp::time::Moment;

impl Flow {
    /// What leaves next does not follow the last packet by the numbers of the peer.
    pub(super) fn cut(&mut self) {
        self.cut_after(self.reception.highest_sequence());
    }

    #[cold]
    pub(super) fn cut_after(&mut self, highest: u16) {
        if !self.joins {
            self.sequence_next = highest.wrapping_add(self.sequence_offset).wrapping_add(1);
            self.joins = true;
        }
    }

    /// What leaves next begins a stream of its own.
    pub(in crate::rtp) fn begin_anew(&mut self, rng: &mut impl Rng) {
        self.cut();
        self.ssrc_out = rng.next_u32();
        self.sequence_next = first_sequence(rng);
    }

    /// From this packet on the stream of the peer is what leaves.
    #[cold]
    pub(super) fn join(&mut self, now: Moment, header: &mut Header, is_event: bool) {
        self.joins = false;
        self.seam = header.sequence;
        self.skipped = header.sequence.wrapping_sub(1);
        self.sequence_offset = self.sequence_next.wrapping_sub(header.sequence);
        let next = self.timestamp_next(now.rtp_units());
        self.timestamp_offset = next.wrapping_sub(header.timestamp);
        // A marked telephone event would be a new one, RFC 4733 §2.3.
        header.marker |= !is_event;
    }

    /// All packets of a press have the time of its beginning (RFC 4733 §2.4.1), those too that are
    /// joined after others of it or beside a warning. True for those: what follows is joined anew.
    #[cold]
    pub(super) fn keep_time_of_press(&mut self, header: &Header) -> bool {
        let known = self.press_times.filter(|(came, _)| *came == header.timestamp);
        if let Some((_, left)) = known {
            self.timestamp_offset = left.wrapping_sub(header.timestamp);
        }
        known.is_some() || self.gate == Gate::Warned
    }

    /// A packet of a press leaves with this time.
    #[cold]
    pub(super) fn note_press(&mut self, left: u32, is_aside: bool) {
        self.press_times = Some((left.wrapping_sub(self.timestamp_offset), left));
        if is_aside {
            self.cut();
        }
    }

    /// The timestamp of a packet that leaves at this time and does not follow the last one by the
    /// clock of the peer: at least a packet later.
    fn timestamp_next(&self, units: u32) -> u32 {
        let pause = units.wrapping_sub(self.sent_at_units);
        self.timestamp_out.wrapping_add(pause.max(PACKET_UNITS))
    }

    /// Whether a packet is older than the first one that was joined to what had left before. The
    /// seam follows the stream, so that numbers that wrap do not meet it again.
    #[inline]
    pub(super) fn is_before_seam(&mut self, sequence: u16) -> bool {
        let ahead = sequence.wrapping_sub(self.seam);
        if (SEAM_FOLLOWS..OLDER).contains(&ahead) {
            self.seam = self.seam.wrapping_add(SEAM_FOLLOWS / 2);
        }
        ahead >= OLDER
    }

    /// Leaves a packet out of the stream so that its number is not missed. `before` is the highest
    /// number that had come before it.
    #[cold]
    pub(super) fn skip(&mut self, before: u16, header: &Header) {
        let is_newest = self.reception.highest_sequence() == header.sequence;
        if self.joins || !is_newest || before == header.sequence {
            return;
        }
        // What was lost between two packets that are left out would have been left out, too.
        let step = if self.skipped == before { header.sequence.wrapping_sub(before) } else { 1 };
        self.sequence_offset = self.sequence_offset.wrapping_sub(step);
        self.skipped = header.sequence;
        self.seam = header.sequence.wrapping_add(1);
    }

    /// Writes a packet of our own into the stream, as sent at `at`.
    fn write_own(
        &mut self,
        at: Moment,
        marker: bool,
        law: Law,
        packet: &mut [u8; OWN_BYTES],
    ) -> bool {
        self.cut();
        let payload_type = self.to[law.position()];
        if payload_type == NO_PAYLOAD {
            return false;
        }
        let units = at.rtp_units();
        let header = Header {
            marker,
            payload_type,
            sequence: self.sequence_next,
            timestamp: self.timestamp_next(units),
            ssrc: self.ssrc_out,
            payload_start: HEADER_BYTES,
            payload_end: OWN_BYTES,
        };
        packet[..HEADER_BYTES].copy_from_slice(&header.to_bytes());
        self.timestamp_out = header.timestamp;
        self.sent_at_units = units;
        self.sequence_next = self.sequence_next.wrapping_add(1);
        let (packets, octets) = self.played;
        let bytes = (OWN_BYTES - HEADER_BYTES) as u32;
        self.played = (packets.wrapping_add(1), octets.wrapping_add(bytes));
        true
    }

    /// Writes what is played into the stream: its length, or `None` where the receiving side has no
    /// way to hear it.
    pub(in crate::rtp) fn write_frame(
        &mut self,
        frame: &Frame,
        packet: &mut [u8; OWN_BYTES],
    ) -> Option<usize> {
        match &frame.body {
            Body::Samples(samples) => {
                let law = self.law()?;
                let payload = &mut packet[HEADER_BYTES..];
                payload.copy_from_slice(samples);
                if law == Law::Mu {
                    Law::A.turn(payload);
                }
                self.write_own(frame.at, frame.marker, law, packet).then_some(OWN_BYTES)
            }
            Body::Event { key, begun_at, duration, ended } => {
                let [high, low] = duration.to_be_bytes();
                let event =
                    [key.event(), if *ended { EVENT_END } else { EVENT_GOES_ON }, high, low];
                self.write_event(*begun_at, frame.marker, event, packet)
            }
        }
    }

    /// One packet of a telephone event of our own. All of an event have the time of its beginning
    /// (RFC 4733 §2.4.1).
    fn write_event(
        &mut self,
        begun_at: Moment,
        marker: bool,
        event: [u8; EVENT_BYTES],
        packet: &mut [u8; OWN_BYTES],
    ) -> Option<usize> {
        let payload_type = self.to[EVENT_POSITION];
        if payload_type == NO_PAYLOAD {
            return None;
        }
        self.cut();
        let header = Header {
            marker,
            payload_type,
            sequence: self.sequence_next,
            timestamp: self.timestamp_next(begun_at.rtp_units()),
            ssrc: self.ssrc_out,
            payload_start: HEADER_BYTES,
            payload_end: HEADER_BYTES + EVENT_BYTES,
        };
        packet[..HEADER_BYTES].copy_from_slice(&header.to_bytes());
        packet[HEADER_BYTES..header.payload_end].copy_from_slice(&event);
        self.sequence_next = self.sequence_next.wrapping_add(1);
        let (packets, octets) = self.played;
        self.played = (packets.wrapping_add(1), octets.wrapping_add(EVENT_BYTES as u32));
        Some(header.payload_end)
    }

    /// The law in which the receiving side can be spoken to.
    fn law(&self) -> Option<Law> {
        let speaks = |law: &Law| self.to[law.position()] != NO_PAYLOAD;
        [Law::A, Law::Mu].into_iter().find(speaks)
    }
}

/// Random as RFC 3550 §5.1 wants it, but in the lower half: a receiver of SRTP counts the wraps
/// that it sees (RFC 3711 §3.3.1), and would never decrypt a stream whose first packets are lost
/// and which wraps among them. What keeps strangers out is not this number, but the source, the
/// SSRC and, where there is one, the key.
pub(super) fn first_sequence(rng: &mut impl Rng) -> u16 {
    (rng.next_u32() as u16) >> 1
}

/// The bytes of a packet of our own: a frame of G.711.
pub(in crate::rtp) const OWN_BYTES: usize = HEADER_BYTES + FRAME_SAMPLES;

/// -10 dBm0, as most phones say; the second with the end bit.
const EVENT_GOES_ON: u8 = 0x0a;
const EVENT_END: u8 = 0x8a;
/// Packets mostly hold 20 ms.
const PACKET_UNITS: u32 = FRAME_SAMPLES as u32;
/// So far behind the seam is rather before it.
const OLDER: u16 = 0x8000;
/// How far the seam may lie behind.
const SEAM_FOLLOWS: u16 = 0x4000;
