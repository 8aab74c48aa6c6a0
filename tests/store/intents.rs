//! Call intents: each is used up by one attempt, and the routes that it waits behind are forgotten.

use std::sync::Arc;
use std::time::Duration;

use maskline::domain::id::{CallId, IntentId};
use maskline::domain::purpose::{Announced, Purpose};
use maskline::store::binding::BindingRecord;
use maskline::store::convert::unix_ms;
use maskline::store::database::RoleLogin;
use maskline::store::intent::{
    INTENT_KEPT, INTENTS_WAITING_MAX, IntentAsked, IntentEnd, IntentFilter, IntentRecord, NewIntent,
};
use maskline::store::page::PageRequest;
use maskline::store::route::{RouteKey, RouteLookup, RouteRecord, find};
use maskline::store::watch::{Heard, RouteWatch};
use maskline::store::{Database, DatabaseConfig};

use crate::fixture::{EXTENSION, Insurer, World, bits};
use crate::support::{keys, noon};

const TTL: Duration = Duration::from_secs(60);

fn wanted(insurer: &Insurer, to: &BindingRecord, purpose: Purpose) -> NewIntent {
    let id = IntentId::new(unix_ms(noon()), bits());
    let case_ref = Some("C-1".to_owned());
    NewIntent { id, binding: to.id, agent: insurer.agent, purpose, case_ref, ttl: TTL }
}

async fn try_make(world: &World, insurer: &Insurer, new: NewIntent) -> Option<IntentRecord> {
    let mut tx = world.test.store.tenant(insurer.id).await.expect("begun");
    let made = tx.insert_intent(noon(), new).await.expect("an outcome");
    tx.commit().await.expect("committed");
    made
}

async fn make(world: &World, insurer: &Insurer, to: &BindingRecord, purpose: Purpose) -> IntentId {
    let made = try_make(world, insurer, wanted(insurer, to, purpose)).await;
    made.expect("there is room").id
}

fn asked(insurer: &Insurer, to: &BindingRecord) -> IntentAsked {
    let call = CallId::new(unix_ms(noon()), bits());
    let (tenant, agent) = (insurer.id, insurer.agent);
    IntentAsked { tenant, binding: to.id, agent, call, named: None }
}

async fn attempt(world: &World, after: Duration, asked: IntentAsked) -> Option<Announced> {
    let used = world.test.database.relay.use_intent(noon() + after, asked).await;
    used.expect("an answer")
}

async fn end_of(world: &World, insurer: &Insurer, id: IntentId) -> IntentEnd {
    let mut tx = world.test.store.tenant(insurer.id).await.expect("begun");
    tx.find_intent(id).await.expect("an answer").expect("it is there").end
}

async fn route(world: &World, insurer: &Insurer, to: &BindingRecord) -> Box<RouteRecord> {
    let (tenant, dialled) = (insurer.id, &to.virtual_number);
    let key = RouteKey::FromInsurer { tenant, dialled, caller: EXTENSION };
    let lookup = find(&world.test.database.relay, &world.test.vault, key).await.expect("an answer");
    let RouteLookup::Found(record) = lookup else { panic!("missing") };
    record
}

#[tokio::test]
async fn a_hundred_attempts_at_once_use_one_intent_up_once() {
    let (world, insurer, to) = World::with_one_binding().await;
    let id = make(&world, &insurer, &to, Purpose::Claim).await;
    let world = Arc::new(world);
    let attempts: Vec<_> = (0..100)
        .map(|_| {
            let (world, asked) = (Arc::clone(&world), asked(&insurer, &to));
            tokio::spawn(async move { (asked.call, attempt(&world, Duration::ZERO, asked).await) })
        })
        .collect();
    let mut used = Vec::new();
    for attempt in attempts {
        let (call, announced) = attempt.await.expect("it ends");
        used.extend(announced.map(|announced| (call, announced)));
    }
    let [(call, announced)] = used[..] else { panic!("used {} times", used.len()) };
    assert_eq!(announced, Announced { intent: id, purpose: Purpose::Claim });
    assert_eq!(end_of(&world, &insurer, id).await, IntentEnd::Used { at: noon(), call });
}

#[tokio::test]
async fn the_oldest_goes_first_unless_one_is_named_and_an_attempt_that_asks_twice_gets_the_same() {
    let (world, insurer, to) = World::with_one_binding().await;
    let mut ids = [IntentId::from_u128(3), IntentId::from_u128(1), IntentId::from_u128(2)];
    for id in ids {
        let new = NewIntent { id, ..wanted(&insurer, &to, Purpose::Survey) };
        try_make(&world, &insurer, new).await.expect("there is room");
    }
    ids.sort_unstable();
    let named = IntentAsked { named: Some(ids[1]), ..asked(&insurer, &to) };
    let none = Duration::ZERO;
    let id = |used: Option<Announced>| used.map(|it| it.intent);
    assert_eq!(id(attempt(&world, none, named).await), Some(ids[1]));
    assert_eq!(id(attempt(&world, none, named).await), Some(ids[1]), "the same attempt");
    let late = IntentAsked { call: asked(&insurer, &to).call, ..named };
    assert_eq!(id(attempt(&world, none, late).await), None, "another attempt names it");
    assert_eq!(id(attempt(&world, none, asked(&insurer, &to)).await), Some(ids[0]));
    assert_eq!(id(attempt(&world, TTL, asked(&insurer, &to)).await), None, "it is over");
    let last = TTL - Duration::from_secs(1);
    assert_eq!(id(attempt(&world, last, asked(&insurer, &to)).await), Some(ids[2]));
}

#[tokio::test]
async fn an_intent_is_for_its_agent_its_binding_and_its_tenant_alone() {
    let (mut world, insurer, to) = World::with_one_binding().await;
    let other = world.insurer("B").await;
    let second = world.bind(&insurer, "q", 2).await;
    make(&world, &insurer, &to, Purpose::Claim).await;
    let own = asked(&insurer, &to);
    for foreign in [
        IntentAsked { tenant: other.id, ..own },
        IntentAsked { agent: other.agent, ..own },
        IntentAsked { binding: second.id, ..own },
    ] {
        assert_eq!(attempt(&world, Duration::ZERO, foreign).await, None);
    }
    assert!(attempt(&world, Duration::ZERO, own).await.is_some());
}

#[tokio::test]
async fn a_route_says_how_long_intents_wait_and_every_node_hears_of_a_new_one() {
    let (world, insurer, to) = World::with_one_binding().await;
    assert_eq!(route(&world, &insurer, &to).await.waits_for(noon()), None);
    let (owner, login) = (world.test.owner(), RoleLogin::Trusted);
    let config = DatabaseConfig { owner, login, connections_max: 4 };
    let elsewhere = Database::connect(config, &keys(), noon()).await.expect("another node");
    let mut watch = RouteWatch::connect(&elsewhere.relay).await.expect("it listens");
    make(&world, &insurer, &to, Purpose::Claim).await;
    assert_eq!(watch.next().await.expect("heard"), Heard::Binding(to.id));
    let found = route(&world, &insurer, &to).await;
    assert_eq!(found.waits_for(noon()), Some(insurer.agent));
    assert_eq!(found.waits_for(noon() + TTL), None);
    attempt(&world, Duration::ZERO, asked(&insurer, &to)).await.expect("one waits");
    assert_eq!(route(&world, &insurer, &to).await.waits_for(noon()), None);
}

#[tokio::test]
async fn what_was_taken_back_is_not_used_and_only_so_many_wait() {
    let (world, insurer, to) = World::with_one_binding().await;
    let mut ids = Vec::new();
    for _ in 0..INTENTS_WAITING_MAX {
        ids.push(make(&world, &insurer, &to, Purpose::Claim).await);
    }
    let more = || wanted(&insurer, &to, Purpose::Claim);
    assert!(try_make(&world, &insurer, more()).await.is_none(), "one too many");
    let mut tx = world.test.store.tenant(insurer.id).await.expect("begun");
    assert!(tx.cancel_intent(noon(), ids[0]).await.expect("an answer"));
    assert!(!tx.cancel_intent(noon(), ids[0]).await.expect("an answer"), "it is over");
    assert!(!tx.cancel_intent(noon() + TTL, ids[1]).await.expect("an answer"), "it is over");
    let filter = IntentFilter { binding: Some(to.id), agent: Some(insurer.agent) };
    let page = tx.list_intents(filter, PageRequest::new(200, None)).await.expect("a page");
    assert_eq!(page.items.len(), ids.len());
    tx.commit().await.expect("committed");
    assert_eq!(end_of(&world, &insurer, ids[0]).await, IntentEnd::Cancelled { at: noon() });
    let named = IntentAsked { named: Some(ids[0]), ..asked(&insurer, &to) };
    assert_eq!(attempt(&world, Duration::ZERO, named).await, None);
    assert!(try_make(&world, &insurer, more()).await.is_some(), "there is room again");
    let (store, kept) = (&world.test.store, noon() + TTL + INTENT_KEPT);
    assert_eq!(store.sweep_intents(kept - TTL).await.expect("swept"), 0);
    assert_eq!(store.sweep_intents(kept).await.expect("swept"), 101);
}
