//! Rows of imports: they lie here sealed until they are bound. What becomes of a chunk of rows is
//! written in the transaction that binds them, so that a crash at any moment neither loses a row
//! nor binds it twice.

use std::time::SystemTime;

use serde_json::Value;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::TenantTx;
use super::convert::{to_sql, uuid};
use super::error::StoreError;
use crate::domain::id::ImportId;
use crate::vault::random_u128;

/// The most rows of one import.
pub const IMPORT_ROWS_MAX: u32 = 1_000_000;
/// The most problems of one page.
pub const PROBLEMS_PAGE_MAX: i64 = 1_000;

/// Rows that are to be bound next, still sealed.
pub struct ImportChunk {
    id: Uuid,
    /// The number of its first row; rows count from 1.
    pub first_row: u32,
    /// How many there are.
    pub count: u32,
    /// The language of their problems: `zh-CN` or `en`.
    pub language: String,
    sealed: Vec<u8>,
}

/// What became of the rows of a chunk.
#[derive(Clone, Debug, Default)]
pub struct ChunkDone {
    /// New bindings.
    pub made: u32,
    /// Rows whose binding there was.
    pub existing: u32,
    /// The other rows, by their number, with what the tenant is told.
    pub problems: Vec<(u32, Value)>,
}

impl TenantTx {
    /// Keeps `count` more rows, sealed. False when the import takes none any more: somebody has
    /// abandoned it, or there are [`IMPORT_ROWS_MAX`].
    ///
    /// # Errors
    /// [`StoreError`] when the database or the vault fails.
    pub async fn add_import_rows(
        &mut self,
        now: SystemTime,
        import: ImportId,
        count: u32,
        rows: &[u8],
    ) -> Result<bool, StoreError> {
        let id = uuid(random_u128()?);
        let facts = self.facts().await?;
        let sealed = facts.keys.seal_import_rows(id.as_u128(), rows)?;
        let count = whole(count);
        let tenant = uuid(self.tenant().as_u128());
        let read: Option<i32> = sqlx::query_scalar(
            "update import_job set rows_read = rows_read + $3, updated_at = $4
             where tenant_id = $1 and id = $2 and state = 'reading' and rows_read <= $5 - $3
             returning rows_read",
        )
        .bind(tenant)
        .bind(uuid(import.as_u128()))
        .bind(count)
        .bind(to_sql(now)?)
        .bind(whole(IMPORT_ROWS_MAX))
        .fetch_optional(self.connection())
        .await?;
        let Some(read) = read else { return Ok(false) };
        sqlx::query(
            "insert into import_chunk (tenant_id, id, job_id, first_row, row_count, rows_sealed)
             values ($1, $2, $3, $4, $5, $6)",
        )
        .bind(tenant)
        .bind(id)
        .bind(uuid(import.as_u128()))
        .bind(read - count + 1)
        .bind(count)
        .bind(sealed)
        .execute(self.connection())
        .await?;
        Ok(true)
    }

    /// The rows that are to be bound next, which no other node takes before this transaction ends;
    /// none while another node has them, and none when all are bound: the import is done then.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses or is away.
    pub async fn take_import_chunk(
        &mut self,
        now: SystemTime,
        import: ImportId,
    ) -> Result<Option<ImportChunk>, StoreError> {
        let tenant = uuid(self.tenant().as_u128());
        // One node at a time goes on with an import: its rows are bound in their order. Its own row
        // is not held, so that it can be cancelled meanwhile.
        let is_mine: bool = sqlx::query_scalar(
            "select pg_try_advisory_xact_lock(hashtextextended('import ' || $1::text, 0))",
        )
        .bind(uuid(import.as_u128()))
        .fetch_one(self.connection())
        .await?;
        if !is_mine {
            return Ok(None);
        }
        let running: Option<String> = sqlx::query_scalar(
            "select language from import_job
             where tenant_id = $1 and id = $2 and state = 'running'",
        )
        .bind(tenant)
        .bind(uuid(import.as_u128()))
        .fetch_optional(self.connection())
        .await?;
        let Some(language) = running else { return Ok(None) };
        let next: Option<(Uuid, i32, i32, Vec<u8>)> = sqlx::query_as(
            "select id, first_row, row_count, rows_sealed from import_chunk
             where tenant_id = $1 and job_id = $2 order by first_row limit 1",
        )
        .bind(tenant)
        .bind(uuid(import.as_u128()))
        .fetch_optional(self.connection())
        .await?;
        let Some((id, first_row, count, sealed)) = next else {
            self.end_import(now, import).await?;
            return Ok(None);
        };
        let (first_row, count) = (first_row.unsigned_abs(), count.unsigned_abs());
        Ok(Some(ImportChunk { id, first_row, count, language, sealed }))
    }

    async fn end_import(&mut self, now: SystemTime, import: ImportId) -> Result<(), StoreError> {
        sqlx::query(
            "update import_job set state = 'done', ended_at = $3, updated_at = $3
             where tenant_id = $1 and id = $2 and state = 'running'",
        )
        .bind(uuid(self.tenant().as_u128()))
        .bind(uuid(import.as_u128()))
        .bind(to_sql(now)?)
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// What was given to [`TenantTx::add_import_rows`].
    ///
    /// # Errors
    /// [`StoreError`] when the database or the vault fails, or the rows are not of this chunk.
    pub async fn open_import_chunk(
        &mut self,
        chunk: &ImportChunk,
    ) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let facts = self.facts().await?;
        Ok(facts.keys.open_import_rows(chunk.id.as_u128(), &chunk.sealed)?)
    }

    /// Writes down what became of a chunk, and forgets its rows. To be called in the transaction
    /// that has bound them, of which nothing may be committed when this says false: the import was
    /// cancelled meanwhile.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses or is away.
    pub async fn finish_import_chunk(
        &mut self,
        now: SystemTime,
        import: ImportId,
        chunk: &ImportChunk,
        done: ChunkDone,
    ) -> Result<bool, StoreError> {
        let tenant = uuid(self.tenant().as_u128());
        let failed = u32::try_from(done.problems.len()).map_or(i32::MAX, whole);
        let (numbers, problems): (Vec<i32>, Vec<Value>) =
            done.problems.into_iter().map(|(row, problem)| (whole(row), problem)).unzip();
        // First of all: a cancel holds this row while it forgets those of the chunks.
        let counted = sqlx::query(
            "update import_job set rows_made = rows_made + $3, rows_existing = rows_existing + $4,
                 rows_failed = rows_failed + $5, updated_at = $6
             where tenant_id = $1 and id = $2 and state = 'running'",
        )
        .bind(tenant)
        .bind(uuid(import.as_u128()))
        .bind(whole(done.made))
        .bind(whole(done.existing))
        .bind(failed)
        .bind(to_sql(now)?)
        .execute(self.connection())
        .await?;
        let forgotten = sqlx::query("delete from import_chunk where tenant_id = $1 and id = $2")
            .bind(tenant)
            .bind(chunk.id)
            .execute(self.connection())
            .await?;
        if counted.rows_affected() == 0 || forgotten.rows_affected() == 0 {
            return Ok(false);
        }
        sqlx::query(
            "insert into import_problem (tenant_id, job_id, row_number, problem)
             select $1, $2, new.row_number, new.problem
             from unnest($3::integer[], $4::jsonb[]) as new (row_number, problem)",
        )
        .bind(tenant)
        .bind(uuid(import.as_u128()))
        .bind(numbers)
        .bind(problems)
        .execute(self.connection())
        .await?;
        Ok(true)
    }

    /// Rows that were not bound are not kept.
    pub(super) async fn forget_import_rows(&mut self, import: ImportId) -> Result<(), StoreError> {
        sqlx::query("delete from import_chunk where tenant_id = $1 and job_id = $2")
            .bind(uuid(self.tenant().as_u128()))
            .bind(uuid(import.as_u128()))
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// The problems of rows after this one, at most [`PROBLEMS_PAGE_MAX`], in their order.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses or is away.
    pub async fn list_import_problems(
        &mut self,
        import: ImportId,
        after: u32,
    ) -> Result<Vec<(u32, Value)>, StoreError> {
        let rows: Vec<(i32, Value)> = sqlx::query_as(
            "select row_number, problem from import_problem
             where tenant_id = $1 and job_id = $2 and row_number > $3 order by row_number limit $4",
        )
        .bind(uuid(self.tenant().as_u128()))
        .bind(uuid(import.as_u128()))
        .bind(whole(after))
        .bind(PROBLEMS_PAGE_MAX)
        .fetch_all(self.connection())
        .await?;
        Ok(rows.into_iter().map(|(row, problem)| (row.unsigned_abs(), problem)).collect())
    }
}

/// As the database counts: no import comes near the end of it.
fn whole(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
