//! One shard: a thread that owns a brain and its socket. It waits for one thing, feeds it in, and
//! does everything the brain asks for. No decision about a call is taken here.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

use super::behind::Behind;
use super::freshness::Subject;
use super::handle::{MarkGone, Shared};
use super::mailbox::{Inbox, Mailbox};
use super::now::now;
use super::pace::{self, Pace};
use super::recorder::Recorder;
use super::refusals::Refusals;
use super::routes::{Found, RouteSource, Routes};
use super::security::{Knocks, Line};
use super::sip_udp::{Received, SipSocket, Undelivered};
use super::stream::Post;
use super::tally::{Published, Tally};
use super::trunks::{KnownPeers, TrunkTable};
use super::ways::Ways;
use crate::call::core::CallCore;
use crate::call::io::{Control, Input, Output};
use crate::domain::now::Now;
use crate::domain::whisper::Unwanted;
use crate::media::ShardLink;
use crate::rtp::plane::{Command, Report};
use crate::sip::transport::Transport;

/// No more datagrams are taken then before orders and timers have had their turn.
const ROUND_MAX: usize = 64;
/// How often the counts of a shard are shown.
const PUBLISH_EVERY: Duration = Duration::from_secs(1);
/// The media plane takes what is no haste with the next packet, and at the latest after this.
const MEDIA_WITHIN: Duration = Duration::from_millis(5);
/// The media plane closes ports without waking us: its last word about a call is read within this.
const CLOSED_WITHIN: Duration = Duration::from_millis(20);
/// After this nobody waits for a last word any more.
const CLOSED_AT_ALL: Duration = Duration::from_secs(2);
/// Tokens below are sockets.
const BELL: u64 = u64::MAX;

/// Everything a shard works with.
pub(crate) struct Shard<R: RouteSource> {
    /// Its number among all.
    pub(crate) index: usize,
    pub(crate) gather: Duration,
    pub(crate) ways: Arc<Ways>,
    pub(crate) core: CallCore,
    /// One for each UDP address that is served; at most one of each family.
    pub(crate) sockets: Vec<SipSocket>,
    pub(crate) post: Arc<Post>,
    pub(crate) mailbox: Arc<Mailbox<Found<R::Sealed>>>,
    pub(crate) media: ShardLink,
    pub(crate) routes: Routes<R>,
    pub(crate) recorder: Recorder,
    pub(crate) refusals: Refusals,
    pub(crate) trunks: Arc<ArcSwap<TrunkTable>>,
    pub(crate) shared: Arc<Shared>,
}

impl<R: RouteSource> Shard<R> {
    /// Runs the shard in a thread of its own until its mailbox says stop.
    ///
    /// # Errors
    /// No descriptor or no thread is left.
    pub(crate) fn start(self) -> io::Result<JoinHandle<()>> {
        let name = format!("sip-{}", self.index);
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let readable = epoll::EventFlags::IN;
        for (number, socket) in (0..).zip(&self.sockets) {
            epoll::add(&poll, socket, epoll::EventData::new_u64(number), readable)?;
        }
        let bell = self.mailbox.bell_fd();
        epoll::add(&poll, bell, epoll::EventData::new_u64(BELL), readable)?;
        let running = Running::new(self, poll);
        std::thread::Builder::new().name(name).spawn(move || running.run())
    }
}

/// A shard at work.
struct Running<R: RouteSource> {
    shard: Shard<R>,
    poll: rustix::fd::OwnedFd,
    inbox: Inbox<Found<R::Sealed>>,
    table: Arc<TrunkTable>,
    peers: KnownPeers,
    /// What belongs to other shards, by their numbers, until the end of the round.
    passing: Vec<Vec<Input>>,
    /// Answers that were ready before the brain had been drained.
    ready: VecDeque<Input>,
    /// Orders that the media plane had no room for.
    held: VecDeque<Command>,
    /// How many of our attempts everybody knows to be running.
    shown_calls: u64,
    /// When the media plane is woken for what waits there.
    media_at: Option<Instant>,
    /// Calls whose ports are being closed, and until when their last word may come.
    closing: (usize, Instant),
    pace: Pace,
    behind: Behind,
    tally: Tally,
    published: Published,
    publish_at: Instant,
    knocks: Knocks,
    /// The same of peers that are known: strangers may forge addresses, and shall not hide these.
    alarms: Knocks,
}

impl<R: RouteSource> Running<R> {
    fn new(shard: Shard<R>, poll: rustix::fd::OwnedFd) -> Self {
        let at = now().monotonic;
        Self {
            table: shard.trunks.load_full(),
            poll,
            inbox: Inbox::default(),
            peers: KnownPeers::default(),
            passing: std::iter::repeat_with(Vec::new).take(shard.ways.count()).collect(),
            shown_calls: 0,
            ready: VecDeque::new(),
            held: VecDeque::new(),
            media_at: None,
            closing: (0, at),
            pace: Pace::new(shard.gather, at),
            // The last one is that of the streams.
            behind: Behind::new(shard.sockets.len() + 1, at),
            tally: Tally::default(),
            published: Published::new(),
            publish_at: at,
            knocks: Knocks::new(at),
            alarms: Knocks::new(at),
            shard,
        }
    }

    fn run(mut self) {
        let _gone = MarkGone::of(&self.shard.shared);
        self.feed(now(), Input::Trunks(self.table.book()));
        // All that there are, so that a socket without an event is one without datagrams.
        let mut events = Vec::with_capacity(1 + self.shard.sockets.len());
        loop {
            events.clear();
            self.wait(&mut events);
            let begun = now().monotonic;
            // An order that was given comes before every datagram that was sent after it.
            if self.shard.mailbox.has_rung() {
                self.read_mail();
            }
            for event in events.iter().filter(|event| event.data.u64() != BELL) {
                self.receive(event.data.u64() as usize, event.flags);
                self.pass_on();
            }
            self.look_behind(&events);
            self.read_reports();
            self.keep_time();
            self.shard.sockets.iter_mut().for_each(SipSocket::flush);
            self.shard.media.flush();
            if self.inbox.stop {
                return;
            }
            if !self.behind.is_any() {
                let at = now().monotonic;
                let rest = self.pace.rest(begun, at);
                self.behind.rests_until(at + rest);
                pace::sleep(rest);
            }
        }
    }

    /// Sleeps until something arrives, or the brain or the metrics want their turn.
    fn wait(&self, events: &mut Vec<epoll::Event>) {
        let core_at = self.shard.core.poll_timeout().unwrap_or(self.publish_at);
        let until = self.media_at.into_iter().fold(core_at.min(self.publish_at), Instant::min);
        let at = now().monotonic;
        let wait = until.saturating_duration_since(at);
        let (closing, closing_until) = self.closing;
        let wait = if closing > 0 && at < closing_until { wait.min(CLOSED_WITHIN) } else { wait };
        let wait = Timespec::try_from(wait).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
        match epoll::wait(&self.poll, rustix::buffer::spare_capacity(events), Some(&wait)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => tracing::error!(%error, "The shard cannot wait: {error}"),
        }
    }

    /// Takes what is on one socket.
    fn receive(&mut self, number: usize, flags: epoll::EventFlags) {
        if flags.contains(epoll::EventFlags::ERR) {
            let error = |this: &Self| this.shard.sockets.get(number)?.undelivered();
            while let Some(undelivered) = error(self) {
                self.undelivered(undelivered);
            }
        }
        self.follow_trunks();
        for received in 0.. {
            let Some(socket) = self.shard.sockets.get_mut(number) else { return };
            // What was taken has no other turn: nothing would wake us for it.
            match socket.has_taken() {
                false if received >= ROUND_MAX => break,
                false if self.shard.mailbox.has_order() => return,
                true | false => {}
            }
            match socket.receive() {
                Received::Empty => return self.caught_up(number),
                Received::Undelivered(it) => self.undelivered(it),
                Received::Datagram { source, bytes } => {
                    self.pace.arrived();
                    let Some(peer) = self.peers.find(&self.table, source) else {
                        self.stranger(source);
                        continue;
                    };
                    self.tally.received(bytes);
                    let owner = self.shard.ways.owner(bytes);
                    let input = Input::Datagram { peer, bytes: Bytes::copy_from_slice(bytes) };
                    if owner == self.shard.index {
                        self.feed(now(), input);
                    } else if let Some(passing) = self.passing.get_mut(owner) {
                        passing.push(input);
                    }
                }
            }
        }
        self.fell_behind(number);
    }

    /// A round may have taken the very last datagram without seeing the end of the queue.
    fn look_behind(&mut self, events: &[epoll::Event]) {
        if !self.behind.is_any() {
            return;
        }
        for number in 0..self.shard.sockets.len() {
            if !events.iter().any(|event| event.data.u64() == number as u64) {
                self.caught_up(number);
            }
        }
    }

    /// The queue of a socket is empty.
    fn caught_up(&mut self, number: usize) {
        if let Some(delay) = self.behind.caught_up(number) {
            self.shard.core.note_queue_delay(now(), delay);
        }
    }

    /// A whole round has not emptied the queue: the brain learns how long the last datagram waited.
    fn fell_behind(&mut self, number: usize) {
        let at = now();
        let arrived = self.shard.sockets.get(number).and_then(SipSocket::last_arrived);
        let delay = arrived.and_then(|arrived| at.wall.duration_since(arrived).ok());
        let delay = self.behind.fell(at.monotonic, number, delay.unwrap_or_default());
        self.shard.core.note_queue_delay(at, delay);
    }

    /// What streams have brought while their last messages were handled waits as datagrams do that
    /// a round has left in the queue.
    fn look_at_streams(&mut self) {
        let number = self.shard.sockets.len();
        let Some(since) = self.shard.mailbox.streams_since() else {
            return self.caught_up(number);
        };
        let at = now();
        let delay = at.monotonic.saturating_duration_since(since);
        let delay = self.behind.fell(at.monotonic, number, delay);
        self.shard.core.note_queue_delay(at, delay);
    }

    /// Takes the table of trunks when it is another one.
    fn follow_trunks(&mut self) {
        let table = self.shard.trunks.load();
        if Arc::ptr_eq(&table, &self.table) {
            return;
        }
        self.table = Arc::clone(&table);
        drop(table);
        self.peers.forget();
        self.feed(now(), Input::Trunks(self.table.book()));
    }

    /// The system may tell one shard of what another has sent.
    fn undelivered(&mut self, Undelivered { destination, branch }: Undelivered) {
        self.tally.unreachable += 1;
        let input = Input::Undelivered { peer: destination.into(), branch };
        let owner = usize::from(branch.shard().number());
        if owner == self.shard.index {
            self.feed(now(), input);
        } else if let Some(passing) = self.passing.get_mut(owner) {
            passing.push(input);
        }
    }

    /// Hands the others what belongs to them.
    fn pass_on(&mut self) {
        for (owner, passing) in self.passing.iter_mut().enumerate() {
            if !passing.is_empty() {
                self.tally.passed += passing.len() as u64;
                self.tally.pass_lost += self.shard.ways.pass(owner, passing);
            }
        }
    }

    /// Silence, a count, and now and then a line for whoever watches the door.
    fn stranger(&mut self, source: SocketAddr) {
        self.tally.strangers += 1;
        self.knocks.write(now().monotonic, Line::Stranger { source: source.ip() });
    }

    /// Takes what other threads have sent.
    fn read_mail(&mut self) {
        self.follow_trunks();
        let mut inbox = std::mem::take(&mut self.inbox);
        self.shard.mailbox.take(&mut inbox);
        while let Some(control) = inbox.controls.pop_front() {
            self.feed(now(), Input::Control(control));
        }
        while let Some(input) = inbox.streams.pop_front() {
            if let Input::Datagram { bytes, .. } = &input {
                self.tally.received(bytes);
            }
            self.feed(now(), input);
        }
        inbox.streams_since = None;
        self.look_at_streams();
        while let Some(input) = inbox.passed.pop_front() {
            self.feed(now(), input);
        }
        for found in inbox.found.drain(..) {
            let at = now();
            if let Some((call, answer)) = self.shard.routes.take(at.monotonic, found) {
                self.feed(at, Input::Route { call, answer });
            }
        }
        let credit = std::mem::take(&mut inbox.credit);
        if credit > 0 {
            self.feed(now(), Input::RecorderCredit(credit));
        }
        self.inbox = inbox;
    }

    fn read_reports(&mut self) {
        while let Some(report) = self.shard.media.try_report() {
            if matches!(report, Report::Closed { .. }) {
                self.closing.0 = self.closing.0.saturating_sub(1);
            }
            self.feed(now(), Input::Media(report));
        }
    }

    /// Fires the brain's timers, retries what had no room, and shows the counts.
    fn keep_time(&mut self) {
        let at = now();
        if self.shard.core.poll_timeout().is_some_and(|due| due <= at.monotonic) {
            self.feed(at, Input::Timeout);
        }
        if !self.held.is_empty() {
            self.media_at.get_or_insert(at.monotonic + MEDIA_WITHIN);
        }
        while let Some(command) = self.held.pop_front() {
            // Only orders about running calls are held, and they have no answer at once.
            if self.shard.media.queue(command.clone()).is_err() {
                self.held.push_front(command);
                break;
            }
        }
        if self.media_at.is_some_and(|due| due <= at.monotonic) {
            self.media_at = None;
            self.shard.media.flush_all();
        }
        // Each attempt gives exactly one record at its end.
        let attempts = self.shard.core.counters().attempts.saturating_sub(self.tally.finished);
        if attempts != self.shown_calls {
            // All shards add up in one number; it wraps as a decrease should.
            let change = attempts.wrapping_sub(self.shown_calls);
            self.shard.shared.calls.fetch_add(change, Ordering::SeqCst);
            self.shown_calls = attempts;
        }
        if self.publish_at <= at.monotonic {
            self.publish_at = at.monotonic + PUBLISH_EVERY;
            self.follow_trunks();
            self.tally.unsent = self.shard.sockets.iter().map(SipSocket::unsent).sum();
            self.published.show(&self.tally, &self.shard.core);
        }
    }

    /// One input, and a full drain of the outputs, until nothing more comes of it.
    fn feed(&mut self, mut at: Now, input: Input) {
        self.shard.core.handle_input(at, input);
        loop {
            while let Some(output) = self.shard.core.poll_output() {
                self.execute(at, output);
            }
            match self.ready.pop_front() {
                // The set-up time in the CDR is what it took, not nothing.
                Some(answer) => {
                    at = now();
                    self.shard.core.handle_input(at, answer);
                }
                None => return,
            }
        }
    }

    fn execute(&mut self, at: Now, output: Output) {
        match output {
            Output::Transmit { to, bytes } => {
                self.tally.sent(&bytes);
                match to.transport {
                    Transport::Udp => self.send_datagram(to.address, bytes),
                    Transport::Tcp | Transport::Tls => self.shard.post.send(to, bytes),
                }
            }
            Output::FindRoute { call, query } => {
                if let Some(answer) = self.shard.routes.ask(at.monotonic, call, query) {
                    self.ready.push_back(Input::Route { call, answer });
                }
            }
            Output::FindLogin { request, user } => self.shard.routes.find_login(request, user),
            Output::AskMenu(question) => self.shard.routes.ask_menu(question),
            Output::Proved { softphone } => self.shard.post.believe(softphone),
            Output::Media(command) => {
                self.media_at.get_or_insert(at.monotonic + MEDIA_WITHIN);
                self.command(at, command);
            }
            Output::Status(call) => self.shard.shared.live.record(call),
            Output::Security(event) => self.alarms.write(at.monotonic, event.into()),
            Output::TrunkStatus(status) => self.shard.shared.trunk_states.note(status),
            Output::Unwanted(unwanted) => self.refuse(unwanted),
            Output::Finished(cdr) => {
                self.tally.finished += 1;
                self.shard.recorder.push(cdr);
            }
        }
    }

    /// The subscriber does not want this call, or any such: that is written at once, and the other
    /// shards hear of it now. When the store has it, every node is told.
    fn refuse(&mut self, unwanted: Unwanted) {
        self.shard.shared.freshness.forget(Subject::Binding(unwanted.binding));
        self.shard.refusals.push(unwanted);
        for (owner, passing) in self.passing.iter_mut().enumerate() {
            if owner != self.shard.index {
                passing.push(Input::Control(Control::Unwanted(unwanted)));
            }
        }
        self.pass_on();
    }

    /// By the socket of its family. Without one it cannot be sent, as a network that is down.
    fn send_datagram(&mut self, to: SocketAddr, bytes: Bytes) {
        match self.shard.sockets.iter_mut().find(|socket| socket.fits(to)) {
            Some(socket) => socket.send(to, bytes),
            None => self.ready.push_back(Input::Unreachable { peer: to.into() }),
        }
    }

    /// A plane without room refuses new calls; orders about running ones wait in order.
    fn command(&mut self, at: Now, command: Command) {
        if matches!(command, Command::Close { .. }) {
            // A call that the plane does not know gets no last word: it is forgotten in time.
            let (closing, until) = self.closing;
            let still = if at.monotonic < until { closing } else { 0 };
            self.closing = (still + 1, at.monotonic + CLOSED_AT_ALL);
        }
        if self.held.is_empty()
            && let Ok(answer) = self.shard.media.queue(command.clone())
        {
            self.ready.extend(answer.map(Input::Media));
            return;
        }
        match command {
            Command::Open { session } => {
                self.ready.push_back(Input::Media(Report::Failed { session }));
            }
            Command::Update { .. }
            | Command::Bridge { .. }
            | Command::Hold { .. }
            | Command::Record { .. }
            | Command::Play { .. }
            | Command::Stop { .. }
            | Command::Keys { .. }
            | Command::Close { .. } => {
                self.held.push_back(command);
            }
        }
    }
}
