//! Reads a recording back: the whole of it, or what a crash has left.

use std::io::{self, Read};

use aws_lc_rs::aead::Aad;

use super::format::{
    About, FRAME_HEAD_BYTES, FRAMES_MAX, Frame, FrameKey, HEADER_BYTES, KEY_BYTES_MAX, Kind, MAGIC,
    PAYLOAD_BYTES_MAX, TAG_BYTES, Totals,
};
use crate::domain::id::{CallId, RecordingId, TenantId};
use crate::vault::{SecretKey, VaultError};

/// Why a recording cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The disk.
    #[error("the recording cannot be read: {0}")]
    Io(#[from] io::Error),
    /// Whoever was to write it has not come to it.
    #[error("nothing was recorded")]
    Empty,
    /// Something else, or of a later program.
    #[error("this is no recording")]
    NotOurs,
    /// The key.
    #[error("the key of the recording: {0}")]
    Key(#[from] VaultError),
    /// A frame was changed, left out, moved, or belongs to another file.
    #[error("frame {0} of the recording was changed")]
    Changed(u64),
}

/// How a file ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// As it was meant to.
    Complete(Totals),
    /// In the middle: a crash, a full disk, or somebody took its end away.
    CutOff,
}

/// What is wanted of a recording.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Extent {
    /// All of it: a change is an error.
    Whole,
    /// What was said before the first change, if there is one.
    Prefix,
}

/// A recording whose header was read.
pub struct Reader<R> {
    input: R,
    extent: Extent,
    about: About,
    wrapped_key: Vec<u8>,
    header: Vec<u8>,
    key: Option<FrameKey>,
    number: u64,
    counted: [u64; 2],
    ended: Option<Outcome>,
    buffer: Vec<u8>,
}

impl<R: Read> Reader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`RecordingError`] when it is none.
    pub fn open(mut input: R) -> Result<Self, RecordingError> {
        let mut fixed = [0; HEADER_BYTES];
        let whole = fill(&mut input, &mut fixed)?;
        let (about, key_bytes) = parse(&fixed).ok_or(RecordingError::NotOurs)?;
        let mut wrapped_key = vec![0; key_bytes];
        if whole < HEADER_BYTES || fill(&mut input, &mut wrapped_key)? < key_bytes {
            return Err(RecordingError::NotOurs);
        }
        let header = about.header(&wrapped_key);
        Ok(Self {
            input,
            extent: Extent::Whole,
            about,
            wrapped_key,
            header,
            key: None,
            number: 0,
            counted: [0; 2],
            ended: None,
            buffer: Vec::new(),
        })
    }

    /// Whose it says it is; believe it when a frame has opened.
    #[must_use]
    pub const fn about(&self) -> &About {
        &self.about
    }

    /// Its key, wrapped by the tenant's.
    #[must_use]
    pub fn wrapped_key(&self) -> &[u8] {
        &self.wrapped_key
    }

    /// Gives it the key, opened, and says what is wanted.
    ///
    /// # Errors
    /// [`RecordingError::Key`] when the library fails.
    pub fn unlock(&mut self, key: &SecretKey, extent: Extent) -> Result<(), RecordingError> {
        self.key = Some(FrameKey::new(key, &self.header)?);
        self.extent = extent;
        Ok(())
    }

    /// The next frame, or `None` at the end; [`Self::outcome`] tells which end it was.
    ///
    /// # Errors
    /// [`RecordingError`]; nothing behind a changed frame is given out.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, RecordingError> {
        if self.ended.is_some() || self.number > FRAMES_MAX {
            return Ok(None);
        }
        let key = self.key.as_ref().ok_or(VaultError::CannotOpen)?;
        let mut length = [0; 2];
        let read = fill(&mut self.input, &mut length)?;
        let length = usize::from(u16::from_be_bytes(length));
        if read == 2 && !(FRAME_BYTES_MIN..=FRAME_BYTES_MAX).contains(&length) {
            return self.end_at_change();
        }
        self.buffer.resize(length, 0);
        if read < 2 || fill(&mut self.input, &mut self.buffer)? < length {
            self.ended = Some(Outcome::CutOff);
            return Ok(None);
        }
        let aad = Aad::from(key.tied_to(self.number));
        let nonce = FrameKey::nonce(self.number);
        let opened = key.key.open_in_place(nonce, aad, &mut self.buffer).map(|plain| plain.len());
        let Ok(length) = opened else { return self.end_at_change() };
        self.buffer.truncate(length);
        self.number += 1;
        let head = self.buffer.first_chunk().ok_or(RecordingError::NotOurs)?;
        let &[code, _, a, b, c, d, e, f, g, h] = head as &[u8; FRAME_HEAD_BYTES];
        let at_ms = u32::from_be_bytes([a, b, c, d]);
        let timestamp = u32::from_be_bytes([e, f, g, h]);
        let Kind::Speech(track, law) = Kind::of_code(code).ok_or(RecordingError::NotOurs)? else {
            return self.end(at_ms);
        };
        if let Some(count) = self.counted.get_mut(track.0.index()) {
            *count += 1;
        }
        let samples = self.buffer.get(FRAME_HEAD_BYTES..).unwrap_or_default();
        Ok(Some(Frame { track, law, at_ms, timestamp, samples }))
    }

    /// The frame in the buffer is the last.
    fn end(&mut self, at_ms: u32) -> Result<Option<Frame<'_>>, RecordingError> {
        let body = self.buffer.get(FRAME_HEAD_BYTES..).unwrap_or_default();
        let totals = totals(body, at_ms).ok_or(RecordingError::NotOurs)?;
        let mut more = [0; 1];
        if totals.frames != self.counted || fill(&mut self.input, &mut more)? > 0 {
            return self.end_at_change();
        }
        self.ended = Some(Outcome::Complete(totals));
        Ok(None)
    }

    /// Nothing behind a change is given out. A first frame that does not open speaks against the
    /// whole file.
    fn end_at_change(&mut self) -> Result<Option<Frame<'_>>, RecordingError> {
        if self.extent == Extent::Whole || self.counted == [0; 2] {
            return Err(RecordingError::Changed(self.number));
        }
        self.ended = Some(Outcome::CutOff);
        Ok(None)
    }

    /// How the file ends; `None` while there are frames.
    #[must_use]
    pub const fn outcome(&self) -> Option<Outcome> {
        self.ended
    }
}

const FRAME_BYTES_MIN: usize = FRAME_HEAD_BYTES + TAG_BYTES;
const FRAME_BYTES_MAX: usize = FRAME_BYTES_MIN + PAYLOAD_BYTES_MAX;

fn parse(header: &[u8; HEADER_BYTES]) -> Option<(About, usize)> {
    let (magic, rest) = header.split_first_chunk::<8>()?;
    let (tenant, rest) = rest.split_first_chunk::<16>()?;
    let (recording, rest) = rest.split_first_chunk::<16>()?;
    let (call, rest) = rest.split_first_chunk::<16>()?;
    let (started_ms, rest) = rest.split_first_chunk::<8>()?;
    let (key_bytes, _) = rest.split_first_chunk::<2>()?;
    let key_bytes = usize::from(u16::from_be_bytes(*key_bytes));
    let about = About {
        tenant: TenantId::from_u128(u128::from_be_bytes(*tenant)),
        recording: RecordingId::from_u128(u128::from_be_bytes(*recording)),
        call: CallId::from_u128(u128::from_be_bytes(*call)),
        started_ms: u64::from_be_bytes(*started_ms),
    };
    (*magic == MAGIC && key_bytes <= KEY_BYTES_MAX).then_some((about, key_bytes))
}

fn totals(body: &[u8], duration_ms: u32) -> Option<Totals> {
    let (caller, rest) = body.split_first_chunk()?;
    let (callee, rest) = rest.split_first_chunk()?;
    let (lost, _) = rest.split_first_chunk()?;
    let [caller, callee, lost] = [caller, callee, lost].map(|bytes| u64::from_be_bytes(*bytes));
    Some(Totals { frames: [caller, callee], lost, duration_ms })
}

/// Reads as much as there is, up to the whole of `buffer`.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match input.read(rest) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
