//! What crosses on the wire: both legs end alike, and nothing is left.

#[cfg(test)]
use super::harness::*;
use crate::domain::cause::Cause;
use crate::domain::route::RouteAnswer;

#[test]
fn cancel_from_a_while_the_route_is_late_ends_the_attempt_with_487_and_no_b_invite() {
    let mut h = Harness::new();
    h.store = || None;
    let caller = Caller::agent();
    h.from(pbx(), caller.invite());
    h.advance(ms(300));
    h.from(pbx(), caller.cancel());
    assert_eq!(h.lines(pbx()), ["200 CANCEL", "487 INVITE"]);
    assert_eq!(h.cdr().cause, Cause::CallerCancelled);
    h.answer_route(found().expect("a route"));
    assert!(h.take(carrier()).is_empty(), "the callee never hears of it");
    h.from(pbx(), caller.request("ACK", "a1", 1));
    h.check_nothing_is_left();
}

#[test]
fn a_route_that_is_late_refuses_and_its_answer_changes_nothing() {
    let mut h = Harness::new();
    h.store = || None;
    h.from(pbx(), Caller::agent().invite());
    h.advance(ms(2_000));
    let refusal = h.take(pbx()).pop().expect("a refusal");
    assert_eq!(start(&refusal), "503 INVITE");
    assert_eq!(header(&refusal, "Retry-After"), "5");
    h.answer_route(found().expect("a route"));
    assert!(h.take(carrier()).is_empty());
    assert_eq!(h.cdr().cause, Cause::StoreUnavailable);
    assert_eq!(h.core.counters().late_answers, 1);
    h.check_nothing_is_left();
}

#[test]
fn cancel_before_the_first_1xx_is_held_back_until_a_provisional_arrives() {
    let mut h = Harness::new();
    let up = h.called();
    h.from(pbx(), up.caller.cancel());
    assert_eq!(h.lines(pbx()), ["200 CANCEL", "487 INVITE"]);
    assert!(h.take(carrier()).is_empty(), "nothing to cancel yet");
    h.from(carrier(), up.reply("100 Trying"));
    let cancel = h.take_one(carrier());
    assert_eq!(start(&cancel), "CANCEL");
    for same in ["Via", "From", "To", "Call-ID"] {
        assert_eq!(header(&cancel, same), header(&up.invite, same), "{same}");
    }
    assert_eq!(cancel.split_whitespace().nth(1), up.invite.split_whitespace().nth(1));
    assert!(!header(&cancel, "To").contains("tag="));
    h.from(carrier(), reply(&cancel, "200 OK", "bob", ""));
    h.from(carrier(), up.reply("487 Request Terminated"));
    assert_eq!(h.lines(carrier()), ["ACK"]);
    h.check_nothing_is_left();
}

#[test]
fn a_2xx_after_cancel_is_acked_and_then_ended_by_bye() {
    let mut h = Harness::new();
    let up = h.ringing();
    h.from(pbx(), up.caller.cancel());
    assert_eq!(h.lines(pbx()), ["200 CANCEL", "487 INVITE"]);
    assert_eq!(h.lines(carrier()), ["CANCEL"]);
    h.from(carrier(), up.reply("200 OK"));
    let sent = h.take(carrier());
    assert_eq!(sent.iter().map(|text| start(text)).collect::<Vec<_>>(), ["ACK", "BYE"]);
    h.from(carrier(), reply(&sent[1], "200 OK", "", ""));
    assert!(h.take(pbx()).is_empty(), "the caller hears no more of it");
    assert_eq!(h.cdr().cause, Cause::CallerCancelled);
    h.check_nothing_is_left();
}

#[test]
fn a_cancel_that_crosses_our_200_is_answered_and_changes_nothing() {
    let mut h = Harness::new();
    let up = h.answered();
    h.from(pbx(), up.caller.cancel());
    assert_eq!(h.lines(pbx()), ["200 CANCEL"]);
    assert!(h.take(carrier()).is_empty() && h.cdrs.is_empty());
    h.from(pbx(), up.caller.ack());
    h.from(pbx(), up.caller.bye());
    h.confirm(carrier(), "BYE");
    h.check_nothing_is_left();
}

#[test]
fn several_early_dialogs_live_side_by_side_and_the_one_that_answers_wins() {
    let mut h = Harness::new();
    let up = h.called();
    for tag in ["fork-1", "fork-2", "fork-3"] {
        h.from(
            carrier(),
            reply(&up.invite, "183 Session Progress", tag, &sdp("198.51.100.9", 6_100)),
        );
    }
    let lines = h.take(pbx());
    assert_eq!(lines.len(), 1, "the caller is told once that it rings");
    assert!(lines[0].starts_with("SIP/2.0 180 Ringing\r\n") && !lines[0].contains("v=0"));
    assert_eq!(h.core.dialogs(), 4, "three early ones, and the caller's");
    h.from(carrier(), reply(&up.invite, "200 OK", "fork-2", &sdp("198.51.100.9", 6_100)));
    let ack = h.take_one(carrier());
    assert_eq!(tag(&header(&ack, "To")), "fork-2");
    assert_eq!(h.lines(pbx()), ["200 INVITE"]);
}

#[test]
fn a_second_2xx_from_a_fork_is_acked_and_ended_by_bye() {
    let mut h = Harness::new();
    let up = h.bridged();
    h.from(carrier(), reply(&up.invite, "200 OK", "other", &sdp("198.51.100.9", 6_100)));
    let sent = h.take(carrier());
    assert_eq!(sent.iter().map(|text| start(text)).collect::<Vec<_>>(), ["ACK", "BYE"]);
    assert!(sent.iter().all(|text| tag(&header(text, "To")) == "other"));
    h.from(carrier(), reply(&sent[1], "200 OK", "", ""));
    h.from(carrier(), reply(&up.invite, "200 OK", "other", &sdp("198.51.100.9", 6_100)));
    assert_eq!(h.lines(carrier()), ["ACK"], "its repeat is acked, not ended twice");
    assert!(h.take(pbx()).is_empty() && h.cdrs.is_empty(), "the call goes on");
    h.from(pbx(), up.caller.bye());
    h.confirm(carrier(), "BYE");
    h.check_nothing_is_left();
}

/// Once the answer of a ninth phone was neither confirmed nor ended, and failed the call.
#[test]
fn the_phone_that_answers_is_connected_however_many_have_rung_before() {
    for is_cancelled in [false, true] {
        let mut h = Harness::new();
        let mut up = h.called();
        for at in 0..12 {
            h.from(carrier(), reply(&up.invite, "180 Ringing", &format!("rings-{at}"), ""));
        }
        assert_eq!(h.lines(pbx()), ["180 INVITE"]);
        if is_cancelled {
            h.from(pbx(), up.caller.cancel());
            h.confirm(carrier(), "CANCEL");
        }
        h.from(carrier(), reply(&up.invite, "200 OK", "bob", &sdp("198.51.100.9", 6_100)));
        let sent = h.take(carrier());
        assert!(sent.iter().all(|text| tag(&header(text, "To")) == "bob"), "{sent:#?}");
        let lines: Vec<_> = sent.iter().map(|text| start(text)).collect();
        if is_cancelled {
            assert_eq!(lines, ["ACK", "BYE"]);
        } else {
            assert_eq!(lines, ["ACK"]);
            up.caller.learn(&h.take_one(pbx()));
            h.from(pbx(), up.caller.ack());
            h.from(carrier(), up.callee_bye());
            h.confirm(pbx(), "BYE");
            assert_eq!(h.cdr().cause, Cause::CalleeHangup);
        }
        h.check_nothing_is_left_after(2 * 64 * T1);
    }
}

#[test]
fn every_phone_that_answers_too_late_is_acked_and_ended_however_many_there_are() {
    for are_there in [false, true] {
        let mut h = Harness::new();
        let up = h.bridged();
        for at in 0..20 {
            let late = format!("late-{at}");
            h.from(carrier(), reply(&up.invite, "200 OK", &late, &sdp("198.51.100.9", 6_100)));
            let sent = h.take(carrier());
            let lines: Vec<_> = sent.iter().map(|text| start(text)).collect();
            assert_eq!(lines, ["ACK", "BYE"], "{late}");
            assert!(sent.iter().all(|text| tag(&header(text, "To")) == late));
            if are_there {
                h.from(carrier(), reply(&sent[1], "200 OK", "", ""));
            }
        }
        assert!(h.core.dialogs() <= 9, "what is kept of them has a bound");
        assert!(h.take(pbx()).is_empty() && h.cdrs.is_empty(), "the call goes on");
        h.from(pbx(), up.caller.bye());
        h.confirm(carrier(), "BYE");
        h.check_nothing_is_left_after(2 * 64 * T1);
    }
}

#[test]
fn a_repeated_2xx_is_acked_again() {
    let mut h = Harness::new();
    let up = h.bridged();
    h.from(carrier(), up.reply("200 OK"));
    h.from(carrier(), up.reply("200 OK"));
    assert_eq!(h.lines(carrier()), ["ACK", "ACK"]);
    assert!(h.take(pbx()).is_empty());
}

#[test]
fn a_late_1xx_after_the_2xx_changes_nothing() {
    let mut h = Harness::new();
    let up = h.bridged();
    h.from(carrier(), up.reply("180 Ringing"));
    h.from(carrier(), reply(&up.invite, "183 Session Progress", "late", ""));
    assert!(h.take(pbx()).is_empty() && h.take(carrier()).is_empty());
    h.from(carrier(), up.callee_bye());
    h.confirm(pbx(), "BYE");
    h.check_nothing_is_left();
}

#[test]
fn bye_before_ack_ends_both_legs() {
    let mut h = Harness::new();
    let up = h.answered();
    h.from(pbx(), up.caller.bye());
    assert_eq!(h.lines(pbx()), ["200 BYE"]);
    h.confirm(carrier(), "BYE");
    assert_eq!(h.cdr().cause, Cause::CallerHangup);
    h.advance(ms(5_000));
    assert!(h.take(pbx()).is_empty(), "the 200 is not repeated to a caller who is gone");
    h.check_nothing_is_left();
}

#[test]
fn a_callee_who_hangs_up_before_the_ack_waits_for_it() {
    let mut h = Harness::new();
    let up = h.answered();
    h.from(carrier(), up.callee_bye());
    assert_eq!(h.lines(carrier()), ["200 BYE"]);
    assert!(h.take(pbx()).is_empty(), "RFC 3261 15: no BYE before the ACK");
    h.advance(T1);
    assert_eq!(h.lines(pbx()), ["200 INVITE"]);
    h.from(pbx(), up.caller.ack());
    h.confirm(pbx(), "BYE");
    assert_eq!(h.cdr().cause, Cause::CalleeHangup);
    h.check_nothing_is_left();
}

#[test]
fn bye_crossing_bye_is_answered_on_both_legs() {
    let mut h = Harness::new();
    let up = h.bridged();
    h.from(pbx(), up.caller.bye());
    assert_eq!(h.lines(pbx()), ["200 BYE"]);
    let ours = h.take_one(carrier());
    h.from(carrier(), up.callee_bye());
    assert_eq!(h.lines(carrier()), ["200 BYE"]);
    h.from(carrier(), reply(&ours, "481 Call/Transaction Does Not Exist", "", ""));
    assert_eq!((h.cdrs.len(), h.cdr().cause), (1, Cause::CallerHangup));
    h.check_nothing_is_left();
}

#[test]
fn a_lost_ack_ends_when_the_caller_hangs_up() {
    let mut h = Harness::new();
    let up = h.answered();
    h.advance(ms(8_000));
    h.take(pbx());
    h.from(pbx(), up.caller.bye());
    assert_eq!(h.lines(pbx()), ["200 BYE"]);
    h.confirm(carrier(), "BYE");
    h.check_nothing_is_left();
}

#[test]
fn a_bye_in_the_early_dialog_is_a_cancel() {
    let mut h = Harness::new();
    let up = h.ringing();
    h.from(pbx(), up.caller.bye());
    assert_eq!(h.lines(pbx()), ["200 BYE", "487 INVITE"]);
    h.confirm(carrier(), "CANCEL");
    h.from(carrier(), up.reply("487 Request Terminated"));
    assert_eq!(h.cdr().cause, Cause::CallerCancelled);
    h.check_nothing_is_left();
}

#[test]
fn a_peer_that_vanishes_leaves_nothing_behind() {
    let mut h = Harness::new();
    let up = h.bridged();
    h.from(pbx(), up.caller.bye());
    h.take(carrier());
    h.advance(ms(10_000));
    let repeats = h.lines(carrier());
    assert!(repeats.len() >= 4 && repeats.iter().all(|line| line == "BYE"), "{repeats:?}");
    assert_eq!(h.cdrs.len(), 1, "the record does not wait for the dead");
    h.check_nothing_is_left();
}

#[test]
fn a_callee_who_does_not_answer_is_cancelled_after_the_ring_time() {
    let mut h = Harness::with(|config| config.ring_timeout = ms(30_000));
    let up = h.ringing();
    h.advance(ms(30_000));
    assert_eq!(h.lines(pbx()), ["480 INVITE"]);
    let cancel = h.take_one(carrier());
    assert_eq!(start(&cancel), "CANCEL");
    h.from(carrier(), reply(&cancel, "200 OK", "bob", ""));
    h.from(carrier(), up.reply("487 Request Terminated"));
    assert_eq!(h.cdr().cause, Cause::NoAnswer);
    h.check_nothing_is_left();
}

#[test]
fn a_retransmitted_invite_makes_no_second_call() {
    let mut h = Harness::new();
    let up = h.ringing();
    h.from(pbx(), up.caller.invite());
    assert_eq!(h.lines(pbx()), ["180 INVITE"]);
    assert!(h.take(carrier()).is_empty());
    assert_eq!(h.core.counters().attempts, 1);
}

#[test]
fn a_caller_who_waits_for_200_ms_gets_a_100_and_gets_it_again_for_a_repeat() {
    let mut h = Harness::new();
    h.hears_trying = true;
    let up = h.called();
    h.advance(ms(199));
    h.from(pbx(), up.caller.invite());
    assert!(h.take(pbx()).is_empty(), "the 100 is still to come");
    h.advance(ms(1));
    assert_eq!(h.lines(pbx()), ["100 INVITE"]);
    h.from(pbx(), up.caller.invite());
    assert_eq!(h.lines(pbx()), ["100 INVITE"]);
    h.advance(ms(1_000));
    assert!(h.lines(pbx()).is_empty(), "once");
}

#[test]
fn a_caller_who_hears_more_within_200_ms_gets_no_100() {
    for status in ["180 Ringing", "200 OK", "486 Busy Here"] {
        let mut h = Harness::new();
        h.hears_trying = true;
        let up = h.called();
        h.from(carrier(), up.reply(status));
        h.advance(ms(400));
        assert!(!h.lines(pbx()).iter().any(|line| line == "100 INVITE"), "{status}");
    }
}

#[test]
fn ports_that_come_too_late_are_closed_again() {
    let mut h = Harness::new();
    h.has_media = false;
    h.from(pbx(), Caller::agent().invite());
    h.advance(ms(2_000));
    assert_eq!(h.lines(pbx()), ["503 INVITE"]);
    assert!(h.take(carrier()).is_empty());
    assert!(matches!(h.orders.last(), Some(crate::rtp::plane::Command::Close { .. })));
    h.advance(ms(2_000));
    assert_eq!(h.cdr().cause, Cause::NoMediaPort, "the record does not wait for ever");
    h.check_nothing_is_left();
}

#[test]
fn a_store_that_fails_refuses_like_one_that_is_late() {
    let mut h = Harness::new();
    h.store = || Some(RouteAnswer::Failed);
    h.from(pbx(), Caller::agent().invite());
    assert_eq!(h.lines(pbx()), ["503 INVITE"]);
    assert_eq!(h.cdr().cause, Cause::StoreUnavailable);
    h.check_nothing_is_left();
}

/// Once the early dialog of the phone that only rang was waited for, for ever.
#[test]
fn a_fork_that_only_rang_does_not_keep_a_cancelled_call() {
    let mut h = Harness::new();
    let up = h.ringing();
    h.from(carrier(), reply(&up.invite, "180 Ringing", "only-rings", ""));
    h.from(pbx(), up.caller.cancel());
    h.confirm(carrier(), "CANCEL");
    h.from(carrier(), up.reply("200 OK"));
    assert_eq!(h.lines(carrier()), ["ACK", "BYE"]);
    h.check_nothing_is_left();
}

/// Once such a call rang on until its time was over, and its 2xx was never ACKed.
#[test]
fn a_callees_bye_that_overtakes_its_own_200_ends_the_call() {
    let mut h = Harness::new();
    let up = h.ringing();
    h.from(carrier(), up.callee_bye());
    assert_eq!(h.lines(carrier()), ["200 BYE", "CANCEL"]);
    assert_eq!(h.lines(pbx()), ["480 INVITE"]);
    h.from(carrier(), up.reply("200 OK"));
    h.from(carrier(), up.reply("200 OK"));
    assert_eq!(h.lines(carrier()), ["ACK", "ACK"], "and no BYE: that dialog is over");
    assert_eq!(h.cdr().cause, Cause::CalleeHangup);
    h.check_nothing_is_left();
}

/// Once it was taken, and the transaction of our INVITE waited for ever.
#[test]
fn a_200_that_names_no_transaction_of_ours_answers_nothing() {
    let mut h = Harness::new();
    let up = h.ringing();
    h.from(carrier(), up.reply("200 OK").replace(";branch=", ";brunch="));
    assert!(h.take(carrier()).is_empty() && h.take(pbx()).is_empty());
    assert_eq!(h.core.counters().stray_responses, 1);
    h.from(carrier(), up.reply("200 OK"));
    assert_eq!(h.lines(carrier()), ["ACK"]);
}
