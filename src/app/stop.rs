//! The end of a service: no new calls, then no calls and no registrations, then no process; records
//! last of all.

use std::time::Duration;

use tokio::time::{Instant, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::Running;

/// How long calls and registrations may take to say goodbye once they are told to.
const GOODBYE: Duration = Duration::from_secs(3);
/// How long the recorder may take to write what is left.
const FLUSH: Duration = Duration::from_secs(10);
/// How often a drain looks whether calls are left.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long requests of the API may take to finish.
const API_END: Duration = Duration::from_secs(2);

impl Running {
    /// Comes to an end only when a part of the service ended by itself.
    pub async fn failed(&self) {
        self.signalling.failed().await;
    }

    /// Takes no new calls, waits `patience` for the others, ends what is left, writes all records
    /// and stops. `hurry` ends the waiting.
    pub async fn stop(self, patience: Duration, hurry: CancellationToken) {
        if self.relay.drain().is_err() {
            tracing::error!("The shard does not answer; calls end without a goodbye");
        }
        tokio::select! {
            () = wait_while(patience, || self.signalling.calls() > 0) => {}
            () = hurry.cancelled() => {}
        }
        if self.relay.terminate_all().is_ok() {
            let is_here = || self.signalling.calls() > 0 || self.relay.is_registered_anywhere();
            wait_while(GOODBYE, is_here).await;
        }
        let Self { signalling, database, tasks, stop, watchers, .. } = self;
        let unwritten = signalling.stop(FLUSH).await;
        if unwritten {
            tracing::error!("The store is away: records that were not written are lost");
        }
        tracing::debug!("The relay has stopped");
        stop.cancel();
        if timeout(API_END, tasks.wait()).await.is_err() {
            tracing::warn!("Some requests were cut off");
        }
        tracing::debug!("The API and the jobs have stopped");
        database.close().await;
        watchers.abort();
        tracing::info!("Stopped");
    }
}

/// Waits while it is so, and no longer than this.
async fn wait_while(patience: Duration, is_so: impl Fn() -> bool) {
    let until = Instant::now() + patience;
    let mut looks = interval(LOOK_EVERY);
    while is_so() {
        tokio::select! {
            _ = looks.tick() => {}
            () = sleep_until(until) => return,
        }
    }
}
