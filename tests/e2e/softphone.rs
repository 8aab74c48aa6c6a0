//! An agent's softphone: baresip registers over TLS with the login that the API has made, and
//! calls a subscriber.

use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;

use serde_json::{Value, json};

use crate::certificates;
use crate::peers::{MEDIA, Process, module_folder, until};
use crate::service::Service;
use crate::sound;

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

    let folder = service.folder.join("softphone");
    fs::create_dir_all(&folder).expect("a writable folder");
    let tone = folder.join("tone.wav");
    sound::write_tone(&tone, 440, 30);
    let control = free_tcp_address();
    let config = format!(
        "module_path {}\nmodule g711.so\nmodule aufile.so\nmodule_app account.so\n\
         module_app menu.so\nmodule_app ctrl_tcp.so\nctrl_tcp_listen {control}\n\
         net_interface {MEDIA}\naudio_source aufile,{}\n\
         sip_cafile {}/root.pem\n",
        module_folder(),
        tone.display(),
        certificates::folder().display(),
    );
    fs::write(folder.join("config"), config).expect("a writable folder");
    fs::write(folder.join("contacts"), "").expect("a writable folder");
    let account = format!(
        "<sip:{user}@{0};transport=tls>;auth_user={user};auth_pass={password};regint=60;\
         audio_codecs=PCMA\n",
        service.sip_tls
    );
    fs::write(folder.join("accounts"), account).expect("a writable folder");
    let mut command = Command::new("baresip");
    command.arg("-s").arg("-f").arg(&folder);
    let mut phone = Process::start(command, folder.join("out"));
    phone.await_words("200 OK");
    order(control, "dial", &format!("sip:{x}@{};transport=tls", service.sip_tls));
    phone.await_words("Call established");
    order(control, "hangup", "");
    carrier.succeeds();
    let record = service.records(1)[0].clone();
    assert_eq!(record["agent_id"], agent.as_str(), "{record}");
    assert_eq!(record["cause"], "caller_hangup");
    let seen = fs::read_to_string(&carrier.messages).expect("sipp's messages");
    assert!(!seen.contains(&user), "the callee sees the agent's login");
}

fn free_tcp_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address")
}

/// One command by baresip's control socket, as a netstring of JSON.
fn order(control: SocketAddr, command: &str, params: &str) {
    let order = json!({"command": command, "params": params}).to_string();
    let mut socket = until("baresip's control", || TcpStream::connect(control).ok());
    write!(socket, "{}:{order},", order.len()).expect("taken");
    // baresip takes one client at a time: the next order is another connection.
    drop(socket);
}
