//! The media plane without sockets: the real sessions and the real port pool, commanded by the
//! brain's messages, fed by the world.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use maskline::rtp::plane::{Command, Report, SessionId, Side};
use maskline::rtp::ports::Ports;
use maskline::rtp::rtcp::REPORT_BYTES_MAX;
use maskline::rtp::session::{FRAME_BYTES, News, Play, Session};
use maskline::rtp::sound::Sounds;
use maskline::rtp::time::Moment;
use rand_chacha::ChaCha8Rng;

use crate::cast::RELAY_HOST;
use crate::chance::{Chance, dice};
use crate::whispers;

/// A used port stays silent this long.
pub(crate) const QUARANTINE: Duration = Duration::from_secs(60);
/// Both sides silent for this long end a call.
pub(crate) const SILENCE_TIMEOUT: Duration = Duration::from_secs(30);
/// The threads answer within this time.
const ANSWER: (Duration, Duration) = (Duration::ZERO, Duration::from_millis(3));

pub(crate) struct Media {
    rng: ChaCha8Rng,
    start: Option<Instant>,
    ports: Ports,
    sessions: BTreeMap<SessionId, Open>,
    /// By our RTP port.
    by_port: BTreeMap<u16, (SessionId, Side)>,
    /// When a port was last closed.
    closed_at: BTreeMap<u16, Instant>,
    /// Those that ended with the process of the plane, and that the brain has not closed yet.
    lost: BTreeSet<SessionId>,
    /// Ports cannot be opened for now.
    pub(crate) fails: bool,
    /// Nobody is told that something was played to its end.
    pub(crate) loses_ends: bool,
    /// What can be played.
    pub(crate) sounds: Sounds,
    /// What packets have brought besides themselves.
    told: Vec<Report>,
    told_at: Option<Instant>,
}

struct Open {
    session: Session,
    ports: [u16; 2],
}

/// A datagram that leaves the relay.
pub(crate) type Leaving = (SocketAddr, SocketAddr, Bytes);

impl Media {
    pub(crate) fn new(seed: u64) -> Self {
        Self::with_ports(seed, 20_000, 29_999)
    }

    pub(crate) fn with_ports(seed: u64, first: u16, last: u16) -> Self {
        Self {
            rng: dice(seed, 5),
            start: None,
            ports: Ports::new(&(first..=last), QUARANTINE, 0, 1),
            sessions: BTreeMap::new(),
            by_port: BTreeMap::new(),
            closed_at: BTreeMap::new(),
            fails: false,
            loses_ends: false,
            lost: BTreeSet::new(),
            sounds: whispers::sounds(),
            told: Vec::new(),
            told_at: None,
        }
    }

    fn moment(&mut self, now: Instant) -> Moment {
        let start = *self.start.get_or_insert(now);
        Moment::from_micros(u64::try_from((now - start).as_micros()).unwrap_or(u64::MAX))
    }

    /// Obeys; the report that follows, and after how long.
    pub(crate) fn command(&mut self, now: Instant, command: Command) -> Option<(Duration, Report)> {
        let moment = self.moment(now);
        let wait = self.rng.between(ANSWER.0, ANSWER.1);
        match command {
            Command::Open { session } => {
                let report = self
                    .open(now, session)
                    .map_or(Report::Failed { session }, |local| Report::Opened { session, local });
                Some((wait, report))
            }
            Command::Update { session, side, remote, .. } => {
                let open = self.sessions.get_mut(&session)?;
                open.session.update(moment, side, &remote);
                None
            }
            Command::Bridge { session } => {
                let open = self.sessions.get_mut(&session)?;
                open.session.bridge(moment, &mut self.rng);
                None
            }
            // Nothing is kept of what is said in stories.
            Command::Record { session, .. } => {
                Some((wait, Report::Recording { session, begun: false }))
            }
            Command::Hold { session } => {
                self.sessions.get_mut(&session)?.session.hold();
                None
            }
            Command::Play { session, side, play, sound, until_key } => {
                let open = self.sessions.get_mut(&session)?;
                let wanted = Play { play, sound, until_key };
                open.session.play(moment, side, wanted, &mut self.rng);
                None
            }
            Command::Stop { session, side } => {
                self.sessions.get_mut(&session)?.session.stop(side);
                None
            }
            Command::Keys { session, side, mode } => {
                self.sessions.get_mut(&session)?.session.keys(side, mode);
                None
            }
            Command::Close { session } => {
                let Some(open) = self.close(now, session) else {
                    // No last word will come of what ended with its process.
                    let was_lost = self.lost.remove(&session);
                    return was_lost.then_some((wait, Report::Failed { session }));
                };
                Some((wait, Report::Closed { session, counts: open.session.counts() }))
            }
        }
    }

    fn close(&mut self, now: Instant, session: SessionId) -> Option<Open> {
        let moment = self.moment(now);
        let open = self.sessions.remove(&session)?;
        for port in open.ports {
            self.by_port.remove(&port);
            self.closed_at.insert(port, now);
            self.ports.release(moment, port);
        }
        Some(open)
    }

    /// All sessions end without a word.
    pub(crate) fn end_all(&mut self, now: Instant) -> Vec<SessionId> {
        let all: Vec<_> = self.sessions.keys().copied().collect();
        for session in &all {
            self.close(now, *session);
        }
        self.lost.extend(&all);
        all
    }

    fn open(&mut self, now: Instant, id: SessionId) -> Option<[SocketAddr; 2]> {
        if self.fails {
            return None;
        }
        let moment = self.moment(now);
        let a = self.ports.take(moment, &mut self.rng)?;
        let Some(b) = self.ports.take(moment, &mut self.rng) else {
            self.ports.release(moment, a);
            return None;
        };
        for (port, side) in [(a, Side::A), (b, Side::B)] {
            let rested = self.closed_at.get(&port).is_none_or(|at| now - *at >= QUARANTINE);
            assert!(rested, "invariant 5: port {port} left its quarantine too early");
            let taken = self.by_port.insert(port, (id, side));
            assert!(taken.is_none(), "invariant 5: port {port} belongs to two calls");
        }
        let session = Session::open(moment, SILENCE_TIMEOUT, &mut self.rng);
        self.sessions.insert(id, Open { session, ports: [a, b] });
        Some([a, b].map(|port| SocketAddr::new(RELAY_HOST, port)))
    }

    /// A datagram for one of our ports: what leaves for it.
    pub(crate) fn datagram(
        &mut self,
        now: Instant,
        to: SocketAddr,
        from: SocketAddr,
        bytes: &[u8],
    ) -> Option<Leaving> {
        let moment = self.moment(now);
        let (id, side) = self.by_port.get(&(to.port() & !1)).copied()?;
        let open = self.sessions.get_mut(&id)?;
        if !to.port().is_multiple_of(2) {
            _ = open.session.receive_rtcp(moment, side, from, bytes);
            return None;
        }
        let mut packet = bytes.to_vec();
        let forward = open.session.receive_rtp(moment, side, from, &mut packet);
        let news = std::iter::from_fn(|| open.session.poll_news());
        self.told.extend(news.map(|news| news.report(id)));
        self.told_at = Some(now);
        let forward = forward.ok()?;
        let local = SocketAddr::new(RELAY_HOST, open.ports[side.other().index()]);
        Some((local, forward.to, Bytes::copy_from_slice(&packet[forward.bytes])))
    }

    /// When [`Self::handle_timeout`] is due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        if !self.told.is_empty() {
            return self.told_at;
        }
        let due = self.sessions.values().filter_map(|open| open.session.poll_timeout()).min()?;
        Some(self.start? + Duration::from_micros(due.micros()))
    }

    /// Reports to the brain, and RTCP to the phones.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> (Vec<Report>, Vec<Leaving>) {
        let moment = self.moment(now);
        let (mut reports, mut leaving) = (std::mem::take(&mut self.told), Vec::new());
        for (id, open) in &mut self.sessions {
            if open.session.poll_timeout().is_none_or(|at| at > moment) {
                continue;
            }
            let due = open.session.handle_timeout(moment, &mut self.rng);
            if due.silent {
                reports.push(Report::Silent { session: *id });
            }
            for side in [Side::A, Side::B] {
                let mut packet = [0; FRAME_BYTES];
                let local = SocketAddr::new(RELAY_HOST, open.ports[side.index()]);
                let frames = |open: &mut Session, packet: &mut _| {
                    open.poll_frame(moment, side, &self.sounds, packet)
                };
                while let Some((to, length)) = frames(&mut open.session, &mut packet) {
                    leaving.push((local, to, Bytes::copy_from_slice(&packet[..length])));
                }
            }
            while let Some(news) = open.session.poll_news() {
                let is_end = matches!(news, News::PlayDone { .. });
                if !(self.loses_ends && is_end) {
                    reports.push(news.report(*id));
                }
            }
            for side in [Side::A, Side::B].into_iter().filter(|_| due.reports) {
                let mut buffer = [0; REPORT_BYTES_MAX];
                if let Some((to, length)) = open.session.write_report(moment, side, &mut buffer) {
                    let local = SocketAddr::new(RELAY_HOST, open.ports[side.index()] + 1);
                    leaving.push((local, to, Bytes::copy_from_slice(&buffer[..length])));
                }
            }
        }
        (reports, leaving)
    }

    pub(crate) fn open_sessions(&self) -> impl Iterator<Item = SessionId> {
        self.sessions.keys().copied()
    }
}
