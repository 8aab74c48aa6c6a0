//! Ctrl-C, SIGTERM and SIGHUP end the demo wherever it is, and it cleans up; a second one ends the
//! process at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

/// Whether somebody wants the demo to end; clones mean the same.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens for the signals from now on.
    ///
    /// # Errors
    /// When the system gives no signal handler.
    pub fn listen(runtime: &Runtime) -> io::Result<Self> {
        let _inside = runtime.enter();
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        let told = Self::default();
        let seen = told.clone();
        runtime.spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hang_up.recv() => {}
                }
                if seen.0.swap(true, Ordering::SeqCst) {
                    std::process::exit(1);
                }
            }
        });
        Ok(told)
    }

    /// Somebody wants the demo to end.
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// To be asked between two steps.
    ///
    /// # Errors
    /// When somebody wants the demo to end.
    pub fn check(&self) -> io::Result<()> {
        match self.is_told() {
            true => Err(io::Error::other("the demo was told to stop before its end")),
            false => Ok(()),
        }
    }
}
