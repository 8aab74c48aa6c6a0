//! Keeps the codes of calls: only by a hash under a key that no database has, since six digits are
//! quickly tried.

use std::sync::Arc;

use aws_lc_rs::hmac;

use super::derive::Purpose;
use super::{KeyStore, VaultError};
use crate::domain::id::{SubscriberId, TenantId};
use crate::domain::menu::CallCode;

/// Hashes codes of calls. Its `Debug` shows nothing.
#[derive(Clone)]
pub struct CallCodeHasher(Arc<hmac::Key>);

impl CallCodeHasher {
    /// By a key of this store.
    ///
    /// # Errors
    /// [`VaultError`] when the key store fails.
    pub fn new(keys: &dyn KeyStore) -> Result<Self, VaultError> {
        let key = keys.derive_key(Purpose::HashCallCodes)?;
        Ok(Self(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()))))
    }

    /// What is stored of a code that this subscriber has heard, and what it is found by.
    #[must_use]
    pub fn hash(&self, tenant: TenantId, subscriber: SubscriberId, code: &CallCode) -> Vec<u8> {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(&tenant.as_u128().to_be_bytes());
        context.update(&subscriber.as_u128().to_be_bytes());
        context.update(code.as_str().as_bytes());
        context.sign().as_ref().to_vec()
    }
}

impl std::fmt::Debug for CallCodeHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CallCodeHasher(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::RootKey;

    #[test]
    fn a_code_has_another_hash_for_each_subscriber_tenant_and_root_key() {
        let hasher = || CallCodeHasher::new(&RootKey::ephemeral().expect("a key")).expect("a key");
        let (one, other) = (hasher(), hasher());
        let code = |text| CallCode::parse(text).expect("six digits");
        let (tenant, subscriber) = (TenantId::from_u128(1), SubscriberId::from_u128(2));
        let hash = one.hash(tenant, subscriber, &code("012345"));
        assert_eq!(hash.len(), 32);
        assert_eq!(hash, one.hash(tenant, subscriber, &code("012345")));
        for different in [
            one.hash(tenant, subscriber, &code("012346")),
            one.hash(tenant, SubscriberId::from_u128(3), &code("012345")),
            one.hash(TenantId::from_u128(3), subscriber, &code("012345")),
            other.hash(tenant, subscriber, &code("012345")),
        ] {
            assert_ne!(hash, different);
        }
    }
}
