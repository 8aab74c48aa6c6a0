//! Recording, as the media threads see it: packets that were relayed are handed to a thread of its
//! own, which alone touches the disk. A media thread never waits for it.

mod deck;
mod syncer;

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::link::{self, CommandQueue};
use crate::recording::PAYLOAD_BYTES_MAX;
pub use crate::recording::Taped;
use crate::rtp::g711::Law;
use crate::rtp::header::{HEADER_BYTES, Header};
use crate::rtp::plane::{EVENT_POSITION, RecordAs, SessionId, Side};
use crate::rtp::session::Session;
use crate::rtp::sound::RATE_HZ;
use crate::rtp::time::Moment;
use deck::Deck;
use syncer::{SYNCS_MAX, Sync, Syncer};

/// The most packets that may wait for the disk: at 1,000 recorded calls the sixth part of a second.
/// Beyond it they are lost to the recording, which counts them.
pub const TAPE_QUEUE_MAX: usize = 16_384;
/// The most of them of one call: five seconds of its usual packets. Whoever sends more, or faster,
/// fills the queue for nobody else.
pub const TAPE_QUEUE_CALL_MAX: u64 = 512;

/// What a recording may lose of what was said in [`LOSS_WINDOW`]: a second of one side. What has
/// lost more is no recording of the call.
const LOST_BYTES_MAX: usize = RATE_HZ as usize;
const LOSS_WINDOW: Duration = Duration::from_secs(10);

/// What the recorder has to be told at its start.
pub struct TapeConfig {
    /// Where recordings are kept.
    pub folder: PathBuf,
    /// Takes each one that is done. It must not wait.
    pub done: Box<dyn Fn(Taped) + Send>,
}

/// The running recorder. It ends, and all files are whole, when every [`Tape`] is gone.
pub struct Recorder {
    tape: Option<Tape>,
    thread: Option<JoinHandle<()>>,
}

impl Recorder {
    /// Starts its threads.
    ///
    /// # Errors
    /// The folder cannot be made, or a thread cannot start.
    pub fn start(config: TapeConfig) -> std::io::Result<Self> {
        Self::start_on(config, Box::new(File::sync_all), SYNCS_MAX)
    }

    /// The same on a disk that may be slow.
    fn start_on(config: TapeConfig, sync: Sync, syncs_max: usize) -> std::io::Result<Self> {
        let (sender, orders) = sync_channel(TAPE_QUEUE_MAX);
        let has_room = Arc::new(AtomicBool::new(true));
        let TapeConfig { folder, done } = config;
        let syncer = Syncer::start(sync, done, Arc::clone(&has_room), syncs_max)?;
        let deck = Deck::new(folder, orders, Arc::clone(&has_room), syncer)?;
        let thread = thread::Builder::new().name("recorder".to_owned());
        let thread = thread.spawn(move || deck.run())?;
        let tape = Tape { orders: sender, has_room, number: Arc::default() };
        Ok(Self { tape: Some(tape), thread: Some(thread) })
    }

    /// The way to it, for the media plane.
    #[must_use]
    pub fn tape(&self) -> Option<Tape> {
        self.tape.clone()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.tape = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }
}

/// The way of a media thread to the recorder.
#[derive(Clone, Debug)]
pub struct Tape {
    orders: SyncSender<Order>,
    has_room: Arc<AtomicBool>,
    /// The next recording.
    number: Arc<AtomicU64>,
}

impl PartialEq for Tape {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.number, &other.number)
    }
}

impl Eq for Tape {}

/// The way back to the media thread of a call.
#[derive(Clone)]
struct Told {
    queue: Arc<CommandQueue>,
    session: SessionId,
    number: u64,
}

impl Told {
    /// Its recording has begun, or there is none any more.
    fn tell(&self, begun: bool) {
        let (session, number) = (self.session, self.number);
        self.queue.push_own(link::Order::Taped { session, number, begun });
    }
}

/// What the recorder is told.
#[expect(clippy::large_enum_variant, reason = "nearly all of them are packets")]
enum Order {
    Begin { number: u64, about: Box<RecordAs>, told: Told, taken: Arc<AtomicU64> },
    Packet(Packet),
    End { number: u64, lost: u64 },
}

/// How long a full piece of a packet is.
const PIECE_MS: u32 = PAYLOAD_BYTES_MAX as u32 * 1_000 / RATE_HZ;

/// A packet that was relayed, or a piece of a long one; the samples lie in the queue itself, so
/// nothing is allocated.
#[derive(Clone, Copy, Debug)]
struct Packet {
    number: u64,
    from: Side,
    law: Law,
    at_ms: u32,
    timestamp: u32,
    length: u16,
    samples: [u8; PAYLOAD_BYTES_MAX],
}

/// The recording of one call, at its media thread.
#[derive(Debug)]
pub(super) struct Taping {
    number: u64,
    begun_at: Moment,
    /// Packets that were handed to the recorder.
    handed: u64,
    /// How many of them it has taken out of the queue.
    taken: Arc<AtomicU64>,
    lost: u64,
    loss: Loss,
}

/// What was lost of late.
#[derive(Debug, Default)]
struct Loss {
    since: Moment,
    bytes: usize,
    is_told: bool,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub(super) enum Kept {
    /// It is on its way to the disk, or is no speech, or so little is missing that nobody minds.
    Enough,
    /// Too much is missing. This is said once.
    TooLittle,
}

impl Taping {
    /// Which one it is.
    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    #[cold]
    fn lose(&mut self, now: Moment, bytes: usize) -> Kept {
        self.lost += 1;
        let loss = &mut self.loss;
        if now.since(loss.since) >= LOSS_WINDOW {
            (loss.since, loss.bytes) = (now, 0);
        }
        loss.bytes += bytes;
        if loss.is_told || loss.bytes <= LOST_BYTES_MAX {
            return Kept::Enough;
        }
        loss.is_told = true;
        Kept::TooLittle
    }
}

impl Tape {
    /// Begins a recording; `None` when the disk has no room or the recorder is behind. Otherwise
    /// what has become of it comes by the queue.
    pub(super) fn begin(
        &self,
        now: Moment,
        session: SessionId,
        about: Box<RecordAs>,
        queue: &Arc<CommandQueue>,
    ) -> Option<Taping> {
        if !self.has_room.load(Ordering::Relaxed) {
            return None;
        }
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let told = Told { queue: Arc::clone(queue), session, number };
        let taken = Arc::<AtomicU64>::default();
        let begin = Order::Begin { number, about, told, taken: Arc::clone(&taken) };
        self.orders.try_send(begin).ok()?;
        let (lost, loss) = (0, Loss::default());
        Some(Taping { number, begun_at: now, handed: 0, taken, lost, loss })
    }

    /// Hands a packet over as it was sent on, a long one in pieces. Keys are nobody's business.
    pub(super) fn add(
        &self,
        taping: &mut Taping,
        now: Moment,
        from: Side,
        session: &Session,
        packet: &[u8],
    ) -> Kept {
        let Ok(header) = Header::parse(packet) else { return Kept::Enough };
        let body = packet.get(HEADER_BYTES..).unwrap_or_default();
        let law = match session.codec_sent(from, header.payload_type) {
            Some(EVENT_POSITION) => return Kept::Enough,
            position => position.and_then(Law::at_position),
        };
        let Some(law) = law else { return taping.lose(now, body.len()) };
        let at = now.since(taping.begun_at).as_millis();
        let mut next = Packet {
            number: taping.number,
            from,
            law,
            at_ms: u32::try_from(at).unwrap_or(u32::MAX),
            timestamp: header.timestamp,
            length: 0,
            samples: [0; PAYLOAD_BYTES_MAX],
        };
        let mut kept = Kept::Enough;
        // No packet is longer than the relay takes, and each piece has its own time.
        for piece in body.chunks(PAYLOAD_BYTES_MAX) {
            next.length = piece.len() as u16;
            next.samples.iter_mut().zip(piece).for_each(|(to, from)| *to = *from);
            let (at_ms, timestamp) = (next.at_ms, next.timestamp);
            if self.hand(taping, now, next) == Kept::TooLittle {
                kept = Kept::TooLittle;
            }
            next.at_ms = at_ms.saturating_add(PIECE_MS);
            next.timestamp = timestamp.wrapping_add(PAYLOAD_BYTES_MAX as u32);
        }
        kept
    }

    fn hand(&self, taping: &mut Taping, now: Moment, packet: Packet) -> Kept {
        let waiting = taping.handed.saturating_sub(taping.taken.load(Ordering::Relaxed));
        if waiting >= TAPE_QUEUE_CALL_MAX || self.orders.try_send(Order::Packet(packet)).is_err() {
            return taping.lose(now, packet.length.into());
        }
        taping.handed += 1;
        Kept::Enough
    }

    /// Ends a recording. It comes back when the recorder is behind: try again.
    pub(super) fn end(&self, taping: Taping) -> Result<(), Taping> {
        let order = Order::End { number: taping.number, lost: taping.lost };
        match self.orders.try_send(order) {
            // A recorder that is gone has closed its files.
            Ok(()) | Err(TrySendError::Disconnected(_)) => Ok(()),
            Err(TrySendError::Full(_)) => Err(taping),
        }
    }
}

#[cfg(test)]
mod tests;
