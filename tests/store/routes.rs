//! Route lookup: who is reached, by which trunks, and how everything else looks alike.

use maskline::domain::binding::{BindingState, SuspendReason};
use maskline::domain::cause::Cause;
use maskline::domain::id::TenantId;
use maskline::domain::number::VirtualNumber;
use maskline::domain::purpose::Purpose;
use maskline::domain::route::{Callee, CallerParty, Route};
use maskline::store::agent::AgentChange;
use maskline::store::binding::CallsUp;
use maskline::store::route::{self, Missing, RouteKey, RouteLookup, RouteRecord};
use serde_json::Value;
use sqlx::AssertSqlSafe;

use crate::fixture::{EXTENSION, Insurer, World, real, x};
use crate::support::noon;

pub(crate) async fn dial(
    world: &World,
    tenant: TenantId,
    dialled: &VirtualNumber,
    caller: &str,
) -> RouteLookup {
    let key = RouteKey::FromInsurer { tenant, dialled, caller };
    find(world, key).await
}

async fn ring_in(world: &World, dialled: &VirtualNumber) -> RouteLookup {
    find(world, RouteKey::FromCarrier { dialled, caller: None }).await
}

pub(crate) async fn find(world: &World, key: RouteKey<'_>) -> RouteLookup {
    let (relay, vault) = (&world.test.database.relay, &world.test.vault);
    route::find(relay, vault, key).await.expect("an answer")
}

pub(crate) fn found(lookup: RouteLookup) -> RouteRecord {
    match lookup {
        RouteLookup::Found(record) => *record,
        RouteLookup::Missing { why, .. } => panic!("missing: {why:?}"),
    }
}

pub(crate) fn missing(lookup: &RouteLookup) -> (Missing, Option<TenantId>) {
    match lookup {
        RouteLookup::Found(_) => panic!("found"),
        RouteLookup::Missing { why, tenant } => (*why, *tenant),
    }
}

fn targets(route: &Route) -> Vec<String> {
    route.targets.iter().map(|target| target.address.to_string()).collect()
}

async fn bound() -> (World, Insurer, VirtualNumber) {
    let mut world = World::new().await;
    let insurer = world.insurer("A").await;
    world.numbers(3).await;
    let number = world.bind(&insurer, "p", 1).await.virtual_number;
    (world, insurer, number)
}

#[tokio::test]
async fn an_agent_reaches_the_subscriber_over_the_carriers_by_priority() {
    let (world, insurer, number) = bound().await;
    let record = found(dial(&world, insurer.id, &number, EXTENSION).await);
    let route = record.open(&world.test.vault, None).expect("opened");
    assert_eq!(route.caller, CallerParty::Agent { id: insurer.agent, active: true });
    let Callee::Subscriber(callee) = &route.callee else { panic!("the subscriber is called") };
    assert_eq!(**callee, real(1));
    assert_eq!(targets(&route), ["192.0.2.10:5060", "192.0.2.20:5060"]);
    assert_eq!(route.state, BindingState::Active { expires_at: None });
    assert!(route.tenant_active);
    assert!(!format!("{record:?}").contains("1380000"), "sealed in memory too");
}

#[tokio::test]
async fn an_extension_that_is_nobodys_is_an_unknown_agent() {
    let (mut world, insurer, number) = bound().await;
    let other = world.insurer("B").await;
    let record = found(dial(&world, insurer.id, &number, "9999").await);
    let route = record.open(&world.test.vault, None).expect("opened");
    assert_eq!(route.caller, CallerParty::UnknownAgent);
    sqlx::query("update agent set state = 'disabled'").execute(&mut world.sql).await.expect("set");
    let record = found(dial(&world, insurer.id, &number, EXTENSION).await);
    let route = record.open(&world.test.vault, None).expect("opened");
    assert_eq!(route.caller, CallerParty::Agent { id: insurer.agent, active: false });
    assert_ne!(other.agent, insurer.agent);
}

#[tokio::test]
async fn a_route_says_what_its_agent_may_call_for_until_that_changes() {
    let (world, insurer, number) = bound().await;
    let allowed = async || {
        let record = found(dial(&world, insurer.id, &number, EXTENSION).await);
        record.open(&world.test.vault, None).expect("opened").allowed_purposes
    };
    let change = async |only: Option<&[Purpose]>| {
        let allowed_purposes = Some(only.map(<[_]>::to_vec));
        let change = AgentChange { allowed_purposes, ..AgentChange::default() };
        let store = &world.test.store;
        let changed = store.update_agent(insurer.id, insurer.agent, change, None, noon()).await;
        changed.expect("an outcome").expect("it is there")
    };
    assert_eq!(allowed().await, None, "all");
    let two = [Purpose::Claim, Purpose::Survey];
    assert_eq!(change(Some(&two)).await.allowed_purposes.as_deref(), Some(&two[..]));
    assert_eq!(allowed().await.as_deref(), Some(&two[..]));
    change(Some(&two[1..])).await;
    assert_eq!(allowed().await.as_deref(), Some(&two[1..]));
    assert_eq!(change(None).await.allowed_purposes, None);
    assert_eq!(allowed().await, None);
    let record = found(ring_in(&world, &number).await);
    assert_eq!(record.open(&world.test.vault, None).expect("opened").allowed_purposes, None);
}

#[tokio::test]
async fn the_subscriber_reaches_the_desk_and_anybody_else_is_a_stranger() {
    let (world, insurer, number) = bound().await;
    let record = found(ring_in(&world, &number).await);
    for (caller, party) in [
        (Some(real(1)), CallerParty::Subscriber),
        (Some(real(2)), CallerParty::Stranger),
        (None, CallerParty::Stranger),
    ] {
        let route = record.open(&world.test.vault, caller.as_ref()).expect("opened");
        assert_eq!(route.caller, party);
        assert!(matches!(&route.callee, Callee::Desk(desk) if &**desk == "8000"));
        assert_eq!(targets(&route), ["198.51.100.1:5060"]);
        assert_eq!(route.targets[0].trunk, insurer.trunk);
    }
}

#[tokio::test]
async fn unknown_foreign_and_free_numbers_have_one_cause() {
    let (mut world, insurer, number) = bound().await;
    let other = world.insurer("B").await;
    let [one, two] = ["17000000001", "17000000002"].map(x);
    let free = if number == one { two } else { one };
    let asked = [
        (dial(&world, insurer.id, &x("95588"), EXTENSION).await, Missing::Unknown),
        (dial(&world, other.id, &number, EXTENSION).await, Missing::Foreign),
        (dial(&world, other.id, &free, EXTENSION).await, Missing::Unbound),
    ];
    for (lookup, why) in &asked {
        assert_eq!(missing(lookup).0, *why);
        assert_eq!(missing(lookup).0.cause(), Cause::NumberUnknown);
    }
    // The record belongs to the tenant that dialled, never to the one that holds the number.
    assert_eq!(missing(&asked[1].0).1, Some(other.id));
    assert_eq!(missing(&ring_in(&world, &x("95588")).await), (Missing::Unknown, None));
    assert_eq!(missing(&ring_in(&world, &free).await), (Missing::Unbound, None));
}

#[tokio::test]
async fn a_released_number_is_cooling_for_its_tenant_and_foreign_for_others() {
    let (mut world, insurer, number) = bound().await;
    let other = world.insurer("B").await;
    let record = found(dial(&world, insurer.id, &number, EXTENSION).await);
    let mut tx = world.test.store.tenant(insurer.id).await.expect("begun");
    tx.unbind(noon(), record.binding(), CallsUp::GoOn, None).await.expect("unbound");
    tx.commit().await.expect("committed");
    let cooling = (Missing::Cooling, Some(insurer.id));
    assert_eq!(missing(&dial(&world, insurer.id, &number, EXTENSION).await), cooling);
    assert_eq!(missing(&ring_in(&world, &number).await), cooling);
    let foreign = missing(&dial(&world, other.id, &number, EXTENSION).await);
    assert_eq!(foreign, (Missing::Foreign, Some(other.id)));
}

#[tokio::test]
async fn states_of_binding_tenant_and_trunks_are_in_the_route() {
    let (mut world, insurer, number) = bound().await;
    let record = found(dial(&world, insurer.id, &number, EXTENSION).await);
    let mut tx = world.test.store.tenant(insurer.id).await.expect("begun");
    let reason = SuspendReason::Operator;
    tx.suspend_binding(noon(), record.binding(), reason, CallsUp::GoOn, None)
        .await
        .expect("suspended");
    tx.commit().await.expect("committed");
    for sql in [
        "update tenant set state = 'suspended', desk_user = null",
        "update trunk set enabled = false where name = 'first'",
        "update trunk set deleted_at = now() where name = 'A PBX'",
        "update trunk set targets = array['192.0.2.20:5060', '[2001:db8::20]:5060']
         where name = 'second'",
    ] {
        sqlx::query(sql).execute(&mut world.sql).await.expect("set");
    }
    let record = found(dial(&world, insurer.id, &number, EXTENSION).await);
    let route = record.open(&world.test.vault, None).expect("opened");
    assert_eq!(route.state, BindingState::Suspended { reason, expires_at: None });
    assert!(!route.tenant_active);
    assert_eq!(targets(&route), ["192.0.2.20:5060", "[2001:db8::20]:5060"]);
    let record = found(ring_in(&world, &number).await);
    let route = record.open(&world.test.vault, Some(&real(1))).expect("opened");
    assert_eq!(targets(&route), [""; 0]);
}

#[tokio::test]
async fn a_number_copied_into_another_row_does_not_open() {
    let (mut world, insurer, number) = bound().await;
    world.bind(&insurer, "q", 2).await;
    sqlx::query(
        "update subscriber s set number_sealed = o.number_sealed, key_sealed = o.key_sealed
         from subscriber o where o.tenant_id = s.tenant_id and o.id <> s.id",
    )
    .execute(&mut world.sql)
    .await
    .expect("swapped");
    let record = found(dial(&world, insurer.id, &number, EXTENSION).await);
    assert!(record.open(&world.test.vault, None).is_err());
}

/// What the lookup may read, whatever the number of bindings: a few pages for each index.
const PAGES_MAX: u64 = 60;

pub(crate) async fn fill(world: &mut World, insurer: &Insurer, count: i32) {
    let sql = format!(
        "with n as (
             insert into virtual_number (id, digits, pool_id, tenant_id, state, created_at,
                 updated_at)
             select gen_random_uuid(), '95' || lpad(i::text, 9, '0'), p.id, t.id, 'bound', now(),
                 now()
             from generate_series(1, {count}) as i, pool p, tenant t where t.name = 'A'
             returning id, digits, tenant_id
         ), s as (
             insert into subscriber (tenant_id, id, number_sealed, key_sealed, lookup_hash,
                 language, time_zone, created_at, updated_at)
             select tenant_id, id, decode(repeat('00', 47), 'hex'), decode(repeat('00', 63), 'hex'),
                 uuid_send(id), 'zh-CN', 'Asia/Shanghai', now(), now() from n
             returning id
         )
         insert into binding (tenant_id, id, external_id, content_hash, mode, term, policy_ref,
             subscriber_id, number_id, virtual_number, state, valid_from, metadata, created_at,
             updated_at)
         select n.tenant_id, gen_random_uuid(), n.digits, decode(repeat('00', 32), 'hex'), 'ax',
             'long', 'P', n.id, n.id, n.digits, 'active', now(), '{{}}', now(), now()
         from n join s on s.id = n.id"
    );
    sqlx::query(AssertSqlSafe(sql)).execute(&mut world.sql).await.expect("filled");
    sqlx::raw_sql("analyze").execute(&mut world.sql).await.expect("analysed");
    assert_ne!(insurer.id.as_u128(), 0);
}

/// The query of an agent who dials.
pub(crate) fn insurer_query(insurer: &Insurer, digits: &str, extension: &str) -> String {
    let (sql, _, _) = route::queries();
    let sql = sql.replace("$1", &format!("'{digits}'")).replace("$2", &format!("'{extension}'"));
    let tenant = uuid::Uuid::from_u128(insurer.id.as_u128());
    sql.replace("$3", &format!("'{tenant}'::uuid")).replace("$4", "null")
}

/// Pages read and nodes of the plan that read a whole table.
async fn cost_of_lookup(world: &World, sql: &str) -> (u64, Vec<String>) {
    let mut relay = world.test.connect_as("maskline_relay").await;
    let sql = format!("explain (analyze, buffers, format json) {sql}");
    let plan: Value =
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut relay).await.expect("a plan");
    let top = &plan[0]["Plan"];
    let pages = |name: &str| top[name].as_u64().expect("a count");
    let mut scans = Vec::new();
    whole_scans(top, &mut scans);
    (pages("Shared Hit Blocks") + pages("Shared Read Blocks"), scans)
}

fn whole_scans(node: &Value, scans: &mut Vec<String>) {
    if node["Node Type"] == "Seq Scan" {
        scans.push(node["Relation Name"].to_string());
    }
    for child in node["Plans"].as_array().into_iter().flatten() {
        whole_scans(child, scans);
    }
}

#[tokio::test]
async fn virtual_numbers_are_found_by_their_ending_without_reading_all_of_them() {
    let mut world = World::new().await;
    let insurer = world.insurer("A").await;
    fill(&mut world, &insurer, 20_000).await;
    let mut app = world.test.connect_as("maskline_app").await;
    sqlx::raw_sql("begin").execute(&mut app).await.expect("begun");
    let found: i64 = sqlx::query_scalar("select count(*) from virtual_numbers_ending('0077')")
        .fetch_one(&mut app)
        .await
        .expect("an answer");
    // Row-level security keeps the planner from indexes on most expressions.
    let scans: i64 = sqlx::query_scalar(
        "select seq_scan from pg_stat_xact_user_tables where relname = 'virtual_number'",
    )
    .fetch_one(&mut app)
    .await
    .expect("counts");
    assert_eq!((found, scans), (2, 0));
}

async fn lookup_is_flat(count: i32) {
    let mut world = World::new().await;
    let insurer = world.insurer("A").await;
    fill(&mut world, &insurer, count).await;
    let sql = insurer_query(&insurer, "95000000077", EXTENSION);
    lookup_is_cheap(&world, &sql).await;
}

/// It reads a few pages, and no large table as a whole.
pub(crate) async fn lookup_is_cheap(world: &World, sql: &str) {
    let (pages, scans) = cost_of_lookup(world, sql).await;
    eprintln!("{pages} pages");
    assert!(pages <= PAGES_MAX, "{pages} pages");
    // Tables of a handful of rows are read whole, and should be.
    for table in ["virtual_number", "binding", "subscriber"] {
        assert!(!scans.contains(&format!("\"{table}\"")), "{scans:?}");
    }
}

#[tokio::test]
async fn a_lookup_reads_a_few_pages_among_many_bindings() {
    lookup_is_flat(20_000).await;
}

#[tokio::test]
#[ignore = "takes minutes to fill: run it with --ignored"]
async fn a_lookup_reads_a_few_pages_among_a_million_bindings() {
    lookup_is_flat(1_000_000).await;
}
