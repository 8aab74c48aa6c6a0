//! Two peers made of text, as cheap as they can be: what they cost is not measured.

#[path = "../../tests/support/route.rs"]
mod route;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use maskline::call::io::{Peer, PeerRole};
use maskline::domain::id::{TenantId, TrunkId};
use maskline::domain::number::RealNumber;
use maskline::domain::route::{Callee, RouteAnswer, RouteQuery};
use maskline::sip::transport::Transport;

const TENANT: TenantId = TenantId::from_u128(1);
const SDP: &str = "v=0\r\no=user1 53655765 2353687637 IN IP4 192.0.2.10\r\ns=-\r\n\
c=IN IP4 192.0.2.10\r\nt=0 0\r\nm=audio 6000 RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\n\
a=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n";

static REAL: LazyLock<Arc<RealNumber>> =
    LazyLock::new(|| Arc::new(RealNumber::parse("+8613800001234").expect("a made-up number")));

/// One datagram of the relay.
pub(crate) struct Said {
    pub(crate) to: SocketAddr,
    pub(crate) bytes: Bytes,
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

pub(crate) fn us() -> SocketAddr {
    address("203.0.113.5:5060")
}

pub(crate) fn local_media() -> [SocketAddr; 2] {
    [address("203.0.113.5:20000"), address("203.0.113.5:20002")]
}

pub(crate) fn pbx() -> Peer {
    Peer {
        address: address("192.0.2.10:5060"),
        transport: Transport::Udp,
        trunk: TrunkId::from_u128(2),
        role: PeerRole::Insurer { tenant: TENANT },
    }
}

pub(crate) fn carrier() -> Peer {
    Peer {
        address: address("198.51.100.1:5060"),
        transport: Transport::Udp,
        trunk: TrunkId::from_u128(3),
        role: PeerRole::Carrier,
    }
}

/// Every number is bound.
pub(crate) fn find_route(query: RouteQuery) -> RouteAnswer {
    let (RouteQuery::FromInsurer { dialled, .. } | RouteQuery::FromCarrier { dialled, .. }) = query;
    let callee = Callee::Subscriber(Arc::clone(&REAL));
    let targets = vec![route::target(&carrier())];
    RouteAnswer::Found(Box::new(route::route(TENANT, dialled, callee, targets)))
}

/// What both peers remember of one call.
pub(crate) struct Call {
    number: u64,
    /// Via, From, To, Call-ID and CSeq of B's INVITE.
    heads: String,
    /// To of the answer to the caller.
    to: String,
}

impl Call {
    pub(crate) fn new(number: u64) -> Self {
        Self { number, heads: String::new(), to: String::new() }
    }

    /// Bytes that the peers themselves hold for this call.
    pub(crate) const fn bytes(&self) -> usize {
        size_of::<Self>() + self.heads.capacity() + self.to.capacity()
    }

    pub(crate) fn invite(&self) -> String {
        let n = self.number;
        format!(
            "INVITE sip:700300000000001@203.0.113.5:5060 SIP/2.0\r\n\
             Via: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK-{n}-1-0\r\n\
             From: \"Agent\" <sip:4821@192.0.2.10:5060>;tag=7A{n}\r\n\
             To: <sip:700300000000001@203.0.113.5:5060>\r\n\
             Call-ID: {n}-4711@192.0.2.10\r\nCSeq: 1 INVITE\r\n\
             Contact: <sip:4821@192.0.2.10:5060>\r\nMax-Forwards: 70\r\n\
             Allow: INVITE, ACK, BYE, CANCEL, OPTIONS\r\nUser-Agent: pbx\r\n\
             Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{SDP}",
            SDP.len()
        )
    }

    /// The callee's side has got its INVITE.
    pub(crate) fn hear_invite(&mut self, said: &[Said]) {
        self.heads = heads(find(said, b"INVITE"));
    }

    /// An answer of the callee.
    pub(crate) fn answer(&self, status: u16) -> String {
        let tag = format!(";tag=8B{}", self.number);
        let heads = self.heads.replacen("\r\nCall-ID", &format!("{tag}\r\nCall-ID"), 1);
        let contact = "Contact: <sip:198.51.100.1:5060;transport=UDP>";
        let body = if status == 200 { SDP } else { "" };
        let length = body.len();
        format!(
            "SIP/2.0 {status} x\r\n{heads}{contact}\r\nContent-Type: application/sdp\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        )
    }

    /// The caller's side has got its 200.
    pub(crate) fn hear_answer(&mut self, said: &[Said]) {
        let text = find(said, b"SIP/2.0 200");
        let to = text.lines().find(|line| line.starts_with("To:"));
        self.to = to.expect("To is in every answer").to_owned();
    }

    pub(crate) fn caller_request(&self, method: &str, cseq: u32) -> String {
        let (n, to) = (self.number, &self.to);
        format!(
            "{method} sip:203.0.113.5:5060 SIP/2.0\r\n\
             Via: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK-{n}-1-{cseq}{method}\r\n\
             From: \"Agent\" <sip:4821@192.0.2.10:5060>;tag=7A{n}\r\n{to}\r\n\
             Call-ID: {n}-4711@192.0.2.10\r\nCSeq: {cseq} {method}\r\n\
             Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        )
    }
}

/// 200 to a BYE of the relay.
pub(crate) fn agree(said: &[Said]) -> String {
    format!("SIP/2.0 200 x\r\n{}Content-Length: 0\r\n\r\n", heads(find(said, b"BYE")))
}

/// What an answer repeats of a request.
fn heads(request: &str) -> String {
    let mut heads = String::new();
    for line in request.lines() {
        if ["Via:", "From:", "To:", "Call-ID:", "CSeq:"].iter().any(|name| line.starts_with(name)) {
            let _ = write!(heads, "{line}\r\n");
        }
    }
    heads
}

fn find<'a>(said: &'a [Said], start: &[u8]) -> &'a str {
    let found = said.iter().find(|said| said.bytes.starts_with(start));
    let found = found.expect("the relay has said it");
    assert!(!found.to.ip().is_unspecified());
    std::str::from_utf8(&found.bytes).expect("the relay writes text")
}
