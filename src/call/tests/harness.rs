//! The brain between two peers made of text, in virtual time. It knows nothing of our own parser
//! and writer, so that both are judged from outside.

#[cfg(test)]
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use zeroize::Zeroizing;

use crate::call::config::CallConfig;
use crate::call::core::CallCore;
use crate::call::io::{
    Control, Input, LiveCall, Output, Peer, PeerRole, SecurityEvent, TrunkStatus,
};
use crate::domain::binding::BindingState;
use crate::domain::cdr::Cdr;
use crate::domain::id::{AgentId, BindingId, CallId, RecordingId, SubscriberId, TenantId, TrunkId};
use crate::domain::menu::MenuQuestion;
use crate::domain::network;
use crate::domain::now::Now;
use crate::domain::number::{RealNumber, VirtualNumber};
use crate::domain::recording::RecordingKey;
use crate::domain::ring::RingTone;
use crate::domain::route::{
    Callee, CallerParty, Hearer, Route, RouteAnswer, RouteQuery, TrunkTarget,
};
use crate::domain::whisper::{Unwanted, WhisperPolicy};
use crate::rtp::plane::{Command, Report, SideCounts};
use crate::sip::transport::{Hop, Transport};

pub(crate) const X: &str = "95012345678";
pub(crate) const BOB: &str = "+8613800001234";
pub(crate) const BINDING: BindingId = BindingId::from_u128(0xb1d);
pub(crate) const TENANT: TenantId = TenantId::from_u128(0x7e4);
pub(crate) const T1: Duration = Duration::from_millis(500);

pub(crate) fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// The moment at which every test begins.
#[expect(clippy::disallowed_methods, reason = "the one place where a test reads the clock")]
pub(crate) fn epoch() -> Now {
    let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    Now { monotonic: Instant::now(), wall }
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

pub(crate) fn us() -> SocketAddr {
    address("203.0.113.5:5060")
}

pub(crate) fn pbx() -> Peer {
    Peer {
        address: address("192.0.2.10:5060"),
        transport: Transport::Udp,
        trunk: TrunkId::from_u128(0xa),
        role: PeerRole::Insurer { tenant: TENANT },
    }
}

pub(crate) fn carrier() -> Peer {
    Peer {
        address: address("198.51.100.1:5060"),
        transport: Transport::Udp,
        trunk: TrunkId::from_u128(0xc1),
        role: PeerRole::Carrier,
    }
}

pub(crate) fn second_carrier() -> Peer {
    Peer {
        address: address("198.51.100.2:5060"),
        transport: Transport::Udp,
        trunk: TrunkId::from_u128(0xc2),
        role: PeerRole::Carrier,
    }
}

fn target(peer: Peer) -> TrunkTarget {
    TrunkTarget {
        trunk: peer.trunk,
        name: None,
        address: peer.address,
        transport: network::Transport::Udp,
    }
}

/// What an agent's attempt finds: an active binding and two carriers.
pub(crate) fn route() -> Route {
    let number = RealNumber::parse(BOB).expect("a valid number");
    Route {
        tenant: TENANT,
        tenant_active: true,
        binding: BINDING,
        state: BindingState::Active { expires_at: None },
        subscriber: SubscriberId::from_u128(0x5b),
        virtual_number: VirtualNumber::parse(X).expect("a valid number"),
        caller: CallerParty::Agent { id: AgentId::from_u128(0xa9), active: true },
        callee: Callee::Subscriber(Arc::new(number)),
        targets: vec![target(carrier()), target(second_carrier())],
        duration_max: None,
        hearer: Hearer::default(),
        agent_number: "4821".into(),
        allowed_purposes: None,
        do_not_call: Vec::new(),
        paused_until: None,
        is_blocked: false,
        caps: Vec::new(),
        recording: Some(Box::new(recording_key())),
        announced: None,
    }
}

/// With which a call is recorded, if it is.
fn recording_key() -> RecordingKey {
    RecordingKey {
        recording: RecordingId::from_u128(0x7ec),
        key: Zeroizing::new([5; 32].as_slice().into()),
        wrapped: [9; 60].as_slice().into(),
    }
}

/// What the subscriber's attempt finds: the tenant's desk.
pub(crate) fn desk_route() -> Route {
    Route {
        caller: CallerParty::Subscriber,
        callee: Callee::Desk("600".into()),
        targets: vec![target(pbx())],
        ..route()
    }
}

/// What the store says by itself when it is asked.
pub(crate) type Store = fn() -> Option<RouteAnswer>;

pub(crate) fn found() -> Option<RouteAnswer> {
    Some(RouteAnswer::Found(Box::new(route())))
}

/// The brain, its surroundings, and everything that ever came out of it.
pub(crate) struct Harness {
    pub(crate) core: CallCore,
    pub(crate) now: Now,
    /// Not yet looked at.
    pub(crate) sent: VecDeque<(SocketAddr, String)>,
    /// Everything that ever left, for privacy tests.
    pub(crate) wire: Vec<(SocketAddr, String)>,
    pub(crate) asked: Vec<(CallId, RouteQuery)>,
    pub(crate) orders: Vec<Command>,
    pub(crate) statuses: Vec<LiveCall>,
    pub(crate) cdrs: Vec<Cdr>,
    pub(crate) unwanted: Vec<Unwanted>,
    pub(crate) security: Vec<SecurityEvent>,
    pub(crate) trunk_statuses: Vec<TrunkStatus>,
    pub(crate) logins: Vec<(u64, Box<str>)>,
    pub(crate) proved: Vec<Hop>,
    pub(crate) menu_asked: Vec<MenuQuestion>,
    pub(crate) store: Store,
    /// The media plane opens and closes ports.
    pub(crate) has_media: bool,
    /// Also look at the 100s, which say nothing about a call.
    pub(crate) hears_trying: bool,
    /// Also look at the questions whether a peer is still there; else all peers are.
    pub(crate) hears_questions: bool,
}

impl Harness {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut CallConfig)) -> Self {
        let mut config = CallConfig::new(us());
        config.whisper.policy = WhisperPolicy::Off;
        config.announce_refusals = false;
        config.ring = RingTone::Phone;
        config.hold_tone = false;
        change(&mut config);
        Self {
            core: CallCore::new(config, ChaCha20Rng::seed_from_u64(7)),
            now: epoch(),
            sent: VecDeque::new(),
            wire: Vec::new(),
            asked: Vec::new(),
            orders: Vec::new(),
            statuses: Vec::new(),
            cdrs: Vec::new(),
            unwanted: Vec::new(),
            security: Vec::new(),
            trunk_statuses: Vec::new(),
            logins: Vec::new(),
            proved: Vec::new(),
            menu_asked: Vec::new(),
            store: found,
            has_media: true,
            hears_trying: false,
            hears_questions: false,
        }
    }

    pub(crate) fn input(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            self.core.handle_input(self.now, input);
            while let Some(output) = self.core.poll_output() {
                inputs.extend(self.carry_out(output));
            }
        }
    }

    fn carry_out(&mut self, output: Output) -> Option<Input> {
        match output {
            Output::Transmit { to, bytes } => {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                if !self.hears_questions && is_question(&text) {
                    let peers = [pbx(), carrier(), second_carrier()];
                    let peer = peers.into_iter().find(|peer| peer.address == to.address)?;
                    let bytes = reply(&text, "200 OK", "", "").into();
                    return Some(Input::Datagram { peer, bytes });
                }
                if self.hears_trying || !text.starts_with("SIP/2.0 100 ") {
                    self.sent.push_back((to.address, text.clone()));
                }
                self.wire.push((to.address, text));
                None
            }
            Output::FindRoute { call, query } => {
                self.asked.push((call, query));
                (self.store)().map(|answer| Input::Route { call, answer })
            }
            Output::Media(command) => {
                self.orders.push(command.clone());
                self.media_answer(command).map(Input::Media)
            }
            Output::Status(status) => {
                self.statuses.push(status);
                None
            }
            Output::TrunkStatus(status) => {
                self.trunk_statuses.extend(super::down::news(&self.trunk_statuses, status));
                None
            }
            Output::Proved { softphone } => {
                self.proved.push(softphone);
                None
            }
            Output::AskMenu(question) => {
                self.menu_asked.push(question);
                None
            }
            Output::FindLogin { request, user } => {
                self.logins.push((request, user));
                None
            }
            Output::Security(event) => {
                self.security.push(event);
                None
            }
            Output::Unwanted(unwanted) => {
                self.unwanted.push(unwanted);
                None
            }
            Output::Finished(cdr) => {
                self.cdrs.push(*cdr);
                Some(Input::RecorderCredit(1))
            }
        }
    }

    fn media_answer(&self, command: Command) -> Option<Report> {
        match command {
            Command::Open { session } if self.has_media => Some(Report::Opened {
                session,
                local: [address("203.0.113.5:20000"), address("203.0.113.5:20002")],
            }),
            Command::Close { session } if self.has_media => {
                Some(Report::Closed { session, counts: [SideCounts::default(); 2] })
            }
            Command::Open { .. }
            | Command::Close { .. }
            | Command::Update { .. }
            | Command::Bridge { .. }
            | Command::Hold { .. }
            | Command::Record { .. }
            | Command::Play { .. }
            | Command::Stop { .. }
            | Command::Keys { .. } => None,
        }
    }

    /// A datagram from a peer.
    pub(crate) fn from(&mut self, peer: Peer, text: impl AsRef<[u8]>) {
        let bytes = Bytes::copy_from_slice(text.as_ref());
        self.input(Input::Datagram { peer, bytes });
    }

    pub(crate) fn control(&mut self, control: Control) {
        self.input(Input::Control(control));
    }

    /// The store answers the oldest question.
    pub(crate) fn answer_route(&mut self, answer: RouteAnswer) {
        let (call, _) = self.asked.remove(0);
        self.input(Input::Route { call, answer });
    }

    /// Lets time pass, from timeout to timeout.
    pub(crate) fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        while let Some(at) = self.core.poll_timeout().filter(|at| *at <= end.monotonic) {
            let step = at.saturating_duration_since(self.now.monotonic);
            self.now = self.now + step;
            self.input(Input::Timeout);
        }
        self.now = end;
    }

    /// What was sent to a peer and not looked at yet.
    pub(crate) fn take(&mut self, peer: Peer) -> Vec<String> {
        let (taken, rest) =
            std::mem::take(&mut self.sent).into_iter().partition(|(to, _)| *to == peer.address);
        self.sent = rest;
        let taken: VecDeque<(SocketAddr, String)> = taken;
        taken.into_iter().map(|(_, text)| text).collect()
    }

    /// Whether something was sent to a peer since last looked at.
    pub(crate) fn has_sent(&self, peer: Peer) -> bool {
        self.sent.iter().any(|(to, _)| *to == peer.address)
    }

    /// The one message sent to a peer since last looked at.
    pub(crate) fn take_one(&mut self, peer: Peer) -> String {
        let mut messages = self.take(peer);
        assert_eq!(messages.len(), 1, "one message, not {messages:#?}");
        messages.remove(0)
    }

    /// The start lines of what was sent to a peer since last looked at, short.
    pub(crate) fn lines(&mut self, peer: Peer) -> Vec<String> {
        self.take(peer).iter().map(|text| start(text)).collect()
    }

    pub(crate) fn cdr(&self) -> &Cdr {
        assert_eq!(self.cdrs.len(), 1, "one record per attempt");
        &self.cdrs[0]
    }

    /// After any run plus 64*T1, nothing is left of any call, and each attempt gave one record.
    pub(crate) fn check_nothing_is_left(&mut self) {
        self.check_nothing_is_left_after(65 * T1 + ms(5_000));
    }

    pub(crate) fn check_nothing_is_left_after(&mut self, wait: Duration) {
        self.advance(wait);
        let occupancy = self.core.occupancy();
        assert!(occupancy.is_empty(), "left over: {occupancy:?}");
        assert_eq!(self.core.bound(), 0);
        assert_eq!(self.core.counters().attempts, self.cdrs.len() as u64);
        assert_eq!(self.core.counters().invariants_broken, 0);
        for cdr in &self.cdrs {
            assert!(cdr.started_at <= cdr.ended_at, "times in order");
        }
    }
}

/// An OPTIONS within a call.
fn is_question(text: &str) -> bool {
    text.starts_with("OPTIONS ") && header(text, "To").contains(";tag=")
}

/// The method of a request, or the status of a response with its method: `INVITE`, `180 INVITE`.
pub(crate) fn start(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().take(2).collect();
    if words[0] != "SIP/2.0" {
        return words[0].to_owned();
    }
    let method = header(text, "CSeq").split_whitespace().nth(1).expect("a method").to_owned();
    format!("{} {method}", words[1])
}

/// The first value of a header; empty when absent.
pub(crate) fn header(text: &str, name: &str) -> String {
    headers(text, name).into_iter().next().unwrap_or_default()
}

pub(crate) fn headers(text: &str, name: &str) -> Vec<String> {
    let head = text.split("\r\n\r\n").next().unwrap_or_default();
    let lines = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
    lines
        .filter(|(found, _)| found.trim().eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim().to_owned())
        .collect()
}

pub(crate) fn tag(value: &str) -> String {
    value.split(";tag=").nth(1).unwrap_or_default().split(';').next().unwrap_or_default().to_owned()
}

pub(crate) fn sdp(host: &str, port: u16) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n\
         a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n"
    )
}

/// A caller made of text: an agent at the PBX, or a subscriber at a carrier.
pub(crate) struct Caller {
    pub(crate) peer: Peer,
    pub(crate) name: &'static str,
    pub(crate) call_id: String,
    pub(crate) extra: String,
    pub(crate) body: String,
    pub(crate) to_tag: String,
    pub(crate) cseq: u32,
}

impl Caller {
    pub(crate) fn agent() -> Self {
        Self::at(pbx(), "8001", "a-call@pbx")
    }

    pub(crate) fn at(peer: Peer, name: &'static str, call_id: &str) -> Self {
        Self {
            peer,
            name,
            call_id: call_id.to_owned(),
            extra: String::new(),
            body: sdp("192.0.2.20", 4_000),
            to_tag: String::new(),
            cseq: 1,
        }
    }

    /// A request of this caller's dialog. `branch` names the transaction.
    pub(crate) fn request(&self, method: &str, branch: &str, cseq: u32) -> String {
        self.with(method, branch, cseq, "", "")
    }

    pub(crate) fn with(
        &self,
        method: &str,
        branch: &str,
        cseq: u32,
        extra: &str,
        body: &str,
    ) -> String {
        let (host, name, call_id) = (self.peer.address, self.name, &self.call_id);
        let to_tag = match self.to_tag.as_str() {
            "" => String::new(),
            tag => format!(";tag={tag}"),
        };
        let has_body = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        format!(
            "{method} sip:{X}@203.0.113.5 SIP/2.0\r\n\
             Via: SIP/2.0/UDP {host};branch=z9hG4bK{branch};rport\r\nMax-Forwards: 70\r\n\
             From: \"Desk\" <sip:{name}@{host}>;tag=from-{name}\r\n\
             To: <sip:{X}@203.0.113.5>{to_tag}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\n\
             Contact: <sip:{name}@{host}>\r\n{extra}{has_body}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    pub(crate) fn invite(&self) -> String {
        self.with("INVITE", "a1", self.cseq, &self.extra, &self.body)
    }

    pub(crate) fn cancel(&self) -> String {
        self.request("CANCEL", "a1", self.cseq)
    }

    pub(crate) fn ack(&self) -> String {
        self.request("ACK", "a2", self.cseq)
    }

    pub(crate) fn bye(&self) -> String {
        self.request("BYE", "a3", self.cseq + 1)
    }

    /// The 200 or any other response with a tag: from now on requests are inside the dialog.
    pub(crate) fn learn(&mut self, response: &str) {
        self.to_tag = tag(&header(response, "To"));
    }
}

/// A response of a callee made of text to a request it received.
pub(crate) fn reply(request: &str, status: &str, to_tag: &str, body: &str) -> String {
    reply_with(request, status, to_tag, "", body)
}

pub(crate) fn reply_with(
    request: &str,
    status: &str,
    to_tag: &str,
    extra: &str,
    body: &str,
) -> String {
    let mut to = header(request, "To");
    if !to_tag.is_empty() && !to.contains(";tag=") {
        to = format!("{to};tag={to_tag}");
    }
    let has_body = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!(
        "SIP/2.0 {status}\r\nVia: {}\r\nFrom: {}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {}\r\n\
         Contact: <sip:callee@198.51.100.77:5070>\r\n{extra}{has_body}\
         Content-Length: {}\r\n\r\n{body}",
        header(request, "Via"),
        header(request, "From"),
        header(request, "Call-ID"),
        header(request, "CSeq"),
        body.len()
    )
}

/// A request of the callee inside the dialog that `invite` has begun.
pub(crate) fn callee_request(invite: &str, method: &str, to_tag: &str, cseq: u32) -> String {
    let (from, to) = (header(invite, "To"), header(invite, "From"));
    format!(
        "{method} sip:{} SIP/2.0\r\n\
         Via: SIP/2.0/UDP 198.51.100.1:5060;branch=z9hG4bKb{cseq}{method}\r\n\
         Max-Forwards: 70\r\nFrom: {from};tag={to_tag}\r\nTo: {to}\r\nCall-ID: {}\r\n\
         CSeq: {cseq} {method}\r\nContent-Length: 0\r\n\r\n",
        us(),
        header(invite, "Call-ID"),
    )
}

/// A call that got somewhere: its caller, and the INVITE that its callee received.
pub(crate) struct Up {
    pub(crate) caller: Caller,
    pub(crate) invite: String,
}

impl Up {
    /// The callee's response to our INVITE.
    pub(crate) fn reply(&self, status: &str) -> String {
        let body =
            if status.starts_with("200") { sdp("198.51.100.77", 6_000) } else { String::new() };
        reply(&self.invite, status, "bob", &body)
    }

    pub(crate) fn callee_bye(&self) -> String {
        callee_request(&self.invite, "BYE", "bob", 1)
    }
}

impl Harness {
    /// An agent dials and the first carrier has our INVITE.
    pub(crate) fn called(&mut self) -> Up {
        let caller = Caller::agent();
        self.from(caller.peer, caller.invite());
        assert!(self.take(pbx()).is_empty(), "nothing to tell yet");
        Up { caller, invite: self.take_one(carrier()) }
    }

    /// The callee's phone rings, and the caller knows.
    pub(crate) fn ringing(&mut self) -> Up {
        let mut up = self.called();
        self.from(carrier(), up.reply("180 Ringing"));
        let ringing = self.take_one(pbx());
        assert_eq!(start(&ringing), "180 INVITE");
        up.caller.learn(&ringing);
        up
    }

    /// The callee has answered; our 200 has not been confirmed.
    pub(crate) fn answered(&mut self) -> Up {
        let mut up = self.ringing();
        self.from(carrier(), up.reply("200 OK"));
        assert_eq!(self.lines(carrier()), ["ACK"]);
        let answer = self.take_one(pbx());
        assert_eq!(start(&answer), "200 INVITE");
        up.caller.learn(&answer);
        up
    }

    /// Both sides talk.
    pub(crate) fn bridged(&mut self) -> Up {
        let up = self.answered();
        self.from(up.caller.peer, up.caller.ack());
        assert!(self.lines(pbx()).is_empty());
        up
    }

    /// A peer confirms the one request it was sent: BYE, CANCEL.
    pub(crate) fn confirm(&mut self, peer: Peer, method: &str) {
        let request = self.take_one(peer);
        assert_eq!(start(&request), method);
        self.from(peer, reply(&request, "200 OK", "", ""));
    }
}
