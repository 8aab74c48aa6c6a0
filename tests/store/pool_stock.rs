//! Pools that run low: found once, told once to each tenant that uses them, and forecast by the
//! pace of the last weeks.

use maskline::domain::id::TenantId;
use maskline::domain::stock::{Pace, Stock};
use maskline::store::binding::{BindOutcome, CallsUp};
use maskline::store::pool_stock::PoolsSeen;

use crate::fixture::{DAY, World, wanted, x};
use crate::support::noon;

async fn bind(world: &World, tenant: TenantId, numbers: std::ops::Range<u16>) {
    for number in numbers {
        let outcome = world.try_bind(tenant, noon(), wanted(&format!("b{number}"), number)).await;
        assert!(matches!(outcome, BindOutcome::Created(_)), "{outcome:?}");
    }
}

async fn look(world: &World, minutes: u32) -> PoolsSeen {
    let at = noon() + DAY / 1_440 * minutes;
    world.test.store.look_at_pools(at).await.expect("counted")
}

/// Who is told how often.
async fn told(world: &mut World, tenant: TenantId) -> usize {
    world.test.store.tell_of_low_pools(noon()).await.expect("told");
    let events = world.events(tenant).await;
    events.iter().filter(|kind| *kind == "number.pool_low").count()
}

async fn import(world: &World, first: u16, count: u16) {
    let numbers: Vec<_> = (first..first + count).map(|n| x(&format!("1700001{n:04}"))).collect();
    let mut platform = world.test.store.platform().await.expect("begun");
    platform.import_numbers(noon(), world.pool, &numbers).await.expect("imported");
    platform.commit().await.expect("committed");
}

#[tokio::test]
async fn each_tenant_that_uses_a_low_pool_is_told_once_for_each_time_that_it_is() {
    let mut world = World::new().await;
    let (one, two) = (world.insurer("A").await, world.insurer("B").await);
    assert_eq!(look(&world, 0).await, PoolsSeen::default(), "without numbers none is missed");
    world.numbers(10).await;
    bind(&world, one.id, 0..7).await;
    assert_eq!(look(&world, 1).await, PoolsSeen::default());
    bind(&world, one.id, 7..8).await;
    let low = (world.pool, Stock { free: 2, usable: 10 });
    let seen = PoolsSeen { low: 1, newly_low: vec![low], recovered: Vec::new() };
    assert_eq!(look(&world, 2).await, seen);
    assert_eq!(look(&world, 3).await, PoolsSeen { low: 1, ..PoolsSeen::default() });
    assert_eq!((told(&mut world, one.id).await, told(&mut world, two.id).await), (1, 0));
    bind(&world, two.id, 8..9).await;
    assert_eq!((told(&mut world, one.id).await, told(&mut world, two.id).await), (1, 1));
    // 1 of 10, then 3 of 12, which is no more than a quarter, then 4 of 13.
    import(&world, 0, 2).await;
    assert_eq!(look(&world, 4).await.low, 1);
    import(&world, 2, 1).await;
    let well = PoolsSeen { recovered: vec![world.pool], ..PoolsSeen::default() };
    assert_eq!(look(&world, 5).await, well);
    assert_eq!(told(&mut world, one.id).await, 1);
    bind(&world, one.id, 9..11).await;
    assert_eq!(look(&world, 6).await.newly_low, [(world.pool, Stock { free: 2, usable: 13 })]);
    assert_eq!((told(&mut world, one.id).await, told(&mut world, two.id).await), (2, 2));
}

#[tokio::test]
async fn a_forecast_knows_what_was_taken_lately_and_what_comes_back() {
    let mut world = World::new().await;
    let insurer = world.insurer("A").await;
    world.numbers(10).await;
    let before = world.try_bind(insurer.id, noon() - DAY * 40, wanted("old", 20)).await;
    assert!(matches!(before, BindOutcome::Created(_)), "{before:?}");
    bind(&world, insurer.id, 0..3).await;
    let ended = world.bind(&insurer, "ended", 4).await;
    let mut tx = world.test.store.tenant(insurer.id).await.expect("begun");
    tx.unbind(noon(), ended.id, CallsUp::End, None).await.expect("unbound");
    tx.commit().await.expect("committed");
    let (store, relay) = (&world.test.store, &world.test.database.relay);
    let at_first = store.find_pool_capacity(world.pool, noon()).await.expect("counted");
    assert_eq!(at_first.expect("a pool").forecast, None);
    assert!(store.count_paces(relay, noon()).await.expect("counted"));
    let again = store.count_paces(relay, noon()).await.expect("an answer");
    assert!(!again, "it is an hour old at most");
    assert!(store.count_paces(relay, noon() + DAY).await.expect("counted"));
    let capacity = store.find_pool_capacity(world.pool, noon()).await.expect("counted");
    let capacity = capacity.expect("a pool");
    assert_eq!((capacity.available, capacity.bound, capacity.cooling), (5, 4, 1));
    let forecast = capacity.forecast.expect("counted");
    assert_eq!(forecast.pace, Pace { taken: 4, days: 28 });
    let back: Vec<_> = (0..).zip(&forecast.returning).filter(|(_, count)| **count > 0).collect();
    assert_eq!(back, [], "its only tenant gets it again after a year alone");
    assert_eq!(forecast.free, 5);
    let other = world.insurer("B").await;
    bind(&world, other.id, 5..6).await;
    let capacity = world.test.store.find_pool_capacity(world.pool, noon()).await.expect("counted");
    let forecast = capacity.expect("a pool").forecast.expect("counted");
    let back: Vec<_> = (0..).zip(&forecast.returning).filter(|(_, count)| **count > 0).collect();
    assert_eq!((forecast.free, back), (4, vec![(180, &1)]));
}

#[tokio::test]
async fn the_pace_is_that_of_the_days_in_which_a_pool_is_used() {
    let mut world = World::new().await;
    let insurer = world.insurer("A").await;
    world.numbers(10).await;
    let (store, relay) = (&world.test.store, &world.test.database.relay);
    assert!(store.count_paces(relay, noon()).await.expect("counted"));
    let pace = async |after| {
        let capacity = store.find_pool_capacity(world.pool, noon() + after).await;
        let forecast = capacity.expect("counted").expect("a pool").forecast;
        forecast.map(|forecast| forecast.pace)
    };
    assert_eq!(pace(DAY).await, Some(Pace { taken: 0, days: 28 }), "nobody uses it");
    bind(&world, insurer.id, 0..3).await;
    assert!(store.count_paces(relay, noon() + DAY * 2).await.expect("counted"));
    assert_eq!(pace(DAY * 2).await, Some(Pace { taken: 3, days: 2 }), "however old the pool is");
}

#[tokio::test]
async fn what_its_only_tenant_may_not_have_yet_is_not_left_of_a_pool() {
    let mut world = World::new().await;
    let insurer = world.insurer("A").await;
    world.numbers(10).await;
    bind(&world, insurer.id, 0..6).await;
    for number in 6..10 {
        let ended = world.bind(&insurer, &format!("ended{number}"), number).await;
        let mut tx = world.test.store.tenant(insurer.id).await.expect("begun");
        tx.unbind(noon(), ended.id, CallsUp::End, None).await.expect("unbound");
        tx.commit().await.expect("committed");
    }
    let rested = noon() + DAY * 200;
    for at in [noon() + DAY, rested] {
        let mut platform = world.test.store.platform().await.expect("begun");
        platform.sweep_numbers(at).await.expect("swept");
        platform.commit().await.expect("committed");
    }
    let capacity = world.test.store.find_pool_capacity(world.pool, rested).await.expect("counted");
    assert_eq!(capacity.expect("a pool").available, 4, "for others");
    let seen = world.test.store.look_at_pools(rested).await.expect("counted");
    assert_eq!(seen.newly_low, [(world.pool, Stock { free: 0, usable: 10 })]);
    let year = world.test.store.look_at_pools(noon() + DAY * 366).await.expect("counted");
    assert_eq!(year.recovered, [world.pool]);
}

#[tokio::test]
async fn a_pool_whose_numbers_serve_pairs_is_not_low_for_that() {
    let mut world = World::new().await;
    let insurer = world.insurer("A").await;
    world.numbers(5).await;
    bind(&world, insurer.id, 0..5).await;
    assert_eq!(look(&world, 1).await.low, 1);
    sqlx::query("update virtual_number set pairs = true")
        .execute(&mut world.sql)
        .await
        .expect("done");
    assert_eq!(look(&world, 2).await.recovered, [world.pool], "they take more pairs");
    let (store, relay) = (&world.test.store, &world.test.database.relay);
    assert!(store.count_paces(relay, noon()).await.expect("counted"));
    let capacity = store.find_pool_capacity(world.pool, noon()).await.expect("counted");
    assert!(capacity.expect("a pool").forecast.expect("counted").has_pairs);
}
