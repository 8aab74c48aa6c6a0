//! Random mutations of valid messages: no panic, and no input that costs much. A seed repeats a
//! run; `MASKLINE_MUTATION_SECONDS` makes it longer.

use std::time::{Duration, Instant};

use bytes::Bytes;
use maskline::sip::limits::MESSAGE_MAX;
use maskline::sip::transaction::Transactions;
use maskline::sip::write::new_buffer;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use crate::torture::cases;
use crate::walk::walk;

const SECONDS_USUAL: u64 = 2;
const SEED_USUAL: u64 = 20_260_701;
/// Far above the budget of 5 ms: a build without optimisation on a busy machine must pass, an input
/// that costs quadratic time must not.
const INPUT_TIME_MAX: Duration = Duration::from_secs(2);

/// Text that has broken parsers.
const NASTY: [&[u8]; 30] = [
    b"\r\n",
    b"\r",
    b"\n",
    b"\0",
    b"\r\n ",
    b"\r\n\r\n",
    b" ",
    b"\t",
    b";",
    b";;",
    b",",
    b":",
    b"\"",
    b"\\",
    b"<",
    b">",
    b"@",
    b"%",
    b"%00",
    b"[",
    b"]",
    b"=",
    b"\xff\xfe",
    b"\xc0\x80",
    b";tag=",
    b";rport;received=",
    b"sip:",
    b"4294967297",
    b"-1",
    b"Via: SIP/2.0/UDP h\r\n",
];

/// A second OPTIONS, an INVITE inside a dialog, a response: what the torture set lacks.
const MORE: [&str; 2] = [
    "SIP/2.0 200 OK\r\n\
     Via: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bKa;rport=5060;received=192.0.2.9\r\n\
     From: <sip:95588@relay.example>;tag=x\r\nTo: <sip:+8613800000002@c>;tag=y\r\nCall-ID: z\r\n\
     CSeq: 1 INVITE\r\nContact: <sip:c@192.0.2.8>\r\nRecord-Route: <sip:p;lr>, <sip:q;lr>\r\n\
     Content-Type: application/sdp\r\nContent-Length: 5\r\n\r\nv=0\r\n",
    "BYE tel:+8613800000001;phone-context=x SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKb\r\n\
     Max-Forwards: 0\r\nRoute: <sip:p;lr>\r\nFrom: sip:a@b;tag=1\r\nTo: \"x\" <sip:c@d>;tag=2\r\n\
     Call-ID: w\r\nCSeq: 2147483647 BYE\r\nReason: Q.850;cause=16\r\nContent-Length: 0\r\n\r\n",
];

fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(usual)
}

/// Says which input it was when a test ends badly.
struct Witness {
    seed: u64,
    round: u64,
    input: Bytes,
}

impl Drop for Witness {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let input = self.input.escape_ascii();
            eprintln!("seed={} round={} input=\"{input}\"", self.seed, self.round);
        }
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the run is as long as its setting says")]
fn mutated_messages_never_panic_and_never_cost_much() {
    let seed = setting("MASKLINE_SEED", SEED_USUAL);
    let end =
        Instant::now() + Duration::from_secs(setting("MASKLINE_MUTATION_SECONDS", SECONDS_USUAL));
    let valid: Vec<Bytes> = cases()
        .into_iter()
        .filter(|case| case.is_valid)
        .map(|case| case.bytes)
        .chain(MORE.map(|text| Bytes::from_static(text.as_bytes())))
        .collect();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut witness = Witness { seed, round: 0, input: Bytes::new() };
    let (mut table, mut out) = (Transactions::with_max(1_000), new_buffer());
    let mut worst = Duration::ZERO;
    let mut now = Instant::now();
    while now < end {
        witness.round += 1;
        witness.input = mutated(&valid, &mut rng);
        walk(witness.input.clone(), now, &mut table, &mut out);
        table.handle_timeout(now);
        let after = Instant::now();
        worst = worst.max(after - now);
        assert!(after - now < INPUT_TIME_MAX, "{:?}", after - now);
        now = after;
    }
    eprintln!("{} inputs, worst {worst:?}", witness.round);
}

fn below(rng: &mut ChaCha8Rng, bound: usize) -> usize {
    rng.next_u32() as usize % bound.max(1)
}

fn mutated(valid: &[Bytes], rng: &mut ChaCha8Rng) -> Bytes {
    let mut text = valid[below(rng, valid.len())].to_vec();
    for _ in 0..=below(rng, 4) {
        mutate(&mut text, valid, rng);
    }
    text.truncate(MESSAGE_MAX);
    text.into()
}

fn mutate(text: &mut Vec<u8>, valid: &[Bytes], rng: &mut ChaCha8Rng) {
    let at = below(rng, text.len() + 1);
    let end = (at + below(rng, 64)).min(text.len());
    match below(rng, 9) {
        0 => text.truncate(at),
        1 => _ = text.drain(at..end),
        2 => {
            if let Some(byte) = text.get_mut(at) {
                *byte = rng.next_u32() as u8;
            }
        }
        3 | 4 => _ = text.splice(at..at, NASTY[below(rng, NASTY.len())].iter().copied()),
        5 => {
            let piece = NASTY[below(rng, NASTY.len())];
            let room = MESSAGE_MAX.saturating_sub(text.len()) / piece.len();
            let many = piece.repeat(below(rng, room + 1));
            _ = text.splice(at..at, many);
        }
        6 => {
            let piece = text[at..end].to_vec();
            _ = text.splice(at..at, piece);
        }
        7 => {
            let mut lines: Vec<Vec<u8>> =
                text.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
            let (one, other) = (below(rng, lines.len()), below(rng, lines.len()));
            if one < lines.len() && other < lines.len() {
                lines.swap(one, other);
            }
            *text = lines.concat();
        }
        _ => {
            let other = &valid[below(rng, valid.len())];
            let cut = below(rng, other.len());
            text.truncate(at);
            text.extend_from_slice(&other[cut..]);
        }
    }
}
