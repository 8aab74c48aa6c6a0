//! Call records, their facts and events: written once, read by their tenant, free of real numbers.

use std::time::Duration;

use maskline::domain::cause::Cause;
use maskline::domain::cdr::{Cdr, Direction, EndedBy, MediaCounts, Whispered};
use maskline::domain::event::EventKind;
use maskline::domain::id::{CallId, IntentId, TenantId, TrunkId};
use maskline::domain::mark::Mark;
use maskline::domain::purpose::Purpose;
use maskline::domain::whisper::WhisperResult;
use maskline::store::binding::CallsUp;
use maskline::store::cdr::{CdrFilter, insert_batch};
use maskline::store::convert::unix_ms;
use maskline::store::outbox::{NewEvent, assign_sequences};
use maskline::store::{PageRequest, RouteTable};
use serde_json::json;
use sqlx::postgres::PgListener;

use crate::fixture::{DAY, Insurer, World, bits, x};
use crate::support::noon;

fn answered(insurer: &Insurer, second: u64) -> Cdr {
    let started_at = noon() + Duration::from_secs(second);
    let at = |ms| started_at + Duration::from_millis(ms);
    let media = MediaCounts {
        packets: 500,
        lost: 1,
        dropped: 2,
        jitter_us: 375,
        round_trip_us: 40_000,
        mos_centi: 431,
        one_way: true,
        latched: true,
    };
    Cdr {
        call: CallId::new(unix_ms(started_at), bits()),
        tenant: Some(insurer.id),
        binding: None,
        subscriber: None,
        agent: Some(insurer.agent),
        virtual_number: Some(x("17000000000")),
        direction: Direction::ToSubscriber,
        purpose: Some(Purpose::PaymentReminder),
        intent: Some(IntentId::new(1, 2)),
        marks: vec![Mark::Diverted, Mark::Signed],
        trunk_a: insurer.trunk,
        trunk_b: Some(TrunkId::new(1, 2)),
        started_at,
        ringing_at: Some(at(800)),
        callee_answered_at: Some(at(1_000)),
        answered_at: Some(at(2_000)),
        ended_at: at(12_345),
        duration: Duration::from_millis(10_345),
        setup: Some(Duration::from_micros(1_234)),
        cause: Cause::CallerHangup,
        reasons: Vec::new(),
        ended_by: EndedBy::Caller,
        sip_status: 200,
        q850: 16,
        media: Some([media, MediaCounts::default()]),
        caps_reached: Vec::new(),
        whisper: Some(Box::new(Whispered {
            result: WhisperResult::Announced,
            prompt: "en hello insurer purpose-payment-reminder".into(),
            prompt_hash: Some([7; 32]),
            heard_at: Some(at(1_990)),
            code: None,
        })),
    }
}

fn refused(insurer: &Insurer, second: u64) -> Cdr {
    let call = answered(insurer, second);
    Cdr {
        trunk_b: None,
        ringing_at: None,
        callee_answered_at: None,
        answered_at: None,
        duration: Duration::ZERO,
        setup: None,
        cause: Cause::AgentUnknown,
        reasons: vec![Cause::AgentUnknown, Cause::BindingSuspended],
        ended_by: EndedBy::Relay,
        sip_status: 403,
        q850: 21,
        media: None,
        whisper: None,
        ..call
    }
}

async fn count(world: &mut World, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(&mut world.sql).await.expect("a count")
}

#[tokio::test]
async fn records_come_back_as_they_were_written() {
    let mut world = World::new().await;
    let (one, two) = (world.insurer("A").await, world.insurer("B").await);
    world.numbers(1).await;
    let batch = [answered(&one, 0), refused(&one, 1), answered(&two, 2)];
    let written = insert_batch(&world.test.database.relay, &batch).await.expect("written");
    assert_eq!(written, 3);
    let mut tx = world.test.store.tenant(one.id).await.expect("begun");
    for cdr in &batch[..2] {
        assert_eq!(tx.find_cdr(cdr.call).await.expect("an answer").as_ref(), Some(cdr));
    }
    assert_eq!(tx.find_cdr(batch[2].call).await.expect("an answer"), None, "foreign is unknown");
    assert_eq!(count(&mut world, "select count(*) from call_fact where answered").await, 2);
    assert_eq!(world.events(one.id).await, ["call.completed", "call.refused"]);
    assert_eq!(count(&mut world, "select count(*) from cdr_default").await, 0, "in a partition");
}

#[tokio::test]
async fn a_record_of_an_earlier_program_says_less_of_how_it_sounded() {
    let mut world = World::new().await;
    let insurer = world.insurer("A").await;
    let cdr = answered(&insurer, 0);
    insert_batch(&world.test.database.relay, std::slice::from_ref(&cdr)).await.expect("written");
    let old = r#"[{"packets":5,"lost":1,"dropped":2,"jitter_us":3},
                  {"packets":0,"lost":0,"dropped":0,"jitter_us":0}]"#;
    let sql = "update cdr set media = $1::jsonb";
    sqlx::query(sql).bind(old).execute(&mut world.sql).await.expect("written");
    let mut tx = world.test.store.tenant(insurer.id).await.expect("begun");
    let read = tx.find_cdr(cdr.call).await.expect("an answer").expect("there");
    let known = MediaCounts { packets: 5, lost: 1, dropped: 2, jitter_us: 3, ..Default::default() };
    assert_eq!(read.media, Some([known, MediaCounts::default()]));
}

#[tokio::test]
async fn a_repeated_batch_doubles_nothing() {
    let mut world = World::new().await;
    let insurer = world.insurer("A").await;
    let (first, second) = (answered(&insurer, 0), refused(&insurer, 1));
    let relay = &world.test.database.relay;
    insert_batch(relay, std::slice::from_ref(&first)).await.expect("written");
    // A retry brings one that is there, a new one, and the new one twice.
    let retry = [first, second.clone(), second];
    assert_eq!(insert_batch(relay, &retry).await.expect("written"), 1);
    assert_eq!(insert_batch(relay, &retry).await.expect("written"), 0);
    for table in
        ["select count(*) from cdr", "select count(*) from call_fact", "select count(*) from event"]
    {
        assert_eq!(count(&mut world, table).await, 2, "{table}");
    }
}

#[tokio::test]
async fn what_belongs_to_nobody_is_seen_by_the_platform_alone() {
    let mut world = World::new().await;
    let insurer = world.insurer("A").await;
    let stray = Cdr { tenant: None, cause: Cause::NumberUnknown, ..refused(&insurer, 0) };
    insert_batch(&world.test.database.relay, std::slice::from_ref(&stray)).await.expect("written");
    let (all, page) = (CdrFilter::default(), PageRequest::new(50, None));
    let mut tx = world.test.store.tenant(insurer.id).await.expect("begun");
    assert_eq!(tx.list_cdrs(&all, page).await.expect("a page").items, []);
    let mut platform = world.test.store.platform().await.expect("begun");
    let strays = platform.list_stray_cdrs(&all, page).await.expect("a page").items;
    assert_eq!(strays.len(), 1);
    assert_eq!((strays[0].call, strays[0].tenant), (stray.call, None));
    assert_eq!(count(&mut world, "select count(*) from event").await, 0);
}

#[tokio::test]
async fn digits_that_are_no_number_of_ours_are_not_kept() {
    let mut world = World::new().await;
    let insurer = world.insurer("A").await;
    world.numbers(1).await;
    let real = Cdr { virtual_number: Some(x("13800000001")), ..refused(&insurer, 0) };
    insert_batch(&world.test.database.relay, &[real.clone(), answered(&insurer, 1)])
        .await
        .expect("written");
    let kept: Vec<Option<String>> =
        sqlx::query_scalar("select data ->> 'virtual_number' from event order by position")
            .fetch_all(&mut world.sql)
            .await
            .expect("the events");
    assert_eq!(kept, [None, Some("17000000000".to_owned())]);
    let mut tx = world.test.store.tenant(insurer.id).await.expect("begun");
    let cdr = tx.find_cdr(real.call).await.expect("an answer").expect("the record");
    assert_eq!(cdr.virtual_number, None);
}

#[tokio::test]
async fn an_attempt_on_a_resting_number_makes_it_rest_for_longer() {
    let mut world = World::new().await;
    let insurer = world.insurer("A").await;
    let number = world.numbers(1).await.remove(0);
    let binding = world.bind(&insurer, "p", 1).await;
    let mut tx = world.test.store.tenant(insurer.id).await.expect("begun");
    tx.unbind(noon(), binding.id, CallsUp::End, None).await.expect("unbound");
    tx.commit().await.expect("committed");
    let late = DAY.as_secs() * 150;
    let attempt = Cdr { cause: Cause::Cooling, ..refused(&insurer, late) };
    insert_batch(&world.test.database.relay, &[attempt]).await.expect("written");
    for (days, state) in [(180, "cooling"), (209, "cooling"), (210, "available")] {
        let mut platform = world.test.store.platform().await.expect("begun");
        platform.sweep_numbers(noon() + DAY * days).await.expect("swept");
        platform.commit().await.expect("committed");
        assert_eq!(world.number_state(&number).await, state, "after {days} days");
    }
}

#[tokio::test]
async fn lists_of_calls_are_filtered_and_paged() {
    let mut world = World::new().await;
    let insurer = world.insurer("A").await;
    let batch: Vec<Cdr> = (0..7).map(|second| answered(&insurer, second)).collect();
    insert_batch(&world.test.database.relay, &batch).await.expect("written");
    insert_batch(&world.test.database.relay, &[refused(&insurer, 9)]).await.expect("written");
    let mut tx = world.test.store.tenant(insurer.id).await.expect("begun");
    let answered_only = CdrFilter { cause: Some(Cause::CallerHangup), ..CdrFilter::default() };
    let first = tx.list_cdrs(&answered_only, PageRequest::new(5, None)).await.expect("a page");
    let second =
        tx.list_cdrs(&answered_only, PageRequest::new(5, first.next)).await.expect("a page");
    let calls: Vec<CallId> = first.items.iter().chain(&second.items).map(|cdr| cdr.call).collect();
    let newest_first: Vec<CallId> = batch.iter().rev().map(|cdr| cdr.call).collect();
    assert_eq!(calls, newest_first);
    assert_eq!(second.next, None);
    let between = CdrFilter {
        from: Some(noon() + Duration::from_secs(2)),
        until: Some(noon() + Duration::from_secs(4)),
        ..CdrFilter::default()
    };
    let page = tx.list_cdrs(&between, PageRequest::new(50, None)).await.expect("a page");
    assert_eq!(page.items.len(), 2);
}

#[tokio::test]
async fn every_tenants_events_are_counted_without_a_gap() {
    let mut world = World::new().await;
    let (one, two) = (world.insurer("A").await, world.insurer("B").await);
    let event =
        |n: u32| NewEvent { kind: EventKind::BindingResumed, subject: 7, data: json!({ "n": n }) };
    for n in 0..6 {
        for tenant in [one.id, two.id] {
            let mut tx = world.test.store.tenant(tenant).await.expect("begun");
            tx.emit(noon(), event(n)).await.expect("emitted");
            // Every third change is undone: it leaves no gap.
            if n % 3 != 2 {
                tx.commit().await.expect("committed");
            }
        }
        let relay = &world.test.database.relay;
        let (a, b) = tokio::join!(assign_sequences(relay, noon()), assign_sequences(relay, noon()));
        a.and(b).expect("assigned");
    }
    assign_sequences(&world.test.database.relay, noon()).await.expect("assigned");
    for tenant in [one.id, two.id] {
        let mut tx = world.test.store.tenant(tenant).await.expect("begun");
        let events = tx.list_events(0, &[], 200).await.expect("the events");
        let told: Vec<_> = events.iter().map(|e| (e.sequence, e.data["n"].clone())).collect();
        let wanted = [(1, json!(0)), (2, json!(1)), (3, json!(3)), (4, json!(4))];
        assert_eq!(told, wanted);
        assert_eq!(tx.list_events(3, &[], 200).await.expect("the events").len(), 1);
    }
}

#[tokio::test]
async fn a_change_of_routes_is_notified_at_commit_with_a_table_and_a_version_only() {
    let mut world = World::new().await;
    let insurer = world.insurer("A").await;
    world.numbers(1).await;
    let binding = world.bind(&insurer, "p", 1).await;
    let options = world.test.owner().username("maskline_relay");
    let pool = sqlx::PgPool::connect_with(options).await.expect("connected");
    let mut listener = PgListener::connect_with(&pool).await.expect("listening");
    listener.listen(maskline::store::ROUTES_CHANNEL).await.expect("listening");
    let mut undone = world.test.store.tenant(insurer.id).await.expect("begun");
    undone.touch_routes(RouteTable::Agent);
    drop(undone);
    let mut tx = world.test.store.tenant(insurer.id).await.expect("begun");
    tx.unbind(noon(), binding.id, CallsUp::End, None).await.expect("unbound");
    tx.touch_routes(RouteTable::Trunk);
    tx.commit().await.expect("committed");
    let trunk = listener.recv().await.expect("a notification");
    assert!(trunk.payload().starts_with("trunk "), "each table that was touched");
    let heard = listener.recv().await.expect("a notification");
    let words: Vec<&str> = heard.payload().split(' ').collect();
    assert_eq!(words[0], "binding");
    assert!(words[1].parse::<u64>().is_ok());
    assert!(!heard.payload().contains(binding.virtual_number.as_str()));
}

#[tokio::test]
async fn no_row_of_any_table_holds_a_real_number() {
    let mut world = World::new().await;
    let insurer = world.insurer("A").await;
    world.numbers(3).await;
    let binding = world.bind(&insurer, "p", 1).await;
    world.bind(&insurer, "q", 2).await;
    let mut tx = world.test.store.tenant(insurer.id).await.expect("begun");
    tx.unbind(noon(), binding.id, CallsUp::End, None).await.expect("unbound");
    tx.commit().await.expect("committed");
    insert_batch(&world.test.database.relay, &[answered(&insurer, 0)]).await.expect("written");
    let dump: Option<String> = sqlx::query_scalar(
        "select string_agg(query_to_xml('select * from ' || quote_ident(relname), true, false, '')
                           ::text, '')
         from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')",
    )
    .fetch_one(&mut world.sql)
    .await
    .expect("a dump");
    let dump = dump.expect("not empty");
    assert!(dump.contains(binding.virtual_number.as_str()), "the dump was read");
    for digits in ["1380000", "0000831"] {
        assert!(!dump.contains(digits));
    }
    assert_ne!(insurer.id, TenantId::from_u128(0));
}
