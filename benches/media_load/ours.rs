//! Our own media plane in a process of its own, told about calls line by line.

use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::process::{self, Command, Stdio};
use std::time::Duration;

use maskline::media::{Link, Plane, PlaneConfig};
use maskline::rtp::plane::{self, PayloadMap, RemoteMedia, Report, SessionId, Side};

use super::{LOOPBACK, Relay};

/// Four a call; phones of the load have another address.
const PORTS: RangeInclusive<u16> = 20_000..=59_999;
/// The relay's core; the load has the rest.
pub(super) const CORE: &str = "0";

/// The process.
pub(super) struct Child {
    process: process::Child,
    answers: BufReader<process::ChildStdout>,
}

impl Child {
    pub(super) fn start(threads: usize) -> io::Result<Self> {
        let mut process = Command::new("taskset")
            .args(["-c", CORE])
            .arg(std::env::current_exe()?)
            .args(["relay", &threads.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let answers = process.stdout.take().ok_or_else(|| io::Error::other("no output"))?;
        Ok(Self { process, answers: BufReader::new(answers) })
    }
}

impl Relay for Child {
    fn call(&mut self, number: usize, phones: [SocketAddr; 2]) -> io::Result<[SocketAddr; 2]> {
        let lines = self.process.stdin.as_mut().ok_or_else(|| io::Error::other("no input"))?;
        writeln!(lines, "{number} {} {}", phones[0], phones[1])?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        let mut words = answer.split_whitespace().map(str::parse);
        match (words.next(), words.next()) {
            (Some(Ok(a)), Some(Ok(b))) => Ok([a, b]),
            _ => Err(io::Error::other(format!("the relay answers: {answer}"))),
        }
    }

    fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It ends by itself when its input ends.
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// The other end: opens a call for each line until the input ends.
pub(super) fn serve(arguments: &[String]) -> io::Result<()> {
    let mut config = PlaneConfig::on(LOOPBACK.into(), [1; 32]);
    config.ports = PORTS;
    config.threads = arguments.first().and_then(|threads| threads.parse().ok()).unwrap_or(1);
    let (plane, mut links) = Plane::start(&config, vec![Box::new(|| {})])?;
    let mut link = links.remove(0);
    for line in io::stdin().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let [number, a, b] = words[..] else { return Err(io::Error::other(line)) };
        let phones = [a, b].map(|phone| phone.parse().map_err(io::Error::other));
        let number = number.parse().map_err(io::Error::other)?;
        let local = open(&mut link, SessionId(number), phones)?;
        writeln!(io::stdout(), "{} {}", local[0], local[1])?;
    }
    plane.stop();
    Ok(())
}

fn open(
    link: &mut Link,
    session: SessionId,
    phones: [io::Result<SocketAddr>; 2],
) -> io::Result<[SocketAddr; 2]> {
    let send = |link: &mut Link, command| link.send(command).map_err(io::Error::other);
    send(link, plane::Command::Open { session })?;
    let local = match link.wait_report(Duration::from_secs(10)) {
        Some(Report::Opened { local, .. }) => local,
        other => return Err(io::Error::other(format!("{other:?}"))),
    };
    for (side, phone) in [Side::A, Side::B].into_iter().zip(phones) {
        let rtp = phone?;
        let mut payloads = PayloadMap::default();
        payloads.0[0] = Some(8);
        // No phone listens for RTCP; the next port may be another phone's, which counts only RTP.
        let rtcp = SocketAddr::new(rtp.ip(), 9);
        let (payloads_to, payloads_from) = (payloads, payloads);
        let (receives, sends, learning) = (true, true, false);
        let remote =
            RemoteMedia { rtp, rtcp, payloads_to, payloads_from, receives, sends, learning };
        send(link, plane::Command::Update { session, side, remote, keys: None })?;
    }
    send(link, plane::Command::Bridge { session })?;
    Ok(local)
}
