//! The softphones of agents: user names of ours, and what is kept of their passwords.

use std::time::SystemTime;

use sqlx::FromRow;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::convert::{to_sql, uuid};
use super::{RelayPool, RouteTable, Store, StoreError};
use crate::domain::id::{AgentId, TenantId};
use crate::vault::{Cell, Column, Vault};

/// The agent of a user name, with what is kept of the password. `Debug` shows no secret.
pub struct AgentLogin {
    /// Whose agent.
    pub tenant: TenantId,
    /// Who.
    pub agent: AgentId,
    /// What is kept of the password.
    pub secret: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for AgentLogin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AgentLogin({})", self.agent)
    }
}

#[derive(FromRow)]
struct Row {
    tenant_id: Uuid,
    agent_id: Uuid,
    secret_sealed: Vec<u8>,
}

impl RelayPool {
    /// The active agent of a user name, of an active tenant.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away, or the secret does not open.
    pub async fn find_agent_login(
        &self,
        vault: &Vault,
        username: &str,
    ) -> Result<Option<AgentLogin>, StoreError> {
        let row: Option<Row> = sqlx::query_as(
            "select l.tenant_id, l.agent_id, l.secret_sealed from agent_login l
             join agent a on a.tenant_id = l.tenant_id and a.id = l.agent_id
             join tenant t on t.id = l.tenant_id
             where l.username = $1 and a.deleted_at is null and a.state = 'active'
                 and t.state = 'active'",
        )
        .bind(username)
        .fetch_optional(&self.0)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let tenant = TenantId::from_u128(row.tenant_id.as_u128());
        let agent = AgentId::from_u128(row.agent_id.as_u128());
        let cell = Cell::of_agent(tenant, agent, Column::AgentLogin);
        let secret = vault.open_sip_secret(&cell, &row.secret_sealed)?;
        Ok(Some(AgentLogin { tenant, agent, secret }))
    }
}

impl Store {
    /// Gives an agent's softphone a new login; the old one ends at once. False when there is no
    /// such agent.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away or the vault fails.
    pub async fn set_agent_login(
        &self,
        tenant: TenantId,
        agent: AgentId,
        username: &str,
        secret: &[u8],
        now: SystemTime,
    ) -> Result<bool, StoreError> {
        let cell = Cell::of_agent(tenant, agent, Column::AgentLogin);
        let sealed = self.vault().seal_sip_secret(&cell, secret)?;
        let mut tx = self.tenant(tenant).await?;
        if tx.find_agent(agent).await?.is_none() {
            return Ok(false);
        }
        sqlx::query(
            "insert into agent_login (tenant_id, agent_id, username, secret_sealed, created_at)
             values ($1, $2, $3, $4, $5)
             on conflict on constraint agent_login_pkey do update set
                 username = excluded.username, secret_sealed = excluded.secret_sealed,
                 created_at = excluded.created_at",
        )
        .bind(uuid(tenant.as_u128()))
        .bind(uuid(agent.as_u128()))
        .bind(username)
        .bind(sealed)
        .bind(to_sql(now)?)
        .execute(tx.connection())
        .await?;
        tx.touch_routes(RouteTable::Agent);
        tx.commit().await?;
        Ok(true)
    }

    /// Shuts an agent's softphone out; false when it had no login.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    pub async fn clear_agent_login(
        &self,
        tenant: TenantId,
        agent: AgentId,
    ) -> Result<bool, StoreError> {
        let mut tx = self.tenant(tenant).await?;
        let cleared = sqlx::query("delete from agent_login where tenant_id = $1 and agent_id = $2")
            .bind(uuid(tenant.as_u128()))
            .bind(uuid(agent.as_u128()))
            .execute(tx.connection())
            .await?
            .rows_affected();
        tx.touch_routes(RouteTable::Agent);
        tx.commit().await?;
        Ok(cleared > 0)
    }
}
