//! Calls of a PBX over streams: mutual TLS with a certificate of its own, and TCP and TLS by IPv6.
//! sipp of Debian knows no TLS, so the PBX is written by hand; the carrier is sipp.

use std::net::SocketAddr;

use rustls::{ClientConnection, StreamOwned};
use serde_json::json;

use crate::certificates;
use crate::peers::{INSURER, free_port, until};
use crate::service::Service;
use crate::torture::header;
use crate::torture_streams::{Stream, connect, tls_terms};

const REAL: &str = "+8613800001234";
const IPV6: &str = "::1";
const NO_BODY: &str = "Content-Length: 0\r\n\r\n";

/// One connection, and what has come on it.
pub(crate) struct Line {
    stream: Box<dyn Stream>,
    heard: Vec<u8>,
}

impl Line {
    pub(crate) fn new(stream: impl Stream + 'static) -> Self {
        Self { stream: Box::new(stream), heard: Vec::new() }
    }

    pub(crate) fn send(&mut self, text: &str) -> Option<()> {
        self.stream.write_all(text.as_bytes()).and_then(|()| self.stream.flush()).ok()
    }

    /// The next message; `None` at the end of the stream.
    pub(crate) fn message(&mut self) -> Option<String> {
        loop {
            let text = String::from_utf8_lossy(&self.heard).into_owned();
            if let Some((head, rest)) = text.split_once("\r\n\r\n") {
                let length = header(head, &["content-length", "l"]).parse().expect("a length");
                if rest.len() >= length {
                    self.heard.drain(..head.len() + 4 + length);
                    return Some(text[..head.len() + 4 + length].to_owned());
                }
            }
            let mut buffer = [0; 4_096];
            let count = self.stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
            self.heard.extend_from_slice(&buffer[..count]);
        }
    }

    /// Whether something comes before the end.
    pub(crate) fn peek(&mut self) -> bool {
        let mut buffer = [0; 4_096];
        let count = self.stream.read(&mut buffer).unwrap_or(0);
        self.heard.extend_from_slice(&buffer[..count]);
        count > 0
    }

    /// The next message that starts so; others are passed over.
    pub(crate) fn expect(&mut self, start: &str) -> String {
        loop {
            let text = self.message().unwrap_or_else(|| panic!("waited for {start:?}"));
            if text.starts_with(start) {
                return text;
            }
        }
    }
}

/// The PBX.
pub(crate) struct Pbx {
    pub(crate) line: Line,
    /// As in Via.
    transport: &'static str,
    own: SocketAddr,
    relay: SocketAddr,
}

impl Pbx {
    fn by_tcp(from: &str, relay: SocketAddr) -> Self {
        let socket = connect(from, relay);
        let own = socket.local_addr().expect("bound");
        Self { line: Line::new(socket), transport: "TCP", own, relay }
    }

    pub(crate) fn by_tls(from: &str, relay: SocketAddr, certificate: Option<&str>) -> Self {
        let socket = connect(from, relay);
        let own = socket.local_addr().expect("bound");
        // The relay's certificate holds its addresses.
        let name = relay.ip().into();
        let tls = ClientConnection::new(tls_terms(certificate), name).expect("a connection");
        Self { line: Line::new(StreamOwned::new(tls, socket)), transport: "TLS", own, relay }
    }

    fn request(&self, method: &str, target: &str, to: &str, cseq: u32, rest: &str) -> String {
        let Self { transport, own, .. } = self;
        let number = if method == "ACK" { cseq - 1 } else { cseq };
        format!(
            "{method} {target} SIP/2.0\r\n\
             Via: SIP/2.0/{transport} {own};branch=z9hG4bKs{method}{cseq};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:4821@{own}>;tag=a\r\nTo: {to}\r\n\
             Call-ID: call-{port}\r\nCSeq: {number} {method}\r\n\
             Contact: <sip:4821@{own};transport={transport}>\r\n{rest}",
            port = own.port(),
        )
    }

    /// Whether it is served at all.
    pub(crate) fn is_heard(&mut self) -> bool {
        let target = format!("sip:{}", self.relay);
        let to = format!("<{target}>");
        let probe = self.request("OPTIONS", &target, &to, 1, "Content-Length: 0\r\n\r\n");
        let answer = self.line.send(&probe).and_then(|()| self.line.message());
        answer.is_some_and(|answer| answer.starts_with("SIP/2.0 200 "))
    }

    /// Calls X, is answered, and hangs up.
    fn call(&mut self, x: &str) {
        let family = if self.own.is_ipv6() { "IP6" } else { "IP4" };
        let ip = self.own.ip();
        let body = format!(
            "v=0\r\no=- 1 1 IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n\
             m=audio 40000 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n"
        );
        self.dial(x, &body);
        let answer = self.is_answered();
        self.hang_up(&answer);
    }

    /// Calls X with this offer.
    pub(crate) fn dial(&mut self, x: &str, body: &str) {
        let target = format!("sip:{x}@{}", self.relay);
        let to = format!("<{target}>");
        let rest = format!(
            "Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let invite = self.request("INVITE", &target, &to, 2, &rest);
        self.line.send(&invite).expect("an open connection");
    }

    /// The relay's answer, and the ACK for it.
    pub(crate) fn is_answered(&mut self) -> String {
        let answer = self.line.expect("SIP/2.0 200 ");
        let contact = header(&answer, &["contact"]);
        let target = contact.trim_start_matches('<').split('>').next().expect("a target");
        let transport = self.transport.to_lowercase();
        assert_eq!(target, format!("sip:{};transport={transport}", self.relay), "{contact}");
        let ack = self.request("ACK", target, &header(&answer, &["to"]), 3, NO_BODY);
        self.line.send(&ack).expect("an open connection");
        answer
    }

    pub(crate) fn hang_up(&mut self, answer: &str) {
        let target = format!("sip:{};transport={}", self.relay, self.transport.to_lowercase());
        let bye = self.request("BYE", &target, &header(answer, &["to"]), 4, NO_BODY);
        self.line.send(&bye).expect("an open connection");
        assert!(header(&self.line.expect("SIP/2.0 200 "), &["cseq"]).ends_with("BYE"));
    }
}

fn bound(service: &Service) -> String {
    let binding = service.bind("E-1", REAL);
    binding["virtual_number"].as_str().expect("a number").to_owned()
}

/// Every call so far was answered and ended by its caller.
fn are_on_record(service: &Service, count: usize) {
    for record in &service.records(count) {
        assert_eq!(record["cause"], "caller_hangup", "{record}");
        assert_eq!(record["sip_status"], 200);
    }
}

#[test]
fn a_pbx_with_its_certificate_calls_over_mutual_tls_and_every_other_is_refused() {
    let service = Service::start("mutual-tls");
    let x = bound(&service);
    let ca = std::fs::read_to_string(certificates::folder().join("root.pem"))
        .expect("a file of the tests");
    let terms = json!({"name": "tls", "transport": "tls", "tls_ca": ca, "tls_name": "pbx.test"});
    service.add_pbx(&terms);
    let open = |certificate| Pbx::by_tls(INSURER, service.sip_tls, certificate);
    until("the trunk", || open(Some("pbx")).is_heard().then_some(()));
    let mut carrier = service.answering_carrier(1);
    open(Some("pbx")).call(&x);
    carrier.succeeds();
    are_on_record(&service, 1);
    let others = [
        (None, "no certificate"),
        (Some("ended"), "its time is over"),
        (Some("impostor"), "of another root"),
        (Some("relay"), "of the root, with another name"),
        (Some("signer"), "of another purpose"),
    ];
    for (certificate, what) in others {
        assert!(!open(certificate).is_heard(), "{what}");
    }
    assert!(open(Some("pbx")).is_heard(), "nobody is harmed by that");
    let log = String::from_utf8_lossy(&service.log()).into_owned();
    let lines = log.matches("sip_connection_refused").count();
    assert_eq!(lines, others.len(), "each has its line in the security log");
}

#[test]
fn a_pbx_calls_over_tcp_and_tls_of_ipv6() {
    let [tcp, tls] =
        [(); 2].map(|()| SocketAddr::new(IPV6.parse().expect("an address"), free_port(IPV6)));
    let listeners = format!(", \"tcp:{tcp}\", \"tls:{tls}\"");
    let service = Service::start_on("streams-ipv6", "", &listeners);
    let x = bound(&service);
    let at = json!({"source_networks": [IPV6], "targets": ["[::1]:5060"]});
    for transport in ["tcp", "tls"] {
        let mut terms = at.clone();
        terms["name"] = json!(transport);
        terms["transport"] = json!(transport);
        service.add_pbx(&terms);
    }
    let by_tcp = || Pbx::by_tcp(IPV6, tcp);
    let by_tls = || Pbx::by_tls(IPV6, tls, None);
    until("the trunks", || (by_tcp().is_heard() && by_tls().is_heard()).then_some(()));
    let mut carrier = service.answering_carrier(2);
    by_tcp().call(&x);
    by_tls().call(&x);
    carrier.succeeds();
    are_on_record(&service, 2);
}
