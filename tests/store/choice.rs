//! Which X a binding gets: its subscriber's own while it rests, of the city that is meant, and
//! never one that rests after somebody else.

use maskline::domain::id::{PoolId, TenantId};
use maskline::store::binding::{
    BindOutcome, BindingRecord, CallsUp, NewBinding, NumberChoice, SubscriberChoice,
};
use uuid::Uuid;

use crate::fixture::{DAY, Insurer, World, bits, real, wanted};
use crate::support::noon;

async fn unbind(world: &World, tenant: TenantId, binding: &BindingRecord, calls: CallsUp) {
    let mut tx = world.test.store.tenant(tenant).await.expect("begun");
    tx.unbind(noon(), binding.id, calls, None).await.expect("unbound");
    tx.commit().await.expect("committed");
}

async fn bind(world: &World, insurer: &Insurer, new: NewBinding) -> BindingRecord {
    let outcome = world.try_bind(insurer.id, noon() + DAY, new).await;
    let BindOutcome::Created(binding) = outcome else { panic!("not bound: {outcome:?}") };
    *binding
}

#[tokio::test]
async fn a_subscriber_that_comes_back_gets_the_number_it_had() {
    let mut world = World::new().await;
    let insurer = world.insurer("A").await;
    world.numbers(9).await;
    let mut had = world.bind(&insurer, "p0", 1).await;
    for (nth, calls) in [(1, CallsUp::GoOn), (2, CallsUp::End), (3, CallsUp::GoOn)] {
        unbind(&world, insurer.id, &had, calls).await;
        world.bind(&insurer, &format!("other {nth}"), 10 + nth).await;
        let back = bind(&world, &insurer, wanted(&format!("p{nth}"), 1)).await;
        assert_eq!(back.virtual_number, had.virtual_number);
        assert_eq!(world.number_state(&back.virtual_number).await, "bound");
        had = back;
    }
    // A second policy at the same time has a number of its own.
    let second = bind(&world, &insurer, wanted("second", 1)).await;
    assert_ne!(second.virtual_number, had.virtual_number);
}

#[tokio::test]
async fn a_resting_number_goes_to_nobody_else() {
    let mut world = World::new().await;
    let (one, two) = (world.insurer("A").await, world.insurer("B").await);
    world.numbers(1).await;
    let had = world.bind(&one, "p", 1).await;
    unbind(&world, one.id, &had, CallsUp::End).await;
    let exact = |name: &str, number| NewBinding {
        number: NumberChoice::Exact(had.virtual_number.clone()),
        ..wanted(name, number)
    };
    // Its own tenant hears that it rests; to another tenant it is like any number that it has not.
    for (tenant, refusal) in
        [(one.id, BindOutcome::NumberCooling), (two.id, BindOutcome::NumberTaken)]
    {
        let any = world.try_bind(tenant, noon() + DAY, wanted("q", 2)).await;
        assert_eq!(any, BindOutcome::PoolEmpty);
        assert_eq!(world.try_bind(tenant, noon() + DAY, exact("q", 2)).await, refusal);
    }
    // The same person at another tenant is somebody else.
    assert_eq!(world.try_bind(two.id, noon(), exact("q", 1)).await, BindOutcome::NumberTaken);
    let back = bind(&world, &one, exact("again", 1)).await;
    assert_eq!((back.virtual_number, back.subscriber), (had.virtual_number, had.subscriber));
}

#[tokio::test]
async fn a_city_that_has_no_number_may_be_left_for_another() {
    let mut world = World::new().await;
    let insurer = world.insurer("A").await;
    world.numbers(3).await;
    sqlx::query(
        "insert into pool (id, name, class, city, created_at, updated_at)
         values ($1, 'north', 'mobile', 'Beijing', now(), now())",
    )
    .bind(Uuid::from_u128(PoolId::new(1, bits()).as_u128()))
    .execute(&mut world.sql)
    .await
    .expect("an empty pool");
    let of = |name: &str, city: &str, elsewhere| NewBinding {
        number: NumberChoice::Free { pool: None, city: Some(city.to_owned()), elsewhere },
        subscriber: SubscriberChoice::Number(real(1)),
        ..wanted(name, 1)
    };
    for (city, elsewhere, refusal) in [
        ("Beijing", false, Some(BindOutcome::PoolEmpty)),
        ("Canton", false, Some(BindOutcome::CityUnknown)),
        ("Beijing", true, None),
        ("Canton", true, None),
    ] {
        let name = format!("{city} {elsewhere}");
        let outcome = world.try_bind(insurer.id, noon(), of(&name, city, elsewhere)).await;
        match refusal {
            Some(refusal) => assert_eq!(outcome, refusal, "{name}"),
            None => assert!(matches!(outcome, BindOutcome::Created(_)), "{name}: {outcome:?}"),
        }
    }
}
