//! Admission: what is shed before a transaction exists. A flood then costs a scan and one short
//! answer each, and calls in progress never notice it: nothing here touches what is in a dialog.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::core::CallCore;
use super::io::Peer;
use crate::domain::now::Now;
use crate::sip::message::Message;
use crate::sip::method::Method;

/// Sources that are counted at one time; with more, the counts of the present second start anew.
const SOURCES_MAX: usize = 4_096;
/// Answers to one source in one second for what should not have been sent at all: malformed
/// messages, and messages about calls of others. Silence for the rest.
const ODD_ANSWERS_MAX: u32 = 200;
/// Datagrams may wait longer than wished for so long before attempts are refused: a burst is none.
const BURST_TIME: Duration = Duration::from_millis(100);
/// The same within [`RELAPSE_TIME`] of the last refusal: the overload is not over.
const RELAPSE_BURST_TIME: Duration = Duration::from_millis(10);
const RELAPSE_TIME: Duration = Duration::from_secs(1);

/// What is counted about load and about sources.
#[derive(Debug, Default)]
pub(super) struct Admission {
    backlog: Backlog,
    sources: BTreeMap<IpAddr, Source>,
}

/// Whether datagrams wait too long, in the manner of CoDel: not how long one had to wait counts,
/// but that none has waited less for some time.
#[derive(Debug, Default)]
struct Backlog {
    late_since: Option<Instant>,
    refusing: bool,
    refused_at: Option<Instant>,
}

impl Backlog {
    fn note(&mut self, now: Instant, is_late: bool) {
        if !is_late {
            (self.late_since, self.refusing) = (None, false);
            return;
        }
        let since = *self.late_since.get_or_insert(now);
        let is_relapse = self.refused_at.is_some_and(|at| now < at + RELAPSE_TIME);
        let patience = if is_relapse { RELAPSE_BURST_TIME } else { BURST_TIME };
        self.refusing |= now.saturating_duration_since(since) >= patience;
        if self.refusing {
            self.refused_at = Some(now);
        }
    }
}

/// What one source has done in one second of the clock.
#[derive(Debug, Default)]
struct Source {
    second: u64,
    attempts: u32,
    odd: u32,
}

impl Admission {
    fn source(&mut self, now: Now, source: IpAddr) -> &mut Source {
        if self.sources.len() >= SOURCES_MAX && !self.sources.contains_key(&source) {
            self.sources.clear();
        }
        let second = now.unix_ms() / 1_000;
        let entry = self.sources.entry(source).or_default();
        if entry.second != second {
            *entry = Source { second, ..Source::default() };
        }
        entry
    }

    /// Counts an attempt; false when the source has had its share of this second.
    fn may_attempt(&mut self, now: Now, source: IpAddr, cps_max: Option<u32>) -> bool {
        let Some(cps_max) = cps_max else { return true };
        let entry = self.source(now, source);
        entry.attempts = entry.attempts.saturating_add(1);
        entry.attempts <= cps_max
    }

    /// Counts an answer to what should not have been sent; false when silence is better.
    pub(super) fn may_answer_odd(&mut self, now: Now, source: IpAddr) -> bool {
        let entry = self.source(now, source);
        entry.odd = entry.odd.saturating_add(1);
        entry.odd <= ODD_ANSWERS_MAX
    }
}

/// Why an attempt is shed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Shed {
    Draining,
    Overload,
    Recorder,
    TrunkLimit,
    SourceLimit,
}

impl CallCore {
    /// How long the last datagram had waited in the queue of the socket, as far as the shell knows;
    /// zero when the queue is empty.
    pub fn note_queue_delay(&mut self, now: Now, delay: Duration) {
        let is_late = delay > self.wires.config.queue_delay_max;
        self.admission.backlog.note(now.monotonic, is_late);
    }

    /// Whether a new attempt has to be refused before a transaction exists. A repeat of an attempt
    /// that was taken is none.
    pub(super) fn is_closed_to(&mut self, now: Now, peer: &Peer, message: &Message) -> bool {
        if !message.is_request() || message.method() != Method::Invite || message.to().tag.is_some()
        {
            return false;
        }
        let Some(why) = self.find_shed(now, peer) else { return false };
        if self.wires.transactions.is_repeat(message) {
            return false;
        }
        let counters = &mut self.wires.counters;
        *match why {
            Shed::Draining => &mut counters.refused_draining,
            Shed::Overload => &mut counters.refused_overload,
            Shed::Recorder => &mut counters.refused_recorder,
            Shed::TrunkLimit => &mut counters.trunks_full,
            Shed::SourceLimit => &mut counters.refused_source,
        } += 1;
        true
    }

    fn find_shed(&mut self, now: Now, peer: &Peer) -> Option<Shed> {
        let config = &self.wires.config;
        if self.is_draining {
            return Some(Shed::Draining);
        }
        let is_full =
            self.live >= config.calls_max || self.pending_routes >= config.pending_routes_max;
        if is_full || self.admission.backlog.refusing {
            return Some(Shed::Overload);
        }
        if self.credits == 0 {
            return Some(Shed::Recorder);
        }
        // Whoever sends ten times its limit must not cost ten times the records.
        let terms = self.wires.accounts.terms(peer.trunk);
        if terms.is_some_and(|terms| terms.is_full(now.unix_ms())) {
            return Some(Shed::TrunkLimit);
        }
        let cps_max = config.source_cps_max;
        let may = self.admission.may_attempt(now, peer.address.ip(), cps_max);
        (!may).then_some(Shed::SourceLimit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Feeds one look a millisecond; how many of them found attempts refused.
    fn run(backlog: &mut Backlog, now: &mut Instant, looks: u32, is_late: bool) -> u32 {
        let mut refused = 0;
        for _ in 0..looks {
            *now += MS;
            backlog.note(*now, is_late);
            refused += u32::from(backlog.refusing);
        }
        refused
    }

    #[test]
    fn a_burst_that_is_worked_off_refuses_nobody() {
        let (mut backlog, mut now) =
            (Backlog::default(), crate::call::tests::harness::epoch().monotonic);
        for _ in 0..20 {
            assert_eq!(run(&mut backlog, &mut now, 90, true), 0);
            run(&mut backlog, &mut now, 1, false);
        }
    }

    #[test]
    fn a_queue_that_stays_long_refuses_until_it_is_short_and_comes_back_faster() {
        let (mut backlog, mut now) =
            (Backlog::default(), crate::call::tests::harness::epoch().monotonic);
        assert_eq!(run(&mut backlog, &mut now, 200, true), 100);
        assert_eq!(run(&mut backlog, &mut now, 5, false), 0);
        assert_eq!(run(&mut backlog, &mut now, 100, true), 90, "a relapse is seen at once");
        run(&mut backlog, &mut now, 2_000, false);
        assert_eq!(run(&mut backlog, &mut now, 90, true), 0, "after a quiet time all is forgotten");
    }

    #[test]
    fn the_table_of_sources_is_bounded() {
        let mut admission = Admission::default();
        let now = crate::call::tests::harness::epoch();
        for n in 0..3 * SOURCES_MAX as u32 {
            assert!(admission.may_answer_odd(now, IpAddr::V4(n.into())));
            assert!(admission.sources.len() <= SOURCES_MAX);
        }
    }
}
