//! The socket of the media plane against another user, and against a peer that does not listen.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process;

use super::*;
use crate::media::bell::timespec;
use crate::media::config::PlaneConfig;
use crate::rtp::plane::{Command, Report, SessionId};

const SOUNDS: [u8; 32] = [7; 32];

struct Running {
    path: PathBuf,
    _server: Server,
    _plane: Arc<Plane>,
}

/// A plane with room for one call.
fn serve(name: &str, ip: [u8; 4]) -> Running {
    let name = format!("maskline-{name}-{}.sock", process::id());
    let path = std::env::temp_dir().join(name);
    let config = PlaneConfig { sessions_max: 1, ..PlaneConfig::on(ip.into(), [1; 32]) };
    let mut server = Server::new(1).expect("descriptors");
    let (plane, links) = Plane::start(&config, server.wakers()).expect("a running plane");
    let plane = Arc::new(plane);
    let socket = listen(&path).expect("a socket");
    server.serve(socket, &plane, links, SOUNDS, Duration::from_secs(100)).expect("threads");
    Running { path, _server: server, _plane: plane }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
        let _ = fs::remove_file(self.path.with_extension("sock.lock"));
    }
}

fn hello() -> Vec<u8> {
    let hello = Hello { version: VERSION, shard: 0, shards: 1, is_known: false, sounds: SOUNDS };
    let mut bytes = Vec::new();
    wire::put(&Down::Hello(hello), &mut bytes);
    bytes
}

/// Says hello in a process of its own, and prints how many bytes of an answer it has got.
const GREETER: &str = "$SIG{PIPE} = 'IGNORE'; socket(S, PF_UNIX, SOCK_STREAM, 0) or die; \
    connect(S, sockaddr_un($ARGV[0])) or die; syswrite(S, pack('H*', $ARGV[1])); \
    print sysread(S, $answer, 1) || 0;";

fn greet(path: &Path, user: Option<u32>) -> String {
    let hello: String = hello().iter().map(|byte| format!("{byte:02x}")).collect();
    let mut greeter = process::Command::new("perl");
    greeter.args(["-MSocket", "-e", GREETER]).arg(path).arg(hello).current_dir("/");
    if let Some(user) = user {
        greeter.uid(user);
    }
    let output = greeter.output().expect("perl is part of every Debian");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("a number")
}

#[test]
fn a_peer_of_another_user_is_cut_off_without_a_word() {
    let running = serve("user", [127, 0, 71, 1]);
    // What protects beside the file's own mode is looked at.
    fs::set_permissions(&running.path, fs::Permissions::from_mode(0o666)).expect("our socket");
    assert_eq!(greet(&running.path, None), "1");
    if rustix::process::geteuid().is_root() {
        assert_eq!(greet(&running.path, Some(65_534)), "0");
    }
}

#[test]
fn a_peer_that_does_not_listen_is_not_listened_to_and_loses_nothing() {
    let running = serve("deaf", [127, 0, 71, 2]);
    let mut stream = UnixStream::connect(&running.path).expect("a listener");
    stream.write_all(&hello()).expect("sent");
    stream.set_nonblocking(true).expect("an option");
    let mut orders = Vec::new();
    for number in 0..ORDERS {
        let session = SessionId(u128::MAX - number);
        wire::put(&Down::Command(Command::Open { session }), &mut orders);
    }
    // It writes until nobody has read for a while.
    let mut sent = 0;
    loop {
        match stream.write(&orders[sent..]) {
            Ok(count) => sent += count,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        assert!(sent < orders.len(), "{sent} bytes were read of one who reads nothing");
        let quiet = timespec(Duration::from_millis(500));
        let mut room = [PollFd::new(&stream, PollFlags::OUT)];
        if poll(&mut room, Some(&quiet)).expect("a socket") == 0 {
            break;
        }
    }
    // Then it hears an answer to each order, and the rest is taken.
    stream.set_nonblocking(false).expect("an option");
    let mut writer = stream.try_clone().expect("a descriptor");
    let rest = orders.split_off(sent);
    let writing = thread::spawn(move || writer.write_all(&rest).expect("taken"));
    let (mut bytes, mut buffer, mut answers) = (Vec::new(), [0; 65_536], 0);
    while answers < ORDERS {
        let count = stream.read(&mut buffer).expect("more answers");
        assert!(count > 0, "it was cut off");
        bytes.extend_from_slice(&buffer[..count]);
        let mut taken = 0;
        while let Some((message, length)) = wire::take::<Up>(&bytes[taken..]).expect("messages") {
            taken += length;
            let is_answer =
                matches!(message, Up::Report(Report::Opened { .. } | Report::Failed { .. }));
            answers += u128::from(is_answer);
        }
        bytes.drain(..taken);
    }
    writing.join().expect("all was taken");
}

/// Some megabytes, of which far less fits into all that lies between.
const ORDERS: u128 = 200_000;
