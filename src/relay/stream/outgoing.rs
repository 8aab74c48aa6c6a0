//! What the shard sends over streams: on the connection it is meant for, or on a new one.

use std::io;
use std::net::{SocketAddr, TcpStream};

use bytes::Bytes;
use socket2::{Domain, Protocol, Socket, Type};

use super::connection::{Connection, State, may_be_asked_elsewhere};
use super::wire::Wire;
use super::{Input, Peer, Running, key, now};
use crate::sip::steer::branch_in;
use crate::sip::transport::{Hop, Transport};

impl Running {
    /// Sends a message on the connection of its hop; when that is gone, on one to where the peer
    /// listens (RFC 3261 §18.2.2). Whoever else is at that address does not get it, and nobody
    /// listens who belongs to no trunk: a port that a softphone names may be its neighbour's.
    pub(super) fn send(&mut self, to: Hop, bytes: Bytes) {
        let listens_at = Hop { address: to.listens_at(), ..to };
        let listening = || self.by_address.get(&key(listens_at)).filter(|_| to.owner != 0);
        let known = self.by_address.get(&key(to)).or_else(listening);
        let index = known.copied().or_else(|| self.connect(to));
        let Some((index, connection)) =
            index.and_then(|index| Some((index, self.connections.get_mut(index)?)))
        else {
            return self.streams.inbox.bring(Input::Unreachable { peer: to });
        };
        if connection.is_late && may_be_asked_elsewhere(&bytes) {
            return self.lose(to, &bytes);
        }
        if !connection.queue(to, bytes) {
            return self.close(index, "does_not_read");
        }
        if !self.unwritten.contains(&index) {
            self.unwritten.push(index);
        }
    }

    /// A connection of ours is not up in time. True when something waits for it yet: who is at the
    /// other end of a call can be told of its end by nobody else.
    pub(super) fn waits_on(&mut self, index: usize) -> bool {
        let Some(connection) = self.connections.get_mut(index) else { return false };
        if !connection.is_opening || connection.is_late {
            return false;
        }
        let lost = connection.become_late();
        if !connection.is_late {
            return false;
        }
        connection.clocks.message = Some(now().monotonic + self.streams.limits.late_within);
        self.rearm(index);
        lost.iter().for_each(|(to, bytes)| self.lose(*to, bytes));
        true
    }

    /// Says that a request of ours was not sent, and will not be.
    fn lose(&self, peer: Hop, request: &[u8]) {
        if let Some(branch) = branch_in(request) {
            self.streams.inbox.bring(Input::Undelivered { peer, branch });
        }
    }

    /// Opens a connection to the trunk that a message is for, and to nobody else.
    fn connect(&mut self, to: Hop) -> Option<usize> {
        let address = to.listens_at();
        let peer = self.table.owner_of(Hop { address, ..to })?;
        if self.is_full(address.ip()) {
            return None;
        }
        let wire = self.outgoing_wire(&peer)?;
        let (socket, state) = match open(address, self.source_for(address)) {
            Ok(opened) => opened,
            Err(error) => {
                tracing::debug!(trunk.id = %peer.trunk, %error, "No connection: {error}");
                return None;
            }
        };
        let within = self.streams.limits.connect_within;
        self.insert(Connection::new(socket, wire, peer, state), within)
    }

    fn outgoing_wire(&mut self, peer: &Peer) -> Option<Wire> {
        match peer.transport {
            Transport::Tls => {
                let terms = self.table.tls_of(peer.trunk);
                let host = self.table.host_of(peer.trunk, peer.address);
                match self.streams.tls.connect(peer.trunk, terms, host, peer.address.ip()) {
                    Ok(tls) => Some(Wire::Tls(Box::new(tls.into()))),
                    Err(error) => {
                        tracing::warn!(trunk.id = %peer.trunk, %error, "No TLS: {error}");
                        None
                    }
                }
            }
            Transport::Udp | Transport::Tcp => Some(Wire::Plain),
        }
    }

    /// The address that peers know us by, when we listen on a particular one.
    fn source_for(&self, to: SocketAddr) -> Option<SocketAddr> {
        let own = self.streams.sources.iter().find(|own| own.is_ipv4() == to.is_ipv4())?;
        Some(SocketAddr::new(*own, 0))
    }
}

/// Begins a connection; the network says later whether anybody is there.
fn open(to: SocketAddr, from: Option<SocketAddr>) -> io::Result<(TcpStream, State)> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    if let Some(from) = from {
        socket.bind(&from.into())?;
    }
    match socket.connect(&to.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        Err(error) => return Err(error),
    }
    Ok((socket.into(), State::Connecting))
}
