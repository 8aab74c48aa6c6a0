//! A call's media: two flows, our reports, and silence. Pure: bytes and time in, bytes and facts
//! out. The media threads and the simulation run this same code.

mod one_way;
mod outcome;
mod reports;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use rand_core::Rng;

use super::flow::{Flow, Gate, OWN_BYTES};
use super::plane::{KeyMode, RemoteMedia, Side, SideCounts};
use super::player::{Next, Player};
use super::quality::Heard;
use super::sound::Sounds;
use super::srtp::{LegKeys, Sealed, Srtp};
use super::time::Moment;

pub use outcome::{Dropped, Due, Forward, News, Play};
use reports::Leg;

/// The bytes of a packet that we make: see [`Session::poll_frame`].
pub const FRAME_BYTES: usize = OWN_BYTES;

/// The media of one call.
#[derive(Debug)]
pub struct Session {
    /// What comes from A, and what comes from B.
    flows: [Flow; 2],
    legs: [Leg; 2],
    silence_timeout: Duration,
    opened_at: Moment,
    /// Absent unless the sides are joined; silence counts from here on at the earliest.
    bridged_since: Option<Moment>,
    /// When our next reports are due. Absent until something flows.
    report_at: Option<Moment>,
    /// What is played to A, and what to B.
    players: [Option<Box<Player>>; 2],
    /// A warning that goes on when a key is over.
    waiting: [Option<Box<Player>>; 2],
    /// What A's packets and ours to A are encrypted with, and B's.
    srtp: [Option<Box<Srtp>>; 2],
    news: VecDeque<News>,
}

impl Session {
    /// A call whose sides are not known yet: everything is dropped.
    pub fn open(now: Moment, silence_timeout: Duration, rng: &mut impl Rng) -> Self {
        let flows = [Flow::new(Side::A, rng), Flow::new(Side::B, rng)];
        let legs = [Leg::new(rng), Leg::new(rng)];
        Self {
            flows,
            legs,
            silence_timeout,
            opened_at: now,
            bridged_since: None,
            report_at: None,
            players: [None, None],
            waiting: [None, None],
            srtp: [None, None],
            news: VecDeque::new(),
        }
    }

    /// The SDP of one side is known or has changed.
    pub fn update(&mut self, now: Moment, side: Side, remote: &RemoteMedia) {
        let leg = &mut self.legs[side.index()];
        let before = leg.remote.replace(*remote);
        // What was found by learning stays until the peer announces another place.
        if before.is_none_or(|before| before.place() != remote.place()) {
            (leg.rtcp, leg.rtcp_learns) = (Some(remote.rtcp), remote.learning);
            self.flows[side.index()].set_source(remote.rtp, remote.learning);
            self.flows[side.other().index()].set_destination(remote.rtp);
        }
        self.flows[side.index()].set_payloads_from(remote.payloads_from);
        self.flows[side.other().index()].set_payloads_to(remote.payloads_to);
        self.bridged_since = self.bridged_since.map(|_| now);
        self.set_gates();
    }

    /// The keys of one side are known or have changed; `None` for packets in clear. False when they
    /// are no keys: then the side is not heard and hears nothing.
    pub fn set_keys(&mut self, side: Side, keys: Option<&LegKeys>, rng: &mut impl Rng) -> bool {
        let srtp = &mut self.srtp[side.index()];
        let Some(keys) = keys else {
            *srtp = None;
            return true;
        };
        let is_ours_new = match srtp {
            Some(srtp) => srtp.change(keys),
            None => {
                *srtp = Srtp::new(keys).map(Box::new);
                srtp.is_some().then_some(true)
            }
        };
        match is_ours_new {
            Some(true) => self.begin_stream_anew(side, rng),
            Some(false) => {}
            None => self.forget(side),
        }
        is_ours_new.is_some()
    }

    /// Nothing goes to this side or comes from it, until its SDP is known anew.
    fn forget(&mut self, side: Side) {
        let leg = &mut self.legs[side.index()];
        (leg.remote, leg.rtcp) = (None, None);
        self.flows[side.index()].set_source(NOWHERE, false);
        self.set_gates();
    }

    /// How a packet of ours to one side has to leave.
    pub fn seal_rtp(&mut self, to: Side, packet: &[u8]) -> Sealed {
        match &mut self.srtp[to.index()] {
            Some(srtp) => srtp.seal_rtp(packet),
            None => Sealed::Clear,
        }
    }

    /// Lets media flow.
    pub fn bridge(&mut self, now: Moment, rng: &mut impl Rng) {
        self.report_at.get_or_insert(now + report_interval(rng));
        self.bridged_since = Some(now);
        self.set_gates();
    }

    /// Lets media flow no more. What is played goes on.
    pub fn hold(&mut self) {
        self.bridged_since = None;
        self.set_gates();
    }

    /// Plays something to one side, in the place of what is being played to it. A key and a warning
    /// do not cut each other: the key is pressed at once, the warning sounds before and after it.
    pub fn play(&mut self, now: Moment, side: Side, wanted: Play, rng: &mut impl Rng) {
        self.report_at.get_or_insert(now + report_interval(rng));
        let wanted = Player::new(now, wanted.play, wanted.sound, wanted.until_key);
        let (playing, waiting) = (&mut self.players[side.index()], &mut self.waiting[side.index()]);
        let is_warned = playing.as_ref().is_some_and(|player| player.is_warning());
        let is_typing = playing.as_ref().is_some_and(|player| player.is_key());
        if is_typing && wanted.is_warning() {
            *waiting = Some(Box::new(wanted));
            return;
        }
        if !wanted.is_key() {
            *waiting = None;
        } else if is_warned {
            *waiting = playing.take();
        }
        *playing = Some(Box::new(wanted));
        self.set_gates();
    }

    /// Stops what is played to one side.
    pub fn stop(&mut self, side: Side) {
        self.players[side.index()] = None;
        self.waiting[side.index()] = None;
        self.set_gates();
    }

    /// What happens to the keys typed by one side.
    pub fn keys(&mut self, side: Side, mode: KeyMode) {
        self.flows[side.index()].set_keys(mode);
    }

    /// The next packet of what is played to a side, if one is due: where it goes, and its length.
    /// To be called for both sides after [`Self::handle_timeout`], until nothing is due.
    pub fn poll_frame(
        &mut self,
        now: Moment,
        side: Side,
        sounds: &Sounds,
        packet: &mut [u8; FRAME_BYTES],
    ) -> Option<(SocketAddr, usize)> {
        let flow = &mut self.flows[side.other().index()];
        let listens = self.legs[side.index()].remote.filter(RemoteMedia::is_reachable);
        while let Some(player) = &mut self.players[side.index()] {
            match player.next(now, sounds)? {
                Next::Frame(frame) => {
                    let written = listens.and_then(|_| flow.write_frame(&frame, packet));
                    if let Some(length) = written {
                        return Some((flow.destination(), length));
                    }
                    player.has_gaps = true;
                    // There is no way to say it.
                    if listens.is_none() {
                        continue;
                    }
                }
                Next::Done => {}
            }
            self.end_play(now, side);
            return None;
        }
        None
    }

    fn end_play(&mut self, now: Moment, side: Side) {
        let next = self.waiting[side.index()].take().map(|mut player| {
            player.go_on(now);
            player
        });
        let player = std::mem::replace(&mut self.players[side.index()], next);
        self.set_gates();
        if let Some(player) = player {
            let (play, was_sent) = (player.play, player.was_sent());
            self.tell(News::PlayDone { side, play, was_sent });
        }
    }

    /// The oldest of what the brain shall hear, if there is something. To be asked for after
    /// whatever was done.
    #[inline]
    pub fn poll_news(&mut self) -> Option<News> {
        self.news.pop_front()
    }

    /// Whether [`Self::poll_news`] has something.
    #[inline]
    #[must_use]
    pub fn has_news(&self) -> bool {
        !self.news.is_empty()
    }

    fn tell(&mut self, news: News) {
        if self.news.len() < NEWS_MAX {
            self.news.push_back(news);
        }
    }

    /// Takes an RTP packet that reached our RTP socket of side `from`. It is rewritten in place.
    #[inline]
    pub fn receive_rtp(
        &mut self,
        now: Moment,
        from: Side,
        source: SocketAddr,
        packet: &mut [u8],
    ) -> Result<Forward, Dropped> {
        let flow = &mut self.flows[from.index()];
        let mut packet = packet;
        if let Some(srtp) = &mut self.srtp[from.index()] {
            if !flow.may_be_from(source) {
                return Err(flow.drop_as(Dropped::Stranger));
            }
            let opened = srtp.open_rtp(packet);
            let length = opened.map_err(|_| flow.drop_as(Dropped::Unproved))?;
            packet = &mut packet[..length];
        }
        let relayed = flow.relay(now, source, packet);
        let to = flow.destination();
        if flow.has_news() {
            self.notice(now, from);
        }
        Ok(Forward { to, bytes: relayed? })
    }

    /// The codec of a packet that came from this side and was sent on, by its position in the
    /// call's list.
    #[must_use]
    pub fn codec_sent(&self, from: Side, payload_type: u8) -> Option<usize> {
        self.flows[from.index()].codec_sent(payload_type)
    }

    /// What a packet has brought besides itself.
    #[cold]
    fn notice(&mut self, now: Moment, from: Side) {
        let flow = &mut self.flows[from.index()];
        let (key, latched) = flow.take_news();
        let reports_keys = flow.keys().report;
        if let Some(address) = latched {
            self.flows[from.other().index()].set_destination(address);
            self.tell(News::Latched { side: from });
        }
        let Some(key) = key else { return };
        if reports_keys {
            self.tell(News::Key { side: from, key });
        }
        if self.players[from.index()].as_ref().is_some_and(|player| player.until_key) {
            self.end_play(now, from);
        }
    }

    /// Counts a packet that was longer than any buffer.
    pub fn refuse_oversized(&mut self, from: Side) -> Dropped {
        self.flows[from.index()].drop_as(Dropped::Malformed)
    }

    /// Does what the time asks for. Call it at [`Self::poll_timeout`] or later.
    pub fn handle_timeout(&mut self, now: Moment, rng: &mut impl Rng) -> Due {
        let is_due = |at: Option<Moment>| at.is_some_and(|at| now >= at);
        let due = Due { reports: is_due(self.report_at), silent: is_due(self.silent_at()) };
        if due.reports {
            self.report_at = Some(now + report_interval(rng));
        }
        if due.silent {
            self.bridged_since = Some(now);
        }
        self.find_one_way(now);
        due
    }

    /// When [`Self::handle_timeout`] or [`Self::poll_frame`] has something to do; `None` before
    /// the sides are joined or something is played.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Moment> {
        let frames = self.players.iter().flatten().map(|player| player.due_at());
        frames.chain(self.report_at).chain(self.silent_at()).chain(self.one_way_at()).min()
    }

    /// What each side's peer has sent.
    #[must_use]
    pub fn counts(&self) -> [SideCounts; 2] {
        [0, 1].map(|side| {
            let (flow, round_trip) = (&self.flows[side], self.legs[side].round_trip);
            let jitter = Duration::from_micros(flow.reception().jitter_us().into());
            let (received, lost) = (flow.reception().received(), flow.reception().lost());
            let heard = Heard { received, lost, jitter, round_trip };
            SideCounts {
                packets: u64::from(flow.relayed()),
                lost: flow.reception().lost(),
                dropped: flow.dropped(),
                jitter_us: flow.reception().jitter_us(),
                round_trip_us: u32::try_from(round_trip.as_micros()).unwrap_or(u32::MAX),
                mos_centi: heard.mos_centi().unwrap_or(0),
            }
        })
    }

    /// When the silence will have lasted too long. Never while a side is on hold.
    fn silent_at(&self) -> Option<Moment> {
        let since = self.bridged_since?;
        let is_held = self.legs.iter().any(|leg| leg.remote.is_some_and(|remote| !remote.receives));
        let heard = self.flows.iter().map(Flow::heard_at);
        let rtcp = self.legs.iter().map(|leg| leg.rtcp_heard_at);
        let last = heard.chain(rtcp).fold(since, Moment::max);
        (!is_held).then_some(last + self.silence_timeout)
    }

    fn set_gates(&mut self) {
        for side in [Side::A, Side::B] {
            let to = self.legs[side.other().index()].remote;
            let playing = self.players[side.other().index()].as_ref();
            let is_warned = playing.is_some_and(|player| player.is_warning());
            let gate = match (self.bridged_since, to) {
                (None, _) | (_, None) => Gate::NotBridged,
                (Some(_), Some(to)) if is_warned && to.is_reachable() => Gate::Warned,
                (Some(_), Some(_)) if playing.is_some() => Gate::Playing,
                (Some(_), Some(to)) if to.is_reachable() => Gate::Open,
                (Some(_), Some(_)) => Gate::Held,
            };
            self.flows[side.index()].set_gate(gate);
        }
    }
}

impl RemoteMedia {
    /// Something sent to it is heard.
    fn is_reachable(&self) -> bool {
        self.receives && !self.rtp.ip().is_unspecified()
    }

    /// Where its packets come from and go to.
    const fn place(&self) -> (SocketAddr, SocketAddr, bool) {
        (self.rtp, self.rtcp, self.learning)
    }
}

/// RFC 3550 §6.3.1: five seconds, half to one and a half times, so that reports do not march in
/// step.
fn report_interval(rng: &mut impl Rng) -> Duration {
    let half = REPORT_INTERVAL_MS / 2;
    let extra = (u64::from(rng.next_u32()) * REPORT_INTERVAL_MS) >> 32;
    Duration::from_millis(half + extra)
}

/// Nobody's address.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
/// The most news of one call that wait. They are asked for after each packet.
const NEWS_MAX: usize = 8;
const REPORT_INTERVAL_MS: u64 = 5_000;

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
