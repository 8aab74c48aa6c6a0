//! The real brain between a PBX and two carriers, for messages that were mutated on their way. It
//! is told what the store and the media plane say, and remembers what it sends.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use maskline::call::config::CallConfig;
use maskline::call::core::CallCore;
use maskline::call::io::{Control, Input, Output, Peer, PeerRole};
use maskline::domain::id::{TenantId, TrunkId};
use maskline::domain::now::Now;
use maskline::domain::number::{RealNumber, VirtualNumber};
use maskline::domain::ring::RingTone;
use maskline::domain::route::{Callee, Route, RouteAnswer, RouteQuery};
use maskline::domain::whisper::WhisperPolicy;
use maskline::rtp::plane::{Command, Report, SideCounts};
use maskline::sip::transport::Transport;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use crate::route::{route, target};

/// The number that everybody dials.
pub(crate) const X: &str = "95012345678";
const BOB: &str = "+8613800001234";
const TENANT: TenantId = TenantId::from_u128(0x7e4);
/// One datagram makes the brain say no more than this.
const OUTPUTS_MAX: usize = 10;

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

pub(crate) fn pbx() -> Peer {
    let role = PeerRole::Insurer { tenant: TENANT };
    let transport = Transport::Udp;
    Peer { address: address("192.0.2.10:5060"), transport, trunk: TrunkId::from_u128(0xa), role }
}

pub(crate) fn carrier() -> Peer {
    let role = PeerRole::Carrier;
    let transport = Transport::Udp;
    let address = address("198.51.100.1:5060");
    Peer { address, transport, trunk: TrunkId::from_u128(0xc1), role }
}

fn route_of(query: &RouteQuery) -> Route {
    let number = RealNumber::parse(BOB).expect("a valid number");
    let (callee, peer) = match query {
        RouteQuery::FromInsurer { .. } => (Callee::Subscriber(Arc::new(number)), carrier()),
        RouteQuery::FromCarrier { .. } => (Callee::Desk("600".into()), pbx()),
    };
    let x = VirtualNumber::parse(X).expect("a valid number");
    route(TENANT, x, callee, vec![target(&peer); 2])
}

/// The brain and its surroundings.
pub(crate) struct Brain {
    pub(crate) core: CallCore,
    pub(crate) records: u64,
    now: Now,
    /// What it has sent since [`Self::forget`].
    sent: Vec<(SocketAddr, String)>,
}

impl Brain {
    #[expect(clippy::disallowed_methods, reason = "an `Instant` can only be had from the clock")]
    pub(crate) fn new(seed: u64) -> Self {
        let mut config = CallConfig::new(address("203.0.113.5:5060"));
        config.whisper.policy = WhisperPolicy::Off;
        config.announce_refusals = false;
        config.ring = RingTone::Phone;
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        Self {
            core: CallCore::new(config, ChaCha20Rng::seed_from_u64(seed)),
            records: 0,
            now: Now { monotonic: std::time::Instant::now(), wall },
            sent: Vec::new(),
        }
    }

    /// A datagram from a peer.
    pub(crate) fn receive(&mut self, peer: Peer, bytes: Bytes) {
        self.input(Input::Datagram { peer, bytes });
    }

    fn input(&mut self, input: Input) {
        // A peer cannot make it say more than this; the end of all calls can.
        let is_bounded = matches!(input, Input::Datagram { .. });
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            self.core.handle_input(self.now, input);
            let mut outputs = 0;
            while let Some(output) = self.core.poll_output() {
                outputs += 1;
                assert!(!is_bounded || outputs <= OUTPUTS_MAX, "too many outputs");
                inputs.extend(self.carry_out(output));
            }
        }
    }

    fn carry_out(&mut self, output: Output) -> Option<Input> {
        match output {
            Output::Transmit { to, bytes } => {
                self.sent.push((to.address, String::from_utf8_lossy(&bytes).into_owned()));
                None
            }
            Output::FindRoute { call, query } => {
                let answer = RouteAnswer::Found(Box::new(route_of(&query)));
                Some(Input::Route { call, answer })
            }
            Output::Media(Command::Open { session }) => {
                let local = [address("203.0.113.5:20000"), address("203.0.113.5:20002")];
                Some(Input::Media(Report::Opened { session, local }))
            }
            Output::Media(Command::Close { session }) => {
                let counts = [SideCounts::default(); 2];
                Some(Input::Media(Report::Closed { session, counts }))
            }
            Output::Media(
                Command::Update { .. }
                | Command::Bridge { .. }
                | Command::Hold { .. }
                | Command::Record { .. }
                | Command::Play { .. }
                | Command::Stop { .. }
                | Command::Keys { .. },
            )
            | Output::Status(_)
            | Output::TrunkStatus(_)
            | Output::FindLogin { .. }
            | Output::AskMenu(_)
            | Output::Proved { .. }
            | Output::Security(_)
            | Output::Unwanted(_) => None,
            Output::Finished(_) => {
                self.records += 1;
                Some(Input::RecorderCredit(1))
            }
        }
    }

    /// Lets time pass, from timeout to timeout.
    pub(crate) fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        while let Some(at) = self.core.poll_timeout().filter(|at| *at <= end.monotonic) {
            self.now = self.now + at.saturating_duration_since(self.now.monotonic);
            self.input(Input::Timeout);
        }
        self.now = end;
    }

    /// The last message to this peer that begins so.
    pub(crate) fn last_sent(&self, to: Peer, begins: &str) -> Option<&str> {
        let sent = self.sent.iter().rev().filter(|(address, _)| *address == to.address);
        sent.map(|(_, text)| text.as_str()).find(|text| text.starts_with(begins))
    }

    /// Whether a response to this peer has these words.
    pub(crate) fn has_answered(&self, to: Peer, words: &str) -> bool {
        let sent = self.sent.iter().filter(|(address, _)| *address == to.address);
        let mut sent = sent.map(|(_, text)| text);
        sent.any(|text| text.starts_with("SIP/2.0 ") && text.contains(words))
    }

    /// Forgets what was sent so far.
    pub(crate) fn forget(&mut self) {
        self.sent.clear();
    }

    /// Ends everything: nothing may be left, and each attempt must have its record.
    pub(crate) fn check_nothing_is_left(&mut self) {
        self.input(Input::Control(Control::TerminateAll));
        // A 2xx that is never confirmed is waited for first, and its BYE after that.
        self.advance(Duration::from_secs(2 * 32 + 5));
        let (occupancy, counters) = (self.core.occupancy(), self.core.counters());
        assert!(occupancy.is_empty(), "left over: {occupancy:?}");
        assert_eq!((counters.attempts, counters.invariants_broken), (self.records, 0));
    }
}
