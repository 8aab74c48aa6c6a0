//! Where a recording is on the disk: a folder for each retention class and day, so that what has to
//! go at the same time is together.

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
        self.file(root, "rec")
    }

    /// One that is being written, or that the store does not know yet.
    #[must_use]
    pub fn partial(&self, root: &Path) -> PathBuf {
        self.file(root, "part")
    }

    /// The folder of its class and day, counted from 1970 in UTC.
    #[must_use]
    pub fn folder(&self, root: &Path) -> PathBuf {
        let day = self.started_ms / 86_400_000;
        root.join(self.retention.label()).join(format!("day-{day}"))
    }

    fn file(&self, root: &Path, end: &str) -> PathBuf {
        self.folder(root).join(format!("{}.{end}", self.recording))
    }
}
