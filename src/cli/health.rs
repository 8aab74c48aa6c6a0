//! `maskline health`: asks the running service whether it lives. Needs no shell and no
//! certificates, so that an image with nothing but the binary can check itself.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::Outcome;
use super::config_check::ConfigFile;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// The longest answer that is read.
const ANSWER_BYTES_MAX: u64 = 4096;

/// Arguments of `maskline health`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The admin listener to ask; without it the one of the settings (`admin.listen`).
    #[arg(long)]
    admin: Option<SocketAddr>,
    #[command(flatten)]
    config: ConfigFile,
    /// Ask whether it can take calls (`/readyz`), not only whether it lives.
    #[arg(long)]
    ready: bool,
}

/// Succeeds when the service answers 200.
///
/// # Errors
/// When the settings are wrong, nothing answers in time, or something other than 200.
pub fn run(args: &Args) -> Outcome {
    let path = if args.ready { "/readyz" } else { "/healthz" };
    let admin = match args.admin {
        Some(admin) => admin,
        None => args.config.load()?.admin.listen,
    };
    let status = ask(admin, path)?;
    if status.contains(" 200") { Ok(()) } else { Err(format!("{path} answered {status}").into()) }
}

/// The status line of one GET.
fn ask(admin: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&admin, ANSWER_TIMEOUT)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    let text = String::from_utf8_lossy(&answer);
    Ok(text.lines().next().unwrap_or("nothing").to_owned())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    fn answered(with: &'static str) -> Outcome {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let admin = listener.local_addr().expect("an address");
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("one client");
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).expect("a request");
                request.extend(byte);
            }
            stream.write_all(with.as_bytes()).expect("an answer");
        });
        let outcome = run(&Args { admin: Some(admin), config: ConfigFile::default(), ready: true });
        server.join().expect("the server ends");
        outcome
    }

    #[test]
    fn only_200_is_healthy() {
        assert!(answered("HTTP/1.1 200 OK\r\n\r\nok").is_ok());
        assert!(answered("HTTP/1.1 503 Service Unavailable\r\n\r\n").is_err());
        assert!(answered("").is_err());
    }
}
