//! INVITEs with one broken field each over UDP against the running binary: OPTIONS is answered
//! after each, so is all that can be answered, nothing panics and the memory does not grow.
//! `MASKLINE_PROTOS_STEP=1` sends every case, otherwise it is every other one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::peers::INSURER;
use crate::protos::{Case, Setting, cases, valid};
use crate::service::Service;

const REAL: &str = "+8613800001234";
const AGENT: &str = "4821";
/// Usually every other case is sent. The number of anomalies is odd, so all fields and all
/// anomalies get their turn.
const STEP_USUAL: usize = 2;
/// So often a case is sent again that had no answer: one source gets so many refusals a second.
const ROUNDS_MAX: usize = 10;
/// Every so often a probe is repeated: a datagram may be lost.
const PROBE_AGAIN: Duration = Duration::from_secs(2);
/// So often, before the service counts as dead.
const PROBES_MAX: u32 = 15;
/// After so many cases the process has touched what it needs for any.
const WARM_UP: u64 = 1_000;
/// How much larger the process may be after all others; the probes of half a minute are part of it.
const GROWTH_KIB_MAX: u64 = 32 * 1024;

/// The PBX that sends what is broken.
struct Pbx {
    socket: UdpSocket,
    relay: SocketAddr,
    /// How often each final status came.
    answers: BTreeMap<u16, u64>,
    /// The branch of each final answer.
    answered: BTreeSet<String>,
}

impl Pbx {
    fn open(relay: SocketAddr) -> Self {
        let socket = UdpSocket::bind((INSURER, 0)).expect("a port of a loopback address");
        socket.set_read_timeout(Some(PROBE_AGAIN)).expect("a socket option");
        Self { socket, relay, answers: BTreeMap::new(), answered: BTreeSet::new() }
    }

    fn local(&self) -> String {
        self.socket.local_addr().expect("an address").to_string()
    }

    fn send(&self, bytes: &[u8]) {
        self.socket.send_to(bytes, self.relay).expect("loopback takes a datagram");
    }

    /// Sends one case and OPTIONS; `false` when that is not answered. Refusals are confirmed.
    fn play(&mut self, case: &Case) -> bool {
        self.send(&case.bytes);
        let (local, number, relay) = (self.local(), case.number, self.relay);
        let mark = format!("probe-{number}-end");
        let probe = format!(
            "OPTIONS sip:{relay} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {local};branch=z9hG4bKp{number};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:p@{local}>;tag=p{number}\r\nTo: <sip:{relay}>\r\n\
             Call-ID: {mark}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        );
        for _ in 0..PROBES_MAX {
            self.send(probe.as_bytes());
            while let Some((status, text)) = self.receive() {
                if header(&text, "Call-ID").as_deref() == Some(&mark) {
                    return status == 200;
                }
            }
        }
        false
    }

    /// The next answer, unless none comes for a while. Refusals are confirmed.
    fn receive(&mut self) -> Option<(u16, String)> {
        let mut buffer = [0; 65_536];
        let length = loop {
            match self.socket.recv(&mut buffer) {
                Ok(length) => break length,
                // The ICMP error of an earlier datagram.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                Err(_) => return None,
            }
        };
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        let status = text.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
        if status >= 300 {
            *self.answers.entry(status).or_default() += 1;
            let via = header(&text, "Via").unwrap_or_default();
            let branch = via.split(";branch=").nth(1).and_then(|rest| rest.split(';').next());
            self.answered.extend(branch.map(str::to_owned));
            if let Some(ack) = repeating(&text, "ACK sip:x SIP/2.0") {
                self.send(ack.replace(" INVITE\r\n", " ACK\r\n").as_bytes());
            }
        }
        Some((status, text))
    }

    fn has_answered(&self, case: &Case) -> bool {
        self.answered.contains(&format!("z9hG4bKcase{}", case.number))
    }

    /// The names of those cases that have no final answer, although they are sent again.
    fn unanswered(&mut self, mut cases: Vec<Case>) -> Vec<String> {
        for _ in 0..ROUNDS_MAX {
            while self.receive().is_some() {}
            cases.retain(|case| !self.has_answered(case));
            if cases.is_empty() {
                break;
            }
            cases.iter().for_each(|case| self.send(&case.bytes));
        }
        cases.iter().map(Case::name).collect()
    }
}

fn header(message: &str, name: &str) -> Option<String> {
    let lines = message.split("\r\n").take_while(|line| !line.is_empty());
    let mut headers = lines.filter_map(|line| line.split_once(':'));
    headers.find(|(found, _)| *found == name).map(|(_, value)| value.trim().to_owned())
}

/// A message with the five headers of another.
fn repeating(message: &str, start: &str) -> Option<String> {
    let mut text = format!("{start}\r\n");
    for name in ["Via", "From", "To", "Call-ID", "CSeq"] {
        text += &format!("{name}: {}\r\n", header(message, name)?);
    }
    Some(text + "Content-Length: 0\r\n\r\n")
}

/// A carrier where everybody is busy, for as long as the test runs. Gives how often it was called.
fn busy_carrier(address: SocketAddr) -> Arc<AtomicU64> {
    let socket = UdpSocket::bind(address).expect("the carrier's port");
    let calls = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&calls);
    std::thread::spawn(move || {
        let mut buffer = [0; 65_536];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if text.starts_with("INVITE ") {
                counted.fetch_add(1, Ordering::Relaxed);
                let busy = repeating(&text, "SIP/2.0 486 Busy Here").expect("our own INVITE");
                // Nobody there means the test is over.
                let _ = socket.send_to(busy.as_bytes(), from);
            }
        }
    });
    calls
}

/// The resident memory of a process.
fn resident_kib(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn no_broken_field_stops_the_service_or_grows_it() {
    let step = std::env::var("MASKLINE_PROTOS_STEP").ok().and_then(|step| step.parse().ok());
    let step: usize = step.unwrap_or(STEP_USUAL);
    let service = Service::start("broken-fields");
    let binding = service.bind("E-1", REAL);
    let virtual_number = binding["virtual_number"].as_str().expect("a number");
    let called = busy_carrier(service.sides.carrier);
    let mut pbx = Pbx::open(service.sip);
    let local = pbx.local();
    let setting = Setting { local: &local, agent: AGENT, virtual_number };
    // The first call makes what every later one needs.
    pbx.send(&valid(&setting, 1_000_000));
    let (mut before, mut sent, mut expected) = (0, 0, Vec::new());
    for case in cases(&setting).step_by(step) {
        assert!(pbx.play(&case), "OPTIONS is not answered after {}", case.name());
        sent += 1;
        if sent == WARM_UP {
            before = resident_kib(service.process.id());
        }
        if case.must_be_answered() && !pbx.has_answered(&case) {
            expected.push(case);
        }
    }
    let after = resident_kib(service.process.id());
    let called = called.load(Ordering::Relaxed);
    eprintln!("{sent} cases, {called} calls, {before} then {after} KiB: {:?}", pbx.answers);
    assert!(after <= before + GROWTH_KIB_MAX, "it grew from {before} to {after} KiB");
    let log = service.log();
    let unanswered = pbx.unanswered(expected);
    assert!(unanswered.is_empty(), "{} dropped:\n{}", unanswered.len(), unanswered.join("\n"));
    let panicked = log.windows(11).any(|words| words == b"panicked at");
    assert!(!panicked, "something panicked; see the log");
    assert!(called > sent / 8 && pbx.answers.contains_key(&400), "{called} of {sent} called");
}
