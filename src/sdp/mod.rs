//! L0: session descriptions. What a peer's SDP says is read into a few typed facts, and our own SDP
//! is written from nothing: no byte of one side's body can reach the other side.
//!
//! ```
//! use maskline::sdp::{self, Codec, Local};
//! # fn main() -> Result<(), sdp::InvalidSdp> {
//! let body = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
//!     m=audio 4000 RTP/AVP 8 0\r\n";
//! let offer = sdp::parse(body)?;
//! assert!(offer.codecs().contains(Codec::Pcma));
//! let ours = Local::new("198.51.100.7:20000".parse().unwrap(), 42);
//! let to_callee = sdp::offer(&ours, offer.codecs());
//! assert!(to_callee.contains("m=audio 20000 RTP/AVP 8 0\r\n"));
//! # Ok(())
//! # }
//! ```

mod codec;
mod crypto;
mod networks;
mod ours;
mod parse;
mod session;
mod words;
mod write;

pub use codec::{Codec, CodecSet, Payloads};
pub use crypto::{Crypto, Srtp, SrtpKey, Suite};
pub use networks::MediaNetworks;
pub use ours::{Ours, Wish};
pub use parse::{FORMATS_MAX, LINES_MAX, MEDIA_LINES_MAX, SDP_BYTES_MAX, parse, parse_with};
pub use session::{Direction, InvalidSdp, Session, agree};
pub use write::{Local, answer, offer};

#[cfg(test)]
mod tests;
