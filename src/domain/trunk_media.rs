//! How the media of a trunk behaves.

use std::sync::Arc;

use super::network::Network;

/// What is expected of the media of a trunk.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TrunkMedia {
    /// Its peers may be behind a NAT: their port may turn out to be another than the one they
    /// announce, once, at the address they announce.
    pub learning: bool,
    /// Where it may be; anywhere when there are none.
    pub networks: Arc<[Network]>,
    /// How keys travel on it.
    pub keys: KeyWay,
    /// Whether it is encrypted, where its signalling is.
    pub srtp: SrtpMode,
}

/// Whether media is encrypted (SRTP). Whoever reads the signalling reads the keys, so that only a
/// trunk over TLS has the choice.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum SrtpMode {
    /// Never: an offer of encrypted media is refused.
    #[default]
    Off,
    /// Where its peer wants it, too.
    Optional,
    /// Always: media in clear is refused.
    Required,
}

impl SrtpMode {
    /// The stable word in the store and the API.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Optional => "optional",
            Self::Required => "required",
        }
    }

    /// Reads a label back, as stored.
    #[must_use]
    pub fn find_label(label: &str) -> Option<Self> {
        let all = [Self::Off, Self::Optional, Self::Required];
        all.into_iter().find(|mode| mode.label() == label)
    }
}

/// How keys travel.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum KeyWay {
    /// As telephone events; of who has agreed on none, tones are understood, and it hears tones.
    #[default]
    Events,
    /// As INFO requests, towards it even where events are agreed on.
    Info,
    /// As tones in the sound, which are looked for and sent even where events are agreed on.
    Inband,
}

impl KeyWay {
    /// The stable word in the store and the API.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Events => "rfc4733",
            Self::Info => "info",
            Self::Inband => "inband",
        }
    }

    /// Reads a label back, as stored.
    #[must_use]
    pub fn find_label(label: &str) -> Option<Self> {
        [Self::Events, Self::Info, Self::Inband].into_iter().find(|way| way.label() == label)
    }
}
