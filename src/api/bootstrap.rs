//! The first key: somebody has to make it before anybody can ask the API for one.

use crate::domain::id::ApiKeyId;
use crate::domain::now::Now;
use crate::store::api_key::NewApiKey;
use crate::store::{Store, StoreError};

use super::roles::Role;
use super::secrets::{IssuedKey, KeyUse, random_bits};

/// Makes a key of the platform, such as the first operator's. Whoever can read the root key and
/// reach the database may do this.
///
/// # Errors
/// [`StoreError`] when the database refuses or is away.
pub async fn issue_platform_key(
    store: &Store,
    role: Role,
    name: &str,
    now: Now,
) -> Result<IssuedKey, StoreError> {
    let issued = IssuedKey::new(store.vault(), KeyUse::Bearer, false);
    let new = NewApiKey {
        id: ApiKeyId::new(now.unix_ms(), random_bits()),
        tenant: None,
        name: name.to_owned(),
        role: role.label(),
        scopes: Vec::new(),
        is_test: false,
        secret_hash: issued.hash,
        hint: issued.hint(),
        source_networks: Vec::new(),
        expires_at: None,
        signing_sealed: None,
        certificate: None,
    };
    let mut tx = store.platform().await?;
    tx.insert_api_key(new, now.wall).await?;
    tx.commit().await?;
    Ok(issued)
}

/// Makes the first operator's key; `None` when there is one already.
///
/// # Errors
/// [`StoreError`] when the database refuses or is away.
pub async fn issue_first_key(store: &Store, now: Now) -> Result<Option<IssuedKey>, StoreError> {
    if store.has_operator_key().await? {
        return Ok(None);
    }
    issue_platform_key(store, Role::Operator, "first operator key", now).await.map(Some)
}
