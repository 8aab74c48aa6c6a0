//! One direction of a call: packets from one side's peer to the other's. This is what every packet
//! touches, so the fields it needs lie together.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::Range;

use rand_core::Rng;

use super::header::{HEADER_BYTES, Header};
use super::plane::{EVENT_POSITION, PAYLOADS_MAX, PayloadMap};
use super::session::Dropped;
use super::stats::{Reception, Timing};
use super::time::Moment;

/// The state of one direction. The fields down to `reception` fill two cache lines.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(super) struct Flow {
    destination: SocketAddr,
    source: Source,
    sequence_offset: u16,
    timestamp_offset: u32,
    /// The stream as it comes in; meaningless until `stage` is `Running`.
    ssrc_in: u32,
    /// The stream as it goes out: random per leg and call.
    ssrc_out: u32,
    heard_at: Moment,
    /// The last timestamp that went out.
    timestamp_out: u32,
    relayed: u32,
    octets: u32,
    from: [u8; PAYLOADS_MAX],
    to: [u8; PAYLOADS_MAX],
    stage: Stage,
    gate: Gate,
    reception: Reception,
    dropped: u64,
}

/// Whether a stream has begun.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
enum Stage {
    /// Nothing heard yet.
    Silent,
    /// `ssrc_in` names it.
    Running,
}

/// Whether packets may leave.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(super) enum Gate {
    /// The sides are not joined.
    NotBridged,
    /// The receiving side does not listen now.
    Held,
    /// They may.
    Open,
}

/// The one place a side may send from. IPv4 addresses are mapped, as a socket for both families
/// sees them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Source {
    ip: Ipv6Addr,
    port: u16,
}

impl Source {
    /// Nobody sends from here.
    const NOBODY: Self = Self { ip: Ipv6Addr::UNSPECIFIED, port: 0 };

    fn of(address: SocketAddr) -> Self {
        let ip = match address.ip() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        Self { ip, port: address.port() }
    }
}

impl Flow {
    /// A direction whose ends are not known yet.
    pub(super) fn new(rng: &mut impl Rng) -> Self {
        Self {
            destination: SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0),
            source: Source::NOBODY,
            sequence_offset: rng.next_u32() as u16,
            timestamp_offset: rng.next_u32(),
            ssrc_in: 0,
            ssrc_out: rng.next_u32(),
            heard_at: Moment::default(),
            timestamp_out: rng.next_u32(),
            relayed: 0,
            octets: 0,
            from: [NO_PAYLOAD; PAYLOADS_MAX],
            to: [NO_PAYLOAD; PAYLOADS_MAX],
            stage: Stage::Silent,
            gate: Gate::NotBridged,
            reception: Reception::default(),
            dropped: 0,
        }
    }

    /// Takes a packet that came in. It is rewritten in place; what shall leave is the returned
    /// part.
    pub(super) fn relay(
        &mut self,
        now: Moment,
        source: SocketAddr,
        packet: &mut [u8],
    ) -> Result<Range<usize>, Dropped> {
        if Source::of(source) != self.source {
            return Err(self.drop_as(Dropped::Stranger));
        }
        let Ok(mut header) = Header::parse(packet) else {
            return Err(self.drop_as(Dropped::Malformed));
        };
        let position = self.from.iter().position(|from| *from == header.payload_type);
        self.note(now, &header, position);
        match self.gate {
            Gate::Open => {}
            Gate::NotBridged => return Err(Dropped::NotBridged),
            Gate::Held => return Err(Dropped::Held),
        }
        // `from` and `to` have the same length.
        let to = position.map_or(NO_PAYLOAD, |position| self.to[position]);
        if to == NO_PAYLOAD {
            return Err(self.drop_as(Dropped::UnknownPayload));
        }
        header.payload_type = to;
        header.sequence = header.sequence.wrapping_add(self.sequence_offset);
        header.timestamp = header.timestamp.wrapping_add(self.timestamp_offset);
        header.ssrc = self.ssrc_out;
        self.timestamp_out = header.timestamp;
        self.relayed = self.relayed.wrapping_add(1);
        let payload_bytes = header.payload_end - header.payload_start;
        self.octets = self.octets.wrapping_add(payload_bytes as u32);
        // The new header ends where the payload begins, so the payload stays where it is.
        let start = header.payload_start - HEADER_BYTES;
        packet[start..header.payload_start].copy_from_slice(&header.to_bytes());
        Ok(start..header.payload_end)
    }

    fn note(&mut self, now: Moment, header: &Header, position: Option<usize>) {
        if self.stage == Stage::Running && header.ssrc == self.ssrc_in {
            let is_event = position == Some(EVENT_POSITION);
            let timing = if is_event { Timing::Event } else { Timing::Sampled };
            self.reception.note(now, header, timing);
        } else {
            self.begin_stream(now, header);
        }
        self.heard_at = now;
    }

    /// The peer has begun to send, or has changed its stream. Towards the other side our stream
    /// goes on without a gap.
    #[cold]
    fn begin_stream(&mut self, now: Moment, header: &Header) {
        if self.stage == Stage::Running {
            let next = self.reception.highest_sequence().wrapping_add(self.sequence_offset);
            self.sequence_offset = next.wrapping_add(1).wrapping_sub(header.sequence);
            let pause = now.rtp_units().wrapping_sub(self.heard_at.rtp_units()).max(1);
            let continued = self.timestamp_out.wrapping_add(pause);
            self.timestamp_offset = continued.wrapping_sub(header.timestamp);
        }
        self.stage = Stage::Running;
        self.ssrc_in = header.ssrc;
        self.reception.start(now, header);
    }

    /// Counts a packet that went nowhere. What a call on hold or one not yet joined drops is no
    /// fault.
    pub(super) fn drop_as(&mut self, why: Dropped) -> Dropped {
        match why {
            Dropped::Stranger | Dropped::Malformed | Dropped::UnknownPayload => self.dropped += 1,
            Dropped::NotBridged | Dropped::Held => {}
        }
        why
    }

    /// Where packets come from.
    pub(super) fn set_source(&mut self, address: SocketAddr, payloads: PayloadMap) {
        self.source =
            if address.ip().is_unspecified() { Source::NOBODY } else { Source::of(address) };
        self.from = numbers(payloads);
    }

    /// Where packets go.
    pub(super) fn set_destination(&mut self, address: SocketAddr, payloads: PayloadMap) {
        self.destination = address;
        self.to = numbers(payloads);
    }

    pub(super) fn set_gate(&mut self, gate: Gate) {
        self.gate = gate;
    }

    pub(super) const fn destination(&self) -> SocketAddr {
        self.destination
    }

    /// Our SSRC towards the receiving side.
    pub(super) const fn ssrc_out(&self) -> u32 {
        self.ssrc_out
    }

    /// The SSRC of the sending side, once it has sent.
    pub(super) fn ssrc_in(&self) -> Option<u32> {
        (self.stage == Stage::Running).then_some(self.ssrc_in)
    }

    /// What the timestamp of a packet sent now would be.
    pub(super) fn timestamp_at(&self, now: Moment) -> u32 {
        self.timestamp_out.wrapping_add(now.rtp_units().wrapping_sub(self.heard_at.rtp_units()))
    }

    pub(super) const fn heard_at(&self) -> Moment {
        self.heard_at
    }

    /// Packets and payload bytes that left.
    pub(super) const fn sent(&self) -> (u32, u32) {
        (self.relayed, self.octets)
    }

    pub(super) const fn dropped(&self) -> u64 {
        self.dropped
    }

    pub(super) const fn reception(&self) -> &Reception {
        &self.reception
    }

    pub(super) const fn reception_mut(&mut self) -> &mut Reception {
        &mut self.reception
    }
}

fn numbers(payloads: PayloadMap) -> [u8; PAYLOADS_MAX] {
    payloads.0.map(|number| number.unwrap_or(NO_PAYLOAD))
}

/// No packet has this payload type: it has seven bits.
const NO_PAYLOAD: u8 = 0xff;

const _: () = assert!(
    std::mem::offset_of!(Flow, reception) + 16 <= 128,
    "what every packet touches fits two cache lines"
);
