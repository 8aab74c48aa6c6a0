//! `maskline calls watch`: live calls as they go. Reads a stream of server-sent events, and begins
//! again when it ends.

use std::io::{self, Write as _};
use std::time::Duration;

use serde_json::Value;

use super::Failure;
use super::output::{self, Column, Format};
use crate::client::{Client, ClientError, Problem};

/// How long the service may be away before it is asked again; twice as long each time it still is.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// The longest time between two tries.
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(30);
/// The longest event: a snapshot of more calls than a node carries.
const EVENT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Prints calls until it is interrupted or refused.
pub(super) async fn watch(
    client: &Client,
    path: &str,
    format: Format,
    columns: &[Column],
) -> Result<(), Failure> {
    let mut was_up = false;
    let mut wait = AGAIN_AFTER;
    loop {
        let mut stream = match client.open(path).await {
            Err(error) if was_up && may_pass(&error) => {
                tokio::time::sleep(wait).await;
                wait = AGAIN_AFTER_MAX.min(2 * wait);
                continue;
            }
            opened => opened?,
        };
        (was_up, wait) = (true, AGAIN_AFTER);
        let mut events = Events::default();
        // What breaks a stream that was up is mended by the next one.
        while let Ok(Some(piece)) = stream.chunk().await {
            let mut out = io::stdout().lock();
            for call in events.read(&piece)? {
                output::write_line(&mut out, format, columns, &call)?;
            }
            out.flush()?;
        }
        writeln!(io::stderr(), "the stream has ended; connecting again")?;
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

/// The service may be starting again, be busy, or have a proxy before it that says so.
const fn may_pass(error: &ClientError) -> bool {
    match error {
        ClientError::Unreachable { .. } => true,
        ClientError::Problem(Problem { status, .. }) | ClientError::NotTheApi { status, .. } => {
            *status == 429 || *status >= 500
        }
        ClientError::KeyMissing
        | ClientError::KeyIdMissing
        | ClientError::KeyMalformed
        | ClientError::UrlMalformed
        | ClientError::Certificates { .. } => false,
    }
}

/// What has come of a stream and is no whole event yet.
#[derive(Debug, Default)]
struct Events {
    buffer: Vec<u8>,
}

impl Events {
    /// The calls that these bytes complete.
    fn read(&mut self, piece: &[u8]) -> Result<Vec<Value>, Failure> {
        let mut calls = Vec::new();
        for byte in piece {
            self.buffer.push(*byte);
            if self.buffer.ends_with(b"\n\n") {
                calls.extend(calls_of(&self.buffer)?);
                self.buffer.clear();
            }
        }
        if self.buffer.len() > EVENT_BYTES_MAX {
            return Err("the stream holds an event without an end".into());
        }
        Ok(calls)
    }
}

/// The calls of one event; a comment has none.
fn calls_of(event: &[u8]) -> Result<Vec<Value>, Failure> {
    let text = std::str::from_utf8(event)?;
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    let (Some(kind), Some(body)) = (field("event: "), field("data: ")) else {
        return Ok(Vec::new());
    };
    let mut body: Value = serde_json::from_str(body)?;
    Ok(match (kind, body["data"].take()) {
        ("snapshot", Value::Array(calls)) => calls,
        ("call", _) => vec![body],
        _ => Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_busy_service_is_asked_again_and_one_that_refuses_is_not() {
        let problem = |status| ClientError::Problem(Problem { status, ..Problem::default() });
        for status in [429, 500, 503] {
            assert!(may_pass(&problem(status)), "{status}");
        }
        for status in [401, 403, 404, 422] {
            assert!(!may_pass(&problem(status)), "{status}");
        }
        let url = "http://127.0.0.1:8080".to_owned();
        assert!(may_pass(&ClientError::NotTheApi { url, status: 502 }));
        assert!(!may_pass(&ClientError::KeyMissing));
    }

    #[test]
    fn events_are_read_in_whatever_pieces_they_come() {
        let text = "event: snapshot\ndata: {\"data\":[{\"id\":\"cal_1\"},{\"id\":\"cal_2\"}]}\n\n\
                    : \n\nevent: call\ndata: {\"id\":\"cal_3\"}\n\nevent: later\ndata: {}\n\n";
        let wanted = [json!({"id": "cal_1"}), json!({"id": "cal_2"})];
        for size in [1, 7, 1_000] {
            let mut events = Events::default();
            let pieces = text.as_bytes().chunks(size);
            let calls: Vec<_> =
                pieces.flat_map(|piece| events.read(piece).expect("events")).collect();
            assert_eq!(calls.get(..2), Some(&wanted[..]));
            assert_eq!(calls[2]["id"], "cal_3");
            assert_eq!(calls.len(), 3);
        }
        assert!(Events::default().read(b"event: call\ndata: {\n\n").is_err());
    }
}
