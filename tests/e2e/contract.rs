//! The running API against the file that it serves: schemathesis makes requests of it, good and
//! bad ones, follows its links, and compares what comes back.

use std::env;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::commands::key_of;
use crate::service::{Service, http_get};

/// Of one role, and how many requests that were. `st` keeps its own notes in the folder.
fn compare(service: &Service, role: &str, key: &str) -> usize {
    let program = env::var_os("MASKLINE_SCHEMATHESIS").expect("where `st` is");
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/contract");
    let mut command = Command::new(program);
    command.current_dir(&service.folder).env("no_proxy", "*");
    command.env("PYTHONPATH", &rules).env("SCHEMATHESIS_HOOKS", "checks");
    command.arg("--config-file").arg(rules.join("schemathesis.toml"));
    command.args(["run", &format!("http://{}/openapi.json", service.api)]);
    command.args(["--header", &format!("Authorization: Bearer {key}"), "--continue-on-failure"]);
    match env::var("MASKLINE_CONTRACT_EXAMPLES") {
        Ok(examples) => command.args(["--max-examples", &examples]),
        Err(_) => command.args(["--max-examples", "2", "--seed", "1"]),
    };
    let output = command.output().expect("schemathesis");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{role}:\n{said}");
    assert!(!said.contains(key), "{role}: the key was said");
    let cases = said.split_once("Test cases:").and_then(|(_, rest)| rest.split_whitespace().next());
    cases.and_then(|cases| cases.parse().ok()).expect("how many requests")
}

#[test]
#[ignore = "schemathesis is no crate: scripts/test installs it and runs this"]
fn the_api_keeps_to_its_file_for_each_role() {
    let service = Service::start("contract");
    let [crm, admin] = ["insurer_crm", "insurer_admin"].map(|role| key_of(&service, role));
    // The operator comes last: it may suspend the tenant and end the others' keys.
    let operator = service.operate("/v1/api-keys", &json!({"name": "st", "role": "operator"}));
    let operator = operator["key"].as_str().expect("a key, once").to_owned();
    let roles = [("insurer_crm", crm), ("insurer_admin", admin), ("operator", operator)];
    let requests: usize = roles.iter().map(|(role, key)| compare(&service, role, key)).sum();
    let wanted = if env::var_os("MASKLINE_CONTRACT_EXAMPLES").is_some() { 10_000 } else { 500 };
    assert!(requests >= wanted, "{requests}");
    let ready = http_get(service.admin, "/readyz").map(|(status, _)| status);
    assert_eq!(ready, Some(200), "it still works");
    let log = service.log();
    let log = String::from_utf8_lossy(&log);
    assert!(!log.contains("panicked"), "a request made it panic");
}
