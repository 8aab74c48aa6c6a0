//! The insurer's receiver of webhooks: it keeps every byte that it is sent, and takes everything.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::peers::PATIENCE;

/// It listens as long as the process lives.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    got: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Receiver {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let got = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let kept = Arc::clone(&got);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if let Some(request) = take(stream) {
                    kept.lock().expect("no panic").push(request);
                }
            }
        });
        Self { address, got }
    }

    /// Every request so far, head and body, in the order of their coming.
    pub(crate) fn got(&self) -> Vec<Vec<u8>> {
        self.got.lock().expect("no panic").clone()
    }

    /// Whether it was told an event of this kind.
    pub(crate) fn was_told(&self, kind: &str) -> bool {
        let words = format!("\"type\":\"{kind}\"");
        self.got().iter().any(|it| memchr::memmem::find(it, words.as_bytes()).is_some())
    }
}

/// One request of a connection, which is answered 204; nothing where it breaks off.
fn take(mut stream: TcpStream) -> Option<Vec<u8>> {
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let (mut request, mut buffer) = (Vec::new(), [0; 4_096]);
    while length(&request).is_none_or(|length| request.len() < length) {
        let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
        request.extend_from_slice(&buffer[..count]);
    }
    stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").ok()?;
    Some(request)
}

/// How long a request is, once its head is there.
fn length(request: &[u8]) -> Option<usize> {
    let head = memchr::memmem::find(request, b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&request[..head]).to_lowercase();
    let body = text.lines().find_map(|line| line.strip_prefix("content-length: "))?;
    Some(head + body.parse::<usize>().ok()?)
}
