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
    cseq: u32,
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
            cseq: 10,
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

    /// What either side may offer, or answer, within the call.
    fn session(&mut self, host: &str) -> String {
        let port = 4_000 + 2 * self.below(3) as u16;
        let way = self.one_of(&["sendrecv", "sendonly", "recvonly", "inactive"]);
        let formats = self.one_of(&["8 0 101", "8 0 101", "8", "0 9", "9 101", "18"]);
        let body = sdp(host, port).replace("8 0 101", formats);
        format!("{body}a={way}\r\n")
    }

    /// Somebody holds, resumes, changes a codec or moves, as often as they like.
    fn somebody_offers(&mut self) {
        self.cseq += 1;
        let (cseq, branch) = (self.cseq, format!("o{}", self.cseq));
        let method = self.one_of(&["INVITE", "INVITE", "UPDATE"]);
        let body = if self.below(8) == 0 { String::new() } else { self.session("192.0.2.20") };
        if self.below(2) == 0 {
            let text = self.caller.with(method, &branch, cseq, "", &body);
            self.send(pbx(), text);
            if self.below(4) == 0 {
                let cancel = self.caller.request("CANCEL", &branch, cseq);
                self.send(pbx(), cancel);
            }
            return;
        }
        let Some(invite) = self.invites.first().cloned() else { return };
        let body = body.replace("192.0.2.20", "198.51.100.77");
        let kind = "Content-Type: application/sdp\r\nContent-Length";
        let length = format!("{kind}: {}\r\n\r\n{body}", body.len());
        let text = callee_request(&invite, method, "bob", cseq);
        self.send(carrier(), text.replace("Content-Length: 0\r\n\r\n", &length));
    }

    /// Somebody answers an offer of ours, or confirms an answer of ours, perhaps with one of its
    /// own.
    fn somebody_answers(&mut self) {
        let (callee, caller) = (self.to_callee.clone(), self.to_caller.clone());
        let sides = [(carrier(), callee, "198.51.100.77"), (pbx(), caller, "192.0.2.20")];
        for (peer, sent, host) in sides {
            let Some(text) = self.last(&sent) else { continue };
            let body = self.session(host);
            match name(&text).as_str() {
                "INVITE" => {
                    let all = ["200", "200", "200", "100", "488", "491", "500", "481"];
                    let status = self.one_of(&all);
                    let body = if status == "200" { body } else { String::new() };
                    self.send(peer, reply(&text, &format!("{status} x"), "bob", &body));
                }
                "200 INVITE" => {
                    let cseq = header(&text, "CSeq");
                    let number: u32 = cseq.split(' ').next().unwrap_or("1").parse().unwrap_or(1);
                    let ack = if peer == pbx() {
                        self.caller.with("ACK", &format!("k{number}"), number, "", &body)
                    } else {
                        let invite = self.invites.first().cloned().unwrap_or_default();
                        callee_request(&invite, "ACK", "bob", number)
                    };
                    self.send(peer, ack);
                }
                _ => {}
            }
        }
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
                if name(&text) == "INVITE" && !header(&text, "To").contains(";tag=") {
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
            "ACK" if self.below(2) == 0 => {
                let body = self.session("192.0.2.20");
                self.caller.with("ACK", &branch, 1, "", &body)
            }
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
                && matches!(name(&request).as_str(), "BYE" | "CANCEL")
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
                self.h.input(Input::Unreachable { peer: carrier().hop() });
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

/// As [`start`], of an answer that repeats a broken CSeq too.
fn name(text: &str) -> String {
    let has_method = header(text, "CSeq").split_whitespace().count() == 2;
    if has_method || !text.starts_with("SIP/2.0 ") { start(text) } else { String::new() }
}

/// How often we have told a side of a change.
fn reinvites(h: &Harness) -> usize {
    let inside = |text: &str| name(text) == "INVITE" && header(text, "To").contains(";tag=");
    h.wire.iter().filter(|(_, text)| inside(text)).count()
}

#[test]
fn whatever_is_offered_within_a_call_from_both_sides_at_once_nothing_is_left() {
    let (mut told, mut refused, mut moved) = (0, 0, 0);
    for seed in 0..RUNS {
        let mut swarm = Swarm::new(seed);
        let up = swarm.h.bridged();
        (swarm.caller, swarm.invites) = (up.caller, vec![up.invite]);
        swarm.h.orders.clear();
        for _ in 0..3 * STEPS {
            match swarm.below(12) {
                0..=3 => swarm.somebody_offers(),
                4..=9 => swarm.somebody_answers(),
                10 => swarm.somebody_confirms(),
                _ => {
                    let delay = ms(swarm.below(4_000) as u64);
                    swarm.h.advance(delay);
                }
            }
            swarm.collect();
        }
        told += reinvites(&swarm.h);
        let lines: Vec<String> = swarm.h.wire.iter().map(|(_, text)| name(text)).collect();
        refused += lines.iter().filter(|line| line.starts_with("491 ")).count();
        moved += swarm.h.orders.len();
        swarm.check(seed);
    }
    let runs = RUNS as usize;
    assert!(told > runs && refused > runs && moved > runs, "{told} {refused} {moved}");
}

#[test]
fn whatever_is_said_in_whatever_order_nothing_is_left() {
    let (mut answered, mut failed_over) = (0, 0);
    for seed in 0..RUNS {
        let mut swarm = Swarm::new(seed);
        if seed % 4 == 0 {
            swarm.caller.body.clear();
        }
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
