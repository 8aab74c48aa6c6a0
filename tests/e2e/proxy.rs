//! Kamailio as a record-routing proxy between the insurer's PBX and the relay, and between the
//! relay and the carrier.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;

use rustix::process::Signal;

use crate::peers::{INSURER, Process, Scenario, Sipp, free_port, until};
use crate::service::Service;

const REAL: &str = "+8613800001234";
const BEHIND: &str = "127.0.0.6";

/// Kamailio with its workers: a kill would leave them behind, so it is asked to end.
struct Kamailio(Process);

impl Drop for Kamailio {
    fn drop(&mut self) {
        self.0.signal(Signal::TERM);
        self.0.wait();
    }
}

/// It stays in the path of each dialog. What is not routed yet goes to the relay, and what comes
/// from the relay to whoever is `behind` it.
fn kamailio(service: &Service, address: SocketAddr, behind: SocketAddr) -> Kamailio {
    let config = format!(
        "children=1\nfork=yes\nlog_stderror=yes\nlisten=udp:{address}\nauto_aliases=no\n\
         loadmodule \"tm.so\"\nloadmodule \"sl.so\"\nloadmodule \"rr.so\"\nloadmodule \"pv.so\"\n\
         loadmodule \"siputils.so\"\n\
         request_route {{\n\
         if (has_totag()) {{ if (loose_route()) {{ t_relay(); }} exit; }}\n\
         record_route();\n\
         if ($si == \"{}\" && $sp == {}) {{ $du = \"sip:{behind}\"; }}\n\
         else {{ $du = \"sip:{}\"; }}\n\
         t_relay();\n}}\n",
        service.sip.ip(),
        service.sip.port(),
        service.sip
    );
    let file = service.folder.join("kamailio.cfg");
    fs::write(&file, config).expect("a writable folder");
    let mut command = Command::new("kamailio");
    command.args(["-DD", "-E", "-m", "64", "-M", "8", "-f"]).arg(&file);
    command.arg("-Y").arg(&service.folder).arg("-P").arg(service.folder.join("kamailio.pid"));
    let process = Process::start(command, service.folder.join("kamailio.log"));
    let kamailio = Kamailio(process);
    until("Kamailio's port", || UdpSocket::bind(address).err().map(|_| ()));
    kamailio
}

/// One of the parties, at this address.
fn party<'a>(file: &'a str, local: SocketAddr, remote: Option<SocketAddr>) -> Scenario<'a> {
    Scenario { file, status: "", local, remote, fields: "", calls: 5, calls_per_second: 5 }
}

fn are_on_record(service: &Service, count: usize) {
    for record in service.records(count) {
        assert_eq!(record["cause"], "caller_hangup", "{record}");
        assert_eq!(record["sip_status"], 200);
    }
}

fn read(sipp: &Sipp) -> String {
    fs::read_to_string(&sipp.messages).expect("sipp's messages")
}

#[test]
fn a_pbx_behind_a_record_routing_proxy_reaches_the_subscriber() {
    let service = Service::start("proxy");
    let binding = service.bind("E-1", REAL);
    let x = binding["virtual_number"].as_str().expect("a number").to_owned();
    let insurer = || SocketAddr::new(service.sides.insurer.ip(), free_port(INSURER));
    let (proxy, local) = (insurer(), insurer());
    let _kamailio = kamailio(&service, proxy, local);
    let mut carrier =
        Sipp::start(&service.folder, &party("answers.xml", service.sides.carrier, None));
    let fields = format!("4821;{x}");
    let calling = party("agent_calls_routed.xml", local, Some(proxy));
    let mut pbx = Sipp::start(&service.folder, &Scenario { fields: &fields, ..calling });
    pbx.succeeds();
    carrier.succeeds();
    are_on_record(&service, 5);
    let messages = read(&pbx);
    let route = format!("Route: <sip:{proxy};lr");
    // The answers bring the route back, and ACK and BYE carry it.
    assert!(messages.contains(&format!("Record-{route}")), "our answers have lost the route");
    assert!(messages.contains(&format!("\n{route}")), "the dialog's requests have no route");
}

#[test]
fn a_carrier_behind_a_record_routing_proxy_is_reached_and_reaches_the_desk() {
    let service = Service::start("carrier-proxy");
    let binding = service.bind("E-1", REAL);
    let x = binding["virtual_number"].as_str().expect("a number").to_owned();
    let proxy = service.sides.carrier;
    // In no trunk: the relay would neither hear it nor send there but for the route.
    let behind = SocketAddr::new(BEHIND.parse().expect("an address"), free_port(BEHIND));
    let _kamailio = kamailio(&service, proxy, behind);
    let mut carrier = Sipp::start(&service.folder, &party("answers.xml", behind, None));
    let local = SocketAddr::new(service.sides.insurer.ip(), free_port(INSURER));
    let fields = format!("4821;{x}");
    let calling = party("agent_calls.xml", local, Some(service.sip));
    Sipp::start(&service.folder, &Scenario { fields: &fields, ..calling }).succeeds();
    carrier.succeeds();
    are_on_record(&service, 5);
    let messages = read(&carrier);
    for method in ["ACK", "BYE"] {
        let request = messages.find(&format!("{method} sip:")).expect(method);
        let head = messages[request..].split("\n\n").next().expect("a message");
        assert!(head.contains(&format!("Via: SIP/2.0/UDP {proxy}")), "not by the proxy: {head}");
    }
    drop(carrier);

    let mut desk = Sipp::start(&service.folder, &party("answers.xml", service.sides.insurer, None));
    let fields = format!("13800001234;{x}");
    let calling = party("agent_calls_routed.xml", behind, Some(proxy));
    Sipp::start(&service.folder, &Scenario { fields: &fields, ..calling }).succeeds();
    desk.succeeds();
    are_on_record(&service, 10);
    assert!(!read(&desk).contains(&proxy.to_string()), "the desk sees the carrier's proxy");
}
