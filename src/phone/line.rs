//! What all calls of a phone share: its address, its transactions, its way out and its log.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use rand_chacha::ChaCha20Rng;
use rand_core::Rng;

use super::log::{Entry, Kind, Log, Way};
use super::script::Script;
use super::ua::PhoneOutput;
use crate::domain::now::Now;
use crate::sip::ids::{Branch, Shard, SipCallId, Tag};
use crate::sip::message::Message;
use crate::sip::transaction::{self, ServerId, Transactions};
use crate::sip::write::{RequestWriter, ResponseWriter, new_buffer};

/// Who a phone is and how it behaves by default. `Debug` shows nobody's number.
#[derive(Clone)]
pub struct PhoneConfig {
    /// The user part of its address: an extension, or a number.
    pub user: Box<str>,
    /// Where it takes SIP.
    pub sip: SocketAddr,
    /// Where it takes RTP in its first call; each further call uses the next two ports.
    pub media: SocketAddr,
    /// The most calls of its life; port pairs are not used twice.
    pub calls_max: usize,
    /// Where it sends what it dials.
    pub relay: SocketAddr,
    /// What it does when it is called.
    pub answering: Script,
    /// Header lines in everything it sends.
    pub extra_headers: Vec<(Box<str>, Box<str>)>,
    /// The payload types that it understands, best first, as in SDP.
    pub formats: Box<str>,
    /// Lines at the end of its SDP, with their line ends.
    pub extra_sdp: Box<str>,
    /// It writes down what it receives and sends.
    pub keeps_log: bool,
    /// The most transactions at one time: room for all of them is taken at once.
    pub transactions_max: usize,
    /// Its own words in the status line of its responses.
    pub phrase: Option<Box<str>>,
}

impl PhoneConfig {
    /// A phone without habits, that takes one call at a time and rings for ever.
    #[must_use]
    pub fn new(user: &str, sip: SocketAddr, media: SocketAddr, relay: SocketAddr) -> Self {
        Self {
            user: user.into(),
            sip,
            media,
            calls_max: 1,
            relay,
            answering: Script::new().ring(),
            extra_headers: Vec::new(),
            formats: "8 0 101".into(),
            extra_sdp: "".into(),
            keeps_log: true,
            transactions_max: TRANSACTIONS_MAX,
            phrase: None,
        }
    }
}

impl fmt::Debug for PhoneConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PhoneConfig(at {}, through {})", self.sip, self.relay)
    }
}

pub(super) struct Line {
    pub(super) config: PhoneConfig,
    pub(super) rng: ChaCha20Rng,
    pub(super) transactions: Transactions,
    pub(super) outputs: VecDeque<PhoneOutput>,
    pub(super) log: Log,
    pub(super) scratch: BytesMut,
    pub(super) sent_by: String,
}

/// A phone has fewer than a relay.
const TRANSACTIONS_MAX: usize = 1 << 16;

/// Phones have no shards.
const SHARD: Shard = Shard::new(0).expect("zero is a shard number");

impl Line {
    pub(super) fn new(config: PhoneConfig, rng: ChaCha20Rng) -> Self {
        Self {
            sent_by: format!("UDP {}", config.sip),
            transactions: Transactions::with_max(config.transactions_max),
            config,
            rng,
            outputs: VecDeque::new(),
            log: Log::default(),
            scratch: new_buffer(),
        }
    }

    pub(super) fn new_tag(&mut self) -> Tag {
        Tag::new(SHARD, &mut self.rng)
    }

    pub(super) fn new_branch(&mut self) -> Branch {
        Branch::new(SHARD, &mut self.rng)
    }

    pub(super) fn new_call_id(&mut self) -> SipCallId {
        SipCallId::new(SHARD, &mut self.rng)
    }

    pub(super) fn next_u32(&mut self) -> u32 {
        self.rng.next_u32()
    }

    /// `sip:user@host:port`.
    pub(super) fn own_uri(&self) -> String {
        format!("sip:{}@{}", self.config.user, self.config.sip)
    }

    /// Where the call in this slot takes RTP.
    pub(super) fn media_of(&self, slot: usize) -> SocketAddr {
        let step = u16::try_from(slot * 2).unwrap_or(0);
        let media = self.config.media;
        SocketAddr::new(media.ip(), media.port().saturating_add(step))
    }

    /// An offer or an answer, in a careless phone's hand.
    pub(super) fn sdp(&self, media: SocketAddr, version: u32) -> String {
        let (ip, user) = (media.ip(), &self.config.user);
        let family = if ip.is_ipv4() { "IP4" } else { "IP6" };
        format!(
            "v=0\r\no={user} 1 {version} IN {family} {ip}\r\ns={user}\r\nc=IN {family} {ip}\r\n\
             t=0 0\r\nm=audio {} RTP/AVP {}\r\na=rtpmap:8 PCMA/8000\r\n\
             a=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n\
             a=ptime:20\r\na=sendrecv\r\n{}",
            media.port(),
            self.config.formats,
            self.config.extra_sdp,
        )
    }

    /// Answers a request. A 2xx to an INVITE carries Contact and the body.
    pub(super) fn respond(
        &mut self,
        now: Now,
        server: ServerId,
        to: (&Message, SocketAddr),
        status: u16,
        tag: Option<&Tag>,
        sdp: Option<&str>,
    ) -> Bytes {
        let contact = format!("<{}>", self.own_uri());
        let (request, source) = to;
        let mut writer = ResponseWriter::start(&mut self.scratch, request, source, status, tag)
            .record_routes(request)
            .header("Contact", contact);
        for (name, value) in &self.config.extra_headers {
            writer = writer.header(name, value.as_bytes());
        }
        let bytes = match sdp {
            Some(sdp) => writer.body("application/sdp", sdp.as_bytes()),
            None => writer.finish(),
        };
        let bytes = match &self.config.phrase {
            Some(phrase) => reworded(&bytes, status, phrase),
            None => bytes,
        };
        self.transactions.respond(now.monotonic, server, status, bytes.clone());
        bytes
    }

    /// Passes on what the transactions have to send, and returns what they have to tell.
    pub(super) fn drain(&mut self, now: Now) -> Vec<transaction::Output> {
        let mut news = Vec::new();
        while let Some(output) = self.transactions.poll_output() {
            match output {
                transaction::Output::Transmit { to, bytes } => self.send(now, to.address, bytes),
                transaction::Output::ClientFailed { .. }
                | transaction::Output::AckMissing { .. } => news.push(output),
            }
        }
        news
    }

    /// Writes down a datagram.
    pub(super) fn note(&mut self, at: Now, way: Way, kind: Kind, peer: SocketAddr, bytes: &Bytes) {
        if self.config.keeps_log {
            self.log.push(Entry { at, way, kind, peer, bytes: bytes.clone() });
        }
    }

    /// Sends signalling.
    pub(super) fn send(&mut self, now: Now, to: SocketAddr, bytes: Bytes) {
        self.note(now, Way::Out, Kind::Sip, to, &bytes);
        self.outputs.push_back(PhoneOutput::Transmit { from: self.config.sip, to, bytes });
    }

    /// Sends media.
    pub(super) fn send_media(&mut self, from: SocketAddr, to: SocketAddr, packet: Vec<u8>) {
        self.outputs.push_back(PhoneOutput::Transmit { from, to, bytes: packet.into() });
    }
}

/// Adds a phone's own headers to a request.
pub(super) fn with_extras<'o>(
    writer: RequestWriter<'o>,
    config: &PhoneConfig,
) -> RequestWriter<'o> {
    let contact = format!("<sip:{}@{}>", config.user, config.sip);
    let extras = config.extra_headers.iter();
    extras.fold(writer.header("Contact", contact), |writer, (name, value)| {
        writer.header(name, value.as_bytes())
    })
}

/// The response with another phrase in its status line.
fn reworded(bytes: &Bytes, status: u16, phrase: &str) -> Bytes {
    let end = memchr::memchr(b'\r', bytes).unwrap_or(0);
    let mut out = BytesMut::with_capacity(bytes.len() + phrase.len());
    out.extend_from_slice(format!("SIP/2.0 {status} {phrase}").as_bytes());
    out.extend_from_slice(bytes.get(end..).unwrap_or_default());
    out.freeze()
}
