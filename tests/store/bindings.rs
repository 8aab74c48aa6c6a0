//! Bindings and their numbers: one owner at a time, repeats change nothing, released numbers rest.

use maskline::domain::binding::{BindingState, SuspendReason};
use maskline::domain::cause::Cause;
use maskline::domain::id::PoolId;
use maskline::store::binding::{
    BindOutcome, BindingFilter, BindingOutcome, BindingTerm, CallsUp, NewBinding, NumberChoice,
    SubscriberChoice,
};
use maskline::store::notice::EndedBinding;
use maskline::store::subscriber::{NewSubscriber, NumberChange, SubscriberOutcome};
use maskline::store::{PageRequest, StoreError};

use crate::fixture::{DAY, World, real, wanted, x};
use crate::support::noon;

#[tokio::test]
async fn a_binding_is_found_as_it_was_made() {
    let mut world = World::new().await;
    let insurer = world.insurer("A").await;
    world.numbers(1).await;
    let binding = world.bind(&insurer, "policy-1", 1).await;
    assert_eq!(binding.masked.as_deref(), Some("138****0001"));
    assert_eq!(binding.state, BindingState::Active { expires_at: None });
    assert_eq!(world.find(insurer.id, binding.id).await, Some(binding.clone()));
    assert_eq!(world.number_state(&binding.virtual_number).await, "bound");
    assert_eq!(world.events(insurer.id).await, ["binding.created"]);
}

#[tokio::test]
async fn a_repeat_finds_the_first_binding_and_a_contradiction_is_refused() {
    let mut world = World::new().await;
    let insurer = world.insurer("A").await;
    world.numbers(5).await;
    let first = world.bind(&insurer, "policy-1", 1).await;
    let again = world.try_bind(insurer.id, noon() + DAY, wanted("policy-1", 1)).await;
    assert_eq!(again, BindOutcome::Existing(Box::new(first.clone())));
    // By identifier it is the same subscriber and the same content.
    let subscriber = SubscriberChoice::Existing(first.subscriber);
    let by_id = NewBinding { subscriber, ..wanted("policy-1", 1) };
    let again = world.try_bind(insurer.id, noon(), by_id).await;
    assert_eq!(again, BindOutcome::Existing(Box::new(first)));
    for other in [
        wanted("policy-1", 2),
        NewBinding { term: BindingTerm::Short, ..wanted("policy-1", 1) },
        NewBinding { agent_group: Some("claims".to_owned()), ..wanted("policy-1", 1) },
    ] {
        let refused = world.try_bind(insurer.id, noon(), other).await;
        assert_eq!(refused, BindOutcome::ExternalIdTaken);
    }
    assert_eq!(world.events(insurer.id).await, ["binding.created"]);
}

#[tokio::test]
async fn many_requests_with_one_name_make_one_binding() {
    let mut world = World::new().await;
    let insurer = world.insurer("A").await;
    world.numbers(30).await;
    let outcomes = at_once(&world, 20, |_| (insurer.id, wanted("policy-1", 1))).await;
    let created = outcomes.iter().filter(|o| matches!(o, BindOutcome::Created(_))).count();
    let existing = outcomes.iter().filter(|o| matches!(o, BindOutcome::Existing(_))).count();
    assert_eq!((created, existing), (1, 19));
}

#[tokio::test]
async fn no_number_is_given_twice_and_an_empty_pool_says_so() {
    let mut world = World::new().await;
    let (one, two) = (world.insurer("A").await, world.insurer("B").await);
    world.numbers(10).await;
    let outcomes = at_once(&world, 20, |nth| {
        let tenant = if nth % 2 == 0 { one.id } else { two.id };
        (tenant, wanted(&format!("policy-{nth}"), nth))
    })
    .await;
    let mut given: Vec<_> = outcomes
        .iter()
        .filter_map(|outcome| {
            let BindOutcome::Created(binding) = outcome else { return None };
            Some(binding.virtual_number.clone())
        })
        .collect();
    given.sort();
    given.dedup();
    assert_eq!(given.len(), 10);
    let empty = outcomes.iter().filter(|o| **o == BindOutcome::PoolEmpty).count();
    assert_eq!(empty, 10);
}

async fn at_once(
    world: &World,
    count: u16,
    what: impl Fn(u16) -> (maskline::domain::id::TenantId, NewBinding),
) -> Vec<BindOutcome> {
    let mut tasks = tokio::task::JoinSet::new();
    for nth in 0..count {
        let (store, (tenant, new)) = (world.test.store.clone(), what(nth));
        tasks.spawn(async move {
            let mut transaction = store.tenant(tenant).await.expect("begun");
            let outcome = transaction.bind(noon(), new).await.expect("an outcome");
            transaction.commit().await.expect("committed");
            outcome
        });
    }
    tasks.join_all().await
}

#[tokio::test]
async fn what_cannot_be_bound_is_told_apart_only_where_it_may_be() {
    let mut world = World::new().await;
    let (one, two) = (world.insurer("A").await, world.insurer("B").await);
    let numbers = world.numbers(2).await;
    let exact =
        |name: &str, digits| NewBinding { number: NumberChoice::Exact(digits), ..wanted(name, 1) };
    let own = world.try_bind(one.id, noon(), exact("mine", numbers[1].clone())).await;
    assert!(matches!(own, BindOutcome::Created(b) if b.virtual_number == numbers[1]));
    // Own, foreign and unknown numbers answer alike.
    for (tenant, digits) in
        [(one.id, numbers[1].clone()), (two.id, numbers[1].clone()), (two.id, x("95588"))]
    {
        let refused = world.try_bind(tenant, noon(), exact("other", digits)).await;
        assert_eq!(refused, BindOutcome::NumberTaken);
    }
    let pool = Some(PoolId::new(1, 1));
    let number = NumberChoice::Free { pool, city: None, elsewhere: false };
    let refused = world.try_bind(one.id, noon(), NewBinding { number, ..wanted("p", 1) }).await;
    assert_eq!(refused, BindOutcome::PoolUnknown);
    let number =
        NumberChoice::Free { pool: None, city: Some("Beijing".to_owned()), elsewhere: false };
    let refused = world.try_bind(one.id, noon(), NewBinding { number, ..wanted("p", 1) }).await;
    assert_eq!(refused, BindOutcome::CityUnknown);
    // Another tenant's subscriber is unknown.
    let foreign = world.bind(&two, "theirs", 2).await.subscriber;
    let subscriber = SubscriberChoice::Existing(foreign);
    let new = NewBinding { subscriber, ..wanted("p", 1) };
    assert_eq!(world.try_bind(one.id, noon(), new).await, BindOutcome::SubscriberUnknown);
}

#[tokio::test]
async fn terms_that_contradict_the_clock_are_refused() {
    let mut world = World::new().await;
    let insurer = world.insurer("A").await;
    world.numbers(3).await;
    let short = |from, until| NewBinding {
        term: BindingTerm::Short,
        valid_from: from,
        valid_until: until,
        ..wanted("p", 1)
    };
    for (from, until) in
        [(None, None), (None, Some(noon())), (Some(noon() + DAY * 2), Some(noon() + DAY))]
    {
        let refused = world.try_bind(insurer.id, noon(), short(from, until)).await;
        assert_eq!(refused, BindOutcome::TermInvalid);
    }
    let later = short(Some(noon() + DAY), Some(noon() + DAY * 2));
    let BindOutcome::Created(binding) = world.try_bind(insurer.id, noon(), later).await else {
        panic!("a binding of tomorrow");
    };
    let expires_at = Some(noon() + DAY * 2);
    assert_eq!(binding.state, BindingState::Pending { starts_at: noon() + DAY, expires_at });
}

#[tokio::test]
async fn a_tenant_may_refuse_real_numbers_or_be_suspended() {
    let mut world = World::new().await;
    let insurer = world.insurer("A").await;
    world.numbers(3).await;
    sqlx::query("update tenant set accept_real_numbers = false")
        .execute(&mut world.sql)
        .await
        .expect("set");
    let refused = world.try_bind(insurer.id, noon(), wanted("p", 1)).await;
    assert_eq!(refused, BindOutcome::RealNumbersRefused);
    let mut transaction = world.test.store.tenant(insurer.id).await.expect("begun");
    let new = NewSubscriber::default();
    let refused = transaction.create_subscriber(noon(), &real(1), new).await.expect("an answer");
    assert_eq!(refused, SubscriberOutcome::RealNumbersRefused);
    drop(transaction);
    sqlx::query("update tenant set state = 'suspended'")
        .execute(&mut world.sql)
        .await
        .expect("set");
    let refused = world.try_bind(insurer.id, noon(), wanted("p", 1)).await;
    assert_eq!(refused, BindOutcome::TenantSuspended);
}

#[tokio::test]
async fn a_binding_is_suspended_resumed_and_unbound_once() {
    let mut world = World::new().await;
    let insurer = world.insurer("A").await;
    world.numbers(1).await;
    let binding = world.bind(&insurer, "p", 1).await;
    let mut tx = world.test.store.tenant(insurer.id).await.expect("begun");
    let stale = tx
        .suspend_binding(noon(), binding.id, SuspendReason::Tenant, CallsUp::GoOn, Some(7))
        .await
        .expect("an answer");
    assert_eq!(stale, BindingOutcome::VersionMismatch);
    let suspended = tx
        .suspend_binding(noon(), binding.id, SuspendReason::Tenant, CallsUp::GoOn, Some(1))
        .await
        .expect("an answer");
    let BindingOutcome::Changed(suspended) = suspended else { panic!("not suspended") };
    assert_eq!((suspended.version, suspended.state.label()), (2, "suspended"));
    let twice = tx
        .suspend_binding(noon(), binding.id, SuspendReason::Tenant, CallsUp::GoOn, None)
        .await
        .expect("an answer");
    assert!(matches!(twice, BindingOutcome::NotAllowed(BindingState::Suspended { .. })));
    let resumed = tx.resume_binding(noon(), binding.id, None).await.expect("an answer");
    assert!(matches!(resumed, BindingOutcome::Changed(_)));
    let over = tx.unbind(noon(), binding.id, CallsUp::End, None).await.expect("an answer");
    let BindingOutcome::Changed(over) = over else { panic!("not unbound") };
    assert_eq!(over.state, BindingState::Released { released_at: noon() });
    let twice = tx.unbind(noon(), binding.id, CallsUp::End, None).await.expect("an answer");
    assert!(matches!(twice, BindingOutcome::NotAllowed(_)));
    tx.commit().await.expect("committed");
    assert_eq!(world.find(insurer.id, binding.id).await, Some(*over));
    assert_eq!(world.number_state(&binding.virtual_number).await, "cooling");
    assert_eq!(
        world.events(insurer.id).await,
        ["binding.created", "binding.suspended", "binding.resumed", "binding.released"]
    );
}

#[tokio::test]
async fn a_node_that_heard_nothing_reads_which_bindings_ended_and_whether_their_calls_do_too() {
    let mut world = World::new().await;
    let insurer = world.insurer("A").await;
    world.numbers(5).await;
    let mut ids = Vec::new();
    for n in 1..=5 {
        ids.push(world.bind(&insurer, &format!("p{n}"), n).await.id);
    }
    let [live, unbound, dropped, suspended, resumed] = ids[..] else { panic!("five bindings") };
    let mut tx = world.test.store.tenant(insurer.id).await.expect("begun");
    tx.unbind(noon(), unbound, CallsUp::GoOn, None).await.expect("an answer");
    tx.unbind(noon(), dropped, CallsUp::End, None).await.expect("an answer");
    for id in [suspended, resumed] {
        tx.suspend_binding(noon(), id, SuspendReason::Tenant, CallsUp::End, None)
            .await
            .expect("an answer");
    }
    tx.resume_binding(noon(), resumed, None).await.expect("an answer");
    tx.commit().await.expect("committed");
    let asked: Vec<_> = ids.iter().map(|id| (insurer.id, *id)).collect();
    let mut found = world.test.database.relay.find_ended(&asked).await.expect("an answer");
    found.sort_by_key(|ended| ended.binding);
    let ended = |binding, cause, calls| EndedBinding { binding, cause, calls };
    let mut expected = [
        ended(unbound, Cause::BindingExpired, CallsUp::GoOn),
        ended(dropped, Cause::BindingExpired, CallsUp::End),
        ended(suspended, Cause::BindingSuspended, CallsUp::End),
    ];
    expected.sort_by_key(|ended| ended.binding);
    assert_eq!(found, expected, "{live} is as it was");
}

#[tokio::test]
async fn a_released_number_rests_and_stays_away_from_its_tenant_for_a_year() {
    let mut world = World::new().await;
    let (one, two) = (world.insurer("A").await, world.insurer("B").await);
    let number = world.numbers(1).await.remove(0);
    let binding = world.bind(&one, "p", 1).await;
    let mut tx = world.test.store.tenant(one.id).await.expect("begun");
    tx.unbind(noon(), binding.id, CallsUp::GoOn, None).await.expect("unbound");
    tx.commit().await.expect("committed");
    assert_eq!(world.number_state(&number).await, "draining");
    let try_at = async |world: &World, tenant, at, name| {
        let mut platform = world.test.store.platform().await.expect("begun");
        platform.sweep_numbers(at).await.expect("swept");
        platform.commit().await.expect("committed");
        let outcome = world.try_bind(tenant, at, wanted(name, 2)).await;
        matches!(outcome, BindOutcome::Created(_))
    };
    assert!(!try_at(&world, two.id, noon() + DAY, "q").await);
    assert_eq!(world.number_state(&number).await, "cooling");
    assert!(!try_at(&world, two.id, noon() + DAY * 179, "q").await);
    // Free again after 180 days: for the other tenant, not for the one that had it.
    assert!(!try_at(&world, one.id, noon() + DAY * 180, "q").await);
    assert_eq!(world.number_state(&number).await, "available");
    assert!(try_at(&world, two.id, noon() + DAY * 180, "q").await);
}

#[tokio::test]
async fn the_same_tenant_gets_its_number_back_after_a_year() {
    let mut world = World::new().await;
    let insurer = world.insurer("A").await;
    world.numbers(1).await;
    let binding = world.bind(&insurer, "p", 1).await;
    let mut tx = world.test.store.tenant(insurer.id).await.expect("begun");
    tx.unbind(noon(), binding.id, CallsUp::End, None).await.expect("unbound");
    tx.commit().await.expect("committed");
    let at = noon() + DAY * 366;
    let mut platform = world.test.store.platform().await.expect("begun");
    platform.sweep_numbers(at).await.expect("swept");
    platform.commit().await.expect("committed");
    let outcome = world.try_bind(insurer.id, at, wanted("q", 1)).await;
    assert!(matches!(outcome, BindOutcome::Created(_)));
}

#[tokio::test]
async fn the_database_itself_refuses_to_bind_a_resting_number() {
    let mut world = World::new().await;
    let insurer = world.insurer("A").await;
    world.numbers(1).await;
    let binding = world.bind(&insurer, "p", 1).await;
    let mut tx = world.test.store.tenant(insurer.id).await.expect("begun");
    tx.unbind(noon(), binding.id, CallsUp::End, None).await.expect("unbound");
    tx.commit().await.expect("committed");
    let forced = sqlx::query(
        "update virtual_number set state = 'bound', released_at = null, cooling_until = null",
    )
    .execute(&mut world.sql)
    .await;
    let error = StoreError::from(forced.expect_err("refused even for the superuser"));
    assert_eq!(error.constraint(), Some("virtual_number_return"));
}

#[tokio::test]
async fn the_sweep_ends_what_is_due_once_and_tells_so() {
    let mut world = World::new().await;
    let (one, two) = (world.insurer("A").await, world.insurer("B").await);
    world.numbers(3).await;
    let until = Some(noon() + DAY);
    let short = |name: &str, number| NewBinding {
        term: BindingTerm::Short,
        valid_until: until,
        ..wanted(name, number)
    };
    for (tenant, name) in [(one.id, "a"), (two.id, "b")] {
        let outcome = world.try_bind(tenant, noon(), short(name, 1)).await;
        assert!(matches!(outcome, BindOutcome::Created(_)));
    }
    let stays = world.bind(&one, "long", 2).await;
    let relay = &world.test.database.relay;
    let store = &world.test.store;
    assert_eq!(store.expire_bindings(relay, noon()).await.expect("swept"), []);
    // Two nodes at one time end each binding once.
    let at = noon() + DAY * 3;
    let (first, second) =
        tokio::join!(store.expire_bindings(relay, at), store.expire_bindings(relay, at));
    let mut expired = first.expect("swept");
    expired.extend(second.expect("swept"));
    assert_eq!(expired.len(), 2);
    let over = world.find(expired[0].tenant, expired[0].binding).await.expect("the binding");
    assert_eq!(over.state, BindingState::Expired { expired_at: noon() + DAY });
    assert_eq!(world.number_state(&expired[0].virtual_number).await, "draining");
    assert_eq!(world.events(two.id).await, ["binding.created", "binding.expired"]);
    let stays = world.find(one.id, stays.id).await.expect("the binding");
    assert_eq!(stays.state, BindingState::Active { expires_at: None });
}

#[tokio::test]
async fn lists_go_on_where_the_last_page_ended() {
    let mut world = World::new().await;
    let insurer = world.insurer("A").await;
    world.numbers(5).await;
    for nth in 0..5 {
        world.bind(&insurer, &format!("p{nth}"), nth).await;
    }
    let mut tx = world.test.store.tenant(insurer.id).await.expect("begun");
    let all = BindingFilter::default();
    let mut seen = Vec::new();
    let mut before = None;
    loop {
        let request = PageRequest::new(2, before);
        let page = tx.list_bindings(&all, request).await.expect("a page");
        seen.extend(page.items.iter().map(|binding| binding.external_id.clone()));
        match page.next {
            Some(next) => before = Some(next),
            None => break,
        }
    }
    seen.sort();
    assert_eq!(seen, ["p0", "p1", "p2", "p3", "p4"]);
    let one = BindingFilter { external_id: Some("p3".to_owned()), ..BindingFilter::default() };
    let page = tx.list_bindings(&one, PageRequest::new(50, None)).await.expect("a page");
    assert_eq!(page.items.len(), 1);
}

#[tokio::test]
async fn a_subscriber_changes_its_number_and_keeps_its_binding() {
    let mut world = World::new().await;
    let insurer = world.insurer("A").await;
    world.numbers(2).await;
    let binding = world.bind(&insurer, "p", 1).await;
    world.bind(&insurer, "q", 2).await;
    let mut tx = world.test.store.tenant(insurer.id).await.expect("begun");
    let id = binding.subscriber;
    let taken = tx.replace_number(noon(), id, &real(2), None).await.expect("an answer");
    assert_eq!(taken, NumberChange::NumberTaken);
    let stale = tx.replace_number(noon(), id, &real(3), Some(9)).await.expect("an answer");
    assert_eq!(stale, NumberChange::VersionMismatch);
    let changed = tx.replace_number(noon(), id, &real(3), Some(1)).await.expect("an answer");
    let NumberChange::Changed(subscriber) = changed else { panic!("not changed") };
    assert_eq!(subscriber.masked.as_deref(), Some("138****0003"));
    tx.commit().await.expect("committed");
    let binding = world.find(insurer.id, binding.id).await.expect("the binding");
    assert_eq!(binding.masked.as_deref(), Some("138****0003"));
    // The old number is nobody's now; the new one is the same subscriber.
    let mut tx = world.test.store.tenant(insurer.id).await.expect("begun");
    let new = NewSubscriber::default();
    let found = tx.create_subscriber(noon(), &real(3), new.clone()).await.expect("an answer");
    assert!(matches!(found, SubscriberOutcome::Existing(s) if s.id == id));
    let found = tx.create_subscriber(noon(), &real(1), new).await.expect("an answer");
    assert!(matches!(found, SubscriberOutcome::Created(s) if s.id != id));
}
