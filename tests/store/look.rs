//! `maskline doctor` looks at a database and leaves it as it is.

use maskline::store::server::{TrunkCounts, count_trunks, look};
use sqlx::{AssertSqlSafe, ConnectOptions as _};

use crate::fixture::World;
use crate::support::cluster;

#[tokio::test]
async fn a_look_at_a_new_database_tells_what_is_pending_and_migrates_nothing() {
    let name = "looked_at";
    let mut superuser = cluster().superuser().connect().await.expect("the superuser connects");
    let sql = format!("create database {name} owner maskline_owner");
    sqlx::query(AssertSqlSafe(sql)).execute(&mut superuser).await.expect("a new database");
    for _ in 0..2 {
        let seen = look(cluster().owner().database(name)).await.expect("an answer");
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
    let seen = look(world.test.owner()).await.expect("an answer");
    assert_eq!((seen.applied.pending.as_slice(), seen.applied.is_later), (&[][..], false));
    let trunks = count_trunks(world.test.owner().username("maskline_relay")).await;
    assert_eq!(trunks.expect("counted"), TrunkCounts { insurers: 0, carriers: 2 });
    let after: Vec<Option<String>> =
        sqlx::query_scalar(passwords).fetch_one(&mut world.sql).await.expect("the roles");
    assert_eq!(before, after);

    let later = "insert into _sqlx_migrations values (9999, 'later', now(), true, '', 0)";
    sqlx::query(later).execute(&mut world.sql).await.expect("a later migration");
    assert!(look(world.test.owner()).await.expect("an answer").applied.is_later);
}
