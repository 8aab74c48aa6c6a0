//! A peer of SIP over UDP with its sound, written by hand: it says what it is told to, listens to
//! every sample, and stays in its call however long.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use maskline::rtp::g711::A_LAW_SILENCE;

use crate::peers::PATIENCE;
use crate::torture::header;

/// Samples of a frame, and its bytes.
pub(crate) const FRAME: usize = 160;
const RTP_HEADER: usize = 12;
/// A-law.
const SOUND_TYPE: u8 = 8;
/// Telephone events.
const KEY_TYPE: u8 = 101;
/// How often a listener looks whether it shall go on.
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub(crate) struct Peer {
    sip: UdpSocket,
    pub(crate) rtp: UdpSocket,
    sequence: u16,
    /// Calls that it has begun.
    calls: Cell<u32>,
    /// What it was waited for and has come.
    heard: RefCell<BTreeSet<String>>,
}

/// A call as one of its sides knows it.
#[derive(Clone)]
pub(crate) struct Dialog {
    from: String,
    to: String,
    call_id: String,
    requests: u32,
}

impl Peer {
    pub(crate) fn new(address: SocketAddr) -> Self {
        let bind = |address: SocketAddr| {
            let socket = UdpSocket::bind(address).expect("a free port");
            socket.set_read_timeout(Some(PATIENCE)).expect("an option");
            socket
        };
        let rtp = bind(SocketAddr::new(address.ip(), 0));
        let heard = RefCell::default();
        Self { sip: bind(address), rtp, sequence: 0, calls: Cell::new(0), heard }
    }

    fn own(&self) -> SocketAddr {
        self.sip.local_addr().expect("bound")
    }

    /// Where it sends sound from, and wants to hear it.
    pub(crate) fn ear(&self) -> SocketAddr {
        self.rtp.local_addr().expect("bound")
    }

    /// What it offers and answers.
    pub(crate) fn sdp(&self) -> String {
        sdp(self.ear())
    }

    /// The next message that starts so.
    pub(crate) fn expect(&self, start: &str) -> String {
        self.expect_among(&[start])
    }

    /// The next message that starts in one of these ways, and is no repeat of one before: on a busy
    /// machine an answer may come late.
    pub(crate) fn expect_among(&self, starts: &[&str]) -> String {
        let mut buffer = [0; 4_096];
        loop {
            let count =
                self.sip.recv(&mut buffer).unwrap_or_else(|_| panic!("waited for {starts:?}"));
            let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
            let is_it = starts.iter().any(|start| text.starts_with(start));
            if is_it && self.heard.borrow_mut().insert(text.clone()) {
                return text;
            }
        }
    }

    pub(crate) fn send(&self, message: &str, relay: SocketAddr) {
        self.sip.send_to(message.as_bytes(), relay).expect("sent");
    }

    /// Answers the next call; where the relay listens for its sound.
    pub(crate) fn answer(&self, relay: SocketAddr) -> SocketAddr {
        let invite = self.expect("INVITE ");
        self.answer_with(&invite, "200 OK", "", relay)
    }

    /// The same with this status and these headers to a request with an offer that has come.
    pub(crate) fn answer_with(
        &self,
        request: &str,
        status: &str,
        headers: &str,
        relay: SocketAddr,
    ) -> SocketAddr {
        self.respond(request, status, headers, &self.sdp(), relay);
        media_of(request)
    }

    /// Answers a request with this body.
    pub(crate) fn respond(
        &self,
        request: &str,
        status: &str,
        headers: &str,
        sdp: &str,
        relay: SocketAddr,
    ) {
        let [via, from, mut to, call_id, cseq] = values(request);
        if !to.contains(";tag=") {
            to.push_str(";tag=b");
        }
        let own = self.own();
        let kind = if sdp.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        let answer = format!(
            "SIP/2.0 {status}\r\n{headers}Via: {via}\r\nFrom: {from}\r\nTo: {to}\r\n\
             Call-ID: {call_id}\r\nCSeq: {cseq}\r\nContact: <sip:{own}>\r\n\
             {kind}Content-Length: {}\r\n\r\n{sdp}",
            sdp.len()
        );
        self.send(&answer, relay);
    }

    pub(crate) fn invite(&self, x: &str, relay: SocketAddr) {
        self.invite_as("4821", x, "", &self.sdp(), relay);
    }

    /// Calls as this user, with these headers and this offer.
    pub(crate) fn invite_as(
        &self,
        user: &str,
        x: &str,
        headers: &str,
        sdp: &str,
        relay: SocketAddr,
    ) {
        self.send(&self.write_invite(user, x, headers, sdp, relay), relay);
    }

    /// The INVITE of its next call.
    pub(crate) fn write_invite(
        &self,
        user: &str,
        x: &str,
        headers: &str,
        sdp: &str,
        relay: SocketAddr,
    ) -> String {
        let own = self.own();
        self.calls.set(self.calls.get() + 1);
        let nth = self.calls.get();
        format!(
            "INVITE sip:{x}@{relay} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {own};branch=z9hG4bKm{nth};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:{user}@{own}>;tag=a\r\nTo: <sip:{x}@{relay}>\r\n\
             Call-ID: media-{nth}-{own}\r\nCSeq: 1 INVITE\r\nContact: <sip:{user}@{own}>\r\n\
             {headers}Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
            sdp.len()
        )
    }

    /// The relay's answer, and the ACK for it; where the relay listens for its sound.
    pub(crate) fn is_answered(&self, relay: SocketAddr) -> SocketAddr {
        self.is_confirmed(relay).0
    }

    /// The same, with the call that has begun.
    pub(crate) fn is_confirmed(&self, relay: SocketAddr) -> (SocketAddr, Dialog) {
        let answer = self.expect("SIP/2.0 200 ");
        self.acknowledge(&answer, relay);
        let [_, from, to, call_id, _] = values(&answer);
        (media_of(&answer), Dialog { from, to, call_id, requests: 1 })
    }

    /// The ACK for a final answer to an INVITE. One for a refusal belongs to its transaction.
    pub(crate) fn acknowledge(&self, answer: &str, relay: SocketAddr) {
        let [via, from, to, call_id, cseq] = values(answer);
        let number = cseq.split(' ').next().unwrap_or_default();
        let is_refusal = !answer.starts_with("SIP/2.0 2");
        let branch = via.split("branch=").nth(1).and_then(|rest| rest.split(';').next());
        let branch = branch.filter(|_| is_refusal).unwrap_or("z9hG4bKn");
        let ack = format!(
            "ACK sip:{relay} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch={branch};rport\r\n\
             Max-Forwards: 70\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\n\
             CSeq: {number} ACK\r\nContent-Length: 0\r\n\r\n",
            self.own()
        );
        self.send(&ack, relay);
    }

    /// A request within a call.
    pub(crate) fn request(
        &self,
        dialog: &mut Dialog,
        method: &str,
        headers: &str,
        body: &str,
        relay: SocketAddr,
    ) {
        dialog.requests += 1;
        let (Dialog { from, to, call_id, requests }, own) = (dialog, self.own());
        let request = format!(
            "{method} sip:{relay} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {own};branch=z9hG4bKr{requests}{method};rport\r\n\
             Max-Forwards: 70\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\n\
             CSeq: {requests} {method}\r\nContact: <sip:{own}>\r\n\
             {headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.send(&request, relay);
    }

    /// 20 ms of sound, never the same.
    pub(crate) fn speak(&mut self, to: SocketAddr) -> u8 {
        let word = self.sequence.wrapping_add(1) as u8;
        self.say(to, word);
        word
    }

    /// 20 ms of this word.
    pub(crate) fn say(&mut self, to: SocketAddr, word: u8) {
        self.say_frame(to, &[word; FRAME]);
    }

    /// 20 ms of sound.
    pub(crate) fn say_frame(&mut self, to: SocketAddr, frame: &[u8]) {
        self.sequence += 1;
        let at = u32::from(self.sequence) * FRAME as u32;
        let packet = packet(SOUND_TYPE, self.sequence, at, frame);
        self.rtp.send_to(&packet, to).expect("sent");
    }

    /// The packet that it would say next, with this word.
    pub(crate) fn next_packet(&self, word: u8) -> Vec<u8> {
        let sequence = self.sequence + 1;
        packet(SOUND_TYPE, sequence, u32::from(sequence) * FRAME as u32, &[word; FRAME])
    }

    /// Its sound is at another port from now on; the socket of the old one.
    pub(crate) fn move_ear(&mut self) -> UdpSocket {
        let next = UdpSocket::bind((self.own().ip(), 0)).expect("a free port");
        next.set_read_timeout(Some(PATIENCE)).expect("an option");
        std::mem::replace(&mut self.rtp, next)
    }

    /// Presses a key for 60 ms, told by telephone events.
    pub(crate) fn press(&mut self, to: SocketAddr, event: u8) {
        let at = (u32::from(self.sequence) + 1) * FRAME as u32;
        let durations = [(160_u16, 0_u8), (320, 0), (480, 0x80), (480, 0x80), (480, 0x80)];
        for (nth, (duration, end)) in durations.into_iter().enumerate() {
            self.sequence += 1;
            let marker = if nth == 0 { 0x80 } else { 0 };
            let [high, low] = duration.to_be_bytes();
            let payload = [event, end | 10, high, low];
            let packet = packet(KEY_TYPE | marker, self.sequence, at, &payload);
            self.rtp.send_to(&packet, to).expect("sent");
        }
    }

    /// How long it listens for one packet.
    pub(crate) fn set_patience(&self, patience: Option<Duration>) {
        self.rtp.set_read_timeout(patience).expect("an option");
    }

    /// The word of a packet, if one comes.
    pub(crate) fn hears(&self) -> Option<u8> {
        let mut buffer = [0; 2_048];
        let count = self.rtp.recv(&mut buffer).ok()?;
        assert_eq!(count, RTP_HEADER + FRAME);
        Some(buffer[100])
    }

    pub(crate) fn hear(&self) -> u8 {
        self.hears().expect("sound")
    }

    /// From now on it writes down all that it hears.
    pub(crate) fn listen(&self) -> Listener {
        Listener::new(self.rtp.try_clone().expect("a second handle"))
    }
}

impl Dialog {
    /// What a callee knows that has answered this INVITE.
    pub(crate) fn of_callee(invite: &str) -> Self {
        let [_, to, from, call_id, _] = values(invite);
        Self { from: format!("{from};tag=b"), to, call_id, requests: 0 }
    }
}

/// Via, From, To, Call-ID and CSeq.
fn values(message: &str) -> [String; 5] {
    let head = message.split("\r\n\r\n").next().unwrap_or_default();
    ["via", "from", "to", "call-id", "cseq"].map(|name| header(head, &[name]))
}

/// An offer of A-law and telephone events at this address.
pub(crate) fn sdp(ear: SocketAddr) -> String {
    let (ip, port) = (ear.ip(), ear.port());
    format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 8 101\r\na=rtpmap:8 PCMA/8000\r\n\
         a=rtpmap:101 telephone-event/8000\r\n"
    )
}

/// An RTP packet of the peers' one stream.
pub(crate) fn packet(kind: u8, sequence: u16, timestamp: u32, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, kind];
    packet.extend(sequence.to_be_bytes());
    packet.extend(timestamp.to_be_bytes());
    packet.extend([9, 9, 9, 9]);
    packet.extend(payload);
    packet
}

/// Where the relay listens, by its SDP.
pub(crate) fn media_of(message: &str) -> SocketAddr {
    let value = |start: &str| {
        let line = message.lines().find_map(|line| line.strip_prefix(start));
        line.and_then(|rest| rest.split(' ').next()).expect("in every SDP of the relay")
    };
    let ip = value("c=IN IP4 ").parse().expect("an address");
    SocketAddr::new(ip, value("m=audio ").parse().expect("a port"))
}

/// As they came.
type Packets = Mutex<Vec<Vec<u8>>>;

/// Somebody who writes down what comes to a socket of RTP, until it is dropped.
pub(crate) struct Listener {
    packets: Arc<Packets>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    fn new(socket: UdpSocket) -> Self {
        socket.set_read_timeout(Some(LOOK_EVERY)).expect("an option");
        let (packets, is_over) = (Arc::<Packets>::default(), Arc::<AtomicBool>::default());
        let (to, flag) = (Arc::clone(&packets), Arc::clone(&is_over));
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 2_048];
            while !flag.load(Ordering::Relaxed) {
                if let Ok(count) = socket.recv(&mut buffer) {
                    to.lock().expect("no panic").push(buffer[..count].to_vec());
                }
            }
        });
        Self { packets, is_over, thread: Some(thread) }
    }

    /// The samples, in the order in which they were said, and silence where nothing was.
    pub(crate) fn sound(&self) -> Vec<u8> {
        let packets = self.packets.lock().expect("no panic");
        let mut frames = BTreeMap::new();
        let mut first = None;
        for packet in packets.iter().filter(|packet| packet.len() > RTP_HEADER) {
            let at = u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]]);
            let first = *first.get_or_insert(at);
            if packet[1] & 0x7f == SOUND_TYPE {
                frames.insert(at.wrapping_sub(first), &packet[RTP_HEADER..]);
            }
        }
        let mut sound = Vec::new();
        for (at, frame) in frames {
            if sound.len() < at as usize {
                sound.resize(at as usize, A_LAW_SILENCE);
            }
            sound.extend_from_slice(frame);
        }
        sound
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its panic has been reported.
            let _ = thread.join();
        }
    }
}
