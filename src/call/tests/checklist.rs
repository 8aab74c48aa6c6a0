//! Lines of the checklist in the design that are about more than one thing at once.

#[cfg(test)]
use super::harness::*;
use crate::call::io::Peer;
use crate::domain::cause::Cause;
use crate::sip::transport::Transport;

#[test]
fn a_custom_reason_phrase_never_crosses_to_the_other_leg() {
    let mut h = Harness::new();
    let mut up = h.called();
    h.from(carrier(), up.reply("180 Call 8001 back"));
    let ringing = h.take_one(pbx());
    up.caller.learn(&ringing);
    h.from(carrier(), up.reply("486 Canary of bob"));
    let refusal = h.take_one(pbx());
    assert!(ringing.starts_with("SIP/2.0 180 Ringing\r\n"), "{ringing}");
    assert!(refusal.starts_with("SIP/2.0 486 Busy Here\r\n"), "{refusal}");
    let mut h = Harness::new();
    let up = h.bridged();
    h.from(pbx(), up.caller.with("INVITE", "r1", 2, "", &hold()));
    let told = h.take_one(carrier());
    h.from(carrier(), reply(&told, "488 Canary of bob", "", ""));
    let refusal = h.take_one(pbx());
    assert!(refusal.starts_with("SIP/2.0 488 Not Acceptable Here\r\n"), "{refusal}");
    assert!(h.wire.iter().all(|(_, text)| !text.contains("anary")));
}

fn hold() -> String {
    format!("{}a=sendonly\r\n", sdp("192.0.2.20", 4_000))
}

#[test]
fn every_method_in_allow_really_works_update_prack_info_included() {
    let mut h = Harness::new();
    h.from(pbx(), Caller::agent().request("OPTIONS", "o", 1));
    let answer = h.take_one(pbx());
    let extra = "Require: 100rel\r\n".to_owned();
    let caller = Caller { extra, call_id: "all".into(), ..Caller::agent() };
    h.from(pbx(), caller.invite());
    let mut up = Up { caller, invite: h.take_one(carrier()) };
    h.from(carrier(), up.reply("180 Ringing"));
    let ringing = h.take_one(pbx());
    up.caller.learn(&ringing);
    let rack = format!("RAck: {} 1 INVITE\r\n", header(&ringing, "RSeq"));
    h.from(pbx(), up.caller.with("PRACK", "p", 2, &rack, ""));
    assert_eq!(h.lines(pbx()), ["200 PRACK"]);
    h.from(carrier(), up.reply("200 OK"));
    assert_eq!(h.lines(pbx()), ["200 INVITE"]);
    h.from(pbx(), up.caller.ack());
    h.advance(ms(9_000));
    assert!(h.take(pbx()).is_empty(), "the ACK has worked");
    for (cseq, method) in (3..).zip(["UPDATE", "INFO", "OPTIONS", "BYE"]) {
        h.from(pbx(), up.caller.request(method, method, cseq));
        assert_eq!(h.lines(pbx()), [format!("200 {method}")]);
    }
    let mut h = Harness::new();
    let up = h.ringing();
    h.from(pbx(), up.caller.cancel());
    assert_eq!(h.lines(pbx()), ["200 CANCEL", "487 INVITE"]);
    let mut allowed: Vec<String> =
        header(&answer, "Allow").split(", ").map(str::to_owned).collect();
    allowed.sort();
    let done = ["ACK", "BYE", "CANCEL", "INFO", "INVITE", "OPTIONS", "PRACK", "UPDATE"];
    assert_eq!(allowed, done);
}

#[test]
fn a_2xx_is_retransmitted_at_t1_doubling_to_t2_on_every_transport_until_ack_or_64_t1_then_bye() {
    for transport in Transport::ALL {
        let mut h = Harness::new();
        let peer = Peer { transport, ..pbx() };
        let mut caller = Caller { peer, ..Caller::agent() };
        h.from(peer, caller.invite());
        let invite = h.take_one(carrier());
        h.from(carrier(), reply(&invite, "200 OK", "bob", &sdp("198.51.100.77", 6_000)));
        let answer = h.take_one(pbx());
        caller.learn(&answer);
        // After 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5 and 31.5 seconds.
        h.advance(64 * T1 - ms(1));
        assert_eq!(h.take(pbx()), vec![answer; 10], "{transport:?}");
        h.advance(ms(1));
        assert_eq!(h.lines(pbx()), ["BYE"], "{transport:?}");
        assert_eq!(h.cdr().cause, Cause::CallerHangup);
    }
}

#[test]
fn a_cseq_gap_in_a_dialog_is_not_an_error_a_bye_that_skips_numbers_is_answered_200() {
    let mut h = Harness::new();
    let up = h.bridged();
    h.from(pbx(), up.caller.request("BYE", "b", 4_711));
    assert_eq!(h.lines(pbx()), ["200 BYE"]);
    h.confirm(carrier(), "BYE");
    assert_eq!(h.cdr().cause, Cause::CallerHangup);
    h.check_nothing_is_left();
}

/// What happens at the end of a call, and may happen at the same time.
type Ending = fn(&mut Harness);

const ENDINGS: [Ending; 5] = [
    |h| {
        let up = h.answered();
        h.from(pbx(), up.caller.bye());
        assert_eq!(h.lines(pbx()), ["200 BYE"], "BYE before ACK");
        h.confirm(carrier(), "BYE");
    },
    |h| {
        let up = h.bridged();
        h.from(pbx(), up.caller.bye());
        h.from(carrier(), up.callee_bye());
        assert_eq!(h.lines(carrier()), ["BYE", "200 BYE"], "BYE crossing BYE");
    },
    |h| {
        h.answered();
        h.advance(64 * T1);
        h.confirm_last(pbx());
        h.confirm_last(carrier());
    },
    |h| {
        let up = h.bridged();
        h.from(carrier(), up.reply("180 Ringing"));
        h.from(carrier(), reply(&up.invite, "183 Progress", "fork", ""));
        assert!(h.take(pbx()).is_empty(), "late 1xx after 2xx");
        h.from(carrier(), up.callee_bye());
        h.confirm(pbx(), "BYE");
    },
    |h| {
        let up = h.answered();
        h.from(carrier(), up.callee_bye());
        h.from(pbx(), up.caller.bye());
        h.from(pbx(), up.caller.ack());
    },
];

impl Harness {
    /// A peer confirms the last request it was sent.
    fn confirm_last(&mut self, peer: Peer) {
        let request = self.take(peer).pop().expect("a request");
        assert_eq!(start(&request), "BYE");
        self.from(peer, reply(&request, "200 OK", "", ""));
    }
}

#[test]
fn bye_before_ack_bye_crossing_bye_lost_ack_late_1xx_after_2xx_both_legs_end_alike() {
    for ending in ENDINGS {
        let mut h = Harness::new();
        ending(&mut h);
        assert_eq!(h.core.occupancy().calls, 0, "both legs have been told to end");
        assert_eq!(h.cdrs.len(), 1);
        h.check_nothing_is_left();
    }
}

#[test]
fn after_any_run_plus_64_t1_all_tables_are_empty() {
    let mut h = Harness::new();
    let runs: [Ending; 4] = [
        |h| drop(h.bridged()),
        |h| drop(h.ringing()),
        |h| {
            let up = h.called();
            h.from(carrier(), up.reply("486 Busy"));
        },
        |h| {
            let up = h.bridged();
            h.from(pbx(), up.caller.with("INVITE", "r1", 2, "", &hold()));
        },
    ];
    for (at, run) in runs.into_iter().enumerate() {
        run(&mut h);
        h.control(crate::call::io::Control::TerminateAll);
        h = after_64_t1(h, at + 1);
    }
}

/// Nothing is left; the next run finds a relay that has never drained.
fn after_64_t1(mut h: Harness, runs: usize) -> Harness {
    h.check_nothing_is_left_after(64 * T1 + ms(5_000));
    assert_eq!(h.core.dialogs(), 0, "run {runs}");
    assert_eq!(h.core.poll_timeout(), None, "run {runs}");
    Harness::new()
}
