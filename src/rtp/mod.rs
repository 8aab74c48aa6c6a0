//! L0: RTP and RTCP as pure code: where a packet goes, and what leaves for what came in.

mod dtmf;
mod flow;
pub mod g711;
pub mod header;
pub mod key;
mod keys;
pub mod plane;
mod player;
pub mod ports;
pub mod quality;
pub mod rtcp;
pub mod session;
pub mod sound;
mod source;
pub mod srtp;
pub mod stats;
pub mod time;
