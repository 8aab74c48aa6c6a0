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

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::client::Shared;
use super::pipe::Pipe;
use super::wire::{Down, Up, VERSION};
use crate::media::clock::Clock;
use crate::media::link::Waker;
use crate::rtp::plane::{Command, Report, SessionId, SideCounts};
use crate::rtp::time::Moment;

/// How often a plane that is away is looked for.
const RETRY: Duration = Duration::from_millis(200);
/// After so long the sessions of a plane that does not come back are taken for lost.
const LOST_AFTER: Duration = Duration::from_secs(3);
/// A report that found no room is offered again so soon.
const OFFER_AGAIN: Duration = Duration::from_millis(5);

pub(super) struct Courier {
    path: PathBuf,
    /// Which of how many.
    shard: (usize, usize),
    shared: Arc<Shared>,
    reports: SyncSender<Report>,
    waker: Waker,
    state: State,
    /// Our sessions there.
    sessions: BTreeSet<SessionId>,
    /// Those that the plane has named after the hello.
    known: BTreeSet<SessionId>,
    /// The first connection of this process has been settled: what the plane knows beside ours
    /// then is left over from an earlier process, later it is an error.
    has_settled: bool,
    /// The link has no room for these yet. While there are some, nothing is read.
    unsent: VecDeque<Report>,
    clock: Clock,
}

enum State {
    Away {
        since: Moment,
        retry_at: Moment,
    },
    /// The plane names the sessions it knows; commands wait.
    Settling(Pipe),
    Up(Pipe),
}

impl Courier {
    pub(super) fn new(
        path: PathBuf,
        shard: (usize, usize),
        shared: Arc<Shared>,
        reports: SyncSender<Report>,
        waker: Waker,
    ) -> Self {
        let clock = Clock::start();
        let now = clock.now();
        Self {
            path,
            shard,
            shared,
            reports,
            waker,
            state: State::Away { since: now, retry_at: now },
            sessions: BTreeSet::new(),
            known: BTreeSet::new(),
            has_settled: false,
            unsent: VecDeque::new(),
            clock,
        }
    }

    pub(super) fn run(mut self) {
        while !self.shared.stopping.load(Ordering::SeqCst) {
            let is_readable = self.wait();
            self.shared.bell.clear();
            self.send_unsent();
            let done = if matches!(self.state, State::Away { .. }) {
                self.look_for_it()
            } else {
                self.carry(is_readable)
            };
            if let Err(error) = done {
                self.part(&error);
            }
            if matches!(self.state, State::Away { .. }) {
                self.answer_alone();
            }
        }
        // What the brain has ordered last shall be done.
        let _ = self.send_orders();
    }

    fn wait(&mut self) -> bool {
        let now = self.clock.now();
        let retry = match &self.state {
            State::Away { retry_at, .. } => Some(retry_at.since(now)),
            State::Settling(_) | State::Up(_) => None,
        };
        let offer = (!self.unsent.is_empty()).then_some(OFFER_AGAIN);
        let limit = [retry, offer].into_iter().flatten().min().map(|limit| Timespec {
            tv_sec: limit.as_secs() as i64,
            tv_nsec: limit.subsec_nanos().into(),
        });
        let bell = PollFd::new(&self.shared.bell, PollFlags::IN);
        // A signal ends the wait early, and that does no harm.
        match &self.state {
            State::Away { .. } => {
                let _ = poll(&mut [bell], limit.as_ref());
                false
            }
            State::Settling(pipe) | State::Up(pipe) => {
                let mut both = [bell, PollFd::new(pipe, pipe.wants(self.unsent.is_empty()))];
                let _ = poll(&mut both, limit.as_ref());
                both[1].revents().intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR)
            }
        }
    }

    fn look_for_it(&mut self) -> io::Result<()> {
        let State::Away { since, retry_at } = &mut self.state else { return Ok(()) };
        let now = self.clock.now();
        if now < *retry_at {
            return Ok(());
        }
        *retry_at = now + RETRY;
        let since = *since;
        let Ok(stream) = UnixStream::connect(&self.path) else {
            if now >= since + LOST_AFTER {
                self.lose(|_| true);
            }
            return Ok(());
        };
        let mut pipe = Pipe::new(stream)?;
        let (shard, shards) = (self.shard.0 as u16, self.shard.1 as u16);
        pipe.put(&Down::Hello { version: VERSION, shard, shards });
        pipe.flush()?;
        self.known.clear();
        self.state = State::Settling(pipe);
        Ok(())
    }

    fn carry(&mut self, is_readable: bool) -> io::Result<()> {
        let (State::Settling(pipe) | State::Up(pipe)) = &mut self.state else { return Ok(()) };
        let mut ended = false;
        if is_readable && self.unsent.is_empty() {
            ended = !pipe.fill()?;
        }
        self.take_messages()?;
        self.send_orders()?;
        if ended { Err(io::Error::other("it has closed its end")) } else { Ok(()) }
    }

    fn take_messages(&mut self) -> io::Result<()> {
        loop {
            let (State::Settling(pipe) | State::Up(pipe)) = &mut self.state else { return Ok(()) };
            let Some(message) = pipe.take::<Up>().map_err(io::Error::other)? else { return Ok(()) };
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
                Up::Refused { .. } => {
                    let what = "it is of another version, or has other sip.shards";
                    return Err(io::Error::other(what));
                }
            }
        }
    }

    /// The plane has named all it knows.
    fn settle(&mut self) {
        let away = State::Away { since: self.clock.now(), retry_at: self.clock.now() };
        let pipe = match std::mem::replace(&mut self.state, away) {
            State::Settling(pipe) => pipe,
            other @ (State::Away { .. } | State::Up(_)) => {
                self.state = other;
                return;
            }
        };
        self.state = State::Up(pipe);
        let known = std::mem::take(&mut self.known);
        self.lose(|session| !known.contains(session));
        let strange: Vec<_> = known.difference(&self.sessions).copied().collect();
        tracing::info!(
            shard = self.shard.0,
            sessions = known.len(),
            found = strange.len(),
            "Connected to the media plane; {} sessions of an earlier process speak on",
            strange.len()
        );
        if self.has_settled {
            for session in strange {
                self.send(Command::Close { session });
            }
        } else {
            metrics::counter!("maskline_media_sessions_found_total")
                .increment(strange.len() as u64);
            self.sessions.extend(strange);
        }
        self.has_settled = true;
        self.shared.is_connected.store(true, Ordering::SeqCst);
    }

    fn send_orders(&mut self) -> io::Result<()> {
        while let State::Up(pipe) = &self.state
            && pipe.has_room()
            && let Some(command) = self.shared.pop()
        {
            self.send(command);
        }
        let (State::Settling(pipe) | State::Up(pipe)) = &mut self.state else { return Ok(()) };
        pipe.flush()
    }

    fn send(&mut self, command: Command) {
        let State::Up(pipe) = &mut self.state else { return };
        match command {
            Command::Open { session } => {
                self.sessions.insert(session);
            }
            // Lost before, or never ours: the plane says nothing of what it does not know.
            Command::Close { session } if !self.sessions.contains(&session) => {
                pipe.put(&Down::Command(command));
                return self.offer(Report::Closed { session, counts: NOTHING });
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

    /// The connection is gone.
    fn part(&mut self, error: &io::Error) {
        let was_up = self.shared.is_connected.swap(false, Ordering::SeqCst);
        let now = self.clock.now();
        self.state = State::Away { since: now, retry_at: now + RETRY };
        self.shared.free.store(0, Ordering::SeqCst);
        if was_up {
            tracing::error!(%error, shard = self.shard.0, sessions = self.sessions.len(),
                "The media plane is away: {error}");
        } else {
            let shard = self.shard.0;
            tracing::warn!(%error, shard, "The media plane is not to be had: {error}");
        }
    }

    /// What the brain orders while the plane is away.
    fn answer_alone(&mut self) {
        while self.unsent.is_empty()
            && let Some(command) = self.shared.pop()
        {
            match command {
                Command::Open { session } => self.offer(Report::Failed { session }),
                Command::Close { session } => {
                    self.sessions.remove(&session);
                    self.offer(Report::Closed { session, counts: NOTHING });
                }
                Command::Update { .. }
                | Command::Bridge { .. }
                | Command::Hold { .. }
                | Command::Record { .. }
                | Command::Play { .. }
                | Command::Stop { .. }
                | Command::Keys { .. } => {}
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

const NOTHING: [SideCounts; 2] = [SideCounts::NOTHING; 2];
