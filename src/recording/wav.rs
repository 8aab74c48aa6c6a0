//! A recording as a stereo WAV file: the caller on the left, the callee on the right, silence where
//! nothing came. It is made piece by piece, however long it is.

use std::collections::VecDeque;
use std::io::{self, Read, Seek, SeekFrom, Write};

use super::format::Frame;
use super::reader::{Outcome, Reader, RecordingError};
use crate::rtp::sound::RATE_HZ;
use crate::vault::SecretKey;

/// A frame that comes later than this behind others is lost.
const WINDOW_SAMPLES: usize = 2 * RATE_HZ as usize;
/// How far a frame's own time may be from its arrival before its track is put in step again.
const DRIFT_SAMPLES_MAX: i64 = RATE_HZ as i64 / 5;
/// No recording is longer.
const SAMPLES_MAX: i64 = 24 * 3_600 * RATE_HZ as i64;
/// The bytes of one moment: two channels of 16 bits.
const MOMENT_BYTES: u32 = 4;

/// Why there is no WAV file.
#[derive(Debug, thiserror::Error)]
pub enum WavError {
    /// The recording.
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// Where it was to be written.
    #[error("the WAV file cannot be written: {0}")]
    Output(io::Error),
}

/// A recording that was read once to its end, so that its length is known.
pub struct Wav<R> {
    input: R,
    key: SecretKey,
    samples: u64,
    outcome: Outcome,
}

impl<R: Read + Seek> Wav<R> {
    /// Reads the whole of a recording, which also proves that nothing in it was changed.
    ///
    /// # Errors
    /// [`RecordingError`] when it cannot be read or was changed.
    pub fn measure(mut input: R, key: SecretKey) -> Result<Self, RecordingError> {
        let mut mixer = Mixer::default();
        let outcome = play(&mut input, &key, |frame| mixer.add(frame, |_, _| Ok(())));
        let outcome = outcome.map_err(|error| match error {
            WavError::Recording(error) => error,
            WavError::Output(error) => error.into(),
        })?;
        let samples = mixer.written + mixer.window.len() as u64;
        Ok(Self { input, key, samples, outcome })
    }

    /// The length of the WAV file.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        44 + self.samples * MOMENT_BYTES as u64
    }

    /// Whether it is the whole recording.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// Writes the WAV file.
    ///
    /// # Errors
    /// [`WavError`]; what is written until then is of no use.
    pub fn write(mut self, mut out: impl Write) -> Result<(), WavError> {
        out.write_all(&header(self.samples)).map_err(WavError::Output)?;
        let mut mixer = Mixer::default();
        play(&mut self.input, &self.key, |frame| {
            mixer.add(frame, |left, right| write_moment(&mut out, left, right))
        })?;
        for [left, right] in mixer.window {
            write_moment(&mut out, left, right).map_err(WavError::Output)?;
        }
        out.flush().map_err(WavError::Output)
    }
}

fn play<R: Read + Seek>(
    input: &mut R,
    key: &SecretKey,
    mut each: impl FnMut(&Frame<'_>) -> io::Result<()>,
) -> Result<Outcome, WavError> {
    input.seek(SeekFrom::Start(0)).map_err(RecordingError::from)?;
    let mut reader = Reader::open(input)?;
    reader.unlock(key)?;
    while let Some(frame) = reader.next_frame()? {
        each(&frame).map_err(WavError::Output)?;
    }
    Ok(reader.outcome().unwrap_or(Outcome::CutOff))
}

/// Puts frames of both tracks side by side. What it holds is bounded: [`WINDOW_SAMPLES`] and a
/// frame.
#[derive(Default)]
struct Mixer {
    written: u64,
    window: VecDeque<[i16; 2]>,
    tracks: [Option<Step>; 2],
}

/// Where a track is: the place in the file of one of its timestamps.
#[derive(Clone, Copy)]
struct Step {
    timestamp: u32,
    place: i64,
}

impl Mixer {
    /// Takes a frame, and gives out what is far enough behind it.
    fn add(
        &mut self,
        frame: &Frame<'_>,
        each: impl FnMut(i16, i16) -> io::Result<()>,
    ) -> io::Result<()> {
        let side = frame.track.0.index();
        let arrived = i64::from(frame.at_ms) * i64::from(RATE_HZ) / 1_000;
        let place = self.tracks.get(side).copied().flatten().map(|step| {
            step.place + i64::from(frame.timestamp.wrapping_sub(step.timestamp).cast_signed())
        });
        // Its own time is even, its arrival is not; but after a jump the arrival is right.
        let place = place.filter(|it| (it - arrived).abs() <= DRIFT_SAMPLES_MAX);
        let place = place.unwrap_or(arrived).min(SAMPLES_MAX);
        if let Some(track) = self.tracks.get_mut(side) {
            *track = Some(Step { timestamp: frame.timestamp, place });
        }
        let end = place.saturating_add_unsigned(frame.samples.len() as u64);
        self.drain(end.saturating_sub_unsigned(WINDOW_SAMPLES as u64), each)?;
        for (at, byte) in (place..).zip(frame.samples) {
            let Ok(at) = usize::try_from(at - self.written.cast_signed()) else { continue };
            if at >= self.window.len() {
                self.window.resize(at + 1, [0; 2]);
            }
            let moment = self.window.get_mut(at).and_then(|moment| moment.get_mut(side));
            if let Some(sample) = moment {
                *sample = frame.law.decode(*byte);
            }
        }
        Ok(())
    }

    /// Gives out what lies before a place, silence where nothing has come: a gap is as long as it
    /// is, but it is nowhere kept.
    fn drain(
        &mut self,
        before: i64,
        mut each: impl FnMut(i16, i16) -> io::Result<()>,
    ) -> io::Result<()> {
        while self.written.cast_signed() < before {
            let [left, right] = self.window.pop_front().unwrap_or_default();
            each(left, right)?;
            self.written += 1;
        }
        Ok(())
    }
}

fn write_moment(out: &mut impl Write, left: i16, right: i16) -> io::Result<()> {
    let ([a, b], [c, d]) = (left.to_le_bytes(), right.to_le_bytes());
    out.write_all(&[a, b, c, d])
}

fn header(samples: u64) -> Vec<u8> {
    let data = u32::try_from(samples * u64::from(MOMENT_BYTES)).unwrap_or(u32::MAX - 64);
    let mut header = Vec::with_capacity(44);
    header.extend_from_slice(b"RIFF");
    header.extend_from_slice(&(data + 36).to_le_bytes());
    header.extend_from_slice(b"WAVEfmt ");
    header.extend_from_slice(&16_u32.to_le_bytes());
    for half in [1_u16, 2] {
        header.extend_from_slice(&half.to_le_bytes());
    }
    header.extend_from_slice(&RATE_HZ.to_le_bytes());
    header.extend_from_slice(&(RATE_HZ * MOMENT_BYTES).to_le_bytes());
    for half in [4_u16, 16] {
        header.extend_from_slice(&half.to_le_bytes());
    }
    header.extend_from_slice(b"data");
    header.extend_from_slice(&data.to_le_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::Track;
    use crate::rtp::g711::Law;
    use crate::rtp::plane::Side;

    #[test]
    fn an_hour_of_silence_in_a_recording_takes_no_memory() {
        let mut mixer = Mixer::default();
        let (mut moments, mut loud) = (0_u64, 0_u64);
        for at_ms in [0, 3_600_000] {
            let samples = [0; 160];
            let (track, law) = (Track(Side::A), Law::A);
            let frame = Frame { track, law, at_ms, timestamp: at_ms * 8, samples: &samples };
            let added = mixer.add(&frame, |left, right| {
                moments += 1;
                loud += u64::from(left != 0 || right != 0);
                Ok(())
            });
            added.expect("nothing fails here");
        }
        assert!(mixer.window.capacity() <= 4 * WINDOW_SAMPLES, "{}", mixer.window.capacity());
        assert_eq!(moments + mixer.window.len() as u64, 3_600 * 8_000 + 160);
        assert_eq!(loud, 160, "the first frame");
    }
}
