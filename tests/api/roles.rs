//! The table of operation x role: every cell is asked for.

use maskline::api::roles::{BASE, OPERATIONS, ROLES, Role};
use maskline::api::{bootstrap::issue_platform_key, openapi};
use serde_json::json;

use crate::world::{Client, World, key_of, now};

async fn client_of(world: &World, role: Role) -> Client {
    if role.needs_tenant() {
        return key_of(&world.operator, &world.tenant, role.label()).await;
    }
    let key = issue_platform_key(&world.db.store, role, "test", now()).await.expect("a key");
    world.operator.with_key(key.expose())
}

#[tokio::test]
async fn every_cell_of_the_table_is_as_written() {
    let world = World::new().await;
    let mut asked = 0;
    for role in Role::ALL {
        let client = client_of(&world, role).await;
        for row in OPERATIONS {
            let path = row.path.replace("{id}", "x").replace("{x}", "x");
            // Nothing takes this field: what would stream for ever refuses it at once.
            let nothing = format!("{BASE}{path}?no=1");
            let answer = client.json(row.method, &nothing, json!({"no": 1}), &[]).await;
            let refused = answer.code() == "forbidden";
            assert_eq!(refused, !row.permits(role), "{role} {} {:#}", row.operation, answer.body);
            assert_ne!(answer.status.as_u16(), 401);
            asked += 1;
        }
    }
    assert_eq!(asked, OPERATIONS.len() * ROLES);
}

#[test]
fn an_operation_without_a_row_fails() {
    let document = serde_json::to_value(openapi::document()).expect("JSON");
    let mut written: Vec<(String, String, String)> = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("methods") {
            let id = operation["operationId"].as_str().unwrap_or_default().to_owned();
            written.push((method.to_uppercase(), path.clone(), id));
        }
    }
    let mut table: Vec<(String, String, String)> = OPERATIONS
        .iter()
        .map(|row| (row.method.into(), format!("{BASE}{}", row.path), row.operation.into()))
        .collect();
    written.sort();
    table.sort();
    assert_eq!(written, table);
}

#[tokio::test]
async fn an_administrator_cannot_make_a_stronger_key() {
    let world = World::new().await;
    for role in ["operator", "compliance", "approver", "regulator", "ops"] {
        let body = json!({"name": "k", "role": role});
        world.admin.post("/v1/api-keys", body).await.refused(403, "forbidden");
    }
    let limited = json!({"name": "k", "role": "insurer_admin", "scopes": ["api_keys:write"]});
    let limited = world.admin.post("/v1/api-keys", limited).await.gave(201);
    let limited = world.admin.with_key(limited.body["key"].as_str().expect("a key"));
    let wide = json!({"name": "k", "role": "insurer_admin"});
    limited.post("/v1/api-keys", wide).await.refused(403, "forbidden");
    let mine = world.admin.get("/v1/api-keys").await.gave(200);
    let keys = mine.body["data"].as_array().expect("keys");
    let wide = keys.iter().find(|key| key["scopes"] == json!([])).expect("the first key");
    let path = format!("/v1/api-keys/{}/roll", wide["id"].as_str().expect("an id"));
    limited.post(&path, json!({})).await.refused(403, "forbidden");
}
