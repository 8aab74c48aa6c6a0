//! The recorder on a real folder: what is whole, what a crash leaves, and what a full disk does.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::mpsc::Receiver;

use super::*;
use crate::domain::id::RecordingId;
use crate::domain::recording::Retention;
use crate::media::clock::Clock;
use crate::recording::{
    Extent, Left, Place, Reader, RecordingError, Totals, Wav, left_over, remove_useless,
};
use crate::rtp::g711::encode_a_law;
use crate::rtp::plane::TapeKey;
use crate::vault::SecretKey;

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
        self.recorder_on(Box::new(File::sync_all), SYNCS_MAX)
    }

    fn recorder_on(&self, sync: Sync, syncs_max: usize) -> (Recorder, Receiver<Taped>) {
        let (sender, taped) = sync_channel(16);
        let done = Box::new(move |taped| sender.send(taped).expect("somebody listens"));
        let folder = self.0.clone();
        let config = TapeConfig { folder, done };
        (Recorder::start_on(config, sync, syncs_max).expect("a recorder"), taped)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn as_recording(recording: u128) -> Box<RecordAs> {
    Box::new(RecordAs {
        recording,
        tenant: 1,
        call: 2,
        started_ms: 1_800_000_000_000,
        retention: Retention::FiveYears.code(),
        key: TapeKey { key: [5; 32].into(), wrapped: [!5; 32].into() },
    })
}

fn key() -> SecretKey {
    SecretKey::from_bytes(&[5; 32]).expect("32 bytes")
}

fn queue() -> Arc<CommandQueue> {
    Arc::new(CommandQueue::new().expect("an eventfd"))
}

/// What the media thread is told of recordings: its number, and whether it has begun.
fn told(queue: &CommandQueue) -> Vec<(u64, bool)> {
    let orders = std::iter::from_fn(|| queue.pop());
    let told = orders.map(|(_, order)| match order {
        link::Order::Taped { number, begun, .. } => (number, begun),
        link::Order::Command(_) | link::Order::Take { .. } => panic!("not of a recorder"),
    });
    told.collect()
}

/// What nobody writes any more, read with the key of these tests.
fn left(folder: &Folder) -> Vec<Result<Taped, RecordingError>> {
    let paths = left_over(&folder.0).into_iter();
    let left = paths.filter_map(|path| Left::take(&path).transpose());
    left.map(|left| left?.read(&key())).collect()
}

fn packet(number: u64, at: u32, level: i16) -> Order {
    let samples = [encode_a_law(level); PAYLOAD_BYTES_MAX];
    let (from, law, timestamp) = (Side::A, Law::A, at * 160);
    let packet = Packet { number, from, law, at_ms: at * 20, timestamp, length: 160, samples };
    Order::Packet(packet)
}

/// Records so many packets as one recording, and does not end it.
fn record(recorder: &Recorder, recording: u128, packets: u32) -> Taping {
    record_for(&queue(), recorder, recording, packets)
}

fn record_for(
    queue: &Arc<CommandQueue>,
    recorder: &Recorder,
    recording: u128,
    packets: u32,
) -> Taping {
    let tape = recorder.tape().expect("at work");
    let (now, session) = (Moment::default(), SessionId(1));
    let taping = tape.begin(now, session, as_recording(recording), queue).expect("begun");
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
    let wav =
        Wav::measure(fs::File::open(&path).expect("a file"), key(), Extent::Whole).expect("reads");
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
fn what_a_crash_has_left_is_found_with_what_can_be_read_of_it() {
    let folder = Folder::new("crash");
    let (recorder, taped) = folder.recorder();
    let taping = record(&recorder, 7, 50);
    recorder.tape().expect("at work").end(taping).expect("room");
    drop(recorder);
    let whole = taped.recv().expect("told");
    assert_eq!(left(&folder).remove(0).expect("reads"), whole);
    let path = whole.place.partial(&folder.0);
    let file = fs::read(&path).expect("a file");
    fs::write(&path, &file[..file.len() / 2]).expect("cut");
    let cut = left(&folder).remove(0).expect("reads");
    assert_eq!((cut.place, cut.about), (whole.place, whole.about));
    assert!(!cut.complete);
    assert!((20..=25).contains(&cut.totals.frames[0]), "{:?}", cut.totals);
    assert_eq!(cut.bytes, file.len() as u64 / 2);
    // What is no recording hides none, and a file that the store knows is left alone.
    fs::write(path.with_file_name("rec_1.part"), b"no recording").expect("written");
    assert_eq!(left(&folder).iter().filter(|it| it.is_ok()).count(), 1);
    fs::remove_file(path.with_file_name("rec_1.part")).expect("there");
    let kept = whole.place.kept(&folder.0);
    fs::create_dir_all(kept.parent().expect("a day")).expect("a folder");
    fs::rename(&path, kept).expect("renamed");
    assert_eq!(left(&folder).len(), 0);
}

#[test]
fn a_recording_that_is_written_is_not_taken_for_what_a_crash_has_left_by_any_process() {
    let folder = Folder::new("held");
    let (recorder, taped) = folder.recorder();
    let queue = queue();
    let taping = record_for(&queue, &recorder, 7, 3);
    while told(&queue).is_empty() {
        std::thread::yield_now();
    }
    assert_eq!(left_over(&folder.0).len(), 1, "it is there");
    assert_eq!(left(&folder).len(), 0, "and it is in other hands");
    recorder.tape().expect("at work").end(taping).expect("room");
    let whole = taped.recv().expect("told");
    // Two who look at the same time do not take it both.
    let path = whole.place.partial(&folder.0);
    let first = Left::take(&path).expect("a recording").expect("nobody writes it");
    assert!(Left::take(&path).expect("answered").is_none());
    drop(first);
    assert!(Left::take(&path).expect("answered").is_some());
}

#[test]
fn what_was_said_before_a_frame_that_was_changed_is_kept_and_a_file_of_no_use_has_its_time() {
    let folder = Folder::new("changed");
    let (recorder, taped) = folder.recorder();
    let taping = record(&recorder, 7, 50);
    recorder.tape().expect("at work").end(taping).expect("room");
    drop(recorder);
    let whole = taped.recv().expect("told");
    let path = whole.place.partial(&folder.0);
    let mut file = fs::read(&path).expect("a file");
    let end = 2 + 10 + 24 + 16;
    let at = file.len() - end - 1;
    file[at] ^= 1;
    fs::write(&path, &file).expect("changed");
    let read = left(&folder).remove(0).expect("reads");
    assert_eq!((read.totals.frames, read.complete), ([49, 0], false));
    let modified = fs::metadata(&path).expect("there").modified().expect("a time");
    let time = Retention::FiveYears.time();
    let second = std::time::Duration::from_secs(1);
    assert!(!remove_useless(&path, modified + time - second).expect("looked"));
    let held = fs::File::open(&path).expect("a file");
    crate::recording::hold(&held).expect("held");
    assert!(!remove_useless(&path, modified + time).expect("looked"), "somebody writes it");
    drop(held);
    assert!(remove_useless(&path, modified + time).expect("removed"));
    fs::write(&path, []).expect("an empty file");
    assert!(matches!(Left::take(&path), Err(RecordingError::Empty)));
    let modified = fs::metadata(&path).expect("there").modified().expect("a time");
    assert!(!remove_useless(&path, modified + second).expect("looked"), "it may begin yet");
    assert!(remove_useless(&path, modified + 60 * second).expect("removed"));
    assert!(!path.exists());
}

#[test]
fn a_recording_that_cannot_begin_is_told_and_the_others_go_on() {
    let folder = Folder::new("refused");
    let (recorder, taped) = folder.recorder();
    let queue = queue();
    let first = record_for(&queue, &recorder, 7, 3);
    // The name is taken already: this one alone has no file.
    let second = record_for(&queue, &recorder, 7, 9);
    let third = record_for(&queue, &recorder, 8, 5);
    let numbers = [&first, &second, &third].map(|taping| taping.number());
    drop(recorder);
    assert_eq!(told(&queue), [(numbers[0], true), (numbers[1], false), (numbers[2], true)]);
    let frames: Vec<_> = taped.iter().map(|it| it.totals.frames[0]).collect();
    assert_eq!(frames, [3, 5]);
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
    let has_room = Arc::new(AtomicBool::new(true));
    let tape = Tape { orders: sender, has_room: Arc::clone(&has_room), number: Arc::default() };
    let queue = queue();
    let begin = |number| {
        let session = SessionId(number);
        tape.begin(Moment::default(), session, as_recording(number), &queue)
    };
    let taping = begin(7).expect("begun");
    tape.orders.try_send(packet(0, 0, 1)).expect("room");
    let taping = tape.end(taping).expect_err("no room: it comes back");
    assert!(begin(8).is_none(), "behind");
    orders.recv().expect("a beginning");
    assert!(tape.end(taping).is_ok());
    while orders.try_recv().is_ok() {}
    has_room.store(false, Ordering::Relaxed);
    assert!(begin(9).is_none(), "the disk is full");
}

#[test]
fn a_call_that_sends_without_end_takes_no_room_from_the_others() {
    let (sender, orders) = sync_channel(TAPE_QUEUE_MAX);
    let has_room = Arc::new(AtomicBool::new(true));
    let tape = Tape { orders: sender, has_room, number: Arc::default() };
    let queue = queue();
    let now = Moment::default();
    let begin = |number| tape.begin(now, SessionId(number), as_recording(number), &queue);
    let (mut loud, mut usual) = (begin(7).expect("begun"), begin(8).expect("begun"));
    let hand = |taping: &mut Taping, at| {
        let Order::Packet(packet) = packet(taping.number, at, 8_000) else { unreachable!() };
        tape.hand(taping, now, packet)
    };
    let kept: Vec<Kept> = (0..2 * TAPE_QUEUE_MAX as u32).map(|at| hand(&mut loud, at)).collect();
    assert_eq!(loud.handed, TAPE_QUEUE_CALL_MAX);
    assert_eq!(loud.lost, kept.len() as u64 - TAPE_QUEUE_CALL_MAX, "it is its own loss");
    assert_eq!(kept.iter().filter(|kept| **kept == Kept::TooLittle).count(), 1, "told once");
    for at in 0..TAPE_QUEUE_CALL_MAX as u32 {
        assert_eq!(hand(&mut usual, at), Kept::Enough);
    }
    assert_eq!((usual.handed, usual.lost), (TAPE_QUEUE_CALL_MAX, 0));
    // What the recorder takes out makes room again.
    while let Ok(order) = orders.try_recv() {
        if let Order::Begin { number: 0, taken, .. } = order {
            taken.fetch_add(10, Ordering::Relaxed);
        }
    }
    assert!((0..20).all(|at| hand(&mut loud, at) == Kept::Enough));
    assert_eq!(loud.handed, TAPE_QUEUE_CALL_MAX + 10);
}

#[test]
fn the_recorder_says_what_it_has_taken_out_of_the_queue() {
    let folder = Folder::new("taken");
    let (recorder, taped) = folder.recorder();
    let tape = recorder.tape().expect("at work");
    let mut taping = record(&recorder, 7, 0);
    let packets = 8 * TAPE_QUEUE_CALL_MAX as u32;
    let clock = Clock::start();
    for at in 0..packets {
        let Order::Packet(packet) = packet(taping.number, at, 8_000) else { unreachable!() };
        while taping.handed - taping.taken.load(Ordering::Relaxed) >= TAPE_QUEUE_CALL_MAX {
            let waited = clock.now().since(Moment::default());
            assert!(waited < Duration::from_secs(20), "nothing is taken");
            std::thread::yield_now();
        }
        assert_eq!(tape.hand(&mut taping, Moment::default(), packet), Kept::Enough);
    }
    tape.end(taping).expect("room");
    drop(tape);
    drop(recorder);
    let told: Vec<_> = taped.iter().map(|it| (it.totals.frames[0], it.totals.lost)).collect();
    assert_eq!(told, [(u64::from(packets), 0)]);
}

/// A disk that says when it is asked to sync, and waits until it may.
fn slow_disk() -> (Sync, Receiver<()>, SyncSender<()>) {
    let (asked, is_asked) = sync_channel(64);
    let (may, is_let) = sync_channel(64);
    let sync = Box::new(move |_: &File| {
        asked.send(()).expect("the test listens");
        is_let.recv().expect("the test lets it");
        Ok(())
    });
    (sync, is_asked, may)
}

/// Hands an order over as soon as there is room for it.
fn hand_over(tape: &Tape, mut order: Order) {
    let clock = Clock::start();
    while let Err(TrySendError::Full(back)) = tape.orders.try_send(order) {
        order = back;
        let waited = clock.now().since(Moment::default());
        assert!(waited < Duration::from_secs(20), "the recorder waits for the disk");
        std::thread::yield_now();
    }
}

#[test]
fn while_the_disk_is_slow_with_one_recording_nothing_of_another_is_lost() {
    let folder = Folder::new("slow");
    let (sync, is_asked, may) = slow_disk();
    let (recorder, taped) = folder.recorder_on(sync, SYNCS_MAX);
    let tape = recorder.tape().expect("at work");
    let (first, second) = (record(&recorder, 7, 5), record(&recorder, 8, 5));
    tape.end(first).expect("room");
    is_asked.recv().expect("it is being synced");
    let packets = 3 * TAPE_QUEUE_MAX as u32;
    for at in 5..packets {
        hand_over(&tape, packet(second.number, at, 8_000));
    }
    let third = record(&recorder, 9, 1);
    assert!(taped.try_recv().is_err(), "the first one is not on the disk yet");
    for taping in [second, third] {
        hand_over(&tape, Order::End { number: taping.number, lost: 0 });
    }
    (0..6).for_each(|_| may.send(()).expect("the disk waits"));
    drop(tape);
    drop(recorder);
    let told: Vec<_> = taped.iter().map(|it| (it.totals.frames[0], it.totals.lost)).collect();
    assert_eq!(told, [(5, 0), (u64::from(packets), 0), (1, 0)]);
}

#[test]
fn what_finds_no_room_to_be_synced_is_whole_where_it_is_found() {
    let folder = Folder::new("unsynced");
    let (sync, is_asked, may) = slow_disk();
    let (recorder, taped) = folder.recorder_on(sync, 1);
    let tape = recorder.tape().expect("at work");
    let end = |recording: u128| {
        let taping = record(&recorder, recording, 4);
        hand_over(&tape, Order::End { number: taping.number, lost: 0 });
    };
    end(7);
    is_asked.recv().expect("it is being synced");
    (8..11).for_each(end);
    // What has room is taken in its turn: when this one has begun, the others have ended.
    let queue = queue();
    let last = record_for(&queue, &recorder, 11, 1);
    while told(&queue).is_empty() {
        std::thread::yield_now();
    }
    let found = left(&folder);
    assert_eq!(found.len(), 2, "of 7 and 8 the file is in other hands, and so is that of 11");
    for found in found {
        let found = found.expect("reads");
        assert_eq!((found.complete, found.totals.frames[0]), (true, 4));
    }
    (0..6).for_each(|_| may.send(()).expect("the disk waits"));
    drop((tape, last));
    drop(recorder);
    assert_eq!(taped.iter().count(), 3);
}
