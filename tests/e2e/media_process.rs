//! The media plane in a process of its own: a call speaks on while the signalling is killed and
//! started again.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use rustix::process::Signal;

use crate::peers::{INSURER, PATIENCE, until};
use crate::service::{Service, http_get};
use crate::torture::header;

const REAL: &str = "+8613800001234";

/// A peer of SIP over UDP, written by hand: it stays in its call however long.
pub(crate) struct Peer {
    sip: UdpSocket,
    rtp: UdpSocket,
    sequence: u16,
}

impl Peer {
    pub(crate) fn new(address: SocketAddr) -> Self {
        let bind = |address: SocketAddr| {
            let socket = UdpSocket::bind(address).expect("a free port");
            socket.set_read_timeout(Some(PATIENCE)).expect("an option");
            socket
        };
        let rtp = bind(SocketAddr::new(address.ip(), 0));
        Self { sip: bind(address), rtp, sequence: 0 }
    }

    fn own(&self) -> SocketAddr {
        self.sip.local_addr().expect("bound")
    }

    fn sdp(&self) -> String {
        let (ip, port) = (self.own().ip(), self.rtp.local_addr().expect("bound").port());
        format!(
            "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
             m=audio {port} RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n"
        )
    }

    /// The next message that starts so.
    pub(crate) fn expect(&self, start: &str) -> String {
        let mut buffer = [0; 4_096];
        loop {
            let count = self.sip.recv(&mut buffer).unwrap_or_else(|_| panic!("waited for {start}"));
            let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
            if text.starts_with(start) {
                return text;
            }
        }
    }

    /// Answers the next call; where the relay listens for its sound.
    fn answer(&self, relay: SocketAddr) -> SocketAddr {
        let invite = self.expect("INVITE ");
        self.answer_with(&invite, "200 OK", "", relay)
    }

    /// The same with this status and these headers to an INVITE that has come.
    pub(crate) fn answer_with(
        &self,
        invite: &str,
        status: &str,
        headers: &str,
        relay: SocketAddr,
    ) -> SocketAddr {
        let head = invite.split("\r\n\r\n").next().unwrap_or_default();
        let [via, from, to, call_id, cseq] =
            ["via", "from", "to", "call-id", "cseq"].map(|name| header(head, &[name]));
        let (own, sdp) = (self.own(), self.sdp());
        let answer = format!(
            "SIP/2.0 {status}\r\n{headers}Via: {via}\r\nFrom: {from}\r\nTo: {to};tag=b\r\n\
             Call-ID: {call_id}\r\nCSeq: {cseq}\r\nContact: <sip:{own}>\r\n\
             Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
            sdp.len()
        );
        self.sip.send_to(answer.as_bytes(), relay).expect("sent");
        media_of(invite)
    }

    pub(crate) fn invite(&self, x: &str, relay: SocketAddr) {
        let (own, sdp) = (self.own(), self.sdp());
        let invite = format!(
            "INVITE sip:{x}@{relay} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bKm;rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:4821@{own}>;tag=a\r\nTo: <sip:{x}@{relay}>\r\n\
             Call-ID: media-{own}\r\nCSeq: 1 INVITE\r\nContact: <sip:4821@{own}>\r\n\
             Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
            sdp.len()
        );
        self.sip.send_to(invite.as_bytes(), relay).expect("sent");
    }

    /// The relay's answer, and the ACK for it; where the relay listens for its sound.
    pub(crate) fn is_answered(&self, relay: SocketAddr) -> SocketAddr {
        let answer = self.expect("SIP/2.0 200 ");
        let head = answer.split("\r\n\r\n").next().unwrap_or_default();
        let [from, to, call_id] = ["from", "to", "call-id"].map(|name| header(head, &[name]));
        let ack = format!(
            "ACK sip:{relay} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bKn;rport\r\n\
             Max-Forwards: 70\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\n\
             CSeq: 1 ACK\r\nContent-Length: 0\r\n\r\n",
            self.own()
        );
        self.sip.send_to(ack.as_bytes(), relay).expect("sent");
        media_of(&answer)
    }

    /// 20 ms of sound, never the same.
    fn speak(&mut self, to: SocketAddr) -> u8 {
        let word = self.sequence.wrapping_add(1) as u8;
        self.say(to, word);
        word
    }

    /// 20 ms of this word.
    pub(crate) fn say(&mut self, to: SocketAddr, word: u8) {
        self.sequence += 1;
        let mut packet = vec![0x80, 8];
        packet.extend(self.sequence.to_be_bytes());
        packet.extend((u32::from(self.sequence) * 160).to_be_bytes());
        packet.extend([9, 9, 9, 9]);
        packet.extend([word; 160]);
        self.rtp.send_to(&packet, to).expect("sent");
    }

    /// How long it listens for one packet.
    pub(crate) fn set_patience(&self, patience: Option<Duration>) {
        self.rtp.set_read_timeout(patience).expect("an option");
    }

    /// The word of a packet, if one comes.
    pub(crate) fn hears(&self) -> Option<u8> {
        let mut buffer = [0; 2_048];
        let count = self.rtp.recv(&mut buffer).ok()?;
        assert_eq!(count, 172);
        Some(buffer[100])
    }

    fn hear(&self) -> u8 {
        self.hears().expect("sound")
    }
}

fn media_of(message: &str) -> SocketAddr {
    let value = |start: &str| {
        let line = message.lines().find_map(|line| line.strip_prefix(start));
        line.and_then(|rest| rest.split(' ').next()).expect("in every SDP of the relay")
    };
    let ip = value("c=IN IP4 ").parse().expect("an address");
    SocketAddr::new(ip, value("m=audio ").parse().expect("a port"))
}

/// The two peers and where each speaks to.
struct Talk {
    agent: (Peer, SocketAddr),
    subscriber: (Peer, SocketAddr),
}

impl Talk {
    fn begin(service: &Service, x: &str, agent: Peer, subscriber: Peer) -> Self {
        agent.invite(x, service.sip);
        let to_b = subscriber.answer(service.sip);
        let to_a = agent.is_answered(service.sip);
        let mut talk = Self { agent: (agent, to_a), subscriber: (subscriber, to_b) };
        // The answer may be faster than the ports are joined.
        talk.agent.0.rtp.set_nonblocking(true).expect("an option");
        until("the first sound", || {
            let (subscriber, to) = &mut talk.subscriber;
            subscriber.speak(*to);
            talk.agent.0.rtp.recv(&mut [0; 2_048]).ok()
        });
        talk.agent.0.rtp.set_nonblocking(false).expect("an option");
        talk
    }

    fn goes_on(&mut self) {
        let Self { agent: (agent, to_a), subscriber: (subscriber, to_b) } = self;
        for _ in 0..10 {
            let said = agent.speak(*to_a);
            assert_eq!(subscriber.hear(), said);
            let said = subscriber.speak(*to_b);
            // What was said before the ports were joined may still be on its way.
            while agent.hear() != said {}
        }
    }
}

#[test]
fn a_media_plane_that_is_told_to_end_ends_well_and_so_do_its_calls() {
    let mut service = Service::start_apart("media-ends");
    let binding = service.bind("E-1", REAL);
    let x = binding["virtual_number"].as_str().expect("a number").to_owned();
    let agent = Peer::new(SocketAddr::new(INSURER.parse().expect("an address"), 0));
    let subscriber = Peer::new(service.sides.carrier);
    let mut talk = Talk::begin(&service, &x, agent, subscriber);
    talk.goes_on();
    let mut media = service.media.take().expect("a process");
    media.signal(Signal::TERM);
    let status = media.wait();
    assert!(status.success(), "it ended with {status}:\n{}", media.text());
    talk.agent.0.expect("BYE ");
    talk.subscriber.0.expect("BYE ");
    let record = &service.records(1)[0];
    assert_eq!((&record["cause"], &record["sip_status"]), (&"media_lost".into(), &200.into()));
}

#[test]
fn a_call_speaks_on_while_the_signalling_is_killed_and_started_again() {
    let mut service = Service::start_apart("media-process");
    let binding = service.bind("E-1", REAL);
    let x = binding["virtual_number"].as_str().expect("a number").to_owned();
    let agent = Peer::new(SocketAddr::new(INSURER.parse().expect("an address"), 0));
    let subscriber = Peer::new(service.sides.carrier);
    let mut talk = Talk::begin(&service, &x, agent, subscriber);
    talk.goes_on();
    service.kill_and_start_again();
    talk.goes_on();
    let found = "maskline_media_sessions_found_total 1";
    until("the session", || {
        http_get(service.admin, "/metrics").filter(|(_, page)| page.contains(found))
    });
    talk.goes_on();

    // A new call gets ports beside it, and ends when there is no media plane any more.
    let agent = Peer::new(SocketAddr::new(INSURER.parse().expect("an address"), 0));
    let mut second = Talk::begin(&service, &x, agent, talk.subscriber.0);
    second.goes_on();
    service.media.take().expect("a process").signal(Signal::KILL);
    second.agent.0.expect("BYE ");
    let record = until("the record", || {
        let records = service.records(1);
        records.into_iter().find(|record| record["cause"] == "media_lost")
    });
    assert_eq!(record["sip_status"], 200, "{record}");
}
