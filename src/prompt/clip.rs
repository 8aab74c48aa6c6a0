//! The catalogue: every clip that is spoken, with the name of its text and files in
//! `assets/prompts`, and its number in the table of sounds.

use super::Voice;
use crate::domain::language::Language;
use crate::rtp::sound::ClipId;

/// The file of one clip in one of the four voices.
macro_rules! file {
    ($voice:literal, $name:literal) => {
        include_bytes!(concat!("../../assets/prompts/", $voice, "/", $name, ".al")).as_slice()
    };
}

macro_rules! clips {
    ($($(#[$doc:meta])* $clip:ident $name:literal $number:literal;)+) => {
        /// A part of what the relay says. Its number never changes: a call may be taken over by a
        /// later program.
        #[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
        pub enum Clip {
            $($(#[$doc])* $clip,)+
        }

        impl Clip {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$clip),+];

            /// Its name in `texts.txt`, and that of its files without `.al`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$clip => $name,)+ }
            }

            const fn number(self) -> u16 {
                match self { $(Self::$clip => $number,)+ }
            }

            /// As it is built into the program: 8 kHz A-law, in whole frames of 20 ms.
            #[must_use]
            pub const fn built_in(self, voice: Voice) -> &'static [u8] {
                let files = match self {
                    $(Self::$clip => [
                        file!("zh-CN", $name),
                        file!("zh-CN/slow", $name),
                        file!("en", $name),
                        file!("en/slow", $name),
                    ],)+
                };
                files[voice.index()]
            }
        }
    };
}

clips! {
    /// "Hello. This is"
    Hello "hello" 1;
    /// "your insurance company"
    Insurer "insurer" 2;
    /// "agent"
    Agent "agent" 3;
    /// "zero"
    Digit0 "digit-0" 10;
    /// "one"
    Digit1 "digit-1" 11;
    /// "two"
    Digit2 "digit-2" 12;
    /// "three"
    Digit3 "digit-3" 13;
    /// "four"
    Digit4 "digit-4" 14;
    /// "five"
    Digit5 "digit-5" 15;
    /// "six"
    Digit6 "digit-6" 16;
    /// "seven"
    Digit7 "digit-7" 17;
    /// "eight"
    Digit8 "digit-8" 18;
    /// "nine"
    Digit9 "digit-9" 19;
    /// "about your accident"
    PurposeAccidentEmergency "purpose-accident-emergency" 20;
    /// "about your claim"
    PurposeClaim "purpose-claim" 21;
    /// "about your complaint"
    PurposeComplaintReply "purpose-complaint-reply" 22;
    /// "to confirm your new policy"
    PurposeReturnVisit "purpose-return-visit" 23;
    /// "to check your identity details"
    PurposeAmlCheck "purpose-aml-check" 24;
    /// "about your policy"
    PurposePolicyService "purpose-policy-service" 25;
    /// "about a premium payment"
    PurposePaymentReminder "purpose-payment-reminder" 26;
    /// "about renewing your policy"
    PurposeRenewalNotice "purpose-renewal-notice" 27;
    /// "with an offer"
    PurposeMarketing "purpose-marketing" 28;
    /// "with a survey"
    PurposeSurvey "purpose-survey" 29;
    /// "with a notice required by law"
    PurposeStatutoryNotice "purpose-statutory-notice" 30;
    /// "with no stated reason"
    PurposeUnspecified "purpose-unspecified" 31;
    /// "To accept, press one."
    KeyAccept "key-accept" 40;
    /// "To be called later, press two."
    KeyLater "key-later" 41;
    /// "For no more calls of this kind, press three."
    KeyNoMore "key-no-more" 42;
    /// "If you are not the right person, press eight."
    KeyWrongPerson "key-wrong-person" 43;
    /// "To report this call, press nine."
    KeyReport "key-report" 44;
    /// "Connecting you now."
    Connecting "connecting" 45;
    /// "This call will be recorded."
    Recorded "recorded" 46;
    /// "The code of this call is"
    Code "code" 47;
    /// "All right. They may call you later."
    DoneLater "done-later" 50;
    /// "All right. You will get no more calls of this kind."
    DoneNoMore "done-no-more" 51;
    /// "Your report has been filed."
    DoneReport "done-report" 52;
    /// "Thank you. We are sorry to have disturbed you."
    DoneWrongPerson "done-wrong-person" 53;
    /// "We did not receive a choice."
    NoChoice "no-choice" 54;
    /// "That key is not valid."
    WrongKey "wrong-key" 55;
    /// "Goodbye."
    Goodbye "goodbye" 56;
    /// "This call will end in one minute."
    EndingSoon "ending-soon" 57;
    /// "This contact number cannot connect you."
    CannotConnect "cannot-connect" 60;
    /// "The person you are calling is busy."
    Busy "busy" 61;
    /// "The person you are calling does not answer."
    NoAnswer "no-answer" 62;
    /// "This call is not permitted now."
    NotPermitted "not-permitted" 63;
    /// "Please try again later."
    TryLater "try-later" 64;
    /// "Nobody can take your call now."
    NobodyThere "nobody-there" 65;
    /// "For self service, press star."
    MenuOffer "menu-offer" 70;
    /// "To hear who called you, press one."
    MenuCallers "menu-callers" 71;
    /// "To pause calls for seven days, press two."
    MenuPause "menu-pause" 72;
    /// "To block the last caller, press three."
    MenuBlock "menu-block" 73;
    /// "To report the last call, press four."
    MenuReport "menu-report" 74;
    /// "To check whether a call was real, press five."
    MenuVerify "menu-verify" 75;
    /// "To finish, press zero."
    MenuEnd "menu-end" 76;
    /// "Enter your PIN, then press hash."
    EnterPin "enter-pin" 80;
    /// "Enter the code that you heard, then press hash."
    EnterCode "enter-code" 81;
    /// "That is not correct."
    NotCorrect "not-correct" 82;
    /// "Too many tries. Please try again later."
    TooManyTries "too-many-tries" 83;
    /// "There were no calls lately."
    NoCalls "no-calls" 90;
    /// "Calls are paused for seven days."
    Paused "paused" 91;
    /// "The last caller is blocked."
    Blocked "blocked" 92;
    /// "Call from"
    CallFrom "call-from" 93;
    /// "That call was real. It came from"
    WasReal "was-real" 94;
    /// "No call of ours has this code. Please be careful."
    WasNotReal "was-not-real" 95;
    /// "That did not work. Please try again later."
    Failed "failed" 96;
    /// "today"
    DayToday "day-today" 100;
    /// "yesterday"
    DayYesterday "day-yesterday" 101;
    /// "two days ago"
    Day2Ago "day-2-ago" 102;
    /// "three days ago"
    Day3Ago "day-3-ago" 103;
    /// "four days ago"
    Day4Ago "day-4-ago" 104;
    /// "five days ago"
    Day5Ago "day-5-ago" 105;
    /// "six days ago"
    Day6Ago "day-6-ago" 106;
    /// "a week or more ago"
    DayWeekAgo "day-week-ago" 107;
}

/// Clips of one voice; their numbers are below it.
const CLIPS_OF_VOICE_MAX: u16 = 256;

impl Clip {
    /// Its place in the table of sounds.
    #[must_use]
    pub const fn id(self, voice: Voice) -> ClipId {
        ClipId(voice.index() as u16 * CLIPS_OF_VOICE_MAX + self.number())
    }

    /// The clip and the voice in this place.
    #[must_use]
    pub fn find_id(id: ClipId) -> Option<(Self, Voice)> {
        let voice = *Voice::ALL.get(usize::from(id.0 / CLIPS_OF_VOICE_MAX))?;
        let clip = Self::ALL.iter().find(|clip| clip.id(voice) == id)?;
        Some((*clip, voice))
    }

    /// The clip of this name.
    #[must_use]
    pub fn find_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|clip| clip.name() == name)
    }
}

impl Voice {
    /// Every language, at both paces.
    pub const ALL: [Self; 4] = [
        Self { language: Language::Chinese, slow: false },
        Self { language: Language::Chinese, slow: true },
        Self { language: Language::English, slow: false },
        Self { language: Language::English, slow: true },
    ];

    const fn index(self) -> usize {
        let language = match self.language {
            Language::Chinese => 0,
            Language::English => 2,
        };
        language + self.slow as usize
    }

    /// The folder of its clips: `zh-CN`, `zh-CN/slow`, `en`, `en/slow`.
    #[must_use]
    pub const fn folder(self) -> &'static str {
        ["zh-CN", "zh-CN/slow", "en", "en/slow"][self.index()]
    }
}
