//! Carries messages between one link of the plane and the connection of its shard.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};

use super::pipe::{Filled, Pipe};
use super::server::{Door, Visitor};
use super::wire::{Down, Up};
use crate::media::bell::timespec;
use crate::media::clock::Clock;
use crate::media::link::Link;
use crate::media::plane::Plane;
use crate::rtp::plane::{Command, Report, SessionId};
use crate::rtp::time::Moment;

/// How often the shard is told of free ports.
const PORTS_EVERY: Duration = Duration::from_secs(1);
/// A command that found no room is offered again so soon.
const OFFER_AGAIN: Duration = Duration::from_millis(5);
/// Nobody is woken for the last word about a call: it is looked for so soon after a `Close`.
const LAST_WORDS_EVERY: Duration = Duration::from_millis(10);

pub(super) struct Bridge {
    shard: usize,
    door: Arc<Door>,
    link: Link,
    plane: Weak<Plane>,
    /// A call may last so long without the signalling that knew when it has to end.
    orphan_time: Duration,
    pipe: Option<Pipe>,
    /// The connection has something to read, or has ended.
    is_readable: bool,
    /// A command that found no room yet; nothing is read behind it.
    held: Option<Command>,
    sessions: BTreeMap<SessionId, Known>,
    /// Closed by nobody but us, as soon as there is room for the command.
    doomed: BTreeSet<SessionId>,
    /// `Close`s without their `Closed`.
    closing: usize,
    clock: Clock,
    ports_at: Moment,
}

/// What is known of an open session.
#[derive(Clone, Copy, Default)]
struct Known {
    is_joined: bool,
    /// Its signalling has ended; it is closed then.
    until: Option<Moment>,
}

impl Bridge {
    pub(super) fn new(
        shard: usize,
        door: Arc<Door>,
        link: Link,
        plane: Weak<Plane>,
        orphan_time: Duration,
    ) -> Self {
        let clock = Clock::start();
        Self {
            shard,
            door,
            link,
            plane,
            orphan_time,
            pipe: None,
            is_readable: false,
            held: None,
            sessions: BTreeMap::new(),
            doomed: BTreeSet::new(),
            closing: 0,
            ports_at: clock.now(),
            clock,
        }
    }

    pub(super) fn run(mut self, stopping: &AtomicBool) {
        while !stopping.load(Ordering::SeqCst) {
            self.wait();
            self.door.bell.clear();
            if let Err(error) = self.carry() {
                self.part(&error);
            }
            self.welcome();
            self.close_doomed();
        }
    }

    fn wait(&mut self) {
        let is_hurried = self.held.is_some() || !self.doomed.is_empty();
        let limit = match (is_hurried, self.closing) {
            (true, _) => OFFER_AGAIN,
            (false, 0) => PORTS_EVERY,
            (false, _) => LAST_WORDS_EVERY,
        };
        let limit = timespec(limit);
        let bell = PollFd::new(&self.door.bell, PollFlags::IN);
        // A signal ends the wait early, and that does no harm.
        self.is_readable = match &self.pipe {
            None => {
                let _ = poll(&mut [bell], Some(&limit));
                false
            }
            Some(pipe) => {
                // Who does not hear the answers is not asked for more of what brings them.
                let reads = self.held.is_none() && pipe.has_room();
                let mut both = [bell, PollFd::new(pipe, pipe.wants(reads))];
                let _ = poll(&mut both, Some(&limit));
                both[1].revents().intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR)
            }
        };
    }

    /// Calls whose sides are joined speak on, for a time. Nobody will ever join the others.
    fn part(&mut self, error: &io::Error) {
        self.pipe = None;
        let until = self.clock.now() + self.orphan_time;
        for (session, known) in &mut self.sessions {
            known.until = Some(until);
            if !known.is_joined {
                self.doomed.insert(*session);
            }
        }
        let sessions = self.sessions.len() - self.doomed.len();
        tracing::warn!(%error, shard = self.shard, sessions,
            "The signalling of a shard is away; its calls speak on: {error}");
    }

    /// Where the one before has ended, a new connection is told of the sessions there are.
    fn welcome(&mut self) {
        let visitor = self.door.visitor.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Visitor { mut pipe, is_known }) = visitor else { return };
        if self.pipe.is_some() {
            // What it has said last may still be unread.
            match self.hear_out() {
                Ok(()) => {
                    let shard = self.shard;
                    return tracing::error!(shard, "A second signalling process was turned away");
                }
                Err(error) => self.part(&error),
            }
        }
        for (session, known) in &mut self.sessions {
            if is_known {
                // The process that opened it is still there.
                known.until = None;
            }
            // However many: they are as bounded as calls are.
            pipe.put(&Up::Known(*session));
        }
        pipe.put(&Up::Settled);
        tracing::info!(shard = self.shard, sessions = self.sessions.len(), "A shard is connected");
        self.pipe = Some(pipe);
        self.ports_at = self.clock.now();
    }

    fn carry(&mut self) -> io::Result<()> {
        if self.is_readable {
            self.take_commands()?;
        } else {
            self.obey_all()?;
        }
        self.end_orphans();
        let now = self.clock.now();
        if let Some(pipe) = self.pipe.as_mut().filter(|pipe| pipe.has_room())
            && now >= self.ports_at
        {
            self.ports_at = now + PORTS_EVERY;
            let ports = self.plane.upgrade().map(|plane| plane.free_ports()).unwrap_or_default();
            pipe.put(&Up::Ports { free: ports.free as u32, all: ports.all as u32 });
        }
        loop {
            let has_more = self.take_reports();
            let Some(pipe) = &mut self.pipe else { return Ok(()) };
            if let Err(error) = pipe.flush() {
                // Its last words, and then the end.
                self.hear_out()?;
                return Err(error);
            }
            if !has_more || !self.pipe.as_ref().is_some_and(Pipe::has_room) {
                return Ok(());
            }
        }
    }

    /// One look at the connection.
    fn take_commands(&mut self) -> io::Result<Filled> {
        let Some(pipe) = &mut self.pipe else { return Ok(Filled::Nothing) };
        let filled = pipe.fill()?;
        self.obey_all()?;
        match filled {
            Filled::End => Err(io::Error::other("it has closed its end")),
            Filled::Some | Filled::Nothing => Ok(filled),
        }
    }

    /// Reads until nothing is left. `Err` when the peer has ended.
    fn hear_out(&mut self) -> io::Result<()> {
        while self.held.is_none() && self.take_commands()? == Filled::Some {}
        Ok(())
    }

    fn obey_all(&mut self) -> io::Result<()> {
        while let Some(command) = self.next_command()? {
            if !self.obey(command) {
                break;
            }
        }
        self.link.flush_all();
        Ok(())
    }

    fn next_command(&mut self) -> io::Result<Option<Command>> {
        if let Some(command) = self.held.take() {
            return Ok(Some(command));
        }
        let Some(pipe) = &mut self.pipe else { return Ok(None) };
        match pipe.take::<Down>().map_err(io::Error::other)? {
            None => Ok(None),
            Some(Down::Command(command)) => Ok(Some(command)),
            Some(Down::Hello(_)) => Err(io::Error::other("it said hello twice")),
        }
    }

    /// False when there was no room for it and it has to wait.
    fn obey(&mut self, command: Command) -> bool {
        if let Command::Bridge { session } = &command
            && let Some(known) = self.sessions.get_mut(session)
        {
            known.is_joined = true;
        }
        if let (Command::Close { session }, true) = (&command, self.held.is_none()) {
            self.closing += usize::from(self.sessions.contains_key(session));
        }
        let answer = match self.link.queue(command.clone()) {
            Ok(answer) => answer,
            Err(_) => {
                let Command::Open { session } = command else {
                    self.held = Some(command);
                    return false;
                };
                Some(Report::Failed { session })
            }
        };
        if let Some(report) = answer {
            self.tell(report);
        }
        true
    }

    /// True when it stopped for want of room.
    fn take_reports(&mut self) -> bool {
        while self.pipe.as_ref().is_none_or(Pipe::has_room) {
            let Some(report) = self.link.try_report() else { return false };
            self.tell(report);
        }
        true
    }

    fn tell(&mut self, report: Report) {
        let session = report.session();
        match report {
            Report::Opened { .. } => {
                self.sessions.insert(session, Known::default());
                if self.pipe.is_none() {
                    self.doomed.insert(session);
                }
            }
            Report::Closed { .. } => {
                self.sessions.remove(&session);
                self.closing = self.closing.saturating_sub(1);
            }
            Report::Failed { .. } | Report::Lost { .. } => {
                self.sessions.remove(&session);
            }
            Report::Silent { .. } if self.pipe.is_none() => {
                self.doomed.insert(session);
            }
            Report::Silent { .. }
            | Report::PlayDone { .. }
            | Report::Key { .. }
            | Report::Latched { .. }
            | Report::OneWay { .. }
            | Report::Recording { .. } => {}
        }
        if let Some(pipe) = &mut self.pipe {
            pipe.put(&Up::Report(report));
        }
    }

    /// Sessions whose signalling has ended, and that nobody has closed since.
    fn end_orphans(&mut self) {
        let now = self.clock.now();
        let is_over = |known: &Known| known.until.is_some_and(|until| now >= until);
        let over = self.sessions.iter().filter(|(_, known)| is_over(known));
        self.doomed.extend(over.map(|(session, _)| *session));
    }

    /// In the place of the signalling that is away.
    fn close_doomed(&mut self) {
        while let Some(session) = self.doomed.first().copied() {
            if self.link.send(Command::Close { session }).is_err() {
                return;
            }
            self.doomed.remove(&session);
            // Once: it is known until its last word has come.
            if let Some(known) = self.sessions.get_mut(&session) {
                known.until = None;
                self.closing += 1;
            }
        }
    }
}
