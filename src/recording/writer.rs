//! Writes a recording, frame by frame.

use std::io::{self, Write};

use aws_lc_rs::aead::Aad;
use aws_lc_rs::digest;

use super::format::{
    About, FRAME_HEAD_BYTES, FRAMES_MAX, Frame, FrameKey, KEY_BYTES_MAX, Kind, PAYLOAD_BYTES_MAX,
    TAG_BYTES, Totals, sha256,
};
use crate::rtp::sound::RATE_HZ;
use crate::vault::SecretKey;

/// A recording on its way to the disk.
pub struct Writer<W> {
    out: W,
    key: FrameKey,
    number: u64,
    totals: Totals,
    hash: digest::Context,
    bytes: u64,
    /// One frame with its length; made once.
    buffer: Vec<u8>,
}

/// A whole recording.
#[derive(Debug)]
pub struct Finished<W> {
    /// Where it was written to; not flushed.
    pub out: W,
    /// What it holds.
    pub totals: Totals,
    /// SHA-256 of the file.
    pub sha256: [u8; 32],
    /// Its length.
    pub bytes: u64,
}

impl<W: Write> Writer<W> {
    /// Writes the header. `wrapped_key` is `key` wrapped by the tenant's.
    ///
    /// # Errors
    /// `out` fails, or the key cannot be used.
    pub fn begin(out: W, about: &About, key: &SecretKey, wrapped_key: &[u8]) -> io::Result<Self> {
        if wrapped_key.len() > KEY_BYTES_MAX {
            return Err(io::Error::other("the wrapped key is too long"));
        }
        let header = about.header(wrapped_key);
        let mut writer = Self {
            out,
            key: FrameKey::new(key, &header).map_err(io::Error::other)?,
            number: 0,
            totals: Totals::default(),
            hash: digest::Context::new(&digest::SHA256),
            bytes: 0,
            buffer: Vec::with_capacity(2 + FRAME_HEAD_BYTES + PAYLOAD_BYTES_MAX + TAG_BYTES),
        };
        writer.write(&header)?;
        Ok(writer)
    }

    /// Writes what was said in one packet. A packet that is too long is counted as lost.
    ///
    /// # Errors
    /// `out` fails, or the file has all the frames that it can have; it is of no more use then, but
    /// what it holds can be read.
    pub fn add(&mut self, frame: &Frame<'_>) -> io::Result<()> {
        if self.number >= FRAMES_MAX {
            return Err(io::Error::other("the recording has no room for more frames"));
        }
        if frame.samples.len() > PAYLOAD_BYTES_MAX {
            self.totals.lost += 1;
            return Ok(());
        }
        if let Some(count) = self.totals.frames.get_mut(frame.track.0.index()) {
            *count += 1;
        }
        let length_ms = frame.samples.len() as u32 * 1_000 / RATE_HZ;
        let end_ms = frame.at_ms.saturating_add(length_ms);
        self.totals.duration_ms = self.totals.duration_ms.max(end_ms);
        let kind = Kind::Speech(frame.track, frame.law);
        self.seal(&kind, frame.at_ms, frame.timestamp, frame.samples)
    }

    /// Counts packets that were lost on the way here.
    pub fn add_lost(&mut self, packets: u64) {
        self.totals.lost += packets;
    }

    /// Writes the totals, without which the file counts as cut off.
    ///
    /// # Errors
    /// `out` fails.
    pub fn finish(mut self) -> io::Result<Finished<W>> {
        let totals = self.totals;
        let mut body = [0; 24];
        let numbers = [totals.frames[0], totals.frames[1], totals.lost];
        let bytes = numbers.into_iter().flat_map(u64::to_be_bytes);
        body.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        self.seal(&Kind::End, totals.duration_ms, 0, &body)?;
        let sha256 = sha256(&self.hash.finish());
        Ok(Finished { out: self.out, totals, sha256, bytes: self.bytes })
    }

    /// What is written so far reaches the system; a crash of ours no longer takes it away.
    ///
    /// # Errors
    /// `out` fails.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// As if this many frames had been written.
    #[cfg(test)]
    pub(super) const fn jump_to(&mut self, number: u64) {
        self.number = number;
    }

    fn seal(&mut self, kind: &Kind, at_ms: u32, timestamp: u32, body: &[u8]) -> io::Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        let length = FRAME_HEAD_BYTES + body.len() + TAG_BYTES;
        buffer.extend_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
        buffer.extend_from_slice(&[kind.code(), 0]);
        buffer.extend_from_slice(&at_ms.to_be_bytes());
        buffer.extend_from_slice(&timestamp.to_be_bytes());
        buffer.extend_from_slice(body);
        let (nonce, aad) = (FrameKey::nonce(self.number), self.key.tied_to(self.number));
        let (_, plain) = buffer.split_at_mut(2);
        let tag = self.key.key.seal_in_place_separate_tag(nonce, Aad::from(aad), plain);
        let tag = tag.map_err(|_| io::Error::other("the crypto library failed"))?;
        buffer.extend_from_slice(tag.as_ref());
        // Counted whatever becomes of it: a nonce is never used twice.
        self.number += 1;
        let written = self.write(&buffer);
        self.buffer = buffer;
        written
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}
