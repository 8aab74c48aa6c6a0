//! S17: whoever does not hear a call cannot touch it, however often it guesses. A guess may be
//! right in all but one of the values that name the dialog.

#[cfg(test)]
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::errands::{granted, registering, status, tell};
use super::harness::*;
use crate::call::io::{Peer, SecurityEvent};
use crate::domain::cause::Cause;
use crate::domain::id::TrunkId;

const GUESSES: usize = 10_000;
const METHODS: [&str; 6] = ["BYE", "UPDATE", "INVITE", "INFO", "PRACK", "CANCEL"];
const OUR_LETTERS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";

/// Somebody who tries.
struct Blind {
    h: Harness,
    rng: ChaCha8Rng,
    tried: usize,
}

/// Somebody in a trunk that has no part in the call.
pub(super) fn other_trunk() -> Peer {
    let address = "192.0.2.77:5060".parse().expect("an address");
    Peer { address, trunk: TrunkId::from_u128(0xbad), ..pbx() }
}

impl Blind {
    fn new(h: Harness) -> Self {
        Self { h, rng: ChaCha8Rng::seed_from_u64(17), tried: 0 }
    }

    fn below(&mut self, end: usize) -> usize {
        self.rng.next_u32() as usize % end
    }

    /// Something like a value of ours: all of its letters guessed but those of the shard, or one.
    fn like(&mut self, true_one: &str) -> String {
        let mut guess = true_one.as_bytes().to_vec();
        if self.below(2) == 0 {
            let at = 2 + self.below(guess.len() - 2);
            let step = 1 + self.below(31);
            let letter = OUR_LETTERS.iter().position(|it| *it == guess[at]).expect("ours");
            guess[at] = OUR_LETTERS[(letter + step) % 32];
        } else {
            for place in guess.iter_mut().skip(2) {
                *place = OUR_LETTERS[self.rng.next_u32() as usize % 32];
            }
        }
        assert_ne!(guess, true_one.as_bytes(), "it is no guess");
        String::from_utf8(guess).expect("letters")
    }

    /// A request for a dialog of these names with one or all of them guessed.
    fn guess(&mut self, call_id: &str, our_tag: &str, their_tag: &str) -> (&'static str, String) {
        self.tried += 1;
        let number = self.tried;
        let method = METHODS[self.below(METHODS.len())];
        let wrong = self.below(4);
        let is_wrong = |place: usize| wrong == place || wrong == 3;
        let ours = if is_wrong(0) { self.like(our_tag) } else { our_tag.to_owned() };
        let call_id = if is_wrong(1) { format!("{call_id}{number}") } else { call_id.to_owned() };
        let theirs = if is_wrong(2) { format!("g{number}") } else { their_tag.to_owned() };
        let cseq = 2 + self.below(1_000);
        let text = format!(
            "{method} sip:{X}@203.0.113.5 SIP/2.0\r\n\
             Via: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bKguess{number};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:x@192.0.2.10>;tag={theirs}\r\n\
             To: <sip:{X}@203.0.113.5>;tag={ours}\r\nCall-ID: {call_id}\r\n\
             CSeq: {cseq} {method}\r\nRAck: 1 1 INVITE\r\nContent-Length: 0\r\n\r\n"
        );
        (method, text)
    }

    /// All that goes to `peer` meanwhile is no, and each says what it says to anybody.
    fn is_told_no(&mut self, peer: Peer, method: &str) {
        for line in self.h.lines(peer) {
            // Refusals of INVITEs are repeated until their ACK.
            let is_no = line == format!("481 {method}") || line == "481 INVITE";
            assert!(is_no, "{line} for a guessed {method}");
        }
    }
}

#[test]
fn ten_thousand_guesses_at_a_call_that_is_up_change_nothing() {
    let mut h = Harness::new();
    let up = h.bridged();
    let mut blind = Blind::new(h);
    let (orders, statuses) = (blind.h.orders.len(), blind.h.statuses.len());
    let dialogs = blind.h.core.dialogs();
    let callee = (header(&up.invite, "Call-ID"), tag(&header(&up.invite, "From")));
    for number in 0..GUESSES {
        let guesser = [pbx(), other_trunk(), carrier(), second_carrier()][number % 4];
        let (method, text) = if guesser.role == carrier().role {
            blind.guess(&callee.0, &callee.1, "bob")
        } else {
            blind.guess(&up.caller.call_id, &up.caller.to_tag, "from-8001")
        };
        blind.h.from(guesser, text);
        blind.h.advance(ms(4));
        for peer in [pbx(), other_trunk(), carrier(), second_carrier()] {
            blind.is_told_no(peer, method);
        }
    }
    let mut h = blind.h;
    assert_eq!((h.orders.len(), h.statuses.len()), (orders, statuses));
    assert_eq!((h.core.dialogs(), h.core.occupancy().calls), (dialogs, 1));
    assert!(h.cdrs.is_empty());
    h.advance(65 * T1);
    for peer in [pbx(), other_trunk(), carrier(), second_carrier()] {
        h.take(peer);
    }
    h.from(pbx(), up.caller.bye());
    assert_eq!(h.lines(pbx()), ["200 BYE"]);
    h.confirm(carrier(), "BYE");
    assert_eq!(h.cdr().cause, Cause::CallerHangup);
    h.check_nothing_is_left();
}

/// Neither the caller's transaction nor ours towards the callee is found by a guess.
#[test]
fn ten_thousand_guesses_at_a_call_that_rings_neither_cancel_nor_answer_it() {
    let mut h = Harness::new();
    let up = h.ringing();
    let mut blind = Blind::new(h);
    let via = header(&up.invite, "Via");
    let branch = via.split("branch=z9hG4bK").nth(1).expect("ours").split(';').next();
    let branch = branch.expect("a branch").to_owned();
    for number in 0..GUESSES {
        let caller = Caller::agent();
        let invented = caller.request("CANCEL", &format!("a1{number}"), 1);
        let overheard = caller.cancel();
        let (guesser, text) = match number % 3 {
            0 => (pbx(), invented),
            1 => (other_trunk(), overheard),
            _ => {
                let answer = up.reply(["200 OK", "486 Busy Here", "503 x"][blind.below(3)]);
                let peer = [carrier(), other_trunk()][blind.below(2)];
                (peer, answer.replace(&branch, &blind.like(&branch)))
            }
        };
        blind.h.from(guesser, text);
        blind.h.advance(ms(2));
        for peer in [pbx(), other_trunk()] {
            blind.is_told_no(peer, "CANCEL");
        }
        assert!(blind.h.take(carrier()).is_empty() && blind.h.take(second_carrier()).is_empty());
    }
    let mut h = blind.h;
    let strays = h.core.counters().stray_responses;
    assert!(strays > (GUESSES / 8) as u64, "the others come from elsewhere: {strays}");
    h.from(carrier(), up.reply("200 OK"));
    assert_eq!(
        (h.lines(carrier()), h.lines(pbx())),
        (vec!["ACK".into()], vec!["200 INVITE".into()])
    );
    h.from(pbx(), up.caller.ack());
    h.from(pbx(), up.caller.bye());
    h.take(pbx());
    h.confirm(carrier(), "BYE");
    assert_eq!(h.cdr().cause, Cause::CallerHangup);
    h.check_nothing_is_left();
}

/// S18: whoever has overheard our INVITE to the callee, and is somewhere else.
#[test]
fn an_answer_from_elsewhere_is_none_even_with_the_branch_of_our_invite() {
    for status in ["180 Ringing", "200 OK", "302 Moved", "401 Who", "486 Busy Here", "503 x"] {
        for own_tag in [true, false] {
            let mut h = Harness::new();
            let up = h.called();
            let from = header(&up.invite, "From");
            let mut answer = up.reply(status);
            if !own_tag {
                answer = answer.replace(&tag(&from), "0123456789abcdef01");
            }
            for peer in [other_trunk(), second_carrier(), pbx()] {
                h.from(peer, &answer);
                assert!(h.lines(pbx()).is_empty(), "{status} {own_tag}");
                assert!(h.lines(carrier()).is_empty(), "{status} {own_tag}");
            }
            h.from(carrier(), up.reply("180 Ringing"));
            assert_eq!(h.lines(pbx()), ["180 INVITE"], "{status} {own_tag}");
        }
    }
}

/// A call of one's own has a tag of ours too, and its answers come from where it is.
#[test]
fn an_answer_with_the_tag_of_another_call_and_the_branch_of_this_one_is_none() {
    let mut h = Harness::new();
    let own = Caller { peer: other_trunk(), call_id: "own".into(), ..Caller::agent() };
    let own = Caller { name: "8002", ..own };
    h.from(own.peer, own.invite());
    let mine = h.take_one(carrier());
    h.from(carrier(), reply(&mine, "200 OK", "mine", &sdp("198.51.100.77", 6_000)));
    let tag_of_mine = tag(&header(&h.take_one(own.peer), "To"));
    h.take(carrier());
    let up = h.called();
    let forged = up.reply("486 Busy Here");
    h.from(own.peer, forged.replace(&tag(&header(&up.invite, "From")), &tag_of_mine));
    assert!(h.lines(pbx()).is_empty(), "the call of somebody else rings on");
    assert_eq!(h.core.counters().foreign_sources, 1);
    let (source, trunk) = (own.peer.address.ip(), Some(own.peer.trunk));
    assert_eq!(h.security, [SecurityEvent::ForeignDialog { source, trunk }]);
}

#[test]
fn an_answer_from_elsewhere_registers_us_nowhere() {
    let mut h = Harness::new();
    tell(&mut h, vec![(carrier(), registering())]);
    let register = h.take_one(carrier());
    h.from(other_trunk(), granted(&register, 600));
    h.from(Peer { address: second_carrier().address, ..carrier() }, granted(&register, 600));
    assert!(h.trunk_statuses.is_empty());
    h.from(carrier(), granted(&register, 600));
    assert_eq!(h.trunk_statuses, [status(true)]);
}
