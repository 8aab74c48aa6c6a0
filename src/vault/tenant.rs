//! One tenant's open keys: they seal and open the numbers of its subscribers, and find them.

use std::fmt;

use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use super::envelope::{self, SealingKey};
use super::{Cell, Column, SecretKey, VaultError};
use crate::domain::id::{RecordingId, SubscriberId, TenantId};
use crate::domain::number::{DIGITS_MAX, RealNumber, Reveal};

/// Versions start here; rotation counts up.
const FIRST_VERSION: u16 = 1;
/// Every number is sealed at the same length, so that its length does not show.
const NUMBER_LEN: usize = DIGITS_MAX + 1;

/// A tenant's two keys as stored, wrapped by the root key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SealedTenantKeys {
    /// Wraps the subscribers' keys.
    pub wrapping: Vec<u8>,
    /// Finds numbers.
    pub lookup: Vec<u8>,
}

/// A real number as stored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SealedNumber {
    /// The number, sealed by the subscriber's key.
    pub number: Vec<u8>,
    /// The subscriber's key, wrapped by the tenant's.
    pub key: Vec<u8>,
}

/// A keyed hash by which one tenant finds a number. Another tenant's hash of the same number
/// differs.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LookupHash([u8; 16]);

impl LookupHash {
    /// As stored.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// A keyed commitment to the number that a subscriber has from a time on. Whoever has no key learns
/// nothing by it, not even whether two periods have the same number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NumberCommitment([u8; 32]);

impl NumberCommitment {
    /// As stored.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads it back, as stored.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

/// Of the key of commitments, which is made of the lookup key: no text of this kind is a number.
const COMMITMENT_KEY: &[u8] = b"maskline.number-commitment.1";

/// One tenant's keys, open.
pub struct TenantKeys {
    tenant: TenantId,
    wrapping: SealingKey,
    lookup: hmac::Key,
}

impl TenantKeys {
    pub(super) fn new(
        tenant: TenantId,
        wrapping: &SecretKey,
        lookup: &SecretKey,
    ) -> Result<Self, VaultError> {
        Ok(Self {
            tenant,
            wrapping: SealingKey::new(wrapping, FIRST_VERSION)?,
            lookup: hmac::Key::new(hmac::HMAC_SHA256, lookup.as_bytes()),
        })
    }

    /// Seals a number under a fresh key of its own.
    ///
    /// # Errors
    /// [`VaultError::Library`] when the library fails.
    pub fn seal_number(
        &self,
        subscriber: SubscriberId,
        number: &RealNumber,
    ) -> Result<SealedNumber, VaultError> {
        let cell = |column| Cell::of_subscriber(self.tenant, subscriber, column);
        let key = SecretKey::random()?;
        let mut padded = Zeroizing::new([0_u8; NUMBER_LEN]);
        for (to, from) in padded.iter_mut().zip(number.reveal(Reveal::Seal).bytes()) {
            *to = from;
        }
        let sealing = SealingKey::new(&key, FIRST_VERSION)?;
        Ok(SealedNumber {
            number: sealing.seal(&cell(Column::SubscriberNumber), padded.as_ref())?,
            key: self.wrapping.seal(&cell(Column::SubscriberKey), key.as_bytes())?,
        })
    }

    /// Opens a subscriber's number.
    ///
    /// # Errors
    /// [`VaultError`] when it was changed, or belongs to another row, tenant or column.
    pub fn open_number(
        &self,
        subscriber: SubscriberId,
        sealed: &SealedNumber,
    ) -> Result<RealNumber, VaultError> {
        let cell = |column| Cell::of_subscriber(self.tenant, subscriber, column);
        let key = self.wrapping.open(&cell(Column::SubscriberKey), &sealed.key)?;
        let key = SecretKey::from_bytes(&key)?;
        let key = SealingKey::new(&key, envelope::key_version(&sealed.number)?)?;
        let padded = key.open(&cell(Column::SubscriberNumber), &sealed.number)?;
        let text = std::str::from_utf8(&padded).map_err(|_| VaultError::Malformed)?;
        RealNumber::parse(text.trim_end_matches('\0')).map_err(|_| VaultError::Malformed)
    }

    /// Makes the key of a recording; the second is the same, wrapped, to be kept beside it.
    ///
    /// # Errors
    /// [`VaultError::Library`] when the library fails.
    pub fn create_recording_key(
        &self,
        recording: RecordingId,
    ) -> Result<(SecretKey, Vec<u8>), VaultError> {
        let key = SecretKey::random()?;
        let cell = Cell::of_recording(self.tenant, recording);
        let wrapped = self.wrapping.seal(&cell, key.as_bytes())?;
        Ok((key, wrapped))
    }

    /// Opens the key of a recording.
    ///
    /// # Errors
    /// [`VaultError`] when it belongs to another recording or tenant.
    pub fn open_recording_key(
        &self,
        recording: RecordingId,
        wrapped: &[u8],
    ) -> Result<SecretKey, VaultError> {
        let cell = Cell::of_recording(self.tenant, recording);
        SecretKey::from_bytes(&self.wrapping.open(&cell, wrapped)?)
    }

    /// Seals rows of an import, which hold numbers, for the chunk of these bits.
    ///
    /// # Errors
    /// [`VaultError::Library`] when the library fails.
    pub fn seal_import_rows(&self, chunk: u128, rows: &[u8]) -> Result<Vec<u8>, VaultError> {
        self.wrapping.seal(&Cell::of_import_chunk(self.tenant, chunk), rows)
    }

    /// Opens such rows.
    ///
    /// # Errors
    /// [`VaultError`] when they belong to another chunk or tenant.
    pub fn open_import_rows(
        &self,
        chunk: u128,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        self.wrapping.open(&Cell::of_import_chunk(self.tenant, chunk), sealed)
    }

    /// What the number is found by at this tenant: HMAC-SHA-256, cut to 128 bits.
    #[must_use]
    pub fn lookup_hash(&self, number: &RealNumber) -> LookupHash {
        let tag = hmac::sign(&self.lookup, number.reveal(Reveal::LookupHash).as_bytes());
        let mut hash = [0; 16];
        for (to, from) in hash.iter_mut().zip(tag.as_ref()) {
            *to = *from;
        }
        LookupHash(hash)
    }

    /// Commits to the number that a subscriber has from `since_us` on, in microseconds of Unix
    /// time: HMAC-SHA-256 over the three and the tenant.
    #[must_use]
    pub fn commit_number(
        &self,
        subscriber: SubscriberId,
        since_us: u64,
        number: &RealNumber,
    ) -> NumberCommitment {
        let key = hmac::sign(&self.lookup, COMMITMENT_KEY);
        let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_ref());
        let mut context = hmac::Context::with_key(&key);
        context.update(&self.tenant.as_u128().to_be_bytes());
        context.update(&subscriber.as_u128().to_be_bytes());
        context.update(&since_us.to_be_bytes());
        context.update(number.reveal(Reveal::Commit).as_bytes());
        let mut commitment = [0; 32];
        for (to, from) in commitment.iter_mut().zip(context.sign().as_ref()) {
            *to = *from;
        }
        NumberCommitment(commitment)
    }

    /// Whether a stored hash is that of the number, compared in constant time.
    #[must_use]
    pub fn is_number(&self, number: &RealNumber, stored: &[u8]) -> bool {
        let hash = self.lookup_hash(number);
        aws_lc_rs::constant_time::verify_slices_are_equal(hash.as_bytes(), stored).is_ok()
    }
}

impl fmt::Debug for TenantKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TenantKeys({}, ***)", self.tenant)
    }
}
