//! Pairs that are made and ended at one time: no party stands twice on an X, and X rests once.

use std::collections::{BTreeMap, BTreeSet};

use maskline::domain::id::{AgentId, TenantId};
use maskline::store::PageRequest;
use maskline::store::binding::{BindOutcome, BindingFilter, CallsUp, NewBinding};

use crate::fixture::{Insurer, World, x};
use crate::pairs::{agent, bind, created, pair, pair_on};
use crate::support::noon;

async fn at_once(
    world: &World,
    tenant: TenantId,
    wanted: impl IntoIterator<Item = NewBinding>,
) -> Vec<BindOutcome> {
    let mut tasks = tokio::task::JoinSet::new();
    for new in wanted {
        let store = world.test.store.clone();
        tasks.spawn(async move {
            let mut transaction = store.tenant(tenant).await.expect("begun");
            match transaction.bind(noon(), new).await {
                Ok(outcome) => {
                    transaction.commit().await.expect("committed");
                    outcome
                }
                Err(error) => {
                    assert_eq!(error.constraint(), Some("binding_live_agent"));
                    BindOutcome::NumberTaken
                }
            }
        });
    }
    tasks.join_all().await
}

/// A hundred pairs of ten agents and ten subscribers.
async fn hundred(world: &World, insurer: &Insurer) -> Vec<(AgentId, u16)> {
    let mut pairs = Vec::new();
    for nth in 0..10 {
        let agent = agent(world, insurer.id, &format!("60{nth}")).await;
        pairs.extend((0..10).map(|number| (agent, number)));
    }
    pairs
}

/// The live pairs of each X, after checking that no party stands twice on one.
async fn live(world: &World, tenant: TenantId) -> BTreeMap<String, usize> {
    let mut tx = world.test.store.tenant(tenant).await.expect("begun");
    let page = PageRequest::new(200, None);
    let page = tx.list_bindings(&BindingFilter::default(), page).await.expect("a page");
    let mut parties = BTreeSet::new();
    let mut pairs: BTreeMap<String, usize> = BTreeMap::new();
    for binding in page.items {
        let x = binding.virtual_number.to_string();
        let agent = binding.mode.agent().expect("an agent").to_string();
        assert!(parties.insert((x.clone(), agent)), "an agent twice on {x}");
        assert!(parties.insert((x.clone(), binding.subscriber.to_string())), "twice on {x}");
        *pairs.entry(x).or_default() += 1;
    }
    pairs
}

#[tokio::test]
async fn a_hundred_writers_of_one_x_leave_each_party_on_it_once() {
    let mut world = World::new().await;
    let insurer = world.insurer("A").await;
    world.numbers(1).await;
    let pairs = hundred(&world, &insurer).await;
    let x = x("17000000000");
    let new = |(nth, (agent, number))| pair_on(&x, &format!("p{nth}"), agent, number);
    let wanted: Vec<_> = (0..).zip(pairs).map(new).collect();
    let outcomes = at_once(&world, insurer.id, wanted).await;
    let taken = outcomes.iter().filter(|it| **it == BindOutcome::NumberTaken).count();
    let made = outcomes.iter().filter(|it| matches!(it, BindOutcome::Created(_))).count();
    assert_eq!(made + taken, 100);
    assert!((1..=10).contains(&made), "{made}");
    let on_x = live(&world, insurer.id).await;
    assert_eq!(on_x, BTreeMap::from([(x.to_string(), made)]));
}

#[tokio::test]
async fn a_hundred_writers_of_any_x_all_get_one() {
    let mut world = World::new().await;
    let insurer = world.insurer("A").await;
    world.numbers(100).await;
    let pairs = hundred(&world, &insurer).await;
    let new = |(nth, (agent, number))| pair(&format!("p{nth}"), agent, number);
    let wanted: Vec<_> = (0..).zip(pairs).map(new).collect();
    let outcomes = at_once(&world, insurer.id, wanted).await;
    assert!(outcomes.iter().all(|it| matches!(it, BindOutcome::Created(_))), "{outcomes:?}");
    assert_eq!(live(&world, insurer.id).await.values().sum::<usize>(), 100);
}

#[tokio::test]
async fn pairs_that_end_at_one_time_let_their_x_rest_once() {
    let mut world = World::new().await;
    let insurer = world.insurer("A").await;
    world.numbers(20).await;
    for round in 0..20 {
        let mut tasks = tokio::task::JoinSet::new();
        let mut numbers = BTreeSet::new();
        let mut pairs = Vec::new();
        for nth in 0..4 {
            let agent = agent(&world, insurer.id, &format!("7{round:02}{nth}")).await;
            let name = format!("r{round} p{nth}");
            pairs.push(bind(&world, insurer.id, pair(&name, agent, nth)).await);
        }
        for pair in pairs {
            numbers.insert(pair.virtual_number.clone());
            let (store, tenant) = (world.test.store.clone(), insurer.id);
            tasks.spawn(async move {
                let mut tx = store.tenant(tenant).await.expect("begun");
                tx.unbind(noon(), pair.id, CallsUp::GoOn, None).await.expect("unbound");
                tx.commit().await.expect("committed");
            });
        }
        tasks.join_all().await;
        let x = numbers.pop_first().expect("an X");
        assert!(numbers.is_empty(), "one X serves them all");
        assert_eq!(world.number_state(&x).await, "draining");
    }
}

#[tokio::test]
async fn an_x_whose_last_pair_ends_while_another_begins_does_not_rest() {
    let mut world = World::new().await;
    let insurer = world.insurer("A").await;
    world.numbers(1).await;
    let second = agent(&world, insurer.id, "4822").await;
    let old = bind(&world, insurer.id, pair("old", insurer.agent, 1)).await;
    let (store, tenant) = (world.test.store.clone(), insurer.id);
    let mut beginning = store.tenant(tenant).await.expect("begun");
    let new = beginning.bind(noon(), pair("new", second, 2)).await.expect("an outcome");
    assert_eq!(created(new).virtual_number, old.virtual_number);
    let mut ending = tokio::spawn(async move {
        let mut tx = store.tenant(tenant).await.expect("begun");
        tx.unbind(noon(), old.id, CallsUp::GoOn, None).await.expect("unbound");
        tx.commit().await.expect("committed");
    });
    // It waits, or it would not have waited.
    let waits = "select exists (select from pg_locks where not granted)";
    while !ending.is_finished() {
        let waits: bool = sqlx::query_scalar(waits).fetch_one(&mut world.sql).await.expect("told");
        if waits {
            break;
        }
    }
    beginning.commit().await.expect("committed");
    (&mut ending).await.expect("ended");
    assert_eq!(world.number_state(&old.virtual_number).await, "bound");
}
