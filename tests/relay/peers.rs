//! SIP peers by hand: a socket, and messages as text.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

/// Longer than any answer takes, shorter than a person's patience.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long silence is listened to.
const SILENCE: Duration = Duration::from_millis(300);

/// One end of a trunk.
pub(crate) struct Peer {
    socket: UdpSocket,
    relay: SocketAddr,
}

impl Peer {
    pub(crate) fn new(address: &str, relay: SocketAddr) -> Self {
        let socket = UdpSocket::bind(address).expect("a free port");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self { socket, relay }
    }

    /// The same one, after the relay has moved.
    pub(crate) fn calls_at(self, relay: SocketAddr) -> Self {
        Self { relay, ..self }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("bound")
    }

    /// Where the relay is for this peer.
    pub(crate) fn relay(&self) -> SocketAddr {
        self.relay
    }

    pub(crate) fn send(&self, text: &str) {
        self.socket.send_to(text.as_bytes(), self.relay).expect("sent");
    }

    /// The next message that starts so; others are passed over.
    pub(crate) fn expect(&self, start: &str) -> String {
        let mut buffer = [0; 65_535];
        loop {
            let (length, _) = self.socket.recv_from(&mut buffer).unwrap_or_else(|error| {
                panic!("waited for {start:?}: {error}");
            });
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if text.starts_with(start) {
                return text;
            }
        }
    }

    /// Nothing arrives.
    pub(crate) fn expect_silence(&self) {
        self.socket.set_read_timeout(Some(SILENCE)).expect("a timeout");
        let mut buffer = [0; 65_535];
        let heard = self.socket.recv_from(&mut buffer);
        self.socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        if let Ok((length, _)) = heard {
            panic!("heard {}", String::from_utf8_lossy(&buffer[..length]));
        }
    }

    /// Sends a request outside a dialog.
    pub(crate) fn invite(&self, caller: &str, dialled: &str, call: &str) {
        self.invite_with(caller, dialled, call, &sdp(40_000));
    }

    /// The same with this offer.
    pub(crate) fn invite_with(&self, caller: &str, dialled: &str, call: &str, body: &str) {
        let address = self.address();
        self.send(&format!(
            "INVITE sip:{dialled}@{relay} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {address};branch=z9hG4bK-{call};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:{caller}@{address}>;tag=a-{call}\r\n\
             To: <sip:{dialled}@{relay}>\r\nCall-ID: {call}\r\nCSeq: 1 INVITE\r\n\
             Contact: <sip:{caller}@{address}>\r\nContent-Type: application/sdp\r\n\
             Content-Length: {length}\r\n\r\n{body}",
            relay = self.relay,
            length = body.len(),
        ));
    }

    /// Takes an INVITE of [`Self::invite`] back.
    pub(crate) fn cancel(&self, caller: &str, dialled: &str, call: &str) {
        let (address, relay) = (self.address(), self.relay);
        self.send(&format!(
            "CANCEL sip:{dialled}@{relay} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {address};branch=z9hG4bK-{call};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:{caller}@{address}>;tag=a-{call}\r\n\
             To: <sip:{dialled}@{relay}>\r\nCall-ID: {call}\r\nCSeq: 1 CANCEL\r\n\
             Content-Length: 0\r\n\r\n"
        ));
    }

    /// Sends a request in the dialog of a call that was answered so.
    pub(crate) fn follow_up(&self, method: &str, sequence: u32, answer: &str, call: &str) {
        let (address, relay) = (self.address(), self.relay);
        let target = header(answer, "Contact");
        let target = target.trim_start_matches('<').split('>').next().expect("a target");
        let (from, to) = (header(answer, "From"), header(answer, "To"));
        self.send(&format!(
            "{method} {target} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {address};branch=z9hG4bK-{call}-{method}{sequence};rport\r\n\
             Max-Forwards: 70\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: {call}\r\n\
             CSeq: {sequence} {method}\r\nContent-Length: 0\r\n\r\n"
        ));
        assert!(target.contains(&relay.ip().to_string()), "{target}");
    }

    /// Ends a call that was answered by [`Self::answer`]; its INVITE says which.
    pub(crate) fn hang_up(&self, invite: &str) {
        let address = self.address();
        let target = header(invite, "Contact");
        let target = target.trim_start_matches('<').trim_end_matches('>');
        self.send(&format!(
            "BYE {target} SIP/2.0\r\nVia: SIP/2.0/UDP {address};branch=z9hG4bK-bye;rport\r\n\
             Max-Forwards: 70\r\nFrom: {from};tag=b\r\nTo: {to}\r\nCall-ID: {call}\r\n\
             CSeq: 1 BYE\r\nContent-Length: 0\r\n\r\n",
            from = header(invite, "To"),
            to = header(invite, "From"),
            call = header(invite, "Call-ID"),
        ));
    }

    /// Answers a request.
    pub(crate) fn answer(&self, request: &str, status: &str, body: &str) {
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        let address = self.address();
        let to = header(request, "To");
        let to = if to.contains("tag=") { to } else { format!("{to};tag=b") };
        self.send(&format!(
            "SIP/2.0 {status}\r\nVia: {via}\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: {call}\r\n\
             CSeq: {sequence}\r\nContact: <sip:b@{address}>\r\n{kind}\
             Content-Length: {length}\r\n\r\n{body}",
            via = header(request, "Via"),
            from = header(request, "From"),
            call = header(request, "Call-ID"),
            sequence = header(request, "CSeq"),
            length = body.len(),
        ));
    }
}

/// The first value of a header.
pub(crate) fn header(message: &str, name: &str) -> String {
    let start = format!("{name}: ");
    let line = message.lines().find_map(|line| line.strip_prefix(&start));
    line.unwrap_or_else(|| panic!("no {name} in {message}")).to_owned()
}

/// One audio line.
pub(crate) fn sdp(port: u16) -> String {
    sdp_at(SocketAddr::from(([127, 0, 0, 1], port)))
}

/// The same at this address.
pub(crate) fn sdp_at(at: SocketAddr) -> String {
    let (family, ip, port) = (if at.is_ipv4() { "IP4" } else { "IP6" }, at.ip(), at.port());
    format!(
        "v=0\r\no=- 1 1 IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n"
    )
}
