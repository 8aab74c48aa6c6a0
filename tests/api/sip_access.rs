//! Secrets of SIP peers and softphones: set, shown once, replaced, forgotten.

use serde_json::{Value, json};

use crate::world::World;

fn trunk() -> Value {
    json!({"name": "t", "role": "carrier", "source_networks": ["192.0.2.1"],
        "targets": ["192.0.2.1:5060"], "channels_max": 30, "cps_max": 5})
}

#[tokio::test]
async fn an_account_at_a_carrier_is_set_and_its_password_never_shown() {
    let world = World::new().await;
    let made = world.operator.post("/v1/trunks", trunk()).await.gave(201);
    assert_eq!((&made.body["channels_max"], &made.body["cps_max"]), (&json!(30), &json!(5)));
    let path = format!("/v1/trunks/{}", made.id());
    let nothing = world.operator.get(&format!("{path}/access")).await.gave(200);
    assert_eq!(nothing.body, json!({"account": null, "login": null, "targets_down": 0}));
    let account = json!({"username": "relay-1", "password": "between us", "register": true});
    let target = format!("{path}/account");
    let put = |body| world.operator.json("PUT", &target, body, &[]);
    let set = put(account.clone()).await.gave(200);
    let wanted = json!({"username": "relay-1", "refuse_md5": false, "register": true,
        "register_expires_s": 3600, "registered": null});
    assert_eq!(set.body["account"], wanted);
    assert!(!set.body.to_string().contains("between us"));
    for (field, bad) in [
        ("username", json!("")),
        ("username", json!("a\"b")),
        ("password", json!("")),
        ("register_expires_s", json!(59)),
    ] {
        let mut body = account.clone();
        body[field] = bad;
        let refused = put(body).await.refused(422, "validation_failed");
        assert_eq!(refused.place().0, format!("/{field}"));
    }
    let relay = &world.db.database.relay;
    let vault = world.db.store.vault();
    let open = relay.load_trunk_access(vault).await.expect("loaded");
    let (_, password) = open[0].account.as_ref().expect("an account");
    assert_eq!(password.as_slice(), b"between us");
    world.operator.delete(&format!("{path}/account")).await.gave(204);
    world.operator.delete(&format!("{path}/account")).await.refused(404, "not_found");
    world.operator.delete(&path).await.gave(204);
    world.operator.get(&format!("{path}/access")).await.refused(404, "not_found");
    assert!(relay.load_trunk_access(vault).await.expect("loaded").is_empty());
}

#[tokio::test]
async fn a_trunks_login_is_made_by_us_shown_once_and_rolled() {
    let world = World::new().await;
    let made = world.operator.post("/v1/trunks", trunk()).await.gave(201);
    let path = format!("/v1/trunks/{}", made.id());
    let login = format!("{path}/login");
    let first = world.operator.post(&login, json!({})).await.gave(200);
    let second = world.operator.post(&login, json!({"refuse_md5": true})).await.gave(200);
    assert_ne!(first.body["password"], second.body["password"]);
    assert_eq!(second.body["password"].as_str().map(str::len), Some(32));
    assert_eq!(second.body["realm"], "sip");
    let shown = world.operator.get(&format!("{path}/access")).await.gave(200);
    assert_eq!(
        shown.body["login"],
        json!({"username": second.body["username"], "refuse_md5": true})
    );
    let open = world.db.database.relay.load_trunk_access(world.db.store.vault()).await;
    let open = open.expect("loaded");
    let (_, secret) = open[0].login.as_ref().expect("a login");
    let text = |body: &Value, name: &str| body[name].as_str().expect("a text").to_owned();
    let (user, password) = (text(&second.body, "username"), text(&second.body, "password"));
    assert_eq!(*secret, maskline::relay::handle::sip_secret(&user, &password));
    world.operator.delete(&login).await.gave(204);
    world.operator.delete(&login).await.refused(404, "not_found");
}

#[tokio::test]
async fn an_agents_softphone_gets_a_login_of_its_own_tenant() {
    let world = World::new().await;
    let body = json!({"employee_id": "4821", "name": "Li"});
    let agent = world.admin.post("/v1/agents", body).await.gave(201);
    let login = format!("/v1/agents/{}/sip-login", agent.id());
    let made = world.admin.post(&login, json!({})).await.gave(200);
    let user = made.body["username"].as_str().expect("a name").to_owned();
    let (relay, vault) = (&world.db.database.relay, world.db.store.vault());
    let find = async |user: &str| relay.find_agent_login(vault, user).await.expect("looked up");
    let found = find(&user).await.expect("the agent");
    assert_eq!(found.agent.to_string(), agent.id());
    assert!(find("nobody").await.is_none());
    let path = format!("/v1/agents/{}", agent.id());
    world.admin.patch(&path, json!({"state": "disabled"})).await.gave(200);
    assert!(find(&user).await.is_none(), "a disabled agent does not call");
    world.admin.patch(&path, json!({"state": "active"})).await.gave(200);
    assert!(find(&user).await.is_some());
    world.admin.delete(&login).await.gave(204);
    assert!(find(&user).await.is_none());
    world.admin.post(&login, json!({})).await.gave(200);
    world.admin.delete(&path).await.gave(204);
    world.admin.post(&login, json!({})).await.refused(404, "not_found");
}
