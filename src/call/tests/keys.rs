//! INFO in a dialog: keys of the phone, and who may hear of them. And the reasons that peers give.

#[cfg(test)]
use crate::rtp::plane::{Command, KeyMode, Side};

use super::harness::*;
use super::hearing::media_of;
use super::trunk_media::{by, tell};
use super::whisper::{by_purpose, listening, press};
use crate::call::io::Peer;
use crate::domain::cause::Cause;
use crate::domain::cdr::EndedBy;
use crate::domain::purpose::Purpose;
use crate::domain::route::RouteAnswer;
use crate::domain::trunk_media::KeyWay;
use crate::rtp::session::Dropped;
use crate::rtp::time::Moment;

pub(super) const RELAY: &str = "application/dtmf-relay";

pub(super) fn with_body(request: String, kind: &str, body: &str) -> String {
    let head = format!("Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    request.replace("Content-Length: 0\r\n\r\n", &head)
}

fn desk() -> Option<RouteAnswer> {
    Some(RouteAnswer::Found(Box::new(desk_route())))
}

/// A bridged call of a subscriber with the desk.
fn desk_call(h: &mut Harness) -> Up {
    h.store = desk;
    let mut caller = Caller::at(carrier(), "13800001234", "s-call");
    h.from(carrier(), caller.invite());
    let invite = h.take_one(pbx());
    h.from(pbx(), reply(&invite, "200 OK", "bob", &sdp("192.0.2.20", 6_000)));
    h.take(pbx());
    caller.learn(&h.take_one(carrier()));
    h.from(carrier(), caller.ack());
    Up { caller, invite }
}

#[test]
fn a_key_of_the_agent_reaches_the_subscriber_in_our_own_words() {
    let mut h = Harness::new();
    tell(&mut h, carrier(), by(KeyWay::Info));
    let up = h.bridged();
    let rows = [
        (RELAY, "Signal=5\r\nDuration=250\r\nOwner=8001\r\n", "Signal=5\r\nDuration=250\r\n"),
        ("application/dtmf", "#", "Signal=#\r\nDuration=160\r\n"),
    ];
    for (cseq, (kind, body, told)) in (2..).zip(rows) {
        let info = up.caller.request("INFO", &format!("i{cseq}"), cseq);
        h.from(pbx(), with_body(info, kind, body));
        assert_eq!(h.lines(pbx()), ["200 INFO"]);
        let info = h.take_one(carrier());
        assert_eq!(start(&info), "INFO");
        assert_eq!(header(&info, "Content-Type"), RELAY);
        assert_eq!(info.split("\r\n\r\n").nth(1), Some(told));
        h.from(carrier(), reply(&info, "405 What", "", ""));
    }
    h.from(pbx(), up.caller.request("BYE", "b", 9));
    h.confirm(carrier(), "BYE");
    h.check_nothing_is_left();
}

#[test]
fn a_key_of_the_subscriber_reaches_the_insurer_where_the_purpose_lets_it() {
    let key = "Signal=4\r\nDuration=100\r\n";
    for (purposes, reaches) in
        [(vec![Purpose::Unspecified], true), (vec![Purpose::Claim, Purpose::RenewalNotice], false)]
    {
        let mut h = Harness::with(|config| config.keys_to_insurer.clone_from(&purposes));
        h.bridged();
        assert_eq!(events_pass(&h), [true, reaches]);
        let mut h = Harness::with(|config| config.keys_to_insurer.clone_from(&purposes));
        tell(&mut h, pbx(), by(KeyWay::Info));
        let up = h.bridged();
        h.from(carrier(), with_body(callee_request(&up.invite, "INFO", "bob", 1), RELAY, key));
        assert_eq!(h.lines(carrier()), ["200 INFO"]);
        let told = h.take(pbx());
        assert_eq!(told.iter().any(|told| told.contains("Signal=4\r\n")), reaches);
    }
    // Before the bridge they are for us alone, whatever the purpose.
    let mut h = Harness::with(|config| {
        by_purpose(config);
        config.keys_to_insurer = vec![Purpose::Unspecified];
    });
    let up = listening(&mut h);
    h.from(carrier(), with_body(callee_request(&up.invite, "INFO", "bob", 1), RELAY, key));
    assert_eq!((h.lines(carrier()), h.take(pbx())), (vec!["200 INFO".to_owned()], vec![]));
    assert!(h.orders.iter().all(|order| !passes_of_callee(order)));
}

/// The callee's keys pass from now on.
fn passes_of_callee(order: &Command) -> bool {
    matches!(order, Command::Keys { side: Side::B, mode, .. } if mode.pass)
}

#[test]
fn keys_that_nobody_types_so_fast_are_answered_and_go_no_further() {
    let mut h = Harness::new();
    tell(&mut h, carrier(), by(KeyWay::Info));
    let up = h.bridged();
    let mut passed = 0;
    for at in 0..60_u32 {
        let info = up.caller.request("INFO", &format!("k{at}"), 10 + at);
        h.from(pbx(), with_body(info, RELAY, "Signal=5\r\nDuration=250\r\n"));
        assert_eq!(h.lines(pbx()), ["200 INFO"]);
        passed += h.lines(carrier()).len();
    }
    assert_eq!((passed, h.core.counters().keys_dropped), (20, 40));
    h.advance(ms(1_000));
    h.take(carrier());
    let info = up.caller.request("INFO", "later", 99);
    h.from(pbx(), with_body(info, RELAY, "Signal=5\r\nDuration=250\r\n"));
    assert!(h.lines(carrier()).contains(&"INFO".to_owned()), "a second later again");
}

#[test]
fn an_agent_who_types_without_end_does_not_keep_the_subscriber_from_saying_no() {
    let mut h = Harness::with(by_purpose);
    let up = listening(&mut h);
    for at in 0..120_u32 {
        let info = up.caller.request("INFO", &format!("k{at}"), 10 + at);
        h.from(pbx(), with_body(info, RELAY, "Signal=5\r\nDuration=250\r\n"));
    }
    let dropped = h.core.counters().keys_dropped;
    assert_eq!(dropped, 80, "the last 20 are more requests than a side may make");
    h.take(pbx());
    for cseq in 1..=3 {
        let key = callee_request(&up.invite, "INFO", "bob", cseq);
        h.from(carrier(), with_body(key, RELAY, "Signal=3\r\nDuration=100\r\n"));
        assert!(h.lines(carrier()).contains(&"200 INFO".to_owned()));
    }
    assert_eq!(h.core.counters().keys_dropped, dropped);
}

#[test]
fn a_key_of_the_subscriber_is_taken_and_told_to_nobody() {
    let key = "Signal=1\r\nDuration=100\r\n";
    let mut h = Harness::new();
    let up = h.bridged();
    h.from(carrier(), with_body(callee_request(&up.invite, "INFO", "bob", 1), RELAY, key));
    assert_eq!(h.lines(carrier()), ["200 INFO"]);
    assert!(h.take(pbx()).is_empty());
    let mut h = Harness::new();
    tell(&mut h, carrier(), by(KeyWay::Info));
    let up = desk_call(&mut h);
    h.from(carrier(), with_body(up.caller.request("INFO", "i", 2), RELAY, key));
    assert_eq!(h.lines(carrier()), ["200 INFO"]);
    assert!(h.take(pbx()).is_empty());
    let info = callee_request(&up.invite, "INFO", "bob", 1).replace("198.51.100.1", "192.0.2.10");
    h.from(pbx(), with_body(info, RELAY, key));
    assert_eq!(h.lines(pbx()), ["200 INFO"]);
    assert_eq!(h.lines(carrier()), ["INFO"], "the desk may type");
}

/// Whether a telephone event of each side reaches the other one.
fn events_pass(h: &Harness) -> [bool; 2] {
    let (mut media, _) = media_of(h);
    [(Side::A, 1), (Side::B, 2)].map(|(side, ssrc)| {
        let place = h.orders.iter().rev().find_map(|order| {
            let Command::Update { side: of, remote, .. } = *order else { return None };
            (of == side).then_some(remote.rtp)
        });
        let mut packet = vec![0x80, 101, 0, 1, 0, 0, 0, 0, 0, 0, 0, ssrc, 5, 0x0a, 1, 0xe0];
        let place = place.expect("both sides are known");
        match media.receive_rtp(Moment::default(), side, place, &mut packet) {
            Ok(_) => true,
            Err(why) => {
                assert_eq!(why, Dropped::Key);
                false
            }
        }
    })
}

#[test]
fn events_of_the_insurer_pass_and_those_of_the_subscriber_do_not_whoever_has_dialled() {
    let mut h = Harness::new();
    h.bridged();
    assert_eq!(events_pass(&h), [true, false], "an agent has dialled");
    let mut h = Harness::new();
    desk_call(&mut h);
    assert_eq!(events_pass(&h), [false, true], "the subscriber has dialled");
    let mut h = Harness::with(by_purpose);
    listening(&mut h);
    press(&mut h, Side::B, '1');
    assert_eq!(events_pass(&h), [true, false], "the subscriber has accepted");
}

/// What happens at last to the keys of a side.
fn mode_of(h: &Harness, side: Side) -> Option<KeyMode> {
    let mut modes = h.orders.iter().filter_map(|order| {
        let Command::Keys { side: of, mode, .. } = *order else { return None };
        (of == side).then_some(mode)
    });
    modes.next_back()
}

const HELD_BACK: KeyMode = KeyMode { report: false, pass: false, inband: true };
const PASSED: KeyMode = KeyMode { report: false, pass: true, inband: false };

#[test]
fn tones_of_a_subscriber_without_events_do_not_reach_the_insurer() {
    let without_events = |text: String| text.replace("8 0 101", "8 0");
    let mut h = Harness::with(by_purpose);
    let up = h.ringing();
    let body = without_events(sdp("198.51.100.77", 6_000));
    h.from(carrier(), reply(&up.invite, "200 OK", "bob", &body));
    press(&mut h, Side::B, '1');
    assert_eq!([Side::A, Side::B].map(|it| mode_of(&h, it)), [Some(PASSED), Some(HELD_BACK)]);
    let mut h = Harness::new();
    h.store = desk;
    let mut caller = Caller::at(carrier(), "13800001234", "s-call");
    caller.body = without_events(caller.body);
    h.from(carrier(), caller.invite());
    let invite = h.take_one(pbx());
    h.from(pbx(), reply(&invite, "200 OK", "bob", &sdp("192.0.2.20", 6_000)));
    assert_eq!([Side::A, Side::B].map(|it| mode_of(&h, it)), [Some(HELD_BACK), Some(PASSED)]);
}

#[test]
fn a_subscriber_who_moves_to_a_phone_with_events_is_listened_to_no_more() {
    let mut h = Harness::new();
    let up = h.bridged();
    let offer = |cseq: u32, body: &str| {
        let head = format!(
            "Contact: <sip:bob@198.51.100.77>\r\nContent-Type: application/sdp\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let request = callee_request(&up.invite, "UPDATE", "bob", cseq);
        request.replace("Content-Length: 0\r\n\r\n", &head)
    };
    let body = sdp("198.51.100.77", 6_000);
    for (cseq, body, mode) in [
        (1, body.replace("8 0 101", "8 0"), HELD_BACK),
        (2, body.clone(), KeyMode { inband: false, ..HELD_BACK }),
    ] {
        h.from(carrier(), offer(cseq, &body));
        for invite in h.take(pbx()).iter().filter(|it| start(it) == "INVITE") {
            h.from(pbx(), reply(invite, "200 OK", "", &body));
        }
        h.take(pbx());
        assert_eq!(mode_of(&h, Side::B), Some(mode));
    }
}

#[test]
fn an_info_that_is_no_key_is_refused_by_what_is_wrong_with_it() {
    let mut h = Harness::new();
    let up = h.bridged();
    let rows = [
        (RELAY, "Signal=99\r\n", "", 400),
        ("application/dtmf", "", "", 200),
        ("application/media_control+xml", "<x/>", "", 415),
        (RELAY, "Signal=1\r\n", "Info-Package: nosy\r\n", 469),
        (RELAY, "Signal=1\r\n", "Require: nosy\r\n", 420),
    ];
    for (cseq, (kind, body, extra, status)) in (2..).zip(rows) {
        let info = up.caller.with("INFO", &format!("i{cseq}"), cseq, extra, "");
        h.from(pbx(), with_body(info, kind, body));
        let answer = h.take_one(pbx());
        assert_eq!(start(&answer), format!("{status} INFO"));
        if status == 415 {
            assert_eq!(header(&answer, "Accept"), "application/dtmf-relay, application/dtmf");
        }
        if status == 469 {
            assert_eq!(header(&answer, "Recv-Info"), "nil");
        }
    }
    assert!(h.take(carrier()).is_empty() && h.cdrs.is_empty(), "the call goes on");
}

#[test]
fn a_key_before_the_answer_goes_nowhere() {
    let mut h = Harness::new();
    let up = h.ringing();
    h.from(pbx(), with_body(up.caller.request("INFO", "i", 2), RELAY, "Signal=1\r\n"));
    assert_eq!(h.lines(pbx()), ["200 INFO"]);
    assert!(h.take(carrier()).is_empty());
}

#[test]
fn refer_and_replaces_get_403_in_a_dialog_too_and_other_methods_405() {
    let mut h = Harness::new();
    let up = h.bridged();
    let methods = ["SUBSCRIBE", "NOTIFY", "PUBLISH", "MESSAGE", "REGISTER"];
    for (cseq, method) in (2..).zip(methods) {
        h.from(pbx(), up.caller.request(method, method, cseq));
        let answer = h.take_one(pbx());
        assert_eq!(start(&answer), format!("405 {method}"));
        assert!(header(&answer, "Allow").contains("INFO"));
    }
    h.from(pbx(), up.caller.request("REFER", "r", 20));
    assert_eq!(h.lines(pbx()), ["403 REFER"]);
    let replaces = "Replaces: a@b;to-tag=1;from-tag=2\r\n";
    h.from(pbx(), up.caller.with("INVITE", "v", 21, replaces, &up.caller.body));
    assert_eq!(h.lines(pbx()), ["403 INVITE"]);
    assert!(h.take(carrier()).is_empty() && h.cdrs.is_empty(), "none is forwarded");
}

fn with_reason(request: String, reason: &str) -> String {
    let line = format!("Reason: {reason}\r\nContent-Length");
    request.replacen("Content-Length", &line, 1)
}

fn reasons(h: &mut Harness, peer: Peer) -> Vec<String> {
    h.take(peer).iter().map(|text| header(text, "Reason")).collect()
}

#[test]
fn the_reason_of_who_hangs_up_is_recorded_as_a_code_and_never_passed_on() {
    let mut h = Harness::new();
    let up = h.bridged();
    h.from(carrier(), with_reason(up.callee_bye(), "Q.850;cause=41;text=\"call of 8001\""));
    assert_eq!(reasons(&mut h, pbx()), ["Q.850;cause=16"]);
    assert_eq!((h.cdr().cause, h.cdr().q850), (Cause::CalleeHangup, 41));
    let mut h = Harness::new();
    let up = h.called();
    let busy = with_reason(up.reply("486 Busy"), "SIP;cause=600, Q.850;cause=34");
    h.from(carrier(), busy);
    assert_eq!(reasons(&mut h, pbx()), ["SIP;cause=486, Q.850;cause=17"]);
    assert_eq!((h.cdr().cause, h.cdr().q850), (Cause::Busy, 34));
}

#[test]
fn a_reason_counts_only_where_its_sender_ends_the_call() {
    let mut h = Harness::new();
    let up = h.called();
    h.from(carrier(), with_reason(up.reply("503 Full"), "Q.850;cause=42"));
    let second = h.take_one(second_carrier());
    h.from(second_carrier(), reply(&second, "486 Busy", "bob", ""));
    assert_eq!((h.cdr().cause, h.cdr().q850, h.cdr().ended_by), (Cause::Busy, 17, EndedBy::Callee));
}

#[test]
fn a_cancel_says_why_in_our_own_codes() {
    let mut h = Harness::new();
    let up = h.ringing();
    h.from(pbx(), with_reason(up.caller.cancel(), "Q.850;cause=31;text=\"8001 gave up\""));
    let cancel = h.take_one(carrier());
    assert_eq!(start(&cancel), "CANCEL");
    assert_eq!(header(&cancel, "Reason"), "SIP;cause=487, Q.850;cause=16");
    assert_eq!((h.cdr().cause, h.cdr().q850), (Cause::CallerCancelled, 31));
}

#[test]
fn events_of_the_subscriber_stay_here_whoever_has_dialled() {
    let modes = |h: &Harness| -> Vec<(Side, bool)> {
        let keys = h.orders.iter().filter_map(|order| {
            let Command::Keys { side, mode, .. } = order else { return None };
            Some((*side, mode.pass))
        });
        keys.collect()
    };
    let mut h = Harness::new();
    desk_call(&mut h);
    assert_eq!(modes(&h), [(Side::A, false), (Side::B, true)]);
    let mut h = Harness::new();
    h.bridged();
    assert_eq!(modes(&h), [(Side::A, true), (Side::B, false)]);
}
