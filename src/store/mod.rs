//! L2: the only SQL. One file per group of tables; every change, its events and its audit trail
//! share one transaction.
//!
//! A tenant's work runs in a [`TenantTx`]: row-level security shows it that tenant's rows and
//! nothing else. The platform's own work runs in a [`PlatformTx`]. The relay has a role and a pool
//! of its own.

pub mod agent;
pub mod agent_login;
pub mod api_key;
mod api_nonce;
mod audit;
pub mod binding;
mod binding_row;
pub mod caps;
pub mod cdr;
mod complaint;
pub mod convert;
pub mod database;
pub mod delivery;
pub mod embedded;
pub mod error;
pub mod idempotency;
pub mod import;
pub mod import_rows;
pub mod intent;
pub mod menu;
pub mod migrate;
pub mod notice;
pub mod number;
pub mod number_period;
pub mod outbox;
pub mod page;
pub mod pool;
pub mod pool_stock;
pub mod recording;
pub mod root_key;
pub mod route;
pub mod server;
pub mod subscriber;
pub mod tenant;
pub mod test_clock;
pub mod trunk;
pub mod trunk_access;
mod trunk_row;
pub mod unwanted;
pub mod watch;
pub mod webhook;

use std::sync::Arc;
use std::time::SystemTime;

use sqlx::{PgConnection, Postgres, Transaction};

pub use database::{AppPool, Database, DatabaseConfig, RelayPool};
pub use error::StoreError;
use notice::{EndedBinding, Notices};
pub use page::{Page, PageRequest};

use crate::domain::id::{BindingId, TenantId};
use crate::vault::{SealedTenantKeys, TenantKeys, Vault};

/// The tenant of records that belong to nobody: attempts on numbers that no tenant holds.
pub const NOBODY: TenantId = TenantId::from_u128(0);

/// The channel on which other nodes hear that cached routes are stale.
pub const ROUTES_CHANNEL: &str = "maskline_routes";

/// The store as the API and the jobs use it.
#[derive(Clone, Debug)]
pub struct Store {
    app: AppPool,
    vault: Arc<Vault>,
}

impl Store {
    /// A store on the API's pool.
    #[must_use]
    pub const fn new(app: AppPool, vault: Arc<Vault>) -> Self {
        Self { app, vault }
    }

    /// The vault, for API keys and new tenants.
    #[must_use]
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// Begins a transaction that sees one tenant's rows only. Dropping it undoes it.
    ///
    /// Its statements are planned for any tenant. The statistics may know nothing yet of one that
    /// came lately: a plan for its identifier expects a single row, takes whichever index begins
    /// with the tenant, and reads all of the tenant's rows for each that it wants.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when there is no connection in time.
    pub async fn tenant(&self, tenant: TenantId) -> Result<TenantTx, StoreError> {
        let mut transaction = self.app.0.begin().await?;
        sqlx::query(
            "select set_config('maskline.tenant', $1, true),
                    set_config('plan_cache_mode', 'force_generic_plan', true)",
        )
        .bind(convert::uuid(tenant.as_u128()).to_string())
        .execute(&mut *transaction)
        .await?;
        let vault = Arc::clone(&self.vault);
        Ok(TenantTx { tenant, vault, inner: self.inner(transaction) })
    }

    /// Begins a transaction of the platform itself: tenants, keys, trunks, pools, numbers, and no
    /// subscriber's row.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when there is no connection in time.
    pub async fn platform(&self) -> Result<PlatformTx, StoreError> {
        let mut transaction = self.app.0.begin().await?;
        sqlx::query("select set_config('maskline.platform', 'on', true)")
            .execute(&mut *transaction)
            .await?;
        Ok(PlatformTx { inner: self.inner(transaction) })
    }

    fn inner(&self, transaction: Transaction<'static, Postgres>) -> Inner {
        Inner { transaction, notices: Notices::new(self.app.1.clone()) }
    }

    /// Makes the record partitions of the coming months; a job runs this now and then.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses or is away.
    pub async fn create_partitions(&self, now: SystemTime) -> Result<(), StoreError> {
        migrate::create_partitions(&mut *self.app.0.acquire().await?, now).await
    }

    /// Whether the database answers; for readiness.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("select 1").execute(&self.app.0).await?;
        Ok(())
    }
}

/// A table whose changes make cached routes stale; the only thing that other nodes are told.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum RouteTable {
    /// A tenant was suspended, resumed or changed.
    Tenant,
    /// An agent or a calling extension.
    Agent,
    /// A trunk, or a pool's trunks.
    Trunk,
    /// A virtual number's state.
    VirtualNumber,
    /// A binding's state.
    Binding,
    /// A subscriber's number.
    Subscriber,
}

impl RouteTable {
    fn find_label(label: &str) -> Option<Self> {
        let all = [
            Self::Tenant,
            Self::Agent,
            Self::Trunk,
            Self::VirtualNumber,
            Self::Binding,
            Self::Subscriber,
        ];
        all.into_iter().find(|table| table.label() == label)
    }

    const fn label(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Agent => "agent",
            Self::Trunk => "trunk",
            Self::VirtualNumber => "virtual_number",
            Self::Binding => "binding",
            Self::Subscriber => "subscriber",
        }
    }
}

#[derive(Debug)]
struct Inner {
    transaction: Transaction<'static, Postgres>,
    notices: Notices,
}

impl Inner {
    /// Other nodes hear of it when it is durable, and not before.
    async fn commit(mut self) -> Result<(), StoreError> {
        self.notices.send(&mut self.transaction).await?;
        Ok(self.transaction.commit().await?)
    }
}

/// A transaction that sees and writes one tenant's rows only.
#[derive(Debug)]
pub struct TenantTx {
    tenant: TenantId,
    vault: Arc<Vault>,
    inner: Inner,
}

impl TenantTx {
    /// Whose rows it sees.
    #[must_use]
    pub const fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// The connection, for the queries of this module's files.
    pub(in crate::store) fn connection(&mut self) -> &mut PgConnection {
        &mut self.inner.transaction
    }

    /// What follows is planned for the values that it is given: a filter that is absent costs
    /// nothing then, and one that is there may use an index.
    pub(in crate::store) async fn plan_for_values(&mut self) -> Result<(), StoreError> {
        sqlx::query("select set_config('plan_cache_mode', 'force_custom_plan', true)")
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// What follows is planned for all tenants again, as at the beginning.
    pub(in crate::store) async fn plan_for_all(&mut self) -> Result<(), StoreError> {
        sqlx::query("select set_config('plan_cache_mode', 'force_generic_plan', true)")
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Cached routes that touch this table are stale once this transaction is committed.
    pub fn touch_routes(&mut self, table: RouteTable) {
        self.inner.notices.touch(table);
    }

    /// Once this transaction is committed, a binding may not be used anywhere, and ringing calls
    /// through it end on every node.
    pub fn end_binding(&mut self, ended: EndedBinding) {
        self.inner.notices.end(ended);
    }

    /// Once this transaction is committed, what is remembered of a binding is stale everywhere.
    pub fn forget_binding(&mut self, binding: BindingId) {
        self.inner.notices.change(binding);
    }

    /// Makes everything durable, then tells the other nodes if routes changed.
    ///
    /// # Errors
    /// [`StoreError`]; it is then unknown whether the change was made, unless the error is a
    /// conflict.
    pub async fn commit(self) -> Result<(), StoreError> {
        self.inner.commit().await
    }

    /// Undoes everything now, for those who want its locks at once: what is dropped is undone, too,
    /// but a moment later.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away; it is undone all the same.
    pub async fn undo(self) -> Result<(), StoreError> {
        Ok(self.inner.transaction.rollback().await?)
    }

    /// This tenant's keys and settings.
    pub(in crate::store) async fn facts(&mut self) -> Result<TenantFacts, StoreError> {
        let tenant = self.tenant;
        let row: TenantRow = sqlx::query_as(
            "select wrapping_key_sealed, lookup_key_sealed, state, accept_real_numbers, language,
                    time_zone
             from tenant where id = $1",
        )
        .bind(convert::uuid(tenant.as_u128()))
        .fetch_one(self.connection())
        .await?;
        let sealed =
            SealedTenantKeys { wrapping: row.wrapping_key_sealed, lookup: row.lookup_key_sealed };
        Ok(TenantFacts {
            keys: self.vault.open_tenant(tenant, &sealed)?,
            active: row.state == "active",
            accept_real_numbers: row.accept_real_numbers,
            language: row.language,
            time_zone: row.time_zone,
        })
    }
}

/// What a tenant's own transactions need to know of it.
pub(in crate::store) struct TenantFacts {
    pub(in crate::store) keys: Arc<TenantKeys>,
    pub(in crate::store) active: bool,
    pub(in crate::store) accept_real_numbers: bool,
    pub(in crate::store) language: String,
    pub(in crate::store) time_zone: String,
}

#[derive(sqlx::FromRow)]
struct TenantRow {
    wrapping_key_sealed: Vec<u8>,
    lookup_key_sealed: Vec<u8>,
    state: String,
    accept_real_numbers: bool,
    language: String,
    time_zone: String,
}

/// A transaction of the platform itself.
#[derive(Debug)]
pub struct PlatformTx {
    inner: Inner,
}

impl PlatformTx {
    /// The connection, for the queries of this module's files.
    pub(in crate::store) fn connection(&mut self) -> &mut PgConnection {
        &mut self.inner.transaction
    }

    /// Cached routes that touch this table are stale once this transaction is committed.
    pub fn touch_routes(&mut self, table: RouteTable) {
        self.inner.notices.touch(table);
    }

    /// Makes everything durable, then tells the other nodes if routes changed.
    ///
    /// # Errors
    /// [`StoreError`]; it is then unknown whether the change was made, unless the error is a
    /// conflict.
    pub async fn commit(self) -> Result<(), StoreError> {
        self.inner.commit().await
    }
}
