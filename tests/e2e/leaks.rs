//! The leak scan: a subscriber's number goes through calls in both directions, refusals, the API,
//! webhooks and commands; then everything the service said, wrote or stored is searched for it.

mod commands;
mod receiver;
mod walk;

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use maskline::api::roles::Role;
use maskline::cli::demo::ladder::Column;
use maskline::cli::demo::leak::{Canary, Hit};
use maskline::cli::demo::talk::{Cast, Places};
use maskline::phone::{CallState, Ending};
use maskline::relay::ports::Ports;
use serde_json::{Value, json};

use crate::http::{Request, ask};
use crate::peer::Peer;
use crate::peers::until;
use crate::service::{Service, http_get};
use receiver::Receiver;
use walk::Walk;

const COUNTRY: &str = "86";
const NATIONAL: &str = "13800009173";
/// What the subscriber's number is for a while.
const OTHER_PHONE: &str = "+8613800006482";
/// Written behind the back of the API, which would refuse it.
const PLANTED: &str = "13800002846";
/// In the name of the folder, so in the settings.
const FOLDER: &str = "13800003951";

/// Too short for a number, so it may be in the name of a request, which problems repeat.
const ECHOED: &str = "1380000284";

/// What the planted number is written into. Each answer of the API shows one of them.
const PLACES: [&str; 16] = [
    "tenant set name = 'P'",
    "api_key set name = 'P'",
    "agent set name = 'P'",
    "trunk set name = 'P ' || id",
    "trunk_access set login_user = 'P'",
    "pool set name = 'P ' || id",
    "virtual_number set digits = 'P' where digits = '17000000005'",
    "subscriber set version = P",
    "binding set policy_ref = 'P'",
    "call_intent set case_ref = 'P'",
    "cdr set virtual_number = 'P'",
    "event set data = jsonb_build_object('planted', 'P')",
    "webhook_endpoint set description = 'P'",
    "webhook_delivery set log = '[{\"planted\": \"P\"}]'",
    "recording set bytes = P",
    "import_problem set problem = jsonb_build_object('planted', 'P')",
];

/// Answers that hold nothing but constants, counts, times and digests; and calls that are up, of
/// which there are none any more.
const UNPLANTABLE: [&str; 12] = [
    "/v1/calls/live",
    "/v1/calls/events",
    "/v1/event-types",
    "/v1/pools/{id}/capacity",
    "/v1/jobs/imports",
    "/v1/jobs/imports/{id}",
    "/v1/subscribers/{id}/number-history",
    "/openapi.json",
    "/metrics",
    "/readyz",
    "/healthz",
    "/version",
];

/// Something that was said, written or stored, with its name.
type Surface = (String, Vec<u8>);

/// Tables, indexes, write-ahead log, the server's own log: every byte that was written since
/// `since`, without the zeros that fill a file up.
pub(crate) fn files(folder: &Path, since: SystemTime) -> Vec<Surface> {
    let mut files = vec![];
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("an entry").path();
        let Ok(facts) = path.symlink_metadata() else { continue };
        if facts.is_dir() {
            files.extend(self::files(&path, since));
        } else if facts.is_file() && facts.modified().expect("a time") >= since {
            let mut bytes = fs::read(&path).expect("a readable file");
            let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            bytes.truncate(end);
            files.push((path.display().to_string(), bytes));
        }
    }
    files
}

/// Everything the service wrote, said to watchers or to those with a key, or stored.
pub(crate) fn surfaces(service: &Service) -> Vec<Surface> {
    let mut surfaces = written(service);
    let keys = walk::keys(service);
    surfaces.extend(Walk::new(service, &keys, &walk::document(service)).surfaces);
    surfaces
}

/// What it wrote, said to watchers, or stored.
fn written(service: &Service) -> Vec<Surface> {
    let mut surfaces = vec![("log".to_owned(), service.log()), ("dump".to_owned(), dump(service))];
    for path in ["/metrics", "/readyz", "/healthz", "/version", "/debug/config"] {
        let (_, page) = http_get(service.admin, path).expect("the admin listener");
        surfaces.push((path.to_owned(), page.into_bytes()));
    }
    surfaces
}

/// The whole database as text.
fn dump(service: &Service) -> Vec<u8> {
    let socket = service.folder.join("pg/socket");
    let output = Command::new("pg_dump")
        .arg("-h")
        .arg(&socket)
        .args(["-U", "postgres", "--no-password", "maskline"])
        .output()
        .expect("pg_dump; `scripts/test` installs postgresql");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "pg_dump failed: {errors}");
    output.stdout
}

/// What the database says to this.
pub(crate) fn sql(service: &Service, text: &str) -> String {
    let output = Command::new("psql")
        .arg("-h")
        .arg(service.folder.join("pg/socket"))
        .args(["-U", "postgres", "--no-password", "-v", "ON_ERROR_STOP=1", "-c", text, "maskline"])
        .output()
        .expect("psql; `scripts/test` installs postgresql");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn search(canary: &Canary, surfaces: &[Surface]) -> Vec<Hit> {
    surfaces.iter().flat_map(|(name, bytes)| canary.search(name, bytes)).collect()
}

/// The names of those surfaces on none of which the number stands.
fn without<'a>(canary: &Canary, surfaces: &'a [Surface]) -> Vec<&'a str> {
    let hits = search(canary, surfaces);
    let mut names: Vec<&str> = surfaces.iter().map(|(name, _)| name.as_str()).collect();
    names.retain(|name| hits.iter().all(|hit| hit.surface != *name));
    names.sort_unstable();
    names.dedup();
    names
}

/// A service that tells an insurer all it can, and whoever may ask it.
struct Scene {
    service: Service,
    begun: SystemTime,
    keys: Vec<(Role, String)>,
    document: Value,
    receiver: Receiver,
    /// What was said once, and is not said again.
    said: Vec<Surface>,
}

impl Scene {
    fn new() -> Self {
        let service = Service::start_telling(&format!("leaks-{FOLDER}"));
        let mark = service.folder.join("begun");
        fs::write(&mark, "").expect("a writable folder");
        let begun = fs::metadata(&mark).and_then(|facts| facts.modified()).expect("a time");
        let (keys, document) = (walk::keys(&service), walk::document(&service));
        let receiver = Receiver::start();
        let url = format!("http://{}/hook", receiver.address);
        let endpoint = service.administer("/v1/webhook-endpoints", &json!({"url": url}));
        let said = vec![("the endpoint".to_owned(), endpoint.to_string().into_bytes())];
        Self { service, begun, keys, document, receiver, said }
    }

    fn key(&self, role: Role) -> &str {
        let key = self.keys.iter().find(|(of, _)| *of == role);
        key.map(|(_, key)| key.as_str()).expect("every role has a key")
    }

    fn walk(&self) -> Walk<'_> {
        Walk::new(&self.service, &self.keys, &self.document)
    }

    fn says(&mut self, name: &str, bytes: impl Into<Vec<u8>>) {
        self.said.push((name.to_owned(), bytes.into()));
    }

    /// A call that rings as long as it is looked at.
    fn live_call(&mut self, x: &str) {
        let (relay, sides) = (self.service.sip, self.service.sides);
        let agent = Peer::new(SocketAddr::new(sides.insurer.ip(), 0));
        let subscriber = Peer::new(sides.carrier);
        agent.invite(x, relay);
        let invite = subscriber.expect("INVITE ");
        subscriber.respond(&invite, "180 Ringing", "", "", relay);
        until("a live call", || self.service.get("/v1/calls/live")["data"].get(0).cloned());
        let mut live = commands::live(&self.service, self.key(Role::InsurerCrm));
        live.extend(self.walk().surfaces);
        subscriber.respond(&invite, "486 Busy Here", "", "", relay);
        agent.acknowledge(&agent.expect("SIP/2.0 486"), relay);

        let without_x = without(&Canary::new("", x), &live);
        let ends = ["/live", "/calls/events"];
        let is_live =
            |name: &str| ends.iter().any(|end| name.ends_with(end)) || name.contains(" --live ");
        let lists: Vec<_> = live.iter().map(|(name, _)| name).filter(|it| is_live(it)).collect();
        assert!(!lists.is_empty());
        for list in lists {
            assert!(!without_x.contains(&list.as_str()), "{list} does not show the live call");
        }
        self.said.extend(live);
    }

    /// What the next call is for, said before it.
    fn intent(&mut self, binding: &Value) {
        let agent = self.service.get("/v1/agents")["data"][0]["id"].clone();
        let intent = json!({"binding": binding["id"], "agent": agent, "purpose": "claim",
                            "case_ref": "CLM-1", "mode": "dial_in", "ttl_s": 600});
        let intent = self.service.administer("/v1/call-intents", &intent);
        self.says("the intent", intent.to_string());
    }

    /// Calls in both directions and one to nobody's number.
    fn calls(&mut self, cast: &mut Cast, x: &str) {
        let call = cast.talk(x).expect("a call");
        assert_eq!(cast.state(Column::Agent, call), Some(CallState::Over(Ending::HungUp)));
        assert!(cast.heard().both() && cast.heard().was_told(), "{:?}", cast.heard());
        assert_eq!(self.service.get("/v1/call-intents")["data"][0]["state"], "used");
        let back = cast.call_back(x).expect("a call");
        assert_eq!(cast.state(Column::Subscriber, back), Some(CallState::Over(Ending::HungUp)));
        let refused = cast.call_back("17000000009").expect("an attempt");
        let refused = cast.state(Column::Subscriber, refused);
        assert_eq!(refused, Some(CallState::Over(Ending::Refused(404))));
        // The last is of no tenant.
        self.service.records(3);
        until("the webhooks", || self.receiver.was_told("call.completed").then_some(()));
    }

    /// What was recorded, fetched by its link.
    fn fetch_recording(&mut self) {
        let recording =
            until("the recording", || self.service.look("/v1/recordings")["data"].get(0).cloned());
        let id = recording["id"].as_str().expect("an identifier");
        let link = self.service.administer(&format!("/v1/recordings/{id}/links"), &json!({}));
        let path = link["path"].as_str().expect("a path");
        let file = ask(self.service.api, &Request::get(path));
        assert!(file.status == 200 && file.body.starts_with(b"RIFF"), "{}", file.head);
        self.says("the link", link.to_string());
        self.says("the recording", file.bytes());
        // It works once: the second answer is a problem.
        self.says("the link again", ask(self.service.api, &Request::get(path)).bytes());
    }

    /// The subscriber has another phone for a while, of which a commitment to the number stays.
    fn changes_its_phone(&mut self, binding: &Value, real: &str) {
        let subscriber = binding["subscriber_id"].as_str().expect("an identifier");
        let path = format!("/v1/subscribers/{subscriber}/number");
        let key = self.key(Role::InsurerCrm).to_owned();
        for number in [OTHER_PHONE, real] {
            let body = json!({"real_number": number}).to_string();
            let request =
                Request { method: "PUT", path: &path, key: Some(&key), headers: "", body: &body };
            let answer = ask(self.service.api, &request);
            assert_eq!(answer.status, 200, "{}", answer.head);
            self.says("another phone", answer.bytes());
        }
        let history = self.service.look(&format!("/v1/subscribers/{subscriber}/number-history"));
        assert_eq!(history["data"].as_array().map(Vec::len), Some(3), "{history}");
        self.says("the phones", history.to_string());
    }

    /// Requests that are refused, each with the number where a careless client writes it.
    fn careless_requests(&mut self) {
        let real = format!("+{COUNTRY}{NATIONAL}");
        let binding = |subscriber: Value| {
            let policy = json!({"ref": "P"});
            json!({"external_id": "E-9", "mode": "ax", "policy": policy, "subscriber": subscriber})
        };
        let taken = |policy: &str| {
            let (policy, subscriber) = (json!({"ref": policy}), json!({"real_number": real}));
            json!({"external_id": "E-1", "mode": "ax", "policy": policy, "subscriber": subscriber})
        };
        let bodies = [
            binding(json!({"real_number": NATIONAL})),
            binding(json!({"real_number": format!("{real}x")})),
            binding(json!({"real_number": real, "id": real})),
            binding(json!({"real_number": real, "nickname": real})),
            binding(json!({"id": format!("sub_{NATIONAL}")})),
            taken("another policy"),
            taken(&real),
            json!({"subscriber": real}),
            json!([NATIONAL]),
            json!(real),
        ];
        let mut requests: Vec<(&str, String, String)> = bodies
            .iter()
            .map(|body| ("POST", "/v1/bindings".to_owned(), body.to_string()))
            .collect();
        requests.push(("POST", "/v1/bindings".to_owned(), format!("{{\"real_number\": {real}")));
        for path in ["bindings", "subscribers", "calls", "agents", "webhook-endpoints", "no"] {
            requests.push(("GET", format!("/v1/{path}/{NATIONAL}"), String::new()));
            requests.push(("GET", format!("/v1/{path}?{NATIONAL}={real}"), String::new()));
        }
        for query in ["bindings?external_id", "calls?virtual_number", "events?cursor"] {
            requests.push(("GET", format!("/v1/{query}={NATIONAL}"), String::new()));
        }
        requests.push(("GET", format!("/recordings/{NATIONAL}"), String::new()));
        self.ask_carelessly(&requests, &real);
    }

    /// Many bindings at once, in one request and in a file: a good row and a wrong one.
    fn many(&mut self, real: &str) {
        let row = |name: &str, number: &str| {
            json!({"external_id": name, "mode": "ax", "policy": {"ref": "P-1"},
                   "subscriber": {"real_number": number}})
        };
        let wrong = format!("{real}x");
        let rows = json!({"bindings": [row("B-1", real), row("B-2", &wrong)]});
        let file = format!("{}\n{}\n", row("I-1", real), row("I-2", &wrong));
        let parts = [
            ("/v1/bindings:batch", "application/json", rows.to_string(), 200),
            ("/v1/jobs/imports", "application/x-ndjson", file, 202),
        ];
        for (path, kind, body, status) in parts {
            let headers = format!("Content-Type: {kind}\r\n");
            let key = Some(self.key(Role::InsurerCrm));
            let request = Request { method: "POST", path, key, headers: &headers, body: &body };
            let answer = ask(self.service.api, &request);
            assert_eq!(answer.status, status, "{path}");
            self.said.push((path.to_owned(), answer.bytes()));
        }
        let done = until("the import", || {
            let job = self.service.get("/v1/jobs/imports")["data"][0].clone();
            (job["state"] == "done").then_some(job)
        });
        assert_eq!((&done["rows_created"], &done["rows_failed"]), (&json!(1), &json!(1)));
    }

    /// Each as the CRM, as the CRM with the number in all headers, and with the number as the key.
    fn ask_carelessly(&mut self, requests: &[(&str, String, String)], real: &str) {
        let headers = format!(
            "X-Request-Id: {NATIONAL}\r\nIdempotency-Key: {real}\r\nAccept-Language: {real}\r\n\
             User-Agent: {real}\r\nIf-Match: \"{real}\"\r\nReferer: http://example.com/{real}\r\n"
        );
        let named = format!("X-Request-Id: r-{ECHOED}\r\n");
        let crm = self.key(Role::InsurerCrm);
        let (mut problems, mut statuses) = (vec![], BTreeSet::new());
        for (method, path, body) in requests {
            for (key, headers) in [(crm, &named), (crm, &headers), (real, &named)] {
                let request = Request { method, path, key: Some(key), headers, body };
                let problem = ask(self.service.api, &request);
                statuses.insert(problem.status);
                problems.push(("a problem".to_owned(), problem.bytes()));
            }
        }
        // Whoever lists the calls of a number that is none of ours gets an empty list.
        assert_eq!(statuses, BTreeSet::from([200, 400, 401, 403, 404, 405, 409, 422]));
        let echoed = search(&Canary::new("", ECHOED), &problems);
        assert!(!echoed.is_empty(), "the problems were not searched");
        self.said.extend(problems);
    }

    /// Everything the service says to anybody, or has written down.
    fn surfaces(&self) -> Vec<Surface> {
        let mut surfaces = written(&self.service);
        let walk = self.walk();
        assert!(walk.missed.is_empty(), "no answer was searched of {:?}", walk.missed);
        surfaces.extend(walk.surfaces);
        surfaces.extend(commands::outputs(&self.service, self.key(Role::InsurerCrm)));
        surfaces.extend(self.receiver.got().into_iter().map(|it| ("a webhook".to_owned(), it)));
        surfaces
    }

    /// Writes a number where none can be.
    fn plant(&self) {
        let service = &self.service;
        let login = "insert into trunk_access \
                     (trunk_id, login_user, login_secret_sealed, updated_at) \
                     select id, 'a login', '\\x00', updated_at from trunk limit 1";
        assert_eq!(sql(service, login).trim(), "INSERT 0 1");
        for place in PLACES {
            let done = sql(service, &format!("update {}", place.replace('P', PLANTED)));
            let rows = done.trim().strip_prefix("UPDATE ").and_then(|rows| rows.parse().ok());
            assert!(rows.is_some_and(|rows: u32| rows > 0), "{place}: {done}");
        }
        let mut log =
            OpenOptions::new().append(true).open(&service.process.output).expect("the log");
        writeln!(log, "{PLANTED}").expect("written");
        // What has been told is told again, with what the event holds now.
        let endpoints = service.look("/v1/webhook-endpoints");
        let endpoint = endpoints["data"][0]["id"].as_str().expect("an identifier");
        let told = service.look(&format!("/v1/webhook-endpoints/{endpoint}/deliveries"));
        let delivery = told["data"][0]["id"].as_str().expect("an identifier");
        service.administer(&format!("/v1/webhook-deliveries/{delivery}/replay"), &json!({}));
        let holds = |it: &Vec<u8>| memchr::memmem::find(it, PLANTED.as_bytes()).is_some();
        until("the replay", || self.receiver.got().iter().any(holds).then_some(()));
    }
}

#[test]
fn the_real_number_is_found_nowhere_but_at_the_carrier() {
    let mut scene = Scene::new();
    let canary = Canary::new(COUNTRY, NATIONAL);
    let real = format!("+{COUNTRY}{NATIONAL}");
    let binding = scene.service.bind("E-1", &real);
    scene.says("the binding", binding.to_string());
    let x = binding["virtual_number"].as_str().expect("a number");
    scene.live_call(x);
    scene.intent(&binding);
    scene.changes_its_phone(&binding, &real);
    let sides = scene.service.sides;
    let [insurer, carrier] =
        [sides.insurer, sides.carrier].map(|at| Ports::at(at, 1).expect("a free port"));
    let places = Places { insurer, carrier, relay: scene.service.sip };
    let mut cast = Cast::enter(places, COUNTRY, NATIONAL).expect("free ports");
    scene.calls(&mut cast, x);
    scene.fetch_recording();
    scene.careless_requests();
    let printed = commands::with_number(&scene.service, scene.key(Role::InsurerCrm), &real);
    scene.said.extend(printed);
    scene.many(&real);

    // The scanner sees: the carrier's side carries the number, and so does every careless client.
    assert!(
        !cast.search(Column::Subscriber).hits.is_empty(),
        "the carrier was not told the number"
    );
    assert_eq!(cast.search(Column::Agent).hits, [], "the insurer's side received the number");
    assert_eq!(search(&canary, &scene.said), [], "the number was said");
    assert_eq!(search(&canary, &scene.surfaces()), []);

    // Other numbers, one planted in the open and one in the settings, are found on every surface:
    // the scan sees them.
    scene.plant();
    let planted = Canary::new(COUNTRY, PLANTED);
    let surfaces = scene.surfaces();
    let in_settings = without(&Canary::new(COUNTRY, FOLDER), &surfaces);
    let mut unseen = without(&planted, &surfaces);
    unseen.retain(|name| in_settings.contains(name));
    let mut constants = UNPLANTABLE;
    constants.sort_unstable();
    assert_eq!(unseen, constants, "where nothing planted is found");

    let Scene { mut service, begun, .. } = scene;
    service.stop();
    let files = files(&service.folder.join("pg"), begun);
    assert_ne!(search(&planted, &files), [], "the database's files were not searched");
    assert_eq!(search(&canary, &files), []);
    assert_eq!(canary.search("log", &service.log()), []);
}

#[test]
fn an_operation_that_cannot_be_asked_is_missed() {
    let service = Service::start("leaks-missed");
    let (keys, mut document) = (walk::keys(&service), walk::document(&service));
    document["paths"]["/v1/secrets/{id}"] = json!({"get": {}});
    let missed = Walk::new(&service, &keys, &document).missed;
    // There have been no calls either, and nobody is told of events.
    for path in ["/v1/secrets/{id}", "/v1/calls/{id}", "/v1/webhook-endpoints/{id}"] {
        assert!(missed.contains(path), "{path} is not missed: {missed:?}");
    }
    assert!(!missed.contains("/v1/agents/{id}"), "{missed:?}");
}
