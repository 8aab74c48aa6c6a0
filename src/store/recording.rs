//! Recordings: what is on the disk, links that fetch one of them once, and their end.

use std::time::{Duration, SystemTime};

use jiff_sqlx::Timestamp;
use serde_json::json;
use sqlx::{FromRow, Postgres, Transaction};
use uuid::Uuid;

use super::audit::{self, Deed};
use super::convert::{from_sql, label, to_sql, unix_ms, uuid};
use super::page::{Page, PageRequest};
use super::{RelayPool, Store, StoreError};
use crate::domain::id::{CallId, RecordingId, TenantId};
use crate::domain::recording::Retention;
use crate::vault::{SealedTenantKeys, SecretKey, TenantKeys, Vault};

/// How long a link can be used.
pub const LINK_TIME: Duration = Duration::from_secs(15 * 60);
/// The most recordings that one sweep erases.
pub const ERASE_MAX: i64 = 500;

/// A recording as the store knows it.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct Recording {
    pub tenant: TenantId,
    pub id: RecordingId,
    pub call: CallId,
    pub retention: Retention,
    pub started_at: SystemTime,
    pub duration: Duration,
    pub bytes: u64,
    /// Of the caller and of the callee.
    pub frames: [u64; 2],
    pub lost: u64,
    pub complete: bool,
    pub sha256: [u8; 32],
    pub retain_until: SystemTime,
    pub erased_at: Option<SystemTime>,
}

#[derive(FromRow)]
struct Row {
    tenant_id: Uuid,
    id: Uuid,
    call_id: Uuid,
    retention: String,
    started_at: Timestamp,
    duration_ms: i64,
    bytes: i64,
    frames_caller: i64,
    frames_callee: i64,
    frames_lost: i64,
    complete: bool,
    sha256: Vec<u8>,
    retain_until: Timestamp,
    erased_at: Option<Timestamp>,
}

const COLUMNS_UNREADABLE: StoreError = StoreError::Unreadable { column: "recording.sha256" };

impl TryFrom<Row> for Recording {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            tenant: TenantId::from_u128(row.tenant_id.as_u128()),
            id: RecordingId::from_u128(row.id.as_u128()),
            call: CallId::from_u128(row.call_id.as_u128()),
            retention: label("recording.retention", &row.retention, Retention::find_label)?,
            started_at: from_sql(row.started_at),
            duration: Duration::from_millis(row.duration_ms.unsigned_abs()),
            bytes: row.bytes.unsigned_abs(),
            frames: [row.frames_caller.unsigned_abs(), row.frames_callee.unsigned_abs()],
            lost: row.frames_lost.unsigned_abs(),
            complete: row.complete,
            sha256: row.sha256.try_into().map_err(|_| COLUMNS_UNREADABLE)?,
            retain_until: from_sql(row.retain_until),
            erased_at: row.erased_at.map(from_sql),
        })
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl RelayPool {
    /// Writes down a recording that is on the disk. False when it was written down before.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    pub async fn insert_recording(
        &self,
        recording: &Recording,
        now: SystemTime,
    ) -> Result<bool, StoreError> {
        let inserted = sqlx::query(
            "insert into recording (tenant_id, id, call_id, retention, started_at, duration_ms,
                 bytes, frames_caller, frames_callee, frames_lost, complete, sha256, retain_until,
                 created_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
             on conflict on constraint recording_pkey do nothing",
        )
        .bind(uuid(recording.tenant.as_u128()))
        .bind(uuid(recording.id.as_u128()))
        .bind(uuid(recording.call.as_u128()))
        .bind(recording.retention.label())
        .bind(to_sql(recording.started_at)?)
        .bind(i64::try_from(recording.duration.as_millis()).unwrap_or(i64::MAX))
        .bind(signed(recording.bytes))
        .bind(signed(recording.frames[0]))
        .bind(signed(recording.frames[1]))
        .bind(signed(recording.lost))
        .bind(recording.complete)
        .bind(recording.sha256.as_slice())
        .bind(to_sql(recording.retain_until)?)
        .bind(to_sql(now)?)
        .execute(&self.0)
        .await?;
        Ok(inserted.rows_affected() == 1)
    }

    /// Recordings whose time is over, oldest first, at most [`ERASE_MAX`].
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    pub async fn due_recordings(&self, now: SystemTime) -> Result<Vec<Recording>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(
            "select * from recording
             where erased_at is null and not held and retain_until <= $1
             order by retain_until limit $2",
        )
        .bind(to_sql(now)?)
        .bind(ERASE_MAX)
        .fetch_all(&self.0)
        .await?;
        rows.into_iter().map(Recording::try_from).collect()
    }

    /// Writes down that a recording is gone, and keeps its row from everybody else until its file
    /// is. `None` when it was held or written down in between.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    pub async fn begin_erasure(
        &self,
        recording: &Recording,
        now: SystemTime,
    ) -> Result<Option<Erasure>, StoreError> {
        let mut tx = self.0.begin().await?;
        let erased = sqlx::query(
            "update recording set erased_at = $3
             where tenant_id = $1 and id = $2 and erased_at is null and not held",
        )
        .bind(uuid(recording.tenant.as_u128()))
        .bind(uuid(recording.id.as_u128()))
        .bind(to_sql(now)?)
        .execute(&mut *tx)
        .await?;
        if erased.rows_affected() == 0 {
            return Ok(None);
        }
        let deed = Deed {
            tenant: recording.tenant,
            actor: "relay",
            action: "recording.erased",
            subject: recording.id.as_u128(),
            details: json!({ "retention": recording.retention.label() }),
        };
        audit::write(&mut tx, now, deed).await?;
        Ok(Some(Erasure(tx)))
    }

    /// A tenant's keys, to wrap the key of a recording.
    ///
    /// # Errors
    /// [`StoreError`] when there is no such tenant, or the database is away.
    pub async fn tenant_keys(
        &self,
        vault: &Vault,
        tenant: TenantId,
    ) -> Result<std::sync::Arc<TenantKeys>, StoreError> {
        let (wrapping, lookup): (Vec<u8>, Vec<u8>) = sqlx::query_as(
            "select wrapping_key_sealed, lookup_key_sealed from tenant where id = $1",
        )
        .bind(uuid(tenant.as_u128()))
        .fetch_one(&self.0)
        .await?;
        Ok(vault.open_tenant(tenant, &SealedTenantKeys { wrapping, lookup })?)
    }
}

/// A recording that nobody can hold any more, and whose file is to be removed now. Without
/// [`Self::finish`] its row stays as it was.
#[must_use = "nothing is written down until it is finished"]
pub struct Erasure(Transaction<'static, Postgres>);

impl Erasure {
    /// The file is gone.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away; the row is found due again then.
    pub async fn finish(self) -> Result<(), StoreError> {
        Ok(self.0.commit().await?)
    }
}

impl Store {
    /// A tenant's recordings, newest first; of one call, if it is named.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    pub async fn list_recordings(
        &self,
        tenant: TenantId,
        call: Option<CallId>,
        page: PageRequest,
    ) -> Result<Page<Recording>, StoreError> {
        let mut tx = self.tenant(tenant).await?;
        tx.plan_for_values().await?;
        let rows: Vec<Row> = sqlx::query_as(
            "select * from recording where tenant_id = $1 and id < $2
                 and ($3::uuid is null or call_id = $3) order by id desc limit $4",
        )
        .bind(uuid(tenant.as_u128()))
        .bind(page.before())
        .bind(call.map(|call| uuid(call.as_u128())))
        .bind(page.fetch())
        .fetch_all(tx.connection())
        .await?;
        let found = rows.into_iter().map(Recording::try_from).collect::<Result<_, _>>()?;
        Ok(page.page(found, |recording: &Recording| recording.id.as_u128()))
    }

    /// Keeps the hash of a link's token; answers with the end of its time, or `None` when there is
    /// no such recording of this tenant any more. Who asked is written down with it.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    pub async fn link_recording(
        &self,
        tenant: TenantId,
        id: RecordingId,
        token_hash: &[u8; 32],
        actor: &str,
        now: SystemTime,
    ) -> Result<Option<SystemTime>, StoreError> {
        let mut tx = self.tenant(tenant).await?;
        let expires_at = now + LINK_TIME;
        let linked = sqlx::query(
            "insert into recording_link (tenant_id, token_hash, recording_id, actor, created_at,
                 expires_at)
             select tenant_id, $3, id, $4, $5, $6 from recording
             where tenant_id = $1 and id = $2 and erased_at is null",
        )
        .bind(uuid(tenant.as_u128()))
        .bind(uuid(id.as_u128()))
        .bind(token_hash.as_slice())
        .bind(actor)
        .bind(to_sql(now)?)
        .bind(to_sql(expires_at)?)
        .execute(tx.connection())
        .await?;
        if linked.rows_affected() == 0 {
            return Ok(None);
        }
        let deed = Deed {
            tenant,
            actor,
            action: "recording.linked",
            subject: id.as_u128(),
            details: json!({ "expires_at_ms": unix_ms(expires_at) }),
        };
        audit::write(tx.connection(), now, deed).await?;
        tx.commit().await?;
        Ok(Some(expires_at))
    }

    /// The recording that a link leads to, and leaves the link as it is. `None` when it is unknown,
    /// used, or too old, or its recording is gone.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    pub async fn find_linked_recording(
        &self,
        token_hash: &[u8; 32],
        now: SystemTime,
    ) -> Result<Option<Recording>, StoreError> {
        let mut tx = self.platform().await?;
        let row: Option<Row> = sqlx::query_as(
            "select recording.* from recording_link link
             join recording on recording.tenant_id = link.tenant_id
                 and recording.id = link.recording_id
             where link.token_hash = $1 and link.used_at is null and link.expires_at > $2
                 and recording.erased_at is null",
        )
        .bind(token_hash.as_slice())
        .bind(to_sql(now)?)
        .fetch_optional(tx.connection())
        .await?;
        row.map(Recording::try_from).transpose()
    }

    /// Uses a link up, and writes down that it was. False when it is unknown, used, or too old, or
    /// its recording is gone.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away; the link may be used up then.
    pub async fn use_recording_link(
        &self,
        token_hash: &[u8; 32],
        now: SystemTime,
    ) -> Result<bool, StoreError> {
        let mut tx = self.platform().await?;
        let used: Option<(Uuid, Uuid, String)> = sqlx::query_as(
            "update recording_link link set used_at = $2 from recording
             where link.token_hash = $1 and link.used_at is null and link.expires_at > $2
                 and recording.tenant_id = link.tenant_id and recording.id = link.recording_id
                 and recording.erased_at is null
             returning link.tenant_id, link.recording_id, link.actor",
        )
        .bind(token_hash.as_slice())
        .bind(to_sql(now)?)
        .fetch_optional(tx.connection())
        .await?;
        let Some((tenant, recording, actor)) = used else { return Ok(false) };
        let deed = Deed {
            tenant: TenantId::from_u128(tenant.as_u128()),
            actor: &actor,
            action: "recording.fetched",
            subject: recording.as_u128(),
            details: json!({}),
        };
        audit::write(tx.connection(), now, deed).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Writes down that the file of a recording was not given out, and `why`: once in the time of a
    /// link, however often it is tried.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    pub async fn note_unfit_recording(
        &self,
        token_hash: &[u8; 32],
        why: &'static str,
        now: SystemTime,
    ) -> Result<(), StoreError> {
        let mut tx = self.platform().await?;
        let noted_since = now.checked_sub(LINK_TIME).unwrap_or(SystemTime::UNIX_EPOCH);
        let link: Option<(Uuid, Uuid, String)> = sqlx::query_as(
            "select tenant_id, recording_id, actor from recording_link link
             where token_hash = $1 and not exists (
                 select from audit_entry noted
                 where noted.tenant_id = link.tenant_id and noted.subject_id = link.recording_id
                     and noted.action = 'recording.unfit' and noted.actor = link.actor
                     and noted.at > $2)
             for update",
        )
        .bind(token_hash.as_slice())
        .bind(to_sql(noted_since)?)
        .fetch_optional(tx.connection())
        .await?;
        let Some((tenant, recording, actor)) = link else { return Ok(()) };
        let deed = Deed {
            tenant: TenantId::from_u128(tenant.as_u128()),
            actor: &actor,
            action: "recording.unfit",
            subject: recording.as_u128(),
            details: json!({ "why": why }),
        };
        audit::write(tx.connection(), now, deed).await?;
        tx.commit().await
    }

    /// Opens the key of a recording.
    ///
    /// # Errors
    /// [`StoreError`] when it is not this recording's key, or the database is away.
    pub async fn open_recording_key(
        &self,
        tenant: TenantId,
        id: RecordingId,
        wrapped: &[u8],
    ) -> Result<SecretKey, StoreError> {
        let keys = self.tenant(tenant).await?.facts().await?.keys;
        Ok(keys.open_recording_key(id, wrapped)?)
    }
}
