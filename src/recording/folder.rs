//! Where a recording is on the disk: a folder for each retention class and day, so that what has to
//! go at the same time is together, and one of each class for what is being written.

use std::path::{Path, PathBuf};

use crate::domain::id::RecordingId;
use crate::domain::recording::Retention;

/// The place of one recording below the folder of the settings.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Place {
    /// Its name.
    pub recording: RecordingId,
    /// How long it is kept.
    pub retention: Retention,
    /// When it began, in Unix milliseconds.
    pub started_ms: u64,
}

impl Place {
    /// A finished recording that the store knows.
    #[must_use]
    pub fn kept(&self, root: &Path) -> PathBuf {
        let day = self.started_ms / 86_400_000;
        let day = root.join(self.retention.label()).join(format!("day-{day}"));
        day.join(format!("{}.rec", self.recording))
    }

    /// One that is being written, or that the store does not know yet.
    #[must_use]
    pub fn partial(&self, root: &Path) -> PathBuf {
        partial_folder(root, self.retention).join(format!("{}.part", self.recording))
    }
}

/// Where the recordings of a class are written: however many are kept, this one is soon read.
#[must_use]
pub fn partial_folder(root: &Path, retention: Retention) -> PathBuf {
    root.join(retention.label()).join("partial")
}
