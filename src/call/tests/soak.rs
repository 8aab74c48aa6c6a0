//! S29: many calls that begin and end in every way, one beside the other, in one brain: after
//! 64*T1 nothing is left of any of them. `MASKLINE_SOAK_CALLS` makes more of them.

#[cfg(test)]
use std::collections::BTreeMap;
use std::time::Instant;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::harness::*;
use crate::call::io::Peer;
use crate::domain::cause::Cause;
use crate::domain::route::RouteAnswer;
use crate::rtp::plane::Command;

const CALLS_USUAL: usize = 600;

/// How a call ends.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum End {
    CallerCancels,
    /// The CANCEL and the answer pass each other.
    CancelCrossesAnswer,
    Rejected,
    /// The caller never hears the refusal.
    RejectedUnheard,
    CallerHangsUp,
    CalleeHangsUp,
    BothHangUp,
    /// The 200 is never confirmed.
    AckLost,
    /// Nobody answers the BYE.
    CalleeVanishes,
    CallerVanishes,
    /// No carrier says anything.
    Silence,
    /// It rings for ever.
    Unanswered,
}

const ENDS: [End; 12] = [
    End::CallerCancels,
    End::CancelCrossesAnswer,
    End::Rejected,
    End::RejectedUnheard,
    End::CallerHangsUp,
    End::CalleeHangsUp,
    End::BothHangUp,
    End::AckLost,
    End::CalleeVanishes,
    End::CallerVanishes,
    End::Silence,
    End::Unanswered,
];

/// What somebody does at a time of its own.
#[derive(Clone, Copy, Debug)]
enum Step {
    Ring,
    Answer,
    Reject,
    Cancel,
    CallerBye,
    CalleeBye,
}

struct Life {
    end: End,
    caller: Caller,
    branch: String,
    /// As the callee received it, and where.
    invite: Option<(Peer, String)>,
}

/// All calls, and what is still to be done in them.
struct Soak {
    h: Harness,
    rng: ChaCha8Rng,
    lives: Vec<Life>,
    /// Whose leg B has this Call-ID.
    callees: BTreeMap<String, usize>,
    plan: BTreeMap<(Instant, u64), (usize, Step)>,
    planned: u64,
    ports: [usize; 2],
    most: usize,
}

impl Soak {
    fn new() -> Self {
        Self {
            h: Harness::with(|config| config.ring_timeout = ms(20_000)),
            rng: ChaCha8Rng::seed_from_u64(29),
            lives: Vec::new(),
            callees: BTreeMap::new(),
            plan: BTreeMap::new(),
            planned: 0,
            ports: [0; 2],
            most: 0,
        }
    }

    fn below(&mut self, end: usize) -> usize {
        self.rng.next_u32() as usize % end
    }

    fn plan(&mut self, life: usize, after_ms: usize, step: Step) {
        self.planned += 1;
        self.plan.insert((self.h.now.monotonic + ms(after_ms as u64), self.planned), (life, step));
    }

    fn dial(&mut self) {
        let number = self.lives.len();
        let end = ENDS[self.below(ENDS.len())];
        let caller = Caller { call_id: format!("soak-{number}"), ..Caller::agent() };
        let branch = format!("s{number}");
        let text = caller.with("INVITE", &branch, 1, "", &caller.body);
        self.lives.push(Life { end, caller, branch, invite: None });
        self.h.from(pbx(), text);
        if matches!(end, End::CallerCancels) {
            let wait = self.below(3_000);
            self.plan(number, wait, Step::Cancel);
        }
        self.listen();
    }

    /// Whoever was sent something does as its part says, until nobody has anything to say.
    fn listen(&mut self) {
        loop {
            let mut heard = 0;
            for peer in [pbx(), carrier(), second_carrier()] {
                for text in self.h.take(peer) {
                    heard += 1;
                    if peer == pbx() {
                        self.caller_hears(&text);
                    } else {
                        self.callee_hears(peer, &text);
                    }
                }
            }
            if heard == 0 {
                break;
            }
        }
        for order in std::mem::take(&mut self.h.orders) {
            self.ports[0] += usize::from(matches!(order, Command::Open { .. }));
            self.ports[1] += usize::from(matches!(order, Command::Close { .. }));
        }
        self.h.wire.clear();
        self.h.statuses.clear();
        self.h.asked.clear();
        self.most = self.most.max(self.h.core.occupancy().calls);
    }

    fn caller_hears(&mut self, text: &str) {
        let call_id = header(text, "Call-ID");
        let number: usize = call_id.trim_start_matches("soak-").parse().expect("its own");
        let talk = self.below(9_000);
        let life = &mut self.lives[number];
        let end = life.end;
        match start(text).as_str() {
            "BYE" if end != End::CallerVanishes => {
                self.h.from(pbx(), reply(text, "200 OK", "", ""));
            }
            "BYE" | "180 INVITE" | "200 BYE" | "200 CANCEL" | "481 CANCEL" => {}
            "200 INVITE" => {
                let is_first = life.caller.to_tag.is_empty();
                life.caller.learn(text);
                if !matches!(end, End::AckLost | End::CallerVanishes) {
                    let ack = life.caller.request("ACK", "ack", 1);
                    self.h.from(pbx(), ack);
                }
                let hangs_up = matches!(end, End::CallerHangsUp | End::CalleeVanishes);
                if is_first && hangs_up {
                    self.plan(number, talk, Step::CallerBye);
                } else if is_first && matches!(end, End::BothHangUp) {
                    self.plan(number, talk, Step::CallerBye);
                    self.plan(number, talk, Step::CalleeBye);
                } else if is_first && matches!(end, End::CalleeHangsUp | End::CallerVanishes) {
                    self.plan(number, talk, Step::CalleeBye);
                }
            }
            line if line.ends_with(" INVITE") && end != End::RejectedUnheard => {
                let to_tag = tag(&header(text, "To"));
                let told = Caller { to_tag, call_id, ..Caller::agent() };
                let ack = told.request("ACK", &life.branch, 1);
                self.h.from(pbx(), ack);
            }
            line if line.ends_with(" INVITE") => {}
            // The other side hung up before this phone knew that it had been answered.
            line => assert!(line == "481 BYE", "{line} of {end:?}"),
        }
    }

    fn callee_hears(&mut self, peer: Peer, text: &str) {
        let call_id = header(text, "Call-ID");
        let number = *self.callees.entry(call_id).or_insert(self.lives.len() - 1);
        let wait = self.below(2_000);
        let ring = wait + self.below(4_000);
        let end = self.lives[number].end;
        let is_there = end != End::CalleeVanishes;
        match start(text).as_str() {
            "INVITE" if self.lives[number].invite.is_some() || end == End::Silence => {}
            "INVITE" => {
                self.lives[number].invite = Some((peer, text.to_owned()));
                self.plan(number, wait, Step::Ring);
                match end {
                    End::Rejected | End::RejectedUnheard => self.plan(number, ring, Step::Reject),
                    End::CallerCancels | End::Unanswered | End::Silence => {}
                    End::CancelCrossesAnswer => {
                        self.plan(number, ring, Step::Cancel);
                        self.plan(number, ring, Step::Answer);
                    }
                    End::CallerHangsUp
                    | End::CalleeHangsUp
                    | End::BothHangUp
                    | End::AckLost
                    | End::CalleeVanishes
                    | End::CallerVanishes => self.plan(number, ring, Step::Answer),
                }
            }
            "CANCEL" if end != End::Silence => {
                self.h.from(peer, reply(text, "200 OK", "bob", ""));
                let invite = self.lives[number].invite.clone();
                let (_, invite) = invite.expect("it was called");
                // It has answered before the CANCEL came.
                if end != End::CancelCrossesAnswer {
                    self.h.from(peer, reply(&invite, "487 x", "bob", ""));
                }
            }
            "BYE" if is_there => self.h.from(peer, reply(text, "200 OK", "", "")),
            "BYE" | "CANCEL" | "ACK" | "200 BYE" | "481 BYE" => {}
            line => panic!("{line} for the callee of {end:?}"),
        }
    }

    fn carry_out(&mut self, number: usize, step: Step) {
        let life = &self.lives[number];
        let (from, text) = match (step, &life.invite) {
            (Step::Cancel, _) => (pbx(), life.caller.request("CANCEL", &life.branch, 1)),
            (Step::CallerBye, _) => (pbx(), life.caller.request("BYE", &format!("b{number}"), 2)),
            (_, None) => return,
            (Step::Ring, Some((peer, invite))) => (*peer, reply(invite, "180 x", "bob", "")),
            (Step::Answer, Some((peer, invite))) => {
                (*peer, reply(invite, "200 OK", "bob", &sdp("198.51.100.77", 6_000)))
            }
            (Step::Reject, Some((peer, invite))) => {
                let statuses = ["486 x", "603 x", "404 x", "488 x"];
                (*peer, reply(invite, statuses[number % statuses.len()], "bob", ""))
            }
            (Step::CalleeBye, Some((peer, invite))) => {
                let bye = callee_request(invite, "BYE", "bob", 1);
                (*peer, bye.replace("z9hG4bKb1BYE", &format!("z9hG4bKb{number}")))
            }
        };
        self.h.from(from, text);
        self.listen();
    }

    /// Lets time pass, doing what falls due.
    fn pass(&mut self, time: std::time::Duration) {
        let end = self.h.now.monotonic + time;
        loop {
            let planned = self.plan.first_key_value().map(|((at, _), _)| *at);
            let next = [planned, self.h.core.poll_timeout()].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.h.advance(next.saturating_duration_since(self.h.now.monotonic));
            self.listen();
            while let Some(entry) = self.plan.first_entry()
                && entry.key().0 <= self.h.now.monotonic
            {
                let (number, step) = entry.remove();
                self.carry_out(number, step);
            }
        }
        self.h.advance(end.saturating_duration_since(self.h.now.monotonic));
        self.listen();
    }
}

fn calls() -> usize {
    let wanted = std::env::var("MASKLINE_SOAK_CALLS").ok();
    wanted.map_or(CALLS_USUAL, |text| text.parse().expect("a number of calls"))
}

#[test]
fn after_many_calls_that_ended_in_every_way_nothing_is_left_of_any() {
    let mut soak = Soak::new();
    let calls = calls();
    for _ in 0..calls {
        soak.dial();
        let pause = soak.below(200) as u64;
        soak.pass(ms(pause));
    }
    // What rings longest, what is then waited for, and the BYE of what was never confirmed.
    for _ in 0..3 {
        soak.pass(65 * T1);
    }
    assert!(soak.plan.is_empty() && soak.most > 20, "{} calls at one time", soak.most);
    soak.h.check_nothing_is_left();
    assert_eq!((soak.h.core.dialogs(), soak.h.core.poll_timeout()), (0, None));
    assert_eq!(soak.ports[0], soak.ports[1], "ports opened and closed");
    let mut causes = BTreeMap::<&str, usize>::new();
    soak.h.cdrs.iter().for_each(|cdr| *causes.entry(cdr.cause.label()).or_default() += 1);
    assert_eq!(soak.h.cdrs.len(), calls, "one record a call");
    for cause in [
        Cause::CallerCancelled,
        Cause::Busy,
        Cause::CallerHangup,
        Cause::CalleeHangup,
        Cause::NoAnswer,
    ] {
        assert!(causes.contains_key(cause.label()), "{cause:?} is not among {causes:?}");
    }
}

/// Of whoever never confirms a refusal no more is kept than the refusals, for 64*T1, and calls go
/// on beside them.
#[test]
fn ten_thousand_attempts_whose_refusal_is_never_confirmed_are_forgotten_after_64_t1() {
    const ATTEMPTS: usize = 10_000;
    let mut h = Harness::new();
    let up = h.bridged();
    let before = h.core.occupancy();
    h.store = || Some(RouteAnswer::Missing { cause: Cause::NumberUnknown, tenant: None });
    for number in 0..ATTEMPTS {
        let caller = Caller { call_id: format!("never-{number}"), ..Caller::agent() };
        h.from(pbx(), caller.with("INVITE", &format!("n{number}"), 1, "", &caller.body));
        assert_eq!(h.lines(pbx()), ["404 INVITE"]);
    }
    let most = h.core.occupancy();
    assert_eq!(most.calls, before.calls, "a refused attempt is no call");
    assert!(most.transactions <= before.transactions + ATTEMPTS, "{most:?}");
    // Nine or ten repeats of each, and then silence.
    h.advance(64 * T1 + ms(500));
    let answers = h.take(pbx()).len();
    assert!(answers <= 11 * ATTEMPTS, "{answers} repeats");
    let left = h.core.occupancy();
    assert!(left.transactions <= before.transactions && left.lingering <= 1, "{left:?}");
    assert!(left.timers <= before.timers, "{left:?} of {before:?}");
    h.advance(64 * T1);
    assert!(h.take(pbx()).is_empty());
    h.from(pbx(), up.caller.bye());
    assert_eq!(h.lines(pbx()), ["200 BYE"]);
    h.confirm(carrier(), "BYE");
    assert_eq!(h.cdrs.len(), ATTEMPTS + 1);
    h.check_nothing_is_left();
}
