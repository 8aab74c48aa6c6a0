//! What happened, step by step: kept for the failure report, hashed to prove that a seed replays.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use crate::wire;

/// How many of the last lines a failure shows.
const LINES_MAX: usize = 400;

/// The record of one run.
pub(crate) struct Trace {
    hasher: DefaultHasher,
    steps: u64,
    lines: VecDeque<String>,
}

impl Trace {
    pub(crate) fn new() -> Self {
        Self { hasher: DefaultHasher::new(), steps: 0, lines: VecDeque::new() }
    }

    /// Something happened at `at` since the beginning. `bytes` count for the hash, whole.
    pub(crate) fn note(&mut self, at: Duration, what: &str, bytes: &[u8]) {
        self.steps += 1;
        (at.as_nanos(), what, bytes).hash(&mut self.hasher);
        let is_media = bytes.first().is_some_and(|byte| *byte >= 0x80);
        if is_media {
            return;
        }
        let first_line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let said = String::from_utf8_lossy(first_line);
        let (call_id, cseq) = (wire::header(bytes, "Call-ID"), wire::header(bytes, "CSeq"));
        let call_id = call_id.get(2..8).unwrap_or("");
        let at_ms = at.as_secs_f64() * 1_000.0;
        self.lines.push_back(format!("{at_ms:>10.3} {what} {said} {call_id} {cseq}"));
        if self.lines.len() > LINES_MAX {
            self.lines.pop_front();
        }
    }

    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }

    /// Equal for equal runs.
    pub(crate) fn hash(&self) -> u64 {
        self.hasher.clone().finish()
    }

    pub(crate) fn last_lines(&self) -> String {
        self.lines.iter().map(|line| format!("{line}\n")).collect()
    }
}
