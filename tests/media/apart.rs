//! The media plane behind its socket: what lives on when one of the two processes ends, and what
//! is told then.

use std::io::{Read as _, Write as _};
use std::net::UdpSocket;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use maskline::media::{
    Outside, Plane, PlaneConfig, RemoteLink, Server, ServerError, Waker, listen,
};
use maskline::rtp::plane::{Command, RemoteMedia, Report, SessionId, Side};

use crate::peers::{Call, PATIENCE, next_ip};

const SOUNDS: [u8; 32] = [7; 32];
/// Longer than any test, but for the one that is about it.
const ORPHAN_TIME: Duration = Duration::from_secs(100);

/// The process of the media plane.
struct MediaProcess {
    // Ends first: its threads hold the links of the plane.
    _server: Server,
    _plane: Arc<Plane>,
}

impl MediaProcess {
    fn start(path: &Path, config: &PlaneConfig) -> Self {
        Self::start_for(path, config, ORPHAN_TIME)
    }

    fn start_for(path: &Path, config: &PlaneConfig, orphan_time: Duration) -> Self {
        Self::start_shards(path, config, orphan_time, 1)
    }

    fn start_shards(
        path: &Path,
        config: &PlaneConfig,
        orphan_time: Duration,
        shards: usize,
    ) -> Self {
        let mut server = Server::new(shards).expect("descriptors");
        let (plane, links) = Plane::start(config, server.wakers()).expect("a running plane");
        let plane = Arc::new(plane);
        let socket = listen(path).expect("a socket");
        server.serve(socket, &plane, links, SOUNDS, orphan_time).expect("threads");
        Self { _server: server, _plane: plane }
    }
}

/// One shard of the process of the signalling, which ends with its last shard.
struct Signalling {
    link: RemoteLink,
    woken: Receiver<()>,
    outside: Arc<Outside>,
}

impl Signalling {
    fn start(path: &Path) -> Self {
        Self::start_shards(path, 1).remove(0)
    }

    fn start_shards(path: &Path, shards: usize) -> Vec<Self> {
        let (bells, woken): (Vec<_>, Vec<_>) = (0..shards).map(|_| sync_channel(1)).unzip();
        let waker = |bell: SyncSender<()>| -> Waker {
            Box::new(move || {
                // It has been woken already, or the test has ended.
                let _ = bell.try_send(());
            })
        };
        let wakers = bells.into_iter().map(waker).collect();
        let (outside, links) = Outside::connect(path, wakers, SOUNDS).expect("a thread");
        let outside = Arc::new(outside);
        let shards = links.into_iter().zip(woken);
        shards.map(|(link, woken)| Self { link, woken, outside: Arc::clone(&outside) }).collect()
    }

    fn send(&mut self, command: Command) {
        assert_eq!(self.link.queue(command), Ok(None));
        self.link.flush();
    }

    fn report(&mut self) -> Report {
        loop {
            if let Some(report) = self.link.try_report() {
                return report;
            }
            self.woken.recv_timeout(PATIENCE).expect("a report");
        }
    }

    /// Opens a call; again while the plane is not there yet.
    fn open(&mut self, number: u128, config: &PlaneConfig) -> Call {
        let session = SessionId(number);
        loop {
            self.send(Command::Open { session });
            // Others may have their last word in between.
            let report = loop {
                let report = self.report();
                if report.session() == session {
                    break report;
                }
            };
            if let Report::Opened { local, .. } = report {
                return Call::new(session, local, config.address.bind);
            }
            assert_eq!(report, Report::Failed { session });
        }
    }

    fn call(&mut self, number: u128, config: &PlaneConfig) -> Call {
        let mut call = self.open(number, config);
        let session = call.session;
        for (side, phone) in [(Side::A, &call.a), (Side::B, &call.b)] {
            self.send(Command::Update { session, side, remote: phone.remote(), keys: None });
        }
        self.send(Command::Bridge { session });
        call.knock();
        call.talk(3);
        call
    }
}

fn setting() -> (PathBuf, PlaneConfig) {
    let (number, ip) = next_ip();
    let name = format!("maskline-media-{}-{number}.sock", std::process::id());
    (std::env::temp_dir().join(name), PlaneConfig::on(ip, [number; 32]))
}

#[test]
fn a_call_is_opened_joined_and_closed_from_another_process() {
    let (path, config) = setting();
    let _media = MediaProcess::start(&path, &config);
    let mut signalling = Signalling::start(&path);
    let call = signalling.call(1, &config);
    assert!(signalling.outside.is_connected());
    signalling.send(Command::Close { session: call.session });
    let Report::Closed { session, counts } = signalling.report() else { panic!("not closed") };
    assert_eq!(session, call.session);
    assert!(counts.iter().all(|side| side.packets >= 3), "{counts:?}");
}

#[test]
fn each_shard_hears_of_its_own_calls_and_finds_them_again_after_a_crash() {
    let (path, config) = setting();
    let media = MediaProcess::start_shards(&path, &config, ORPHAN_TIME, 2);
    let mut shards = Signalling::start_shards(&path, 2);
    let mut calls: Vec<_> =
        (1..).zip(&mut shards).map(|(number, shard)| shard.call(number, &config)).collect();
    for shard in &mut shards {
        assert_eq!(shard.link.try_report(), None, "nothing of the other one");
    }
    drop(shards);
    calls.iter_mut().for_each(|call| call.talk(3));
    let mut shards = Signalling::start_shards(&path, 2);
    // Each is asked for its own call, the second one first.
    for (shard, call) in shards.iter_mut().zip(&mut calls).rev() {
        call.talk(3);
        let session = call.session;
        let closed = loop {
            shard.send(Command::Close { session });
            let report = shard.report();
            // Else the plane is not there yet.
            if !matches!(report, Report::Failed { .. }) {
                break report;
            }
        };
        let Report::Closed { session, counts } = closed else { panic!("{closed:?}") };
        assert_eq!(session, call.session);
        assert!(counts[0].packets >= 9, "{counts:?}");
    }
    // The calls of each are lost with the plane, each to its own shard.
    let lost: Vec<_> =
        (11..).zip(&mut shards).map(|(number, shard)| shard.call(number, &config)).collect();
    drop(media);
    for (shard, call) in shards.iter_mut().zip(&lost) {
        assert_eq!(shard.report(), Report::Lost { session: call.session });
        assert_eq!(shard.link.try_report(), None);
    }
}

#[test]
fn calls_speak_on_without_signalling_and_the_next_one_finds_and_closes_them() {
    let (path, mut config) = setting();
    config.silence_timeout = PATIENCE * 100;
    let _media = MediaProcess::start(&path, &config);
    let mut signalling = Signalling::start(&path);
    let mut call = signalling.call(1, &config);
    drop(signalling);
    call.talk(5);
    let mut signalling = Signalling::start(&path);
    let mut other = signalling.call(2, &config);
    call.talk(5);
    signalling.send(Command::Close { session: call.session });
    let Report::Closed { session, counts } = signalling.report() else { panic!("not closed") };
    assert_eq!(session, call.session);
    assert!(counts[0].packets >= 13, "counted over both processes: {counts:?}");
    other.talk(1);
}

#[test]
fn a_call_that_nobody_joined_ends_with_its_signalling() {
    let (path, mut config) = setting();
    // Room for one call, and not for two.
    config.sessions_max = 1;
    let _media = MediaProcess::start(&path, &config);
    let mut signalling = Signalling::start(&path);
    signalling.open(1, &config);
    drop(signalling);
    // Asks until there is room.
    Signalling::start(&path).open(2, &config);
}

#[test]
fn a_silent_call_without_signalling_is_closed() {
    let (path, mut config) = setting();
    config.silence_timeout = Duration::from_millis(300);
    config.port_quarantine = Duration::ZERO;
    let media = MediaProcess::start(&path, &config);
    let mut signalling = Signalling::start(&path);
    let call = signalling.call(1, &config);
    drop(signalling);
    // Nobody but the plane itself can close the ports.
    while UdpSocket::bind(call.relay[0]).is_err() {
        thread::yield_now();
    }
    drop(media);
}

#[test]
fn calls_of_a_plane_that_ended_are_lost_and_new_ones_get_ports_when_it_is_back() {
    let (path, config) = setting();
    let media = MediaProcess::start(&path, &config);
    let mut signalling = Signalling::start(&path);
    let call = signalling.call(1, &config);
    drop(media);
    let _media = MediaProcess::start(&path, &config);
    assert_eq!(signalling.report(), Report::Lost { session: call.session });
    // The brain ends the call, and waits for the last word about its ports.
    signalling.send(Command::Close { session: call.session });
    assert_eq!(signalling.report(), Report::Failed { session: call.session });
    signalling.call(2, &config);
}

#[test]
fn without_a_plane_calls_get_no_ports_and_those_that_were_up_are_lost() {
    let (path, config) = setting();
    let media = MediaProcess::start(&path, &config);
    let mut signalling = Signalling::start(&path);
    let call = signalling.call(1, &config);
    drop(media);
    assert_eq!(signalling.report(), Report::Lost { session: call.session });
    assert!(!signalling.outside.is_connected());
    signalling.send(Command::Open { session: SessionId(2) });
    assert_eq!(signalling.report(), Report::Failed { session: SessionId(2) });
}

#[test]
fn one_socket_has_one_server_and_what_an_ended_one_left_is_no_obstacle() {
    let (path, config) = setting();
    let media = MediaProcess::start(&path, &config);
    assert!(matches!(listen(&path), Err(ServerError::Taken(_))));
    drop(media);
    assert!(path.exists(), "it is left behind");
    let _media = MediaProcess::start(&path, &config);
    Signalling::start(&path).call(1, &config);
}

#[test]
fn what_is_no_message_is_cut_off() {
    let (path, config) = setting();
    let _media = MediaProcess::start(&path, &config);
    let mut stream = UnixStream::connect(&path).expect("a listener");
    // A length, and bytes that are no message.
    stream.write_all(&[2, 0, 0xff, 0xff]).expect("sent");
    stream.set_read_timeout(Some(PATIENCE)).expect("an option");
    assert_eq!(stream.read(&mut [0; 8]).expect("the end of the stream"), 0);
    Signalling::start(&path).call(1, &config);
}

#[test]
fn a_signalling_with_other_sounds_or_shards_gets_no_ports_and_harms_nobody() {
    let (path, config) = setting();
    let _media = MediaProcess::start(&path, &config);
    let mut signalling = Signalling::start(&path);
    let mut call = signalling.call(1, &config);
    let waker = || Box::new(|| {}) as Waker;
    for (wakers, sounds) in [(vec![waker()], [8; 32]), (vec![waker(), waker()], SOUNDS)] {
        let (outside, mut links) = Outside::connect(&path, wakers, sounds).expect("threads");
        assert_eq!(links[0].queue(Command::Open { session: SessionId(2) }), Ok(None));
        links[0].flush();
        let report = loop {
            match links[0].try_report() {
                Some(report) => break report,
                None => thread::yield_now(),
            }
        };
        assert_eq!(report, Report::Failed { session: SessionId(2) });
        assert!(!outside.is_connected());
    }
    call.talk(1);
}

#[test]
fn a_second_signalling_is_turned_away_while_the_first_one_lives() {
    let (path, config) = setting();
    let _media = MediaProcess::start(&path, &config);
    let mut first = Signalling::start(&path);
    let mut call = first.call(1, &config);
    let mut second = Signalling::start(&path);
    second.send(Command::Open { session: SessionId(2) });
    assert_eq!(second.report(), Report::Failed { session: SessionId(2) });
    call.talk(1);
    // It gets its turn when the first one has ended.
    drop(first);
    second.call(3, &config);
    call.talk(1);
}

#[test]
fn a_held_call_without_signalling_ends_in_the_end() {
    let (path, mut config) = setting();
    config.port_quarantine = Duration::ZERO;
    let media = MediaProcess::start_for(&path, &config, Duration::from_millis(500));
    let mut signalling = Signalling::start(&path);
    let call = signalling.call(1, &config);
    let remote = RemoteMedia { receives: false, ..call.b.remote() };
    signalling.send(Command::Update { session: call.session, side: Side::B, remote, keys: None });
    drop(signalling);
    while UdpSocket::bind(call.relay[0]).is_err() {
        thread::yield_now();
    }
    drop(media);
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let (path, _) = setting();
    std::fs::write(&path, "somebody's words").expect("a writable folder");
    assert!(matches!(listen(&path), Err(ServerError::System { .. })));
    assert_eq!(std::fs::read_to_string(&path).expect("it is there"), "somebody's words");
}

#[test]
fn nobody_else_may_open_the_socket() {
    use std::os::unix::fs::PermissionsExt as _;
    let (path, config) = setting();
    let _media = MediaProcess::start(&path, &config);
    let mode = std::fs::metadata(&path).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
