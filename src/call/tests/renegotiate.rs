//! Offers within a call: hold and resume, refusals, races. Peers are made of text.

#[cfg(test)]
use super::harness::*;
use crate::call::io::{Input, Peer};
use crate::domain::cause::Cause;
use crate::domain::cdr::EndedBy;
use crate::rtp::plane::{Command, Side};
use crate::sip::transaction::Transactions;

fn caller_sdp(direction: &str) -> String {
    format!("{}a={direction}\r\n", sdp("192.0.2.20", 4_000))
}

fn callee_sdp(direction: &str) -> String {
    format!("{}a={direction}\r\n", sdp("198.51.100.77", 6_000))
}

/// A request of the callee inside its dialog.
pub(super) fn callee_offer(up: &Up, method: &str, cseq: u32, body: &str) -> String {
    let contact = "Contact: <sip:callee@198.51.100.77:5070>\r\n";
    let head = callee_request(&up.invite, method, "bob", cseq);
    let length = format!(
        "{contact}Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    head.replace("Content-Length: 0\r\n\r\n", &length)
}

/// The ACK to our answer.
pub(super) fn callee_ack(up: &Up, cseq: u32) -> String {
    callee_request(&up.invite, "ACK", "bob", cseq)
}

fn direction(text: &str) -> &str {
    let all = ["sendrecv", "sendonly", "recvonly", "inactive"];
    let mut found = all.into_iter().filter(|name| text.contains(&format!("a={name}\r\n")));
    found.next_back().unwrap_or("none")
}

/// The session id and the version.
fn origin(text: &str) -> (u64, u64) {
    let line = text.lines().find(|line| line.starts_with("o=")).expect("an o= line");
    let numbers: Vec<u64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
    (numbers[0], numbers[1])
}

fn updates(h: &Harness) -> Vec<(Side, bool)> {
    let orders = h.orders.iter().filter_map(|order| {
        let Command::Update { side, remote, .. } = order else { return None };
        Some((*side, remote.receives))
    });
    orders.collect()
}

impl Harness {
    /// The one request that a peer gets beside what is said to `to`.
    fn take_reinvite(&mut self, peer: Peer) -> String {
        let request = self.take_one(peer);
        assert_eq!(start(&request), "INVITE", "{request}");
        request
    }

    fn hang_up(&mut self, up: &Up, cseq: u32) {
        self.from(pbx(), up.caller.request("BYE", "bye", cseq));
        assert_eq!(self.lines(pbx()), ["200 BYE"]);
        self.confirm(carrier(), "BYE");
        self.check_nothing_is_left();
    }
}

#[test]
fn hold_and_resume_reach_the_far_side_and_its_answer_comes_back() {
    let mut h = Harness::new();
    let up = h.bridged();
    let first = origin(&up.invite);
    h.orders.clear();
    h.from(pbx(), up.caller.with("INVITE", "r1", 2, "", &caller_sdp("sendonly")));
    assert!(h.take(pbx()).is_empty(), "nobody has agreed yet");
    let told = h.take_reinvite(carrier());
    assert_eq!(direction(&told), "sendonly");
    assert_eq!(origin(&told), (first.0, first.1 + 1));
    assert_eq!(
        (header(&told, "CSeq"), header(&told, "Max-Forwards")),
        ("2 INVITE".into(), "70".into())
    );
    h.from(carrier(), reply(&told, "200 OK", "", &callee_sdp("recvonly")));
    let ack = h.take_one(carrier());
    assert_eq!((start(&ack), header(&ack, "CSeq")), ("ACK".into(), "2 ACK".into()));
    let answer = h.take_one(pbx());
    assert_eq!((start(&answer), direction(&answer)), ("200 INVITE".into(), "recvonly"));
    let held = [(Side::A, false), (Side::B, true)];
    assert_eq!(updates(&h), held, "the far side still hears the music, and says nothing");
    h.from(pbx(), up.caller.request("ACK", "r2", 2));
    h.from(pbx(), up.caller.with("INVITE", "r3", 3, "", &caller_sdp("sendrecv")));
    let told = h.take_reinvite(carrier());
    assert_eq!((direction(&told), origin(&told)), ("sendrecv", (first.0, first.1 + 2)));
    h.from(carrier(), reply(&told, "200 OK", "", &callee_sdp("sendrecv")));
    h.take(carrier());
    assert_eq!(direction(&h.take_one(pbx())), "sendrecv");
    assert_eq!(updates(&h)[2..], [(Side::A, true), (Side::B, true)]);
    h.from(pbx(), up.caller.request("ACK", "r4", 3));
    h.hang_up(&up, 4);
}

#[test]
fn the_callee_can_hold_too_and_inactive_stops_both_ways() {
    let mut h = Harness::new();
    let up = h.bridged();
    h.orders.clear();
    h.from(carrier(), callee_offer(&up, "INVITE", 1, &callee_sdp("inactive")));
    let told = h.take_reinvite(pbx());
    assert_eq!(direction(&told), "inactive");
    assert_eq!(header(&told, "To"), header(&up.caller.invite(), "From"));
    h.from(pbx(), reply(&told, "200 OK", "", &caller_sdp("inactive")));
    assert_eq!(h.lines(pbx()), ["ACK"]);
    let answer = h.take_one(carrier());
    assert_eq!((start(&answer), direction(&answer)), ("200 INVITE".into(), "inactive"));
    assert_eq!(updates(&h), [(Side::A, false), (Side::B, false)]);
    h.from(carrier(), callee_ack(&up, 1));
    h.hang_up(&up, 2);
}

#[test]
fn an_old_style_hold_of_address_zero_counts_as_sendonly() {
    let mut h = Harness::new();
    let up = h.bridged();
    let zero = sdp("192.0.2.20", 4_000).replace("c=IN IP4 192.0.2.20", "c=IN IP4 0.0.0.0");
    h.from(pbx(), up.caller.with("INVITE", "r1", 2, "", &zero));
    assert_eq!(direction(&h.take_reinvite(carrier())), "sendonly");
}

#[test]
fn an_unchanged_offer_keeps_its_version_and_concerns_nobody_else() {
    let mut h = Harness::new();
    let up = h.bridged();
    h.orders.clear();
    let first = h.wire.iter().rev().find(|(_, text)| start(text) == "200 INVITE").cloned();
    let first = origin(&first.expect("the answer").1);
    for (cseq, method) in (2..).zip(["INVITE", "UPDATE", "INVITE"]) {
        h.from(pbx(), up.caller.with(method, &format!("r{cseq}"), cseq, "", &up.caller.body));
        let answer = h.take_one(pbx());
        assert_eq!((start(&answer), origin(&answer)), (format!("200 {method}"), first));
        if method == "INVITE" {
            h.from(pbx(), up.caller.request("ACK", &format!("k{cseq}"), cseq));
        }
    }
    assert!(h.take(carrier()).is_empty() && h.orders.is_empty());
    h.hang_up(&up, 5);
}

#[test]
fn a_new_address_moves_the_media_and_asks_nobody() {
    let mut h = Harness::new();
    let up = h.bridged();
    h.orders.clear();
    h.from(carrier(), callee_offer(&up, "INVITE", 1, &sdp("198.51.100.78", 6_100)));
    assert_eq!(h.lines(carrier()), ["200 INVITE"]);
    assert!(h.take(pbx()).is_empty());
    let [Command::Update { side: Side::B, remote, .. }] = h.orders.as_slice() else {
        panic!("one update of the callee, not {:?}", h.orders)
    };
    assert_eq!(remote.rtp.to_string(), "198.51.100.78:6100");
    h.from(carrier(), callee_ack(&up, 1));
    h.hang_up(&up, 2);
}

#[test]
fn another_codec_of_the_allow_list_is_agreed_with_both_sides() {
    let mut h = Harness::new();
    let up = h.bridged();
    h.orders.clear();
    let g722 = sdp("192.0.2.20", 4_000).replace("RTP/AVP 8 0 101", "RTP/AVP 9 101");
    h.from(pbx(), up.caller.with("INVITE", "r1", 2, "", &g722));
    let told = h.take_reinvite(carrier());
    assert!(told.contains("RTP/AVP 9 101\r\n"), "{told}");
    let answer = sdp("198.51.100.77", 6_000).replace("RTP/AVP 8 0 101", "RTP/AVP 9");
    h.from(carrier(), reply(&told, "200 OK", "", &answer));
    let answer = h.take_one(pbx());
    assert!(answer.contains("RTP/AVP 9\r\n"), "{answer}");
    assert_eq!(updates(&h), [(Side::A, true), (Side::B, true)]);
}

#[test]
fn a_refused_offer_leaves_the_session_as_it_was() {
    for status in ["488 Not Acceptable Here", "500 Oops", "405 No", "603 Never"] {
        let mut h = Harness::new();
        let up = h.bridged();
        h.orders.clear();
        h.from(pbx(), up.caller.with("INVITE", "r1", 2, "", &caller_sdp("sendonly")));
        let told = h.take_reinvite(carrier());
        h.from(carrier(), reply(&told, status, "", ""));
        assert_eq!(h.lines(carrier()), ["ACK"]);
        assert_eq!(h.lines(pbx()), ["488 INVITE"], "{status}");
        h.from(pbx(), up.caller.request("ACK", "r1", 2));
        assert!(h.orders.is_empty() && h.cdrs.is_empty(), "the call goes on");
        h.from(pbx(), up.caller.with("INVITE", "r2", 3, "", &up.caller.body));
        assert_eq!(h.lines(pbx()), ["200 INVITE"], "as if nothing had been");
        h.from(pbx(), up.caller.request("ACK", "r3", 3));
        h.hang_up(&up, 4);
    }
}

#[test]
fn a_far_side_that_cannot_do_more_does_not_spoil_an_offer_of_more() {
    let mut h = Harness::new();
    let up = h.bridged();
    let more = sdp("198.51.100.77", 6_000).replace("RTP/AVP 8 0 101", "RTP/AVP 8 0 9 101");
    h.from(carrier(), callee_offer(&up, "INVITE", 1, &more));
    let told = h.take_reinvite(pbx());
    h.from(pbx(), reply(&told, "488 Not Acceptable Here", "", ""));
    let answer = h.take_one(carrier());
    assert_eq!(start(&answer), "200 INVITE");
    assert!(answer.contains("RTP/AVP 8 0 101\r\n"), "{answer}");
}

#[test]
fn a_far_side_that_does_not_know_the_call_ends_it() {
    for status in ["481 Gone", "408 Timeout"] {
        let mut h = Harness::new();
        let up = h.bridged();
        h.from(pbx(), up.caller.with("INVITE", "r1", 2, "", &caller_sdp("sendonly")));
        let told = h.take_reinvite(carrier());
        h.from(carrier(), reply(&told, status, "", ""));
        assert_eq!(h.lines(pbx()), ["488 INVITE", "BYE"], "{status}");
        assert_eq!(h.lines(carrier()), ["ACK", "BYE"]);
        let cdr = h.cdr();
        assert_eq!((cdr.cause, cdr.ended_by), (Cause::CalleeHangup, EndedBy::Relay));
        h.check_nothing_is_left_after(2 * 64 * T1);
    }
}

#[test]
fn a_silent_far_side_is_waited_for_ten_seconds_and_what_it_takes_later_is_taken_back() {
    let mut h = Harness::new();
    let up = h.bridged();
    h.orders.clear();
    h.hears_trying = true;
    h.from(pbx(), up.caller.with("INVITE", "r1", 2, "", &caller_sdp("sendonly")));
    assert_eq!(h.lines(pbx()), ["100 INVITE"]);
    let told = h.take_reinvite(carrier());
    h.from(carrier(), reply(&told, "100 Trying", "", ""));
    h.advance(ms(9_990));
    assert!(h.take(pbx()).is_empty());
    h.advance(ms(20));
    assert_eq!(h.lines(pbx()), ["488 INVITE"]);
    h.from(pbx(), up.caller.request("ACK", "r1", 2));
    h.confirm(carrier(), "CANCEL");
    h.from(carrier(), reply(&told, "200 OK", "", &callee_sdp("recvonly")));
    let sent = h.take(carrier());
    let [ack, again] = sent.as_slice() else { panic!("an ACK and an INVITE, not {sent:#?}") };
    assert_eq!((start(ack).as_str(), header(ack, "CSeq").as_str()), ("ACK", "2 ACK"));
    assert_eq!((start(again).as_str(), direction(again)), ("INVITE", "sendrecv"));
    h.from(carrier(), reply(again, "200 OK", "", &callee_sdp("sendrecv")));
    assert_eq!(h.lines(carrier()), ["ACK"]);
    assert!(h.take(pbx()).is_empty() && h.orders.is_empty(), "the session never changed");
    h.hang_up(&up, 3);
}

#[test]
fn re_invite_glare_gives_491_and_both_sides_retry_at_different_times() {
    let mut h = Harness::new();
    let up = h.bridged();
    h.from(pbx(), up.caller.with("INVITE", "r1", 2, "", &caller_sdp("sendonly")));
    let told = h.take_reinvite(carrier());
    h.from(carrier(), callee_offer(&up, "INVITE", 1, &callee_sdp("inactive")));
    h.from(carrier(), callee_ack(&up, 1).replace("b1ACK", "b1INVITE"));
    h.from(carrier(), reply(&told, "491 Request Pending", "", ""));
    assert_eq!(h.lines(carrier()), ["491 INVITE", "ACK"]);
    assert_eq!(h.lines(pbx()), ["491 INVITE"], "whoever owns the Call-ID waits longer");
    h.from(pbx(), up.caller.request("ACK", "r1", 2));
    // The callee does not own its Call-ID, so it is first; then the caller.
    h.from(carrier(), callee_offer(&up, "INVITE", 2, &callee_sdp("inactive")));
    let told = h.take_reinvite(pbx());
    h.from(pbx(), reply(&told, "200 OK", "", &caller_sdp("inactive")));
    assert_eq!(
        (h.lines(pbx()), h.lines(carrier())),
        (vec!["ACK".into()], vec!["200 INVITE".into()])
    );
    h.from(carrier(), callee_ack(&up, 2));
    h.from(pbx(), up.caller.with("INVITE", "r3", 3, "", &caller_sdp("sendonly")));
    assert_eq!(direction(&h.take_reinvite(carrier())), "sendonly");
}

/// A callee that has taken a hold that was given up meanwhile, and says 491 when it is told so.
fn brought_back_in_vain(h: &mut Harness) -> Up {
    let up = h.bridged();
    h.from(pbx(), up.caller.with("INVITE", "r1", 2, "", &caller_sdp("sendonly")));
    let told = h.take_reinvite(carrier());
    h.from(carrier(), reply(&told, "100 Trying", "", ""));
    h.from(pbx(), up.caller.request("CANCEL", "r1", 2));
    assert_eq!(h.lines(pbx()), ["200 CANCEL", "487 INVITE"]);
    h.from(pbx(), up.caller.request("ACK", "r1", 2));
    h.confirm(carrier(), "CANCEL");
    h.from(carrier(), reply(&told, "200 OK", "", &callee_sdp("recvonly")));
    let again = h.take(carrier()).pop().expect("an INVITE");
    h.from(carrier(), reply(&again, "491 Request Pending", "", ""));
    assert_eq!(h.lines(carrier()), ["ACK"]);
    up
}

#[test]
fn a_side_that_is_brought_back_in_line_and_says_491_is_asked_again_after_a_while() {
    let mut h = Harness::new();
    brought_back_in_vain(&mut h);
    h.advance(ms(2_090));
    assert!(h.take(carrier()).is_empty(), "we own this Call-ID");
    h.advance(ms(1_920));
    let again = h.take(carrier());
    assert!(!again.is_empty() && again.iter().all(|text| start(text) == "INVITE"));
    assert_eq!(direction(&again[0]), "sendrecv");
}

/// Its own offer was what it had said 491 for. It was told 491 for that once more, by us who had
/// nothing open any more.
#[test]
fn a_side_that_has_said_491_may_offer_while_we_wait_and_is_brought_in_line_after_that() {
    for method in ["INVITE", "UPDATE"] {
        let mut h = Harness::new();
        let up = brought_back_in_vain(&mut h);
        h.advance(ms(1_000));
        h.from(carrier(), callee_offer(&up, method, 1, &callee_sdp("sendrecv")));
        let mut sent = h.take(carrier());
        assert_eq!(start(&sent[0]), format!("200 {method}"));
        if method == "INVITE" {
            assert_eq!(sent.len(), 1, "no INVITE of ours before the ACK");
            h.from(carrier(), callee_ack(&up, 1));
            sent.extend(h.take(carrier()));
        }
        if let Some(told) = sent.get(1) {
            assert_eq!((start(told), direction(told)), ("INVITE".into(), "sendrecv"));
            h.from(carrier(), reply(told, "200 OK", "", &callee_sdp("sendrecv")));
            assert_eq!(h.lines(carrier()), ["ACK"]);
        }
        h.advance(ms(5_000));
        assert!(h.take(carrier()).is_empty() && h.take(pbx()).is_empty(), "all in line");
        h.hang_up(&up, 3);
    }
}

/// A table without room, and a host that is away for a moment: what was to be told is told later.
#[test]
fn a_side_that_cannot_be_brought_in_line_at_once_is_when_there_is_a_way_again() {
    let mut h = Harness::new();
    brought_back_in_vain(&mut h);
    h.core.wires.transactions = Transactions::with_max(0);
    h.advance(ms(4_100));
    assert!(h.take(carrier()).is_empty(), "there is no room");
    h.core.wires.transactions = Transactions::new();
    while !h.has_sent(carrier()) {
        h.advance(ms(10));
    }
    let told = h.take_one(carrier());
    assert_eq!((start(&told), direction(&told)), ("INVITE".into(), "sendrecv"));
    h.input(Input::Unreachable { peer: carrier().hop() });
    h.advance(ms(4_100));
    let again = h.take(carrier());
    assert!(!again.is_empty() && again.iter().all(|text| start(text) == "INVITE"));
    assert_eq!(direction(&again[0]), "sendrecv");
    assert_ne!(header(&again[0], "CSeq"), header(&told, "CSeq"));
}

/// What was put off is not forgotten where the offer that came between is refused.
#[test]
fn a_side_whose_offer_is_refused_while_we_wait_is_brought_in_line_all_the_same() {
    let mut h = Harness::new();
    let up = brought_back_in_vain(&mut h);
    h.from(pbx(), up.caller.with("UPDATE", "u1", 3, "", &caller_sdp("inactive")));
    let told = h.take_reinvite(carrier());
    assert_eq!(direction(&told), "inactive");
    h.from(carrier(), reply(&told, "488 Not Acceptable Here", "", ""));
    assert_eq!(h.lines(pbx()), ["488 UPDATE"]);
    let [ack, again] = h.take(carrier()).try_into().expect("an ACK and an INVITE");
    assert_eq!([start(&ack), start(&again)], ["ACK", "INVITE"]);
    assert_eq!(direction(&again), "sendrecv");
    h.from(carrier(), reply(&again, "200 OK", "", &callee_sdp("sendrecv")));
    assert_eq!(h.lines(carrier()), ["ACK"]);
    h.hang_up(&up, 4);
}

#[test]
fn an_offer_while_another_one_is_open_is_refused_until_later() {
    let mut h = Harness::new();
    let up = h.bridged();
    h.from(pbx(), up.caller.with("INVITE", "r1", 2, "", &caller_sdp("sendonly")));
    h.take_reinvite(carrier());
    for (cseq, method) in (3..).zip(["INVITE", "UPDATE"]) {
        h.from(pbx(), up.caller.with(method, method, cseq, "", &caller_sdp("inactive")));
        let refusal = h.take_one(pbx());
        assert_eq!(start(&refusal), format!("500 {method}"));
        let seconds: u32 = header(&refusal, "Retry-After").parse().expect("seconds");
        assert!(seconds <= 10);
    }
    for (cseq, method) in (1..).zip(["INVITE", "UPDATE"]) {
        h.from(carrier(), callee_offer(&up, method, cseq, &callee_sdp("inactive")));
        assert_eq!(h.lines(carrier()), [format!("491 {method}")]);
    }
    assert!(h.cdrs.is_empty());
}

#[test]
fn a_cancelled_re_invite_gets_487_and_the_far_side_a_cancel() {
    let mut h = Harness::new();
    let up = h.bridged();
    h.orders.clear();
    h.from(pbx(), up.caller.with("INVITE", "r1", 2, "", &caller_sdp("sendonly")));
    let told = h.take_reinvite(carrier());
    h.from(carrier(), reply(&told, "180 Ringing", "", ""));
    h.from(pbx(), up.caller.request("CANCEL", "r1", 2));
    assert_eq!(h.lines(pbx()), ["200 CANCEL", "487 INVITE"]);
    h.from(pbx(), up.caller.request("ACK", "r1", 2));
    let cancel = h.take_one(carrier());
    assert_eq!((start(&cancel), header(&cancel, "CSeq")), ("CANCEL".into(), "2 CANCEL".into()));
    h.from(carrier(), reply(&cancel, "200 OK", "", ""));
    h.from(carrier(), reply(&told, "487 Request Terminated", "", ""));
    assert_eq!(h.lines(carrier()), ["ACK"]);
    assert!(h.orders.is_empty() && h.cdrs.is_empty(), "the call goes on as it was");
    h.hang_up(&up, 3);
}

#[test]
fn a_2xx_to_a_re_invite_is_repeated_until_its_ack() {
    let mut h = Harness::new();
    let up = h.bridged();
    h.from(pbx(), up.caller.with("INVITE", "r1", 2, "", &up.caller.body));
    let first = h.take_one(pbx());
    h.advance(ms(3_600));
    let repeats = h.take(pbx());
    assert_eq!(repeats, vec![first; 3], "after 0.5, 1 and 2 seconds");
    h.from(pbx(), up.caller.request("ACK", "old", 1));
    h.advance(ms(4_000));
    assert_eq!(h.lines(pbx()), ["200 INVITE"], "that was the ACK of another INVITE");
    h.from(pbx(), up.caller.request("ACK", "r2", 2));
    h.advance(ms(9_000));
    assert!(h.take(pbx()).is_empty());
    h.hang_up(&up, 3);
}

#[test]
fn a_2xx_to_a_re_invite_that_is_never_confirmed_ends_the_call() {
    let mut h = Harness::new();
    let up = h.bridged();
    h.from(carrier(), callee_offer(&up, "INVITE", 1, &sdp("198.51.100.77", 6_000)));
    h.advance(64 * T1);
    assert_eq!(h.take(carrier()).last().map(|text| start(text)), Some("BYE".into()));
    assert_eq!(h.lines(pbx()), ["BYE"]);
    assert_eq!(h.cdr().cause, Cause::CalleeHangup);
    h.check_nothing_is_left();
}

#[test]
fn a_repeated_2xx_to_our_re_invite_is_acked_again() {
    let mut h = Harness::new();
    let up = h.bridged();
    h.from(pbx(), up.caller.with("INVITE", "r1", 2, "", &caller_sdp("sendonly")));
    let told = h.take_reinvite(carrier());
    let answer = reply(&told, "200 OK", "", &callee_sdp("recvonly"));
    for _ in 0..3 {
        h.from(carrier(), &answer);
        let ack = h.take_one(carrier());
        assert_eq!((start(&ack), header(&ack, "CSeq")), ("ACK".into(), "2 ACK".into()));
    }
    assert_eq!(h.lines(pbx()), ["200 INVITE"], "answered once");
}

#[test]
fn an_answer_that_cannot_be_relayed_is_taken_back_from_the_far_side() {
    let mut h = Harness::new();
    let up = h.bridged();
    h.from(pbx(), up.caller.with("INVITE", "r1", 2, "", &caller_sdp("sendonly")));
    let told = h.take_reinvite(carrier());
    h.from(carrier(), reply(&told, "200 OK", "", "v=0\r\nrubbish"));
    assert_eq!(h.lines(pbx()), ["488 INVITE"]);
    let sent = h.take(carrier());
    assert_eq!(sent.iter().map(|text| start(text)).collect::<Vec<_>>(), ["ACK", "INVITE"]);
    assert_eq!(direction(&sent[1]), "sendrecv");
}

#[test]
fn update_holds_like_a_re_invite_and_one_without_an_offer_only_moves_the_target() {
    let mut h = Harness::new();
    let up = h.bridged();
    h.from(pbx(), up.caller.with("UPDATE", "u1", 2, "", &caller_sdp("sendonly")));
    let told = h.take_reinvite(carrier());
    h.from(carrier(), reply(&told, "200 OK", "", &callee_sdp("recvonly")));
    let answer = h.take_one(pbx());
    assert_eq!((start(&answer), direction(&answer)), ("200 UPDATE".into(), "recvonly"));
    h.advance(ms(1_000));
    assert!(h.take(pbx()).is_empty(), "an UPDATE has no ACK to wait for");
    let moved = up.caller.request("UPDATE", "u2", 3);
    h.from(pbx(), moved.replace("Contact: <sip:8001@", "Contact: <sip:moved@"));
    let answer = h.take_one(pbx());
    assert_eq!((start(&answer), direction(&answer)), ("200 UPDATE".into(), "none"));
    assert!(header(&answer, "Contact").contains("203.0.113.5"));
    h.take(carrier());
    h.from(carrier(), up.callee_bye());
    let bye = h.take_one(pbx());
    assert!(bye.starts_with("BYE sip:moved@192.0.2.10:5060 SIP/2.0\r\n"), "{bye}");
}

#[test]
fn a_re_invite_moves_the_target_and_never_the_destination() {
    let mut h = Harness::new();
    let up = h.bridged();
    let moved = up.caller.with("INVITE", "r1", 2, "", &up.caller.body);
    let moved =
        moved.replace("Contact: <sip:8001@192.0.2.10:5060>", "Contact: <sip:x@203.0.113.66>");
    h.from(pbx(), moved);
    h.from(pbx(), up.caller.request("ACK", "r2", 2));
    h.take(pbx());
    h.from(carrier(), up.callee_bye());
    let bye = h.take_one(pbx());
    assert!(bye.starts_with("BYE sip:x@203.0.113.66 SIP/2.0\r\n"), "{bye}");
}

#[test]
fn an_offer_before_the_answer_waits_its_turn() {
    let mut h = Harness::new();
    let up = h.ringing();
    for (cseq, method) in (2..).zip(["INVITE", "UPDATE"]) {
        h.from(pbx(), up.caller.with(method, method, cseq, "", &caller_sdp("sendonly")));
        let refusal = h.take_one(pbx());
        assert_eq!(start(&refusal), format!("500 {method}"));
        assert!(!header(&refusal, "Retry-After").is_empty());
    }
    h.from(pbx(), up.caller.request("CANCEL", "INVITE", 2));
    assert_eq!(h.lines(pbx()), ["200 CANCEL"], "that INVITE was answered; the first one stands");
    h.from(carrier(), callee_offer(&up, "UPDATE", 1, &callee_sdp("sendonly")));
    assert_eq!(h.lines(carrier()), ["491 UPDATE"]);
    h.from(pbx(), up.caller.request("UPDATE", "u3", 5));
    assert_eq!(h.lines(pbx()), ["200 UPDATE"], "no offer, no conflict");
    assert!(h.cdrs.is_empty());
}

#[test]
fn a_callee_that_offers_before_the_caller_has_confirmed_waits() {
    let mut h = Harness::new();
    let up = h.answered();
    h.from(carrier(), callee_offer(&up, "INVITE", 1, &callee_sdp("sendonly")));
    assert_eq!(h.lines(carrier()), ["491 INVITE"]);
    h.from(pbx(), up.caller.ack());
    h.from(carrier(), callee_offer(&up, "INVITE", 2, &callee_sdp("sendonly")));
    assert_eq!(direction(&h.take_reinvite(pbx())), "sendonly");
}

#[test]
fn a_call_that_ends_refuses_the_offer_that_waits_and_confirms_the_late_answer() {
    let mut h = Harness::new();
    let up = h.bridged();
    h.from(pbx(), up.caller.with("INVITE", "r1", 2, "", &caller_sdp("sendonly")));
    let told = h.take_reinvite(carrier());
    h.from(pbx(), up.caller.request("BYE", "r2", 3));
    assert_eq!(h.lines(pbx()), ["200 BYE", "487 INVITE"]);
    h.from(carrier(), reply(&told, "200 OK", "", &callee_sdp("recvonly")));
    assert_eq!(h.lines(carrier()), ["BYE", "ACK"]);
    h.from(pbx(), up.caller.request("ACK", "r1", 2));
    h.check_nothing_is_left_after(2 * 64 * T1);
}

#[test]
fn a_call_that_ends_cancels_the_offer_that_a_peer_never_answers() {
    let mut h = Harness::new();
    let up = h.bridged();
    h.from(pbx(), up.caller.with("INVITE", "r1", 2, "", &caller_sdp("sendonly")));
    let told = h.take_reinvite(carrier());
    h.from(carrier(), reply(&told, "100 Trying", "", ""));
    h.from(pbx(), up.caller.request("BYE", "r2", 3));
    assert_eq!(h.lines(carrier()), ["BYE", "CANCEL"]);
    h.from(pbx(), up.caller.request("ACK", "r1", 2));
    h.check_nothing_is_left_after(2 * 64 * T1);
}

#[test]
fn a_far_side_that_is_silent_for_ever_is_gone() {
    let mut h = Harness::new();
    let up = h.bridged();
    h.from(carrier(), callee_offer(&up, "INVITE", 1, &callee_sdp("sendonly")));
    h.take_reinvite(pbx());
    h.advance(64 * T1 + ms(10));
    assert_eq!(h.lines(carrier()).last().map(String::as_str), Some("BYE"));
    let cdr = h.cdr();
    assert_eq!((cdr.cause, cdr.ended_by), (Cause::CallerHangup, EndedBy::Relay));
    h.check_nothing_is_left_after(2 * 64 * T1);
}

#[test]
fn a_broken_offer_gets_400_and_one_we_cannot_relay_488() {
    let mut h = Harness::new();
    let up = h.bridged();
    h.orders.clear();
    let video = caller_sdp("sendrecv").replace("audio", "video");
    for (cseq, (body, status)) in (2..).zip([("v=0\r\nrubbish", 400), (video.as_str(), 488)]) {
        for (at, method) in ["INVITE", "UPDATE"].into_iter().enumerate() {
            let cseq = cseq * 2 + at as u32;
            h.from(pbx(), up.caller.with(method, &format!("r{cseq}"), cseq, "", body));
            assert_eq!(h.lines(pbx()), [format!("{status} {method}")]);
        }
    }
    assert!(h.take(carrier()).is_empty() && h.orders.is_empty());
    h.hang_up(&up, 9);
}
