//! Tells the person at the terminal what is being done while it is done.

use std::io::{self, Write};
use std::time::Instant;

use crate::relay::now::now;

/// Lines with the time since the beginning.
pub struct Progress {
    begun: Instant,
}

impl Progress {
    /// Begins to count.
    #[must_use]
    pub fn begin() -> Self {
        Self { begun: now().monotonic }
    }

    /// Says what is done now.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn step(&self, what: &str) -> io::Result<()> {
        let seconds = now().monotonic.saturating_duration_since(self.begun).as_secs_f64();
        let mut out = io::stdout().lock();
        writeln!(out, "[{seconds:6.2} s] {what}")?;
        out.flush()
    }

    /// A result that belongs to the step before.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn note(&self, what: &str) -> io::Result<()> {
        writeln!(io::stdout().lock(), "           {what}")
    }
}
