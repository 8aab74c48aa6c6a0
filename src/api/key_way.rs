//! How keys travel on a trunk, as the API says it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::trunk_media::KeyWay;

/// How keys (DTMF) travel on a trunk.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyWayWord {
    /// As telephone events (RFC 4733). Of who has agreed on none, tones are understood.
    Rfc4733,
    /// As INFO requests: what the other side types as telephone events is sent on as INFO.
    Info,
    /// As tones in the sound, which are looked for even where telephone events are agreed on.
    Inband,
}

impl From<KeyWayWord> for KeyWay {
    fn from(word: KeyWayWord) -> Self {
        match word {
            KeyWayWord::Rfc4733 => Self::Events,
            KeyWayWord::Info => Self::Info,
            KeyWayWord::Inband => Self::Inband,
        }
    }
}

impl From<KeyWay> for KeyWayWord {
    fn from(way: KeyWay) -> Self {
        match way {
            KeyWay::Events => Self::Rfc4733,
            KeyWay::Info => Self::Info,
            KeyWay::Inband => Self::Inband,
        }
    }
}
