//! Webhook endpoints: where a tenant is told of its events. Secrets come in open and lie sealed.

use std::time::{Duration, SystemTime};

use jiff_sqlx::Timestamp;
use serde_json::{Value, json};
use sqlx::FromRow;
use uuid::Uuid;

use super::audit::{self, Deed};
use super::convert::{from_sql, to_sql, uuid};
use super::outbox::NewEvent;
use super::page::{Page, PageRequest};
use super::{Store, StoreError, TenantTx};
use crate::domain::event::EventKind;
use crate::domain::id::{ApiKeyId, EventId, TenantId, WebhookId};
use crate::vault::{Cell, Column};

/// The most endpoints of one tenant.
pub const WEBHOOKS_MAX: i64 = 16;
/// How long the secret before a rotation goes on signing.
pub const OLD_SECRET_TIME: Duration = Duration::from_secs(24 * 3_600);

/// An endpoint, without its secrets.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct Webhook {
    pub id: WebhookId,
    pub url: String,
    pub description: Option<String>,
    /// Empty: all kinds.
    pub event_types: Vec<String>,
    /// `enabled` or `disabled`.
    pub state: String,
    /// `request`, `gone` or `failing`.
    pub disabled_reason: Option<String>,
    /// Until then the secret before the last rotation signs too.
    pub old_secret_until: Option<SystemTime>,
    pub failing_since: Option<SystemTime>,
    pub version: u64,
    pub created_at: SystemTime,
    pub updated_at: SystemTime,
}

/// A new endpoint.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct NewWebhook {
    pub id: WebhookId,
    pub url: String,
    pub description: Option<String>,
    pub event_types: Vec<EventKind>,
}

/// What may change of an endpoint; absent stays.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct WebhookChange {
    pub url: Option<String>,
    pub description: Option<Option<String>>,
    pub event_types: Option<Vec<EventKind>>,
    /// Whether it is told anything.
    pub enabled: Option<bool>,
}

/// On whose behalf an endpoint is changed.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "whose it is, and the key that was used")]
pub struct WebhookOwner {
    pub tenant: TenantId,
    pub key: ApiKeyId,
}

impl WebhookOwner {
    /// Says who did what to an endpoint. Its URL is not repeated: it may hold a secret.
    async fn note(
        self,
        tx: &mut TenantTx,
        now: SystemTime,
        action: &'static str,
        id: WebhookId,
        details: Value,
    ) -> Result<(), StoreError> {
        let (tenant, actor, subject) = (self.tenant, self.key.to_string(), id.as_u128());
        let deed = Deed { tenant, actor: &actor, action, subject, details };
        audit::write(tx.connection(), now, deed).await.map(drop)
    }
}

impl WebhookChange {
    /// The names of what changes.
    fn fields(&self) -> Vec<&'static str> {
        let fields = [
            ("url", self.url.is_some()),
            ("description", self.description.is_some()),
            ("event_types", self.event_types.is_some()),
            ("state", self.enabled.is_some()),
        ];
        fields.into_iter().filter_map(|(name, changes)| changes.then_some(name)).collect()
    }
}

/// The columns of [`Row`], for every statement that reads one.
macro_rules! columns {
    ($before:literal, $after:literal) => {
        concat!(
            $before,
            " id, url, description, event_types, state, disabled_reason, old_secret_until, \
             failing_since, version, created_at, updated_at ",
            $after
        )
    };
}

#[derive(FromRow)]
struct Row {
    id: Uuid,
    url: String,
    description: Option<String>,
    event_types: Vec<String>,
    state: String,
    disabled_reason: Option<String>,
    old_secret_until: Option<Timestamp>,
    failing_since: Option<Timestamp>,
    version: i64,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl From<Row> for Webhook {
    fn from(row: Row) -> Self {
        Self {
            id: WebhookId::from_u128(row.id.as_u128()),
            url: row.url,
            description: row.description,
            event_types: row.event_types,
            state: row.state,
            disabled_reason: row.disabled_reason,
            old_secret_until: row.old_secret_until.map(from_sql),
            failing_since: row.failing_since.map(from_sql),
            version: row.version.unsigned_abs(),
            created_at: from_sql(row.created_at),
            updated_at: from_sql(row.updated_at),
        }
    }
}

fn labels(kinds: &[EventKind]) -> Vec<&'static str> {
    kinds.iter().map(|kind| kind.label()).collect()
}

impl Store {
    /// Makes an endpoint; `None` when the tenant has [`WEBHOOKS_MAX`] already.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away or the vault fails.
    pub async fn insert_webhook(
        &self,
        owner: WebhookOwner,
        new: NewWebhook,
        secret: &[u8],
        now: SystemTime,
    ) -> Result<Option<Webhook>, StoreError> {
        let (tenant, id) = (owner.tenant, new.id);
        let details = json!({ "event_types": labels(&new.event_types) });
        let cell = Cell::of_webhook(tenant, new.id, Column::WebhookSecret);
        let sealed = self.vault().seal_webhook_secret(&cell, secret)?;
        let mut tx = self.tenant(tenant).await?;
        // One at a time for each tenant, so that two that count together do not both fit.
        sqlx::query("select pg_advisory_xact_lock(hashtext('maskline.webhook'), hashtext($1))")
            .bind(tenant.to_string())
            .execute(tx.connection())
            .await?;
        let count: i64 =
            sqlx::query_scalar("select count(*) from webhook_endpoint where tenant_id = $1")
                .bind(uuid(tenant.as_u128()))
                .fetch_one(tx.connection())
                .await?;
        if count >= WEBHOOKS_MAX {
            return Ok(None);
        }
        let row: Row = sqlx::query_as(columns!(
            "insert into webhook_endpoint (tenant_id, id, url, description, event_types, state,
                 secret_sealed, created_at, updated_at)
             values ($1, $2, $3, $4, $5, 'enabled', $6, $7, $7) returning",
            ""
        ))
        .bind(uuid(tenant.as_u128()))
        .bind(uuid(new.id.as_u128()))
        .bind(new.url)
        .bind(new.description)
        .bind(labels(&new.event_types))
        .bind(sealed)
        .bind(to_sql(now)?)
        .fetch_one(tx.connection())
        .await?;
        owner.note(&mut tx, now, "webhook.created", id, details).await?;
        tx.commit().await?;
        Ok(Some(row.into()))
    }

    /// A page of a tenant's endpoints.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    pub async fn list_webhooks(
        &self,
        tenant: TenantId,
        page: PageRequest,
    ) -> Result<Page<Webhook>, StoreError> {
        let mut tx = self.tenant(tenant).await?;
        let rows: Vec<Row> = sqlx::query_as(columns!(
            "select",
            "from webhook_endpoint where tenant_id = $1 and id < $2 order by id desc limit $3"
        ))
        .bind(uuid(tenant.as_u128()))
        .bind(page.before())
        .bind(page.fetch())
        .fetch_all(tx.connection())
        .await?;
        let rows = rows.into_iter().map(Webhook::from).collect();
        Ok(page.page(rows, |webhook: &Webhook| webhook.id.as_u128()))
    }

    /// One endpoint.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    pub async fn find_webhook(
        &self,
        tenant: TenantId,
        id: WebhookId,
    ) -> Result<Option<Webhook>, StoreError> {
        self.tenant(tenant).await?.find_webhook(id).await
    }

    /// Changes an endpoint; `None` when there is none of that version.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    pub async fn update_webhook(
        &self,
        owner: WebhookOwner,
        id: WebhookId,
        change: WebhookChange,
        version: Option<u64>,
        now: SystemTime,
    ) -> Result<Option<Webhook>, StoreError> {
        let tenant = owner.tenant;
        let details = json!({ "fields": change.fields(), "enabled": change.enabled });
        let mut tx = self.tenant(tenant).await?;
        let row: Option<Row> = sqlx::query_as(columns!(
            "update webhook_endpoint set
                 url = coalesce($4, url),
                 description = case when $5 then $6 else description end,
                 event_types = coalesce($7, event_types),
                 state = case $8 when true then 'enabled' when false then 'disabled' else state end,
                 disabled_reason = case $8 when true then null
                     when false then coalesce(disabled_reason, 'request')
                     else disabled_reason end,
                 failing_since = case when $8 then null else failing_since end,
                 version = version + 1, updated_at = $9
             where tenant_id = $1 and id = $2 and ($3::bigint is null or version = $3) returning",
            ""
        ))
        .bind(uuid(tenant.as_u128()))
        .bind(uuid(id.as_u128()))
        .bind(version.map(u64::cast_signed))
        .bind(change.url)
        .bind(change.description.is_some())
        .bind(change.description.flatten())
        .bind(change.event_types.as_deref().map(labels))
        .bind(change.enabled)
        .bind(to_sql(now)?)
        .fetch_optional(tx.connection())
        .await?;
        if row.is_some() {
            owner.note(&mut tx, now, "webhook.changed", id, details).await?;
        }
        tx.commit().await?;
        Ok(row.map(Webhook::from))
    }

    /// Removes an endpoint; what waits for it is told to nobody. `None` when there is none of that
    /// version.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    pub async fn delete_webhook(
        &self,
        owner: WebhookOwner,
        id: WebhookId,
        version: Option<u64>,
        now: SystemTime,
    ) -> Result<Option<()>, StoreError> {
        let tenant = owner.tenant;
        let mut tx = self.tenant(tenant).await?;
        let deleted = sqlx::query(
            "delete from webhook_endpoint
             where tenant_id = $1 and id = $2 and ($3::bigint is null or version = $3)",
        )
        .bind(uuid(tenant.as_u128()))
        .bind(uuid(id.as_u128()))
        .bind(version.map(u64::cast_signed))
        .execute(tx.connection())
        .await?
        .rows_affected();
        if deleted > 0 {
            owner.note(&mut tx, now, "webhook.deleted", id, json!({})).await?;
        }
        tx.commit().await?;
        Ok((deleted > 0).then_some(()))
    }

    /// Gives an endpoint a new secret. The one before signs beside it for [`OLD_SECRET_TIME`].
    ///
    /// # Errors
    /// [`StoreError`] when the database is away or the vault fails.
    pub async fn rotate_webhook_secret(
        &self,
        owner: WebhookOwner,
        id: WebhookId,
        secret: &[u8],
        now: SystemTime,
    ) -> Result<Option<Webhook>, StoreError> {
        let tenant = owner.tenant;
        let cell = |column| Cell::of_webhook(tenant, id, column);
        let mut tx = self.tenant(tenant).await?;
        let sealed: Option<Vec<u8>> = sqlx::query_scalar(
            "select secret_sealed from webhook_endpoint
             where tenant_id = $1 and id = $2 for update",
        )
        .bind(uuid(tenant.as_u128()))
        .bind(uuid(id.as_u128()))
        .fetch_optional(tx.connection())
        .await?;
        let Some(sealed) = sealed else { return Ok(None) };
        let vault = self.vault();
        let old = vault.open_webhook_secret(&cell(Column::WebhookSecret), &sealed)?;
        let old = vault.seal_webhook_secret(&cell(Column::WebhookOldSecret), &old)?;
        let new = vault.seal_webhook_secret(&cell(Column::WebhookSecret), secret)?;
        let row: Row = sqlx::query_as(columns!(
            "update webhook_endpoint set secret_sealed = $3, old_secret_sealed = $4,
                 old_secret_until = $5, version = version + 1, updated_at = $6
             where tenant_id = $1 and id = $2 returning",
            ""
        ))
        .bind(uuid(tenant.as_u128()))
        .bind(uuid(id.as_u128()))
        .bind(new)
        .bind(old)
        .bind(to_sql(now + OLD_SECRET_TIME)?)
        .bind(to_sql(now)?)
        .fetch_one(tx.connection())
        .await?;
        owner.note(&mut tx, now, "webhook.secret_rotated", id, json!({})).await?;
        tx.commit().await?;
        Ok(Some(row.into()))
    }

    /// Emits an event that is told to this endpoint alone; `None` when there is no such endpoint,
    /// or it is disabled.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    pub async fn ping_webhook(
        &self,
        tenant: TenantId,
        id: WebhookId,
        now: SystemTime,
    ) -> Result<Option<EventId>, StoreError> {
        let mut tx = self.tenant(tenant).await?;
        let found = tx.find_webhook(id).await?.filter(|webhook| webhook.state == "enabled");
        if found.is_none() {
            return Ok(None);
        }
        let data = json!({ "endpoint": id.to_string() });
        let kind = EventKind::WebhookPing;
        let event = tx.emit(now, NewEvent { kind, subject: id.as_u128(), data }).await?;
        tx.commit().await?;
        Ok(Some(event))
    }
}

impl TenantTx {
    pub(super) async fn find_webhook(
        &mut self,
        id: WebhookId,
    ) -> Result<Option<Webhook>, StoreError> {
        let tenant = uuid(self.tenant().as_u128());
        let row: Option<Row> = sqlx::query_as(columns!(
            "select",
            "from webhook_endpoint where tenant_id = $1 and id = $2"
        ))
        .bind(tenant)
        .bind(uuid(id.as_u128()))
        .fetch_optional(self.connection())
        .await?;
        Ok(row.map(Webhook::from))
    }
}
