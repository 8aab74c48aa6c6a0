//! What a peer has sealed: opened with one key, each of its streams with a count of its own.

use rtc_srtp::context::Context;

use super::{Kind, MasterKey, Unproved};
use crate::rtp::header::HEADER_BYTES;

pub(super) type Opened = bytes::BytesMut;

/// Opens what one key has sealed. The library keeps a state for each stream that is named, before
/// it is proved, and takes the first number it sees for the stream's: so each stream has a context
/// of its own, made by the first packet that is proved.
pub(super) struct Opener {
    key: MasterKey,
    sounds: Streams,
    reports: Streams,
    /// What was heard last by the key before. A peer that changes its key goes on counting or
    /// begins anew, and its first packet shows which. Only this one stream is counted on, and only
    /// when a packet of it asks for it: a peer may change its key as often as it likes.
    before: Option<Count>,
    /// That stream by this key.
    counted_on: Option<Box<Stream>>,
}

impl Opener {
    pub(super) fn new(key: &MasterKey) -> Option<Self> {
        key.profile()?;
        let (sounds, reports) = (Streams::default(), Streams::default());
        Some(Self { key: key.clone(), sounds, reports, before: None, counted_on: None })
    }

    /// For the key that comes after this one.
    pub(super) fn successor(&self, key: &MasterKey) -> Option<Self> {
        let mut next = Self::new(key)?;
        let unheard = || self.before.or_else(|| self.counted_on.as_ref().map(|it| it.count));
        next.before = self.sounds.heard.first().map(|it| it.count).or_else(unheard);
        Some(next)
    }

    pub(super) fn is_by(&self, key: &MasterKey) -> bool {
        self.key == *key
    }

    #[cfg(test)]
    pub(super) fn streams(&self) -> usize {
        self.sounds.heard.len() + self.reports.heard.len()
    }

    pub(super) fn open(&mut self, kind: Kind, packet: &[u8]) -> Result<Opened, Unproved> {
        let (ssrc_at, streams) = match kind {
            Kind::Rtp => (8, &mut self.sounds),
            Kind::Rtcp => (4, &mut self.reports),
        };
        let ssrc = packet.get(ssrc_at..ssrc_at + 4).and_then(<[u8]>::first_chunk);
        let ssrc = u32::from_be_bytes(*ssrc.ok_or(Unproved)?);
        if let Some(stream) = streams.find(ssrc) {
            let opened = stream.open(kind, packet)?;
            streams.was_heard(ssrc);
            return Ok(opened);
        }
        if !streams.may_begin(ssrc) {
            return Err(Unproved);
        }
        let context = self.key.context().ok_or(Unproved)?;
        let mut stream = Stream { context, count: Count { ssrc, highest: None } };
        let opened = match (stream.open(kind, packet), kind) {
            (Ok(opened), Kind::Rtp | Kind::Rtcp) => opened,
            (Err(unproved), Kind::Rtcp) => return Err(unproved),
            (Err(_), Kind::Rtp) => {
                let (counted_on, opened) = self.open_counted_on(ssrc, packet)?;
                stream = counted_on;
                opened
            }
        };
        match kind {
            Kind::Rtp => self.sounds.begin(stream),
            Kind::Rtcp => self.reports.begin(stream),
        }
        Ok(opened)
    }

    fn open_counted_on(&mut self, ssrc: u32, packet: &[u8]) -> Result<(Stream, Opened), Unproved> {
        if let Some(count) = self.before.take_if(|it| it.ssrc == ssrc) {
            self.counted_on = count.under(&self.key).map(Box::new);
        }
        let is_it = |stream: &mut Box<Stream>| stream.count.ssrc == ssrc;
        let mut stream = self.counted_on.take_if(is_it).ok_or(Unproved)?;
        match stream.open(Kind::Rtp, packet) {
            Ok(opened) => Ok((*stream, opened)),
            Err(unproved) => {
                self.counted_on = Some(stream);
                Err(unproved)
            }
        }
    }
}

/// The streams of one kind that a peer has named by one key, one after the other: a phone takes a
/// new name for each music on hold.
#[derive(Default)]
struct Streams {
    /// The one heard last first.
    heard: Vec<Stream>,
    /// Those that had to make room. What they have sent must not be taken again, and their counts
    /// are gone: they are not heard by this key any more.
    gone: Vec<u32>,
}

impl Streams {
    fn find(&mut self, ssrc: u32) -> Option<&mut Stream> {
        self.heard.iter_mut().find(|it| it.count.ssrc == ssrc)
    }

    fn was_heard(&mut self, ssrc: u32) {
        let at = self.heard.iter().position(|it| it.count.ssrc == ssrc);
        if let Some(upto) = at.and_then(|at| self.heard.get_mut(..=at)) {
            upto.rotate_right(1);
        }
    }

    fn may_begin(&self, ssrc: u32) -> bool {
        let has_room = self.heard.len() < STREAMS_MAX || self.gone.len() < STREAMS_GONE_MAX;
        has_room && !self.gone.contains(&ssrc)
    }

    /// A stream that is proved. The one that was not heard for the longest time makes room.
    fn begin(&mut self, stream: Stream) {
        if self.heard.len() >= STREAMS_MAX {
            self.gone.extend(self.heard.pop().map(|it| it.count.ssrc));
        }
        self.heard.insert(0, stream);
    }
}

struct Stream {
    context: Context,
    count: Count,
}

/// How far a stream has come.
#[derive(Clone, Copy)]
struct Count {
    ssrc: u32,
    /// The highest number of its packets of sound, beyond the 16 bits that are sent.
    highest: Option<u64>,
}

impl Stream {
    fn open(&mut self, kind: Kind, packet: &[u8]) -> Result<Opened, Unproved> {
        match kind {
            Kind::Rtp => {
                let opened = self.context.decrypt_rtp(packet).map_err(|_| Unproved)?;
                self.count.note(packet);
                Ok(opened)
            }
            // The library takes one in clear without a look at its tag.
            Kind::Rtcp if !is_encrypted_rtcp(packet) => Err(Unproved),
            Kind::Rtcp => self.context.decrypt_rtcp(packet).map_err(|_| Unproved),
        }
    }
}

impl Count {
    fn note(&mut self, packet: &[u8]) {
        let Some(sequence) = packet.get(2..4).and_then(<[u8]>::first_chunk) else { return };
        let sequence = u16::from_be_bytes(*sequence);
        let highest = *self.highest.get_or_insert(sequence.into());
        let ahead = sequence.wrapping_sub(highest as u16).cast_signed();
        self.highest = Some(highest + u64::from(ahead.max(0).unsigned_abs()));
    }

    /// The same count under another key; `None` where that is no other than to begin anew. The
    /// library has no word for a count, so it is brought there by packets of our own that go
    /// nowhere: `STEPS_MAX` of them at the most.
    fn under(self, key: &MasterKey) -> Option<Stream> {
        let highest = self.highest.filter(|highest| COUNTED_ON.contains(highest))?;
        let (mut seals, mut context) = (key.context()?, key.context()?);
        let mut at = 0;
        loop {
            let mut packet = [0; HEADER_BYTES];
            packet[0] = 0x80;
            packet[2..4].copy_from_slice(&(at as u16).to_be_bytes());
            packet[8..].copy_from_slice(&self.ssrc.to_be_bytes());
            let sealed = seals.encrypt_rtp(&packet).ok()?;
            context.decrypt_rtp(&sealed).ok()?;
            if at == highest {
                return Some(Stream { context, count: self });
            }
            at = (at + STEP).min(highest);
        }
    }
}

/// Whether an RTCP packet says that it is encrypted (RFC 3711 §3.4). No leg agrees on anything
/// else.
fn is_encrypted_rtcp(packet: &[u8]) -> bool {
    let flag_at = packet.len().checked_sub(RTCP_INDEX_BYTES + TAG_BYTES);
    flag_at.and_then(|at| packet.get(at)).is_some_and(|flag| flag & 0x80 != 0)
}

/// The streams of a peer by one key whose counts are kept.
pub(super) const STREAMS_MAX: usize = 16;
/// Those whose names alone are kept. With more, no new stream is heard until the key changes.
pub(super) const STREAMS_GONE_MAX: usize = 1_024;
/// So far ahead is not taken for behind.
const STEP: u64 = 0x7f00;
/// The most packets that bring a stream to its count under another key. Whoever has counted further
/// has talked for most of a day, or has left out numbers, and has to begin anew.
pub(super) const STEPS_MAX: u64 = 128;
/// From where the next number may be one beyond 16 bits.
const COUNTED_ON: std::ops::Range<u64> = 0x8000..STEP * STEPS_MAX;
/// Behind a packet, for both suites.
const TAG_BYTES: usize = 10;
/// Before the tag of an RTCP packet.
const RTCP_INDEX_BYTES: usize = 4;
