//! The media plane as a process of its own: `maskline media` serves its links on a Unix socket, and
//! each signalling shard of `maskline serve` has one connection to it. Calls that are up speak on
//! while signalling is away; signalling that comes back finds the sessions of its shards again.
//!
//! Nothing is believed of a peer that is not the same user or root.

mod bridge;
mod client;
mod courier;
mod either;
mod pipe;
mod server;
mod wire;

pub use client::{Outside, RemoteLink};
pub use either::ShardLink;
pub use server::{MediaSocket, Server, ServerError, listen};
