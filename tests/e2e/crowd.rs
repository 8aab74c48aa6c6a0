//! S13, S28 and S29 on the running binary: idle connections, half-open and refused handshakes
//! beside calls that end in every way. The calls do not notice, and afterwards nothing is left.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use maskline::phone::{Script, Step};
use rustls::ClientConnection;
use serde_json::Value;

use crate::peers::INSURER;
use crate::service::{Service, http_get};
use crate::torture_streams::{connect, tls_terms};
use crate::wires::{AGENT, Quality, SUBSCRIBER, Wires, now};

const REAL: &str = "+8613800001234";
/// Strangers; with softphones on, their connections are taken.
const CROWD: [&str; 4] = ["127.0.7.1", "127.0.7.2", "127.0.7.3", "127.0.7.4"];
const PER_SOURCE: usize = 100;
/// Some connections to the database may be new, and ports that wait for calls: up to 32 calls for
/// each of the two threads, with four sockets each. All calls of the short test would leave 400.
const NEW_FILES_MAX: usize = 12 + 2 * 32 * 4;
/// The longest that a connection without a message may live, and some time to look at it.
const CUT_WITHIN: Duration = Duration::from_secs(45);

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// The value of a metric; zero when it is not there.
pub(crate) fn metric(service: &Service, name: &str) -> f64 {
    let (_, page) = http_get(service.admin, "/metrics").expect("the admin listener");
    let value = |line: &str| {
        let rest = line.strip_prefix(name)?;
        rest.strip_prefix(' ')?.parse::<f64>().ok()
    };
    page.lines().find_map(value).unwrap_or_default()
}

/// Its open files, and how many of its sockets are of UDP and TCP.
fn files(service: &Service) -> usize {
    let folder = Path::new("/proc").join(service.process.id().to_string()).join("fd");
    std::fs::read_dir(folder).expect("its files").count()
}

fn threads(service: &Service) -> usize {
    let folder = Path::new("/proc").join(service.process.id().to_string()).join("task");
    std::fs::read_dir(folder).expect("its threads").count()
}

fn memory_kib(service: &Service) -> u64 {
    let file = Path::new("/proc").join(service.process.id().to_string()).join("status");
    let text = std::fs::read_to_string(file).expect("its state");
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Calls, their ports, and, for 64*T1 after them, their transactions.
fn held(service: &Service) -> [f64; 3] {
    ["calls_active", "rtp_ports{state=\"open\"}", "sip_transactions_active"]
        .map(|name| metric(service, &format!("maskline_{name}")))
}

/// How one of many calls goes, of so many ways: what the caller does, and the callee. A caller who
/// gives up before its INVITE arrives leaves its callee's part to the next call, so that each part
/// comes to an end with each other one.
fn story(wires: &mut Wires, ways: u32) -> (Script, Script) {
    let mut wait = || ms(wires.below(1_500).into());
    let (a, b, c) = (wait(), wait(), wait());
    let (waits, rings) = (Script::new().once_answered(), Script::new().after(b).ring().after(c));
    let (late, answers) = (ms(6_000), rings.clone().answer());
    let talks = |time| waits.clone().after(time).hang_up();
    match wires.below(ways) {
        0 => (talks(a), answers),
        1 => (talks(late), answers.once_answered().after(c).hang_up()),
        2 => (Script::new().after(a).hang_up(), rings.after(late).reject(480)),
        3 => (talks(late), rings.reject(486)),
        4 => (talks(late), Script::new().reject(404)),
        5 => (talks(c), answers.once_answered().after(c).hang_up()),
        // Nobody confirms the 200.
        6 => (Script::new().then(Step::LoseAcks { times: 255 }).once_answered(), answers),
        // The BYE is not answered.
        7 => (talks(a), answers.once_answered().vanish()),
        // Neither the 200 is confirmed nor the BYE answered.
        _ => (Script::new().after(a).vanish(), answers.once_answered().after(c).hang_up()),
    }
}

/// Of [`story`]: those that end by themselves; all.
const POLITE: u32 = 6;
const ALL: u32 = 9;

/// So many calls beside each other, until the last one is over.
fn place(service: &Service, x: &str, calls: usize, ways: u32) -> Wires {
    let sides = [service.sides.insurer, service.sides.carrier];
    let mut wires = Wires::new(sides, service.sip, 2 * calls, Quality::GOOD);
    for _ in 0..calls {
        let (caller, callee) = story(&mut wires, ways);
        wires.phone(SUBSCRIBER).answer_next_with(callee);
        wires.phone(AGENT).dial(now(), x, caller).expect("a call more");
        wires.run_for(ms(20));
    }
    // Whoever vanished never says that it is over: the relay does.
    wires.run(Duration::from_secs(150), |_| held(service)[0] == 0.0);
    wires
}

/// Connections that say nothing, from several addresses.
fn idle(to: SocketAddr) -> Vec<TcpStream> {
    CROWD.iter().flat_map(|from| (0..PER_SOURCE).map(move |_| connect(from, to))).collect()
}

/// What a client says first that knows no more than this version: 1 is TLS 1.0, 2 is TLS 1.1.
fn old_hello(version: u8) -> Vec<u8> {
    let suites = [0xc0, 0x13, 0xc0, 0x14, 0x00, 0x2f, 0x00, 0x35];
    let groups = [0x00, 0x0a, 0x00, 0x04, 0x00, 0x02, 0x00, 0x17];
    let extensions = [&[0, groups.len() as u8][..], &groups].concat();
    let mut body = vec![3, version];
    body.extend([7; 32]);
    body.extend([0, 0, suites.len() as u8]);
    body.extend(suites);
    body.extend([1, 0]);
    body.extend(extensions);
    let mut record = vec![0x16, 3, 1, 0, body.len() as u8 + 4, 1, 0, 0, body.len() as u8];
    record.extend(body);
    record
}

fn old_versions_are_refused(service: &Service) {
    for version in [1, 2] {
        let mut socket = connect(INSURER, service.sip_tls);
        socket.write_all(&old_hello(version)).expect("taken");
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).ok();
        // One fatal alert: handshake_failure or protocol_version.
        let [head @ .., why] = &answer[..] else { panic!("no alert: {answer:?}") };
        assert_eq!(head, [0x15, 3, 3, 0, 2, 2], "TLS 1.{}", version - 1);
        assert!([40, 70].contains(why), "TLS 1.{}: {why}", version - 1);
    }
}

/// A client that is served by TLS 1.2 and then wants other keys. `openssl` does that at an `R`.
fn renegotiation_is_refused(service: &Service) {
    let mut client = Command::new("timeout")
        .args(["3", "openssl", "s_client", "-tls1_2", "-connect", &service.sip_tls.to_string()])
        .args(["-bind", &format!("{INSURER}:0")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl; `scripts/test` installs it");
    let mut input = client.stdin.take().expect("piped");
    input.write_all(b"R\n").expect("taken");
    let output = client.wait_with_output().expect("its end");
    drop(input);
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains("RENEGOTIATING"), "it was not tried: {said}");
    assert!(said.contains("no renegotiation"), "{said}");
}

/// Two hundred clients at once: all have said hello before the first of them hears an answer.
fn handshakes(service: &Service) {
    let terms = tls_terms(None);
    let hello = |at: usize| {
        let mut socket =
            connect(if at.is_multiple_of(2) { INSURER } else { CROWD[0] }, service.sip_tls);
        let name = service.sip_tls.ip().into();
        let mut tls = ClientConnection::new(Arc::clone(&terms), name).expect("a connection");
        // A place may have no room left.
        tls.write_tls(&mut socket).ok();
        (socket, tls)
    };
    let mut clients: Vec<_> = (0..200).map(hello).collect();
    let up = clients.iter_mut().filter_map(|(socket, tls)| {
        while tls.is_handshaking() {
            tls.complete_io(socket).ok()?;
        }
        Some(())
    });
    let up = up.count();
    assert!(up >= 90, "{up} of those of the PBX are served");
}

fn is_cut(mut socket: TcpStream) -> bool {
    socket.set_read_timeout(Some(CUT_WITHIN)).expect("a socket option");
    let mut rest = Vec::new();
    let outcome = socket.read_to_end(&mut rest);
    let is_reset = |error: &std::io::Error| error.kind() == std::io::ErrorKind::ConnectionReset;
    outcome.is_ok() || outcome.as_ref().is_err_and(is_reset)
}

fn causes(records: &[Value]) -> BTreeMap<String, usize> {
    let mut causes = BTreeMap::new();
    for record in records {
        *causes.entry(record["cause"].as_str().expect("a cause").to_owned()).or_default() += 1;
    }
    causes
}

fn nothing_is_left_of(name: &str, calls: usize, ways: u32) {
    let service = Service::start_with(name, "softphones = \"streams\"\n");
    let binding = service.bind("E-1", REAL);
    let x = binding["virtual_number"].as_str().expect("a number").to_owned();
    // What is opened at the first call stays open.
    drop(place(&service, &x, 20, POLITE));
    let before = (files(&service), threads(&service), memory_kib(&service));

    let crowd = idle(service.sip);
    let mut half = connect(INSURER, service.sip_tls);
    half.write_all(&[0x16, 3, 1, 2, 0, 1]).expect("taken");
    old_versions_are_refused(&service);
    renegotiation_is_refused(&service);
    handshakes(&service);
    assert!(files(&service) >= before.0 + CROWD.len() * PER_SOURCE, "the crowd was turned away");
    // One more than a source may have.
    assert!(is_cut(connect(CROWD[0], service.sip)));
    let mut wires = place(&service, &x, calls, ways);
    // A short run does not wait for the transactions; those of `call::tests::soak` are as many.
    let looked_at = if ways == ALL { 3 } else { 2 };
    let is_over = |_: &mut Wires| held(&service)[..looked_at].iter().all(|it| *it == 0.0);
    wires.run(Duration::from_secs(150), is_over);
    assert!(crowd.into_iter().all(is_cut) && is_cut(half));

    let records = service.records((20 + calls).min(100));
    let causes = causes(&records);
    for cause in ["caller_cancelled", "busy", "caller_hangup", "callee_hangup"] {
        assert!(causes.contains_key(cause), "{cause} is not among {causes:?}");
    }
    assert!(!causes.contains_key("internal"), "{causes:?}");
    let after = (files(&service), threads(&service), memory_kib(&service));
    assert!(after.0 <= before.0 + NEW_FILES_MAX, "files: {} before, {} after", before.0, after.0);
    assert!(after.1 <= before.1 + 4, "threads: {} before, {} after", before.1, after.1);
    eprintln!("memory: {} KiB before, {} KiB after", before.2, after.2);
    let log = String::from_utf8_lossy(&service.log()).into_owned();
    assert!(!log.contains("panicked at"), "something panicked; see the log");
    assert_eq!(metric(&service, "maskline_invariants_broken_total"), 0.0);
}

#[test]
fn nothing_is_left_of_a_crowd_of_connections_and_of_calls_that_ended_in_every_way() {
    nothing_is_left_of("crowd", 100, POLITE);
}

#[test]
#[ignore = "takes minutes; scripts/test --long runs it"]
fn nothing_is_left_of_a_crowd_of_connections_and_of_thousands_of_calls() {
    nothing_is_left_of("crowd-long", 5_000, ALL);
}
