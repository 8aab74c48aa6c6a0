//! A recording as a stereo WAV file: the caller on the left, the callee on the right, silence where
//! nothing came. It is made piece by piece, however long it is.

use std::collections::VecDeque;
use std::io::{Read, Seek, SeekFrom};

use super::format::Frame;
use super::reader::{Extent, Outcome, Reader, RecordingError};
use crate::rtp::sound::RATE_HZ;
use crate::vault::SecretKey;

/// The longest piece.
pub const PIECE_BYTES_MAX: usize = 64 << 10;
/// A frame that comes later than this behind others is lost.
const WINDOW_SAMPLES: usize = 2 * RATE_HZ as usize;
/// How far a frame's own time may be from its arrival before its track is put in step again.
const DRIFT_SAMPLES_MAX: i64 = RATE_HZ as i64 / 5;
/// No recording is longer.
const SAMPLES_MAX: i64 = 24 * 3_600 * RATE_HZ as i64;
/// The bytes of one moment: two channels of 16 bits.
const MOMENT_BYTES: u32 = 4;

/// A recording that was read once to its end, so that its length is known.
pub struct Wav<R> {
    input: R,
    key: SecretKey,
    extent: Extent,
    samples: u64,
    outcome: Outcome,
}

impl<R: Read + Seek> Wav<R> {
    /// Reads the whole of a recording, which also proves that nothing in it was changed; or what
    /// can be read of one that is known not to be whole.
    ///
    /// # Errors
    /// [`RecordingError`] when it cannot be read or was changed.
    pub fn measure(mut input: R, key: SecretKey, extent: Extent) -> Result<Self, RecordingError> {
        let mut moments = Moments::begin(&mut input, &key, extent)?;
        let mut samples = 0;
        while moments.next_moment()?.is_some() {
            samples += 1;
        }
        let outcome = moments.reader.outcome().unwrap_or(Outcome::CutOff);
        Ok(Self { input, key, extent, samples, outcome })
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

    /// The WAV file, to be taken piece by piece as somebody wants it.
    ///
    /// # Errors
    /// [`RecordingError`] when it cannot be read any more.
    pub fn pieces(self) -> Result<Pieces<R>, RecordingError> {
        let moments = Moments::begin(self.input, &self.key, self.extent)?;
        Ok(Pieces { head: Some(header(self.samples)), moments })
    }
}

/// What is left of a WAV file.
pub struct Pieces<R> {
    head: Option<Vec<u8>>,
    moments: Moments<R>,
}

impl<R: Read + Seek> Pieces<R> {
    /// The next piece, at most [`PIECE_BYTES_MAX`]; empty at the end.
    ///
    /// # Errors
    /// [`RecordingError`] when it was changed meanwhile; what came until then is of no use.
    pub fn next_piece(&mut self) -> Result<Vec<u8>, RecordingError> {
        let mut piece = self.head.take().unwrap_or_default();
        while piece.len() + MOMENT_BYTES as usize <= PIECE_BYTES_MAX {
            let Some([left, right]) = self.moments.next_moment()? else { break };
            piece.extend_from_slice(&left.to_le_bytes());
            piece.extend_from_slice(&right.to_le_bytes());
        }
        Ok(piece)
    }
}

/// Both tracks side by side, one moment after the other.
struct Moments<R> {
    reader: Reader<R>,
    mixer: Mixer,
}

impl<R: Read + Seek> Moments<R> {
    fn begin(mut input: R, key: &SecretKey, extent: Extent) -> Result<Self, RecordingError> {
        input.seek(SeekFrom::Start(0))?;
        let mut reader = Reader::open(input)?;
        reader.unlock(key, extent)?;
        Ok(Self { reader, mixer: Mixer::default() })
    }

    fn next_moment(&mut self) -> Result<Option<[i16; 2]>, RecordingError> {
        loop {
            if let Some(moment) = self.mixer.pop() {
                return Ok(Some(moment));
            }
            self.mixer.lay();
            match self.reader.next_frame()? {
                Some(frame) => self.mixer.take(&frame),
                None if self.mixer.window.is_empty() => return Ok(None),
                None => self.mixer.end(),
            }
        }
    }
}

/// Puts frames of both tracks side by side. What it holds is bounded: [`WINDOW_SAMPLES`] and a
/// frame.
#[derive(Default)]
struct Mixer {
    written: u64,
    window: VecDeque<[i16; 2]>,
    tracks: [Option<Step>; 2],
    /// What lies before it can be given out: a gap is as long as it is, but it is nowhere kept.
    due: i64,
    /// The frame that is laid down when there is nothing more to give out before it.
    next: Placed,
}

/// Where a track is: the place in the file of one of its timestamps.
#[derive(Clone, Copy)]
struct Step {
    timestamp: u32,
    place: i64,
}

/// Samples of a side, and where they belong.
#[derive(Default)]
struct Placed {
    place: i64,
    side: usize,
    samples: Vec<i16>,
}

impl Mixer {
    /// Takes a frame; what is far enough behind it is due then.
    fn take(&mut self, frame: &Frame<'_>) {
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
        self.due = end.saturating_sub_unsigned(WINDOW_SAMPLES as u64);
        self.next.place = place;
        self.next.side = side;
        self.next.samples.extend(frame.samples.iter().map(|byte| frame.law.decode(*byte)));
    }

    /// Gives out the next moment that is due.
    fn pop(&mut self) -> Option<[i16; 2]> {
        if self.written.cast_signed() >= self.due {
            return None;
        }
        self.written += 1;
        Some(self.window.pop_front().unwrap_or_default())
    }

    /// Lays down the frame that was taken last.
    fn lay(&mut self) {
        let Placed { place, side, samples } = &mut self.next;
        for (at, sample) in (*place..).zip(samples.drain(..)) {
            let Ok(at) = usize::try_from(at - self.written.cast_signed()) else { continue };
            if at >= self.window.len() {
                self.window.resize(at + 1, [0; 2]);
            }
            if let Some(to) = self.window.get_mut(at).and_then(|moment| moment.get_mut(*side)) {
                *to = sample;
            }
        }
    }

    /// No frame comes any more: all is due.
    fn end(&mut self) {
        self.due = self.written.saturating_add(self.window.len() as u64).cast_signed();
    }
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
            mixer.take(&frame);
            while let Some([left, right]) = mixer.pop() {
                moments += 1;
                loud += u64::from(left != 0 || right != 0);
            }
            mixer.lay();
        }
        assert!(mixer.window.capacity() <= 4 * WINDOW_SAMPLES, "{}", mixer.window.capacity());
        assert_eq!(moments + mixer.window.len() as u64, 3_600 * 8_000 + 160);
        assert_eq!(loud, 160, "the first frame");
    }
}
