//! How long a connection may take over what: one time each, and the first that is over cuts it.

use std::time::Instant;

/// The times that run for one connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Clocks {
    /// A handshake or a message has begun, or a last answer is to reach its peer.
    pub(super) message: Option<Instant>,
    /// A stranger has to show who it is.
    pub(super) proof: Option<Instant>,
    /// The peer has to read what it was sent.
    pub(super) reading: Option<Instant>,
    /// What the wheel was told last.
    pub(super) armed: Option<Instant>,
}

impl Clocks {
    /// The first time to be over, and what it means.
    pub(super) fn next(&self) -> Option<(Instant, &'static str)> {
        let all = [(self.message, TOO_SLOW), (self.proof, UNPROVED), (self.reading, DOES_NOT_READ)];
        all.into_iter().filter_map(|(at, why)| Some((at?, why))).min_by_key(|(at, _)| *at)
    }
}

/// A message or a handshake was not completed.
pub(super) const TOO_SLOW: &str = "too_slow";
/// A stranger has not shown who it is.
pub(super) const UNPROVED: &str = "unproved";
/// What was sent was not read.
pub(super) const DOES_NOT_READ: &str = "does_not_read";
