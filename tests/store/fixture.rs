//! A small world: tenants with agents and trunks, a pool with numbers, and things to do with it.

use std::time::{Duration, SystemTime};

use maskline::domain::cause::Cause;
use maskline::domain::cdr::{Cdr, Direction, EndedBy};
use maskline::domain::id::{AgentId, BindingId, CallId, PoolId, TenantId, TrunkId};
use maskline::domain::number::{RealNumber, VirtualNumber};
use maskline::store::binding::{
    BindOutcome, BindingMode, BindingRecord, BindingTerm, BindingTerms, NewBinding, NumberChoice,
    PolicyRef, SubscriberChoice,
};
use maskline::store::cdr::insert_batch;
use maskline::store::convert::unix_ms;
use maskline::vault::random_u128;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::support::{self, TestDatabase, noon};

pub(crate) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(crate) struct World {
    pub(crate) test: TestDatabase,
    pub(crate) sql: PgConnection,
    pub(crate) pool: PoolId,
}

pub(crate) struct Insurer {
    pub(crate) id: TenantId,
    pub(crate) agent: AgentId,
    pub(crate) trunk: TrunkId,
}

/// The extension of every insurer's agent.
pub(crate) const EXTENSION: &str = "4821";

pub(crate) fn x(text: &str) -> VirtualNumber {
    VirtualNumber::parse(text).expect("a valid number")
}

pub(crate) fn real(last: u16) -> RealNumber {
    RealNumber::parse(&format!("+861380000{last:04}")).expect("a valid number")
}

pub(crate) fn bits() -> u128 {
    random_u128().expect("randomness")
}

impl World {
    /// A pool with two carrier trunks, and nothing else.
    pub(crate) async fn new() -> Self {
        let test = support::database().await;
        let sql = test.superuser().await;
        let pool = PoolId::new(1, bits());
        let mut world = Self { test, sql, pool };
        world
            .run(
                "insert into pool (id, name, class, city, created_at, updated_at)
                 values ($1, 'mobile', 'mobile', 'Shanghai', now(), now())",
                pool.as_u128(),
            )
            .await;
        world.carrier("second", 20, "192.0.2.20:5060").await;
        world.carrier("first", 10, "192.0.2.10:5060").await;
        world
    }

    /// The same with an insurer and two numbers, of which one is bound.
    pub(crate) async fn with_one_binding() -> (Self, Insurer, BindingRecord) {
        let mut world = Self::new().await;
        let insurer = world.insurer("A").await;
        world.numbers(2).await;
        let to = world.bind(&insurer, "p", 1).await;
        (world, insurer, to)
    }

    async fn run(&mut self, sql: &'static str, id: u128) {
        let done = sqlx::query(sql).bind(Uuid::from_u128(id)).execute(&mut self.sql).await;
        done.expect("laid out");
    }

    pub(crate) async fn carrier(&mut self, name: &str, priority: i16, target: &str) -> TrunkId {
        let id = TrunkId::new(1, bits());
        self.trunk(id, None, name, priority, target).await;
        sqlx::query("insert into pool_trunk (pool_id, trunk_id) values ($1, $2)")
            .bind(Uuid::from_u128(self.pool.as_u128()))
            .bind(Uuid::from_u128(id.as_u128()))
            .execute(&mut self.sql)
            .await
            .expect("a pool's trunk");
        id
    }

    async fn trunk(
        &mut self,
        id: TrunkId,
        tenant: Option<TenantId>,
        name: &str,
        priority: i16,
        target: &str,
    ) {
        sqlx::query(
            "insert into trunk (id, tenant_id, role, name, source_networks, targets, priority,
                 weight, country_code, enabled, created_at, updated_at)
             values ($1, $2, case when $2 is null then 'carrier' else 'insurer' end, $3,
                 '{192.0.2.0/24}', array[$5], $4, 1, '86', true, now(), now())",
        )
        .bind(Uuid::from_u128(id.as_u128()))
        .bind(tenant.map(|id| Uuid::from_u128(id.as_u128())))
        .bind(name)
        .bind(priority)
        .bind(target)
        .execute(&mut self.sql)
        .await
        .expect("a trunk");
    }

    pub(crate) async fn insurer(&mut self, name: &str) -> Insurer {
        let id = TenantId::new(1, bits());
        let keys = self.test.vault.create_tenant_keys(id).expect("keys");
        sqlx::query(
            "insert into tenant (id, name, state, is_test, accept_real_numbers, desk_user,
                 language, time_zone, country_code, wrapping_key_sealed, lookup_key_sealed,
                 created_at, updated_at)
             values ($1, $2, 'active', false, true, '8000', 'zh-CN', 'Asia/Shanghai', '86', $3, $4,
                 now(), now())",
        )
        .bind(Uuid::from_u128(id.as_u128()))
        .bind(name)
        .bind(keys.wrapping)
        .bind(keys.lookup)
        .execute(&mut self.sql)
        .await
        .expect("a tenant");
        let agent = AgentId::new(1, bits());
        sqlx::query(
            "with a as (
                 insert into agent (tenant_id, id, employee_id, name, filing, state, created_at,
                     updated_at)
                 values ($1, $2, '4821', 'Agent', 'filed', 'active', now(), now())
                 returning tenant_id, id)
             insert into agent_caller_number (tenant_id, caller, agent_id)
             select tenant_id, $3, id from a",
        )
        .bind(Uuid::from_u128(id.as_u128()))
        .bind(Uuid::from_u128(agent.as_u128()))
        .bind(EXTENSION)
        .execute(&mut self.sql)
        .await
        .expect("an agent");
        let trunk = TrunkId::new(1, bits());
        self.trunk(trunk, Some(id), &format!("{name} PBX"), 10, "198.51.100.1:5060").await;
        Insurer { id, agent, trunk }
    }

    /// Numbers `17000000000` and on.
    pub(crate) async fn numbers(&self, count: u16) -> Vec<VirtualNumber> {
        let numbers: Vec<_> = (0..count).map(|n| x(&format!("1700000{n:04}"))).collect();
        let mut platform = self.test.store.platform().await.expect("begun");
        let pool = self.pool;
        let imported = platform.import_numbers(noon(), pool, &numbers).await.expect("imported");
        assert_eq!(imported.added.len(), numbers.len());
        platform.commit().await.expect("committed");
        numbers
    }

    pub(crate) async fn try_bind(
        &self,
        tenant: TenantId,
        at: SystemTime,
        new: NewBinding,
    ) -> BindOutcome {
        let mut transaction = self.test.store.tenant(tenant).await.expect("begun");
        let outcome = transaction.bind(at, new).await.expect("an outcome");
        transaction.commit().await.expect("committed");
        outcome
    }

    pub(crate) async fn bind(&self, insurer: &Insurer, name: &str, number: u16) -> BindingRecord {
        let outcome = self.try_bind(insurer.id, noon(), wanted(name, number)).await;
        let BindOutcome::Created(binding) = outcome else { panic!("not bound: {outcome:?}") };
        *binding
    }

    /// A refused call of the insurer's agent, written down.
    pub(crate) async fn call(&self, insurer: &Insurer) {
        let cdr = Cdr {
            call: CallId::new(unix_ms(noon()), bits()),
            tenant: Some(insurer.id),
            binding: None,
            subscriber: None,
            agent: Some(insurer.agent),
            virtual_number: None,
            direction: Direction::ToSubscriber,
            purpose: None,
            intent: None,
            marks: Vec::new(),
            trunk_a: insurer.trunk,
            trunk_b: None,
            started_at: noon(),
            ringing_at: None,
            callee_answered_at: None,
            answered_at: None,
            ended_at: noon(),
            duration: Duration::ZERO,
            setup: None,
            cause: Cause::NumberUnknown,
            reasons: Vec::new(),
            ended_by: EndedBy::Relay,
            sip_status: 404,
            q850: 1,
            media: None,
            caps_reached: Vec::new(),
            whisper: None,
        };
        insert_batch(&self.test.database.relay, &[cdr]).await.expect("written");
    }

    pub(crate) async fn find(&self, tenant: TenantId, id: BindingId) -> Option<BindingRecord> {
        let mut transaction = self.test.store.tenant(tenant).await.expect("begun");
        transaction.find_binding(id).await.expect("an answer")
    }

    /// The kinds of a tenant's events in their order.
    pub(crate) async fn events(&mut self, tenant: TenantId) -> Vec<String> {
        sqlx::query_scalar("select type from event where tenant_id = $1 order by position")
            .bind(Uuid::from_u128(tenant.as_u128()))
            .fetch_all(&mut self.sql)
            .await
            .expect("the events")
    }

    pub(crate) async fn number_state(&mut self, digits: &VirtualNumber) -> String {
        sqlx::query_scalar("select state from virtual_number where digits = $1")
            .bind(digits.as_str())
            .fetch_one(&mut self.sql)
            .await
            .expect("the number")
    }
}

/// The plainest binding: long, to the owner of a real number, with any free X.
pub(crate) fn wanted(name: &str, number: u16) -> NewBinding {
    NewBinding {
        external_id: name.to_owned(),
        mode: BindingMode::Ax,
        term: BindingTerm::Long,
        policy: PolicyRef { reference: format!("P-{name}"), product: None, ends_at: None },
        subscriber: SubscriberChoice::Number(real(number)),
        number: NumberChoice::Free { pool: None, city: None, elsewhere: false },
        agent_group: None,
        valid_from: None,
        valid_until: None,
        terms: BindingTerms::default(),
        duration_max: None,
        metadata: serde_json::Map::new(),
    }
}
