//! Pairs that are made and ended at one time: no party stands twice on an X, and X rests once.

use std::collections::{BTreeMap, BTreeSet};

use maskline::domain::id::{AgentId, TenantId};
use maskline::store::PageRequest;
use maskline::store::binding::{BindOutcome, BindingFilter, CallsUp, NewBinding};

use crate::fixture::{DAY, Insurer, World, x};
use crate::pairs::{agent, bind, created, pair, pair_on, released_at, unbind};
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
        // Where each has left it to another one, the sweep comes.
        let relay = &world.test.database.relay;
        world.test.store.rest_left_numbers(relay, noon() + DAY).await.expect("swept");
        assert_eq!(world.number_state(&x).await, "draining");
    }
}

/// Whoever ends a pair is not kept waiting by those who begin others.
#[tokio::test]
async fn an_x_whose_last_pair_ends_while_another_begins_rests_when_nothing_comes_of_that() {
    for comes in [true, false] {
        let mut world = World::new().await;
        let insurer = world.insurer("A").await;
        world.numbers(1).await;
        let second = agent(&world, insurer.id, "4822").await;
        let old = bind(&world, insurer.id, pair("old", insurer.agent, 1)).await;
        let mut beginning = world.test.store.tenant(insurer.id).await.expect("begun");
        let new = beginning.bind(noon(), pair("new", second, 2)).await.expect("an outcome");
        assert_eq!(created(new).virtual_number, old.virtual_number);
        unbind(&world, insurer.id, &old).await;
        if comes {
            beginning.commit().await.expect("committed");
        } else {
            drop(beginning);
            let undone = "begin; lock table virtual_number in access exclusive mode; commit";
            sqlx::raw_sql(undone).execute(&mut world.sql).await.expect("undone");
        }
        assert_eq!(world.number_state(&old.virtual_number).await, "bound");
        let (store, relay) = (world.test.store.clone(), world.test.database.relay.clone());
        let later = noon() + DAY;
        let found = store.rest_left_numbers(&relay, later).await.expect("swept");
        assert_eq!(found, usize::from(!comes));
        let state = if comes { "bound" } else { "draining" };
        assert_eq!(world.number_state(&old.virtual_number).await, state);
        if !comes {
            let rests = released_at(&mut world, &old.virtual_number).await;
            assert_eq!(rests, noon(), "from its end on, and not from the sweep");
        }
        assert_eq!(store.rest_left_numbers(&relay, later).await.expect("swept"), 0);
    }
}
