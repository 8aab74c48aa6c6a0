//! Plays one sound to one side: which samples are next, and when. Frames are due by the start of
//! the sound, so a late one does not delay those after it.

mod tones;

use std::time::Duration;

use super::g711::{A_LAW_SILENCE, encode_a_law};
use super::key::Key;
use super::sound::{KeyAs, Playlist, Sound, Sounds, Step, Tone};
use super::time::Moment;

/// Samples of a frame, and its bytes with G.711.
pub(super) const FRAME_SAMPLES: usize = 160;
/// What a frame lasts.
pub(super) const FRAME: Duration = Duration::from_millis(20);

/// Something that is being played.
#[derive(Clone, Debug)]
pub(super) struct Player {
    /// What the brain calls it.
    pub(super) play: u32,
    /// A key ends it.
    pub(super) until_key: bool,
    voice: Voice,
    /// When the first frame was due; later by as much as frames were left out.
    started_at: Moment,
    /// When it was due at first: an event has one time, whatever is left out of it.
    begun_at: Moment,
    frames: u64,
    /// Some of them went nowhere.
    pub(super) has_gaps: bool,
    /// The next frame begins a talk spurt.
    begins: bool,
}

#[derive(Clone, Debug)]
enum Voice {
    Prompt {
        playlist: Playlist,
        step: usize,
        /// Samples of the step that have been played.
        played: usize,
    },
    Tone(Tone),
    Key(Key, KeyAs),
}

/// A frame that is due.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    /// When it should have left.
    pub(super) at: Moment,
    /// It begins a talk spurt.
    pub(super) marker: bool,
    /// A-law, or a telephone event.
    pub(super) body: Body,
}

/// What a frame holds.
#[derive(Clone, Debug)]
pub(super) enum Body {
    /// A-law.
    Samples([u8; FRAME_SAMPLES]),
    /// A packet of a telephone event: how long it has lasted in samples, and whether it is over.
    Event { key: Key, begun_at: Moment, duration: u16, ended: bool },
}

/// What a player wants done.
#[derive(Clone, Debug)]
pub(super) enum Next {
    /// This is to be sent.
    Frame(Frame),
    /// The last frame has been heard to its end.
    Done,
}

impl Player {
    pub(super) const fn new(now: Moment, play: u32, sound: Sound, until_key: bool) -> Self {
        let voice = match sound {
            Sound::Prompt(playlist) => Voice::Prompt { playlist, step: 0, played: 0 },
            Sound::Tone(tone) => Voice::Tone(tone),
            Sound::Key(key, key_as) => Voice::Key(key, key_as),
        };
        Self {
            play,
            until_key,
            voice,
            started_at: now,
            begun_at: now,
            frames: 0,
            has_gaps: false,
            begins: true,
        }
    }

    /// Everything that was due has been sent, and that was something.
    pub(super) const fn was_sent(&self) -> bool {
        self.frames > 0 && !self.has_gaps
    }

    /// A key is being pressed.
    pub(super) const fn is_key(&self) -> bool {
        matches!(self.voice, Voice::Key(..))
    }

    /// The beep that the call will soon end.
    pub(super) const fn is_warning(&self) -> bool {
        matches!(self.voice, Voice::Tone(Tone::Warning))
    }

    /// Goes on now where it was when something else was played in between.
    pub(super) fn go_on(&mut self, now: Moment) {
        let played = self.due_at().since(self.started_at);
        let started_at = now.micros().saturating_sub(played.as_micros() as u64);
        self.started_at = Moment::from_micros(started_at);
        self.begins = true;
    }

    /// When the next frame is due.
    pub(super) fn due_at(&self) -> Moment {
        self.started_at + Duration::from_micros(self.frames * FRAME.as_micros() as u64)
    }

    /// What is due now, if anything is.
    pub(super) fn next(&mut self, now: Moment, sounds: &Sounds) -> Option<Next> {
        let late = now.micros().checked_sub(self.due_at().micros())?;
        if late > LATE_MAX.as_micros() as u64 {
            // Nobody wants to hear at once what should have been said over a longer time.
            self.started_at = self.started_at + Duration::from_micros(late);
            // A second beginning of an event would be a second press.
            self.begins |= !matches!(self.voice, Voice::Key(_, KeyAs::Event));
        }
        let at = self.due_at();
        let mut body = None;
        let mut samples = [A_LAW_SILENCE; FRAME_SAMPLES];
        let has_more = match &mut self.voice {
            Voice::Prompt { playlist, step, played } => {
                fill_from(sounds, playlist.steps(), step, played, &mut samples)
            }
            Voice::Tone(tone) => fill_with(*tone, self.frames, &mut samples),
            Voice::Key(key, KeyAs::Tones) => tones::fill(*key, self.frames, &mut samples),
            Voice::Key(key, KeyAs::Event) => {
                body = tones::event(*key, self.begun_at, self.frames);
                body.is_some()
            }
        };
        if !has_more {
            return Some(Next::Done);
        }
        self.frames += 1;
        let marker = std::mem::take(&mut self.begins);
        let body = body.unwrap_or(Body::Samples(samples));
        Some(Next::Frame(Frame { at, marker, body }))
    }
}

/// Takes the next samples of a playlist; `false` when there were none.
fn fill_from(
    sounds: &Sounds,
    steps: &[Step],
    step: &mut usize,
    played: &mut usize,
    mut samples: &mut [u8],
) -> bool {
    let mut has_any = false;
    while let Some(current) = steps.get(*step)
        && !samples.is_empty()
    {
        let taken = match current {
            Step::Clip(clip) => {
                let rest = sounds.clip(*clip).and_then(|clip| clip.get(*played..));
                let rest = rest.unwrap_or_default();
                let taken = rest.len().min(samples.len());
                samples[..taken].copy_from_slice(&rest[..taken]);
                taken
            }
            Step::Pause(ms) => {
                let rest = (usize::from(*ms) * SAMPLES_PER_MS).saturating_sub(*played);
                rest.min(samples.len())
            }
        };
        has_any |= taken > 0;
        *played += taken;
        samples = &mut samples[taken..];
        if !samples.is_empty() {
            (*step, *played) = (*step + 1, 0);
        }
    }
    has_any
}

/// Writes a frame of a tone; `false` when it is over.
fn fill_with(tone: Tone, frame: u64, samples: &mut [u8; FRAME_SAMPLES]) -> bool {
    let (cadence, repeats) = match tone {
        Tone::Ring => (RING, true),
        Tone::Busy => (BUSY, true),
        Tone::Warning => (WARNING, false),
        Tone::Hold => (HOLD, true),
    };
    let cycle: u64 = cadence.iter().map(|(on, off)| on + off).sum();
    let first = frame * FRAME_SAMPLES as u64;
    if !repeats && first >= cycle {
        return false;
    }
    for ((at, sample), tone) in (first..).zip(samples).zip(&SINE) {
        let mut rest = at % cycle;
        for (on, off) in cadence {
            if rest < *on {
                *sample = *tone;
            }
            match rest.checked_sub(on + off) {
                Some(after) => rest = after,
                None => break,
            }
        }
    }
    true
}

/// A thread that stood still longer than this does not make up for it.
const LATE_MAX: Duration = Duration::from_millis(100);
const SAMPLES_PER_MS: usize = 8;

/// Samples on and off. All begin and end where the sine is zero, so that nothing clicks.
type Cadence = &'static [(u64, u64)];
const RING: Cadence = &[(8_000, 32_000)];
const BUSY: Cadence = &[(2_800, 2_800)];
const WARNING: Cadence = &[(1_600, 0)];
const HOLD: Cadence = &[(800, 800), (800, 37_600)];

/// 450 Hz at -13 dBm0 in A-law: exactly nine waves in a frame.
static SINE: [u8; FRAME_SAMPLES] = {
    let mut table = [0; FRAME_SAMPLES];
    let mut at = 0;
    while at < FRAME_SAMPLES {
        let turn = (at * 9 % FRAME_SAMPLES) as f64 / FRAME_SAMPLES as f64;
        table[at] = encode_a_law((sine(turn) * 5_000.0) as i16);
        at += 1;
    }
    table
};

/// The sine of a part of a turn, by its series; good enough for sixteen bits.
const fn sine(turn: f64) -> f64 {
    let sign = if turn < 0.5 { 1.0 } else { -1.0 };
    let half = if turn < 0.5 { turn } else { turn - 0.5 };
    let x = std::f64::consts::TAU * if half < 0.25 { half } else { 0.5 - half };
    let square = x * x;
    let high = 1.0 - square / 72.0 * (1.0 - square / 110.0);
    sign * x * (1.0 - square / 6.0 * (1.0 - square / 20.0 * (1.0 - square / 42.0 * high)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::g711::Law;
    use crate::rtp::sound::ClipId;

    fn ms(ms: u64) -> Moment {
        Moment::from_micros(ms * 1_000)
    }

    fn tone(tone: Tone) -> Player {
        Player::new(ms(0), 1, Sound::Tone(tone), false)
    }

    /// Every sample up to a time, or to the end.
    fn listen(player: &mut Player, sounds: &Sounds, until: Moment) -> Vec<u8> {
        let mut heard = Vec::new();
        while player.due_at() < until {
            match player.next(player.due_at(), sounds) {
                Some(Next::Frame(Frame { body: Body::Samples(samples), .. })) => {
                    heard.extend(samples);
                }
                Some(Next::Frame(_)) => panic!("no sound"),
                Some(Next::Done) | None => break,
            }
        }
        heard
    }

    #[test]
    fn clips_and_pauses_follow_each_other_without_a_gap_and_the_last_frame_is_filled_up() {
        let mut sounds = Sounds::default();
        sounds.insert(ClipId(1), vec![1; 100].into());
        sounds.insert(ClipId(2), vec![2; 250].into());
        let mut playlist = Playlist::new();
        for step in [
            Step::Clip(ClipId(1)),
            Step::Clip(ClipId(9)),
            Step::Pause(10),
            Step::Clip(ClipId(2)),
            Step::Pause(0),
        ] {
            playlist.push(step).expect("room");
        }
        let mut player = Player::new(ms(0), 1, Sound::Prompt(playlist), false);
        let heard = listen(&mut player, &sounds, ms(1_000));
        let mut expected = vec![1; 100];
        expected.extend([A_LAW_SILENCE; 80]);
        expected.extend([2; 250]);
        expected.extend([A_LAW_SILENCE; 50]);
        assert_eq!(heard, expected);
        assert_eq!(player.due_at(), ms(60), "it is over when the last frame has been heard");
        assert!(matches!(player.next(ms(60), &sounds), Some(Next::Done)));
    }

    #[test]
    fn a_clip_that_ends_with_a_frame_adds_no_silent_one() {
        let mut sounds = Sounds::default();
        sounds.insert(ClipId(1), vec![1; 320].into());
        let mut playlist = Playlist::new();
        playlist.push(Step::Clip(ClipId(1))).expect("room");
        let mut player = Player::new(ms(0), 1, Sound::Prompt(playlist), false);
        assert_eq!(listen(&mut player, &sounds, ms(1_000)), [1; 320]);
    }

    #[test]
    fn ring_tone_sounds_one_second_of_five_and_never_ends() {
        let heard = listen(&mut tone(Tone::Ring), &Sounds::default(), ms(12_000));
        let loud: Vec<bool> =
            heard.chunks(8_000).map(|second| second.iter().any(|s| *s != A_LAW_SILENCE)).collect();
        let expected = [true, false, false, false, false];
        assert_eq!(
            loud,
            [expected, expected].concat()[..]
                .iter()
                .copied()
                .chain([true, false])
                .collect::<Vec<_>>()
        );
    }

    #[test]
    fn a_tone_is_450_hz_and_neither_faint_nor_clipped() {
        let heard = listen(&mut tone(Tone::Warning), &Sounds::default(), ms(1_000));
        assert_eq!(heard.len(), 1_600, "one short beep");
        let samples: Vec<i32> = heard.iter().map(|byte| i32::from(Law::A.decode(*byte))).collect();
        let rises = samples.windows(2).filter(|pair| pair[0] <= 8 && pair[1] > 8).count();
        assert_eq!(rises, 90, "waves in 200 ms");
        let peak = samples.iter().max().copied().expect("samples");
        assert!((4_700..5_300).contains(&peak), "{peak}");
        for (at, sample) in samples.iter().enumerate() {
            let exact = (at as f64 * std::f64::consts::TAU * 450.0 / 8_000.0).sin() * 5_000.0;
            assert!((f64::from(*sample) - exact).abs() < 160.0, "sample {at}");
        }
    }

    #[test]
    fn a_late_frame_does_not_delay_the_next_and_a_long_stand_still_is_left_out() {
        let (mut player, sounds) = (tone(Tone::Ring), Sounds::default());
        assert!(player.next(ms(0), &sounds).is_some());
        assert!(player.next(ms(19), &sounds).is_none());
        assert!(player.next(ms(33), &sounds).is_some());
        assert_eq!(player.due_at(), ms(40), "20 ms after it was due, not after it left");
        let Some(Next::Frame(frame)) = player.next(ms(5_000), &sounds) else { panic!("a frame") };
        assert!(frame.marker, "a gap before it");
        assert_eq!(frame.at, ms(5_000));
        assert_eq!(player.due_at(), ms(5_020));
    }
}
