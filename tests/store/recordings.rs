//! Recordings in the store: rows of what is on the disk, links that work once, and the line that
//! is written of each deed.

use std::time::{Duration, SystemTime};

use maskline::domain::id::{CallId, RecordingId, TenantId};
use maskline::domain::recording::Retention;
use maskline::store::convert::unix_ms;
use maskline::store::page::PageRequest;
use maskline::store::recording::{LINK_TIME, Recording};

use crate::fixture::{World, bits};
use crate::support::noon;

const SECOND: Duration = Duration::from_secs(1);

fn recorded(tenant: TenantId, call: CallId, at: SystemTime) -> Recording {
    Recording {
        tenant,
        id: RecordingId::new(unix_ms(at), bits()),
        call,
        retention: Retention::FiveYears,
        started_at: at,
        duration: Duration::from_millis(61_020),
        bytes: 5_000_000,
        frames: [3_000, 2_999],
        lost: 1,
        complete: true,
        sha256: [9; 32],
        retain_until: at + Retention::FiveYears.time(),
        erased_at: None,
    }
}

/// What was done to a recording and by whom, in order.
async fn deeds(world: &mut World, id: RecordingId) -> Vec<(String, String)> {
    sqlx::query_as("select action, actor from audit_entry where subject_id = $1 order by id")
        .bind(uuid::Uuid::from_u128(id.as_u128()))
        .fetch_all(&mut world.sql)
        .await
        .expect("the deeds")
}

async fn listed(world: &World, tenant: TenantId, call: Option<CallId>) -> Vec<Recording> {
    let page = PageRequest::new(50, None);
    world.test.store.list_recordings(tenant, call, page).await.expect("a page").items
}

#[tokio::test]
async fn a_recording_is_written_down_once_and_read_by_its_tenant_alone() {
    let mut world = World::new().await;
    let (ours, others) = (world.insurer("A").await, world.insurer("B").await);
    let call = CallId::new(1, bits());
    let recording = recorded(ours.id, call, noon());
    let relay = &world.test.database.relay;
    assert!(relay.insert_recording(&recording, noon()).await.expect("written"));
    assert!(!relay.insert_recording(&recording, noon()).await.expect("again"));
    assert_eq!(listed(&world, ours.id, None).await, std::slice::from_ref(&recording));
    assert_eq!(listed(&world, ours.id, Some(call)).await, [recording]);
    assert_eq!(listed(&world, ours.id, Some(CallId::new(2, 2))).await, []);
    assert_eq!(listed(&world, others.id, None).await, []);
}

#[tokio::test]
async fn a_link_fetches_one_recording_once_within_its_time_and_both_are_written_down() {
    let mut world = World::new().await;
    let (ours, others) = (world.insurer("A").await, world.insurer("B").await);
    let recording = recorded(ours.id, CallId::new(1, bits()), noon());
    world.test.database.relay.insert_recording(&recording, noon()).await.expect("written");
    let store = world.test.store.clone();
    let (id, at) = (recording.id, noon());
    let foreign = store.link_recording(others.id, id, &[1; 32], "key_b", at).await;
    assert_eq!(foreign.expect("answered"), None, "another tenant's recording");
    for hash in [[2; 32], [3; 32]] {
        let linked = store.link_recording(ours.id, id, &hash, "key_a", at).await;
        assert_eq!(linked.expect("linked"), Some(at + LINK_TIME));
    }
    let find = async |hash, at| store.find_linked_recording(&[hash; 32], at).await.expect("found");
    let using = async |hash, at| store.use_recording_link(&[hash; 32], at).await.expect("answered");
    assert_eq!((find(1, at).await, using(1, at).await), (None, false));
    let (in_time, late) = (at + LINK_TIME - SECOND, at + LINK_TIME);
    assert_eq!((find(3, late).await, using(3, late).await), (None, false), "too late");
    assert_eq!(find(2, in_time).await.as_ref(), Some(&recording), "a look costs nothing");
    assert_eq!(find(2, in_time).await.as_ref(), Some(&recording));
    assert!(using(2, in_time).await);
    assert_eq!((find(2, in_time).await, using(2, in_time).await), (None, false), "used");
    let by = |action: &str| (action.to_owned(), "key_a".to_owned());
    let expected = [by("recording.linked"), by("recording.linked"), by("recording.fetched")];
    assert_eq!(deeds(&mut world, id).await, expected);
}

#[tokio::test]
async fn a_recording_goes_when_its_time_is_over_unless_it_is_held() {
    let mut world = World::new().await;
    let ours = world.insurer("A").await;
    let [due, held] = [1, 2].map(|at| recorded(ours.id, CallId::new(at, bits()), noon()));
    let relay = world.test.database.relay.clone();
    for recording in [&due, &held] {
        relay.insert_recording(recording, noon()).await.expect("written");
    }
    sqlx::query("update recording set held = true where id = $1")
        .bind(uuid::Uuid::from_u128(held.id.as_u128()))
        .execute(&mut world.sql)
        .await
        .expect("held");
    let early = relay.due_recordings(due.retain_until - SECOND).await.expect("looked");
    assert_eq!(early, []);
    let end = due.retain_until;
    let found = relay.due_recordings(end).await.expect("looked");
    assert_eq!(found, std::slice::from_ref(&due));
    let begun = async |recording| relay.begin_erasure(recording, end).await.expect("answered");
    begun(&due).await.expect("it is due").finish().await.expect("written");
    assert!(begun(&due).await.is_none(), "again");
    assert!(begun(&held).await.is_none(), "held");
    assert_eq!(relay.due_recordings(end).await.expect("looked"), []);
    let store = world.test.store.clone();
    let link = store.link_recording(ours.id, due.id, &[2; 32], "key_a", end).await;
    assert_eq!(link.expect("answered"), None, "it is gone");
    assert_eq!(deeds(&mut world, due.id).await, [("recording.erased".into(), "relay".into())]);
}

#[tokio::test]
async fn nobody_holds_a_recording_whose_file_is_being_removed() {
    let mut world = World::new().await;
    let ours = world.insurer("A").await;
    let due = recorded(ours.id, CallId::new(1, bits()), noon());
    let relay = world.test.database.relay.clone();
    relay.insert_recording(&due, noon()).await.expect("written");
    let end = due.retain_until;
    let erasure = relay.begin_erasure(&due, end).await.expect("answered").expect("it is due");
    let hold = "update recording set held = true where id = $1 and erased_at is null";
    let id = uuid::Uuid::from_u128(due.id.as_u128());
    sqlx::query("set lock_timeout = '50ms'").execute(&mut world.sql).await.expect("set");
    let held = sqlx::query(hold).bind(id).execute(&mut world.sql).await;
    assert!(held.is_err(), "it waits for the end of the erasure");
    // The file could not be removed: the row is as it was, and is due again.
    drop(erasure);
    assert_eq!(relay.due_recordings(end).await.expect("looked"), std::slice::from_ref(&due));
    assert_eq!(deeds(&mut world, due.id).await, []);
    let erasure = relay.begin_erasure(&due, end).await.expect("answered").expect("still due");
    erasure.finish().await.expect("written");
    let held = sqlx::query(hold).bind(id).execute(&mut world.sql).await.expect("answered");
    assert_eq!(held.rows_affected(), 0, "there is nothing to hold any more");
}

#[tokio::test]
async fn no_role_of_the_program_changes_or_removes_a_line_of_what_was_done() {
    let world = World::new().await;
    let mut sql = world.test.superuser().await;
    let strong: Vec<(String, String)> = sqlx::query_as(
        "select r.rolname::text, p.privilege from pg_roles r
         cross join (values ('update'), ('delete'), ('truncate')) p(privilege)
         where r.rolname in ('maskline_app', 'maskline_relay')
             and has_table_privilege(r.oid, 'audit_entry', p.privilege)",
    )
    .fetch_all(&mut sql)
    .await
    .expect("the catalogue");
    assert_eq!(strong, []);
}

#[tokio::test]
async fn the_key_of_a_recording_is_opened_for_its_own_tenant() {
    let mut world = World::new().await;
    let (ours, others) = (world.insurer("A").await, world.insurer("B").await);
    let recording = RecordingId::new(1, bits());
    let keys = world.test.database.relay.tenant_keys(&world.test.vault, ours.id).await;
    let (key, wrapped) = keys.expect("keys").create_recording_key(recording).expect("a key");
    let store = &world.test.store;
    let opened = store.open_recording_key(ours.id, recording, &wrapped).await.expect("opens");
    assert_eq!(opened.as_bytes(), key.as_bytes());
    assert!(store.open_recording_key(others.id, recording, &wrapped).await.is_err());
}
