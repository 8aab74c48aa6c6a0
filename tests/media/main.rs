//! The media plane over real sockets on loopback: two phones that talk, and strangers that try.

mod abuse;
mod apart;
mod learning;
mod lifecycle;
mod peers;
mod playing;
mod recording;
mod rewriting;
#[path = "../support/tape.rs"]
mod tape;
