//! The side of the media plane: it listens, and each link has a thread that carries messages
//! between it and the shard that is connected. Without a connection the sessions live on; one that
//! falls silent then is closed here.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FlockOperation, flock};
use rustix::net::sockopt::socket_peercred;

use super::bridge::Bridge;
use super::pipe::Pipe;
use super::wire::{self, Down, FRAME_BYTES_MAX, Hello, Unfit, Up, VERSION};
use crate::media::bell::Bell;
use crate::media::clock::Clock;
use crate::media::link::{Link, Waker};
use crate::media::plane::Plane;

/// A peer that has not said who it is within this time is cut.
const HELLO_WITHIN: Duration = Duration::from_secs(2);

/// Why the socket cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Somebody answers there.
    #[error("another media plane serves {}", .0.display())]
    Taken(PathBuf),
    /// The file system or the system.
    #[error("cannot listen on {}: {error}", .path.display())]
    System {
        /// Where.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
}

/// The socket of one media plane.
pub struct MediaSocket {
    listener: UnixListener,
    /// Locked as long as the plane lives, so that nobody takes a living socket away.
    _lock: File,
}

/// Listens at `path`, for this user alone. What an ended process has left there is taken away; the
/// file with `.lock` behind its name stays.
///
/// # Errors
/// Another media plane serves it, or the path cannot be used.
pub fn listen(path: &Path) -> Result<MediaSocket, ServerError> {
    let wrong = |error| ServerError::System { path: path.to_owned(), error };
    let mut lock_path = path.as_os_str().to_owned();
    lock_path.push(".lock");
    let mut options = File::options();
    let options = options.write(true).create(true).truncate(false).mode(0o600);
    let lock = options.open(lock_path).map_err(wrong)?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Err(ServerError::Taken(path.to_owned()));
    }
    if fs::symlink_metadata(path).is_ok_and(|it| it.file_type().is_socket()) {
        fs::remove_file(path).map_err(wrong)?;
    }
    let listener = UnixListener::bind(path).map_err(wrong)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(wrong)?;
    listener.set_nonblocking(true).map_err(wrong)?;
    Ok(MediaSocket { listener, _lock: lock })
}

/// Where a new connection is laid for the thread of its link.
pub(super) struct Door {
    pub(super) bell: Bell,
    pub(super) visitor: Mutex<Option<Visitor>>,
}

/// A new connection.
pub(super) struct Visitor {
    pub(super) pipe: Pipe,
    /// Its process was connected before.
    pub(super) is_known: bool,
}

/// The threads of the socket; they end with it.
pub struct Server {
    doors: Vec<Arc<Door>>,
    stopping: Arc<AtomicBool>,
    at_the_gate: Arc<Bell>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    /// For so many shards.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new(shards: usize) -> io::Result<Self> {
        let door = |_| Ok(Arc::new(Door { bell: Bell::new()?, visitor: Mutex::new(None) }));
        Ok(Self {
            doors: (0..shards).map(door).collect::<io::Result<_>>()?,
            stopping: Arc::new(AtomicBool::new(false)),
            at_the_gate: Arc::new(Bell::new()?),
            threads: Vec::new(),
        })
    }

    /// What the plane is started with: one for each shard.
    #[must_use]
    pub fn wakers(&self) -> Vec<Waker> {
        let waker = |door: &Arc<Door>| {
            let door = Arc::clone(door);
            Box::new(move || door.bell.ring()) as Waker
        };
        self.doors.iter().map(waker).collect()
    }

    /// Serves the links of the plane that was started with [`Self::wakers`] and plays what has the
    /// hash `sounds`. A call whose signalling has ended may last for `orphan_time` longer.
    ///
    /// # Errors
    /// No thread is left.
    pub fn serve(
        &mut self,
        socket: MediaSocket,
        plane: &Arc<Plane>,
        links: Vec<Link>,
        sounds: [u8; 32],
        orphan_time: Duration,
    ) -> io::Result<()> {
        for (shard, (door, link)) in self.doors.iter().zip(links).enumerate() {
            let (door, plane) = (Arc::clone(door), Arc::downgrade(plane));
            let bridge = Bridge::new(shard, door, link, plane, orphan_time);
            let stopping = Arc::clone(&self.stopping);
            let thread = thread::Builder::new().name(format!("media-link-{shard}"));
            self.threads.push(thread.spawn(move || bridge.run(&stopping))?);
        }
        let gate = Gate {
            socket,
            sounds,
            clock: Clock::start(),
            doors: self.doors.clone(),
            bell: Arc::clone(&self.at_the_gate),
            stopping: Arc::clone(&self.stopping),
        };
        let thread = thread::Builder::new().name("media-gate".to_owned());
        self.threads.push(thread.spawn(move || gate.run())?);
        Ok(())
    }

    /// All threads are alive.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.threads.iter().all(|thread| !thread.is_finished())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.at_the_gate.ring();
        for door in &self.doors {
            door.bell.ring();
        }
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }
}

/// Lets connections in.
struct Gate {
    socket: MediaSocket,
    sounds: [u8; 32],
    clock: Clock,
    doors: Vec<Arc<Door>>,
    bell: Arc<Bell>,
    stopping: Arc<AtomicBool>,
}

impl Gate {
    fn run(self) {
        while !self.stopping.load(Ordering::SeqCst) {
            let mut fds = [
                PollFd::new(&self.socket.listener, PollFlags::IN),
                PollFd::new(&*self.bell, PollFlags::IN),
            ];
            // A signal ends the wait early, and that does no harm.
            let _ = poll(&mut fds, None);
            match self.socket.listener.accept() {
                Ok((stream, _)) => {
                    if let Err(error) = self.let_in(stream) {
                        let what = "A connection to the media socket was refused";
                        tracing::warn!(%error, "{what}: {error}");
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => {
                    tracing::error!(%error, "The media socket takes no connection: {error}");
                    // Out of descriptors: others have to give some back first.
                    thread::park_timeout(HELLO_WITHIN);
                }
            }
        }
    }

    fn let_in(&self, mut stream: UnixStream) -> io::Result<()> {
        check_peer(&stream)?;
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(HELLO_WITHIN))?;
        stream.set_write_timeout(Some(HELLO_WITHIN))?;
        let hello = self.read_hello(&mut stream)?;
        let door = match self.find_door(&hello) {
            Ok(door) => door,
            Err(unfit) => {
                let mut answer = Vec::new();
                wire::put(&Up::Refused(unfit), &mut answer);
                return stream.write_all(&answer);
            }
        };
        let visitor = Visitor { pipe: Pipe::new(stream)?, is_known: hello.is_known };
        *door.visitor.lock().unwrap_or_else(PoisonError::into_inner) = Some(visitor);
        door.bell.ring();
        Ok(())
    }

    fn find_door(&self, hello: &Hello) -> Result<&Door, Unfit> {
        if hello.version != VERSION {
            return Err(Unfit::Version);
        }
        if usize::from(hello.shards) != self.doors.len() {
            return Err(Unfit::Shards);
        }
        if hello.sounds != self.sounds {
            return Err(Unfit::Sounds);
        }
        let door = self.doors.get(usize::from(hello.shard));
        door.map(Arc::as_ref).ok_or(Unfit::Shards)
    }

    /// Nothing comes behind a hello until it is answered, so nothing is read too much.
    fn read_hello(&self, stream: &mut UnixStream) -> io::Result<Hello> {
        let until = self.clock.now() + HELLO_WITHIN;
        let mut bytes = Vec::new();
        let mut buffer = [0; FRAME_BYTES_MAX];
        while bytes.len() < FRAME_BYTES_MAX && self.clock.now() < until {
            let count = stream.read(&mut buffer)?;
            if count == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            bytes.extend_from_slice(&buffer[..count]);
            match wire::take(&bytes).map_err(io::Error::other)? {
                None => {}
                Some((Down::Hello(hello), _)) => return Ok(hello),
                Some((Down::Command(_), _)) => {
                    return Err(io::Error::other("it began without a hello"));
                }
            }
        }
        Err(io::Error::other("its hello has no end"))
    }
}

/// Only the same user and root are believed, on either side.
pub(super) fn check_peer(stream: &UnixStream) -> io::Result<()> {
    let peer = socket_peercred(stream)?.uid;
    if peer.is_root() || peer == rustix::process::geteuid() {
        Ok(())
    } else {
        Err(io::Error::other("its peer is another user"))
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
