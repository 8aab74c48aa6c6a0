//! S16, S17, S18: nothing that a message says chooses where a packet goes, and whoever is no peer
//! is not answered, whatever it knows of a call.

use std::fmt::Write as _;
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use maskline::app::{RootKeyFile, start};
use maskline::config::Listeners;
use maskline::domain::cause::Cause;
use socket2::{Domain, Protocol, Socket, Type};

use crate::calls::{Bench, X};
use crate::peers::{Peer, header, sdp};
use crate::service::{settings, url};
use crate::support::database;

/// Where nothing may ever go. On loopback somebody listens there.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 66, 0, 1);
/// Everything that might be reached at an address.
const PORTS: [u16; 4] = [9, 5_060, 5_061, 5_090];

/// Listens where forged messages point to.
struct Sinks {
    datagrams: Vec<UdpSocket>,
    streams: Vec<TcpListener>,
}

impl Sinks {
    fn open() -> Self {
        let at = |port| SocketAddr::from((ELSEWHERE, port));
        let datagrams = PORTS.map(|port| UdpSocket::bind(at(port)).expect("a free port"));
        let streams = PORTS.map(|port| TcpListener::bind(at(port)).expect("a free port"));
        datagrams.iter().for_each(|it| it.set_nonblocking(true).expect("a socket option"));
        streams.iter().for_each(|it| it.set_nonblocking(true).expect("a socket option"));
        Self { datagrams: datagrams.into(), streams: streams.into() }
    }

    fn heard_nothing(&self) {
        for socket in &self.datagrams {
            let mut buffer = [0; 2_048];
            if let Ok((length, _)) = socket.recv_from(&mut buffer) {
                panic!("a packet was led astray: {}", String::from_utf8_lossy(&buffer[..length]));
            }
        }
        assert!(self.streams.iter().all(|it| it.accept().is_err()), "a connection was led astray");
    }
}

/// What somebody may write to lead answers and requests astray.
struct Forged {
    via: String,
    lines: String,
    contact: String,
}

fn all_forged(elsewhere: &str) -> Vec<Forged> {
    let vias = [
        format!("SIP/2.0/UDP {elsewhere}:5060;branch=BRANCH;rport"),
        format!("SIP/2.0/UDP {elsewhere};branch=BRANCH;rport;maddr={elsewhere}"),
        format!("SIP/2.0/UDP OWN;branch=BRANCH;rport=5090;received={elsewhere}"),
        format!("SIP/2.0/TCP {elsewhere}:5061;branch=BRANCH;rport;maddr={elsewhere};ttl=255"),
        format!(
            "SIP/2.0/UDP OWN;branch=BRANCH;rport\r\nVia: SIP/2.0/UDP {elsewhere};branch=z9hG4bKu"
        ),
    ];
    let lines = [
        format!("Record-Route: <sip:{elsewhere};lr>\r\n"),
        format!("Route: <sip:{elsewhere}:5090;lr>, <sip:RELAY;lr>\r\n"),
        format!("Path: <sip:{elsewhere};lr>\r\nReply-To: <sip:x@{elsewhere}>\r\n"),
        format!("Record-Route: <sip:{elsewhere}:5061;transport=tcp;lr;maddr={elsewhere}>\r\n"),
        format!("Alert-Info: <http://{elsewhere}/ring>\r\nCall-Info: <http://{elsewhere}/x>\r\n"),
    ];
    let contacts = [
        format!("<sip:a@{elsewhere}:5060>"),
        format!("<sip:a@OWN;maddr={elsewhere}>"),
        format!("<sip:a@OWN?Route=%3Csip:{elsewhere}%3Blr%3E>"),
        format!("<sip:a@{elsewhere}:5061;transport=tcp>"),
        format!("<sips:a@{elsewhere}>"),
    ];
    let all = vias.into_iter().zip(lines).zip(contacts);
    all.map(|((via, lines), contact)| Forged { via, lines, contact }).collect()
}

impl Forged {
    /// A request of the PBX.
    fn request(&self, bench: &Bench, method: &str, call: &str, cseq: u32, to: &str) -> String {
        let own = bench.pbx.address();
        let relay = bench.pbx.relay();
        let branch = format!("z9hG4bK{call}{method}{cseq}");
        let put = |text: &str| {
            text.replace("BRANCH", &branch)
                .replace("OWN", &own.to_string())
                .replace("RELAY", &relay.to_string())
        };
        let body = if method == "INVITE" { sdp(40_000) } else { String::new() };
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        let number = if method == "ACK" { cseq - 1 } else { cseq };
        format!(
            "{method} sip:{X}@{relay} SIP/2.0\r\nVia: {via}\r\nMax-Forwards: 70\r\n\
             From: <sip:4821@{own}>;tag=a\r\nTo: {to}\r\nCall-ID: {call}\r\n\
             CSeq: {number} {method}\r\nContact: {contact}\r\n{lines}{kind}\
             Content-Length: {length}\r\n\r\n{body}",
            via = put(&self.via),
            lines = put(&self.lines),
            contact = put(&self.contact),
            length = body.len(),
        )
    }
}

/// The same answer with another Contact, and routes in front of it.
fn led_astray(bench: &Bench, request: &str, status: &str, forged: &Forged, body: &str) {
    let carrier = bench.carrier.address().to_string();
    let contact = forged.contact.replace("OWN", &carrier);
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    let mut text = format!("SIP/2.0 {status}\r\n");
    for name in ["Via", "From", "To", "Call-ID", "CSeq"] {
        let tag = if name == "To" { ";tag=b" } else { "" };
        write!(text, "{name}: {}{tag}\r\n", header(request, name)).expect("memory");
    }
    let lines = forged.lines.replace("RELAY", &carrier);
    write!(text, "Contact: {contact}\r\n{lines}{kind}").expect("memory");
    write!(text, "Content-Length: {}\r\n\r\n{body}", body.len()).expect("memory");
    bench.carrier.send(&text);
}

/// Calls in which both sides forge all they can; every one ends as its peers say.
fn talk(bench: &Bench, elsewhere: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (nth, forged) in all_forged(elsewhere).iter().enumerate() {
        let to = format!("<sip:{X}@{}>", bench.pbx.relay());
        // Answered, and ended by us after the last word of the callee.
        let call = format!("talk-{nth}");
        bench.pbx.send(&forged.request(bench, "INVITE", &call, 1, &to));
        let invite = bench.carrier.expect("INVITE");
        led_astray(bench, &invite, "180 Ringing", forged, "");
        led_astray(bench, &invite, "200 OK", forged, &sdp(41_000));
        bench.carrier.expect("ACK");
        let answer = bench.pbx.expect("SIP/2.0 200");
        bench.pbx.send(&forged.request(bench, "ACK", &call, 2, &header(&answer, "To")));
        bench.pbx.send(&forged.request(bench, "BYE", &call, 2, &header(&answer, "To")));
        bench.pbx.expect("SIP/2.0 200");
        let bye = bench.carrier.expect("BYE");
        bench.carrier.answer(&bye, "200 OK", "");
        causes.push(Cause::CallerHangup);
        // Sent elsewhere by the carrier.
        let call = format!("moved-{nth}");
        bench.pbx.send(&forged.request(bench, "INVITE", &call, 1, &to));
        let invite = bench.carrier.expect("INVITE");
        led_astray(bench, &invite, "302 Moved Temporarily", forged, "");
        bench.carrier.expect("ACK");
        let refusal = bench.pbx.expect("SIP/2.0 ");
        assert!(!refusal.contains(elsewhere) || forged.via.contains(elsewhere), "{refusal}");
        // Questions and refusals.
        for method in ["OPTIONS", "BYE", "REGISTER", "MESSAGE", "FROBNICATE"] {
            bench.pbx.send(&forged.request(bench, method, &format!("odd-{nth}"), 1, &to));
            bench.pbx.expect("SIP/2.0 ");
        }
    }
    causes
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_forged_sends_a_packet_anywhere_but_to_the_peers() {
    let sinks = Sinks::open();
    let bench = Bench::new().await;
    let hung_up = talk(&bench, &ELSEWHERE.to_string()).len();
    // Strangers forge, too.
    let stranger = Peer::new("127.0.0.5:0", bench.running.sip);
    for forged in all_forged(&ELSEWHERE.to_string()) {
        for method in ["INVITE", "OPTIONS", "REGISTER", "BYE"] {
            stranger.send(&forged.request(&bench, method, "stranger", 1, "<sip:x@h>"));
        }
    }
    stranger.expect_silence();
    let records = bench.records().await;
    let good = records.iter().filter(|cdr| cdr.cause == Cause::CallerHangup).count();
    assert_eq!((good, records.len()), (hung_up, 2 * hung_up));
    sinks.heard_nothing();
}

/// Knows all that the two sides know: it is not one of them.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_requests_of_a_stranger_that_knows_a_call_are_not_answered_and_change_nothing()
{
    let bench = Bench::new().await;
    let (invite, answer) = bench.answered("known");
    let stranger = Peer::new("127.0.0.5:0", bench.running.sip);
    let methods = ["BYE", "CANCEL", "UPDATE", "INVITE"];
    for number in 0..10_000_u32 {
        let method = methods[number as usize % methods.len()];
        if number % 8 < 4 {
            stranger.follow_up(method, 2 + number, &answer, "known");
        } else {
            stranger.hang_up(&invite);
        }
    }
    stranger.expect_silence();
    bench.pbx.follow_up("UPDATE", 2, &answer, "known");
    bench.pbx.expect("SIP/2.0 200");
    bench.pbx.follow_up("BYE", 3, &answer, "known");
    bench.pbx.expect("SIP/2.0 200");
    let bye = bench.carrier.expect("BYE");
    bench.carrier.answer(&bye, "200 OK", "");
    let causes: Vec<_> = bench.records().await.iter().map(|cdr| cdr.cause).collect();
    assert_eq!(causes, [Cause::CallerHangup]);
}

/// Every packet of IPv4 that leaves, from whatever process: where it comes from and goes to.
struct Capture {
    seen: Arc<Mutex<Vec<[IpAddr; 2]>>>,
    is_over: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
}

impl Capture {
    /// All protocols, on all interfaces.
    fn start() -> Self {
        const ALL: i32 = 3_u16.to_be() as i32;
        let kind = Protocol::from(ALL);
        let mut socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(kind)).expect("root");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a socket option");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let is_over = Arc::new(AtomicBool::new(false));
        let (all, until) = (Arc::clone(&seen), Arc::clone(&is_over));
        let thread = std::thread::spawn(move || {
            let mut packet = [0; 65_535];
            loop {
                match socket.read(&mut packet) {
                    Ok(length) if length >= 20 && packet[0] >> 4 == 4 => {
                        let at = |from: usize| -> IpAddr {
                            [0, 1, 2, 3].map(|step| packet[from + step]).into()
                        };
                        all.lock().expect("no panic").push([at(12), at(16)]);
                    }
                    Ok(_) => {}
                    // Nothing more has come for a while.
                    Err(_) if until.load(Ordering::SeqCst) => return,
                    Err(_) => {}
                }
            }
        });
        Self { seen, is_over, thread }
    }

    fn stop(self) -> Vec<[IpAddr; 2]> {
        self.is_over.store(true, Ordering::SeqCst);
        self.thread.join().expect("no panic");
        std::mem::take(&mut self.seen.lock().expect("no panic"))
    }
}

/// In a network of its own, where any address can be sent to and every packet is seen.
/// `scripts/alone` makes it.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a network of its own; scripts/alone runs it"]
async fn in_a_network_of_its_own_every_packet_of_the_relay_goes_to_a_peer() {
    const ELSEWHERE: &str = "203.0.113.66";
    let test = database().await;
    let mut config = settings(&url(&test));
    let relay: SocketAddr = "10.77.0.1:0".parse().expect("an address");
    config.sip.listen = Listeners::udp(relay);
    config.media.bind = relay.ip();
    let running = start(config, RootKeyFile::MustExist).await.expect("started");
    let [pbx, carrier] = ["10.77.0.2:0", "10.77.0.3:0"].map(|at| Peer::new(at, running.sip));
    let peers = [pbx.address().ip(), carrier.address().ip()];
    let bench = Bench::between(test, running, pbx, carrier).await;
    let capture = Capture::start();
    talk(&bench, ELSEWHERE);
    let stranger = Peer::new("10.77.0.9:0", bench.running.sip);
    for forged in all_forged(ELSEWHERE) {
        stranger.send(&forged.request(&bench, "INVITE", "stranger", 1, "<sip:x@h>"));
    }
    stranger.expect_silence();
    // The capture sees what goes out there, too.
    let own = UdpSocket::bind(("10.77.0.9", 0)).expect("an address");
    own.send_to(b"seen?", (ELSEWHERE, 5_060)).expect("a route");
    let seen = capture.stop();
    let elsewhere: IpAddr = ELSEWHERE.parse().expect("an address");
    assert!(seen.iter().any(|[_, to]| *to == elsewhere), "the capture is blind");
    let ours: Vec<_> = seen.iter().filter(|[from, _]| *from == relay.ip()).collect();
    assert!(ours.len() > 50, "{} packets of the relay", ours.len());
    let astray = ours.iter().find(|[_, to]| !peers.contains(to));
    assert_eq!(astray, None, "from the relay to somebody who is no peer");
}
