//! Test mode: what a test key is, and the clock of a test tenant.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::noon;
use crate::world::{Answer, Client, World, binding, key_of};

/// A test tenant's administrator.
pub(crate) async fn tester(world: &World) -> (Client, String) {
    let tenant = json!({"name": "Test Insurance", "test": true});
    let tenant = world.operator.post("/v1/tenants", tenant).await.id();
    (key_of(&world.operator, &tenant, "insurer_admin").await, tenant)
}

fn after(days: u64) -> String {
    let at = jiff::Timestamp::try_from(noon() + Duration::from_secs(days * 86_400));
    at.expect("a time").to_string()
}

fn short(n: usize) -> Value {
    let mut body = binding(n);
    body["term"] = json!("short");
    body["valid_until"] = json!(after(30));
    body
}

async fn advance(client: &Client, by_s: u64) -> Answer {
    client.post("/v1/test-clock/advance", json!({"by_s": by_s})).await
}

#[tokio::test]
async fn an_advanced_clock_draws_the_end_nearer_and_a_repeat_is_known() {
    let world = World::new().await;
    let (tester, _) = tester(&world).await;
    let made = tester.post("/v1/bindings", short(1)).await.gave(201);
    let advanced = advance(&tester, 10 * 86_400).await.gave(200);
    assert_eq!(advanced.body, json!({"bindings": 1, "intents": 0, "refusals": 0}));
    let path = format!("/v1/bindings/{}", made.id());
    let read = |body: &Value| -> jiff::Timestamp {
        body["valid_until"].as_str().expect("a time").parse().expect("a time")
    };
    let seen = tester.get(&path).await.gave(200);
    assert_eq!(seen.body["state"], "active");
    assert_eq!(read(&made.body).as_second() - read(&seen.body).as_second(), 10 * 86_400);
    assert_ne!(seen.header("etag"), made.header("etag"), "it has changed");
    tester.post("/v1/bindings", short(1)).await.gave(200);
    let sweep = || world.db.store.expire_bindings(&world.db.database.relay, noon());
    assert_eq!(sweep().await.expect("swept").len(), 0, "it has 20 days left");
    advance(&tester, 21 * 86_400).await.gave(200);
    assert_eq!(sweep().await.expect("swept").len(), 1);
    assert_eq!(tester.get(&path).await.gave(200).body["state"], "expired");
    let nothing = advance(&tester, 1).await.gave(200);
    assert_eq!(nothing.body["bindings"], 0);
}

#[tokio::test]
async fn the_clock_of_others_is_nobodys_to_advance() {
    let world = World::new().await;
    let (tester, _) = tester(&world).await;
    let made = world.admin.post("/v1/bindings", short(1)).await.gave(201);
    advance(&world.admin, 60).await.refused(403, "test_key_required");
    advance(&tester, 366 * 86_400).await.gave(200);
    let seen = world.admin.get(&format!("/v1/bindings/{}", made.id())).await.gave(200);
    assert_eq!(seen.body, made.body);
    assert_eq!(seen.header("etag"), made.header("etag"));
    for by_s in [0, 366 * 86_400 + 1] {
        let refused = advance(&tester, by_s).await.refused(422, "validation_failed");
        assert_eq!(refused.place(), ("/by_s", "out_of_range"));
    }
}

#[tokio::test]
async fn the_database_lets_nobody_but_a_test_tenant_draw_a_refusal_nearer() {
    let world = World::new().await;
    let (tester, test) = tester(&world).await;
    for (client, n) in [(&tester, 1), (&world.admin, 2)] {
        client.post("/v1/bindings", binding(n)).await.gave(201);
    }
    let mut superuser = world.db.superuser().await;
    for statement in [
        "insert into do_not_call (tenant_id, subscriber_id, purpose, since, until, source, call_id)
         select tenant_id, id, 'renewal_notice', now(), now() + interval '180 days', 'whisper',
                gen_random_uuid() from subscriber",
        "insert into subscriber_pause (tenant_id, subscriber_id, since, until, source, call_id)
         select tenant_id, id, now(), now() + interval '7 days', 'menu', gen_random_uuid()
         from subscriber",
    ] {
        let rows = sqlx::query(statement).execute(&mut superuser).await.expect("refused");
        assert_eq!(rows.rows_affected(), 2);
    }
    let advanced = advance(&tester, 190 * 86_400).await.gave(200);
    assert_eq!(advanced.body["refusals"], 2);
    let of = |tenant: &str| tenant.trim_start_matches("ten_").to_owned();
    let over = "select bool_and(until < now()) from (select tenant_id, until from do_not_call
                    union all select tenant_id, until from subscriber_pause) as r
                where replace(tenant_id::text, '-', '') = $1";
    let mut app = world.db.connect_as("maskline_app").await;
    for (tenant, rows) in [(&test, 1), (&world.tenant, 0)] {
        let is_over = sqlx::query_scalar(over).bind(of(tenant)).fetch_one(&mut superuser).await;
        assert_eq!(is_over.ok(), Some(Some(rows == 1)), "{tenant}");
        sqlx::query("select set_config('maskline.tenant', $1, false)")
            .bind(of(tenant))
            .execute(&mut app)
            .await
            .expect("set");
        for statement in [
            "update do_not_call set until = until + interval '1 day'",
            "update subscriber_pause set until = until + interval '1 day'",
        ] {
            let touched = sqlx::query(statement).execute(&mut app).await.expect("an answer");
            assert_eq!(touched.rows_affected(), rows, "{tenant}: {statement}");
        }
    }
}
