//! Debian's rtpengine in user space, commanded by its ng protocol: bencode over UDP.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::process::{self, Command, Stdio};
use std::time::Duration;

use maskline::sdp;

use super::ours::CORE;
use super::{LOOPBACK, Relay};

/// The process.
pub(super) struct Child {
    process: process::Child,
    control: UdpSocket,
    asked: u64,
}

impl Child {
    pub(super) fn start(path: &str, threads: usize) -> io::Result<Self> {
        // A port that was free a moment ago.
        let ng = UdpSocket::bind((LOOPBACK, 0))?.local_addr()?;
        let process = Command::new("taskset")
            .args(["-c", CORE, path, "--foreground", "--log-stderr", "--log-level=2"])
            .args(["--table=-1", "--interface=127.0.0.1", "--port-min=20000", "--port-max=29999"])
            .args([format!("--listen-ng={ng}"), format!("--num-threads={threads}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let control = UdpSocket::bind((LOOPBACK, 0))?;
        control.connect(ng)?;
        control.set_read_timeout(Some(Duration::from_millis(200)))?;
        let mut child = Self { process, control, asked: 0 };
        child.wait_until_ready()?;
        Ok(child)
    }

    fn wait_until_ready(&mut self) -> io::Result<()> {
        for _ in 0..TRIES_MAX {
            if self.ask("d7:command4:pinge").is_ok_and(|answer| answer.contains("4:pong")) {
                return Ok(());
            }
            if let Some(status) = self.process.try_wait()? {
                return Err(io::Error::other(format!("rtpengine ended: {status}")));
            }
            // A refused datagram returns at once; waiting for its answer is the pause between
            // tries.
            let _ = self.control.recv(&mut [0; 16]);
        }
        Err(io::Error::other("rtpengine does not answer"))
    }

    /// Asks, and waits for the answer to this question: an earlier one may still come.
    fn ask(&mut self, body: &str) -> io::Result<String> {
        self.asked += 1;
        let cookie = format!("{} ", self.asked);
        self.control.send(format!("{cookie}{body}").as_bytes())?;
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let length = self.control.recv(&mut buffer)?;
            let answer = String::from_utf8_lossy(&buffer[..length]);
            if let Some(answer) = answer.strip_prefix(&cookie) {
                return Ok(answer.to_owned());
            }
        }
    }

    /// Sends a phone's SDP; the address that rtpengine puts in its place.
    fn replace(
        &mut self,
        command: &str,
        number: usize,
        phone: SocketAddr,
    ) -> io::Result<SocketAddr> {
        let codecs = [sdp::Codec::Pcma].into_iter().collect();
        let sdp = sdp::offer(&sdp::Local::new(phone, number as u64), codecs);
        let mut body = String::from("d");
        let words = [("command", command), ("from-tag", "a"), ("to-tag", "b"), ("ICE", "remove")];
        let call_id = format!("call-{number}");
        let words = words.into_iter().chain([("call-id", call_id.as_str()), ("sdp", &sdp)]);
        for (key, value) in words.filter(|(key, _)| command == "answer" || *key != "to-tag") {
            body += &format!("{}:{key}{}:{value}", key.len(), value.len());
        }
        body += "5:flagsl13:trust-address13:strict-sourceee";
        let answer = self.ask(&body)?;
        let refused = || io::Error::other(format!("rtpengine answers: {answer}"));
        let (_, rest) = answer.split_once("3:sdp").ok_or_else(refused)?;
        let (length, rest) = rest.split_once(':').ok_or_else(refused)?;
        let length: usize = length.parse().map_err(|_| refused())?;
        let body = rest.get(..length).ok_or_else(refused)?;
        Ok(sdp::parse(body.as_bytes()).map_err(|_| refused())?.rtp)
    }
}

impl Relay for Child {
    fn call(&mut self, number: usize, phones: [SocketAddr; 2]) -> io::Result<[SocketAddr; 2]> {
        let towards_b = self.replace("offer", number, phones[0])?;
        let towards_a = self.replace("answer", number, phones[1])?;
        Ok([towards_a, towards_b])
    }

    fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const TRIES_MAX: usize = 100;
