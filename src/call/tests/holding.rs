//! Who is put on hold hears a sparse beep of ours, and nothing of what the other side sends.

use super::harness::*;
use crate::call::io::Input;
use crate::rtp::plane::{Command, Report, Side};
use crate::rtp::sound::{Sound, Tone};

fn with_tone() -> Harness {
    Harness::with(|config| config.hold_tone = true)
}

fn caller_sdp(direction: &str) -> String {
    format!("{}a={direction}\r\n", sdp("192.0.2.20", 4_000))
}

fn callee_sdp(direction: &str) -> String {
    format!("{}a={direction}\r\n", sdp("198.51.100.77", 6_000))
}

/// What begins and ends to be played, in order.
fn beeps(h: &Harness) -> Vec<(&'static str, Side)> {
    let orders = h.orders.iter().filter_map(|order| {
        if let Command::Stop { side, .. } = order {
            return Some(("stop", *side));
        }
        let Command::Play { side, sound: Sound::Tone(tone), .. } = order else { return None };
        match tone {
            Tone::Hold => Some(("hold", *side)),
            Tone::Warning => Some(("warning", *side)),
            Tone::Ring | Tone::Busy => None,
        }
    });
    orders.collect()
}

/// The caller offers this and the callee answers that: what the callee was told.
fn changes(h: &mut Harness, up: &Up, cseq: u32, offer: &str, answer: &str) -> String {
    h.from(pbx(), up.caller.with("INVITE", &format!("r{cseq}"), cseq, "", &caller_sdp(offer)));
    let told = h.take_one(carrier());
    assert_eq!(start(&told), "INVITE");
    h.from(carrier(), reply(&told, "200 OK", "", &callee_sdp(answer)));
    assert_eq!(h.lines(carrier()), ["ACK"]);
    assert_eq!(start(&h.take_one(pbx())), "200 INVITE");
    h.from(pbx(), up.caller.request("ACK", &format!("k{cseq}"), cseq));
    told
}

#[test]
fn a_callee_on_hold_hears_a_beep_until_the_caller_is_back() {
    for hold in ["sendonly", "inactive"] {
        let mut h = with_tone();
        let up = h.bridged();
        h.orders.clear();
        let told = changes(&mut h, &up, 2, hold, "recvonly");
        assert!(told.contains("a=sendonly\r\n"), "or it would not listen: {told}");
        assert_eq!(beeps(&h), [("hold", Side::B)]);
        // What refreshes the session changes nothing.
        h.from(pbx(), up.caller.with("INVITE", "r3", 3, "", &caller_sdp(hold)));
        assert!(!h.has_sent(carrier()));
        assert_eq!(start(&h.take_one(pbx())), "200 INVITE");
        h.from(pbx(), up.caller.request("ACK", "k3", 3));
        assert_eq!(beeps(&h), [("hold", Side::B)]);
        changes(&mut h, &up, 4, "sendrecv", "sendrecv");
        assert_eq!(beeps(&h), [("hold", Side::B), ("stop", Side::B)]);
        assert!(!h.has_sent(carrier()) && !h.has_sent(pbx()), "both are in line");
    }
}

#[test]
fn a_callee_may_hold_too_and_who_holds_hears_nothing() {
    let mut h = with_tone();
    let up = h.bridged();
    h.orders.clear();
    let body = callee_sdp("inactive");
    let head = callee_request(&up.invite, "INVITE", "bob", 1);
    let rest = format!(
        "Contact: <sip:callee@198.51.100.77:5070>\r\nContent-Type: application/sdp\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    h.from(carrier(), head.replace("Content-Length: 0\r\n\r\n", &rest));
    let told = h.take_one(pbx());
    assert!(told.contains("a=sendonly\r\n"), "{told}");
    h.from(pbx(), reply(&told, "200 OK", "", &caller_sdp("recvonly")));
    assert_eq!(beeps(&h), [("hold", Side::A)]);
}

#[test]
fn a_beep_of_another_kind_does_not_end_the_hold_tone_and_a_dead_one_is_not_begun_again() {
    let mut h = with_tone();
    let up = h.bridged();
    changes(&mut h, &up, 2, "sendonly", "recvonly");
    h.orders.clear();
    h.advance(ms(3 * 3_600_000 - 30_000));
    assert_eq!(beeps(&h), [("warning", Side::A), ("warning", Side::B)]);
    let session = h.orders.first().expect("an order").session();
    for side in [Side::A, Side::B] {
        let play = h.orders.iter().find_map(|order| {
            let Command::Play { play, side: it, .. } = order else { return None };
            (*it == side).then_some(*play)
        });
        let play = play.expect("it was played");
        h.input(Input::Media(Report::PlayDone { session, side, play, was_sent: true }));
    }
    assert_eq!(beeps(&h)[2..], [("hold", Side::B)]);
    let Some(Command::Play { play, .. }) = h.orders.last().cloned() else { panic!("the tone") };
    h.input(Input::Media(Report::PlayDone { session, side: Side::B, play, was_sent: false }));
    assert_eq!(beeps(&h).len(), 3);
}

#[test]
fn a_caller_that_only_ever_sends_is_heard() {
    let mut h = with_tone();
    let caller = Caller { body: caller_sdp("sendonly"), ..Caller::agent() };
    h.from(pbx(), caller.invite());
    let mut up = Up { caller, invite: h.take_one(carrier()) };
    h.from(carrier(), reply(&up.invite, "200 OK", "bob", &callee_sdp("recvonly")));
    up.caller.learn(&h.take_one(pbx()));
    h.from(pbx(), up.caller.ack());
    assert!(beeps(&h).is_empty());
}

#[test]
fn without_the_setting_a_hold_is_passed_on_as_it_is() {
    let mut h = Harness::new();
    let up = h.bridged();
    let told = changes(&mut h, &up, 2, "inactive", "inactive");
    assert!(told.contains("a=inactive\r\n"));
    assert!(beeps(&h).is_empty());
}
