//! One call: the coupling of its legs decides, and here each decision is carried out with bytes,
//! timers and orders to the media plane.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::announce::Announcement;
use super::branch::{Branch, Meaning};
use super::capped::MINUTE;
use super::coupling::{Action, Coupling, Event, Stage};
use super::failover::Attempted;
use super::inside::Rate;
use super::io::{CallStatus, Output};
use super::leg_a::LegA;
use super::names::hop_of;
use super::offer::OFFER_WAIT;
use super::pick;
use super::place::{Part, Place, Serial};
use super::record::Record;
use super::seats::Seats;
use super::self_service::SelfService;
use super::set_up::SetUp;
use super::talk::Talk;
use super::taping::Recording;
use super::timers::Timer;
use super::wires::{GIVE_UP, Wires};
use crate::domain::cause::Cause;
use crate::domain::cdr::EndedBy;
use crate::domain::id::{BindingId, CallId};
use crate::domain::now::Now;
use crate::domain::route::Route;
use crate::policy::caps::CapSeat;
use crate::rtp::plane::{Command, SessionId, Side, SideCounts};
use crate::sip::message::Message;
use crate::sip::timers::{T1, TRYING_WITHIN};

/// One A-to-B relay, until nothing of it is left.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) id: CallId,
    pub(super) serial: Serial,
    pub(super) leg_a: LegA,
    /// One for each trunk that was tried, in order; the last one is current.
    pub(super) branches: Vec<Branch>,
    coupling: Coupling,
    /// Taken when it is written down.
    pub(super) record: Option<Record>,
    /// What only the set-up needs; the real number goes with it.
    pub(super) set_up: Option<Box<SetUp>>,
    /// The menu of the caller, where there is one.
    pub(super) self_service: Option<Box<SelfService>>,
    /// The session, from the answer to the end.
    pub(super) talk: Option<Box<Talk>>,
    pub(super) duration_max: Duration,
    /// What begins with the bridge: its callee has been told.
    pub(super) recording: Option<Box<Recording>>,
    media: Media,
    pub(super) seats: Seats,
    pub(super) cap_seat: Option<CapSeat>,
    /// Its purpose lets the subscriber type to the insurer.
    pub(super) is_typed_to: bool,
    /// Of the caller, and of all callees.
    pub(super) requests: [Rate; 2],
    pub(super) keys: [Rate; 2],
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Media {
    Unused,
    Open,
    Closing,
    Closed,
}

/// Trunks beyond these are not tried: a part of a call is one byte, and patience ends long before.
const TARGETS_MAX: usize = 16;

impl Call {
    /// An attempt whose route is being looked up.
    pub(super) fn new(
        id: CallId,
        serial: Serial,
        leg_a: LegA,
        record: Record,
        set_up: SetUp,
        seats: Seats,
    ) -> Self {
        Self {
            id,
            serial,
            leg_a,
            branches: Vec::new(),
            coupling: Coupling::new(),
            record: Some(record),
            set_up: Some(Box::new(set_up)),
            self_service: None,
            talk: None,
            duration_max: Duration::ZERO,
            recording: None,
            media: Media::Unused,
            seats,
            cap_seat: None,
            is_typed_to: false,
            requests: Default::default(),
            keys: Default::default(),
        }
    }

    /// How far it is.
    pub(super) const fn stage(&self) -> Stage {
        self.coupling.stage()
    }

    /// The record, until it is written down.
    pub(super) const fn record_mut(&mut self) -> Option<&mut Record> {
        self.record.as_mut()
    }

    /// The record, until it is written down.
    pub(super) const fn record(&self) -> Option<&Record> {
        self.record.as_ref()
    }

    /// The binding that the call goes through, as soon as it is known and until the record is
    /// written down.
    pub(super) fn binding(&self) -> Option<BindingId> {
        self.record.as_ref()?.known().binding
    }

    /// Nothing is left to do for either leg, and the record is written.
    pub(super) fn is_gone(&self) -> bool {
        self.record.is_none() && self.leg_a.is_over() && self.branches.iter().all(Branch::is_over)
    }

    /// Dialogs that are held, early and dying ones included.
    #[cfg(test)]
    pub(super) fn dialogs(&self) -> usize {
        let callers = usize::from(!self.leg_a.is_over());
        callers + self.branches.iter().map(Branch::dialogs).sum::<usize>()
    }

    /// The branch of a part; `None` for the caller.
    pub(super) fn branch_mut(&mut self, part: Part) -> Option<&mut Branch> {
        match part {
            Part::Caller => None,
            Part::Callee(position) => self.branches.get_mut(usize::from(position)),
        }
    }

    /// Gives back the tags by which messages found it.
    pub(super) fn forget_tags(&self, wires: &mut Wires) {
        wires.places.remove(self.leg_a.tag());
        for branch in &self.branches {
            wires.places.remove(branch.tag());
        }
    }

    /// Takes what the gate has allowed: from now on there is somebody to call.
    pub(super) fn take_route(&mut self, wires: &mut Wires, mut route: Route) -> usize {
        let purpose = self.record().and_then(|record| record.known().purpose);
        let offer = self.set_up.as_ref().map(|set_up| &set_up.offer);
        self.self_service = offer.and_then(|offer| SelfService::of(wires, &route, offer));
        if self.self_service.is_some() {
            self.coupling.offer_menu();
        }
        let purpose = purpose.unwrap_or_default();
        self.is_typed_to = wires.config.keys_to_insurer.contains(&purpose);
        let announcement = Announcement::of(wires, &mut route, purpose);
        let longest = wires.config.duration_max;
        self.duration_max = route.duration_max.map_or(longest, |max| max.min(longest));
        let Some(set_up) = &mut self.set_up else { return 0 };
        set_up.announcement = announcement;
        set_up.callee = Some(route.callee);
        let book = wires.accounts.book();
        set_up.targets = pick::arrange(route.targets, &book, TARGETS_MAX, || wires.random_u64());
        let targets = set_up.targets.len();
        self.choose_ring(wires);
        targets
    }

    /// Whether there is something to agree on with the callee.
    pub(super) fn can_be_relayed(&self) -> bool {
        self.set_up.as_ref().is_some_and(|set_up| set_up.can_be_relayed())
    }

    /// Lets an event change the call, and carries out what follows from it.
    pub(super) fn happen(&mut self, wires: &mut Wires, now: Now, event: Event) {
        let mut actions = Vec::with_capacity(ACTIONS_USUAL);
        let mut next = Some(event);
        while let Some(event) = next.take() {
            self.coupling.handle(event, &mut actions);
            for action in actions.drain(..) {
                next = self.carry_out(wires, now, action).or(next);
            }
        }
        if matches!(self.stage(), Stage::Over) {
            self.set_up = None;
            self.seats = [None, None];
            self.leave_caps(wires);
            self.end_talk(wires, now.monotonic);
        }
    }

    /// Carries one action out. Only asking a trunk can fail, which is an event of its own.
    pub(super) fn carry_out(
        &mut self,
        wires: &mut Wires,
        now: Now,
        action: Action,
    ) -> Option<Event> {
        let at = now.monotonic;
        match action {
            Action::OpenMedia => self.order(wires, Command::Open { session: self.session() }),
            Action::CloseMedia => self.order(wires, Command::Close { session: self.session() }),
            Action::SpeakRefusal(cause) => self.speak_refusal(wires, at, cause),
            Action::Announce => self.announce(wires, at),
            Action::OpenMenu(why) => return self.open_menu(wires, now, why),
            Action::Bridge => return self.bridge(wires, now),
            Action::TryTarget(position) => return self.try_target(wires, now, position),
            Action::DropTarget(cause) => self.drop_target(wires, now, cause),
            Action::RingCaller => {
                self.ring_caller(wires, at);
                self.note(wires, CallStatus::Ringing, |record| record.ringing(now));
            }
            Action::AnswerCaller => self.answer_caller(wires, now),
            Action::RefuseCaller(cause) => self.refuse_caller(wires, at, cause),
            Action::EndCaller(cause) => self.leg_a.end(wires, at, cause),
            Action::EndCallee(cause) => {
                if let Some(branch) = self.branches.last_mut() {
                    branch.end(wires, at, cause);
                }
            }
            Action::Arm(timer) => {
                wires.timers.arm(at, self.serial, timer, at + self.wait(wires, timer))
            }
            Action::Disarm(timer) => wires.timers.disarm(self.serial, timer),
            Action::Finish { cause, by } => self.finish(wires, now, cause, by),
        }
        None
    }

    fn wait(&self, wires: &Wires, timer: Timer) -> Duration {
        match timer {
            Timer::Route => wires.config.route_deadline,
            Timer::MediaOpen | Timer::MediaClose => wires.config.media_deadline,
            Timer::Failover => wires.config.failover_timeout,
            Timer::Ring => wires.config.ring_timeout,
            Timer::Duration => self.duration_max.saturating_sub(self.warned_before()),
            Timer::Forks => GIVE_UP,
            Timer::Minute => MINUTE,
            Timer::Answer | Timer::Confirm | Timer::Expires | Timer::Refresh | Timer::Speech => T1,
            Timer::Offer => OFFER_WAIT,
            Timer::Trying => TRYING_WITHIN,
        }
    }

    pub(super) const fn session(&self) -> SessionId {
        SessionId(self.id.as_u128())
    }

    pub(super) fn order(&mut self, wires: &mut Wires, command: Command) {
        if self.media == Media::Closed {
            return;
        }
        match command {
            Command::Open { .. } => self.media = Media::Open,
            Command::Close { .. } => self.media = Media::Closing,
            Command::Update { .. }
            | Command::Bridge { .. }
            | Command::Hold { .. }
            | Command::Record { .. }
            | Command::Play { .. }
            | Command::Stop { .. }
            | Command::Keys { .. } => {}
        }
        wires.outputs.push_back(Output::Media(command));
    }

    /// Changes the record and tells the list of live calls.
    pub(super) fn note(
        &mut self,
        wires: &mut Wires,
        status: CallStatus,
        change: impl FnOnce(&mut Record),
    ) {
        let Some(record) = &mut self.record else { return };
        change(record);
        wires.outputs.extend(record.live(status).map(Output::Status));
    }

    /// Our ports, as the media plane has opened them.
    pub(super) fn media_opened(&mut self, local: [SocketAddr; 2]) {
        if let Some(set_up) = &mut self.set_up {
            set_up.local = Some(local);
        }
    }

    /// There are no ports, so there will be no last word either.
    pub(super) fn media_failed(&mut self, wires: &mut Wires, now: Now) {
        self.media_closed(wires, None);
        self.happen(wires, now, Event::MediaFailed);
    }

    /// The media plane's last word.
    pub(super) fn media_closed(&mut self, wires: &mut Wires, counts: Option<[SideCounts; 2]>) {
        if self.media == Media::Unused {
            return;
        }
        self.media = Media::Closed;
        wires.timers.disarm(self.serial, Timer::MediaClose);
        if let (Some(record), Some(counts)) = (&mut self.record, counts) {
            record.counted(counts);
        }
        self.write_down(wires);
    }

    pub(super) fn try_target(
        &mut self,
        wires: &mut Wires,
        now: Now,
        position: usize,
    ) -> Option<Event> {
        let part = Part::Callee(u8::try_from(self.branches.len()).ok()?);
        let place = Place { serial: self.serial, part };
        let target = self.set_up.as_ref()?.targets.get(position)?;
        let (trunk, hop) = (target.trunk, hop_of(target));
        if !self.is_emergency(&wires.accounts) && wires.spares(now.monotonic, hop) {
            return Some(Event::TargetFailed(Attempted::Full));
        }
        if !self.sit_down(&wires.accounts, now, trunk) {
            wires.counters.trunks_full += 1;
            return Some(Event::TargetFailed(Attempted::Full));
        }
        let Some((branch, trunk)) = self.invite(wires, now.monotonic, position, place) else {
            return Some(Event::TargetFailed(Attempted::Unreachable));
        };
        // Most calls have no second one.
        self.branches.reserve_exact(1);
        self.branches.push(branch);
        if position > 0 {
            wires.counters.failovers += 1;
        }
        // A further trunk is no step back: the caller who heard it ring still does.
        if self.branches.len() > 1 {
            if let Some(record) = &mut self.record {
                record.called(now, trunk);
            }
        } else {
            self.note(wires, CallStatus::Calling, |record| record.called(now, trunk));
        }
        None
    }

    /// A response to the INVITE of one branch.
    pub(super) fn on_invite_response(
        &mut self,
        wires: &mut Wires,
        now: Now,
        part: Part,
        response: &Message,
    ) {
        let Some(branch) = self.branch_mut(part) else { return };
        let meaning = branch.on_response(wires, now.monotonic, response);
        self.judge_target(wires, now, part, &meaning);
        let said_before = match meaning {
            Meaning::Answered => self.said_early(part, response),
            Meaning::Failed(_) => {
                self.hear_reason(crate::sip::reason::find_q850(response));
                None
            }
            Meaning::Nothing | Meaning::Progress | Meaning::Ringing => None,
        };
        if matches!(meaning, Meaning::Answered) {
            self.note_callee_session(response);
        }
        self.arm_forks(wires, now.monotonic);
        self.mean(wires, now, meaning, said_before.as_deref().unwrap_or(response.body()));
    }

    /// Other forks may answer for as long as the transaction of the INVITE lives.
    fn arm_forks(&self, wires: &mut Wires, now: Instant) {
        if let Some(until) = self.branches.iter().filter_map(Branch::forks_until).min() {
            wires.timers.arm(now, self.serial, Timer::Forks, until);
        }
    }

    /// What a branch says, as an event of the call.
    pub(super) fn mean(&mut self, wires: &mut Wires, now: Now, meaning: Meaning, body: &[u8]) {
        let event = match meaning {
            Meaning::Nothing => return,
            Meaning::Progress => Event::Progress,
            Meaning::Ringing => Event::Ringing,
            Meaning::Answered => return self.mean_answered(wires, now, body),
            Meaning::Failed(how) => Event::TargetFailed(how),
        };
        self.happen(wires, now, event);
    }

    /// A callee has answered the call, with this for its SDP.
    pub(super) fn mean_answered(&mut self, wires: &mut Wires, now: Now, body: &[u8]) {
        if self.has_to_ring() {
            self.happen(wires, now, Event::Ringing);
        }
        if self.waits_for_the_caller(body) {
            if let Some(record) = &mut self.record {
                record.callee_answered(now);
            }
            return;
        }
        let can_talk = self.negotiate(wires, body);
        let event = if can_talk { self.on_answer(now) } else { Event::AnsweredUnusable };
        self.happen(wires, now, event);
    }

    fn bridge(&mut self, wires: &mut Wires, now: Now) -> Option<Event> {
        self.stop_ringing(wires);
        self.order_keys(wires);
        let session = self.session();
        self.order(wires, Command::Bridge { session });
        self.tell_of_hold(wires);
        self.begin_recording(wires, now)
    }

    fn answer_caller(&mut self, wires: &mut Wires, now: Now) {
        let set_up = self.set_up.take().map(|set_up| (set_up.answer, set_up.sessions));
        let (answer, sessions) = set_up.unwrap_or_default();
        // The coupling answers only after `negotiate` has written it.
        wires.counters.invariants_broken += u64::from(answer.is_none());
        let terms = sessions[Side::A.index()].map(|agreed| agreed.terms);
        self.leg_a.answer(wires, now.monotonic, &answer.unwrap_or_default(), terms);
        self.start_clocks(wires, now.monotonic, sessions);
        self.begin_minutes(wires, now.monotonic);
        wires.counters.answered += 1;
        self.note(wires, CallStatus::Answered, |record| record.answered(now));
    }

    fn finish(&mut self, wires: &mut Wires, now: Now, cause: Cause, by: EndedBy) {
        self.note_whisper(by);
        if cause == Cause::MaxDuration {
            self.note_longest(wires);
        }
        self.note(wires, CallStatus::Ended, |record| record.ended(now, cause, by));
        if self.media == Media::Closing {
            // The record waits for the last counts, but not for ever.
            let until = now.monotonic + wires.config.media_deadline;
            wires.timers.arm(now.monotonic, self.serial, Timer::MediaClose, until);
        } else {
            self.write_down(wires);
        }
    }

    /// Gives the record away once the call is over and its media closed.
    fn write_down(&mut self, wires: &mut Wires) {
        let is_open = matches!(self.media, Media::Open | Media::Closing);
        if is_open || !matches!(self.stage(), Stage::Over) {
            return;
        }
        if let Some(record) = self.record.take() {
            wires.outputs.push_back(Output::Finished(record.into_cdr()));
        }
    }

    /// A timer of this call has come.
    pub(super) fn on_timer(&mut self, wires: &mut Wires, now: Now, timer: Timer) {
        match timer {
            Timer::Duration if self.warns(wires, now) => {}
            Timer::Route | Timer::MediaOpen | Timer::Failover | Timer::Ring | Timer::Duration => {
                self.happen(wires, now, Event::Elapsed(timer));
            }
            Timer::Answer => {
                use super::leg_a::AnswerTimer;
                match self.leg_a.on_answer_timer(wires, now.monotonic) {
                    AnswerTimer::GoesOn => {}
                    AnswerTimer::CallerVanished => self.happen(wires, now, Event::CallerVanished),
                    AnswerTimer::NeverConfirmed => {
                        self.happen(wires, now, Event::Stopped(Cause::SessionExpired));
                    }
                }
            }
            Timer::Expires => self.happen(wires, now, Event::CallerCancelled),
            Timer::Minute => self.on_minute_timer(wires, now),
            Timer::Trying => self.leg_a.keep_waiting(wires, now.monotonic),
            Timer::Offer => self.on_offer_timer(wires, now),
            Timer::Confirm => self.on_confirm_timer(wires, now),
            Timer::Refresh => self.on_refresh_timer(wires, now),
            Timer::Speech => self.on_speech_timer(wires, now),
            Timer::MediaClose => self.media_closed(wires, None),
            Timer::Forks => {
                for branch in &mut self.branches {
                    branch.forget_forks(now.monotonic);
                }
                self.branches.shrink_to_fit();
                self.arm_forks(wires, now.monotonic);
            }
        }
    }
}

const ACTIONS_USUAL: usize = 8;
