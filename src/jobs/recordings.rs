//! Recordings after their end: found, told to the store, and erased when their time is over.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc::Receiver;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::sweep::every;
use crate::media::tape::Taped;
use crate::recording::RecordingError::{self, Empty};
use crate::recording::{LEFT_MAX, Left, Place, left_over, make_folder, remove_useless};
use crate::relay::now::now;
use crate::store::recording::Recording;
use crate::store::{RelayPool, StoreError};
use crate::vault::{Vault, VaultError};

/// How often recordings are looked for whose time is over.
const ERASE_EVERY: Duration = Duration::from_secs(3_600);
/// How often files are looked for that nobody writes any more.
const ADOPT_EVERY: Duration = Duration::from_secs(2);
/// How soon a store that was away is asked again.
const RETRY: Duration = Duration::from_secs(1);

/// Where recordings lie, and what opens them.
#[derive(Clone)]
pub(crate) struct Shelf {
    pool: RelayPool,
    vault: Arc<Vault>,
    folder: PathBuf,
}

impl Shelf {
    pub(crate) fn new(pool: &RelayPool, vault: &Arc<Vault>, folder: &Path) -> Self {
        Self { pool: pool.clone(), vault: Arc::clone(vault), folder: folder.to_owned() }
    }

    /// Tells the store of a recording on the disk; then it gets its lasting name.
    async fn put(&self, taped: &Taped) -> Result<(), StoreError> {
        self.pool.insert_recording(&row(taped), now().wall).await?;
        let (from, to) = (taped.place.partial(&self.folder), taped.place.kept(&self.folder));
        let renamed = async {
            if let Some(day) = to.parent() {
                make_folder(day)?;
            }
            tokio::fs::rename(&from, &to).await
        };
        match renamed.await {
            // Somebody else was faster.
            Err(_) if to.exists() && !from.exists() => {}
            Ok(()) => {}
            Err(error) => tracing::error!(%error, recording.id = %taped.place.recording,
                "{} keeps its partial name: {error}", taped.place.recording),
        }
        Ok(())
    }

    /// Tells of a partial file that nobody writes, if it is one.
    async fn adopt(&self, path: &Path) -> Result<(), AdoptError> {
        let path = path.to_owned();
        let Some(left) = blocking(move || Ok(Left::take(&path)?)).await? else { return Ok(()) };
        let (tenant, recording) = (left.about().tenant, left.about().recording);
        let keys = self.pool.tenant_keys(&self.vault, tenant).await?;
        let (left, taped) = blocking(move || {
            let key = keys.open_recording_key(recording, left.wrapped_key());
            let taped = left.read(&key.map_err(RecordingError::Key)?)?;
            Ok((left, taped))
        })
        .await?;
        self.put(&taped).await?;
        if !taped.complete {
            count("cut_off");
            tracing::warn!(recording.id = %recording,
                "{recording} is not whole: what can be read of it is kept");
        }
        // Until now nobody else took it.
        drop(left);
        Ok(())
    }
}

/// Why a partial file stays one.
#[derive(Debug, thiserror::Error)]
enum AdoptError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Recording(#[from] RecordingError),
    #[error("the reader has panicked")]
    Panicked,
}

/// Large files are read where nothing else waits for them.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AdoptError> + Send + 'static,
) -> Result<T, AdoptError> {
    spawn_blocking(work).await.unwrap_or(Err(AdoptError::Panicked))
}

/// Tells the store of each recording that has ended here. What the store has not heard of at the
/// end is found on the disk.
pub(super) async fn keep(shelf: Shelf, mut taped: Receiver<Taped>, stop: CancellationToken) {
    while let Some(Some(taped)) = stop.run_until_cancelled(taped.recv()).await {
        let told = async {
            while let Err(error) = shelf.put(&taped).await {
                tracing::warn!(%error, "A recording waits for the store: {error}");
                sleep(RETRY).await;
            }
        };
        if stop.run_until_cancelled(told).await.is_none() {
            return;
        }
    }
}

/// How soon a file of no use is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(3_600);

/// Takes what a crash has left, and what a media plane of another process has written.
pub(super) async fn adopt(shelf: Shelf, stop: CancellationToken) {
    // When files of no use are looked at again; they are told of once.
    let useless = Mutex::new(BTreeMap::new());
    every(ADOPT_EVERY, &stop, "Recordings wait for the store", async || {
        let folder = shelf.folder.clone();
        let paths = spawn_blocking(move || left_over(&folder)).await.unwrap_or_default();
        // What somebody has taken away is forgotten.
        useless
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|path: &PathBuf, _| paths.contains(path));
        for path in paths {
            let at = now().monotonic;
            let is_for_later = {
                let useless = useless.lock().unwrap_or_else(PoisonError::into_inner);
                let look_at = useless.get(&path);
                look_at.map_or(useless.len() >= LEFT_MAX, |look_at| at < *look_at)
            };
            if is_for_later {
                continue;
            }
            let error = match shelf.adopt(&path).await {
                Ok(()) => {
                    useless.lock().unwrap_or_else(PoisonError::into_inner).remove(&path);
                    continue;
                }
                Err(AdoptError::Store(error @ StoreError::Unavailable(_))) => return Err(error),
                Err(error) => error,
            };
            let is_empty = matches!(error, AdoptError::Recording(Empty));
            if is_of_no_use(&error) && is_removed(&path).await || is_empty {
                useless.lock().unwrap_or_else(PoisonError::into_inner).remove(&path);
                continue;
            }
            let mut useless = useless.lock().unwrap_or_else(PoisonError::into_inner);
            if useless.insert(path, at + LOOK_AGAIN).is_none() {
                count("unusable");
                tracing::error!(%error, "What is left of a recording is of no use: {error}");
            }
        }
        Ok(())
    })
    .await;
}

/// Whether a file will be of no use at any other time either. A disk or a key store that fails now
/// says nothing of what is written.
const fn is_of_no_use(error: &AdoptError) -> bool {
    match error {
        AdoptError::Panicked | AdoptError::Recording(RecordingError::Io(_)) => false,
        AdoptError::Recording(RecordingError::Key(error)) => {
            matches!(error, VaultError::CannotOpen | VaultError::Malformed)
        }
        AdoptError::Store(_)
        | AdoptError::Recording(
            RecordingError::Empty | RecordingError::NotOurs | RecordingError::Changed(_),
        ) => true,
    }
}

/// Removes what is of no use once its time is over: no row says when.
async fn is_removed(path: &Path) -> bool {
    let path = path.to_owned();
    let removed = spawn_blocking(move || remove_useless(&path, now().wall)).await;
    let is_removed = matches!(removed, Ok(Ok(true)));
    if is_removed {
        count("erased_unread");
        tracing::warn!("A file that is no recording, or of no use for its whole time, is erased");
    }
    is_removed
}

fn count(result: &'static str) {
    metrics::counter!("maskline_recordings_total", "result" => result).increment(1);
}

fn row(taped: &Taped) -> Recording {
    let started_at = SystemTime::UNIX_EPOCH + Duration::from_millis(taped.about.started_ms);
    Recording {
        tenant: taped.about.tenant,
        id: taped.about.recording,
        call: taped.about.call,
        retention: taped.place.retention,
        started_at,
        duration: Duration::from_millis(u64::from(taped.totals.duration_ms)),
        bytes: taped.bytes,
        frames: taped.totals.frames,
        lost: taped.totals.lost,
        complete: taped.complete,
        sha256: taped.sha256,
        retain_until: started_at + taped.place.retention.time(),
        erased_at: None,
    }
}

/// Erases recordings whose time is over, and nobody holds.
pub(super) async fn erase(shelf: Shelf, stop: CancellationToken) {
    every(ERASE_EVERY, &stop, "Recordings that are over wait", async || {
        erase_due(&shelf.pool, &shelf.folder, now().wall).await
    })
    .await;
}

/// The row is taken first, so that nobody holds a recording while its file goes; it says so only
/// when the file is gone. What could not be erased is tried again.
async fn erase_due(pool: &RelayPool, folder: &Path, at: SystemTime) -> Result<(), StoreError> {
    for recording in pool.due_recordings(at).await? {
        let Some(erasure) = pool.begin_erasure(&recording, at).await? else { continue };
        match remove(&recording, folder).await {
            Ok(()) => erasure.finish().await?,
            Err(error) => tracing::error!(%error, recording.id = %recording.id,
                "{} cannot be erased: {error}", recording.id),
        }
    }
    Ok(())
}

async fn remove(recording: &Recording, folder: &Path) -> io::Result<()> {
    let since = recording.started_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let place = Place {
        recording: recording.id,
        retention: recording.retention,
        started_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
    };
    for path in [place.kept(folder), place.partial(folder)] {
        match tokio::fs::remove_file(path).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}
