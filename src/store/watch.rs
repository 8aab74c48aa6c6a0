//! Hears of changes that other nodes made to routes: by NOTIFY, and by a version that is polled in
//! case a notification was lost.

use std::str::FromStr;
use std::sync::LazyLock;

use sqlx::postgres::{PgListener, PgNotification};

use super::error::StoreError;
use super::{ROUTES_CHANNEL, RelayPool, RouteTable};
use crate::vault::random_u128;

/// This process among the nodes, so that it knows its own notifications.
static NODE: LazyLock<String> = LazyLock::new(|| {
    // Without randomness all nodes are strangers to themselves: they forget more than they must.
    random_u128().map_or_else(|_| String::new(), |node| format!("{node:032x}"))
});

/// The word by which this process signs its notifications.
pub(super) fn node() -> &'static str {
    &NODE
}

/// A listening connection.
#[derive(Debug)]
pub struct RouteWatch {
    listener: PgListener,
    seen: i64,
    polled: i64,
}

/// What was heard.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Heard {
    /// A change of this process: it knows already.
    Own,
    /// Another node changed this table.
    Change(RouteTable),
    /// Something was changed, and nobody knows what.
    Unknown,
}

impl RouteWatch {
    /// Listens. What changed before this is not heard of: forget everything first.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when there is no connection.
    pub async fn connect(relay: &RelayPool) -> Result<Self, StoreError> {
        let mut listener = PgListener::connect_with(&relay.0).await?;
        listener.listen(ROUTES_CHANNEL).await?;
        let version = version(&mut listener).await?;
        Ok(Self { listener, seen: version, polled: version })
    }

    /// Waits for the next notification. May be dropped while it waits.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the connection broke: connect anew, and forget everything.
    pub async fn next(&mut self) -> Result<Heard, StoreError> {
        match self.listener.try_recv().await? {
            Some(notification) => Ok(self.hear(&notification)),
            None => Err(sqlx::Error::WorkerCrashed.into()),
        }
    }

    /// Asks for the version, and returns what had arrived by then. A version of the last poll that
    /// was never notified of counts as unknown.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the connection broke: connect anew, and forget everything.
    pub async fn poll(&mut self) -> Result<Vec<Heard>, StoreError> {
        let version = version(&mut self.listener).await?;
        let mut heard = Vec::new();
        while let Some(notification) = self.listener.next_buffered() {
            heard.push(self.hear(&notification));
        }
        if self.polled > self.seen {
            // A transaction that took a version and was undone looks the same; so be it.
            self.seen = self.polled;
            heard.push(Heard::Unknown);
        }
        self.polled = version;
        Ok(heard)
    }

    fn hear(&mut self, notification: &PgNotification) -> Heard {
        let mut words = notification.payload().split(' ');
        let table = words.next().and_then(RouteTable::find_label);
        let version = words.next().map(i64::from_str);
        if let Some(Ok(version)) = version {
            self.seen = self.seen.max(version);
        }
        let own = words.next().is_some_and(|node| !node.is_empty() && node == *NODE);
        match (table, own) {
            (_, true) => Heard::Own,
            (Some(table), false) => Heard::Change(table),
            (None, false) => Heard::Unknown,
        }
    }
}

async fn version(listener: &mut PgListener) -> Result<i64, StoreError> {
    let (version,) =
        sqlx::query_as("select last_value from route_version").fetch_one(listener).await?;
    Ok(version)
}
