//! The clock of a test tenant. It is advanced by drawing everything that lies ahead of the tenant's
//! things nearer, so that nothing that looks at the time has to know of it.

use std::time::Duration;

use super::convert::uuid;
use super::{RouteTable, StoreError, TenantTx};

/// What has come nearer.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Advanced {
    /// Bindings that are not over.
    pub bindings: u64,
    /// Intents that wait.
    pub intents: u64,
    /// Purposes that subscribers want no calls for, and pauses.
    pub refusals: u64,
}

const BINDINGS: &str = "update binding
    set starts_at = starts_at - make_interval(secs => $2),
        expires_at = expires_at - make_interval(secs => $2),
        valid_from = valid_from - make_interval(secs => $2),
        policy_ends_at = policy_ends_at - make_interval(secs => $2),
        idle_check_at = idle_check_at - make_interval(secs => $2),
        version = version + 1
    where tenant_id = $1 and ended_at is null";
const INTENTS: &str = "update call_intent
    set created_at = created_at - make_interval(secs => $2),
        expires_at = expires_at - make_interval(secs => $2)
    where tenant_id = $1 and used_at is null and cancelled_at is null";
const REFUSALS: [&str; 2] = [
    "update do_not_call
     set since = since - make_interval(secs => $2), until = until - make_interval(secs => $2)
     where tenant_id = $1",
    "update subscriber_pause
     set since = since - make_interval(secs => $2), until = until - make_interval(secs => $2)
     where tenant_id = $1",
];

impl TenantTx {
    /// Draws nearer what lies ahead; nothing for a tenant that is not there for tests.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses or is away.
    pub async fn advance_clock(&mut self, by: Duration) -> Result<Option<Advanced>, StoreError> {
        let tenant = uuid(self.tenant().as_u128());
        let is_test: bool = sqlx::query_scalar("select is_test from tenant where id = $1")
            .bind(tenant)
            .fetch_one(self.connection())
            .await?;
        if !is_test {
            return Ok(None);
        }
        let bindings = self.draw_nearer(BINDINGS, by).await?;
        let intents = self.draw_nearer(INTENTS, by).await?;
        let mut refusals = 0;
        for statement in REFUSALS {
            refusals += self.draw_nearer(statement, by).await?;
        }
        self.touch_routes(RouteTable::Binding);
        Ok(Some(Advanced { bindings, intents, refusals }))
    }

    async fn draw_nearer(
        &mut self,
        statement: &'static str,
        by: Duration,
    ) -> Result<u64, StoreError> {
        let tenant = uuid(self.tenant().as_u128());
        let drawn = sqlx::query(statement).bind(tenant).bind(by.as_secs_f64());
        Ok(drawn.execute(self.connection()).await?.rows_affected())
    }
}
