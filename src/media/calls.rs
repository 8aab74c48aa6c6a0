//! The calls of one media thread: a flat array found by slot, ports, and the count that all threads
//! share.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hashbrown::HashMap;
use rand_core::Rng;
use slab::Slab;

use super::free_ports::PortsSeen;
use super::link::{SPARES_MAX, Spare};
use super::sockets::{Sockets, for_family};
use super::tape::Taping;
use crate::rtp::plane::{PlaneAddress, RemoteMedia, SessionId, Side};
use crate::rtp::ports::Ports;
use crate::rtp::session::Session;
use crate::rtp::srtp::LegKeys;
use crate::rtp::time::Moment;

/// One call.
pub(super) struct Call {
    pub(super) session: Session,
    pub(super) sockets: Sockets,
    pub(super) id: SessionId,
    /// Who opened it, and hears about it.
    pub(super) link: usize,
    /// What is kept of it.
    pub(super) taping: Option<Taping>,
    /// The number of its latest timer.
    pub(super) timer: u64,
    ports: [u16; 2],
}

/// Open ports that no call has yet. Nobody reads them: what arrives early waits in the system's
/// buffer and meets the rules of the call.
struct Ready {
    sockets: Sockets,
    ports: [u16; 2],
    link: usize,
}

/// All calls of one thread.
pub(super) struct Calls {
    slots: Slab<Call>,
    ready: Slab<Ready>,
    by_id: HashMap<SessionId, usize>,
    ports: Ports,
    /// Pairs of the whole range.
    ports_all: usize,
    address: PlaneAddress,
    silence_timeout: Duration,
    room: Arc<Room>,
    ports_seen: Arc<PortsSeen>,
}

/// How many calls all threads may hold together.
#[derive(Debug)]
pub(super) struct Room {
    taken: AtomicUsize,
    sessions_max: usize,
}

impl Room {
    pub(super) const fn new(sessions_max: usize) -> Self {
        Self { taken: AtomicUsize::new(0), sessions_max }
    }

    fn take(&self) -> io::Result<()> {
        let more = |taken| (taken < self.sessions_max).then_some(taken + 1);
        match self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) {
            Ok(_) => Ok(()),
            Err(_) => Err(io::Error::other("the media plane is full")),
        }
    }

    fn give_back(&self) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Calls {
    pub(super) fn new(
        address: PlaneAddress,
        ports: Ports,
        silence_timeout: Duration,
        room: Arc<Room>,
        ports_seen: Arc<PortsSeen>,
    ) -> Self {
        let (slots, ready, by_id) = (Slab::new(), Slab::new(), HashMap::new());
        let ports_all = ports.free();
        Self { slots, ready, by_id, ports, ports_all, address, silence_timeout, room, ports_seen }
    }

    /// The call at a slot.
    #[inline]
    pub(super) fn at(&mut self, slot: usize) -> Option<&mut Call> {
        self.slots.get_mut(slot)
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(super) const fn ports(&self) -> &Ports {
        &self.ports
    }

    /// Lets others see how many ports are free now.
    fn show_ports(&mut self, now: Moment) {
        self.ports.settle(now);
        self.ports_seen.write(now, &self.ports);
    }

    /// Opens the ports of a new call and says our RTP address towards each side.
    pub(super) fn open(
        &mut self,
        now: Moment,
        link: usize,
        id: SessionId,
        poller: &OwnedFd,
        rng: &mut impl Rng,
    ) -> io::Result<[SocketAddr; 2]> {
        if self.by_id.contains_key(&id) {
            return Err(io::Error::other("the call is open already"));
        }
        let ready = self.open_ready(now, link, rng)?;
        self.begin(now, id, ready, poller, rng)
    }

    /// Opens ports in advance for a call of a link.
    pub(super) fn open_spare(
        &mut self,
        now: Moment,
        link: usize,
        rng: &mut impl Rng,
    ) -> io::Result<Spare> {
        let ready = self.open_ready(now, link, rng)?;
        let local = self.advertised(ready.ports);
        Ok(Spare { id: self.ready.insert(ready), local })
    }

    /// How many spares a link has that it has not taken.
    pub(super) fn spares(&self, link: usize) -> usize {
        self.ready.iter().filter(|(_, ready)| ready.link == link).count()
    }

    /// How many spares a link shall have: few where ports or calls are few.
    pub(super) fn spares_wanted(&self) -> usize {
        let most = self.ports_all.min(self.room.sessions_max) / SPARES_SHARE;
        let is_busy = self.room.taken.load(Ordering::Relaxed) > self.room.sessions_max / 2;
        if is_busy { 0 } else { most.min(SPARES_MAX) }
    }

    /// Gives spare ports to a call.
    pub(super) fn take_spare(
        &mut self,
        now: Moment,
        id: SessionId,
        spare: usize,
        poller: &OwnedFd,
        rng: &mut impl Rng,
    ) -> io::Result<()> {
        let ready = self.ready.try_remove(spare);
        let ready = ready.ok_or_else(|| io::Error::other("there is no such spare"))?;
        if self.by_id.contains_key(&id) {
            self.give_up(now, &ready);
            return Err(io::Error::other("the call is open already"));
        }
        self.begin(now, id, ready, poller, rng).map(|_| ())
    }

    fn open_ready(&mut self, now: Moment, link: usize, rng: &mut impl Rng) -> io::Result<Ready> {
        self.room.take()?;
        let opened = self.open_sockets(now, rng);
        self.show_ports(now);
        let (sockets, ports) = opened.inspect_err(|_| self.room.give_back())?;
        Ok(Ready { sockets, ports, link })
    }

    /// Closes spare ports that nobody has heard of.
    pub(super) fn drop_spare(&mut self, now: Moment, spare: usize) {
        if let Some(ready) = self.ready.try_remove(spare) {
            self.give_up(now, &ready);
        }
    }

    fn give_up(&mut self, now: Moment, ready: &Ready) {
        for port in ready.ports {
            self.ports.release(now, port);
        }
        self.room.give_back();
    }

    fn advertised(&self, ports: [u16; 2]) -> [SocketAddr; 2] {
        ports.map(|port| SocketAddr::new(self.address.advertise, port))
    }

    fn begin(
        &mut self,
        now: Moment,
        id: SessionId,
        ready: Ready,
        poller: &OwnedFd,
        rng: &mut impl Rng,
    ) -> io::Result<[SocketAddr; 2]> {
        let Ready { sockets, ports, link } = ready;
        let session = Session::open(now, self.silence_timeout, rng);
        let slot =
            self.slots.insert(Call { session, sockets, id, link, taping: None, timer: 0, ports });
        self.by_id.insert(id, slot);
        if let Err(error) = self.slots[slot].sockets.watch(poller, slot) {
            self.close(now, id);
            return Err(error);
        }
        Ok(self.advertised(ports))
    }

    /// Two random pairs. A port that somebody else holds goes into quarantine, and another is
    /// tried.
    fn open_sockets(&mut self, now: Moment, rng: &mut impl Rng) -> io::Result<(Sockets, [u16; 2])> {
        let mut last = io::Error::other("no RTP port is free");
        for _ in 0..TRIES_MAX {
            let Some(a) = self.ports.take(now, rng) else { break };
            let Some(b) = self.ports.take(now, rng) else {
                self.ports.release(now, a);
                break;
            };
            match Sockets::open(self.address.bind, [a, b]) {
                Ok(sockets) => return Ok((sockets, [a, b])),
                Err(error) => last = error,
            }
            self.ports.release(now, a);
            self.ports.release(now, b);
            if last.kind() != io::ErrorKind::AddrInUse {
                break;
            }
        }
        Err(last)
    }

    /// Takes the SDP of one side; the slot of the call, if it is known.
    pub(super) fn update(
        &mut self,
        now: Moment,
        id: SessionId,
        side: Side,
        remote: RemoteMedia,
        keys: Option<&LegKeys>,
        rng: &mut impl Rng,
    ) -> Option<usize> {
        let slot = *self.by_id.get(&id)?;
        let bind = self.address.bind;
        let rtp = for_family(bind, remote.rtp);
        let rtcp = for_family(bind, remote.rtcp);
        let session = &mut self.at(slot)?.session;
        // First, so that no packet is taken in clear on the way.
        if !session.set_keys(side, keys, rng) {
            tracing::error!("The keys of a call are no keys");
            return None;
        }
        session.update(now, side, &RemoteMedia { rtp, rtcp, ..remote });
        Some(slot)
    }

    /// Joins the sides; the slot of the call, if it is known.
    pub(super) fn bridge(
        &mut self,
        now: Moment,
        id: SessionId,
        rng: &mut impl Rng,
    ) -> Option<usize> {
        let slot = *self.by_id.get(&id)?;
        self.at(slot)?.session.bridge(now, rng);
        Some(slot)
    }

    /// The slot of a call, if it is known.
    pub(super) fn find(&self, id: SessionId) -> Option<usize> {
        self.by_id.get(&id).copied()
    }

    /// Closes the ports of a call; who opened it and what was counted, if it is known.
    pub(super) fn close(&mut self, now: Moment, id: SessionId) -> Option<Call> {
        let slot = self.by_id.remove(&id)?;
        let call = self.slots.try_remove(slot)?;
        for port in call.ports {
            self.ports.release(now, port);
        }
        self.show_ports(now);
        self.room.give_back();
        if self.slots.is_empty() && self.slots.capacity() > KEPT {
            (self.slots, self.by_id) = (Slab::new(), HashMap::new());
        }
        Some(call)
    }
}

/// Room for so many calls stays when the last one has ended; what a busier hour took is given back.
const KEPT: usize = 256;

/// The part of the ports, and of the calls, that spares may be: one of so many.
const SPARES_SHARE: usize = 64;

/// How many times other ports are tried when some are held by somebody else.
const TRIES_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plane_holds_no_more_calls_than_it_may() {
        let room = Room::new(2);
        assert!(room.take().is_ok());
        assert!(room.take().is_ok());
        assert!(room.take().is_err());
        room.give_back();
        assert!(room.take().is_ok());
    }
}
