//! The terms of bindings: renewed, following their policy, ending unused or with their calls.

use std::time::{Duration, SystemTime};

use maskline::domain::binding::{BindingState, OnExpiry, SuspendReason};
use maskline::domain::id::CallId;
use maskline::store::binding::{
    BindOutcome, BindingChange, BindingOutcome, BindingRecord, BindingTerms, CallsUp,
    ExpiredBinding, NewBinding, PolicyRef,
};
use maskline::store::convert::unix_ms;
use maskline::store::route::{self, RouteKey, RouteLookup};
use sqlx::Connection as _;
use uuid::Uuid;

use crate::fixture::{DAY, EXTENSION, Insurer, World, bits, wanted};
use crate::support::noon;

const ACTIVE: fn(SystemTime) -> BindingState =
    |until| BindingState::Active { expires_at: Some(until) };

async fn change(
    world: &World,
    insurer: &Insurer,
    binding: &BindingRecord,
    change: BindingChange,
) -> BindingOutcome {
    let mut tx = world.test.store.tenant(insurer.id).await.expect("begun");
    let outcome = tx.change_terms(noon(), binding.id, change, None).await.expect("an answer");
    tx.commit().await.expect("committed");
    outcome
}

fn changed(outcome: BindingOutcome) -> BindingRecord {
    let BindingOutcome::Changed(binding) = outcome else { panic!("not changed: {outcome:?}") };
    *binding
}

fn renewal(until: SystemTime) -> BindingChange {
    BindingChange { renew_until: Some(until), ..BindingChange::default() }
}

async fn bind(world: &World, insurer: &Insurer, new: NewBinding) -> BindingRecord {
    let outcome = world.try_bind(insurer.id, noon(), new).await;
    let BindOutcome::Created(binding) = outcome else { panic!("not bound: {outcome:?}") };
    *binding
}

/// A world with an insurer and some numbers.
async fn world() -> (World, Insurer) {
    let mut world = World::new().await;
    let insurer = world.insurer("A").await;
    world.numbers(3).await;
    (world, insurer)
}

async fn expire(world: &World, at: SystemTime) -> Vec<ExpiredBinding> {
    let relay = &world.test.database.relay;
    world.test.store.expire_bindings(relay, at).await.expect("swept")
}

#[tokio::test]
async fn a_renewal_moves_the_end_and_keeps_the_number() {
    let (mut world, insurer) = world().await;
    let short = NewBinding { valid_until: Some(noon() + DAY), ..wanted("p", 1) };
    let binding = bind(&world, &insurer, short).await;
    let renewed = changed(change(&world, &insurer, &binding, renewal(noon() + DAY * 9)).await);
    assert_eq!(renewed.state, ACTIVE(noon() + DAY * 9));
    assert_eq!(renewed.virtual_number, binding.virtual_number);
    assert_eq!(world.find(insurer.id, binding.id).await, Some(renewed));
    assert_eq!(expire(&world, noon() + DAY * 8).await, []);
    assert_eq!(expire(&world, noon() + DAY * 9).await.len(), 1);
    let events = world.events(insurer.id).await;
    assert_eq!(events, ["binding.created", "binding.updated", "binding.expired"]);
    let late = change(&world, &insurer, &binding, renewal(noon() + DAY * 99)).await;
    let expired = BindingState::Expired { expired_at: noon() + DAY * 9 };
    assert_eq!(late, BindingOutcome::NotAllowed(expired));
}

const NOTICE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How many bindings one node tells of.
async fn tell(world: &World, at: SystemTime) -> usize {
    let (store, relay) = (&world.test.store, &world.test.database.relay);
    store.tell_expiring_bindings(relay, at, NOTICE).await.expect("told")
}

#[tokio::test]
async fn the_end_of_a_binding_is_told_once_before_it_comes_and_again_after_a_renewal() {
    let (mut world, insurer) = world().await;
    let (end, later) = (noon() + DAY * 365, noon() + DAY * 730);
    let long = NewBinding { valid_until: Some(end), ..wanted("p", 1) };
    let binding = bind(&world, &insurer, long).await;
    world.bind(&insurer, "endless", 2).await;
    let second = Duration::from_secs(1);
    assert_eq!(tell(&world, end - NOTICE - second).await, 0, "too early");
    assert_eq!(tell(&world, end - NOTICE).await, 1);
    assert_eq!(tell(&world, end - second).await, 0, "told");
    changed(change(&world, &insurer, &binding, renewal(later)).await);
    assert_eq!(tell(&world, end).await, 0, "it does not end there any more");
    changed(change(&world, &insurer, &binding, renewal(end)).await);
    assert_eq!(tell(&world, end - second).await, 0, "this end was told already");
    changed(change(&world, &insurer, &binding, renewal(later)).await);
    assert_eq!(tell(&world, later - NOTICE).await, 1);
    assert_eq!(tell(&world, later).await, 0, "it is over");
    let told: Vec<(serde_json::Value,)> =
        sqlx::query_as("select data from event where type = 'binding.expiring' order by position")
            .fetch_all(&mut world.sql)
            .await
            .expect("the events");
    let [(first,), (second,)] = &told[..] else { panic!("two: {told:?}") };
    assert_eq!(first["binding"], binding.id.to_string());
    assert_eq!((&first["state"], &first["mode"]), (&"active".into(), &"ax".into()));
    assert_eq!((&first["agent"], &first["external_id"]), (&().into(), &"p".into()));
    let time = |event: &serde_json::Value| event["valid_until"].as_str().map(str::to_owned);
    let wanted = |at| jiff::Timestamp::try_from(at).ok().map(|at| at.to_string());
    assert_eq!((time(first), time(second)), (wanted(end), wanted(later)));
    let store = &world.test.store;
    assert_eq!(store.sweep_binding_notices(end - DAY).await.expect("swept"), 0);
    assert_eq!(store.sweep_binding_notices(end).await.expect("swept"), 1);
    assert_eq!(store.sweep_binding_notices(later).await.expect("swept"), 1);
}

#[tokio::test]
async fn a_short_binding_is_foretold_a_tenth_of_its_term_before_its_end() {
    let (world, insurer) = world().await;
    let valid_until = Some(noon() + DAY * 10);
    bind(&world, &insurer, NewBinding { valid_until, ..wanted("short", 1) }).await;
    let (valid_from, valid_until) = (Some(noon() + DAY * 5), Some(noon() + DAY * 10));
    let pending = NewBinding { valid_from, valid_until, ..wanted("later", 2) };
    bind(&world, &insurer, pending).await;
    let second = Duration::from_secs(1);
    assert_eq!(tell(&world, noon() + DAY * 9 - second).await, 0);
    assert_eq!(tell(&world, noon() + DAY * 9).await, 1);
    assert_eq!(tell(&world, noon() + DAY * 19 / 2 - second).await, 0);
    assert_eq!(tell(&world, noon() + DAY * 19 / 2).await, 1);
}

#[tokio::test]
async fn two_nodes_that_tell_at_the_same_time_tell_once_and_pass_over_what_is_being_changed() {
    let (mut world, insurer) = world().await;
    let end = noon() + DAY * 365;
    let mut ids = Vec::new();
    for (name, number) in [("p", 1), ("q", 2), ("r", 3)] {
        let new = NewBinding { valid_until: Some(end), ..wanted(name, number) };
        ids.push(bind(&world, &insurer, new).await.id);
    }
    let mut other = world.test.superuser().await;
    let mut holding = other.begin().await.expect("begun");
    sqlx::query("select from binding where id = $1 for update")
        .bind(Uuid::from_u128(ids[0].as_u128()))
        .fetch_all(&mut *holding)
        .await
        .expect("held");
    let at = end - DAY;
    let nodes = tokio::join!(tell(&world, at), tell(&world, at), tell(&world, at));
    assert!(nodes.0.max(nodes.1).max(nodes.2) == 3, "{nodes:?}");
    let expiring = async |world: &mut World| {
        let told = world.events(insurer.id).await;
        told.iter().filter(|kind| *kind == "binding.expiring").count()
    };
    assert_eq!(expiring(&mut world).await, 2);
    holding.rollback().await.expect("let go");
    tell(&world, at).await;
    assert_eq!(expiring(&mut world).await, 3);
}

#[tokio::test]
async fn what_another_node_is_telling_at_this_moment_is_not_told_again() {
    let (mut world, insurer) = world().await;
    let end = noon() + DAY * 365;
    let new = NewBinding { valid_until: Some(end), ..wanted("p", 1) };
    let binding = bind(&world, &insurer, new).await;
    let mut other = world.test.superuser().await;
    // Without its foreign key, whose lock on the binding would be passed over.
    let lone = "set session_replication_role = 'replica'";
    sqlx::query(lone).execute(&mut other).await.expect("set");
    let mut telling = other.begin().await.expect("begun");
    sqlx::query(
        "insert into binding_notice (tenant_id, binding_id, expires_at)
         select tenant_id, id, expires_at from binding where id = $1",
    )
    .bind(Uuid::from_u128(binding.id.as_u128()))
    .execute(&mut *telling)
    .await
    .expect("told");
    let mut watch = world.test.superuser().await;
    let committed = async {
        let waits = "select exists (select from pg_stat_activity where wait_event_type = 'Lock'
                         and datname = current_database())";
        while !sqlx::query_scalar::<_, bool>(waits).fetch_one(&mut watch).await.expect("locks") {}
        telling.commit().await.expect("committed");
    };
    tokio::join!(tell(&world, end - DAY), committed);
    assert_eq!(world.events(insurer.id).await, ["binding.created"]);
}

#[tokio::test]
async fn a_binding_that_follows_its_policy_ends_where_the_policy_does() {
    let (world, insurer) = world().await;
    let policy =
        PolicyRef { reference: "P".to_owned(), product: None, ends_at: Some(noon() + DAY) };
    let terms = BindingTerms { follow_policy: true, ..BindingTerms::default() };
    let endless = NewBinding { terms, ..wanted("endless", 1) };
    let refused = world.try_bind(insurer.id, noon(), endless).await;
    assert_eq!(refused, BindOutcome::TermInvalid);
    let binding = bind(&world, &insurer, NewBinding { terms, policy, ..wanted("p", 1) }).await;
    assert_eq!(binding.state, ACTIVE(noon() + DAY));
    let moved = changed(change(&world, &insurer, &binding, renewal(noon() + DAY * 5)).await);
    assert_eq!(moved.state, ACTIVE(noon() + DAY * 5));
    assert_eq!(moved.policy.ends_at, Some(noon() + DAY * 5), "the policy was renewed with it");
    // Two ends, no end, or one that has passed.
    let nothing = BindingChange::default;
    for wrong in [
        BindingChange { valid_until: Some(Some(noon() + DAY * 7)), ..nothing() },
        BindingChange { policy_ends_at: Some(None), ..nothing() },
        BindingChange { policy_ends_at: Some(Some(noon())), ..nothing() },
    ] {
        let refused = change(&world, &insurer, &binding, wrong).await;
        assert_eq!(refused, BindingOutcome::TermInvalid);
    }
    let alone = BindingChange {
        follow_policy: Some(false),
        valid_until: Some(None),
        ..BindingChange::default()
    };
    let alone = changed(change(&world, &insurer, &binding, alone).await);
    assert_eq!(alone.state, BindingState::Active { expires_at: None });
    assert_eq!(world.find(insurer.id, binding.id).await, Some(alone));
}

#[tokio::test]
async fn terms_change_while_a_binding_is_suspended_and_only_at_the_version_that_was_read() {
    let (world, insurer) = world().await;
    let binding = world.bind(&insurer, "p", 1).await;
    let mut tx = world.test.store.tenant(insurer.id).await.expect("begun");
    let (reason, calls) = (SuspendReason::Tenant, CallsUp::GoOn);
    tx.suspend_binding(noon(), binding.id, reason, calls, None).await.expect("suspended");
    let stale = tx.change_terms(noon(), binding.id, renewal(noon() + DAY), Some(1)).await;
    assert_eq!(stale.expect("an answer"), BindingOutcome::VersionMismatch);
    let outcome = tx.change_terms(noon(), binding.id, renewal(noon() + DAY), Some(2)).await;
    let changed = changed(outcome.expect("an answer"));
    let expires_at = Some(noon() + DAY);
    assert_eq!(changed.state, BindingState::Suspended { reason, expires_at });
    assert_eq!(changed.version, 3);
}

#[tokio::test]
async fn calls_end_with_a_binding_that_says_so() {
    let (mut world, insurer) = world().await;
    let terms = BindingTerms { on_expiry: OnExpiry::End, ..BindingTerms::default() };
    let until = Some(noon() + DAY);
    let ends = NewBinding { terms, valid_until: until, ..wanted("ends", 1) };
    let ends = bind(&world, &insurer, ends).await;
    let goes_on = NewBinding { valid_until: until, ..wanted("goes on", 2) };
    let goes_on = bind(&world, &insurer, goes_on).await;
    // An attempt an hour before the end lasts that hour at most.
    for (binding, longest) in [(&ends, Some(Duration::from_secs(3_600))), (&goes_on, None)] {
        let dialled = &binding.virtual_number;
        let key = RouteKey::FromInsurer { tenant: insurer.id, dialled, caller: EXTENSION };
        let found = route::find(&world.test.database.relay, &world.test.vault, key)
            .await
            .expect("an answer");
        let RouteLookup::Found(record) = found else { panic!("no route: {found:?}") };
        assert_eq!(record.duration_max(noon() + DAY - Duration::from_secs(3_600)), longest);
    }
    let expired = expire(&world, noon() + DAY).await;
    for (binding, calls, rests) in
        [(&ends, CallsUp::End, "cooling"), (&goes_on, CallsUp::GoOn, "draining")]
    {
        let told = expired.iter().find(|told| told.binding == binding.id).expect("expired");
        assert_eq!(told.calls, calls);
        assert_eq!(world.number_state(&binding.virtual_number).await, rests);
    }
}

#[tokio::test]
async fn a_binding_that_nobody_uses_ends_and_one_in_use_does_not() {
    let (mut world, insurer) = world().await;
    let terms = BindingTerms { idle_ttl: Some(DAY * 30), ..BindingTerms::default() };
    let unused = bind(&world, &insurer, NewBinding { terms, ..wanted("unused", 1) }).await;
    let used = bind(&world, &insurer, NewBinding { terms, ..wanted("used", 2) }).await;
    sqlx::query(
        "insert into cdr (tenant_id, id, binding_id, direction, trunk_a, started_at, ended_at,
             duration_ms, cause, reasons, ended_by, sip_status, q850)
         values ($1, $2, $3, 'to_subscriber', $2, $4, $4, 0, 'busy', '{}', 'callee', 486, 17)",
    )
    .bind(Uuid::from_u128(insurer.id.as_u128()))
    .bind(Uuid::from_u128(CallId::new(unix_ms(noon() + DAY * 10), bits()).as_u128()))
    .bind(Uuid::from_u128(used.id.as_u128()))
    .bind(jiff_sqlx::Timestamp::from(jiff::Timestamp::try_from(noon() + DAY * 10).expect("a time")))
    .execute(&mut world.sql)
    .await
    .expect("a call on the tenth day");
    let store = world.test.store.clone();
    let relay = world.test.database.relay.clone();
    let ended = async |day| {
        let idle = store.expire_idle_bindings(&relay, noon() + DAY * day).await.expect("swept");
        (idle.seen, idle.expired.iter().map(|it| it.binding).collect::<Vec<_>>())
    };
    assert_eq!(ended(30).await, (0, vec![]), "a call may be up that is recorded when it ends");
    assert_eq!(ended(31).await, (2, vec![unused.id]));
    assert_eq!(ended(40).await, (0, vec![]), "thirty days from its call on");
    assert_eq!(ended(41).await, (1, vec![used.id]));
    let state = world.find(insurer.id, unused.id).await.expect("still shown").state;
    assert_eq!(state, BindingState::Expired { expired_at: noon() + DAY * 31 });
    assert_eq!(world.number_state(&unused.virtual_number).await, "draining");
}

#[tokio::test]
async fn the_digest_of_a_binding_without_terms_stays_what_it_was() {
    let (world, insurer) = world().await;
    let binding = world.bind(&insurer, "p", 1).await;
    let again = world.try_bind(insurer.id, noon(), wanted("p", 1)).await;
    assert_eq!(again, BindOutcome::Existing(Box::new(binding)));
    let terms = BindingTerms { idle_ttl: Some(DAY), ..BindingTerms::default() };
    let other = world.try_bind(insurer.id, noon(), NewBinding { terms, ..wanted("p", 1) }).await;
    assert_eq!(other, BindOutcome::ExternalIdTaken);
}
