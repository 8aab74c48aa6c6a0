//! How much connections may cost, and how long their peers may take.

use std::time::Duration;

/// How much a connection may cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Connections of one source: an IPv4 address, or an IPv6 network of 64 bits.
    pub(crate) per_source_max: usize,
    /// Connections in all.
    pub(crate) connections_max: usize,
    /// Connections of peers that are no trunk, so that trunks always find room.
    pub(crate) softphones_max: usize,
    /// How long the first message, and each later one once begun, may take. The handshake is part
    /// of the first.
    pub(crate) message_within: Duration,
    /// How long a peer that is no trunk may take to show the login of an agent.
    pub(crate) proof_within: Duration,
    /// How long a peer may leave unread what it was sent.
    pub(crate) read_within: Duration,
    /// How long a peer may take to accept a connection of ours, handshake included. An INVITE that
    /// waits for it is lost then, before anybody else is asked instead: two carriers never ring one
    /// phone.
    pub(crate) connect_within: Duration,
    /// How long a BYE and what else belongs to a call waits on after that.
    pub(crate) late_within: Duration,
    /// How long the last answer on a broken stream has to reach its peer.
    pub(crate) last_answer_within: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            per_source_max: 100,
            connections_max: 4_096,
            softphones_max: 2_048,
            message_within: Duration::from_secs(30),
            proof_within: Duration::from_secs(30),
            read_within: Duration::from_secs(30),
            connect_within: CONNECT_USUAL,
            late_within: LATE_USUAL,
            last_answer_within: Duration::from_millis(500),
        }
    }
}

/// Time for one SYN that is lost, on ways of up to 160 ms there and back.
const CONNECT_USUAL: Duration = Duration::from_millis(1_500);

/// Less than the 64*T1 after which nobody waits for an answer any more.
const LATE_USUAL: Duration = Duration::from_secs(20);

impl Limits {
    /// Where a trunk that is silent for so long is given up for the next one.
    pub(crate) fn with_failover(failover_timeout: Duration) -> Self {
        // The first message on its way may have been queued when the connection began.
        Self { connect_within: CONNECT_USUAL.min(failover_timeout * 3 / 4), ..Self::default() }
    }
}
