//! Hears the tones of keys in sound, by Goertzel's filters: levels, twist and length as ITU-T Q.23
//! and Q.24 ask, and little of what voices do taken for keys.

use super::key::Key;

/// Listens to one stream of samples.
#[derive(Clone)]
pub(super) struct Detector {
    filters: [Filter; 8],
    energy: f32,
    samples: u16,
    /// What the last block was, and how loud its tones.
    last: Option<Key>,
    last_powers: [f32; 2],
    /// The key that is held down.
    held: Option<Key>,
    only_mutes: bool,
}

#[derive(Clone, Copy, Default)]
struct Filter {
    last: f32,
    before: f32,
}

impl Detector {
    /// The next sample: the key, as soon as it is certain.
    pub(super) fn hear(&mut self, sample: i16) -> Option<Key> {
        let sample = f32::from(sample);
        for (filter, factor) in self.filters.iter_mut().zip(FACTORS) {
            let next = sample + factor * filter.last - filter.before;
            filter.before = filter.last;
            filter.last = next;
        }
        self.energy += sample * sample;
        self.samples += 1;
        if self.samples < BLOCK {
            return None;
        }
        let (key, powers) = self.judge().unzip();
        let powers = powers.unwrap_or_default();
        (self.filters, self.energy, self.samples) = Default::default();
        let is_steady = powers
            .iter()
            .zip(self.last_powers)
            .all(|(power, last)| *power <= last * STEADY_MAX && last <= power * STEADY_MAX);
        let is_certain = key == self.last && is_steady && key != self.held;
        (self.last, self.last_powers) = (key, powers);
        if !is_certain {
            return None;
        }
        self.held = key;
        key.filter(|_| !self.only_mutes)
    }

    /// The last block was the tone of a key, or may still be.
    pub(super) const fn is_sounding(&self) -> bool {
        self.last.is_some() || self.held.is_some()
    }

    /// No key is told from now on.
    pub(super) const fn only_mute(&mut self) {
        self.only_mutes = true;
    }

    /// What the block that has just ended is.
    fn judge(&self) -> Option<(Key, [f32; 2])> {
        let mut powers = [0.0; 8];
        for ((power, filter), factor) in powers.iter_mut().zip(&self.filters).zip(FACTORS) {
            let Filter { last, before } = *filter;
            *power = last * last + before * before - factor * last * before;
        }
        let (low, high) = powers.split_at(4);
        let (row, row_power) = strongest(low)?;
        let (column, column_power) = strongest(high)?;
        let is_loud = row_power >= POWER_MIN && column_power >= POWER_MIN;
        let is_even = column_power <= row_power * TWIST_REVERSE_MAX
            && row_power <= column_power * TWIST_NORMAL_MAX;
        let is_all = row_power + column_power >= SHARE_MIN * self.energy;
        let event = *KEYS.get(row * 4 + column)?;
        let key = Key::of_event(event).filter(|_| is_loud && is_even && is_all)?;
        Some((key, [row_power, column_power]))
    }
}

impl Default for Detector {
    fn default() -> Self {
        Self {
            filters: Default::default(),
            energy: 0.0,
            samples: 0,
            last: None,
            last_powers: [0.0; 2],
            held: None,
            only_mutes: false,
        }
    }
}

impl std::fmt::Debug for Detector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Detector(*)")
    }
}

/// The one that is far above the others.
fn strongest(powers: &[f32]) -> Option<(usize, f32)> {
    let (best, power) =
        powers.iter().copied().enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b))?;
    let others = powers.iter().enumerate().filter(|(at, _)| *at != best);
    let is_clear = others.map(|(_, other)| other * PEAK_MIN).all(|other| other <= power);
    is_clear.then_some((best, power))
}

/// Samples of a block: 12.75 ms, so that the shortest valid tone (40 ms) has two whole ones.
const BLOCK: u16 = 102;
/// The least power of a tone in a block: about -41 dBm0.
const POWER_MIN: f32 = 1.0e8;
/// The high tone may be louder than the low one by 4 dB ...
const TWIST_REVERSE_MAX: f32 = 2.51;
/// ... and fainter by 8 dB, since lines dampen high tones.
const TWIST_NORMAL_MAX: f32 = 6.31;
/// How far a tone stands out of the others of its group: 8 dB.
const PEAK_MIN: f32 = 6.31;
/// How much a tone's power may differ between two blocks: 1.5 dB. A key's is steady, a voice's
/// is not.
const STEADY_MAX: f32 = 1.41;
/// The part of all energy that is in the two tones, in units of a block: 51 would be all.
const SHARE_MIN: f32 = 42.0;

/// Twice the cosine of the turn of each tone in a sample: 697, 770, 852, 941 and 1209, 1336, 1477,
/// 1633 Hz.
const FACTORS: [f32; 8] = [
    1.707_737_8,
    1.645_281,
    1.568_687,
    1.478_204_6,
    1.164_104,
    0.996_370_2,
    0.798_618_4,
    0.568_532_7,
];

/// Events by row and column.
const KEYS: [u8; 16] = [1, 2, 3, 12, 4, 5, 6, 13, 7, 8, 9, 14, 10, 0, 11, 15];

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;
    use crate::rtp::g711::{Law, encode_a_law};

    const ROWS: [f64; 4] = [697.0, 770.0, 852.0, 941.0];
    const COLUMNS: [f64; 4] = [1209.0, 1336.0, 1477.0, 1633.0];

    /// Samples through A-law, and every key that was heard in them.
    fn heard(samples: impl IntoIterator<Item = f64>) -> String {
        let mut detector = Detector::default();
        let through = samples.into_iter().map(|sample| Law::A.decode(encode_a_law(sample as i16)));
        through.filter_map(|sample| detector.hear(sample)).map(Key::sign).collect()
    }

    /// Two tones of these levels (dBm0) and frequencies for some milliseconds.
    fn pair(row: (f64, f64), column: (f64, f64), ms: usize) -> impl Iterator<Item = f64> {
        let height = |level: f64| 32_124.0 * 10_f64.powf((level - 3.1) / 20.0);
        let (low, high) = (height(row.0), height(column.0));
        (0..ms * 8).map(move |at| {
            let at = at as f64 / 8_000.0;
            low * (TAU * row.1 * at).sin() + high * (TAU * column.1 * at).sin()
        })
    }

    fn press(key: usize, level: f64, ms: usize) -> impl Iterator<Item = f64> {
        pair((level, ROWS[key / 4]), (level, COLUMNS[key % 4]), ms)
    }

    fn silence(ms: usize) -> impl Iterator<Item = f64> {
        std::iter::repeat_n(0.0, ms * 8)
    }

    #[test]
    fn each_key_is_heard_once_at_every_level_and_from_40_ms_on() {
        for level in [-3.0, -10.0, -20.0, -30.0] {
            for ms in [40, 100, 1_000] {
                let all = (0..16).flat_map(|key| press(key, level, ms).chain(silence(40)));
                assert_eq!(heard(all), "123A456B789C*0#D", "{level} dBm0, {ms} ms");
            }
        }
    }

    #[test]
    fn the_same_key_twice_needs_a_pause() {
        let all = [press(4, -10.0, 60), press(4, -10.0, 60)];
        let [first, second] = all;
        assert_eq!(heard(first.chain(silence(40)).chain(second)), "44");
    }

    #[test]
    fn short_faint_and_uneven_tones_are_no_keys() {
        assert_eq!(heard(press(5, -10.0, 20).chain(silence(60))), "");
        assert_eq!(heard(press(5, -50.0, 200)), "");
        assert_eq!(heard(pair((-10.0, 770.0), (-4.0, 1336.0), 200)), "", "twist of 6 dB up");
        assert_eq!(heard(pair((-4.0, 770.0), (-14.0, 1336.0), 200)), "", "twist of 10 dB down");
        assert_eq!(heard(pair((-10.0, 770.0), (-8.0, 1336.0), 200)), "5");
        assert_eq!(heard(pair((-4.0, 770.0), (-10.0, 1336.0), 200)), "5");
        assert_eq!(heard(pair((-10.0, 770.0 * 1.04), (-10.0, 1336.0 * 1.04), 200)), "", "off key");
        assert_eq!(heard(pair((-10.0, 770.0 * 1.012), (-10.0, 1336.0 * 0.988), 200)), "5");
        assert_eq!(heard(pair((-10.0, 770.0), (-10.0, 400.0), 200)), "");
    }

    /// A vowel whose pitch and formants glide: many harmonics, as voices have them.
    fn voice(seed: u32, ms: usize) -> impl Iterator<Item = f64> {
        let (mut phase, seed) = (0.0, f64::from(seed));
        (0..ms * 8).map(move |at| {
            let time = at as f64 / 8_000.0;
            let pitch = 90.0 + 6.0 * seed + 40.0 * (time * (1.3 + seed * 0.1)).sin();
            phase += TAU * pitch / 8_000.0;
            let formants = [
                500.0 + 250.0 * (time * 3.1 + seed).sin(),
                1_400.0 + 500.0 * (time * 2.3 + seed).sin(),
                2_600.0 + 200.0 * (time * 1.7 + seed).sin(),
            ];
            let harmonics = (1..30).map(|n| {
                let near =
                    |formant: f64| (-((f64::from(n) * pitch - formant) / 150.0).powi(2)).exp();
                let height: f64 = formants.into_iter().map(near).sum();
                height * (f64::from(n) * phase).sin()
            });
            4_000.0 * harmonics.sum::<f64>()
        })
    }

    #[test]
    fn gliding_voices_have_no_key_in_them() {
        let keys: Vec<String> = (0..20).map(|seed| heard(voice(seed, 6_000))).collect();
        assert!(keys.iter().all(String::is_empty), "{keys:?}");
    }

    #[test]
    fn a_key_is_heard_through_noise_and_not_through_speech_of_the_same_level() {
        let mut state = 7_u32;
        let mut noise = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from((state >> 16) as i16) / 32.0
        };
        let noisy: Vec<f64> = press(0, -10.0, 80).map(|sample| sample + noise()).collect();
        assert_eq!(heard(noisy), "1");
        let spoken = press(0, -20.0, 200).zip(voice(3, 200)).map(|(tone, voice)| tone + voice);
        assert_eq!(heard(spoken), "");
    }
}
