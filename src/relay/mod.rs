//! L3: the shell of signalling. It owns the clock, the sockets and the queues, and takes no
//! decision about a call.

pub mod handle;
pub mod now;
pub mod recorder;
pub mod routes;

mod freshness;
mod live;
mod mailbox;
mod memory;
mod shard;
mod sip_udp;
mod tally;
mod trunks;
