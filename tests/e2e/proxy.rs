//! Kamailio as a record-routing proxy between the insurer's PBX and the relay.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;

use rustix::process::Signal;

use crate::peers::{INSURER, Process, Scenario, Sipp, free_port, until};
use crate::service::Service;

const REAL: &str = "+8613800001234";

/// Kamailio with its workers: a kill would leave them behind, so it is asked to end.
struct Kamailio(Process);

impl Drop for Kamailio {
    fn drop(&mut self) {
        self.0.signal(Signal::TERM);
        self.0.wait();
    }
}

/// It stays in the path of each dialog, and sends what is not routed yet to the relay.
fn kamailio(service: &Service, address: SocketAddr) -> Kamailio {
    let config = format!(
        "children=1\nfork=yes\nlog_stderror=yes\nlisten=udp:{address}\nauto_aliases=no\n\
         loadmodule \"tm.so\"\nloadmodule \"sl.so\"\nloadmodule \"rr.so\"\nloadmodule \"pv.so\"\n\
         loadmodule \"siputils.so\"\n\
         request_route {{\n\
         if (has_totag()) {{ if (loose_route()) {{ t_relay(); }} exit; }}\n\
         record_route();\n$du = \"sip:{}\";\nt_relay();\n}}\n",
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

#[test]
fn a_pbx_behind_a_record_routing_proxy_reaches_the_subscriber() {
    let service = Service::start("proxy");
    let binding = service.bind("E-1", REAL);
    let x = binding["virtual_number"].as_str().expect("a number").to_owned();
    let proxy = SocketAddr::new(service.sides.insurer.ip(), free_port(INSURER));
    let _kamailio = kamailio(&service, proxy);
    let scenario = |file, local, remote, fields| Scenario {
        file,
        status: "",
        local,
        remote,
        fields,
        calls: 5,
        calls_per_second: 5,
    };
    let waiting = scenario("answers.xml", service.sides.carrier, None, "");
    let mut carrier = Sipp::start(&service.folder, &waiting);
    let fields = format!("4821;{x}");
    let local = SocketAddr::new(service.sides.insurer.ip(), free_port(INSURER));
    let calling = scenario("agent_calls_routed.xml", local, Some(proxy), &fields);
    let mut pbx = Sipp::start(&service.folder, &calling);
    pbx.succeeds();
    carrier.succeeds();
    for record in service.records(5) {
        assert_eq!(record["cause"], "caller_hangup", "{record}");
    }
    let messages = fs::read_to_string(&pbx.messages).expect("sipp's messages");
    let route = format!("Route: <sip:{proxy};lr");
    // The answers bring the route back, and ACK and BYE carry it.
    assert!(messages.contains(&format!("Record-{route}")), "our answers have lost the route");
    assert!(messages.contains(&format!("\n{route}")), "the dialog's requests have no route");
}
