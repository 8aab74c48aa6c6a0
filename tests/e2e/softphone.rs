//! An agent's softphone: baresip registers over TLS with the login that the API has made, and
//! calls a subscriber.

use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};

use serde_json::{Value, json};

use crate::certificates;
use crate::peers::{Softphone, free_port, until};
use crate::service::Service;

const REAL: &str = "+8613800001234";

/// Agent, user name and password of a login that the API makes.
pub(crate) fn login(service: &Service) -> (String, String, String) {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let agent = text(&service.get("/v1/agents")["data"][0]["id"]);
    let login = service.administer(&format!("/v1/agents/{agent}/sip-login"), &json!({}));
    (agent, text(&login["username"]), text(&login["password"]))
}

#[test]
fn a_softphone_registers_over_tls_and_calls_as_its_agent() {
    let service =
        Service::start_with("softphone", "softphones = \"tls\"\nsoftphone_digest = \"md5\"\n");
    let binding = service.bind("E-1", REAL);
    let x = binding["virtual_number"].as_str().expect("a number").to_owned();
    let (agent, user, password) = login(&service);
    let mut carrier = service.answering_carrier(1);

    let (mut phone, control) = register(&service, &user, &password, 440, "");
    order(control, "dial", &format!("sip:{x}@{};transport=tls", service.sip_tls));
    phone.process.await_words("Call established");
    order(control, "hangup", "");
    carrier.succeeds();
    let record = service.records(1)[0].clone();
    assert_eq!(record["agent_id"], agent.as_str(), "{record}");
    assert_eq!(record["cause"], "caller_hangup");
    let seen = fs::read_to_string(&carrier.messages).expect("sipp's messages");
    assert!(!seen.contains(&user), "the callee sees the agent's login");
}

/// A softphone that has registered over TLS, and its control. `srtp`: what its account says of
/// encrypted media.
pub(crate) fn register(
    service: &Service,
    user: &str,
    password: &str,
    hz: u32,
    srtp: &str,
) -> (Softphone, SocketAddr) {
    let control = free_tcp_address();
    let config = format!(
        "module srtp.so\nmodule_app ctrl_tcp.so\nctrl_tcp_listen {control}\n\
         sip_cafile {}/root.pem\n",
        certificates::folder().display(),
    );
    let account = format!(
        "<sip:{user}@{0};transport=tls>;auth_user={user};auth_pass={password};regint=60;\
         audio_codecs=PCMA{srtp}\n",
        service.sip_tls
    );
    let folder = service.folder.join("softphone");
    let mut phone = Softphone::launch(folder, hz, &config, &account, &[]);
    phone.process.await_words("200 OK");
    (phone, control)
}

pub(crate) fn free_tcp_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port("127.0.0.1")))
}

/// One command by baresip's control socket, as a netstring of JSON.
pub(crate) fn order(control: SocketAddr, command: &str, params: &str) {
    let order = json!({"command": command, "params": params}).to_string();
    let mut socket = until("baresip's control", || TcpStream::connect(control).ok());
    write!(socket, "{}:{order},", order.len()).expect("taken");
    // baresip takes one client at a time: the next order is another connection.
    drop(socket);
}
