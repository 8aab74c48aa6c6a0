//! The world: both clocks, one queue of events, the real brain, and models of everything around it.
//! One event, one input, one full drain, then all invariants.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use maskline::call::config::CallConfig;
use maskline::call::core::CallCore;
use maskline::call::io::{Input, Output, Peer, PeerRole};
use maskline::domain::cause::Cause;
use maskline::domain::id::{BindingId, CallId};
use maskline::domain::menu::MenuAnswer;
use maskline::domain::now::Now;
use maskline::domain::ring::RingTone;
use maskline::domain::route::RouteAnswer;
use maskline::domain::whisper::{Unwanted, WhisperPolicy};
use maskline::phone::{Phone, PhoneInput, PhoneOutput};
use maskline::prompt::ClipTimes;
use maskline::rtp::plane::Report;
use maskline::sip::ids::Branch;
use maskline::sip::steer::branch_in;
use maskline::sip::transport::Transport;
use rand_chacha::{ChaCha8Rng, ChaCha20Rng};
use rand_core::SeedableRng;

use crate::actions::Action;
use crate::cast::{Place, RELAY_SIP, Who};
use crate::chance::dice;
use crate::coverage;
use crate::invariants::{self, Broken};
use crate::media::Media;
use crate::model::Facts;
use crate::net::{Net, Repeats};
use crate::people::{People, ms};
use crate::recorder::Recorder;
use crate::store::{Store, StoreStep};
use crate::trace::Trace;
use crate::whispers;
use crate::wire;
use crate::witness::Witness;

/// The number that everything random in a world comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seed(pub(crate) u64);

pub(crate) const fn seed(number: u64) -> Seed {
    Seed(number)
}

/// No story may take longer than this.
const STORY_TIME_MAX: Duration = Duration::from_secs(6 * 3_600);
/// So many things may happen at one instant; more are a timer that is never over.
const SAME_INSTANT_MAX: u32 = 5_000;
/// No input may cause more outputs than this.
const OUTPUTS_MAX: u32 = 10_000;
/// What the world has in its queue.
pub(crate) enum Event {
    ToRelay { from: SocketAddr, to: SocketAddr, bytes: Bytes },
    ToPhone { from: SocketAddr, to: SocketAddr, bytes: Bytes },
    Undelivered { to: SocketAddr, branch: Branch },
    Store(StoreStep),
    StoreFull(CallId),
    Report(Report),
    Commit,
    Unwanted(Unwanted),
    Act(Action),
    Order { binding: BindingId, cause: Cause, drops_calls: bool },
    Dial(usize),
    Menu { call: CallId, number: u32, answer: MenuAnswer },
}

pub(crate) struct World {
    pub(crate) seed: Seed,
    pub(crate) start: Now,
    pub(crate) now: Now,
    pub(crate) config: CallConfig,
    pub(crate) core: CallCore,
    pub(crate) net: Net,
    pub(crate) store: Store,
    pub(crate) recorder: Recorder,
    pub(crate) media: Media,
    pub(crate) people: Rc<RefCell<People>>,
    pub(crate) witness: Rc<RefCell<Witness>>,
    pub(crate) trace: Trace,
    pub(crate) wall_ahead: Duration,
    pub(crate) wall_behind: Duration,
    queue: BTreeMap<(Instant, u64), Event>,
    queued: u64,
    /// What the relay says twice; only where a story asks for it.
    pub(crate) repeats: Option<Repeats>,
    dials_queued: usize,
    pub(crate) order_rng: ChaCha8Rng,
    pub(crate) unplugged: Vec<Who>,
    same_instant: u32,
}

/// Which call an input is about, as far as it is known before the brain has seen it.
#[derive(Default)]
pub(crate) struct Context {
    sip_call_id: Option<String>,
    call: Option<CallId>,
}

impl World {
    pub(crate) fn new(seed: Seed) -> Self {
        Self::configured(seed, |_| {})
    }

    /// A world whose relay is set up otherwise.
    pub(crate) fn configured(seed: Seed, change: impl FnOnce(&mut CallConfig)) -> Self {
        let start = epoch();
        let mut config = CallConfig::new(RELAY_SIP);
        config.whisper.policy = WhisperPolicy::Off;
        config.announce_refusals = false;
        config.ring = RingTone::Phone;
        config.hold_tone = false;
        config.clip_times = Arc::new(ClipTimes::of_sounds(&whispers::sounds()));
        change(&mut config);
        Self {
            seed,
            start,
            now: start,
            core: CallCore::new(config.clone(), ChaCha20Rng::seed_from_u64(seed.0)),
            config,
            net: Net::new(dice(seed.0, 1)),
            store: Store::new(dice(seed.0, 2)),
            recorder: Recorder::new(dice(seed.0, 3)),
            media: Media::new(seed.0),
            people: Rc::new(RefCell::new(People::new(seed.0))),
            witness: Rc::new(RefCell::new(Witness::default())),
            trace: Trace::new(),
            repeats: None,
            wall_ahead: Duration::ZERO,
            wall_behind: Duration::ZERO,
            queue: BTreeMap::new(),
            queued: 0,
            dials_queued: 0,
            order_rng: dice(seed.0, 4),
            unplugged: Vec::new(),
            same_instant: 0,
        }
    }

    /// Since the story began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.now.monotonic - self.start.monotonic
    }

    /// Goes on until nothing is left to happen, and then until all timers have run out.
    pub(crate) fn run_until_idle(&mut self) {
        while self.step() {}
    }

    /// Goes on until this time of the story.
    pub(crate) fn run_until(&mut self, at: Duration) {
        let until = self.start.monotonic + at;
        self.queue_dials();
        while self.next_at().is_some_and(|next| next <= until) && self.step() {}
        self.set_clock(until);
    }

    /// The next thing happens. False when nothing is left.
    pub(crate) fn step(&mut self) -> bool {
        self.queue_dials();
        let Some(next) = self.next_at() else { return false };
        let moved = next > self.now.monotonic;
        self.same_instant = if moved { 0 } else { self.same_instant + 1 };
        self.demand(
            self.same_instant < SAME_INSTANT_MAX,
            4,
            "time stands still: a timer is never over",
        );
        self.set_clock(next.max(self.now.monotonic));
        self.demand(self.elapsed() < STORY_TIME_MAX, 4, "the story does not end");
        let now = self.now.monotonic;
        if let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= now) {
            let event = entry.remove();
            self.happen(event);
        } else if self.core.poll_timeout().is_some_and(|at| at <= now) {
            self.feed(Input::Timeout, &Context::default());
        } else if self.media.poll_timeout().is_some_and(|at| at <= now) {
            self.media_times_out(now);
        } else {
            self.wake_a_phone(now);
        }
        let broken = invariants::after_step(self);
        self.judge(broken);
        true
    }

    fn next_at(&self) -> Option<Instant> {
        let queue = self.queue.first_key_value().map(|((at, _), _)| *at);
        let people = self.people.borrow();
        let phones = people.awake().filter_map(|(_, phone)| phone.poll_timeout()).min();
        [queue, self.core.poll_timeout(), self.media.poll_timeout(), phones]
            .into_iter()
            .flatten()
            .min()
    }

    fn set_clock(&mut self, monotonic: Instant) {
        let passed = monotonic - self.start.monotonic;
        let wall = self.start.wall + passed + self.wall_ahead - self.wall_behind;
        self.now = Now { monotonic, wall };
    }

    fn queue_dials(&mut self) {
        let from = self.dials_queued;
        let times: Vec<Duration> =
            self.people.borrow().dials.iter().skip(from).map(|dial| dial.at).collect();
        self.dials_queued += times.len();
        for (index, at) in times.into_iter().enumerate() {
            self.queue_in(at, Event::Dial(from + index));
        }
    }

    pub(crate) fn queue_in(&mut self, wait: Duration, event: Event) {
        self.queue_at(self.now.monotonic + wait, event);
    }

    pub(crate) fn queue_at(&mut self, at: Instant, event: Event) {
        self.queued += 1;
        self.queue.insert((at, self.queued), event);
    }

    fn media_times_out(&mut self, now: Instant) {
        let (reports, leaving) = self.media.handle_timeout(now);
        for report in reports {
            self.queue_in(Duration::ZERO, Event::Report(report));
        }
        for (from, to, bytes) in leaving {
            let broken = invariants::media_leaves(self, to, &bytes);
            self.judge(broken);
            self.send_to_phone(from, to, bytes);
        }
    }

    fn wake_a_phone(&mut self, now: Instant) {
        let due = {
            let people = self.people.borrow();
            let due = |phone: &Phone| phone.poll_timeout().is_some_and(|at| at <= now);
            people.awake().find(|(_, phone)| due(phone)).map(|(who, _)| *who)
        };
        if let Some(who) = due {
            self.with_phone(who, |phone, now| phone.handle_input(now, PhoneInput::Timeout));
        }
    }

    /// Lets a phone do something, and sends what it sends.
    fn with_phone<T>(&mut self, who: Who, act: impl FnOnce(&mut Phone, Now) -> T) -> T {
        let people = Rc::clone(&self.people);
        let mut people = people.borrow_mut();
        let phone = people.phones.get_mut(&who).expect("everybody has a phone");
        let outcome = act(phone, self.now);
        while let Some(PhoneOutput::Transmit { from, to, bytes }) = phone.poll_output() {
            for delay in self.net.carry(from.ip(), to.ip(), &bytes) {
                self.queue_in(delay, Event::ToRelay { from, to, bytes: bytes.clone() });
            }
        }
        outcome
    }

    fn happen(&mut self, event: Event) {
        let at = self.elapsed();
        match event {
            Event::ToRelay { from, to, bytes } => {
                self.trace.note(at, &format!("{from} -> relay:{}", to.port()), &bytes);
                self.relay_receives(from, to, bytes);
            }
            Event::ToPhone { from, to, bytes } => {
                self.trace.note(at, &format!("relay:{} -> {to}", from.port()), &bytes);
                let Some(who) = Who::at(to.ip()) else { return };
                self.with_phone(who, |phone, now| {
                    phone.handle_input(now, PhoneInput::Datagram { from, to, bytes });
                });
            }
            Event::Undelivered { to, branch } => {
                self.trace.note(at, &format!("icmp {to}"), &[]);
                self.feed(Input::Undelivered { peer: to.into(), branch }, &Context::default());
            }
            Event::Store(step) => self.store_steps(step),
            Event::StoreFull(call) => self.answer_route(call, RouteAnswer::Failed),
            Event::Report(report) => {
                self.trace.note(at, &format!("{report:?}"), &[]);
                self.witness.borrow_mut().media_reports(&report);
                let call = self.witness.borrow().call_of(report.session());
                self.feed(Input::Media(report), &Context { sip_call_id: None, call });
            }
            Event::Unwanted(unwanted) => self.write_unwanted(unwanted),
            Event::Commit => match self.recorder.committed() {
                Some(credit) => self.feed(Input::RecorderCredit(credit), &Context::default()),
                None => self.queue_in(Duration::from_millis(500), Event::Commit),
            },
            Event::Act(action) => {
                self.trace.note(at, &format!("{action:?}"), &[]);
                self.act(action);
            }
            Event::Order { binding, cause, drops_calls } => {
                self.give_order(binding, cause, drops_calls);
            }
            Event::Dial(index) => self.dial(index),
            Event::Menu { call, number, answer } => {
                let context = Context { sip_call_id: None, call: Some(call) };
                self.feed(Input::Menu { call, number, answer }, &context);
            }
        }
    }

    fn dial(&mut self, index: usize) {
        let (who, number, script) = {
            let people = self.people.borrow();
            let dial = &people.dials[index];
            (dial.who, dial.number.clone(), dial.script.clone())
        };
        self.trace.note(self.elapsed(), &format!("{} dials {number}", who.name), &[]);
        let call = self.with_phone(who, |phone, now| phone.dial(now, &number, script));
        self.people.borrow_mut().dials[index].index = call;
    }

    fn relay_receives(&mut self, from: SocketAddr, to: SocketAddr, bytes: Bytes) {
        if to.port() != RELAY_SIP.port() {
            let stream = bytes.get(8..12).and_then(|name| <[u8; 4]>::try_from(name).ok());
            let is_rtp = to.port().is_multiple_of(2);
            self.witness.borrow_mut().streams_of_phones.extend(stream.filter(|_| is_rtp));
            if is_rtp {
                self.witness.borrow_mut().note_key_in_packet(to, &bytes);
            }
            let relayed = self.media.datagram(self.now.monotonic, to, from, &bytes);
            if let Some((from, to, bytes)) = relayed {
                let broken = invariants::media_leaves(self, to, &bytes);
                self.judge(broken);
                self.send_to_phone(from, to, bytes);
            }
            return;
        }
        let Some(who) = Who::at(from.ip()) else { return };
        let role = match who.place {
            Place::Insurer(_) => {
                PeerRole::Insurer { tenant: who.tenant().expect("insurers are tenants") }
            }
            Place::Carrier(_) => PeerRole::Carrier,
        };
        self.witness.borrow_mut().relay_receives(self.now, who, &bytes);
        let sip_call_id = Some(wire::header(&bytes, "Call-ID").to_owned());
        let context = Context { sip_call_id, call: None };
        let transport = Transport::Udp;
        let peer = Peer { address: from, transport, trunk: who.trunk(), role };
        self.feed(Input::Datagram { peer, bytes }, &context);
    }

    fn send_to_phone(&mut self, from: SocketAddr, to: SocketAddr, bytes: Bytes) {
        if Who::at(to.ip()).is_some_and(|who| self.unplugged.contains(&who)) {
            let Some(branch) = branch_in(&bytes) else { return };
            return self.queue_in(ms(10), Event::Undelivered { to, branch });
        }
        if let Some(repeats) = &mut self.repeats {
            repeats.note(self.now.monotonic, to, &bytes);
        }
        for delay in self.net.carry(from.ip(), to.ip(), &bytes) {
            self.queue_in(delay, Event::ToPhone { from, to, bytes: bytes.clone() });
        }
    }

    fn store_steps(&mut self, step: StoreStep) {
        match step {
            StoreStep::Read(call) => {
                let wait = self.store.read(call);
                self.queue_in(wait, Event::Store(StoreStep::Answer(call)));
            }
            StoreStep::Answer(call) => match self.store.answer(self.now.monotonic, call) {
                Ok(answer) => self.answer_route(call, answer),
                Err(again) => self.queue_in(again, Event::Store(StoreStep::Read(call))),
            },
        }
    }

    fn answer_route(&mut self, call: CallId, answer: RouteAnswer) {
        self.trace.note(self.elapsed(), "route", &[]);
        if let RouteAnswer::Found(route) = &answer
            && let Some(attempt) = self.witness.borrow_mut().attempt_mut(call)
        {
            attempt.binding = Some(route.binding);
            attempt.routed = Some(self.now);
        }
        let context = Context { sip_call_id: None, call: Some(call) };
        self.feed(Input::Route { call, answer }, &context);
    }

    /// One input, one full drain.
    pub(crate) fn feed(&mut self, input: Input, context: &Context) {
        self.core.handle_input(self.now, input);
        let mut outputs = 0_u32;
        while let Some(output) = self.core.poll_output() {
            outputs += 1;
            self.demand(outputs < OUTPUTS_MAX, 7, "one input has too many outputs");
            self.obey(output, context);
        }
    }

    fn obey(&mut self, output: Output, context: &Context) {
        match output {
            Output::Transmit { to, bytes } => {
                let to = to.address;
                let broken = invariants::signal_leaves(self, to, &bytes);
                self.judge(broken);
                self.send_to_phone(RELAY_SIP, to, bytes);
            }
            Output::FindRoute { call, query } => {
                self.name_call(call, context);
                match self.store.ask(self.now.monotonic, call, query) {
                    Some(wait) => self.queue_in(wait, Event::Store(StoreStep::Read(call))),
                    None => self.queue_in(Duration::ZERO, Event::StoreFull(call)),
                }
            }
            Output::Media(command) => {
                self.witness.borrow_mut().orders_media(&command, context.call);
                if let Some((wait, report)) = self.media.command(self.now.monotonic, command) {
                    self.queue_in(wait, Event::Report(report));
                }
            }
            Output::Status(live) => {
                self.name_call(live.call, context);
                let broken = invariants::status_changes(self, &live);
                self.judge(broken);
            }
            Output::AskMenu(question) => {
                let answer = self.answer_menu(&question);
                let (call, number) = (question.call, question.number);
                let wait = Duration::from_millis(5);
                self.queue_in(wait, Event::Menu { call, number, answer });
            }
            Output::Security(_)
            | Output::TrunkStatus(_)
            | Output::FindLogin { .. }
            | Output::Proved { .. } => {}
            Output::Unwanted(unwanted) => self.note_unwanted(unwanted),
            Output::Finished(cdr) => {
                self.name_call(cdr.call, context);
                let broken = invariants::record_written(self, &cdr);
                self.judge(broken);
                let wait = self.recorder.push();
                self.queue_in(wait, Event::Commit);
            }
        }
    }

    fn name_call(&mut self, call: CallId, context: &Context) {
        if let Some(sip_call_id) = &context.sip_call_id {
            self.witness.borrow_mut().name_call(self.now, call, sip_call_id);
        }
    }

    /// Commits a change in the store. The model knows it from here on.
    pub(crate) fn commit(&mut self, change: impl FnOnce(&mut Facts)) {
        self.store.commit(change);
        let facts = self.store.facts().clone();
        self.witness.borrow_mut().history.push((self.now, facts));
    }

    fn judge(&self, outcome: Result<(), Broken>) {
        if let Err(broken) = outcome {
            self.fail(&broken);
        }
    }

    fn demand(&self, holds: bool, number: u8, what: &str) {
        if !holds {
            self.fail(&Broken::new(number, what.to_owned()));
        }
    }

    /// Everything a reader needs to see this again.
    fn fail(&self, broken: &Broken) -> ! {
        panic!(
            "\n{}\nseed={} step={} at={:?}\n{broken}\n",
            self.trace.last_lines(),
            self.seed.0,
            self.trace.steps(),
            self.elapsed(),
        );
    }

    /// At the end of a story: what must hold when nothing is left to happen.
    pub(crate) fn check_invariants(&self) {
        self.judge(invariants::at_the_end(self));
        coverage::note(&self.witness.borrow());
    }
}

/// Monday, 2 March 2026, ten in the morning in Shanghai. The one place that reads a clock.
#[expect(clippy::disallowed_methods, reason = "an `Instant` can only be had from the clock")]
fn epoch() -> Now {
    let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_772_416_800);
    Now { monotonic: Instant::now(), wall }
}
