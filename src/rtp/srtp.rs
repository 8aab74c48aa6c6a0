//! Encrypted packets of one leg (RFC 3711): opened before anything else looks at them, sealed when
//! nothing is left to be changed. A packet that is not proved changes nothing here.

mod primitives;

use std::fmt;

use rtc_srtp::context::Context;
use rtc_srtp::option::{srtcp_replay_protection, srtp_replay_protection};
use rtc_srtp::protection_profile::ProtectionProfile;
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

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

    /// The keys of the leg are these now. A key that stays counts on.
    pub(super) fn change(&mut self, keys: &LegKeys) -> Option<()> {
        if self.ours != keys.ours {
            self.seals = keys.ours.context()?;
            self.ours = keys.ours.clone();
        }
        if self.opens.key != keys.theirs {
            let before = std::mem::replace(&mut self.opens, Opener::new(&keys.theirs)?);
            self.opened = Some(before);
        }
        Some(())
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
    pub(super) fn seal_rtp(&mut self, packet: &[u8]) -> Option<impl AsRef<[u8]> + use<>> {
        self.seals.encrypt_rtp(packet).ok()
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

type Opened = bytes::BytesMut;

/// Opens what one key has sealed. The library keeps a state for each stream that is named, before
/// it is proved, and takes the first number it sees for the stream's: so each stream has a context
/// of its own, made by the first packet that is proved.
struct Opener {
    key: MasterKey,
    streams: Vec<(u32, Context)>,
}

impl Opener {
    fn new(key: &MasterKey) -> Option<Self> {
        key.profile()?;
        Some(Self { key: key.clone(), streams: Vec::new() })
    }

    fn open(&mut self, kind: Kind, packet: &[u8]) -> Result<Opened, Unproved> {
        let ssrc_at = match kind {
            Kind::Rtp => 8,
            Kind::Rtcp => 4,
        };
        let ssrc = packet.get(ssrc_at..ssrc_at + 4).and_then(<[u8]>::first_chunk);
        let ssrc = u32::from_be_bytes(*ssrc.ok_or(Unproved)?);
        if let Some((_, context)) = self.streams.iter_mut().find(|(known, _)| *known == ssrc) {
            return open_with(context, kind, packet);
        }
        if self.streams.len() == STREAMS_MAX {
            return Err(Unproved);
        }
        let mut context = self.key.context().ok_or(Unproved)?;
        let opened = open_with(&mut context, kind, packet)?;
        self.streams.push((ssrc, context));
        Ok(opened)
    }
}

fn open_with(context: &mut Context, kind: Kind, packet: &[u8]) -> Result<Opened, Unproved> {
    let opened = match kind {
        Kind::Rtp => context.decrypt_rtp(packet),
        Kind::Rtcp => context.decrypt_rtcp(packet),
    };
    opened.map_err(|_| Unproved)
}

const SALT_BYTES: usize = 14;
/// Packets that may overtake one another; RFC 3711 §3.3.2 asks for 64.
const REPLAY_WINDOW: usize = 128;
/// The streams that a peer may name by one key, one after the other. None is forgotten: what it has
/// sent must not be taken again.
const STREAMS_MAX: usize = 16;

#[cfg(test)]
mod tests;
