//! Which root key a database belongs to. A second one would split it: what it holds could not be
//! opened, and what comes new would be sealed so that the first one cannot.

use std::time::SystemTime;

use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::StoreError;
use super::convert::to_sql;
use crate::domain::id::TenantId;
use crate::vault::{KeyStore, create_root_check, is_root_check_of, is_tenant_of};

/// So many tenants of a database of before are tried.
const TENANTS_TRIED_MAX: i64 = 1_000;

/// Whether a database belongs to a root key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Belonging {
    /// To this one.
    Ours,
    /// To another one.
    Foreign,
    /// Nothing says so yet; the next start finds out.
    Unknown,
}

/// Looks whether the database belongs to this root key, and changes nothing.
///
/// # Errors
/// [`StoreError`] when the database refuses or is away, or what is stored is not ours.
pub async fn look_at_root_key(
    owner: &mut PgConnection,
    keys: &dyn KeyStore,
) -> Result<Belonging, StoreError> {
    let table = "select to_regclass('root_key_check') is not null";
    if sqlx::query_scalar(table).fetch_one(&mut *owner).await? {
        stored(owner, keys).await
    } else {
        Ok(Belonging::Unknown)
    }
}

/// Refuses a database that belongs to another root key, before anything is changed: as it says
/// itself, or as the keys of its tenants do.
///
/// # Errors
/// [`StoreError::RootKeyForeign`], or the database refuses or is away.
pub(super) async fn refuse_foreign(
    owner: &mut PgConnection,
    keys: &dyn KeyStore,
) -> Result<(), StoreError> {
    let belonging = match look_at_root_key(owner, keys).await? {
        Belonging::Unknown => look_at_tenants(owner, keys).await?,
        said @ (Belonging::Ours | Belonging::Foreign) => said,
    };
    match belonging {
        Belonging::Ours | Belonging::Unknown => Ok(()),
        Belonging::Foreign => Err(StoreError::RootKeyForeign),
    }
}

/// Looks at a database of before that says nothing of its root key, and changes nothing.
async fn look_at_tenants(
    owner: &mut PgConnection,
    keys: &dyn KeyStore,
) -> Result<Belonging, StoreError> {
    let table = "select to_regclass('tenant') is not null";
    if !sqlx::query_scalar(table).fetch_one(&mut *owner).await? {
        return Ok(Belonging::Unknown);
    }
    let mut transaction = owner.begin().await?;
    sqlx::raw_sql(SHOW_TENANTS).execute(&mut *transaction).await?;
    let belonging = by_tenants(&mut transaction, keys).await?;
    transaction.rollback().await?;
    Ok(belonging)
}

/// The owner is bound by row-level security too. Lifting it also locks the table: nodes that start
/// together come here one by one, and no tenant is made meanwhile. Whoever works on the table at
/// this moment is waited for, but everybody else waits behind us.
const SHOW_TENANTS: &str = "set local lock_timeout = '2s';
    alter table tenant no force row level security";

/// Makes a database that belongs to nobody ours: a new one, or one of before whose tenants' keys
/// this root key opens.
///
/// # Errors
/// [`StoreError::RootKeyForeign`], or the database refuses or is away.
pub(super) async fn claim(
    owner: &mut PgConnection,
    keys: &dyn KeyStore,
    now: SystemTime,
) -> Result<(), StoreError> {
    match stored(owner, keys).await? {
        Belonging::Ours => return Ok(()),
        Belonging::Foreign => return Err(StoreError::RootKeyForeign),
        Belonging::Unknown => {}
    }
    let mut transaction = owner.begin().await?;
    sqlx::raw_sql(SHOW_TENANTS).execute(&mut *transaction).await?;
    let belonging = match stored(&mut transaction, keys).await? {
        Belonging::Unknown => by_tenants(&mut transaction, keys).await?,
        by_another_start @ (Belonging::Ours | Belonging::Foreign) => by_another_start,
    };
    if belonging == Belonging::Foreign {
        return Err(StoreError::RootKeyForeign);
    }
    sqlx::query(
        "insert into root_key_check (key_sealed, created_at) values ($1, $2)
         on conflict on constraint root_key_check_pkey do nothing",
    )
    .bind(create_root_check(keys)?)
    .bind(to_sql(now)?)
    .execute(&mut *transaction)
    .await?;
    sqlx::query("alter table tenant force row level security").execute(&mut *transaction).await?;
    Ok(transaction.commit().await?)
}

async fn stored(owner: &mut PgConnection, keys: &dyn KeyStore) -> Result<Belonging, StoreError> {
    let check: Option<Vec<u8>> =
        sqlx::query_scalar("select key_sealed from root_key_check").fetch_optional(owner).await?;
    Ok(match check {
        Some(check) if is_root_check_of(keys, &check)? => Belonging::Ours,
        Some(_) => Belonging::Foreign,
        None => Belonging::Unknown,
    })
}

/// One tenant is enough: where a wrong key has split a database of before, either half may be the
/// one that counts, and the operator chooses by the key of this start.
async fn by_tenants(
    owner: &mut PgConnection,
    keys: &dyn KeyStore,
) -> Result<Belonging, StoreError> {
    // Were the tenants hidden all the same, this is an error and not an empty table.
    sqlx::query("set local row_security = off").execute(&mut *owner).await?;
    let tenants: Vec<(Uuid, Vec<u8>)> =
        sqlx::query_as("select id, wrapping_key_sealed from tenant order by id limit $1")
            .bind(TENANTS_TRIED_MAX)
            .fetch_all(&mut *owner)
            .await?;
    sqlx::query("set local row_security = on").execute(owner).await?;
    for (id, wrapping) in &tenants {
        if is_tenant_of(keys, TenantId::from_u128(id.as_u128()), wrapping)? {
            return Ok(Belonging::Ours);
        }
    }
    Ok(if tenants.is_empty() { Belonging::Unknown } else { Belonging::Foreign })
}
