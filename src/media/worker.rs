//! One media thread: wait, take a packet of each ready socket, send it on, obey, report, pause.

mod taping;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::io::Errno;

use super::batch::Batch;
use super::bell::timespec;
use super::calls::Calls;
use super::clock::{Clock, pause};
use super::link::{CommandQueue, News, Order, Reporter};
use super::meter::{FLUSH_INTERVAL, Meter};
use super::pace::Pace;
use super::sockets::{Channel, PACKET_BYTES_MAX, Place};
use super::tape::{Kept, Tape, Taping};
use crate::rtp::plane::{Command, Report, SessionId, Side};
use crate::rtp::rtcp::REPORT_BYTES_MAX;
use crate::rtp::session::{Dropped, FRAME_BYTES, Play, Session};
use crate::rtp::sound::Sounds;
use crate::rtp::time::Moment;

/// The most events of one round.
const EVENTS_MAX: usize = 512;
/// The most commands of one round: opening ports takes longer than sending packets, and packets
/// wait.
const COMMANDS_PER_ROUND_MAX: usize = 16;
/// How soon a report that found no room is offered again.
const REPORT_RETRY: Duration = Duration::from_millis(5);
/// The token of the command queue's event. No slot is this high.
const COMMANDS_TOKEN: u64 = u64::MAX;

/// A media thread.
pub(super) struct Worker {
    /// Which thread of the plane it is.
    part: usize,
    clock: Clock,
    poller: OwnedFd,
    /// RTCP is read into this.
    buffer: Box<[u8; PACKET_BYTES_MAX]>,
    batch: Batch,
    queue: Arc<CommandQueue>,
    /// More commands wait than one round takes.
    has_more: bool,
    calls: Calls,
    sounds: Arc<Sounds>,
    /// Where recordings go.
    tape: Option<Tape>,
    /// Recordings that are over, and whose recorder is behind.
    untold: Vec<Taping>,
    /// Calls whose recordings have just lost too much.
    lossy: Vec<(usize, SessionId)>,
    timers: BinaryHeap<Reverse<Timer>>,
    /// Reports that found no room yet. While there are some, no command is taken.
    unsent: VecDeque<(usize, Report)>,
    reporters: Vec<Reporter>,
    /// Links that have got reports in this round.
    to_wake: Vec<usize>,
    rng: ChaCha20Rng,
    pace: Pace,
    meter: Meter,
}

/// When a call wants to be asked. Outdated ones are recognised by their number and passed over.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Timer {
    at: Moment,
    slot: usize,
    number: u64,
}

impl Worker {
    pub(super) fn new(
        part: usize,
        clock: Clock,
        queue: Arc<CommandQueue>,
        reporters: Vec<Reporter>,
        calls: Calls,
        library: (Arc<Sounds>, Option<Tape>),
        rng: ChaCha20Rng,
    ) -> io::Result<Self> {
        let poller = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let token = epoll::EventData::new_u64(COMMANDS_TOKEN);
        epoll::add(&poller, queue.event(), token, epoll::EventFlags::IN)?;
        Ok(Self {
            part,
            clock,
            poller,
            buffer: Box::new([0; PACKET_BYTES_MAX]),
            batch: Batch::new(),
            queue,
            has_more: false,
            calls,
            sounds: library.0,
            tape: library.1,
            untold: Vec::new(),
            lossy: Vec::new(),
            timers: BinaryHeap::new(),
            unsent: VecDeque::new(),
            to_wake: Vec::with_capacity(reporters.len()),
            reporters,
            rng,
            pace: Pace::default(),
            meter: Meter::new(),
        })
    }

    /// Runs until the plane stops.
    pub(super) fn run(mut self) {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        let mut now = self.clock.now();
        self.open_spares(now);
        while !self.queue.is_stopping() {
            if let Err(error) = self.wait(now, &mut events) {
                tracing::error!(%error, "A media thread cannot wait for packets and ends");
                break;
            }
            now = self.clock.now();
            self.send_unsent();
            // First, so that a packet never overtakes the command that lets it pass or stops it.
            self.take_commands(now);
            let packets = self.take_packets(now, &events);
            self.run_timers(now);
            self.wake_links();
            self.end_recordings();
            self.meter.flush_if_due(now);
            if let Some(time) = self.pace.after_round(now, packets) {
                pause(time);
            }
        }
        self.meter.ports(0, self.calls.ports());
        self.meter.flush();
    }

    fn wait(&self, now: Moment, events: &mut Vec<epoll::Event>) -> io::Result<()> {
        let timeout = self.timeout(now).map(timespec);
        events.clear();
        match epoll::wait(&self.poller, spare_capacity(events), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// For ever, when nothing but packets and commands can happen.
    fn timeout(&self, now: Moment) -> Option<Duration> {
        if self.has_more && self.unsent.is_empty() {
            return Some(Duration::ZERO);
        }
        let retry = (!self.unsent.is_empty()).then_some(REPORT_RETRY);
        let timer = self.timers.peek().map(|Reverse(timer)| timer.at.since(now));
        let flush = (!self.calls.is_empty()).then_some(FLUSH_INTERVAL);
        [retry, timer, flush].into_iter().flatten().min()
    }

    /// One packet of each ready socket; those with more are ready again in the next round.
    fn take_packets(&mut self, now: Moment, events: &[epoll::Event]) -> u64 {
        let mut packets = 0;
        for event in events {
            let token = event.data.u64();
            if token == COMMANDS_TOKEN {
                self.queue.clear_event();
                // What was queued before it is not announced again.
                self.has_more |= self.queue.has_commands();
                continue;
            }
            let (slot, place) = Place::of_token(token);
            packets += 1;
            match place.channel {
                Channel::Rtp => self.take_rtp(now, slot, place.side),
                Channel::Rtcp => self.take_rtcp(now, slot, place.side),
            }
        }
        self.send_batch(now);
        packets
    }

    fn take_rtp(&mut self, now: Moment, slot: usize, side: Side) {
        let Some(call) = self.calls.at(slot) else { return };
        let buffer = self.batch.room();
        let Some((length, source)) = call.sockets.receive(Place::rtp(side), buffer) else {
            return;
        };
        let counts = &mut self.meter.counts;
        counts.packets_in += 1;
        let forward = match buffer.get_mut(..length) {
            Some(packet) => call.session.receive_rtp(now, side, source, packet),
            None => Err(call.session.refuse_oversized(side)),
        };
        let has_news = call.session.has_news();
        match forward {
            Ok(forward) => self.batch.add(slot, side, forward.bytes, forward.to),
            Err(why) => count(&mut counts.dropped, why),
        }
        if self.batch.is_full() {
            self.send_batch(now);
        }
        if has_news {
            self.tell_news(slot);
        }
    }

    /// Sends on what was taken.
    fn send_batch(&mut self, now: Moment) {
        let counts = &mut self.meter.counts;
        for (relayed, packet) in self.batch.packets() {
            let Some(call) = self.calls.at(relayed.slot) else { continue };
            let from = relayed.from;
            let sealed = call.session.seal_rtp(from.other(), packet);
            let Some(leaving) = sealed.leaving(packet) else {
                counts.seal_failed += 1;
                continue;
            };
            match call.sockets.send(Place::rtp(from.other()), leaving, relayed.to) {
                Ok(()) => {
                    counts.packets_out += 1;
                    counts.bytes += packet.len() as u64;
                    if let (Some(taping), Some(tape)) = (&mut call.taping, &self.tape) {
                        let kept = tape.add(taping, now, from, &call.session, packet);
                        if kept == Kept::TooLittle {
                            self.lossy.push((call.link, call.id));
                        }
                    }
                }
                Err(_) => counts.send_failed += 1,
            }
        }
        self.batch.clear();
        self.tell_lossy();
    }

    fn take_rtcp(&mut self, now: Moment, slot: usize, side: Side) {
        let Some(call) = self.calls.at(slot) else { return };
        let Some((length, source)) = call.sockets.receive(Place::rtcp(side), &mut self.buffer)
        else {
            return;
        };
        let counts = &mut self.meter.counts;
        counts.rtcp_in += 1;
        let taken = match self.buffer.get(..length) {
            Some(packet) => call.session.receive_rtcp(now, side, source, packet),
            None => Err(call.session.refuse_oversized(side)),
        };
        if let Err(why) = taken {
            count(&mut counts.dropped, why);
        }
    }

    fn take_commands(&mut self, now: Moment) {
        self.has_more = self.queue.has_commands();
        if !self.has_more {
            return;
        }
        for _ in 0..COMMANDS_PER_ROUND_MAX {
            if !self.unsent.is_empty() {
                return;
            }
            let Some((link, order)) = self.queue.pop() else {
                self.has_more = false;
                break;
            };
            match order {
                Order::Command(command) => self.obey(now, link, command),
                Order::Take { session, spare } => self.take_spare(now, link, session, spare),
                Order::Taped { session, number, begun } => self.taped(session, number, begun),
            }
        }
        self.open_spares(now);
        let open = self.calls.len() * 2;
        self.meter.ports(open, self.calls.ports());
    }

    fn take_spare(&mut self, now: Moment, link: usize, session: SessionId, spare: usize) {
        let taken = self.calls.take_spare(now, session, spare, &self.poller, &mut self.rng);
        if let Err(error) = taken {
            tracing::warn!(%error, "No ports for a call");
            self.report(link, Report::Failed { session });
        }
    }

    /// Opens ports in advance, so that a call does not wait for them. Half of them are opened in a
    /// row, which costs fewer wake-ups than one at a time.
    fn open_spares(&mut self, now: Moment) {
        let wanted = self.calls.spares_wanted();
        for link in 0..self.reporters.len() {
            let spares = self.calls.spares(link);
            if spares * 2 > wanted {
                continue;
            }
            for _ in spares..wanted {
                // Without ports to spare, a call asks for its own and hears why there are none.
                let Ok(spare) = self.calls.open_spare(now, link, &mut self.rng) else { return };
                let news = News::Spare { thread: self.part, spare };
                if self.reporters[link].offer(news).is_err() {
                    self.calls.drop_spare(now, spare.id);
                    break;
                }
            }
        }
    }

    fn obey(&mut self, now: Moment, link: usize, command: Command) {
        match command {
            Command::Open { session } => {
                let opened = self.calls.open(now, link, session, &self.poller, &mut self.rng);
                match opened {
                    Ok(local) => self.report(link, Report::Opened { session, local }),
                    Err(error) => {
                        tracing::warn!(%error, "No ports for a call");
                        self.report(link, Report::Failed { session });
                    }
                }
            }
            Command::Update { session, side, remote, keys } => {
                let (keys, rng) = (keys.as_deref(), &mut self.rng);
                let slot = self.calls.update(now, session, side, remote, keys, rng);
                self.arm(slot);
            }
            Command::Bridge { session } => {
                let slot = self.calls.bridge(now, session, &mut self.rng);
                self.arm(slot);
            }
            Command::Hold { session } => self.change(session, |call, _| call.hold()),
            Command::Play { session, side, play, sound, until_key } => {
                let wanted = Play { play, sound, until_key };
                self.change(session, |call, rng| call.play(now, side, wanted, rng));
            }
            Command::Stop { session, side } => self.change(session, |call, _| call.stop(side)),
            Command::Keys { session, side, mode } => {
                self.change(session, |call, _| call.keys(side, mode));
            }
            Command::Record { session, recording } => self.record(now, session, recording),
            Command::Close { session } => match self.calls.close(now, session) {
                Some(call) => {
                    self.untold.extend(call.taping);
                    self.end_recordings();
                    let counts = call.session.counts();
                    self.meter.closed(&counts);
                    self.report(call.link, Report::Closed { session, counts });
                }
                None => self.meter.counts.unknown_session += 1,
            },
        }
    }

    fn change(&mut self, id: SessionId, change: impl FnOnce(&mut Session, &mut ChaCha20Rng)) {
        let slot = self.calls.find(id);
        if let Some(call) = slot.and_then(|slot| self.calls.at(slot)) {
            change(&mut call.session, &mut self.rng);
        }
        self.arm(slot);
    }

    /// Sets the timer of a call anew.
    fn arm(&mut self, slot: Option<usize>) {
        let Some((slot, call)) = slot.and_then(|slot| Some((slot, self.calls.at(slot)?))) else {
            self.meter.counts.unknown_session += 1;
            return;
        };
        let Some(at) = call.session.poll_timeout() else { return };
        call.timer = call.timer.wrapping_add(1);
        self.timers.push(Reverse(Timer { at, slot, number: call.timer }));
    }

    fn run_timers(&mut self, now: Moment) {
        while let Some(Reverse(timer)) = self.timers.peek().copied() {
            if timer.at > now {
                break;
            }
            self.timers.pop();
            let Some(call) = self.calls.at(timer.slot).filter(|call| call.timer == timer.number)
            else {
                continue;
            };
            let (link, session) = (call.link, call.id);
            let due = call.session.handle_timeout(now, &mut self.rng);
            if due.reports {
                self.send_rtcp(now, timer.slot);
            }
            if due.silent {
                self.report(link, Report::Silent { session });
            }
            self.send_frames(now, timer.slot);
            self.tell_news(timer.slot);
            self.arm(Some(timer.slot));
        }
    }

    fn send_rtcp(&mut self, now: Moment, slot: usize) {
        let Some(call) = self.calls.at(slot) else { return };
        let mut buffer = [0; REPORT_BYTES_MAX];
        for side in [Side::A, Side::B] {
            let Some((to, length)) = call.session.write_report(now, side, &mut buffer) else {
                continue;
            };
            match call.sockets.send(Place::rtcp(side), &buffer[..length], to) {
                Ok(()) => self.meter.counts.rtcp_out += 1,
                Err(_) => self.meter.counts.send_failed += 1,
            }
        }
    }

    /// Sends what is played to both sides.
    fn send_frames(&mut self, now: Moment, slot: usize) {
        let Some(call) = self.calls.at(slot) else { return };
        let counts = &mut self.meter.counts;
        let mut packet = [0; FRAME_BYTES];
        for side in [Side::A, Side::B] {
            while let Some((to, length)) =
                call.session.poll_frame(now, side, &self.sounds, &mut packet)
            {
                let frame = &packet[..length];
                let sealed = call.session.seal_rtp(side, frame);
                let Some(leaving) = sealed.leaving(frame) else {
                    counts.seal_failed += 1;
                    continue;
                };
                match call.sockets.send(Place::rtp(side), leaving, to) {
                    Ok(()) => counts.frames_out += 1,
                    Err(_) => counts.send_failed += 1,
                }
            }
        }
    }

    /// Passes on what a call has to tell.
    fn tell_news(&mut self, slot: usize) {
        while let Some(call) = self.calls.at(slot)
            && let Some(news) = call.session.poll_news()
        {
            let report = news.report(call.id);
            let link = call.link;
            self.report(link, report);
        }
    }

    fn report(&mut self, link: usize, report: Report) {
        let news = News::Report(report);
        if !self.unsent.is_empty() || self.reporters[link].offer(news).is_err() {
            self.unsent.push_back((link, report));
        } else if is_awaited(&report) && !self.to_wake.contains(&link) {
            self.to_wake.push(link);
        }
    }

    fn send_unsent(&mut self) {
        while let Some((link, report)) = self.unsent.front().copied() {
            if self.reporters[link].offer(News::Report(report)).is_err() {
                break;
            }
            self.unsent.pop_front();
            if !self.to_wake.contains(&link) {
                self.to_wake.push(link);
            }
        }
    }

    fn wake_links(&mut self) {
        for link in self.to_wake.drain(..) {
            self.reporters[link].wake();
        }
    }
}

/// Nobody waits for the last word about a call: its shard reads it when it is awake anyway.
const fn is_awaited(report: &Report) -> bool {
    !matches!(report, Report::Closed { .. })
}

fn count(dropped: &mut [u64; Dropped::ALL.len()], why: Dropped) {
    dropped[why.index()] += 1;
}
