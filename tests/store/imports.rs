//! Imports: rows lie sealed until they are bound, each is bound once whatever dies between, and one
//! import of a tenant runs at a time.

use maskline::domain::id::{ImportId, TenantId};
use maskline::store::binding::{BindOutcome, NewBinding};
use maskline::store::import::{
    BeginOutcome, CancelOutcome, IMPORT_KEEP_TIME, ImportRecord, ImportState, READING_TIME_MAX,
};
use maskline::store::import_rows::{ChunkDone, IMPORT_ROWS_MAX};
use serde_json::json;

use crate::fixture::{Insurer, World, wanted};
use crate::support::noon;

/// Each row is two names here: of the binding and of the subscriber. The API's rows are JSON.
const ROWS: [&[u8]; 2] = [b"a 1\nb 2\nc 2", b"d 4\na 1\nwrong"];

/// The keyed hash of a body.
const BODY: [u8; 32] = [7; 32];

async fn begin(world: &World, tenant: TenantId) -> BeginOutcome {
    begin_by(world, tenant, None).await
}

async fn begin_by(world: &World, tenant: TenantId, key: Option<&[u8]>) -> BeginOutcome {
    let mut tx = world.test.store.tenant(tenant).await.expect("begun");
    let outcome = tx.begin_import(noon(), "en", key).await.expect("an outcome");
    tx.commit().await.expect("committed");
    outcome
}

async fn begun(world: &World, tenant: TenantId) -> ImportId {
    let outcome = begin(world, tenant).await;
    let BeginOutcome::Begun(import) = outcome else { panic!("not begun: {outcome:?}") };
    assert_eq!((import.state, import.read), (ImportState::Reading, 0));
    import.id
}

async fn add(world: &World, tenant: TenantId, import: ImportId) {
    for rows in ROWS {
        let mut tx = world.test.store.tenant(tenant).await.expect("begun");
        assert!(tx.add_import_rows(noon(), import, 3, rows).await.expect("kept"));
        tx.commit().await.expect("committed");
    }
}

async fn started(world: &World, insurer: &Insurer) -> ImportId {
    let import = begun(world, insurer.id).await;
    add(world, insurer.id, import).await;
    start(world, insurer.id, import).await;
    import
}

async fn start(world: &World, tenant: TenantId, import: ImportId) -> ImportRecord {
    let mut tx = world.test.store.tenant(tenant).await.expect("begun");
    let started = tx.start_import(noon(), import, &BODY).await.expect("an answer");
    tx.commit().await.expect("committed");
    started.expect("it was read until now")
}

async fn look(world: &World, tenant: TenantId, import: ImportId) -> Option<ImportRecord> {
    let mut tx = world.test.store.tenant(tenant).await.expect("begun");
    tx.find_import(import).await.expect("an answer")
}

/// Binds the next rows as a job would; `is_killed` ends it before all is durable.
async fn step(world: &World, insurer: &Insurer, import: ImportId, is_killed: bool) -> bool {
    let mut tx = world.test.store.tenant(insurer.id).await.expect("begun");
    let Some(chunk) = tx.take_import_chunk(noon(), import).await.expect("an answer") else {
        tx.commit().await.expect("committed");
        return false;
    };
    let rows = tx.open_import_chunk(&chunk).await.expect("its rows");
    let text = String::from_utf8(rows.to_vec()).expect("text");
    assert_eq!(text.lines().count() as u32, chunk.count);
    let read = |row: &str| -> Option<NewBinding> {
        let (name, number) = row.split_once(' ')?;
        Some(wanted(name, number.parse().ok()?))
    };
    let rows: Vec<Option<NewBinding>> = text.lines().map(read).collect();
    let good: Vec<bool> = rows.iter().map(Option::is_some).collect();
    let outcomes = tx.bind_all(noon(), rows.into_iter().flatten().collect()).await;
    let mut outcomes = outcomes.expect("outcomes").into_iter();
    let mut done = ChunkDone::default();
    for (nth, is_good) in (chunk.first_row..).zip(good) {
        match is_good.then(|| outcomes.next()).flatten() {
            Some(Ok(BindOutcome::Created(_))) => done.made += 1,
            Some(Ok(BindOutcome::Existing(_))) => done.existing += 1,
            _ => done.problems.push((nth, json!({"code": "malformed_body"}))),
        }
    }
    assert!(tx.finish_import_chunk(noon(), import, &chunk, done).await.expect("written"));
    if !is_killed {
        tx.commit().await.expect("committed");
    }
    true
}

/// Goes on to the end: what was dropped a moment ago may still be undone.
async fn finish(world: &World, insurer: &Insurer, import: ImportId) {
    let is_running = async || {
        let import = look(world, insurer.id, import).await.expect("the import");
        import.state == ImportState::Running
    };
    while is_running().await {
        step(world, insurer, import, false).await;
    }
}

#[tokio::test]
async fn an_import_that_is_killed_again_and_again_binds_every_row_once() {
    let mut world = World::new().await;
    let insurer = world.insurer("A").await;
    world.numbers(10).await;
    let import = started(&world, &insurer).await;
    assert_eq!(world.test.store.due_imports().await.expect("due"), [(insurer.id, import)]);
    for is_killed in [true, false, true, true, false] {
        assert!(step(&world, &insurer, import, is_killed).await);
        // The connection of whoever died is undone when it is back in its pool.
        let undone = "begin; lock table import_job in access exclusive mode; commit";
        sqlx::raw_sql(undone).execute(&mut world.sql).await.expect("undone");
    }
    assert!(!step(&world, &insurer, import, false).await);
    let done = look(&world, insurer.id, import).await.expect("the import");
    assert_eq!((done.state, done.ended_at), (ImportState::Done, Some(noon())));
    assert_eq!((done.read, done.made, done.existing, done.failed), (6, 4, 1, 1));
    let mut tx = world.test.store.tenant(insurer.id).await.expect("begun");
    let problems = tx.list_import_problems(import, 0).await.expect("problems");
    assert_eq!(problems, [(6, json!({"code": "malformed_body"}))]);
    assert_eq!(tx.list_import_problems(import, 6).await.expect("problems"), []);
    drop(tx);
    assert_eq!(world.events(insurer.id).await, ["binding.created"; 4]);
    assert_eq!(world.test.store.due_imports().await.expect("due"), []);
}

#[tokio::test]
async fn rows_lie_sealed_and_are_gone_when_they_are_bound() {
    let mut world = World::new().await;
    let insurer = world.insurer("A").await;
    world.numbers(10).await;
    let import = started(&world, &insurer).await;
    let kept = "select rows_sealed from import_chunk order by first_row";
    let sealed: Vec<Vec<u8>> =
        sqlx::query_scalar(kept).fetch_all(&mut world.sql).await.expect("rows");
    assert_eq!(sealed.len(), ROWS.len());
    for (rows, sealed) in ROWS.iter().zip(&sealed) {
        assert!(!sealed.windows(3).any(|bytes| rows.starts_with(bytes)), "rows lie in clear");
    }
    // Moved to another place they do not open.
    let swap = "update import_chunk a set rows_sealed = b.rows_sealed from import_chunk b
                where a.id <> b.id";
    sqlx::query(swap).execute(&mut world.sql).await.expect("swapped");
    let mut tx = world.test.store.tenant(insurer.id).await.expect("begun");
    let moved = tx.take_import_chunk(noon(), import).await.expect("an answer").expect("a chunk");
    assert!(tx.open_import_chunk(&moved).await.is_err());
    drop(tx);
    sqlx::query(swap).execute(&mut world.sql).await.expect("swapped back");
    finish(&world, &insurer, import).await;
    let left: Vec<Vec<u8>> =
        sqlx::query_scalar(kept).fetch_all(&mut world.sql).await.expect("rows");
    assert!(left.is_empty());
}

#[tokio::test]
async fn a_tenant_has_one_import_at_a_time_and_sees_no_others() {
    let mut world = World::new().await;
    let (one, two) = (world.insurer("A").await, world.insurer("B").await);
    let import = begun(&world, one.id).await;
    assert_eq!(begin(&world, one.id).await, BeginOutcome::AnotherRuns);
    begun(&world, two.id).await;
    assert_eq!(look(&world, two.id, import).await, None);
    // Nothing is bound before all of it has come, and nothing is kept of what breaks off.
    add(&world, one.id, import).await;
    assert!(!step(&world, &one, import, false).await);
    let mut tx = world.test.store.tenant(one.id).await.expect("begun");
    assert!(tx.abandon_import(noon(), import, noon()).await.expect("abandoned"));
    assert_eq!(tx.start_import(noon(), import, &BODY).await.expect("an answer"), None);
    assert!(!tx.add_import_rows(noon(), import, 1, b"e 5").await.expect("an answer"));
    tx.commit().await.expect("committed");
    assert_eq!(chunks(&mut world).await, 0);
    begun(&world, one.id).await;
}

async fn chunks(world: &mut World) -> i64 {
    let counted = sqlx::query_scalar("select count(*) from import_chunk");
    counted.fetch_one(&mut world.sql).await.expect("a count")
}

/// What one node binds, another leaves alone until it is through or dead.
#[tokio::test]
async fn two_nodes_do_not_bind_the_same_rows() {
    let mut world = World::new().await;
    let insurer = world.insurer("A").await;
    world.numbers(10).await;
    let import = started(&world, &insurer).await;
    let mut first = world.test.store.tenant(insurer.id).await.expect("begun");
    assert!(first.take_import_chunk(noon(), import).await.expect("an answer").is_some());
    assert!(!step(&world, &insurer, import, false).await);
    drop(first);
    let state = look(&world, insurer.id, import).await.map(|import| import.state);
    assert_eq!(state, Some(ImportState::Running));
    finish(&world, &insurer, import).await;
}

#[tokio::test]
async fn a_key_begins_one_import_and_is_free_again_when_nothing_came_of_it() {
    let mut world = World::new().await;
    let insurer = world.insurer("A").await;
    let key: Option<&[u8]> = Some(&[1; 32]);
    let BeginOutcome::Begun(import) = begin_by(&world, insurer.id, key).await else { panic!() };
    assert_eq!(begin_by(&world, insurer.id, key).await, BeginOutcome::KeyInUse);
    let mut tx = world.test.store.tenant(insurer.id).await.expect("begun");
    assert!(tx.abandon_import(noon(), import.id, noon()).await.expect("abandoned"));
    tx.commit().await.expect("committed");
    let BeginOutcome::Begun(import) = begin_by(&world, insurer.id, key).await else { panic!() };
    let first = start(&world, insurer.id, import.id).await;
    finish(&world, &insurer, import.id).await;
    // However far it has come, a repeat can be told what the first request was told.
    let again = begin_by(&world, insurer.id, key).await;
    let BeginOutcome::Repeated(import, hash) = again else { panic!("not repeated: {again:?}") };
    assert_eq!((import.state, hash.as_slice()), (ImportState::Done, BODY.as_slice()));
    assert_eq!(import.as_started(), first);
    begun(&world, insurer.id).await;
}

#[tokio::test]
async fn what_is_cancelled_keeps_its_bindings_and_none_of_its_rows() {
    let mut world = World::new().await;
    let insurer = world.insurer("A").await;
    world.numbers(10).await;
    let import = begun(&world, insurer.id).await;
    let cancel = async |tenant| {
        let mut tx = world.test.store.tenant(tenant).await.expect("begun");
        let outcome = tx.cancel_import(noon(), import).await.expect("an outcome");
        tx.commit().await.expect("committed");
        outcome
    };
    add(&world, insurer.id, import).await;
    assert_eq!(cancel(insurer.id).await, CancelOutcome::NotRunning);
    start(&world, insurer.id, import).await;
    assert!(step(&world, &insurer, import, false).await);
    let CancelOutcome::Cancelled(over) = cancel(insurer.id).await else { panic!("not over") };
    assert_eq!((over.state, over.read, over.made), (ImportState::Cancelled, 6, 3));
    assert_eq!(cancel(insurer.id).await, CancelOutcome::NotRunning);
    assert!(!step(&world, &insurer, import, false).await);
    assert_eq!(world.events(insurer.id).await.len(), 3);
    assert_eq!(chunks(&mut world).await, 0);
}

/// Rows that are being bound hold up no cancel, and none of them stays bound.
#[tokio::test]
async fn a_cancel_undoes_what_is_being_bound() {
    let mut world = World::new().await;
    let insurer = world.insurer("A").await;
    world.numbers(10).await;
    let import = started(&world, &insurer).await;
    let mut node = world.test.store.tenant(insurer.id).await.expect("begun");
    let chunk = node.take_import_chunk(noon(), import).await.expect("an answer").expect("a chunk");
    let bound = node.bind_all(noon(), vec![wanted("a", 1)]).await.expect("outcomes");
    assert!(matches!(bound.as_slice(), [Ok(BindOutcome::Created(_))]));
    let mut tx = world.test.store.tenant(insurer.id).await.expect("begun");
    let over = tx.cancel_import(noon(), import).await.expect("an outcome");
    assert!(matches!(over, CancelOutcome::Cancelled(_)), "{over:?}");
    tx.commit().await.expect("committed");
    let done = ChunkDone { made: 1, ..ChunkDone::default() };
    assert!(!node.finish_import_chunk(noon(), import, &chunk, done).await.expect("an answer"));
    node.undo().await.expect("undone");
    let told = look(&world, insurer.id, import).await.map(|import| (import.state, import.made));
    assert_eq!(told, Some((ImportState::Cancelled, 0)));
    assert!(world.events(insurer.id).await.is_empty());
    assert_eq!(chunks(&mut world).await, 0);
}

#[tokio::test]
async fn what_a_dead_node_was_reading_is_swept_and_what_is_old_is_forgotten() {
    let mut world = World::new().await;
    let insurer = world.insurer("A").await;
    world.numbers(10).await;
    let import = begun(&world, insurer.id).await;
    add(&world, insurer.id, import).await;
    let almost = noon() + READING_TIME_MAX - std::time::Duration::from_millis(1);
    assert_eq!(world.test.store.sweep_imports(almost).await.expect("swept"), 0);
    let late = noon() + READING_TIME_MAX;
    assert_eq!(world.test.store.sweep_imports(late).await.expect("swept"), 1);
    let over = look(&world, insurer.id, import).await.expect("the import");
    assert_eq!((over.state, over.ended_at), (ImportState::Abandoned, Some(late)));
    assert_eq!(chunks(&mut world).await, 0);
    // What runs is never too old, and what is over has its time.
    let other = started(&world, &insurer).await;
    let much_later = late + IMPORT_KEEP_TIME;
    assert_eq!(world.test.store.sweep_imports(much_later).await.expect("swept"), 0);
    assert_eq!(look(&world, insurer.id, import).await, None);
    finish(&world, &insurer, other).await;
    assert!(look(&world, insurer.id, other).await.is_some());
    let mut tx = world.test.store.tenant(insurer.id).await.expect("begun");
    assert!(!tx.list_import_problems(other, 0).await.expect("problems").is_empty());
}

#[tokio::test]
async fn no_import_has_more_rows_than_the_most() {
    let mut world = World::new().await;
    let insurer = world.insurer("A").await;
    let import = begun(&world, insurer.id).await;
    let mut tx = world.test.store.tenant(insurer.id).await.expect("begun");
    let max = IMPORT_ROWS_MAX;
    assert!(tx.add_import_rows(noon(), import, max - 1, b"").await.expect("an answer"));
    assert!(!tx.add_import_rows(noon(), import, 2, b"").await.expect("an answer"));
    assert!(tx.add_import_rows(noon(), import, 1, b"").await.expect("an answer"));
}
