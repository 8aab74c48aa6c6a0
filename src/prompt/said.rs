//! What was said, as it is written down: the names of its clips, and a hash of how they sound. The
//! digits of numbers are in neither.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use super::{Clip, Voice};
use crate::rtp::sound::{ClipId, Playlist, Step};

/// A SHA-256 of the samples of each clip. It stays the same when clips get other numbers.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ClipHashes(BTreeMap<ClipId, [u8; 32]>);

impl ClipHashes {
    /// The hash of one more clip.
    pub fn insert(&mut self, clip: ClipId, hash: [u8; 32]) {
        self.0.insert(clip, hash);
    }

    /// The proof of what was said: it depends on what it sounds like alone.
    #[must_use]
    pub fn of(&self, text: &Playlist) -> [u8; 32] {
        let mut context = Sha256::new();
        for part in parts(text) {
            match part {
                Part::Digits => context.update(b"digits"),
                Part::Clip(clip, _) => {
                    context.update(b"clip");
                    // Of one that is not there nothing is heard.
                    context.update(self.0.get(&clip).map_or(&[][..], |hash| hash));
                }
                Part::Pause(ms) => {
                    context.update(b"pause");
                    context.update(ms.to_be_bytes());
                }
            }
        }
        context.finalize().into()
    }
}

/// The folder of the voice and the names of the clips, such as `en hello insurer agent digits`.
#[must_use]
pub fn names(text: &Playlist) -> Box<str> {
    let mut words = Vec::new();
    for part in parts(text) {
        match part {
            Part::Digits => words.push("digits"),
            Part::Clip(_, Some((clip, voice))) => {
                if words.is_empty() {
                    words.push(voice.folder());
                }
                words.push(clip.name());
            }
            // Only the names that insurers have recorded are outside the catalogue.
            Part::Clip(_, None) => words.push("recorded-name"),
            Part::Pause(_) => {}
        }
    }
    words.join(" ").into()
}

/// A part of a text.
enum Part {
    /// Digits, however many, and the pauses behind them.
    Digits,
    Clip(ClipId, Option<(Clip, Voice)>),
    Pause(u16),
}

fn parts(text: &Playlist) -> impl Iterator<Item = Part> {
    let mut in_number = false;
    text.steps().iter().filter_map(move |step| {
        let was_in_number = in_number;
        match *step {
            Step::Clip(id) => {
                let known = Clip::find_id(id);
                in_number = known.is_some_and(|(clip, _)| clip.name().starts_with("digit-"));
                match in_number {
                    true if was_in_number => None,
                    true => Some(Part::Digits),
                    false => Some(Part::Clip(id, known)),
                }
            }
            Step::Pause(_) if was_in_number => None,
            Step::Pause(ms) => Some(Part::Pause(ms)),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::language::Language;
    use crate::domain::purpose::Purpose;
    use crate::prompt::{WhisperText, say, whisper};

    const VOICE: Voice = Voice { language: Language::English, slow: false };
    const SLOW: Voice = Voice { language: Language::English, slow: true };

    fn text(voice: Voice, digits: &str, insurer: Option<ClipId>) -> Playlist {
        let text = WhisperText {
            insurer,
            agent_digits: digits,
            purpose: Purpose::Claim,
            needs_accept: false,
            recorded: false,
            code: "",
        };
        whisper(&voice, &text)
    }

    /// Each clip sounds like its number; a recorded name sounds like nine wherever it is.
    fn hashes(name: ClipId) -> ClipHashes {
        let mut hashes = ClipHashes::default();
        for voice in Voice::ALL {
            for clip in Clip::ALL {
                let id = clip.id(voice);
                let mut hash = [0; 32];
                hash[..2].copy_from_slice(&id.0.to_be_bytes());
                hashes.insert(id, hash);
            }
        }
        hashes.insert(name, [9; 32]);
        hashes
    }

    #[test]
    fn a_text_is_written_down_by_name_and_its_numbers_are_not() {
        let written = names(&text(VOICE, "4821", None));
        assert!(written.starts_with("en hello insurer agent digits purpose-claim"), "{written}");
        assert!(!written.contains("digit-"), "{written}");
        assert_eq!(names(&text(VOICE, "4821", None)), names(&text(VOICE, "77", None)));
        assert!(names(&text(SLOW, "1", None)).starts_with("en/slow hello "));
        let recorded = names(&text(VOICE, "1", Some(ClipId(0x4005))));
        assert!(recorded.starts_with("en hello recorded-name agent"), "{recorded}");
    }

    #[test]
    fn the_hash_tells_texts_apart_and_not_their_numbers() {
        let hashes = hashes(ClipId(0x4005));
        let said = hashes.of(&text(VOICE, "4821", None));
        assert_eq!(said, hashes.of(&text(VOICE, "77", None)), "whoever the agent is");
        assert_ne!(said, hashes.of(&text(SLOW, "4821", None)));
        assert_ne!(said, hashes.of(&text(VOICE, "", None)), "no number is not a number");
        assert_ne!(said, hashes.of(&text(VOICE, "4821", Some(ClipId(0x4005)))));
        assert_ne!(said, hashes.of(&say(&VOICE, Clip::Hello)));
        let pause = |ms| hashes.of(&Playlist::try_from(vec![Step::Pause(ms)]).expect("room"));
        assert_ne!(pause(1), pause(2));
    }

    #[test]
    fn a_recorded_name_has_the_same_hash_wherever_its_file_stands_in_the_folder() {
        let (here, there) = (ClipId(0x4005), ClipId(0x4006));
        let said = hashes(here).of(&text(VOICE, "1", Some(here)));
        assert_eq!(said, hashes(there).of(&text(VOICE, "1", Some(there))));
    }
}
