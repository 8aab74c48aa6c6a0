//! What a phone remembers of a call.

use std::fmt;
use std::net::SocketAddr;

use crate::domain::now::Now;

/// Who dialled.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Dialler {
    /// This phone.
    Us,
    /// The far end.
    Them,
}

/// How far a call is, as this phone sees it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CallState {
    /// Nobody has answered.
    Calling,
    /// The callee's phone rings.
    Ringing,
    /// Answered.
    Talking,
    /// It is over.
    Over(Ending),
}

/// How a call ended, as this phone sees it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ending {
    /// Refused with this status, by either side.
    Refused(u16),
    /// The caller gave up before the answer.
    Cancelled,
    /// This phone hung up.
    HungUp,
    /// The far end hung up.
    FarHungUp,
    /// Nobody ever replied.
    NoReply,
    /// This phone answered, and that was never confirmed.
    NoAck,
    /// This phone went silent.
    Vanished,
}

/// What is known of one call afterwards. `Debug` shows nobody's number.
#[derive(Clone)]
pub struct CallRecord {
    /// Who dialled.
    pub dialler: Dialler,
    /// What was dialled: the user part of the Request-URI.
    pub number: Box<str>,
    /// The user part of the caller's address, as shown.
    pub caller: Box<str>,
    /// The `Call-ID` on this phone's side.
    pub sip_call_id: Box<str>,
    /// Where this phone takes RTP in this call.
    pub media: SocketAddr,
    /// How far it is.
    pub state: CallState,
    /// Ringing responses received.
    pub rings: u32,
    /// When it was answered.
    pub answered_at: Option<Now>,
    /// RTP packets received from the address that the far end advertised.
    pub packets_in: u64,
    /// Those from anywhere else.
    pub packets_of_strangers: u64,
    /// RTP packets sent.
    pub packets_out: u64,
}

impl CallRecord {
    /// Nothing has happened yet.
    pub(super) fn blank(media: SocketAddr) -> Self {
        Self {
            dialler: Dialler::Us,
            number: "".into(),
            caller: "".into(),
            sip_call_id: "".into(),
            media,
            state: CallState::Calling,
            rings: 0,
            answered_at: None,
            packets_in: 0,
            packets_of_strangers: 0,
            packets_out: 0,
        }
    }
}

impl fmt::Debug for CallRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dialler, state, rings, packets_in, packets_out, .. } = self;
        write!(f, "CallRecord(dialled by {dialler:?}, {state:?}, {rings} rings, ")?;
        write!(f, "{packets_in} packets in, {packets_out} out)")
    }
}
