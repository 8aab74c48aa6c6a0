//! RTCP of both legs: it ends here, and what we say of ourselves is our own.

use std::net::SocketAddr;
use std::time::Duration;

use rand_core::Rng;

use super::Session;
use super::one_way::Watch;
use super::outcome::Dropped;
use crate::rtp::plane::{RemoteMedia, Side};
use crate::rtp::rtcp::{self, CNAME_BYTES, REPORT_BYTES_MAX};
use crate::rtp::time::Moment;

/// What is known of one leg besides its packets.
#[derive(Clone, Debug)]
pub(super) struct Leg {
    pub(super) remote: Option<RemoteMedia>,
    /// Where its RTCP comes from and goes to.
    pub(super) rtcp: Option<SocketAddr>,
    /// That may turn out to be another port.
    pub(super) rtcp_learns: bool,
    /// When its peer last sent RTCP.
    pub(super) rtcp_heard_at: Moment,
    /// The peer's last sender report, and when it came.
    sender_report: Option<(u32, Moment)>,
    /// To the peer and back.
    pub(super) round_trip: Duration,
    pub(super) watch: Watch,
    /// What had been sent to it at our last report.
    sent_at_report: u32,
    /// What had been sent to it, packets and bytes, before the stream that is sent now.
    sent_before: (u32, u32),
    pub(super) cname: [u8; CNAME_BYTES],
}

impl Leg {
    pub(super) fn new(rng: &mut impl Rng) -> Self {
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
            sent_before: (0, 0),
            cname,
        }
    }
}

impl Session {
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
            packets: packets.wrapping_sub(leg.sent_before.0),
            octets: octets.wrapping_sub(leg.sent_before.1),
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

    /// What is sent to this side is a stream of its own from now on, and counted anew (RFC 3550
    /// §6.4.1).
    pub(super) fn begin_stream_anew(&mut self, side: Side, rng: &mut impl Rng) {
        let (leg, flow) = (&mut self.legs[side.index()], &mut self.flows[side.other().index()]);
        let sent = flow.sent();
        if sent != leg.sent_before {
            leg.sent_before = sent;
            flow.begin_anew(rng);
        }
    }
}

/// The same address and port; an IPv4 address may be written as an IPv6 one.
fn same_place(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port() && same_host(a, b)
}

fn same_host(a: SocketAddr, b: SocketAddr) -> bool {
    a.ip().to_canonical() == b.ip().to_canonical()
}

/// 32.32 bits.
fn ntp(since: Duration) -> u64 {
    (since.as_secs() << 32) | ((u64::from(since.subsec_nanos()) << 32) / 1_000_000_000)
}

const HEX: &[u8; 16] = b"0123456789abcdef";
