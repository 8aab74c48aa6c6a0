//! The recorder of the settings, with the keys of the store.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{Receiver, channel};
use tokio::time::timeout;

use crate::config::Config;
use crate::domain::id::{RecordingId, TenantId};
use crate::media::tape::{Recorder, TapeConfig, TapeKeys, Taped};
use crate::store::RelayPool;
use crate::vault::{SecretKey, TenantKeys, Vault};

/// The most recordings that may wait for the store. The others are found at the next start.
const TAPED_MAX: usize = 10_000;
/// A key that takes longer is not to be had: other recordings wait for it.
const KEY_TIME_MAX: Duration = Duration::from_secs(2);

/// Starts the recorder; `None` when the settings name no folder.
pub(super) fn start(
    config: &Config,
    pool: &RelayPool,
    vault: &Arc<Vault>,
) -> io::Result<Option<(Recorder, Receiver<Taped>)>> {
    let Some(folder) = &config.recording.folder else { return Ok(None) };
    let (sender, taped) = channel(TAPED_MAX);
    let done = Box::new(move |taped| {
        if sender.try_send(taped).is_err() {
            tracing::warn!("A recording is told to the store at the next start");
        }
    });
    let runtime = tokio::runtime::Handle::current();
    let keys = StoreKeys { runtime, pool: pool.clone(), vault: Arc::clone(vault) };
    let config = TapeConfig { folder: folder.clone(), keys: Box::new(keys), done };
    Ok(Some((Recorder::start(config)?, taped)))
}

/// Keys of recordings, wrapped by those of tenants.
struct StoreKeys {
    runtime: tokio::runtime::Handle,
    pool: RelayPool,
    vault: Arc<Vault>,
}

impl StoreKeys {
    fn of(&self, tenant: TenantId) -> Option<Arc<TenantKeys>> {
        let found = timeout(KEY_TIME_MAX, self.pool.tenant_keys(&self.vault, tenant));
        self.runtime.block_on(found).ok()?.ok()
    }
}

impl TapeKeys for StoreKeys {
    fn create(&mut self, tenant: TenantId, id: RecordingId) -> Option<(SecretKey, Vec<u8>)> {
        self.of(tenant)?.create_recording_key(id).ok()
    }

    fn open(&mut self, tenant: TenantId, id: RecordingId, wrapped: &[u8]) -> Option<SecretKey> {
        self.of(tenant)?.open_recording_key(id, wrapped).ok()
    }
}
