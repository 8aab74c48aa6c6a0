//! One HTTP request over a connection of its own, and every byte of its answer.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use crate::peers::PATIENCE;

/// What is asked.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) key: Option<&'a str>,
    /// More headers, each with its end of line.
    pub(crate) headers: &'a str,
    pub(crate) body: &'a str,
}

impl<'a> Request<'a> {
    /// A GET without a key.
    pub(crate) const fn get(path: &'a str) -> Self {
        Self { method: "GET", path, key: None, headers: "", body: "" }
    }
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The status line and the headers.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// Reads what a server has sent until it closed.
    fn read(mut bytes: Vec<u8>) -> Self {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("headers");
        let body = bytes.split_off(end + 4);
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Self { status: status.expect("a status"), head, body }
    }

    /// Its body; nothing where it is no JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Head and body.
    pub(crate) fn bytes(self) -> Vec<u8> {
        let mut bytes = self.head.into_bytes();
        bytes.extend_from_slice(b"\r\n\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// Sends one request and reads the answer to its end.
pub(crate) fn ask(at: SocketAddr, request: &Request<'_>) -> Answer {
    let mut stream = TcpStream::connect(at).expect("somebody listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("an option");
    let Request { method, path, key, headers, body } = *request;
    let key = key.map(|key| format!("Authorization: Bearer {key}\r\n")).unwrap_or_default();
    let length = body.len();
    let text = format!(
        "{method} {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n{key}{headers}\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(text.as_bytes()).expect("sent");
    let (mut bytes, mut piece) = (Vec::new(), [0; 4_096]);
    while !has_first_event(&bytes) {
        match stream.read(&mut piece).expect("an answer") {
            0 => break,
            length => bytes.extend_from_slice(&piece[..length]),
        }
    }
    Answer::read(bytes)
}

/// A stream of events has no end: its first event will do.
fn has_first_event(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let parts = text.split_once("\r\n\r\n");
    parts.is_some_and(|(head, body)| {
        head.contains("content-type: text/event-stream") && body.contains("\n\n")
    })
}
