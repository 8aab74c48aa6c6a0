//! S14 in short: calls go on beside a stranger who pours in requests and garbage, and who hears
//! nothing. `scripts/bench overload` does it at full speed.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use maskline::phone::{CallState, Ending, Script};

use crate::service::Service;
use crate::wires::{AGENT, Quality, SUBSCRIBER, Wires, now};

const REAL: &str = "+8613800001234";
/// In no trunk.
const STRANGER: &str = "127.0.7.9";
const CALLS: usize = 20;
/// Sent at once, and then no more for [`PAUSE`].
const BURST: usize = 10;
const PAUSE: Duration = Duration::from_millis(5);
/// What counts as a flood beside so few calls.
const FLOOD_MIN: usize = 1_000;

/// A stranger who pours until dropped.
struct Flood {
    socket: UdpSocket,
    sent: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    fn begin(relay: SocketAddr, x: &str) -> Self {
        let socket = UdpSocket::bind((STRANGER, 0)).expect("a port of a loopback address");
        socket.connect(relay).expect("an address");
        socket.set_nonblocking(true).expect("a socket option");
        let own = socket.local_addr().expect("bound");
        let mut packets: Vec<Vec<u8>> = ["INVITE", "REGISTER", "OPTIONS", "BYE", "CANCEL"]
            .map(|method| request(method, x, relay, own).into_bytes())
            .to_vec();
        packets.push((0..=u8::MAX).collect());
        let (sent, is_over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (pours, counts, ends) =
            (socket.try_clone().expect("a second handle"), Arc::clone(&sent), Arc::clone(&is_over));
        let pour = move || {
            let mut packets = packets.iter().cycle();
            while !ends.load(Ordering::Relaxed) {
                for packet in packets.by_ref().take(BURST) {
                    // Lost, as on a network.
                    drop(pours.send(packet));
                    counts.fetch_add(1, Ordering::Relaxed);
                }
                std::thread::park_timeout(PAUSE);
            }
        };
        let thread = Some(std::thread::spawn(pour));
        Self { socket, sent, is_over, thread }
    }

    fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }

    /// What has come back so far.
    fn answers(&self) -> usize {
        let mut buffer = [0; 65_535];
        std::iter::from_fn(|| self.socket.recv(&mut buffer).ok()).count()
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("it poured to its end");
        }
    }
}

fn request(method: &str, x: &str, relay: SocketAddr, own: SocketAddr) -> String {
    format!(
        "{method} sip:{x}@{relay} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bKflood;rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:4821@{own}>;tag=f\r\nTo: <sip:{x}@{relay}>\r\n\
         Call-ID: flood-{own}\r\nCSeq: 1 {method}\r\nContact: <sip:4821@{own}>\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

#[test]
fn calls_go_on_beside_a_flood_of_a_stranger_who_hears_nothing() {
    let service = Service::start("flood");
    let binding = service.bind("E-1", REAL);
    let x = binding["virtual_number"].as_str().expect("a number");
    let sides = [service.sides.insurer, service.sides.carrier];
    let mut wires = Wires::new(sides, service.sip, CALLS, Quality::GOOD);
    wires.phone(SUBSCRIBER).answer_with(Script::new().ring().answer());
    let flood = Flood::begin(service.sip, x);
    for _ in 0..CALLS {
        let script = Script::new().once_answered().after(Duration::from_millis(300)).hang_up();
        wires.phone(AGENT).dial(now(), x, script).expect("a call more");
        wires.run_for(Duration::from_millis(50));
    }
    wires.run(Duration::from_secs(60), |wires| wires.are_quiet() && flood.sent() >= FLOOD_MIN);
    let ends: Vec<_> = wires.phone(AGENT).calls().map(|call| call.state).collect();
    assert_eq!(ends, [CallState::Over(Ending::HungUp); CALLS]);
    assert_eq!(flood.answers(), 0, "answers to {} packets of a stranger", flood.sent());
}
