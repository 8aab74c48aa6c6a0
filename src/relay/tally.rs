//! What one shard counts on its way: plain numbers in its own thread, published once a second.

use metrics::{Counter, Gauge, counter, gauge};

use crate::call::core::CallCore;

/// The words by which messages are told apart in metrics, in the order of [`kind`].
const KINDS: [(&str, &str); KIND_COUNT] = [
    ("INVITE", "request"),
    ("ACK", "request"),
    ("BYE", "request"),
    ("CANCEL", "request"),
    ("OPTIONS", "request"),
    ("other", "request"),
    ("response", "1xx"),
    ("response", "2xx"),
    ("response", "3xx"),
    ("response", "4xx"),
    ("response", "5xx"),
    ("response", "6xx"),
];
const KIND_COUNT: usize = 12;
const OTHER: usize = 5;

/// Which of [`KINDS`] a datagram is, by its first bytes.
fn kind(bytes: &[u8]) -> usize {
    match bytes {
        [b'S', b'I', b'P', b'/', _, _, _, _, class @ b'1'..=b'6', ..] => {
            OTHER + usize::from(class - b'0')
        }
        [b'I', b'N', b'V', ..] => 0,
        [b'A', b'C', b'K', ..] => 1,
        [b'B', b'Y', b'E', ..] => 2,
        [b'C', b'A', b'N', ..] => 3,
        [b'O', b'P', b'T', ..] => 4,
        _ => OTHER,
    }
}

/// The counts of one shard.
#[derive(Debug, Default)]
pub(super) struct Tally {
    received: [u64; KIND_COUNT],
    sent: [u64; KIND_COUNT],
    pub(super) finished: u64,
    pub(super) strangers: u64,
    pub(super) unsent: u64,
    pub(super) unreachable: u64,
}

impl Tally {
    pub(super) fn received(&mut self, bytes: &[u8]) {
        if let Some(count) = self.received.get_mut(kind(bytes)) {
            *count += 1;
        }
    }

    pub(super) fn sent(&mut self, bytes: &[u8]) {
        if let Some(count) = self.sent.get_mut(kind(bytes)) {
            *count += 1;
        }
    }
}

/// The metrics of one shard, looked up once.
pub(super) struct Published {
    received: [Counter; KIND_COUNT],
    sent: [Counter; KIND_COUNT],
    strangers: Counter,
    unsent: Counter,
    unreachable: Counter,
    parse_errors: Counter,
    foreign_sources: Counter,
    failovers: Counter,
    refused_early: [Counter; 3],
    invariants: Counter,
    calls: Gauge,
    transactions: Gauge,
    credits: Gauge,
}

impl Published {
    pub(super) fn new() -> Self {
        let messages = |direction: &'static str| {
            KINDS.map(|(method, class)| {
                counter!("maskline_sip_messages_total",
                    "dir" => direction, "method" => method, "code_class" => class)
            })
        };
        let refused =
            |cause: &'static str| counter!("maskline_attempts_shed_total", "cause" => cause);
        Self {
            received: messages("in"),
            sent: messages("out"),
            strangers: counter!("maskline_sip_strangers_total"),
            unsent: counter!("maskline_sip_unsent_total"),
            unreachable: counter!("maskline_sip_unreachable_total"),
            parse_errors: counter!("maskline_sip_parse_errors_total"),
            foreign_sources: counter!("maskline_sip_foreign_sources_total"),
            failovers: counter!("maskline_trunk_failovers_total"),
            refused_early: ["overload", "recorder_full", "draining"].map(refused),
            invariants: counter!("maskline_invariants_broken_total"),
            calls: gauge!("maskline_calls_active"),
            transactions: gauge!("maskline_sip_transactions_active"),
            credits: gauge!("maskline_recorder_credits"),
        }
    }

    /// Shows the present counts of a shard.
    pub(super) fn show(&self, tally: &Tally, core: &CallCore) {
        for (metrics, counts) in [(&self.received, &tally.received), (&self.sent, &tally.sent)] {
            metrics.iter().zip(counts).for_each(|(metric, count)| metric.absolute(*count));
        }
        self.strangers.absolute(tally.strangers);
        self.unsent.absolute(tally.unsent);
        self.unreachable.absolute(tally.unreachable);
        let counts = core.counters();
        self.parse_errors.absolute(counts.unreadable + counts.malformed_answered);
        self.foreign_sources.absolute(counts.foreign_sources);
        self.failovers.absolute(counts.failovers);
        let refused = [counts.refused_overload, counts.refused_recorder, counts.refused_draining];
        self.refused_early.iter().zip(refused).for_each(|(metric, count)| metric.absolute(count));
        self.invariants.absolute(counts.invariants_broken);
        let held = core.occupancy();
        let shown = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        self.calls.set(shown(held.calls));
        self.transactions.set(shown(held.transactions));
        self.credits.set(f64::from(held.recorder_credits));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_apart_by_their_first_bytes() {
        let named = |bytes: &[u8]| KINDS[kind(bytes)];
        assert_eq!(named(b"INVITE sip:x SIP/2.0\r\n"), ("INVITE", "request"));
        assert_eq!(named(b"SIP/2.0 100 Trying\r\n"), ("response", "1xx"));
        assert_eq!(named(b"SIP/2.0 603 Decline\r\n"), ("response", "6xx"));
        assert_eq!(named(b"SIP/2.0 999 Odd\r\n"), ("other", "request"));
        assert_eq!(named(b""), ("other", "request"));
    }
}
