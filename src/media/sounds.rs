//! The library of sounds: what is built in, what a folder puts in its place, and the names that
//! insurers have recorded. It is read once, before the first call.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io::{Cursor, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest;

use crate::domain::id::TenantId;
use crate::domain::language::Language;
use crate::prompt::{Clip, ClipHashes, ClipTimes, Insurers, Voice};
use crate::rtp::g711::encode_a_law;
use crate::rtp::sound::{RATE_HZ, Sounds};

/// The longest sound of a folder, in seconds.
pub const SOUND_S_MAX: u32 = 30;
/// The longest recording of an insurer's name, in seconds.
pub const NAME_S_MAX: u32 = 10;
/// What all sounds of a folder may take, as A-law.
pub const FOLDER_BYTES_MAX: usize = 256 << 20;
/// The most mistakes that are listed.
pub const MISTAKES_MAX: usize = 50;

/// More than a WAV file of the longest sound can have: 16 bits a sample, and a long header.
const FILE_BYTES_MAX: u64 = 2 * (SOUND_S_MAX as u64) * (RATE_HZ as u64) + (64 << 10);

/// All that can be played.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Library {
    /// For the media plane.
    pub sounds: Arc<Sounds>,
    /// For the brain.
    pub insurers: Arc<Insurers>,
    /// The same, for the proof of what it says.
    pub hashes: Arc<ClipHashes>,
    /// The same, for how long it waits for the end of that.
    pub times: Arc<ClipTimes>,
    /// Clips that the folder has put in the place of built-in ones.
    pub replaced: usize,
    /// Names of insurers that the folder holds.
    pub names: usize,
}

/// A file that cannot be used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mistake {
    /// Which.
    pub file: PathBuf,
    /// What is wrong with it.
    pub what: String,
}

/// Everything that is wrong with a folder of sounds.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub struct InvalidSounds {
    /// At most [`MISTAKES_MAX`] of them.
    pub mistakes: Vec<Mistake>,
    /// How many there are.
    pub count: usize,
}

impl fmt::Display for InvalidSounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "media.prompts has {} problem(s):", self.count)?;
        for Mistake { file, what } in &self.mistakes {
            write!(f, "\n  {}: {what}", file.display())?;
        }
        Ok(())
    }
}

impl Library {
    /// What is built in, without any folder.
    #[must_use]
    pub fn built_in() -> Self {
        Reading::default().into_library()
    }

    /// What is built in, with what a folder holds in its place.
    ///
    /// # Errors
    /// [`InvalidSounds`] lists every file that cannot be used.
    pub fn load(folder: Option<&Path>) -> Result<Self, InvalidSounds> {
        let mut reading = Reading::default();
        if let Some(folder) = folder {
            reading.read_root(folder);
        }
        match reading.count {
            0 => Ok(reading.into_library()),
            count => Err(InvalidSounds { mistakes: reading.mistakes, count }),
        }
    }
}

fn hashes_of(sounds: &Sounds) -> ClipHashes {
    let mut hashes = ClipHashes::default();
    for (clip, samples) in sounds.clips() {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(samples);
        hashes.insert(clip, finish(context));
    }
    hashes
}

/// SHA-256 of a whole library: two with the same hash mean the same by each number.
#[must_use]
pub fn library_hash(sounds: &Sounds) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for (clip, samples) in sounds.clips() {
        context.update(&clip.0.to_be_bytes());
        context.update(&(samples.len() as u64).to_be_bytes());
        context.update(samples);
    }
    finish(context)
}

fn finish(context: digest::Context) -> [u8; 32] {
    let mut hash = [0; 32];
    for (to, from) in hash.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    hash
}

/// A folder on its way into the library.
#[derive(Default)]
struct Reading {
    replaced: BTreeMap<(Clip, Voice), Arc<[u8]>>,
    names: BTreeMap<(TenantId, Language), Arc<[u8]>>,
    bytes: usize,
    mistakes: Vec<Mistake>,
    count: usize,
}

impl Reading {
    fn mistake(&mut self, file: &Path, what: impl Into<String>) {
        self.count += 1;
        if self.mistakes.len() < MISTAKES_MAX {
            self.mistakes.push(Mistake { file: file.to_owned(), what: what.into() });
        }
    }

    fn read_root(&mut self, folder: &Path) {
        for (name, path) in self.entries(folder) {
            match name.as_str() {
                "tenants" => self.read_tenants(&path),
                name => match Language::find_label(name) {
                    Some(language) => {
                        self.read_voice(&path, Voice { language, slow: false });
                    }
                    None => self.mistake(&path, "expected a folder zh-CN, en or tenants"),
                },
            }
        }
    }

    fn read_voice(&mut self, folder: &Path, voice: Voice) {
        let mut seen = BTreeSet::new();
        for (name, path) in self.entries(folder) {
            if name == "slow" && !voice.slow {
                self.read_voice(&path, Voice { slow: true, ..voice });
                continue;
            }
            let Some((stem, form)) = self.form(&name, &path) else { continue };
            let Some(clip) = Clip::find_name(stem) else {
                self.mistake(&path, "there is no prompt of this name");
                continue;
            };
            if !seen.insert(clip) {
                self.mistake(&path, "the same prompt as another file");
            } else if let Some(sound) = self.read_sound(&path, form, SOUND_S_MAX) {
                self.replaced.insert((clip, voice), sound);
            }
        }
    }

    fn read_tenants(&mut self, folder: &Path) {
        for (name, path) in self.entries(folder) {
            match TenantId::parse(&name) {
                Ok(tenant) => self.read_names(&path, tenant),
                Err(_) => self.mistake(&path, "the name of this folder is no tenant's id, ten_.."),
            }
        }
    }

    fn read_names(&mut self, folder: &Path, tenant: TenantId) {
        for (name, path) in self.entries(folder) {
            let Some((stem, form)) = self.form(&name, &path) else { continue };
            let language = stem.strip_prefix("insurer.").and_then(Language::find_label);
            let Some(language) = language else {
                self.mistake(&path, "expected insurer.zh-CN.wav or insurer.en.wav");
                continue;
            };
            if self.names.contains_key(&(tenant, language)) {
                self.mistake(&path, "the same name as another file");
            } else if let Some(sound) = self.read_sound(&path, form, NAME_S_MAX) {
                self.names.insert((tenant, language), sound);
            }
        }
    }

    /// What is in a folder, in order, without hidden files.
    fn entries(&mut self, folder: &Path) -> Vec<(String, PathBuf)> {
        let mut found = Vec::new();
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => {
                self.mistake(folder, format!("cannot be read as a folder: {error}"));
                return found;
            }
        };
        for entry in entries {
            match entry.map(|entry| (entry.file_name().into_string(), entry.path())) {
                Ok((Ok(name), path)) if !name.starts_with('.') => found.push((name, path)),
                Ok((Ok(_hidden), _)) => {}
                Ok((Err(_), path)) => self.mistake(&path, "its name is not UTF-8"),
                Err(error) => self.mistake(folder, format!("cannot be read: {error}")),
            }
        }
        found.sort();
        found
    }

    fn form<'a>(&mut self, name: &'a str, path: &Path) -> Option<(&'a str, Form)> {
        let form = name.rsplit_once('.').and_then(|(stem, end)| match end {
            "wav" => Some((stem, Form::Wav)),
            "al" => Some((stem, Form::ALaw)),
            _ => None,
        });
        if form.is_none() {
            self.mistake(path, "expected a file .wav, or .al without a header");
        }
        form
    }

    fn read_sound(&mut self, path: &Path, form: Form, s_max: u32) -> Option<Arc<[u8]>> {
        match read_sound(path, form, s_max) {
            Ok(sound) if self.bytes + sound.len() > FOLDER_BYTES_MAX => {
                let room = FOLDER_BYTES_MAX >> 20;
                self.mistake(path, format!("the sounds take more than {room} MiB with this one"));
                None
            }
            Ok(sound) => {
                self.bytes += sound.len();
                Some(sound)
            }
            Err(what) => {
                self.mistake(path, what);
                None
            }
        }
    }

    fn into_library(self) -> Library {
        let mut sounds = Sounds::default();
        for voice in Voice::ALL {
            for clip in Clip::ALL {
                // A voice of its own is better slow than mixed with ours.
                let usual = (*clip, Voice { slow: false, ..voice });
                let replaced = self.replaced.get(&(*clip, voice));
                let sound = replaced.or_else(|| self.replaced.get(&usual));
                let sound = sound.map_or_else(|| clip.built_in(voice).into(), Arc::clone);
                sounds.insert(clip.id(voice), sound);
            }
        }
        let mut insurers = Insurers::default();
        let names = self.names.len();
        for ((tenant, language), sound) in self.names {
            if let Some(clip) = insurers.insert(tenant, language) {
                sounds.insert(clip, sound);
            }
        }
        Library {
            hashes: Arc::new(hashes_of(&sounds)),
            times: Arc::new(ClipTimes::of_sounds(&sounds)),
            sounds: Arc::new(sounds),
            insurers: Arc::new(insurers),
            replaced: self.replaced.len(),
            names,
        }
    }
}

#[derive(Clone, Copy)]
enum Form {
    Wav,
    ALaw,
}

fn read_sound(path: &Path, form: Form, s_max: u32) -> Result<Arc<[u8]>, String> {
    let unreadable = |error| format!("cannot be read: {error}");
    let file = fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    let long = || format!("is longer than {s_max} seconds");
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(long());
    }
    let sound = match form {
        Form::ALaw => bytes,
        Form::Wav => read_wav(bytes)?,
    };
    match sound.len() {
        0 => Err("is empty".to_owned()),
        length if length > (s_max * RATE_HZ) as usize => Err(long()),
        _ => Ok(sound.into()),
    }
}

fn read_wav(bytes: Vec<u8>) -> Result<Vec<u8>, String> {
    let malformed = |error| format!("is no WAV file of PCM: {error}");
    let reader = hound::WavReader::new(Cursor::new(bytes)).map_err(malformed)?;
    let spec = reader.spec();
    let is_ours = spec.sample_rate == RATE_HZ
        && spec.channels == 1
        && spec.bits_per_sample == 16
        && spec.sample_format == hound::SampleFormat::Int;
    if !is_ours {
        return Err(format!(
            "expected {RATE_HZ} Hz, 1 channel, 16 bits, PCM; found {} Hz, {} channels, {} bits",
            spec.sample_rate, spec.channels, spec.bits_per_sample
        ));
    }
    let samples = reader.into_samples::<i16>().map(|sample| sample.map(encode_a_law));
    samples.collect::<Result<_, _>>().map_err(malformed)
}

#[cfg(test)]
mod tests;
