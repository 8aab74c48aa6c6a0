//! SIP over TCP and TLS: one thread that owns all connections. It cuts streams into messages for
//! the shard, and finds or opens the connection of what the shard sends. Datagrams never wait here.

mod clocks;
mod connection;
mod identity;
mod limits;
mod outgoing;
mod post;
mod sources;
mod wire;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use hashbrown::HashMap;
use rustix::event::epoll::EventFlags;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use slab::Slab;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

pub(crate) use self::limits::Limits;
pub(crate) use self::post::Post;

use self::clocks::{TOO_SLOW, UNPROVED};
use self::connection::{Connection, Heard, State};
use self::sources::Sources;
use super::handle::{MarkGone, Shared};
use super::now::now;
use super::security::{Knocks, Line};
use super::tls::{Tls, TlsError};
use super::trunks::TrunkTable;
use crate::call::io::{Input, Peer, PeerRole};
use crate::domain::id::TrunkId;
use crate::sip::transport::{Hop, Transport};
use crate::sip::wheel::Wheel;

/// Takes what connections bring.
pub(crate) trait TakesInputs: Send + Sync {
    /// There is room for what one more read may bring.
    fn has_room(&self) -> bool;

    /// Hands an input to the shard.
    fn bring(&self, input: Input);
}

/// What the thread works with.
pub(crate) struct Streams {
    pub(crate) listeners: Vec<(Transport, TcpListener)>,
    /// The addresses that connections of ours come from; the system chooses where there is none.
    pub(crate) sources: Vec<IpAddr>,
    pub(crate) post: Arc<Post>,
    pub(crate) inbox: Arc<dyn TakesInputs>,
    pub(crate) trunks: Arc<ArcSwap<TrunkTable>>,
    pub(crate) tls: Tls,
    pub(crate) limits: Limits,
    /// The transports by which softphones may come.
    pub(crate) softphones: &'static [Transport],
    /// Told when the thread ends, however it does.
    pub(crate) shared: Arc<Shared>,
}

/// Binds a listener for streams.
///
/// # Errors
/// The address is not ours, or is taken.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // IPv4 has a listener of its own, or none.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Connections that the system keeps until we look.
const BACKLOG: i32 = 256;
/// Connections accepted, and reads of one connection, before others have their turn.
const ROUND_MAX: usize = 16;
/// Room for one read.
const READ_BYTES: usize = 16 * 1_024;
/// How long a full shard is left alone before it is asked again.
const ROOM_WAIT: Duration = Duration::from_millis(2);
/// How often the files of the certificate are looked at, and the counts are shown.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// A peer that has vanished without a word is noticed after silence of this and some probes.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);

const BELL: u64 = u64::MAX;
/// Tokens below are connections.
const LISTENERS: u64 = 1 << 32;

impl Streams {
    /// Runs the thread until its post says stop.
    ///
    /// # Errors
    /// No descriptor or no thread is left.
    pub(crate) fn start(self) -> io::Result<JoinHandle<()>> {
        let running = self.open()?;
        std::thread::Builder::new().name("sip-streams".to_owned()).spawn(move || running.run())
    }

    fn open(self) -> io::Result<Running> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let token = epoll::EventData::new_u64;
        epoll::add(&poll, self.post.bell_fd(), token(BELL), EventFlags::IN)?;
        for (number, (_, listener)) in (LISTENERS..).zip(&self.listeners) {
            epoll::add(&poll, listener, token(number), EventFlags::IN)?;
        }
        Ok(Running {
            table: self.trunks.load_full(),
            streams: self,
            poll,
            connections: Slab::new(),
            by_address: HashMap::new(),
            twins: 0,
            sources: Sources::default(),
            softphones: 0,
            wheel: Wheel::new(),
            buffer: vec![0; READ_BYTES].into_boxed_slice(),
            unwritten: Vec::new(),
            unread: Vec::new(),
            look_at: now().monotonic,
            knocks: Knocks::new(now().monotonic),
        })
    }
}

/// A peer's end of a connection, and whose it is.
type Place = (Transport, SocketAddr, TrunkId);

struct Running {
    streams: Streams,
    poll: rustix::fd::OwnedFd,
    table: Arc<TrunkTable>,
    connections: Slab<Connection>,
    /// Those whose peers are known, by place and owner. Never iterated.
    by_address: HashMap<Place, usize>,
    /// Connections beside those: of the same peer, from the same place, to another listener.
    twins: usize,
    sources: Sources,
    /// Connections of peers that are no trunk.
    softphones: usize,
    wheel: Wheel,
    buffer: Box<[u8]>,
    /// Connections that were given something to send in this round.
    unwritten: Vec<usize>,
    /// Connections that may hold more than was read in their turn: TLS keeps what it has decrypted
    /// to itself, and the socket then has nothing to tell.
    unread: Vec<usize>,
    look_at: Instant,
    knocks: Knocks,
}

impl Running {
    fn run(mut self) {
        let _gone = MarkGone::of(&self.streams.shared);
        let mut events = Vec::with_capacity(64);
        loop {
            events.clear();
            self.wait(&mut events);
            self.follow_trunks();
            for event in &events {
                match event.data.u64() {
                    BELL => {}
                    token @ LISTENERS.. => self.accept((token - LISTENERS) as usize),
                    token => self.serve(token as usize, event.flags),
                }
            }
            for index in std::mem::take(&mut self.unread) {
                self.serve(index, EventFlags::empty());
            }
            if self.read_post() {
                return;
            }
            self.keep_time();
        }
    }

    fn wait(&self, events: &mut Vec<epoll::Event>) {
        if !self.streams.inbox.has_room() {
            // The connections keep what they have, and so do their peers.
            std::thread::park_timeout(ROOM_WAIT);
        }
        let until = self.wheel.next_deadline().into_iter().fold(self.look_at, Instant::min);
        let wait = until.saturating_duration_since(now().monotonic);
        let wait = if self.unread.is_empty() { wait } else { Duration::ZERO };
        let wait = Timespec::try_from(wait).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
        match epoll::wait(&self.poll, rustix::buffer::spare_capacity(events), Some(&wait)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => tracing::error!(%error, "Connections cannot be waited for: {error}"),
        }
    }

    fn accept(&mut self, number: usize) {
        for _ in 0..ROUND_MAX {
            let Some((transport, listener)) = self.streams.listeners.get(number) else { return };
            let transport = *transport;
            match listener.accept() {
                Ok((socket, source)) => self.admit(transport, socket, source),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    metrics::counter!("maskline_sip_accept_errors_total").increment(1);
                    tracing::debug!(%error, "A connection was not accepted: {error}");
                    // It waits still: without descriptors, asking again at once changes nothing.
                    std::thread::park_timeout(ROOM_WAIT);
                    return;
                }
            }
        }
    }

    fn is_full(&self, source: IpAddr) -> bool {
        let limits = &self.streams.limits;
        self.connections.len() >= limits.connections_max
            || self.sources.count(source) >= limits.per_source_max
    }

    /// A count, and now and then a line for whoever watches the door.
    fn refuse(&mut self, source: SocketAddr, why: &'static str) {
        metrics::counter!("maskline_sip_connections_refused_total", "why" => why).increment(1);
        let line = Line::ConnectionRefused { source: source.ip(), why };
        self.knocks.write(now().monotonic, line);
    }

    fn insert(&mut self, mut connection: Connection, within: Duration) -> Option<usize> {
        connection.socket.set_nonblocking(true).ok()?;
        connection.socket.set_nodelay(true).ok();
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER);
        let socket = SockRef::from(&connection.socket);
        socket.set_tcp_keepalive(&keepalive).ok();
        // What the system has taken from us and the peer does not take from it.
        socket.set_tcp_user_timeout(Some(self.streams.limits.read_within)).ok();
        let peer = connection.peer;
        connection.clocks.message = Some(now().monotonic + within);
        let entry = self.connections.vacant_entry();
        let index = entry.key();
        let token = epoll::EventData::new_u64(index as u64);
        epoll::add(&self.poll, &connection.socket, token, connection.interest).ok()?;
        let is_known = !connection.is_unidentified;
        entry.insert(connection);
        self.sources.add(peer.address.ip());
        if is_known {
            self.know(index, peer);
        }
        self.rearm(index);
        Some(index)
    }

    fn serve(&mut self, index: usize, flags: EventFlags) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        if connection.state == State::Connecting {
            let failed = connection.socket.take_error();
            if !matches!(failed, Ok(None)) {
                return self.close(index, "unreachable");
            }
            if !flags.contains(EventFlags::OUT) {
                return;
            }
            connection.state = State::Open;
        }
        self.write(index);
        let mut reads = 0;
        while reads < ROUND_MAX && self.streams.inbox.has_room() {
            if !self.read(index) {
                return self.write(index);
            }
            reads += 1;
        }
        self.write(index);
        if self.connections.contains(index) && !self.unread.contains(&index) {
            self.unread.push(index);
        }
    }

    /// Reads once; `false` when there is no more.
    fn read(&mut self, index: usize) -> bool {
        let Some(connection) = self.connections.get_mut(index) else { return false };
        let count = match connection.receive(&mut self.buffer) {
            Ok(None) => return false,
            Ok(Some(count)) => count,
            Err(_) => {
                if connection.is_accepted && connection.wire.is_handshaking() {
                    let source = connection.peer.address;
                    self.refuse(source, "handshake");
                }
                self.close(index, "error");
                return false;
            }
        };
        if connection.is_unidentified && count > 0 && !self.identify(index) {
            return false;
        }
        let Some(connection) = self.connections.get_mut(index) else { return false };
        let received = self.buffer.get(..count).unwrap_or_default();
        let Streams { inbox, limits, .. } = &self.streams;
        match connection.hear(received, |input| inbox.bring(input)) {
            Heard::Nothing => {}
            Heard::Begun => {
                connection.clocks.message = Some(now().monotonic + limits.message_within);
            }
            Heard::Complete => connection.clocks.message = None,
            Heard::Broken => {
                metrics::counter!("maskline_sip_streams_broken_total").increment(1);
                connection.clocks.message = Some(now().monotonic + limits.last_answer_within);
            }
            Heard::End => {
                // What was answered already may still be read by the peer.
                connection.write().ok();
                self.close(index, "peer");
                return false;
            }
        }
        self.rearm(index);
        true
    }

    /// Tells the wheel when the first of the times of a connection is over.
    fn rearm(&mut self, index: usize) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        let next = connection.clocks.next().map(|(at, _)| at);
        if next == std::mem::replace(&mut connection.clocks.armed, next) {
            return;
        }
        match next {
            Some(next) => self.wheel.set(now().monotonic, index as u32, next),
            None => self.wheel.cancel(index as u32),
        }
    }

    /// Sends what the socket takes, and asks to be woken for the rest.
    fn write(&mut self, index: usize) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        if connection.write().is_err() {
            return self.close(index, "error");
        }
        if let Some(heard) = connection.comes_up() {
            let until = now().monotonic + self.streams.limits.message_within;
            connection.clocks.message = (heard == Heard::Begun).then_some(until);
            // What has waited for this.
            if connection.write().is_err() {
                return self.close(index, "error");
            }
        }
        // Once full, it has to be emptied: whoever takes a byte now and then is no better.
        let until = || now().monotonic + self.streams.limits.read_within;
        let running = connection.clocks.reading;
        connection.clocks.reading = connection.wants_write().then(|| running.unwrap_or_else(until));
        let wanted = connection.wanted();
        if wanted != connection.interest {
            connection.interest = wanted;
            let token = epoll::EventData::new_u64(index as u64);
            if epoll::modify(&self.poll, &connection.socket, token, wanted).is_err() {
                return self.close(index, "error");
            }
        }
        self.rearm(index);
    }

    /// Ends a connection whose time is over.
    fn cut(&mut self, index: usize, why: &'static str) {
        if why == TOO_SLOW && self.waits_on(index) {
            return;
        }
        if why == UNPROVED
            && let Some(connection) = self.connections.get(index)
        {
            let source = connection.peer.address;
            self.refuse(source, why);
        }
        self.close(index, why);
    }

    /// A softphone is an agent's: its connection may stay.
    fn believe(&mut self, hop: Hop) {
        let index = self.by_address.get(&key(hop)).copied();
        if let Some(connection) = index.and_then(|index| self.connections.get_mut(index)) {
            connection.clocks.proof = None;
            index.into_iter().for_each(|index| self.rearm(index));
        }
    }

    /// Ends a connection. Whoever waits for the answer to a request there learns it.
    fn close(&mut self, index: usize, why: &'static str) {
        let Some(connection) = self.connections.try_remove(index) else { return };
        metrics::counter!("maskline_sip_connections_closed_total", "why" => why).increment(1);
        self.wheel.cancel(index as u32);
        self.sources.remove(connection.peer.address.ip());
        if connection.is_unidentified {
            return;
        }
        self.forget(index, key(connection.peer.hop()));
        self.softphones -= usize::from(connection.peer.role == PeerRole::Softphone);
        for peer in connection.hops() {
            self.streams.inbox.bring(Input::Unreachable { peer });
        }
        // Closing the descriptor takes it out of epoll.
    }

    /// Does what others have asked for; `true` when the thread shall end.
    fn read_post(&mut self) -> bool {
        let letters = self.streams.post.take();
        if letters.lost > 0 {
            metrics::counter!("maskline_sip_stream_unsent_total").increment(letters.lost);
        }
        letters.proved.into_iter().for_each(|hop| self.believe(hop));
        for (to, bytes) in letters.sends {
            self.send(to, bytes);
        }
        for index in std::mem::take(&mut self.unwritten) {
            self.write(index);
        }
        if letters.reload {
            let outcome = self.streams.tls.reload();
            report_reload(outcome);
        }
        letters.stop
    }

    fn keep_time(&mut self) {
        let at = now().monotonic;
        while let Some(index) = self.wheel.pop(at) {
            let index = index as usize;
            let Some(connection) = self.connections.get_mut(index) else { continue };
            connection.clocks.armed = None;
            match connection.clocks.next() {
                Some((due, why)) if due <= at => self.cut(index, why),
                Some(_) | None => self.rearm(index),
            }
        }
        if self.look_at <= at {
            self.look_at = at + LOOK_EVERY;
            if let Some(outcome) = self.streams.tls.reload_changed() {
                report_reload(outcome);
            }
            let count = u32::try_from(self.connections.len()).unwrap_or(u32::MAX);
            metrics::gauge!("maskline_sip_connections").set(f64::from(count));
        }
    }
}

const fn key(hop: Hop) -> Place {
    (hop.transport, hop.address, TrunkId::from_u128(hop.owner))
}

fn report_reload(outcome: Result<(), TlsError>) {
    match outcome {
        Ok(()) => tracing::info!("The certificates of SIP were read again"),
        Err(error) => {
            tracing::error!(%error, "The certificates of SIP stay as they were: {error}");
        }
    }
}

#[cfg(test)]
#[path = "stream_crowd_tests.rs"]
mod crowd_tests;
#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
#[cfg(test)]
#[path = "stream_tls_tests.rs"]
mod tls_tests;
