//! L1: the brain. A back-to-back user agent that couples two legs, without a socket, a clock or a
//! store.

pub mod config;
pub mod core;
pub mod counters;
pub mod io;
pub mod negotiation;
