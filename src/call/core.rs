//! The brain of one shard: every input goes in here, every output comes out of here.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Instant;

use hashbrown::HashMap;
use rand_chacha::ChaCha20Rng;

use super::admission::Admission;
use super::call::Call;
use super::config::CallConfig;
use super::counters::{Counters, Occupancy};
use super::coupling::{Event, Stage};
use super::door::Door;
use super::errands::Errands;
use super::failover::Attempted;
use super::io::{Control, Input, Output};
use super::place::{Part, Place, Serial};
use super::registrar::Registrar;
use super::silence::Silence;
use super::table::{Calls, KEPT};
use super::taping;
use super::wires::Wires;
use crate::domain::cause::Cause;
use crate::domain::id::{BindingId, CallId};
use crate::domain::now::Now;
use crate::domain::route::{Route, RouteAnswer};
use crate::policy::gate::{self, Decision};
use crate::rtp::plane::{Command, Report, SessionId};
use crate::sip::transaction::{self, ClientFailure, ClientId, Owner};

/// Couples the legs of all calls of one shard. After every [`Self::handle_input`], drain
/// [`Self::poll_output`], then sleep until [`Self::poll_timeout`].
pub struct CallCore {
    pub(super) wires: Wires,
    pub(super) calls: Calls,
    pub(super) by_id: HashMap<CallId, Serial>,
    /// Calls whose binding is known and whose record is not written yet.
    by_binding: BTreeSet<(BindingId, Serial)>,
    /// Calls that are not over.
    pub(super) live: usize,
    /// Calls that wait for their route.
    pub(super) pending_routes: usize,
    /// Attempts that the recorder has room for.
    pub(super) credits: u32,
    pub(super) is_draining: bool,
    pub(super) door: Door,
    pub(super) admission: Admission,
    pub(super) errands: Errands,
    pub(super) registrar: Registrar,
    pub(super) silence: Silence,
}

impl CallCore {
    /// An idle brain. `rng` is the only source of chance: the same seed and inputs give the same
    /// outputs.
    #[must_use]
    pub fn new(config: CallConfig, rng: ChaCha20Rng) -> Self {
        Self {
            credits: config.recorder_credits,
            wires: Wires::new(config, rng),
            calls: Calls::default(),
            by_id: HashMap::new(),
            by_binding: BTreeSet::new(),
            live: 0,
            pending_routes: 0,
            is_draining: false,
            door: Door::default(),
            admission: Admission::default(),
            errands: Errands::default(),
            registrar: Registrar::default(),
            silence: Silence::default(),
        }
    }

    /// Takes one input. Never fails: what a peer sends is at worst a counter, a 4xx or silence.
    pub fn handle_input(&mut self, now: Now, input: Input) {
        self.renew_control(now);
        match input {
            Input::Datagram { peer, bytes } => self.on_datagram(now, &peer, bytes),
            Input::Broken { peer, malformed } => self.on_malformed(now, &peer, &malformed),
            Input::Unreachable { peer } => {
                if peer.owner == 0 {
                    self.on_connection_lost(now, peer.place());
                }
                self.wires.transactions.unreachable(now.monotonic, peer);
            }
            Input::Undelivered { peer, branch } => {
                self.wires.transactions.undelivered(now.monotonic, peer, branch);
            }
            Input::Route { call, answer } => self.on_route(now, call, answer),
            Input::Media(report) => self.on_report(now, report),
            Input::Control(control) => self.on_control(now, control),
            Input::Trunks(book) => self.on_trunks(now, book),
            Input::Login { request, answer } => self.on_login(now, request, answer),
            Input::Menu { call, number, answer } => {
                if let Some(serial) = self.find_serial(call) {
                    self.with_call(now, serial, |call, wires| {
                        call.menu_answered(wires, now, number, answer);
                    });
                }
            }
            Input::RecorderCredit(credit) => self.credits = self.credits.saturating_add(credit),
            Input::Timeout => self.on_timeout(now),
        }
        self.heed_refusals(now);
        self.drain_transactions(now);
    }

    /// What the shell has to do next; `None` until the next input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.wires.outputs.pop_front()
    }

    /// When [`Input::Timeout`] is due; `None` while nothing waits.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let transactions = self.wires.transactions.poll_timeout();
        let own = transactions.into_iter().chain(self.wires.timers.next_at());
        own.chain(self.errands.next_at()).min()
    }

    /// What has been counted so far.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.wires.counters
    }

    /// How much state is held.
    #[must_use]
    pub fn occupancy(&self) -> Occupancy {
        Occupancy {
            calls: self.live,
            lingering: self.calls.len() - self.live,
            pending_routes: self.pending_routes,
            transactions: self.wires.transactions.len(),
            timers: self.wires.timers.len(),
            recorder_credits: self.credits,
        }
    }

    /// Calls that an order about their binding would find.
    #[cfg(test)]
    pub(super) fn bound(&self) -> usize {
        self.by_binding.len()
    }

    /// Dialogs, early and dying ones included. Counts them one by one.
    #[cfg(test)]
    pub(super) fn dialogs(&self) -> usize {
        self.calls.iter().map(Call::dialogs).sum()
    }

    /// Lets something happen to a call, keeps the counts, and drops the call when nothing of it is
    /// left. False when there is no such call.
    pub(super) fn with_call(
        &mut self,
        now: Now,
        serial: Serial,
        change: impl FnOnce(&mut Call, &mut Wires),
    ) -> bool {
        let Some(call) = self.calls.get_mut(serial) else { return false };
        call.follow_agent(&mut self.wires, now, &self.registrar.contacts);
        let (before, bound_before) = (call.stage(), call.binding());
        change(call, &mut self.wires);
        let (after, bound) = (call.stage(), call.binding());
        if bound != bound_before {
            bound_before.map(|binding| self.by_binding.remove(&(binding, serial)));
            bound.map(|binding| self.by_binding.insert((binding, serial)));
        }
        if before == Stage::Routing && after != Stage::Routing {
            self.pending_routes -= 1;
        }
        let is_told = |stage| usize::from(matches!(stage, Stage::Refusing(_)));
        self.wires.refusals = self.wires.refusals + is_told(after) - is_told(before);
        if before != Stage::Over && after == Stage::Over {
            self.live -= 1;
        }
        if call.is_gone() {
            call.forget_tags(&mut self.wires);
            bound.map(|binding| self.by_binding.remove(&(binding, serial)));
            self.wires.timers.disarm_all(serial);
            self.by_id.remove(&call.id);
            self.calls.remove(serial);
            if self.by_id.is_empty() && self.by_id.capacity() > KEPT {
                // Of a busier hour: tags go with their calls, so both are empty together.
                self.by_id.shrink_to_fit();
                self.wires.places.shrink_to_fit();
            }
        }
        true
    }

    /// The call of an answer from outside; one that is gone is counted.
    fn find_serial(&mut self, id: CallId) -> Option<Serial> {
        let serial = self.by_id.get(&id).copied();
        self.wires.counters.late_answers += u64::from(serial.is_none());
        serial
    }

    pub(super) fn happen(&mut self, now: Now, serial: Serial, event: Event) {
        self.with_call(now, serial, |call, wires| call.happen(wires, now, event));
    }

    fn on_route(&mut self, now: Now, id: CallId, answer: RouteAnswer) {
        let Some(serial) = self.find_serial(id) else { return };
        self.with_call(now, serial, |call, wires| {
            if call.stage() != Stage::Routing {
                wires.counters.late_answers += 1;
                return;
            }
            let event = match answer {
                RouteAnswer::Found(route) => judge(call, wires, now, *route),
                RouteAnswer::Missing { cause, tenant } => {
                    if let Some(record) = call.record_mut() {
                        record.missing(cause, tenant);
                    }
                    call.refused(wires, cause)
                }
                RouteAnswer::Failed => Event::Refused(Cause::StoreUnavailable),
            };
            call.happen(wires, now, event);
        });
    }

    fn on_report(&mut self, now: Now, report: Report) {
        let session = report.session();
        let Some(serial) = self.find_serial(CallId::from_u128(session.0)) else {
            self.close_lost(&report, session);
            return;
        };
        self.with_call(now, serial, |call, wires| match report {
            Report::Opened { local, .. } => {
                call.media_opened(local);
                call.happen(wires, now, Event::MediaOpened);
            }
            Report::Failed { .. } => call.media_failed(wires, now),
            // While it rings nobody has to speak.
            Report::Silent { .. } if call.stage() != Stage::Bridged => {}
            Report::Silent { .. } => {
                call.happen(wires, now, Event::Stopped(Cause::MediaTimeout));
            }
            Report::Lost { .. } => call.happen(wires, now, Event::Stopped(Cause::MediaLost)),
            Report::Closed { counts, .. } => call.media_closed(wires, Some(counts)),
            Report::PlayDone { side, play, was_sent, .. } => {
                call.on_play_done(wires, now, side, play, was_sent);
            }
            Report::Key { side, key, .. } => {
                call.hears_key(wires, now, side, key.sign());
            }
            Report::Latched { side, .. } => {
                call.record_mut().into_iter().for_each(|record| record.latched(side));
            }
            Report::OneWay { side, .. } => {
                call.record_mut().into_iter().for_each(|record| record.unheard(side));
            }
            Report::Recording { begun, .. } => call.on_recording(wires, now, begun),
        });
    }

    /// Ports of a call that is gone must not stay open.
    fn close_lost(&mut self, report: &Report, session: SessionId) {
        match report {
            Report::Opened { .. } | Report::Silent { .. } => {
                self.wires.outputs.push_back(Output::Media(Command::Close { session }));
            }
            Report::Failed { .. }
            | Report::PlayDone { .. }
            | Report::Key { .. }
            | Report::Latched { .. }
            | Report::OneWay { .. }
            | Report::Lost { .. }
            | Report::Recording { .. }
            | Report::Closed { .. } => {}
        }
    }

    fn on_control(&mut self, now: Now, control: Control) {
        match control {
            Control::Terminate { call } => {
                if let Some(serial) = self.find_serial(call) {
                    self.happen(now, serial, Event::Stopped(Cause::OperatorTerminated));
                }
            }
            Control::BindingEnded { binding, cause, drop_calls, ordered_at } => {
                let spared_before = (!drop_calls).then_some(ordered_at);
                self.on_binding_ended(now, binding, cause, spared_before);
            }
            Control::Unwanted(unwanted) => self.on_unwanted(now, unwanted),
            Control::UnwantedStored(unwanted) => self.on_unwanted_stored(&unwanted),
            Control::Drain => self.is_draining = true,
            Control::TerminateAll => {
                self.is_draining = true;
                let all: Vec<Serial> = self.calls.iter().map(|call| call.serial).collect();
                for serial in all {
                    self.happen(now, serial, Event::Stopped(Cause::Draining));
                }
                self.end_errands(now);
            }
        }
    }

    /// Calls that were answered before `spared_before` go on. One whose answer overtook the order
    /// in the queue does not. Whoever is being refused hears why to the end, as if it had dialled a
    /// number that never was.
    fn on_binding_ended(
        &mut self,
        now: Now,
        binding: BindingId,
        cause: Cause,
        spared_before: Option<Instant>,
    ) {
        let is_spared = |call: &Call| {
            let Some(record) = call.record() else { return true };
            let was_answered = |order| record.was_answered_before(order);
            match call.stage() {
                Stage::Refusing(_) => true,
                Stage::Bridged => spared_before.is_some_and(was_answered),
                Stage::Routing
                | Stage::Opening
                | Stage::Calling { .. }
                | Stage::Announcing
                | Stage::Menu
                | Stage::Over => false,
            }
        };
        for serial in self.through(binding, |call| !is_spared(call)) {
            self.happen(now, serial, Event::Stopped(cause));
        }
    }

    /// The calls through a binding that are such.
    pub(super) fn through(
        &self,
        binding: BindingId,
        is_such: impl Fn(&Call) -> bool,
    ) -> Vec<Serial> {
        let bound = self.by_binding.range((binding, Serial::FIRST)..=(binding, Serial::LAST));
        bound
            .map(|(_, serial)| *serial)
            .filter(|serial| self.calls.get(*serial).is_some_and(&is_such))
            .collect()
    }

    fn on_timeout(&mut self, now: Now) {
        self.wires.transactions.handle_timeout(now.monotonic);
        self.run_errands(now);
        while let Some((serial, timer)) = self.wires.timers.pop_due(now.monotonic) {
            self.with_call(now, serial, |call, wires| call.on_timer(wires, now, timer));
        }
    }

    /// Passes on what the transactions want sent, and lets calls know what has failed.
    fn drain_transactions(&mut self, now: Now) {
        while let Some(output) = self.wires.transactions.poll_output() {
            match output {
                transaction::Output::Transmit { to, bytes } => self.wires.transmit(to, bytes),
                transaction::Output::ClientFailed { client, owner, why } => {
                    self.on_client_failed(now, client, owner, why);
                }
                // The caller was refused and is gone: there is nobody left to tell.
                transaction::Output::AckMissing { .. } => {}
            }
        }
    }

    fn on_client_failed(&mut self, now: Now, client: ClientId, owner: Owner, why: ClientFailure) {
        self.wires.accounts.done(client);
        if let Some(number) = Errands::number_of(owner) {
            return self.on_errand_failed(now, number, client);
        }
        let Place { serial, part } = Place::of_owner(owner);
        let how = match why {
            ClientFailure::Timeout => Attempted::Silent,
            ClientFailure::Unreachable => Attempted::Unreachable,
        };
        let is_silent = why == ClientFailure::Timeout;
        self.with_call(now, serial, |call, wires| match part {
            _ if call.on_reinvite_failure(wires, now, client, how) => {}
            _ if call.on_update_failure(wires, now, part, client, is_silent) => {}
            _ if call.on_watch_failure(wires, now, part, client, is_silent) => {}
            Part::Caller => call.leg_a.on_bye_done(client),
            Part::Callee(_) => {
                let Some(branch) = call.branch_mut(part) else { return };
                if branch.is_invite(client) {
                    let meaning = branch.on_failure(how);
                    call.judge_target(wires, now, part, &meaning);
                    call.mean(wires, now, meaning, b"");
                } else {
                    branch.on_bye_done(client);
                }
            }
        });
    }
}

impl fmt::Debug for CallCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CallCore({:?})", self.occupancy())
    }
}

/// Asks the gate about an attempt whose route was found.
fn judge(call: &mut Call, wires: &mut Wires, now: Now, mut route: Route) -> Event {
    wires.denied.add_to(&mut route);
    let Some(record) = call.record_mut() else { return Event::Refused(Cause::Internal) };
    record.routed(&route);
    let purpose = record.known().purpose.unwrap_or_default();
    let decision = gate::decide(&route, record.attempt(), now.wall);
    taping::limit_codecs(call, wires, &route, purpose);
    match decision {
        Decision::Refuse { cause, reasons } => {
            if let Some(record) = call.record_mut() {
                record.refused(reasons);
            }
            call.note_full_caps(wires, now, &route.caps);
            call.refused(wires, cause)
        }
        Decision::Allow if !call.can_be_relayed() => Event::Refused(Cause::MediaUnacceptable),
        Decision::Allow if taping::cannot_be_recorded(wires, &route, purpose) => {
            Event::Refused(Cause::NotRecorded)
        }
        Decision::Allow => match call.take_cap_seat(wires, now, &route.caps) {
            Ok(()) => {
                wires.try_again_what_is_down(now, &route.targets);
                Event::Allowed { targets: call.take_route(wires, route) }
            }
            Err(cause) => call.refused(wires, cause),
        },
    }
}
