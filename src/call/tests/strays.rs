//! Requests we do not serve, messages that belong nowhere, and messages from the wrong place.

#[cfg(test)]
use super::harness::*;
use crate::call::io::{Control, Input, Peer};
use crate::domain::cause::Cause;
use crate::domain::cdr::{Direction, EndedBy};
use crate::domain::id::TrunkId;

fn stranger_at_the_same_trunk() -> Peer {
    Peer { address: "192.0.2.99:5060".parse().expect("an address"), ..pbx() }
}

fn other_trunk() -> Peer {
    Peer { trunk: TrunkId::from_u128(0xbad), ..pbx() }
}

#[test]
fn options_is_answered_with_what_we_can() {
    let mut h = Harness::new();
    h.from(pbx(), Caller::agent().request("OPTIONS", "o1", 1));
    let answer = h.take_one(pbx());
    assert_eq!(start(&answer), "200 OPTIONS");
    assert_eq!(header(&answer, "Allow"), "INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, INFO, PRACK");
    assert_eq!(header(&answer, "Supported"), "100rel, timer");
    let bodies = "application/sdp, application/dtmf-relay, application/dtmf";
    assert_eq!(header(&answer, "Accept"), bodies);
    assert!(!tag(&header(&answer, "To")).is_empty());
    h.check_nothing_is_left();
}

#[test]
fn methods_we_do_not_serve_are_refused_each_in_its_way_and_never_forwarded() {
    let refused = [
        ("REGISTER", "405"),
        ("SUBSCRIBE", "405"),
        ("NOTIFY", "405"),
        ("PUBLISH", "405"),
        ("MESSAGE", "405"),
        ("REFER", "403"),
        ("BYE", "481"),
        ("INFO", "481"),
        ("UPDATE", "481"),
        ("PRACK", "481"),
        ("CANCEL", "481"),
        ("FROBNICATE", "501"),
    ];
    for (method, status) in refused {
        let mut h = Harness::new();
        h.from(pbx(), Caller::agent().request(method, "m1", 1));
        let answer = h.take_one(pbx());
        assert_eq!(start(&answer), format!("{status} {method}"));
        if status == "405" {
            assert!(header(&answer, "Allow").contains("INVITE"), "{method}");
        }
        assert!(h.wire.iter().all(|(to, _)| *to == pbx().address));
        h.check_nothing_is_left();
    }
}

#[test]
fn requests_that_name_a_dialog_we_do_not_have_get_481_and_no_state() {
    let mut h = Harness::new();
    let mut caller = Caller::agent();
    caller.to_tag = "invented".to_owned();
    for method in ["BYE", "INFO", "UPDATE", "PRACK", "INVITE"] {
        h.from(pbx(), caller.request(method, method, 5));
        assert_eq!(h.lines(pbx()), [format!("481 {method}")]);
    }
    assert_eq!(h.core.counters().unknown_dialogs, 5);
    assert_eq!(h.core.occupancy().calls, 0);
    h.from(pbx(), caller.request("ACK", "INVITE", 5));
    h.check_nothing_is_left();
}

#[test]
fn a_stray_ack_and_stray_responses_meet_silence() {
    let mut h = Harness::new();
    let caller = Caller::agent();
    h.from(pbx(), caller.request("ACK", "s1", 1));
    for status in ["100 Trying", "180 Ringing", "200 OK", "503 Service Unavailable"] {
        h.from(pbx(), reply(&caller.invite(), status, "x", ""));
    }
    h.from(pbx(), "\r\n\r\n");
    h.from(pbx(), "");
    h.from(pbx(), "rubbish");
    assert!(h.wire.is_empty());
    let counters = h.core.counters();
    assert_eq!((counters.stray_acks, counters.stray_responses), (1, 4));
    assert_eq!((counters.keepalives, counters.unreadable), (2, 1));
    h.check_nothing_is_left();
}

#[test]
fn the_ack_to_an_answer_of_which_nothing_is_kept_is_read_no_further_than_its_tag() {
    let mut h = Harness::new();
    let up = h.bridged();
    h.control(Control::Drain);
    let mut caller = Caller::at(pbx(), "8002", "second");
    let invite = caller.invite().replace("z9hG4bKa1", "z9hG4bKz1");
    let answers = [&invite, &invite].map(|invite| {
        h.from(pbx(), invite.clone());
        h.take_one(pbx())
    });
    assert_eq!(answers[0], answers[1], "the same for a repeat, without a memory");
    caller.to_tag = tag(&header(&answers[0], "To"));
    let cut = |ack: &str| ack[..ack.find("CSeq").expect("a CSeq")].to_owned();
    h.from(pbx(), cut(&caller.request("ACK", "z1", 1)));
    assert_eq!((h.core.counters().stray_acks, h.core.counters().unreadable), (1, 0));
    // One that is in a call is read as a whole.
    h.from(pbx(), cut(&up.caller.request("ACK", "z2", 1)));
    assert_eq!((h.core.counters().stray_acks, h.core.counters().unreadable), (1, 1));
    assert_eq!(h.lines(pbx()), [""; 0]);
    assert_eq!(h.lines(carrier()), [""; 0]);
    h.from(pbx(), up.caller.bye());
    assert_eq!(h.lines(pbx()), ["200 BYE"]);
    h.confirm(carrier(), "BYE");
    h.check_nothing_is_left();
}

#[test]
fn a_malformed_request_is_answered_and_a_hopeless_one_is_counted() {
    let mut h = Harness::new();
    let broken = Caller::agent().invite().replace("Max-Forwards: 70", "Max-Forwards: seventy");
    h.from(pbx(), broken);
    let answer = h.take_one(pbx());
    assert_eq!(start(&answer), "400 INVITE");
    assert!(header(&answer, "Via").contains("branch=z9hG4bKa1"));
    let old = Caller::agent().invite().replace("SIP/2.0\r\nVia", "SIP/7.0\r\nVia");
    h.from(pbx(), old);
    assert_eq!(h.lines(pbx()), ["505 INVITE"]);
    assert_eq!(h.core.counters().malformed_answered, 2);
    assert!(h.cdrs.is_empty());
    h.check_nothing_is_left();
}

#[test]
fn extensions_hops_bodies_and_offers_we_do_not_take_are_refused_and_written_down() {
    let agent = Caller::agent;
    let invite = |change: &dyn Fn(&mut Caller)| {
        let mut caller = agent();
        change(&mut caller);
        caller.invite()
    };
    let (no_route, media) = (Cause::NoRoute, Cause::MediaUnacceptable);
    let rows = [
        (invite(&|c| c.extra = "Require: 100rel, foo\r\n".into()), "420", no_route),
        (agent().invite().replace("Max-Forwards: 70", "Max-Forwards: 0"), "483", no_route),
        (agent().invite().replace("application/sdp", "text/plain"), "415", media),
        (agent().invite().replace("INVITE sip:", "INVITE im:"), "416", Cause::NumberUnknown),
        (invite(&|c| c.extra = "Replaces: a;to-tag=b;from-tag=c\r\n".into()), "403", no_route),
        (invite(&|c| c.body = "v=0\r\nnonsense".into()), "400", media),
        (invite(&|c| c.extra = "Content-Encoding: gzip\r\n".into()), "415", media),
        (invite(&|c| c.extra = "Record-Route: <sip:p;lr>\r\n".repeat(40)), "400", no_route),
    ];
    for (text, status, cause) in rows {
        let mut h = Harness::new();
        h.from(pbx(), text);
        let answer = h.take_one(pbx());
        assert_eq!(start(&answer), format!("{status} INVITE"), "{answer}");
        match status {
            "420" => assert_eq!(header(&answer, "Unsupported"), "foo"),
            "415" => assert!(answer.contains("\r\nAccept"), "{answer}"),
            _ => {}
        }
        let cdr = h.cdr();
        assert_eq!((cdr.cause, cdr.sip_status.to_string().as_str()), (cause, status));
        assert_eq!((cdr.reasons.as_slice(), cdr.ended_by), (&[cause][..], EndedBy::Relay));
        assert_eq!((cdr.tenant, cdr.trunk_a), (Some(TENANT), pbx().trunk));
        assert_eq!((&cdr.virtual_number, cdr.setup), (&None, None), "it may be anybody's number");
        assert!(h.asked.is_empty() && h.statuses.is_empty(), "{status}: nobody was asked");
        h.check_nothing_is_left();
    }
}

#[test]
fn an_invite_that_came_round_to_us_is_a_loop_and_written_down() {
    let mut h = Harness::new();
    let up = h.called();
    let via = header(&up.invite, "Via");
    let mut back = Caller::at(carrier(), "13800009999", "looped");
    back.extra = format!("Via: {via}\r\n");
    h.from(carrier(), back.invite());
    assert_eq!(h.lines(carrier()), ["482 INVITE"]);
    assert_eq!(h.core.counters().loops, 1);
    let cdr = h.cdr();
    assert_eq!((cdr.cause, cdr.sip_status, cdr.trunk_a), (Cause::NoRoute, 482, carrier().trunk));
    assert_eq!((cdr.tenant, cdr.direction), (None, Direction::FromSubscriber));
}

/// RFC 5393 by the number: whoever is in between has written all headers anew, so that nothing but
/// the caller that we have shown tells that the call was forwarded to where it has come from.
#[test]
fn a_call_that_is_forwarded_back_to_the_number_it_shows_is_a_loop() {
    let mut h = Harness::new();
    h.called();
    let asked = h.asked.len();
    let back = Caller::at(carrier(), X, "forwarded");
    h.from(carrier(), back.invite());
    assert_eq!(h.lines(carrier()), ["482 INVITE"]);
    assert_eq!((h.core.counters().loops, h.asked.len()), (1, asked));
    assert_eq!((h.cdr().cause, h.cdr().sip_status), (Cause::NoRoute, 482));
}

#[test]
fn a_copy_of_an_invite_over_another_path_is_merged() {
    let mut h = Harness::new();
    let up = h.called();
    h.from(pbx(), up.caller.invite().replace("z9hG4bKa1", "z9hG4bKother"));
    assert_eq!(h.lines(pbx()), ["482 INVITE"]);
    assert_eq!((h.core.counters().merged_requests, h.cdrs.len()), (1, 0), "one attempt");
    assert!(h.take(carrier()).is_empty());
}

#[test]
fn a_request_in_a_dialog_that_we_cannot_do_keeps_the_call() {
    let mut h = Harness::new();
    let up = h.bridged();
    let body = sdp("192.0.2.20", 4_000);
    h.from(pbx(), up.caller.with("INVITE", "r1", 2, "", &body.replace("audio", "video")));
    assert_eq!(h.lines(pbx()), ["488 INVITE"]);
    h.from(pbx(), up.caller.request("ACK", "r1", 2));
    let rows = [("INFO", "200"), ("PRACK", "481"), ("REFER", "403")];
    for (cseq, (method, status)) in (3..).zip(rows) {
        h.from(pbx(), up.caller.request(method, method, cseq));
        assert_eq!(h.lines(pbx()), [format!("{status} {method}")]);
    }
    let require = "Require: nosy\r\n";
    h.from(pbx(), up.caller.with("INVITE", "r5", 8, require, &body));
    assert_eq!(h.lines(pbx()), ["420 INVITE"]);
    h.from(pbx(), up.caller.request("OPTIONS", "r6", 9));
    h.from(pbx(), up.caller.request("FROBNICATE", "r7", 10));
    assert_eq!(h.lines(pbx()), ["200 OPTIONS", "501 FROBNICATE"]);
    assert!(h.take(carrier()).is_empty() && h.cdrs.is_empty());
    h.from(pbx(), up.caller.request("BYE", "r8", 400));
    assert_eq!(h.lines(pbx()), ["200 BYE"], "a gap in CSeq is no error");
    h.confirm(carrier(), "BYE");
    h.check_nothing_is_left();
}

#[test]
fn a_lower_cseq_gets_500_a_repeated_one_is_a_retransmission() {
    let mut h = Harness::new();
    let up = h.bridged();
    h.from(pbx(), up.caller.request("INFO", "i1", 7));
    h.from(pbx(), up.caller.request("INFO", "i1", 7));
    h.from(pbx(), up.caller.request("BYE", "i2", 6));
    assert_eq!(h.lines(pbx()), ["200 INFO", "200 INFO", "500 BYE"]);
    assert!(h.take(carrier()).is_empty() && h.cdrs.is_empty());
}

#[test]
fn an_in_dialog_request_from_another_source_address_is_refused() {
    for foreign in [stranger_at_the_same_trunk(), other_trunk(), carrier()] {
        let mut h = Harness::new();
        let up = h.bridged();
        for (cseq, method) in (2..).zip(["BYE", "INFO", "UPDATE", "INVITE"]) {
            h.from(foreign, up.caller.request(method, method, cseq));
            let answer = h.take_one(foreign);
            assert_eq!(start(&answer), format!("481 {method}"), "as if there were no such dialog");
        }
        assert_eq!(h.core.counters().foreign_sources, 4);
        assert!(h.take(carrier()).is_empty() && h.cdrs.is_empty(), "the call is unaffected");
        h.from(pbx(), up.caller.bye());
        assert_eq!(h.lines(pbx()), ["200 BYE"]);
    }
}

#[test]
fn a_cancel_or_an_ack_from_another_address_changes_nothing() {
    let mut h = Harness::new();
    let up = h.ringing();
    let foreign = stranger_at_the_same_trunk();
    h.from(foreign, up.caller.cancel());
    assert_eq!(h.lines(foreign), ["481 CANCEL"]);
    assert!(h.take(pbx()).is_empty() && h.take(carrier()).is_empty());
    let mut h = Harness::new();
    let up = h.answered();
    h.from(foreign, up.caller.ack());
    h.advance(T1);
    assert_eq!(h.lines(pbx()), ["200 INVITE"], "still waiting for the real ACK");
    assert_eq!(h.core.counters().foreign_sources, 1);
}

#[test]
fn a_response_from_another_address_changes_nothing() {
    let mut h = Harness::new();
    let up = h.called();
    h.from(stranger_at_the_same_trunk(), up.reply("200 OK"));
    h.from(second_carrier(), up.reply("486 Busy Here"));
    assert!(h.take(pbx()).is_empty() && h.take(carrier()).is_empty());
    assert_eq!(h.core.counters().foreign_sources, 2);
}

#[test]
fn what_is_about_nobody_is_counted() {
    let mut h = Harness::new();
    let call = crate::domain::id::CallId::from_u128(99);
    h.input(Input::Route { call, answer: found().expect("a route") });
    h.control(crate::call::io::Control::Terminate { call });
    h.input(Input::Timeout);
    assert_eq!(h.core.counters().late_answers, 2);
    h.check_nothing_is_left();
}

/// Once an UPDATE without a body was agreed to.
#[test]
fn what_a_peer_asks_for_after_our_bye_is_in_no_dialog() {
    for method in ["UPDATE", "INVITE"] {
        let gone = format!("481 {method}");
        let mut h = Harness::new();
        let up = h.bridged();
        h.from(carrier(), reply(&up.invite, "200 OK", "late", &sdp("198.51.100.9", 6_100)));
        assert_eq!(h.lines(carrier()), ["ACK", "BYE"]);
        h.from(carrier(), callee_request(&up.invite, method, "late", 1));
        assert_eq!(h.lines(carrier()), [gone.as_str()], "the call goes on, that fork does not");
        assert!(h.cdrs.is_empty());
        h.from(pbx(), up.caller.bye());
        assert_eq!(h.lines(pbx()), ["200 BYE"]);
        assert_eq!(h.lines(carrier()), ["BYE"]);
        h.from(carrier(), callee_request(&up.invite, method, "bob", 2));
        assert_eq!(h.lines(carrier()), [gone.as_str()]);
        let mut h = Harness::new();
        let up = h.bridged();
        h.from(carrier(), up.callee_bye());
        assert_eq!(h.lines(pbx()), ["BYE"]);
        h.from(pbx(), up.caller.request(method, "late", 2));
        assert_eq!(h.lines(pbx()), [gone.as_str()]);
    }
}
