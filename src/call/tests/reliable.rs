//! Provisional responses with a PRACK, in both roles, and early dialogs side by side.

#[cfg(test)]
use super::harness::*;
use crate::domain::cause::Cause;
use crate::domain::cdr::EndedBy;
use crate::domain::ring::RingTone;

const DEMANDS: &str = "Require: 100rel\r\n";

fn audio(text: &str) -> Option<&str> {
    text.lines().find(|line| line.starts_with("m=audio"))
}

/// A caller that demands 100rel, with the number of our 180 to it.
fn rings_reliably(h: &mut Harness, body: &str) -> (Up, String) {
    let caller = Caller { extra: DEMANDS.into(), body: body.to_owned(), ..Caller::agent() };
    h.from(pbx(), caller.invite());
    let mut up = Up { caller, invite: h.take_one(carrier()) };
    h.from(carrier(), up.reply("180 Ringing"));
    let ringing = h.take_one(pbx());
    assert_eq!(
        (start(&ringing), header(&ringing, "Require")),
        ("180 INVITE".into(), "100rel".into())
    );
    up.caller.learn(&ringing);
    (up, ringing)
}

fn prack(up: &Up, cseq: u32, rack: &str, body: &str) -> String {
    up.caller.with("PRACK", &format!("p{cseq}"), cseq, &format!("RAck: {rack}\r\n"), body)
}

/// What a phone of the callee says reliably.
fn says(up: &Up, status: &str, tag: &str, rseq: u32, body: &str) -> String {
    let extra = format!("{DEMANDS}RSeq: {rseq}\r\n");
    reply_with(&up.invite, status, tag, &extra, body)
}

#[test]
fn reliable_1xx_is_retransmitted_t1_doubling_ends_with_prack_a_prack_with_a_wrong_rack_gets_481() {
    let mut h = Harness::new();
    let (up, ringing) = rings_reliably(&mut h, &sdp("192.0.2.20", 4_000));
    let rseq: u32 = header(&ringing, "RSeq").parse().expect("a number");
    assert!((1..1 << 31).contains(&rseq));
    assert_eq!(audio(&ringing), None, "the answer waits for the callee");
    h.advance(ms(7_600));
    assert_eq!(h.take(pbx()), vec![ringing; 4], "after 0.5, 1.5, 3.5 and 7.5 seconds");
    let wrong = [format!("{} 1 INVITE", rseq + 1), format!("{rseq} 2 INVITE"), "x".into()];
    for (cseq, rack) in (2..).zip(&wrong) {
        h.from(pbx(), prack(&up, cseq, rack, ""));
        assert_eq!(h.lines(pbx()), ["481 PRACK"], "{rack}");
    }
    let right = format!("{rseq} 1 INVITE");
    h.from(pbx(), prack(&up, 5, &right, ""));
    assert_eq!(h.lines(pbx()), ["200 PRACK"]);
    h.from(pbx(), prack(&up, 6, &right, ""));
    assert_eq!(h.lines(pbx()), ["481 PRACK"], "it was confirmed before");
    h.advance(ms(20_000));
    assert!(h.take(pbx()).is_empty());
    h.from(carrier(), up.reply("200 OK"));
    assert_eq!(h.lines(pbx()), ["200 INVITE"]);
    h.from(pbx(), up.caller.ack());
    h.from(pbx(), up.caller.request("BYE", "bye", 9));
    h.take(carrier());
    h.check_nothing_is_left_after(2 * 64 * T1);
}

#[test]
fn a_reliable_1xx_that_is_never_confirmed_ends_the_attempt() {
    let mut h = Harness::with(|config| config.ring_timeout = ms(90_000));
    rings_reliably(&mut h, &sdp("192.0.2.20", 4_000));
    h.advance(64 * T1);
    assert_eq!(h.take(pbx()).last().map(|text| start(text)), Some("504 INVITE".into()));
    h.confirm(carrier(), "CANCEL");
    let cdr = h.cdr();
    assert_eq!((cdr.cause, cdr.ended_by), (Cause::SessionExpired, EndedBy::Relay));
    h.check_nothing_is_left_after(2 * 64 * T1);
}

#[test]
fn an_answer_ends_the_repeats_of_what_was_told_before_and_a_late_prack_is_taken() {
    let mut h = Harness::new();
    let (up, ringing) = rings_reliably(&mut h, &sdp("192.0.2.20", 4_000));
    h.from(carrier(), up.reply("200 OK"));
    assert_eq!(h.lines(pbx()), ["200 INVITE"]);
    h.advance(ms(600));
    assert_eq!(h.lines(pbx()), ["200 INVITE"], "the 180 is history");
    let rack = format!("{} 1 INVITE", header(&ringing, "RSeq"));
    h.from(pbx(), prack(&up, 2, &rack, ""));
    assert_eq!(h.lines(pbx()), ["200 PRACK"]);
    h.from(pbx(), up.caller.ack());
    h.advance(ms(9_000));
    assert!(h.take(pbx()).is_empty());
}

#[test]
fn a_caller_that_only_supports_100rel_is_told_in_the_usual_way() {
    let mut h = Harness::new();
    let caller = Caller { extra: "Supported: 100rel\r\n".into(), ..Caller::agent() };
    h.from(pbx(), caller.invite());
    let up = Up { caller, invite: h.take_one(carrier()) };
    assert_eq!(header(&up.invite, "Supported"), "100rel, timer");
    h.from(carrier(), up.reply("180 Ringing"));
    let ringing = h.take_one(pbx());
    assert_eq!((header(&ringing, "RSeq"), header(&ringing, "Require")), ("".into(), "".into()));
}

#[test]
fn a_cancelled_caller_is_told_nothing_again() {
    let mut h = Harness::new();
    let (up, _) = rings_reliably(&mut h, &sdp("192.0.2.20", 4_000));
    let cancel = Caller { to_tag: String::new(), ..Caller::agent() }.cancel();
    h.from(pbx(), cancel);
    assert_eq!(h.lines(pbx()), ["200 CANCEL", "487 INVITE"]);
    h.from(pbx(), up.caller.request("ACK", "a1", 1));
    h.confirm(carrier(), "CANCEL");
    h.from(carrier(), up.reply("487 Request Terminated"));
    h.check_nothing_is_left();
    assert!(h.take(pbx()).is_empty());
}

#[test]
fn a_caller_without_an_offer_gets_one_in_the_180_and_answers_with_its_prack() {
    for callee_is_faster in [false, true] {
        let mut h = Harness::new();
        let (up, ringing) = rings_reliably(&mut h, "");
        assert_eq!(audio(&ringing), Some("m=audio 20000 RTP/AVP 8 0 9 101"), "all we can");
        if callee_is_faster {
            h.from(carrier(), up.reply("200 OK"));
            assert_eq!(h.lines(carrier()), ["ACK"]);
            assert!(h.take(pbx()).is_empty(), "the offer is to be answered first");
            h.advance(ms(300));
        }
        let rack = format!("{} 1 INVITE", header(&ringing, "RSeq"));
        h.from(pbx(), prack(&up, 2, &rack, &sdp("192.0.2.20", 4_000)));
        let mut sent = h.take(pbx());
        if !callee_is_faster {
            h.from(carrier(), up.reply("200 OK"));
            h.take(carrier());
            sent.extend(h.take(pbx()));
        }
        let lines: Vec<String> = sent.iter().map(|text| start(text)).collect();
        assert_eq!(lines, ["200 PRACK", "200 INVITE"]);
        assert!(sent.iter().all(|text| audio(text).is_none()), "all was said: {sent:#?}");
        h.from(pbx(), up.caller.ack());
        assert!(h.take(pbx()).is_empty() && h.take(carrier()).is_empty(), "all in line");
        assert_eq!(h.core.counters().answered, 1);
        h.from(pbx(), up.caller.request("BYE", "bye", 9));
        h.confirm(carrier(), "BYE");
        h.take(pbx());
        let waited = h.cdr().answered_at.zip(h.cdr().callee_answered_at);
        let waited = waited.map(|(at, before)| at.duration_since(before).expect("in order"));
        assert_eq!(waited, Some(ms(if callee_is_faster { 300 } else { 0 })));
        h.check_nothing_is_left();
    }
}

#[test]
fn a_callee_that_takes_less_than_was_agreed_while_it_rang_has_the_caller_told() {
    let mut h = Harness::new();
    let (up, ringing) = rings_reliably(&mut h, "");
    let rack = format!("{} 1 INVITE", header(&ringing, "RSeq"));
    h.from(pbx(), prack(&up, 2, &rack, &sdp("192.0.2.20", 4_000).replace("AVP 8 0", "AVP 9 8 0")));
    let answer = sdp("198.51.100.77", 6_000).replace("AVP 8 0 101", "AVP 0");
    h.from(carrier(), reply(&up.invite, "200 OK", "bob", &answer));
    h.take(pbx());
    h.from(pbx(), up.caller.ack());
    let told = h.take_one(pbx());
    assert_eq!(start(&told), "INVITE");
    assert_eq!(audio(&told), Some("m=audio 20000 RTP/AVP 0"), "no G.722 any more");
}

/// The first re-INVITE was open when the second one was due, and the answer to it told nobody.
#[test]
fn when_both_sides_are_out_of_line_the_second_is_told_after_the_first() {
    let mut h = Harness::new();
    let (up, ringing) = rings_reliably(&mut h, "");
    let rack = format!("{} 1 INVITE", header(&ringing, "RSeq"));
    h.from(pbx(), prack(&up, 2, &rack, &sdp("192.0.2.20", 4_000)));
    let hold = format!("{}a=sendonly\r\n", sdp("192.0.2.20", 4_000));
    h.from(pbx(), up.caller.with("UPDATE", "u1", 3, "", &hold));
    let answer = sdp("198.51.100.77", 6_000).replace("AVP 8 0 101", "AVP 0");
    h.from(carrier(), reply(&up.invite, "200 OK", "bob", &answer));
    h.take(pbx());
    h.take(carrier());
    h.from(pbx(), up.caller.ack());
    let told = h.take_one(pbx());
    assert_eq!(audio(&told), Some("m=audio 20000 RTP/AVP 0"), "the codec of the callee");
    assert!(h.take(carrier()).is_empty(), "one after the other");
    h.from(pbx(), reply(&told, "200 OK", "", &hold.replace("AVP 8 0 101", "AVP 0")));
    assert_eq!(h.lines(pbx()), ["ACK"]);
    let told = h.take_one(carrier());
    assert_eq!(start(&told), "INVITE");
    assert!(told.contains("a=sendonly\r\n"), "the caller holds: {told}");
    let taken = format!("{answer}a=recvonly\r\n");
    h.from(carrier(), reply(&told, "200 OK", "", &taken));
    assert_eq!(h.lines(carrier()), ["ACK"]);
    assert!(h.take(pbx()).iter().all(|text| start(text) == "INVITE"), "told that it is held");
}

#[test]
fn a_prack_without_the_answer_ends_the_attempt() {
    for body in ["", "v=0\r\nrubbish"] {
        let mut h = Harness::new();
        let (up, ringing) = rings_reliably(&mut h, "");
        let rack = format!("{} 1 INVITE", header(&ringing, "RSeq"));
        h.from(pbx(), prack(&up, 2, &rack, body));
        assert_eq!(h.lines(pbx()), ["488 PRACK", "488 INVITE"]);
        assert_eq!(h.cdr().cause, Cause::MediaUnacceptable);
    }
}

#[test]
fn a_prack_that_carries_an_offer_gets_the_answer_in_its_200() {
    let mut h = Harness::with(|config| config.ring = RingTone::Relay);
    let (up, ringing) = rings_reliably(&mut h, &sdp("192.0.2.20", 4_000));
    assert_eq!(audio(&ringing), Some("m=audio 20000 RTP/AVP 8 101"), "the answer to the INVITE");
    let rack = format!("{} 1 INVITE", header(&ringing, "RSeq"));
    let offer = sdp("192.0.2.21", 4_100).replace("AVP 8 0 101", "AVP 8 9");
    h.from(pbx(), prack(&up, 2, &rack, &offer));
    let answer = h.take_one(pbx());
    assert_eq!(start(&answer), "200 PRACK");
    assert_eq!(audio(&answer), Some("m=audio 20000 RTP/AVP 8"), "what the callee was offered");
    h.orders.clear();
    h.from(carrier(), up.reply("200 OK"));
    let answer = h.take_one(pbx());
    assert_eq!((start(&answer).as_str(), audio(&answer)), ("200 INVITE", None), "all was said");
    assert!(h.orders.iter().any(|it| format!("{it:?}").contains("192.0.2.21:4100")));
}

/// RFC 3262 §5: the offer of the INVITE is to be answered first.
#[test]
fn an_offer_in_a_prack_before_the_first_one_is_answered_is_refused_and_changes_nothing() {
    let mut h = Harness::new();
    let (up, ringing) = rings_reliably(&mut h, &sdp("192.0.2.20", 4_000));
    assert_eq!(audio(&ringing), None);
    let rack = format!("{} 1 INVITE", header(&ringing, "RSeq"));
    h.from(pbx(), prack(&up, 2, &rack, &sdp("192.0.2.21", 4_100)));
    assert_eq!(h.lines(pbx()), ["500 PRACK"], "as an UPDATE would be");
    h.advance(ms(9_000));
    assert!(h.take(pbx()).is_empty(), "the 180 has arrived");
    h.orders.clear();
    h.from(carrier(), up.reply("200 OK"));
    let answer = h.take_one(pbx());
    assert_eq!(start(&answer), "200 INVITE");
    assert_eq!(audio(&answer), Some("m=audio 20000 RTP/AVP 8 0 101"), "its answer");
    assert!(h.orders.iter().any(|it| format!("{it:?}").contains("192.0.2.20:4000")));
}

#[test]
fn an_update_while_it_rings_is_answered_once_an_offer_was() {
    let mut h = Harness::new();
    let (up, ringing) = rings_reliably(&mut h, "");
    let offer = sdp("192.0.2.21", 4_100);
    h.from(pbx(), up.caller.with("UPDATE", "u1", 2, "", &offer));
    assert_eq!(h.lines(pbx()), ["491 UPDATE"], "ours is to be answered first");
    let rack = format!("{} 1 INVITE", header(&ringing, "RSeq"));
    h.from(pbx(), prack(&up, 3, &rack, &sdp("192.0.2.20", 4_000)));
    assert_eq!(h.lines(pbx()), ["200 PRACK"]);
    h.from(pbx(), up.caller.with("UPDATE", "u2", 4, "", &offer));
    let answer = h.take_one(pbx());
    assert_eq!(start(&answer), "200 UPDATE");
    assert_eq!(audio(&answer), Some("m=audio 20000 RTP/AVP 8 0 101"));
}

/// RFC 3311 §5.2.
#[test]
fn a_callee_that_offers_something_while_it_rings_is_told_whose_turn_it_is() {
    let mut h = Harness::new();
    let up = h.called();
    h.from(carrier(), says(&up, "180 Ringing", "bob", 1, ""));
    h.confirm(carrier(), "PRACK");
    let offer = |cseq| {
        let update = callee_request(&up.invite, "UPDATE", "bob", cseq);
        let body = sdp("198.51.100.77", 6_200).replace("AVP 8 0 101", "AVP 9 0");
        let length = format!("Content-Type: application/sdp\r\nContent-Length: {}", body.len());
        update.replace("Content-Length: 0", &length) + &body
    };
    h.from(carrier(), offer(1));
    assert_eq!(h.lines(carrier()), ["491 UPDATE"], "it is to answer ours first");
    h.from(carrier(), says(&up, "183 Progress", "bob", 2, &sdp("198.51.100.77", 6_000)));
    h.confirm(carrier(), "PRACK");
    h.take(pbx());
    h.orders.clear();
    h.from(carrier(), offer(2));
    let answer = h.take_one(carrier());
    assert_eq!(start(&answer), "200 UPDATE");
    assert_eq!(audio(&answer), Some("m=audio 20002 RTP/AVP 0"), "what it was offered");
    assert!(header(&answer, "Contact").contains("203.0.113.5"));
    assert!(h.take(pbx()).is_empty() && h.orders.is_empty(), "the caller hears nothing of it");
    // What its 200 repeats of its first answer is history.
    h.from(carrier(), reply(&up.invite, "200 OK", "bob", &sdp("198.51.100.77", 6_000)));
    assert_eq!(h.lines(carrier()), ["ACK"]);
    let answer = h.take_one(pbx());
    assert_eq!(
        (start(&answer).as_str(), audio(&answer)),
        ("200 INVITE", Some("m=audio 20000 RTP/AVP 0"))
    );
    assert!(h.orders.iter().any(|it| format!("{it:?}").contains("198.51.100.77:6200")));
}

#[test]
fn several_early_dialogs_forked_18x_live_side_by_side_each_with_its_own_rseq_sdp_and_route_set() {
    let mut h = Harness::new();
    let up = h.called();
    let rows = [("bob", 7_000, "8"), ("fork", 1, "0"), ("spoon", 900, "9")];
    for (tag, rseq, format) in rows {
        let route = format!("Record-Route: <sip:198.51.100.1;lr;via={tag}>\r\n");
        let body = sdp("198.51.100.77", 6_000).replace("AVP 8 0 101", &format!("AVP {format}"));
        let early = says(&up, "183 Session Progress", tag, rseq, &body);
        h.from(carrier(), early.replacen("RSeq", &format!("{route}RSeq"), 1));
        let prack = h.take_one(carrier());
        assert_eq!(
            (start(&prack), header(&prack, "RAck")),
            ("PRACK".into(), format!("{rseq} 1 INVITE"))
        );
        assert!(header(&prack, "To").ends_with(&format!(";tag={tag}")));
        assert!(header(&prack, "Route").contains(&format!("via={tag}")));
        assert_eq!(header(&prack, "CSeq"), "2 PRACK");
        h.from(carrier(), reply(&prack, "200 OK", "", ""));
    }
    for (tag, rseq, _) in rows {
        h.from(carrier(), says(&up, "180 Ringing", tag, rseq + 1, ""));
        assert_eq!(header(&h.take_one(carrier()), "RAck"), format!("{} 1 INVITE", rseq + 1));
    }
    assert_eq!(h.core.dialogs(), 4);
    // The one that answers has said before what it can do.
    h.from(carrier(), reply(&up.invite, "200 OK", "fork", ""));
    let ack = h.take_one(carrier());
    assert_eq!((start(&ack), header(&ack, "CSeq")), ("ACK".into(), "1 ACK".into()));
    let answer = h.take(pbx()).pop().expect("an answer");
    assert_eq!(
        (start(&answer).as_str(), audio(&answer)),
        ("200 INVITE", Some("m=audio 20000 RTP/AVP 0"))
    );
}

#[test]
fn a_reliable_1xx_that_comes_again_or_out_of_turn_gets_no_prack() {
    let mut h = Harness::new();
    let up = h.called();
    h.from(carrier(), says(&up, "183 Progress", "bob", 5, ""));
    assert_eq!(h.lines(carrier()), ["PRACK"]);
    h.take(pbx());
    for rseq in [5, 4, 7, 9] {
        h.from(carrier(), says(&up, "180 Ringing", "bob", rseq, ""));
        assert!(h.take(carrier()).is_empty(), "{rseq}");
    }
    h.from(carrier(), says(&up, "180 Ringing", "bob", 6, ""));
    assert_eq!(h.lines(carrier()), ["PRACK"]);
}

#[test]
fn an_early_answer_without_100rel_is_no_answer() {
    let mut h = Harness::new();
    let up = h.called();
    h.from(carrier(), reply(&up.invite, "183 Progress", "bob", &sdp("198.51.100.77", 6_000)));
    assert!(h.take(carrier()).is_empty());
    h.from(carrier(), reply(&up.invite, "200 OK", "bob", ""));
    assert_eq!(h.lines(carrier()), ["ACK", "BYE"]);
}

#[test]
fn a_second_2xx_from_a_fork_is_acked_and_ended_by_bye_though_it_rang_reliably() {
    let mut h = Harness::new();
    let up = h.called();
    for tag in ["bob", "fork"] {
        h.from(carrier(), says(&up, "180 Ringing", tag, 1, ""));
        let prack = h.take_one(carrier());
        h.from(carrier(), reply(&prack, "200 OK", "", ""));
    }
    h.from(carrier(), up.reply("200 OK"));
    h.from(carrier(), reply(&up.invite, "200 OK", "fork", &sdp("198.51.100.77", 6_100)));
    let sent = h.take(carrier());
    let lines: Vec<String> = sent.iter().map(|text| start(text)).collect();
    assert_eq!(lines, ["ACK", "ACK", "BYE"]);
    assert!(header(&sent[2], "To").ends_with(";tag=fork"));
    assert!(h.cdrs.is_empty(), "the first one talks");
}
