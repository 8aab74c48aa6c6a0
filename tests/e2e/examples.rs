//! The programs of docs/examples, run as a CRM team would.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;

use crate::commands::key_of;
use crate::peers::{Process, free_port, until};
use crate::service::Service;

const REAL: &str = "+8613800003519";

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples").join(name)
}

/// Runs an example to its end with this input: whether that was good, and what it said.
fn run(service: &Service, key: &str, words: &[&str], input: &str) -> (bool, String) {
    run_as(service, &[("MASKLINE_KEY", key)], words, input)
}

/// The same with all that says who asks.
fn run_as(service: &Service, who: &[(&str, &str)], words: &[&str], input: &str) -> (bool, String) {
    let (name, rest) = words.split_first().expect("an example");
    let mut command = Command::new(example(name));
    command.args(rest).env("MASKLINE_URL", format!("http://{}", service.api));
    command.envs(who.iter().copied()).env("no_proxy", "*");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().expect("python3, bash, curl and jq");
    // One that refuses its words does not read.
    let _ = process.stdin.take().expect("a pipe").write_all(input.as_bytes());
    let output = process.wait_with_output().expect("its end");
    let said = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    assert!(!said.concat().contains(&REAL[3..]), "an example said the number");
    (output.status.success(), said.concat())
}

#[test]
fn the_crm_in_python_binds_lists_reads_events_and_unbinds() {
    let service = Service::start("examples-python");
    let key = key_of(&service, "insurer_crm");
    let admin = key_of(&service, "insurer_admin");
    let crm =
        |words: &[&str], input: &str| run(&service, &key, &[&["crm.py"], words].concat(), input);
    let (good, bound) = crm(&["bind", "P-1"], &format!("{REAL}\n"));
    assert!(good && bound.ends_with(" active P-1 138****3519\n"), "{bound}");
    assert_eq!(crm(&["bind", "P-1"], REAL), (true, bound.clone()), "the policy is the key");
    assert_eq!(crm(&["list"], ""), (true, bound.clone()));
    let told = until("the event of the binding", || {
        let (good, told) = run(&service, &admin, &["crm.py", "events"], "");
        assert!(good, "{told}");
        told.contains(" binding.created").then_some(told)
    });
    let (_, cursor) = told.trim_end().rsplit_once('\n').expect("an event and the cursor");
    let (good, ended) = crm(&["unbind", "P-1"], "");
    assert!(good && ended.contains(" released P-1 "), "{ended}");
    assert_eq!(crm(&["list"], ""), (true, String::new()));
    let (good, nothing) = crm(&["unbind", "P-1"], "");
    assert!(!good && nothing.starts_with("no binding"), "{nothing}");
    let later = until("the event of the end", || {
        let (good, later) = run(&service, &admin, &["crm.py", "events", cursor], "");
        assert!(good, "{later}");
        later.contains(" binding.released").then_some(later)
    });
    assert!(!later.contains("binding.created"), "the cursor goes on: {later}");

    let (good, refused) = crm(&["bind", "P-2"], "1380000351x");
    assert!(!good && refused.contains("422") && refused.contains("real_number"), "{refused}");
    let (good, refused) = run(&service, "mk_live_wrong", &["crm.py", "list"], "");
    assert!(!good && refused.starts_with("401 "), "{refused}");
}

#[test]
fn the_crm_in_python_signs_with_a_key_that_is_never_sent() {
    let service = Service::start("examples-signed");
    let key = json!({"name": "crm", "role": "insurer_crm", "auth": "signature"});
    let key = service.administer("/v1/api-keys", &key);
    let text = |field: &str| key[field].as_str().expect("a text").to_owned();
    let (secret, id) = (text("key"), text("id"));
    let who = [("MASKLINE_KEY", &*secret), ("MASKLINE_KEY_ID", &*id)];
    let crm =
        |words: &[&str], input: &str| run_as(&service, &who, &[&["crm.py"], words].concat(), input);
    let (good, bound) = crm(&["bind", "P-1"], &format!("{REAL}\n"));
    assert!(good && bound.ends_with(" active P-1 138****3519\n"), "{bound}");
    assert_eq!(crm(&["list"], ""), (true, bound), "a query is signed too");
    let (good, ended) = crm(&["unbind", "P-1"], "");
    assert!(good && ended.contains(" released P-1 "), "{ended}");
    let wrong = bound_to_fail(&secret);
    let who = [("MASKLINE_KEY", &*wrong), ("MASKLINE_KEY_ID", &*id)];
    let (good, refused) = run_as(&service, &who, &["crm.py", "list"], "");
    assert!(!good && refused.starts_with("401 "), "{refused}");
    let log = service.log();
    assert!(!log.windows(secret.len()).any(|part| part == secret.as_bytes()));
}

/// Another secret of the same form.
fn bound_to_fail(secret: &str) -> String {
    let last = if secret.ends_with('A') { "B" } else { "A" };
    format!("{}{last}", secret.get(..secret.len() - 1).unwrap_or_default())
}

#[test]
fn the_shell_script_takes_a_policy_from_its_first_day_to_its_last() {
    let service = Service::start("examples-shell");
    let key = key_of(&service, "insurer_crm");
    let (good, said) = run(&service, &key, &["crm.sh", "P-1"], &format!("{REAL}\n"));
    let states: Vec<_> = said.lines().filter_map(|line| line.split(' ').nth(1)).collect();
    assert_eq!(states, ["active", "active", "suspended", "active", "released"], "{said}");
    assert!(good && said.contains("138****3519"), "{said}");
    let (good, said) = run(&service, &key, &["crm.sh", "P-2"], "1380000351x\n");
    assert!(!good && said.contains("/subscriber/real_number"), "{said}");
}

#[test]
fn the_receiver_prints_what_was_signed_and_nothing_else() {
    let page = include_str!("../../docs/webhooks.md");
    let (_, shown) = page.split_once("def is_genuine").expect("the function");
    let (shown, _) = shown.split_once("```").expect("its end");
    let receiver = fs::read_to_string(example("receiver.py")).expect("the receiver");
    assert!(receiver.contains(shown.trim_end()), "docs/webhooks.md shows another function");

    let service = Service::start_telling("examples-receiver");
    let at = SocketAddr::from(([127, 0, 0, 1], free_port("127.0.0.1")));
    let endpoint = json!({"url": format!("http://{at}/")});
    let endpoint = service.administer("/v1/webhook-endpoints", &endpoint);
    let secret = endpoint["secret"].as_str().expect("a secret, once");
    let mut command = Command::new(example("receiver.py"));
    command.arg(at.port().to_string()).env("MASKLINE_WEBHOOK_SECRET", secret);
    let log = service.folder.join("receiver.log");
    let _receiver = Process::start(command, log.clone());
    let mut forger = until("the receiver", || TcpStream::connect(at).ok());
    let forged = "POST / HTTP/1.1\r\nwebhook-id: evt_1\r\nwebhook-timestamp: 1\r\n\
                  webhook-signature: v1,AAAA\r\nContent-Length: 2\r\n\r\n{}";
    forger.write_all(forged.as_bytes()).expect("a connection");
    let mut answer = String::new();
    forger.read_to_string(&mut answer).expect("an answer");
    assert!(answer.contains(" 401 "), "{answer}");

    service.bind("R-1", REAL);
    let told = until("the event", || {
        let told = fs::read_to_string(&log).ok()?;
        told.contains("binding.created").then_some(told)
    });
    assert!(told.starts_with("binding.created ") && told.contains("\"R-1\""), "{told}");
    assert!(!told.contains(&REAL[3..]), "{told}");
}
