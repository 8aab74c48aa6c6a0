//! Carries messages between one link of the plane and the connection of its shard.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::pipe::Pipe;
use super::server::Door;
use super::wire::{Down, Up};
use crate::media::clock::Clock;
use crate::media::link::Link;
use crate::media::plane::Plane;
use crate::rtp::plane::{Command, Report, SessionId};
use crate::rtp::time::Moment;

/// How often the shard is told of free ports.
const PORTS_EVERY: Duration = Duration::from_secs(1);
/// A command that found no room is offered again so soon.
const OFFER_AGAIN: Duration = Duration::from_millis(5);

pub(super) struct Bridge {
    shard: usize,
    door: Arc<Door>,
    link: Link,
    plane: Weak<Plane>,
    pipe: Option<Pipe>,
    /// The connection has something to read, or has ended.
    is_readable: bool,
    /// A command that found no room yet; nothing is read behind it.
    held: Option<Command>,
    /// The open ones, and whether their sides are joined.
    sessions: BTreeMap<SessionId, bool>,
    clock: Clock,
    ports_at: Moment,
}

impl Bridge {
    pub(super) fn new(shard: usize, door: Arc<Door>, link: Link, plane: Weak<Plane>) -> Self {
        let clock = Clock::start();
        Self {
            shard,
            door,
            link,
            plane,
            pipe: None,
            is_readable: false,
            held: None,
            sessions: BTreeMap::new(),
            ports_at: clock.now(),
            clock,
        }
    }

    pub(super) fn run(mut self, stopping: &AtomicBool) {
        while !stopping.load(Ordering::SeqCst) {
            self.wait();
            self.door.bell.clear();
            self.welcome();
            if let Err(error) = self.carry() {
                self.part(&error);
            }
        }
    }

    fn wait(&mut self) {
        let limit = if self.held.is_some() { OFFER_AGAIN } else { PORTS_EVERY };
        let limit =
            Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: limit.subsec_nanos().into() };
        let bell = PollFd::new(&self.door.bell, PollFlags::IN);
        // A signal ends the wait early, and that does no harm.
        self.is_readable = match &self.pipe {
            None => {
                let _ = poll(&mut [bell], Some(&limit));
                false
            }
            Some(pipe) => {
                let mut both = [bell, PollFd::new(pipe, pipe.wants(self.held.is_none()))];
                let _ = poll(&mut both, Some(&limit));
                both[1].revents().intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR)
            }
        };
    }

    /// Calls whose sides are joined speak on. Nobody will ever join the others.
    fn part(&mut self, error: &io::Error) {
        self.pipe = None;
        let unjoined = self.sessions.iter().filter(|(_, is_joined)| !**is_joined);
        for session in unjoined.map(|(session, _)| *session).collect::<Vec<_>>() {
            self.close(session);
        }
        let sessions = self.sessions.len();
        tracing::warn!(%error, shard = self.shard, sessions,
            "The signalling of a shard is away; its calls speak on: {error}");
    }

    /// In the place of the signalling that is away.
    fn close(&mut self, session: SessionId) {
        self.sessions.remove(&session);
        if self.link.send(Command::Close { session }).is_err() {
            // The plane is overwhelmed: tens of thousands of commands wait.
            tracing::error!("A session without signalling could not be closed");
        }
    }

    /// A new connection takes the place of the one before; it is told of the sessions there are.
    fn welcome(&mut self) {
        let visitor = self.door.visitor.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut pipe) = visitor else { return };
        // However many: they are as bounded as calls are.
        for session in self.sessions.keys() {
            pipe.put(&Up::Known(*session));
        }
        pipe.put(&Up::Settled);
        tracing::info!(shard = self.shard, sessions = self.sessions.len(), "A shard is connected");
        self.pipe = Some(pipe);
        self.is_readable = false;
        self.ports_at = self.clock.now();
    }

    fn carry(&mut self) -> io::Result<()> {
        self.take_commands()?;
        self.take_reports();
        let now = self.clock.now();
        let Some(pipe) = &mut self.pipe else { return Ok(()) };
        if now >= self.ports_at && pipe.has_room() {
            self.ports_at = now + PORTS_EVERY;
            let ports = self.plane.upgrade().map(|plane| plane.free_ports()).unwrap_or_default();
            pipe.put(&Up::Ports { free: ports.free as u32, all: ports.all as u32 });
        }
        pipe.flush()
    }

    fn take_commands(&mut self) -> io::Result<()> {
        let mut ended = false;
        if let Some(pipe) = self.pipe.as_mut().filter(|_| self.is_readable) {
            ended = !pipe.fill()?;
        }
        while let Some(command) = self.next_command()? {
            if !self.obey(command) {
                break;
            }
        }
        self.link.flush_all();
        if ended { Err(io::Error::other("it has closed its end")) } else { Ok(()) }
    }

    fn next_command(&mut self) -> io::Result<Option<Command>> {
        if let Some(command) = self.held.take() {
            return Ok(Some(command));
        }
        let Some(pipe) = &mut self.pipe else { return Ok(None) };
        match pipe.take::<Down>().map_err(io::Error::other)? {
            None => Ok(None),
            Some(Down::Command(command)) => Ok(Some(command)),
            Some(Down::Hello { .. }) => Err(io::Error::other("it said hello twice")),
        }
    }

    /// False when there was no room for it and it has to wait.
    fn obey(&mut self, command: Command) -> bool {
        if let Command::Bridge { session } = command
            && let Some(is_joined) = self.sessions.get_mut(&session)
        {
            *is_joined = true;
        }
        let answer = match self.link.queue(command) {
            Ok(answer) => answer,
            Err(_) => match command {
                Command::Open { session } => Some(Report::Failed { session }),
                Command::Update { .. }
                | Command::Bridge { .. }
                | Command::Hold { .. }
                | Command::Record { .. }
                | Command::Play { .. }
                | Command::Stop { .. }
                | Command::Keys { .. }
                | Command::Close { .. } => {
                    self.held = Some(command);
                    return false;
                }
            },
        };
        if let Some(report) = answer {
            self.tell(report);
        }
        true
    }

    fn take_reports(&mut self) {
        while self.pipe.as_ref().is_none_or(Pipe::has_room) {
            let Some(report) = self.link.try_report() else { return };
            self.tell(report);
        }
    }

    fn tell(&mut self, report: Report) {
        let session = report.session();
        match report {
            Report::Opened { .. } => {
                self.sessions.insert(session, false);
                if self.pipe.is_none() {
                    self.close(session);
                }
            }
            Report::Failed { .. } | Report::Closed { .. } | Report::Lost { .. } => {
                self.sessions.remove(&session);
            }
            Report::Silent { .. } if self.pipe.is_none() => self.close(session),
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
}
