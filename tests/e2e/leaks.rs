//! The leak scan: a subscriber's number goes through calls in both directions, refusals and the
//! API; then everything the service said, wrote or stored is searched for it.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use maskline::cli::demo::ladder::Column;
use maskline::cli::demo::leak::{Canary, Hit};
use maskline::cli::demo::talk::{Cast, Places};
use maskline::phone::{CallState, Ending};
use serde_json::{Value, json};

use crate::service::{Service, http_get};

const COUNTRY: &str = "86";
const NATIONAL: &str = "13800009173";
const PLANTED: &str = "13800002846";

/// Everything the service wrote, said to watchers, or stored, with its name.
pub(crate) fn surfaces(service: &Service) -> Vec<(String, Vec<u8>)> {
    let mut surfaces = vec![("log".to_owned(), service.log()), ("dump".to_owned(), dump(service))];
    for path in ["/metrics", "/readyz", "/healthz", "/version", "/debug/config"] {
        let (_, page) = http_get(service.admin, path).expect("the admin listener");
        surfaces.push((path.to_owned(), page.into_bytes()));
    }
    let lists = ["/v1/bindings", "/v1/calls", "/v1/calls/live", "/v1/agents", "/v1/pools"];
    for path in lists {
        let list = service.get(path);
        surfaces.push((path.to_owned(), list.to_string().into_bytes()));
        for row in list["data"].as_array().expect("a list") {
            surfaces.push(details(service, path, &row["id"]));
            if path == "/v1/bindings" {
                surfaces.push(details(service, "/v1/subscribers", &row["subscriber_id"]));
            }
        }
    }
    for path in ["/v1/numbers", "/v1/trunks", "/v1/tenants"] {
        surfaces.push((path.to_owned(), service.operator_get(path).to_string().into_bytes()));
    }
    surfaces
}

/// One resource of a list.
fn details(service: &Service, list: &str, id: &Value) -> (String, Vec<u8>) {
    let path = format!("{list}/{}", id.as_str().expect("an identifier"));
    let resource = service.get(&path).to_string();
    (path, resource.into_bytes())
}

/// Tables, indexes, write-ahead log, the server's own log: every byte that was written since
/// `since`, without the zeros that fill a file up.
pub(crate) fn files(folder: &Path, since: SystemTime) -> Vec<(String, Vec<u8>)> {
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

/// Writes a number where none can be: behind the back of the API, which would refuse it.
fn plant(service: &Service) {
    let planted = sql(service, &format!("update agent set name = '{PLANTED}'"));
    assert_eq!(planted.trim(), "UPDATE 1");
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

fn search(canary: &Canary, surfaces: &[(String, Vec<u8>)]) -> Vec<Hit> {
    surfaces.iter().flat_map(|(name, bytes)| canary.search(name, bytes)).collect()
}

/// Requests that are refused, each with the number where a careless client writes it. The answers.
fn careless_requests(service: &Service) -> Vec<(String, Vec<u8>)> {
    let real = format!("+{COUNTRY}{NATIONAL}");
    let binding = |subscriber: Value| {
        let policy = json!({"ref": "P"});
        json!({"external_id": "E-9", "mode": "ax", "policy": policy, "subscriber": subscriber})
    };
    let bodies = [
        binding(json!({"real_number": NATIONAL})),
        binding(json!({"real_number": format!("{real}x")})),
        binding(json!({"real_number": real, "id": real})),
        binding(json!({"real_number": real, "nickname": real})),
        binding(json!({"id": format!("sub_{NATIONAL}")})),
        json!({"subscriber": real}),
        json!([NATIONAL]),
    ];
    let send = |body: &Value| service.refused("/v1/bindings", body).into_bytes();
    bodies.iter().map(|body| ("a problem".to_owned(), send(body))).collect()
}

#[test]
fn the_real_number_is_found_nowhere_but_at_the_carrier() {
    let mut service = Service::start_whispering("leaks");
    let mark = service.folder.join("begun");
    fs::write(&mark, "").expect("a writable folder");
    let begun = fs::metadata(&mark).and_then(|facts| facts.modified()).expect("a time");
    let canary = Canary::new(COUNTRY, NATIONAL);
    let places = Places {
        insurer: service.sides.insurer,
        carrier: service.sides.carrier,
        relay: service.sip,
    };
    let mut cast = Cast::enter(places, COUNTRY, NATIONAL).expect("free ports");
    let binding = service.bind("E-1", &format!("+{COUNTRY}{NATIONAL}"));
    let x = binding["virtual_number"].as_str().expect("a number");
    let mut answers = careless_requests(&service);
    answers.push(("the binding".to_owned(), binding.to_string().into_bytes()));

    let call = cast.talk(x).expect("a call");
    assert_eq!(cast.state(Column::Agent, call), Some(CallState::Over(Ending::HungUp)));
    assert!(cast.heard().both() && cast.heard().was_told(), "{:?}", cast.heard());
    let back = cast.call_back(x).expect("a call");
    assert_eq!(cast.state(Column::Subscriber, back), Some(CallState::Over(Ending::HungUp)));
    let refused = cast.call_back("17000000009").expect("an attempt");
    let refused = cast.state(Column::Subscriber, refused);
    assert_eq!(refused, Some(CallState::Over(Ending::Refused(404))));
    // The third is of no tenant.
    service.records(2);

    // The scanner sees: the carrier's side carries the number, and so does every careless client.
    assert!(
        !cast.search(Column::Subscriber).hits.is_empty(),
        "the carrier was not told the number"
    );
    assert_eq!(cast.search(Column::Agent).hits, [], "the insurer's side received the number");
    assert_eq!(search(&canary, &answers), [], "the API said the number");
    assert_eq!(search(&canary, &surfaces(&service)), []);

    // Another number, planted in the open, is found on its surfaces: the scan sees them.
    let planted = Canary::new(COUNTRY, PLANTED);
    plant(&service);
    let hits = search(&planted, &surfaces(&service));
    let found: Vec<&str> = hits.iter().map(|hit| hit.surface.as_str()).collect();
    for surface in ["dump", "/v1/agents"] {
        assert!(found.contains(&surface), "{surface} was not searched: {found:?}");
    }
    service.stop();
    let files = files(&service.folder.join("pg"), begun);
    assert_ne!(search(&planted, &files), [], "the database's files were not searched");
    assert_eq!(search(&canary, &files), []);
    assert_eq!(canary.search("log", &service.log()), []);
}
