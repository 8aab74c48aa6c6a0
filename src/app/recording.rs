//! The recorder of the settings.

use std::io;

use tokio::sync::mpsc::{Receiver, channel};

use crate::config::Config;
use crate::media::tape::{Recorder, TapeConfig, Taped};

/// The most recordings that may wait for the store. The others are found on the disk.
const TAPED_MAX: usize = 10_000;

/// Starts the recorder, where the media plane is in this process and the settings name a folder.
pub(super) fn start(config: &Config) -> io::Result<Option<(Recorder, Receiver<Taped>)>> {
    let Some(folder) = config.recording.folder.as_ref().filter(|_| config.media.socket.is_none())
    else {
        return Ok(None);
    };
    let (sender, taped) = channel(TAPED_MAX);
    let done = Box::new(move |taped| {
        if sender.try_send(taped).is_err() {
            tracing::warn!("A recording is told to the store when it is found on the disk");
        }
    });
    let config = TapeConfig { folder: folder.clone(), done };
    Ok(Some((Recorder::start(config)?, taped)))
}

/// The same for the process of a media plane: the service finds on the disk what it has written.
pub(super) fn start_apart(config: &Config) -> io::Result<Option<Recorder>> {
    let Some(folder) = &config.recording.folder else { return Ok(None) };
    let config = TapeConfig { folder: folder.clone(), done: Box::new(|_| {}) };
    Recorder::start(config).map(Some)
}
