//! A key as we press it for a side: its two tones, or the packets of its telephone event.

use super::{Body, FRAME_SAMPLES};
use crate::rtp::g711::encode_a_law;
use crate::rtp::key::Key;
use crate::rtp::sound::RATE_HZ;
use crate::rtp::time::Moment;

/// Writes a frame of a key's tones, then silence; `false` when that is over.
pub(super) fn fill(key: Key, frame: u64, samples: &mut [u8; FRAME_SAMPLES]) -> bool {
    if frame >= PRESSED_FRAMES {
        return frame < ALL_FRAMES;
    }
    let (low, high) = frequencies(key);
    for (at, sample) in (frame * FRAME_SAMPLES as u64..).zip(samples) {
        let turn = at as f64 / f64::from(RATE_HZ) * std::f64::consts::TAU;
        let sound = LOW_PEAK * (low * turn).sin() + HIGH_PEAK * (high * turn).sin();
        *sample = encode_a_law(sound as i16);
    }
    true
}

/// The packet of a key's event: it grows, and its end is told three times (RFC 4733 §2.5.1.4).
pub(super) fn event(key: Key, begun_at: Moment, frame: u64) -> Option<Body> {
    let lasted = (frame + 1).min(PRESSED_FRAMES) * FRAME_SAMPLES as u64;
    let (duration, ended) = (u16::try_from(lasted).ok()?, frame >= PRESSED_FRAMES);
    (frame < ALL_FRAMES).then_some(Body::Event { key, begun_at, duration, ended })
}

/// ITU-T Q.23: those of the row and of the column.
fn frequencies(key: Key) -> (f64, f64) {
    let place = ROWS.iter().position(|row| row.contains(&key.sign())).unwrap_or_default();
    let row = ROWS.get(place).copied().unwrap_or_default();
    let column = row.iter().position(|sign| *sign == key.sign()).unwrap_or_default();
    let of = |table: [f64; 4], at: usize| table.get(at).copied().unwrap_or_default();
    (of(LOW_HZ, place), of(HIGH_HZ, column))
}

const ROWS: [[char; 4]; 4] =
    [['1', '2', '3', 'A'], ['4', '5', '6', 'B'], ['7', '8', '9', 'C'], ['*', '0', '#', 'D']];
const LOW_HZ: [f64; 4] = [697.0, 770.0, 852.0, 941.0];
const HIGH_HZ: [f64; 4] = [1_209.0, 1_336.0, 1_477.0, 1_633.0];
/// -10 and -8 dBm0.
const LOW_PEAK: f64 = 7_077.0;
const HIGH_PEAK: f64 = 8_909.0;
/// A tenth of a second.
const PRESSED_FRAMES: u64 = 5;
/// And as long as the end of an event takes to be told.
const ALL_FRAMES: u64 = PRESSED_FRAMES + 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::dtmf::Detector;
    use crate::rtp::g711::Law;

    #[test]
    fn each_key_that_we_press_is_heard_by_our_own_ear_once_and_as_itself() {
        let mut detector = Detector::default();
        for key in (0..16).filter_map(Key::of_event) {
            let (mut heard, mut frame) = (Vec::new(), 0);
            let mut samples = [Law::A.silence(); FRAME_SAMPLES];
            while fill(key, frame, &mut samples) {
                heard.extend(samples.iter().filter_map(|byte| detector.hear(Law::A.decode(*byte))));
                samples = [Law::A.silence(); FRAME_SAMPLES];
                frame += 1;
            }
            assert_eq!((heard, frame), (vec![key], 8));
        }
    }
}
