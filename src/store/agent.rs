//! Agents of a tenant and the calling extensions by which its PBX names them.

use std::time::SystemTime;

use jiff_sqlx::Timestamp;
use sqlx::FromRow;
use uuid::Uuid;

use super::convert::{from_sql, label, to_sql, uuid};
use super::page::{Page, PageRequest};
use super::{RouteTable, Store, StoreError, TenantTx};
use crate::domain::id::{AgentId, TenantId};
use crate::domain::purpose::Purpose;

/// An agent.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of the tables")]
pub struct Agent {
    pub id: AgentId,
    pub employee_id: String,
    pub name: String,
    pub licence: Option<String>,
    pub caller_numbers: Vec<String>,
    pub filing: String,
    pub state: String,
    pub group: Option<String>,
    pub allowed_purposes: Option<Vec<Purpose>>,
    pub version: u64,
    pub created_at: SystemTime,
    pub updated_at: SystemTime,
}

/// An agent to be made; it begins active.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of the tables")]
pub struct NewAgent {
    pub id: AgentId,
    pub employee_id: String,
    pub name: String,
    pub licence: Option<String>,
    pub caller_numbers: Vec<String>,
    pub filing: &'static str,
    pub group: Option<String>,
    /// All where absent.
    pub allowed_purposes: Option<Vec<Purpose>>,
}

/// What changes of an agent; absent fields stay.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "the columns of the tables")]
pub struct AgentChange {
    pub name: Option<String>,
    pub licence: Option<Option<String>>,
    pub caller_numbers: Option<Vec<String>>,
    pub filing: Option<&'static str>,
    pub state: Option<&'static str>,
    pub group: Option<Option<String>>,
    pub allowed_purposes: Option<Option<Vec<Purpose>>>,
}

#[derive(FromRow)]
struct Row {
    id: Uuid,
    employee_id: String,
    name: String,
    licence: Option<String>,
    filing: String,
    state: String,
    agent_group: Option<String>,
    version: i64,
    created_at: Timestamp,
    updated_at: Timestamp,
    callers: Vec<String>,
    purposes: Option<Vec<String>>,
}

impl Row {
    fn read(self) -> Result<Agent, StoreError> {
        let purpose = |it: &String| label("agent_purpose.purposes", it, Purpose::find_label);
        let purposes = self.purposes.map(|all| all.iter().map(purpose).collect());
        Ok(Agent {
            id: AgentId::from_u128(self.id.as_u128()),
            employee_id: self.employee_id,
            name: self.name,
            licence: self.licence,
            caller_numbers: self.callers,
            filing: self.filing,
            state: self.state,
            group: self.agent_group,
            allowed_purposes: purposes.transpose()?,
            version: self.version.unsigned_abs(),
            created_at: from_sql(self.created_at),
            updated_at: from_sql(self.updated_at),
        })
    }
}

impl Store {
    /// Makes an agent with its calling extensions.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the employee id or an extension is taken.
    pub async fn insert_agent(
        &self,
        tenant: TenantId,
        new: NewAgent,
        now: SystemTime,
    ) -> Result<Agent, StoreError> {
        let mut tx = self.tenant(tenant).await?;
        sqlx::query(
            "insert into agent (tenant_id, id, employee_id, name, licence, filing, state,
                 agent_group, created_at, updated_at)
             values ($1, $2, $3, $4, $5, $6, 'active', $7, $8, $8)",
        )
        .bind(uuid(tenant.as_u128()))
        .bind(uuid(new.id.as_u128()))
        .bind(new.employee_id)
        .bind(new.name)
        .bind(new.licence)
        .bind(new.filing)
        .bind(new.group)
        .bind(to_sql(now)?)
        .execute(tx.connection())
        .await?;
        tx.write_callers(new.id, &new.caller_numbers).await?;
        if let Some(purposes) = &new.allowed_purposes {
            tx.write_purposes(new.id, purposes).await?;
        }
        let agent = tx.load_agent(new.id).await?;
        tx.touch_routes(RouteTable::Agent);
        tx.commit().await?;
        Ok(agent)
    }

    /// Finds a living agent.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    pub async fn find_agent(
        &self,
        tenant: TenantId,
        id: AgentId,
    ) -> Result<Option<Agent>, StoreError> {
        self.tenant(tenant).await?.find_agent(id).await
    }

    /// Lists living agents, newest first.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    pub async fn list_agents(
        &self,
        tenant: TenantId,
        employee_id: Option<&str>,
        page: PageRequest,
    ) -> Result<Page<Agent>, StoreError> {
        let mut tx = self.tenant(tenant).await?;
        tx.plan_for_values().await?;
        let rows: Vec<Row> = sqlx::query_as(
            "select a.*, array(select caller from agent_caller_number c
                 where c.tenant_id = a.tenant_id and c.agent_id = a.id order by caller) as callers,
                 (select p.purposes from agent_purpose p
                  where p.tenant_id = a.tenant_id and p.agent_id = a.id) as purposes
             from agent a
             where tenant_id = $1 and id < $2 and deleted_at is null
                 and ($3::text is null or employee_id = $3)
             order by id desc limit $4",
        )
        .bind(uuid(tenant.as_u128()))
        .bind(page.before())
        .bind(employee_id)
        .bind(page.fetch())
        .fetch_all(tx.connection())
        .await?;
        let agents = rows.into_iter().map(Row::read).collect::<Result<Vec<_>, _>>()?;
        Ok(page.page(agents, |agent: &Agent| agent.id.as_u128()))
    }

    /// Changes an agent if it has the wanted `version`; `None` when it has not, or is not there.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when an extension is taken.
    pub async fn update_agent(
        &self,
        tenant: TenantId,
        id: AgentId,
        change: AgentChange,
        version: Option<u64>,
        now: SystemTime,
    ) -> Result<Option<Agent>, StoreError> {
        let mut tx = self.tenant(tenant).await?;
        let changed = sqlx::query(
            "update agent set
                 name = coalesce($4, name),
                 licence = case when $5 then $6 else licence end,
                 filing = coalesce($7, filing),
                 state = coalesce($8, state),
                 agent_group = case when $9 then $10 else agent_group end,
                 version = version + 1, updated_at = $11
             where tenant_id = $1 and id = $2 and deleted_at is null
                 and ($3::bigint is null or version = $3)",
        )
        .bind(uuid(tenant.as_u128()))
        .bind(uuid(id.as_u128()))
        .bind(version.map(u64::cast_signed))
        .bind(change.name)
        .bind(change.licence.is_some())
        .bind(change.licence.flatten())
        .bind(change.filing)
        .bind(change.state)
        .bind(change.group.is_some())
        .bind(change.group.flatten())
        .bind(to_sql(now)?)
        .execute(tx.connection())
        .await?
        .rows_affected();
        if changed == 0 {
            return Ok(None);
        }
        if let Some(callers) = &change.caller_numbers {
            tx.delete_callers(id).await?;
            tx.write_callers(id, callers).await?;
        }
        if let Some(purposes) = &change.allowed_purposes {
            tx.delete_purposes(id).await?;
            if let Some(purposes) = purposes {
                tx.write_purposes(id, purposes).await?;
            }
        }
        let agent = tx.load_agent(id).await?;
        tx.touch_routes(RouteTable::Agent);
        tx.commit().await?;
        Ok(Some(agent))
    }

    /// Removes an agent from sight and frees its extensions; nothing when it is not there in that
    /// version.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    pub async fn delete_agent(
        &self,
        tenant: TenantId,
        id: AgentId,
        version: Option<u64>,
        now: SystemTime,
    ) -> Result<Option<()>, StoreError> {
        let mut tx = self.tenant(tenant).await?;
        let deleted = sqlx::query(
            "update agent set deleted_at = $3, state = 'disabled', version = version + 1,
                 updated_at = $3
             where tenant_id = $1 and id = $2 and deleted_at is null
                 and ($4::bigint is null or version = $4)",
        )
        .bind(uuid(tenant.as_u128()))
        .bind(uuid(id.as_u128()))
        .bind(to_sql(now)?)
        .bind(version.map(u64::cast_signed))
        .execute(tx.connection())
        .await?
        .rows_affected();
        if deleted == 0 {
            return Ok(None);
        }
        tx.delete_callers(id).await?;
        tx.delete_purposes(id).await?;
        sqlx::query("delete from agent_login where tenant_id = $1 and agent_id = $2")
            .bind(uuid(tenant.as_u128()))
            .bind(uuid(id.as_u128()))
            .execute(tx.connection())
            .await?;
        tx.touch_routes(RouteTable::Agent);
        tx.commit().await?;
        Ok(Some(()))
    }
}

impl TenantTx {
    /// Finds a living agent of this tenant.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    pub async fn find_agent(&mut self, id: AgentId) -> Result<Option<Agent>, StoreError> {
        let tenant = uuid(self.tenant().as_u128());
        let row: Option<Row> = sqlx::query_as(
            "select a.*, array(select caller from agent_caller_number c
                 where c.tenant_id = a.tenant_id and c.agent_id = a.id order by caller) as callers,
                 (select p.purposes from agent_purpose p
                  where p.tenant_id = a.tenant_id and p.agent_id = a.id) as purposes
             from agent a where tenant_id = $1 and id = $2 and deleted_at is null",
        )
        .bind(tenant)
        .bind(uuid(id.as_u128()))
        .fetch_optional(self.connection())
        .await?;
        row.map(Row::read).transpose()
    }

    async fn load_agent(&mut self, id: AgentId) -> Result<Agent, StoreError> {
        self.find_agent(id).await?.ok_or(StoreError::Unreadable { column: "agent.id" })
    }

    async fn write_callers(&mut self, id: AgentId, callers: &[String]) -> Result<(), StoreError> {
        let tenant = uuid(self.tenant().as_u128());
        sqlx::query(
            "insert into agent_caller_number (tenant_id, caller, agent_id)
             select $1, caller, $2 from unnest($3::text[]) as caller",
        )
        .bind(tenant)
        .bind(uuid(id.as_u128()))
        .bind(callers)
        .execute(self.connection())
        .await?;
        Ok(())
    }

    async fn delete_callers(&mut self, id: AgentId) -> Result<(), StoreError> {
        let tenant = uuid(self.tenant().as_u128());
        sqlx::query("delete from agent_caller_number where tenant_id = $1 and agent_id = $2")
            .bind(tenant)
            .bind(uuid(id.as_u128()))
            .execute(self.connection())
            .await?;
        Ok(())
    }

    async fn write_purposes(&mut self, id: AgentId, only: &[Purpose]) -> Result<(), StoreError> {
        let tenant = uuid(self.tenant().as_u128());
        let labels: Vec<&str> = only.iter().map(|purpose| purpose.label()).collect();
        sqlx::query(
            "insert into agent_purpose (tenant_id, agent_id, purposes) values ($1, $2, $3)",
        )
        .bind(tenant)
        .bind(uuid(id.as_u128()))
        .bind(labels)
        .execute(self.connection())
        .await?;
        Ok(())
    }

    async fn delete_purposes(&mut self, id: AgentId) -> Result<(), StoreError> {
        let tenant = uuid(self.tenant().as_u128());
        sqlx::query("delete from agent_purpose where tenant_id = $1 and agent_id = $2")
            .bind(tenant)
            .bind(uuid(id.as_u128()))
            .execute(self.connection())
            .await?;
        Ok(())
    }
}
