//! The media plane behind its socket: what lives on when one of the two processes ends, and what
//! is told then.

use std::io::{Read as _, Write as _};
use std::net::UdpSocket;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;

use maskline::media::{
    Outside, Plane, PlaneConfig, RemoteLink, Server, ServerError, Waker, listen,
};
use maskline::rtp::plane::{Command, Report, SessionId, Side};

use crate::peers::{Call, PATIENCE, next_ip};

/// The process of the media plane.
struct MediaProcess {
    // Ends first: its threads hold the links of the plane.
    _server: Server,
    _plane: Arc<Plane>,
}

impl MediaProcess {
    fn start(path: &Path, config: &PlaneConfig) -> Self {
        let mut server = Server::new(1).expect("descriptors");
        let (plane, links) = Plane::start(config, server.wakers()).expect("a running plane");
        let plane = Arc::new(plane);
        let listener = listen(path).expect("a socket");
        server.serve(listener, &plane, links).expect("threads");
        Self { _server: server, _plane: plane }
    }
}

/// The process of the signalling, with one shard.
struct Signalling {
    link: RemoteLink,
    woken: Receiver<()>,
    outside: Outside,
}

impl Signalling {
    fn start(path: &Path) -> Self {
        let (bell, woken) = sync_channel(1);
        let waker: Waker = Box::new(move || {
            // It has been woken already, or the test has ended.
            let _ = bell.try_send(());
        });
        let (outside, mut links) = Outside::connect(path, vec![waker]).expect("a thread");
        Self { link: links.remove(0), woken, outside }
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
            self.send(Command::Update { session, side, remote: phone.remote() });
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
    let last = signalling.report();
    assert!(matches!(last, Report::Closed { session, .. } if session == call.session), "{last:?}");
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
fn what_is_no_message_and_another_number_of_shards_are_turned_away() {
    let (path, config) = setting();
    let _media = MediaProcess::start(&path, &config);
    // A length, and bytes that are no message; a hello of one shard too many.
    for bytes in [&[2, 0, 0xff, 0xff][..], &[4, 0, 0, 1, 0, 2]] {
        let mut stream = UnixStream::connect(&path).expect("a listener");
        stream.write_all(bytes).expect("sent");
        stream.set_read_timeout(Some(PATIENCE)).expect("an option");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("the end of the stream");
        assert!(answer.len() < 8, "{answer:?}");
    }
    Signalling::start(&path).call(1, &config);
}

#[test]
fn nobody_else_may_open_the_socket() {
    use std::os::unix::fs::PermissionsExt as _;
    let (path, config) = setting();
    let _media = MediaProcess::start(&path, &config);
    let mode = std::fs::metadata(&path).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
