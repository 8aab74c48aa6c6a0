//! What is said, the catalogue, and the sounds that are built in.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::*;
use crate::domain::cause::Announcement;
use crate::domain::id::TenantId;
use crate::domain::purpose::Purpose;
use crate::rtp::sound::{ClipId, Playlist, RATE_HZ, STEPS_MAX, Step};

const ENGLISH: Voice = Voice { language: Language::English, slow: false };

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/prompts"))
}

/// The lines of `texts.txt`: name, zh-CN, pinyin, en.
fn texts() -> Vec<[String; 4]> {
    let file = std::fs::read_to_string(folder().join("texts.txt")).expect("texts.txt");
    let lines = file.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    lines.map(|line| cells(line).try_into().expect("four columns")).collect()
}

/// The playlist as the English words of its clips.
fn words(playlist: &Playlist) -> String {
    let english: BTreeMap<_, _> = texts().into_iter().map(|[name, .., en]| (name, en)).collect();
    let clips = playlist.steps().iter().filter_map(|step| match step {
        Step::Clip(clip) => Some(*clip),
        Step::Pause(_) => None,
    });
    let word = |id| match Clip::find_id(id) {
        Some((clip, _)) => english[clip.name()].clone(),
        None => format!("<{}>", id.0),
    };
    clips.map(word).collect::<Vec<_>>().join(" ")
}

fn claim() -> WhisperText<'static> {
    WhisperText {
        insurer: Some(ClipId(0x4000)),
        agent_digits: "4821",
        purpose: Purpose::Claim,
        needs_accept: true,
        recorded: false,
        code: "",
    }
}

#[test]
fn a_whisper_says_who_calls_and_why_and_then_the_keys() {
    assert_eq!(
        words(&whisper(&ENGLISH, &claim())),
        "Hello. This is <16384> agent four eight two one about your claim To accept, press one. \
         To be called later, press two. For no more calls of this kind, press three. \
         To report this call, press nine. If you are not the right person, press eight."
    );
}

#[test]
fn a_whisper_that_needs_no_key_ends_with_the_connection() {
    let text = WhisperText { insurer: None, needs_accept: false, agent_digits: "E-7 ", ..claim() };
    let text = WhisperText { recorded: true, code: "470", ..text };
    assert_eq!(
        words(&whisper(&ENGLISH, &text)),
        "Hello. This is your insurance company agent seven about your claim This call will be \
         recorded. The code of this call is four seven zero Connecting you now."
    );
    let nobody = WhisperText { agent_digits: "desk", ..text };
    assert!(!words(&whisper(&ENGLISH, &nobody)).contains("agent"));
}

#[test]
fn the_longest_texts_fit_into_a_playlist() {
    let longest =
        WhisperText { agent_digits: "0123456789", recorded: true, code: "0123456789", ..claim() };
    let caller = Caller { insurer: None, purpose: Purpose::Survey, days_ago: 3 };
    for voice in Voice::ALL {
        let said = words(&whisper(&voice, &longest));
        assert!(said.contains("agent two three four five six seven eight nine about"), "{said}");
        assert!(said.ends_with("press eight."), "{said}");
        assert!(words(&callers(&voice, &[caller; 9])).ends_with("three days ago"));
        for playlist in
            [sentences(&voice, MENU), real_call(&voice, Some(&caller)), code(&voice, "123456789")]
        {
            assert!(playlist.steps().len() < STEPS_MAX);
        }
    }
    assert_eq!(words(&callers(&ENGLISH, &[caller; 9])).matches("Call from").count(), CALLERS_MAX);
}

#[test]
fn a_slow_voice_has_clips_of_its_own_and_longer_pauses() {
    let pauses = |voice: Voice| {
        let playlist = code(&voice, "123456");
        let pauses = playlist.steps().iter().map(|step| match step {
            Step::Pause(ms) => u64::from(*ms),
            Step::Clip(_) => 0,
        });
        pauses.sum::<u64>()
    };
    let slow = Voice { slow: true, ..ENGLISH };
    assert_eq!(pauses(slow), pauses(ENGLISH) * 3 / 2);
    assert_ne!(say(&slow, Clip::Hello), say(&ENGLISH, Clip::Hello));
}

#[test]
fn what_is_unknown_foreign_cooling_or_expired_is_refused_in_one_sentence() {
    let refused = refusal(&ENGLISH, Announcement::CannotConnect).expect("is said");
    let sentence = "This contact number cannot connect you.";
    assert_eq!(words(&refused), format!("{sentence} {sentence}"));
    assert_eq!(refusal(&ENGLISH, Announcement::Silent), None);
    assert!(words(&recorded_notice(&ENGLISH)).contains("recorded"));
    assert!(words(&ending(&ENGLISH, Ending::NoMore)).ends_with("Goodbye."));
}

#[test]
fn a_number_is_a_clip_of_one_voice_for_ever() {
    let mut seen = BTreeSet::new();
    for voice in Voice::ALL {
        for clip in Clip::ALL {
            let id = clip.id(voice);
            assert!(seen.insert(id), "{clip:?} in {voice:?} has the number of another clip");
            assert_eq!(Clip::find_id(id), Some((*clip, voice)));
            assert_eq!(Clip::find_name(clip.name()), Some(*clip));
        }
    }
    assert_eq!(Clip::Hello.id(Voice::ALL[0]), ClipId(1));
    assert_eq!(Clip::DayWeekAgo.id(Voice { slow: true, ..ENGLISH }), ClipId(3 * 256 + 107));
    assert_eq!(Clip::find_id(ClipId(0)), None);
    assert_eq!(Clip::find_id(ClipId(4 * 256 + 1)), None);
}

#[test]
fn a_recorded_name_is_found_for_its_own_tenant_and_language_alone() {
    let (one, other) = (TenantId::from_u128(1), TenantId::from_u128(2));
    let mut insurers = Insurers::default();
    let clip = insurers.insert(one, Language::Chinese).expect("room");
    assert_eq!(insurers.insert(one, Language::Chinese), Some(clip));
    assert_ne!(insurers.insert(other, Language::Chinese), Some(clip));
    assert_eq!(insurers.find(one, Language::Chinese), Some(clip));
    assert_eq!(insurers.find(one, Language::English), None);
    assert_eq!(Clip::find_id(clip), None);
}

#[test]
fn every_clip_has_a_text_and_four_files_and_there_are_no_others() {
    let names: BTreeSet<_> = Clip::ALL.iter().map(|clip| clip.name().to_owned()).collect();
    let in_texts: BTreeSet<_> = texts().into_iter().map(|[name, ..]| name).collect();
    assert_eq!(names, in_texts);
    for voice in Voice::ALL {
        let files = std::fs::read_dir(folder().join(voice.folder())).expect("a folder");
        let files: BTreeSet<_> = files
            .map(|file| file.expect("a file").file_name().into_string().expect("a name"))
            .filter(|name| name != "slow")
            .collect();
        let wanted: BTreeSet<_> = names.iter().map(|name| format!("{name}.al")).collect();
        assert_eq!(files, wanted, "{}", voice.folder());
    }
}

#[test]
fn every_sound_is_as_loud_as_the_others_and_does_not_click() {
    for voice in Voice::ALL {
        for clip in Clip::ALL {
            let sound = clip.built_in(voice);
            let what = format!("{}/{}", voice.folder(), clip.name());
            assert_eq!(sound.len() % 160, 0, "{what}: whole frames");
            assert!((0.2..=6.0).contains(&(sound.len() as f64 / f64::from(RATE_HZ))), "{what}");
            let samples: Vec<f64> = sound.iter().map(|byte| linear(*byte)).collect();
            let spoken = samples.iter().rposition(|sample| sample.abs() > 0.001).expect("a sound");
            let spoken = &samples[..=spoken];
            let peak = spoken.iter().fold(0.0_f64, |peak, sample| peak.max(sample.abs()));
            assert!((-14.0..-3.0).contains(&db(peak)), "{what}: peak {:.2} dB", db(peak));
            let rms = (spoken.iter().map(|s| s * s).sum::<f64>() / spoken.len() as f64).sqrt();
            assert!((-21.0..-17.0).contains(&db(rms)), "{what}: loudness {:.2} dB", db(rms));
            let dc = samples.iter().sum::<f64>() / samples.len() as f64;
            assert!(dc.abs() < 0.001, "{what}: DC {dc}");
            for end in [samples.first(), samples.last()] {
                assert!(end.is_some_and(|sample| sample.abs() < 0.01), "{what}: clicks");
            }
        }
    }
}

fn db(level: f64) -> f64 {
    20.0 * level.log10()
}

/// An A-law byte as a part of full scale, ITU-T G.711.
fn linear(byte: u8) -> f64 {
    let byte = byte ^ 0x55;
    let (exponent, mantissa) = (byte >> 4 & 7, i32::from(byte & 15));
    let size = match exponent {
        0 => (mantissa << 4) + 8,
        _ => ((mantissa << 4) + 0x108) << (exponent - 1),
    };
    f64::from(if byte & 0x80 == 0 { -size } else { size }) / 32_768.0
}
