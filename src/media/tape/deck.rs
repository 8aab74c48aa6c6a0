//! The thread that writes recordings. What a crash of the process may take is the last second, what
//! a crash of the machine may take is what the system has not written yet; a recording that has
//! ended is on the disk before anybody hears of it.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvError, TryRecvError};
use std::time::Duration;

use aws_lc_rs::digest;

use super::{Order, Packet, TapeConfig, Taped};
use crate::domain::id::{CallId, RecordingId, TenantId};
use crate::domain::recording::Retention;
use crate::media::clock::{Clock, pause};
use crate::recording::{About, Frame, Outcome, Place, Reader, Totals, Track, Writer};
use crate::rtp::plane::RecordAs;
use crate::rtp::time::Moment;

/// How long packets gather while something is recorded: a media thread that wakes nobody is faster.
const GATHER: Duration = Duration::from_millis(20);
/// How often what is written so far leaves the process.
const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// With less room on the disk nothing new is recorded.
const DISK_FREE_MIN: u64 = 256 << 20;
/// What is gathered of one recording before it is written.
const BUFFER_BYTES: usize = 32 << 10;
/// The most files that are looked at for what a crash has left.
const LEFT_MAX: usize = 100_000;

/// A recording being written.
struct Running {
    writer: Writer<BufWriter<File>>,
    place: Place,
    about: About,
}

pub(super) struct Deck {
    config: TapeConfig,
    orders: Receiver<Order>,
    /// Nothing new is begun without it.
    healthy: Arc<AtomicBool>,
    running: BTreeMap<u64, Running>,
    clock: Clock,
}

impl Deck {
    pub(super) fn new(
        config: TapeConfig,
        orders: Receiver<Order>,
        healthy: Arc<AtomicBool>,
    ) -> io::Result<Self> {
        make_folder(&config.folder)?;
        Ok(Self { config, orders, healthy, running: BTreeMap::new(), clock: Clock::start() })
    }

    /// Runs until every media thread is gone.
    pub(super) fn run(mut self) {
        for path in left_by_a_crash(&self.config.folder) {
            self.adopt(&path);
        }
        let mut flush_at = self.clock.now();
        while self.take_orders() {
            let now = self.clock.now();
            if now >= flush_at {
                flush_at = Moment::from_micros(now.micros() + FLUSH_EVERY.as_micros() as u64);
                self.flush();
                let has_room = has_room(&self.config.folder);
                self.healthy.store(has_room, Ordering::Relaxed);
            }
            pause(GATHER);
        }
        for number in self.running.keys().copied().collect::<Vec<_>>() {
            self.end(number, 0);
        }
    }

    /// Takes all there is; false at the end of it all.
    fn take_orders(&mut self) -> bool {
        if self.running.is_empty() && self.healthy.load(Ordering::Relaxed) {
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
            Order::Begin { number, about } => match self.begin(about) {
                Ok(running) => {
                    metrics::counter!("maskline_recordings_total", "result" => "begun")
                        .increment(1);
                    self.running.insert(number, running);
                }
                Err(error) => self.failed(&error),
            },
            Order::Packet(packet) => self.add(&packet),
            Order::End { number, lost } => self.end(number, lost),
        }
    }

    fn begin(&mut self, about: RecordAs) -> io::Result<Running> {
        let recording = RecordingId::from_u128(about.recording);
        let tenant = TenantId::from_u128(about.tenant);
        let started_ms = about.started_ms;
        let retention = Retention::find_code(about.retention).ok_or(io::ErrorKind::InvalidInput)?;
        let place = Place { recording, retention, started_ms };
        let call = CallId::from_u128(about.call);
        let about = About { tenant, recording, call, started_ms };
        if !has_room(&self.config.folder) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let keys = self.config.keys.create(tenant, recording);
        let (key, wrapped) = keys.ok_or_else(|| io::Error::other("there is no key for it"))?;
        make_folder(&place.folder(&self.config.folder))?;
        let path = place.partial(&self.config.folder);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let out = BufWriter::with_capacity(BUFFER_BYTES, file);
        let writer = Writer::begin(out, &about, &key, &wrapped)?;
        Ok(Running { writer, place, about })
    }

    fn add(&mut self, packet: &Packet) {
        let Some(running) = self.running.get_mut(&packet.number) else { return };
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

    fn end(&mut self, number: u64, lost: u64) {
        let Some(Running { mut writer, place, about }) = self.running.remove(&number) else {
            return;
        };
        writer.add_lost(lost);
        let finished = writer.finish().and_then(|finished| {
            let file = finished.out.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.sync_all()?;
            File::open(place.folder(&self.config.folder))?.sync_all()?;
            let (totals, sha256, bytes) = (finished.totals, finished.sha256, finished.bytes);
            Ok(Taped { place, about, totals, sha256, bytes, complete: true })
        });
        match finished {
            Ok(taped) => {
                metrics::counter!("maskline_recording_packets_lost_total")
                    .increment(taped.totals.lost);
                (self.config.done)(taped);
            }
            Err(error) => {
                self.failed(&error);
                self.adopt(&place.partial(&self.config.folder));
            }
        }
    }

    /// The disk takes no more of a recording: what there is of it is kept.
    fn give_up(&mut self, number: u64, error: &io::Error) {
        self.failed(error);
        if let Some(Running { writer, place, .. }) = self.running.remove(&number) {
            drop(writer);
            self.adopt(&place.partial(&self.config.folder));
        }
    }

    fn failed(&self, error: &io::Error) {
        self.healthy.store(false, Ordering::Relaxed);
        metrics::counter!("maskline_recordings_total", "result" => "failed").increment(1);
        tracing::error!(%error, "A recording cannot be written: {error}");
    }

    /// Tells of what is left of a recording.
    fn adopt(&mut self, path: &Path) {
        match self.read_left(path) {
            Ok(taped) => (self.config.done)(taped),
            Err(why) => tracing::error!("What a crash left of a recording is of no use: {why}"),
        }
    }

    fn read_left(&mut self, path: &Path) -> Result<Taped, String> {
        let text = |error: &dyn std::error::Error| error.to_string();
        let mut file = File::open(path).map_err(|error| text(&error))?;
        let (sha256, bytes) = hash(&mut file).map_err(|error| text(&error))?;
        let mut reader = Reader::open(io::BufReader::new(file)).map_err(|error| text(&error))?;
        let about = *reader.about();
        let retention = path.ancestors().nth(2).and_then(Path::file_name);
        let retention = retention.and_then(|name| Retention::find_label(name.to_str()?));
        let retention = retention.ok_or("it lies in no folder of a retention class")?;
        let keys = &mut self.config.keys;
        let key = keys.open(about.tenant, about.recording, reader.wrapped_key());
        reader.unlock(&key.ok_or("its key does not open")?).map_err(|error| text(&error))?;
        let mut totals = Totals::default();
        while let Some(frame) = reader.next_frame().map_err(|error| text(&error))? {
            if let Some(count) = totals.frames.get_mut(frame.track.0.index()) {
                *count += 1;
            }
            totals.duration_ms = totals.duration_ms.max(frame.at_ms);
        }
        let (totals, complete) = match reader.outcome() {
            Some(Outcome::Complete(totals)) => (totals, true),
            Some(Outcome::CutOff) | None => (totals, false),
        };
        let (recording, started_ms) = (about.recording, about.started_ms);
        let place = Place { recording, retention, started_ms };
        Ok(Taped { place, about, totals, sha256, bytes, complete })
    }
}

/// A folder that nobody else can look into.
fn make_folder(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// A disk that cannot be asked has no room.
fn has_room(folder: &Path) -> bool {
    rustix::fs::statvfs(folder)
        .is_ok_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) >= DISK_FREE_MIN)
}

/// Partial files: nobody writes them any more when this is asked.
fn left_by_a_crash(folder: &Path) -> Vec<PathBuf> {
    let entries = |folder: &Path| {
        let entries = fs::read_dir(folder).into_iter().flatten();
        entries.filter_map(|entry| Some(entry.ok()?.path())).collect::<Vec<_>>()
    };
    let days = entries(folder).into_iter().flat_map(|class| entries(&class));
    let files = days.flat_map(|day| entries(&day));
    let is_partial = |path: &PathBuf| path.extension().is_some_and(|end| end == "part");
    files.filter(is_partial).take(LEFT_MAX).collect()
}

fn hash(file: &mut File) -> io::Result<([u8; 32], u64)> {
    let mut context = digest::Context::new(&digest::SHA256);
    let (mut bytes, mut buffer) = (0, vec![0; BUFFER_BYTES]);
    loop {
        let read = file.read(&mut buffer)?;
        let Some(part) = buffer.get(..read).filter(|part| !part.is_empty()) else { break };
        context.update(part);
        bytes += read as u64;
    }
    file.seek(SeekFrom::Start(0))?;
    let mut sha256 = [0; 32];
    for (to, from) in sha256.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    Ok((sha256, bytes))
}
