//! L3: the shell of signalling. It owns the clock, the sockets and the queues, and takes no
//! decision about a call.

pub mod handle;
pub mod now;

mod freshness;
mod live;
mod mailbox;
