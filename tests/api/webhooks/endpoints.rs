//! Endpoints themselves: made, shown, changed, removed; and no secret twice.

use maskline::store::webhook::WEBHOOKS_MAX;
use serde_json::{Value, json};

use crate::world::{Client, World, real_number};

const PATH: &str = "/v1/webhook-endpoints";

async fn made(client: &Client) -> Value {
    let body = json!({"url": "https://crm.example.com/hook", "description": "CRM",
        "event_types": ["call.completed"]});
    client.post(PATH, body).await.gave(201).body
}

#[tokio::test]
async fn an_endpoint_is_made_changed_and_removed_and_its_secret_is_shown_once() {
    let world = World::new().await;
    let endpoint = made(&world.admin).await;
    let secret = endpoint["secret"].as_str().expect("a secret");
    assert!(secret.starts_with("whsec_") && secret.len() > 40);
    let path = format!("{PATH}/{}", endpoint["id"].as_str().expect("an id"));
    let shown = world.admin.get(&path).await.gave(200);
    assert_eq!((&shown.body["url"], &shown.body["state"]), (&endpoint["url"], &json!("enabled")));
    assert_eq!(shown.body.get("secret"), None);
    let stale = shown.header("etag").to_owned();
    let change = json!({"event_types": [], "description": null, "state": "disabled"});
    let changed = world.admin.patch(&path, change).await.gave(200).body;
    assert_eq!((&changed["event_types"], &changed["description"]), (&json!([]), &Value::Null));
    assert_eq!(changed["disabled_reason"], "request");
    let headers = [("if-match", &*stale)];
    let late = world.admin.json("PATCH", &path, json!({"state": "enabled"}), &headers).await;
    late.refused(412, "precondition_failed");
    let list = world.admin.get(PATH).await.gave(200).body;
    assert_eq!(list["data"], json!([changed]));
    world.admin.delete(&path).await.gave(204);
    world.admin.get(&path).await.refused(404, "not_found");
    let mut superuser = world.db.superuser().await;
    let made = made(&world.admin).await;
    let rows: Vec<String> =
        sqlx::query_scalar("select row_to_json(w)::text from webhook_endpoint w")
            .fetch_all(&mut superuser)
            .await
            .expect("rows");
    let secret = made["secret"].as_str().expect("a secret");
    assert!(rows.len() == 1 && !rows[0].contains(&secret[6..]), "it lies sealed");
}

#[tokio::test]
async fn who_made_changed_and_removed_an_endpoint_is_written_down_with_the_key() {
    let world = World::new().await;
    let keys = world.admin.get("/v1/api-keys").await.gave(200).body;
    let key = keys["data"][0]["id"].as_str().expect("a key").to_owned();
    let endpoint = made(&world.admin).await;
    let id = endpoint["id"].as_str().expect("an id");
    let path = format!("{PATH}/{id}");
    let change = json!({"url": "https://crm.example.com/token-7a", "state": "disabled"});
    world.admin.patch(&path, change).await.gave(200);
    world.admin.post(&format!("{path}/rotate-secret"), json!({})).await.gave(200);
    let stale = [("if-match", "\"1\"")];
    world.admin.json("PATCH", &path, json!({"state": "enabled"}), &stale).await.gave(412);
    world.admin.json("DELETE", &path, json!({}), &stale).await.gave(412);
    world.stranger().await.delete(&path).await.gave(404);
    world.admin.delete(&path).await.gave(204);
    let deeds: Vec<(String, String, Value)> = sqlx::query_as(
        "select action, actor, details from audit_entry
         where subject_id = substr($1, 5)::uuid order by position(action in
             'webhook.created webhook.changed webhook.secret_rotated webhook.deleted')",
    )
    .bind(id)
    .fetch_all(&mut world.db.superuser().await)
    .await
    .expect("the deeds");
    let wanted = [
        ("webhook.created", json!({"event_types": ["call.completed"]})),
        ("webhook.changed", json!({"fields": ["url", "state"], "enabled": false})),
        ("webhook.secret_rotated", json!({})),
        ("webhook.deleted", json!({})),
    ];
    let wanted = wanted.map(|(action, details)| (action.to_owned(), key.clone(), details));
    assert_eq!(deeds, wanted);
}

#[tokio::test]
async fn an_endpoint_that_deliveries_may_not_reach_is_refused() {
    let world = World::new().await;
    for url in [
        "http://crm.example.com/",
        "https://127.0.0.1/",
        "https://2130706433/",
        "https://crm.example.com:22/",
        "https://u@crm.example.com/",
        "https://localhost/",
        "x",
    ] {
        let answer = world.admin.post(PATH, json!({ "url": url })).await;
        let answer = answer.refused(422, "validation_failed");
        assert_eq!(answer.place(), ("/url", "receiver_url"), "{url}");
    }
    let number = format!("https://crm.example.com/{}", &real_number(1)[1..]);
    let answer = world.admin.post(PATH, json!({ "url": number })).await.gave(422);
    assert_eq!(answer.place(), ("/url", "real_number_here"));
    let url = "https://crm.example.com/";
    for kinds in [json!(["call.unknown"]), json!(["call.completed", "call.completed"])] {
        let body = json!({ "url": url, "event_types": kinds });
        world.admin.post(PATH, body).await.refused(422, "validation_failed");
    }
    let endpoint = made(&world.admin).await;
    let path = format!("{PATH}/{}", endpoint["id"].as_str().expect("an id"));
    let change = json!({"url": "https://10.0.0.1/"});
    world.admin.patch(&path, change).await.refused(422, "validation_failed");
}

#[tokio::test]
async fn a_tenant_has_so_many_endpoints_and_no_more_whoever_asks_at_once() {
    let world = World::new().await;
    for _ in 1..WEBHOOKS_MAX {
        made(&world.admin).await;
    }
    let body = json!({"url": "https://crm.example.com/hook"});
    let (a, b) =
        tokio::join!(world.admin.post(PATH, body.clone()), world.admin.post(PATH, body.clone()));
    let mut statuses = [a.status.as_u16(), b.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409]);
    world.admin.post(PATH, body.clone()).await.refused(409, "limit_reached");
    world.stranger().await.post(PATH, body).await.gave(201);
}

#[tokio::test]
async fn a_foreign_endpoint_answers_like_an_unknown_one() {
    let world = World::new().await;
    let endpoint = made(&world.admin).await;
    let stranger = world.stranger().await;
    let unknown = format!("whe_{}", "0".repeat(32));
    for id in [endpoint["id"].as_str().expect("an id"), &*unknown, "nonsense"] {
        let path = format!("{PATH}/{id}");
        stranger.get(&path).await.refused(404, "not_found");
        stranger.patch(&path, json!({})).await.refused(404, "not_found");
        stranger.delete(&path).await.refused(404, "not_found");
        for action in ["rotate-secret", "ping"] {
            let answer = stranger.post(&format!("{path}/{action}"), json!({})).await;
            answer.refused(404, "not_found");
        }
        stranger.get(&format!("{path}/deliveries")).await.refused(404, "not_found");
    }
    let replay = format!("/v1/webhook-deliveries/dlv_{}/replay", "0".repeat(32));
    stranger.post(&replay, json!({})).await.refused(404, "not_found");
    assert_eq!(stranger.get(PATH).await.gave(200).body["data"], json!([]));
}
