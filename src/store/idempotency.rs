//! First answers kept for repeated requests, one row per `Idempotency-Key` of a tenant.

use std::time::{Duration, SystemTime};

use sqlx::PgConnection;
use uuid::Uuid;

use super::convert::{to_sql, uuid};
use super::{NOBODY, PlatformTx, Store, StoreError, TenantTx};
use crate::domain::id::TenantId;

/// One request that must happen at most once.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Whose request it is; none for a key of the platform.
    pub tenant: Option<TenantId>,
    /// The keyed hash of the `Idempotency-Key`.
    pub key_hash: [u8; 32],
    /// The keyed hash of the whole request.
    pub request_hash: [u8; 32],
    /// How long its answer is kept.
    pub keep: Duration,
    /// After this without an answer it has died.
    pub lock: Duration,
}

impl Claim {
    /// Who owns the row.
    #[must_use]
    pub fn owner(&self) -> TenantId {
        self.tenant.unwrap_or(NOBODY)
    }

    fn owner_uuid(&self) -> Uuid {
        uuid(self.owner().as_u128())
    }
}

/// An answer as it is kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeptAnswer {
    /// The HTTP status.
    pub status: u16,
    /// Headers and body, sealed by the vault.
    pub sealed: Vec<u8>,
}

/// What became of a claim.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Begun {
    /// It is ours: do the work, then complete or abandon it.
    Started,
    /// The first request is still running.
    InProgress,
    /// The key belongs to another request.
    Mismatch,
    /// The work was done.
    Kept(KeptAnswer),
}

#[derive(sqlx::FromRow)]
struct Kept {
    request_hash: Vec<u8>,
    response_status: Option<i16>,
    response_body_sealed: Option<Vec<u8>>,
}

/// The one transaction in which a row may be seen.
enum Scope {
    Tenant(TenantTx),
    Platform(PlatformTx),
}

impl Scope {
    async fn begin(store: &Store, claim: &Claim) -> Result<Self, StoreError> {
        match claim.tenant {
            Some(tenant) => store.tenant(tenant).await.map(Self::Tenant),
            None => store.platform().await.map(Self::Platform),
        }
    }

    fn connection(&mut self) -> &mut PgConnection {
        match self {
            Self::Tenant(tx) => tx.connection(),
            Self::Platform(tx) => tx.connection(),
        }
    }

    async fn commit(self) -> Result<(), StoreError> {
        match self {
            Self::Tenant(tx) => tx.commit().await,
            Self::Platform(tx) => tx.commit().await,
        }
    }
}

impl Store {
    /// Claims a request, unless it was claimed before.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    pub async fn begin_once(&self, claim: &Claim, now: SystemTime) -> Result<Begun, StoreError> {
        let mut scope = Scope::begin(self, claim).await?;
        let started = sqlx::query(
            "insert into idempotency as kept (tenant_id, key_hash, request_hash, started_at,
                 locked_until, expires_at)
             values ($1, $2, $3, $4, $5, $6)
             on conflict (tenant_id, key_hash) do update set
                 request_hash = excluded.request_hash, started_at = excluded.started_at,
                 locked_until = excluded.locked_until, expires_at = excluded.expires_at,
                 completed_at = null, response_status = null, response_body_sealed = null
             where kept.expires_at <= excluded.started_at
                 or (kept.completed_at is null and kept.locked_until <= excluded.started_at)",
        )
        .bind(claim.owner_uuid())
        .bind(claim.key_hash.as_slice())
        .bind(claim.request_hash.as_slice())
        .bind(to_sql(now)?)
        .bind(to_sql(now + claim.lock)?)
        .bind(to_sql(now + claim.keep)?)
        .execute(scope.connection())
        .await?
        .rows_affected();
        if started > 0 {
            scope.commit().await?;
            return Ok(Begun::Started);
        }
        let row: Option<Kept> = sqlx::query_as(
            "select request_hash, response_status, response_body_sealed from idempotency
             where tenant_id = $1 and key_hash = $2",
        )
        .bind(claim.owner_uuid())
        .bind(claim.key_hash.as_slice())
        .fetch_optional(scope.connection())
        .await?;
        Ok(match row {
            // It was given back between the two statements: the client may try again.
            None => Begun::InProgress,
            Some(kept) if kept.request_hash != claim.request_hash => Begun::Mismatch,
            Some(Kept {
                response_status: Some(status),
                response_body_sealed: Some(sealed),
                ..
            }) => {
                let status = u16::try_from(status).unwrap_or(500);
                Begun::Kept(KeptAnswer { status, sealed })
            }
            Some(_) => Begun::InProgress,
        })
    }

    /// Keeps the answer of a claimed request.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    pub async fn complete_once(
        &self,
        claim: &Claim,
        answer: &KeptAnswer,
        now: SystemTime,
    ) -> Result<(), StoreError> {
        let mut scope = Scope::begin(self, claim).await?;
        complete(scope.connection(), claim, answer, now).await?;
        scope.commit().await
    }

    /// Gives a claim back: the request may be tried again.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    pub async fn abandon_once(&self, claim: &Claim) -> Result<(), StoreError> {
        let mut scope = Scope::begin(self, claim).await?;
        sqlx::query(
            "delete from idempotency
             where tenant_id = $1 and key_hash = $2 and request_hash = $3
                 and completed_at is null",
        )
        .bind(claim.owner_uuid())
        .bind(claim.key_hash.as_slice())
        .bind(claim.request_hash.as_slice())
        .execute(scope.connection())
        .await?;
        scope.commit().await
    }

    /// Forgets answers that were kept long enough; a job runs this now and then.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    pub async fn sweep_once(&self, now: SystemTime) -> Result<u64, StoreError> {
        let mut tx = self.platform().await?;
        let swept = sqlx::query("delete from idempotency where expires_at <= $1")
            .bind(to_sql(now)?)
            .execute(tx.connection())
            .await?
            .rows_affected();
        tx.commit().await?;
        Ok(swept)
    }
}

impl PlatformTx {
    /// Keeps the answer of a claimed request in the transaction of its change: both become durable,
    /// or neither. False when the claim was lost meanwhile: then the change may not be made.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    pub async fn complete_once(
        &mut self,
        claim: &Claim,
        answer: &KeptAnswer,
        now: SystemTime,
    ) -> Result<bool, StoreError> {
        // A tenant's row is seen by that tenant only.
        if let Some(tenant) = claim.tenant {
            sqlx::query("select set_config('maskline.tenant', $1, true)")
                .bind(uuid(tenant.as_u128()).to_string())
                .execute(self.connection())
                .await?;
        }
        complete(self.connection(), claim, answer, now).await
    }
}

impl TenantTx {
    /// The same of a request of this tenant.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    pub async fn complete_once(
        &mut self,
        claim: &Claim,
        answer: &KeptAnswer,
        now: SystemTime,
    ) -> Result<bool, StoreError> {
        complete(self.connection(), claim, answer, now).await
    }
}

async fn complete(
    connection: &mut PgConnection,
    claim: &Claim,
    answer: &KeptAnswer,
    now: SystemTime,
) -> Result<bool, StoreError> {
    let completed = sqlx::query(
        "update idempotency set completed_at = $4, response_status = $5, response_body_sealed = $6
         where tenant_id = $1 and key_hash = $2 and request_hash = $3 and completed_at is null",
    )
    .bind(claim.owner_uuid())
    .bind(claim.key_hash.as_slice())
    .bind(claim.request_hash.as_slice())
    .bind(to_sql(now)?)
    .bind(answer.status.cast_signed())
    .bind(&answer.sealed)
    .execute(connection)
    .await?
    .rows_affected();
    Ok(completed > 0)
}
