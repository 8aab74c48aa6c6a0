//! Random mutations of valid messages: no panic, neither of the parser nor of the brain, and calls
//! are served after each. A seed repeats a run; `MASKLINE_MUTATION_SECONDS` makes it longer.

use std::time::{Duration, Instant};

use bytes::Bytes;
use maskline::sip::limits::MESSAGE_MAX;
use maskline::sip::transaction::Transactions;
use maskline::sip::write::new_buffer;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

use crate::act::{Act, Depth};
use crate::brain::Brain;
use crate::mutate::{below, mutate, mutated};
use crate::torture::cases;
use crate::walk::walk;

const SEED_USUAL: u64 = 20_260_701;
/// So many messages are parsed, whatever the time.
const PARSED_USUAL: u64 = 20_000;
/// So many messages are told to the brain, whatever the time.
const TOLD_USUAL: u64 = 20_000;
/// So many of them while one call is as far as it is.
const ACT_INPUTS: u64 = 20;
const DEPTHS: [Depth; 4] = [Depth::Called, Depth::Ringing, Depth::Answered, Depth::Bridged];
/// Between two calls: less than any timer, or more than most.
const PAUSES: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(700), Duration::from_secs(40), Duration::from_secs(70)];

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

/// How long a run is: so many inputs, and at least as long as the setting says.
struct Budget {
    inputs: u64,
    end: Option<Instant>,
}

impl Budget {
    #[expect(clippy::disallowed_methods, reason = "the run is as long as its setting says")]
    fn of(inputs: u64) -> Self {
        let seconds = setting("MASKLINE_MUTATION_SECONDS", 0);
        let end = (seconds > 0).then(|| Instant::now() + Duration::from_secs(seconds));
        Self { inputs, end }
    }

    #[expect(clippy::disallowed_methods, reason = "the run is as long as its setting says")]
    fn allows(&self, round: u64) -> bool {
        round < self.inputs || self.end.is_some_and(|end| Instant::now() < end)
    }
}

/// The valid messages that are mutated.
fn valid() -> Vec<Bytes> {
    let cases = cases().into_iter().filter(|case| case.is_valid).map(|case| case.bytes);
    cases.chain(MORE.map(|text| Bytes::from_static(text.as_bytes()))).collect()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "an `Instant` can only be had from the clock")]
fn mutated_messages_never_panic_the_parser_and_the_transactions() {
    let seed = setting("MASKLINE_SEED", SEED_USUAL);
    let (budget, valid) = (Budget::of(PARSED_USUAL), valid());
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut witness = Witness { seed, round: 0, input: Bytes::new() };
    let (mut table, mut out) = (Transactions::with_max(1_000), new_buffer());
    let mut now = Instant::now();
    while budget.allows(witness.round) {
        witness.round += 1;
        now += Duration::from_millis(1);
        witness.input = mutated(&valid, &mut rng);
        walk(witness.input.clone(), now, &mut table, &mut out);
        table.handle_timeout(now);
    }
    eprintln!("{} inputs", witness.round);
}

/// From an insurer's trunk and from a carrier's, while calls are placed, ring, are answered, talk
/// and end.
#[test]
fn mutated_messages_in_the_middle_of_calls_never_panic_the_brain_and_leave_it_alive() {
    let seed = setting("MASKLINE_SEED", SEED_USUAL);
    let (budget, valid) = (Budget::of(TOLD_USUAL), valid());
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut witness = Witness { seed, round: 0, input: Bytes::new() };
    let mut brain = Brain::new(seed);
    let mut acts = 0;
    while budget.allows(witness.round) {
        acts += 1;
        let mut act = Act::begin(&mut brain, acts, DEPTHS[below(&mut rng, DEPTHS.len())]);
        for _ in 0..ACT_INPUTS {
            witness.round += 1;
            let (peer, text) = act.message(&brain, &mut rng);
            witness.input = match below(&mut rng, 8) {
                0 => mutated(&valid, &mut rng),
                1 | 2 => text.into(),
                3 => mutated(&[text.into()], &mut rng),
                // Little is changed, so that much of it still belongs to the call.
                _ => mutated_once(text.into(), &mut rng),
            };
            brain.receive(peer, witness.input.clone());
            brain.advance(Duration::from_millis(below(&mut rng, 200) as u64));
        }
        let (peer, probe) = act.probe();
        brain.forget();
        brain.receive(peer, probe);
        let answer = brain.last_sent(peer, "SIP/2.0 200 OK\r\n").expect("OPTIONS is answered");
        assert!(answer.contains("probe") && answer.contains("Allow: INVITE"), "{answer}");
        brain.advance(PAUSES[below(&mut rng, PAUSES.len())]);
    }
    brain.check_nothing_is_left();
    let counters = brain.core.counters();
    eprintln!("{} inputs in {acts} acts: {counters:?}", witness.round);
    // What this run is for has happened: calls talked, and each way to refuse a message was taken.
    assert!(counters.answered > acts / 3 && counters.attempts > acts, "{counters:?}");
    for count in [
        counters.malformed_answered,
        counters.unreadable,
        counters.unknown_dialogs,
        counters.stray_responses,
        counters.stray_acks,
        counters.unsupported_requests,
    ] {
        assert!(count > 0, "{counters:?}");
    }
}

/// A message after one change.
fn mutated_once(whole: Bytes, rng: &mut ChaCha8Rng) -> Bytes {
    let mut text = whole.to_vec();
    mutate(&mut text, &[whole], rng);
    text.truncate(MESSAGE_MAX);
    text.into()
}
