//! What stands in a file, byte by byte.

use aws_lc_rs::aead::{AES_256_GCM, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest;

use crate::domain::id::{CallId, RecordingId, TenantId};
use crate::rtp::g711::Law;
use crate::rtp::plane::Side;
use crate::vault::{SecretKey, VaultError};

/// The first bytes of every file: name and version.
pub(super) const MAGIC: [u8; 8] = *b"MKREC\x00\x00\x01";
/// The header without the wrapped key.
pub(super) const HEADER_BYTES: usize = 8 + 3 * 16 + 8 + 2;
/// The longest wrapped key.
pub(super) const KEY_BYTES_MAX: usize = 256;
/// The most samples of one frame: 60 ms.
pub const PAYLOAD_BYTES_MAX: usize = 480;
/// What stands in front of the samples of a frame.
pub(super) const FRAME_HEAD_BYTES: usize = 10;
/// The tag behind them.
pub(super) const TAG_BYTES: usize = 16;
/// The most frames of a file: more than 24 hours of both sides.
pub(super) const FRAMES_MAX: u64 = 1 << 24;

/// Whose recording it is; part of what every frame is tied to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct About {
    /// Whose key opens it.
    pub tenant: TenantId,
    /// Its name.
    pub recording: RecordingId,
    /// What was recorded.
    pub call: CallId,
    /// When it began, in Unix milliseconds.
    pub started_ms: u64,
}

/// Which of the two directions, by who spoke.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Track(pub Side);

/// What was said in one packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Frame<'a> {
    /// Who spoke.
    pub track: Track,
    /// How the samples are written.
    pub law: Law,
    /// When it came, in milliseconds after the beginning.
    pub at_ms: u32,
    /// Its own time in samples, without a beginning that means anything.
    pub timestamp: u32,
    /// The samples, at most [`PAYLOAD_BYTES_MAX`].
    pub samples: &'a [u8],
}

/// What a whole file holds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Totals {
    /// Frames of the caller and of the callee.
    pub frames: [u64; 2],
    /// Packets that could not be kept: too many at once, or no speech that we can write.
    pub lost: u64,
    /// How long it lasted, in milliseconds.
    pub duration_ms: u32,
}

/// What a frame begins with.
pub(super) enum Kind {
    Speech(Track, Law),
    End,
}

impl Kind {
    pub(super) const fn code(&self) -> u8 {
        match self {
            Self::Speech(Track(Side::A), Law::A) => 0,
            Self::Speech(Track(Side::A), Law::Mu) => 1,
            Self::Speech(Track(Side::B), Law::A) => 2,
            Self::Speech(Track(Side::B), Law::Mu) => 3,
            Self::End => 255,
        }
    }

    pub(super) const fn of_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Speech(Track(Side::A), Law::A),
            1 => Self::Speech(Track(Side::A), Law::Mu),
            2 => Self::Speech(Track(Side::B), Law::A),
            3 => Self::Speech(Track(Side::B), Law::Mu),
            255 => Self::End,
            _ => return None,
        })
    }
}

impl About {
    pub(super) fn header(&self, wrapped_key: &[u8]) -> Vec<u8> {
        let mut header = Vec::with_capacity(HEADER_BYTES + wrapped_key.len());
        header.extend_from_slice(&MAGIC);
        for id in [self.tenant.as_u128(), self.recording.as_u128(), self.call.as_u128()] {
            header.extend_from_slice(&id.to_be_bytes());
        }
        header.extend_from_slice(&self.started_ms.to_be_bytes());
        let length = u16::try_from(wrapped_key.len()).unwrap_or(u16::MAX);
        header.extend_from_slice(&length.to_be_bytes());
        header.extend_from_slice(wrapped_key);
        header
    }
}

/// The key of a file, and what each of its frames is tied to.
pub(super) struct FrameKey {
    pub(super) key: LessSafeKey,
    header: [u8; 32],
}

impl FrameKey {
    pub(super) fn new(key: &SecretKey, header: &[u8]) -> Result<Self, VaultError> {
        let key = UnboundKey::new(&AES_256_GCM, key.as_bytes()).map_err(|_| VaultError::Library)?;
        let hash = sha256(&digest::digest(&digest::SHA256, header));
        Ok(Self { key: LessSafeKey::new(key), header: hash })
    }

    /// The number counts within one file, and every file has a key of its own: no nonce repeats.
    pub(super) fn nonce(number: u64) -> Nonce {
        let mut nonce = [0; NONCE_LEN];
        for (to, from) in nonce.iter_mut().skip(NONCE_LEN - 8).zip(number.to_be_bytes()) {
            *to = from;
        }
        Nonce::assume_unique_for_key(nonce)
    }

    pub(super) fn tied_to(&self, number: u64) -> [u8; 40] {
        let mut tied = [0; 40];
        let bytes = self.header.into_iter().chain(number.to_be_bytes());
        for (to, from) in tied.iter_mut().zip(bytes) {
            *to = from;
        }
        tied
    }
}

pub(super) fn sha256(hash: &digest::Digest) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (to, from) in bytes.iter_mut().zip(hash.as_ref()) {
        *to = *from;
    }
    bytes
}
