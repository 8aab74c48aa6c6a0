//! A call's media: two flows, our reports, and silence. Pure: bytes and time in, bytes and facts
//! out. The media threads and the simulation run this same code.

mod one_way;
mod outcome;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use rand_core::Rng;

use super::flow::{Flow, Gate, OWN_BYTES};
use super::g711::Law;
use super::plane::{KeyMode, RemoteMedia, Side, SideCounts};
use super::player::{Next, Player};
use super::quality::Heard;
use super::rtcp::{self, CNAME_BYTES, REPORT_BYTES_MAX};
use super::sound::Sounds;
use super::srtp::{LegKeys, Srtp};
use super::time::Moment;

use one_way::Watch;
pub use outcome::{Dropped, Due, Forward, News, Play};

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
    /// What A's packets and ours to A are encrypted with, and B's.
    srtp: [Option<Box<Srtp>>; 2],
    news: VecDeque<News>,
}

/// What is known of one leg besides its packets.
#[derive(Clone, Debug)]
struct Leg {
    remote: Option<RemoteMedia>,
    /// Where its RTCP comes from and goes to.
    rtcp: Option<SocketAddr>,
    /// That may turn out to be another port.
    rtcp_learns: bool,
    /// When its peer last sent RTCP.
    rtcp_heard_at: Moment,
    /// The peer's last sender report, and when it came.
    sender_report: Option<(u32, Moment)>,
    /// To the peer and back.
    round_trip: Duration,
    watch: Watch,
    /// What had been sent to it at our last report.
    sent_at_report: u32,
    cname: [u8; CNAME_BYTES],
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
    pub fn set_keys(&mut self, side: Side, keys: Option<&LegKeys>) -> bool {
        let srtp = &mut self.srtp[side.index()];
        let Some(keys) = keys else {
            *srtp = None;
            return true;
        };
        match srtp {
            Some(srtp) => srtp.change(keys).is_some(),
            None => {
                *srtp = Srtp::new(keys).map(Box::new);
                srtp.is_some()
            }
        }
    }

    /// A packet of ours to one side as it has to leave, where it has to be encrypted; `None` for
    /// one that leaves as it is.
    pub fn seal_rtp(&mut self, to: Side, packet: &[u8]) -> Option<impl AsRef<[u8]> + use<>> {
        self.srtp[to.index()].as_mut()?.seal_rtp(packet)
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

    /// Plays something to one side, in the place of what is being played to it.
    pub fn play(&mut self, now: Moment, side: Side, wanted: Play, rng: &mut impl Rng) {
        self.report_at.get_or_insert(now + report_interval(rng));
        let player = Player::new(now, wanted.play, wanted.sound, wanted.until_key);
        self.players[side.index()] = Some(Box::new(player));
        self.set_gates();
    }

    /// Stops what is played to one side.
    pub fn stop(&mut self, side: Side) {
        self.players[side.index()] = None;
        self.set_gates();
    }

    /// What happens to the keys typed by one side.
    pub fn keys(&mut self, side: Side, mode: KeyMode) {
        self.flows[side.index()].set_keys(mode);
    }

    /// The next packet of what is played to a side, if one is due: where it goes. To be called for
    /// both sides after [`Self::handle_timeout`], until nothing is due.
    pub fn poll_frame(
        &mut self,
        now: Moment,
        side: Side,
        sounds: &Sounds,
        packet: &mut [u8; FRAME_BYTES],
    ) -> Option<SocketAddr> {
        let flow = &mut self.flows[side.other().index()];
        let listens = self.legs[side.index()].remote.filter(RemoteMedia::is_reachable);
        while let Some(player) = &mut self.players[side.index()] {
            let law = flow.law();
            match player.next(now, sounds)? {
                // There is no codec to say it in.
                Next::Frame(_) if law.is_none() && listens.is_some() => player.has_gaps = true,
                Next::Frame(frame) => {
                    let (Some(law), true) = (law, listens.is_some()) else {
                        player.has_gaps = true;
                        continue;
                    };
                    let payload = &mut packet[FRAME_BYTES - frame.samples.len()..];
                    payload.copy_from_slice(&frame.samples);
                    if law == Law::Mu {
                        Law::A.turn(payload);
                    }
                    flow.write_own(frame.at, frame.marker, law, packet);
                    return Some(flow.destination());
                }
                Next::Done => {}
            }
            self.end_play(side);
            return None;
        }
        None
    }

    fn end_play(&mut self, side: Side) {
        let player = self.players[side.index()].take();
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
            self.notice(from);
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
    fn notice(&mut self, from: Side) {
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
            self.end_play(from);
        }
    }

    /// Takes an RTCP packet that reached our RTCP socket of side `from`. It ends here.
    pub fn receive_rtcp(
        &mut self,
        now: Moment,
        from: Side,
        source: SocketAddr,
        packet: &[u8],
    ) -> Result<(), Dropped> {
        let flow = &mut self.flows[from.index()];
        let leg = &mut self.legs[from.index()];
        let is_known = leg.rtcp.is_some_and(|rtcp| same_place(rtcp, source));
        // Behind a NAT: once, after the peer was found, and only who knows the name of its stream.
        let is_beside = leg.rtcp.is_some_and(|rtcp| same_host(rtcp, source));
        let may_learn = leg.rtcp_learns && !flow.learns() && is_beside;
        if !is_known && !may_learn {
            return Err(flow.drop_as(Dropped::Stranger));
        }
        let opened = self.srtp[from.index()].as_mut().map(|srtp| srtp.open_rtcp(packet));
        let opened = opened.transpose().map_err(|_| flow.drop_as(Dropped::Unproved))?;
        let packet = opened.as_ref().map_or(packet, |opened| opened.as_ref());
        let incoming = rtcp::parse(packet);
        let incoming = incoming.map_err(|_| flow.drop_as(Dropped::unreadable(packet)))?;
        if may_learn && flow.ssrc_in() == Some(incoming.ssrc) {
            (leg.rtcp, leg.rtcp_learns) = (Some(source), false);
        } else if !is_known {
            return Err(flow.drop_as(Dropped::Stranger));
        }
        leg.rtcp_heard_at = now;
        leg.watch.hear_rtcp(now, incoming.packets_sent);
        if let Some(ntp) = incoming.sender_report {
            leg.sender_report = Some((ntp, now));
        }
        let ours = self.flows[from.other().index()].ssrc_out();
        let middle = (ntp(now.since(self.opened_at)) >> 16) as u32;
        let echo = incoming.echo.filter(|echo| echo.ssrc == ours);
        if let Some(round_trip) = echo.and_then(|echo| echo.round_trip(middle)) {
            leg.round_trip = round_trip;
        }
        Ok(())
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

    /// Our report to one side and where it goes; `None` while there is nowhere to send it.
    pub fn write_report(
        &mut self,
        now: Moment,
        side: Side,
        buffer: &mut [u8; REPORT_BYTES_MAX],
    ) -> Option<(SocketAddr, usize)> {
        let leg = &mut self.legs[side.index()];
        let to = leg.rtcp.filter(|to| !to.ip().is_unspecified())?;
        let outgoing = &self.flows[side.other().index()];
        let (packets, octets) = outgoing.sent();
        let ssrc = outgoing.ssrc_out();
        // RFC 3550 §6.4: a sender report if something was sent since the last report.
        let sent = (packets != leg.sent_at_report).then(|| rtcp::Sent {
            ntp: ntp(now.since(self.opened_at)),
            timestamp: outgoing.timestamp_at(now),
            packets,
            octets,
        });
        leg.sent_at_report = packets;
        let incoming = &mut self.flows[side.index()];
        let heard = incoming.ssrc_in().map(|ssrc| rtcp::Heard {
            ssrc,
            block: incoming.reception_mut().report(),
            last_report: leg.sender_report.map_or(0, |(ntp, _)| ntp),
            since_last_report: leg
                .sender_report
                .map_or(0, |(_, at)| (ntp(now.since(at)) >> 16) as u32),
        });
        let report = rtcp::Report { ssrc, sent, heard, cname: &leg.cname };
        let length = report.write(buffer);
        let Some(srtp) = &mut self.srtp[side.index()] else { return Some((to, length)) };
        let sealed = srtp.seal_rtcp(buffer.get(..length)?)?;
        let sealed = sealed.as_ref();
        buffer.get_mut(..sealed.len())?.copy_from_slice(sealed);
        Some((to, sealed.len()))
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
            let gate = match (self.bridged_since, to) {
                (None, _) | (_, None) => Gate::NotBridged,
                (Some(_), Some(_)) if self.players[side.other().index()].is_some() => Gate::Playing,
                (Some(_), Some(to)) if to.is_reachable() => Gate::Open,
                (Some(_), Some(_)) => Gate::Held,
            };
            self.flows[side.index()].set_gate(gate);
        }
    }
}

impl Leg {
    fn new(rng: &mut impl Rng) -> Self {
        let mut random = [0; CNAME_BYTES / 2];
        rng.fill_bytes(&mut random);
        let mut cname = [0; CNAME_BYTES];
        for (digits, byte) in cname.chunks_exact_mut(2).zip(random) {
            digits.copy_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
        let rtcp_heard_at = Moment::default();
        Self {
            remote: None,
            rtcp: None,
            rtcp_learns: false,
            rtcp_heard_at,
            sender_report: None,
            round_trip: Duration::ZERO,
            watch: Watch::default(),
            sent_at_report: 0,
            cname,
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

/// The same address and port; an IPv4 address may be written as an IPv6 one.
fn same_place(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port() && same_host(a, b)
}

fn same_host(a: SocketAddr, b: SocketAddr) -> bool {
    a.ip().to_canonical() == b.ip().to_canonical()
}

/// RFC 3550 §6.3.1: five seconds, half to one and a half times, so that reports do not march in
/// step.
fn report_interval(rng: &mut impl Rng) -> Duration {
    let half = REPORT_INTERVAL_MS / 2;
    let extra = (u64::from(rng.next_u32()) * REPORT_INTERVAL_MS) >> 32;
    Duration::from_millis(half + extra)
}

/// 32.32 bits.
fn ntp(since: Duration) -> u64 {
    (since.as_secs() << 32) | ((u64::from(since.subsec_nanos()) << 32) / 1_000_000_000)
}

/// The most news of one call that wait. They are asked for after each packet.
const NEWS_MAX: usize = 8;
const REPORT_INTERVAL_MS: u64 = 5_000;
const HEX: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
