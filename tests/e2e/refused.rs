//! Callers who are refused hear why, in the words of the shipped program, and are never answered.

use std::net::SocketAddr;
use std::thread;

use serde_json::json;

use crate::leaks::sql;
use crate::peer::{Listener, Peer};
use crate::peers::INSURER;
use crate::service::Service;
use crate::words::Dictionary;

const REAL: &str = "+8613800001234";
/// Nobody has imported it.
const UNKNOWN: &str = "17000000009";

/// What a caller who is refused sees and hears.
struct Refusal {
    /// The messages, without what differs by chance.
    seen: Vec<String>,
    heard: Listener,
}

/// Calls as this user and waits for the final status.
fn is_refused(user: &str, x: &str, relay: SocketAddr) -> Refusal {
    let phone = Peer::new(SocketAddr::new(INSURER.parse().expect("an address"), 0));
    let heard = phone.listen();
    phone.invite_as(user, x, "", &phone.sdp(), relay);
    let mut seen = Vec::new();
    loop {
        let message = phone.expect("SIP/2.0 ");
        if message.starts_with("SIP/2.0 100 ") {
            // It comes where the answer takes its time.
            continue;
        }
        seen.push(without_chance(&message, x));
        if !message.starts_with("SIP/2.0 1") {
            phone.acknowledge(&message, relay);
            return Refusal { seen, heard };
        }
    }
}

/// A message without numbers and words that are made by chance, and without whom it is for.
fn without_chance(message: &str, x: &str) -> String {
    let line = |line: &str| {
        let name = line.split([':', '=']).next().unwrap_or_default();
        let is_by_chance = ["Via", "From", "To", "Call-ID", "Content-Length", "o"].contains(&name);
        let is_media = line.starts_with("m=audio ") || line.starts_with("a=rtcp:");
        match (is_by_chance, is_media) {
            (true, _) => name.to_owned(),
            (_, true) => {
                line.split(' ').skip(2).fold(name.to_owned(), |all, word| all + " " + word)
            }
            (false, false) => line.replace(x, "X"),
        }
    };
    message.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// A number of another tenant.
fn foreign(service: &Service) -> String {
    let tenant = json!({"name": "Another Insurance", "desk_user": "8000"});
    let tenant = service.operate("/v1/tenants", &tenant)["id"].clone();
    let key = json!({"name": "crm", "role": "insurer_crm", "tenant_id": tenant});
    let key = service.operate("/v1/api-keys", &key)["key"].clone();
    let binding = service.bind_with(key.as_str().expect("a key"), "E-9", "+8613800009876");
    binding["virtual_number"].as_str().expect("a number").to_owned()
}

#[test]
fn whoever_is_refused_hears_why_and_numbers_that_connect_nobody_are_alike() {
    let service = Service::start_announcing_refusals("refused");
    let bound = |external: &str, real: &str| {
        let binding = service.bind(external, real);
        let text = |field: &str| binding[field].as_str().expect("a text").to_owned();
        (text("id"), text("virtual_number"))
    };
    let foreign = foreign(&service);
    let (released, cooling) = bound("E-1", REAL);
    service.post(&format!("/v1/bindings/{released}/unbind"), &json!({}));
    let (_, expired) = bound("E-2", "+8613800001235");
    let end = "update binding set expires_at = now() - interval '1 hour' \
               where external_id = 'E-2'";
    assert_eq!(sql(&service, end).trim(), "UPDATE 1");
    let (suspended, resting) = bound("E-3", "+8613800001236");
    service.post(&format!("/v1/bindings/{suspended}/suspend"), &json!({}));
    let (_, known) = bound("E-4", "+8613800001237");

    let attempts = [
        ("4821", UNKNOWN, "404"),
        ("4821", &foreign, "404"),
        ("4821", &cooling, "404"),
        ("4821", &expired, "404"),
        ("4821", &resting, "403"),
        ("9999", &known, "403"),
    ];
    let refusals = thread::scope(|scope| {
        let call = |(user, x, _): (&'static str, &'_ str, &'static str)| {
            let x = x.to_owned();
            scope.spawn(move || is_refused(user, &x, service.sip))
        };
        let calls: Vec<_> = attempts.into_iter().map(call).collect();
        calls.into_iter().map(|call| call.join().expect("no panic")).collect::<Vec<_>>()
    });

    let words = Dictionary::built_in();
    for (refusal, (_, x, status)) in refusals.iter().zip(attempts) {
        let statuses: Vec<_> = refusal.seen.iter().map(|text| &text[8..11]).collect();
        assert_eq!(statuses, ["183", status], "{x}");
        let word = if status == "404" { "cannot-connect" } else { "not-permitted" };
        let heard = words.understand(&refusal.heard.sound());
        assert_eq!(heard, [format!("zh-CN {word}"), format!("zh-CN {word}")], "{x}");
    }
    let [unknown, others @ .., _, _] = refusals.as_slice() else { panic!("fewer attempts") };
    assert_eq!(others.len(), 3);
    for other in others {
        assert_eq!(other.seen, unknown.seen);
        assert_eq!(other.heard.sound(), unknown.heard.sound());
    }
    assert!(unknown.seen[0].contains("m RTP/AVP 8"), "{}", unknown.seen[0]);

    let records = service.records(attempts.len());
    let causes = records.iter().filter_map(|record| record["cause"].as_str());
    // Whoever clears away what is over may have come first.
    let cleared = |cause| if cause == "binding_expired" { "cooling" } else { cause };
    let mut causes: Vec<_> = causes.map(cleared).collect();
    causes.sort_unstable();
    let unknown = "number_unknown";
    let expected = ["agent_unknown", "binding_suspended", "cooling", "cooling", unknown, unknown];
    assert_eq!(causes, expected);
}
