//! The real binary with an operator's own PostgreSQL: set up as the documents say, taken away in
//! the middle of a call, and brought back.

use std::fs;
use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::commands::{config_of, maskline};
use crate::peer::{Dialog, Peer};
use crate::peers::{INSURER, Scenario, Sipp, free_port, until};
use crate::postgres::Server;
use crate::service::{Service, http_get};

const REAL: &str = "+8613800001234";
const DOCUMENT: &str = include_str!("../../docs/operations.md");
/// What stands for a password in the document.
const PLACEHOLDER: &str = "SECRET";
const PASSWORD: &str = "owner0password";
/// Where the document supposes the server.
const SUPPOSED: &str = "127.0.0.1:5432";

/// The roles of all sessions of the service.
const WHO_WORKS: &str = "select string_agg(distinct usename, ' ') from pg_stat_activity \
                         where application_name = 'maskline'";

/// A block of the section about this, by its language, with our password.
fn documented(language: &str, nth: usize) -> String {
    let (_, section) = DOCUMENT.split_once("\n## Your own PostgreSQL\n").expect("the section");
    let section = section.split("\n## ").next().expect("its text");
    let block = section.split(&format!("```{language}\n")).nth(nth).expect("the block");
    let text = block.split("```").next().expect("its end");
    text.replace(PLACEHOLDER, PASSWORD)
}

/// The settings of the document with the server's true address.
fn settings(server: &Server, nth: usize) -> String {
    let text = documented("toml", nth);
    assert!(text.contains(SUPPOSED), "{text}");
    text.replace(SUPPOSED, &server.address().to_string())
}

/// One call by sipp on both sides, and its record.
fn places_a_call(service: &Service, x: &str, count: usize) -> Value {
    let mut carrier = service.answering_carrier(1);
    let fields = format!("4821;{x}");
    let scenario = Scenario {
        file: "agent_calls.xml",
        status: "",
        local: SocketAddr::new(service.sides.insurer.ip(), free_port(INSURER)),
        remote: Some(service.sip),
        fields: &fields,
        calls: 1,
        calls_per_second: 10,
    };
    Sipp::start(&service.folder, &scenario).succeeds();
    carrier.succeeds();
    service.records(count)[0].clone()
}

fn binds(service: &Service, external_id: &str) -> String {
    let binding = service.bind(external_id, REAL);
    binding["virtual_number"].as_str().expect("a number").to_owned()
}

/// Waits until readiness is as it should be, and the reason is named.
fn is_ready(service: &Service, status: u16, word: &str) {
    until(&format!("{status} {word}"), || {
        let (now, page) = http_get(service.admin, "/readyz")?;
        (now == status && page.contains(word)).then_some(())
    });
}

/// A call that goes on as long as the test wants.
struct Talk {
    agent: Peer,
    subscriber: Peer,
    dialog: Dialog,
    to_agent: SocketAddr,
    to_subscriber: SocketAddr,
}

impl Talk {
    fn begin(service: &Service, x: &str) -> Self {
        let agent = Peer::new(SocketAddr::new(service.sides.insurer.ip(), 0));
        let subscriber = Peer::new(service.sides.carrier);
        agent.invite(x, service.sip);
        let to_agent = subscriber.answer(service.sip);
        let (to_subscriber, dialog) = agent.is_confirmed(service.sip);
        Self { agent, subscriber, dialog, to_agent, to_subscriber }
    }

    /// Each hears the other say this word.
    fn both_hear(&mut self, word: u8) {
        self.agent.say(self.to_subscriber, word);
        while self.subscriber.hear() != word {}
        self.subscriber.say(self.to_agent, word);
        while self.agent.hear() != word {}
    }

    fn hang_up(mut self, service: &Service) {
        self.agent.request(&mut self.dialog, "BYE", "", "", service.sip);
        self.agent.expect("SIP/2.0 200 ");
        let bye = self.subscriber.expect("BYE ");
        self.subscriber.respond(&bye, "200 OK", "", "", service.sip);
    }
}

#[test]
fn a_database_set_up_as_documented_may_go_away_and_come_back() {
    let mut server = Server::start("own");
    server.ask(&documented("sql", 1));
    let service = Service::start_at("own-database", &settings(&server, 1));
    assert_eq!(server.ask(WHO_WORKS), "maskline_app maskline_relay", "who works in the database");
    let x = binds(&service, "E-1");
    let record = places_a_call(&service, &x, 1);
    assert_eq!((&record["cause"], &record["virtual_number"]), (&json!("caller_hangup"), &json!(x)));

    let mut talk = Talk::begin(&service, &x);
    talk.both_hear(0x11);
    server.stop();
    is_ready(&service, 503, "database");
    talk.both_hear(0x22);
    let body = json!({
        "external_id": "E-2", "mode": "ax", "policy": {"ref": "P"},
        "subscriber": {"real_number": REAL},
    });
    let refused = service.refused("/v1/bindings", &body);
    assert!(refused.contains("(503, "), "{refused}");
    assert_eq!(http_get(service.admin, "/healthz").expect("the admin listener").0, 200);
    // Its record has to wait for the database.
    talk.hang_up(&service);
    let mut talk = Talk::begin(&service, &x);

    server.run();
    is_ready(&service, 200, "true");
    talk.both_hear(0x33);
    talk.hang_up(&service);
    let causes: Vec<Value> =
        service.records(3).iter().map(|record| record["cause"].clone()).collect();
    assert_eq!(causes, ["caller_hangup"; 3]);
    let x = binds(&service, "E-2");
    assert_eq!(places_a_call(&service, &x, 4)["cause"], "caller_hangup");
}

#[test]
fn an_owner_that_may_make_no_roles_is_enough_for_roles_with_urls_of_their_own() {
    let server = Server::start("given");
    server.ask(&documented("sql", 1));
    let first = settings(&server, 1);
    let mut service = Service::start_at("given-roles", &first);
    let x = binds(&service, "E-1");
    server.ask(&documented("sql", 2));
    let file = service.folder.join("maskline.toml");
    let text = fs::read_to_string(&file).expect("the settings");
    fs::write(&file, text.replace(&first, &settings(&server, 2))).expect("a writable folder");

    service.kill_and_start_again();
    assert_eq!(server.ask(WHO_WORKS), "maskline_app maskline_relay", "who works in the database");
    assert_eq!(places_a_call(&service, &x, 1)["cause"], "caller_hangup");
    let said = maskline(&["doctor", "--config", &config_of(&service.folder)], "", &[]);
    assert!(said.good && !said.all().contains("BAD"), "{}", said.all());
}
