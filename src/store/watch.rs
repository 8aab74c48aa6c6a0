//! Hears of changes that other nodes made to routes: by NOTIFY, and by a version that is polled in
//! case a notification was lost.

use sqlx::postgres::{PgListener, PgNotification};
use uuid::Uuid;

use super::binding::CallsUp;
use super::convert::uuid;
use super::error::StoreError;
use super::notice::{EndedBinding, Node, Notice};
use super::{ROUTES_CHANNEL, RelayPool, RouteTable};
use crate::domain::cause::Cause;
use crate::domain::id::{BindingId, TenantId};

/// A listening connection.
#[derive(Debug)]
pub struct RouteWatch {
    listener: PgListener,
    node: Node,
    seen: i64,
    polled: i64,
}

/// What was heard.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Heard {
    /// A change of this node: it knows already.
    Own,
    /// Another node changed this table.
    Change(RouteTable),
    /// Another node ended this binding.
    Ended(EndedBinding),
    /// What is known of this binding has changed, on whichever node.
    Binding(BindingId),
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
        Ok(Self { listener, node: relay.1.clone(), seen: version, polled: version })
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
        let notice = Notice::read(notification.payload());
        self.seen = self.seen.max(notice.version.unwrap_or(0));
        match notice {
            Notice { node, .. } if self.node.is(node) => Heard::Own,
            Notice { table: Some(RouteTable::Binding), ended: Some(ended), .. } => {
                Heard::Ended(ended)
            }
            Notice { changed: Some(binding), .. } => Heard::Binding(binding),
            Notice { table: Some(table), .. } => Heard::Change(table),
            Notice { table: None, .. } => Heard::Unknown,
        }
    }
}

impl RelayPool {
    /// Which of these bindings may not be used any more, and whether their calls were to end: for
    /// whoever did not hear of it.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the database does not answer.
    pub async fn find_ended(
        &self,
        bindings: &[(TenantId, BindingId)],
    ) -> Result<Vec<EndedBinding>, StoreError> {
        let (tenants, ids): (Vec<Uuid>, Vec<Uuid>) = bindings
            .iter()
            .map(|(tenant, id)| (uuid(tenant.as_u128()), uuid(id.as_u128())))
            .unzip();
        let rows: Vec<(Uuid, bool, bool)> = sqlx::query_as(
            "select b.id, b.ended_at is null, b.drop_calls
             from unnest($1::uuid[], $2::uuid[]) as live (tenant_id, id)
             join binding b on b.tenant_id = live.tenant_id and b.id = live.id
             where b.ended_at is not null or b.state = 'suspended'",
        )
        .bind(tenants)
        .bind(ids)
        .fetch_all(&self.0)
        .await?;
        let ended = |(id, suspended, drop_calls): (Uuid, bool, bool)| EndedBinding {
            binding: BindingId::from_u128(id.as_u128()),
            cause: if suspended { Cause::BindingSuspended } else { Cause::BindingExpired },
            calls: if drop_calls { CallsUp::End } else { CallsUp::GoOn },
        };
        Ok(rows.into_iter().map(ended).collect())
    }
}

async fn version(listener: &mut PgListener) -> Result<i64, StoreError> {
    let (version,) =
        sqlx::query_as("select last_value from route_version").fetch_one(listener).await?;
    Ok(version)
}
