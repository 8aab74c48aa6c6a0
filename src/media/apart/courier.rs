//! The thread behind a link to a media plane of another process. It keeps the connection, and what
//! the brain has to hear when that is lost.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};

use super::client::Shared;
use super::pipe::{Filled, Pipe};
use super::server::check_peer;
use super::wire::{Down, Hello, Up};
use crate::media::bell::timespec;
use crate::media::clock::Clock;
use crate::media::link::Waker;
use crate::rtp::plane::{Command, Report, SessionId};
use crate::rtp::time::Moment;

/// How often a plane that is away is looked for, and how long one may take to answer a hello.
const RETRY: Duration = Duration::from_millis(200);
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// After so long the sessions of a plane that does not come back are taken for lost.
const LOST_AFTER: Duration = Duration::from_secs(3);
/// A report that found no room is offered again so soon.
const OFFER_AGAIN: Duration = Duration::from_millis(5);

pub(super) struct Courier {
    path: PathBuf,
    hello: Hello,
    shared: Arc<Shared>,
    reports: SyncSender<Report>,
    waker: Waker,
    state: State,
    /// Since when there is no connection that works.
    away_since: Moment,
    /// Why there is none, as it was logged.
    told: Option<String>,
    /// Our sessions there.
    sessions: BTreeSet<SessionId>,
    /// Those that the plane has named after the hello.
    known: BTreeSet<SessionId>,
    /// The link has no room for these yet. While there are some, nothing is read.
    unsent: VecDeque<Report>,
    clock: Clock,
}

enum State {
    Away {
        retry_at: Moment,
    },
    /// The plane names the sessions it knows; commands wait.
    Settling {
        pipe: Pipe,
        until: Moment,
    },
    Up(Pipe),
}

impl Courier {
    pub(super) fn new(
        (path, hello): (PathBuf, Hello),
        shared: Arc<Shared>,
        reports: SyncSender<Report>,
        waker: Waker,
    ) -> Self {
        let clock = Clock::start();
        let now = clock.now();
        Self {
            path,
            hello,
            shared,
            reports,
            waker,
            state: State::Away { retry_at: now },
            away_since: now,
            told: None,
            sessions: BTreeSet::new(),
            known: BTreeSet::new(),
            unsent: VecDeque::new(),
            clock,
        }
    }

    pub(super) fn run(mut self) {
        while !self.shared.stopping.load(Ordering::SeqCst) {
            let is_readable = self.wait();
            self.shared.bell.clear();
            self.send_unsent();
            let done = match self.state {
                State::Away { .. } => self.look_for_it(),
                State::Settling { .. } | State::Up(_) => self.carry(is_readable),
            };
            if let Err(error) = done {
                self.part(&error);
            }
            if !matches!(self.state, State::Up(_))
                && self.clock.now() >= self.away_since + LOST_AFTER
            {
                self.lose(|_| true);
            }
            if matches!(self.state, State::Away { .. }) {
                self.answer_alone();
            }
        }
        // What the brain has ordered last shall be done; nobody hears of it any more.
        let _ = self.send_orders();
    }

    /// True when the connection has something to read, or has ended.
    fn wait(&mut self) -> bool {
        let now = self.clock.now();
        let at = match &self.state {
            State::Away { retry_at } => Some(*retry_at),
            State::Settling { until, .. } => Some((*until).min(self.away_since + LOST_AFTER)),
            State::Up(_) => None,
        };
        // At least a little, so that a time that has passed does not keep the thread busy.
        let at = at.map(|at| at.since(now).max(OFFER_AGAIN));
        let offer = (!self.unsent.is_empty()).then_some(OFFER_AGAIN);
        let limit = [at, offer].into_iter().flatten().min().map(timespec);
        let bell = PollFd::new(&self.shared.bell, PollFlags::IN);
        // A signal ends the wait early, and that does no harm.
        match &self.state {
            State::Settling { pipe, .. } | State::Up(pipe) if self.unsent.is_empty() => {
                let mut both = [bell, PollFd::new(pipe, pipe.wants(true))];
                let _ = poll(&mut both, limit.as_ref());
                both[1].revents().intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR)
            }
            State::Away { .. } | State::Settling { .. } | State::Up(_) => {
                let _ = poll(&mut [bell], limit.as_ref());
                false
            }
        }
    }

    fn look_for_it(&mut self) -> io::Result<()> {
        let now = self.clock.now();
        match &mut self.state {
            State::Away { retry_at } if now >= *retry_at => *retry_at = now + RETRY,
            State::Away { .. } | State::Settling { .. } | State::Up(_) => return Ok(()),
        }
        let stream = UnixStream::connect(&self.path)?;
        check_peer(&stream)?;
        let mut pipe = Pipe::new(stream)?;
        pipe.put(&Down::Hello(self.hello));
        pipe.flush()?;
        self.known.clear();
        self.state = State::Settling { pipe, until: now + ANSWER_WITHIN };
        Ok(())
    }

    fn carry(&mut self, is_readable: bool) -> io::Result<()> {
        if let State::Settling { until, .. } = &self.state
            && self.clock.now() >= *until
        {
            return Err(io::Error::other("it does not answer"));
        }
        let Some(pipe) = self.pipe() else { return Ok(()) };
        let filled = if is_readable { pipe.fill()? } else { Filled::Nothing };
        self.take_messages()?;
        let sent = self.send_orders();
        match filled {
            Filled::End => Err(io::Error::other("it has closed its end")),
            Filled::Some | Filled::Nothing => sent,
        }
    }

    fn pipe(&mut self) -> Option<&mut Pipe> {
        match &mut self.state {
            State::Away { .. } => None,
            State::Settling { pipe, .. } | State::Up(pipe) => Some(pipe),
        }
    }

    fn take_messages(&mut self) -> io::Result<()> {
        while let Some(pipe) = self.pipe() {
            let Some(message) = pipe.take::<Up>().map_err(io::Error::other)? else { break };
            match message {
                Up::Known(session) => {
                    self.known.insert(session);
                }
                Up::Settled => self.settle(),
                Up::Report(report) => {
                    if matches!(report, Report::Closed { .. } | Report::Failed { .. }) {
                        self.sessions.remove(&report.session());
                    }
                    self.offer(report);
                }
                Up::Ports { free, all } => {
                    self.shared.free.store(free, Ordering::SeqCst);
                    self.shared.all.store(all, Ordering::SeqCst);
                }
                Up::Refused(unfit) => return Err(io::Error::other(unfit)),
            }
        }
        Ok(())
    }

    /// The plane has named all it knows.
    fn settle(&mut self) {
        let away = State::Away { retry_at: self.clock.now() };
        self.state = match std::mem::replace(&mut self.state, away) {
            State::Settling { pipe, .. } => State::Up(pipe),
            other @ (State::Away { .. } | State::Up(_)) => other,
        };
        let known = std::mem::take(&mut self.known);
        self.lose(|session| !known.contains(session));
        let strange: Vec<_> = known.difference(&self.sessions).copied().collect();
        let (shard, sessions, found) = (self.hello.shard, known.len(), strange.len());
        tracing::info!(shard, sessions, found, "Connected to the media plane");
        if self.hello.is_known {
            // Given up in the meantime.
            for session in strange {
                self.send(Command::Close { session });
            }
        } else {
            // Of the process before this one.
            metrics::counter!("maskline_media_sessions_found_total").increment(found as u64);
            self.sessions.extend(strange);
        }
        self.hello.is_known = true;
        self.told = None;
        self.shared.is_connected.store(true, Ordering::SeqCst);
    }

    fn send_orders(&mut self) -> io::Result<()> {
        loop {
            while let State::Up(pipe) = &self.state
                && pipe.has_room()
                && let Some(command) = self.shared.pop()
            {
                self.send(command);
            }
            let Some(pipe) = self.pipe() else { return Ok(()) };
            let had_room = pipe.has_room();
            pipe.flush()?;
            if had_room || !pipe.has_room() {
                return Ok(());
            }
        }
    }

    fn send(&mut self, command: Command) {
        let State::Up(pipe) = &mut self.state else { return };
        match command {
            Command::Open { session } => {
                self.sessions.insert(session);
            }
            // Lost before: the plane says nothing of what it does not know.
            Command::Close { session } if !self.sessions.contains(&session) => {
                pipe.put(&Down::Command(command));
                return self.offer(Report::Failed { session });
            }
            Command::Update { .. }
            | Command::Bridge { .. }
            | Command::Hold { .. }
            | Command::Record { .. }
            | Command::Play { .. }
            | Command::Stop { .. }
            | Command::Keys { .. }
            | Command::Close { .. } => {}
        }
        pipe.put(&Down::Command(command));
    }

    /// There is no connection, or none any more.
    fn part(&mut self, error: &io::Error) {
        let now = self.clock.now();
        if self.shared.is_connected.swap(false, Ordering::SeqCst) {
            self.away_since = now;
        }
        self.state = State::Away { retry_at: now + RETRY };
        self.shared.free.store(0, Ordering::SeqCst);
        // Once for each reason, not with each try.
        let reason = error.to_string();
        if self.told.as_ref() != Some(&reason) {
            tracing::error!(%error, shard = self.hello.shard, sessions = self.sessions.len(),
                "The media plane is away, new calls get no ports: {error}");
            self.told = Some(reason);
        }
    }

    /// What the brain orders while the plane is away.
    fn answer_alone(&mut self) {
        while self.unsent.is_empty()
            && let Some(command) = self.shared.pop()
        {
            let session = command.session();
            match command {
                // There are no ports; and no last word will come.
                Command::Open { .. } | Command::Close { .. } => {
                    self.sessions.remove(&session);
                    self.offer(Report::Failed { session });
                }
                // A session that has missed an order is of no use any more.
                Command::Update { .. }
                | Command::Bridge { .. }
                | Command::Hold { .. }
                | Command::Record { .. }
                | Command::Play { .. }
                | Command::Stop { .. }
                | Command::Keys { .. } => self.lose(|it| *it == session),
            }
        }
    }

    /// These sessions of ours are no more.
    fn lose(&mut self, which: impl Fn(&SessionId) -> bool) {
        let lost: Vec<_> = self.sessions.iter().copied().filter(which).collect();
        for session in lost {
            self.sessions.remove(&session);
            self.offer(Report::Lost { session });
        }
    }

    fn offer(&mut self, report: Report) {
        if self.unsent.is_empty() && self.try_send(report) {
            (self.waker)();
        } else {
            self.unsent.push_back(report);
        }
    }

    fn send_unsent(&mut self) {
        while let Some(report) = self.unsent.front().copied() {
            if !self.try_send(report) {
                return;
            }
            self.unsent.pop_front();
            (self.waker)();
        }
    }

    /// False when there is no room. A shard that is gone takes everything.
    fn try_send(&self, report: Report) -> bool {
        !matches!(self.reports.try_send(report), Err(TrySendError::Full(_)))
    }
}
