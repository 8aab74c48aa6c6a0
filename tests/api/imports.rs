//! Files of bindings: read while they come, bound in the background, and every row told once.

use std::io;

use axum::body::{Body, Bytes};
use futures_util::stream::{iter, once};
use futures_util::{StreamExt as _, poll};
use maskline::api::import_bind::bind_next;
use maskline::domain::id::{ImportId, TenantId};
use maskline::store::import::READING_TIME_MAX;
use serde_json::{Value, json};

use crate::batch::{lasting, mixed};
use crate::support::noon;
use crate::world::{Answer, Client, World, binding, real_number};

const PATH: &str = "/v1/jobs/imports";
const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");
const CSV: (&str, &str) = ("content-type", "text/csv");
const KEY: &str = "idempotency-key";
/// The rows that one transaction binds.
const CHUNK: usize = 500;

fn lines(rows: impl IntoIterator<Item = Value>) -> String {
    rows.into_iter().map(|row| format!("{row}\n")).collect()
}

async fn send(client: &Client, body: impl Into<Body>) -> Answer {
    client.raw("POST", PATH, body, &[NDJSON]).await
}

async fn look(client: &Client, import: &str) -> Value {
    client.get(&format!("{PATH}/{import}")).await.gave(200).body
}

/// Read, created, existing, failed.
fn counts(import: &Value) -> [u64; 4] {
    ["rows_read", "rows_created", "rows_existing", "rows_failed"]
        .map(|name| import[name].as_u64().expect("a count"))
}

async fn step(world: &World, import: &str) -> bool {
    let tenant = TenantId::parse(&world.tenant).expect("an id");
    let import = ImportId::parse(import).expect("an id");
    bind_next(&world.db.store, noon(), tenant, import).await.expect("bound")
}

/// Binds all rows, as the node does by and by.
async fn finish(world: &World, import: &str) -> Value {
    while step(world, import).await {}
    look(&world.admin, import).await
}

/// The error file.
async fn errors(client: &Client, import: &str) -> Vec<Value> {
    let answer = client.get(&format!("{PATH}/{import}/errors")).await.gave(200);
    assert_eq!(answer.header("content-type"), "application/x-ndjson");
    answer.text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Free numbers for so many more bindings.
async fn numbers(world: &World, count: usize) {
    let numbers: Vec<String> = (1_000..1_000 + count).map(|n| format!("1700000{n}")).collect();
    let import = json!({"pool": world.pool, "numbers": numbers});
    world.operator.post("/v1/numbers:import", import).await.gave(200);
}

#[tokio::test]
async fn a_row_of_a_file_is_told_as_a_row_of_a_batch() {
    let (one, many) = (World::new().await, World::new().await);
    let body = json!({"bindings": mixed(&one)});
    let batch = one.admin.post("/v1/bindings:batch", body).await.gave(200).body;
    let mut file = lines(mixed(&many));
    // A batch can have no such row, and the last line of a file may have no end.
    file.push_str("{\"external_id\"");
    let begun = send(&many.admin, file).await.gave(202);
    let import = begun.id();
    assert_eq!(begun.header("location"), format!("{PATH}/{import}"));
    assert_eq!((&begun.body["state"], counts(&begun.body)), (&json!("running"), [35, 0, 0, 0]));
    let done = finish(&many, &import).await;
    assert_eq!((&done["state"], counts(&done)), (&json!("done"), [35, 17, 0, 18]));
    assert!(done["ended_at"].is_string());
    let told = errors(&many.admin, &import).await;
    let results = batch["results"].as_array().expect("results").iter().zip(1..);
    let refused: Vec<Value> = results
        .filter(|(result, _)| result["problem"].is_object())
        .map(|(result, row)| json!({"row": row, "problem": lasting(result["problem"].clone())}))
        .collect();
    let (last, others) = told.split_last().expect("lines");
    let others: Vec<Value> = others
        .iter()
        .map(|line| json!({"row": line["row"], "problem": lasting(line["problem"].clone())}))
        .collect();
    assert_eq!(others, refused);
    assert_eq!((&last["row"], &last["problem"]["code"]), (&json!(35), &json!("malformed_body")));
    // The log knows the import by its name.
    assert_eq!(last["problem"]["request_id"], json!(import));
    for table in ["binding", "subscriber", "event", "bound"] {
        assert_eq!(many.count(table).await, one.count(table).await, "{table}");
    }
    assert_eq!(many.count("import_chunk").await, 0);
}

#[tokio::test]
async fn a_csv_file_is_bound_too() {
    let world = World::new().await;
    let file = format!(
        "external_id,mode,policy.ref,subscriber.real_number,valid_until,metadata.branch\r\n\
         E-1,ax,P-1,{},,\"East,\n1\"\r\n\
         E-2,ax,P-2,{},2030-01-01T00:00:00Z,\r\n\
         E-3,ax,P-3\r\n\
         E-4,ax,P-4,0049,,\r\n",
        real_number(1),
        real_number(2),
    );
    let import = world.admin.raw("POST", PATH, file, &[CSV]).await.gave(202).id();
    assert_eq!(counts(&finish(&world, &import).await), [4, 2, 0, 2]);
    let bindings = world.admin.get("/v1/bindings?external_id=E-1").await.gave(200).body;
    assert_eq!(bindings["data"][0]["metadata"], json!({"branch": "East,\n1"}));
    let bindings = world.admin.get("/v1/bindings?external_id=E-2").await.gave(200).body;
    assert_eq!(bindings["data"][0]["term"], "short");
    let told = errors(&world.admin, &import).await;
    assert_eq!(
        (&told[0]["row"], &told[0]["problem"]["code"]),
        (&json!(3), &json!("malformed_body"))
    );
    let place = &told[1]["problem"]["errors"][0]["pointer"];
    assert_eq!((&told[1]["row"], place), (&json!(4), &json!("/subscriber/real_number")));
}

#[tokio::test]
async fn a_node_that_dies_between_and_within_chunks_costs_no_row() {
    let world = World::new().await;
    numbers(&world, 2 * CHUNK).await;
    let rows = 2 * CHUNK + 30;
    let import = send(&world.admin, lines((0..rows).map(binding))).await.gave(202).id();
    assert!(step(&world, &import).await);
    let half = look(&world.admin, &import).await;
    assert_eq!((&half["state"], counts(&half)), (&json!("running"), [1_030, 500, 0, 0]));
    // Another node begins the next chunk and dies.
    let (tenant, id) = (TenantId::parse(&world.tenant), ImportId::parse(&import));
    let (tenant, id) = (tenant.expect("an id"), id.expect("an id"));
    let mut dying = Box::pin(bind_next(&world.db.store, noon(), tenant, id));
    assert!(poll!(&mut dying).is_pending());
    drop(dying);
    while look(&world.admin, &import).await["state"] == "running" {
        step(&world, &import).await;
    }
    let done = look(&world.admin, &import).await;
    assert_eq!((&done["state"], counts(&done)), (&json!("done"), [1_030, 1_030, 0, 0]));
    assert_eq!((world.count("binding").await, world.count("event").await), (1_030, 1_030));
    // The same file again finds all of them.
    let again = send(&world.admin, lines((0..rows).map(binding))).await.gave(202).id();
    assert_eq!(counts(&finish(&world, &again).await), [1_030, 0, 1_030, 0]);
}

#[tokio::test]
async fn what_has_come_is_in_the_store_before_more_is_read() {
    let world = World::new().await;
    let (store, admin) = (world.db.superuser().await, world.admin.clone());
    let pieces =
        futures_util::stream::unfold((0, store, admin), async |(nth, mut store, admin)| {
            let kept: i64 =
                sqlx::query_scalar("select coalesce(sum(row_count), 0) from import_chunk")
                    .fetch_one(&mut store)
                    .await
                    .expect("a count");
            assert_eq!(kept, nth * CHUNK as i64);
            let list = admin.get(PATH).await.gave(200).body["data"][0].clone();
            assert_eq!((&list["state"], counts(&list)[0] as i64), (&json!("reading"), kept));
            let piece = Bytes::from("0\n".repeat(CHUNK));
            (nth < 4).then_some((Ok::<_, io::Error>(piece), (nth + 1, store, admin)))
        });
    let begun = send(&world.admin, Body::from_stream(pieces)).await.gave(202);
    assert_eq!(counts(&begun.body)[0], 4 * CHUNK as u64);
}

#[tokio::test]
async fn a_body_that_breaks_off_binds_nothing_and_blocks_nobody() {
    let world = World::new().await;
    let whole = Bytes::from(lines((0..600).map(binding)));
    let broken = iter([Ok(whole), Err(io::Error::other("reset"))]);
    send(&world.admin, Body::from_stream(broken)).await.refused(400, "malformed_body");
    let list = world.admin.get(PATH).await.gave(200).body["data"].clone();
    assert_eq!((&list[0]["state"], counts(&list[0])[0]), (&json!("abandoned"), 500));
    assert_eq!(world.count("import_chunk").await, 0);
    let import = send(&world.admin, lines([binding(1)])).await.gave(202).id();
    assert_eq!(counts(&finish(&world, &import).await), [1, 1, 0, 0]);
    assert_eq!(world.count("binding").await, 1);
}

/// The node of a body dies with it: nobody is left to say that it broke off.
#[tokio::test]
async fn what_a_dead_node_was_reading_is_over_after_a_while() {
    let world = World::new().await;
    let (admin, rows) = (world.admin.clone(), Bytes::from("0\n".repeat(CHUNK)));
    let (asked, mut is_asked) = tokio::sync::mpsc::channel::<()>(1);
    let silence = once(async move {
        let _ = asked.send(()).await;
        std::future::pending::<io::Result<Bytes>>().await
    });
    let silent = Body::from_stream(iter([Ok(rows)]).chain(silence));
    let reading = tokio::spawn(async move { send(&admin, silent).await });
    is_asked.recv().await.expect("the rows were taken");
    send(&world.admin, lines([binding(1)])).await.refused(409, "import_running");
    let late = noon() + READING_TIME_MAX + READING_TIME_MAX;
    assert_eq!(world.db.store.sweep_imports(late).await.expect("swept"), 1);
    let list = world.admin.get(PATH).await.gave(200).body["data"].clone();
    assert_eq!(list[0]["state"], "abandoned");
    send(&world.admin, lines([binding(1)])).await.gave(202);
    reading.abort();
}

#[tokio::test]
async fn what_is_no_file_of_bindings_is_refused_whole() {
    let world = World::new().await;
    for body in ["", "\n \n"] {
        let answer = send(&world.admin, body).await.refused(422, "validation_failed");
        assert_eq!(answer.place(), ("", "length"));
    }
    for (header, place) in [
        ("external_id,mode,policy.ref", ("/subscriber", "exactly_one")),
        ("external_id,mode,subscriber.id", ("/policy/ref", "missing")),
        ("external_id,mode,policy.ref,subscriber.id,colour", ("/colour", "unknown_field")),
    ] {
        let answer = world.admin.raw("POST", PATH, format!("{header}\n"), &[CSV]).await;
        assert_eq!(answer.refused(422, "validation_failed").place(), place);
    }
    let answer = world.admin.post(PATH, json!({"bindings": [binding(1)]})).await;
    answer.refused(415, "unsupported_media_type");
    let headers = [NDJSON, ("content-length", "2048000001")];
    let answer = world.admin.raw("POST", PATH, "", &headers).await;
    answer.refused(413, "body_too_large");
    let headers = [NDJSON, (KEY, "")];
    world.admin.raw("POST", PATH, "{}", &headers).await.refused(422, "validation_failed");
    assert_eq!((world.count("binding").await, world.count("import_chunk").await), (0, 0));
}

#[tokio::test]
async fn a_file_of_one_row_too_many_binds_nothing() {
    let world = World::new().await;
    let piece = Bytes::from("0\n".repeat(100_000));
    let pieces = (0..10).map(move |_| piece.clone()).chain([Bytes::from("0\n")]);
    let body = Body::from_stream(iter(pieces.map(Ok::<_, io::Error>)));
    let answer = send(&world.admin, body).await.refused(422, "validation_failed");
    assert_eq!(answer.place(), ("", "length"));
    assert_eq!(world.count("import_chunk").await, 0);
}

#[tokio::test]
async fn a_key_begins_one_import_however_often_it_comes() {
    let world = World::new().await;
    let headers = [NDJSON, (KEY, "k")];
    let file = || lines((0..3).map(binding));
    let first = world.admin.raw("POST", PATH, file(), &headers).await.gave(202);
    assert_eq!(first.header("idempotent-replayed"), "");
    finish(&world, &first.id()).await;
    let again = world.admin.raw("POST", PATH, file(), &headers).await.gave(202);
    assert_eq!((again.header("idempotent-replayed"), &again.body), ("true", &first.body));
    assert_eq!(again.header("location"), first.header("location"));
    for (other, kind) in [(lines([binding(1)]), NDJSON), (file(), CSV)] {
        let answer = world.admin.raw("POST", PATH, other, &[kind, (KEY, "k")]).await;
        answer.refused(422, "idempotency_mismatch");
    }
    // The key of another tenant is another key, and no key means another import.
    let stranger = world.stranger().await;
    let theirs = stranger.raw("POST", PATH, file(), &headers).await.gave(202);
    assert_eq!(theirs.header("idempotent-replayed"), "");
    assert_ne!(send(&world.admin, file()).await.gave(202).id(), first.id());
}

#[tokio::test]
async fn a_cancelled_import_keeps_what_is_bound() {
    let world = World::new().await;
    numbers(&world, CHUNK).await;
    let import = send(&world.admin, lines((0..600).map(binding))).await.gave(202).id();
    send(&world.admin, lines([binding(1)])).await.refused(409, "import_running");
    assert!(step(&world, &import).await);
    let path = format!("{PATH}/{import}/cancel");
    let over = world.admin.post(&path, json!({})).await.gave(200).body;
    assert_eq!((&over["state"], counts(&over)), (&json!("cancelled"), [600, 500, 0, 0]));
    world.admin.post(&path, json!({})).await.refused(409, "state_conflict");
    assert!(!step(&world, &import).await);
    assert_eq!((world.count("binding").await, world.count("import_chunk").await), (500, 0));
    send(&world.admin, lines([binding(1)])).await.gave(202);
}

#[tokio::test]
async fn problems_of_a_file_speak_the_language_of_its_request() {
    let world = World::new().await;
    let headers = [NDJSON, ("accept-language", "zh-CN")];
    let import = world.admin.raw("POST", PATH, "{}\n", &headers).await.gave(202).id();
    finish(&world, &import).await;
    assert_eq!(errors(&world.admin, &import).await[0]["problem"]["title"], "请求无效");
}

/// Rows that cannot be opened or bound do not hold up those behind them.
#[tokio::test]
async fn rows_that_nobody_can_bind_are_given_back() {
    let world = World::new().await;
    let rows = lines((0..CHUNK).map(|_| json!(0)).chain([binding(1)]));
    let import = send(&world.admin, rows).await.gave(202).id();
    let mut superuser = world.db.superuser().await;
    sqlx::query("update import_chunk set rows_sealed = 'no' where first_row = 1")
        .execute(&mut superuser)
        .await
        .expect("changed");
    let done = finish(&world, &import).await;
    assert_eq!((&done["state"], counts(&done)), (&json!("done"), [501, 1, 0, 500]));
    let told = errors(&world.admin, &import).await;
    assert_eq!((told.len(), &told[499]["row"]), (500, &json!(500)));
    let problem = &told[0]["problem"];
    assert_eq!((&problem["code"], &problem["retryable"]), (&json!("internal"), &json!(true)));
}
