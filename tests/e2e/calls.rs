//! Calls between sipp as the insurer's PBX and sipp as the carrier.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use maskline::cli::demo::leak::Canary;
use serde_json::json;

use crate::peers::{CARRIER, INSURER, STRANGER, Scenario, Sipp, free_port};
use crate::service::Service;

const REAL: &str = "+8613800001234";

/// In every spelling that a leak may have.
fn real() -> Canary {
    Canary::new("86", "13800001234")
}

/// An agent's attempts on X, from the tenant's PBX.
fn agent<'a>(service: &Service, file: &'a str, fields: &'a str, status: &'a str) -> Scenario<'a> {
    Scenario {
        file,
        status,
        local: SocketAddr::new(service.sides.insurer.ip(), free_port(INSURER)),
        remote: Some(service.sip),
        fields,
        calls: 1,
        calls_per_second: 10,
    }
}

/// A peer that waits for calls at its trunk's address.
fn waiting(file: &str, local: SocketAddr, calls: u32) -> Scenario<'_> {
    Scenario { file, status: "", local, remote: None, fields: "", calls, calls_per_second: 10 }
}

#[test]
fn agents_reach_the_subscriber_and_every_call_is_on_record() {
    let service = Service::start("agents");
    let binding = service.bind("E-1", REAL);
    let x = binding["virtual_number"].as_str().expect("a number").to_owned();
    let mut carrier =
        Sipp::start(&service.folder, &waiting("answers.xml", service.sides.carrier, 20));
    let fields = format!("4821;{x}");
    let scenario = Scenario { calls: 20, ..agent(&service, "agent_calls.xml", &fields, "") };
    let mut pbx = Sipp::start(&service.folder, &scenario);
    pbx.succeeds();
    carrier.succeeds();
    let records = service.records(20);
    assert_eq!(records.len(), 20);
    for record in &records {
        assert_eq!(record["cause"], "caller_hangup", "{record}");
        assert_eq!(record["direction"], "to_subscriber");
        assert_eq!(record["virtual_number"], x.as_str());
        assert_eq!(record["sip_status"], 200);
    }
    let dialled = fs::read_to_string(&carrier.messages).expect("sipp's messages");
    assert!(dialled.contains("13800001234"), "the carrier was not told whom to call");
    assert!(dialled.contains(&format!("<sip:{x}@")), "the callee does not see X");
    assert!(!dialled.contains("sip:4821"), "the callee sees the agent's extension");
    assert_ne!(carrier.search(&real()), [], "the scan sees nothing");
    assert_eq!(pbx.search(&real()), [], "the PBX sees the real number");
}

#[test]
fn a_busy_subscriber_an_unknown_number_and_an_unknown_agent_are_refused_by_cause() {
    let service = Service::start("refusals");
    let binding = service.bind("E-1", REAL);
    let x = binding["virtual_number"].as_str().expect("a number").to_owned();
    let mut carrier = Sipp::start(&service.folder, &waiting("busy.xml", service.sides.carrier, 1));
    let [known, unknown, nobody] =
        [format!("4821;{x}"), "4821;17000000009".to_owned(), format!("9999;{x}")];
    for (fields, status) in [(&known, "486"), (&unknown, "404"), (&nobody, "403")] {
        let scenario = agent(&service, "agent_refused.xml", fields, status);
        let mut pbx = Sipp::start(&service.folder, &scenario);
        pbx.succeeds();
        assert_eq!(pbx.search(&real()), [], "the PBX sees the real number");
    }
    carrier.succeeds();
    let records = service.records(3);
    let causes: Vec<_> = records.iter().filter_map(|record| record["cause"].as_str()).collect();
    for cause in ["busy", "number_unknown", "agent_unknown"] {
        assert!(causes.contains(&cause), "{cause} is missing: {causes:?}");
    }
}

#[test]
fn an_unbound_number_is_dead_at_once() {
    let service = Service::start("unbound");
    let binding = service.bind("E-1", REAL);
    let fields = format!("4821;{}", binding["virtual_number"].as_str().expect("a number"));
    let mut carrier =
        Sipp::start(&service.folder, &waiting("answers.xml", service.sides.carrier, 1));
    Sipp::start(&service.folder, &agent(&service, "agent_calls.xml", &fields, "")).succeeds();
    carrier.succeeds();
    let id = binding["id"].as_str().expect("an id");
    let unbound = service.post(&format!("/v1/bindings/{id}/unbind"), &json!({}));
    assert_eq!(unbound["state"], "released");
    let refused = agent(&service, "agent_refused.xml", &fields, "404");
    Sipp::start(&service.folder, &refused).succeeds();
}

#[test]
fn the_subscriber_reaches_the_desk_and_the_desk_sees_only_x() {
    let service = Service::start("desk");
    let binding = service.bind("E-1", REAL);
    let x = binding["virtual_number"].as_str().expect("a number").to_owned();
    let mut desk = Sipp::start(&service.folder, &waiting("answers.xml", service.sides.insurer, 3));
    let fields = format!("13800001234;{x}");
    let scenario = Scenario {
        file: "subscriber_calls.xml",
        local: SocketAddr::new(service.sides.carrier.ip(), free_port(CARRIER)),
        calls: 3,
        ..agent(&service, "", &fields, "")
    };
    Sipp::start(&service.folder, &scenario).succeeds();
    desk.succeeds();
    let seen = fs::read_to_string(&desk.messages).expect("sipp's messages");
    assert!(seen.contains(&format!("<sip:{x}@")), "the desk does not see X");
    assert_eq!(desk.search(&real()), [], "the desk sees the real number");
    assert_eq!(service.records(3)[0]["direction"], "from_subscriber");
}

#[test]
fn a_dead_carrier_is_passed_over() {
    let service = Service::start("failover");
    let nobody = format!("127.0.0.5:{}", free_port("127.0.0.5"));
    let dead = json!({
        "name": "dead", "role": "carrier", "priority": 1,
        "source_networks": ["127.0.0.5"], "targets": [nobody],
    });
    let dead = service.operate("/v1/trunks", &dead)["id"].clone();
    let trunks = json!([dead, service.made.carrier_trunk]);
    let pool = json!({"name": "two carriers", "class": "mobile", "trunks": trunks});
    let pool = service.operate("/v1/pools", &pool)["id"].clone();
    let import = json!({"pool": pool, "numbers": ["17000000100"]});
    service.operate("/v1/numbers:import", &import);
    let binding = service.bind_from(pool.as_str().expect("an id"), "E-1", REAL);
    assert_eq!(binding["virtual_number"], "17000000100");
    let mut carrier =
        Sipp::start(&service.folder, &waiting("answers.xml", service.sides.carrier, 1));
    let scenario = agent(&service, "agent_calls.xml", "4821;17000000100", "");
    Sipp::start(&service.folder, &scenario).succeeds();
    carrier.succeeds();
    assert_eq!(service.records(1)[0]["cause"], "caller_hangup");
}

#[test]
fn a_stranger_hears_nothing() {
    let service = Service::start("stranger");
    let socket = UdpSocket::bind((STRANGER, 0)).expect("a free port");
    let options = format!(
        "OPTIONS sip:{0} SIP/2.0\r\nVia: SIP/2.0/UDP {1};branch=z9hG4bKstranger;rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:a@{1}>;tag=1\r\nTo: <sip:{0}>\r\nCall-ID: s@{1}\r\n\
         CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n",
        service.sip,
        socket.local_addr().expect("an address")
    );
    for bytes in [options.as_bytes(), b"\x00\xff garbage", b"REGISTER sip:x SIP/2.0\r\n\r\n"] {
        socket.send_to(bytes, service.sip).expect("loopback");
    }
    socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout");
    let mut buffer = [0; 2048];
    assert!(socket.recv_from(&mut buffer).is_err(), "a stranger got an answer");
    // The same question from a trunk is answered: the silence was meant.
    let trusted = UdpSocket::bind((INSURER, 0)).expect("a free port");
    trusted.send_to(options.as_bytes(), service.sip).expect("loopback");
    trusted.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    let (length, _) = trusted.recv_from(&mut buffer).expect("an answer");
    assert!(buffer[..length].starts_with(b"SIP/2.0 200"), "OPTIONS was not answered 200");
}
