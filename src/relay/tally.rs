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
    /// Datagrams and errors passed on to other shards, and those that found no room there.
    pub(super) passed: u64,
    pub(super) pass_lost: u64,
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

/// A count that all shards add to, and how much of it is ours.
struct Sum<M> {
    metric: M,
    shown: u64,
}

impl<M> Sum<M> {
    fn of(metric: M) -> Self {
        Self { metric, shown: 0 }
    }
}

impl Sum<Counter> {
    fn show(&mut self, count: u64) {
        self.metric.increment(count.saturating_sub(self.shown));
        self.shown = count;
    }
}

impl Sum<Gauge> {
    fn show(&mut self, count: usize) {
        let count = count as u64;
        let change = |more: u64| f64::from(u32::try_from(more).unwrap_or(u32::MAX));
        match count.checked_sub(self.shown) {
            Some(more) => self.metric.increment(change(more)),
            None => self.metric.decrement(change(self.shown - count)),
        }
        self.shown = count;
    }
}

/// Why attempts are shed, in the order in which [`Published::show`] counts them.
const SHED: [&str; 5] = ["overload", "recorder_full", "draining", "trunk_limit", "source_limit"];

/// The metrics of one shard, looked up once.
pub(super) struct Published {
    received: [Sum<Counter>; KIND_COUNT],
    sent: [Sum<Counter>; KIND_COUNT],
    strangers: Sum<Counter>,
    unsent: Sum<Counter>,
    unreachable: Sum<Counter>,
    passed: Sum<Counter>,
    pass_lost: Sum<Counter>,
    parse_errors: Sum<Counter>,
    foreign_sources: Sum<Counter>,
    failovers: Sum<Counter>,
    spared: Sum<Counter>,
    refused_early: [Sum<Counter>; 5],
    silenced: Sum<Counter>,
    unproved: Sum<Counter>,
    logins_failed: Sum<Counter>,
    unsupported: Sum<Counter>,
    unknown_dialogs: Sum<Counter>,
    floods_inside: Sum<Counter>,
    keys_dropped: Sum<Counter>,
    invariants: Sum<Counter>,
    calls: Sum<Gauge>,
    transactions: Sum<Gauge>,
    credits: Sum<Gauge>,
}

impl Published {
    pub(super) fn new() -> Self {
        let messages = |direction: &'static str| {
            KINDS.map(|(method, class)| {
                Sum::of(counter!("maskline_sip_messages_total",
                    "dir" => direction, "method" => method, "code_class" => class))
            })
        };
        let refused = |cause: &'static str| {
            Sum::of(counter!("maskline_attempts_shed_total", "cause" => cause))
        };
        Self {
            received: messages("in"),
            sent: messages("out"),
            strangers: Sum::of(counter!("maskline_sip_strangers_total")),
            unsent: Sum::of(counter!("maskline_sip_unsent_total")),
            unreachable: Sum::of(counter!("maskline_sip_unreachable_total")),
            passed: Sum::of(counter!("maskline_sip_passed_total")),
            pass_lost: Sum::of(counter!("maskline_sip_pass_lost_total")),
            parse_errors: Sum::of(counter!("maskline_sip_parse_errors_total")),
            foreign_sources: Sum::of(counter!("maskline_sip_foreign_sources_total")),
            failovers: Sum::of(counter!("maskline_trunk_failovers_total")),
            spared: Sum::of(counter!("maskline_trunk_spared_total")),
            refused_early: SHED.map(refused),
            silenced: Sum::of(counter!("maskline_sip_silenced_total")),
            unproved: Sum::of(counter!("maskline_attempts_unproved_total")),
            logins_failed: Sum::of(counter!("maskline_sip_logins_failed_total")),
            unsupported: Sum::of(counter!("maskline_sip_unsupported_total")),
            unknown_dialogs: Sum::of(counter!("maskline_sip_unknown_dialogs_total")),
            floods_inside: Sum::of(counter!("maskline_sip_floods_inside_total")),
            keys_dropped: Sum::of(counter!("maskline_sip_keys_dropped_total")),
            invariants: Sum::of(counter!("maskline_invariants_broken_total")),
            calls: Sum::of(gauge!("maskline_calls_active")),
            transactions: Sum::of(gauge!("maskline_sip_transactions_active")),
            credits: Sum::of(gauge!("maskline_recorder_credits")),
        }
    }

    /// Adds what has changed in a shard since the last time.
    pub(super) fn show(&mut self, tally: &Tally, core: &CallCore) {
        self.received.iter_mut().zip(tally.received).for_each(|(sum, count)| sum.show(count));
        self.sent.iter_mut().zip(tally.sent).for_each(|(sum, count)| sum.show(count));
        self.strangers.show(tally.strangers);
        self.unsent.show(tally.unsent);
        self.unreachable.show(tally.unreachable);
        self.passed.show(tally.passed);
        self.pass_lost.show(tally.pass_lost);
        let counts = core.counters();
        self.parse_errors.show(counts.unreadable + counts.malformed_answered);
        self.foreign_sources.show(counts.foreign_sources);
        self.failovers.show(counts.failovers);
        self.spared.show(counts.hops_spared);
        let refused = [
            counts.refused_overload,
            counts.refused_recorder,
            counts.refused_draining,
            counts.trunks_full,
            counts.refused_source,
        ];
        self.silenced.show(counts.silenced);
        self.unproved.show(counts.unproved);
        self.logins_failed.show(counts.logins_failed);
        self.unsupported.show(counts.unsupported_requests);
        self.unknown_dialogs.show(counts.unknown_dialogs);
        self.floods_inside.show(counts.floods_inside);
        self.keys_dropped.show(counts.keys_dropped);
        self.refused_early.iter_mut().zip(refused).for_each(|(sum, count)| sum.show(count));
        self.invariants.show(counts.invariants_broken);
        let held = core.occupancy();
        self.calls.show(held.calls);
        self.transactions.show(held.transactions);
        self.credits.show(held.recorder_credits as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_add_up_whether_they_grow_or_shrink() {
        use std::sync::Arc;
        use std::sync::atomic::AtomicU64;
        use std::sync::atomic::Ordering::SeqCst;

        let (count, level) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let gauge = || Sum::of(Gauge::from_arc(Arc::clone(&level)));
        let mut counters = [0, 1].map(|_| Sum::of(Counter::from_arc(Arc::clone(&count))));
        let mut gauges = [gauge(), gauge()];
        for (number, counts) in [[3, 5], [9, 6]].iter().enumerate() {
            for ((sum, level), now) in counters.iter_mut().zip(&mut gauges).zip(counts) {
                sum.show(*now);
                level.show(9 - *now as usize);
            }
            let levels = f64::from_bits(level.load(SeqCst));
            assert_eq!((count.load(SeqCst), levels), [(8, 10.0), (15, 3.0)][number]);
        }
    }

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
