//! Recordings after their end: told to the store, and erased when their time is over.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc::Receiver;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::sweep::every;
use crate::media::tape::Taped;
use crate::recording::Place;
use crate::relay::now::now;
use crate::store::recording::Recording;
use crate::store::{RelayPool, StoreError};

/// How often recordings are looked for whose time is over.
const ERASE_EVERY: Duration = Duration::from_secs(3_600);
/// How soon a store that was away is asked again.
const RETRY: Duration = Duration::from_secs(1);

/// Tells the store of each recording that is on the disk; then it gets its lasting name. What the
/// store has not heard of at the end is found by its name at the next start.
pub(super) async fn keep(
    pool: RelayPool,
    folder: PathBuf,
    mut taped: Receiver<Taped>,
    stop: CancellationToken,
) {
    while let Some(Some(taped)) = stop.run_until_cancelled(taped.recv()).await {
        let recording = row(&taped);
        let told = async {
            while let Err(error) = pool.insert_recording(&recording, now().wall).await {
                tracing::warn!(%error, "A recording waits for the store: {error}");
                sleep(RETRY).await;
            }
        };
        if stop.run_until_cancelled(told).await.is_none() {
            return;
        }
        let (from, to) = (taped.place.partial(&folder), taped.place.kept(&folder));
        if let Err(error) = tokio::fs::rename(from, to).await {
            tracing::error!(%error, recording.id = %recording.id,
                "{} keeps its partial name: {error}", recording.id);
        }
    }
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
pub(super) async fn erase(pool: RelayPool, folder: PathBuf, stop: CancellationToken) {
    every(ERASE_EVERY, &stop, "Recordings that are over wait", async || {
        erase_due(&pool, &folder, now().wall).await
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
