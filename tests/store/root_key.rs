//! A database belongs to one root key: a second one is refused before it changes anything.

use std::sync::Arc;

use maskline::store::StoreError;
use maskline::store::database::{Database, DatabaseConfig, RoleLogin};
use maskline::store::root_key::Belonging;
use maskline::store::server::look;
use maskline::vault::{DatabaseRole, KeyStore, RootKey};
use sqlx::{AssertSqlSafe, ConnectOptions as _, PgConnection};

use crate::fixture::World;
use crate::support::{self, cluster, keys, noon};

fn other_keys() -> Arc<dyn KeyStore> {
    Arc::new(RootKey::ephemeral().expect("randomness"))
}

/// A start with this root key.
async fn start(world: &World, keys: &Arc<dyn KeyStore>) -> Result<(), StoreError> {
    let (owner, login) = (world.test.owner(), RoleLogin::Derived);
    let config = DatabaseConfig { owner, login, connections_max: 2 };
    Database::connect(config, keys, noon()).await?.close().await;
    Ok(())
}

/// The database as the release before left it.
async fn forget(world: &mut World) {
    sqlx::query("delete from root_key_check").execute(&mut world.sql).await.expect("forgotten");
}

async fn checks(world: &mut World) -> i64 {
    let count = sqlx::query_scalar("select count(*) from root_key_check");
    count.fetch_one(&mut world.sql).await.expect("a count")
}

async fn belonging(world: &World, keys: &Arc<dyn KeyStore>) -> Belonging {
    look(world.test.owner(), Some(keys.as_ref())).await.expect("an answer").root_key
}

async fn is_forced(sql: &mut PgConnection) -> bool {
    let forced = "select relforcerowsecurity from pg_class where oid = 'tenant'::regclass";
    sqlx::query_scalar(forced).fetch_one(sql).await.expect("the table")
}

#[tokio::test]
async fn a_second_root_key_is_refused_and_sets_no_password() {
    let mut world = World::new().await;
    let others = other_keys();
    let refused = start(&world, &others).await;
    assert!(matches!(refused, Err(StoreError::RootKeyForeign)), "{refused:?}");
    let passwords: Vec<Option<String>> =
        sqlx::query_scalar("select rolpassword from pg_authid where rolname like 'maskline%'")
            .fetch_all(&mut world.sql)
            .await
            .expect("the roles");
    for role in [DatabaseRole::App, DatabaseRole::Relay] {
        let theirs = role.verifier(others.as_ref()).expect("a verifier");
        assert!(!passwords.contains(&Some(theirs)));
    }
    assert_eq!(belonging(&world, &others).await, Belonging::Foreign);
    assert_eq!(belonging(&world, &keys()).await, Belonging::Ours);
    start(&world, &keys()).await.expect("the first one goes on");
}

#[tokio::test]
async fn a_later_schema_is_not_brought_to_a_database_of_another_root_key() {
    let mut world = World::new().await;
    let before = "delete from _sqlx_migrations where version = 31";
    sqlx::query(before).execute(&mut world.sql).await.expect("a schema of before");
    let refused = start(&world, &other_keys()).await;
    // Were it migrated first, the migration would fail.
    assert!(matches!(refused, Err(StoreError::RootKeyForeign)), "{refused:?}");
}

#[tokio::test]
async fn a_database_of_before_is_taken_over_by_the_root_key_of_its_tenants() {
    let mut world = World::new().await;
    world.insurer("A").await;
    forget(&mut world).await;
    let refused = start(&world, &other_keys()).await;
    assert!(matches!(refused, Err(StoreError::RootKeyForeign)), "{refused:?}");
    assert_eq!((checks(&mut world).await, is_forced(&mut world.sql).await), (0, true));
    assert_eq!(belonging(&world, &keys()).await, Belonging::Unknown);
    start(&world, &keys()).await.expect("taken over");
    assert_eq!((checks(&mut world).await, is_forced(&mut world.sql).await), (1, true));
    assert_eq!(belonging(&world, &keys()).await, Belonging::Ours);
}

#[tokio::test]
async fn a_later_schema_is_not_brought_to_a_database_of_before_with_tenants_of_another_root_key() {
    let mut world = World::new().await;
    world.insurer("A").await;
    forget(&mut world).await;
    let before = "delete from _sqlx_migrations where version = 31";
    sqlx::query(before).execute(&mut world.sql).await.expect("a schema of before");
    let refused = start(&world, &other_keys()).await;
    // Were it migrated first, the migration would fail.
    assert!(matches!(refused, Err(StoreError::RootKeyForeign)), "{refused:?}");
    assert_eq!((checks(&mut world).await, is_forced(&mut world.sql).await), (0, true));
}

/// Somebody's long transaction holds a table that a migration changes.
#[tokio::test]
async fn a_migration_that_has_to_wait_for_a_table_keeps_nobody_else_from_it() {
    let mut world = World::new().await;
    let before = "alter table trunk drop column media_networks;
                  delete from _sqlx_migrations where version = 35";
    sqlx::raw_sql(before).execute(&mut world.sql).await.expect("a schema of before");
    let mut holder = world.test.owner().connect().await.expect("the owner connects");
    let hold = "begin; lock table trunk in access share mode";
    sqlx::raw_sql(hold).execute(&mut holder).await.expect("held");
    let others = async {
        let waits = "select exists (select from pg_stat_activity where wait_event_type = 'Lock'
                                    and datname = current_database())";
        while !sqlx::query_scalar::<_, bool>(waits)
            .fetch_one(&mut world.sql)
            .await
            .expect("an answer")
        {
            tokio::task::yield_now().await;
        }
        let read = "set statement_timeout = '20s'; lock table trunk in access share mode";
        let read = format!("begin; {read}; commit");
        sqlx::raw_sql(AssertSqlSafe(read)).execute(&mut world.sql).await.expect("not kept out");
        sqlx::raw_sql("rollback").execute(&mut holder).await.expect("let go");
    };
    let (owner, login) = (world.test.owner(), RoleLogin::Derived);
    let config = DatabaseConfig { owner, login, connections_max: 2 };
    let keys = keys();
    let (started, ()) = tokio::join!(Database::connect(config, &keys, noon()), others);
    started.expect("it comes to that").close().await;
}

#[tokio::test]
async fn a_database_of_before_without_a_tenant_is_taken_over_by_any_root_key() {
    let mut world = World::new().await;
    forget(&mut world).await;
    start(&world, &other_keys()).await.expect("the first start");
    let refused = start(&world, &keys()).await;
    assert!(matches!(refused, Err(StoreError::RootKeyForeign)), "{refused:?}");
}

/// A database that no program has started on.
async fn make_new(name: &str) {
    let mut superuser = cluster().superuser().connect().await.expect("the superuser connects");
    let sql = format!("create database {name} owner maskline_owner");
    sqlx::query(AssertSqlSafe(sql)).execute(&mut superuser).await.expect("a new database");
}

async fn start_on(name: &str, keys: &Arc<dyn KeyStore>) -> Result<Database, StoreError> {
    let (owner, login) = (cluster().owner().database(name), RoleLogin::Trusted);
    let config = DatabaseConfig { owner, login, connections_max: 2 };
    Database::connect(config, keys, noon()).await
}

#[tokio::test]
async fn of_two_first_starts_at_once_with_two_root_keys_one_is_refused() {
    let name = "first_started_twice";
    make_new(name).await;
    let start = async || start_on(name, &other_keys()).await;
    let (one, other) = tokio::join!(start(), start());
    let refusals: Vec<_> = [one.err(), other.err()].into_iter().flatten().collect();
    assert!(matches!(refusals.as_slice(), [StoreError::RootKeyForeign]), "{refusals:?}");
}

#[tokio::test]
async fn of_many_first_starts_at_once_with_one_root_key_none_fails() {
    let name = "first_started_often";
    make_new(name).await;
    let start = async || start_on(name, &keys()).await.expect("a node among others");
    let (one, two, three) = tokio::join!(start(), start(), start());
    for node in [one, two, three] {
        node.close().await;
    }
}

#[tokio::test]
async fn the_programs_roles_cannot_read_or_replace_what_the_root_key_is_known_by() {
    let test = support::database().await;
    for role in ["maskline_app", "maskline_relay"] {
        let mut connection = test.connect_as(role).await;
        for sql in [
            "select key_sealed from root_key_check",
            "delete from root_key_check",
            "insert into root_key_check (key_sealed, created_at) values ('', now())",
        ] {
            let refused = sqlx::query(sql).execute(&mut connection).await.err();
            let code = refused.as_ref().and_then(|error| error.as_database_error()?.code());
            assert_eq!(code.as_deref(), Some("42501"), "{role}: {sql}");
        }
    }
}
