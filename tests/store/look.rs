//! `maskline doctor` looks at a database and leaves it as it is.

use maskline::domain::id::TrunkId;
use maskline::store::server::{TrunkCounts, count_trunks, look};
use maskline::store::trunk::TrunkFault;
use sqlx::{AssertSqlSafe, ConnectOptions as _};

use crate::fixture::World;
use crate::support::cluster;
use uuid::Uuid;

#[tokio::test]
async fn a_look_at_a_new_database_tells_what_is_pending_and_migrates_nothing() {
    let name = "looked_at";
    let mut superuser = cluster().superuser().connect().await.expect("the superuser connects");
    let sql = format!("create database {name} owner maskline_owner");
    sqlx::query(AssertSqlSafe(sql)).execute(&mut superuser).await.expect("a new database");
    for _ in 0..2 {
        let seen = look(cluster().owner().database(name), None).await.expect("an answer");
        assert_eq!(seen.applied.pending.first(), Some(&"roles"));
        assert!(!seen.applied.is_later);
    }
    let mut owner = cluster().owner().database(name).connect().await.expect("the owner connects");
    let tables: i64 = sqlx::query_scalar("select count(*) from pg_tables where schemaname = $1")
        .bind("public")
        .fetch_one(&mut owner)
        .await
        .expect("a count");
    assert_eq!(tables, 0);
}

#[tokio::test]
async fn a_look_at_ours_finds_its_trunks_and_sets_no_password() {
    let mut world = World::new().await;
    let passwords = "select array_agg(rolpassword order by rolname) from pg_authid
                     where rolname like 'maskline%'";
    let before: Vec<Option<String>> =
        sqlx::query_scalar(passwords).fetch_one(&mut world.sql).await.expect("the roles");
    let seen = look(world.test.owner(), None).await.expect("an answer");
    assert_eq!((seen.applied.pending.as_slice(), seen.applied.is_later), (&[][..], false));
    let trunks = count_trunks(world.test.owner().username("maskline_relay")).await;
    let faults = vec![];
    assert_eq!(trunks.expect("counted"), TrunkCounts { insurers: 0, carriers: 2, faults });
    let after: Vec<Option<String>> =
        sqlx::query_scalar(passwords).fetch_one(&mut world.sql).await.expect("the roles");
    assert_eq!(before, after);

    let from_before = "update trunk set transport = 'tls', tls_name = 'c.example'
                       where id = (select id from trunk order by id limit 1) returning id";
    let id: Uuid = sqlx::query_scalar(from_before).fetch_one(&mut world.sql).await.expect("one");
    let trunks = count_trunks(world.test.owner().username("maskline_relay")).await;
    let fault = (TrunkId::from_u128(id.as_u128()), TrunkFault::NoRoots);
    assert_eq!(trunks.expect("counted").faults, [fault]);

    let later = "insert into _sqlx_migrations values (9999, 'later', now(), true, '', 0)";
    sqlx::query(later).execute(&mut world.sql).await.expect("a later migration");
    assert!(look(world.test.owner(), None).await.expect("an answer").applied.is_later);
}
