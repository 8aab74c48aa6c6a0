//! What a relayed packet costs: two-way G.711 through a relay in a process of its own, on a core of
//! its own, and the same load through rtpengine for comparison.
//!
//! usage: media_load [--calls N] [--seconds N] [--rounds N] [--threads N] [--rtpengine PATH]
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

mod load;
mod ours;
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
}

const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// Long enough for rtpengine to have learned all addresses.
const WARM_UP: Duration = Duration::from_secs(5);
/// Our CPU per packet, as a part of rtpengine's.
const RATIO_MAX: f64 = 0.7;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.first().map(String::as_str) {
        Some("relay") => ours::serve(&arguments[1..]),
        Some(_) | None => Settings::read(&arguments).and_then(|settings| compare(&settings)),
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
        let mut settings = Self { calls: 500, seconds: 5, rounds: 1, threads: 1, rtpengine: None };
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
    println!("{} calls, two-way G.711, 20 ms: {} packets/s", settings.calls, settings.calls * 100);
    println!("relay       us/packet   loss %   added p50 us   added p99 us   packets   late ticks");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..settings.rounds {
        ours.push(measure("maskline", settings, &mut ours::Child::start(settings.threads)?)?);
        if let Some(path) = &settings.rtpengine {
            let mut relay = rtpengine::Child::start(path, settings.threads)?;
            theirs.push(measure("rtpengine", settings, &mut relay)?);
        }
    }
    if let (Some(ours), Some(theirs)) = (median(&mut ours), median(&mut theirs)) {
        let ratio = ours / theirs;
        let verdict = if ratio <= RATIO_MAX { "met" } else { "missed" };
        println!("median of {}: {ours:.2} and {theirs:.2} us/packet", settings.rounds);
        println!("ratio {ratio:.2} (at most {RATIO_MAX}: {verdict})");
    }
    Ok(())
}

fn measure(name: &str, settings: &Settings, relay: &mut impl Relay) -> io::Result<f64> {
    let mut run = Run::connect(settings.calls, relay)?;
    run.speak(WARM_UP)?;
    run.forget();
    let before = load::cpu(relay.pid())?;
    run.speak(Duration::from_secs(settings.seconds))?;
    let cpu = load::cpu(relay.pid())?.saturating_sub(before);
    let heard = run.heard().max(1);
    let cost = cpu.as_secs_f64() * 1e6 / heard as f64;
    let [p50, p99] = [0.50, 0.99].map(|part| run.delay(part).as_micros());
    let loss = run.loss() * 100.0;
    let late = run.late();
    println!("{name:<10} {cost:>10.2} {loss:>8.3} {p50:>14} {p99:>14} {heard:>9} {late:>12}");
    Ok(cost)
}

fn median(costs: &mut [f64]) -> Option<f64> {
    costs.sort_by(f64::total_cmp);
    costs.get(costs.len() / 2).copied()
}
