//! Requests of our own that belong to no call: registrations at carriers that want them, and
//! questions whether a trunk is there. The first shard does them for all.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::core::CallCore;
use super::io::{Output, TrunkStatus};
use super::probe::Probe;
use super::registration::Registration;
use super::trunks::TrunkBook;
use super::wires::Wires;
use crate::domain::id::TrunkId;
use crate::domain::now::Now;
use crate::sip::message::Message;
use crate::sip::transaction::{ClientId, Owner};

/// The most errands at one time; further trunks are neither registered at nor probed.
const ERRANDS_MAX: usize = 1 << 16;

/// All errands of a core.
#[derive(Debug, Default)]
pub(super) struct Errands {
    all: BTreeMap<u32, Errand>,
    /// Errands by what they are for.
    known: BTreeMap<(TrunkId, Purpose), u32>,
    last: u32,
    next_at: Option<Instant>,
}

/// What an errand is for, at one trunk.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Purpose {
    Register,
    /// The target of this position.
    Probe(u8),
}

#[derive(Debug)]
enum Errand {
    Register(Box<Registration>),
    Probe(Box<Probe>),
}

/// What an errand needs of the core.
pub(super) struct Way<'w> {
    pub(super) wires: &'w mut Wires,
    pub(super) now: Now,
    pub(super) owner: Owner,
}

impl Errand {
    fn due_at(&self) -> Option<Instant> {
        match self {
            Self::Register(it) => it.due_at(),
            Self::Probe(it) => it.due_at(),
        }
    }
}

/// Owners of errands look like places of calls that never are: the count of a call is never 0.
const fn owner_of(number: u32) -> Owner {
    Owner((number as u64 & NUMBER_MASK) << PART_BITS | ERRAND)
}

const PART_BITS: u32 = 8;
const ERRAND: u64 = 0xff;
const NUMBER_MASK: u64 = (1 << 24) - 1;

impl Errands {
    /// The errand of a transaction; `None` for one of a call.
    pub(super) fn number_of(owner: Owner) -> Option<u32> {
        let rest = owner.0 >> PART_BITS;
        let is_errand = owner.0 & ERRAND == ERRAND && rest <= NUMBER_MASK;
        is_errand.then(|| u32::try_from(rest).ok()).flatten()
    }

    /// When the next one wants its turn.
    pub(super) const fn next_at(&self) -> Option<Instant> {
        self.next_at
    }

    fn set_alarm(&mut self) {
        self.next_at = self.all.values().filter_map(Errand::due_at).min();
    }

    /// Begins what a new book asks for, and ends what it does not ask for any more.
    pub(super) fn follow(&mut self, now: Now, book: &TrunkBook, probe_every: Duration) {
        let mut wanted = BTreeMap::new();
        for (trunk, terms) in book.all() {
            if let Some(expires) = terms.registers {
                let errand = Registration::new(trunk, terms, expires, now.monotonic);
                wanted.insert((trunk, Purpose::Register), Errand::Register(Box::new(errand)));
            }
            if probe_every.is_zero() {
                continue;
            }
            for (index, target) in (0..).zip(&terms.targets) {
                let errand = Probe::new(target.item, index, probe_every, now.monotonic);
                let purpose = (trunk, Purpose::Probe(index));
                wanted.insert(purpose, Errand::Probe(Box::new(errand)));
            }
        }
        let mut old = std::mem::take(&mut self.all);
        let known = std::mem::take(&mut self.known);
        for (purpose, new) in wanted.into_iter().take(ERRANDS_MAX) {
            let before =
                known.get(&purpose).and_then(|number| Some((*number, old.remove(number)?)));
            let (number, errand) = match (before, new) {
                (Some((number, Errand::Register(mut it))), Errand::Register(new)) => {
                    it.follow(*new);
                    (number, Errand::Register(it))
                }
                (Some((number, Errand::Probe(it))), Errand::Probe(new)) if it.is_of(&new) => {
                    (number, Errand::Probe(it))
                }
                (_, new) => {
                    self.last = self.last.wrapping_add(1) & NUMBER_MASK as u32;
                    (self.last, new)
                }
            };
            self.known.insert(purpose, number);
            self.all.insert(number, errand);
        }
        self.set_alarm();
    }
}

impl CallCore {
    /// Another book of trunks.
    pub(super) fn on_trunks(&mut self, now: Now, book: std::sync::Arc<TrunkBook>) {
        if self.wires.config.shard == 0 {
            self.errands.follow(now, &book, self.wires.config.probe_interval);
        }
        self.wires.accounts.replace(book);
        self.run_errands(now);
    }

    /// Runs the errands whose time has come.
    pub(super) fn run_errands(&mut self, now: Now) {
        if self.errands.next_at.is_none_or(|at| at > now.monotonic) {
            return;
        }
        let is_due = |errand: &Errand| errand.due_at().is_some_and(|at| at <= now.monotonic);
        let due = self.errands.all.iter().filter(|(_, errand)| is_due(errand));
        let due: Vec<u32> = due.map(|(number, _)| *number).collect();
        for number in due {
            self.with_errand(now, number, |errand, way| match errand {
                Errand::Register(it) => it.on_timer(way),
                Errand::Probe(it) => it.on_timer(way),
            });
        }
    }

    /// A response to a request of an errand.
    pub(super) fn on_errand_response(
        &mut self,
        now: Now,
        number: u32,
        client: ClientId,
        response: &Message,
    ) {
        self.with_errand(now, number, |errand, way| match errand {
            Errand::Register(it) => it.on_response(way, client, response),
            Errand::Probe(it) => it.on_response(way, client, response),
        });
    }

    /// Nobody has answered a request of an errand.
    pub(super) fn on_errand_failed(&mut self, now: Now, number: u32, client: ClientId) {
        self.with_errand(now, number, |errand, way| match errand {
            Errand::Register(it) => it.on_failure(way, client),
            Errand::Probe(it) => it.on_failure(way, client),
        });
    }

    fn with_errand(
        &mut self,
        now: Now,
        number: u32,
        run: impl FnOnce(&mut Errand, &mut Way<'_>) -> Option<TrunkStatus>,
    ) {
        let Some(errand) = self.errands.all.get_mut(&number) else { return };
        let mut way = Way { wires: &mut self.wires, now, owner: owner_of(number) };
        let status = run(errand, &mut way);
        self.wires.outputs.extend(status.map(Output::TrunkStatus));
        self.errands.set_alarm();
    }
}
