//! Gives the built-in phones real sockets: waits for datagrams and timers of all of them on one
//! thread, and carries what they say.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::phone::{Phone, PhoneConfig, PhoneInput, PhoneOutput};
use crate::relay::now::now;
use crate::relay::ports::Ports;

/// The longest that the stage waits before it looks whether it is done.
const WAIT_MAX: Duration = Duration::from_millis(100);
/// The largest datagram of UDP over IPv4.
const DATAGRAM_BYTES_MAX: usize = 65_507;
/// Datagrams taken from one socket in one round.
const BATCH_MAX: usize = 64;

/// Phones with their sockets.
pub struct Stage {
    actors: Vec<Actor>,
    buffer: Vec<u8>,
}

struct Actor {
    phone: Phone,
    sockets: Vec<(SocketAddr, UdpSocket)>,
}

impl Stage {
    /// An empty stage.
    #[must_use]
    pub fn new() -> Self {
        Self { actors: Vec::new(), buffer: vec![0; DATAGRAM_BYTES_MAX] }
    }

    /// Brings in a phone whose addresses are those of its ports: one for SIP, and two for each call
    /// it may have. Its place on the stage is the answer.
    pub fn enter(
        &mut self,
        config: PhoneConfig,
        sip: Ports,
        media: Ports,
        seed: [u8; 32],
    ) -> usize {
        let sockets = [sip, media].into_iter().flat_map(Ports::into_sockets).collect();
        let rng = rand_core::SeedableRng::from_seed(seed);
        self.actors.push(Actor { phone: Phone::new(config, rng), sockets });
        self.actors.len() - 1
    }

    /// One phone.
    ///
    /// # Panics
    /// When nobody entered at this place.
    #[must_use]
    pub fn phone(&self, place: usize) -> &Phone {
        &self.actors.get(place).expect("a place that `enter` gave").phone
    }

    /// One phone, to dial with it or to tell it what to do.
    ///
    /// # Panics
    /// When nobody entered at this place.
    pub fn phone_mut(&mut self, place: usize) -> &mut Phone {
        &mut self.actors.get_mut(place).expect("a place that `enter` gave").phone
    }

    /// Lets the phones act until `done`, at most for `limit`. True when it was done.
    ///
    /// # Errors
    /// When the sockets fail as a whole; a single send that fails is the network's loss.
    pub fn run(
        &mut self,
        limit: Duration,
        mut done: impl FnMut(&Self) -> bool,
    ) -> io::Result<bool> {
        let end = now().monotonic + limit;
        loop {
            self.send_all();
            if done(self) {
                return Ok(true);
            }
            let moment = now();
            if moment.monotonic >= end {
                return Ok(false);
            }
            self.wait(end, moment.monotonic)?;
            self.receive_all();
            let moment = now();
            for actor in &mut self.actors {
                if actor.phone.poll_timeout().is_some_and(|at| at <= moment.monotonic) {
                    actor.phone.handle_input(moment, PhoneInput::Timeout);
                }
            }
        }
    }

    fn send_all(&mut self) {
        for actor in &mut self.actors {
            while let Some(PhoneOutput::Transmit { from, to, bytes }) = actor.phone.poll_output() {
                let socket = actor.sockets.iter().find(|(address, _)| *address == from);
                if let Some((_, socket)) = socket {
                    // As on a network: what cannot be sent is lost, and retransmission cares.
                    let _ = socket.send_to(&bytes, to);
                }
            }
        }
    }

    fn wait(&self, end: Instant, from: Instant) -> io::Result<()> {
        let timers = self.actors.iter().filter_map(|actor| actor.phone.poll_timeout());
        let next = timers.min().unwrap_or(end).min(end).min(from + WAIT_MAX);
        let wait = next.saturating_duration_since(from);
        let timeout = Timespec::try_from(wait).map_err(io::Error::other)?;
        let sockets = self.actors.iter().flat_map(|actor| &actor.sockets);
        let mut waiting: Vec<PollFd<'_>> =
            sockets.map(|(_, socket)| PollFd::new(socket, PollFlags::IN)).collect();
        match poll(&mut waiting, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn receive_all(&mut self) {
        for actor in &mut self.actors {
            for (address, socket) in &actor.sockets {
                for _ in 0..BATCH_MAX {
                    // Nothing there, or an ICMP error of an earlier send: both mean to go on.
                    let Ok((length, from)) = socket.recv_from(&mut self.buffer) else { break };
                    let bytes = self.buffer.get(..length).unwrap_or_default();
                    let bytes = Bytes::copy_from_slice(bytes);
                    let input = PhoneInput::Datagram { from, to: *address, bytes };
                    actor.phone.handle_input(now(), input);
                }
            }
        }
    }
}

impl Default for Stage {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::phone::{CallState, Ending, Script, Voice};

    fn ports() -> [Ports; 2] {
        [1, 2].map(|count| Ports::free(Ipv4Addr::LOCALHOST.into(), count).expect("free ports"))
    }

    #[test]
    fn two_phones_talk_over_real_sockets() {
        let [sip, media] = ports();
        let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
        let mut callee = PhoneConfig::new("callee", sip.first(), media.first(), nobody);
        callee.answering = Script::new().ring().answer().speak(Voice::Tone { hz: 880 });
        let mut stage = Stage::new();
        let callee_at = sip.first();
        let callee = stage.enter(callee, sip, media, [1; 32]);
        let [sip, media] = ports();
        let caller = PhoneConfig::new("caller", sip.first(), media.first(), callee_at);
        let caller = stage.enter(caller, sip, media, [2; 32]);
        let talk = Duration::from_millis(200);
        let script =
            Script::new().once_answered().speak(Voice::Tone { hz: 440 }).after(talk).hang_up();
        stage.phone_mut(caller).dial(now(), "callee", script).expect("a first call");
        let over = |stage: &Stage, place| {
            let call = stage.phone(place).call(0);
            call.map(|call| call.state) == Some(CallState::Over(Ending::FarHungUp))
        };
        assert!(stage.run(Duration::from_secs(20), |s| over(s, callee)).expect("sockets"));
        assert!(stage.phone(caller).call(0).is_some_and(|call| call.packets_in > 0));
    }
}
