//! A subscriber uses the menu by the keys of its phone, and the next call of an agent is refused.

use std::net::SocketAddr;

use crate::peers::{CARRIER, INSURER, Scenario, Sipp, free_port};
use crate::service::Service;

const REAL: &str = "+8613800001234";

#[test]
fn a_subscriber_who_reaches_a_busy_desk_pauses_calls_and_no_agent_gets_through() {
    let service = Service::start_with_menu("menu");
    let binding = service.bind("E-1", REAL);
    let x = binding["virtual_number"].as_str().expect("a number").to_owned();
    let party = |file, local, remote, fields, status| Scenario {
        file,
        status,
        local,
        remote,
        fields,
        calls: 1,
        calls_per_second: 10,
    };
    let desk = service.sides.insurer;
    let mut busy = Sipp::start(&service.folder, &party("busy.xml", desk, None, "", ""));
    let fields = format!("13800001234;{x}");
    let phone = SocketAddr::new(service.sides.carrier.ip(), free_port(CARRIER));
    let menu = party("subscriber_menu.xml", phone, Some(service.sip), &fields, "");
    Sipp::start(&service.folder, &menu).succeeds();
    busy.succeeds();
    let used = &service.records(1)[0];
    assert_eq!(used["cause"], "caller_hangup", "{used}");
    assert_eq!((&used["reasons"][0], &used["marks"][0]), (&"busy".into(), &"menu".into()));
    let fields = format!("4821;{x}");
    let pbx = SocketAddr::new(desk.ip(), free_port(INSURER));
    let refused = party("agent_refused.xml", pbx, Some(service.sip), &fields, "403");
    Sipp::start(&service.folder, &refused).succeeds();
    assert_eq!(service.records(2)[0]["cause"], "paused");
    let log = String::from_utf8(service.log()).expect("text");
    assert!(!log.contains("13800001234"), "the log names the subscriber's number");
}
