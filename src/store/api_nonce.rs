//! Words that signed requests have used up, shared by all nodes: each is taken once.

use std::time::{Duration, SystemTime};

use super::convert::{to_sql, uuid};
use super::{Store, StoreError};
use crate::domain::id::ApiKeyId;

impl Store {
    /// Uses a word of a key up for so long. False when it is used up already, by whichever node.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses or is away: then nobody knows, and the request must
    /// not be taken.
    pub async fn use_nonce(
        &self,
        key: ApiKeyId,
        nonce_hash: [u8; 16],
        now: SystemTime,
        keep: Duration,
    ) -> Result<bool, StoreError> {
        let mut tx = self.platform().await?;
        let used = sqlx::query(
            "insert into api_nonce (key_id, nonce_hash, expires_at) values ($1, $2, $3)
             on conflict on constraint api_nonce_pkey do nothing",
        )
        .bind(uuid(key.as_u128()))
        .bind(nonce_hash.as_slice())
        .bind(to_sql(now + keep)?)
        .execute(tx.connection())
        .await?;
        tx.commit().await?;
        Ok(used.rows_affected() == 1)
    }

    /// Forgets words of requests that are too old to be taken anyway; a job runs this now and then.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    pub async fn sweep_nonces(&self, now: SystemTime) -> Result<u64, StoreError> {
        let mut tx = self.platform().await?;
        let swept = sqlx::query("delete from api_nonce where expires_at <= $1")
            .bind(to_sql(now)?)
            .execute(tx.connection())
            .await?
            .rows_affected();
        tx.commit().await?;
        Ok(swept)
    }
}
