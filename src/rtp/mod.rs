//! L0: RTP and RTCP as pure code: where a packet goes, and what leaves for what came in.

pub mod plane;
