//! What a subscriber reads and does by the keys of its phone: in force at once, told to its tenant,
//! and nothing of anybody else.

use std::time::{Duration, SystemTime};

use maskline::domain::cause::Cause;
use maskline::domain::cdr::Cdr;
use maskline::domain::id::CallId;
use maskline::domain::menu::{CallCode, MenuAnswer, MenuQuestion, MenuRequest, PastCall};
use maskline::domain::purpose::Purpose;
use maskline::domain::whisper::WhisperResult;
use maskline::store::binding::BindingRecord;
use maskline::store::convert::unix_ms;
use maskline::store::menu::{LOCKED_FOR, WRONG_CODES_MAX};
use maskline::store::watch::{Heard, RouteWatch};

use crate::fixture::{DAY, Insurer, World, bits};
use crate::support::noon;
use crate::whispers::{count, judge, route, told, write};

/// An agent's call so many days before noon, announced with this code.
fn called(insurer: &Insurer, to: &BindingRecord, purpose: Purpose, days: u32, code: &str) -> Cdr {
    let at = noon() - days * DAY;
    let cdr = told(insurer, to, purpose, WhisperResult::Announced);
    let whisper = cdr.whisper.clone().map(|it| {
        let mut it = *it;
        it.code = CallCode::parse(code);
        Box::new(it)
    });
    Cdr {
        call: CallId::new(unix_ms(at), bits()),
        started_at: at,
        ended_at: at + Duration::from_secs(60),
        whisper,
        ..cdr
    }
}

async fn ask(
    world: &World,
    insurer: &Insurer,
    of: &BindingRecord,
    at: SystemTime,
    request: MenuRequest,
) -> MenuAnswer {
    let question = MenuQuestion {
        call: CallId::new(unix_ms(at), bits()),
        number: 1,
        tenant: insurer.id,
        binding: of.id,
        subscriber: of.subscriber,
        request,
    };
    world.test.database.relay.answer_menu(at, &question).await.expect("an answer")
}

fn check(code: &str) -> MenuRequest {
    MenuRequest::Check(CallCode::parse(code).expect("a code"))
}

#[tokio::test]
async fn paused_calls_are_refused_for_seven_days_and_those_of_no_other_insurer() {
    let mut world = World::new().await;
    let (one, two) = (world.insurer("A").await, world.insurer("B").await);
    world.numbers(3).await;
    let (first, second) = (world.bind(&one, "p", 1).await, world.bind(&two, "p", 1).await);
    let mut watch = RouteWatch::connect(&world.test.database.relay).await.expect("listening");
    assert_eq!(ask(&world, &one, &first, noon(), MenuRequest::Pause).await, MenuAnswer::Done);
    assert_eq!(watch.next().await.expect("heard"), Heard::Binding(first.id));
    let (mine, foreign) = (route(&world, &one, &first).await, route(&world, &two, &second).await);
    for purpose in [Purpose::Claim, Purpose::Marketing, Purpose::AccidentEmergency] {
        assert_eq!(judge(&mine, purpose, Duration::ZERO), Some(Cause::Paused));
        assert_eq!(judge(&mine, purpose, 7 * DAY - Duration::from_secs(1)), Some(Cause::Paused));
        assert_eq!(judge(&mine, purpose, 7 * DAY), None);
        assert_eq!(judge(&foreign, purpose, DAY), None);
    }
    assert_eq!(world.events(one.id).await, ["binding.created", "subscriber.paused"]);
    assert_eq!(world.events(two.id).await, ["binding.created"]);
    let later = ask(&world, &one, &first, noon() + DAY, MenuRequest::Pause).await;
    assert_eq!(later, MenuAnswer::Done);
    let mine = route(&world, &one, &first).await;
    assert_eq!(judge(&mine, Purpose::Claim, 7 * DAY), Some(Cause::Paused), "seven days from then");
}

#[tokio::test]
async fn the_last_five_calls_that_reached_the_phone_are_told_and_nobody_elses() {
    let mut world = World::new().await;
    let insurer = world.insurer("A").await;
    world.numbers(3).await;
    let (mine, other) = (world.bind(&insurer, "p", 1).await, world.bind(&insurer, "q", 2).await);
    let nobody = ask(&world, &insurer, &mine, noon(), MenuRequest::Callers).await;
    assert_eq!(nobody, MenuAnswer::Callers(Vec::new()));
    let unheard = Cdr {
        ringing_at: None,
        callee_answered_at: None,
        caps_reached: Vec::new(),
        whisper: None,
        ..called(&insurer, &mine, Purpose::Survey, 0, "")
    };
    let mut calls: Vec<Cdr> =
        [8, 40, 6, 3, 1, 0, 2].map(|days| called(&insurer, &mine, Purpose::Claim, days, "")).into();
    calls.extend([unheard, called(&insurer, &other, Purpose::Marketing, 0, "")]);
    write(&world, &calls).await;
    let told = |days_ago| PastCall { purpose: Purpose::Claim, days_ago };
    let last = ask(&world, &insurer, &mine, noon(), MenuRequest::Callers).await;
    assert_eq!(last, MenuAnswer::Callers([0, 1, 2, 3, 6].map(told).into()));
}

#[tokio::test]
async fn the_last_caller_is_blocked_and_reported_once() {
    let mut world = World::new().await;
    let insurer = world.insurer("A").await;
    world.numbers(2).await;
    let mine = world.bind(&insurer, "p", 1).await;
    for request in [MenuRequest::BlockLast, MenuRequest::ReportLast] {
        let nobody = ask(&world, &insurer, &mine, noon(), request).await;
        assert_eq!(nobody, MenuAnswer::NoCalls);
    }
    write(&world, &[called(&insurer, &mine, Purpose::Claim, 1, "")]).await;
    let before = route(&world, &insurer, &mine).await;
    assert_eq!(judge(&before, Purpose::Claim, DAY), None);
    for request in [MenuRequest::BlockLast, MenuRequest::ReportLast] {
        for _ in 0..2 {
            let done = ask(&world, &insurer, &mine, noon(), request).await;
            assert_eq!(done, MenuAnswer::Done);
        }
    }
    let after = route(&world, &insurer, &mine).await;
    assert_eq!(judge(&after, Purpose::Claim, 365 * DAY), Some(Cause::Blocked));
    let told = ["binding.created", "call.completed", "block.created", "complaint.opened"];
    assert_eq!(world.events(insurer.id).await, told);
    let complaints = "select count(*) from complaint where source = 'menu'";
    assert_eq!(count(&mut world, complaints).await, 1);
}

#[tokio::test]
async fn a_code_is_right_for_its_subscriber_and_for_thirty_days() {
    let mut world = World::new().await;
    let insurer = world.insurer("A").await;
    world.numbers(3).await;
    let (mine, other) = (world.bind(&insurer, "p", 1).await, world.bind(&insurer, "q", 2).await);
    write(&world, &[called(&insurer, &mine, Purpose::Survey, 2, "012345")]).await;
    write(&world, &[called(&insurer, &other, Purpose::Claim, 2, "777777")]).await;
    let call = PastCall { purpose: Purpose::Survey, days_ago: 2 };
    let right = ask(&world, &insurer, &mine, noon(), check("012345")).await;
    assert_eq!(right, MenuAnswer::Checked(Some(call)));
    let foreign = ask(&world, &insurer, &mine, noon(), check("777777")).await;
    assert_eq!(foreign, MenuAnswer::Checked(None));
    let old = ask(&world, &insurer, &mine, noon() + 29 * DAY, check("012345")).await;
    assert_eq!(old, MenuAnswer::Checked(None));
}

#[tokio::test]
async fn a_code_that_was_forgotten_is_not_said_to_be_false_and_none_is_kept_in_clear() {
    let mut world = World::new().await;
    let insurer = world.insurer("A").await;
    world.numbers(3).await;
    let (mine, other) = (world.bind(&insurer, "p", 1).await, world.bind(&insurer, "q", 2).await);
    let call = called(&insurer, &mine, Purpose::Survey, 2, "");
    write(&world, &[call.clone(), called(&insurer, &other, Purpose::Claim, 2, "777777")]).await;
    let none = ask(&world, &insurer, &mine, noon(), check("012345")).await;
    assert_eq!(none, MenuAnswer::Checked(None), "no code was spoken");
    // As a program of before does it, while others are new already.
    let mut old = world.test.connect_as("maskline_relay").await;
    sqlx::query(
        "insert into call_code (tenant_id, call_id, subscriber_id, code, spoken_at)
         select tenant_id, id, subscriber_id, '012345', ended_at from cdr where id = $1",
    )
    .bind(uuid::Uuid::from_u128(call.call.as_u128()))
    .execute(&mut old)
    .await
    .expect("it goes on to work");
    assert_eq!(count(&mut world, "select count(*) from call_code where code is not null").await, 0);
    let forgotten = ask(&world, &insurer, &mine, noon(), check("012345")).await;
    assert_eq!(forgotten, MenuAnswer::Uncertain);
    let later = ask(&world, &insurer, &mine, noon() + 29 * DAY, check("012345")).await;
    assert_eq!(later, MenuAnswer::Checked(None), "no code is known for so long");
    let foreign = ask(&world, &insurer, &other, noon(), check("012345")).await;
    assert_eq!(foreign, MenuAnswer::Checked(None), "of another subscriber nothing is forgotten");
    let lost = "insert into call_code_loss values ('2100-01-01')";
    sqlx::query(lost).execute(&mut world.sql).await.expect("a time");
    let before = ask(&world, &insurer, &other, noon(), check("012345")).await;
    assert_eq!(before, MenuAnswer::Uncertain, "all codes of before a time were forgotten");
}

#[tokio::test]
async fn after_some_wrong_codes_even_the_right_one_is_not_looked_at_for_a_day() {
    let mut world = World::new().await;
    let insurer = world.insurer("A").await;
    world.numbers(2).await;
    let mine = world.bind(&insurer, "p", 1).await;
    write(&world, &[called(&insurer, &mine, Purpose::Survey, 0, "012345")]).await;
    for _ in 0..WRONG_CODES_MAX - 1 {
        let wrong = ask(&world, &insurer, &mine, noon(), check("111111")).await;
        assert_eq!(wrong, MenuAnswer::Checked(None));
    }
    let right = ask(&world, &insurer, &mine, noon(), check("012345")).await;
    assert!(matches!(right, MenuAnswer::Checked(Some(_))), "it counts anew from here");
    for _ in 0..WRONG_CODES_MAX {
        let wrong = ask(&world, &insurer, &mine, noon(), check("111111")).await;
        assert_eq!(wrong, MenuAnswer::Checked(None));
    }
    let locked = ask(&world, &insurer, &mine, noon(), check("012345")).await;
    assert_eq!(locked, MenuAnswer::Locked);
    let day = ask(&world, &insurer, &mine, noon() + LOCKED_FOR, check("012345")).await;
    assert!(matches!(day, MenuAnswer::Checked(Some(_))));
}

#[tokio::test]
async fn no_tenant_sees_a_code_and_none_lifts_a_pause_or_a_block() {
    let mut world = World::new().await;
    let insurer = world.insurer("A").await;
    world.numbers(2).await;
    let mine = world.bind(&insurer, "p", 1).await;
    write(&world, &[called(&insurer, &mine, Purpose::Survey, 0, "012345")]).await;
    ask(&world, &insurer, &mine, noon(), MenuRequest::Pause).await;
    ask(&world, &insurer, &mine, noon(), MenuRequest::BlockLast).await;
    let mut app = world.test.connect_as("maskline_app").await;
    sqlx::query("select set_config('maskline.tenant', $1, false)")
        .bind(uuid::Uuid::from_u128(insurer.id.as_u128()).to_string())
        .execute(&mut app)
        .await
        .expect("a tenant");
    for sql in [
        "select count(*) from call_code",
        "select count(*) from code_try",
        "delete from subscriber_pause",
        "update subscriber_pause set subscriber_id = subscriber_id",
        "delete from agent_block",
    ] {
        assert!(sqlx::query(sql).execute(&mut app).await.is_err(), "{sql}");
    }
    // Only what a test tenant's subscribers refuse can be drawn nearer.
    let drawn = sqlx::query("update subscriber_pause set until = since").execute(&mut app).await;
    assert_eq!(drawn.expect("nothing to update").rows_affected(), 0);
    for sql in ["select count(*) from subscriber_pause", "select count(*) from agent_block"] {
        let seen: i64 = sqlx::query_scalar(sql).fetch_one(&mut app).await.expect("a count");
        assert_eq!(seen, 1, "{sql}");
    }
}
