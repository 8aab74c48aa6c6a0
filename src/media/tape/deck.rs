//! The thread that writes recordings. It asks nobody but the disk. What a crash of the process may
//! take is the last second, what a crash of the machine may take is what the system has not written
//! yet; a recording that has ended is on the disk before anybody hears of it.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvError, TryRecvError};
use std::time::Duration;

use super::syncer::{Ended, Syncer};
use super::{Order, Packet, Taped, Told};
use crate::domain::id::{CallId, RecordingId, TenantId};
use crate::domain::recording::Retention;
use crate::media::clock::{Clock, pause};
use crate::recording::{About, Frame, Place, Track, Writer, hold, make_folder, partial_folder};
use crate::rtp::plane::RecordAs;
use crate::rtp::time::Moment;
use crate::vault::SecretKey;

/// How long packets gather while something is recorded: a media thread that wakes nobody is faster.
const GATHER: Duration = Duration::from_millis(20);
/// How often what is written so far leaves the process.
const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// With less room on the disk nothing new is recorded.
const DISK_FREE_MIN: u64 = 256 << 20;
/// What is gathered of one recording before it is written.
const BUFFER_BYTES: usize = 32 << 10;

/// A recording being written.
struct Running {
    writer: Writer<BufWriter<File>>,
    place: Place,
    about: About,
    told: Told,
    /// Packets of it that were taken out of the queue.
    taken: Arc<AtomicU64>,
}

pub(super) struct Deck {
    folder: PathBuf,
    orders: Receiver<Order>,
    /// Nothing new is begun without it.
    has_room: Arc<AtomicBool>,
    running: BTreeMap<u64, Running>,
    clock: Clock,
    syncer: Syncer,
}

impl Deck {
    pub(super) fn new(
        folder: PathBuf,
        orders: Receiver<Order>,
        has_room: Arc<AtomicBool>,
        syncer: Syncer,
    ) -> io::Result<Self> {
        make_folder(&folder)?;
        let (running, clock) = (BTreeMap::new(), Clock::start());
        Ok(Self { folder, orders, has_room, running, clock, syncer })
    }

    /// Runs until every media thread is gone.
    pub(super) fn run(mut self) {
        let mut flush_at = self.clock.now();
        while self.take_orders() {
            let now = self.clock.now();
            if now >= flush_at {
                flush_at = Moment::from_micros(now.micros() + FLUSH_EVERY.as_micros() as u64);
                self.flush();
                self.has_room.store(has_room(&self.folder), Ordering::Relaxed);
            }
            pause(GATHER);
        }
        for number in self.running.keys().copied().collect::<Vec<_>>() {
            if let Some(ended) = self.finish(number, 0) {
                self.syncer.take_waiting(ended);
            }
        }
    }

    /// Takes all there is; false at the end of it all.
    fn take_orders(&mut self) -> bool {
        if self.running.is_empty() && self.has_room.load(Ordering::Relaxed) {
            match self.orders.recv() {
                Ok(order) => self.obey(order),
                Err(RecvError) => return false,
            }
        }
        loop {
            match self.orders.try_recv() {
                Ok(order) => self.obey(order),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Begin { number, about, told, taken } => match self.begin(&about, &told, taken) {
                Ok(running) => {
                    metrics::counter!("maskline_recordings_total", "result" => "begun")
                        .increment(1);
                    running.told.tell(true);
                    self.running.insert(number, running);
                }
                Err(error) => failed(&error, &told, &self.has_room),
            },
            Order::Packet(packet) => self.add(&packet),
            Order::End { number, lost } => self.end(number, lost),
        }
    }

    fn begin(
        &mut self,
        about: &RecordAs,
        told: &Told,
        taken: Arc<AtomicU64>,
    ) -> io::Result<Running> {
        let recording = RecordingId::from_u128(about.recording);
        let tenant = TenantId::from_u128(about.tenant);
        let started_ms = about.started_ms;
        let retention = Retention::find_code(about.retention).ok_or(io::ErrorKind::InvalidInput)?;
        let place = Place { recording, retention, started_ms };
        let call = CallId::from_u128(about.call);
        let key = SecretKey::from_bytes(&about.key.key).map_err(io::Error::other)?;
        let wrapped = &about.key.wrapped;
        let about = About { tenant, recording, call, started_ms };
        if !has_room(&self.folder) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        make_folder(&partial_folder(&self.folder, retention))?;
        let path = place.partial(&self.folder);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        // From now on nobody takes it for one that a crash has left.
        hold(&file)?;
        let out = BufWriter::with_capacity(BUFFER_BYTES, file);
        let writer = Writer::begin(out, &about, &key, wrapped)?;
        Ok(Running { writer, place, about, told: told.clone(), taken })
    }

    fn add(&mut self, packet: &Packet) {
        let Some(running) = self.running.get_mut(&packet.number) else { return };
        running.taken.fetch_add(1, Ordering::Relaxed);
        let frame = Frame {
            track: Track(packet.from),
            law: packet.law,
            at_ms: packet.at_ms,
            timestamp: packet.timestamp,
            samples: packet.samples.get(..usize::from(packet.length)).unwrap_or_default(),
        };
        if let Err(error) = running.writer.add(&frame) {
            self.give_up(packet.number, &error);
        }
    }

    fn flush(&mut self) {
        let mut failed = Vec::new();
        for (number, running) in &mut self.running {
            if let Err(error) = running.writer.flush() {
                failed.push((*number, error));
            }
        }
        for (number, error) in failed {
            self.give_up(number, &error);
        }
    }

    /// Ends one. What waits for the disk does so elsewhere.
    fn end(&mut self, number: u64, lost: u64) {
        if let Some(ended) = self.finish(number, lost)
            && !self.syncer.take(ended)
        {
            metrics::counter!("maskline_recordings_total", "result" => "unsynced").increment(1);
        }
    }

    /// Writes the last of it.
    fn finish(&mut self, number: u64, lost: u64) -> Option<Ended> {
        let Running { mut writer, place, about, told, .. } = self.running.remove(&number)?;
        writer.add_lost(lost);
        let finished = writer.finish().and_then(|finished| {
            let file = finished.out.into_inner().map_err(io::IntoInnerError::into_error)?;
            let (totals, sha256, bytes) = (finished.totals, finished.sha256, finished.bytes);
            Ok((file, Taped { place, about, totals, sha256, bytes, complete: true }))
        });
        match finished {
            Ok((file, taped)) => {
                let folder = partial_folder(&self.folder, place.retention);
                Some(Ended { file, folder, taped, told })
            }
            Err(error) => {
                failed(&error, &told, &self.has_room);
                None
            }
        }
    }

    /// The disk takes no more of a recording: what there is of it is found like what a crash has
    /// left.
    fn give_up(&mut self, number: u64, error: &io::Error) {
        if let Some(Running { writer, told, .. }) = self.running.remove(&number) {
            drop(writer);
            failed(error, &told, &self.has_room);
        }
    }
}

/// One recording: what is wrong with it need not be wrong with others. A disk without room is seen
/// by itself.
pub(super) fn failed(error: &io::Error, told: &Told, has_room: &AtomicBool) {
    metrics::counter!("maskline_recordings_total", "result" => "failed").increment(1);
    tracing::error!(%error, "A recording cannot be written: {error}");
    if error.kind() == io::ErrorKind::StorageFull {
        has_room.store(false, Ordering::Relaxed);
    }
    told.tell(false);
}

/// A disk that cannot be asked has no room.
fn has_room(folder: &Path) -> bool {
    rustix::fs::statvfs(folder)
        .is_ok_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) >= DISK_FREE_MIN)
}
