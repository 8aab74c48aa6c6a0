//! Phones of another SIP stack, rsipstack, on both sides of the running binary.
//! `tests/differential` makes them; `scripts/test --long` does that first.

use std::env;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::peers::{INSURER, Process, free_port, until};
use crate::service::Service;

const REAL: &str = "+8613800001234";
/// Where `cargo build --example phone` puts it.
const PHONE: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/target/differential/debug/examples/phone");

fn phone(service: &Service, name: &str, arguments: &[&str]) -> Process {
    let file = env::var("MASKLINE_PHONE").unwrap_or_else(|_| PHONE.to_owned());
    assert!(Path::new(&file).is_file(), "{file} is missing; `scripts/test --long` builds it");
    let mut command = Command::new(file);
    command.args(arguments);
    Process::start(command, service.folder.join(name))
}

#[test]
#[ignore = "needs the phone of tests/differential; scripts/test --long builds it"]
fn phones_of_another_stack_call_hold_resume_and_hang_up() {
    let service = Service::start("second-peer");
    let binding = service.bind("E-1", REAL);
    let x = binding["virtual_number"].as_str().expect("a number").to_owned();
    let carrier = service.sides.carrier.to_string();
    let mut subscriber = phone(&service, "subscriber", &["answer", &carrier]);
    until("the subscriber's port", || {
        std::net::UdpSocket::bind(service.sides.carrier).err().map(|_| ())
    });
    let own = SocketAddr::new(service.sides.insurer.ip(), free_port(INSURER)).to_string();
    let relay = service.sip.to_string();
    let mut agent = phone(&service, "agent", &["call", &own, &relay, "4821", &x]);
    agent.succeeds();
    subscriber.succeeds();
    assert_eq!(agent.text(), "answered\nheld\nresumed\nkey sent\nhung up\n");
    assert_eq!(subscriber.text(), "answered\nheld by INVITE\nresumed by INVITE\nended\n");
    let record = service.records(1)[0].clone();
    assert_eq!(record["cause"], "caller_hangup", "{record}");
}
