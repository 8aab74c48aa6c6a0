//! The rows of an import as they are bound, a chunk at a time: read, judged and told as those of a
//! batch are.

use std::time::SystemTime;

use serde_json::Value;

use super::binding_batch::read_row;
use super::bindings::Asked;
use super::error::{ApiError, Code, Language};
use super::request_id::RequestId;
use crate::domain::id::{ImportId, TenantId};
use crate::store::binding::{BindOutcome, NewBinding};
use crate::store::import_rows::{ChunkDone, ImportChunk};
use crate::store::{Store, StoreError, TenantTx};

/// Binds the next rows of an import in one transaction. False when there is nothing more to do,
/// when another node does it, and when the import was cancelled meanwhile: nothing was bound then.
///
/// # Errors
/// [`StoreError`] when the database is away: nothing was bound, and the rows wait.
pub async fn bind_next(
    store: &Store,
    now: SystemTime,
    tenant: TenantId,
    import: ImportId,
) -> Result<bool, StoreError> {
    let mut tx = store.tenant(tenant).await?;
    let Some(chunk) = tx.take_import_chunk(now, import).await? else {
        tx.commit().await?;
        return Ok(false);
    };
    let done = match bind_chunk(&mut tx, now, import, &chunk).await {
        Ok(done) => done,
        Err(error) if error.is_unavailable() => return Err(error),
        Err(error) => {
            // The import is not held up for ever by rows that nobody can bind.
            tracing::error!(%error, import.id = %import,
                "Rows of {import} cannot be bound: {error}");
            tx.undo().await?;
            return give_back(store, now, tenant, import).await;
        }
    };
    let failed = u32::try_from(done.problems.len()).unwrap_or(u32::MAX);
    let counts = [("made", done.made), ("existing", done.existing), ("failed", failed)];
    if !tx.finish_import_chunk(now, import, &chunk, done).await? {
        tx.undo().await?;
        return Ok(false);
    }
    tx.commit().await?;
    for (result, count) in counts {
        metrics::counter!("maskline_import_rows_total", "result" => result).increment(count.into());
    }
    Ok(true)
}

async fn bind_chunk(
    tx: &mut TenantTx,
    now: SystemTime,
    import: ImportId,
    chunk: &ImportChunk,
) -> Result<ChunkDone, StoreError> {
    let rows = tx.open_import_chunk(chunk).await?;
    let mut news: Vec<NewBinding> = Vec::new();
    let mut checked: Vec<Result<Asked, ApiError>> = Vec::new();
    for text in rows.split(|byte| *byte == b'\n').take(chunk.count as usize) {
        checked.push(read_row(text).map(|(asked, new)| {
            news.push(new);
            asked
        }));
    }
    drop(rows);
    let mut outcomes = Vec::new();
    if !news.is_empty() {
        outcomes = tx.bind_all(now, news).await?;
    }
    let mut outcomes = outcomes.into_iter();
    let language = Language::find_tag(&chunk.language).unwrap_or_default();
    let mut done = ChunkDone::default();
    for (number, asked) in (chunk.first_row..).zip(checked) {
        let told = asked.and_then(|asked| {
            // The store answers every row.
            let outcome = outcomes.next().ok_or(ApiError::new(Code::Internal))??;
            let is_new = matches!(outcome, BindOutcome::Created(_));
            asked.told(outcome).map(|_| is_new)
        });
        match told {
            Ok(true) => done.made += 1,
            Ok(false) => done.existing += 1,
            Err(error) => done.problems.push((number, written(&error, import, language))),
        }
    }
    Ok(done)
}

/// The rows get a problem that says that they may be sent again.
async fn give_back(
    store: &Store,
    now: SystemTime,
    tenant: TenantId,
    import: ImportId,
) -> Result<bool, StoreError> {
    let mut tx = store.tenant(tenant).await?;
    let Some(chunk) = tx.take_import_chunk(now, import).await? else { return Ok(false) };
    let language = Language::find_tag(&chunk.language).unwrap_or_default();
    let problem = written(&ApiError::new(Code::Internal), import, language);
    let numbers = (chunk.first_row..).take(chunk.count as usize);
    let problems = numbers.map(|number| (number, problem.clone())).collect();
    let done = ChunkDone { problems, ..ChunkDone::default() };
    if !tx.finish_import_chunk(now, import, &chunk, done).await? {
        tx.undo().await?;
        return Ok(false);
    }
    tx.commit().await?;
    metrics::counter!("maskline_import_rows_total", "result" => "failed")
        .increment(chunk.count.into());
    Ok(true)
}

fn written(error: &ApiError, import: ImportId, language: Language) -> Value {
    let problem = error.problem(&RequestId::of_import(import), language);
    serde_json::to_value(problem).unwrap_or_default()
}
