//! One connection of a trunk: its bytes, its messages, and how long it may take.

use std::io;
use std::net::{SocketAddr, TcpStream};

use bytes::{Bytes, BytesMut};
use rustix::event::epoll::EventFlags;

use super::clocks::Clocks;
use super::wire::Wire;
use crate::call::io::{Input, Peer};
use crate::sip::framer::{Frame, Framer};
use crate::sip::method::Method;
use crate::sip::steer::is_in_dialog;
use crate::sip::transport::Hop;

/// Bytes that wait for a peer to read. One that does not read is cut off.
pub(super) const UNSENT_MAX: usize = 256 * 1_024;
/// Other names under which messages were sent here: a connection that is gone, and this instead.
const NAMES_MAX: usize = 16;

/// What a connection is waiting for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum State {
    /// The network answers that the peer is there.
    Connecting,
    /// Messages.
    Open,
    /// Its stream is broken: what is still read is dropped, and a last answer may go out.
    Closing,
}

/// What reading came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Heard {
    /// Nothing that changes how long it may take.
    Nothing,
    /// A message has begun.
    Begun,
    /// All that has begun is complete.
    Complete,
    /// Nobody knows where the next message begins.
    Broken,
    /// The end of the stream.
    End,
}

/// One connection.
pub(super) struct Connection {
    pub(super) socket: TcpStream,
    pub(super) wire: Wire,
    pub(super) peer: Peer,
    pub(super) state: State,
    pub(super) clocks: Clocks,
    /// What epoll watches for.
    pub(super) interest: EventFlags,
    framer: Framer,
    out: BytesMut,
    /// Its time is running: until the first message, and then while one is incomplete.
    is_timed: bool,
    /// Which of several trunks it is, only its certificate tells, and that was not looked at yet.
    pub(super) is_unidentified: bool,
    /// The peer has opened it.
    pub(super) is_accepted: bool,
    /// We have opened it, and it is not up yet.
    pub(super) is_opening: bool,
    /// It takes so long that what may be asked elsewhere no longer waits for it.
    pub(super) is_late: bool,
    /// What is sent when it is up, oldest first.
    waiting: Vec<(Hop, Bytes)>,
    names: Vec<SocketAddr>,
}

impl Connection {
    /// A new connection whose time is running.
    pub(super) fn new(socket: TcpStream, wire: Wire, peer: Peer, state: State) -> Self {
        Self {
            socket,
            is_unidentified: false,
            is_accepted: false,
            is_opening: state == State::Connecting,
            is_late: false,
            waiting: Vec::new(),
            wire,
            peer,
            state,
            clocks: Clocks::default(),
            interest: EventFlags::IN | EventFlags::OUT,
            framer: Framer::new(),
            out: BytesMut::new(),
            is_timed: true,
            names: Vec::new(),
        }
    }

    /// Every hop under which this peer was written to.
    pub(super) fn hops(&self) -> impl Iterator<Item = Hop> {
        let own = self.peer.hop();
        let names = self.names.iter().map(move |at| Hop::new(own.transport, *at).of(own.owner));
        std::iter::once(own).chain(names)
    }

    /// Queues a message; `false` when the peer does not read what it is sent.
    pub(super) fn queue(&mut self, to: Hop, bytes: Bytes) -> bool {
        let is_new = to.address != self.peer.address && !self.names.contains(&to.address);
        if is_new && self.names.len() < NAMES_MAX {
            self.names.push(to.address);
        }
        if self.is_opening {
            self.waiting.push((to, bytes));
            return self.waiting.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() <= UNSENT_MAX;
        }
        self.out.extend_from_slice(&bytes);
        self.out.len() <= UNSENT_MAX
    }

    /// It is not up in time: what may be asked elsewhere is taken out, and it is late if something
    /// waits on.
    pub(super) fn become_late(&mut self) -> Vec<(Hop, Bytes)> {
        let lost = self.waiting.extract_if(.., |(_, bytes)| may_be_asked_elsewhere(bytes));
        let lost = lost.collect();
        self.is_late = !self.waiting.is_empty();
        lost
    }

    /// Sends what the socket takes.
    pub(super) fn write(&mut self) -> io::Result<()> {
        if self.state == State::Connecting {
            return Ok(());
        }
        self.wire.write(&self.socket, &mut self.out)
    }

    /// Something waits for the peer to read.
    pub(super) fn wants_write(&self) -> bool {
        self.wire.wants_write(&self.out)
    }

    /// What epoll should watch for now.
    pub(super) fn wanted(&self) -> EventFlags {
        if self.state == State::Connecting || self.wants_write() {
            EventFlags::IN | EventFlags::OUT
        } else {
            EventFlags::IN
        }
    }

    /// Reads once into `buffer`: `None` when nothing has come, 0 at the end of the stream.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        self.wire.read(&self.socket, buffer)
    }

    /// Takes what was received; whole messages go to `take`.
    pub(super) fn hear(&mut self, received: &[u8], mut take: impl FnMut(Input)) -> Heard {
        if received.is_empty() {
            return Heard::End;
        }
        if self.state == State::Closing {
            return Heard::Nothing;
        }
        self.framer.push(received);
        let peer = self.peer;
        let mut is_framed = false;
        while let Some(frame) = self.framer.next_frame() {
            is_framed = true;
            match frame {
                Frame::Message(bytes) => take(Input::Datagram { peer, bytes }),
                // Whoever asks without reading the answers gets no more of them than of anything.
                Frame::Keepalive if self.out.len() < UNSENT_MAX => {
                    self.out.extend_from_slice(b"\r\n");
                }
                Frame::Keepalive => {}
                Frame::Broken(malformed) => {
                    take(Input::Broken { peer, malformed });
                    self.state = State::Closing;
                    return Heard::Broken;
                }
            }
        }
        self.judge_pace(is_framed)
    }

    /// Whoever begins a message has to end it in time, however slowly it writes.
    fn judge_pace(&mut self, is_framed: bool) -> Heard {
        let is_partial = self.framer.is_partial();
        let was_timed = self.is_timed;
        self.is_timed = was_timed && !is_framed;
        if is_partial && !self.is_timed {
            self.is_timed = true;
            return Heard::Begun;
        }
        if was_timed && !self.is_timed { Heard::Complete } else { Heard::Nothing }
    }

    /// Once, when a connection that we have opened is up: the time for that no longer runs. What
    /// has come of a message in the same breath has to be completed like any other.
    pub(super) fn comes_up(&mut self) -> Option<Heard> {
        let is_up = self.state == State::Open && !self.wire.is_handshaking();
        if !(self.is_opening && is_up) {
            return None;
        }
        (self.is_opening, self.is_late) = (false, false);
        self.is_timed = self.framer.is_partial();
        self.waiting.drain(..).for_each(|(_, bytes)| self.out.extend_from_slice(&bytes));
        Some(if self.is_timed { Heard::Begun } else { Heard::Complete })
    }
}

/// Whether a message begins something, for which there may be another target: nobody should wait
/// long. What belongs to a call can only be told to who takes part in it.
pub(super) fn may_be_asked_elsewhere(message: &[u8]) -> bool {
    let method = message.split(|byte| *byte == b' ').next().unwrap_or_default();
    let method = Method::from_token(method);
    matches!(method, Method::Options | Method::Register)
        || method == Method::Invite && !is_in_dialog(message)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::call::io::{NO_TRUNK, PeerRole};
    use crate::sip::transport::Transport;

    fn connection(state: State) -> Connection {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let socket = TcpStream::connect(address).expect("a listener");
        let (transport, trunk, role) = (Transport::Tcp, NO_TRUNK, PeerRole::Softphone);
        let peer = Peer { address, transport, trunk, role };
        Connection::new(socket, Wire::Plain, peer, state)
    }

    #[test]
    fn what_comes_of_a_message_before_we_know_that_a_connection_is_up_is_timed_too() {
        let mut opening = connection(State::Connecting);
        assert_eq!(opening.comes_up(), None);
        opening.state = State::Open;
        assert_eq!(opening.hear(b"OPTIONS sip:x", |_| ()), Heard::Nothing, "its time runs yet");
        assert_eq!(opening.comes_up(), Some(Heard::Begun));
        assert_eq!(opening.hear(b"@h SIP/2.0\r\n", |_| ()), Heard::Nothing);
        assert_eq!(opening.hear(b"Content-Length: 0\r\n\r\n", |_| ()), Heard::Complete);
        let mut silent = connection(State::Connecting);
        silent.state = State::Open;
        assert_eq!((silent.comes_up(), silent.comes_up()), (Some(Heard::Complete), None));
    }

    #[test]
    fn whoever_asks_for_life_and_reads_no_answer_costs_no_more_than_the_bound() {
        let mut connection = connection(State::Open);
        let asks = b"\r\n\r\n".repeat(4_096);
        for _ in 0..200 {
            assert_ne!(connection.hear(&asks, |input| panic!("{input:?}")), Heard::Broken);
        }
        assert_eq!(connection.out.len(), UNSENT_MAX, "and it is not cut for asking");
    }
}
