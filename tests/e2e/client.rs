//! The client of the control API against the real service: typed operations, and requests that are
//! signed, by the command line too.

use std::fs;

use maskline::api::values::Id;
use maskline::client::shapes::{
    EndCalls, NewBinding, NewPolicy, NewSubscriber, Protected, RealNumberText, Step,
};
use maskline::client::{Client, ClientError, Endpoint};
use maskline::domain::id::SubscriberId;
use serde_json::{Value, json};

use crate::commands::maskline;
use crate::peers::until;
use crate::service::Service;

const REAL: &str = "+8613800002291";

/// A key of the tenant that signs: its id, and its secret.
fn signing_key(service: &Service) -> (String, String) {
    let body = json!({"name": "signs", "role": "insurer_admin", "auth": "signature"});
    let made = service.administer("/v1/api-keys", &body);
    let text = |name: &str| made[name].as_str().expect("a text").to_owned();
    (text("id"), text("key"))
}

fn client(service: &Service, id: Option<&str>, key: &str) -> Client {
    let (url, key_id) = (format!("http://{}", service.api), id.map(ToOwned::to_owned));
    let endpoint = Endpoint { url, key: Some(key.into()), key_id, ..Endpoint::default() };
    Client::new(&endpoint).expect("a client")
}

fn code(error: ClientError) -> String {
    let ClientError::Problem(problem) = error else { panic!("no refusal: {error}") };
    problem.code
}

fn new_binding(external_id: &str, subscriber: Id<SubscriberId>) -> NewBinding {
    NewBinding {
        external_id: external_id.to_owned(),
        mode: "ax".to_owned(),
        policy: NewPolicy { reference: "P-1".to_owned(), ..NewPolicy::default() },
        subscriber: Protected { id: Some(subscriber), ..Protected::default() },
        ..NewBinding::default()
    }
}

#[test]
fn a_crm_in_rust_binds_and_unbinds_with_a_key_that_signs() {
    let service = Service::start("client");
    let (id, key) = signing_key(&service);
    let crm = client(&service, Some(&id), &key);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(async {
        let new = NewSubscriber {
            real_number: RealNumberText::new(REAL.to_owned()),
            language: Some("en".to_owned()),
            age_band: None,
            time_zone: None,
        };
        let subscriber = crm.subscribers_create(&new).await.expect("a subscriber");
        assert_eq!(subscriber.masked.as_deref(), Some("138****2291"));
        let new = new_binding("typed & quoted/1", subscriber.id);
        let bound = crm.bindings_create(&new).await.expect("bound");
        assert_eq!((bound.state.as_str(), bound.policy.reference.as_str()), ("active", "P-1"));
        let named = [("external_id", Some("typed & quoted/1")), ("state", None)];
        let listed = crm.bindings_list(&named).await.expect("a list");
        assert_eq!((listed.data.len(), listed.has_more), (1, false));
        let ended = crm.bindings_unbind(bound.id.0, &EndCalls::default()).await.expect("ended");
        assert_eq!(ended.state, "released");
        let refused = crm.bindings_resume(bound.id.0).await.expect_err("it is over");
        assert_eq!(code(refused), "state_conflict");
        let clock = crm.test_clock_advance(&Step { by_s: 60 }).await.expect_err("a live tenant");
        assert_eq!(code(clock), "test_key_required");

        let operator = &service.operator;
        let tenant = json!({"name": "Tests", "test": true});
        let tenant = operator.tenants_create(&tenant).await.expect("a tenant");
        let body = json!({"name": "t", "role": "insurer_admin", "tenant_id": tenant["id"]});
        let issued = operator.api_keys_create(&body).await.expect("a key");
        let tester = client(&service, None, issued["key"].as_str().expect("a key, once"));
        let advanced = tester.test_clock_advance(&Step { by_s: 60 }).await.expect("a test key");
        assert_eq!(advanced.bindings, 0);
    });
    until("the event", || {
        let events = runtime.block_on(crm.events_list(&[])).expect("events");
        events.data.into_iter().find(|event| event.kind == "binding.released")
    });
}

#[test]
fn the_command_line_signs_where_the_tenant_takes_nothing_else() {
    let service = Service::start("client-signs");
    let (id, key) = signing_key(&service);
    let tenants = service.operator_get("/v1/tenants");
    let tenant = tenants["data"][0]["id"].as_str().expect("a tenant").to_owned();
    let url = format!("http://{}", service.api);
    let run = |words: &[&str], input: &str, key: &str, id: &str| {
        let environment = [("MASKLINE_URL", &*url), ("MASKLINE_KEY", key), ("MASKLINE_KEY_ID", id)];
        maskline(words, input, &environment)
    };
    let operator = service.operate("/v1/api-keys", &json!({"name": "o", "role": "operator"}));
    let operator = operator["key"].as_str().expect("a key, once");
    let set = ["tenants", "set", &tenant, "requires_signature:=true"];
    assert!(run(&set, "", operator, "").good);

    let file = service.folder.join("two.ndjson");
    let row = |n: usize| {
        let subscriber = json!({"real_number": format!("+861380000230{n}")});
        let policy = json!({"ref": "P"});
        json!({"external_id": format!("S-{n}"), "mode": "ax", "policy": policy,
            "subscriber": subscriber})
    };
    let rows: String = (0..2).map(|n| format!("{}\n", row(n))).collect();
    fs::write(&file, rows).expect("a writable folder");
    let file = file.display().to_string();
    let imported = run(&["imports", "create", &file, "-o", "json"], "", &key, &id).json();
    assert_eq!(imported["rows_created"], 2);
    let create = ["bindings", "create", "--external-id", "S-9", "--policy", "P", "-o", "json"];
    let made: Value = run(&create, REAL, &key, &id).json();
    assert_eq!(made["masked"], "138****2291");
    let listed = run(&["bindings", "list", "--external-id", "S-9", "-o", "json"], "", &key, &id);
    assert_eq!(listed.json()[0]["id"], made["id"]);
    run(&["bindings", "list"], "", &key, "key_01977420a1b27c3d8e4f5a6b7c8d9e0f").refused("401");
    run(&["bindings", "list"], "", &key, "").refused("MASKLINE_KEY_ID");
}
