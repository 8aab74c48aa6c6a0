//! Requests of our own that belong to no call: registrations at carriers that want them, and
//! questions whether a trunk is there. The first shard does them for all.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::core::CallCore;
use super::io::{Output, TrunkStatus};
use super::names::hop_of;
use super::probe::Probe;
use super::registration::Registration;
use super::trunks::{TrunkBook, TrunkTerms};
use super::wires::Wires;
use crate::domain::id::TrunkId;
use crate::domain::now::Now;
use crate::domain::route::TrunkTarget;
use crate::sip::ids::{SipCallId, Tag};
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::timers::MAX_FORWARDS;
use crate::sip::transaction::{ClientId, Owner};
use crate::sip::write::{RequestHead, RequestWriter};

/// The most errands at one time; further trunks are neither registered at nor probed.
const ERRANDS_MAX: usize = 1 << 16;

/// All errands of a core.
#[derive(Debug, Default)]
pub(super) struct Errands {
    all: BTreeMap<u32, Entry>,
    /// Errands by what they are for; one that only comes to its end is not in here.
    known: BTreeMap<(TrunkId, Purpose), u32>,
    /// When which of them wants its turn. Not a wheel: that wants few and dense numbers, and no
    /// number of an errand is used again soon, so that a late answer finds nobody.
    alarms: BTreeSet<(Instant, u32)>,
    last: u32,
    /// The process stops: nothing begins any more.
    is_closed: bool,
}

/// An errand, and the alarm that is set for it.
#[derive(Debug)]
struct Entry {
    errand: Errand,
    alarm: Option<Instant>,
}

/// What an errand is for, at one trunk.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Purpose {
    Register,
    /// The target of this address.
    Probe(SocketAddr),
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

/// A request of an errand: what differs from one to the other.
pub(super) struct Asking<'a> {
    pub(super) method: Method,
    pub(super) target: &'a TrunkTarget,
    /// Request-URI.
    pub(super) uri: &'a str,
    /// URIs of From and To.
    pub(super) from: &'a str,
    pub(super) to: &'a str,
    pub(super) tag: Tag,
    pub(super) call_id: SipCallId,
    pub(super) cseq: u32,
}

impl Way<'_> {
    /// Sends a request; `None` when there is no room for one more.
    pub(super) fn ask(
        &mut self,
        asking: &Asking<'_>,
        headers: &[(&str, &[u8])],
    ) -> Option<ClientId> {
        let hop = hop_of(asking.target);
        let wires = &mut *self.wires;
        let branch = wires.new_branch();
        let from = format!("<{}>;tag={}", asking.from, asking.tag.as_str());
        let to = format!("<{}>", asking.to);
        let head = RequestHead {
            method: asking.method,
            uri: asking.uri.as_bytes(),
            sent_by: wires.names.via_of(hop),
            branch,
            max_forwards: MAX_FORWARDS,
            routes: &[],
            from: from.as_bytes(),
            to: to.as_bytes(),
            call_id: asking.call_id.as_bytes(),
            cseq: asking.cseq,
        };
        let mut request = RequestWriter::start(&mut wires.out, &head);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.finish();
        wires.transactions.request(self.now.monotonic, request, hop, self.owner).ok()
    }
}

impl Errand {
    fn due_at(&self) -> Option<Instant> {
        match self {
            Self::Register(it) => it.due_at(),
            Self::Probe(it) => it.due_at(),
        }
    }

    fn is_over(&self) -> bool {
        match self {
            Self::Register(it) => it.is_over(),
            Self::Probe(_) => false,
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
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.alarms.first().map(|(at, _)| *at)
    }

    /// Sets the alarm of an errand to which something has happened, or forgets it when it is over.
    fn settle(&mut self, number: u32) {
        let Some(entry) = self.all.get_mut(&number) else { return };
        let due = entry.errand.due_at();
        if due != entry.alarm {
            if let Some(at) = std::mem::replace(&mut entry.alarm, due) {
                self.alarms.remove(&(at, number));
            }
            self.alarms.extend(due.map(|at| (at, number)));
        }
        if entry.errand.is_over() {
            self.remove(number);
        }
    }

    fn remove(&mut self, number: u32) {
        if let Some(alarm) = self.all.remove(&number).and_then(|entry| entry.alarm) {
            self.alarms.remove(&(alarm, number));
        }
    }

    fn insert(&mut self, errand: Errand) -> u32 {
        self.last = self.last.wrapping_add(1) & NUMBER_MASK as u32;
        self.all.insert(self.last, Entry { errand, alarm: None });
        self.settle(self.last);
        self.last
    }

    /// Those whose time has come.
    fn due(&self, at: Instant) -> Vec<u32> {
        let due = self.alarms.iter().take_while(|(alarm, _)| *alarm <= at);
        due.map(|(_, number)| *number).collect()
    }

    /// Begins what a new book asks for. The registrations that it does not ask for any more are to
    /// be taken back: their numbers.
    fn follow(&mut self, now: Now, book: &TrunkBook, probe_every: Duration) -> Vec<u32> {
        if self.is_closed {
            return Vec::new();
        }
        let mut old = std::mem::take(&mut self.known);
        for (purpose, new) in wanted(now, book, probe_every).into_iter().take(ERRANDS_MAX) {
            let number = old.get(&purpose).copied();
            let number = match number.filter(|number| self.goes_on(now, *number, &new)) {
                Some(number) => {
                    old.remove(&purpose);
                    number
                }
                None => self.insert(new),
            };
            self.known.insert(purpose, number);
        }
        self.dismiss(old)
    }

    /// Whether an errand goes on as one that was begun anew would; it takes what is new to it.
    fn goes_on(&mut self, now: Now, number: u32, new: &Errand) -> bool {
        let Some(entry) = self.all.get_mut(&number) else { return false };
        let goes_on = match (&mut entry.errand, new) {
            (Errand::Register(it), Errand::Register(new)) if it.is_of(new) => {
                it.follow(new, now.monotonic);
                true
            }
            (Errand::Probe(it), Errand::Probe(new)) if it.is_of(new) => {
                it.move_to(new);
                true
            }
            (Errand::Register(_) | Errand::Probe(_), _) => false,
        };
        self.settle(number);
        goes_on
    }

    /// Ends errands but for registrations, which have to be taken back.
    fn dismiss(&mut self, old: BTreeMap<(TrunkId, Purpose), u32>) -> Vec<u32> {
        let mut leaving = Vec::new();
        for ((_, purpose), number) in old {
            match purpose {
                Purpose::Register => leaving.push(number),
                Purpose::Probe(_) => self.remove(number),
            }
        }
        leaving
    }

    /// Nothing is begun any more.
    fn close(&mut self) -> Vec<u32> {
        self.is_closed = true;
        let known = std::mem::take(&mut self.known);
        self.dismiss(known)
    }
}

/// What a book asks for.
fn wanted(
    now: Now,
    book: &TrunkBook,
    probe_every: Duration,
) -> BTreeMap<(TrunkId, Purpose), Errand> {
    let mut wanted = BTreeMap::new();
    for (trunk, terms) in book.all() {
        if let Some(expires) = terms.registers {
            let errand = Registration::new(trunk, terms, expires, now.monotonic);
            wanted.insert((trunk, Purpose::Register), Errand::Register(Box::new(errand)));
        }
    }
    if probe_every.is_zero() {
        return wanted;
    }
    let targets = |(trunk, terms): (TrunkId, &TrunkTerms)| {
        (0..).zip(terms.targets.clone()).map(move |(index, target)| (trunk, index, target.item))
    };
    let targets: Vec<(TrunkId, u8, TrunkTarget)> = book.all().flat_map(targets).collect();
    // One after the other, and not all in one moment: so they stay.
    let count = u32::try_from(targets.len()).unwrap_or(u32::MAX);
    for (turn, (trunk, index, target)) in (1..).zip(targets) {
        let due_at = now.monotonic + probe_every.mul_f64(f64::from(turn) / f64::from(count));
        let purpose = Purpose::Probe(target.address);
        let errand = Probe::new(target, index, probe_every, due_at);
        wanted.insert((trunk, purpose), Errand::Probe(Box::new(errand)));
    }
    wanted
}

impl CallCore {
    /// Another book of trunks.
    pub(super) fn on_trunks(&mut self, now: Now, book: std::sync::Arc<TrunkBook>) {
        if self.wires.config.shard == 0 {
            let leaving = self.errands.follow(now, &book, self.wires.config.probe_interval);
            self.leave(now, leaving);
        }
        // Of all trunks, and by each shard: what it said of the old book may be wrong by the new
        // one, and come after what another shard says of that.
        let down = book.all().map(|(trunk, terms)| (trunk, terms.down.bits()));
        let statuses = down.map(|(trunk, down)| TrunkStatus::Targets { trunk, down });
        self.wires.outputs.extend(statuses.map(Output::TrunkStatus));
        self.wires.accounts.replace(book);
        self.run_errands(now);
    }

    /// The process stops: nobody is asked for anything any more, and carriers forget us.
    pub(super) fn end_errands(&mut self, now: Now) {
        let leaving = self.errands.close();
        self.leave(now, leaving);
    }

    fn leave(&mut self, now: Now, registrations: Vec<u32>) {
        for number in registrations {
            self.with_errand(now, number, |errand, way| match errand {
                Errand::Register(it) => it.leave(way),
                Errand::Probe(_) => None,
            });
        }
    }

    /// Runs the errands whose time has come.
    pub(super) fn run_errands(&mut self, now: Now) {
        for number in self.errands.due(now.monotonic) {
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
        let Some(entry) = self.errands.all.get_mut(&number) else { return };
        let mut way = Way { wires: &mut self.wires, now, owner: owner_of(number) };
        let status = run(&mut entry.errand, &mut way);
        self.wires.outputs.extend(status.map(Output::TrunkStatus));
        self.errands.settle(number);
    }
}
