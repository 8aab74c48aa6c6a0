//! The torture messages of RFC 4475 and RFC 5118 over UDP against the running binary: each is
//! answered as its table allows, OPTIONS still works after each, and a stranger hears nothing.

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use maskline::cli::demo::leak::Canary;

use crate::peers::{INSURER, STRANGER};
use crate::service::Service;

/// Without `rport`, answers go to the port in Via: these are the ones that the messages name.
const VIA_PORTS: [u16; 5] = [5060, 5050, 5070, 6050, 19823];
/// How long a final answer that must come may take.
pub(crate) const FINAL_TIME_MAX: Duration = Duration::from_secs(5);
/// How long the answer to OPTIONS may take on a busy machine.
pub(crate) const PROBE_TIME_MAX: Duration = Duration::from_secs(2);

/// A subscriber's number that is bound meanwhile, and is in no message.
pub(crate) const NATIONAL: &str = "13800007316";

/// One message and what may answer it.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    allowed: Vec<String>,
}

pub(crate) fn cases() -> Vec<Case> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/torture");
    let mut cases = vec![];
    for set in ["rfc4475", "rfc5118"] {
        let table = fs::read_to_string(root.join(set).join("expect.tsv")).expect("a table");
        for line in table.lines().skip(1).filter(|line| !line.trim().is_empty()) {
            let mut columns = line.split('\t');
            let file = columns.next().expect("a file name");
            let allowed = columns.nth(1).expect("what is allowed");
            let number = cases.len();
            let bytes = fs::read(root.join(set).join(file)).expect("a message");
            let bytes = with_own_branch(&bytes, file, number);
            let allowed = allowed.split(',').map(str::to_owned).collect();
            cases.push(Case { name: format!("{set}/{file}"), bytes, allowed });
        }
    }
    assert!(cases.len() >= 60, "the torture messages are missing");
    cases
}

/// The authors of the RFC use one branch again and again: to a server, messages with the same one
/// are repeats. Each gets its own.
fn with_own_branch(message: &[u8], file: &str, number: usize) -> Vec<u8> {
    const REUSED: &[u8] = b"branch=z9hG4bKkdjuw\r\n";
    const COOKIE: &[u8] = b"branch=z9hG4bK";
    let find = |text: &[u8]| message.windows(text.len()).position(|window| window == text);
    // A twin with a corrected length has everything else of the other.
    let twin = find(COOKIE).filter(|_| file.ends_with("_cl")).map(|at| at + COOKIE.len());
    let mut own = message.to_vec();
    if let Some(at) = find(REUSED).map(|at| at + REUSED.len() - 2).or(twin) {
        own.splice(at..at, number.to_string().bytes());
    }
    own
}

impl Case {
    pub(crate) fn may_be_silent(&self) -> bool {
        self.allowed.iter().any(|word| word == "none")
    }

    pub(crate) fn allows(&self, status: u16) -> bool {
        let (class, exact) = (format!("{}xx", status / 100), status.to_string());
        let refused = self.allowed.iter().any(|word| word.strip_prefix('-') == Some(&exact));
        !refused && self.allowed.iter().any(|word| *word == class || *word == exact)
    }

    /// The value that ties an answer to this message.
    pub(crate) fn call_id(&self) -> String {
        header(&String::from_utf8_lossy(&self.bytes), &["call-id", "i"])
    }
}

pub(crate) fn header(message: &str, names: &[&str]) -> String {
    let found = message.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        names.contains(&name.trim().to_lowercase().as_str()).then(|| value.trim().to_owned())
    });
    found.unwrap_or_default()
}

/// The sockets of one side.
struct Side {
    sockets: Vec<UdpSocket>,
    relay: SocketAddr,
    probes: u32,
    /// All that was received.
    heard: Vec<u8>,
}

impl Side {
    fn open(ip: &str, relay: SocketAddr) -> Self {
        let open = |port| {
            let socket = UdpSocket::bind((ip, port)).expect("a port of a loopback address");
            socket.set_nonblocking(true).expect("a socket option");
            socket
        };
        let sockets = VIA_PORTS.into_iter().map(open).collect();
        Self { sockets, relay, probes: 0, heard: vec![] }
    }

    fn send(&self, bytes: &[u8]) {
        self.sockets[0].send_to(bytes, self.relay).expect("loopback takes a datagram");
    }

    /// Asks whether the relay lives; returns the mark of the answer.
    fn probe(&mut self) -> String {
        self.probes += 1;
        let local = self.sockets[0].local_addr().expect("an address");
        let mark = format!("probe-{}@{local}", self.probes);
        let options = format!(
            "OPTIONS sip:{0} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bKp{1};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:p@{local}>;tag=p{1}\r\nTo: <sip:{0}>\r\n\
             Call-ID: {mark}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n",
            self.relay, self.probes
        );
        self.send(options.as_bytes());
        mark
    }

    /// Status and `Call-ID` of everything that has arrived.
    fn answers(&mut self) -> Vec<(u16, String)> {
        let mut answers = vec![];
        let mut buffer = [0; 65_536];
        for socket in &self.sockets {
            loop {
                match socket.recv_from(&mut buffer) {
                    Ok((length, _)) => {
                        self.heard.extend_from_slice(&buffer[..length]);
                        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                        let status = text.split(' ').nth(1).and_then(|word| word.parse().ok());
                        answers.push((status.unwrap_or(0), header(&text, &["call-id", "i"])));
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    // The ICMP error of an earlier datagram.
                    Err(_) => {}
                }
            }
        }
        answers
    }
}

/// Sends one message and a probe; what the message was answered finally, or what went wrong.
#[expect(clippy::disallowed_methods, reason = "the answers of another process take real time")]
fn play(side: &mut Side, case: &Case) -> Result<Option<u16>, String> {
    side.send(&case.bytes);
    let mark = side.probe();
    let call_id = case.call_id();
    let begun = Instant::now();
    let (mut alive, mut provisional, mut last) = (false, false, None);
    loop {
        for (status, of) in side.answers() {
            alive |= of == mark && status == 200;
            if of == call_id && of != mark {
                provisional |= status < 200;
                last = last.or((status >= 200).then_some(status));
            }
        }
        if !alive && begun.elapsed() > PROBE_TIME_MAX {
            return Err("OPTIONS is not answered any more".to_owned());
        }
        let waits = last.is_none() && (provisional || !case.may_be_silent());
        if alive && (!waits || begun.elapsed() > FINAL_TIME_MAX) {
            return Ok(last);
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

#[test]
fn every_torture_message_is_answered_as_its_table_allows_and_none_harms() {
    let service = Service::start("torture");
    service.bind("torture", &format!("+86{NATIONAL}"));
    let mut trunk = Side::open(INSURER, service.sip);
    let mut problems = vec![];
    for case in cases() {
        match play(&mut trunk, &case) {
            Ok(Some(status)) if case.allows(status) => {}
            Ok(None) if case.may_be_silent() => {}
            Ok(answer) => problems.push(format!("{}: {answer:?}", case.name)),
            Err(why) => problems.push(format!("{}: {why}", case.name)),
        }
    }
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
    assert_eq!(Canary::new("86", NATIONAL).search("answers", &trunk.heard), []);
}

#[test]
fn a_stranger_gets_no_answer_to_any_torture_message() {
    let service = Service::start("strange-torture");
    let mut stranger = Side::open(STRANGER, service.sip);
    for case in cases() {
        stranger.send(&case.bytes);
    }
    // The relay reads in order: once a trunk's probe is answered, all before it was judged.
    let mut trunk = Side::open("127.0.0.3", service.sip);
    let alive = Case { name: String::new(), bytes: vec![], allowed: vec!["none".to_owned()] };
    assert_eq!(play(&mut trunk, &alive), Ok(None));
    assert_eq!(stranger.answers(), []);
}
