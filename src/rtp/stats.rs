//! What is known about a stream that arrives: loss by RFC 3550 §A.3 and jitter by §A.8. Counting is
//! a few additions a packet.

use super::header::Header;
use super::time::{MICROS_PER_RTP_UNIT, Moment};

/// The reception of one stream.
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub struct Reception {
    /// The highest sequence number, with its wraps above the lower 16 bits.
    highest: u32,
    received: u32,
    transit: u32,
    /// In RTP units, times 16.
    jitter: u32,
    /// From here on only touched at a start, a jump or a report.
    first: u32,
    /// The sequence number that would confirm a jump.
    after_jump: u32,
    /// Lost in earlier streams of the same side, and received.
    lost_before: u64,
    received_before: u64,
    expected_at_report: u32,
    received_at_report: u32,
}

/// What a report block says about a stream, RFC 3550 §6.4.1.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Block {
    /// Lost since the last report, in 256ths.
    pub fraction_lost: u8,
    /// Lost in all; 24 bits with sign.
    pub lost: i32,
    /// The extended highest sequence number.
    pub highest: u32,
    /// In RTP units.
    pub jitter: u32,
}

/// Whether the timestamps of a packet follow its sending, as those of audio do and those of
/// telephone events do not.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Timing {
    /// They do.
    Sampled,
    /// They stand still while an event lasts.
    Event,
}

/// How a packet follows those before it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Noted {
    /// Within what the network loses and turns round.
    Next,
    /// Far from them. It is not counted.
    Stray,
    /// The second one far from them: the stream has begun anew.
    Restarted {
        /// The highest number of the stream before.
        before: u16,
    },
}

impl Reception {
    /// A new stream begins with this packet. What was lost before stays counted.
    pub fn start(&mut self, now: Moment, header: &Header) {
        let (lost_before, received_before) = (self.lost(), self.received());
        *self = Self { lost_before, received_before, ..Self::default() };
        self.restart(header.sequence);
        self.received = 1;
        self.transit = now.rtp_units().wrapping_sub(header.timestamp);
    }

    /// Counts one more packet of the stream.
    pub fn note(&mut self, now: Moment, header: &Header, timing: Timing) -> Noted {
        let mut noted = Noted::Next;
        let step = header.sequence.wrapping_sub(self.highest as u16);
        if step < DROPOUT_MAX {
            self.highest = self.highest.wrapping_add(u32::from(step));
        } else if step <= u16::MAX - MISORDER_MAX + 1 {
            if u32::from(header.sequence) != self.after_jump {
                // One packet far off is a stray; two in a row are a stream that has restarted.
                self.after_jump = u32::from(header.sequence.wrapping_add(1));
                return Noted::Stray;
            }
            noted = Noted::Restarted { before: self.highest_sequence() };
            (self.lost_before, self.received_before) = (self.lost(), self.received());
            self.restart(header.sequence);
            self.received = 0;
            self.expected_at_report = 0;
            self.received_at_report = 0;
        }
        self.received = self.received.wrapping_add(1);
        if timing == Timing::Sampled {
            let transit = now.rtp_units().wrapping_sub(header.timestamp);
            let difference = (transit.wrapping_sub(self.transit) as i32).unsigned_abs();
            self.transit = transit;
            // A clock that was set is no jitter.
            if difference < JITTER_STEP_MAX {
                let decay = (self.jitter + 8) >> 4;
                self.jitter = self.jitter + difference - decay;
            }
        }
        noted
    }

    /// Packets lost on the way to us, over all streams of this side.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost_before + u64::from(self.expected().saturating_sub(self.received))
    }

    /// Packets that arrived, over all streams of this side.
    #[must_use]
    pub const fn received(&self) -> u64 {
        self.received_before + self.received as u64
    }

    /// Interarrival jitter in microseconds.
    #[must_use]
    pub const fn jitter_us(&self) -> u32 {
        (self.jitter >> 4) * MICROS_PER_RTP_UNIT
    }

    /// The highest sequence number so far.
    #[must_use]
    pub const fn highest_sequence(&self) -> u16 {
        self.highest as u16
    }

    /// The block for a report, which begins a new interval.
    pub fn report(&mut self) -> Block {
        let expected = self.expected();
        let expected_now = expected.wrapping_sub(self.expected_at_report);
        let received_now = self.received.wrapping_sub(self.received_at_report);
        self.expected_at_report = expected;
        self.received_at_report = self.received;
        let lost_now = expected_now.saturating_sub(received_now);
        let fraction = (u64::from(lost_now) << 8).checked_div(u64::from(expected_now));
        Block {
            fraction_lost: u8::try_from(fraction.unwrap_or(0)).unwrap_or(u8::MAX),
            lost: i32::try_from(self.lost()).unwrap_or(LOST_MAX).min(LOST_MAX),
            highest: self.highest,
            jitter: self.jitter >> 4,
        }
    }

    fn restart(&mut self, sequence: u16) {
        self.first = u32::from(sequence);
        self.highest = u32::from(sequence);
        self.after_jump = NO_JUMP;
    }

    const fn expected(&self) -> u32 {
        if self.received == 0 { 0 } else { self.highest.wrapping_sub(self.first).wrapping_add(1) }
    }
}

/// RFC 3550 §A.1: a gap up to this is loss.
const DROPOUT_MAX: u16 = 3000;
/// RFC 3550 §A.1: a step back up to this is a late packet.
const MISORDER_MAX: u16 = 100;
/// No sequence number is this.
const NO_JUMP: u32 = 1 << 16;
/// The greatest number that 24 bits with sign hold.
const LOST_MAX: i32 = 0x7f_ffff;
/// Ten seconds of samples.
const JITTER_STEP_MAX: u32 = 80_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(sequence: u16, timestamp: u32) -> Header {
        let (marker, payload_type, ssrc) = (false, 8, 1);
        Header {
            marker,
            payload_type,
            sequence,
            timestamp,
            ssrc,
            payload_start: 12,
            payload_end: 172,
        }
    }

    /// Packets of these numbers, 20 ms apart, each sent when its number says.
    fn received(sequences: &[u16]) -> Reception {
        let mut reception = Reception::default();
        for (at, sequence) in sequences.iter().enumerate() {
            let now = Moment::from_micros(at as u64 * 20_000);
            let header = packet(*sequence, at as u32 * 160);
            match at {
                0 => reception.start(now, &header),
                _ => _ = reception.note(now, &header, Timing::Sampled),
            }
        }
        reception
    }

    #[test]
    fn a_gap_is_loss_and_a_late_packet_is_not() {
        assert_eq!(received(&[10, 11, 12]).lost(), 0);
        assert_eq!(received(&[10, 11, 15, 16]).lost(), 3);
        assert_eq!(received(&[10, 12, 11, 13]).lost(), 0);
    }

    #[test]
    fn the_wrap_of_the_sequence_is_no_loss() {
        let mut reception = received(&[65_534, 65_535, 0, 1]);
        assert_eq!(reception.lost(), 0);
        assert_eq!(reception.report().highest, 65_537);
    }

    #[test]
    fn repeats_do_not_hide_behind_zero() {
        assert_eq!(received(&[10, 10, 10]).lost(), 0);
    }

    #[test]
    fn one_stray_number_changes_nothing_and_two_in_a_row_are_a_restart() {
        assert_eq!(received(&[10, 11, 30_000, 12]).lost(), 0);
        let mut restarted = received(&[10, 13, 30_000, 30_001, 30_003]);
        assert_eq!(restarted.lost(), 2 + 1);
        assert_eq!(restarted.report().highest, 30_003);
    }

    #[test]
    fn the_fraction_is_of_the_interval() {
        let mut reception = received(&[0, 1, 2, 3]);
        assert_eq!(reception.report().fraction_lost, 0);
        for sequence in [5, 7] {
            reception.note(Moment::default(), &packet(sequence, 0), Timing::Event);
        }
        assert_eq!(reception.report().fraction_lost, 128);
        assert_eq!(reception.report().fraction_lost, 0);
    }

    #[test]
    fn jitter_follows_the_formula_of_the_standard() {
        let mut reception = Reception::default();
        let mut expected = 0.0_f64;
        let arrivals_ms = [0, 20, 45, 60, 85, 100, 123, 140];
        let mut transit = 0.0;
        for (at, ms) in arrivals_ms.into_iter().enumerate() {
            let header = packet(at as u16, at as u32 * 160);
            let now = Moment::from_micros(ms * 1000);
            let new_transit = ms as f64 * 8.0 - at as f64 * 160.0;
            match at {
                0 => reception.start(now, &header),
                _ => {
                    reception.note(now, &header, Timing::Sampled);
                    expected += ((new_transit - transit).abs() - expected) / 16.0;
                }
            }
            transit = new_transit;
        }
        let measured = f64::from(reception.jitter_us()) / 125.0;
        assert!((measured - expected).abs() <= 1.0, "{measured} for {expected}");
    }

    #[test]
    fn telephone_events_leave_the_jitter_alone() {
        let mut reception = received(&[0, 1, 2]);
        for sequence in 3..20_u16 {
            let now = Moment::from_micros(u64::from(sequence) * 20_000);
            reception.note(now, &packet(sequence, 480), Timing::Event);
        }
        assert_eq!(reception.jitter_us(), 0);
    }

    #[test]
    fn a_new_stream_keeps_what_the_old_one_lost() {
        let mut reception = received(&[0, 5]);
        reception.start(Moment::default(), &packet(900, 0));
        assert_eq!(reception.lost(), 4);
    }
}
