//! Who has opened a connection: the source address says who it may be, and over TLS the certificate
//! says who it is.

use std::net::SocketAddr;

use rustls::pki_types::CertificateDer;

use super::super::now::now;
use super::super::tls::{Tls, TrunkTls};
use super::super::trunks::TrunkTable;
use super::clocks::UNPROVED;
use super::connection::{Connection, State};
use super::wire::Wire;
use super::{Place, Running, TcpStream, key};
use crate::call::io::{NO_TRUNK, Peer, PeerRole};
use crate::sip::transport::{Hop, Transport};

/// The trunk of a TLS client that has shown these certificates. Without any, it is a trunk that
/// needs none. With one that belongs to no trunk, it is none, wherever it comes from.
fn trunk_of(
    table: &TrunkTable,
    tls: &mut Tls,
    source: SocketAddr,
    shown: Option<&[CertificateDer<'static>]>,
) -> Option<Peer> {
    let tls = std::cell::RefCell::new(tls);
    table.find_among(Hop::new(Transport::Tls, source), |terms| match shown {
        None => *terms == TrunkTls::NOTHING,
        Some(shown) => tls.borrow_mut().proves(terms, shown),
    })
}

impl Running {
    /// A stranger's connection ends before a byte of it is read.
    pub(super) fn admit(&mut self, transport: Transport, socket: TcpStream, source: SocketAddr) {
        let hop = Hop::new(transport, source);
        let softphone = self.softphone_at(hop);
        let (suspect, mut terms) = match transport {
            Transport::Tls => self.table.suspects(source).unzip(),
            Transport::Udp | Transport::Tcp => (self.table.find(hop), None),
        };
        let Some(peer) = suspect.or(softphone) else {
            return self.refuse(source, "stranger");
        };
        // Before anything is made for it: a crowd costs no more than its sockets.
        if self.is_full(source.ip()) {
            return self.refuse(source, "too_many");
        }
        let wire = if transport == Transport::Tls {
            // A softphone beside a trunk has nothing to show before it is asked for a login.
            let terms = terms.get_or_insert_default();
            terms.extend(softphone.map(|_| &TrunkTls::NOTHING));
            match self.streams.tls.accept(terms) {
                Ok(tls) => Wire::Tls(Box::new(tls.into())),
                Err(error) => {
                    tracing::warn!(trunk.id = %peer.trunk, %error, "No TLS: {error}");
                    return self.refuse(source, "no_tls");
                }
            }
        } else {
            Wire::Plain
        };
        let is_softphone = peer.role == PeerRole::Softphone;
        if is_softphone && let Some(why) = self.find_refusal(&peer) {
            return self.refuse(source, why);
        }
        let within = self.streams.limits.message_within;
        let mut connection = Connection::new(socket, wire, peer, State::Open);
        connection.is_unidentified = transport == Transport::Tls && !is_softphone;
        connection.is_accepted = true;
        self.insert(connection, within);
    }

    /// Learns who a TLS client is, before anything that it says is looked at; `false` when it is
    /// nobody, and gone.
    pub(super) fn identify(&mut self, index: usize) -> bool {
        let Some(connection) = self.connections.get_mut(index) else { return false };
        let (source, shown) = (connection.peer.address, connection.wire.certificates());
        let trunk = trunk_of(&self.table, &mut self.streams.tls, source, shown);
        let hop = connection.peer.hop();
        let Some(peer) = trunk.or_else(|| self.softphone_at(hop)) else {
            self.refuse(source, "certificate");
            self.close(index, "certificate");
            return false;
        };
        let is_softphone = peer.role == PeerRole::Softphone;
        if is_softphone && let Some(why) = self.find_refusal(&peer) {
            self.refuse(source, why);
            self.close(index, why);
            return false;
        }
        let Some(connection) = self.connections.get_mut(index) else { return false };
        connection.is_unidentified = false;
        self.know(index, peer);
        true
    }

    /// From now on messages for this peer go over this connection.
    pub(super) fn know(&mut self, index: usize, peer: Peer) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        connection.peer = peer;
        if peer.role == PeerRole::Softphone {
            self.softphones += 1;
            connection.clocks.proof = Some(now().monotonic + self.streams.limits.proof_within);
        }
        // The latest: of a peer that was started anew, the others may be dead.
        let before = self.by_address.insert(key(peer.hop()), index);
        self.twins += usize::from(before.is_some_and(|before| before != index));
    }

    /// A connection is no more. Another one of the same place is found in its stead.
    pub(super) fn forget(&mut self, index: usize, place: Place) {
        if self.by_address.get(&place) != Some(&index) {
            self.twins = self.twins.saturating_sub(1);
            return;
        }
        let is_twin = |it: &Connection| !it.is_unidentified && key(it.peer.hop()) == place;
        let twin = match self.twins {
            0 => None,
            _ => self.connections.iter().find(|(_, it)| is_twin(it)).map(|(twin, _)| twin),
        };
        match twin {
            Some(twin) => {
                self.twins -= 1;
                self.by_address.insert(place, twin);
            }
            None => drop(self.by_address.remove(&place)),
        }
    }

    /// Why a softphone cannot be let in. One at the place of another, by another listener, could
    /// not be told from it, and what is for one would reach the other.
    fn find_refusal(&mut self, softphone: &Peer) -> Option<&'static str> {
        if self.by_address.contains_key(&key(softphone.hop())) {
            return Some("taken");
        }
        (!self.has_room_for_softphone()).then_some("too_many")
    }

    /// Whoever comes takes the place of whoever has shown nothing for the longest time, so that a
    /// crowd of strangers does not keep agents out.
    fn has_room_for_softphone(&mut self) -> bool {
        if self.softphones < self.streams.limits.softphones_max {
            return true;
        }
        let proof = |(index, it): (usize, &Connection)| Some((it.clocks.proof?, index));
        let Some((_, index)) = self.connections.iter().filter_map(proof).min() else {
            return false;
        };
        self.cut(index, UNPROVED);
        true
    }

    /// A peer that is no trunk, where softphones may come.
    fn softphone_at(&self, hop: Hop) -> Option<Peer> {
        let Hop { transport, address, .. } = hop;
        self.streams.softphones.contains(&transport).then_some(Peer {
            address,
            transport,
            trunk: NO_TRUNK,
            role: PeerRole::Softphone,
        })
    }

    /// Connections of trunks that are no more, or ask for another certificate, are closed.
    pub(super) fn follow_trunks(&mut self) {
        let table = self.streams.trunks.load_full();
        if std::sync::Arc::ptr_eq(&table, &self.table) {
            return;
        }
        let old = std::mem::replace(&mut self.table, table);
        self.streams.tls.forget();
        let indexes: Vec<usize> = self.connections.iter().map(|(index, _)| index).collect();
        for index in indexes {
            let Some(connection) = self.connections.get_mut(index) else { continue };
            // Who is not known yet is asked for by the new table.
            if connection.is_unidentified && self.table.suspects(connection.peer.address).is_some()
            {
                continue;
            }
            let known = connection.peer;
            let found = if !connection.is_accepted {
                // A server that was good enough under other terms need not be any more.
                let terms_stay = known.transport != Transport::Tls
                    || old.tls_of(known.trunk) == self.table.tls_of(known.trunk);
                self.table.owner_of(known.hop()).filter(|_| terms_stay)
            } else if known.transport == Transport::Tls {
                let shown = connection.wire.certificates();
                trunk_of(&self.table, &mut self.streams.tls, known.address, shown)
            } else {
                self.table.find(known.hop())
            };
            match found {
                Some(peer) if peer.trunk == known.trunk => connection.peer = peer,
                None if known.role == PeerRole::Softphone => {}
                Some(_) | None => self.close(index, "trunk_changed"),
            }
        }
    }
}
