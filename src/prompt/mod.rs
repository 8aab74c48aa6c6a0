//! L1: what the relay says, put together from short clips in zh-CN and English. It names clips and
//! pauses only; `media` has their sounds.

mod clip;
mod compose;
mod insurers;
mod said;
mod times;

pub use clip::Clip;
pub use compose::{
    AGENT_DIGITS_MAX, CALLERS_MAX, CODE_DIGITS_MAX, Caller, Ending, MENU, MENU_WITHOUT_CODES,
    WhisperText, callers, code, digits, ending, keys, real_call, recorded_notice, refusal, say,
    sentences, whisper,
};
pub use insurers::{INSURERS_MAX, Insurers};
pub use said::{ClipHashes, names};
pub use times::ClipTimes;

use crate::domain::language::Language;

/// How somebody is spoken to.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Voice {
    /// In which language.
    pub language: Language,
    /// Slowly and with longer pauses, for those of 60 and over.
    pub slow: bool,
}

#[cfg(test)]
mod tests;
