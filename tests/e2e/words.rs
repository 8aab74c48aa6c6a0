//! Understands what the relay says: the clips of `assets/prompts` in a recording of A-law, sample
//! by sample.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use maskline::domain::language::Language;
use maskline::prompt::Voice;
use maskline::rtp::g711::{A_LAW_SILENCE, encode_a_law};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};

/// By so many samples a clip is known.
const HEAD: usize = 24;
/// A pause is at least so long; in a word there are shorter ones.
const PAUSE: usize = 400;

/// What has been said, by clips.
#[derive(Default)]
pub(crate) struct Dictionary {
    /// By their first samples that are no silence.
    clips: HashMap<Vec<u8>, Vec<(String, Vec<u8>)>>,
}

impl Dictionary {
    /// The clips that are built in.
    pub(crate) fn built_in() -> Self {
        Self::with(None)
    }

    /// The same, with what a folder has in their place.
    pub(crate) fn with(folder: Option<&Path>) -> Self {
        let mut this = Self::default();
        for voice in Voice::ALL {
            for file in clips(voice) {
                let own = folder.map(|folder| {
                    let name = file.file_name().expect("the name of a clip");
                    folder.join(voice.folder()).join(name)
                });
                let clip = own.filter(|own| own.is_file()).unwrap_or_else(|| file.clone());
                this.add(named(voice, &file), &fs::read(clip).expect("a clip"));
            }
        }
        this
    }

    fn add(&mut self, name: String, clip: &[u8]) {
        let clip = trimmed(clip).to_vec();
        let head = clip.get(..HEAD).expect("no clip is so short").to_vec();
        self.clips.entry(head).or_default().push((name, clip));
    }

    /// What was said: `en hello`; `en hello..` where it was cut short; `?` for what is none of our
    /// words.
    pub(crate) fn understand(&self, sound: &[u8]) -> Vec<String> {
        let mut said = Vec::new();
        let mut rest = sound;
        while let Some(begin) = rest.iter().position(|byte| !is_silent(*byte)) {
            rest = &rest[begin..];
            let known = rest.get(..HEAD).and_then(|head| self.clips.get(head));
            let fits = |clip: &[u8]| rest.iter().zip(clip).take_while(|(a, b)| a == b).count();
            let best = known.and_then(|clips| {
                clips.iter().map(|(name, clip)| (fits(clip), name, clip)).max_by_key(|it| it.0)
            });
            let length = match best {
                Some((fit, name, clip)) if fit == clip.len() => {
                    said.push(name.clone());
                    fit
                }
                Some((fit, name, _)) => {
                    said.push(format!("{name}.."));
                    fit
                }
                None => {
                    let quiet = |window: &[u8]| window.iter().all(|byte| is_silent(*byte));
                    said.push("?".to_owned());
                    rest.windows(PAUSE).position(quiet).unwrap_or(rest.len())
                }
            };
            rest = &rest[length..];
        }
        said
    }
}

const fn is_silent(byte: u8) -> bool {
    byte == A_LAW_SILENCE || byte == A_LAW_SILENCE ^ 0x80
}

fn trimmed(clip: &[u8]) -> &[u8] {
    let begin = clip.iter().position(|byte| !is_silent(*byte)).unwrap_or(clip.len());
    let end = clip.iter().rposition(|byte| !is_silent(*byte)).map_or(begin, |last| last + 1);
    &clip[begin..end]
}

fn built_in() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/prompts")
}

/// The files of one voice.
fn clips(voice: Voice) -> Vec<PathBuf> {
    let entries = fs::read_dir(built_in().join(voice.folder())).expect("a folder of clips");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.filter(|path| path.extension().is_some_and(|end| end == "al")).collect()
}

fn named(voice: Voice, file: &Path) -> String {
    let clip = file.file_stem().expect("the name of a clip").to_string_lossy();
    format!("{} {clip}", voice.folder())
}

/// Writes a short noise of its own in the place of each Chinese clip: to wait for whole sentences
/// takes too long.
pub(crate) fn write_short_clips(folder: &Path) {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for voice in Voice::ALL.into_iter().filter(|voice| voice.language == Language::Chinese) {
        let own = folder.join(voice.folder());
        fs::create_dir_all(&own).expect("a writable folder");
        for file in clips(voice) {
            let noise: Vec<u8> =
                (0..400).map(|_| encode_a_law((rng.next_u32() % 4_000) as i16 + 100)).collect();
            fs::write(own.join(file.file_name().expect("a name")), noise).expect("a file");
        }
    }
}

#[test]
fn words_are_told_from_each_other_and_from_noise() {
    let read = |clip: &str| fs::read(built_in().join(clip)).expect("a clip");
    let words = Dictionary::built_in();
    let pause = [A_LAW_SILENCE; 1_000];
    let (hello, slow) = (read("en/hello.al"), read("en/slow/hello.al"));
    let noise: Vec<u8> = (0..4_000).map(|at: i32| encode_a_law((at * at % 9_001) as i16)).collect();
    let sound = [&pause[..], &hello, &pause, &noise, &pause, &slow, &hello[..4_000]].concat();
    let said = ["en hello", "?", "en/slow hello", "en hello.."];
    assert_eq!(words.understand(&sound), said);
    for voice in Voice::ALL {
        for file in clips(voice) {
            let said = words.understand(&fs::read(&file).expect("a clip"));
            assert_eq!(said, [named(voice, &file)]);
        }
    }
}
