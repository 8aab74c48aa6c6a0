//! Joins calls and prompts: which words belong to which situation, in whose language.

use std::time::Duration;

use crate::domain::cause::Cause;
use crate::domain::id::TenantId;
use crate::domain::menu::{CallCode, PastCall};
use crate::domain::purpose::Purpose;
use crate::domain::route::Hearer;
use crate::domain::whisper::{WhisperMode, WhisperResult};
use crate::prompt::{self, Caller, Clip, Ending, Voice, WhisperText};
use crate::rtp::sound::Playlist;

use super::menu::Text;
use super::self_service::SelfService;
use super::wires::Wires;

/// No speech takes longer, however long its clips are.
pub(super) const SPEECH_TIME_MAX: Duration = Duration::from_secs(90);
/// Whoever speaks may be late, and whoever has heard all shall not be taken for one who has not.
const SPEECH_MARGIN: Duration = Duration::from_secs(10);

/// What is said of a call before it is connected. `Debug` shows no number.
pub(super) struct Facts {
    pub(super) tenant: TenantId,
    pub(super) hearer: Hearer,
    /// As the tenant writes it: only its digits are said.
    pub(super) agent_number: Box<str>,
    pub(super) purpose: Purpose,
    /// It will be recorded, and is said to be.
    pub(super) recorded: bool,
    /// What is spoken to be recognised later.
    pub(super) code: Option<CallCode>,
}

/// How long the end of this is waited for. A report may be lost, with whoever would have sent it.
pub(super) fn waited_for(wires: &Wires, text: &Playlist) -> Duration {
    let time = wires.config.clip_times.of(text).map(|time| time + SPEECH_MARGIN);
    time.map_or(SPEECH_TIME_MAX, |time| time.min(SPEECH_TIME_MAX))
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

/// Who calls and what for, and the keys where one is needed. The code is for the ear of the
/// subscriber: what is written down is said without one.
pub(super) fn who_calls(wires: &Wires, facts: &Facts, mode: WhisperMode, code: &str) -> Playlist {
    let insurer = wires.config.insurers.find(facts.tenant, facts.hearer.language);
    let text = WhisperText {
        insurer,
        agent_digits: &facts.agent_number,
        purpose: facts.purpose,
        needs_accept: mode == WhisperMode::Accept,
        recorded: facts.recorded,
        code,
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

/// What the menu says.
pub(super) fn menu(wires: &Wires, service: &SelfService, text: &Text) -> Playlist {
    let Hearer { language, slow } = service.hearer;
    let voice = Voice { language, slow };
    let insurer = wires.config.insurers.find(service.tenant, language);
    let caller =
        |call: &PastCall| Caller { insurer, purpose: call.purpose, days_ago: call.days_ago };
    let clips: &[Clip] = match text {
        Text::Callers(calls) => {
            let callers: Vec<Caller> = calls.iter().map(caller).collect();
            return prompt::callers(&voice, &callers);
        }
        Text::Real(call) => return prompt::real_call(&voice, Some(&caller(call))),
        Text::NotReal => return prompt::real_call(&voice, None),
        Text::Choices if wires.config.whisper.speaks_code => prompt::MENU,
        Text::Choices => prompt::MENU_WITHOUT_CODES,
        Text::Offer => &[Clip::NobodyThere, Clip::MenuOffer],
        Text::WrongKey => &[Clip::WrongKey],
        Text::EnterCode => &[Clip::EnterCode],
        Text::EnterCodeAgain => &[Clip::NotCorrect, Clip::EnterCode],
        Text::NoCalls => &[Clip::NoCalls],
        Text::Paused => &[Clip::Paused],
        Text::Blocked => &[Clip::Blocked],
        Text::Reported => &[Clip::DoneReport],
        Text::TooManyTries => &[Clip::TooManyTries],
        Text::Failed => &[Clip::Failed],
        Text::NoChoice => &[Clip::NoChoice, Clip::Goodbye],
        Text::Goodbye => &[Clip::Goodbye],
    };
    prompt::sentences(&voice, clips)
}
