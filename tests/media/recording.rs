//! What two phones say to each other on real sockets, read back from the disk.

use std::fs::File;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, sync_channel};

use maskline::media::tape::{Recorder, TapeConfig, Taped};
use maskline::recording::{Extent, Outcome, Reader};
use maskline::rtp::plane::{Command, Report, SessionId, Side};
use maskline::vault::SecretKey;

use crate::peers::{Call, World, payload};
use crate::tape::as_recording;

/// A folder of its own, a recorder that writes there, and what it says of each that is done.
struct Archive {
    folder: PathBuf,
    recorder: Recorder,
    taped: Receiver<Taped>,
}

impl Archive {
    fn new(name: &str) -> Self {
        let name = format!("maskline-recorded-{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let (sender, taped) = sync_channel(16);
        let done = Box::new(move |taped| sender.send(taped).expect("somebody listens"));
        let config = TapeConfig { folder: folder.clone(), done };
        Self { folder, recorder: Recorder::start(config).expect("a recorder"), taped }
    }

    fn world(&self) -> World {
        let tape = self.recorder.tape();
        World::with(|config| config.tape = tape)
    }

    /// Ends the call of this world, and looks at what is left of it.
    fn end(&self, world: &mut World, session: SessionId) -> Taped {
        world.send(Command::Close { session });
        assert!(matches!(world.report(), Report::Closed { .. }));
        self.taped.recv().expect("told")
    }

    /// Everything that was kept of each side.
    fn read(&self, taped: &Taped) -> [Vec<Vec<u8>>; 2] {
        let file = File::open(taped.place.partial(&self.folder)).expect("a file");
        let mut reader = Reader::open(file).expect("a header");
        let key = SecretKey::from_bytes(&[5; 32]).expect("32 bytes");
        reader.unlock(&key, Extent::Whole).expect("a key");
        let mut said = [Vec::new(), Vec::new()];
        while let Some(frame) = reader.next_frame().expect("unchanged") {
            said[frame.track.0.index()].push(frame.samples.to_vec());
        }
        assert_eq!(reader.outcome(), Some(Outcome::Complete(taped.totals)));
        said
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A call that is recorded from its first packet on.
fn recorded(world: &mut World) -> Call {
    let call = world.call(1);
    let session = call.session;
    world.send(Command::Record { session, recording: as_recording() });
    assert_eq!(world.report(), Report::Recording { session, begun: true });
    call
}

#[test]
fn a_recording_holds_what_both_said_while_it_ran() {
    let archive = Archive::new("both");
    let mut world = archive.world();
    let mut call = recorded(&mut world);
    let mut said = [Vec::new(), Vec::new()];
    for _ in 0..20 {
        said[0].push(call.a.speak());
        assert_eq!(Some(&payload(&call.b.hear())), said[0].last());
        said[1].push(call.b.speak());
        assert_eq!(Some(&payload(&call.a.hear())), said[1].last());
    }
    let taped = archive.end(&mut world, call.session);
    assert_eq!((taped.totals.frames, taped.totals.lost), ([20, 20], 0));
    assert_eq!(archive.read(&taped), said);
}

/// What the relay takes is kept, however long a phone makes its packets.
#[test]
fn long_packets_are_kept_as_they_are_heard() {
    let archive = Archive::new("long");
    let mut world = archive.world();
    let mut call = recorded(&mut world);
    let mut said = Vec::new();
    for bytes in [640, 480, 481, 2_036, 160] {
        let mut packet = call.a.packet();
        packet.truncate(12);
        packet.extend((0..bytes).map(|at| (at % 251) as u8));
        call.a.send(&packet);
        assert_eq!(payload(&call.b.hear()), payload(&packet));
        said.extend(payload(&packet));
    }
    let taped = archive.end(&mut world, call.session);
    assert_eq!((taped.totals.lost, archive.read(&taped)[0].concat()), (0, said));
}

/// Nobody waits for the end of a call to hear that nothing of it was kept.
#[test]
fn a_recording_that_loses_a_second_of_what_is_said_is_told_of_while_the_call_runs() {
    let archive = Archive::new("lost");
    let mut world = archive.world();
    let mut call = recorded(&mut world);
    let session = call.session;
    for (side, phone) in [(Side::A, &call.a), (Side::B, &call.b)] {
        let mut remote = phone.remote();
        remote.payloads_to.0[2] = Some(9);
        remote.payloads_from.0[2] = Some(9);
        world.send(Command::Update { session, side, remote, keys: None });
    }
    world.fence();
    let mut speak = |payload_type: u8| {
        let mut packet = call.a.packet();
        packet[1] = payload_type;
        call.a.send(&packet);
        call.b.hear();
    };
    // A second is not minded; the packet after it is.
    (0..50).for_each(|_| speak(9));
    world.fence();
    speak(9);
    assert_eq!(world.report(), Report::Recording { session, begun: false });
    (0..60).for_each(|_| speak(9));
    (0..3).for_each(|_| speak(8));
    world.fence();
    let taped = archive.end(&mut world, session);
    assert_eq!((taped.totals.frames, taped.totals.lost), ([3, 0], 111));
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
