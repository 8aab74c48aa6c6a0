//! Tenants: made, listed and changed by the platform.

use std::time::SystemTime;

use jiff_sqlx::Timestamp;
use sqlx::FromRow;
use uuid::Uuid;

use super::convert::{from_sql, label, to_sql, uuid};
use super::outbox::NewEvent;
use super::page::{Page, PageRequest};
use super::{PlatformTx, RouteTable, Store, StoreError, TenantTx};
use crate::domain::event::EventKind;
use crate::domain::id::TenantId;
use crate::vault::Vault;

/// Whether a tenant may work.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TenantState {
    /// Calls are relayed.
    Active,
    /// No calls and no new bindings.
    Suspended,
}

impl TenantState {
    /// The stable word in the store, events and the API.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
        }
    }

    fn find_label(label: &str) -> Option<Self> {
        [Self::Active, Self::Suspended].into_iter().find(|state| state.label() == label)
    }
}

/// A tenant, without its keys.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct Tenant {
    pub id: TenantId,
    pub name: String,
    pub state: TenantState,
    pub is_test: bool,
    pub accept_real_numbers: bool,
    pub desk_user: Option<String>,
    pub language: String,
    pub time_zone: String,
    pub country_code: String,
    /// Keys do nothing without a signature.
    pub requires_signature: bool,
    pub version: u64,
    pub created_at: SystemTime,
    pub updated_at: SystemTime,
}

/// A tenant to be made; it begins active.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct NewTenant {
    pub id: TenantId,
    pub name: String,
    pub is_test: bool,
    pub accept_real_numbers: bool,
    pub desk_user: Option<String>,
    pub language: &'static str,
    pub time_zone: String,
    pub country_code: String,
}

/// What changes of a tenant; absent fields stay.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct TenantChange {
    pub name: Option<String>,
    pub state: Option<TenantState>,
    pub accept_real_numbers: Option<bool>,
    pub desk_user: Option<Option<String>>,
    pub language: Option<&'static str>,
    pub time_zone: Option<String>,
    pub requires_signature: Option<bool>,
}

/// The columns of [`Row`], of a tenant `t`.
macro_rules! columns {
    ($before:literal, $after:literal) => {
        concat!(
            $before,
            " t.id, t.name, t.state, t.is_test, t.accept_real_numbers, t.desk_user, t.language,
              t.time_zone, t.country_code, t.version, t.created_at, t.updated_at,
              exists (select from tenant_signing g where g.tenant_id = t.id)
                  as requires_signature ",
            $after
        )
    };
}

#[derive(FromRow)]
struct Row {
    id: Uuid,
    name: String,
    state: String,
    is_test: bool,
    accept_real_numbers: bool,
    desk_user: Option<String>,
    language: String,
    time_zone: String,
    country_code: String,
    requires_signature: bool,
    version: i64,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl TryFrom<Row> for Tenant {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            id: TenantId::from_u128(row.id.as_u128()),
            name: row.name,
            state: label("tenant.state", &row.state, TenantState::find_label)?,
            is_test: row.is_test,
            accept_real_numbers: row.accept_real_numbers,
            desk_user: row.desk_user,
            language: row.language,
            time_zone: row.time_zone,
            country_code: row.country_code,
            requires_signature: row.requires_signature,
            version: row.version.unsigned_abs(),
            created_at: from_sql(row.created_at),
            updated_at: from_sql(row.updated_at),
        })
    }
}

impl Store {
    /// Finds a tenant for the platform.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    pub async fn find_tenant(&self, id: TenantId) -> Result<Option<Tenant>, StoreError> {
        self.platform().await?.find_tenant(id).await
    }

    /// Lists tenants, newest first; `only_test` hides the real ones.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    pub async fn list_tenants(
        &self,
        only_test: bool,
        page: PageRequest,
    ) -> Result<Page<Tenant>, StoreError> {
        let mut tx = self.platform().await?;
        let rows: Vec<Row> = sqlx::query_as(columns!(
            "select",
            "from tenant t where t.id < $1 and (t.is_test or not $2) order by t.id desc limit $3"
        ))
        .bind(page.before())
        .bind(only_test)
        .bind(page.fetch())
        .fetch_all(tx.connection())
        .await?;
        let tenants = rows.into_iter().map(Tenant::try_from).collect::<Result<_, _>>()?;
        Ok(page.page(tenants, |tenant: &Tenant| tenant.id.as_u128()))
    }

    /// Changes a tenant if it has the wanted `version`; `None` when it has not, or is not there.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses or is away.
    pub async fn update_tenant(
        &self,
        id: TenantId,
        change: TenantChange,
        version: Option<u64>,
        now: SystemTime,
    ) -> Result<Option<Tenant>, StoreError> {
        let mut tx = self.platform().await?;
        let before: Option<(String,)> =
            sqlx::query_as("select state from tenant where id = $1 for update")
                .bind(uuid(id.as_u128()))
                .fetch_optional(tx.connection())
                .await?;
        let (wanted, signing) = (change.state, change.requires_signature);
        let row = tx.write_tenant(id, change, version, now).await?;
        let (Some((before,)), Some(mut row)) = (before, row) else { return Ok(None) };
        if let Some(is_required) = signing {
            tx.write_signing(id, is_required, now).await?;
            row.requires_signature = is_required;
        }
        if let Some(state) = wanted.filter(|state| state.label() != before) {
            let kind = match state {
                TenantState::Active => EventKind::TenantResumed,
                TenantState::Suspended => EventKind::TenantSuspended,
            };
            let data = serde_json::json!({ "tenant_id": id.to_string(), "state": state.label() });
            tx.emit(id, now, NewEvent { kind, subject: id.as_u128(), data }).await?;
        }
        tx.touch_routes(RouteTable::Tenant);
        tx.commit().await?;
        Tenant::try_from(row).map(Some)
    }
}

impl PlatformTx {
    /// Makes a tenant with fresh keys.
    ///
    /// # Errors
    /// [`StoreError`] when the database or the vault fails.
    pub async fn insert_tenant(
        &mut self,
        vault: &Vault,
        new: NewTenant,
        now: SystemTime,
    ) -> Result<Tenant, StoreError> {
        let keys = vault.create_tenant_keys(new.id)?;
        let row: Row = sqlx::query_as(columns!(
            "insert into tenant as t (id, name, state, is_test, accept_real_numbers, desk_user,
                     language, time_zone, country_code, wrapping_key_sealed, lookup_key_sealed,
                     created_at, updated_at)
                 values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12)
                 returning",
            ""
        ))
        .bind(uuid(new.id.as_u128()))
        .bind(new.name)
        .bind(TenantState::Active.label())
        .bind(new.is_test)
        .bind(new.accept_real_numbers)
        .bind(new.desk_user)
        .bind(new.language)
        .bind(new.time_zone)
        .bind(new.country_code)
        .bind(keys.wrapping)
        .bind(keys.lookup)
        .bind(to_sql(now)?)
        .fetch_one(self.connection())
        .await?;
        row.try_into()
    }

    /// Finds a tenant in this transaction.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    pub async fn find_tenant(&mut self, id: TenantId) -> Result<Option<Tenant>, StoreError> {
        let row: Option<Row> = sqlx::query_as(columns!("select", "from tenant t where t.id = $1"))
            .bind(uuid(id.as_u128()))
            .fetch_optional(self.connection())
            .await?;
        row.map(Tenant::try_from).transpose()
    }

    async fn write_tenant(
        &mut self,
        id: TenantId,
        change: TenantChange,
        version: Option<u64>,
        now: SystemTime,
    ) -> Result<Option<Row>, StoreError> {
        Ok(sqlx::query_as(columns!(
            "update tenant t set
                 name = coalesce($3, t.name),
                 state = coalesce($4, t.state),
                 accept_real_numbers = coalesce($5, t.accept_real_numbers),
                 desk_user = case when $6 then $7 else t.desk_user end,
                 language = coalesce($8, t.language),
                 time_zone = coalesce($9, t.time_zone),
                 version = t.version + 1, updated_at = $10
             where t.id = $1 and ($2::bigint is null or t.version = $2)
             returning",
            ""
        ))
        .bind(uuid(id.as_u128()))
        .bind(version.map(u64::cast_signed))
        .bind(change.name)
        .bind(change.state.map(TenantState::label))
        .bind(change.accept_real_numbers)
        .bind(change.desk_user.is_some())
        .bind(change.desk_user.flatten())
        .bind(change.language)
        .bind(change.time_zone)
        .bind(to_sql(now)?)
        .fetch_optional(self.connection())
        .await?)
    }

    async fn write_signing(
        &mut self,
        id: TenantId,
        is_required: bool,
        now: SystemTime,
    ) -> Result<(), StoreError> {
        if is_required {
            sqlx::query(
                "insert into tenant_signing (tenant_id, required_at) values ($1, $2)
                 on conflict on constraint tenant_signing_pkey do nothing",
            )
            .bind(uuid(id.as_u128()))
            .bind(to_sql(now)?)
            .execute(self.connection())
            .await?;
        } else {
            sqlx::query("delete from tenant_signing where tenant_id = $1")
                .bind(uuid(id.as_u128()))
                .execute(self.connection())
                .await?;
        }
        Ok(())
    }
}

impl TenantTx {
    /// The tenant of this transaction.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    pub async fn load_tenant(&mut self) -> Result<Tenant, StoreError> {
        let id = uuid(self.tenant().as_u128());
        let row: Row = sqlx::query_as(columns!("select", "from tenant t where t.id = $1"))
            .bind(id)
            .fetch_one(self.connection())
            .await?;
        row.try_into()
    }
}
