//! The recorder on a real folder: what is whole, what a crash leaves, and what a full disk does.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::mpsc::Receiver;

use super::*;
use crate::domain::recording::Retention;
use crate::recording::{Reader, Wav};
use crate::rtp::g711::encode_a_law;

/// Keys that are wrapped by turning their bits.
struct Turned {
    fails: bool,
}

impl TapeKeys for Turned {
    fn create(&mut self, _: TenantId, _: RecordingId) -> Option<(SecretKey, Vec<u8>)> {
        let wrapped = [!5; 32].to_vec();
        (!self.fails).then(|| (SecretKey::from_bytes(&[5; 32]).expect("32 bytes"), wrapped))
    }

    fn open(&mut self, _: TenantId, _: RecordingId, wrapped: &[u8]) -> Option<SecretKey> {
        let bytes: Vec<u8> = wrapped.iter().map(|byte| !byte).collect();
        SecretKey::from_bytes(&bytes).ok()
    }
}

/// A folder of its own that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("maskline-tape-{}-{name}", std::process::id());
        let folder = Self(std::env::temp_dir().join(name));
        fs::create_dir_all(&folder.0).expect("a folder");
        folder
    }

    fn recorder(&self) -> (Recorder, Receiver<Taped>) {
        self.recorder_with(Turned { fails: false })
    }

    fn recorder_with(&self, keys: Turned) -> (Recorder, Receiver<Taped>) {
        let (sender, taped) = sync_channel(16);
        let done = Box::new(move |taped| sender.send(taped).expect("somebody listens"));
        let folder = self.0.clone();
        let config = TapeConfig { folder, keys: Box::new(keys), done };
        (Recorder::start(config).expect("a recorder"), taped)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn as_recording(recording: u128) -> RecordAs {
    RecordAs {
        recording,
        tenant: 1,
        call: 2,
        started_ms: 1_800_000_000_000,
        retention: Retention::FiveYears.code(),
    }
}

fn packet(number: u64, at: u32, level: i16) -> Order {
    let samples = [encode_a_law(level); PAYLOAD_BYTES_MAX];
    let (from, law, timestamp) = (Side::A, Law::A, at * 160);
    let packet = Packet { number, from, law, at_ms: at * 20, timestamp, length: 160, samples };
    Order::Packet(packet)
}

/// Records so many packets as one recording, and does not end it.
fn record(recorder: &Recorder, recording: u128, packets: u32) -> Taping {
    let tape = recorder.tape().expect("at work");
    let taping = tape.begin(Moment::default(), as_recording(recording)).expect("begun");
    for at in 0..packets {
        tape.orders.try_send(packet(taping.number, at, 8_000)).expect("room");
    }
    taping
}

#[test]
fn a_recording_that_ended_is_whole_on_the_disk_and_nobody_else_can_read_it() {
    let folder = Folder::new("whole");
    let (recorder, taped) = folder.recorder();
    let taping = record(&recorder, 7, 50);
    recorder.tape().expect("at work").end(taping).expect("room");
    drop(recorder);
    let taped = taped.recv().expect("told");
    let totals = Totals { frames: [50, 0], lost: 0, duration_ms: 1_000 };
    assert_eq!((taped.totals, taped.complete), (totals, true));
    let path = taped.place.partial(&folder.0);
    assert!(path.starts_with(folder.0.join("five_years")), "{path:?}");
    let file = fs::read(&path).expect("a file");
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &file);
    assert_eq!((taped.sha256.as_slice(), taped.bytes), (hash.as_ref(), file.len() as u64));
    let mode = |path: &std::path::Path| fs::metadata(path).expect("there").permissions().mode();
    assert_eq!((mode(&path) & 0o777, mode(path.parent().expect("a day")) & 0o777), (0o600, 0o700));
    let key = SecretKey::from_bytes(&[5; 32]).expect("32 bytes");
    let wav = Wav::measure(fs::File::open(&path).expect("a file"), key).expect("reads");
    assert_eq!(wav.bytes(), 44 + 8_000 * 4);
}

#[test]
fn recordings_that_run_when_the_plane_stops_are_ended() {
    let folder = Folder::new("stop");
    let (recorder, taped) = folder.recorder();
    record(&recorder, 7, 3);
    record(&recorder, 8, 4);
    drop(recorder);
    let told: Vec<_> = taped.iter().map(|it| (it.totals.frames[0], it.complete)).collect();
    assert_eq!(told, [(3, true), (4, true)]);
}

#[test]
fn what_a_crash_has_left_is_told_at_the_next_start_with_what_can_be_read() {
    let folder = Folder::new("crash");
    let (recorder, taped) = folder.recorder();
    let taping = record(&recorder, 7, 50);
    recorder.tape().expect("at work").end(taping).expect("room");
    drop(recorder);
    let whole = taped.recv().expect("told");
    let path = whole.place.partial(&folder.0);
    let file = fs::read(&path).expect("a file");
    fs::write(&path, &file[..file.len() / 2]).expect("cut");
    fs::write(path.with_file_name("rec_1.part"), b"no recording").expect("written");
    let (recorder, taped) = folder.recorder();
    drop(recorder);
    let left: Vec<_> = taped.iter().collect();
    assert_eq!(left.len(), 1);
    assert_eq!((left[0].place, left[0].about), (whole.place, whole.about));
    assert!(!left[0].complete);
    assert!((20..=25).contains(&left[0].totals.frames[0]), "{:?}", left[0].totals);
    assert_eq!(left[0].bytes, file.len() as u64 / 2);
    // A file that the store knows is left alone.
    fs::rename(&path, whole.place.kept(&folder.0)).expect("renamed");
    let (recorder, taped) = folder.recorder();
    drop(recorder);
    assert_eq!(taped.iter().count(), 0);
}

#[test]
fn without_a_key_nothing_is_written_and_the_others_go_on() {
    let folder = Folder::new("keys");
    let (recorder, taped) = folder.recorder_with(Turned { fails: true });
    record(&recorder, 7, 3);
    drop(recorder);
    assert_eq!(taped.iter().count(), 0);
    assert_eq!(fs::read_dir(&folder.0).expect("a folder").count(), 0);
}

#[test]
fn a_recording_is_never_written_over_another() {
    let folder = Folder::new("twice");
    let (recorder, taped) = folder.recorder();
    record(&recorder, 7, 3);
    record(&recorder, 7, 9);
    drop(recorder);
    let told: Vec<_> = taped.iter().map(|it| it.totals.frames[0]).collect();
    assert_eq!(told, [3]);
    let place = Place {
        recording: RecordingId::from_u128(7),
        retention: Retention::FiveYears,
        started_ms: 1_800_000_000_000,
    };
    let file = fs::File::open(place.partial(&folder.0)).expect("a file");
    assert_eq!(Reader::open(file).expect("a header").about().call.as_u128(), 2);
}

#[test]
fn a_recorder_that_is_behind_loses_packets_and_counts_them_but_never_the_end() {
    let (sender, orders) = sync_channel(2);
    let healthy = Arc::new(AtomicBool::new(true));
    let tape = Tape { orders: sender, healthy: Arc::clone(&healthy), number: Arc::default() };
    let taping = tape.begin(Moment::default(), as_recording(7)).expect("begun");
    tape.orders.try_send(packet(0, 0, 1)).expect("room");
    let taping = tape.end(taping).expect_err("no room: it comes back");
    assert!(tape.begin(Moment::default(), as_recording(8)).is_none(), "behind");
    orders.recv().expect("a beginning");
    assert!(tape.end(taping).is_ok());
    while orders.try_recv().is_ok() {}
    healthy.store(false, Ordering::Relaxed);
    assert!(tape.begin(Moment::default(), as_recording(9)).is_none(), "the disk is full");
}
