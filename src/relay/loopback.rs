//! The built-in peer of test mode: a trunk within this process, behind which each magic number has
//! its phone. What those do is in [`crate::phone::magic`]; this gives them sockets.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use super::now::now;
use super::ports::Ports;
use super::start::random_generator;
use super::tls::TrunkTls;
use super::trunks::TrunkEntry;
use crate::call::io::PeerRole;
use crate::call::pick::Weighed;
use crate::call::trunks::TrunkTerms;
use crate::domain::magic::{LOOPBACK, Magic};
use crate::domain::network::{Network, Transport};
use crate::domain::route::TrunkTarget;
use crate::phone::magic::{TALK_MAX, script};
use crate::phone::{CallState, Phone, PhoneConfig, PhoneInput, PhoneOutput};
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::write::{ResponseWriter, new_buffer};

/// The most calls at one time: it is there to try things, not to measure them.
const CALLS_MAX: usize = 32;
/// Datagrams that wait for one phone.
const WAITING_MAX: usize = 32;
/// Transactions of one phone.
const TRANSACTIONS_MAX: usize = 16;
/// How long a phone answers repeats after its call.
const LINGERS: Duration = Duration::from_secs(5);
/// A phone is gone after so long, even if nobody has told it of the end.
const LIFE_MAX: Duration = TALK_MAX.saturating_add(Duration::from_secs(60));
/// The largest datagram of UDP over IPv4.
const DATAGRAM_BYTES_MAX: usize = 65_507;

/// The peer, with the socket that it takes SIP on.
#[derive(Debug)]
pub(crate) struct Loopback {
    ports: Ports,
    relay_port: u16,
    media: IpAddr,
}

/// This machine, in the family of another address.
const fn this_machine(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    }
}

impl Loopback {
    /// Takes a free port for a relay that listens at `relay` and takes media at `media`.
    ///
    /// # Errors
    /// No port is free.
    pub(crate) fn bind(relay: SocketAddr, media: IpAddr) -> io::Result<Self> {
        let host = this_machine(relay.ip());
        let media = if media.is_unspecified() { host } else { media };
        Ok(Self { ports: Ports::free(host, 1)?, relay_port: relay.port(), media })
    }

    /// How the relay knows it.
    pub(crate) fn entry(&self) -> TrunkEntry {
        let (address, transport) = (self.ports.first(), Transport::Udp);
        let target = TrunkTarget { trunk: LOOPBACK, name: None, address, transport };
        let targets = vec![Weighed { item: target, priority: 0, weight: 0 }];
        TrunkEntry {
            trunk: LOOPBACK,
            role: PeerRole::Carrier,
            places: Vec::new(),
            targets: vec![address],
            sources: vec![Network::of(address.ip())],
            transport,
            tls: TrunkTls::default(),
            terms: TrunkTerms { targets, ..TrunkTerms::default() },
        }
    }

    /// Answers for ever.
    ///
    /// # Errors
    /// The socket cannot be waited for.
    pub(crate) async fn run(self) -> io::Result<()> {
        let Self { ports, relay_port, media } = self;
        let mut sockets = ports.into_sockets();
        let (local, socket) = sockets.pop().ok_or_else(|| io::Error::other("no socket"))?;
        let socket = Arc::new(UdpSocket::from_std(socket)?);
        let mut calls: BTreeMap<Box<[u8]>, mpsc::Sender<Bytes>> = BTreeMap::new();
        let mut phones = JoinSet::new();
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            let (length, from) = tokio::select! {
                Some(_) = phones.join_next() => {
                    calls.retain(|_, call| !call.is_closed());
                    continue;
                }
                got = socket.recv_from(&mut buffer) => match got {
                    Ok(got) => got,
                    // An ICMP error of an earlier send.
                    Err(_) => continue,
                },
            };
            let bytes = Bytes::copy_from_slice(buffer.get(..length).unwrap_or_default());
            let Ok(message) = Message::parse(bytes.clone()) else { continue };
            if from.port() != relay_port {
                continue;
            }
            if let Some(call) = calls.get(message.call_id()) {
                // What does not fit comes again.
                _ = call.try_send(bytes);
            } else if is_attempt(&message) && calls.len() < CALLS_MAX {
                let (sender, waiting) = mpsc::channel(WAITING_MAX);
                _ = sender.try_send(bytes);
                calls.insert(message.call_id().into(), sender);
                let line = Line { socket: Arc::clone(&socket), local, relay: from, media };
                let magic = dialled(&message);
                phones.spawn(async move { line.attend(magic, waiting).await });
            } else if let Some(answer) = answer_alone(&message, from) {
                _ = socket.send_to(&answer, from).await;
            }
        }
    }
}

fn is_attempt(message: &Message) -> bool {
    message.is_request() && message.method() == Method::Invite && message.to().tag.is_none()
}

fn dialled(message: &Message) -> Magic {
    let uri = message.request_uri().ok();
    Magic::of(uri.and_then(|uri| uri.user).unwrap_or_default().as_bytes())
}

/// What belongs to no call, or is one call too many.
fn answer_alone(message: &Message, from: SocketAddr) -> Option<Bytes> {
    if !message.is_request() {
        return None;
    }
    let status = match message.method() {
        Method::Ack => return None,
        Method::Options => 200,
        Method::Invite => 486,
        Method::Bye
        | Method::Cancel
        | Method::Info
        | Method::Message
        | Method::Notify
        | Method::Other
        | Method::Prack
        | Method::Publish
        | Method::Refer
        | Method::Register
        | Method::Subscribe
        | Method::Update => 481,
    };
    Some(ResponseWriter::start(&mut new_buffer(), message, from, status, None).finish())
}

/// What one phone needs of the peer.
struct Line {
    socket: Arc<UdpSocket>,
    local: SocketAddr,
    relay: SocketAddr,
    media: IpAddr,
}

impl Line {
    /// One call from its INVITE to its end.
    async fn attend(self, magic: Magic, mut waiting: mpsc::Receiver<Bytes>) -> io::Result<()> {
        let ports = Ports::free(self.local.ip(), 2)?;
        let config = PhoneConfig {
            answering: script(magic),
            keeps_log: false,
            transactions_max: TRANSACTIONS_MAX,
            ..PhoneConfig::new("loopback", self.local, ports.first(), self.relay)
        };
        let mut sockets = ports.into_sockets().into_iter();
        let (at, speech) = sockets.next().ok_or_else(|| io::Error::other("no socket"))?;
        let speech = UdpSocket::from_std(speech)?;
        let mut phone = Phone::new(config, random_generator()?);
        let mut end = now().monotonic + LIFE_MAX;
        let mut buffer = [0; 2_048];
        loop {
            self.send_all(&mut phone, &speech).await;
            let moment = now().monotonic;
            if phone.calls().any(|call| matches!(call.state, CallState::Over(_))) {
                end = end.min(moment + LINGERS);
            }
            if moment >= end {
                return Ok(());
            }
            let next = phone.poll_timeout().unwrap_or(end).min(end);
            let input = tokio::select! {
                bytes = waiting.recv() => {
                    let Some(bytes) = bytes else { return Ok(()) };
                    PhoneInput::Datagram { from: self.relay, to: self.local, bytes }
                }
                got = speech.recv_from(&mut buffer) => {
                    let Ok((length, from)) = got else { continue };
                    let bytes = buffer.get(..length).unwrap_or_default();
                    let bytes = Bytes::copy_from_slice(bytes);
                    PhoneInput::Datagram { from, to: at, bytes }
                }
                () = sleep_until(next.into()) => PhoneInput::Timeout,
            };
            phone.handle_input(now(), input);
        }
    }

    /// Media goes where it is taken, whatever peers elsewhere are told. What cannot be sent is
    /// lost, as on a network.
    async fn send_all(&self, phone: &mut Phone, speech: &UdpSocket) {
        while let Some(PhoneOutput::Transmit { from, to, bytes }) = phone.poll_output() {
            _ = if from == self.local {
                self.socket.send_to(&bytes, to).await
            } else {
                speech.send_to(&bytes, SocketAddr::new(self.media, to.port())).await
            };
        }
    }
}
