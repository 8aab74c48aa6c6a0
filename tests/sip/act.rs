//! One call of an agent or of the subscriber, as far as it goes, and the messages that each side
//! might send next.

use bytes::Bytes;
use maskline::call::io::Peer;
use rand_chacha::ChaCha8Rng;

use crate::brain::{Brain, X, carrier, pbx};
use crate::mutate::below;

/// A call that goes on while its messages are mutated.
pub(crate) struct Act {
    number: u64,
    caller: Peer,
    callee: Peer,
    /// Our tag on the caller's side.
    to_tag: String,
    /// What the callee was sent.
    invite: String,
    branches: u64,
}

/// How far a call is when the mutated messages come.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Depth {
    Called,
    Ringing,
    Answered,
    Bridged,
}

impl Act {
    /// Places a call that goes as far as `depth`. Its messages are not mutated.
    pub(crate) fn begin(brain: &mut Brain, number: u64, depth: Depth) -> Self {
        let sides = if number.is_multiple_of(3) { [carrier(), pbx()] } else { [pbx(), carrier()] };
        let [caller, callee] = sides;
        let (to_tag, invite) = (String::new(), String::new());
        let mut act = Self { number, caller, callee, to_tag, invite, branches: 0 };
        let attempt = act.request("INVITE", "first", 1, SDP);
        brain.receive(caller, attempt.into());
        let invite = brain.last_sent(callee, "INVITE ").expect("the callee is called");
        act.invite = invite.to_owned();
        for (wanted, status) in [(Depth::Ringing, "180 Ringing"), (Depth::Answered, "200 OK")] {
            if depth >= wanted {
                brain.receive(callee, act.reply(&act.invite, status, "bob").into());
                let answer = brain.last_sent(caller, "SIP/2.0 ").expect("the caller is told");
                act.to_tag = tag(&header(answer, "To"));
            }
        }
        if depth >= Depth::Bridged {
            brain.receive(caller, act.request("ACK", "acked", 1, "").into());
        }
        act
    }

    /// What one of the sides might send now.
    pub(crate) fn message(&mut self, brain: &Brain, rng: &mut ChaCha8Rng) -> (Peer, String) {
        self.branches += 1;
        let (branch, cseq) = (format!("m{}", self.branches), below(rng, 4) as u32 + 1);
        let method = METHODS[below(rng, METHODS.len())];
        let tag = ["bob", "bob", "fork", ""][below(rng, 4)];
        match below(rng, 5) {
            0 => (self.caller, self.request("CANCEL", "first", 1, "")),
            1 => (self.caller, self.request(method, &branch, cseq, SDP)),
            2 => (self.callee, self.callee_request(method, tag, &branch, cseq)),
            3 => {
                let status = STATUSES[below(rng, STATUSES.len())];
                (self.callee, self.reply(&self.invite, status, tag))
            }
            _ => {
                let peer = [self.caller, self.callee][below(rng, 2)];
                let asked = brain.last_sent(peer, ["BYE ", "CANCEL "][below(rng, 2)]);
                let asked = asked.unwrap_or(&self.invite);
                (peer, self.reply(asked, "200 OK", "bob"))
            }
        }
    }

    /// Asks for a sign of life by a request that no message before has named.
    pub(crate) fn probe(&self) -> (Peer, Bytes) {
        let outside = |text: String| text.replace(&format!(";tag={}", self.to_tag), "");
        let text = self.request("OPTIONS", "probe", 1, "").replace("Call-ID: ", "Call-ID: probe-");
        (self.caller, if self.to_tag.is_empty() { text } else { outside(text) }.into())
    }

    fn request(&self, method: &str, branch: &str, cseq: u32, body: &str) -> String {
        let (host, number) = (self.caller.address, self.number);
        let to_tag = match self.to_tag.as_str() {
            "" => String::new(),
            _ if method == "CANCEL" => String::new(),
            tag => format!(";tag={tag}"),
        };
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        format!(
            "{method} sip:{X}@203.0.113.5 SIP/2.0\r\n\
             Via: SIP/2.0/UDP {host};branch=z9hG4bK{number}{branch};rport\r\nMax-Forwards: 70\r\n\
             From: \"Desk\" <sip:13800001234@{host}>;tag=from{number}\r\n\
             To: <sip:{X}@203.0.113.5>{to_tag}\r\nCall-ID: {number}@h\r\nCSeq: {cseq} {method}\r\n\
             Contact: <sip:8001@{host}>\r\n{kind}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    fn reply(&self, request: &str, status: &str, to_tag: &str) -> String {
        let body = if status.starts_with("200") { SDP } else { "" };
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        let [via, from, to, call_id, cseq] =
            ["Via", "From", "To", "Call-ID", "CSeq"].map(|name| header(request, name));
        let has_tag = to_tag.is_empty() || to.contains(";tag=");
        let to = if has_tag { to } else { format!("{to};tag={to_tag}") };
        format!(
            "SIP/2.0 {status}\r\nVia: {via}\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\n\
             CSeq: {cseq}\r\nContact: <sip:callee@{}>\r\n{kind}Content-Length: {}\r\n\r\n{body}",
            self.callee.address,
            body.len()
        )
    }

    /// A request of the callee inside the dialog that our INVITE has begun.
    fn callee_request(&self, method: &str, to_tag: &str, branch: &str, cseq: u32) -> String {
        let [from, to, call_id] = ["To", "From", "Call-ID"].map(|name| header(&self.invite, name));
        format!(
            "{method} sip:203.0.113.5:5060 SIP/2.0\r\n\
             Via: SIP/2.0/UDP {};branch=z9hG4bK{}c{branch}\r\nMax-Forwards: 70\r\n\
             From: {from};tag={to_tag}\r\nTo: {to}\r\nCall-ID: {call_id}\r\n\
             CSeq: {cseq} {method}\r\nContent-Length: 0\r\n\r\n",
            self.callee.address, self.number
        )
    }
}

const METHODS: [&str; 8] =
    ["INVITE", "ACK", "BYE", "OPTIONS", "INFO", "PRACK", "UPDATE", "FROBNICATE"];
const STATUSES: [&str; 7] = [
    "100 Trying",
    "180 Ringing",
    "183 Session Progress",
    "200 OK",
    "302 Moved Temporarily",
    "486 Busy Here",
    "503 Service Unavailable",
];
const SDP: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.20\r\ns=-\r\nc=IN IP4 192.0.2.20\r\nt=0 0\r\n\
                   m=audio 4000 RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\n\
                   a=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n";

/// The first value of a header; empty when absent.
pub(crate) fn header(text: &str, name: &str) -> String {
    let head = text.split("\r\n\r\n").next().unwrap_or_default();
    let mut lines = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
    let found = lines.find(|(found, _)| found.trim().eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
}

fn tag(value: &str) -> String {
    value.split(";tag=").nth(1).unwrap_or_default().split(';').next().unwrap_or_default().to_owned()
}
