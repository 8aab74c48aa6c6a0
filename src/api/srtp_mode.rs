//! Whether the media of a trunk is encrypted, as the API says it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::trunk_media::SrtpMode;

/// Whether media is encrypted: SRTP with keys in SDP (RFC 4568), AES-128 or AES-256 with a tag of
/// 80 bits.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SrtpWord {
    /// Never; a call that offers only encrypted media is refused with 488.
    Off,
    /// Where the peer wants it, too. What we offer says `RTP/AVP` and has keys all the same: the
    /// peer takes one or none.
    Optional,
    /// Always: we offer `RTP/SAVP`, and a call in clear is refused with 488.
    Required,
}

impl From<SrtpWord> for SrtpMode {
    fn from(word: SrtpWord) -> Self {
        match word {
            SrtpWord::Off => Self::Off,
            SrtpWord::Optional => Self::Optional,
            SrtpWord::Required => Self::Required,
        }
    }
}

impl From<SrtpMode> for SrtpWord {
    fn from(mode: SrtpMode) -> Self {
        match mode {
            SrtpMode::Off => Self::Off,
            SrtpMode::Optional => Self::Optional,
            SrtpMode::Required => Self::Required,
        }
    }
}
