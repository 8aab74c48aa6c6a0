//! A running plane, calls through it, and peers with sockets of their own. Every world has a
//! loopback address of its own, so that tests and test runs do not meet.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use maskline::media::{Link, Plane, PlaneConfig};
use maskline::rtp::header::Header;
use maskline::rtp::plane::{Command, PayloadMap, RemoteMedia, Report, SessionId, Side};

/// Longer than anything takes that is waited for; reports come at most 7.5 s apart.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

static WORLDS: AtomicU8 = AtomicU8::new(1);

/// An address that no other test has, and its number.
pub(crate) fn next_ip() -> (u8, IpAddr) {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let number = WORLDS.fetch_add(1, Ordering::Relaxed);
    (number, IpAddr::V4(Ipv4Addr::new(127, high.max(1), low, number)))
}

pub(crate) struct World {
    pub(crate) plane: Plane,
    pub(crate) link: Link,
    pub(crate) ip: IpAddr,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    /// A world whose plane differs from the usual.
    pub(crate) fn with(change: impl FnOnce(&mut PlaneConfig)) -> Self {
        let (number, ip) = next_ip();
        let mut config = PlaneConfig::on(ip, [number; 32]);
        change(&mut config);
        let (plane, mut links) =
            Plane::start(&config, vec![Box::new(|| {})]).expect("a running plane");
        Self { plane, link: links.remove(0), ip }
    }

    pub(crate) fn report(&mut self) -> Report {
        self.link.wait_report(PATIENCE).expect("a report")
    }

    pub(crate) fn send(&mut self, command: Command) {
        self.link.send(command).expect("room for a command");
    }

    /// A call with open ports whose sides are not joined.
    pub(crate) fn open(&mut self, number: u128) -> Call {
        let session = SessionId(number);
        self.send(Command::Open { session });
        let report = self.report();
        let Report::Opened { local, .. } = report else { panic!("{report:?}") };
        Call::new(session, local, self.ip)
    }

    /// Joins the sides, and waits until they are.
    pub(crate) fn bridge(&mut self, call: &Call) {
        let session = call.session;
        for (side, phone) in [(Side::A, &call.a), (Side::B, &call.b)] {
            self.send(Command::Update { session, side, remote: phone.remote(), keys: None });
        }
        self.send(Command::Bridge { session });
        self.fence();
    }

    /// A call whose sides talk.
    pub(crate) fn call(&mut self, number: u128) -> Call {
        let call = self.open(number);
        self.bridge(&call);
        call
    }

    /// The same where no other call has room. The first packets tell when the sides are joined.
    pub(crate) fn call_alone(&mut self, number: u128) -> Call {
        let mut call = self.open(number);
        let session = call.session;
        for (side, phone) in [(Side::A, &call.a), (Side::B, &call.b)] {
            self.send(Command::Update { session, side, remote: phone.remote(), keys: None });
        }
        self.send(Command::Bridge { session });
        call.knock();
        call
    }

    /// Commands are taken in order: when this one is answered, the earlier ones are done.
    pub(crate) fn fence(&mut self) {
        let session = SessionId(u128::MAX);
        self.send(Command::Open { session });
        assert!(matches!(self.report(), Report::Opened { .. }));
        self.send(Command::Close { session });
        assert!(matches!(self.report(), Report::Closed { .. }));
    }

    pub(crate) fn stranger(&self) -> UdpSocket {
        socket(self.ip)
    }
}

pub(crate) struct Call {
    pub(crate) session: SessionId,
    /// Our RTP address towards A and towards B.
    pub(crate) relay: [SocketAddr; 2],
    pub(crate) a: Phone,
    pub(crate) b: Phone,
}

impl Call {
    pub(crate) fn new(session: SessionId, relay: [SocketAddr; 2], ip: IpAddr) -> Self {
        Self { session, relay, a: Phone::new(ip, relay[0]), b: Phone::new(ip, relay[1]) }
    }

    /// RTP and RTCP of both sides.
    pub(crate) fn relay_ports(&self) -> [SocketAddr; 4] {
        let rtcp = |rtp: SocketAddr| SocketAddr::new(rtp.ip(), rtp.port() + 1);
        let [a, b] = self.relay;
        [a, rtcp(a), b, rtcp(b)]
    }

    /// A speaks until B hears it.
    pub(crate) fn knock(&mut self) {
        let turn = Duration::from_millis(5);
        self.b.rtp.set_read_timeout(Some(turn)).expect("an option");
        let mut buffer = [0; 64];
        let mut said = 0;
        while self.b.rtp.recv(&mut buffer).is_err() {
            self.a.speak();
            said += 1;
            assert!(said < 4_000, "B never hears A");
        }
        // Of what was said meanwhile, the last shall be the next to be heard.
        let last = self.a.speak();
        self.b.rtp.set_read_timeout(Some(PATIENCE)).expect("an option");
        while payload(&self.b.hear()) != last {}
    }

    /// Both sides speak by turns: each packet has to arrive as the next one. In the meantime the
    /// relay takes at least so many packets from each of its other sockets.
    pub(crate) fn talk(&mut self, packets: u16) {
        for _ in 0..packets {
            let said = self.a.speak();
            assert_eq!(payload(&self.b.hear()), said, "B hears what A said");
            let said = self.b.speak();
            assert_eq!(payload(&self.a.hear()), said, "A hears what B said");
        }
    }
}

/// One side's peer.
pub(crate) struct Phone {
    pub(crate) rtp: UdpSocket,
    pub(crate) rtcp: UdpSocket,
    pub(crate) relay: SocketAddr,
    pub(crate) ssrc: u32,
    pub(crate) sequence: u16,
}

impl Phone {
    fn new(ip: IpAddr, relay: SocketAddr) -> Self {
        let (rtp, rtcp) = (socket(ip), socket(ip));
        let ssrc = 0x1000_0000 | u32::from(relay.port());
        Self { rtp, rtcp, relay, ssrc, sequence: 100 }
    }

    pub(crate) fn remote(&self) -> RemoteMedia {
        let mut payloads = PayloadMap::default();
        payloads.0[0] = Some(8);
        RemoteMedia {
            rtp: self.rtp.local_addr().expect("bound"),
            rtcp: self.rtcp.local_addr().expect("bound"),
            payloads_to: payloads,
            payloads_from: payloads,
            receives: true,
            sends: true,
            learning: false,
        }
    }

    /// Says something that was not said before, and returns it.
    pub(crate) fn speak(&mut self) -> Vec<u8> {
        let packet = self.packet();
        self.send(&packet);
        payload(&packet)
    }

    /// The next packet of its stream.
    pub(crate) fn packet(&mut self) -> Vec<u8> {
        self.sequence = self.sequence.wrapping_add(1);
        rtp(self.ssrc, self.sequence)
    }

    pub(crate) fn send(&self, packet: &[u8]) {
        self.rtp.send_to(packet, self.relay).expect("sent");
    }

    pub(crate) fn send_rtcp(&self, packet: &[u8]) {
        let to = SocketAddr::new(self.relay.ip(), self.relay.port() + 1);
        self.rtcp.send_to(packet, to).expect("sent");
    }

    /// The next packet, which must come from the relay's port of this side.
    pub(crate) fn hear(&self) -> Vec<u8> {
        let (packet, from) = receive(&self.rtp);
        assert_eq!(from, self.relay);
        packet
    }
}

/// A socket whose reads give up in the end.
pub(crate) fn socket(ip: IpAddr) -> UdpSocket {
    let socket = UdpSocket::bind((ip, 0)).expect("a free port");
    socket.set_read_timeout(Some(PATIENCE)).expect("an option");
    socket
}

pub(crate) fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 4096];
    let (length, from) = socket.recv_from(&mut buffer).expect("a packet in time");
    (buffer[..length].to_vec(), from)
}

/// Nothing has arrived. Only for what must have been answered already.
pub(crate) fn assert_silent(socket: &UdpSocket) {
    socket.set_nonblocking(true).expect("an option");
    let error = socket.recv(&mut [0; 64]).expect_err("a datagram");
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    socket.set_nonblocking(false).expect("an option");
}

/// A plain packet whose payload names its stream and number.
pub(crate) fn rtp(ssrc: u32, sequence: u16) -> Vec<u8> {
    let timestamp = u32::from(sequence) * 160;
    let (marker, payload_type, payload_start, payload_end) = (false, 8, 12, 172);
    let header =
        Header { marker, payload_type, sequence, timestamp, ssrc, payload_start, payload_end };
    let mut packet = header.to_bytes().to_vec();
    packet.extend(format!("{ssrc:08x} {sequence:05}").bytes().cycle().take(160));
    packet
}

pub(crate) fn payload(packet: &[u8]) -> Vec<u8> {
    let header = Header::parse(packet).expect("valid RTP");
    packet[header.payload_start..header.payload_end].to_vec()
}
