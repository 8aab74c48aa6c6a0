//! What a relayed packet costs: two-way G.711 through a relay in a process of its own, on a core of
//! its own, and the same load through rtpengine for comparison.
//!
//! usage: media_load [--calls N] [--seconds N] [--rounds N] [--threads N] [--rtpengine PATH]
//!        [--percent N]    of a core for the relay: the most calls that it keeps up with
//!        [--interval-ms N]    from one packet of a leg to its next; 20
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

mod load;
mod ours;
mod quota;
mod rtpengine;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use load::Run;

/// A relay that passes media between two addresses.
trait Relay {
    /// Sets a call up between the phones at these ports; our RTP addresses towards each.
    fn call(&mut self, number: usize, phones: [SocketAddr; 2]) -> io::Result<[SocketAddr; 2]>;
    /// Its process.
    fn pid(&self) -> u32;
}

/// What to measure.
struct Settings {
    calls: usize,
    seconds: u64,
    rounds: usize,
    threads: usize,
    rtpengine: Option<String>,
    percent: Option<u64>,
    interval: Duration,
}

/// What one run came to.
struct Figures {
    us_per_packet: f64,
    /// The part of a core that it took.
    busy: f64,
    keeps_up: bool,
    has_loss: bool,
    /// Half of the packets, and 99 of 100, took no longer from phone to phone.
    delays: [Duration; 2],
    /// What its process has grown by for each of the calls.
    bytes_a_call: f64,
}

impl Settings {
    fn packets_a_second(&self) -> usize {
        self.calls * 2 * 1_000 / self.interval.as_millis().max(1) as usize
    }
}

const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// Another address than the relay's, so that its ports are all its own.
const PHONES: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// Long enough for rtpengine to have learned all addresses.
const WARM_UP: Duration = Duration::from_secs(5);
/// Our CPU per packet, as a part of rtpengine's.
const RATIO_MAX: f64 = 0.7;
/// The calls we keep up with, beside rtpengine's.
const MORE_MIN: f64 = 2.0;
/// A relay that takes more of its core than this has no time left: what a packet costs it is not
/// seen, because it cannot take more than all.
const BUSY_MAX: f64 = 0.95;
/// Half of the packets wait longer than this: the relay does not keep up, though its buffers hold
/// what it has not sent yet.
const DELAY_MAX: Duration = Duration::from_millis(20);
/// From here on a thread of ours lets packets gather, so that they wait on purpose.
const GATHERS_FROM: usize = 50_000;
/// What half of the packets, and 99 of 100, may take below that.
const ADDED_MAX: [Duration; 2] = [Duration::from_micros(100), Duration::from_millis(1)];
/// What a call of ours may hold of memory.
const BYTES_MAX: f64 = 20_000.0;
/// Where the search for the most calls begins, and how it goes on.
const LADDER_FIRST: usize = 150;
const LADDER_STEP: f64 = 1.15;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.first().map(String::as_str) {
        Some("relay") => ours::serve(&arguments[1..]),
        Some(_) | None => Settings::read(&arguments).and_then(|settings| match settings.percent {
            Some(percent) => compare_most(settings, percent),
            None => compare(&settings),
        }),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("media_load: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Settings {
    fn read(arguments: &[String]) -> io::Result<Self> {
        let (calls, seconds, rounds, threads) = (500, 5, 1, 1);
        let interval = Duration::from_millis(20);
        let (rtpengine, percent) = (None, None);
        let mut settings = Self { calls, seconds, rounds, threads, rtpengine, percent, interval };
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            // `cargo bench` adds this one.
            if word == "--bench" {
                continue;
            }
            let value = words.next().ok_or_else(|| wrong(word))?;
            let number = || value.parse::<usize>().map_err(|_| wrong(value));
            match word.as_str() {
                "--calls" => settings.calls = number()?,
                "--seconds" => settings.seconds = number()?.max(1) as u64,
                "--rounds" => settings.rounds = number()?.max(1),
                "--threads" => settings.threads = number()?,
                "--interval-ms" => {
                    settings.interval = Duration::from_millis(number()?.max(1) as u64)
                }
                "--percent" => settings.percent = Some(number()?.clamp(1, 100) as u64),
                "--rtpengine" => settings.rtpengine = Some(value.clone()),
                _ => return Err(wrong(word)),
            }
        }
        Ok(settings)
    }
}

fn wrong(word: &str) -> io::Error {
    io::Error::other(format!("unknown or unfinished argument {word}"))
}

/// Measures both relays by turns, so that what disturbs the machine disturbs both.
fn compare(settings: &Settings) -> io::Result<()> {
    headline(settings);
    let (mut ours, mut theirs, mut is_full) = (Vec::new(), Vec::new(), false);
    let (mut has_loss, mut delays) = (false, [Vec::new(), Vec::new()]);
    let mut bytes = Vec::new();
    for _ in 0..settings.rounds {
        let mut relay = ours::Child::start(settings.threads)?;
        let figures = measure("maskline", settings, &mut relay)?;
        ours.push(figures.us_per_packet);
        has_loss |= figures.has_loss;
        bytes.push(figures.bytes_a_call);
        let micros = figures.delays.map(|delay| delay.as_secs_f64() * 1e6);
        delays.iter_mut().zip(micros).for_each(|(all, delay)| all.push(delay));
        if let Some(path) = &settings.rtpengine {
            let mut relay = rtpengine::Child::start(path, settings.threads)?;
            let figures = measure("rtpengine", settings, &mut relay)?;
            theirs.push(figures.us_per_packet);
            is_full |= figures.busy > BUSY_MAX;
        }
    }
    let verdict = if has_loss { "missed" } else { "met" };
    println!("all packets of all calls arrive: {verdict}");
    let bytes = median(&mut bytes).unwrap_or(f64::NAN);
    let verdict = if bytes <= BYTES_MAX { "met" } else { "missed" };
    let (kilobytes, most) = (bytes / 1e3, BYTES_MAX / 1e3);
    println!("memory {kilobytes:.1} KB a call (at most {most:.0}: {verdict})");
    if settings.packets_a_second() < GATHERS_FROM {
        for (delays, most) in delays.iter_mut().zip(ADDED_MAX) {
            let (delay, most) = (median(delays).unwrap_or(f64::NAN), most.as_secs_f64() * 1e6);
            let verdict = if delay <= most { "met" } else { "missed" };
            println!("added delay {delay:.0} us (at most {most:.0}: {verdict})");
        }
    }
    if let (Some(ours), Some(theirs)) = (median(&mut ours), median(&mut theirs)) {
        let ratio = ours / theirs;
        let verdict = if ratio <= RATIO_MAX { "met" } else { "missed" };
        println!("median of {}: {ours:.2} and {theirs:.2} us/packet", settings.rounds);
        println!("ratio {ratio:.2} (at most {RATIO_MAX}: {verdict})");
        if is_full {
            println!("rtpengine fills its core: with more of it, a packet would have cost it more");
        }
    }
    Ok(())
}

/// The most calls that each keeps up with on a part of a core.
fn compare_most(mut settings: Settings, percent: u64) -> io::Result<()> {
    let ours =
        most("maskline", &mut settings, percent, |settings| ours::Child::start(settings.threads))?;
    let Some(path) = settings.rtpengine.clone() else { return Ok(()) };
    let theirs = most("rtpengine", &mut settings, percent, |settings| {
        rtpengine::Child::start(&path, settings.threads)
    })?;
    let more = ours as f64 / theirs.max(1) as f64;
    let verdict = if more >= MORE_MIN { "met" } else { "missed" };
    println!("{percent} % of a core keeps up with {ours} and {theirs} calls");
    println!("ratio {more:.2} (at least {MORE_MIN}: {verdict})");
    Ok(())
}

fn most<R: Relay>(
    name: &str,
    settings: &mut Settings,
    percent: u64,
    start: impl Fn(&Settings) -> io::Result<R>,
) -> io::Result<usize> {
    settings.calls = LADDER_FIRST;
    let mut good = 0;
    loop {
        headline(settings);
        let mut relay = start(settings)?;
        // Dropped after the relay has ended.
        let quota = quota::Quota::set(relay.pid(), percent)?;
        let keeps_up = measure(name, settings, &mut relay)?.keeps_up;
        drop(relay);
        drop(quota);
        if !keeps_up {
            return Ok(good);
        }
        good = settings.calls;
        settings.calls = (good as f64 * LADDER_STEP).round() as usize;
    }
}

fn headline(settings: &Settings) {
    let Settings { calls, interval, .. } = settings;
    let (interval, rate) = (interval.as_millis(), settings.packets_a_second());
    println!("{calls} calls, two-way G.711, every {interval} ms: {rate} packets/s");
    println!(
        "relay       us/packet   busy %   loss %   added p50 us   added p99 us   packets   \
         late ticks"
    );
}

fn measure(name: &str, settings: &Settings, relay: &mut impl Relay) -> io::Result<Figures> {
    let empty = load::resident(relay.pid())?;
    let mut run = Run::connect(settings.calls, settings.interval, relay)?;
    run.speak(WARM_UP)?;
    run.forget();
    let grown = load::resident(relay.pid())?.saturating_sub(empty);
    let bytes_a_call = grown as f64 / settings.calls.max(1) as f64;
    let before = load::cpu(relay.pid())?;
    run.speak(Duration::from_secs(settings.seconds))?;
    let cpu = load::cpu(relay.pid())?.saturating_sub(before);
    let heard = run.heard().max(1);
    let us_per_packet = cpu.as_secs_f64() * 1e6 / heard as f64;
    let busy = cpu.as_secs_f64() / settings.seconds as f64;
    let [p50, p99] = [0.50, 0.99].map(|part| run.delay(part));
    let keeps_up = run.loss() <= 0.0 && p50 <= DELAY_MAX;
    let (busy_percent, loss, late) = (busy * 100.0, run.loss() * 100.0, run.late());
    let delays = [p50, p99];
    let (p50, p99) = (p50.as_micros(), p99.as_micros());
    println!(
        "{name:<10} {us_per_packet:>10.2} {busy_percent:>8.0} {loss:>8.3} {p50:>14} {p99:>14} \
         {heard:>9} {late:>12}"
    );
    let has_loss = run.loss() > 0.0;
    Ok(Figures { us_per_packet, busy, keeps_up, has_loss, delays, bytes_a_call })
}

fn median(costs: &mut [f64]) -> Option<f64> {
    costs.sort_by(f64::total_cmp);
    costs.get(costs.len() / 2).copied()
}
