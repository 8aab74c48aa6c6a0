//! What a subscriber answers to who calls: it is in force with the record of the call, once, for
//! the tenant that called alone.

use std::time::Duration;

use maskline::domain::cause::Cause;
use maskline::domain::cdr::{Cdr, Direction, EndedBy, Whispered};
use maskline::domain::event::EventKind;
use maskline::domain::id::{CallId, SubscriberId};
use maskline::domain::purpose::Purpose;
use maskline::domain::route::Route;
use maskline::domain::whisper::{Unwanted, WhisperResult};
use maskline::policy::gate::{Attempt, Decision, decide};
use maskline::store::binding::BindingRecord;
use maskline::store::cdr::insert_batch;
use maskline::store::convert::unix_ms;
use maskline::store::route::{RouteKey, RouteLookup, find};
use maskline::store::unwanted::heed;
use maskline::store::watch::{Heard, RouteWatch};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use crate::fixture::{DAY, EXTENSION, Insurer, World, bits};
use crate::support::noon;

/// A call of an insurer's agent that was announced, and what came of it.
pub(crate) fn told(
    insurer: &Insurer,
    to: &BindingRecord,
    purpose: Purpose,
    result: WhisperResult,
) -> Cdr {
    let at = |seconds| noon() + Duration::from_secs(seconds);
    Cdr {
        call: CallId::new(unix_ms(noon()), bits()),
        tenant: Some(insurer.id),
        binding: Some(to.id),
        subscriber: Some(to.subscriber),
        agent: Some(insurer.agent),
        virtual_number: Some(to.virtual_number.clone()),
        direction: Direction::ToSubscriber,
        purpose: Some(purpose),
        intent: None,
        marks: Vec::new(),
        trunk_a: insurer.trunk,
        trunk_b: None,
        started_at: at(0),
        ringing_at: Some(at(1)),
        callee_answered_at: Some(at(2)),
        answered_at: None,
        ended_at: at(5),
        duration: Duration::ZERO,
        setup: Some(Duration::from_millis(1)),
        cause: result.cause().unwrap_or(Cause::CallerCancelled),
        reasons: Vec::new(),
        ended_by: EndedBy::Callee,
        sip_status: 603,
        q850: 21,
        media: None,
        caps_reached: Vec::new(),
        whisper: Some(Box::new(Whispered {
            result,
            prompt: "en hello insurer purpose-marketing".into(),
            prompt_hash: Some([7; 32]),
            heard_at: Some(at(4)),
            code: None,
        })),
    }
}

pub(crate) async fn write(world: &World, records: &[Cdr]) {
    insert_batch(&world.test.database.relay, records).await.expect("written");
}

pub(crate) async fn route(world: &World, insurer: &Insurer, to: &BindingRecord) -> Route {
    let (tenant, dialled) = (insurer.id, &to.virtual_number);
    let key = RouteKey::FromInsurer { tenant, dialled, caller: EXTENSION };
    let lookup = find(&world.test.database.relay, &world.test.vault, key).await.expect("an answer");
    let RouteLookup::Found(record) = lookup else { panic!("missing") };
    record.open(&world.test.vault, None).expect("opened")
}

/// What the gate says of a call for this purpose, so long after noon.
pub(crate) fn judge(route: &Route, purpose: Purpose, after: Duration) -> Option<Cause> {
    let stated = maskline::domain::purpose::Stated { purpose, intent: None };
    let attempt = Attempt { direction: Direction::ToSubscriber, stated };
    match decide(route, attempt, noon() + after) {
        Decision::Allow => None,
        Decision::Refuse { cause, .. } => Some(cause),
    }
}

async fn consent(world: &mut World, insurer: &Insurer, to: SubscriberId, purpose: Purpose) {
    sqlx::query(
        "insert into consent (tenant_id, id, subscriber_id, purpose, channel, text_hash,
            captured_at)
         values ($1, $2, $3, $4, 'form', decode(repeat('00', 32), 'hex'), '2020-01-01')",
    )
    .bind(Uuid::from_u128(insurer.id.as_u128()))
    .bind(Uuid::from_u128(bits()))
    .bind(Uuid::from_u128(to.as_u128()))
    .bind(purpose.label())
    .execute(&mut world.sql)
    .await
    .expect("written");
}

pub(crate) async fn count(world: &mut World, sql: &str) -> i64 {
    let query = sqlx::query_scalar(AssertSqlSafe(sql.to_owned()));
    query.fetch_one(&mut world.sql).await.expect("a count")
}

#[tokio::test]
async fn a_refused_kind_of_call_is_refused_for_half_a_year_and_no_other_kind() {
    let (mut world, insurer, to) = World::with_one_binding().await;
    consent(&mut world, &insurer, to.subscriber, Purpose::Marketing).await;
    consent(&mut world, &insurer, to.subscriber, Purpose::Survey).await;
    assert_eq!(judge(&route(&world, &insurer, &to).await, Purpose::Marketing, DAY), None);
    let no = told(&insurer, &to, Purpose::Marketing, WhisperResult::Refused);
    write(&world, &[no.clone(), told(&insurer, &to, Purpose::Survey, WhisperResult::Later)]).await;
    let route = route(&world, &insurer, &to).await;
    assert_eq!(judge(&route, Purpose::Marketing, DAY), Some(Cause::DoNotCall));
    assert_eq!(judge(&route, Purpose::Marketing, 180 * DAY), Some(Cause::DoNotCall));
    assert_eq!(judge(&route, Purpose::Marketing, 185 * DAY), None);
    assert_eq!(judge(&route, Purpose::Survey, DAY), None);
    let withdrawn = "select count(*) from consent where withdrawn_call_id is not null
        and purpose = 'marketing'";
    assert_eq!(count(&mut world, withdrawn).await, 1);
    let kept = "select count(*) from consent where withdrawn_at is null";
    assert_eq!(count(&mut world, kept).await, 1, "the other one holds");
}

/// The key with which that was said, long before the record of its call.
fn key_of(cdr: &Cdr) -> Unwanted {
    let whisper = cdr.whisper.as_ref().expect("told");
    Unwanted {
        what: whisper.result.dislike().expect("it is said at once"),
        agent: cdr.agent,
        call: cdr.call,
        tenant: cdr.tenant.expect("told"),
        binding: cdr.binding.expect("told"),
        subscriber: cdr.subscriber.expect("told"),
        purpose: cdr.purpose.expect("told"),
        at: cdr.started_at + Duration::from_secs(3),
    }
}

#[tokio::test]
async fn a_refusal_is_in_force_from_its_key_on_and_its_record_writes_it_no_second_time() {
    let (mut world, insurer, to) = World::with_one_binding().await;
    consent(&mut world, &insurer, to.subscriber, Purpose::Marketing).await;
    let cdr = told(&insurer, &to, Purpose::Marketing, WhisperResult::Refused);
    let relay = world.test.database.relay.clone();
    for _ in 0..2 {
        assert_eq!(heed(&relay, &key_of(&cdr)).await.expect("written"), [to.id]);
    }
    let at_once = route(&world, &insurer, &to).await;
    let same_second = Duration::from_secs(3);
    assert_eq!(judge(&at_once, Purpose::Marketing, same_second), Some(Cause::DoNotCall));
    assert_eq!(judge(&at_once, Purpose::Survey, same_second), None);
    let at = text(key_of(&cdr).at);
    let withdrawn = format!("select count(*) from consent where withdrawn_at = '{at}'");
    assert_eq!(count(&mut world, &withdrawn).await, 1);
    // Somebody agrees anew before the record comes.
    consent(&mut world, &insurer, to.subscriber, Purpose::Marketing).await;
    write(&world, std::slice::from_ref(&cdr)).await;
    let once = format!("select count(*) from do_not_call where since = '{at}'");
    assert_eq!(count(&mut world, &once).await, 1);
    assert_eq!(count(&mut world, "select count(*) from do_not_call").await, 1);
    let new = "select count(*) from consent where withdrawn_at is null";
    assert_eq!(count(&mut world, new).await, 1, "it stays");
    let told = world.events(insurer.id).await;
    assert_eq!(told.iter().filter(|it| *it == "whisper.refused").count(), 1);
}

fn text(at: std::time::SystemTime) -> String {
    jiff::Timestamp::try_from(at).expect("in the calendar").to_string()
}

#[tokio::test]
async fn a_tenant_can_withdraw_a_consent_and_never_take_that_back() {
    let (mut world, insurer, to) = World::with_one_binding().await;
    consent(&mut world, &insurer, to.subscriber, Purpose::Marketing).await;
    let cdr = told(&insurer, &to, Purpose::Marketing, WhisperResult::Refused);
    heed(&world.test.database.relay, &key_of(&cdr)).await.expect("written");
    consent(&mut world, &insurer, to.subscriber, Purpose::Survey).await;
    let mut app = world.test.connect_as("maskline_app").await;
    sqlx::query("select set_config('maskline.tenant', $1, false)")
        .bind(Uuid::from_u128(insurer.id.as_u128()).to_string())
        .execute(&mut app)
        .await
        .expect("set");
    let withdraw = "update consent set withdrawn_at = now() where purpose = 'survey'";
    let withdrawn = sqlx::query(withdraw).execute(&mut app).await.expect("may be withdrawn");
    assert_eq!(withdrawn.rows_affected(), 1);
    for undo in [
        "update consent set withdrawn_at = null",
        "update consent set withdrawn_at = withdrawn_at + interval '1 year'",
        "update consent set withdrawn_call_id = null",
        "update consent set captured_at = now()",
        "update consent set purpose = 'claim'",
        "update consent set text_hash = decode(repeat('11', 32), 'hex')",
        "delete from consent",
    ] {
        assert!(sqlx::query(undo).execute(&mut app).await.is_err(), "{undo}");
    }
    let kept = "select count(*) from consent where withdrawn_at is not null";
    assert_eq!(count(&mut world, kept).await, 2);
}

#[tokio::test]
async fn every_node_hears_of_a_refusal_at_its_key() {
    let (world, insurer, to) = World::with_one_binding().await;
    let mut watch = RouteWatch::connect(&world.test.database.relay).await.expect("listening");
    let cdr = told(&insurer, &to, Purpose::Marketing, WhisperResult::Refused);
    heed(&world.test.database.relay, &key_of(&cdr)).await.expect("written");
    assert_eq!(watch.next().await.expect("heard"), Heard::Binding(to.id));
}

#[tokio::test]
async fn a_refusal_is_told_to_its_tenant_alone_and_binds_it_alone() {
    let mut world = World::new().await;
    let (one, two) = (world.insurer("A").await, world.insurer("B").await);
    world.numbers(3).await;
    let (first, second) = (world.bind(&one, "p", 1).await, world.bind(&two, "p", 1).await);
    write(&world, &[told(&one, &first, Purpose::Marketing, WhisperResult::Refused)]).await;
    let foreign = route(&world, &two, &second).await;
    assert_eq!(judge(&foreign, Purpose::Marketing, DAY), None);
    let told = ["binding.created", "whisper.refused", "call.completed"];
    assert_eq!(world.events(one.id).await, told);
    assert_eq!(world.events(two.id).await, ["binding.created"]);
    for (insurer, own) in [(&one, 1_i64), (&two, 0)] {
        let mut app = world.test.connect_as("maskline_app").await;
        sqlx::query("select set_config('maskline.tenant', $1, false)")
            .bind(Uuid::from_u128(insurer.id.as_u128()).to_string())
            .execute(&mut app)
            .await
            .expect("set");
        let seen: i64 = sqlx::query_scalar("select count(*) from do_not_call")
            .fetch_one(&mut app)
            .await
            .expect("a count");
        assert_eq!(seen, own);
        let lifted = sqlx::query("delete from do_not_call").execute(&mut app).await;
        assert!(lifted.is_err(), "only the subscriber can lift it");
    }
}

#[tokio::test]
async fn a_report_opens_one_complaint_and_a_repeated_record_none() {
    let (mut world, insurer, to) = World::with_one_binding().await;
    let report = told(&insurer, &to, Purpose::Marketing, WhisperResult::Reported);
    write(&world, std::slice::from_ref(&report)).await;
    write(&world, std::slice::from_ref(&report)).await;
    let sql = "select count(*) from complaint where state = 'open' and source = 'whisper'";
    assert_eq!(count(&mut world, sql).await, 1);
    let told = world.events(insurer.id).await;
    for kind in ["whisper.reported", "complaint.opened"] {
        assert_eq!(told.iter().filter(|it| *it == kind).count(), 1, "{kind}");
    }
    let data = format!(
        "select count(*) from event where type = 'complaint.opened' and subject_id = '{}'
         and data = jsonb_build_object('call', '{}', 'binding', '{}', 'subscriber', '{}',
             'agent', '{}', 'purpose', 'marketing', 'source', 'whisper')",
        Uuid::from_u128(report.call.as_u128()),
        report.call,
        to.id,
        to.subscriber,
        insurer.agent,
    );
    assert_eq!(count(&mut world, &data).await, 1);
    assert_eq!(judge(&route(&world, &insurer, &to).await, Purpose::Marketing, DAY), None);
}

#[tokio::test]
async fn a_report_is_written_from_its_key_on_and_its_record_opens_no_second_complaint() {
    let (mut world, insurer, to) = World::with_one_binding().await;
    let cdr = told(&insurer, &to, Purpose::Marketing, WhisperResult::Reported);
    let relay = world.test.database.relay.clone();
    for _ in 0..2 {
        assert_eq!(heed(&relay, &key_of(&cdr)).await.expect("written"), [], "no route is stale");
    }
    let complaint = format!(
        "select count(*) from complaint where state = 'open' and source = 'whisper'
         and opened_at = '{}' and purpose = 'marketing' and call_id = '{}' and agent_id = '{}'
         and binding_id = '{}' and subscriber_id = '{}'",
        text(key_of(&cdr).at),
        Uuid::from_u128(cdr.call.as_u128()),
        Uuid::from_u128(insurer.agent.as_u128()),
        Uuid::from_u128(to.id.as_u128()),
        Uuid::from_u128(to.subscriber.as_u128()),
    );
    assert_eq!(count(&mut world, &complaint).await, 1);
    let at_once = world.events(insurer.id).await;
    assert_eq!(at_once, ["binding.created", "complaint.opened"], "the insurer's clocks run");
    // The record of it, with one of another call that must not suffer.
    let other = told(&insurer, &to, Purpose::Survey, WhisperResult::Reported);
    write(&world, &[cdr, other]).await;
    assert_eq!(count(&mut world, &complaint).await, 1);
    assert_eq!(count(&mut world, "select count(*) from complaint").await, 2);
    assert_eq!(count(&mut world, "select count(*) from cdr").await, 2);
    let told = world.events(insurer.id).await;
    for kind in ["whisper.reported", "complaint.opened"] {
        assert_eq!(told.iter().filter(|it| *it == kind).count(), 2, "{kind}");
    }
    assert_eq!(judge(&route(&world, &insurer, &to).await, Purpose::Marketing, DAY), None);
}

#[tokio::test]
async fn two_refusals_of_one_kind_in_one_batch_are_one_and_the_later_one_counts() {
    let (mut world, insurer, to) = World::with_one_binding().await;
    let first = told(&insurer, &to, Purpose::Marketing, WhisperResult::Refused);
    let ended_at = first.ended_at + DAY;
    let second = Cdr { call: CallId::new(unix_ms(noon()), bits()), ended_at, ..first.clone() };
    write(&world, &[second, first]).await;
    let sql = "select count(*) from do_not_call where until > since + interval '5 months'";
    assert_eq!(count(&mut world, sql).await, 1);
    let route = route(&world, &insurer, &to).await;
    assert_eq!(route.do_not_call.len(), 1);
}

#[tokio::test]
async fn every_result_has_its_event_or_none() {
    let (mut world, insurer, to) = World::with_one_binding().await;
    for result in WhisperResult::ALL {
        write(&world, &[told(&insurer, &to, Purpose::Marketing, *result)]).await;
    }
    let mut seen = world.events(insurer.id).await;
    seen.retain(|kind| kind.starts_with("whisper."));
    let wanted: Vec<_> = WhisperResult::ALL
        .iter()
        .filter_map(|result| result.event())
        .map(EventKind::label)
        .collect();
    assert_eq!(seen, wanted);
}

#[tokio::test]
async fn every_node_hears_that_a_binding_has_changed_when_its_subscriber_says_no() {
    let (world, insurer, to) = World::with_one_binding().await;
    let mut watch = RouteWatch::connect(&world.test.database.relay).await.expect("listening");
    write(&world, &[told(&insurer, &to, Purpose::Marketing, WhisperResult::Refused)]).await;
    assert_eq!(watch.next().await.expect("heard"), Heard::Binding(to.id));
}
