//! Requests that the command line signs, against the real service.

use std::fs;

use serde_json::{Value, json};

use crate::commands::maskline;
use crate::service::Service;

const REAL: &str = "+8613800002291";

/// A key of the tenant that signs: its id, and its secret.
fn signing_key(service: &Service) -> (String, String) {
    let body = json!({"name": "signs", "role": "insurer_admin", "auth": "signature"});
    let made = service.administer("/v1/api-keys", &body);
    let text = |name: &str| made[name].as_str().expect("a text").to_owned();
    (text("id"), text("key"))
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
