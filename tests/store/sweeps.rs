//! Sweeps of several nodes work side by side: what another session holds is passed over, never
//! waited for.

use std::time::SystemTime;

use maskline::domain::id::TenantId;
use maskline::store::binding::{
    BindOutcome, BindingRecord, BindingTerm, BindingTerms, CallsUp, EXPIRE_BINDINGS_MAX, NewBinding,
};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Postgres, Transaction};
use uuid::Uuid;

use crate::fixture::{DAY, World, wanted};
use crate::support::noon;

async fn short(world: &World, tenant: TenantId, name: &str, number: u16) -> BindingRecord {
    let valid_until = Some(noon() + DAY);
    let new = NewBinding { term: BindingTerm::Short, valid_until, ..wanted(name, number) };
    let outcome = world.try_bind(tenant, noon(), new).await;
    let BindOutcome::Created(binding) = outcome else { panic!("not bound: {outcome:?}") };
    *binding
}

/// Another session takes a lock and keeps it.
async fn hold<'c>(
    other: &'c mut PgConnection,
    sql: &'static str,
    id: u128,
) -> Transaction<'c, Postgres> {
    let mut holding = other.begin().await.expect("begun");
    let held = sqlx::query(sql).bind(Uuid::from_u128(id)).fetch_all(&mut *holding).await;
    assert!(!held.expect("held").is_empty());
    holding
}

async fn sweep(world: &World, at: SystemTime) -> (u64, u64) {
    let mut platform = world.test.store.platform().await.expect("begun");
    let swept = platform.sweep_numbers(at).await.expect("nothing is waited for");
    platform.commit().await.expect("committed");
    (swept.cooling, swept.available)
}

#[tokio::test]
async fn a_binding_that_another_session_holds_is_left_to_it() {
    let mut world = World::new().await;
    let insurer = world.insurer("A").await;
    world.numbers(2).await;
    let held = short(&world, insurer.id, "held", 1).await;
    let free = short(&world, insurer.id, "free", 2).await;
    let mut other = world.test.superuser().await;
    let lock = "select from binding where id = $1 for update";
    let holding = hold(&mut other, lock, held.id.as_u128()).await;
    let (store, relay) = (&world.test.store, &world.test.database.relay);
    let at = noon() + DAY;
    let ended = store.expire_bindings(relay, at).await.expect("nothing is waited for");
    assert_eq!(ended.iter().map(|ended| ended.binding).collect::<Vec<_>>(), [free.id]);
    holding.rollback().await.expect("let go");
    let ended = store.expire_bindings(relay, at).await.expect("swept");
    assert_eq!(ended.iter().map(|ended| ended.binding).collect::<Vec<_>>(), [held.id]);
}

#[tokio::test]
async fn numbers_that_another_session_holds_rest_a_little_longer() {
    let mut world = World::new().await;
    let insurer = world.insurer("A").await;
    world.numbers(2).await;
    let mut numbers = Vec::new();
    for (name, number) in [("p", 1), ("q", 2)] {
        let binding = world.bind(&insurer, name, number).await;
        let mut tx = world.test.store.tenant(insurer.id).await.expect("begun");
        tx.unbind(noon(), binding.id, CallsUp::GoOn, None).await.expect("unbound");
        tx.commit().await.expect("committed");
        numbers.push(binding.number);
    }
    let lock = "select from virtual_number where id = $1 for update";
    let mut other = world.test.superuser().await;
    for (at, swept) in [(noon() + DAY, (1, 0)), (noon() + DAY * 180, (0, 1))] {
        let holding = hold(&mut other, lock, numbers[0].as_u128()).await;
        assert_eq!(sweep(&world, at).await, swept, "the other one");
        holding.rollback().await.expect("let go");
        assert_eq!(sweep(&world, at).await, swept, "the one that was held");
    }
}

#[tokio::test]
async fn a_free_number_that_another_session_takes_is_passed_over() {
    let mut world = World::new().await;
    let insurer = world.insurer("A").await;
    let numbers = world.numbers(3).await;
    let mut other = world.test.superuser().await;
    let mut holding = other.begin().await.expect("begun");
    sqlx::query("select from virtual_number where digits <> $1 for update")
        .bind(numbers[1].as_str())
        .execute(&mut *holding)
        .await
        .expect("held");
    assert_eq!(world.bind(&insurer, "p", 1).await.virtual_number, numbers[1]);
    let outcome = world.try_bind(insurer.id, noon(), wanted("q", 2)).await;
    assert_eq!(outcome, BindOutcome::PoolEmpty);
    holding.rollback().await.expect("let go");
}

#[tokio::test]
async fn a_sweep_that_stops_early_tells_what_it_ended_and_ends_the_rest_next_time() {
    let mut world = World::new().await;
    let mut tenants = [world.insurer("A").await.id, world.insurer("B").await.id];
    // In the order of the sweep.
    tenants.sort_unstable();
    world.numbers(2).await;
    let first = short(&world, tenants[0], "a", 1).await;
    let second = short(&world, tenants[1], "b", 2).await;
    let broken = Uuid::from_u128(tenants[1].as_u128());
    let function = "create function broken() returns trigger language plpgsql
         as $$ begin raise exception 'no'; end $$";
    sqlx::query(function).execute(&mut world.sql).await.expect("a function");
    let trigger = format!(
        "create trigger broken before update on binding for each row
         when (old.tenant_id = '{broken}') execute function broken()"
    );
    sqlx::query(AssertSqlSafe(trigger)).execute(&mut world.sql).await.expect("a trigger");

    let (store, relay) = (&world.test.store, &world.test.database.relay);
    let at = noon() + DAY;
    let ended = store.expire_bindings(relay, at).await.expect("something was ended");
    assert_eq!(ended.iter().map(|ended| ended.binding).collect::<Vec<_>>(), [first.id]);
    // The connection of the failed sweep is undone when it is back in its pool.
    let undone = "begin; lock table binding in access exclusive mode; commit";
    sqlx::raw_sql(undone).execute(&mut world.sql).await.expect("undone");
    store.expire_bindings(relay, at).await.expect_err("nothing could be ended");
    let lifted = "drop trigger broken on binding";
    sqlx::query(lifted).execute(&mut world.sql).await.expect("lifted");
    let ended = store.expire_bindings(relay, at).await.expect("swept");
    assert_eq!(ended.iter().map(|ended| ended.binding).collect::<Vec<_>>(), [second.id]);
}

/// The database refuses to change any binding of this tenant.
async fn break_off(world: &mut World, tenant: TenantId) {
    let id = Uuid::from_u128(tenant.as_u128());
    for sql in [
        "create function refuse() returns trigger language plpgsql as
         $$ begin raise exception 'refused'; end $$"
            .to_owned(),
        format!(
            "create trigger refuse before update on binding for each row
                 when (old.tenant_id = '{id}') execute function refuse()"
        ),
    ] {
        sqlx::query(AssertSqlSafe(sql)).execute(&mut world.sql).await.expect("laid out");
    }
}

#[tokio::test]
async fn a_tenant_that_fails_holds_up_no_other() {
    let mut world = World::new().await;
    let (broken, other) = (world.insurer("A").await, world.insurer("B").await);
    let full = u16::try_from(EXPIRE_BINDINGS_MAX).expect("a small number");
    world.numbers(full + 2).await;
    let mut rows = Vec::new();
    for n in 0..full {
        let (valid_until, idle_ttl) = (Some(noon() + DAY), Some(DAY));
        let terms = BindingTerms { idle_ttl, ..BindingTerms::default() };
        let new = wanted(&format!("broken-{n}"), n);
        rows.push(NewBinding { term: BindingTerm::Short, valid_until, terms, ..new });
    }
    let mut tx = world.test.store.tenant(broken.id).await.expect("begun");
    tx.bind_all(noon(), rows).await.expect("bound");
    tx.commit().await.expect("committed");
    let fine = short(&world, other.id, "fine", 1).await;
    let terms = BindingTerms { idle_ttl: Some(DAY), ..BindingTerms::default() };
    let idle = NewBinding { terms, ..wanted("idle", 2) };
    world.try_bind(other.id, noon() + DAY, idle).await;
    break_off(&mut world, broken.id).await;

    let (store, relay) = (&world.test.store, &world.test.database.relay);
    let ended = store.expire_bindings(relay, noon() + DAY).await.expect("swept");
    assert_eq!(ended.iter().map(|ended| ended.binding).collect::<Vec<_>>(), [fine.id]);
    let ended = store.expire_idle_bindings(relay, noon() + DAY * 9).await.expect("swept");
    assert_eq!(ended.expired.len(), 1);
    let ended = store.expire_bindings(relay, noon() + DAY).await;
    assert!(ended.is_err(), "nobody would hear that a tenant waits");
}

/// As long as it lasts, the database says of it what it says when it is away.
#[tokio::test]
async fn a_tenant_that_waits_for_a_lock_holds_up_no_other() {
    let mut world = World::new().await;
    let mut tenants = [world.insurer("A").await.id, world.insurer("B").await.id];
    // In the order of the sweep.
    tenants.sort_unstable();
    world.numbers(2).await;
    let waits = short(&world, tenants[0], "waits", 1).await;
    let fine = short(&world, tenants[1], "fine", 2).await;
    let mut other = world.test.superuser().await;
    let lock = "select from virtual_number where id = $1 for update";
    let holding = hold(&mut other, lock, waits.number.as_u128()).await;
    let (store, relay) = (&world.test.store, &world.test.database.relay);
    let ended = store.expire_bindings(relay, noon() + DAY).await.expect("swept");
    assert_eq!(ended.iter().map(|ended| ended.binding).collect::<Vec<_>>(), [fine.id]);
    holding.rollback().await.expect("let go");
    let ended = store.expire_bindings(relay, noon() + DAY).await.expect("swept");
    assert_eq!(ended.iter().map(|ended| ended.binding).collect::<Vec<_>>(), [waits.id]);
}
