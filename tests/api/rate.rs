//! How many requests a key and a tenant may make.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use maskline::api::rate::{BURST_S, Rates};
use maskline::api::{Api, router};

use crate::world::{Client, World, key_of, now};

const RATES: Rates = Rates { key: 5, tenant: 8 };

/// A process whose clock is moved by hand, in milliseconds.
struct Process {
    moved_ms: Arc<AtomicU64>,
    admin: Client,
    crm: Client,
    operator: Client,
    app: Router,
}

impl Process {
    async fn start(world: &World) -> Self {
        let moved_ms = Arc::new(AtomicU64::new(0));
        let (began, moved) = (now(), Arc::clone(&moved_ms));
        let clock = move || {
            let mut now = began;
            now.monotonic += Duration::from_millis(moved.load(Ordering::Relaxed));
            now
        };
        let api = Api::new(world.db.store.clone(), world.relay.clone(), Arc::new(clock));
        let app = router(api.with_rates(RATES));
        let crm = key_of(&world.operator, &world.tenant, "insurer_crm").await.at(app.clone());
        let admin = world.admin.at(app.clone());
        Self { moved_ms, admin, crm, operator: world.operator.at(app.clone()), app }
    }

    fn advance(&self, ms: u64) {
        self.moved_ms.fetch_add(ms, Ordering::Relaxed);
    }
}

/// How many requests are answered before one is refused.
async fn answered(client: &Client, path: &str) -> u32 {
    let mut count = 0;
    loop {
        let answer = client.get(path).await;
        if answer.status == 429 {
            let answer = answer.refused(429, "rate_limited");
            assert_eq!(answer.header("retry-after"), "1");
            assert_eq!(answer.header("ratelimit-remaining"), "0");
            assert_ne!(answer.header("ratelimit-limit"), "");
            assert_eq!(answer.body["retryable"], true);
            return count;
        }
        answer.gave(200);
        count += 1;
    }
}

#[tokio::test]
async fn a_key_gets_its_burst_and_then_its_rate() {
    let world = World::new().await;
    let process = Process::start(&world).await;
    let first = process.operator.get("/v1/tenants").await.gave(200);
    assert_eq!(first.header("ratelimit-limit"), "5");
    assert_eq!(first.header("ratelimit-remaining"), "9");
    assert_eq!(first.header("ratelimit-reset"), "1");
    assert_eq!(answered(&process.operator, "/v1/tenants").await, RATES.key * BURST_S - 1);
    process.advance(1_000);
    assert_eq!(answered(&process.operator, "/v1/tenants").await, RATES.key);
    // Being refused costs nothing.
    process.advance(200);
    assert_eq!(answered(&process.operator, "/v1/tenants").await, 1);
    process.advance(3_600_000);
    assert_eq!(answered(&process.operator, "/v1/tenants").await, RATES.key * BURST_S);
}

#[tokio::test]
async fn the_keys_of_a_tenant_share_what_it_may_and_others_lose_nothing() {
    let world = World::new().await;
    let process = Process::start(&world).await;
    let stranger = world.stranger().await.at(process.app.clone());
    let admin = answered(&process.admin, "/v1/bindings").await;
    let crm = answered(&process.crm, "/v1/bindings").await;
    assert_eq!((admin, crm), (RATES.key * BURST_S, (RATES.tenant - RATES.key) * BURST_S));
    assert_eq!(answered(&stranger, "/v1/bindings").await, RATES.key * BURST_S);
    assert_eq!(answered(&process.operator, "/v1/tenants").await, RATES.key * BURST_S);
}

#[tokio::test]
async fn without_limits_nothing_is_said_of_them() {
    let world = World::new().await;
    let answer = world.admin.get("/v1/bindings").await.gave(200);
    assert_eq!(answer.header("ratelimit-limit"), "");
}
