//! One direction of a call: packets from one side's peer to the other's. This is what every packet
//! touches, so the fields it needs lie together.

mod seam;

pub(super) use seam::OWN_BYTES;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::Range;

use rand_core::Rng;

use super::g711::Law;
use super::header::{HEADER_BYTES, Header, Malformed};
use super::key::Key;
use super::keys::{EVENT_BYTES, Ear, Heard};
use super::plane::{EVENT_POSITION, KeyMode, PAYLOADS_MAX, PayloadMap, Side};
use super::session::Dropped;
use super::source::{Latch, Source};
use super::stats::{Noted, Reception, Timing};
use super::time::Moment;

/// The state of one direction. The fields down to `reception` fill two cache lines.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(super) struct Flow {
    destination: SocketAddr,
    source: Source,
    /// What is added to the numbers that come in; meaningless while `joins`.
    sequence_offset: u16,
    /// Packets with lower numbers came before what was sent last from elsewhere.
    seam: u16,
    stage: Stage,
    gate: Gate,
    heard_at: Moment,
    timestamp_offset: u32,
    /// The stream as it comes in; meaningless until `stage` is `Running`.
    ssrc_in: u32,
    /// The stream as it goes out: random per leg and call.
    ssrc_out: u32,
    /// The last timestamp that went out, and when.
    timestamp_out: u32,
    sent_at_units: u32,
    relayed: u32,
    octets: u32,
    from: [u8; PAYLOADS_MAX],
    to: [u8; PAYLOADS_MAX],
    /// The next packet that leaves has to be joined to what left before.
    joins: bool,
    /// Keys are looked for in the sound.
    hears_tones: bool,
    /// The port of the peer is still looked for.
    learns: bool,
    /// There is something that nobody has asked for yet.
    has_news: bool,
    reception: Reception,
    /// The number of that next packet.
    sequence_next: u16,
    /// The last number that was left out of the stream.
    skipped: u16,
    /// Packets of our own, and their bytes.
    played: (u32, u32),
    dropped: u64,
    ear: Ear,
    /// A key that was pressed.
    pressed: Option<Key>,
    latch: Latch,
    /// Where the peer was found.
    latched: Option<SocketAddr>,
    /// The time of the last press that left, as it came in and as it went out.
    press_times: Option<(u32, u32)>,
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
    /// Something is played to the receiving side.
    Playing,
    /// It hears a warning, which takes no key from it.
    Warned,
    /// They may.
    Open,
}

impl Flow {
    /// The direction from this side, whose ends are not known yet.
    pub(super) fn new(side: Side, rng: &mut impl Rng) -> Self {
        Self {
            destination: SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0),
            source: Source::NOBODY,
            sequence_offset: 0,
            seam: 0,
            timestamp_offset: 0,
            ssrc_in: 0,
            ssrc_out: rng.next_u32(),
            heard_at: Moment::default(),
            timestamp_out: rng.next_u32(),
            sent_at_units: 0,
            relayed: 0,
            octets: 0,
            from: [NO_PAYLOAD; PAYLOADS_MAX],
            to: [NO_PAYLOAD; PAYLOADS_MAX],
            stage: Stage::Silent,
            gate: Gate::NotBridged,
            joins: true,
            hears_tones: false,
            learns: false,
            has_news: false,
            reception: Reception::default(),
            sequence_next: seam::first_sequence(rng),
            skipped: 0,
            played: (0, 0),
            dropped: 0,
            ear: Ear::new(KeyMode::at_open(side)),
            pressed: None,
            latch: Latch::default(),
            latched: None,
            press_times: None,
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
        let is_known = Source::of(source) == self.source;
        if (self.learns || !is_known) && !self.admit(source, packet) {
            return Err(self.drop_as(Dropped::Stranger));
        }
        let Ok(mut header) = Header::parse(packet) else {
            return Err(self.drop_as(Dropped::unreadable(packet)));
        };
        let position = self.from.iter().position(|from| *from == header.payload_type);
        let before = self.reception.highest_sequence();
        if self.note(now, &header, position) == Noted::Stray {
            return Err(Dropped::OutOfOrder);
        }
        let is_event = position == Some(EVENT_POSITION);
        if is_event {
            self.hear_event(now, before, &mut header, packet)?;
        } else if self.hears_tones {
            self.hear_sound(&header, position, packet);
        }
        self.pass_gate(is_event)?;
        if is_event && !self.ear.mode().pass {
            self.skip(before, &header);
            return Err(Dropped::Key);
        }
        // `from` and `to` have the same length.
        let mut to = position.map_or(NO_PAYLOAD, |position| self.to[position]);
        if to == NO_PAYLOAD {
            to = self.turn(&header, position, packet);
        }
        if to == NO_PAYLOAD {
            self.skip(before, &header);
            return Err(self.drop_as(Dropped::UnknownPayload));
        }
        let mut is_aside = false;
        if self.joins {
            if self.reception.highest_sequence() != header.sequence {
                return Err(Dropped::OutOfOrder);
            }
            self.join(now, &mut header, is_event);
            is_aside = is_event && self.keep_time_of_press(&header);
        } else if self.is_before_seam(header.sequence) {
            return Err(Dropped::OutOfOrder);
        }
        header.payload_type = to;
        header.sequence = header.sequence.wrapping_add(self.sequence_offset);
        header.timestamp = header.timestamp.wrapping_add(self.timestamp_offset);
        header.ssrc = self.ssrc_out;
        if is_event {
            self.note_press(header.timestamp, is_aside);
        } else {
            self.timestamp_out = header.timestamp;
            self.sent_at_units = now.rtp_units();
        }
        self.relayed = self.relayed.wrapping_add(1);
        let payload_bytes = header.payload_end - header.payload_start;
        self.octets = self.octets.wrapping_add(payload_bytes as u32);
        // The new header ends where the payload begins, so the payload stays where it is.
        let start = header.payload_start - HEADER_BYTES;
        packet[start..header.payload_start].copy_from_slice(&header.to_bytes());
        Ok(start..header.payload_end)
    }

    /// Whether packets may leave now; a key may beside a warning.
    #[inline]
    const fn pass_gate(&self, is_event: bool) -> Result<(), Dropped> {
        match self.gate {
            Gate::Open => Ok(()),
            Gate::NotBridged => Err(Dropped::NotBridged),
            Gate::Held => Err(Dropped::Held),
            Gate::Warned if is_event && self.ear.mode().pass => Ok(()),
            Gate::Playing | Gate::Warned => Err(Dropped::Playing),
        }
    }

    /// Whether a packet from there may be the peer's. Nothing is learned from it.
    pub(super) fn may_be_from(&self, address: SocketAddr) -> bool {
        let from = Source::of(address);
        from == self.source || (self.learns && from.is_beside(self.source))
    }

    /// Whether a packet is heard that came while the port of the peer is looked for, or from
    /// somewhere else.
    #[cold]
    fn admit(&mut self, address: SocketAddr, packet: &[u8]) -> bool {
        let from = Source::of(address);
        if !self.learns || !from.is_beside(self.source) {
            return false;
        }
        if let Ok(header) = Header::parse(packet)
            && self.latch.hear(self.source, from, &header)
        {
            (self.source, self.learns) = (from, false);
            (self.latched, self.has_news) = (Some(address), true);
        }
        from == self.source
    }

    fn note(&mut self, now: Moment, header: &Header, position: Option<usize>) -> Noted {
        self.heard_at = now;
        if self.stage != Stage::Running || header.ssrc != self.ssrc_in {
            self.begin_stream(now, header);
            return Noted::Next;
        }
        let is_event = position == Some(EVENT_POSITION);
        let timing = if is_event { Timing::Event } else { Timing::Sampled };
        let noted = self.reception.note(now, header, timing);
        if let Noted::Restarted { before } = noted {
            self.cut_after(before);
        }
        noted
    }

    /// Of a telephone event no more than the event itself goes on.
    #[cold]
    fn hear_event(
        &mut self,
        now: Moment,
        before: u16,
        header: &mut Header,
        packet: &[u8],
    ) -> Result<(), Dropped> {
        let payload = packet.get(header.payload_start..header.payload_end).unwrap_or_default();
        match self.ear.hear_event(now, header, payload) {
            Ok(Heard::Key(key)) => self.press(Some(key)),
            Ok(Heard::Nothing) => {}
            Ok(Heard::TooMany) => {
                self.skip(before, header);
                return Err(self.drop_as(Dropped::TooManyKeys));
            }
            Err(Malformed) => return Err(self.drop_as(Dropped::Malformed)),
        }
        header.payload_end = header.payload_start + EVENT_BYTES;
        Ok(())
    }

    #[cold]
    fn hear_sound(&mut self, header: &Header, position: Option<usize>, packet: &mut [u8]) {
        let Some(law) = position.and_then(Law::at_position) else { return };
        if let Some(payload) = packet.get_mut(header.payload_start..header.payload_end) {
            let key = self.ear.hear_sound(law, payload);
            self.press(key);
        }
    }

    /// The receiving side speaks the other law of G.711 alone: the sound in that one, and its
    /// number.
    fn turn(&self, header: &Header, position: Option<usize>, packet: &mut [u8]) -> u8 {
        let Some(law) = position.and_then(Law::at_position) else { return NO_PAYLOAD };
        let to = self.to[law.other().position()];
        let payload = packet.get_mut(header.payload_start..header.payload_end);
        if to != NO_PAYLOAD {
            law.turn(payload.unwrap_or_default());
        }
        to
    }

    fn press(&mut self, key: Option<Key>) {
        if key.is_some() {
            self.pressed = key;
            self.has_news = true;
        }
    }

    /// The peer has begun to send, or has changed its stream. Towards the other side our stream
    /// goes on without a gap.
    #[cold]
    fn begin_stream(&mut self, now: Moment, header: &Header) {
        self.cut();
        self.ear.forget();
        self.press_times = None;
        self.stage = Stage::Running;
        self.ssrc_in = header.ssrc;
        self.reception.start(now, header);
    }

    /// Counts a packet that went nowhere. What a call on hold or one not yet joined drops is no
    /// fault.
    pub(super) fn drop_as(&mut self, why: Dropped) -> Dropped {
        match why {
            Dropped::Stranger
            | Dropped::Malformed
            | Dropped::Stun
            | Dropped::Dtls
            | Dropped::UnknownPayload
            | Dropped::TooManyKeys
            | Dropped::Unproved => self.dropped += 1,
            Dropped::NotBridged
            | Dropped::Held
            | Dropped::Playing
            | Dropped::OutOfOrder
            | Dropped::Key => {}
        }
        why
    }

    /// Where packets come from. `learns`: another port of this address may turn out to be it.
    pub(super) fn set_source(&mut self, address: SocketAddr, learns: bool) {
        let is_known = !address.ip().is_unspecified();
        self.source = if is_known { Source::of(address) } else { Source::NOBODY };
        self.learns = learns && is_known;
        self.latch = Latch::default();
    }

    /// Where packets go.
    pub(super) fn set_destination(&mut self, address: SocketAddr) {
        self.destination = address;
    }

    /// The numbers of payloads from the sending side.
    pub(super) fn set_payloads_from(&mut self, payloads: PayloadMap) {
        self.from = numbers(payloads);
    }

    /// The numbers of payloads to the receiving side.
    pub(super) fn set_payloads_to(&mut self, payloads: PayloadMap) {
        self.to = numbers(payloads);
    }

    pub(super) fn set_gate(&mut self, gate: Gate) {
        self.gate = gate;
        if gate != Gate::Open {
            self.cut();
        }
    }

    /// What happens to the keys of the sending side.
    pub(super) fn set_keys(&mut self, mode: KeyMode) {
        self.ear.set_mode(mode);
        self.hears_tones = mode.inband;
    }

    pub(super) const fn keys(&self) -> KeyMode {
        self.ear.mode()
    }

    /// There is something to be asked for.
    #[inline]
    pub(super) const fn has_news(&self) -> bool {
        self.has_news
    }

    /// A key that was pressed, and where the peer was found, since this was last asked.
    pub(super) const fn take_news(&mut self) -> (Option<Key>, Option<SocketAddr>) {
        self.has_news = false;
        (self.pressed.take(), self.latched.take())
    }

    /// The port of the peer is still looked for.
    pub(super) const fn learns(&self) -> bool {
        self.learns
    }

    /// The codec of a packet that left, by its position in the call's list.
    pub(super) fn codec_sent(&self, payload_type: u8) -> Option<usize> {
        self.to.iter().position(|to| *to == payload_type)
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
        self.timestamp_out.wrapping_add(now.rtp_units().wrapping_sub(self.sent_at_units))
    }

    pub(super) const fn heard_at(&self) -> Moment {
        self.heard_at
    }

    /// Packets and payload bytes that left, our own among them.
    pub(super) const fn sent(&self) -> (u32, u32) {
        let (packets, octets) = self.played;
        (self.relayed.wrapping_add(packets), self.octets.wrapping_add(octets))
    }

    /// Packets of the peer that left.
    pub(super) const fn relayed(&self) -> u32 {
        self.relayed
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

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    /// S17. The first sequence number has a bit less, and says why.
    #[test]
    fn the_names_and_first_numbers_of_a_hundred_thousand_streams_have_random_bits_only() {
        const COUNT: u32 = 100_000;
        let mut rng = ChaCha20Rng::seed_from_u64(17);
        let mut names = std::collections::BTreeSet::new();
        let mut bits = [[0_u32; 32]; 3];
        for _ in 0..COUNT {
            let flow = Flow::new(Side::A, &mut rng);
            names.insert(flow.ssrc_out);
            let values = [flow.ssrc_out, flow.timestamp_out, u32::from(flow.sequence_next)];
            for (counts, value) in bits.iter_mut().zip(values) {
                counts.iter_mut().enumerate().for_each(|(at, count)| *count += value >> at & 1);
            }
        }
        // One or two of 32 bits are alike among so many.
        assert!(names.len() > COUNT as usize - 10, "{} names", names.len());
        for (counts, random) in bits.iter().zip([32, 32, 15]) {
            // Six deviations are 950.
            let is_even = |count: &u32| (49_050..50_950).contains(count);
            assert!(counts[..random].iter().all(is_even), "{counts:?}");
            assert!(counts[random..].iter().all(|count| *count == 0), "{counts:?}");
        }
    }
}
