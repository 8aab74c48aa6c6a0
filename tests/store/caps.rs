//! What was done under the caps against fraud, as the records say it, and who is told of them.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use maskline::domain::cap::{CapKey, CapMeasure, CapReached, CapSubject, CapUsage};
use maskline::domain::cause::Cause;
use maskline::domain::cdr::{Cdr, Direction, EndedBy};
use maskline::domain::id::{CallId, SubscriberId};
use maskline::domain::mark::Mark;
use maskline::store::cdr::insert_batch;
use maskline::store::convert::unix_ms;
use serde_json::Value;

use crate::fixture::{Insurer, World, bits, x};
use crate::support::noon;

const SUBSCRIBER: SubscriberId = SubscriberId::from_u128(0x5b);

/// Noon of the fixture's day, and that day's first moment (UTC).
fn midnight() -> SystemTime {
    let day = unix_ms(noon()) / 86_400_000 * 86_400;
    SystemTime::UNIX_EPOCH + Duration::from_secs(day)
}

/// A call that was answered at once and talked for so long.
fn talk(insurer: &Insurer, started_at: SystemTime, talked_ms: u64) -> Cdr {
    let duration = Duration::from_millis(talked_ms);
    Cdr {
        call: CallId::new(unix_ms(started_at), bits()),
        tenant: Some(insurer.id),
        binding: None,
        subscriber: Some(SUBSCRIBER),
        agent: Some(insurer.agent),
        virtual_number: Some(x("17000000000")),
        direction: Direction::ToSubscriber,
        purpose: None,
        intent: None,
        marks: Vec::new(),
        trunk_a: insurer.trunk,
        trunk_b: None,
        started_at,
        ringing_at: None,
        callee_answered_at: None,
        answered_at: Some(started_at),
        ended_at: started_at + duration,
        duration,
        setup: Some(Duration::from_millis(1)),
        cause: Cause::CallerHangup,
        reasons: Vec::new(),
        ended_by: EndedBy::Caller,
        sip_status: 200,
        q850: 16,
        media: None,
        caps_reached: Vec::new(),
        whisper: None,
    }
}

/// Calls of the minute and minutes of the day of each subject at this time.
async fn usage(world: &World, now: SystemTime) -> BTreeMap<CapKey, (u32, u32)> {
    let usage = world.test.database.relay.load_cap_usage(now).await.expect("an answer");
    usage.into_iter().map(|CapUsage { key, calls, minutes }| (key, (calls, minutes))).collect()
}

#[tokio::test]
async fn begun_calls_and_minutes_are_those_that_were_counted_while_they_ran() {
    let mut world = World::new().await;
    let (one, two) = (world.insurer("A").await, world.insurer("B").await);
    world.numbers(1).await;
    let now = midnight() + Duration::from_secs(3_600);
    let at = |second| now + Duration::from_secs(second);
    let unanswered = Cdr { answered_at: None, ..talk(&one, at(0), 0) };
    let refused = Cdr { setup: None, ..unanswered.clone() };
    let cut = Cdr { cause: Cause::MinutesCap, ..talk(&one, at(0), 120_003) };
    let from_subscriber = Cdr { direction: Direction::FromSubscriber, ..talk(&one, at(1), 60_001) };
    let fresh = |cdr: Cdr| Cdr { call: CallId::new(unix_ms(cdr.started_at), bits()), ..cdr };
    let records = [
        unanswered.clone(),
        fresh(refused),
        cut,
        Cdr { agent: None, ..from_subscriber },
        // Of the minute before, and of the day before: of its three minutes, one is of today.
        talk(&one, now - Duration::from_secs(1), 59_999),
        talk(&one, midnight() - Duration::from_secs(90), 130_000),
        talk(&one, midnight() - Duration::from_secs(600), 60_000),
        Cdr { marks: vec![Mark::Menu], setup: None, ..talk(&two, at(2), 90_000) },
        talk(&two, at(2), 0),
    ];
    insert_batch(&world.test.database.relay, &records).await.expect("written");
    let expected = [
        (CapKey::Tenant(one.id), (3, 6)),
        (CapKey::Tenant(two.id), (1, 1)),
        (CapKey::Agent(one.agent), (2, 4)),
        (CapKey::Agent(two.agent), (1, 1)),
        (CapKey::Number(x("17000000000")), (4, 7)),
        (CapKey::Subscriber(SUBSCRIBER), (3, 5)),
    ];
    assert_eq!(usage(&world, at(30)).await, expected.into());
    let later = usage(&world, at(60)).await;
    assert_eq!(later[&CapKey::Tenant(one.id)], (0, 6), "another minute");
    let tomorrow = usage(&world, now + Duration::from_secs(86_400)).await;
    assert_eq!(tomorrow, BTreeMap::new(), "another day");
}

#[tokio::test]
async fn who_meets_a_cap_is_told_of_with_its_record_and_once() {
    let mut world = World::new().await;
    let insurer = world.insurer("A").await;
    world.numbers(1).await;
    let reached = CapReached { subject: CapSubject::Agent, measure: CapMeasure::CallsPerMinute };
    let cdr = Cdr {
        answered_at: None,
        setup: None,
        cause: Cause::RateCap,
        caps_reached: vec![reached],
        ..talk(&insurer, noon(), 0)
    };
    for _ in 0..2 {
        insert_batch(&world.test.database.relay, std::slice::from_ref(&cdr))
            .await
            .expect("written");
    }
    let mut told = world.events(insurer.id).await;
    told.sort();
    assert_eq!(told, ["call.refused", "cap.reached"]);
    let data: Value = sqlx::query_scalar("select data from event where type = 'cap.reached'")
        .fetch_one(&mut world.sql)
        .await
        .expect("the event");
    let words = ["subject", "measure", "virtual_number", "agent", "call"].map(|it| &data[it]);
    let (agent, call) = (insurer.agent.to_string(), cdr.call.to_string());
    assert_eq!(words, ["agent", "calls_per_minute", "17000000000", &agent, &call]);
}
