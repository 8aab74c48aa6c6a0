//! Session timers in both roles: who refreshes, how, and what happens when nobody does.

#[cfg(test)]
use super::harness::*;
use crate::call::io::Peer;
use crate::domain::cause::Cause;
use crate::domain::cdr::EndedBy;

fn secs(count: u64) -> std::time::Duration {
    ms(count * 1_000)
}

/// A bridged call: what the caller's INVITE says beside the usual, and the callee's 200.
fn bridged_with(h: &mut Harness, of_caller: &str, of_callee: &str) -> (Up, String) {
    let caller = Caller { extra: of_caller.to_owned(), ..Caller::agent() };
    h.from(pbx(), caller.invite());
    let mut up = Up { caller, invite: h.take_one(carrier()) };
    let body = sdp("198.51.100.77", 6_000);
    h.from(carrier(), reply_with(&up.invite, "200 OK", "bob", of_callee, &body));
    assert_eq!(h.lines(carrier()), ["ACK"]);
    let answer = h.take_one(pbx());
    up.caller.learn(&answer);
    h.from(pbx(), up.caller.ack());
    assert!(h.take(pbx()).is_empty());
    (up, answer)
}

const TIMER: &str = "Supported: timer\r\n";
const UPDATES: &str = "Allow: INVITE, ACK, BYE, UPDATE\r\n";

fn timer(interval: &str) -> String {
    format!("{TIMER}Session-Expires: {interval}\r\n")
}

fn ends(h: &mut Harness) {
    h.confirm(pbx(), "BYE");
    h.confirm(carrier(), "BYE");
    let cdr = h.cdr();
    assert_eq!((cdr.cause, cdr.ended_by, cdr.q850), (Cause::SessionExpired, EndedBy::Relay, 102));
    h.check_nothing_is_left();
}

fn accept(h: &mut Harness, peer: Peer, request: &str, interval: &str) {
    let lines = format!("Session-Expires: {interval}\r\n");
    h.from(peer, reply_with(request, "200 OK", "", &lines, ""));
}

#[test]
fn session_expires_below_min_se_gets_422_no_refresh_ends_both_legs() {
    let mut h = Harness::new();
    let caller = Caller { extra: timer("89"), ..Caller::agent() };
    h.from(pbx(), caller.invite());
    let refusal = h.take_one(pbx());
    assert_eq!((start(&refusal), header(&refusal, "Min-SE")), ("422 INVITE".into(), "90".into()));
    assert!(h.take(carrier()).is_empty());
    assert_eq!((h.cdr().cause, h.cdr().sip_status), (Cause::NoRoute, 422));
    let mut h = Harness::new();
    let (_, answer) = bridged_with(&mut h, &timer("600"), "");
    assert_eq!(header(&answer, "Session-Expires"), "600;refresher=uac");
    assert_eq!(header(&answer, "Require"), "timer");
    h.advance(secs(567));
    assert!(h.take(pbx()).is_empty() && h.cdrs.is_empty());
    h.advance(secs(1));
    ends(&mut h);
}

#[test]
fn too_short_an_interval_within_the_call_gets_422_and_changes_nothing() {
    let mut h = Harness::new();
    let (up, _) = bridged_with(&mut h, &timer("600"), "");
    for (cseq, method) in (2..).zip(["UPDATE", "INVITE"]) {
        h.from(pbx(), up.caller.with(method, method, cseq, &timer("30"), ""));
        let refusal = h.take_one(pbx());
        assert_eq!(start(&refusal), format!("422 {method}"));
        assert_eq!(header(&refusal, "Min-SE"), "90");
    }
    h.advance(secs(569));
    h.take(pbx());
    assert_eq!(h.cdr().cause, Cause::SessionExpired);
}

#[test]
fn a_caller_that_refreshes_keeps_the_call_and_the_far_side_hears_nothing_of_it() {
    let mut h = Harness::new();
    let (up, _) = bridged_with(&mut h, &timer("600"), "");
    for (cseq, method) in (2..).zip(["UPDATE", "INVITE", "UPDATE", "INVITE"]) {
        h.advance(secs(400));
        let body = if method == "INVITE" { up.caller.body.as_str() } else { "" };
        let refresh = timer("600;refresher=uac");
        h.from(pbx(), up.caller.with(method, &format!("r{cseq}"), cseq, &refresh, body));
        let answer = h.take_one(pbx());
        assert_eq!(start(&answer), format!("200 {method}"));
        assert_eq!(header(&answer, "Session-Expires"), "600;refresher=uac");
        if method == "INVITE" {
            h.from(pbx(), up.caller.request("ACK", &format!("k{cseq}"), cseq));
        }
    }
    assert!(h.take(carrier()).is_empty() && h.cdrs.is_empty());
    // Without the timer from now on.
    h.from(pbx(), up.caller.request("UPDATE", "off", 9));
    assert_eq!(header(&h.take_one(pbx()), "Session-Expires"), "");
    h.advance(secs(3_000));
    assert!(h.take(pbx()).is_empty() && h.cdrs.is_empty());
}

#[test]
fn we_refresh_by_update_where_it_is_allowed() {
    let mut h = Harness::new();
    let asks = format!("{}{UPDATES}", timer("600;refresher=uas"));
    let (_, answer) = bridged_with(&mut h, &asks, "");
    assert_eq!(header(&answer, "Session-Expires"), "600;refresher=uas");
    for _ in 0..4 {
        h.advance(secs(300));
        let update = h.take_one(pbx());
        assert_eq!(start(&update), "UPDATE");
        assert_eq!(header(&update, "Session-Expires"), "600;refresher=uac");
        assert_eq!(header(&update, "Supported"), "100rel, timer");
        assert_eq!(header(&update, "Content-Length"), "0");
        accept(&mut h, pbx(), &update, "600;refresher=uac");
    }
    assert!(h.take(carrier()).is_empty() && h.cdrs.is_empty());
}

#[test]
fn we_refresh_by_re_invite_where_update_is_not_allowed() {
    let mut h = Harness::new();
    let (up, answer) = bridged_with(&mut h, &timer("600;refresher=uas"), "");
    let origin = |text: &str| {
        text.lines().find(|line| line.starts_with("o=")).map(str::to_owned).expect("an o= line")
    };
    for _ in 0..3 {
        h.advance(secs(300));
        let invite = h.take_one(pbx());
        assert_eq!((start(&invite), origin(&invite)), ("INVITE".into(), origin(&answer)));
        assert_eq!(header(&invite, "Session-Expires"), "600;refresher=uac");
        let lines = "Session-Expires: 600;refresher=uac\r\n";
        h.from(pbx(), reply_with(&invite, "200 OK", "", lines, &up.caller.body));
        assert_eq!(h.lines(pbx()), ["ACK"]);
    }
    assert!(h.take(carrier()).is_empty() && h.cdrs.is_empty());
}

#[test]
fn a_caller_that_only_supports_timers_is_refreshed_by_us() {
    let mut h = Harness::new();
    let (_, answer) = bridged_with(&mut h, &format!("{TIMER}{UPDATES}"), "");
    assert_eq!(header(&answer, "Session-Expires"), "1800;refresher=uas");
    assert_eq!(header(&answer, "Require"), "");
    h.advance(secs(900));
    assert_eq!(h.lines(pbx()), ["UPDATE"]);
}

#[test]
fn our_refresh_goes_on_after_each_kind_of_refusal() {
    let mut h = Harness::new();
    bridged_with(&mut h, &format!("{}{UPDATES}", timer("600;refresher=uas")), "");
    h.advance(secs(300));
    let update = h.take_one(pbx());
    h.from(pbx(), reply_with(&update, "422 Too Small", "", "Min-SE: 700\r\n", ""));
    let update = h.take_one(pbx());
    assert_eq!(header(&update, "Session-Expires"), "700;refresher=uac");
    assert_eq!(header(&update, "Min-SE"), "700", "RFC 4028 \u{a7}7.4");
    h.from(pbx(), reply(&update, "500 Busy", "", ""));
    assert!(h.take(pbx()).is_empty());
    h.advance(secs(10));
    let update = h.take_one(pbx());
    h.from(pbx(), reply(&update, "405 Method Not Allowed", "", ""));
    let invite = h.take_one(pbx());
    assert_eq!(start(&invite), "INVITE", "then by what every peer takes");
    assert_eq!(header(&invite, "Min-SE"), "700");
    let lines = "Session-Expires: 700;refresher=uas\r\n";
    h.from(pbx(), reply_with(&invite, "200 OK", "", lines, &sdp("192.0.2.20", 4_000)));
    assert_eq!(h.lines(pbx()), ["ACK"]);
    h.advance(secs(669));
    assert_eq!(h.cdr().cause, Cause::SessionExpired, "it was the peer's turn");
}

/// RFC 3261 §14.1: the wait of ten seconds is for peers that are busy with something else.
#[test]
fn a_refresh_that_meets_an_offer_of_the_peer_is_sent_again_after_a_short_wait() {
    for (lines, method) in [(UPDATES, "UPDATE"), ("", "INVITE")] {
        let mut h = Harness::new();
        bridged_with(&mut h, &format!("{}{lines}", timer("600;refresher=uas")), "");
        h.advance(secs(300));
        let refresh = h.take_one(pbx());
        assert_eq!(start(&refresh), method);
        h.from(pbx(), reply(&refresh, "491 Request Pending", "", ""));
        h.take(pbx());
        h.advance(secs(2));
        let again = h.take(pbx());
        assert_eq!(again.first().map(|text| start(text)), Some(method.into()));
    }
}

#[test]
fn a_peer_that_is_gone_when_we_refresh_ends_the_call() {
    for status in ["481 Gone", "408 Timeout", ""] {
        let mut h = Harness::new();
        bridged_with(&mut h, &format!("{}{UPDATES}", timer("600;refresher=uas")), "");
        h.advance(secs(300));
        let update = h.take_one(pbx());
        match status {
            "" => h.advance(secs(32)),
            status => h.from(pbx(), reply(&update, status, "", "")),
        }
        assert_eq!(h.take(pbx()).last().map(|text| start(text)), Some("BYE".into()), "{status}");
        assert_eq!(h.lines(carrier()), ["BYE"]);
        assert_eq!((h.cdr().cause, h.cdr().ended_by), (Cause::SessionExpired, EndedBy::Relay));
        h.check_nothing_is_left_after(2 * 64 * T1);
    }
}

#[test]
fn a_peer_that_only_refuses_to_be_refreshed_ends_the_call_in_the_end() {
    let mut h = Harness::new();
    bridged_with(&mut h, &format!("{}{UPDATES}", timer("90;refresher=uas")), "");
    h.advance(secs(45));
    for _ in 0..2 {
        let update = h.take_one(pbx());
        h.from(pbx(), reply(&update, "503 Busy", "", ""));
        h.advance(secs(9) + ms(999));
        h.advance(ms(1));
    }
    assert_eq!(h.cdr().cause, Cause::SessionExpired);
}

#[test]
fn the_callee_is_asked_for_a_timer_and_either_side_may_refresh() {
    let mut h = Harness::new();
    let takes = format!("Require: timer\r\nSession-Expires: 1800;refresher=uac\r\n{UPDATES}");
    let (up, answer) = bridged_with(&mut h, "", &takes);
    assert_eq!(header(&up.invite, "Session-Expires"), "1800");
    assert_eq!(header(&up.invite, "Supported"), "100rel, timer");
    assert_eq!(header(&answer, "Session-Expires"), "", "each leg agrees by itself");
    h.advance(secs(900));
    let update = h.take_one(carrier());
    assert_eq!(start(&update), "UPDATE");
    accept(&mut h, carrier(), &update, "1800;refresher=uas");
    h.advance(secs(1_700));
    let lines = format!("{}Content-Length", timer("1800;refresher=uac"));
    let refresh = callee_request(&up.invite, "UPDATE", "bob", 1);
    h.from(carrier(), refresh.replacen("Content-Length", &lines, 1));
    let answer = h.take_one(carrier());
    assert_eq!(header(&answer, "Session-Expires"), "1800;refresher=uac");
    h.advance(secs(1_767));
    assert!(h.cdrs.is_empty());
    h.advance(secs(1));
    ends(&mut h);
}

#[test]
fn a_trunk_that_wants_a_longer_interval_is_asked_once_more() {
    let mut h = Harness::new();
    let caller = Caller::agent();
    h.from(pbx(), caller.invite());
    let invite = h.take_one(carrier());
    let too_small = reply_with(&invite, "422 Too Small", "bob", "Min-SE: 3600\r\n", "");
    h.from(carrier(), too_small);
    let sent = h.take(carrier());
    let [ack, again] = sent.as_slice() else { panic!("an ACK and an INVITE, not {sent:#?}") };
    assert_eq!((start(ack).as_str(), start(again).as_str()), ("ACK", "INVITE"));
    assert_eq!(header(again, "Session-Expires"), "3600");
    assert_eq!(header(again, "Min-SE"), "3600");
    for same in ["Call-ID", "From", "To"] {
        assert_eq!(header(again, same), header(&invite, same), "RFC 4028 \u{a7}7.3: {same}");
    }
    assert_eq!(header(again, "CSeq"), "2 INVITE");
    h.from(carrier(), reply_with(again, "422 No", "bob", "Min-SE: 7200\r\n", ""));
    assert_eq!(h.lines(carrier()), ["ACK"], "once is enough");
    assert_eq!(h.cdr().cause, Cause::TrunkFailed);
    assert!(h.take(second_carrier()).is_empty());
    h.check_nothing_is_left();
}

#[test]
fn peers_without_timers_are_only_asked_now_and_then_whether_they_are_there() {
    let mut h = Harness::new();
    h.hears_questions = true;
    let (up, answer) = bridged_with(&mut h, "", "");
    assert_eq!(header(&answer, "Session-Expires"), "");
    for status in ["200 OK", "405 Method Not Allowed", "501 What", "500 Busy"] {
        h.advance(secs(899));
        assert!(h.take(pbx()).is_empty() && h.take(carrier()).is_empty());
        h.advance(secs(1));
        for peer in [pbx(), carrier()] {
            let asked = h.take_one(peer);
            assert_eq!(start(&asked), "OPTIONS");
            assert!(header(&asked, "To").contains(";tag="), "within the call: {asked}");
            h.from(peer, reply(&asked, status, "", ""));
        }
    }
    h.advance(secs(600));
    assert!(h.take(pbx()).is_empty() && h.take(carrier()).is_empty() && h.cdrs.is_empty());
    h.from(pbx(), up.caller.bye());
    h.confirm(carrier(), "BYE");
    h.check_nothing_is_left();
}

/// Its other side may speak for ever: only a question shows that nobody hears it.
#[test]
fn a_peer_without_a_timer_that_is_gone_ends_the_call() {
    for (status, peer, other) in [
        ("481 Gone", pbx(), carrier()),
        ("408 Timeout", carrier(), pbx()),
        ("", pbx(), carrier()),
        ("", carrier(), pbx()),
    ] {
        let mut h = Harness::new();
        h.hears_questions = true;
        bridged_with(&mut h, "", "");
        // Who has answered once answers again, while it is there.
        let before = if status.starts_with("481") { None } else { Some(peer) };
        h.advance(secs(900));
        for known in [Some(other), before].into_iter().flatten() {
            let asked = h.take_one(known);
            h.from(known, reply(&asked, "200 OK", "", ""));
        }
        if before.is_some() {
            h.advance(secs(900));
            let asked = h.take_one(other);
            h.from(other, reply(&asked, "200 OK", "", ""));
        }
        let asked = h.take_one(peer);
        match status {
            "" => h.advance(secs(32)),
            status => h.from(peer, reply(&asked, status, "", "")),
        }
        assert_eq!(h.lines(other), ["BYE"], "{status}");
        assert_eq!(h.take(peer).last().map(|text| start(text)), Some("BYE".into()));
        let cause = if peer == pbx() { Cause::CallerHangup } else { Cause::CalleeHangup };
        assert_eq!((h.cdr().cause, h.cdr().ended_by), (cause, EndedBy::Relay));
        h.check_nothing_is_left_after(2 * 64 * T1);
    }
}

#[test]
fn a_peer_that_never_answers_such_questions_keeps_its_calls() {
    for status in ["408 Timeout", ""] {
        let mut h = Harness::new();
        h.hears_questions = true;
        bridged_with(&mut h, "", "");
        let mut waited = secs(0);
        for _ in 0..3 {
            h.advance(secs(900) - waited);
            let asked = h.take_one(carrier());
            h.from(carrier(), reply(&asked, "200 OK", "", ""));
            let asked = h.take_one(pbx());
            if status.is_empty() {
                waited = secs(32);
                h.advance(waited);
            } else {
                h.from(pbx(), reply(&asked, status, "", ""));
            }
            let ended = |text: &String| start(text) == "BYE";
            assert!(!h.take(carrier()).iter().chain(&h.take(pbx())).any(ended), "{status}");
        }
    }
}

#[test]
fn only_a_peer_without_a_timer_is_asked_whether_it_is_there() {
    let mut h = Harness::new();
    h.hears_questions = true;
    let refreshed = format!("{}{UPDATES}", timer("1800;refresher=uas"));
    let (up, _) = bridged_with(&mut h, &refreshed, "");
    h.advance(secs(900));
    let update = h.take_one(pbx());
    assert_eq!((start(&update), h.lines(carrier())), ("UPDATE".into(), vec!["OPTIONS".into()]));
    // Without a timer from now on.
    h.from(pbx(), reply(&update, "200 OK", "", ""));
    h.from(pbx(), up.caller.request("UPDATE", "off", 2));
    h.take(pbx());
    h.advance(secs(900));
    assert!(h.lines(pbx()).contains(&"OPTIONS".to_owned()), "it has no timer any more");
}

#[test]
fn an_offer_of_ours_within_the_call_refreshes_too() {
    let mut h = Harness::new();
    let takes = format!("Session-Expires: 600;refresher=uac\r\n{UPDATES}");
    let (up, _) = bridged_with(&mut h, "", &takes);
    h.advance(secs(200));
    let hold = format!("{}a=sendonly\r\n", up.caller.body);
    h.from(pbx(), up.caller.with("INVITE", "r1", 2, "", &hold));
    let told = h.take_one(carrier());
    assert_eq!(header(&told, "Session-Expires"), "600;refresher=uac");
    let lines = "Session-Expires: 600;refresher=uac\r\n";
    let body = format!("{}a=recvonly\r\n", sdp("198.51.100.77", 6_000));
    h.from(carrier(), reply_with(&told, "200 OK", "", lines, &body));
    h.take(carrier());
    h.from(pbx(), up.caller.request("ACK", "r2", 2));
    h.advance(secs(299));
    assert!(h.take(carrier()).is_empty());
    h.advance(secs(1));
    assert_eq!(h.lines(carrier()), ["UPDATE"]);
}

/// A hold that the far side refuses, as its session would be too short: the first re-INVITE, and
/// the one after it.
fn held_with_422(h: &mut Harness, up: &Up, least: &str) -> (String, String) {
    let hold = format!("{}a=sendonly\r\n", up.caller.body);
    h.from(pbx(), up.caller.with("INVITE", "r1", 2, "", &hold));
    let told = h.take_one(carrier());
    h.from(carrier(), reply_with(&told, "422 Too Small", "", least, ""));
    let sent = h.take(carrier());
    let [ack, again] = sent.as_slice() else { panic!("an ACK and an INVITE, not {sent:#?}") };
    assert_eq!((start(ack).as_str(), start(again).as_str()), ("ACK", "INVITE"));
    assert!(h.take(pbx()).is_empty(), "who has asked still waits");
    (told, again.clone())
}

/// Once the offer was lost, and every later one was refused for the same reason.
#[test]
fn an_offer_that_is_refused_for_too_short_a_session_is_made_again_with_a_longer_one() {
    for least in ["700", "3600"] {
        let mut h = Harness::new();
        let takes = format!("Session-Expires: 600;refresher=uac\r\n{UPDATES}");
        let (up, _) = bridged_with(&mut h, "", &takes);
        let (told, again) = held_with_422(&mut h, &up, &format!("Min-SE: {least}\r\n"));
        assert_eq!((header(&told, "Min-SE"), header(&again, "Min-SE")), ("".into(), least.into()));
        assert_eq!(header(&again, "Session-Expires"), format!("{least};refresher=uac"));
        assert_eq!(header(&again, "CSeq"), "3 INVITE");
        let body = |text: &str| text.split("\r\n\r\n").nth(1).map(str::to_owned);
        assert_eq!(body(&told), body(&again), "the same offer");
        let lines = format!("Session-Expires: {least};refresher=uac\r\n");
        let taken = format!("{}a=recvonly\r\n", sdp("198.51.100.77", 6_000));
        h.from(carrier(), reply_with(&again, "200 OK", "", &lines, &taken));
        assert_eq!(h.lines(carrier()), ["ACK"]);
        let answer = h.take_one(pbx());
        assert_eq!(start(&answer), "200 INVITE");
        assert!(answer.contains("a=recvonly\r\n"), "{answer}");
    }
}

#[test]
fn an_offer_that_nobody_waits_for_any_more_is_not_made_again_after_a_422() {
    let mut h = Harness::new();
    let takes = format!("Session-Expires: 600;refresher=uac\r\n{UPDATES}");
    let (up, _) = bridged_with(&mut h, "", &takes);
    let (_, again) = held_with_422(&mut h, &up, "Min-SE: 700\r\n");
    h.from(pbx(), up.caller.request("CANCEL", "r1", 2));
    assert_eq!(h.lines(pbx()), ["200 CANCEL", "487 INVITE"]);
    h.from(carrier(), reply_with(&again, "422 Too Small", "", "Min-SE: 800\r\n", ""));
    assert_eq!(h.lines(carrier()), ["ACK"]);
}

#[test]
fn a_peer_that_finds_every_session_too_short_is_not_asked_for_ever() {
    let mut h = Harness::new();
    let takes = format!("Session-Expires: 600;refresher=uac\r\n{UPDATES}");
    let (up, _) = bridged_with(&mut h, "", &takes);
    let (_, mut again) = held_with_422(&mut h, &up, "Min-SE: 700\r\n");
    let mut asked = 2;
    while h.cdrs.is_empty() {
        let line = format!("Min-SE: {}\r\n", 700 + asked);
        h.from(carrier(), reply_with(&again, "422 Too Small", "", &line, ""));
        let sent = h.take(carrier());
        let Some(next) = sent.get(1) else { break };
        (again, asked) = (next.clone(), asked + 1);
        assert!(asked < 20);
    }
    assert_eq!(h.lines(pbx()), ["488 INVITE"]);
    assert!(h.cdrs.is_empty(), "the call goes on as it was");
}

#[test]
fn a_callee_is_waited_for_from_its_answer_on_though_the_caller_is_answered_later() {
    for update_meanwhile in [false, true] {
        let mut h = Harness::with(super::whisper::by_purpose);
        let mut up = h.ringing();
        let body = sdp("198.51.100.77", 6_000);
        let lines = format!("{TIMER}Session-Expires: 600;refresher=uas\r\n");
        h.from(carrier(), reply_with(&up.invite, "200 OK", "bob", &lines, &body));
        assert_eq!(h.lines(carrier()), ["ACK"]);
        h.advance(secs(4));
        if update_meanwhile {
            let request = callee_request(&up.invite, "UPDATE", "bob", 5);
            let lines = format!("CSeq: 5 UPDATE\r\n{}", timer("300;refresher=uac"));
            h.from(carrier(), request.replace("CSeq: 5 UPDATE\r\n", &lines));
            assert_eq!(h.lines(carrier()), ["200 UPDATE"]);
        }
        super::whisper::press(&mut h, crate::rtp::plane::Side::B, '1');
        let answer = h.take_one(pbx());
        up.caller.learn(&answer);
        h.from(pbx(), up.caller.ack());
        let waited = if update_meanwhile { 268 } else { 568 - 4 };
        h.advance(secs(waited - 1));
        assert!(h.take(pbx()).is_empty() && h.cdrs.is_empty(), "not yet");
        h.advance(secs(1));
        ends(&mut h);
    }
}
