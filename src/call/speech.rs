//! Joins calls and prompts: which words belong to which situation, in whose language.

use crate::domain::cause::Cause;
use crate::domain::id::TenantId;
use crate::domain::purpose::Purpose;
use crate::domain::route::Hearer;
use crate::domain::whisper::{WhisperMode, WhisperResult};
use crate::prompt::{self, Ending, Voice, WhisperText};
use crate::rtp::sound::Playlist;

use super::wires::Wires;

/// What is said of a call before it is connected. `Debug` shows no number.
pub(super) struct Facts {
    pub(super) tenant: TenantId,
    pub(super) hearer: Hearer,
    /// As the tenant writes it: only its digits are said.
    pub(super) agent_number: Box<str>,
    pub(super) purpose: Purpose,
    /// It will be recorded, and is said to be.
    pub(super) recorded: bool,
}

impl std::fmt::Debug for Facts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Facts({:?}, {:?}, {:?})", self.tenant, self.hearer, self.purpose)
    }
}

impl Facts {
    const fn voice(&self) -> Voice {
        Voice { language: self.hearer.language, slow: self.hearer.slow }
    }
}

/// Who calls and what for, and the keys where one is needed.
pub(super) fn who_calls(wires: &Wires, facts: &Facts, mode: WhisperMode) -> Playlist {
    let insurer = wires.config.insurers.find(facts.tenant, facts.hearer.language);
    let text = WhisperText {
        insurer,
        agent_digits: &facts.agent_number,
        purpose: facts.purpose,
        needs_accept: mode == WhisperMode::Accept,
        recorded: facts.recorded,
        code: "",
    };
    prompt::whisper(&facts.voice(), &text)
}

/// What was understood, before the call ends.
pub(super) fn farewell(facts: &Facts, result: WhisperResult) -> Playlist {
    let ending = match result {
        WhisperResult::Later => Ending::Later,
        WhisperResult::Refused => Ending::NoMore,
        WhisperResult::Reported => Ending::Reported,
        WhisperResult::WrongPerson => Ending::WrongPerson,
        // Only a missing choice is left: whoever is connected or gone hears no farewell.
        WhisperResult::TimedOut
        | WhisperResult::Announced
        | WhisperResult::Accepted
        | WhisperResult::HungUp
        | WhisperResult::GivenUp => Ending::NoChoice,
    };
    prompt::ending(&facts.voice(), ending)
}

/// What a caller hears before it is refused; `None` where nothing is said. It is the same for
/// everybody, so that nobody learns from the language whose number it is.
pub(super) fn refusal(cause: Cause) -> Option<Playlist> {
    prompt::refusal(&Voice::default(), cause.row().announcement)
}
