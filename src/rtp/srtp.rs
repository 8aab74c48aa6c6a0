//! Encrypted packets of one leg (RFC 3711): opened before anything else looks at them, sealed when
//! nothing is left to be changed. A packet that is not proved changes nothing here.

mod opener;
mod primitives;

use std::fmt;

use bytes::BytesMut;
use rtc_srtp::context::Context;
use rtc_srtp::option::{srtcp_replay_protection, srtp_replay_protection};
use rtc_srtp::protection_profile::ProtectionProfile;
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use opener::{Opened, Opener};
use primitives::Primitives;

/// A master key and its salt behind it; its length tells the suite. `Debug` shows nothing.
#[derive(Clone, Eq, PartialEq, Serialize, Deserialize)]
pub struct MasterKey(Box<[u8]>);

impl MasterKey {
    /// AES-128 takes 30 bytes, AES-256 46.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    fn profile(&self) -> Option<ProtectionProfile> {
        match self.0.len() {
            30 => Some(ProtectionProfile::Aes128CmHmacSha1_80),
            46 => Some(ProtectionProfile::Aes256CmHmacSha1_80),
            _ => None,
        }
    }

    fn context(&self) -> Option<Context> {
        let (key, salt) = self.0.split_at_checked(self.0.len().checked_sub(SALT_BYTES)?)?;
        let windows =
            (srtp_replay_protection(REPLAY_WINDOW), srtcp_replay_protection(REPLAY_WINDOW));
        let (rtp, rtcp) = (Some(windows.0), Some(windows.1));
        Context::new(key, salt, self.profile()?, rtp, rtcp, &Primitives).ok()
    }
}

impl Drop for MasterKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(***)")
    }
}

/// The keys of a leg.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct LegKeys {
    /// With which we seal.
    pub ours: MasterKey,
    /// With which its peer seals.
    pub theirs: MasterKey,
}

/// A packet that its sender cannot be proved to have sent now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Unproved;

/// How a packet of ours leaves.
#[derive(Debug)]
pub enum Sealed {
    /// As it is: the leg is in clear.
    Clear,
    /// Like this.
    Packet(BytesMut),
    /// Not at all: the leg is encrypted, and this packet could not be.
    Failed,
}

impl Sealed {
    /// What leaves of `packet`.
    #[must_use]
    pub fn leaving<'a>(&'a self, packet: &'a [u8]) -> Option<&'a [u8]> {
        match self {
            Self::Clear => Some(packet),
            Self::Packet(sealed) => Some(sealed),
            Self::Failed => None,
        }
    }
}

/// RTP or RTCP.
#[derive(Clone, Copy)]
enum Kind {
    Rtp,
    Rtcp,
}

/// What a leg has sealed and opened so far. `Debug` shows no key.
pub(super) struct Srtp {
    ours: MasterKey,
    seals: Context,
    opens: Opener,
    /// By the key before the last one, until a packet comes by the last one: what is on its way
    /// when a peer changes its key is still heard.
    opened: Option<Opener>,
}

impl Srtp {
    /// Nothing yet. `None` when the keys are no keys.
    pub(super) fn new(keys: &LegKeys) -> Option<Self> {
        Some(Self {
            ours: keys.ours.clone(),
            seals: keys.ours.context()?,
            opens: Opener::new(&keys.theirs)?,
            opened: None,
        })
    }

    /// The keys of the leg are these now. A key that stays counts on. Whether ours is another: then
    /// what we send has to be a new stream. Packets are counted beyond the 16 bits of their
    /// numbers, and peers differ in whether that begins anew under a new key (RFC 3711 §3.3.1: no;
    /// RFC 4568 §7.1.4: with a new address, yes); a new stream begins at zero for all of them.
    pub(super) fn change(&mut self, keys: &LegKeys) -> Option<bool> {
        let is_other = self.ours != keys.ours;
        if is_other {
            self.seals = keys.ours.context()?;
            self.ours = keys.ours.clone();
        }
        if !self.opens.is_by(&keys.theirs) {
            let next = self.opens.successor(&keys.theirs)?;
            self.opened = Some(std::mem::replace(&mut self.opens, next));
        }
        Some(is_other)
    }

    /// Opens an RTP packet in its place: its length now.
    pub(super) fn open_rtp(&mut self, packet: &mut [u8]) -> Result<usize, Unproved> {
        let opened = self.open(Kind::Rtp, packet)?;
        packet.get_mut(..opened.len()).ok_or(Unproved)?.copy_from_slice(&opened);
        Ok(opened.len())
    }

    /// Opens an RTCP packet.
    pub(super) fn open_rtcp(
        &mut self,
        packet: &[u8],
    ) -> Result<impl AsRef<[u8]> + use<>, Unproved> {
        self.open(Kind::Rtcp, packet)
    }

    fn open(&mut self, kind: Kind, packet: &[u8]) -> Result<Opened, Unproved> {
        match self.opens.open(kind, packet) {
            Ok(opened) => {
                self.opened = None;
                Ok(opened)
            }
            Err(Unproved) => self.opened.as_mut().ok_or(Unproved)?.open(kind, packet),
        }
    }

    /// Seals an RTP packet of ours.
    pub(super) fn seal_rtp(&mut self, packet: &[u8]) -> Sealed {
        self.seals.encrypt_rtp(packet).map_or(Sealed::Failed, Sealed::Packet)
    }

    /// Seals an RTCP packet of ours.
    pub(super) fn seal_rtcp(&mut self, packet: &[u8]) -> Option<impl AsRef<[u8]> + use<>> {
        self.seals.encrypt_rtcp(packet).ok()
    }
}

impl fmt::Debug for Srtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Srtp(***)")
    }
}

const SALT_BYTES: usize = 14;
/// Packets that may overtake one another; RFC 3711 §3.3.2 asks for 64.
const REPLAY_WINDOW: usize = 128;

#[cfg(test)]
mod tests;
