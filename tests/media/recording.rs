//! What two phones say to each other on real sockets, read back from the disk.

use std::fs::File;
use std::path::PathBuf;
use std::sync::mpsc::sync_channel;

use maskline::domain::recording::Retention;
use maskline::media::tape::{Recorder, TapeConfig, Taped};
use maskline::recording::{Outcome, Reader};
use maskline::rtp::plane::{Command, RecordAs, Report, TapeKey};
use maskline::vault::SecretKey;

use crate::peers::{World, payload};

fn folder() -> PathBuf {
    std::env::temp_dir().join(format!("maskline-recorded-{}", std::process::id()))
}

fn as_recording() -> Box<RecordAs> {
    Box::new(RecordAs {
        recording: 7,
        tenant: 1,
        call: 2,
        started_ms: 1_800_000_000_000,
        retention: Retention::TenYears.code(),
        key: TapeKey { key: [5; 32].into(), wrapped: [9; 40].into() },
    })
}

/// Everything that was kept of each side.
fn read(taped: &Taped) -> [Vec<Vec<u8>>; 2] {
    let file = File::open(taped.place.partial(&folder())).expect("a file");
    let mut reader = Reader::open(file).expect("a header");
    reader.unlock(&SecretKey::from_bytes(&[5; 32]).expect("32 bytes")).expect("a key");
    let mut said = [Vec::new(), Vec::new()];
    while let Some(frame) = reader.next_frame().expect("unchanged") {
        said[frame.track.0.index()].push(frame.samples.to_vec());
    }
    assert_eq!(reader.outcome(), Some(Outcome::Complete(taped.totals)));
    said
}

#[test]
fn a_recording_holds_what_both_said_while_it_ran() {
    let (sender, taped) = sync_channel(16);
    let done = Box::new(move |taped| sender.send(taped).expect("somebody listens"));
    let config = TapeConfig { folder: folder(), done };
    let recorder = Recorder::start(config).expect("a recorder");
    let tape = recorder.tape();
    let mut world = World::with(|config| config.tape = tape);
    let mut call = world.call(1);
    call.talk(3);
    let session = call.session;
    world.send(Command::Record { session, recording: as_recording() });
    assert_eq!(world.report(), Report::Recording { session, begun: true });
    let mut said = [Vec::new(), Vec::new()];
    for _ in 0..20 {
        said[0].push(call.a.speak());
        assert_eq!(Some(&payload(&call.b.hear())), said[0].last());
        said[1].push(call.b.speak());
        assert_eq!(Some(&payload(&call.a.hear())), said[1].last());
    }
    world.send(Command::Close { session });
    assert!(matches!(world.report(), Report::Closed { .. }));
    let taped = taped.recv().expect("told");
    assert_eq!((taped.totals.frames, taped.totals.lost), ([20, 20], 0));
    assert_eq!(read(&taped), said);
    drop(world);
    std::fs::remove_dir_all(folder()).expect("removed");
}

#[test]
fn without_a_recorder_the_brain_is_told_that_nothing_is_kept() {
    let mut world = World::new();
    let mut call = world.call(1);
    let session = call.session;
    world.send(Command::Record { session, recording: as_recording() });
    assert_eq!(world.report(), Report::Recording { session, begun: false });
    call.talk(3);
}
