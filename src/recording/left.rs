//! Partial files that nobody writes any more: recordings that have come to their end, and what a
//! crash has cut off. Whoever writes one holds it, in whichever process.

use std::fs::{self, File};
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest;

use super::folder::{Place, partial_folder};
use super::format::{About, Totals, sha256};
use super::reader::{Extent, Outcome, Reader, RecordingError};
use crate::domain::recording::Retention;
use crate::vault::SecretKey;

/// The most files of a class that are looked at in one go.
pub const LEFT_MAX: usize = 100_000;
/// How long a file may be empty: it is made before it is held.
const EMPTY_TIME: Duration = Duration::from_secs(60);
const BUFFER_BYTES: usize = 64 << 10;

/// A recording that is on the disk under its partial name, and ready to be told to the store.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Taped {
    /// Where it is.
    pub place: Place,
    /// Whose it is.
    pub about: About,
    /// What it holds.
    pub totals: Totals,
    /// SHA-256 of the file.
    pub sha256: [u8; 32],
    /// Its length.
    pub bytes: u64,
    /// It is whole.
    pub complete: bool,
}

/// A folder that nobody else can look into.
///
/// # Errors
/// The disk.
pub fn make_folder(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Keeps a file that is to be written from whoever looks for what is left.
///
/// # Errors
/// The file system knows no locks.
pub fn hold(file: &File) -> io::Result<()> {
    file.lock()
}

/// Partial files, whether somebody writes them or not.
#[must_use]
pub fn left_over(root: &Path) -> Vec<PathBuf> {
    let files = Retention::ALL.iter().flat_map(|class| {
        let entries = fs::read_dir(partial_folder(root, *class)).into_iter().flatten();
        entries.filter_map(|entry| Some(entry.ok()?.path())).take(LEFT_MAX)
    });
    files.filter(|path| path.extension().is_some_and(|end| end == "part")).collect()
}

/// A partial file that nobody writes, and nobody else reads as long as this lives.
#[derive(Debug)]
pub struct Left {
    file: File,
    about: About,
    wrapped_key: Vec<u8>,
    retention: Retention,
}

impl Left {
    /// Takes a file; `None` when it is in other hands.
    ///
    /// # Errors
    /// [`RecordingError`] when it is no recording of ours, or an empty file.
    pub fn take(path: &Path) -> Result<Option<Self>, RecordingError> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        if file.try_lock().is_err() {
            return Ok(None);
        }
        if file.metadata()?.len() == 0 {
            return Err(RecordingError::Empty);
        }
        let retention = class_of(path).ok_or(RecordingError::NotOurs)?;
        let reader = Reader::open(&file)?;
        let (about, wrapped_key) = (*reader.about(), reader.wrapped_key().to_vec());
        Ok(Some(Self { file, about, wrapped_key, retention }))
    }

    /// Whose it says it is; believe it when it was read.
    #[must_use]
    pub const fn about(&self) -> &About {
        &self.about
    }

    /// Its key, wrapped by the tenant's.
    #[must_use]
    pub fn wrapped_key(&self) -> &[u8] {
        &self.wrapped_key
    }

    /// Reads all of it that can be read: up to its end, to where it was cut off, or to where it was
    /// changed.
    ///
    /// # Errors
    /// [`RecordingError`] when nothing can be read.
    pub fn read(&self, key: &SecretKey) -> Result<Taped, RecordingError> {
        let (sha256, bytes) = fingerprint(&self.file)?;
        let mut reader = Reader::open(BufReader::new(&self.file))?;
        reader.unlock(key, Extent::Prefix)?;
        let mut totals = Totals::default();
        while let Some(frame) = reader.next_frame()? {
            if let Some(count) = totals.frames.get_mut(frame.track.0.index()) {
                *count += 1;
            }
            totals.duration_ms = totals.duration_ms.max(frame.at_ms);
        }
        let (totals, complete) = match reader.outcome() {
            Some(Outcome::Complete(totals)) => (totals, true),
            Some(Outcome::CutOff) | None => (totals, false),
        };
        let (about, retention) = (self.about, self.retention);
        let (recording, started_ms) = (about.recording, about.started_ms);
        let place = Place { recording, retention, started_ms };
        Ok(Taped { place, about, totals, sha256, bytes, complete })
    }
}

fn class_of(path: &Path) -> Option<Retention> {
    let class = path.ancestors().nth(2).and_then(Path::file_name);
    class.and_then(|name| Retention::find_label(name.to_str()?))
}

/// Removes a partial file of no use, unless somebody writes it: one that has stayed empty, or is as
/// old as anything of its class may become. False when it stays.
///
/// # Errors
/// The disk.
pub fn remove_useless(path: &Path, now: SystemTime) -> io::Result<bool> {
    let file = File::open(path)?;
    if file.try_lock().is_err() {
        return Ok(false);
    }
    let facts = file.metadata()?;
    let age = now.duration_since(facts.modified()?).unwrap_or_default();
    let class = class_of(path).unwrap_or(Retention::TenYears);
    let time = if facts.len() == 0 { EMPTY_TIME } else { class.time() };
    if age < time {
        return Ok(false);
    }
    fs::remove_file(path).map(|()| true)
}

/// SHA-256 of a file and its length; it is back at its beginning then.
///
/// # Errors
/// The disk.
pub fn fingerprint(mut file: &File) -> io::Result<([u8; 32], u64)> {
    file.seek(SeekFrom::Start(0))?;
    let mut context = digest::Context::new(&digest::SHA256);
    let (mut bytes, mut buffer) = (0, vec![0; BUFFER_BYTES]);
    loop {
        let read = file.read(&mut buffer)?;
        let Some(part) = buffer.get(..read).filter(|part| !part.is_empty()) else { break };
        context.update(part);
        bytes += read as u64;
    }
    file.seek(SeekFrom::Start(0))?;
    Ok((sha256(&context.finish()), bytes))
}
