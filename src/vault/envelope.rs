//! The stored form of a sealed value, and the place it is tied to.
//!
//! `suite (1) | key version (2, big endian) | nonce (12) | ciphertext | tag (16)`. Suite and
//! version stand in front so that rotation and another suite need no migration; both are part of
//! the associated data, with the cell's tenant, row and column, so a value opens in its own place
//! only.

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::{SecretKey, VaultError};
use crate::domain::id::{
    AgentId, ApiKeyId, RecordingId, SubscriberId, TenantId, TrunkId, WebhookId,
};

/// AES-256-GCM-SIV (RFC 8452) with a random nonce: a repeated nonce only shows that two values were
/// equal.
const SUITE_AES_256_GCM_SIV: u8 = 1;
const HEADER_LEN: usize = 3;
const TAG_LEN: usize = 16;

/// Which column a sealed value belongs to.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Column {
    /// `tenant.wrapping_key_sealed`
    TenantWrappingKey,
    /// `tenant.lookup_key_sealed`
    TenantLookupKey,
    /// `subscriber.key_sealed`
    SubscriberKey,
    /// `subscriber.number_sealed`
    SubscriberNumber,
    /// `idempotency.response_body_sealed`
    IdempotentAnswer,
    /// `trunk_access.account_password_sealed`
    TrunkPassword,
    /// `trunk_access.login_secret_sealed`
    TrunkLogin,
    /// `agent_login.secret_sealed`
    AgentLogin,
    /// In no column: it stands in the header of the recording's file
    RecordingKey,
    /// `webhook_endpoint.secret_sealed`
    WebhookSecret,
    /// `webhook_endpoint.old_secret_sealed`
    WebhookOldSecret,
    /// `root_key_check.key_sealed`
    RootKeyCheck,
    /// `import_chunk.rows_sealed`
    ImportRows,
    /// `api_key_signing.secret_sealed`
    ApiKeySigning,
}

impl Column {
    const fn code(self) -> u8 {
        match self {
            Self::TenantWrappingKey => 1,
            Self::TenantLookupKey => 2,
            Self::SubscriberKey => 3,
            Self::SubscriberNumber => 4,
            Self::IdempotentAnswer => 5,
            Self::TrunkPassword => 6,
            Self::TrunkLogin => 7,
            Self::AgentLogin => 8,
            Self::RecordingKey => 9,
            Self::WebhookSecret => 10,
            Self::WebhookOldSecret => 11,
            Self::RootKeyCheck => 12,
            Self::ImportRows => 13,
            Self::ApiKeySigning => 14,
        }
    }
}

/// The place of a sealed value: nothing opens anywhere else.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cell {
    tenant: TenantId,
    row: u128,
    column: Column,
}

impl Cell {
    /// A column of the tenant's own row.
    #[must_use]
    pub const fn of_tenant(tenant: TenantId, column: Column) -> Self {
        Self { tenant, row: tenant.as_u128(), column }
    }

    /// The one row by which a database knows its root key.
    pub(super) const fn of_root_key_check() -> Self {
        Self { tenant: TenantId::from_u128(0), row: 0, column: Column::RootKeyCheck }
    }

    /// A column of a subscriber's row.
    #[must_use]
    pub const fn of_subscriber(tenant: TenantId, row: SubscriberId, column: Column) -> Self {
        Self { tenant, row: row.as_u128(), column }
    }

    /// A column of what belongs to a trunk, which may be of no tenant.
    #[must_use]
    pub const fn of_trunk(row: TrunkId, column: Column) -> Self {
        Self { tenant: TenantId::from_u128(0), row: row.as_u128(), column }
    }

    /// A column of what belongs to an agent.
    #[must_use]
    pub const fn of_agent(tenant: TenantId, row: AgentId, column: Column) -> Self {
        Self { tenant, row: row.as_u128(), column }
    }

    /// The key of a recording.
    #[must_use]
    pub const fn of_recording(tenant: TenantId, row: RecordingId) -> Self {
        Self { tenant, row: row.as_u128(), column: Column::RecordingKey }
    }

    /// A column of a webhook endpoint.
    #[must_use]
    pub const fn of_webhook(tenant: TenantId, row: WebhookId, column: Column) -> Self {
        Self { tenant, row: row.as_u128(), column }
    }

    /// Rows of an import, in the chunk of these bits.
    pub(super) const fn of_import_chunk(tenant: TenantId, row: u128) -> Self {
        Self { tenant, row, column: Column::ImportRows }
    }

    /// The secret of a key that signs, which may be of no tenant.
    pub(super) const fn of_api_key(row: ApiKeyId) -> Self {
        let tenant = TenantId::from_u128(0);
        Self { tenant, row: row.as_u128(), column: Column::ApiKeySigning }
    }

    /// The answer kept for a repeated request, in the row of this key hash.
    #[must_use]
    pub fn of_answer(tenant: TenantId, key_hash: &[u8; 32]) -> Self {
        let (&row, _) = key_hash.split_first_chunk::<16>().expect("16 of 32 bytes");
        Self { tenant, row: u128::from_be_bytes(row), column: Column::IdempotentAnswer }
    }

    fn associated_data(&self, suite: u8, version: u16) -> Vec<u8> {
        const LABEL: &[u8] = b"maskline.cell.1";
        let mut data = Vec::with_capacity(LABEL.len() + 36);
        data.extend_from_slice(LABEL);
        data.extend_from_slice(&self.tenant.as_u128().to_be_bytes());
        data.extend_from_slice(&self.row.to_be_bytes());
        data.push(self.column.code());
        data.extend_from_slice(&version.to_be_bytes());
        data.push(suite);
        data
    }
}

/// A key ready for use, with the version that is written beside what it seals.
pub(super) struct SealingKey {
    key: LessSafeKey,
    version: u16,
}

impl SealingKey {
    pub(super) fn new(key: &SecretKey, version: u16) -> Result<Self, VaultError> {
        let key =
            UnboundKey::new(&AES_256_GCM_SIV, key.as_bytes()).map_err(|_| VaultError::Library)?;
        Ok(Self { key: LessSafeKey::new(key), version })
    }

    pub(super) fn seal(&self, cell: &Cell, plain: &[u8]) -> Result<Vec<u8>, VaultError> {
        let suite = SUITE_AES_256_GCM_SIV;
        let mut nonce = [0; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| VaultError::Library)?;
        let mut buffer = Zeroizing::new(plain.to_vec());
        let aad = Aad::from(cell.associated_data(suite, self.version));
        let tag = self
            .key
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), aad, buffer.as_mut())
            .map_err(|_| VaultError::Library)?;
        let mut sealed = Vec::with_capacity(HEADER_LEN + NONCE_LEN + buffer.len() + TAG_LEN);
        sealed.push(suite);
        sealed.extend_from_slice(&self.version.to_be_bytes());
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&buffer);
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }

    pub(super) fn open(
        &self,
        cell: &Cell,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let header = Header::parse(sealed)?;
        if header.version != self.version {
            return Err(VaultError::KeyVersionUnknown(header.version));
        }
        let aad = Aad::from(cell.associated_data(header.suite, header.version));
        let mut buffer = Zeroizing::new(header.body.to_vec());
        let plain_len = self
            .key
            .open_in_place(Nonce::assume_unique_for_key(header.nonce), aad, buffer.as_mut())
            .map_err(|_| VaultError::CannotOpen)?
            .len();
        buffer.truncate(plain_len);
        Ok(buffer)
    }
}

/// The version written in front of a sealed value.
pub(super) fn key_version(sealed: &[u8]) -> Result<u16, VaultError> {
    Ok(Header::parse(sealed)?.version)
}

struct Header<'a> {
    suite: u8,
    version: u16,
    nonce: [u8; NONCE_LEN],
    body: &'a [u8],
}

impl<'a> Header<'a> {
    fn parse(sealed: &'a [u8]) -> Result<Self, VaultError> {
        let (&[suite, high, low], rest) =
            sealed.split_first_chunk::<HEADER_LEN>().ok_or(VaultError::Malformed)?;
        if suite != SUITE_AES_256_GCM_SIV {
            return Err(VaultError::SuiteUnknown(suite));
        }
        let (&nonce, body) = rest.split_first_chunk::<NONCE_LEN>().ok_or(VaultError::Malformed)?;
        if body.len() < TAG_LEN {
            return Err(VaultError::Malformed);
        }
        Ok(Self { suite, version: u16::from_be_bytes([high, low]), nonce, body })
    }
}
