//! What the server says of itself, for `maskline doctor`.

use std::time::SystemTime;

use super::convert::from_sql;
use super::{RelayPool, StoreError};

/// A database server as it introduces itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerFacts {
    /// Such as `15.13`.
    pub version: String,
    /// What its clock shows.
    pub now: SystemTime,
}

impl RelayPool {
    /// Asks the server about itself.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when it does not answer.
    pub async fn server_facts(&self) -> Result<ServerFacts, StoreError> {
        let (version, now): (String, jiff_sqlx::Timestamp) =
            sqlx::query_as("select current_setting('server_version'), clock_timestamp()")
                .fetch_one(&self.0)
                .await?;
        Ok(ServerFacts { version, now: from_sql(now) })
    }
}
