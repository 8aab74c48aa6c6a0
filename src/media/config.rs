//! What the media plane has to be told at its start.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::tape::Tape;
use crate::rtp::plane::PlaneAddress;
use crate::rtp::sound::Sounds;

/// Settings of the media plane; the section `[media]` of the configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PlaneConfig {
    /// Where sockets are bound, and what peers are told.
    pub address: PlaneAddress,
    /// RTP takes the even ports, RTCP the odd one above each.
    pub ports: RangeInclusive<u16>,
    /// How long a used port stays closed, so that no call hears another.
    pub port_quarantine: Duration,
    /// Both sides of a call silent for this long is reported.
    pub silence_timeout: Duration,
    /// How many threads; each call lives on one of them.
    pub threads: usize,
    /// Calls beyond this are refused, whatever the ports and descriptors allow.
    pub sessions_max: usize,
    /// What can be played, loaded once.
    pub sounds: Arc<Sounds>,
    /// Where recordings go; without it nothing is recorded.
    pub tape: Option<Tape>,
    /// From the system's random source. Ports, SSRCs, offsets and names of RTCP come from it.
    pub seed: [u8; 32],
}

impl PlaneConfig {
    /// One thread on one address with the usual limits.
    #[must_use]
    pub fn on(address: IpAddr, seed: [u8; 32]) -> Self {
        Self {
            address: PlaneAddress { bind: address, advertise: address },
            ports: 20_000..=29_999,
            port_quarantine: Duration::from_secs(60),
            silence_timeout: Duration::from_secs(30),
            threads: 1,
            sessions_max: 10_000,
            sounds: Arc::default(),
            tape: None,
            seed,
        }
    }
}
