//! Calls through the running service: real sockets, real PostgreSQL, peers by hand.

use std::time::Duration;

use maskline::app::Running;
use maskline::domain::cause::Cause;
use maskline::domain::cdr::Cdr;
use maskline::domain::id::{AgentId, BindingId, PoolId, TenantId, TrunkId};
use maskline::domain::network::{Network, Transport, TrunkPlace};
use maskline::domain::number::{RealNumber, VirtualNumber};
use maskline::domain::trunk_media::TrunkMedia;
use maskline::domain::trust::TrunkIdentity;
use maskline::relay::handle::Talking;
use maskline::store::agent::NewAgent;
use maskline::store::binding::{
    BindOutcome, BindingMode, BindingTerm, BindingTerms, NewBinding, NumberChoice, PolicyRef,
    SubscriberChoice,
};
use maskline::store::cdr::CdrFilter;
use maskline::store::pool::NewPool;
use maskline::store::tenant::NewTenant;
use maskline::store::trunk::{NewTrunk, TrunkSide};
use maskline::store::{PageRequest, Store};
use sqlx::ConnectOptions as _;
use tokio_util::sync::CancellationToken;

use crate::peers::{Peer, header, sdp};
use crate::service::{service, url};
use crate::support::{TestDatabase, database, noon};

pub(crate) const X: &str = "17000001234";
const REAL: &str = "+8613800001234";

/// A service with one tenant, its PBX, a carrier, and one binding.
pub(crate) struct Bench {
    pub(crate) test: TestDatabase,
    pub(crate) running: Running,
    pub(crate) pbx: Peer,
    pub(crate) carrier: Peer,
    pub(crate) tenant: TenantId,
    pub(crate) binding: BindingId,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        let test = database().await;
        let running = service(&url(&test)).await;
        Self::on(test, running).await
    }

    /// The same on a service that runs.
    pub(crate) async fn on(test: TestDatabase, running: Running) -> Self {
        let pbx = Peer::new("127.0.0.1:0", running.sip);
        let carrier = Peer::new("127.0.0.1:0", running.sip);
        Self::between(test, running, pbx, carrier).await
    }

    /// The same with peers of one's own.
    pub(crate) async fn between(
        test: TestDatabase,
        running: Running,
        pbx: Peer,
        carrier: Peer,
    ) -> Self {
        let tenant = TenantId::new(1, 1);
        lay_out(&running.store, tenant, &pbx, &carrier).await;
        let binding = bind(&running.store, tenant).await;
        running.relay.trunks_changed();
        let bench = Self { test, running, pbx, carrier, tenant, binding };
        bench.until_ready().await;
        bench
    }

    /// The trunks are loaded in the background.
    pub(crate) async fn until_ready(&self) {
        while !self.running.relay.readiness().carrier_trunk {
            tokio::task::yield_now().await;
        }
    }

    /// One call that is answered and ended by the agent; gives the INVITE as the carrier saw it.
    pub(crate) fn talk(&self, call: &str) -> String {
        let (invite, answer) = self.answered(call);
        self.pbx.follow_up("BYE", 2, &answer, call);
        self.pbx.expect("SIP/2.0 200");
        let bye = self.carrier.expect("BYE");
        self.carrier.answer(&bye, "200 OK", "");
        invite
    }

    /// A call that rings; gives the INVITE as the carrier saw it.
    pub(crate) fn ringing(&self, call: &str) -> String {
        self.pbx.invite("4821", X, call);
        let invite = self.carrier.expect("INVITE");
        self.carrier.answer(&invite, "180 Ringing", "");
        self.pbx.expect("SIP/2.0 180");
        invite
    }

    /// A call that talks; gives the carrier's INVITE and the answer that the PBX got.
    pub(crate) fn answered(&self, call: &str) -> (String, String) {
        let invite = self.ringing(call);
        self.carrier.answer(&invite, "200 OK", &sdp(41_000));
        let answer = self.pbx.expect("SIP/2.0 200");
        self.pbx.follow_up("ACK", 1, &answer, call);
        self.carrier.expect("ACK");
        (invite, answer)
    }

    pub(crate) fn refused(&self, call: &str, status: &str) {
        self.pbx.invite("4821", X, call);
        self.pbx.expect(&format!("SIP/2.0 {status}"));
        self.carrier.expect_silence();
    }

    /// Stops the service, which writes all records, and reads them: oldest first.
    pub(crate) async fn records(self) -> Vec<Cdr> {
        let store = self.test.store.clone();
        self.running.stop(Duration::ZERO, CancellationToken::new()).await;
        let mut transaction = store.tenant(self.tenant).await.expect("a transaction");
        let page = PageRequest::new(100, None);
        let page = transaction.list_cdrs(&CdrFilter::default(), page).await.expect("records");
        let mut records = page.items;
        // Their identifiers are in no order within a millisecond.
        records.sort_by_key(|cdr| cdr.started_at);
        records
    }
}

async fn lay_out(store: &Store, tenant: TenantId, pbx: &Peer, carrier: &Peer) {
    let new_tenant = NewTenant {
        id: tenant,
        name: "Example Insurance".to_owned(),
        is_test: false,
        accept_real_numbers: true,
        desk_user: Some("desk".to_owned()),
        language: "en",
        time_zone: "Asia/Shanghai".to_owned(),
        country_code: "86".to_owned(),
    };
    let mut platform = store.platform().await.expect("a transaction");
    platform.insert_tenant(store.vault(), new_tenant, noon()).await.expect("a tenant");
    platform.commit().await.expect("committed");
    let agent = NewAgent {
        id: AgentId::new(1, 1),
        employee_id: "4821".to_owned(),
        name: "Agent".to_owned(),
        licence: None,
        caller_numbers: vec!["4821".to_owned()],
        filing: "filed",
        group: None,
        allowed_purposes: None,
    };
    store.insert_agent(tenant, agent, noon()).await.expect("an agent");
    let sides = [(TrunkSide::Insurer { tenant }, pbx), (TrunkSide::Carrier, carrier)];
    for (n, (side, peer)) in (1..).zip(sides) {
        let trunk = NewTrunk {
            id: TrunkId::new(n, 0),
            side,
            name: format!("trunk-{n}"),
            source_networks: vec![network_of(peer)],
            targets: vec![TrunkPlace::Address(peer.address())],
            transport: Transport::Udp,
            tls_ca: None,
            tls_name: None,
            priority: 10,
            weight: 1,
            country_code: "86".to_owned(),
            enabled: true,
            channels_max: None,
            cps_max: None,
            identity: TrunkIdentity::default(),
            media: TrunkMedia::default(),
        };
        store.insert_trunk(trunk, noon()).await.expect("a trunk");
    }
    let pool = NewPool {
        id: PoolId::new(1, 1),
        name: "pool".to_owned(),
        class: "mobile",
        city: None,
        cooling_days: 180,
        trunks: vec![TrunkId::new(2, 0)],
    };
    store.insert_pool(pool, noon()).await.expect("a pool");
    let mut platform = store.platform().await.expect("a transaction");
    let numbers = [VirtualNumber::parse(X).expect("a number")];
    platform.import_numbers(noon(), PoolId::new(1, 1), &numbers).await.expect("imported");
    platform.commit().await.expect("committed");
}

fn network_of(peer: &Peer) -> Network {
    Network::parse(&peer.address().ip().to_string()).expect("a network")
}

async fn bind(store: &Store, tenant: TenantId) -> BindingId {
    let new = NewBinding {
        external_id: "P-1".to_owned(),
        mode: BindingMode::Ax,
        term: BindingTerm::Long,
        policy: PolicyRef { reference: "P-1".to_owned(), product: None, ends_at: None },
        subscriber: SubscriberChoice::Number(RealNumber::parse(REAL).expect("a number")),
        number: NumberChoice::Exact(VirtualNumber::parse(X).expect("a number")),
        agent_group: None,
        valid_from: None,
        valid_until: None,
        terms: BindingTerms::default(),
        duration_max: None,
        metadata: serde_json::Map::new(),
    };
    let mut transaction = store.tenant(tenant).await.expect("a transaction");
    let outcome = transaction.bind(noon(), new).await.expect("an answer");
    transaction.commit().await.expect("committed");
    let BindOutcome::Created(binding) = outcome else { panic!("not bound: {outcome:?}") };
    binding.id
}

/// Takes the database away, or gives it back.
async fn set_open(test: &TestDatabase, open: bool) {
    let superuser = crate::support::cluster().superuser();
    let mut superuser = superuser.connect().await.expect("the superuser connects");
    sqlx::query("update pg_database set datallowconn = $1 where datname = $2")
        .bind(open)
        .bind(test.owner().get_database())
        .execute(&mut superuser)
        .await
        .expect("set");
    if !open {
        sqlx::query("select pg_terminate_backend(pid) from pg_stat_activity where datname = $1")
            .bind(test.owner().get_database())
            .execute(&mut superuser)
            .await
            .expect("ended");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_reaches_the_subscriber_and_the_call_is_written_down() {
    let bench = Bench::new().await;
    let invite = bench.talk("one");
    assert!(invite.starts_with("INVITE sip:+8613800001234@"), "{invite}");
    assert!(header(&invite, "From").contains(X), "{invite}");
    let records = bench.records().await;
    let seen: Vec<_> = records.iter().map(|cdr| (cdr.cause, cdr.answered_at.is_some())).collect();
    assert_eq!(seen, [(Cause::CallerHangup, true)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binding_that_was_ended_is_never_used_again_although_it_was_known() {
    let bench = Bench::new().await;
    bench.talk("one");
    let mut transaction = bench.running.store.tenant(bench.tenant).await.expect("a transaction");
    let calls = maskline::store::binding::CallsUp::GoOn;
    transaction.unbind(noon(), bench.binding, calls, None).await.expect("unbound");
    transaction.commit().await.expect("committed");
    let relay = &bench.running.relay;
    relay
        .binding_ended(bench.binding, Cause::BindingExpired, Talking::GoesOn)
        .expect("the shard runs");
    bench.refused("two", "404");
    let records = bench.records().await;
    let causes: Vec<_> = records.iter().map(|cdr| cdr.cause).collect();
    assert_eq!(causes, [Cause::CallerHangup, Cause::Cooling]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_hears_nothing() {
    let bench = Bench::new().await;
    let stranger = Peer::new("127.0.0.2:0", bench.running.sip);
    stranger.invite("4821", X, "stranger");
    stranger.expect_silence();
    bench.carrier.expect_silence();
    assert!(bench.records().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_route_outlives_the_database_and_records_wait_for_it() {
    let bench = Bench::new().await;
    bench.talk("one");
    set_open(&bench.test, false).await;
    bench.talk("two");
    bench.pbx.invite("4821", "17000009999", "three");
    bench.pbx.expect("SIP/2.0 503");
    set_open(&bench.test, true).await;
    let records = bench.records().await;
    let causes: Vec<_> = records.iter().map(|cdr| cdr.cause).collect();
    assert_eq!(causes, [Cause::CallerHangup, Cause::CallerHangup, Cause::StoreUnavailable]);
}
