//! Media of the insurer's side as it goes over the wire: a phone's call goes through the test's
//! own sockets, which keep every packet, so that no right to capture is needed.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::peers::{MEDIA, free_port};

/// How long the tap sleeps while nothing comes.
const WAIT: Duration = Duration::from_millis(2);

/// RTP or RTCP that went by.
pub(crate) struct Packet {
    /// To the phone, and so from the relay.
    pub(crate) is_to_phone: bool,
    pub(crate) bytes: Vec<u8>,
}

impl Packet {
    /// RFC 5761 §4: RTCP is known by its second byte.
    pub(crate) fn is_rtcp(&self) -> bool {
        self.bytes.get(1).is_some_and(|kind| (192..=223).contains(kind))
    }

    /// The canonical name (RFC 3550 §6.5.1) in a compound packet of RTCP.
    pub(crate) fn cname(&self) -> Option<&[u8]> {
        let mut rest = self.is_rtcp().then_some(&self.bytes[..])?;
        while let [_, kind, high, low, ..] = *rest {
            let words = usize::from(u16::from_be_bytes([high, low])) + 1;
            // A source, then the first item: its kind, its length, its text.
            if let (202, [1, length, text @ ..]) = (kind, rest.get(8..)?) {
                return text.get(..usize::from(*length));
            }
            rest = rest.get(4 * words..)?;
        }
        None
    }

    /// Who sends it: of RTP and of RTCP at different places.
    pub(crate) fn ssrc(&self) -> Option<[u8; 4]> {
        let at = if self.is_rtcp() { 4 } else { 8 };
        self.bytes.get(at..at + 4)?.try_into().ok()
    }
}

/// A pair of sockets on each side of the tap: RTP, and RTCP a port above.
struct Pair {
    sockets: [UdpSocket; 2],
    /// Where the other end says that it takes media.
    peer: Option<SocketAddr>,
}

impl Pair {
    fn open() -> Self {
        let port = free_port(MEDIA);
        let sockets = [port, port + 1].map(|port| {
            let socket = UdpSocket::bind((MEDIA, port)).expect("a port that was free");
            socket.set_nonblocking(true).expect("a socket option");
            socket
        });
        Self { sockets, peer: None }
    }

    fn port(&self) -> u16 {
        self.sockets[0].local_addr().expect("bound").port()
    }

    fn send(&self, place: usize, bytes: &[u8]) {
        if let Some(mut to) = self.peer {
            to.set_port(to.port() + u16::try_from(place).expect("two"));
            // Lost, as on a network.
            drop(self.sockets[place].send_to(bytes, to));
        }
    }
}

/// Between a phone and the relay, for one call.
pub(crate) struct Tap {
    /// What the phone calls instead of the relay, and the relay instead of the phone.
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Packet>>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

struct Wires {
    sip: UdpSocket,
    relay: SocketAddr,
    phone: Option<SocketAddr>,
    /// The phone's side and the relay's.
    media: [Pair; 2],
    seen: Arc<Mutex<Vec<Packet>>>,
}

impl Wires {
    /// SIP goes on, with our ports for media instead of theirs.
    fn carry_sip(&mut self) -> bool {
        let mut buffer = [0; 65_535];
        let Ok((length, from)) = self.sip.recv_from(&mut buffer) else { return false };
        let is_relays = from == self.relay;
        if !is_relays {
            self.phone = Some(from);
        }
        let (theirs, other) = if is_relays { (1, 0) } else { (0, 1) };
        let mut text = String::from_utf8(buffer[..length].to_vec()).expect("text");
        if let Some(port) = media_port(&text) {
            let place = SocketAddr::new(MEDIA.parse().expect("an address"), port);
            self.media[theirs].peer = Some(place);
            let ours = self.media[other].port();
            text = text.replace(&format!("m=audio {port} "), &format!("m=audio {ours} "));
            let reports = |port: u16| format!("\r\na=rtcp:{}", port + 1);
            text = text.replace(&reports(port), &reports(ours));
            text = with_length(&text);
        }
        if let Some(to) = if is_relays { self.phone } else { Some(self.relay) } {
            self.sip.send_to(text.as_bytes(), to).expect("loopback takes a datagram");
        }
        true
    }

    fn carry_media(&self) -> bool {
        let (mut buffer, mut has_come) = ([0; 2_048], false);
        for (from, to, is_to_phone) in [(0, 1, false), (1, 0, true)] {
            for place in [0, 1] {
                while let Ok(length) = self.media[from].sockets[place].recv(&mut buffer) {
                    let bytes = buffer[..length].to_vec();
                    self.media[to].send(place, &bytes);
                    self.seen.lock().expect("no panic").push(Packet { is_to_phone, bytes });
                    has_come = true;
                }
            }
        }
        has_come
    }
}

/// The message with the length that its body has now.
fn with_length(message: &str) -> String {
    const NAME: &str = "Content-Length: ";
    let (head, body) = message.split_once("\r\n\r\n").expect("a head");
    let line = head.lines().find(|line| line.starts_with(NAME)).expect("a length");
    let head = head.replace(line, &format!("{NAME}{}", body.len()));
    format!("{head}\r\n\r\n{body}")
}

/// What the session description of a message names.
fn media_port(message: &str) -> Option<u16> {
    let (_, rest) = message.split_once("\r\nm=audio ")?;
    rest.split(' ').next()?.parse().ok()
}

impl Tap {
    /// At this address, which is one of the phone's trunk. `phone`: where it is, if it is called.
    pub(crate) fn start(at: SocketAddr, relay: SocketAddr, phone: Option<SocketAddr>) -> Self {
        let sip = UdpSocket::bind(at).expect("a port that was free");
        sip.set_nonblocking(true).expect("a socket option");
        let address = sip.local_addr().expect("bound");
        let (seen, is_over) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let media = [Pair::open(), Pair::open()];
        let mut wires = Wires { sip, relay, phone, media, seen: Arc::clone(&seen) };
        let end = Arc::clone(&is_over);
        let thread = std::thread::spawn(move || {
            while !end.load(Ordering::SeqCst) {
                if !wires.carry_sip() && !wires.carry_media() {
                    std::thread::park_timeout(WAIT);
                }
            }
        });
        Self { address, seen, is_over, thread: Some(thread) }
    }

    /// All that went by.
    pub(crate) fn stop(mut self) -> Vec<Packet> {
        self.is_over.store(true, Ordering::SeqCst);
        self.thread.take().expect("once").join().expect("no panic");
        std::mem::take(&mut self.seen.lock().expect("no panic"))
    }
}
