//! By what a root key is known again: it opens what it has wrapped, and no other key does.

use super::{Cell, Column, KeyStore, SecretKey, VaultError};
use crate::domain::id::TenantId;

/// Wraps a key that nobody uses, to be stored where the root key is to be known again.
///
/// # Errors
/// [`VaultError`] when the key store refuses or fails.
pub fn create_root_check(keys: &dyn KeyStore) -> Result<Vec<u8>, VaultError> {
    keys.wrap_key(&SecretKey::random()?, &Cell::of_root_key_check())
}

/// Whether this root key made what [`create_root_check`] gave.
///
/// # Errors
/// [`VaultError`] when it is no such thing, or the key store fails.
pub fn is_root_check_of(keys: &dyn KeyStore, sealed: &[u8]) -> Result<bool, VaultError> {
    opens(keys, sealed, &Cell::of_root_key_check())
}

/// Whether this root key wrapped a tenant's wrapping key.
///
/// # Errors
/// [`VaultError`] when it is no wrapped key, or the key store fails.
pub fn is_tenant_of(
    keys: &dyn KeyStore,
    tenant: TenantId,
    wrapping: &[u8],
) -> Result<bool, VaultError> {
    opens(keys, wrapping, &Cell::of_tenant(tenant, Column::TenantWrappingKey))
}

fn opens(keys: &dyn KeyStore, wrapped: &[u8], cell: &Cell) -> Result<bool, VaultError> {
    match keys.open_key(wrapped, cell) {
        Ok(_) => Ok(true),
        Err(VaultError::CannotOpen | VaultError::KeyVersionUnknown(_)) => Ok(false),
        Err(
            error @ (VaultError::Malformed | VaultError::SuiteUnknown(_) | VaultError::Library),
        ) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::RootKey;

    #[test]
    fn a_root_key_knows_its_own_check_and_no_others() {
        let (ours, others) =
            (RootKey::ephemeral().expect("a key"), RootKey::ephemeral().expect("a key"));
        let check = create_root_check(&ours).expect("wrapped");
        assert_eq!(is_root_check_of(&ours, &check), Ok(true));
        assert_eq!(is_root_check_of(&others, &check), Ok(false));
        // A tenant's key is none, and the other way round: each opens in its own place.
        assert_eq!(is_tenant_of(&ours, TenantId::from_u128(7), &check), Ok(false));
        assert_eq!(is_root_check_of(&ours, b"a"), Err(VaultError::Malformed));
    }
}
