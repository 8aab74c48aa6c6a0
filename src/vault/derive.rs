//! Keys derived from the root key with HKDF-SHA-256 (RFC 5869), one for each purpose, so that no
//! key does two jobs.

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};

use super::{SecretKey, VaultError};

/// What a derived key is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// Wraps tenants' keys.
    WrapTenantKeys,
    /// Seals answers kept for repeated requests.
    SealAnswers,
    /// Seals the passwords of SIP peers and softphones.
    SealSipSecrets,
    /// Seals the secrets that sign webhooks.
    SealWebhookSecrets,
    /// Seals the secrets of API keys that sign.
    SealApiSecrets,
    /// Hashes the codes of calls.
    HashCallCodes,
    /// Hashes the secrets of API keys.
    ApiKeyPepper,
    /// The password of the database role of the API.
    AppRolePassword,
    /// The password of the database role of the relay.
    RelayRolePassword,
    /// The salt of the first password's verifier.
    AppRoleSalt,
    /// The salt of the second password's verifier.
    RelayRoleSalt,
}

impl Purpose {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::WrapTenantKeys => b"maskline.wrap-tenant-keys.1",
            Self::SealAnswers => b"maskline.seal-answers.1",
            Self::SealSipSecrets => b"maskline.seal-sip-secrets.1",
            Self::SealWebhookSecrets => b"maskline.seal-webhook-secrets.1",
            Self::SealApiSecrets => b"maskline.seal-api-secrets.1",
            Self::HashCallCodes => b"maskline.hash-call-codes.1",
            Self::ApiKeyPepper => b"maskline.api-key-pepper.1",
            Self::AppRolePassword => b"maskline.database-password.app.1",
            Self::RelayRolePassword => b"maskline.database-password.relay.1",
            Self::AppRoleSalt => b"maskline.database-salt.app.1",
            Self::RelayRoleSalt => b"maskline.database-salt.relay.1",
        }
    }
}

/// The root key after the extract step; the root key itself is gone from memory by then.
pub(super) struct Deriver(Prk);

impl Deriver {
    pub(super) fn new(root: &SecretKey) -> Self {
        Self(Salt::new(HKDF_SHA256, b"maskline.root.1").extract(root.as_bytes()))
    }

    pub(super) fn derive(&self, purpose: Purpose) -> Result<SecretKey, VaultError> {
        let mut bytes = zeroize::Zeroizing::new([0; 32]);
        self.0
            .expand(&[purpose.label()], Len32)
            .and_then(|okm| okm.fill(bytes.as_mut()))
            .map_err(|_| VaultError::Library)?;
        SecretKey::from_bytes(bytes.as_ref())
    }
}

struct Len32;

impl KeyType for Len32 {
    fn len(&self) -> usize {
        32
    }
}
