//! Row-level security: what a tenant, the platform and the relay can see.

use maskline::domain::id::TenantId;
use maskline::store::StoreError;
use maskline::store::database::{Database, DatabaseConfig, RoleLogin};

use sqlx::{AssertSqlSafe, PgConnection};

use crate::fixture::World;
use crate::support;

/// Tables whose rows belong to no tenant, each with the reason.
const PLATFORM_TABLES: &[&str] = &[
    "_sqlx_migrations",    // the program's roles have no right on it
    "api_key_certificate", // of keys, before any tenant is known
    "api_key_signing",     // the same
    "api_nonce",           // the same
    "call_code_loss",      // a time, for the relay
    "pool",                // offered to all tenants
    "pool_stock",          // of the platform
    "pool_trunk",          // of the platform
    "root_key_check",      // the program's roles have no right on it
    "tenant",              // its own id is the tenant
    "trunk_access",        // of trunks, which only the platform sees
];

#[tokio::test]
async fn every_tenant_table_forces_row_level_security_and_has_a_policy() {
    let test = support::database().await;
    let mut superuser = test.superuser().await;
    let tables: Vec<(String, bool, bool, bool, bool, bool)> = sqlx::query_as(
        "select c.relname, c.relrowsecurity, c.relforcerowsecurity, c.relispartition,
                exists (select from pg_policy p where p.polrelid = c.oid),
                exists (select from pg_attribute a where a.attrelid = c.oid
                        and a.attname = 'tenant_id' and not a.attisdropped)
         from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where n.nspname = 'public' and c.relkind in ('r', 'p') order by 1",
    )
    .fetch_all(&mut superuser)
    .await
    .expect("the catalogue");
    assert!(tables.len() > 20, "the catalogue was read");
    for (name, enabled, forced, partition, has_policy, has_tenant) in tables {
        let platform = PLATFORM_TABLES.contains(&name.as_str());
        assert!(has_tenant != platform, "{name}: tenant_id, or a line in PLATFORM_TABLES");
        if name != "_sqlx_migrations" {
            assert!(enabled && forced, "{name}: row-level security must be enabled and forced");
            // A partition is reached through its parent only: no role has a right on it.
            assert!(has_policy != partition, "{name}: a policy");
        }
    }
}

#[tokio::test]
async fn the_programs_roles_own_nothing_and_touch_no_partition() {
    let test = support::database().await;
    let mut superuser = test.superuser().await;
    let excess: Vec<(String, String)> = sqlx::query_as(
        "select r.rolname::text, c.relname::text
         from pg_roles r cross join pg_class c join pg_namespace n on n.oid = c.relnamespace
         where n.nspname = 'public' and r.rolname in ('maskline_app', 'maskline_relay')
           and (c.relowner = r.oid
                or c.relkind in ('r', 'p') and has_table_privilege(r.oid, c.oid, 'truncate')
                or c.relispartition and c.relkind = 'r'
                   and has_any_column_privilege(r.oid, c.oid, 'select, insert, update'))",
    )
    .fetch_all(&mut superuser)
    .await
    .expect("the catalogue");
    assert_eq!(excess, []);
    let strong: Vec<(String,)> = sqlx::query_as(
        "select rolname::text from pg_roles where rolname in ('maskline_app', 'maskline_relay')
           and (rolsuper or rolbypassrls or rolcreaterole or rolcreatedb)",
    )
    .fetch_all(&mut superuser)
    .await
    .expect("the roles");
    assert_eq!(strong, []);
}

#[tokio::test]
async fn a_superuser_or_the_owner_is_refused_as_a_role_of_the_program() {
    let test = support::database().await;
    let keys = support::keys();
    for role in ["postgres", "maskline_owner"] {
        let strong = Box::new(test.owner().username(role));
        let login = RoleLogin::Given { app: strong.clone(), relay: strong };
        let config = DatabaseConfig { owner: test.owner(), login, connections_max: 2 };
        let refused = Database::connect(config, &keys, support::noon()).await.err();
        assert!(matches!(refused, Some(StoreError::RoleTooStrong { .. })), "{role}");
    }
}

#[tokio::test]
async fn derived_passwords_are_accepted_by_the_server() {
    let test = support::database().await;
    let keys = support::keys();
    let login = RoleLogin::Derived;
    let config = DatabaseConfig { owner: test.owner(), login, connections_max: 2 };
    // Trust authentication does not ask; what counts is that the server takes the verifier.
    Database::connect(config, &keys, support::noon())
        .await
        .expect("set and logged in")
        .close()
        .await;
    let mut superuser = test.superuser().await;
    let (verifiers,): (i64,) = sqlx::query_as(
        "select count(*) from pg_authid where rolname in ('maskline_app', 'maskline_relay')
           and rolpassword like 'SCRAM-SHA-256$4096:%'",
    )
    .fetch_one(&mut superuser)
    .await
    .expect("the verifiers");
    assert_eq!(verifiers, 2);
}

/// Every table with a tenant, filled for two insurers, seen with what is set on the session.
async fn visible_rows(world: &World, settings: &[(&str, String)]) -> Vec<(String, i64)> {
    let mut app = world.test.connect_as("maskline_app").await;
    for (name, value) in settings {
        sqlx::query("select set_config($1, $2, false)")
            .bind(name)
            .bind(value)
            .execute(&mut app)
            .await
            .expect("set");
    }
    let mut rows = Vec::new();
    for table in [
        "agent",
        "agent_caller_number",
        "binding",
        "call_fact",
        "cdr",
        "event",
        "subscriber",
        "tenant",
        "trunk",
        "virtual_number",
    ] {
        let sql = format!("select count(*) from {table}");
        let count = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut app).await;
        rows.push((table.to_owned(), count.expect("a count")));
    }
    rows
}

#[tokio::test]
async fn a_tenant_sees_its_own_rows_and_without_a_tenant_there_are_none() {
    let mut world = World::new().await;
    let (one, two) = (world.insurer("A").await, world.insurer("B").await);
    world.numbers(2).await;
    for insurer in [&one, &two] {
        world.bind(insurer, "p", 1).await;
        world.call(insurer).await;
    }
    for insurer in [&one, &two] {
        let tenant = uuid::Uuid::from_u128(insurer.id.as_u128()).to_string();
        for (table, rows) in visible_rows(&world, &[("maskline.tenant", tenant)]).await {
            let own = if table == "event" { 2 } else { 1 };
            assert_eq!(rows, own, "{table}: one of each insurer, and two events");
        }
    }
    for (table, rows) in visible_rows(&world, &[]).await {
        assert_eq!(rows, 0, "{table}");
    }
    let platform = [("maskline.platform", "on".to_owned())];
    for (table, rows) in visible_rows(&world, &platform).await {
        let personal = ["agent", "agent_caller_number", "binding", "subscriber"];
        assert!(!personal.contains(&table.as_str()) || rows == 0, "{table}: not the operator's");
    }
}

#[tokio::test]
async fn no_role_writes_what_is_not_its_own() {
    let mut world = World::new().await;
    let (one, two) = (world.insurer("A").await, world.insurer("B").await);
    world.numbers(2).await;
    world.bind(&two, "p", 1).await;
    let mut app = world.test.connect_as("maskline_app").await;
    let tenant = uuid::Uuid::from_u128(one.id.as_u128()).to_string();
    sqlx::query("select set_config('maskline.tenant', $1, false)")
        .bind(tenant)
        .execute(&mut app)
        .await
        .expect("set");
    // Rows of others are not there to be changed.
    for sql in [
        "update binding set state = state",
        "update virtual_number set version = 9
        where state = 'bound'",
        "update subscriber set version = 9",
        "update tenant set state = 'suspended'",
    ] {
        let done = sqlx::query(sql).execute(&mut app).await.expect("nothing to change");
        assert_eq!(done.rows_affected(), 0, "{sql}");
    }
    refused(
        &mut app,
        &[
            "insert into cdr select * from cdr",
            "insert into virtual_number (id, digits) select id, digits from virtual_number",
            "delete from event",
            "update webhook_delivery set state = state",
            "delete from webhook_delivery",
            "select * from cdr_default",
            "create table mine (id integer)",
            "select set_role_verifier('maskline_app', 'SCRAM-SHA-256$')",
        ],
    )
    .await;
    let mut relay = world.test.connect_as("maskline_relay").await;
    refused(
        &mut relay,
        &[
            "update binding set state = state",
            "update virtual_number set state = 'bound'",
            "select * from api_key",
            "select * from idempotency",
            "delete from cdr",
            "update webhook_endpoint set url = url",
            "update webhook_endpoint set secret_sealed = secret_sealed",
            "insert into webhook_endpoint select * from webhook_endpoint",
            "update cdr set cause = 'busy'",
            "select create_month_partitions(now(), 1)",
        ],
    )
    .await;
}

/// The one look over the fence that a tenant's transaction has: at endings, while it lasts.
#[tokio::test]
async fn a_look_at_the_endings_of_virtual_numbers_shows_a_tenant_nothing_more_afterwards() {
    let mut world = World::new().await;
    let (one, two) = (world.insurer("A").await, world.insurer("B").await);
    world.numbers(3).await;
    world.bind(&two, "p", 1).await;
    let mut app = world.test.connect_as("maskline_app").await;
    let tenant = uuid::Uuid::from_u128(one.id.as_u128()).to_string();
    sqlx::raw_sql("begin").execute(&mut app).await.expect("begun");
    sqlx::query("select set_config('maskline.tenant', $1, true)")
        .bind(tenant)
        .execute(&mut app)
        .await
        .expect("set");
    let visible = "select count(*) from virtual_number";
    let before: i64 = sqlx::query_scalar(visible).fetch_one(&mut app).await.expect("a count");
    let found: Vec<(String, Option<String>)> =
        sqlx::query_as("select digits, country_code from virtual_numbers_ending('0000')")
            .fetch_all(&mut app)
            .await
            .expect("the endings");
    assert_eq!(found, [("17000000000".to_owned(), Some("86".to_owned()))], "the other tenant's");
    let after: i64 = sqlx::query_scalar(visible).fetch_one(&mut app).await.expect("a count");
    assert_eq!((before, after), (2, 2));
    let mut relay = world.test.connect_as("maskline_relay").await;
    refused(&mut relay, &["select digits from virtual_numbers_ending('0000')"]).await;
}

async fn refused(connection: &mut PgConnection, statements: &[&'static str]) {
    for sql in statements {
        let error = sqlx::query(*sql).execute(&mut *connection).await.expect_err("refused");
        let code = error.as_database_error().and_then(|e| e.code().map(|c| c.into_owned()));
        assert_eq!(code.as_deref(), Some("42501"), "{sql}");
    }
}

#[tokio::test]
async fn a_transaction_ends_its_tenant() {
    let test = support::database().await;
    let tenant = test.store.tenant(TenantId::new(1, 1)).await.expect("begun");
    assert_eq!(tenant.tenant(), TenantId::new(1, 1));
    tenant.commit().await.expect("committed");
}
