//! L2: keys and sealed numbers. A root key wraps each tenant's key, which wraps each subscriber's
//! key, which seals one real number; numbers are found by a keyed hash. Nothing here knows SQL or
//! HTTP.

mod call_code;
mod derive;
mod envelope;
mod root_check;
mod root_key;
mod scram;
mod tenant;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use zeroize::Zeroizing;

pub use call_code::CallCodeHasher;
pub use derive::Purpose;
pub use envelope::{Cell, Column};
pub use root_check::{create_root_check, is_root_check_of, is_tenant_of};
pub use root_key::{RootKey, RootKeyError};
pub use scram::DatabaseRole;
pub use tenant::{LookupHash, NumberCommitment, SealedNumber, SealedTenantKeys, TenantKeys};

use crate::domain::id::{ApiKeyId, TenantId};
use envelope::SealingKey;

/// The most tenants whose keys are kept open.
pub const TENANTS_OPEN_MAX: u64 = 10_000;
/// How long a tenant's keys stay open without asking the key store again.
pub const TENANT_OPEN_TIME: Duration = Duration::from_secs(15 * 60);

/// A 256-bit key in memory; wiped when dropped, and its `Debug` shows nothing.
pub struct SecretKey(Zeroizing<[u8; 32]>);

impl SecretKey {
    /// A fresh random key.
    ///
    /// # Errors
    /// [`VaultError::Library`] when the system gives no randomness.
    pub fn random() -> Result<Self, VaultError> {
        let mut bytes = Zeroizing::new([0; 32]);
        aws_lc_rs::rand::fill(bytes.as_mut()).map_err(|_| VaultError::Library)?;
        Ok(Self(bytes))
    }

    /// Takes opened or derived bytes.
    ///
    /// # Errors
    /// [`VaultError::Malformed`] unless there are 32.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, VaultError> {
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| VaultError::Malformed)?;
        Ok(Self(Zeroizing::new(bytes)))
    }

    /// The bytes, to key an algorithm or to be wrapped.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(***)")
    }
}

/// Why something could not be sealed, opened or derived. It never holds what was inside.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum VaultError {
    /// The cell was changed, moved from its place, or sealed under another key.
    #[error("a sealed value does not open in its place")]
    CannotOpen,
    /// The bytes are not a sealed value of ours.
    #[error("a sealed value is malformed")]
    Malformed,
    /// A suite of a later program.
    #[error("a sealed value uses the unknown suite {0}")]
    SuiteUnknown(u8),
    /// A key version that the key store does not hold.
    #[error("a sealed value needs key version {0}, which is not at hand")]
    KeyVersionUnknown(u16),
    /// The crypto library or the system's randomness failed.
    #[error("the crypto library failed")]
    Library,
}

/// Who holds the root key: a file today, a key management service later.
pub trait KeyStore: Send + Sync {
    /// Wraps a tenant's key for its cell.
    ///
    /// # Errors
    /// [`VaultError`] when the key store refuses or fails.
    fn wrap_key(&self, key: &SecretKey, cell: &Cell) -> Result<Vec<u8>, VaultError>;

    /// Opens a wrapped key of this cell.
    ///
    /// # Errors
    /// [`VaultError`] when it was not wrapped for this cell, or the key store fails.
    fn open_key(&self, wrapped: &[u8], cell: &Cell) -> Result<SecretKey, VaultError>;

    /// A key of its own for one purpose, always the same for the same root key.
    ///
    /// # Errors
    /// [`VaultError::Library`] when the library fails.
    fn derive_key(&self, purpose: Purpose) -> Result<SecretKey, VaultError>;
}

/// Seals, opens and finds real numbers; keeps a bounded number of tenants' keys open.
pub struct Vault {
    keys: Arc<dyn KeyStore>,
    api_key_pepper: aws_lc_rs::hmac::Key,
    answers: SealingKey,
    sip_secrets: SealingKey,
    webhook_secrets: SealingKey,
    api_secrets: SealingKey,
    open_tenants: Cache<TenantId, Arc<OpenTenant>>,
}

/// A tenant's keys with the cells they came from, so that a rotation is noticed.
struct OpenTenant {
    sealed: SealedTenantKeys,
    keys: Arc<TenantKeys>,
}

impl Vault {
    /// A vault on this key store.
    ///
    /// # Errors
    /// [`VaultError`] when the key store fails.
    pub fn new(keys: Arc<dyn KeyStore>) -> Result<Self, VaultError> {
        let pepper = keys.derive_key(Purpose::ApiKeyPepper)?;
        let answers = SealingKey::new(&keys.derive_key(Purpose::SealAnswers)?, 1)?;
        let sip_secrets = SealingKey::new(&keys.derive_key(Purpose::SealSipSecrets)?, 1)?;
        let webhook_secrets = SealingKey::new(&keys.derive_key(Purpose::SealWebhookSecrets)?, 1)?;
        let api_secrets = SealingKey::new(&keys.derive_key(Purpose::SealApiSecrets)?, 1)?;
        let open_tenants =
            Cache::builder().max_capacity(TENANTS_OPEN_MAX).time_to_live(TENANT_OPEN_TIME).build();
        let api_key_pepper =
            aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, pepper.as_bytes());
        Ok(Self {
            keys,
            api_key_pepper,
            answers,
            sip_secrets,
            webhook_secrets,
            api_secrets,
            open_tenants,
        })
    }

    /// Makes the two keys of a new tenant, ready to be stored.
    ///
    /// # Errors
    /// [`VaultError`] when the key store fails.
    pub fn create_tenant_keys(&self, tenant: TenantId) -> Result<SealedTenantKeys, VaultError> {
        let wrap =
            |column| self.keys.wrap_key(&SecretKey::random()?, &Cell::of_tenant(tenant, column));
        Ok(SealedTenantKeys {
            wrapping: wrap(Column::TenantWrappingKey)?,
            lookup: wrap(Column::TenantLookupKey)?,
        })
    }

    /// Opens a tenant's keys, or takes them from memory when they are the same.
    ///
    /// # Errors
    /// [`VaultError`] when they are not this tenant's keys, or the key store fails.
    pub fn open_tenant(
        &self,
        tenant: TenantId,
        sealed: &SealedTenantKeys,
    ) -> Result<Arc<TenantKeys>, VaultError> {
        if let Some(open) = self.open_tenants.get(&tenant).filter(|open| open.sealed == *sealed) {
            return Ok(Arc::clone(&open.keys));
        }
        let open_key =
            |wrapped, column| self.keys.open_key(wrapped, &Cell::of_tenant(tenant, column));
        let wrapping = open_key(&sealed.wrapping, Column::TenantWrappingKey)?;
        let lookup = open_key(&sealed.lookup, Column::TenantLookupKey)?;
        let keys = Arc::new(TenantKeys::new(tenant, &wrapping, &lookup)?);
        let open = OpenTenant { sealed: sealed.clone(), keys: Arc::clone(&keys) };
        self.open_tenants.insert(tenant, Arc::new(open));
        Ok(keys)
    }

    /// Seals an answer that is kept for a repeated request: it may hold a secret that is shown
    /// once.
    ///
    /// # Errors
    /// [`VaultError::Library`] when the library fails.
    pub fn seal_answer(&self, cell: &Cell, answer: &[u8]) -> Result<Vec<u8>, VaultError> {
        self.answers.seal(cell, answer)
    }

    /// Opens such an answer.
    ///
    /// # Errors
    /// [`VaultError`] when it was changed or moved.
    pub fn open_answer(
        &self,
        cell: &Cell,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        self.answers.open(cell, sealed)
    }

    /// Seals what a SIP peer or a softphone and we prove to each other.
    ///
    /// # Errors
    /// [`VaultError::Library`] when the library fails.
    pub fn seal_sip_secret(&self, cell: &Cell, secret: &[u8]) -> Result<Vec<u8>, VaultError> {
        self.sip_secrets.seal(cell, secret)
    }

    /// Opens such a secret.
    ///
    /// # Errors
    /// [`VaultError`] when it was changed or moved.
    pub fn open_sip_secret(
        &self,
        cell: &Cell,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        self.sip_secrets.open(cell, sealed)
    }

    /// Seals a secret that signs what a webhook brings.
    ///
    /// # Errors
    /// [`VaultError::Library`] when the library fails.
    pub fn seal_webhook_secret(&self, cell: &Cell, secret: &[u8]) -> Result<Vec<u8>, VaultError> {
        self.webhook_secrets.seal(cell, secret)
    }

    /// Opens such a secret.
    ///
    /// # Errors
    /// [`VaultError`] when it was changed or moved.
    pub fn open_webhook_secret(
        &self,
        cell: &Cell,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        self.webhook_secrets.open(cell, sealed)
    }

    /// Seals what a key of the API signs with.
    ///
    /// # Errors
    /// [`VaultError::Library`] when the library fails.
    pub fn seal_api_secret(&self, key: ApiKeyId, secret: &[u8]) -> Result<Vec<u8>, VaultError> {
        self.api_secrets.seal(&Cell::of_api_key(key), secret)
    }

    /// Opens such a secret.
    ///
    /// # Errors
    /// [`VaultError`] when it was changed, or is of another key.
    pub fn open_api_secret(
        &self,
        key: ApiKeyId,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        self.api_secrets.open(&Cell::of_api_key(key), sealed)
    }

    /// What is stored of an API key's secret, and what it is found by.
    #[must_use]
    pub fn api_key_hash(&self, secret: &[u8]) -> [u8; 32] {
        let tag = aws_lc_rs::hmac::sign(&self.api_key_pepper, secret);
        let mut hash = [0; 32];
        // HMAC-SHA-256 has 32 bytes; zip cannot panic whatever the library gives.
        for (to, from) in hash.iter_mut().zip(tag.as_ref()) {
            *to = *from;
        }
        hash
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault(***)")
    }
}

/// 128 random bits, for identifiers made outside the brain.
///
/// # Errors
/// [`VaultError::Library`] when the system gives no randomness.
pub fn random_u128() -> Result<u128, VaultError> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| VaultError::Library)?;
    Ok(u128::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests;
