//! How long it takes to say something, for who has no sounds and waits for the end of it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::rtp::sound::{ClipId, Playlist, Sounds, Step};

/// How long each clip is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ClipTimes(BTreeMap<ClipId, Duration>);

impl ClipTimes {
    /// Those of all clips that can be played.
    #[must_use]
    pub fn of_sounds(sounds: &Sounds) -> Self {
        let times = sounds.clips().map(|(clip, samples)| (clip, Sounds::time_of(samples.len())));
        Self(times.collect())
    }

    /// How long this takes to say; `None` where a clip of it is not known.
    #[must_use]
    pub fn of(&self, text: &Playlist) -> Option<Duration> {
        let times = text.steps().iter().map(|step| match step {
            Step::Clip(clip) => self.0.get(clip).copied(),
            Step::Pause(ms) => Some(Duration::from_millis(u64::from(*ms))),
        });
        times.sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_takes_as_long_as_its_clips_and_pauses_and_is_not_guessed() {
        let mut sounds = Sounds::default();
        sounds.insert(ClipId(7), vec![0xd5; 4_000].into());
        let times = ClipTimes::of_sounds(&sounds);
        let text = |steps: &[Step]| Playlist::try_from(steps.to_vec()).expect("room");
        let known = text(&[Step::Clip(ClipId(7)), Step::Pause(250), Step::Clip(ClipId(7))]);
        assert_eq!(times.of(&known), Some(Duration::from_millis(1_250)));
        assert_eq!(times.of(&known), Some(sounds.duration(&known)));
        assert_eq!(times.of(&text(&[Step::Clip(ClipId(7)), Step::Clip(ClipId(8))])), None);
    }
}
