//! What the relay can play by itself: prompts put together from clips, and tones. A clip is 8 kHz
//! A-law; who fills the table of clips is not known here.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::key::Key;

/// The most steps of one playlist.
pub const STEPS_MAX: usize = 40;
/// Samples of a second.
pub const RATE_HZ: u32 = 8_000;

/// A clip in the table of [`Sounds`].
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct ClipId(pub u16);

/// A part of a prompt.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum Step {
    /// Plays a clip. One that is not in the table is passed over.
    Clip(ClipId),
    /// Says nothing for so many milliseconds.
    Pause(u16),
}

/// What is played one after the other, once.
#[derive(Clone, Copy, Eq, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Step>", into = "Vec<Step>")]
pub struct Playlist {
    steps: [Step; STEPS_MAX],
    length: u8,
}

/// The playlist has [`STEPS_MAX`] steps already.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the playlist has no room for another step")]
pub struct PlaylistFull;

impl Playlist {
    /// Nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { steps: [Step::Pause(0); STEPS_MAX], length: 0 }
    }

    /// Adds a step at the end.
    ///
    /// # Errors
    /// [`PlaylistFull`] when there is no room; nothing is changed then.
    pub fn push(&mut self, step: Step) -> Result<(), PlaylistFull> {
        let place = self.steps.get_mut(usize::from(self.length)).ok_or(PlaylistFull)?;
        *place = step;
        self.length += 1;
        Ok(())
    }

    /// In the order in which they are played.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        self.steps.get(..usize::from(self.length)).unwrap_or(&self.steps)
    }
}

impl TryFrom<Vec<Step>> for Playlist {
    type Error = PlaylistFull;

    fn try_from(steps: Vec<Step>) -> Result<Self, PlaylistFull> {
        let mut playlist = Self::new();
        steps.into_iter().try_for_each(|step| playlist.push(step))?;
        Ok(playlist)
    }
}

impl From<Playlist> for Vec<Step> {
    fn from(playlist: Playlist) -> Self {
        playlist.steps().to_vec()
    }
}

impl Default for Playlist {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Playlist {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.steps()).finish()
    }
}

/// A tone of the relay's own, as Chinese networks sound them: 450 Hz.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum Tone {
    /// One second on, four off, until it is stopped.
    Ring,
    /// 0.35 seconds on and off, until it is stopped.
    Busy,
    /// One short beep: the call will soon be ended.
    Warning,
    /// Two short beeps every five seconds, until it is stopped: the other side comes back.
    Hold,
}

/// How a side hears of a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum KeyAs {
    /// As a telephone event, RFC 4733.
    Event,
    /// As its two tones in the sound.
    Tones,
}

/// Something to be played to one side.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum Sound {
    /// Ends by itself.
    Prompt(Playlist),
    /// Ends by itself only where its description says so.
    Tone(Tone),
    /// A key, pressed for a tenth of a second, and the pause behind it.
    Key(Key, KeyAs),
}

/// The clips that can be played, by number. Loaded once and shared by all calls.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Sounds {
    clips: BTreeMap<ClipId, Arc<[u8]>>,
}

impl Sounds {
    /// Adds a clip of 8 kHz A-law bytes, in the place of an older one of this number.
    pub fn insert(&mut self, clip: ClipId, a_law: Arc<[u8]>) {
        self.clips.insert(clip, a_law);
    }

    /// The samples of a clip.
    #[must_use]
    pub fn clip(&self, clip: ClipId) -> Option<&[u8]> {
        self.clips.get(&clip).map(|samples| &**samples)
    }

    /// All clips, by number.
    pub fn clips(&self) -> impl Iterator<Item = (ClipId, &[u8])> {
        self.clips.iter().map(|(clip, samples)| (*clip, &**samples))
    }

    /// Is there such a clip?
    #[must_use]
    pub fn has(&self, clip: ClipId) -> bool {
        self.clips.contains_key(&clip)
    }

    /// How long a playlist takes.
    #[must_use]
    pub fn duration(&self, playlist: &Playlist) -> Duration {
        Self::time_of(playlist.steps().iter().map(|step| self.samples(*step)).sum::<usize>())
    }

    /// How long so many samples take.
    #[must_use]
    pub const fn time_of(samples: usize) -> Duration {
        Duration::from_micros(samples as u64 * 1_000_000 / RATE_HZ as u64)
    }

    fn samples(&self, step: Step) -> usize {
        match step {
            Step::Clip(clip) => self.clip(clip).map_or(0, <[u8]>::len),
            Step::Pause(ms) => usize::from(ms) * RATE_HZ as usize / 1_000,
        }
    }
}

impl fmt::Debug for Sounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sounds({} clips)", self.clips.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_playlist_says_when_it_is_full_and_keeps_what_it_has() {
        let mut playlist = Playlist::new();
        for step in 0..STEPS_MAX as u16 {
            assert_eq!(playlist.push(Step::Clip(ClipId(step))), Ok(()));
        }
        assert_eq!(playlist.push(Step::Pause(1)), Err(PlaylistFull));
        assert_eq!(playlist.steps().len(), STEPS_MAX);
        assert_eq!(playlist.steps().last(), Some(&Step::Clip(ClipId(39))));
    }

    #[test]
    fn a_playlist_takes_as_long_as_its_known_clips_and_pauses() {
        let mut sounds = Sounds::default();
        sounds.insert(ClipId(7), vec![0xd5; 4_000].into());
        let mut playlist = Playlist::new();
        for step in [Step::Clip(ClipId(7)), Step::Pause(250), Step::Clip(ClipId(8))] {
            playlist.push(step).expect("room");
        }
        assert_eq!(sounds.duration(&playlist), Duration::from_millis(750));
        assert!(sounds.has(ClipId(7)) && !sounds.has(ClipId(8)));
    }
}
