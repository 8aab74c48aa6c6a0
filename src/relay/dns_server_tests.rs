//! The real resolver against a name server of ours, whose answers are written by hand.

use std::net::UdpSocket;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;

use super::*;

const A: u16 = 1;
const SRV: u16 = 33;
const NAPTR: u16 = 35;

/// A record: of which name and type, for how many seconds, and what it says.
type Record = (&'static str, u16, u32, Vec<u8>);

/// What the server does with each answer before it is sent.
type Spoil = fn(Vec<u8>) -> Vec<Vec<u8>>;

const HONEST: Spoil = |answer| vec![answer];

fn name(text: &str) -> Vec<u8> {
    let labels = text.split('.').filter(|label| !label.is_empty());
    let mut wire: Vec<u8> =
        labels.flat_map(|it| [&[it.len() as u8], it.as_bytes()].concat()).collect();
    wire.push(0);
    wire
}

fn text(text: &str) -> Vec<u8> {
    [&[text.len() as u8], text.as_bytes()].concat()
}

fn srv(priority: u16, port: u16, target: &str) -> Vec<u8> {
    let numbers = [priority, 0, port].map(u16::to_be_bytes).concat();
    [numbers, name(target)].concat()
}

fn naptr(service: &str, replacement: &str) -> Vec<u8> {
    let numbers = [10, 1].map(u16::to_be_bytes).concat();
    [numbers, text("s"), text(service), text(""), name(replacement)].concat()
}

fn carrier() -> Vec<Record> {
    vec![
        ("carrier.test", NAPTR, 600, naptr("SIP+D2U", "_sip._udp.carrier.test")),
        ("_sip._udp.carrier.test", SRV, 40, srv(10, 5_070, "away.carrier.test")),
        ("_sip._udp.carrier.test", SRV, 40, srv(20, 5_080, "gone.carrier.test")),
        ("_sip._udp.carrier.test", SRV, 40, srv(30, 5_090, "here.carrier.test")),
        ("away.carrier.test", A, 900, vec![192, 0, 2, 1]),
        ("here.carrier.test", A, 300, vec![192, 0, 2, 3]),
    ]
}

/// The answer to a question; a name without any record does not exist.
fn answer(question: &[u8], records: &[Record]) -> Vec<u8> {
    let asked = &question[12..];
    let end = asked.iter().position(|byte| *byte == 0).expect("a whole name") + 1;
    let (asked_name, kind) = (&asked[..end], u16::from_be_bytes([asked[end], asked[end + 1]]));
    let known: Vec<_> = records.iter().filter(|it| name(it.0) == asked_name).collect();
    let found: Vec<_> = known.iter().filter(|it| it.1 == kind).collect();
    let code = if known.is_empty() { 3 } else { 0 };
    let mut wire = [&question[..2], &[0x81, 0x80 | code, 0, 1, 0, found.len() as u8]].concat();
    wire.extend([&[0, 0, 0, 0], &asked[..end + 4]].concat());
    for (_, kind, ttl, says) in found {
        wire.extend([0xc0, 12]);
        wire.extend([kind.to_be_bytes(), [0, 1]].concat());
        wire.extend(ttl.to_be_bytes());
        wire.extend((says.len() as u16).to_be_bytes());
        wire.extend(says);
    }
    wire
}

/// Serves until the test process ends; counts the questions.
fn serve(records: Vec<Record>, spoil: Spoil) -> (NameServers, Arc<Mutex<usize>>) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let at = socket.local_addr().expect("bound");
    let asked = Arc::new(Mutex::new(0));
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        let mut buffer = [0; 1_500];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            *count.lock().expect("no panic") += 1;
            for bytes in spoil(answer(&buffer[..length], &records)) {
                socket.send_to(&bytes, from).expect("loopback takes a datagram");
            }
        }
    });
    let mut by_udp = ConnectionConfig::udp();
    by_udp.port = at.port();
    let server = NameServerConfig::new(at.ip(), true, vec![by_udp]);
    let config = ResolverConfig::from_name_servers(vec![server]);
    let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    (NameServers(builder.build().expect("a resolver")), asked)
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(future)
}

fn targets(found: &Resolved) -> Vec<String> {
    found.targets.iter().map(|it| format!("{} {}", it.priority, it.item)).collect()
}

#[test]
fn a_name_leads_over_naptr_and_srv_to_addresses_and_a_server_without_one_is_passed_over() {
    let (lookup, asked) = serve(carrier(), HONEST);
    let before = now().monotonic;
    run(async {
        let found = resolve(&lookup, "carrier.test", None, Transport::Udp, Records::new()).await;
        let found = found.expect("it is served");
        assert_eq!(targets(&found), ["10 192.0.2.1:5070", "30 192.0.2.3:5090"]);
        // The shortest of all that led there, and no longer than a name may be believed away.
        let ttl = Duration::from_secs(40);
        assert!((before + ttl..=now().monotonic + ttl).contains(&found.until));
        let names = Arc::new(Names::new(Some(lookup)));
        let places =
            || vec![(vec![TrunkPlace::parse("carrier.test").expect("a name")], Transport::Udp)];
        let first = names.find_all(places()).await;
        let count = *asked.lock().expect("no panic");
        assert_eq!(names.find_all(places()).await, first);
        assert_eq!(*asked.lock().expect("no panic"), count, "known until the TTL ends");
    });
}

/// Asks for the addresses of a host alone.
async fn addresses(lookup: &NameServers) -> Option<Vec<String>> {
    let host = "here.carrier.test";
    let found = resolve(lookup, host, Some(5_060), Transport::Udp, Records::new()).await;
    found.ok().map(|found| targets(&found))
}

/// The same answer, but for the address, which is somebody else's.
fn led_astray(mut answer: Vec<u8>) -> Vec<u8> {
    if answer[7] == 1 {
        answer.truncate(answer.len() - 4);
        answer.extend([203, 0, 113, 66]);
    }
    answer
}

#[test]
fn an_answer_with_a_guessed_number_is_not_taken_and_the_right_one_still_is() {
    let spoofed: Spoil = |answer| {
        let guess = |at: u8| {
            let mut guessed = led_astray(answer.clone());
            guessed[1] ^= at;
            guessed
        };
        [vec![guess(1), guess(2)], vec![answer.clone()]].concat()
    };
    let (lookup, _) = serve(carrier(), spoofed);
    let found = run(addresses(&lookup)).expect("the right answer has come");
    assert_eq!(found, ["0 192.0.2.3:5060"]);
    let only_spoofed: Spoil = |answer| {
        let mut guessed = led_astray(answer);
        guessed[1] ^= 1;
        vec![guessed]
    };
    let (lookup, _) = serve(carrier(), only_spoofed);
    assert_eq!(run(addresses(&lookup)), None);
}

#[test]
fn an_answer_that_is_cut_off_or_longer_than_it_says_leads_nowhere() {
    let flagged: Spoil = |mut answer| {
        answer[2] |= 2;
        vec![led_astray(answer)]
    };
    let cut: Spoil = |answer| vec![answer[..answer.len() - 2].to_vec()];
    let lying: Spoil = |mut answer| {
        answer[7] = 200;
        vec![answer]
    };
    for spoil in [flagged, cut, lying] {
        let (lookup, _) = serve(carrier(), spoil);
        assert_eq!(run(addresses(&lookup)), None);
    }
}

#[test]
fn an_answer_with_too_many_addresses_gives_as_many_as_a_name_may_have() {
    let many = (0..100).map(|last| ("here.carrier.test", A, 300, vec![192, 0, 2, last]));
    let (lookup, _) = serve(many.collect(), HONEST);
    let found = run(addresses(&lookup)).unwrap_or_default();
    assert!(found.len() <= TARGETS_MAX, "{}", found.len());
}
