//! The torture messages of RFC 4475 and RFC 5118 over TCP and TLS against the running binary: each
//! is answered as its table allows or its connection is closed, and OPTIONS still works after each.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use maskline::cli::demo::leak::Canary;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::json;
use socket2::{Domain, Socket, Type};

use crate::certificates;
use crate::peers::{INSURER, STRANGER};
use crate::service::Service;
use crate::torture::{Case, FINAL_TIME_MAX, NATIONAL, PROBE_TIME_MAX, cases, header};

/// How long one look at a connection takes.
const LOOK: Duration = Duration::from_millis(5);

/// In the name of every probe, which its answer repeats: the search must see it there.
const ECHOED: &str = "13800007317";

/// A stream of either kind.
pub(crate) trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// Opens a connection from this address.
pub(crate) fn connect(from: &str, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).expect("a socket");
    let from = SocketAddr::new(from.parse().expect("an address"), 0);
    socket.bind(&from.into()).expect("a loopback address");
    socket.connect(&to.into()).expect("a listener");
    socket.set_read_timeout(Some(FINAL_TIME_MAX)).expect("a socket option");
    socket.into()
}

/// A client that trusts the root of the tests, with this certificate of theirs or none.
pub(crate) fn tls_terms(certificate: Option<&str>) -> Arc<ClientConfig> {
    let file =
        |name: &str| std::fs::read(certificates::folder().join(name)).expect("a file of the tests");
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
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    Arc::new(match certificate {
        None => builder.with_no_client_auth(),
        Some(name) => {
            let key = PrivateKeyDer::from_pem_slice(&file(&format!("{name}.key")));
            let chain = read(&format!("{name}.pem"));
            builder.with_client_auth_cert(chain, key.expect("a key")).expect("they fit")
        }
    })
}

fn options(number: usize) -> (String, Vec<u8>) {
    let mark = format!("probe-{ECHOED}-{number}");
    let text = format!(
        "OPTIONS sip:relay SIP/2.0\r\nVia: SIP/2.0/TCP {INSURER};branch=z9hG4bK{mark};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:p@{INSURER}>;tag=p{number}\r\nTo: <sip:relay>\r\n\
         Call-ID: {mark}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    );
    (mark, text.into_bytes())
}

/// A stream cannot do without a length (RFC 3261 §18.3): one message has none.
fn framed(case: &Case) -> Vec<u8> {
    let Some(end) = case.bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return case.bytes.clone();
    };
    let (head, body) = case.bytes.split_at(end);
    let has_length = String::from_utf8_lossy(head).lines().any(|line| {
        let name = line.split(':').next().unwrap_or_default().trim();
        name.eq_ignore_ascii_case("content-length") || name.eq_ignore_ascii_case("l")
    });
    if has_length {
        return case.bytes.clone();
    }
    [head, format!("\r\nContent-Length: {}", body.len() - 4).as_bytes(), body].concat()
}

/// What has come on a connection.
#[derive(Default)]
struct Heard {
    bytes: Vec<u8>,
    is_closed: bool,
}

impl Heard {
    fn listen(&mut self, stream: &mut dyn Stream) {
        let mut buffer = [0; 65_536];
        match stream.read(&mut buffer) {
            Ok(0) => self.is_closed = true,
            Ok(count) => self.bytes.extend_from_slice(&buffer[..count]),
            Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {}
            Err(_) => self.is_closed = true,
        }
    }

    /// Status and `Call-ID` of every answer.
    fn answers(&self) -> Vec<(u16, String)> {
        let text = String::from_utf8_lossy(&self.bytes);
        let answer = |part: &str| {
            let status = part.get(..3).and_then(|digits| digits.parse().ok());
            (status.unwrap_or(0), header(part, &["call-id", "i"]))
        };
        // In Via a transport follows instead of a space.
        text.split("SIP/2.0 ").skip(1).map(answer).collect()
    }
}

/// Asks on a new connection whether the relay lives; what it said.
#[expect(clippy::disallowed_methods, reason = "the answers of another process take real time")]
fn is_alive(stream: &mut dyn Stream, number: usize) -> (bool, Vec<u8>) {
    let (mark, probe) = options(number);
    let (begun, mut heard) = (Instant::now(), Heard::default());
    heard.is_closed = stream.write_all(&probe).and_then(|()| stream.flush()).is_err();
    while begun.elapsed() < PROBE_TIME_MAX && !heard.is_closed {
        heard.listen(stream);
        if heard.answers().contains(&(200, mark.clone())) {
            return (true, heard.bytes);
        }
    }
    (false, heard.bytes)
}

/// Sends one message, and a probe behind it; what the message was answered finally, and all that
/// was said.
#[expect(clippy::disallowed_methods, reason = "the answers of another process take real time")]
fn play(stream: &mut dyn Stream, case: &Case, number: usize) -> (Option<u16>, Vec<u8>) {
    let (mark, probe) = options(number);
    stream.write_all(&[framed(case), probe].concat()).and_then(|()| stream.flush()).ok();
    let (begun, mut heard, call_id) = (Instant::now(), Heard::default(), case.call_id());
    loop {
        heard.listen(stream);
        let answers = heard.answers();
        let is_probed = answers.iter().any(|(_, of)| *of == mark);
        let mut own = answers.iter().filter(|(_, of)| *of == call_id && *of != mark);
        let last = own.clone().find(|(status, _)| *status >= 200).map(|(status, _)| *status);
        let provisional = own.any(|(status, _)| *status < 200);
        let waits = last.is_none() && (provisional || !case.may_be_silent());
        let patience = if waits { FINAL_TIME_MAX } else { PROBE_TIME_MAX };
        if heard.is_closed || is_probed && !waits || begun.elapsed() > patience {
            return (last, heard.bytes);
        }
    }
}

/// From now on nobody waits for more than a look.
fn looked_at(socket: TcpStream) -> TcpStream {
    socket.set_read_timeout(Some(LOOK)).expect("a socket option");
    socket
}

/// Plays all of them while a number is bound, each on a connection of its own, which `open` gives.
fn play_all(service: &Service, mut open: impl FnMut() -> Box<dyn Stream>) {
    service.bind("torture", &format!("+86{NATIONAL}"));
    let (mut problems, mut said) = (vec![], vec![]);
    for (number, case) in cases().iter().enumerate() {
        let (answer, heard) = play(&mut *open(), case, 2 * number);
        said.extend(heard);
        let is_right = match answer {
            Some(status) => case.allows(status),
            None => case.may_be_silent(),
        };
        if !is_right {
            problems.push(format!("{}: {answer:?}", case.name));
        }
        let (is_alive, heard) = is_alive(&mut *open(), 2 * number + 1);
        said.extend(heard);
        if !is_alive {
            problems.push(format!("{}: OPTIONS is not answered any more", case.name));
        }
    }
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
    let echoed = Canary::new("86", ECHOED).search("answers", &said);
    assert!(!echoed.is_empty(), "the answers were not searched");
    assert_eq!(Canary::new("86", NATIONAL).search("answers", &said), []);
}

#[test]
fn every_torture_message_over_tcp_is_answered_as_its_table_allows_and_none_harms() {
    let service = Service::start("torture-tcp");
    play_all(&service, || Box::new(looked_at(connect(INSURER, service.sip))));
}

#[test]
fn every_torture_message_over_tls_is_answered_as_its_table_allows_and_none_harms() {
    let service = Service::start("torture-tls");
    service.add_pbx(&json!({"name": "pbx-tls", "transport": "tls"}));
    let terms = tls_terms(None);
    play_all(&service, || {
        let name = "relay.test".try_into().expect("a name");
        let mut tls = ClientConnection::new(Arc::clone(&terms), name).expect("a connection");
        let mut socket = connect(INSURER, service.sip_tls);
        tls.complete_io(&mut socket).expect("a handshake");
        Box::new(StreamOwned::new(tls, looked_at(socket)))
    });
}

#[test]
fn a_stranger_gets_no_byte_over_tcp_or_tls() {
    let service = Service::start("strange-streams");
    for case in cases().iter().take(3) {
        for to in [service.sip, service.sip_tls] {
            let mut socket = connect(STRANGER, to);
            socket.write_all(&case.bytes).ok();
            let mut heard = Heard::default();
            heard.listen(&mut socket);
            assert!(heard.is_closed && heard.bytes.is_empty(), "{}", case.name);
        }
    }
}
