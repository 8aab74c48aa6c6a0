//! Keys of the API: those that are sent are found by their keyed hash, those that sign by their
//! identifier; both before any tenant is known.

use std::time::SystemTime;

use jiff_sqlx::Timestamp;
use sqlx::FromRow;
use uuid::Uuid;

use super::convert::{from_sql, label, to_sql, to_sql_maybe, uuid};
use super::page::{Page, PageRequest};
use super::{PlatformTx, Store, StoreError};
use crate::domain::id::{ApiKeyId, TenantId};
use crate::domain::network::Network;

/// A key, without its text.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct ApiKey {
    pub id: ApiKeyId,
    pub tenant: Option<TenantId>,
    pub name: String,
    pub role: String,
    pub scopes: Vec<String>,
    pub is_test: bool,
    pub secret_hash: Vec<u8>,
    pub hint: String,
    pub source_networks: Vec<Network>,
    pub created_at: SystemTime,
    pub expires_at: Option<SystemTime>,
    pub revoked_at: Option<SystemTime>,
    /// The sealed secret of a key that signs; absent of a key that is sent.
    pub signing_sealed: Option<Vec<u8>>,
    /// Its tenant takes signed requests alone.
    pub requires_signature: bool,
    /// The SHA-256 of the client's certificate without which it does nothing.
    pub certificate: Option<[u8; 32]>,
}

/// A key to be kept.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct NewApiKey {
    pub id: ApiKeyId,
    pub tenant: Option<TenantId>,
    pub name: String,
    pub role: &'static str,
    pub scopes: Vec<String>,
    pub is_test: bool,
    pub secret_hash: [u8; 32],
    pub hint: String,
    pub source_networks: Vec<Network>,
    pub expires_at: Option<SystemTime>,
    /// The sealed secret of a key that signs.
    pub signing_sealed: Option<Vec<u8>>,
    pub certificate: Option<[u8; 32]>,
}

/// What a key gets instead of the secret it had.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of the tables")]
pub struct NewSecret {
    pub hash: [u8; 32],
    pub hint: String,
    pub signing_sealed: Option<Vec<u8>>,
}

/// Whose keys may be seen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyOwner {
    /// A tenant's own.
    Tenant(TenantId),
    /// All, or all for tests: the operator's view.
    Anybody {
        /// Real tenants' keys are hidden.
        only_test: bool,
    },
}

impl KeyOwner {
    fn tenant(self) -> Option<Uuid> {
        match self {
            Self::Tenant(tenant) => Some(uuid(tenant.as_u128())),
            Self::Anybody { .. } => None,
        }
    }

    const fn only_test(self) -> bool {
        match self {
            Self::Tenant(_) => false,
            Self::Anybody { only_test } => only_test,
        }
    }
}

/// The columns of [`Row`], of a key `k`.
macro_rules! columns {
    ($before:literal, $after:literal) => {
        concat!(
            $before,
            " k.id, k.tenant_id, k.name, k.role, k.scopes, k.is_test, k.secret_hash, k.hint,
              k.source_networks::text[] as networks, k.created_at, k.expires_at, k.revoked_at,
              (select g.secret_sealed from api_key_signing g where g.key_id = k.id)
                  as signing_sealed,
              exists (select from tenant_signing t where t.tenant_id = k.tenant_id)
                  as requires_signature,
              (select c.sha256 from api_key_certificate c where c.key_id = k.id) as certificate ",
            $after
        )
    };
}

#[derive(FromRow)]
struct Row {
    id: Uuid,
    tenant_id: Option<Uuid>,
    name: String,
    role: String,
    scopes: Vec<String>,
    is_test: bool,
    secret_hash: Vec<u8>,
    hint: String,
    networks: Vec<String>,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
    signing_sealed: Option<Vec<u8>>,
    requires_signature: bool,
    certificate: Option<Vec<u8>>,
}

impl TryFrom<Row> for ApiKey {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let network = |text: &String| {
            label("api_key.source_networks", text, |text| Network::parse(text).ok())
        };
        Ok(Self {
            id: ApiKeyId::from_u128(row.id.as_u128()),
            tenant: row.tenant_id.map(|id| TenantId::from_u128(id.as_u128())),
            name: row.name,
            role: row.role,
            scopes: row.scopes,
            is_test: row.is_test,
            secret_hash: row.secret_hash,
            hint: row.hint,
            source_networks: row.networks.iter().map(network).collect::<Result<_, _>>()?,
            created_at: from_sql(row.created_at),
            expires_at: row.expires_at.map(from_sql),
            revoked_at: row.revoked_at.map(from_sql),
            signing_sealed: row.signing_sealed,
            requires_signature: row.requires_signature,
            certificate: row.certificate.as_deref().map(read_certificate).transpose()?,
        })
    }
}

fn read_certificate(bytes: &[u8]) -> Result<[u8; 32], StoreError> {
    bytes.try_into().map_err(|_| StoreError::Unreadable { column: "api_key_certificate.sha256" })
}

impl Store {
    /// Finds a key by the keyed hash of what a client sent.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    pub async fn find_api_key(&self, secret_hash: &[u8; 32]) -> Result<Option<ApiKey>, StoreError> {
        let mut tx = self.platform().await?;
        let row: Option<Row> =
            sqlx::query_as(columns!("select", "from api_key k where k.secret_hash = $1"))
                .bind(secret_hash.as_slice())
                .fetch_optional(tx.connection())
                .await?;
        row.map(ApiKey::try_from).transpose()
    }

    /// Finds a key by its identifier.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    pub async fn find_api_key_of(
        &self,
        owner: KeyOwner,
        id: ApiKeyId,
    ) -> Result<Option<ApiKey>, StoreError> {
        let mut tx = self.platform().await?;
        let row: Option<Row> = sqlx::query_as(columns!(
            "select",
            "from api_key k
             where k.id = $1 and ($2::uuid is null or k.tenant_id = $2) and (k.is_test or not $3)"
        ))
        .bind(uuid(id.as_u128()))
        .bind(owner.tenant())
        .bind(owner.only_test())
        .fetch_optional(tx.connection())
        .await?;
        row.map(ApiKey::try_from).transpose()
    }

    /// Whether there is any key of the platform that still works: without one nobody can make the
    /// first tenant.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    pub async fn has_operator_key(&self) -> Result<bool, StoreError> {
        let mut tx = self.platform().await?;
        let (found,): (bool,) = sqlx::query_as(
            "select exists (select from api_key where role = 'operator' and revoked_at is null)",
        )
        .fetch_one(tx.connection())
        .await?;
        Ok(found)
    }

    /// Lists keys, newest first.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    pub async fn list_api_keys(
        &self,
        owner: KeyOwner,
        page: PageRequest,
    ) -> Result<Page<ApiKey>, StoreError> {
        let mut tx = self.platform().await?;
        let rows: Vec<Row> = sqlx::query_as(columns!(
            "select",
            "from api_key k
             where k.id < $1 and ($2::uuid is null or k.tenant_id = $2) and (k.is_test or not $3)
             order by k.id desc limit $4"
        ))
        .bind(page.before())
        .bind(owner.tenant())
        .bind(owner.only_test())
        .bind(page.fetch())
        .fetch_all(tx.connection())
        .await?;
        let keys = rows.into_iter().map(ApiKey::try_from).collect::<Result<_, _>>()?;
        Ok(page.page(keys, |key: &ApiKey| key.id.as_u128()))
    }

    /// Ends a living key for good.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses or is away.
    pub async fn revoke_api_key(
        &self,
        owner: KeyOwner,
        id: ApiKeyId,
        now: SystemTime,
    ) -> Result<Option<ApiKey>, StoreError> {
        let mut tx = self.platform().await?;
        let row: Option<Row> = sqlx::query_as(columns!(
            "update api_key k set revoked_at = $4
             where k.id = $1 and ($2::uuid is null or k.tenant_id = $2) and (k.is_test or not $3)
                 and k.revoked_at is null
             returning",
            ""
        ))
        .bind(uuid(id.as_u128()))
        .bind(owner.tenant())
        .bind(owner.only_test())
        .bind(to_sql(now)?)
        .fetch_optional(tx.connection())
        .await?;
        tx.commit().await?;
        row.map(ApiKey::try_from).transpose()
    }
}

impl PlatformTx {
    /// Keeps a new key.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses or is away.
    pub async fn insert_api_key(
        &mut self,
        new: NewApiKey,
        now: SystemTime,
    ) -> Result<ApiKey, StoreError> {
        let networks: Vec<String> = new.source_networks.iter().map(ToString::to_string).collect();
        let row: Row = sqlx::query_as(columns!(
            "insert into api_key as k (id, tenant_id, name, role, scopes, is_test, secret_hash,
                 hint, source_networks, created_at, expires_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9::text[]::cidr[], $10, $11)
             returning",
            ""
        ))
        .bind(uuid(new.id.as_u128()))
        .bind(new.tenant.map(|tenant| uuid(tenant.as_u128())))
        .bind(new.name)
        .bind(new.role)
        .bind(new.scopes)
        .bind(new.is_test)
        .bind(new.secret_hash.as_slice())
        .bind(new.hint)
        .bind(networks)
        .bind(to_sql(now)?)
        .bind(to_sql_maybe(new.expires_at)?)
        .fetch_one(self.connection())
        .await?;
        let mut key = ApiKey::try_from(row)?;
        if let Some(sealed) = new.signing_sealed {
            sqlx::query("insert into api_key_signing (key_id, secret_sealed) values ($1, $2)")
                .bind(uuid(new.id.as_u128()))
                .bind(&sealed)
                .execute(self.connection())
                .await?;
            key.signing_sealed = Some(sealed);
        }
        if let Some(certificate) = new.certificate {
            sqlx::query("insert into api_key_certificate (key_id, sha256) values ($1, $2)")
                .bind(uuid(new.id.as_u128()))
                .bind(certificate.as_slice())
                .execute(self.connection())
                .await?;
            key.certificate = Some(certificate);
        }
        Ok(key)
    }

    /// Gives a living key another secret; the old one is gone.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses or is away.
    pub async fn roll_api_key(
        &mut self,
        owner: KeyOwner,
        id: ApiKeyId,
        new: NewSecret,
    ) -> Result<Option<ApiKey>, StoreError> {
        let row: Option<Row> = sqlx::query_as(columns!(
            "update api_key k set secret_hash = $4, hint = $5
             where k.id = $1 and ($2::uuid is null or k.tenant_id = $2) and (k.is_test or not $3)
                 and k.revoked_at is null
             returning",
            ""
        ))
        .bind(uuid(id.as_u128()))
        .bind(owner.tenant())
        .bind(owner.only_test())
        .bind(new.hash.as_slice())
        .bind(new.hint)
        .fetch_optional(self.connection())
        .await?;
        let Some(row) = row else { return Ok(None) };
        let mut key = ApiKey::try_from(row)?;
        if let Some(sealed) = new.signing_sealed {
            sqlx::query("update api_key_signing set secret_sealed = $2 where key_id = $1")
                .bind(uuid(id.as_u128()))
                .bind(&sealed)
                .execute(self.connection())
                .await?;
            key.signing_sealed = Some(sealed);
        }
        Ok(Some(key))
    }
}
