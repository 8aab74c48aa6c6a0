//! Messages of one call in any order, repeated, broken and late: nothing panics, nothing is left,
//! and nothing of one side reaches the other.

#[cfg(test)]
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::harness::*;
use crate::call::io::{Control, Input};
use crate::domain::cause::Cause;

const RUNS: u64 = 200;
const STEPS: usize = 14;

struct Swarm {
    h: Harness,
    rng: ChaCha8Rng,
    caller: Caller,
    invites: Vec<String>,
    to_callee: Vec<String>,
    to_caller: Vec<String>,
}

impl Swarm {
    fn new(seed: u64) -> Self {
        Self {
            h: Harness::new(),
            rng: ChaCha8Rng::seed_from_u64(seed),
            caller: Caller::agent(),
            invites: Vec::new(),
            to_callee: Vec::new(),
            to_caller: Vec::new(),
        }
    }

    fn below(&mut self, end: usize) -> usize {
        self.rng.next_u32() as usize % end
    }

    fn one_of<'t>(&mut self, texts: &[&'t str]) -> &'t str {
        texts[self.below(texts.len())]
    }

    fn last(&mut self, of: &[String]) -> Option<String> {
        if of.is_empty() { None } else { Some(of[self.below(of.len())].clone()) }
    }

    /// Sometimes a byte is changed on the way.
    fn send(&mut self, peer: crate::call::io::Peer, text: String) {
        let mut bytes = text.into_bytes();
        if self.below(12) == 0 && !bytes.is_empty() {
            let at = self.below(bytes.len());
            bytes[at] = self.rng.next_u32() as u8;
        }
        self.h.from(peer, bytes);
    }

    fn collect(&mut self) {
        for text in self.h.take(pbx()) {
            if header(&text, "To").contains(";tag=") && text.starts_with("SIP/2.0 ") {
                self.caller.learn(&text);
            }
            self.to_caller.push(text);
        }
        for peer in [carrier(), second_carrier()] {
            for text in self.h.take(peer) {
                if start(&text) == "INVITE" {
                    self.invites.push(text);
                } else {
                    self.to_callee.push(text);
                }
            }
        }
    }

    fn caller_acts(&mut self) {
        let cseq = self.below(4) as u32 + 1;
        let branch = self.one_of(&["a1", "a2", "a3", "a4"]).to_owned();
        let method = self.one_of(&["CANCEL", "ACK", "BYE", "INVITE", "INFO", "OPTIONS", "PRACK"]);
        let text = match method {
            "CANCEL" => Caller { to_tag: String::new(), ..Caller::agent() }.cancel(),
            "ACK" => self.caller.request("ACK", &branch, 1),
            _ => self.caller.request(method, &branch, cseq),
        };
        self.send(pbx(), text);
    }

    fn callee_acts(&mut self) {
        let invites = self.invites.clone();
        let Some(invite) = self.last(&invites) else { return };
        let peer = if invite.contains("198.51.100.2:5060") { second_carrier() } else { carrier() };
        let tag = self.one_of(&["bob", "fork", "spoon"]).to_owned();
        let status = self.one_of(&["100", "180", "183", "200", "200", "302", "486", "503", "BYE"]);
        let text = match status {
            "BYE" => callee_request(&invite, "BYE", &tag, 1),
            "200" => reply(&invite, "200 OK", &tag, &sdp("198.51.100.77", 6_000)),
            _ => reply(&invite, &format!("{status} x"), &tag, ""),
        };
        self.send(peer, text);
    }

    fn somebody_confirms(&mut self) {
        let (callee, caller) = (self.to_callee.clone(), self.to_caller.clone());
        for (peer, sent) in [(carrier(), callee), (pbx(), caller)] {
            if let Some(request) = self.last(&sent)
                && matches!(start(&request).as_str(), "BYE" | "CANCEL")
            {
                self.send(peer, reply(&request, "200 OK", "bob", ""));
            }
        }
    }

    fn step(&mut self) {
        match self.below(10) {
            0..=2 => self.caller_acts(),
            3..=6 => self.callee_acts(),
            7 => self.somebody_confirms(),
            8 => {
                let delay = ms(self.below(4_000) as u64);
                self.h.advance(delay);
            }
            _ if self.below(6) == 0 => {
                let drop_calls = self.below(2) == 0;
                let cause = Cause::BindingExpired;
                let ordered_at = self.h.now.monotonic;
                let binding = BINDING;
                let ended = Control::BindingEnded { binding, cause, drop_calls, ordered_at };
                self.h.control(ended);
            }
            _ if self.below(6) == 0 => {
                self.h.input(Input::Unreachable { address: carrier().address });
            }
            _ => {}
        }
        self.collect();
    }

    fn check(mut self, seed: u64) {
        self.h.control(Control::TerminateAll);
        // Twice: a 2xx that is never confirmed is waited for first, and its BYE after that.
        self.h.check_nothing_is_left_after(2 * 64 * T1 + ms(5_000));
        for (to, text) in &self.h.wire {
            let is_insurer = to.ip() == pbx().address.ip();
            let hidden = if is_insurer { "13800001234" } else { "8001" };
            assert!(!text.contains(hidden), "seed={seed}: {hidden} crossed:\n{text}");
        }
    }
}

#[test]
fn whatever_is_said_in_whatever_order_nothing_is_left() {
    let (mut answered, mut failed_over) = (0, 0);
    for seed in 0..RUNS {
        let mut swarm = Swarm::new(seed);
        let invite = swarm.caller.invite();
        swarm.h.from(pbx(), invite);
        swarm.collect();
        for _ in 0..STEPS {
            swarm.step();
        }
        answered += swarm.h.core.counters().answered;
        failed_over += swarm.h.core.counters().failovers;
        swarm.check(seed);
    }
    assert!(answered > RUNS / 10 && failed_over > RUNS / 20, "{answered} {failed_over}");
}
