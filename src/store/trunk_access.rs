//! What a trunk and we prove to each other: our account at the peer, and the login that the peer
//! answers our challenges with. Secrets come in open and lie sealed.

use std::time::SystemTime;

use sqlx::FromRow;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::convert::{to_sql, uuid};
use super::{PlatformTx, RelayPool, RouteTable, Store, StoreError};
use crate::domain::id::TrunkId;
use crate::vault::{Cell, Column, Vault};

/// Our account at the peer of a trunk.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TrunkAccount {
    /// As the peer knows us.
    pub user: String,
    /// MD5 is not good enough.
    pub refuses_md5: bool,
    /// The peer wants us to register, each time for so many seconds.
    pub register_s: Option<u32>,
}

/// How the peer of a trunk logs in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TrunkLogin {
    /// The user name that we have given it.
    pub user: String,
    /// MD5 is not good enough.
    pub refuses_md5: bool,
}

/// Both, as far as they exist, without their secrets.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TrunkAccess {
    /// We at the peer.
    pub account: Option<TrunkAccount>,
    /// The peer at us.
    pub login: Option<TrunkLogin>,
}

/// The same with the secrets, for the relay. `Debug` shows no secret.
pub struct OpenTrunkAccess {
    /// Of which trunk.
    pub trunk: TrunkId,
    /// We at the peer, with the password.
    pub account: Option<(TrunkAccount, Zeroizing<Vec<u8>>)>,
    /// The peer at us, with what is kept of its password.
    pub login: Option<(TrunkLogin, Zeroizing<Vec<u8>>)>,
}

impl std::fmt::Debug for OpenTrunkAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OpenTrunkAccess({})", self.trunk)
    }
}

/// What a [`Row`] is read from; by their names, as those of a trunk.
macro_rules! columns {
    () => {
        "a.trunk_id, a.account_user, a.account_password_sealed, a.account_refuses_md5, \
         a.registers, a.register_s, a.login_user, a.login_secret_sealed, a.login_refuses_md5"
    };
}

#[derive(FromRow)]
struct Row {
    trunk_id: Uuid,
    account_user: Option<String>,
    account_password_sealed: Option<Vec<u8>>,
    account_refuses_md5: bool,
    registers: bool,
    register_s: i32,
    login_user: Option<String>,
    login_secret_sealed: Option<Vec<u8>>,
    login_refuses_md5: bool,
}

impl Row {
    fn access(&self) -> TrunkAccess {
        let register_s = self.registers.then(|| self.register_s.unsigned_abs());
        let account = self.account_user.clone().map(|user| TrunkAccount {
            user,
            refuses_md5: self.account_refuses_md5,
            register_s,
        });
        let refuses_md5 = self.login_refuses_md5;
        let login = self.login_user.clone().map(|user| TrunkLogin { user, refuses_md5 });
        TrunkAccess { account, login }
    }

    fn open(self, vault: &Vault) -> Result<OpenTrunkAccess, StoreError> {
        let trunk = TrunkId::from_u128(self.trunk_id.as_u128());
        let open = |sealed: Option<&Vec<u8>>, column| {
            let cell = Cell::of_trunk(trunk, column);
            sealed.map(|sealed| vault.open_sip_secret(&cell, sealed)).transpose()
        };
        let password = open(self.account_password_sealed.as_ref(), Column::TrunkPassword)?;
        let secret = open(self.login_secret_sealed.as_ref(), Column::TrunkLogin)?;
        let TrunkAccess { account, login } = self.access();
        Ok(OpenTrunkAccess { trunk, account: account.zip(password), login: login.zip(secret) })
    }
}

impl RelayPool {
    /// Loads what is known of every living trunk, with the secrets.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away, or a secret does not open.
    pub async fn load_trunk_access(
        &self,
        vault: &Vault,
    ) -> Result<Vec<OpenTrunkAccess>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(concat!(
            "select ",
            columns!(),
            " from trunk_access a join trunk t on t.id = a.trunk_id
                 where t.deleted_at is null and t.enabled order by a.trunk_id limit $1",
        ))
        .bind(super::trunk::TRUNKS_MAX)
        .fetch_all(&self.0)
        .await?;
        rows.into_iter().map(|row| row.open(vault)).collect()
    }
}

impl Store {
    /// What a trunk and we prove to each other; `None` when there is no such trunk.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    pub async fn find_trunk_access(&self, id: TrunkId) -> Result<Option<TrunkAccess>, StoreError> {
        let mut tx = self.platform().await?;
        if !tx.is_trunk(id).await? {
            return Ok(None);
        }
        let row: Option<Row> = sqlx::query_as(concat!(
            "select ",
            columns!(),
            " from trunk_access a where a.trunk_id = $1",
        ))
        .bind(uuid(id.as_u128()))
        .fetch_optional(tx.connection())
        .await?;
        Ok(Some(row.map(|row| row.access()).unwrap_or_default()))
    }

    /// Sets or replaces our account at the peer; false when there is no such trunk.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away or the vault fails.
    pub async fn set_trunk_account(
        &self,
        id: TrunkId,
        account: &TrunkAccount,
        password: &str,
        now: SystemTime,
    ) -> Result<bool, StoreError> {
        let cell = Cell::of_trunk(id, Column::TrunkPassword);
        let sealed = self.vault().seal_sip_secret(&cell, password.as_bytes())?;
        let mut tx = self.platform().await?;
        if !tx.is_trunk(id).await? {
            return Ok(false);
        }
        sqlx::query(
            "insert into trunk_access (trunk_id, account_user, account_password_sealed,
                 account_refuses_md5, registers, register_s, updated_at)
             values ($1, $2, $3, $4, $5, coalesce($6, 3600), $7)
             on conflict on constraint trunk_access_pkey do update set
                 account_user = excluded.account_user,
                 account_password_sealed = excluded.account_password_sealed,
                 account_refuses_md5 = excluded.account_refuses_md5,
                 registers = excluded.registers, register_s = excluded.register_s,
                 updated_at = excluded.updated_at",
        )
        .bind(uuid(id.as_u128()))
        .bind(&account.user)
        .bind(sealed)
        .bind(account.refuses_md5)
        .bind(account.register_s.is_some())
        .bind(account.register_s.map(u32::cast_signed))
        .bind(to_sql(now)?)
        .execute(tx.connection())
        .await?;
        tx.touch_routes(RouteTable::Trunk);
        tx.commit().await?;
        Ok(true)
    }

    /// Forgets our account at the peer; false when there is none.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    pub async fn clear_trunk_account(
        &self,
        id: TrunkId,
        now: SystemTime,
    ) -> Result<bool, StoreError> {
        self.clear_access(
            id,
            now,
            "update trunk_access set account_user = null, account_password_sealed = null,
                 account_refuses_md5 = false, registers = false, updated_at = $2
             where trunk_id = $1 and account_user is not null",
        )
        .await
    }

    /// Lets the peer in by its address alone again; false when it had no login.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    pub async fn clear_trunk_login(
        &self,
        id: TrunkId,
        now: SystemTime,
    ) -> Result<bool, StoreError> {
        self.clear_access(
            id,
            now,
            "update trunk_access set login_user = null, login_secret_sealed = null,
                 login_refuses_md5 = false, updated_at = $2
             where trunk_id = $1 and login_user is not null",
        )
        .await
    }

    /// Runs a statement that clears some of a trunk's row; false when there was nothing to clear.
    async fn clear_access(
        &self,
        id: TrunkId,
        now: SystemTime,
        statement: &'static str,
    ) -> Result<bool, StoreError> {
        let mut tx = self.platform().await?;
        let cleared = sqlx::query(statement)
            .bind(uuid(id.as_u128()))
            .bind(to_sql(now)?)
            .execute(tx.connection())
            .await?
            .rows_affected();
        tx.touch_routes(RouteTable::Trunk);
        tx.commit().await?;
        Ok(cleared > 0)
    }
}

impl PlatformTx {
    /// Gives the peer a new login; the old one ends at once. False when there is no such trunk.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away or the vault fails.
    pub async fn set_trunk_login(
        &mut self,
        vault: &Vault,
        id: TrunkId,
        login: &TrunkLogin,
        secret: &[u8],
        now: SystemTime,
    ) -> Result<bool, StoreError> {
        let cell = Cell::of_trunk(id, Column::TrunkLogin);
        let sealed = vault.seal_sip_secret(&cell, secret)?;
        if !self.is_trunk(id).await? {
            return Ok(false);
        }
        sqlx::query(
            "insert into trunk_access (trunk_id, login_user, login_secret_sealed,
                 login_refuses_md5, updated_at)
             values ($1, $2, $3, $4, $5)
             on conflict on constraint trunk_access_pkey do update set
                 login_user = excluded.login_user,
                 login_secret_sealed = excluded.login_secret_sealed,
                 login_refuses_md5 = excluded.login_refuses_md5, updated_at = excluded.updated_at",
        )
        .bind(uuid(id.as_u128()))
        .bind(&login.user)
        .bind(sealed)
        .bind(login.refuses_md5)
        .bind(to_sql(now)?)
        .execute(self.connection())
        .await?;
        self.touch_routes(RouteTable::Trunk);
        Ok(true)
    }

    async fn is_trunk(&mut self, id: TrunkId) -> Result<bool, StoreError> {
        let found: Option<(Uuid,)> =
            sqlx::query_as("select id from trunk where id = $1 and deleted_at is null")
                .bind(uuid(id.as_u128()))
                .fetch_optional(self.connection())
                .await?;
        Ok(found.is_some())
    }
}
