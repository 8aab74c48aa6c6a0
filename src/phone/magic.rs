//! How a phone behind a magic number behaves, as a script.

use std::time::Duration;

use super::script::{Script, Step};
use super::speech::Voice;
use crate::domain::magic::Magic;

/// After so long it hangs up, whatever comes.
pub const TALK_MAX: Duration = Duration::from_secs(30 * 60);

const SOON: Duration = Duration::from_secs(1);
const ANSWERS_AFTER: Duration = Duration::from_secs(2);
/// Who hears what is asked presses the key then.
const LISTENS: Duration = Duration::from_secs(3);
const TONE: Voice = Voice::Tone { hz: 440 };

/// What is done with a call to such a number.
#[must_use]
pub fn script(magic: Magic) -> Script {
    let answered = |ring: Duration| Script::new().ring().after(ring).answer().once_answered();
    let script = match magic {
        Magic::Answers => answered(ANSWERS_AFTER).speak(TONE),
        Magic::Busy => return Script::new().reject(486),
        Magic::NoAnswer => Script::new().ring(),
        Magic::Unreachable => return Script::new().reject(480),
        Magic::Rejects => return Script::new().ring().after(SOON).reject(603),
        Magic::Presses { key } => answered(SOON).speak(TONE).after(LISTENS).press(key),
        Magic::EarlyMedia => Script::new()
            .then(Step::Ring { status: 183, fork: 0 })
            .speak(TONE)
            .after(LISTENS)
            .answer()
            .once_answered()
            .speak(TONE),
        Magic::Drops => return answered(SOON).speak(TONE).after(SOON).hang_up(),
        Magic::OneWay => answered(SOON),
        Magic::Unassigned => return Script::new().reject(404),
    };
    script.after(TALK_MAX).hang_up()
}
