//! The phones of all calls in one thread: each leg has a socket of its own and sends at one
//! interval, all spread evenly over it. The time of sending is in the payload.

use std::fs;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::net::{RecvFlags, recv};

use super::{PHONES, Relay};

/// G.711, 20 ms.
const PACKET_BYTES: usize = 172;
/// Delays above this are counted as this.
const DELAY_US_MAX: usize = 200_000;
/// After the last packet, how long to wait for those on the way.
const LAST_WORDS: Duration = Duration::from_millis(300);
/// Of times under /proc, on every Linux.
const TICKS_PER_SECOND: u64 = 100;
/// The most packets sent before those that have arrived are read.
const BURST_MAX: usize = 32;
/// The most packets read at a time.
const EVENTS_MAX: usize = 64;

/// A load that runs.
pub(super) struct Run {
    legs: Vec<Leg>,
    /// From one packet of a leg to its next.
    interval: Duration,
    poller: OwnedFd,
    events: Vec<epoll::Event>,
    started: Instant,
    next: usize,
    sent: u64,
    heard: u64,
    late: u64,
    delays: Vec<u32>,
}

struct Leg {
    socket: UdpSocket,
    relay: SocketAddr,
    sequence: u16,
}

#[expect(clippy::disallowed_methods, reason = "a load generator needs the clock")]
fn now() -> Instant {
    Instant::now()
}

impl Run {
    /// Sets all calls up.
    pub(super) fn connect(
        calls: usize,
        interval: Duration,
        relay: &mut impl Relay,
    ) -> io::Result<Self> {
        let poller = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut legs: Vec<Leg> = Vec::with_capacity(calls * 2);
        for number in 0..calls {
            let phones = [UdpSocket::bind((PHONES, 0))?, UdpSocket::bind((PHONES, 0))?];
            let addresses = [phones[0].local_addr()?, phones[1].local_addr()?];
            let towards = relay.call(number, addresses)?;
            for (socket, relay) in phones.into_iter().zip(towards) {
                socket.connect(relay)?;
                let token = epoll::EventData::new_u64(legs.len() as u64);
                epoll::add(&poller, &socket, token, epoll::EventFlags::IN)?;
                legs.push(Leg { socket, relay, sequence: 0 });
            }
        }
        Ok(Self {
            legs,
            interval,
            poller,
            events: Vec::with_capacity(EVENTS_MAX),
            started: now(),
            next: 0,
            sent: 0,
            heard: 0,
            late: 0,
            delays: vec![0; DELAY_US_MAX + 1],
        })
    }

    /// All legs speak for so long.
    pub(super) fn speak(&mut self, lasts: Duration) -> io::Result<()> {
        let began = now();
        let step = self.interval / u32::try_from(self.legs.len().max(1)).unwrap_or(u32::MAX);
        let total = (lasts.as_nanos() / step.as_nanos().max(1)) as usize;
        let mut spoken = 0;
        while spoken < total {
            let at = now();
            let due = (at.duration_since(began).as_nanos() / step.as_nanos().max(1)) as usize;
            let due = due.min(total).saturating_sub(spoken);
            if due > self.legs.len() / 2 {
                self.late += 1;
            }
            for _ in 0..due.min(BURST_MAX) {
                self.send(at);
                spoken += 1;
            }
            // Never sleeps: waking up would cost more than a packet, and the core is the load's
            // own.
            self.listen(Duration::ZERO)?;
        }
        let end = now() + LAST_WORDS;
        while now() < end {
            self.listen(Duration::from_millis(10))?;
        }
        Ok(())
    }

    fn send(&mut self, at: Instant) {
        let stamp = at.duration_since(self.started).as_nanos() as u64;
        let leg_count = self.legs.len();
        let leg = &mut self.legs[self.next % leg_count];
        self.next += 1;
        leg.sequence = leg.sequence.wrapping_add(1);
        let mut packet = [0xd5; PACKET_BYTES];
        packet[..2].copy_from_slice(&[0x80, 8]);
        packet[2..4].copy_from_slice(&leg.sequence.to_be_bytes());
        packet[4..8].copy_from_slice(&(u32::from(leg.sequence) * 160).to_be_bytes());
        packet[8..12].copy_from_slice(&u32::from(leg.relay.port()).to_be_bytes());
        packet[12..20].copy_from_slice(&stamp.to_be_bytes());
        if leg.socket.send(&packet).is_ok() {
            self.sent += 1;
        }
    }

    fn listen(&mut self, wait: Duration) -> io::Result<()> {
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(wait.subsec_nanos()) };
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        epoll::wait(&self.poller, spare_capacity(&mut events), Some(&timeout))?;
        if events.is_empty() {
            self.events = events;
            return Ok(());
        }
        let arrived = now().duration_since(self.started).as_nanos() as u64;
        let mut buffer = [0; 2048];
        for event in &events {
            let Some(leg) = self.legs.get(event.data.u64() as usize) else { continue };
            let Ok((_, length)) = recv(&leg.socket, &mut buffer[..], RecvFlags::DONTWAIT) else {
                continue;
            };
            if length != PACKET_BYTES {
                continue;
            }
            let stamp = buffer[12..20].first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
            self.heard += 1;
            let delay = (arrived.saturating_sub(stamp) / 1000) as usize;
            self.delays[delay.min(DELAY_US_MAX)] += 1;
        }
        self.events = events;
        Ok(())
    }

    /// Counts from here on.
    pub(super) fn forget(&mut self) {
        (self.sent, self.heard, self.late) = (0, 0, 0);
        self.delays.fill(0);
    }

    pub(super) fn heard(&self) -> u64 {
        self.heard
    }

    /// The part of the packets that did not arrive.
    pub(super) fn loss(&self) -> f64 {
        1.0 - self.heard as f64 / self.sent.max(1) as f64
    }

    /// How often the load fell behind by half a packet interval: its figures are then its own.
    pub(super) fn late(&self) -> u64 {
        self.late
    }

    /// From sending to reading, for this part of the packets.
    pub(super) fn delay(&self, part: f64) -> Duration {
        let rank = (self.heard as f64 * part) as u64;
        let mut seen = 0;
        let within = self.delays.iter().position(|count| {
            seen += u64::from(*count);
            seen > rank
        });
        Duration::from_micros(within.unwrap_or(DELAY_US_MAX) as u64)
    }
}

/// What a process holds of memory, in bytes.
pub(super) fn resident(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.map(|kilobytes| kilobytes * 1_024).ok_or_else(|| io::Error::other("no VmRSS"))
}

/// CPU time of all threads of a process, user and system.
pub(super) fn cpu(pid: u32) -> io::Result<Duration> {
    let mut ticks = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let stat = fs::read_to_string(task?.path().join("stat"))?;
        // The name in brackets may hold blanks. User and system time are fields 14 and 15.
        let after_name = stat.rsplit(") ").next().unwrap_or_default();
        let times = after_name.split(' ').skip(11).take(2);
        ticks += times.filter_map(|time| time.parse::<u64>().ok()).sum::<u64>();
    }
    Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}
