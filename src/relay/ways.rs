//! The ways between shards: what arrives at the wrong one is passed on to the one it belongs to.

use std::sync::Arc;

use super::stream::TakesInputs;
use crate::call::io::{Input, PeerRole};
use crate::sip::steer::shard_of;
use crate::sip::transport::Hop;

/// Takes what another shard has received.
pub(crate) trait TakesPassed: TakesInputs {
    /// Takes over all of `inputs`, in order, and leaves the rest when there is no room: the network
    /// may lose a datagram too, and its sender repeats it.
    fn pass(&self, inputs: &mut Vec<Input>);
}

/// The shard of all softphones: where an agent has registered, and how often its password was
/// guessed, has to be known in one place. `start` gives it more to do than the others.
pub(crate) const SOFTPHONES_AT: usize = 0;

/// The inboxes of all shards, in the order of their numbers.
pub(crate) struct Ways {
    shards: Vec<Arc<dyn TakesPassed>>,
    count: u16,
}

impl Ways {
    pub(crate) fn new(shards: Vec<Arc<dyn TakesPassed>>) -> Self {
        let count = u16::try_from(shards.len()).unwrap_or(u16::MAX);
        Self { shards, count }
    }

    /// The shard that a message belongs to.
    pub(crate) fn owner(&self, message: &[u8]) -> usize {
        usize::from(shard_of(message, self.count))
    }

    pub(crate) const fn count(&self) -> usize {
        self.shards.len()
    }

    /// Hands inputs to a shard; how many found no room.
    pub(crate) fn pass(&self, owner: usize, inputs: &mut Vec<Input>) -> u64 {
        if let Some(shard) = self.shards.get(owner) {
            shard.pass(inputs);
        }
        inputs.drain(..).count() as u64
    }
}

/// Connections belong to no shard: each of their messages goes its own way.
impl TakesInputs for Ways {
    fn has_room(&self) -> bool {
        self.shards.iter().all(|shard| shard.has_room())
    }

    fn bring(&self, input: Input) {
        let owner = match &input {
            Input::Datagram { peer, .. } if peer.role == PeerRole::Softphone => SOFTPHONES_AT,
            Input::Datagram { bytes, .. } => self.owner(bytes),
            Input::Unreachable { peer } => return self.tell_all(*peer),
            Input::Undelivered { branch, .. } => usize::from(branch.shard().number()),
            // Answered without a call, so that anyone can.
            Input::Broken { .. }
            | Input::Route { .. }
            | Input::Media(_)
            | Input::Control(_)
            | Input::Trunks(_)
            | Input::Login { .. }
            | Input::Menu { .. }
            | Input::RecorderCredit(_)
            | Input::Timeout => 0,
        };
        if let Some(shard) = self.shards.get(owner) {
            shard.bring(input);
        }
    }
}

impl Ways {
    /// Whichever shard waits for a peer that is not there learns it.
    fn tell_all(&self, peer: Hop) {
        self.shards.iter().for_each(|shard| shard.bring(Input::Unreachable { peer }));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use bytes::Bytes;

    use super::*;
    use crate::call::io::Peer;
    use crate::domain::id::TrunkId;
    use crate::sip::transport::Transport;

    /// A shard that keeps what it is given; it may have no room.
    struct Inbox {
        inputs: Mutex<Vec<Input>>,
        room: usize,
    }

    impl TakesInputs for Inbox {
        fn has_room(&self) -> bool {
            self.inputs.lock().expect("no panic").len() < self.room
        }

        fn bring(&self, input: Input) {
            self.inputs.lock().expect("no panic").push(input);
        }
    }

    impl TakesPassed for Inbox {
        fn pass(&self, inputs: &mut Vec<Input>) {
            let mut kept = self.inputs.lock().expect("no panic");
            let room = self.room.saturating_sub(kept.len()).min(inputs.len());
            kept.extend(inputs.drain(..room));
        }
    }

    fn ways(room: usize) -> (Ways, [Arc<Inbox>; 2]) {
        let shards = [(); 2].map(|()| Arc::new(Inbox { inputs: Mutex::default(), room }));
        let all = shards.iter().map(|shard| Arc::clone(shard) as _).collect();
        (Ways::new(all), shards)
    }

    fn peer() -> Peer {
        Peer {
            address: "192.0.2.1:5060".parse().expect("an address"),
            transport: Transport::Tcp,
            trunk: TrunkId::new(1, 0),
            role: PeerRole::Carrier,
        }
    }

    fn message(call: u32) -> Bytes {
        format!("OPTIONS sip:x SIP/2.0\r\nCall-ID: {call}\r\n\r\n").into()
    }

    fn held(shards: &[Arc<Inbox>; 2]) -> [usize; 2] {
        [&shards[0], &shards[1]].map(|shard| shard.inputs.lock().expect("no panic").len())
    }

    #[test]
    fn what_a_connection_brings_goes_where_the_same_datagram_would() {
        let (ways, shards) = ways(100);
        for call in 0..50 {
            let (before, bytes) = (held(&shards), message(call));
            let owner = ways.owner(&bytes);
            ways.bring(Input::Datagram { peer: peer(), bytes });
            assert_eq!(held(&shards)[owner], before[owner] + 1);
        }
        assert!(held(&shards).iter().all(|count| *count > 10), "{:?}", held(&shards));
    }

    #[test]
    fn the_end_of_a_connection_is_told_to_everybody() {
        let (ways, shards) = ways(100);
        ways.bring(Input::Unreachable { peer: peer().hop() });
        assert_eq!(held(&shards), [1, 1]);
    }

    #[test]
    fn without_room_in_one_shard_connections_wait_and_datagrams_are_lost() {
        let (ways, shards) = ways(2);
        let inputs = || (0..3).map(|n| Input::Datagram { peer: peer(), bytes: message(n) });
        assert!(ways.has_room());
        let mut passing = inputs().collect();
        assert_eq!(ways.pass(1, &mut passing), 1, "one found no room");
        assert!(passing.is_empty() && !ways.has_room());
        assert_eq!(held(&shards), [0, 2]);
    }
}
