//! Imports of bindings: begun, started, over. Their rows are in [`super::import_rows`].

use std::time::{Duration, SystemTime};

use jiff_sqlx::Timestamp;
use uuid::Uuid;

use super::convert::{from_sql, label, to_sql, unix_ms, uuid};
use super::error::StoreError;
use super::page::{Page, PageRequest};
use super::{Store, TenantTx};
use crate::domain::id::{ImportId, TenantId};
use crate::vault::random_u128;

/// The most imports that one look for work finds.
pub const IMPORTS_DUE_MAX: i64 = 100;
/// An import of which nothing more has come for so long is abandoned: its node has died.
pub const READING_TIME_MAX: Duration = Duration::from_secs(120);
/// How long an import that is over can be looked at.
pub const IMPORT_KEEP_TIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Where an import is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ImportState {
    /// Its body is still coming.
    Reading,
    /// Its rows are being bound.
    Running,
    /// Every row has its outcome.
    Done,
    /// The tenant has stopped it: what was bound stays, and no other row is kept.
    Cancelled,
    /// Its body broke off: no row was bound, and none is kept.
    Abandoned,
}

impl ImportState {
    const ALL: [Self; 5] =
        [Self::Reading, Self::Running, Self::Done, Self::Cancelled, Self::Abandoned];

    /// The stable word in the store and the API.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Reading => "reading",
            Self::Running => "running",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
            Self::Abandoned => "abandoned",
        }
    }

    fn find_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.label() == label)
    }
}

/// How far an import has come.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ImportRecord {
    /// Which.
    pub id: ImportId,
    /// Where it is.
    pub state: ImportState,
    /// The language of its problems: `zh-CN` or `en`.
    pub language: String,
    /// Rows that have come.
    pub read: u32,
    /// New bindings.
    pub made: u32,
    /// Rows whose binding there was.
    pub existing: u32,
    /// Rows with a problem.
    pub failed: u32,
    /// When it began.
    pub created_at: SystemTime,
    /// When something last happened.
    pub updated_at: SystemTime,
    /// When all of its rows had come.
    pub started_at: Option<SystemTime>,
    /// When it was over.
    pub ended_at: Option<SystemTime>,
}

impl ImportRecord {
    /// The import as it was when all of its rows had come.
    #[must_use]
    pub fn as_started(self) -> Self {
        Self {
            state: ImportState::Running,
            made: 0,
            existing: 0,
            failed: 0,
            updated_at: self.started_at.unwrap_or(self.updated_at),
            ended_at: None,
            ..self
        }
    }
}

/// What became of the wish to begin one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum BeginOutcome {
    /// It takes rows now.
    Begun(ImportRecord),
    /// This tenant has one that is not over.
    AnotherRuns,
    /// The body of a request with this key is still coming.
    KeyInUse,
    /// A request with this key has begun it, with a body of this hash.
    Repeated(ImportRecord, Vec<u8>),
}

/// What became of the wish to stop one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CancelOutcome {
    /// It is over.
    Cancelled(ImportRecord),
    /// Its rows are not being bound.
    NotRunning,
    /// This tenant has no such import.
    NotFound,
}

macro_rules! import_columns {
    () => {
        "id, state, language, rows_read, rows_made, rows_existing, rows_failed, created_at,
         updated_at, started_at, ended_at, body_hash "
    };
}

#[derive(sqlx::FromRow)]
struct ImportRow {
    id: Uuid,
    state: String,
    language: String,
    rows_read: i32,
    rows_made: i32,
    rows_existing: i32,
    rows_failed: i32,
    created_at: Timestamp,
    updated_at: Timestamp,
    started_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    body_hash: Option<Vec<u8>>,
}

impl ImportRow {
    fn read(self) -> Result<ImportRecord, StoreError> {
        Ok(ImportRecord {
            id: ImportId::from_u128(self.id.as_u128()),
            state: label("import_job.state", &self.state, ImportState::find_label)?,
            language: self.language,
            read: self.rows_read.unsigned_abs(),
            made: self.rows_made.unsigned_abs(),
            existing: self.rows_existing.unsigned_abs(),
            failed: self.rows_failed.unsigned_abs(),
            created_at: from_sql(self.created_at),
            updated_at: from_sql(self.updated_at),
            started_at: self.started_at.map(from_sql),
            ended_at: self.ended_at.map(from_sql),
        })
    }
}

impl TenantTx {
    /// Begins an import, unless one of this tenant is not over, or one was begun with the same key.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses or is away.
    pub async fn begin_import(
        &mut self,
        now: SystemTime,
        language: &str,
        key_hash: Option<&[u8]>,
    ) -> Result<BeginOutcome, StoreError> {
        let id = ImportId::new(unix_ms(now), random_u128()?);
        let row: Option<ImportRow> = sqlx::query_as(concat!(
            "insert into import_job
                 (tenant_id, id, state, language, key_hash, created_at, updated_at)
             values ($1, $2, 'reading', $3, $4, $5, $5) on conflict do nothing returning ",
            import_columns!()
        ))
        .bind(uuid(self.tenant().as_u128()))
        .bind(uuid(id.as_u128()))
        .bind(language)
        .bind(key_hash)
        .bind(to_sql(now)?)
        .fetch_optional(self.connection())
        .await?;
        if let Some(row) = row {
            return Ok(BeginOutcome::Begun(row.read()?));
        }
        let earlier: Option<ImportRow> = sqlx::query_as(concat!(
            "select ",
            import_columns!(),
            "from import_job where tenant_id = $1 and key_hash = $2 and state <> 'abandoned'"
        ))
        .bind(uuid(self.tenant().as_u128()))
        .bind(key_hash)
        .fetch_optional(self.connection())
        .await?;
        let Some(mut earlier) = earlier else { return Ok(BeginOutcome::AnotherRuns) };
        Ok(match earlier.body_hash.take() {
            None => BeginOutcome::KeyInUse,
            Some(hash) => BeginOutcome::Repeated(earlier.read()?, hash),
        })
    }

    /// All rows have come, in a body of this hash: they may be bound. `None` when somebody has
    /// abandoned the import.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses or is away.
    pub async fn start_import(
        &mut self,
        now: SystemTime,
        import: ImportId,
        body_hash: &[u8],
    ) -> Result<Option<ImportRecord>, StoreError> {
        let row: Option<ImportRow> = sqlx::query_as(concat!(
            "update import_job
             set state = 'running', started_at = $3, updated_at = $3, body_hash = $4
             where tenant_id = $1 and id = $2 and state = 'reading' returning ",
            import_columns!()
        ))
        .bind(uuid(self.tenant().as_u128()))
        .bind(uuid(import.as_u128()))
        .bind(to_sql(now)?)
        .bind(body_hash)
        .fetch_optional(self.connection())
        .await?;
        row.map(ImportRow::read).transpose()
    }

    /// The body broke off, or nothing has come of it since then: its rows are forgotten.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses or is away.
    pub async fn abandon_import(
        &mut self,
        now: SystemTime,
        import: ImportId,
        untouched_since: SystemTime,
    ) -> Result<bool, StoreError> {
        let over = sqlx::query(
            "update import_job set state = 'abandoned', ended_at = $3, updated_at = $3
             where tenant_id = $1 and id = $2 and state = 'reading' and updated_at <= $4",
        )
        .bind(uuid(self.tenant().as_u128()))
        .bind(uuid(import.as_u128()))
        .bind(to_sql(now)?)
        .bind(to_sql(untouched_since)?)
        .execute(self.connection())
        .await?;
        let is_over = over.rows_affected() == 1;
        if is_over {
            self.forget_import_rows(import).await?;
        }
        Ok(is_over)
    }

    /// Stops an import: rows that are not bound yet are forgotten.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses or is away.
    pub async fn cancel_import(
        &mut self,
        now: SystemTime,
        import: ImportId,
    ) -> Result<CancelOutcome, StoreError> {
        let row: Option<ImportRow> = sqlx::query_as(concat!(
            "update import_job set state = 'cancelled', ended_at = $3, updated_at = $3
             where tenant_id = $1 and id = $2 and state = 'running' returning ",
            import_columns!()
        ))
        .bind(uuid(self.tenant().as_u128()))
        .bind(uuid(import.as_u128()))
        .bind(to_sql(now)?)
        .fetch_optional(self.connection())
        .await?;
        if let Some(row) = row {
            self.forget_import_rows(import).await?;
            return Ok(CancelOutcome::Cancelled(row.read()?));
        }
        Ok(match self.find_import(import).await?.map(|import| import.state) {
            None => CancelOutcome::NotFound,
            Some(_) => CancelOutcome::NotRunning,
        })
    }

    /// How far an import has come.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses or is away.
    pub async fn find_import(
        &mut self,
        import: ImportId,
    ) -> Result<Option<ImportRecord>, StoreError> {
        let row: Option<ImportRow> = sqlx::query_as(concat!(
            "select ",
            import_columns!(),
            "from import_job where tenant_id = $1 and id = $2"
        ))
        .bind(uuid(self.tenant().as_u128()))
        .bind(uuid(import.as_u128()))
        .fetch_optional(self.connection())
        .await?;
        row.map(ImportRow::read).transpose()
    }

    /// Imports of this tenant, newest first.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses or is away.
    pub async fn list_imports(
        &mut self,
        page: PageRequest,
    ) -> Result<Page<ImportRecord>, StoreError> {
        let rows: Vec<ImportRow> = sqlx::query_as(concat!(
            "select ",
            import_columns!(),
            "from import_job where tenant_id = $1 and id < $2 order by id desc limit $3"
        ))
        .bind(uuid(self.tenant().as_u128()))
        .bind(page.before())
        .bind(page.fetch())
        .fetch_all(self.connection())
        .await?;
        let records: Result<Vec<_>, _> = rows.into_iter().map(ImportRow::read).collect();
        Ok(page.page(records?, |import| import.id.as_u128()))
    }

    async fn forget_import(&mut self, import: ImportId) -> Result<(), StoreError> {
        sqlx::query(
            "delete from import_job where tenant_id = $1 and id = $2 and ended_at is not null",
        )
        .bind(uuid(self.tenant().as_u128()))
        .bind(uuid(import.as_u128()))
        .execute(self.connection())
        .await?;
        Ok(())
    }
}

impl Store {
    /// Imports whose rows wait to be bound, oldest first, at most [`IMPORTS_DUE_MAX`].
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses or is away.
    pub async fn due_imports(&self) -> Result<Vec<(TenantId, ImportId)>, StoreError> {
        let mut platform = self.platform().await?;
        let due: Vec<(Uuid, Uuid)> = sqlx::query_as(
            "select tenant_id, id from import_job where state = 'running' and ended_at is null
             order by created_at, id limit $1",
        )
        .bind(IMPORTS_DUE_MAX)
        .fetch_all(platform.connection())
        .await?;
        Ok(due.into_iter().map(read_place).collect())
    }

    /// Abandons imports of which nothing has come for [`READING_TIME_MAX`], and forgets those that
    /// were over [`IMPORT_KEEP_TIME`] ago; at most [`IMPORTS_DUE_MAX`] of each. Says how many were
    /// abandoned.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses or is away.
    pub async fn sweep_imports(&self, now: SystemTime) -> Result<usize, StoreError> {
        let untouched_since = now - READING_TIME_MAX;
        let mut platform = self.platform().await?;
        let stale: Vec<(Uuid, Uuid)> = sqlx::query_as(
            "select tenant_id, id from import_job
             where state = 'reading' and ended_at is null and updated_at <= $1
             order by created_at, id limit $2",
        )
        .bind(to_sql(untouched_since)?)
        .bind(IMPORTS_DUE_MAX)
        .fetch_all(platform.connection())
        .await?;
        let old: Vec<(Uuid, Uuid)> = sqlx::query_as(
            "select tenant_id, id from import_job where ended_at <= $1 order by ended_at limit $2",
        )
        .bind(to_sql(now - IMPORT_KEEP_TIME)?)
        .bind(IMPORTS_DUE_MAX)
        .fetch_all(platform.connection())
        .await?;
        drop(platform);
        let mut abandoned = 0;
        for (tenant, import) in stale.into_iter().map(read_place) {
            let mut tx = self.tenant(tenant).await?;
            abandoned += usize::from(tx.abandon_import(now, import, untouched_since).await?);
            tx.commit().await?;
        }
        for (tenant, import) in old.into_iter().map(read_place) {
            let mut tx = self.tenant(tenant).await?;
            tx.forget_import(import).await?;
            tx.commit().await?;
        }
        Ok(abandoned)
    }
}

fn read_place((tenant, import): (Uuid, Uuid)) -> (TenantId, ImportId) {
    (TenantId::from_u128(tenant.as_u128()), ImportId::from_u128(import.as_u128()))
}
