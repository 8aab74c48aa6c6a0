//! A carrier that is reached by TLS: the relay is the client, shows its certificate, and checks the
//! carrier's. sipp of Debian knows no TLS, so the carrier is written by hand; the PBX is sipp.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::certificates;
use crate::peers::{CARRIER, INSURER, PATIENCE, Scenario, Sipp, free_port};
use crate::service::Service;
use crate::streams::Line;
use crate::torture::header;

const REAL: &str = "+8613800001234";
const X: &str = "17000000100";

/// The terms of a carrier with this certificate of the tests, that wants to see one too.
fn terms(certificate: &str) -> Arc<ServerConfig> {
    let file = |name: &str| fs::read(certificates::folder().join(name)).expect("of the tests");
    let read = |name: &str| {
        let pem = file(name);
        let chain = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
        chain.expect("certificates")
    };
    let mut roots = RootCertStore::empty();
    for root in read("root.pem") {
        roots.add(root).expect("a root");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider));
    let key = PrivateKeyDer::from_pem_slice(&file(&format!("{certificate}.key"))).expect("a key");
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier.build().expect("a root"))
        .with_single_cert(read(&format!("{certificate}.pem")), key);
    Arc::new(config.expect("they fit"))
}

/// The next connection of the relay, with its handshake done; `None` when it does not agree.
fn accept(listener: &TcpListener, certificate: &str) -> Option<Line> {
    let (mut socket, from) = listener.accept().expect("a connection");
    assert!(from.ip().is_loopback());
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket option");
    let mut tls = ServerConnection::new(terms(certificate)).expect("terms");
    while tls.is_handshaking() {
        tls.complete_io(&mut socket).ok()?;
    }
    assert!(tls.peer_certificates().is_some(), "the relay has shown no certificate");
    let mut line = Line::new(StreamOwned::new(tls, socket));
    // A client of TLS 1.3 says only now that it does not like the certificate.
    line.peek().then_some(line)
}

/// An answer to this request.
fn answer(request: &str, status: &str, own: SocketAddr, more: &str, body: &str) -> String {
    let [via, from, to, call_id, cseq] = ["via", "from", "to", "call-id", "cseq"]
        .map(|name| header(request.split("\r\n\r\n").next().unwrap_or_default(), &[name]));
    let to = if to.contains(";tag=") { to } else { format!("{to};tag=tls") };
    format!(
        "SIP/2.0 {status}\r\nVia: {via}\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\n\
         CSeq: {cseq}\r\nContact: <sip:{own};transport=tls>\r\n{more}\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Takes one call and waits for its end; all that was heard.
fn serve(line: &mut Line, own: SocketAddr) -> Vec<String> {
    let invite = line.expect("INVITE ");
    let ip = own.ip();
    let body = format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
         m=audio 40000 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n"
    );
    let sdp = "Content-Type: application/sdp\r\n";
    line.send(&answer(&invite, "180 Ringing", own, "", "")).expect("an open connection");
    line.send(&answer(&invite, "200 OK", own, sdp, &body)).expect("an open connection");
    let ack = line.expect("ACK ");
    let bye = line.expect("BYE ");
    line.send(&answer(&bye, "200 OK", own, "", "")).expect("an open connection");
    vec![invite, ack, bye]
}

/// Binds a policy to a number whose calls leave by that carrier.
pub(crate) fn bind_by_tls(service: &Service, target: SocketAddr, more: &Value) {
    let ca = fs::read_to_string(certificates::folder().join("root.pem")).expect("a file");
    let mut trunk = json!({
        "name": "tls", "role": "carrier", "transport": "tls", "source_networks": [CARRIER],
        "targets": [target], "tls_ca": ca,
    });
    for (field, value) in more.as_object().expect("fields") {
        trunk[field] = value.clone();
    }
    let trunk = service.operate("/v1/trunks", &trunk)["id"].clone();
    let pool = json!({"name": "by tls", "class": "mobile", "trunks": [trunk]});
    let pool = service.operate("/v1/pools", &pool)["id"].clone();
    service.operate("/v1/numbers:import", &json!({"pool": pool, "numbers": [X]}));
    let binding = service.bind_from(pool.as_str().expect("an id"), "E-1", REAL);
    assert_eq!(binding["virtual_number"], X);
}

/// Agent 4821 dials X and hears this status at the end, or talks and hangs up.
fn dial(service: &Service, file: &str, status: &str) -> Sipp {
    let local = SocketAddr::new(service.sides.insurer.ip(), free_port(INSURER));
    let fields = format!("4821;{X}");
    let remote = Some(service.sip);
    let scenario =
        Scenario { file, status, local, remote, fields: &fields, calls: 1, calls_per_second: 1 };
    Sipp::start(&service.folder, &scenario)
}

#[test]
fn a_carrier_over_mutual_tls_is_called_and_one_connection_serves_all_calls() {
    let service = Service::start("tls-carrier");
    let listener = TcpListener::bind((CARRIER, 0)).expect("a free port");
    let own = listener.local_addr().expect("bound");
    bind_by_tls(&service, own, &json!({"tls_name": "carrier.test"}));
    let carrier = thread::spawn(move || {
        let mut line = accept(&listener, "carrier").expect("the relay trusts the carrier");
        let heard = [serve(&mut line, own), serve(&mut line, own)].concat();
        listener.set_nonblocking(true).expect("a socket option");
        assert!(listener.accept().is_err(), "a second connection was opened");
        heard
    });
    for _ in 0..2 {
        dial(&service, "agent_calls.xml", "").succeeds();
    }
    let heard = carrier.join().expect("the carrier is content");
    for record in service.records(2) {
        assert_eq!(record["cause"], "caller_hangup", "{record}");
        assert_eq!(record["sip_status"], 200);
    }
    let invite = &heard[0];
    assert!(invite.contains("13800001234"), "the carrier was not told whom to call");
    assert!(header(invite, &["via"]).starts_with("SIP/2.0/TLS "), "{invite}");
    let contact = header(invite, &["contact"]);
    assert_eq!(contact, format!("<sip:{};transport=tls>", service.sip_tls), "{invite}");
}

#[test]
fn a_carrier_whose_certificate_does_not_fit_is_told_nothing() {
    let service = Service::start("tls-carrier-refused");
    let listener = TcpListener::bind((CARRIER, 0)).expect("a free port");
    let own = listener.local_addr().expect("bound");
    bind_by_tls(&service, own, &json!({"tls_name": "carrier.test"}));
    for certificate in ["impostor", "pbx"] {
        let mut pbx = dial(&service, "agent_refused.xml", "503");
        assert!(accept(&listener, certificate).is_none(), "{certificate} was trusted");
        pbx.succeeds();
    }
    let log = String::from_utf8_lossy(&service.log()).into_owned();
    assert!(!log.contains("panicked at"), "something panicked; see the log");
}
