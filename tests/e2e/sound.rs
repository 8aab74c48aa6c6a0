//! Tones in WAV files: what a phone plays, and what the far phone has recorded.

use std::f64::consts::TAU;
use std::fs;
use std::path::Path;

const SAMPLES_PER_SECOND: u32 = 8_000;

/// Writes `seconds` of a sine as 16-bit mono WAV.
pub(crate) fn write_tone(path: &Path, hz: u32, seconds: u32) {
    let count = SAMPLES_PER_SECOND * seconds;
    let mut wav = Vec::new();
    wav.extend_from_slice(b"RIFF");
    wav.extend_from_slice(&(36 + count * 2).to_le_bytes());
    wav.extend_from_slice(b"WAVEfmt ");
    wav.extend_from_slice(&16_u32.to_le_bytes());
    wav.extend_from_slice(&[1, 0, 1, 0]);
    wav.extend_from_slice(&SAMPLES_PER_SECOND.to_le_bytes());
    wav.extend_from_slice(&(SAMPLES_PER_SECOND * 2).to_le_bytes());
    wav.extend_from_slice(&[2, 0, 16, 0]);
    wav.extend_from_slice(b"data");
    wav.extend_from_slice(&(count * 2).to_le_bytes());
    for index in 0..count {
        let phase = f64::from(index) * f64::from(hz) * TAU / f64::from(SAMPLES_PER_SECOND);
        wav.extend_from_slice(&((phase.sin() * 8_000.0) as i16).to_le_bytes());
    }
    fs::write(path, wav).expect("a writable folder");
}

/// The samples of a 16-bit mono WAV; the length fields are not believed: the writer may still run.
pub(crate) fn read_samples(path: &Path) -> Vec<i16> {
    let bytes = fs::read(path).expect("a recording");
    let body = bytes.get(44..).unwrap_or_default();
    body.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect()
}

/// The share of the energy that lies at `hz`: 1 for that tone alone. Goertzel's algorithm.
pub(crate) fn share(samples: &[i16], hz: u32) -> f64 {
    let step = 2.0 * (TAU * f64::from(hz) / f64::from(SAMPLES_PER_SECOND)).cos();
    let (mut last, mut before, mut energy) = (0.0, 0.0, 0.0);
    for sample in samples.iter().copied().map(f64::from) {
        energy += sample * sample;
        (last, before) = (sample + step * last - before, last);
    }
    let power = last * last + before * before - step * last * before;
    if energy > 0.0 { 2.0 * power / (energy * samples.len() as f64) } else { 0.0 }
}

/// The best second of a recording: silence before the bridge does not count against it.
pub(crate) fn best_share(samples: &[i16], hz: u32) -> f64 {
    best_share_of(samples, hz, 1)
}

/// The same of parts of a second.
pub(crate) fn best_share_of(samples: &[i16], hz: u32, parts: usize) -> f64 {
    let windows = samples.chunks_exact(SAMPLES_PER_SECOND as usize / parts);
    windows.map(|window| share(window, hz)).fold(0.0, f64::max)
}

#[test]
fn a_tone_is_told_from_another() {
    let folder = std::env::temp_dir();
    let path = folder.join(format!("maskline-tone-{}.wav", std::process::id()));
    write_tone(&path, 440, 2);
    let samples = read_samples(&path);
    fs::remove_file(&path).expect("it was written");
    assert_eq!(samples.len(), 16_000);
    assert!(best_share(&samples, 440) > 0.95);
    assert!(best_share(&samples, 880) < 0.05);
}
