//! End to end: the real binary, real sockets, real peers.

mod calls;
mod demo;
mod leaks;
mod peers;
mod service;
mod sound;
mod torture;
mod torture_streams;
mod voices;
