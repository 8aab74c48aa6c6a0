//! The nouns of the API by the commands of the real binary, as an operator and an insurer type
//! them.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::commands::{Said, at, key_of};
use crate::peer::Peer;
use crate::peers::until;
use crate::service::Service;

const REAL: &str = "+8613800007316";

/// The identifier in an answer.
fn id(said: &Said) -> String {
    said.json()["id"].as_str().expect("an identifier").to_owned()
}

#[test]
fn an_operator_lays_a_platform_out_by_commands() {
    let service = Service::start("nouns-operator");
    let issued = service.operate("/v1/api-keys", &json!({"name": "o", "role": "operator"}));
    let run = at(service.api, issued["key"].as_str().expect("a key, once"));
    let made = |words: &[&str]| id(&run(&[words, &["-o", "json"]].concat(), ""));

    let tenant = made(&["tenants", "create", "name=Nouns", "desk_user=4000"]);
    let set = run(&["tenants", "set", &tenant, "desk_user:=null", "-o", "json"], "").json();
    assert_eq!((&set["name"], &set["desk_user"]), (&json!("Nouns"), &Value::Null));
    let trunk = made(&[
        "trunks",
        "create",
        "name=nouns",
        "role=carrier",
        "source_networks:=[\"192.0.2.0/24\"]",
        "targets:=[\"192.0.2.1:5060\"]",
    ]);
    let account = ["trunks", "account", &trunk, "username=relay-1", "-o", "json"];
    assert_eq!(run(&account, "hunter2\n").json()["account"]["username"], "relay-1");
    let access = run(&["trunks", "access", &trunk], "");
    assert!(access.all().contains("relay-1") && !access.all().contains("hunter2"));
    let pool = made(&["pools", "create", "name=nouns", "class=mobile"]);
    run(&["numbers", "import", "-", "--pool", &pool], "17000007301\n17000007302\n");
    run(&["numbers", "set", "17000007301", "state=reserved"], "");
    let held = run(&["numbers", "list", "--state", "reserved", "-o", "csv"], "").all();
    assert!(held.lines().count() == 2 && held.contains("17000007301"), "{held}");
    let capacity = run(&["pools", "capacity", &pool, "-o", "json"], "").json();
    assert_eq!((&capacity["available"], &capacity["reserved"]), (&json!(1), &json!(1)));
    let key = ["api-keys", "create", "name=k", "role=insurer_admin"];
    let named = format!("tenant_id={tenant}");
    let key = run(&[&key[..], &[named.as_str(), "-o", "json"]].concat(), "").json();
    let admin = at(service.api, key["key"].as_str().expect("a key, once"));
    assert!(admin(&["agents", "list"], "").all().contains("(none)"));
    assert!(run(&["api-keys", "delete", key["id"].as_str().expect("an id")], "").good);
    assert!(run(&["trunks", "delete", &trunk], "").good);
    run(&["trunks", "get", &trunk], "").refused("404");
    run(&["tenants", "create", "nmae=x"], "").refused("/nmae");
}

#[test]
fn an_insurer_works_by_commands_and_no_real_number_is_an_argument() {
    let service = Service::start("nouns-insurer");
    let admin = key_of(&service, "insurer_admin");
    let run = at(service.api, &admin);
    let agent = ["agents", "create", "employee_id=N-1", "name=N", "caller_numbers:=[\"7316\"]"];
    let agent = id(&run(&[&agent[..], &["-o", "json"]].concat(), ""));
    assert!(run(&["agents", "set", &agent, "state=disabled"], "").all().contains("disabled"));
    let only = ["agents", "set", &agent, "allowed_purposes:=[\"claim\"]", "-o", "csv"];
    assert!(run(&only, "").all().contains("group,allowed_purposes\n"));
    assert!(run(&["agents", "delete", &agent], "").good);

    let typed = run(&["subscribers", "create", &format!("real_number={REAL}")], "");
    typed.refused("standard input");
    assert!(!typed.all().contains(&REAL[3..]), "the command said the number");
    let subscriber = id(&run(&["subscribers", "create", "-o", "json"], REAL));
    let moved = run(&["subscribers", "number", &subscriber], "+8613800007317\n");
    assert!(moved.all().contains("138****7317"), "{}", moved.all());
    let history = run(&["subscribers", "number-history", &subscriber, "-o", "csv"], "").all();
    assert!(history.starts_with("since,until,commitment\n"), "{history}");
    assert_eq!(history.lines().count(), 3, "{history}");

    let bind = ["bindings", "create", "--external-id", "N-1", "--policy", "P"];
    let bound = run(&[&bind[..], &["--subscriber", &subscriber, "-o", "json"]].concat(), "");
    let bound = id(&bound);
    assert!(run(&["bindings", "suspend", &bound], "").all().contains("suspended"));
    assert!(run(&["bindings", "resume", &bound], "").all().contains("active"));

    let agent = id(&run(&["agents", "create", "employee_id=N-2", "name=N", "-o", "json"], ""));
    let (named, by) = (format!("binding={bound}"), format!("agent={agent}"));
    let intent = ["intents", "create", &named, &by, "purpose=claim", "mode=dial_in", "ttl_s:=60"];
    let intent = id(&run(&[&intent[..], &["-o", "json"]].concat(), ""));
    let shown = run(&["intents", "get", &intent, "-o", "csv"], "").all();
    assert!(shown.starts_with("id,virtual_number,state,purpose,"), "{shown}");
    let list = run(&["intents", "list", "--binding", &bound, "--agent", &agent], "");
    assert!(list.all().contains(&intent));
    assert!(run(&["intents", "cancel", &intent], "").all().contains("cancelled"));

    let hook = ["webhooks", "create", "url=https://crm.example.com/m", "-o", "json"];
    let hook = run(&hook, "").json();
    assert!(hook["secret"].as_str().is_some_and(|secret| secret.starts_with("whsec_")));
    let hook = hook["id"].as_str().expect("an identifier");
    assert!(run(&["webhooks", "list"], "").all().contains(hook));
    assert!(run(&["webhooks", "rotate-secret", hook], "").all().contains("whsec_"));
    assert!(run(&["webhooks", "ping", hook], "").all().contains("evt_"));
    assert!(run(&["webhooks", "deliveries", hook, "--state", "dead"], "").good);
    assert!(run(&["webhooks", "set", hook, "state=disabled"], "").all().contains("request"));
    assert!(run(&["webhooks", "delete", hook], "").good);
    assert!(run(&["recordings", "list"], "").all().contains("(none)"));
    assert!(run(&["events", "types", "-o", "csv"], "").all().contains("binding.created,"));
}

/// The first lines that a command prints which has no end of its own.
fn first_lines(service: &Service, key: &str, words: &[&str], count: usize) -> Vec<Value> {
    let mut process = Command::new(env!("CARGO_BIN_EXE_maskline"))
        .args(words)
        .env("MASKLINE_URL", format!("http://{}", service.api))
        .env("MASKLINE_KEY", key)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary");
    let out = BufReader::new(process.stdout.take().expect("a pipe"));
    let lines = out.lines().take(count).map(|line| line.expect("a line"));
    let values = lines.map(|line| serde_json::from_str(&line).expect("JSON")).collect();
    process.kill().expect("a process of ours");
    process.wait().expect("its end");
    values
}

#[test]
fn events_are_followed_as_they_come() {
    let service = Service::start("nouns-events");
    let admin = key_of(&service, "insurer_admin");
    service.bind("F-1", REAL);
    service.bind("F-2", "+8613800007318");
    let words = ["events", "follow", "--type", "binding.created", "-o", "json"];
    let told = first_lines(&service, &admin, &words, 2);
    let told: Vec<_> = told.iter().map(|event| &event["data"]["external_id"]).collect();
    assert_eq!(told, [&json!("F-1"), &json!("F-2")]);
    let one = at(service.api, &admin)(&["events", "list", "--rows", "1", "-o", "json"], "").json();
    assert_eq!(one.as_array().map(Vec::len), Some(1));
}

#[test]
fn live_calls_are_watched_as_they_go() {
    let service = Service::start("nouns-calls");
    let auditor = key_of(&service, "insurer_auditor");
    let x = service.bind("W-1", REAL)["virtual_number"].as_str().expect("a number").to_owned();
    let (relay, sides) = (service.sip, service.sides);
    let agent = Peer::new(SocketAddr::new(sides.insurer.ip(), 0));
    let subscriber = Peer::new(sides.carrier);
    agent.invite(&x, relay);
    let invite = subscriber.expect("INVITE ");
    subscriber.respond(&invite, "180 Ringing", "", "", relay);
    until("a live call", || service.get("/v1/calls/live")["data"].get(0).cloned());
    let seen = first_lines(&service, &auditor, &["calls", "watch", "-o", "json"], 1);
    assert_eq!(seen[0]["virtual_number"], json!(x));
    subscriber.respond(&invite, "486 Busy Here", "", "", relay);
    agent.acknowledge(&agent.expect("SIP/2.0 486"), relay);
}

#[test]
fn shells_are_told_all_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let said = crate::commands::maskline(&["completion", shell], "", &[]);
        assert!(said.good && said.all().contains("rotate-secret"), "{shell}: {}", said.all());
    }
}
