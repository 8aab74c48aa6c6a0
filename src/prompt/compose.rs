//! Whole sentences: which clips follow each other, and how long the pauses between them are.

use super::{Clip, Voice};
use crate::domain::cause::Announcement;
use crate::domain::purpose::Purpose;
use crate::rtp::sound::{ClipId, Playlist, Step};

/// The most digits of an agent's number that are read out; the last ones of a longer number.
pub const AGENT_DIGITS_MAX: usize = 8;
/// The most digits of a code that are read out.
pub const CODE_DIGITS_MAX: usize = 8;
/// The most callers that are read out in one go.
pub const CALLERS_MAX: usize = 5;

/// Between two groups of a code.
const GROUP_PAUSE_MS: u16 = 350;
/// Where a comma stands.
const COMMA_PAUSE_MS: u16 = 150;
/// Between two sentences.
const SENTENCE_PAUSE_MS: u16 = 400;
/// Digits of a code that are said together.
const GROUP_DIGITS: usize = 3;

/// What a subscriber is told before a call is bridged. No part of it says who the subscriber is:
/// somebody else may have picked up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct WhisperText<'a> {
    /// The recording of the insurer's name; without one it is "your insurance company".
    pub insurer: Option<ClipId>,
    /// The agent's number; anything but digits in it is left out.
    pub agent_digits: &'a str,
    /// What the call is for.
    pub purpose: Purpose,
    /// The keys are read out, and the call is bridged by one of them only. Otherwise it is bridged
    /// after the announcement.
    pub needs_accept: bool,
    /// The call will be recorded.
    pub recorded: bool,
    /// The code by which the subscriber can ask later whether the call was real; may be empty.
    pub code: &'a str,
}

/// "Hello. This is X, agent 4 8 2 1, about your claim." and what goes with it.
#[must_use]
pub fn whisper(voice: &Voice, text: &WhisperText<'_>) -> Playlist {
    let mut spoken = Spoken::new(*voice);
    spoken.say(Clip::Hello);
    spoken.insurer(text.insurer);
    spoken.pause(COMMA_PAUSE_MS);
    if text.agent_digits.bytes().any(|byte| byte.is_ascii_digit()) {
        spoken.say(Clip::Agent);
        spoken.digits(text.agent_digits, AGENT_DIGITS_MAX, AGENT_DIGITS_MAX);
        spoken.pause(COMMA_PAUSE_MS);
    }
    spoken.say(about(text.purpose));
    spoken.pause(SENTENCE_PAUSE_MS);
    if text.recorded {
        spoken.sentence(Clip::Recorded);
    }
    if !text.code.is_empty() {
        spoken.code(text.code);
    }
    if text.needs_accept {
        spoken.keys();
    } else {
        spoken.say(Clip::Connecting);
    }
    spoken.playlist
}

/// The keys of a whisper alone: "To accept, press one. ..".
#[must_use]
pub fn keys(voice: &Voice) -> Playlist {
    let mut spoken = Spoken::new(*voice);
    spoken.keys();
    spoken.playlist
}

/// How a call ends for the subscriber who heard a whisper.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ending {
    /// 2 was pressed.
    Later,
    /// 3 was pressed.
    NoMore,
    /// 9 was pressed.
    Reported,
    /// 8 was pressed.
    WrongPerson,
    /// Nothing was pressed.
    NoChoice,
}

/// What was understood, and goodbye.
#[must_use]
pub fn ending(voice: &Voice, ending: Ending) -> Playlist {
    let mut spoken = Spoken::new(*voice);
    spoken.sentence(match ending {
        Ending::Later => Clip::DoneLater,
        Ending::NoMore => Clip::DoneNoMore,
        Ending::Reported => Clip::DoneReport,
        Ending::WrongPerson => Clip::DoneWrongPerson,
        Ending::NoChoice => Clip::NoChoice,
    });
    spoken.say(Clip::Goodbye);
    spoken.playlist
}

/// What a caller hears before the final status of a refusal; `None` where nothing is said. It is
/// said twice, since the first word is often missed.
#[must_use]
pub fn refusal(voice: &Voice, announcement: Announcement) -> Option<Playlist> {
    let clip = match announcement {
        Announcement::Silent => return None,
        Announcement::CannotConnect => Clip::CannotConnect,
        Announcement::Busy => Clip::Busy,
        Announcement::NoAnswer => Clip::NoAnswer,
        Announcement::NotPermitted => Clip::NotPermitted,
        Announcement::TryLater => Clip::TryLater,
    };
    let mut spoken = Spoken::new(*voice);
    spoken.sentence(clip);
    spoken.say(clip);
    Some(spoken.playlist)
}

/// "This call will be recorded."
#[must_use]
pub fn recorded_notice(voice: &Voice) -> Playlist {
    say(voice, Clip::Recorded)
}

/// "The code of this call is 1 2 3, 4 5 6."
#[must_use]
pub fn code(voice: &Voice, digits: &str) -> Playlist {
    let mut spoken = Spoken::new(*voice);
    spoken.code(digits);
    spoken.playlist
}

/// Digits alone, in groups of three.
#[must_use]
pub fn digits(voice: &Voice, digits: &str) -> Playlist {
    let mut spoken = Spoken::new(*voice);
    spoken.digits(digits, CODE_DIGITS_MAX, GROUP_DIGITS);
    spoken.playlist
}

/// One clip alone.
#[must_use]
pub fn say(voice: &Voice, clip: Clip) -> Playlist {
    let mut spoken = Spoken::new(*voice);
    spoken.say(clip);
    spoken.playlist
}

/// Whole sentences, one after the other.
#[must_use]
pub fn sentences(voice: &Voice, clips: &[Clip]) -> Playlist {
    let mut spoken = Spoken::new(*voice);
    for clip in clips {
        spoken.sentence(*clip);
    }
    spoken.playlist
}

/// What the keys of the self-service menu do.
pub const MENU: &[Clip] = &[
    Clip::MenuCallers,
    Clip::MenuPause,
    Clip::MenuBlock,
    Clip::MenuReport,
    Clip::MenuVerify,
    Clip::MenuEnd,
];
/// The same where no call has a code: nothing that needs one.
pub const MENU_WITHOUT_CODES: &[Clip] =
    &[Clip::MenuPause, Clip::MenuBlock, Clip::MenuReport, Clip::MenuEnd];

/// A call of the past as the menu tells it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Caller {
    /// The recording of the insurer's name.
    pub insurer: Option<ClipId>,
    /// What the call was for.
    pub purpose: Purpose,
    /// Midnights since then, in the subscriber's zone.
    pub days_ago: u16,
}

/// "Call from X, about your claim, yesterday." for each, at most [`CALLERS_MAX`].
#[must_use]
pub fn callers(voice: &Voice, callers: &[Caller]) -> Playlist {
    let mut spoken = Spoken::new(*voice);
    if callers.is_empty() {
        spoken.say(Clip::NoCalls);
    }
    for caller in callers.iter().take(CALLERS_MAX) {
        spoken.say(Clip::CallFrom);
        spoken.caller(caller);
    }
    spoken.playlist
}

/// "That call was real. It came from X, about your claim, yesterday."; or that there was none.
#[must_use]
pub fn real_call(voice: &Voice, caller: Option<&Caller>) -> Playlist {
    let mut spoken = Spoken::new(*voice);
    match caller {
        Some(caller) => {
            spoken.say(Clip::WasReal);
            spoken.caller(caller);
        }
        None => spoken.say(Clip::WasNotReal),
    }
    spoken.playlist
}

/// A playlist on its way, in one voice.
struct Spoken {
    voice: Voice,
    playlist: Playlist,
}

impl Spoken {
    const fn new(voice: Voice) -> Self {
        Self { voice, playlist: Playlist::new() }
    }

    /// No text has as many steps as a playlist holds: a test says so of the longest ones.
    fn push(&mut self, step: Step) {
        let _ = self.playlist.push(step);
    }

    fn say(&mut self, clip: Clip) {
        self.push(Step::Clip(clip.id(self.voice)));
    }

    fn sentence(&mut self, clip: Clip) {
        self.say(clip);
        self.pause(SENTENCE_PAUSE_MS);
    }

    /// Half as long again for those who are spoken to slowly.
    fn pause(&mut self, ms: u16) {
        self.push(Step::Pause(if self.voice.slow { ms + ms / 2 } else { ms }));
    }

    fn insurer(&mut self, insurer: Option<ClipId>) {
        self.push(Step::Clip(insurer.unwrap_or(Clip::Insurer.id(self.voice))));
    }

    fn digits(&mut self, digits: &str, digits_max: usize, group: usize) {
        let digits = || digits.bytes().filter_map(digit);
        let skipped = digits().count().saturating_sub(digits_max);
        for (at, digit) in digits().skip(skipped).enumerate() {
            if at > 0 && at % group == 0 {
                self.pause(GROUP_PAUSE_MS);
            }
            self.say(digit);
        }
    }

    fn code(&mut self, digits: &str) {
        self.say(Clip::Code);
        self.pause(COMMA_PAUSE_MS);
        self.digits(digits, CODE_DIGITS_MAX, GROUP_DIGITS);
        self.pause(SENTENCE_PAUSE_MS);
    }

    fn keys(&mut self) {
        let keys = [
            Clip::KeyAccept,
            Clip::KeyLater,
            Clip::KeyNoMore,
            Clip::KeyReport,
            Clip::KeyWrongPerson,
        ];
        for (at, clip) in keys.into_iter().enumerate() {
            if at > 0 {
                self.pause(SENTENCE_PAUSE_MS);
            }
            self.say(clip);
        }
    }

    fn caller(&mut self, caller: &Caller) {
        self.insurer(caller.insurer);
        self.pause(COMMA_PAUSE_MS);
        self.say(about(caller.purpose));
        self.pause(COMMA_PAUSE_MS);
        self.sentence(day(caller.days_ago));
    }
}

const fn digit(byte: u8) -> Option<Clip> {
    Some(match byte {
        b'0' => Clip::Digit0,
        b'1' => Clip::Digit1,
        b'2' => Clip::Digit2,
        b'3' => Clip::Digit3,
        b'4' => Clip::Digit4,
        b'5' => Clip::Digit5,
        b'6' => Clip::Digit6,
        b'7' => Clip::Digit7,
        b'8' => Clip::Digit8,
        b'9' => Clip::Digit9,
        _ => return None,
    })
}

const fn day(days_ago: u16) -> Clip {
    match days_ago {
        0 => Clip::DayToday,
        1 => Clip::DayYesterday,
        2 => Clip::Day2Ago,
        3 => Clip::Day3Ago,
        4 => Clip::Day4Ago,
        5 => Clip::Day5Ago,
        6 => Clip::Day6Ago,
        _ => Clip::DayWeekAgo,
    }
}

const fn about(purpose: Purpose) -> Clip {
    match purpose {
        Purpose::AccidentEmergency => Clip::PurposeAccidentEmergency,
        Purpose::Claim => Clip::PurposeClaim,
        Purpose::ComplaintReply => Clip::PurposeComplaintReply,
        Purpose::ReturnVisit => Clip::PurposeReturnVisit,
        Purpose::AmlCheck => Clip::PurposeAmlCheck,
        Purpose::PolicyService => Clip::PurposePolicyService,
        Purpose::PaymentReminder => Clip::PurposePaymentReminder,
        Purpose::RenewalNotice => Clip::PurposeRenewalNotice,
        Purpose::Marketing => Clip::PurposeMarketing,
        Purpose::Survey => Clip::PurposeSurvey,
        Purpose::StatutoryNotice => Clip::PurposeStatutoryNotice,
        Purpose::Unspecified => Clip::PurposeUnspecified,
    }
}
