//! Pairs: one agent and one subscriber reach each other by an X that serves other pairs too. No
//! party meets two others on one X, and X rests when its last pair has ended.

use std::collections::BTreeSet;
use std::time::SystemTime;

use maskline::domain::cause::Cause;
use maskline::domain::id::{AgentId, TenantId};
use maskline::domain::number::VirtualNumber;
use maskline::domain::route::{Callee, CallerParty};
use maskline::store::agent::{AgentChange, NewAgent};
use maskline::store::binding::{
    BindOutcome, BindingFilter, BindingMode, BindingRecord, BindingTerm, BindingTerms, CallsUp,
    NewBinding, NumberChoice,
};
use maskline::store::route::{Missing, RouteKey, queries};
use maskline::store::subscriber::NumberChange;
use maskline::store::{PageRequest, StoreError};
use uuid::Uuid;

use crate::fixture::{DAY, EXTENSION, Insurer, World, bits, real, wanted};
use crate::routes::{dial, fill, find, found, insurer_query, lookup_is_cheap, missing};
use crate::support::noon;

pub(crate) async fn agent(world: &World, tenant: TenantId, extension: &str) -> AgentId {
    let new = NewAgent {
        id: AgentId::new(1, bits()),
        employee_id: extension.to_owned(),
        name: "Agent".to_owned(),
        licence: None,
        caller_numbers: vec![format!("9{extension}"), extension.to_owned()],
        filing: "filed",
        group: None,
        allowed_purposes: None,
    };
    world.test.store.insert_agent(tenant, new, noon()).await.expect("an agent").id
}

pub(crate) fn pair(name: &str, agent: AgentId, number: u16) -> NewBinding {
    NewBinding { mode: BindingMode::Axb { agent }, ..wanted(name, number) }
}

pub(crate) fn pair_on(x: &VirtualNumber, name: &str, agent: AgentId, number: u16) -> NewBinding {
    NewBinding { number: NumberChoice::Exact(x.clone()), ..pair(name, agent, number) }
}

pub(crate) fn created(outcome: BindOutcome) -> BindingRecord {
    let BindOutcome::Created(binding) = outcome else { panic!("not bound: {outcome:?}") };
    *binding
}

pub(crate) async fn bind(world: &World, tenant: TenantId, new: NewBinding) -> BindingRecord {
    created(world.try_bind(tenant, noon(), new).await)
}

pub(crate) async fn unbind(world: &World, tenant: TenantId, binding: &BindingRecord) {
    let mut tx = world.test.store.tenant(tenant).await.expect("begun");
    tx.unbind(noon(), binding.id, CallsUp::GoOn, None).await.expect("unbound");
    tx.commit().await.expect("committed");
}

/// Two pairs on one X: subscriber 1 with agent 4821, subscriber 2 with agent 4822.
struct Two {
    world: World,
    insurer: Insurer,
    second: AgentId,
    one: BindingRecord,
    two: BindingRecord,
}

impl Two {
    async fn new() -> Self {
        let mut world = World::new().await;
        let insurer = world.insurer("A").await;
        world.numbers(4).await;
        let second = agent(&world, insurer.id, "4822").await;
        let one = bind(&world, insurer.id, pair("one", insurer.agent, 1)).await;
        let two = bind(&world, insurer.id, pair("two", second, 2)).await;
        assert_eq!(one.virtual_number, two.virtual_number);
        Self { world, insurer, second, one, two }
    }

    /// Whom an agent's extension reaches.
    async fn reached(&self, extension: &str) -> (AgentId, u16) {
        let x = &self.one.virtual_number;
        let record = found(dial(&self.world, self.insurer.id, x, extension).await);
        let route = record.open(&self.world.test.vault, None).expect("opened");
        let CallerParty::Agent { id, active: true } = route.caller else { panic!("{route:?}") };
        let Callee::Subscriber(callee) = &route.callee else { panic!("{route:?}") };
        (id, if **callee == real(1) { 1 } else { 2 })
    }

    /// Whom the owner of a number reaches.
    async fn rings(&self, number: u16) -> String {
        let (dialled, caller) = (&self.one.virtual_number, real(number));
        let key = RouteKey::FromCarrier { dialled, caller: Some(&caller) };
        let record = found(find(&self.world, key).await);
        assert!(record.is_for_its_caller());
        let route = record.open(&self.world.test.vault, Some(&caller)).expect("opened");
        assert_eq!(route.caller, CallerParty::Subscriber);
        assert_eq!(route.targets[0].trunk, self.insurer.trunk);
        let Callee::Desk(user) = route.callee else { panic!("an extension is called") };
        user.into()
    }

    async fn missed(&self, caller: Option<u16>) -> Missing {
        let (dialled, caller) = (&self.one.virtual_number, caller.map(real));
        let key = RouteKey::FromCarrier { dialled, caller: caller.as_ref() };
        missing(&find(&self.world, key).await).0
    }

    async fn number_state(&mut self) -> String {
        let x = self.one.virtual_number.clone();
        self.world.number_state(&x).await
    }
}

#[tokio::test]
async fn two_pairs_share_an_x_and_each_reaches_its_own() {
    let two = Two::new().await;
    let tenant = two.insurer.id;
    assert_eq!(two.reached(EXTENSION).await, (two.insurer.agent, 1));
    assert_eq!(two.reached("4822").await, (two.second, 2));
    assert_eq!(two.reached("94822").await, (two.second, 2));
    assert_eq!(two.rings(1).await, EXTENSION);
    assert_eq!(two.rings(2).await, "4822");
    // A third agent, an extension that is nobody's and another tenant sound alike.
    agent(&two.world, tenant, "4823").await;
    let x = &two.one.virtual_number;
    for (asking, extension) in
        [(tenant, "4823"), (tenant, "9999"), (TenantId::new(9, 9), EXTENSION)]
    {
        let lookup = dial(&two.world, asking, x, extension).await;
        assert_eq!(missing(&lookup).0.cause(), Cause::NumberUnknown);
        assert_eq!(missing(&lookup).1, Some(asking));
    }
    assert_eq!(two.missed(Some(3)).await, Missing::Unbound);
    assert_eq!(two.missed(None).await, Missing::Unbound);
    assert_eq!(two.world.find(tenant, two.two.id).await, Some(two.two.clone()));
}

#[tokio::test]
async fn the_desk_stands_in_for_an_agent_who_is_not_there() {
    let two = Two::new().await;
    let (store, tenant) = (&two.world.test.store, two.insurer.id);
    let nothing = AgentChange::default();
    let gone = AgentChange { caller_numbers: Some(Vec::new()), ..nothing.clone() };
    store.update_agent(tenant, two.insurer.agent, gone, None, noon()).await.expect("changed");
    assert_eq!(two.rings(1).await, "8000");
    let disabled = AgentChange { state: Some("disabled"), ..nothing };
    store.update_agent(tenant, two.second, disabled, None, noon()).await.expect("changed");
    assert_eq!(two.rings(2).await, "8000");
    store.delete_agent(tenant, two.second, None, noon()).await.expect("deleted");
    assert_eq!(two.rings(2).await, "8000");
    let x = &two.one.virtual_number;
    assert_eq!(missing(&dial(&two.world, tenant, x, "4822").await).0, Missing::Unbound);
}

#[tokio::test]
async fn a_subscriber_with_a_new_number_is_recognised_by_it() {
    let two = Two::new().await;
    let mut tx = two.world.test.store.tenant(two.insurer.id).await.expect("begun");
    let changed = tx.replace_number(noon(), two.two.subscriber, &real(7), None).await;
    assert!(matches!(changed, Ok(NumberChange::Changed(_))), "{changed:?}");
    tx.commit().await.expect("committed");
    assert_eq!(two.rings(7).await, "4822");
    assert_eq!(two.missed(Some(2)).await, Missing::Unbound);
}

#[tokio::test]
async fn no_party_meets_two_others_on_one_x() {
    let two = Two::new().await;
    let (tenant, x) = (two.insurer.id, &two.one.virtual_number);
    let third = agent(&two.world, tenant, "4823").await;
    for (name, agent, number) in [("a", two.second, 3), ("s", third, 1), ("both", two.second, 2)] {
        let refused = two.world.try_bind(tenant, noon(), pair_on(x, name, agent, number)).await;
        assert_eq!(refused, BindOutcome::NumberTaken, "{name}");
    }
    // Where any X will do, it is another one, which is then shared again.
    let other = bind(&two.world, tenant, pair("again", two.second, 1)).await;
    assert_ne!(other.virtual_number, *x);
    let fourth = bind(&two.world, tenant, pair("fourth", third, 2)).await;
    assert_eq!(fourth.virtual_number, other.virtual_number);
    let exact = bind(&two.world, tenant, pair_on(x, "exact", third, 4)).await;
    assert_eq!(exact.virtual_number, *x);
    let filter = BindingFilter { agent: Some(third), ..BindingFilter::default() };
    let mut tx = two.world.test.store.tenant(tenant).await.expect("begun");
    let page = tx.list_bindings(&filter, PageRequest::new(50, None)).await.expect("a page");
    let names: Vec<_> = page.items.iter().map(|binding| binding.external_id.as_str()).collect();
    assert_eq!(names.into_iter().collect::<BTreeSet<_>>(), BTreeSet::from(["exact", "fourth"]));
}

#[tokio::test]
async fn a_number_serves_pairs_alone_or_one_other_binding() {
    let mut two = Two::new().await;
    let (tenant, x) = (two.insurer.id, two.one.virtual_number.clone());
    let ax = NewBinding { number: NumberChoice::Exact(x.clone()), ..wanted("ax", 5) };
    assert_eq!(two.world.try_bind(tenant, noon(), ax).await, BindOutcome::NumberTaken);
    let ax = bind(&two.world, tenant, wanted("ax", 5)).await;
    assert_ne!(ax.virtual_number, x);
    let on_ax = pair_on(&ax.virtual_number, "pair", two.second, 6);
    assert_eq!(two.world.try_bind(tenant, noon(), on_ax).await, BindOutcome::NumberTaken);
    // Whatever the program believes.
    let copied = sqlx::query(
        "insert into binding (tenant_id, id, external_id, content_hash, mode, term, policy_ref,
             subscriber_id, number_id, virtual_number, state, valid_from, metadata, created_at,
             updated_at)
         select b.tenant_id, gen_random_uuid(), 'copy', b.content_hash, 'ax', 'long', 'P',
             o.subscriber_id, b.number_id, b.virtual_number, 'active', now(), '{}', now(), now()
         from binding b, binding o where b.id = $1 and o.id = $2",
    )
    .bind(Uuid::from_u128(two.one.id.as_u128()))
    .bind(Uuid::from_u128(ax.id.as_u128()))
    .execute(&mut two.world.sql)
    .await;
    let error = StoreError::from(copied.expect_err("refused"));
    assert_eq!(error.constraint(), Some("binding_number_mode"));
    let rests = "update virtual_number set state = 'cooling', released_at = now(),
         cooling_until = now() + interval '180 days' where pairs";
    let error = sqlx::query(rests).execute(&mut two.world.sql).await.expect_err("it is used");
    assert_eq!(StoreError::from(error).constraint(), Some("virtual_number_pairs_held"));
}

#[tokio::test]
async fn other_tenants_agents_and_numbers_are_unknown() {
    let mut two = Two::new().await;
    let other = two.world.insurer("B").await;
    for (tenant, agent) in [(two.insurer.id, other.agent), (other.id, AgentId::new(7, 7))] {
        let refused = two.world.try_bind(tenant, noon(), pair("p", agent, 8)).await;
        assert_eq!(refused, BindOutcome::AgentUnknown);
    }
    let x = two.one.virtual_number.clone();
    let refused = two.world.try_bind(other.id, noon(), pair_on(&x, "p", other.agent, 8)).await;
    assert_eq!(refused, BindOutcome::NumberTaken);
    let own = bind(&two.world, other.id, pair("p", other.agent, 1)).await;
    assert_ne!(own.virtual_number, x);
    // The same person, found by another key.
    let (caller, dialled) = (real(2), &own.virtual_number);
    let key = RouteKey::FromCarrier { dialled, caller: Some(&caller) };
    assert_eq!(missing(&find(&two.world, key).await), (Missing::Unbound, Some(other.id)));
}

#[tokio::test]
async fn a_repeat_is_the_same_pair_and_another_agent_another_content() {
    let two = Two::new().await;
    let tenant = two.insurer.id;
    let again = two.world.try_bind(tenant, noon(), pair("one", two.insurer.agent, 1)).await;
    assert_eq!(again, BindOutcome::Existing(Box::new(two.one.clone())));
    for other in [pair("one", two.second, 1), wanted("one", 1)] {
        let refused = two.world.try_bind(tenant, noon(), other).await;
        assert_eq!(refused, BindOutcome::ExternalIdTaken);
    }
}

#[tokio::test]
async fn x_rests_when_its_last_pair_is_unbound() {
    let mut two = Two::new().await;
    let tenant = two.insurer.id;
    unbind(&two.world, tenant, &two.one).await;
    assert_eq!(two.number_state().await, "bound");
    assert_eq!(two.missed(Some(1)).await, Missing::Unbound);
    assert_eq!(two.rings(2).await, "4822");
    unbind(&two.world, tenant, &two.two).await;
    assert_eq!(two.number_state().await, "draining");
    assert_eq!(two.missed(Some(2)).await, Missing::Cooling);
    let tenancies: i64 = sqlx::query_scalar("select count(*) from number_tenancy")
        .fetch_one(&mut two.world.sql)
        .await
        .expect("counted");
    assert_eq!(tenancies, 1);
    // It comes back to nobody but as a number that has rested.
    let next = bind(&two.world, tenant, pair("next", two.insurer.agent, 1)).await;
    assert_ne!(next.virtual_number, two.one.virtual_number);
}

#[tokio::test]
async fn x_rests_when_its_last_pair_has_expired_or_lain_unused() {
    let mut world = World::new().await;
    let insurer = world.insurer("A").await;
    world.numbers(1).await;
    let agents = [insurer.agent, agent(&world, insurer.id, "4822").await];
    let third = agent(&world, insurer.id, "4823").await;
    let ends = |name: &str, agent, number, days| NewBinding {
        term: BindingTerm::Short,
        valid_until: Some(noon() + DAY * days),
        ..pair(name, agent, number)
    };
    let first = bind(&world, insurer.id, ends("first", agents[0], 1, 1)).await;
    bind(&world, insurer.id, ends("second", agents[1], 2, 2)).await;
    let terms = BindingTerms { idle_ttl: Some(DAY), ..BindingTerms::default() };
    bind(&world, insurer.id, NewBinding { terms, ..pair("idle", third, 3) }).await;
    let x = first.virtual_number.clone();
    let (store, relay) = (world.test.store.clone(), world.test.database.relay.clone());
    let expired = store.expire_bindings(&relay, noon() + DAY).await.expect("swept");
    assert_eq!(expired.len(), 1);
    assert_eq!(world.number_state(&x).await, "bound");
    let idle = store.expire_idle_bindings(&relay, noon() + DAY * 3).await.expect("swept");
    assert_eq!(idle.expired.len(), 1);
    assert_eq!(world.number_state(&x).await, "bound");
    let expired = store.expire_bindings(&relay, noon() + DAY * 3).await.expect("swept");
    assert_eq!(expired.len(), 1);
    assert_eq!(world.number_state(&x).await, "draining");
    assert_eq!(released_at(&mut world, &x).await, noon() + DAY * 2);
}

#[tokio::test]
async fn a_sweep_that_ends_all_pairs_of_an_x_lets_it_rest_from_the_last_end_on() {
    let mut world = World::new().await;
    let insurer = world.insurer("A").await;
    world.numbers(1).await;
    let mut numbers = BTreeSet::new();
    for (nth, days) in (1..).zip([1, 3, 2]) {
        let agent = agent(&world, insurer.id, &format!("500{nth}")).await;
        let valid_until = Some(noon() + DAY * days);
        let new = pair(&format!("p{nth}"), agent, nth);
        let new = NewBinding { term: BindingTerm::Short, valid_until, ..new };
        numbers.insert(bind(&world, insurer.id, new).await.virtual_number);
    }
    let x = numbers.pop_first().expect("an X");
    assert!(numbers.is_empty());
    let (store, relay) = (&world.test.store, &world.test.database.relay);
    let expired = store.expire_bindings(relay, noon() + DAY * 9).await.expect("swept");
    assert_eq!(expired.len(), 3);
    assert_eq!(world.number_state(&x).await, "draining");
    assert_eq!(released_at(&mut world, &x).await, noon() + DAY * 3);
}

pub(crate) async fn released_at(world: &mut World, x: &VirtualNumber) -> SystemTime {
    let at: jiff_sqlx::Timestamp =
        sqlx::query_scalar("select released_at from virtual_number where digits = $1")
            .bind(x.as_str())
            .fetch_one(&mut world.sql)
            .await
            .expect("the number");
    at.to_jiff().into()
}

#[tokio::test]
async fn who_had_a_pair_on_an_x_meets_nobody_else_there_until_it_would_have_rested() {
    let two = Two::new().await;
    let (tenant, x) = (two.insurer.id, two.one.virtual_number.clone());
    let third = agent(&two.world, tenant, "4823").await;
    unbind(&two.world, tenant, &two.one).await;
    // Agent 4821 has dialled subscriber 1 by it, and subscriber 1 the agent.
    let late = noon() + DAY * 181;
    for (name, agent, number) in [("a", two.insurer.agent, 5), ("s", third, 1)] {
        let early = two.world.try_bind(tenant, noon() + DAY, pair_on(&x, name, agent, number));
        assert_eq!(early.await, BindOutcome::NumberTaken, "{name}");
        let free = pair(&format!("free {name}"), agent, number);
        let free = created(two.world.try_bind(tenant, noon() + DAY, free).await);
        assert_ne!(free.virtual_number, x);
    }
    let back = bind(&two.world, tenant, pair_on(&x, "back", two.insurer.agent, 1)).await;
    unbind(&two.world, tenant, &back).await;
    let new = pair_on(&x, "late", two.insurer.agent, 5);
    assert_eq!(created(two.world.try_bind(tenant, late, new).await).virtual_number, x);
}

#[tokio::test]
async fn a_batch_binds_pairs_among_other_rows_as_single_requests_would() {
    let mut world = World::new().await;
    let insurer = world.insurer("A").await;
    world.numbers(3).await;
    let second = agent(&world, insurer.id, "4822").await;
    let mut tx = world.test.store.tenant(insurer.id).await.expect("begun");
    let rows = vec![
        pair("one", insurer.agent, 1),
        wanted("ax", 3),
        pair("two", second, 2),
        pair("nobody's", AgentId::new(7, 7), 4),
        pair("again", second, 1),
    ];
    let mut numbers = Vec::new();
    for outcome in tx.bind_all(noon(), rows).await.expect("bound") {
        let outcome = outcome.expect("an outcome");
        let is_unknown = outcome == BindOutcome::AgentUnknown;
        numbers.push((!is_unknown).then(|| created(outcome).virtual_number));
    }
    tx.commit().await.expect("committed");
    assert_eq!(numbers[0], numbers[2]);
    let distinct: BTreeSet<_> = numbers.iter().flatten().collect();
    assert_eq!((distinct.len(), numbers.iter().flatten().count()), (3, 4));
}

#[tokio::test]
async fn a_lookup_reads_a_few_pages_among_many_pairs_of_one_x() {
    let mut two = Two::new().await;
    fill(&mut two.world, &two.insurer, 20_000).await;
    sqlx::raw_sql(
        "with a as (
             insert into agent (tenant_id, id, employee_id, name, filing, state, created_at,
                 updated_at)
             select t.id, gen_random_uuid(), 'e' || i, 'Agent', 'filed', 'active', now(), now()
             from generate_series(1, 5000) as i, tenant t
             returning tenant_id, id, employee_id
         ), c as (
             insert into agent_caller_number (tenant_id, caller, agent_id)
             select tenant_id, employee_id, id from a
         ), s as (
             insert into subscriber (tenant_id, id, number_sealed, key_sealed, lookup_hash,
                 language, time_zone, created_at, updated_at)
             select tenant_id, id, decode(repeat('00', 47), 'hex'),
                 decode(repeat('00', 63), 'hex'), uuid_send(id), 'zh-CN', 'Asia/Shanghai', now(),
                 now()
             from a returning id
         )
         insert into binding (tenant_id, id, external_id, content_hash, mode, term, policy_ref,
             subscriber_id, agent_id, number_id, virtual_number, state, valid_from, metadata,
             created_at, updated_at)
         select v.tenant_id, gen_random_uuid(), s.id::text, decode(repeat('00', 32), 'hex'), 'axb',
             'long', 'P', s.id, s.id, v.id, v.digits, 'active', now(), '{}', now(), now()
         from virtual_number v, s where v.pairs",
    )
    .execute(&mut two.world.sql)
    .await
    .expect("filled");
    sqlx::raw_sql("analyze").execute(&mut two.world.sql).await.expect("analysed");
    let digits = two.one.virtual_number.as_str();
    lookup_is_cheap(&two.world, &insurer_query(&two.insurer, digits, "4822")).await;
    let (_, from_carrier, from_pair) = queries();
    let from_carrier = from_carrier.replace("$1", &format!("'{digits}'"));
    lookup_is_cheap(&two.world, &from_carrier).await;
    let hash = "decode(repeat('11', 16), 'hex')";
    let from_pair = from_pair.replace("$1", &format!("'{digits}'")).replace("$2", hash);
    lookup_is_cheap(&two.world, &from_pair).await;
    assert_eq!(two.reached("4822").await, (two.second, 2));
    assert_eq!(two.rings(1).await, EXTENSION);
}
