//! L3: the shell of signalling. It owns the clock, the sockets and the queues, and takes no
//! decision about a call.

pub mod handle;
pub mod now;
mod outbox;
pub mod ports;
pub mod recorder;
pub mod routes;

pub(crate) mod backlog;
pub(crate) mod caps;
pub(crate) mod dns;
pub(crate) mod follow;
pub(crate) mod loopback;
pub(crate) mod sip_udp;
pub(crate) mod start;
pub(crate) mod stored;
pub(crate) mod stream;
pub(crate) mod tls;
mod trunk_states;
pub(crate) mod trunks;

mod behind;
#[cfg(test)]
#[path = "../../tests/certificates/mod.rs"]
mod certificates;
mod freshness;
mod live;
mod mailbox;
mod memory;
mod pace;
mod refusals;
mod security;
mod shard;
mod taken;
mod tally;
mod ways;
