//! The commands of docs/first-tenant.md, run as they stand there.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::commands::{config_of, maskline};
use crate::service::Service;

/// The first block of commands of a page.
fn commands_of(page: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let text = std::fs::read_to_string(path).expect("a page");
    let (_, rest) = text.split_once("```sh\n").expect("commands");
    rest.split_once("```").expect("their end").0.to_owned()
}

#[test]
fn the_guide_to_the_first_call_ends_with_a_binding_that_agents_can_dial() {
    let service = Service::start("guide");
    let config = config_of(&service.folder);
    let make = ["key", "create", "--role", "operator", "--quiet", "--config", &config];
    let key = maskline(&make, "", &[]).all();
    let mut shell = Command::new("bash");
    shell.args(["-euo", "pipefail", "-c", &commands_of("docs/first-tenant.md")]);
    shell.env("MASKLINE_URL", format!("http://{}", service.api)).env("OPERATOR_KEY", key.trim());
    // A proxy of this machine knows nothing of our loopback.
    shell.env("no_proxy", "*").env("NO_PROXY", "*");
    let run = shell.output().expect("bash");
    let [said, errors] = [&run.stdout, &run.stderr].map(|text| String::from_utf8_lossy(text));
    assert!(run.status.success(), "{said}\n{errors}");
    let answers = serde_json::Deserializer::from_str(&said).into_iter::<Value>();
    let last = answers.last().expect("answers").expect("JSON");
    assert_eq!(last["state"], "active", "{said}");
    let x = last["virtual_number"].as_str().expect("a number");
    assert!(["17000000801", "17000000802"].contains(&x), "{said}");
    assert!(!said.contains("13800005678"), "{said}");
}
