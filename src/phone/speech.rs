//! What a phone says: G.711 frames of a tone, or of a signature that tells who spoke, in RTP; and
//! the RTCP beside it. Written by hand, so that the relay's own RTP code is not tested with itself.

use std::f64::consts::TAU;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// One frame: 20 ms of 8 kHz audio.
pub const FRAME: Duration = Duration::from_millis(20);
/// Samples, and with G.711 bytes, in a frame.
pub const FRAME_SAMPLES: usize = 160;
/// PCMA, RFC 3551.
pub const PAYLOAD_TYPE: u8 = 8;
/// Telephone events, as phones and the relay number them.
pub const EVENT_TYPE: u8 = 101;
/// RTCP goes out after every so many frames.
const FRAMES_PER_REPORT: u16 = 250;
const SAMPLES_PER_SECOND: f64 = 8_000.0;

/// What the frames hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Voice {
    /// A sine tone.
    Tone {
        /// Its frequency.
        hz: u16,
    },
    /// The phone's own media address (IPv4), again and again: whoever receives it knows who spoke.
    Signature,
}

/// What a signature begins with.
const SIGNATURE_MAGIC: &[u8; 10] = b"maskphone:";

impl Voice {
    /// Who spoke this payload, when it is a signature.
    #[must_use]
    pub fn find_signature(payload: &[u8]) -> Option<SocketAddr> {
        let [a, b, c, d, high, low] = *payload.strip_prefix(SIGNATURE_MAGIC)?.first_chunk::<6>()?;
        let ip = IpAddr::V4(Ipv4Addr::new(a, b, c, d));
        Some(SocketAddr::new(ip, u16::from_be_bytes([high, low])))
    }
}

fn signature(local: SocketAddr) -> [u8; 16] {
    let ip = match local.ip() {
        IpAddr::V4(ip) => ip.octets(),
        IpAddr::V6(_) => [0; 4],
    };
    let mut text = [0; 16];
    let [a, b, c, d] = ip;
    let [high, low] = local.port().to_be_bytes();
    let bytes = SIGNATURE_MAGIC.iter().copied().chain([a, b, c, d, high, low]);
    for (place, byte) in text.iter_mut().zip(bytes) {
        *place = byte;
    }
    text
}

/// One outgoing RTP stream.
#[derive(Clone, Debug)]
pub struct Stream {
    voice: Voice,
    local: SocketAddr,
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    frames: u32,
}

impl Stream {
    /// A stream from `local` that begins with `sequence` and `timestamp`.
    #[must_use]
    pub const fn new(
        voice: Voice,
        local: SocketAddr,
        ssrc: u32,
        sequence: u16,
        timestamp: u32,
    ) -> Self {
        Self { voice, local, ssrc, sequence, timestamp, frames: 0 }
    }

    /// Frames so far.
    #[must_use]
    pub const fn frames(&self) -> u32 {
        self.frames
    }

    /// The next RTP packet.
    pub fn next_packet(&mut self) -> Vec<u8> {
        let mut packet = Vec::with_capacity(12 + FRAME_SAMPLES);
        packet.extend_from_slice(&[0x80, PAYLOAD_TYPE]);
        packet.extend_from_slice(&self.sequence.to_be_bytes());
        packet.extend_from_slice(&self.timestamp.to_be_bytes());
        packet.extend_from_slice(&self.ssrc.to_be_bytes());
        match self.voice {
            Voice::Tone { hz } => packet.extend(tone(hz, self.frames)),
            Voice::Signature => {
                packet.extend(signature(self.local).into_iter().cycle().take(FRAME_SAMPLES));
            }
        }
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(160);
        self.frames = self.frames.wrapping_add(1);
        packet
    }

    /// One key as it is pressed and let go, 60 ms long, with the end said three times (RFC 4733).
    pub fn key_packets(&mut self, event: u8) -> Vec<Vec<u8>> {
        let durations = [(160_u16, 0_u8), (320, 0), (480, 0x80), (480, 0x80), (480, 0x80)];
        let begin = self.timestamp;
        let packets = durations.into_iter().enumerate().map(|(nth, (duration, end))| {
            let marker = if nth == 0 { 0x80 } else { 0 };
            let mut packet = vec![0x80, marker | EVENT_TYPE];
            packet.extend_from_slice(&self.sequence.to_be_bytes());
            packet.extend_from_slice(&begin.to_be_bytes());
            packet.extend_from_slice(&self.ssrc.to_be_bytes());
            packet.extend_from_slice(&[event, end | 10]);
            packet.extend_from_slice(&duration.to_be_bytes());
            self.sequence = self.sequence.wrapping_add(1);
            packet
        });
        let packets = packets.collect();
        self.timestamp = self.timestamp.wrapping_add(480);
        packets
    }

    /// A sender report with a source description (RFC 3550 §6), each time one is due. `cname` is
    /// whatever a careless phone writes there.
    #[must_use]
    pub fn report_due(&self, cname: &str) -> Option<Vec<u8>> {
        if !self.frames.is_multiple_of(u32::from(FRAMES_PER_REPORT)) {
            return None;
        }
        let mut report = vec![0x80, 200, 0, 6];
        report.extend_from_slice(&self.ssrc.to_be_bytes());
        report.extend_from_slice(&[0; 8]);
        report.extend_from_slice(&self.timestamp.to_be_bytes());
        report.extend_from_slice(&self.frames.to_be_bytes());
        report.extend_from_slice(&self.frames.wrapping_mul(160).to_be_bytes());
        let text = cname.as_bytes().get(..cname.len().min(200)).unwrap_or_default();
        let mut item = vec![1, u8::try_from(text.len()).unwrap_or(0)];
        item.extend_from_slice(text);
        item.push(0);
        item.resize(item.len().next_multiple_of(4), 0);
        let words = u16::try_from(1 + item.len() / 4).unwrap_or(0);
        report.extend_from_slice(&[0x81, 202]);
        report.extend_from_slice(&words.to_be_bytes());
        report.extend_from_slice(&self.ssrc.to_be_bytes());
        report.extend_from_slice(&item);
        Some(report)
    }
}

/// One frame of a sine at half the full scale.
fn tone(hz: u16, frame: u32) -> impl Iterator<Item = u8> {
    let first = f64::from(frame) * FRAME_SAMPLES as f64;
    (0..FRAME_SAMPLES).map(move |index| {
        let phase = (first + index as f64) / SAMPLES_PER_SECOND * f64::from(hz) * TAU;
        #[expect(clippy::cast_possible_truncation, reason = "half of the full scale fits")]
        let sample = (phase.sin() * 16_000.0) as i16;
        encode_a_law(sample)
    })
}

/// G.711 A-law of a 16-bit sample.
fn encode_a_law(sample: i16) -> u8 {
    let sign = if sample >= 0 { 0x80 } else { 0 };
    let magnitude = if sample >= 0 { sample } else { !sample } >> 3;
    let mut exponent = 0_u8;
    let mut rest = magnitude >> 5;
    while rest > 0 {
        exponent += 1;
        rest >>= 1;
    }
    let shift = if exponent == 0 { 1 } else { exponent };
    let mantissa = u8::try_from((magnitude >> shift) & 0x0f).unwrap_or(0);
    (sign | exponent << 4 | mantissa) ^ 0x55
}

/// The 16-bit sample of a G.711 A-law byte.
fn decode_a_law(byte: u8) -> i16 {
    let byte = byte ^ 0x55;
    let exponent = (byte >> 4) & 7;
    let mantissa = i16::from(byte & 0x0f);
    let magnitude = match exponent {
        0 => (mantissa << 4) + 8,
        _ => ((mantissa << 4) + 0x108) << (exponent - 1),
    };
    if byte & 0x80 == 0 { -magnitude } else { magnitude }
}

/// The share of the energy of `payload` (A-law) that lies at `hz`: 1 for that tone alone, near 0
/// for silence or for another tone. Goertzel's algorithm.
#[must_use]
pub fn tone_share(payload: &[u8], hz: u16) -> f64 {
    let step = 2.0 * (TAU * f64::from(hz) / SAMPLES_PER_SECOND).cos();
    let (mut last, mut before, mut energy) = (0.0, 0.0, 0.0);
    for &byte in payload {
        let sample = f64::from(decode_a_law(byte));
        energy += sample * sample;
        (last, before) = (sample + step * last - before, last);
    }
    if energy == 0.0 {
        return 0.0;
    }
    let power = last * last + before * before - step * last * before;
    2.0 * power / (energy * payload.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local() -> SocketAddr {
        "192.0.2.7:4000".parse().expect("an address")
    }

    #[test]
    fn a_tone_is_found_by_its_frequency_and_no_other() {
        let mut stream = Stream::new(Voice::Tone { hz: 440 }, local(), 1, 2, 3);
        let audio: Vec<u8> = (0..25)
            .flat_map(|_| stream.next_packet().get(12..).unwrap_or_default().to_vec())
            .collect();
        assert!(tone_share(&audio, 440) > 0.95, "{}", tone_share(&audio, 440));
        assert!(tone_share(&audio, 880) < 0.05, "{}", tone_share(&audio, 880));
    }

    #[test]
    fn a_law_keeps_every_sample_within_its_step() {
        for sample in (i16::MIN..=i16::MAX).step_by(7) {
            let back = decode_a_law(encode_a_law(sample));
            let error = i32::from(back) - i32::from(sample);
            assert!(error.abs() <= 8 + i32::from(sample).abs() / 16, "{sample} became {back}");
        }
    }

    #[test]
    fn sequence_and_timestamp_step_by_one_frame() {
        let mut stream = Stream::new(Voice::Signature, local(), 1, u16::MAX, u32::MAX);
        let first = stream.next_packet();
        let second = stream.next_packet();
        assert_eq!(first.get(2..8), Some(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff][..]));
        assert_eq!(second.get(2..8), Some(&[0, 0, 0, 0, 0, 159][..]));
        assert_eq!(second.len(), 12 + FRAME_SAMPLES);
        assert_eq!(second.get(12..).and_then(Voice::find_signature), Some(local()));
    }
}
