//! The shell of signalling against the real things: PostgreSQL, sockets, the whole service.

#[path = "../support/mod.rs"]
mod support;

mod calls;
mod peers;
mod service;
mod watch;
