//! Brings a database to this program's schema, as its owner, and prepares the roles and partitions.

use std::time::SystemTime;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{PgConnection, SqlSafeStr as _};

use super::convert::to_sql;
use super::error::StoreError;
use crate::vault::{DatabaseRole, KeyStore};

/// Every file of `migrations/`, oldest first; they are part of the binary.
const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "roles", include_str!("../../migrations/0001_roles.sql")),
    (2, "tenancy", include_str!("../../migrations/0002_tenancy.sql")),
    (3, "numbers", include_str!("../../migrations/0003_numbers.sql")),
    (4, "bindings", include_str!("../../migrations/0004_bindings.sql")),
    (5, "records", include_str!("../../migrations/0005_records.sql")),
    (6, "binding_by_number", include_str!("../../migrations/0006_binding_by_number.sql")),
    (7, "trunk_transport", include_str!("../../migrations/0007_trunk_transport.sql")),
    (8, "sip_access", include_str!("../../migrations/0008_sip_access.sql")),
    (10, "binding_drop_calls", include_str!("../../migrations/0010_binding_drop_calls.sql")),
    (12, "purpose", include_str!("../../migrations/0012_purpose.sql")),
    (13, "number_format", include_str!("../../migrations/0013_number_format.sql")),
    (14, "call_marks", include_str!("../../migrations/0014_call_marks.sql")),
    (15, "whisper", include_str!("../../migrations/0015_whisper.sql")),
    (18, "recordings", include_str!("../../migrations/0018_recordings.sql")),
    (19, "consent_proof", include_str!("../../migrations/0019_consent_proof.sql")),
    (20, "whisper_prompt_hash", include_str!("../../migrations/0020_whisper_prompt_hash.sql")),
    (21, "trunk_media", include_str!("../../migrations/0021_trunk_media.sql")),
    (22, "menu", include_str!("../../migrations/0022_menu.sql")),
    (24, "trunk_srtp", include_str!("../../migrations/0024_trunk_srtp.sql")),
    (30, "webhooks", include_str!("../../migrations/0030_webhooks.sql")),
    (31, "call_code_hash", include_str!("../../migrations/0031_call_code_hash.sql")),
    (32, "number_ending", include_str!("../../migrations/0032_number_ending.sql")),
    (33, "call_code_unknown", include_str!("../../migrations/0033_call_code_unknown.sql")),
    (34, "root_key_check", include_str!("../../migrations/0034_root_key_check.sql")),
    (35, "trunk_media_networks", include_str!("../../migrations/0035_trunk_media_networks.sql")),
    (36, "number_ending_column", include_str!("../../migrations/0036_number_ending_column.sql")),
    (41, "binding_terms", include_str!("../../migrations/0041_binding_terms.sql")),
    (42, "number_return", include_str!("../../migrations/0042_number_return.sql")),
    (
        45,
        "virtual_numbers_ending",
        include_str!("../../migrations/0045_virtual_numbers_ending.sql"),
    ),
    (47, "pairs", include_str!("../../migrations/0047_pairs.sql")),
    (48, "import_job", include_str!("../../migrations/0048_import_job.sql")),
    (55, "request_signatures", include_str!("../../migrations/0055_request_signatures.sql")),
    (56, "call_intent", include_str!("../../migrations/0056_call_intent.sql")),
    (59, "agent_purpose", include_str!("../../migrations/0059_agent_purpose.sql")),
    (60, "pool_stock", include_str!("../../migrations/0060_pool_stock.sql")),
    (61, "binding_notice", include_str!("../../migrations/0061_binding_notice.sql")),
    (62, "number_period", include_str!("../../migrations/0062_number_period.sql")),
    (63, "client_certificates", include_str!("../../migrations/0063_client_certificates.sql")),
    (65, "test_clock", include_str!("../../migrations/0065_test_clock.sql")),
];

/// So many months of records have partitions ahead of time.
pub const PARTITION_MONTHS: i32 = 7;

/// Applies what is missing. Two programs that start together do not disturb each other.
///
/// # Errors
/// [`StoreError::Migration`] when the database belongs to a later program or was changed by hand.
pub async fn migrate(owner: &mut PgConnection) -> Result<(), StoreError> {
    let migrations = MIGRATIONS.iter().map(|(version, name, sql)| {
        Migration::new(*version, (*name).into(), MigrationType::Simple, sql.into_sql_str(), false)
    });
    // That the table of migrations is there already is said at every start, and is no news.
    sqlx::query("set client_min_messages = warning").execute(&mut *owner).await?;
    let migrator = Migrator::with_migrations(migrations.collect());
    sqlx::raw_sql(LOCK_TIMEOUT).execute(&mut *owner).await?;
    let mut tries = LOCK_TRIES_MAX;
    while let Err(error) = migrator.run(&mut *owner).await {
        tries -= 1;
        if tries == 0 || !is_about_a_lock(&error) {
            return Err(error.into());
        }
        tokio::time::sleep(LOCK_RETRY_AFTER).await;
    }
    sqlx::raw_sql("reset lock_timeout").execute(owner).await?;
    Ok(())
}

/// Whoever wants a table after us waits behind us while we wait for whoever has it: so we give way
/// soon, and try again. What others have migrated meanwhile is not done twice.
const LOCK_TIMEOUT: &str = "set lock_timeout = '1s'";
/// How often a lock is tried before that counts as a failure: two minutes or so.
const LOCK_TRIES_MAX: u32 = 80;
/// Time for those who had to wait behind us.
const LOCK_RETRY_AFTER: std::time::Duration = std::time::Duration::from_millis(500);

/// Whether somebody else has kept a lock, of a table or the one that migrations take turns by.
#[expect(clippy::wildcard_enum_match_arm, reason = "MigrateError is non-exhaustive")]
fn is_about_a_lock(error: &MigrateError) -> bool {
    let error = match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error,
        _ => return false,
    };
    error.as_database_error().and_then(|error| error.code()).as_deref() == Some("55P03")
}

/// How far a database's schema is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Applied {
    /// Migrations of this program that the next start will apply, oldest first.
    pub pending: Vec<&'static str>,
    /// A later program has been here: this one will not start.
    pub is_later: bool,
}

/// Looks which migrations a database has, and changes nothing.
///
/// # Errors
/// [`StoreError`] when the database refuses or is away.
pub async fn look_at_migrations(owner: &mut PgConnection) -> Result<Applied, StoreError> {
    let table = "select to_regclass('_sqlx_migrations') is not null";
    let applied: Vec<i64> = if sqlx::query_scalar(table).fetch_one(&mut *owner).await? {
        sqlx::query_scalar("select version from _sqlx_migrations where success")
            .fetch_all(owner)
            .await?
    } else {
        Vec::new()
    };
    let is_known = |version: &i64| MIGRATIONS.iter().any(|(known, ..)| known == version);
    let pending = MIGRATIONS.iter().filter(|(version, ..)| !applied.contains(version));
    Ok(Applied {
        pending: pending.map(|(_, name, _)| *name).collect(),
        is_later: !applied.iter().all(is_known),
    })
}

/// Nodes that make partitions take turns by this lock of the database: `create table` has no way
/// to be second without an error.
const PARTITIONS_LOCK: i64 = 0x6d61_736b_6c69_6e65;

/// Makes the partitions of the months from the one before `now` on.
///
/// # Errors
/// [`StoreError`] when the database refuses or is away.
pub async fn create_partitions(
    connection: &mut PgConnection,
    now: SystemTime,
) -> Result<(), StoreError> {
    let sql = "select create_month_partitions($1 - interval '1 month', $2)
               from pg_advisory_xact_lock($3)";
    sqlx::query(sql)
        .bind(to_sql(now)?)
        .bind(PARTITION_MONTHS)
        .bind(PARTITIONS_LOCK)
        .execute(connection)
        .await?;
    Ok(())
}

/// How often a role's password is set before that counts as a failure.
const ROLE_TRIES_MAX: u32 = 10;
/// How long to wait before it is set again.
const ROLE_RETRY_AFTER: std::time::Duration = std::time::Duration::from_millis(50);

/// Gives a role the password that this program derives from its root key.
///
/// # Errors
/// [`StoreError`] when the key store fails or the owner may not change the role.
pub async fn set_role_password(
    owner: &mut PgConnection,
    role: DatabaseRole,
    keys: &dyn KeyStore,
) -> Result<(), StoreError> {
    let verifier = role.verifier(keys)?;
    let mut tries = ROLE_TRIES_MAX;
    loop {
        let set = sqlx::query("select set_role_verifier($1, $2)")
            .bind(role.name())
            .bind(&verifier)
            .execute(&mut *owner)
            .await;
        tries -= 1;
        match set {
            Ok(_) => return Ok(()),
            // Roles belong to the whole server: a node that starts at the same moment changes the
            // same row, and PostgreSQL makes one of the two try again.
            Err(_) if tries > 0 => tokio::time::sleep(ROLE_RETRY_AFTER).await,
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_folder_is_in_the_binary() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .expect("the folder")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .filter(|name| name.ends_with(".sql"))
            .collect();
        files.sort();
        let listed: Vec<String> = MIGRATIONS
            .iter()
            .map(|(version, name, _)| format!("{version:04}_{name}.sql"))
            .collect();
        assert_eq!(files, listed);
    }
}
